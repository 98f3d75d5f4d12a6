//! `resize`: a map of another size in the place of a set, with the same members, name and permissions.
//!
//! The kernel cannot change the size of a map. A new one is filled, pinned beside the old one, and renamed over
//! it, which is atomic: whoever opens the path gets the one or the other, whole.

use std::fmt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use loader::map::Access;
use nsmap::plan::Plan;
use nsmap::set::NewSet;
use nsmap::{Set, text};
use serde::Serialize;

use super::holders::{self, Holder};
use super::sets::{self, NamedSet};
use crate::cli::Resize;
use crate::failure::{Capability, Code, Failure};
use crate::output::{Name, Outcome};

/// Rounds of copying what changed meanwhile.
const ROUNDS: usize = 8;

#[derive(Serialize)]
struct Resized {
    map: Name,
    kind: &'static str,
    from: u32,
    to: u32,
    used: usize,
    result: &'static str,
    /// Processes that have the old map open, and keep it.
    holders: Vec<Holder>,
}

impl fmt::Display for Resized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { map, from, to, used, result, .. } = self;
        writeln!(f, "{result}: {map}, room for {to} members, was {from} ({used} used)")
    }
}

pub(crate) fn run(args: &Resize) -> Result<Outcome, Failure> {
    let named = sets::only_one(&args.set, Access::ReadWrite)?;
    let at = format!("resize set `{}`", text::path(&named.path));
    let old = named.set.capacity();
    if old == args.entries {
        let used = sets::members(&named)?.len();
        return report(&named, args.entries, used, "already so", Vec::new());
    }
    let new = filled(&named, args.entries).map_err(|failure| failure.context(&at))?;
    swap(&named, &new).map_err(|failure| failure.context(&at))?;
    // Members that were added to the old map between copying and swapping.
    let used = copy(&named.set, &new, args.entries).map_err(|failure| failure.context(&at))?;
    let holders = holders::of_map(named.set.map().info().id);
    let mut outcome = report(&named, args.entries, used, "resized", holders)?;
    outcome.notes.push("tracers that are running keep the old map until they are started again".to_owned());
    Ok(outcome)
}

fn report(
    named: &NamedSet,
    to: u32,
    used: usize,
    result: &'static str,
    holders: Vec<Holder>,
) -> Result<Outcome, Failure> {
    let names: Vec<String> = holders.iter().map(|holder| format!("{} {}", holder.pid, holder.comm)).collect();
    let mut outcome = Outcome::done(&Resized {
        map: Name::new(&named.path),
        kind: named.set.kind().name(),
        from: named.set.capacity(),
        to,
        used,
        result,
        holders,
    })?;
    if !names.is_empty() {
        outcome.notes.push(format!("the old map is in use by: {}", names.join(", ")));
    }
    Ok(outcome)
}

fn filled(named: &NamedSet, entries: u32) -> Result<Set, Failure> {
    let info = named.set.map().info();
    let new = NewSet { kind: named.set.kind(), entries, name: &info.name, mode: 0o600 };
    let new = Set::create_unpinned(&new).map_err(|error| Failure::from(error).needs(Capability::Bpf))?;
    copy(&named.set, &new, entries)?;
    Ok(new)
}

/// Makes `new` hold what `old` holds, also what changes meanwhile; says how many members that are.
fn copy(old: &Set, new: &Set, entries: u32) -> Result<usize, Failure> {
    let mut used = 0;
    for _ in 0..ROUNDS {
        let members = old.members()?;
        used = members.len();
        if used > entries as usize {
            let message = format!("{used} members do not fit into {entries}");
            return Err(Failure::new(Code::Full, message).hint("nothing was changed; remove members first"));
        }
        let plan = Plan::new(&new.members()?, members, true);
        if plan.is_empty() {
            return Ok(used);
        }
        plan.carry_out(new).1?;
    }
    Ok(used)
}

fn swap(named: &NamedSet, new: &Set) -> Result<(), Failure> {
    let path = named.path.canonicalize().unwrap_or_else(|_| named.path.clone());
    let meta = std::fs::metadata(&path).map_err(|error| Failure::from(loader::Error::io("stat", error)))?;
    let beside = beside(&path);
    new.pin(&beside, meta.permissions().mode() & 0o777)
        .map_err(|error| Failure::from(error).needs(Capability::DacOverride))?;
    let renamed =
        chown(&beside, Some(meta.uid()), Some(meta.gid())).and_then(|()| std::fs::rename(&beside, &path));
    renamed.map_err(|error| {
        let _ = std::fs::remove_file(&beside);
        Failure::from(loader::Error::io("rename", error)).needs(Capability::DacOverride)
    })
}

/// A name in the same directory that no other run takes. bpffs allows no dots.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!("-nsmap-{}", std::process::id()));
    path.with_file_name(name)
}
