//! Adds members to a set or removes them, one by one, and reports on each.
//!
//! In: an open set and resolved items. Out: a report, the failures, and the exit code they make together.

use std::fmt;

use loader::ErrorKind;
use nsmap::set::{CgroupMember, Member};
use nsmap::{Kind, text};
use serde::Serialize;

use super::items::Resolved;
use super::sets::NamedSet;
use crate::failure::{Capability, Code, Failure, combined};
use crate::output::{Name, Outcome};

/// What to do with members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Add,
    Remove,
}

/// What became of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Change {
    Added,
    /// It was there with another value.
    Updated,
    AlreadyThere,
    Removed,
    NotThere,
    Failed,
}

#[derive(Debug, Serialize)]
struct Trouble {
    code: u8,
    message: String,
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct ItemReport {
    item: String,
    map: Name,
    kind: &'static str,
    result: Change,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
    /// cgroups: whether the whole subtree is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    subtree: Option<bool>,
    /// Mount namespaces: whether tracers compare the never-reused id.
    #[serde(skip_serializing_if = "Option::is_none")]
    checked: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Trouble>,
}

#[derive(Debug, Serialize)]
struct EditReport {
    items: Vec<ItemReport>,
}

impl fmt::Display for ItemReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(id), map) = (self.id, &self.map) else { return Ok(()) };
        let flags = match (self.subtree, self.checked) {
            (Some(true), _) => " and its subtree",
            (_, Some(false)) => ", unchecked",
            _ => "",
        };
        let what = format!("{} {id}{flags} ({})", self.kind, self.item);
        match self.result {
            Change::Added => writeln!(f, "added {what} to {map}"),
            Change::Updated => writeln!(f, "updated {what} in {map}"),
            Change::AlreadyThere => writeln!(f, "already there: {what} in {map}"),
            Change::Removed => writeln!(f, "removed {} {id} ({}) from {map}", self.kind, self.item),
            Change::NotThere => writeln!(f, "not there: {} {id} ({}) in {map}", self.kind, self.item),
            Change::Failed => Ok(()),
        }
    }
}

impl fmt::Display for EditReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.items.iter().try_for_each(|item| item.fmt(f))
    }
}

/// Does `action` for all items of all sets.
pub(crate) fn run(action: Action, work: Vec<(&NamedSet, Vec<Resolved>)>) -> Result<Outcome, Failure> {
    let mut report = EditReport { items: Vec::new() };
    let mut failures = Vec::new();
    let mut codes = Vec::new();
    for (named, items) in work {
        for item in items {
            let (line, failure) = one(action, named, item);
            codes.push(failure.as_ref().map_or(Code::Done, |failure| failure.code));
            failures.extend(failure);
            report.items.push(line);
        }
    }
    let mut outcome = Outcome::done(&report)?;
    outcome.code = combined(&codes);
    outcome.failures = failures;
    Ok(outcome)
}

fn one(action: Action, named: &NamedSet, item: Resolved) -> (ItemReport, Option<Failure>) {
    let mut line = ItemReport {
        item: item.label,
        map: Name::new(&named.path),
        kind: named.set.kind().name(),
        result: Change::Failed,
        id: None,
        hex: None,
        subtree: None,
        checked: None,
        error: None,
    };
    let done = item.member.and_then(|member| {
        line.id = Some(member.key());
        line.hex = Some(text::hex_bytes(member.key()));
        let changed = match action {
            Action::Add => add(named, member, &mut line),
            Action::Remove => remove(named, &member),
        };
        changed.map_err(|failure| failure.context(&line.item))
    });
    match done {
        Ok(change) => {
            line.result = change;
            (line, None)
        }
        Err(failure) => {
            line.error = Some(Trouble { code: failure.code as u8, message: failure.to_string() });
            (line, Some(failure))
        }
    }
}

fn add(named: &NamedSet, member: Member, line: &mut ItemReport) -> Result<Change, Failure> {
    let present = named.set.get(member.key()).map_err(|error| refused(named, error))?;
    let wanted = merged(present, member);
    match wanted {
        Member::Cgroup(cgroup) => line.subtree = Some(cgroup.is_subtree()),
        Member::Mntns(namespace) => line.checked = Some(namespace.check != 0),
    }
    if present == Some(wanted) {
        return Ok(Change::AlreadyThere);
    }
    named.set.insert(&wanted).map_err(|error| refused(named, error))?;
    Ok(if present.is_some() { Change::Updated } else { Change::Added })
}

/// What to store when there is an entry already: bits that are not ours to know are kept, and a check value is
/// not given up for an unknown one.
fn merged(present: Option<Member>, wanted: Member) -> Member {
    match (present, wanted) {
        (Some(Member::Cgroup(old)), Member::Cgroup(new)) => {
            let others = old.flags & !CgroupMember::SUBTREE;
            Member::Cgroup(CgroupMember { id: new.id, flags: new.flags | others })
        }
        (Some(old @ Member::Mntns(_)), Member::Mntns(new)) if new.check == 0 => old,
        (_, wanted) => wanted,
    }
}

fn remove(named: &NamedSet, member: &Member) -> Result<Change, Failure> {
    let removed = named.set.remove(member.key()).map_err(|error| refused(named, error))?;
    Ok(if removed { Change::Removed } else { Change::NotThere })
}

/// An update that the map refused. `E2BIG` is how the kernel says that it is full.
pub(super) fn refused(named: &NamedSet, error: loader::Error) -> Failure {
    let at = format!("set `{}`", text::path(&named.path));
    let capacity = named.set.capacity();
    match (error.kind(), error.errno()) {
        (ErrorKind::Limit, Some(libc::E2BIG)) => {
            let used = named.set.members().map_or(capacity as usize, |members| members.len());
            Failure::new(Code::Full, format!("full: {used} of {capacity}")).context(&at).hint(format!(
                "make it larger with: nsmap resize {} {}",
                capacity.saturating_mul(2),
                text::path(&named.path)
            ))
        }
        (ErrorKind::Permission, _) => {
            Failure::from(error).context(&at).hint("the map is frozen or read-only").needs(Capability::Bpf)
        }
        _ => Failure::from(error).context(&at),
    }
}

/// A word of caution for cgroup sets on hosts whose tasks all have the same cgroup id.
pub(crate) fn note_useless_ids(outcome: &mut Outcome, kind: Kind) {
    if kind == Kind::Cgroup
        && outcome.code == Code::Done
        && let Some(why) = nsmap::identity::cgroup::why_ids_are_useless()
    {
        outcome
            .notes
            .push(format!("{why}; a cgroup set matches only tasks that are moved into a cgroup below it"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nsmap::set::MntnsMember;

    #[test]
    fn an_unknown_namespace_id_does_not_replace_a_known_one() {
        let with = |check| Member::Mntns(MntnsMember { inode: 1, check });
        assert_eq!(merged(Some(with(7)), with(0)), with(7));
        assert_eq!(merged(Some(with(7)), with(8)), with(8));
        assert_eq!(merged(Some(with(0)), with(8)), with(8));
        assert_eq!(merged(None, with(0)), with(0));
    }

    #[test]
    fn reserved_bits_of_a_cgroup_are_kept() {
        let with = |flags| Member::Cgroup(CgroupMember { id: 1, flags });
        assert_eq!(merged(Some(with(6)), with(1)), with(7));
        assert_eq!(merged(Some(with(7)), with(0)), with(6));
    }
}
