//! `test`: whether the sets would let a process through, by which member, or why not.

use std::fmt;

use loader::map::Access;
use nsmap::identity::{cgroup, mntns};
use nsmap::set::{CgroupMember, MntnsMember};
use nsmap::{Kind, Member};
use serde::Serialize;

use super::sets::{self, NamedSet};
use crate::cli::Test;
use crate::failure::{Capability, Code, Failure};
use crate::output::{Name, Outcome};

#[derive(Serialize)]
struct Verdict {
    pid: u32,
    matches: bool,
    sets: Vec<SetVerdict>,
}

#[derive(Serialize)]
struct SetVerdict {
    map: Name,
    kind: &'static str,
    matches: bool,
    /// The number of the member that matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<u64>,
    why: String,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for set in &self.sets {
            let word = if set.matches { "matches" } else { "does not match" };
            writeln!(f, "process {} {word} {} ({})", self.pid, set.map, set.why)?;
        }
        if self.sets.len() > 1 {
            let word = if self.matches { "shown" } else { "not shown" };
            writeln!(f, "process {} is {word} by a tracer that was given all of these sets", self.pid)?;
        }
        Ok(())
    }
}

pub(crate) fn run(args: &Test) -> Result<Outcome, Failure> {
    let pid = args.pid.unwrap_or_else(std::process::id);
    let named = sets::which(&args.set, Access::ReadOnly)?;
    let sets = named.iter().map(|named| judge(named, pid)).collect::<Result<Vec<_>, _>>()?;
    let matches = sets.iter().all(|set| set.matches);
    let mut outcome = Outcome::done(&Verdict { pid, matches, sets })?;
    outcome.code = if matches { Code::Done } else { Code::Other };
    Ok(outcome)
}

fn judge(named: &NamedSet, pid: u32) -> Result<SetVerdict, Failure> {
    let (member, why) = match named.set.kind() {
        Kind::Cgroup => judge_cgroup(named, pid)?,
        Kind::Mntns => judge_mntns(named, pid)?,
    };
    Ok(SetVerdict {
        map: Name::new(&named.path),
        kind: named.set.kind().name(),
        matches: member.is_some(),
        member,
        why,
    })
}

fn judge_cgroup(named: &NamedSet, pid: u32) -> Result<(Option<u64>, String), Failure> {
    let own = cgroup::of_process(pid)?;
    let mut passed = None;
    for (level, directory) in own.directory.ancestors().enumerate() {
        // Above the mount point there are no cgroups.
        let Ok(id) = cgroup::id_of_path(directory) else { break };
        match named.set.get(id)? {
            Some(Member::Cgroup(_)) if level == 0 => {
                return Ok((Some(id), format!("its cgroup {id} is a member")));
            }
            Some(Member::Cgroup(CgroupMember { flags, .. })) if flags & CgroupMember::SUBTREE != 0 => {
                return Ok((Some(id), format!("it is below cgroup {id}, a member with its subtree")));
            }
            Some(_) => passed = passed.or(Some(id)),
            None => {}
        }
    }
    Ok((
        None,
        match passed {
            Some(id) => {
                format!("it is below cgroup {id}, a member without its subtree; its own is {}", own.id)
            }
            None => format!("its cgroup {} is no member", own.id),
        },
    ))
}

fn judge_mntns(named: &NamedSet, pid: u32) -> Result<(Option<u64>, String), Failure> {
    let own = mntns::of_process(pid).map_err(|error| Failure::from(error).needs(Capability::SysPtrace))?;
    let key = u64::from(own.inode);
    Ok(match named.set.get(key)? {
        Some(Member::Mntns(MntnsMember { check: 0, .. })) => {
            (Some(key), format!("its mount namespace {key} is a member, unchecked"))
        }
        Some(Member::Mntns(MntnsMember { check, .. }))
            if own.unique_id.is_none() || check == own.member_value() =>
        {
            (Some(key), format!("its mount namespace {key} is a member"))
        }
        Some(_) => (None, format!("the member {key} is stale: its number went to another mount namespace")),
        None => (None, format!("its mount namespace {key} is no member")),
    })
}
