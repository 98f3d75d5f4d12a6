//! From arguments to members: what a path, a pid or a number stands for.
//!
//! In: items of the command line. Out: a label to name it by, and a member or the reason why there is none.

use std::collections::HashMap;
use std::path::Path;

use nsmap::container::inventory::Running;
use nsmap::identity::cgroup::{self, Location, Resolver};
use nsmap::identity::mntns::{self, MountNamespace};
use nsmap::identity::process::{ByMountNamespace, has_capability};
use nsmap::set::CgroupMember;
use nsmap::{Kind, Member, text};

use crate::cli::{CgroupItem, MntnsItem};
use crate::failure::{Capability, Code, Failure};

/// An item and what became of it.
pub(crate) struct Resolved {
    pub(crate) label: String,
    pub(crate) member: Result<Member, Failure>,
}

/// Whether an id must stand for something that exists: to be added yes, to be removed no.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existence {
    Required,
    NotNeeded,
}

/// Cgroups by path or id.
pub(crate) fn cgroups(items: &[CgroupItem], subtree: bool, existence: Existence) -> Vec<Resolved> {
    let id_of = |item: &CgroupItem| match item {
        CgroupItem::Path(path) => cgroup::id_of_path(path).map_err(|error| cgroup_failure(path, error)),
        CgroupItem::Id(id) if existence == Existence::NotNeeded => Ok(*id),
        CgroupItem::Id(id) => existing_id(*id),
    };
    let label = |item: &CgroupItem| match item {
        CgroupItem::Path(path) => text::path(path),
        CgroupItem::Id(id) => format!("id {id}"),
    };
    let resolve = |item: &CgroupItem| Resolved {
        label: label(item),
        member: id_of(item).map(|id| Member::Cgroup(CgroupMember::new(id, subtree))),
    };
    items.iter().map(resolve).collect()
}

fn cgroup_failure(path: &Path, error: loader::Error) -> Failure {
    let failure = Failure::from(error).needs(Capability::DacOverride);
    match (failure.code, cgroup::Hierarchy::find()) {
        (Code::Wrong, _) if may_be_a_listing(path) => failure.hint(USE_APPLY),
        (Code::Wrong, Ok(found)) if !path.starts_with(found.mount_point()) => {
            failure.hint(format!("cgroup v2 is mounted on `{}`", text::path(found.mount_point())))
        }
        (Code::Wrong, Err(_)) => failure.hint("no cgroup v2 is mounted here"),
        _ => failure,
    }
}

/// For who hands over a file with members.
const USE_APPLY: &str = "a listing of members is put into a set with: nsmap apply FILE";

/// Whether it is a file as people write them, which those of cgroups and namespaces are not.
fn may_be_a_listing(path: &Path) -> bool {
    let is_file = std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() > 0);
    is_file && !path.starts_with("/proc") && !path.starts_with("/sys")
}

fn existing_id(id: u64) -> Result<u64, Failure> {
    match Resolver::new()?.locate(id) {
        Location::Directory(_) | Location::OutsideView => Ok(id),
        Location::Gone => Err(Failure::new(Code::NotFound, format!("cgroup {id}: no cgroup has this id"))
            .hint("a directory of this name is meant by a path with a slash, such as ./7")),
    }
}

/// The cgroup that a process is in. The root is refused unless `force`: on a host that uses cgroup v1 every task
/// is in it.
pub(crate) fn cgroup_of(pid: u32, subtree: bool, force: bool) -> Result<Member, Failure> {
    let found = cgroup::of_process(pid)?;
    if found.is_root() && !force {
        let why = cgroup::why_ids_are_useless().map(|why| format!(": {why}")).unwrap_or_default();
        let message = format!("process {pid} is in the root cgroup, which would match every task there{why}");
        return Err(Failure::new(Code::Other, message)
            .hint("use a mount namespace set, or add it all the same with --force"));
    }
    Ok(Member::Cgroup(CgroupMember::new(found.id, subtree)))
}

