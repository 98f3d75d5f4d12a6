//! Cgroups without processes, until the kernel tells that one has got some.
//!
//! `cgroup.events` of a cgroup changes when the first process comes into it or below it (cgroup-v2.rst), which inotify(7)
//! reports. Where there is no watch to be had, a cgroup is not here, and is looked at now and then.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

/// At most this many are watched; the usual limit of a user is larger.
const LIMIT: usize = 1 << 12;

/// The watches.
#[derive(Debug, Default)]
pub(super) struct Populated {
    inotify: Option<Inotify>,
    ids: HashMap<WatchDescriptor, u64>,
    watches: HashMap<u64, WatchDescriptor>,
}

impl Populated {
    pub(super) fn new() -> Self {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok();
        Self { inotify, ..Self::default() }
    }

    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Whether this cgroup is watched.
    pub(super) fn has(&self, id: u64) -> bool {
        self.watches.contains_key(&id)
    }

    /// Watches a cgroup; false where that cannot be done.
    pub(super) fn watch(&mut self, id: u64, directory: &Path) -> bool {
        let Some(inotify) = self.inotify.as_ref().filter(|_| self.ids.len() < LIMIT) else { return false };
        let Ok(watch) = inotify.add_watch(&directory.join("cgroup.events"), AddWatchFlags::IN_MODIFY) else {
            return false;
        };
        self.ids.insert(watch, id);
        self.watches.insert(id, watch);
        true
    }

    /// Ends the watch of a cgroup, if there is one.
    pub(super) fn forget(&mut self, id: u64) {
        if let (Some(watch), Some(inotify)) = (self.watches.remove(&id), &self.inotify) {
            self.ids.remove(&watch);
            // It is gone already if the cgroup is.
            let _ = inotify.rm_watch(watch);
        }
    }

    /// Ends the watches of all others.
    pub(super) fn retain(&mut self, keep: impl Fn(u64) -> bool) {
        let others: Vec<u64> = self.watches.keys().copied().filter(|&id| !keep(id)).collect();
        others.into_iter().for_each(|id| self.forget(id));
    }

    /// Those that have changed, which are not watched any more.
    pub(super) fn take_populated(&mut self) -> Vec<u64> {
        let events = self.inotify.as_ref().and_then(|inotify| inotify.read_events().ok()).unwrap_or_default();
        let mut ids: Vec<u64> = events.iter().filter_map(|event| self.ids.get(&event.wd).copied()).collect();
        // More than fitted: any of them may have.
        if events.iter().any(|event| event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW)) {
            ids = self.watches.keys().copied().collect();
        }
        ids.sort_unstable();
        ids.dedup();
        ids.iter().for_each(|&id| self.forget(id));
        ids
    }
}
