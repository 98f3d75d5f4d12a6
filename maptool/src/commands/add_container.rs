//! `add-container` and `add-pod`: containers by name, to every set that exists. With both kinds, a tracer that was
//! given both shows exactly the container: in its cgroup and in its mount namespace.

use loader::map::Access;
use nsmap::container::find;
use nsmap::container::inventory::{Inventory, Running};

use super::edit::{self, Action};
use super::items::{self, Resolved};
use super::sets;
use crate::cli::{ContainerItems, PodItems, TheSet};
use crate::failure::{Code, Failure};
use crate::output::Outcome;

pub(crate) fn run(args: &ContainerItems) -> Result<Outcome, Failure> {
    by(&args.items, &args.set, |inventory, word| find::container(inventory, word).map(|one| vec![one]))
}

pub(crate) fn run_pod(args: &PodItems) -> Result<Outcome, Failure> {
    by(&args.items, &args.set, find::pod)
}

type Find = for<'a> fn(&'a Inventory, &str) -> loader::Result<Vec<&'a Running>>;

fn by(items: &[String], set: &TheSet, find: Find) -> Result<Outcome, Failure> {
    let sets = sets::any(set, Access::ReadWrite)?;
    let inventory = Inventory::take();
    let found: Vec<_> = items.iter().map(|word| (word, find(&inventory, word))).collect();
    let mut work = Vec::new();
    for (at, named) in sets.iter().enumerate() {
        let mut resolved = Vec::new();
        for (word, found) in &found {
            match found {
                Ok(found) => resolved
                    .extend(found.iter().map(|running| items::of_container(running, named.set.kind()))),
                // Once is enough, however many sets there are.
                Err(error) if at == 0 => {
                    let label = nsmap::text::safe(word.as_ref());
                    resolved.push(Resolved { label, member: Err(missing(error)) });
                }
                Err(_) => {}
            }
        }
        work.push((named, resolved));
    }
    let mut outcome = edit::run(Action::Add, work)?;
    outcome.notes.extend(inventory.problems);
    Ok(outcome)
}

fn missing(error: &loader::Error) -> Failure {
    let failure = Failure::new(Code::of(error), error.to_string());
    match failure.code {
        Code::NotFound => failure.hint("see those that run with: nsmap containers"),
        _ => failure,
    }
}
