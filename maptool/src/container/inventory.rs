//! The containers of this host: what engines wrote down, joined with what the kernel has.
//!
//! In: [`state`] records, the cgroup tree, `/proc`; engines' [`sockets`] for what those do not tell. Out: [`Running`]
//! containers with cgroup, first process and names. A record whose process is gone, or is another one by now, names
//! nothing.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::patterns::{self, Container, Engine};
use super::sockets::{self, Answer, Socket};
use super::state::{self, PodRecord, Record};
use crate::identity::cgroup::{self, Hierarchy};
use crate::identity::process;
use crate::text;

/// Cgroups of one container that are looked into for a process.
const DEPTH_LIMIT: usize = 64;

/// A container that runs.
#[derive(Clone, Debug)]
pub struct Running {
    /// Who made it, if that can be told.
    pub engine: Option<Engine>,
    /// Its id: 64 hexadecimal digits, or a name.
    pub id: String,
    /// Names that people use for it.
    pub names: Vec<String>,
    /// Its image.
    pub image: Option<String>,
    /// Its pod.
    pub pod: PodRecord,
    /// The uid of the pod.
    pub pod_uid: Option<String>,
    /// Labels and annotations.
    pub labels: BTreeMap<String, String>,
    /// The directory of its own cgroup, above any that it made itself.
    pub directory: Option<PathBuf>,
    /// The id of that cgroup.
    pub cgroup: Option<u64>,
    /// Its first process, or some process of it.
    pub pid: Option<u32>,
    /// Whether its engine may still tell more names and labels of it.
    pub may_be_told: bool,
    /// Whether a source told all of them.
    is_all: bool,
}

impl Running {
    /// The name to show: `namespace/pod/container`, the name, or the id.
    pub fn name(&self) -> String {
        let pod = &self.pod;
        let name = match (pod.name.is_empty(), self.names.first()) {
            (false, _) => {
                let parts = [&pod.namespace, &pod.name, &pod.container];
                let parts: Vec<&str> =
                    parts.into_iter().filter(|part| !part.is_empty()).map(String::as_str).collect();
                parts.join("/")
            }
            (true, Some(name)) => name.clone(),
            (true, None) => self.short_id().to_owned(),
        };
        text::safe(name.as_ref())
    }

    /// Hexadecimal ids are cut to twelve digits.
    pub fn short_id(&self) -> &str {
        if patterns::is_id(&self.id) { self.id.get(..12).unwrap_or(&self.id) } else { &self.id }
    }

    /// `docker:web`, as short as it can be shown.
    pub fn label(&self) -> String {
        match self.engine {
            Some(engine) => format!("{}:{}", engine.name(), self.name()),
            None => self.name(),
        }
    }

    /// A process of it: the first one, or the lowest pid in its cgroup or below.
    pub fn first_pid(&self) -> Option<u32> {
        self.pid.or_else(|| lowest_pid(self.directory.as_deref()?))
    }

    /// Whether somebody gave it a name.
    pub fn has_name(&self) -> bool {
        !self.names.is_empty() || !self.pod.name.is_empty()
    }

    /// Whether `name` is one of its names, or how it is shown.
    pub fn is_named(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
            || self.id == name
            || self.name() == name
            || self.label() == name
            || self.pod.container == name && !name.is_empty()
    }
}

/// The containers that were found, by id and by cgroup.
#[derive(Debug, Default)]
pub struct Inventory {
    /// By engine and name.
    pub running: Vec<Running>,
    /// Engines that did not answer as they should, a line for each.
    pub problems: Vec<String>,
    /// Engines that may be asked.
    sockets: Vec<Socket>,
    by_directory: HashMap<PathBuf, usize>,
    by_id: HashMap<String, usize>,
}

/// Where the host's root directory is: `NSMAP_HOST_ROOT` for a tool that runs in a container itself.
pub fn host_root() -> PathBuf {
    match std::env::var_os("NSMAP_HOST_ROOT") {
        Some(root) if !root.is_empty() => root.into(),
        _ => PathBuf::from("/"),
    }
}

impl Inventory {
    /// Looks at everything: state files, the whole cgroup tree, and what engines tell of containers that those do not
    /// name.
    pub fn take() -> Self {
        let mut inventory = Self::of_tree_and_records().with_engines();
        inventory.ask_engines();
        inventory.settle()
    }

    /// As [`Inventory::take`], without asking anybody.
    pub fn of_files() -> Self {
        Self::of_tree_and_records().settle()
    }

    fn of_tree_and_records() -> Self {
        let hierarchy = Hierarchy::find().ok();
        let mut inventory = Self::default();
        if let Some(hierarchy) = &hierarchy {
            for directory in cgroup::directories(hierarchy.mount_point()) {
                inventory.add_directory(&directory);
            }
        }
        inventory.add_records(hierarchy.as_ref());
        inventory
    }