/// Mount namespaces by pid, file or inode number; and the numbers among them that are nobody's now.
pub(crate) fn mount_namespaces(items: &[MntnsItem], existence: Existence) -> (Vec<Resolved>, Vec<u32>) {
    let mut numbers = Numbers::default();
    let mut nobodys = Vec::new();
    let mut resolved = Vec::new();
    for item in items {
        let (label, found) = match item {
            MntnsItem::Pid(pid) => (format!("process {pid}"), mntns::of_process(*pid)),
            MntnsItem::File(path) => (text::path(path), mntns::of_file(path)),
            MntnsItem::Inode(inode) if existence == Existence::NotNeeded => {
                (format!("mnt:[{inode}]"), Ok(MountNamespace { inode: *inode, unique_id: None }))
            }
            MntnsItem::Inode(inode) => {
                let (found, exists) = numbers.look_up(*inode);
                if !exists {
                    nobodys.push(*inode);
                }
                (format!("mnt:[{inode}]"), Ok(found))
            }
        };
        let member = mntns_member(found).map_err(|failure| match item {
            MntnsItem::File(path) if failure.code == Code::Wrong && may_be_a_listing(path) => {
                failure.hint(USE_APPLY)
            }
            _ => failure,
        });
        resolved.push(Resolved { label, member });
    }
    (resolved, nobodys)
}

/// Who has which inode number; found out when it is asked for first.
#[derive(Default)]
struct Numbers {
    /// Of all mount namespaces, where the kernel lists them.
    every: Option<Option<HashMap<u32, u64>>>,
    /// Where it does not.
    processes: Option<ByMountNamespace>,
}

impl Numbers {
    /// The namespace with this number, and whether it exists, as far as that can be known.
    fn look_up(&mut self, inode: u32) -> (MountNamespace, bool) {
        if let Some(every) = self.every.get_or_insert_with(mntns::every) {
            let unique_id = every.get(&inode).copied();
            return (MountNamespace { inode, unique_id }, unique_id.is_some());
        }
        let processes = self.processes.get_or_insert_with(ByMountNamespace::scan);
        (mntns::of_inode(inode, processes), true)
    }
}

fn mntns_member(found: loader::Result<MountNamespace>) -> Result<Member, Failure> {
    Ok(namespace_of(found)?.member())
}

/// With what to do about a refusal.
pub(crate) fn namespace_of(found: loader::Result<MountNamespace>) -> Result<MountNamespace, Failure> {
    found.map_err(|error| {
        let failure = Failure::from(error).needs(Capability::SysPtrace);
        if failure.code != Code::Permission || !has_capability(Capability::SysPtrace as u32) {
            return failure;
        }
        failure.hint("CAP_SYS_PTRACE is there: a security module guards the process, or it is in an outer user namespace")
    })
}

/// The mount namespace of this process.
pub(crate) fn own_mount_namespace() -> Resolved {
    Resolved { label: "this process".to_owned(), member: mntns_member(mntns::own()) }
}

/// The cgroup of this process.
pub(crate) fn own_cgroup(subtree: bool, force: bool) -> Resolved {
    Resolved { label: "this process".to_owned(), member: cgroup_of(std::process::id(), subtree, force) }
}

/// What a container is in, for a set of this kind: its cgroup with all that is below it, or its mount namespace.
pub(crate) fn of_container(running: &Running, kind: Kind) -> Resolved {
    let gone = |what: &str| {
        let message = format!("its {what} is not known");
        Failure::new(Code::NotFound, message).hint("it may have ended, or its processes may not be looked at")
    };
    let member = match (kind, running.cgroup, running.first_pid()) {
        (Kind::Cgroup, Some(id), _) => Ok(Member::Cgroup(CgroupMember::new(id, true))),
        (Kind::Cgroup, None, Some(pid)) => cgroup_of(pid, true, false),
        (Kind::Cgroup, None, None) => Err(gone("cgroup")),
        (Kind::Mntns, _, Some(pid)) => mntns_member(mntns::of_process(pid)),
        (Kind::Mntns, _, None) => Err(gone("mount namespace")),
    };
    Resolved { label: running.label(), member }
}

/// What a process is in, for a set of this kind.
pub(crate) fn of_process(pid: u32, kind: Kind, force: bool) -> Resolved {
    let member = match kind {
        Kind::Cgroup => cgroup_of(pid, false, force),
        Kind::Mntns => mntns_member(mntns::of_process(pid)),
    };
    Resolved { label: format!("process {pid}"), member }
}
