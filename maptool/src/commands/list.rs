//! `list`: what is in the sets, with what each number stands for now.
//!
//! Reading is enough: no capability is needed if the pin may be read, though without privileges fewer paths and
//! processes can be named.

use std::collections::BTreeMap;
use std::fmt;

use loader::map::Access;
use nsmap::set::Kind;
use nsmap::text;
use serde::Serialize;

use super::explain::{Explainer, MemberReport};
use super::sets::{self, NamedSet};
use crate::cli::WhichSet;
use crate::failure::Failure;
use crate::output::{Name, Outcome};

#[derive(Serialize)]
pub(super) struct List {
    sets: Vec<SetReport>,
    #[serde(skip)]
    problems: Vec<String>,
}

#[derive(Serialize)]
struct SetReport {
    map: Name,
    kind: &'static str,
    name: String,
    id: u32,
    used: usize,
    capacity: u32,
    members: Vec<MemberReport>,
}

pub(crate) fn run(args: &WhichSet) -> Result<Outcome, Failure> {
    let list = report(args)?;
    let mut outcome = Outcome::done(&list)?;
    outcome.notes = list.problems;
    Ok(outcome)
}

/// The sets as they are now.
pub(super) fn report(args: &WhichSet) -> Result<List, Failure> {
    let named = sets::which(args, Access::ReadOnly)?;
    let mut problems = Vec::new();
    let sets = named.iter().map(|named| report_set(named, &mut problems)).collect::<Result<_, _>>()?;
    problems.sort();
    problems.dedup();
    Ok(List { sets, problems })
}

impl List {
    /// Each member on one line, by set and number.
    pub(super) fn snapshot(&self) -> BTreeMap<(String, u64), String> {
        let members = self.sets.iter().flat_map(|set| set.members.iter().map(move |member| (set, member)));
        members.map(|(set, member)| ((set.map.to_string(), member.id), member.comment())).collect()
    }
}

fn report_set(named: &NamedSet, problems: &mut Vec<String>) -> Result<SetReport, Failure> {
    let at = format!("list set `{}`", text::path(&named.path));
    let members = named.set.members().map_err(|error| Failure::from(error).context(&at))?;
    let info = named.set.map().info();
    let mut explainer = Explainer::new(named.set.kind());
    let reports = explainer.explain(&members);
    problems.extend(explainer.problems());
    Ok(SetReport {
        map: Name::new(&named.path),
        kind: named.set.kind().name(),
        name: info.name.clone(),
        id: info.id,
        used: members.len(),
        capacity: info.max_entries,
        members: reports,
    })
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, set) in self.sets.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            set.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for SetReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { map, kind, name, id, used, capacity, .. } = self;
        writeln!(f, "{map}: {kind} set, map {name} (id {id}), {used} of {capacity} used")?;
        if self.members.is_empty() {
            return Ok(());
        }
        let last = if *kind == Kind::Cgroup.name() { "PATH: PROCESSES" } else { "PROCESSES" };
        writeln!(f, "{:<10} {:<23} {:<9} {last}", "ID", "HEX", "FLAGS")?;
        self.members.iter().try_for_each(|member| member.fmt(f))
    }
}