    /// Leaves those out that do not run.
    fn settle(mut self) -> Self {
        self.running.retain(|running| running.directory.is_some() || running.pid.is_some());
        self.running.sort_by_cached_key(|running| (running.engine.map(Engine::name), running.name()));
        self.index();
        self
    }

    /// Only what state files say, for naming containers that are known already: no walk of the tree, nobody is asked.
    pub fn of_records() -> Self {
        let mut inventory = Self::default();
        inventory.add_records(Hierarchy::find().ok().as_ref());
        inventory.index();
        inventory
    }

    fn add_records(&mut self, hierarchy: Option<&Hierarchy>) {
        for record in state::read_all(&host_root()) {
            self.add_record(record, hierarchy);
        }
    }

    /// What state files say of the container with this id, by what the files are called.
    pub fn add_records_of(&mut self, id: &str) {
        let records = state::read_of(&host_root(), id);
        if records.is_empty() {
            return;
        }
        let hierarchy = Hierarchy::find().ok();
        records.into_iter().for_each(|record| self.add_record(record, hierarchy.as_ref()));
        self.index();
    }

    /// Finds the engines that may be asked.
    #[must_use]
    pub fn with_engines(mut self) -> Self {
        self.sockets = sockets::find(&host_root());
        self.index();
        self
    }

    /// Asks the engines of which containers are here whose names or labels may be missing, or none at all.
    fn ask_engines(&mut self) {
        let lacks = |socket: &&Socket| {
            let mut own = self.running.iter().filter(|running| socket.may_have(running.engine)).peekable();
            own.peek().is_none() || own.any(|running| !running.is_all)
        };
        let asked: Vec<Socket> = self.sockets.iter().filter(lacks).cloned().collect();
        let is_placed = |running: &Running| running.directory.is_some() || running.pid.is_some();
        let answer = sockets::ask(&asked, |id| !self.of_id(id).is_some_and(is_placed));
        self.add_answer(&answer);
    }

    /// Takes in what engines told.
    pub fn add_answer(&mut self, answer: &Answer) {
        let hierarchy = Hierarchy::find().ok();
        for record in &answer.records {
            let socket_may = |running: &Running| match (record.engine, running.engine) {
                (_, Some(Engine::Kubernetes) | None) => true,
                (told, known) => told == known,
            };
            if self.of_id(&record.id).is_none_or(socket_may) {
                self.add_record(record.clone(), hierarchy.as_ref());
            }
        }
        self.problems.extend_from_slice(&answer.problems);
        self.index();
    }

    /// Takes in what a path tells of a container; that comes before what is written of its engine.
    pub fn know(&mut self, container: &Container) {
        let at = self.entry(&container.id);
        if let Some(known) = self.running.get_mut(at) {
            known.engine = Some(container.engine);
        }
    }

    /// Asks the engines, once, if one of them may know a name for the container that this is by its path. Says whether it
    /// did.
    pub fn ask_for(&mut self, container: &Container) -> bool {
        self.know(container);
        if self.of_id(&container.id).is_some_and(|known| known.has_name() || known.is_all) {
            return false;
        }
        let may_know = |socket: &Socket| socket.may_have(Some(container.engine));
        let (asked, rest) = std::mem::take(&mut self.sockets).into_iter().partition(may_know);
        self.sockets = rest;
        let answer = sockets::ask(&asked, |_| false);
        self.add_answer(&answer);
        !asked.is_empty()
    }

    /// The engines that may be asked.
    pub fn sockets(&self) -> &[Socket] {
        &self.sockets
    }

    fn index(&mut self) {
        self.by_id.clear();
        self.by_directory.clear();
        for (at, running) in self.running.iter_mut().enumerate() {
            running.may_be_told =
                !running.is_all && self.sockets.iter().any(|socket| socket.may_have(running.engine));
            self.by_id.insert(running.id.clone(), at);
            if let Some(directory) = &running.directory {
                self.by_directory.insert(directory.clone(), at);
            }
        }
    }

    fn add_directory(&mut self, directory: &Path) {
        let Some(found) = patterns::from_cgroup_path(directory) else { return };
        // Cgroups that a container makes inside of its own are a part of it.
        if directory.parent().and_then(patterns::from_cgroup_path).is_some_and(|above| above.id == found.id) {
            return;
        }
        let Ok(id) = cgroup::id_of_path(directory) else { return };
        let at = self.entry(&found.id);
        if let Some(running) = self.running.get_mut(at) {
            running.engine = Some(found.engine);
            running.pod_uid = found.pod.map(|pod| pod.uid);
            running.directory = Some(directory.to_owned());
            running.cgroup = Some(id);
        }
    }

