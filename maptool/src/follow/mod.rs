//! Keeping sets equal to what matches, as containers come and go.
//!
//! In: [`Selector`]s, changes of the cgroup tree as the kernel reports them ([`tree`]). Out: members of sets, and an
//! [`Event`] for each change. Nothing holds a container up while it starts: a cgroup is a member as soon as it is
//! made, before anything runs in it, if its path says enough, by a program in the kernel ([`early`]); else as soon as
//! its engine has written its name down, or tells it ([`asker`]).

use std::collections::{HashMap, HashSet};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use loader::Result;

use crate::container::from_cgroup_path;
use crate::container::inventory::{self, Inventory};
use crate::identity::cgroup::{self, Hierarchy, Location, Resolver};
use crate::identity::mntns::{self, MountNamespace};
use crate::identity::process;
use crate::plan::Plan;
use crate::set::{CgroupMember, Kind, Member, Set};
use crate::text;

mod asker;
mod claim;
mod early;
mod event;
mod pending;
mod populated;
mod rule;
pub mod selector;
mod traced;
pub mod tree;

use asker::Asker;
use claim::Claim;
pub use claim::Rival;
use early::Early;
pub use event::{Entry, Event};
use pending::Pending;
use populated::Populated;
pub use selector::{Selector, Verdict};
use tree::Change;

/// How long after its creation a cgroup may still get a name that matches.
const NAME_PATIENCE: Duration = Duration::from_secs(10);
/// How often it is checked that followed cgroups are still in the namespace that was stored: a link is read for each.
const RECHECK: Duration = Duration::from_secs(5);

/// A cgroup that matches.
#[derive(Debug)]
struct Followed {
    directory: PathBuf,
    name: String,
    namespace: Option<Held>,
}

/// The namespace of a cgroup's processes.
#[derive(Debug)]
struct Held {
    namespace: MountNamespace,
    /// The process that was asked.
    pid: u32,
    /// Keeps its number from going to another.
    _file: OwnedFd,
}

/// Keeps sets equal to what selectors match.
#[derive(Debug)]
pub struct Follower {
    selectors: Vec<Selector>,
    sets: Vec<Set>,
    /// One for each set, once they are claimed.
    claims: Vec<Claim>,
    hierarchy: Hierarchy,
    resolver: Resolver,
    followed: HashMap<u64, Followed>,
    pending: Vec<Pending>,
    /// Those without processes.
    empty: Populated,
    asker: Asker,
    /// One for each cgroup set, where the kernel lets us.
    early: Vec<Early>,
    /// Whether there was one: it may have added what we have not heard of.
    was_early: bool,
    recheck: Instant,
    events: Vec<Event>,
    /// Something did not fit; it may when something else goes.
    short: bool,
}

impl Follower {
    /// Follows for these sets, which belong to it from now on: what does not match will be removed.
    ///
    /// # Errors
    /// As [`Resolver::new`].
    pub fn new(selectors: Vec<Selector>, sets: Vec<Set>) -> Result<Self> {
        Ok(Self {
            selectors,
            sets,
            claims: Vec::new(),
            hierarchy: Hierarchy::find()?,
            resolver: Resolver::new()?,
            followed: HashMap::new(),
            pending: Vec::new(),
            empty: Populated::new(),
            asker: Asker::new(),
            early: Vec::new(),
            was_early: false,
            recheck: Instant::now() + RECHECK,
            events: Vec::new(),
            short: false,
        })
    }

    /// Claims the sets, so that no other follower works on them: see [`claim`]. Says who does already; then nothing is claimed.
    ///
    /// # Errors
    /// `Permission`: CAP_SYS_ADMIN is needed.
    pub fn claim(&mut self) -> Result<Option<Rival>> {
        let mut claims = Vec::new();
        for (set, wanted) in self.sets.iter().enumerate() {
            match Claim::take(wanted)? {
                Ok(claim) => claims.push(claim),
                Err(claim) => return Ok(Some(Rival { set, set_id: wanted.map().info().id, claim })),
            }
        }
        self.claims = claims;
        Ok(None)
    }

