//! What a member of a set stands for now: its state, path, processes, container.
//!
//! In: members. Out: reports on them, in the same order. Reading is enough; without privileges fewer paths and
//! processes can be named.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use nsmap::container;
use nsmap::container::inventory::{Inventory, Running};
use nsmap::identity::cgroup::{self, Hierarchy, Location, Resolver};
use nsmap::identity::mntns::{self, MountNamespace};
use nsmap::identity::process::{self, ByMountNamespace, Process};
use nsmap::set::{CgroupMember, Kind, Member, MntnsMember};
use nsmap::text;
use serde::Serialize;

use crate::output::Name;

/// Processes named per member: in text, and in JSON. The count is always exact.
const SHOWN_IN_TEXT: usize = 4;
const SHOWN_IN_JSON: usize = 64;

/// What a member stands for at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// It exists.
    Live,
    /// No cgroup has this id any more; the namespace is gone.
    Dead,
    /// No process is seen in the namespace, and the kernel cannot say whether it still exists: a mount or a
    /// process that may not be looked at can hold it.
    NoProcessSeen,
    /// The number belongs to another namespace than the one that was added.
    Reused,
    /// It may exist where this process cannot see.
    OutsideView,
    /// It cannot be found out.
    Unknown,
}

#[derive(Serialize)]
pub(super) struct MemberReport {
    pub(super) id: u64,
    pub(super) hex: String,
    pub(super) state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) container: Option<String>,
    #[serde(flatten)]
    pub(super) detail: Detail,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Detail {
    Cgroup {
        subtree: bool,
        path: Option<Name>,
        /// Not known of what is not seen.
        process_count: Option<usize>,
        processes: Vec<ProcessReport>,
    },
    Mntns {
        checked: bool,
        process_count: usize,
        processes: Vec<ProcessReport>,
    },
}

#[derive(Serialize)]
pub(super) struct ProcessReport {
    pid: u32,
    comm: Name,
}

/// Holds what is opened or scanned once for all members.
pub(super) struct Explainer {
    resolver: Option<Resolver>,
    hierarchy: Option<Hierarchy>,
    processes: ByMountNamespace,
    /// What engines wrote down.
    inventory: Inventory,
    /// Every mount namespace, where the kernel lists them.
    namespaces: Option<HashMap<u32, u64>>,
    /// Containers of processes, which many namespaces share with nobody: looked up once per pid.
    containers: HashMap<u32, Option<String>>,
}

impl Explainer {
    pub(super) fn new(kind: Kind) -> Self {
        let mut processes = match kind {
            Kind::Mntns => ByMountNamespace::scan(),
            Kind::Cgroup => ByMountNamespace::default(),
        };
        processes.forget(std::process::id());
        Self {
            resolver: (kind == Kind::Cgroup).then(|| Resolver::new().ok()).flatten(),
            hierarchy: Hierarchy::find().ok(),
            processes,
            namespaces: if kind == Kind::Mntns { mntns::every() } else { None },
            inventory: Inventory::of_records().with_engines(),
            containers: HashMap::new(),
        }
    }

    /// For [`Explainer::state`] alone: reads no process and no file of an engine, if it can do without.
    pub(super) fn of_states(kind: Kind) -> Self {
        let namespaces = if kind == Kind::Mntns { mntns::every() } else { None };
        let scan = kind == Kind::Mntns && namespaces.is_none();
        Self {
            resolver: (kind == Kind::Cgroup).then(|| Resolver::new().ok()).flatten(),
            hierarchy: None,
            processes: if scan { ByMountNamespace::scan() } else { ByMountNamespace::default() },
            namespaces,
            inventory: Inventory::default(),
            containers: HashMap::new(),
        }
    }

    /// Whether a member still stands for something.
    pub(super) fn state(&mut self, member: &Member) -> State {
        match member {
            Member::Cgroup(cgroup) => self.locate(cgroup.id).0,
            Member::Mntns(namespace) => self.state_of(inode_of(namespace), namespace.check),
        }
    }

