//! `gc`: removes members that stand for nothing any more: dead ones, and those whose number went to another
//! namespace.

use std::fmt;

use loader::map::Access;
use nsmap::{Member, text};
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
    let members = sets::members(named)?;
    let reports = Explainer::new(named.set.kind()).explain(&members);
    let total = members.len();
    let mut removed = Vec::new();
    for (member, report) in members.iter().zip(reports) {
        let stale = matches!(report.state, State::Dead | State::Reused);
        if stale && (dry_run || remove(named, member)?) {
            removed.push(report);
        }
    }
    let kept = total - removed.len();
    Ok(SetReport { map: Name::new(&named.path), kind: named.set.kind().name(), removed, kept })
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