    /// Lets the kernel add what a path or name alone selects, as it is made: see [`early`]. Without it, members are added as
    /// soon as the follower hears of a new cgroup.
    ///
    /// # Errors
    /// `Permission`: CAP_BPF and CAP_PERFMON are needed. Those of the loader; nothing is changed then.
    pub fn attach_early(&mut self) -> Result<()> {
        let sets = self.sets.iter().filter(|set| set.kind() == Kind::Cgroup);
        let mut attached = sets.map(Early::attach).collect::<Result<Vec<_>>>()?;
        let rules = rule::everywhere(&self.selectors, self.is_whole());
        attached.iter_mut().try_for_each(|early| early.set_rules(0, &rules))?;
        self.was_early = !attached.is_empty();
        self.early = attached;
        Ok(())
    }

    /// Whether paths here are those of the kernel: not so in a cgroup namespace.
    fn is_whole(&self) -> bool {
        self.resolver.root_id() == cgroup::ROOT_ID
    }

    /// Gives the kernel the rules for what will be made in this directory.
    fn teach(&mut self, id: u64, directory: &Path) {
        if self.early.is_empty() {
            return;
        }
        let rules = rule::inside(&self.selectors, &self.path_of(directory), self.is_whole());
        // Without a rule a member is later, not missing.
        self.early.iter_mut().for_each(|early| drop(early.set_rules(id, &rules)));
    }

    fn path_of(&self, directory: &Path) -> PathBuf {
        let below = directory.strip_prefix(self.hierarchy.mount_point()).unwrap_or(directory);
        if below.as_os_str().is_empty() { PathBuf::from("/") } else { Path::new("/").join(below) }
    }

    /// Where the hierarchy is mounted.
    pub fn mount_point(&self) -> &Path {
        self.hierarchy.mount_point()
    }

    /// How many cgroups match.
    pub fn len(&self) -> usize {
        self.followed.len()
    }

    /// Whether nothing matches.
    pub fn is_empty(&self) -> bool {
        self.followed.is_empty()
    }

    /// What has happened since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Looks at everything, and makes the sets equal to what matches.
    ///
    /// # Errors
    /// A set cannot be read.
    pub fn synchronise(&mut self) -> Result<()> {
        // Before the look at the tree: what the kernel adds meanwhile must not be taken for a leftover.
        let present = self.sets.iter().map(Set::members).collect::<Result<Vec<_>>>()?;
        let mut inventory = Inventory::take();
        let problems = std::mem::take(&mut inventory.problems);
        self.events.extend(problems.into_iter().map(Event::Warning));
        self.short = false;
        self.pending.clear();
        self.find_all(&inventory);
        if self.wants(Kind::Mntns) {
            let ids: Vec<u64> = self.followed.keys().copied().collect();
            for id in ids {
                if !self.find_namespace(id, false) {
                    self.wait_for(id, false);
                }
            }
        }
        self.make_equal(&present)?;
        self.sweep()
    }

    fn find_all(&mut self, inventory: &Inventory) {
        let mut found = HashMap::new();
        let mut unnamed = Vec::new();
        let mut seen = HashSet::new();
        let directories: Vec<PathBuf> = cgroup::directories(self.hierarchy.mount_point()).collect();
        for directory in directories {
            if !self.early.is_empty()
                && let Ok(id) = cgroup::id_of_path(&directory)
            {
                seen.insert(id);
                self.teach(id, &directory);
            }
            let (verdict, name) = self.judge(&directory, inventory);
            // What is no container by its path was made long enough ago to have a name, if it ever gets one.
            if verdict == Verdict::No || verdict == Verdict::Unknown && from_cgroup_path(&directory).is_none()
            {
                continue;
            }
            let Ok(id) = cgroup::id_of_path(&directory) else { continue };
            if verdict == Verdict::Unknown {
                unnamed.push((id, directory));
                continue;
            }
            let known = self.followed.remove(&id).and_then(|known| known.namespace);
            found.insert(id, Followed { directory, name, namespace: known });
        }
        self.followed = found;
        self.empty.retain(|id| self.followed.contains_key(&id));
        self.early.iter_mut().for_each(|early| drop(early.retain(|parent| seen.contains(&parent))));
        unnamed.into_iter().for_each(|(id, directory)| self.push_pending(id, directory, true));
    }

    /// Removes dead members: of cgroups that were made and removed while we did not hear of it.
    fn sweep(&mut self) -> Result<()> {
        if !self.was_early {
            return Ok(());
        }
        for set in self.sets.iter().filter(|set| set.kind() == Kind::Cgroup) {
            for member in set.members()? {
                let id = member.key();
                if !self.followed.contains_key(&id) && self.resolver.locate(id) == Location::Gone {
                    set.remove(id)?;
                }
            }
        }
        Ok(())
    }