    pub(super) fn explain(&mut self, members: &[Member]) -> Vec<MemberReport> {
        members
            .iter()
            .map(|member| {
                let (state, container, detail) = match member {
                    Member::Cgroup(cgroup) => self.cgroup(cgroup),
                    Member::Mntns(namespace) => self.mntns(namespace),
                };
                MemberReport {
                    id: member.key(),
                    hex: text::hex_bytes(member.key()),
                    state,
                    container,
                    detail,
                }
            })
            .collect()
    }

    fn locate(&mut self, id: u64) -> (State, Option<PathBuf>) {
        match self.resolver.as_mut().map(|resolver| resolver.locate(id)) {
            Some(Location::Directory(path)) => (State::Live, Some(path)),
            Some(Location::Gone) => (State::Dead, None),
            Some(Location::OutsideView) => (State::OutsideView, None),
            None => (State::Unknown, None),
        }
    }

    fn cgroup(&mut self, member: &CgroupMember) -> (State, Option<String>, Detail) {
        let (state, path) = self.locate(member.id);
        // The path itself says the unit.
        let container = path.as_deref().and_then(|path| self.container_at(path));
        let mut pids = path.as_deref().and_then(|path| cgroup::processes(path, member.is_subtree()));
        if let Some(pids) = &mut pids {
            pids.retain(|&pid| pid != std::process::id());
        }
        let detail = Detail::Cgroup {
            subtree: member.is_subtree(),
            path: path.map(Name::new),
            process_count: pids.as_ref().map(Vec::len),
            processes: reports(process::named(pids.as_deref().unwrap_or_default(), SHOWN_IN_JSON)),
        };
        (state, container, detail)
    }

    fn mntns(&mut self, member: &MntnsMember) -> (State, Option<String>, Detail) {
        let inode = inode_of(member);
        let pids = self.processes.pids(inode);
        let process_count = pids.len();
        let state = self.state_of(inode, member.check);
        let container = pids.first().copied().and_then(|pid| self.container_of(pid));
        let processes = reports(self.processes.processes(inode, SHOWN_IN_JSON));
        (state, container, Detail::Mntns { checked: member.check != 0, process_count, processes })
    }

    fn state_of(&self, inode: u32, check: u32) -> State {
        let now = match &self.namespaces {
            Some(namespaces) => match namespaces.get(&inode) {
                Some(&id) => MountNamespace { inode, unique_id: Some(id) },
                None => return State::Dead,
            },
            None if self.processes.pids(inode).is_empty() => return State::NoProcessSeen,
            None => mntns::of_inode(inode, &self.processes),
        };
        match now.unique_id {
            Some(_) if check != 0 && now.member_value() != check => State::Reused,
            _ => State::Live,
        }
    }

    /// By name where an engine wrote one down, else by engine and id.
    fn container_at(&mut self, path: &Path) -> Option<String> {
        let of_path = container::from_cgroup_path(path);
        if let Some(container) = &of_path {
            self.inventory.ask_for(container);
        }
        let known = self.inventory.of_directory(path).map(Running::label);
        known.or_else(|| of_path.map(|container| container.label()))
    }

    /// Engines that did not answer as they should.
    pub(super) fn problems(self) -> Vec<String> {
        self.inventory.problems
    }

    fn container_of(&mut self, pid: u32) -> Option<String> {
        if let Some(known) = self.containers.get(&pid) {
            return known.clone();
        }
        let by_pid = self.inventory.of_pid(pid).map(Running::label);
        let found = by_pid.or_else(|| self.container_by_cgroups(pid));
        self.containers.insert(pid, found.clone());
        found
    }
}