    fn entry(&mut self, id: &str) -> usize {
        if let Some(&at) = self.by_id.get(id) {
            return at;
        }
        let at = self.running.len();
        self.by_id.insert(id.to_owned(), at);
        self.running.push(Running {
            engine: None,
            id: id.to_owned(),
            names: Vec::new(),
            image: None,
            pod: PodRecord::default(),
            pod_uid: None,
            labels: BTreeMap::new(),
            directory: None,
            cgroup: None,
            pid: None,
            may_be_told: false,
            is_all: false,
        });
        at
    }

    fn add_record(&mut self, record: Record, hierarchy: Option<&Hierarchy>) {
        let pid = record.pid.filter(|&pid| is_that_process(pid, &record));
        let known = self.by_id.contains_key(&record.id);
        if pid.is_none() && !known && record.names.is_empty() {
            return;
        }
        let place = hierarchy.and_then(|hierarchy| own_directory(&record, pid, hierarchy));
        let at = self.entry(&record.id);
        let Some(running) = self.running.get_mut(at) else { return };
        running.engine = running.engine.or(record.engine);
        for name in record.names {
            if !running.names.contains(&name) {
                running.names.push(name);
            }
        }
        running.image = running.image.take().or(record.image);
        for (key, value) in record.labels {
            running.labels.entry(key).or_insert(value);
        }
        running.is_all |= record.is_all;
        running.pid = running.pid.or(pid);
        if running.pod.name.is_empty() {
            running.pod = record.pod;
        }
        if running.directory.is_none()
            && let Some((directory, id)) = place
        {
            running.directory = Some(directory);
            running.cgroup = Some(id);
        }
    }

    /// The container whose cgroup `directory` is, or is below.
    pub fn of_directory(&self, directory: &Path) -> Option<&Running> {
        let by_path = directory.ancestors().find_map(|above| self.by_directory.get(above));
        let at = by_path.or_else(|| self.by_id.get(&patterns::from_cgroup_path(directory)?.id))?;
        self.running.get(*at)
    }

    /// The container whose first process this is.
    pub fn of_pid(&self, pid: u32) -> Option<&Running> {
        self.running.iter().find(|running| running.pid == Some(pid))
    }

    /// The container with this id.
    pub fn of_id(&self, id: &str) -> Option<&Running> {
        self.running.get(*self.by_id.get(id)?)
    }
}

/// The lowest pid in a cgroup; if there is none, in those below it.
pub fn lowest_pid(directory: &Path) -> Option<u32> {
    cgroup::directories(directory).take(DEPTH_LIMIT).find_map(|directory| {
        let procs = std::fs::read_to_string(directory.join("cgroup.procs")).ok()?;
        // A process outside of this pid namespace is shown as 0.
        procs.lines().filter_map(|line| line.parse().ok()).filter(|&pid: &u32| pid > 0).min()
    })
}

/// Whether the process with this pid is the one that was written down. Without a start time, its cgroup must
/// speak of the container.
fn is_that_process(pid: u32, record: &Record) -> bool {
    match record.start {
        Some(start) => process::start_ticks(pid) == Some(start),
        None => cgroup::memberships(pid).is_ok_and(|memberships| {
            memberships.iter().any(|membership| {
                membership.path.to_string_lossy().contains(&record.id)
                    || record.engine == Some(Engine::Machine) && process::exists(pid)
            })
        }),
    }
}

/// The container's own cgroup: where the runtime put it, as far as that is seen from here, else where its process
/// is, without what the container made inside.
fn own_directory(record: &Record, pid: Option<u32>, hierarchy: &Hierarchy) -> Option<(PathBuf, u64)> {
    let of_process = pid.and_then(|pid| cgroup::of_process(pid).ok()).filter(|found| !found.is_root());
    if let Some(path) = &record.cgroup {
        let relative: PathBuf =
            path.components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect();
        let mut candidates = vec![hierarchy.mount_point().join(&relative)];
        // An absolute path of the runtime's mount namespace: its end is the path in the hierarchy.
        if let Some(found) = &of_process {
            let ends = |above: &&Path| {
                above
                    .strip_prefix(hierarchy.mount_point())
                    .is_ok_and(|below| !below.as_os_str().is_empty() && path.ends_with(below))
            };
            candidates.extend(found.directory.ancestors().find(ends).map(Path::to_owned));
        }
        let place = candidates.into_iter().find_map(|path| Some((cgroup::id_of_path(&path).ok()?, path)));
        if let Some((id, path)) = place.filter(|(id, _)| *id != cgroup::ROOT_ID) {
            return Some((path, id));
        }
    }
    let found = of_process?;
    let same =
        |path: &Path| patterns::from_cgroup_path(path).is_some_and(|container| container.id == record.id);
    let top = found.directory.ancestors().take_while(|path| same(path)).last();
    let directory = top.unwrap_or(&found.directory).to_owned();
    let id = cgroup::id_of_path(&directory).ok()?;
    Some((directory, id))
}