    fn make_equal(&mut self, present: &[Vec<Member>]) -> Result<()> {
        for (set, present) in self.sets.iter().zip(present) {
            let kind = set.kind();
            let (wanted, names) = self.wanted(kind);
            let plan = Plan::new(present, wanted, true);
            let (_, result) = plan.carry_out(set);
            let entry = |member: &Member| {
                let id = member.key();
                Entry { kind, id, name: names.get(&id).cloned().unwrap_or_default() }
            };
            let problem = result.err().map(|error| error.to_string());
            for member in &plan.remove {
                let stayed = problem.is_some() && set.get(member.key()).is_ok_and(|now| now.is_some());
                self.events.push(match &problem {
                    Some(problem) if stayed => Event::Failed(entry(member), problem.clone()),
                    _ => Event::Removed(entry(member)),
                });
            }
            for member in plan.add.iter().chain(plan.update.iter().map(|(_, new)| new)) {
                let stored = problem.is_none() || set.get(member.key()).is_ok_and(|now| now.is_some());
                self.short |= !stored;
                self.events.push(match &problem {
                    Some(problem) if !stored => Event::Failed(entry(member), problem.clone()),
                    _ => Event::Added(entry(member)),
                });
            }
        }
        Ok(())
    }

    fn wanted(&self, kind: Kind) -> (Vec<Member>, HashMap<u64, String>) {
        let mut wanted = Vec::new();
        let mut names = HashMap::new();
        for (&id, followed) in &self.followed {
            let member = match (kind, &followed.namespace) {
                (Kind::Cgroup, _) => Member::Cgroup(CgroupMember::new(id, true)),
                (Kind::Mntns, Some(held)) => held.namespace.member(),
                (Kind::Mntns, None) => continue,
            };
            names.insert(member.key(), followed.name.clone());
            wanted.push(member);
        }
        (wanted, names)
    }

    fn wants(&self, kind: Kind) -> bool {
        self.sets.iter().any(|set| set.kind() == kind)
    }

    /// Takes in what the kernel reported.
    ///
    /// # Errors
    /// As [`Follower::synchronise`], which an overflow asks for.
    pub fn take_in(&mut self, changes: Vec<Change>) -> Result<()> {
        let mut anew = false;
        let was_short = self.short;
        for change in changes {
            match change {
                Change::Created { parent, name, id } => self.created(parent, Path::new(&name), id),
                Change::Removed { id: Some(id), parent, name } => {
                    anew |= was_short && self.followed.contains_key(&id);
                    if !self.followed.contains_key(&id) {
                        self.came_and_went(id, parent, Path::new(&name));
                    }
                    self.removed(id);
                }
                Change::Removed { id: None, .. } => anew = true,
                Change::Overflow => {
                    anew = true;
                    self.events.push(Event::Overflow);
                }
            }
        }
        if anew { self.synchronise() } else { Ok(()) }
    }

    fn created(&mut self, parent: u64, name: &Path, id: Option<u64>) {
        let Location::Directory(above) = self.resolver.locate(parent) else { return };
        let directory = above.join(name);
        // One that is gone already was never a member.
        let Some(now) = id.or_else(|| cgroup::id_of_path(&directory).ok()) else { return };
        if self.followed.contains_key(&now) {
            return;
        }
        self.teach(now, &directory);
        match self.judge(&directory, &Inventory::default()) {
            (Verdict::Yes, name) => self.begin(now, directory, name),
            (Verdict::Unknown, _) => {
                self.take_back(now);
                self.push_pending(now, directory, true);
            }
            (Verdict::No, _) => self.take_back(now),
        }
    }

    /// Removes what the kernel added and should not have: see [`rule`].
    fn take_back(&self, id: u64) {
        if self.was_early {
            self.sets.iter().filter(|set| set.kind() == Kind::Cgroup).for_each(|set| drop(set.remove(id)));
        }
    }

    /// A cgroup that was gone before we heard of it. If the kernel had added it, it was a member for a while.
    fn came_and_went(&mut self, id: u64, parent: u64, name: &Path) {
        for early in &mut self.early {
            let _ = early.set_rules(id, &[]);
        }
        if !self.was_early {
            return;
        }
        let was = |set: &&Set| set.kind() == Kind::Cgroup && set.remove(id).unwrap_or(false);
        if self.sets.iter().filter(was).count() == 0 {
            return;
        }
        let name = match self.resolver.locate(parent) {
            Location::Directory(above) => self.judge(&above.join(name), &Inventory::default()).1,
            _ => text::path(name),
        };
        let entry = Entry { kind: Kind::Cgroup, id, name };
        self.events.extend([Event::Added(entry.clone()), Event::Removed(entry)]);
    }

