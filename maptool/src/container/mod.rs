//! Which container or unit a task belongs to, from its cgroup path alone: no daemon, no privilege.
//!
//! In: a cgroup path. Out: engine and id, or the unit of systemd. The patterns are in [`patterns`]; names
//! that only the engines know are read from their files by [`state`], asked of them by [`sockets`], and joined with the
//! rest in [`inventory`].

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;

use crate::identity::cgroup::{self, Location, Resolver};
use crate::text;

mod connection;
mod cri;
pub mod find;
mod grpc;
mod http;
pub mod inventory;
pub mod patterns;
pub mod sockets;
pub mod sources;
pub mod state;

pub use patterns::{Container, Engine, Pod, from_cgroup_path, unit_of_cgroup_path};

/// Cgroups whose label is remembered at most; then the memory starts anew.
const CACHE_LIMIT: usize = 4096;

/// Labels tasks with their container, remembering what it found for each cgroup.
#[derive(Debug, Default)]
pub struct Namer {
    /// Opened at first use; stays `None` on a host without a v2 hierarchy.
    resolver: Option<Resolver>,
    tried: bool,
    cache: HashMap<u64, Option<String>>,
}

impl Namer {
    /// A namer that knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// `docker:0123456789ab`, or the name of a unit, or `None` for a task in neither.
    ///
    /// `cgroup_id` is the task's v2 id. Where that says nothing (the root, as on hosts that use cgroup v1)
    /// the cgroups of process `pid` are read, if it still exists.
    pub fn describe(&mut self, cgroup_id: u64, pid: u32) -> Option<String> {
        if cgroup_id > cgroup::ROOT_ID {
            if let Some(known) = self.cache.get(&cgroup_id) {
                return known.clone();
            }
            if let Some(Location::Directory(path)) = self.resolver().map(|found| found.locate(cgroup_id)) {
                let label = label(&path);
                if self.cache.len() >= CACHE_LIMIT {
                    self.cache.clear();
                }
                self.cache.insert(cgroup_id, label.clone());
                return label;
            }
        }
        describe_process(pid)
    }

    fn resolver(&mut self) -> Option<&mut Resolver> {
        if !self.tried {
            self.tried = true;
            self.resolver = Resolver::new().ok();
        }
        self.resolver.as_mut()
    }
}

/// As [`Namer::describe`], once.
pub fn describe(cgroup_id: u64, pid: u32) -> Option<String> {
    Namer::new().describe(cgroup_id, pid)
}

/// The first of a process's cgroups, v2 before v1, that belongs to a container; else its unit.
fn describe_process(pid: u32) -> Option<String> {
    let mut memberships = cgroup::memberships(pid).ok()?;
    memberships.sort_by_key(|membership| membership.hierarchy);
    let container = memberships.iter().find_map(|membership| from_cgroup_path(&membership.path));
    match container {
        Some(container) => Some(container.label()),
        None => memberships.iter().find_map(|membership| unit(&membership.path)),
    }
}

/// The label of what runs in the cgroup at `path`.
pub fn label(path: &Path) -> Option<String> {
    from_cgroup_path(path).map(|container| container.label()).or_else(|| unit(path))
}

fn unit(path: &Path) -> Option<String> {
    unit_of_cgroup_path(path).map(|unit| text::safe(OsStr::new(&unit)))
}
