//! Who is shown: the user's choices, as settings for the kernel.
//!
//! In: parsed options. Out: values for the `filter_*` globals that `bpf-src/include/filter.h` names, and the user's pinned
//! sets in the place of the object's own empty maps. What only user space can match is in [`crate::pattern`].
//! A filter that was asked for and cannot be applied is an error, never a run without it.

use std::collections::BTreeMap;
use std::path::Path;

use loader::map::Map;
use loader::spec::ObjectSpec;
use loader::{ErrorKind, Result};
use nsmap::container::find;
use nsmap::container::inventory::Inventory;
use nsmap::identity::cgroup::ROOT_ID;
use nsmap::identity::mntns;
use nsmap::set::{Kind, NewSet, Set};

use crate::message::Failure;

/// Restrictions on the task, applied in the kernel before anything else is done for an event. None: any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// Process id.
    pub pid: Option<u32>,
    /// Thread id.
    pub tid: Option<u32>,
    /// Process id of the parent.
    pub ppid: Option<u32>,
    /// Real user id; 0 is a user.
    pub uid: Option<u32>,
    /// Id of a cgroup whose whole subtree is meant.
    pub subtree: Option<u64>,
}

impl TaskFilter {
    /// Sets the globals of the object.
    pub fn apply(&self, spec: &mut ObjectSpec) -> Result<()> {
        for (name, id) in [("filter_tgid", self.pid), ("filter_pid", self.tid), ("filter_ppid", self.ppid)] {
            if let Some(id) = id {
                spec.set_global(name, id)?;
            }
        }
        if let Some(uid) = self.uid {
            spec.set_global("filter_uid_on", true)?;
            spec.set_global("filter_uid", uid)?;
        }
        if let Some(id) = self.subtree {
            spec.set_global("filter_subtree", true)?;
            spec.set_global("subtree_id", id)?;
        }
        Ok(())
    }
}

/// The pinned sets that a run filters by, opened.
#[derive(Debug, Default)]
pub struct Sets {
    cgroup: Option<Set>,
    mntns: Option<Set>,
}

impl Sets {
    /// Opens the sets that the user named. Nothing is created, and anything that is not such a set is refused.
    pub fn open(cgroup: Option<&Path>, mntns: Option<&Path>) -> Result<Self, Failure> {
        let open =
            |path: Option<&Path>, kind, option| path.map(|path| open_set(path, kind, option)).transpose();
        Ok(Self {
            cgroup: open(cgroup, Kind::Cgroup, "--kind cgroup ")?,
            mntns: open(mntns, Kind::Mntns, "")?,
        })
    }

    /// Adds the restriction to a running container: to the cgroup that is its own, with what is below; where it has none
    /// (cgroup v1), to its mount namespace.
    pub fn add_container(&mut self, name: &str, filter: &mut TaskFilter) -> Result<(), Failure> {
        let containers = Inventory::of_files();
        let found = find::container(&containers, name)
            .map_err(|error| Failure::from(error).hint("see: nsmap containers"))?;
        if let Some(id) = found.cgroup.filter(|&id| id != ROOT_ID) {
            filter.subtree = Some(id);
            return Ok(());
        }
        let gone = || loader::Error::not_found(format!("container `{}` has no process", found.name()));
        let namespace = mntns::of_process(found.first_pid().ok_or_else(gone)?)?;
        let new = NewSet { kind: Kind::Mntns, entries: 1, name: Kind::Mntns.default_map_name(), mode: 0 };
        let set = Set::create_unpinned(&new)?;
        set.insert(&namespace.member())?;
        self.mntns = Some(set);
        Ok(())
    }

    /// Turns the filters on in the object, and adds the maps that take the place of its own.
    pub fn apply(&self, spec: &mut ObjectSpec, maps: &mut BTreeMap<String, Map>) -> Result<()> {
        for (set, name) in [(&self.cgroup, "cgroup"), (&self.mntns, "mntns")] {
            if let Some(set) = set {
                spec.set_global(&format!("filter_{name}"), true)?;
                spec.set_global(&format!("{name}_value_size"), set.value_size())?;
                maps.insert(format!("{name}_set"), set.map().try_clone()?);
            }
        }
        Ok(())
    }
}

fn open_set(path: &Path, kind: Kind, create_option: &str) -> Result<Set, Failure> {
    Set::open_for_tracer(path, kind).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::from(error)
            .hint(format!("create it with: nsmap create {create_option}{}", nsmap::text::path(path))),
        _ => Failure::from(error),
    })
}