    /// Whether a cgroup matches, and what to call it.
    fn judge(&self, directory: &Path, inventory: &Inventory) -> (Verdict, String) {
        let path = self.path_of(directory);
        let candidate = selector::Candidate::new(&path, directory, inventory);
        let verdict = self.selectors.iter().map(|selector| selector.judge(&candidate)).max();
        let name = candidate.name().unwrap_or_else(|| text::path(&path));
        (verdict.unwrap_or(Verdict::No), name)
    }

    fn begin(&mut self, id: u64, directory: PathBuf, name: String) {
        self.followed.insert(id, Followed { directory, name, namespace: None });
        if self.wants(Kind::Cgroup) {
            self.store(id, Member::Cgroup(CgroupMember::new(id, true)));
        }
        if self.wants(Kind::Mntns) && !self.find_namespace(id, true) {
            self.wait_for(id, false);
        }
    }

    fn wait_for(&mut self, id: u64, unnamed: bool) {
        if let Some(followed) = self.followed.get(&id) {
            self.push_pending(id, followed.directory.clone(), unnamed);
        }
    }

    fn push_pending(&mut self, id: u64, directory: PathBuf, unnamed: bool) {
        self.pending.push(Pending::new(id, directory, unnamed, Instant::now()));
    }

    /// Looks for the mount namespace of a cgroup's processes; `store` it at once, or leave that to the caller. The
    /// namespace that this process is in, as the one that a runtime starts from, is nobody's container.
    fn find_namespace(&mut self, id: u64, store: bool) -> bool {
        let Some(followed) = self.followed.get_mut(&id) else { return true };
        let Some(pid) = inventory::lowest_pid(&followed.directory) else { return false };
        let Ok((namespace, file)) = mntns::open_of_process(pid) else { return false };
        let host = mntns::own().ok();
        if host.is_some_and(|host| host.inode == namespace.inode) {
            return false;
        }
        let old = followed.namespace.replace(Held { namespace, pid, _file: file });
        let old = old.map(|old| old.namespace);
        if store && old != Some(namespace) {
            self.store(id, namespace.member());
        }
        if let Some(old) = old.filter(|old| old.inode != namespace.inode) {
            self.forget_namespace(id, &old);
        }
        true
    }

    fn store(&mut self, cgroup: u64, member: Member) {
        let name = self.followed.get(&cgroup).map(|followed| followed.name.clone()).unwrap_or_default();
        let entry = Entry { kind: member.kind(), id: member.key(), name };
        for set in self.sets.iter().filter(|set| set.kind() == member.kind()) {
            self.events.push(match set.insert(&member) {
                Ok(()) => Event::Added(entry.clone()),
                Err(error) => {
                    self.short = true;
                    Event::Failed(entry.clone(), error.to_string())
                }
            });
        }
    }

    fn drop_member(&mut self, kind: Kind, id: u64, name: &str) {
        let entry = Entry { kind, id, name: name.to_owned() };
        for set in self.sets.iter().filter(|set| set.kind() == kind) {
            match set.remove(id) {
                Ok(true) => self.events.push(Event::Removed(entry.clone())),
                Ok(false) => {}
                Err(error) => self.events.push(Event::Failed(entry.clone(), error.to_string())),
            }
        }
    }

    fn removed(&mut self, id: u64) {
        self.pending.retain(|pending| pending.id != id);
        self.empty.forget(id);
        let Some(gone) = self.followed.remove(&id) else { return };
        self.drop_member(Kind::Cgroup, id, &gone.name);
        if let Some(held) = &gone.namespace {
            self.followed_namespace_gone(&held.namespace, &gone.name);
        }
    }

    fn forget_namespace(&mut self, id: u64, namespace: &MountNamespace) {
        let name = self.followed.get(&id).map(|followed| followed.name.clone()).unwrap_or_default();
        self.followed_namespace_gone(namespace, &name);
    }

    /// Unless another followed cgroup has it, too.
    fn followed_namespace_gone(&mut self, namespace: &MountNamespace, name: &str) {
        let shared = self.followed.values().any(|other| {
            other.namespace.as_ref().is_some_and(|held| held.namespace.inode == namespace.inode)
        });
        if !shared {
            self.drop_member(Kind::Mntns, u64::from(namespace.inode), name);
        }
    }

