//! `gc`: removes members that stand for nothing any more: dead ones, and those whose number went to another
//! namespace.

use std::fmt;

use loader::map::Access;
use nsmap::{Kind, Member, text};
use serde::Serialize;

use super::edit;
use super::explain::{Explainer, MemberReport, State};
use super::sets::{self, NamedSet};
use crate::cli::Gc;
use crate::failure::Failure;
use crate::output::{Name, Outcome};

#[derive(Serialize)]
struct Collected {
    dry_run: bool,
    sets: Vec<SetReport>,
}

#[derive(Serialize)]
struct SetReport {
    map: Name,
    kind: &'static str,
    removed: Vec<MemberReport>,
    kept: usize,
}

impl fmt::Display for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.dry_run { "would remove" } else { "removed" };
        for set in &self.sets {
            for member in &set.removed {
                writeln!(f, "{word} {} {} ({}) from {}", set.kind, member.id, member.state.word(), set.map)?;
            }
            writeln!(
                f,
                "{word} {} of {} members of {}",
                set.removed.len(),
                set.removed.len() + set.kept,
                set.map
            )?;
        }
        Ok(())
    }
}

pub(crate) fn run(args: &Gc) -> Result<Outcome, Failure> {
    let access = if args.dry_run { Access::ReadOnly } else { Access::ReadWrite };
    let named = sets::which(&args.set, access)?;
    let sets = named.iter().map(|named| collect(named, args.dry_run)).collect::<Result<_, _>>()?;
    Outcome::done(&Collected { dry_run: args.dry_run, sets })
}

fn collect(named: &NamedSet, dry_run: bool) -> Result<SetReport, Failure> {
    let kind = named.set.kind();
    let members = sets::members(named)?;
    let mut states = Explainer::of_states(kind);
    let mut removed = Vec::new();
    for member in &members {
        let state = states.state(member);
        if matches!(state, State::Dead | State::Reused) && (dry_run || remove(named, member)?) {
            removed.push((*member, state));
        }
    }
    let kept = members.len() - removed.len();
    Ok(SetReport { map: Name::new(&named.path), kind: kind.name(), removed: reports(kind, &removed), kept })
}

/// What is told of removed members. A number that was nobody's may be somebody's by now.
fn reports(kind: Kind, removed: &[(Member, State)]) -> Vec<MemberReport> {
    let (members, states): (Vec<Member>, Vec<State>) = removed.iter().copied().unzip();
    let reports = if members.is_empty() { Vec::new() } else { Explainer::new(kind).explain(&members) };
    reports.into_iter().zip(states).map(|(report, state)| MemberReport { state, ..report }).collect()
}

/// Not if somebody has stored it anew meanwhile: a namespace with this number may have come to life.
fn remove(named: &NamedSet, member: &Member) -> Result<bool, Failure> {
    let at = format!("set `{}`", text::path(&named.path));
    let now = named.set.get(member.key()).map_err(|error| Failure::from(error).context(&at))?;
    if now != Some(*member) {
        return Ok(false);
    }
    named.set.remove(member.key()).map_err(|error| edit::refused(named, error))
}