impl Explainer {
    /// By the cgroups of a process, v2 before v1, a container before a unit.
    fn container_by_cgroups(&mut self, pid: u32) -> Option<String> {
        let memberships = cgroup::memberships(pid).ok()?;
        let hierarchy = self.hierarchy.as_ref();
        let own = hierarchy.and_then(|found| cgroup::directory_of_task(found, pid, &memberships).ok());
        let paths = own.iter().map(PathBuf::as_path);
        let paths = paths.chain(memberships.iter().map(|membership| membership.path.as_path()));
        for path in paths {
            if let Some(found) = self.container_at(path) {
                return Some(found);
            }
        }
        memberships.iter().find_map(|membership| container::label(&membership.path))
    }
}

/// A key of more than 32 bits is no inode number: it has no processes.
fn inode_of(member: &MntnsMember) -> u32 {
    u32::try_from(member.inode).unwrap_or(0)
}

fn reports(processes: Vec<Process>) -> Vec<ProcessReport> {
    let report = |process: Process| ProcessReport { pid: process.pid, comm: Name::new(process.comm) };
    processes.into_iter().map(report).collect()
}

impl State {
    /// As in JSON.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Dead => "dead",
            Self::NoProcessSeen => "no process seen",
            Self::Reused => "reused",
            Self::OutsideView => "outside view",
            Self::Unknown => "unknown",
        }
    }
}

impl MemberReport {
    /// What it stands for, in a few words on one line.
    pub(super) fn comment(&self) -> String {
        let mut comment = self.state.word().to_owned();
        if let Detail::Cgroup { path: Some(path), .. } = &self.detail {
            comment.push_str(&format!(" {path}"));
        }
        let (processes, count) = self.processes();
        if count > 0 {
            comment.push_str(&format!(" {}", Processes(processes, count)));
        }
        if let Some(container) = &self.container {
            comment.push_str(&format!(" [{container}]"));
        }
        comment
    }

    /// Some of its processes, and how many there are.
    fn processes(&self) -> (&[ProcessReport], usize) {
        match &self.detail {
            Detail::Cgroup { processes, process_count, .. } => (processes, process_count.unwrap_or(0)),
            Detail::Mntns { processes, process_count, .. } => (processes, *process_count),
        }
    }
}

impl fmt::Display for MemberReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = match &self.detail {
            Detail::Cgroup { subtree: true, .. } => "subtree",
            Detail::Mntns { checked: true, .. } => "checked",
            _ => "-",
        };
        write!(f, "{:<10} {} {flags:<9} ", self.id, self.hex)?;
        match (&self.detail, self.state) {
            (_, State::Dead) => write!(f, "(dead)")?,
            (_, State::NoProcessSeen) => write!(f, "(no process seen)")?,
            (_, State::OutsideView) => write!(f, "(outside of the hierarchy seen from here)")?,
            (_, State::Unknown) => write!(f, "(unknown: no cgroup v2 hierarchy is mounted here)")?,
            (_, State::Reused) => write!(f, "(reused, does not match) ")?,
            (Detail::Cgroup { path: Some(path), .. }, _) => write!(f, "{path}")?,
            _ => {}
        }
        let (processes, count) = self.processes();
        match &self.detail {
            Detail::Cgroup { .. } if count > 0 => write!(f, ": {}", Processes(processes, count))?,
            Detail::Mntns { .. } => write!(f, "{}", Processes(processes, count))?,
            Detail::Cgroup { .. } => {}
        }
        match &self.container {
            Some(container) => writeln!(f, " [{container}]"),
            None => writeln!(f),
        }
    }
}

/// Some processes by pid and name, and how many there are in all.
struct Processes<'a>(&'a [ProcessReport], usize);

impl fmt::Display for Processes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(processes, count) = self;
        let shown = processes.iter().take(SHOWN_IN_TEXT);
        let names: Vec<String> = shown.map(|process| format!("{} {}", process.pid, process.comm)).collect();
        write!(f, "{}", names.join(", "))?;
        match (count.saturating_sub(names.len()), names.is_empty()) {
            (0, _) => Ok(()),
            (more, false) => write!(f, " and {more} more"),
            // Those of another pid namespace have no number here.
            (more, true) => write!(f, "{more} without a pid here"),
        }
    }
}