    /// When [`Follower::tick`] has something to do; `None`: only after a change.
    pub fn next_tick(&self) -> Option<Instant> {
        let pending = self.pending.iter().map(|pending| pending.next).min();
        let any = self.wants(Kind::Mntns) && self.followed.keys().any(|&id| !self.empty.has(id));
        let recheck = any.then_some(self.recheck);
        pending.into_iter().chain(recheck).min()
    }

    /// A file that can be read when a cgroup that was empty has got a process: [`Follower::tick`] is due then.
    pub fn wakeups(&self) -> Option<BorrowedFd<'_>> {
        self.empty.as_fd()
    }

    /// Looks again at what was not known yet.
    pub fn tick(&mut self) {
        let now = Instant::now();
        for id in self.empty.take_populated() {
            self.wait_for(id, false);
        }
        let (due, rest): (Vec<Pending>, Vec<Pending>) =
            std::mem::take(&mut self.pending).into_iter().partition(|pending| pending.next <= now);
        self.pending = rest;
        let inventory = self.names_for(&due, now);
        for pending in due {
            self.look_again(pending, now, &inventory);
        }
        if self.recheck <= now {
            self.recheck = now + RECHECK;
            self.look_at_namespaces();
        }
    }

    /// Whether those that were asked are still where they were; if one is not, the cgroup is looked at anew.
    fn look_at_namespaces(&mut self) {
        if !self.wants(Kind::Mntns) {
            return;
        }
        let is_there = |held: &Held| process::mntns_inode(held.pid) == Some(held.namespace.inode);
        let moved = |(&id, followed): (&u64, &Followed)| {
            (!self.empty.has(id) && !followed.namespace.as_ref().is_some_and(is_there)).then_some(id)
        };
        let ids: Vec<u64> = self.followed.iter().filter_map(moved).collect();
        for id in ids {
            if !self.find_namespace(id, true) {
                self.sleep_if_empty(id);
            }
        }
    }

    /// What is known of containers now, if a name is waited for. Engines are asked for what their files do not tell, and
    /// answer a later call.
    fn names_for(&mut self, due: &[Pending], now: Instant) -> Inventory {
        let problems = self.asker.take_in(now);
        self.events.extend(problems.into_iter().map(Event::Warning));
        let mut unnamed = due.iter().filter(|pending| pending.unnamed).peekable();
        if unnamed.peek().is_none() {
            return Inventory::default();
        }
        let engines = unnamed.filter_map(|pending| Some(from_cgroup_path(&pending.directory)?.engine));
        self.asker.ask(&engines.collect::<Vec<_>>(), now);
        let mut inventory = Inventory::of_records().with_engines();
        self.asker.answers().for_each(|answer| inventory.add_answer(answer));
        inventory
    }

    fn look_again(&mut self, pending: Pending, now: Instant, inventory: &Inventory) {
        if cgroup::id_of_path(&pending.directory).ok() != Some(pending.id) {
            return;
        }
        if pending.unnamed {
            match self.judge(&pending.directory, inventory) {
                (Verdict::Yes, name) => return self.begin(pending.id, pending.directory, name),
                (Verdict::No, _) => return,
                (Verdict::Unknown, _) if now - pending.since > NAME_PATIENCE => return,
                (Verdict::Unknown, _) => {}
            }
        } else if self.find_namespace(pending.id, true) {
            return;
        } else if pending.is_slow() {
            // From now on the kernel tells when it has a process; one that is in the host's namespace is looked at now and then.
            return self.sleep_if_empty(pending.id);
        }
        self.pending.push(pending.later(now));
    }

    /// A cgroup without processes has no namespace until it gets one, which the kernel tells.
    fn sleep_if_empty(&mut self, id: u64) {
        let Some(followed) = self.followed.get(&id) else { return };
        let directory = &followed.directory;
        if inventory::lowest_pid(directory).is_none() && self.empty.watch(id, directory) {
            // One may have come in between.
            if inventory::lowest_pid(directory).is_some() {
                self.empty.forget(id);
                self.wait_for(id, false);
            }
        }
    }

    /// Lets the kernel add nothing any more. What it has added so far is reported as changes that were not taken in yet.
    pub fn detach_early(&mut self) {
        self.early.clear();
    }

    /// Removes everything that was put into the sets.
    pub fn give_up(&mut self) {
        let ids: Vec<u64> = self.followed.keys().copied().collect();
        ids.into_iter().for_each(|id| self.removed(id));
    }
}
