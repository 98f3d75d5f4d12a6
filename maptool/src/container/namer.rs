//! Which container the task of an event belongs to, also one that is gone by the time that its event is shown.
//!
//! In: cgroup ids and pids; changes of the cgroup tree, what engines wrote down. Out: labels. A thread hears of new cgroups
//! and looks for their names at once, because a short container's files are gone before a batch of events is printed. Where
//! it cannot (what `follow` needs, and CAP_DAC_READ_SEARCH), names are looked for when an event asks. No engine is
//! ever asked: a tracer does not wait for others.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::inventory::{Inventory, Running};
use super::{from_cgroup_path, unit, unit_of_cgroup_path};
use crate::follow::tree::{Change, Tree};
use crate::identity::cgroup::{self, Hierarchy, Location, Resolver};
use crate::text;

/// Cgroups that are remembered at most; then the memory starts anew.
const LIMIT: usize = 4096;
/// How long after it was first seen a cgroup may still get a name.
const PATIENCE: Duration = Duration::from_secs(10);
/// How soon the name of a cgroup is looked for again, by its age: crun's containers can be over two milliseconds after they
/// were made, runc writes its files some fifty milliseconds after that.
const WAITS: [(Duration, Duration); 3] = [
    (Duration::from_millis(30), Duration::from_micros(300)),
    (Duration::from_secs(1), Duration::from_millis(2)),
    (PATIENCE, Duration::from_millis(50)),
];
/// All files are read again after this many times what it took, at the soonest: a twentieth of a processor.
const SHARE: u32 = 20;

/// Labels tasks with their container, remembering what it found for each cgroup.
#[derive(Debug)]
pub struct Namer {
    /// `None` on a host without a v2 hierarchy.
    resolver: Option<Resolver>,
    known: Arc<Mutex<Known>>,
}

impl Default for Namer {
    fn default() -> Self {
        Self::new()
    }
}

impl Namer {
    /// Knows nothing yet, and looks for names when it is asked for them.
    pub fn new() -> Self {
        let top = Hierarchy::find().ok().map(|found| found.mount_point().to_owned());
        let known = Arc::new(Mutex::new(Known { top, ..Known::default() }));
        Self { resolver: Resolver::new().ok(), known }
    }

    /// Starts the thread that hears of new cgroups, as long as this namer lives. Where it cannot, nothing changes.
    pub fn listen(&self) {
        if let Some(listener) = Listener::new(&self.known) {
            let known = Arc::downgrade(&self.known);
            // Without it names are found later, and those of short containers not at all.
            let _ = std::thread::Builder::new().stack_size(256 << 10).spawn(move || listener.run(&known));
        }
    }

    /// `docker:web` if its engine wrote a name down, else `docker:0123456789ab`, the name of a unit, or the path of the
    /// cgroup; `None` for a task in the root, or whose cgroup was gone before it could be seen.
    ///
    /// `cgroup_id` is the task's v2 id. Where that says nothing (the root, as on hosts that use cgroup v1)
    /// the cgroups of process `pid` are read, if it still exists.
    pub fn describe(&mut self, cgroup_id: u64, pid: u32) -> Option<String> {
        let mut known = lock(&self.known);
        if cgroup_id > cgroup::ROOT_ID {
            if let Some(label) = known.label_of(cgroup_id) {
                return label;
            }
            if let Some(Location::Directory(path)) =
                self.resolver.as_mut().map(|found| found.locate(cgroup_id))
            {
                known.see(cgroup_id, path);
                return known.label_of(cgroup_id)?;
            }
        }
        known.label_of_process(pid)
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What has been found out.
#[derive(Debug, Default)]
struct Known {
    /// Where the hierarchy is mounted.
    top: Option<PathBuf>,
    files: Inventory,
    /// When all files may be read again.
    next: Option<Instant>,
    cgroups: HashMap<u64, Seen>,
}

/// A cgroup that exists or has existed.
#[derive(Debug)]
struct Seen {
    directory: PathBuf,
    label: Option<String>,
    /// No later look can tell more.
    is_final: bool,
    since: Instant,
    /// When it is looked at again.
    next: Instant,
}

impl Known {
    fn see(&mut self, id: u64, directory: PathBuf) {
        if self.cgroups.len() >= LIMIT {
            self.cgroups.clear();
        }
        let now = Instant::now();
        let new = Seen { directory, label: None, is_final: false, since: now, next: now };
        self.cgroups.entry(id).or_insert(new);
    }

    /// The outer option: whether this cgroup has been seen.
    fn label_of(&mut self, id: u64) -> Option<Option<String>> {
        let now = Instant::now();
        let seen = self.cgroups.get(&id)?;
        if seen.is_final || now < seen.next {
            return Some(seen.label.clone());
        }
        let (directory, age) = (seen.directory.clone(), now - seen.since);
        self.read_files_of(&directory);
        let (label, is_named) = self.label(&directory);
        if let Some(seen) = self.cgroups.get_mut(&id) {
            seen.is_final = is_named || age > PATIENCE;
            seen.label.clone_from(&label);
            let wait = WAITS.iter().find(|(until, _)| age < *until);
            seen.next = now + wait.map_or(PATIENCE, |(_, wait)| *wait);
        }
        Some(label)
    }

    /// The label of what runs there, and whether it is a name that will stay.
    fn label(&mut self, directory: &Path) -> (Option<String>, bool) {
        let container = from_cgroup_path(directory);
        container.iter().for_each(|container| self.files.know(container));
        match self.files.of_directory(directory) {
            // What only its runtime wrote down has been called as its user likes.
            Some(running) => (Some(running.label()), running.has_name() || container.is_none()),
            None => {
                let own = directory.file_name().and_then(OsStr::to_str);
                let is_unit = own.is_some() && unit_of_cgroup_path(directory).as_deref() == own;
                (unit(directory).or_else(|| self.path(directory)), is_unit)
            }
        }
    }

    /// The path in the hierarchy, of what is in no container or unit as far as can be told.
    fn path(&self, directory: &Path) -> Option<String> {
        let below = directory.strip_prefix(self.top.as_deref()?).ok()?;
        Some(text::path(&Path::new("/").join(below)))
    }

    /// First where a container is that is called as its cgroup, which costs little; then everywhere, now and then.
    fn read_files_of(&mut self, directory: &Path) {
        let own = directory.file_name().and_then(OsStr::to_str);
        let id = from_cgroup_path(directory).map(|container| container.id);
        if let Some(id) = id.as_deref().or(own) {
            self.files.add_records_of(id);
        }
        self.read_files();
    }

    fn read_files(&mut self) {
        let now = Instant::now();
        if self.next.is_some_and(|next| now < next) {
            return;
        }
        self.files = Inventory::of_records();
        self.next = Some(Instant::now() + now.elapsed() * SHARE);
    }

    /// The first of a process's cgroups, v2 before v1, that belongs to a container; else its unit.
    fn label_of_process(&mut self, pid: u32) -> Option<String> {
        let memberships = cgroup::memberships(pid).ok()?;
        let container = memberships.iter().find_map(|membership| from_cgroup_path(&membership.path));
        let Some(container) = container else {
            return memberships.iter().find_map(|membership| unit(&membership.path));
        };
        self.read_files();
        self.files.know(&container);
        self.files.of_id(&container.id).map(Running::label)
    }
}

// ---- the thread that hears of new cgroups --------------------------------------------------------------------------------

/// What the thread has, where the kernel lets us watch. It ends when nobody needs it any more, or with the process.
struct Listener {
    tree: Tree,
    resolver: Resolver,
    /// Cgroups that have no name yet.
    pending: Vec<u64>,
    /// When the first of them is looked at.
    next: Option<Instant>,
}

impl Listener {
    fn new(known: &Mutex<Known>) -> Option<Self> {
        let top = lock(known).top.clone()?;
        let resolver = Resolver::new().ok().filter(|resolver| !resolver.walks())?;
        let tree = Tree::watch(&top).ok()?;
        Some(Self { tree, resolver, pending: Vec::new(), next: None })
    }

    fn run(mut self, known: &Weak<Mutex<Known>>) {
        loop {
            self.wait();
            let Some(known) = known.upgrade() else { return };
            let Ok(changes) = self.tree.changes() else { return };
            for change in changes {
                self.take_in(change, &known);
            }
            self.look_again(&mut lock(&known));
        }
    }

    fn wait(&self) {
        let mut fds = [PollFd::new(self.tree.as_fd(), PollFlags::POLLIN)];
        let left = self.next.map(|next| TimeSpec::from(next.saturating_duration_since(Instant::now())));
        // Whatever it says, what there is is read next.
        let _ = ppoll(&mut fds, left, None);
    }

    fn take_in(&mut self, change: Change, known: &Mutex<Known>) {
        let (parent, name, id, is_new) = match change {
            Change::Created { parent, name, id } => (parent, name, id, true),
            Change::Removed { parent, name, id } => (parent, name, id, false),
            Change::Overflow => return,
        };
        let Location::Directory(above) = self.resolver.locate(parent) else { return };
        let directory = above.join(name);
        let id = id.or_else(|| if is_new { cgroup::id_of_path(&directory).ok() } else { None });
        let Some(id) = id else { return };
        lock(known).see(id, directory);
        self.pending.retain(|&pending| pending != id);
        if is_new {
            self.pending.push(id);
        }
    }

    fn look_again(&mut self, known: &mut Known) {
        self.pending.retain(|id| {
            known.label_of(*id);
            known.cgroups.get(id).is_some_and(|seen| !seen.is_final)
        });
        let times = self.pending.iter().filter_map(|id| Some(known.cgroups.get(id)?.next));
        self.next = times.min();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_remembered_by_what_it_was_called_first() {
        let next = Some(Instant::now() + PATIENCE);
        let mut known = Known { top: Some("/sys/fs/cgroup".into()), next, ..Known::default() };
        let id = "3f".repeat(32);
        for (cgroup, directory, label, is_final) in [
            (7, format!("/sys/fs/cgroup/docker/{id}"), Some("docker:3f3f3f3f3f3f"), false),
            (8, "/sys/fs/cgroup/system.slice/web.service".to_owned(), Some("web.service"), true),
            (9, "/sys/fs/cgroup/system.slice/web.service/inner".to_owned(), Some("web.service"), false),
            (10, "/sys/fs/cgroup/demo/x".to_owned(), Some("/demo/x"), false),
        ] {
            known.see(cgroup, directory.into());
            known.see(cgroup, "/another".into());
            assert_eq!(known.label_of(cgroup), Some(label.map(str::to_owned)));
            assert_eq!(known.cgroups[&cgroup].is_final, is_final, "{cgroup}");
        }
        assert_eq!(known.label_of(11), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut known = Known::default();
        for id in 0..=LIMIT as u64 {
            known.see(id, "/x".into());
        }
        assert_eq!(known.cgroups.len(), 1);
    }
}
