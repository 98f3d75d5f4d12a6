//! What container runtimes and engines write down about their containers: no daemon is asked.
//!
//! To teach it another place: a line in [`PLACES`] if its format is known, else a reader beside the others.
//!
//! In: files below the host's root directory, which anyone may have forged: sizes and counts are bounded, and a
//! file that is not understood is passed over. Out: [`Record`]s; the same container may be in several.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::patterns::Engine;
use crate::text;

/// Configuration files of containers are some 10 KB; a large one is no such file.
const FILE_LIMIT: u64 = 8 << 20;
/// Entries that are looked at in one directory.
const ENTRIES_LIMIT: usize = 1 << 14;

/// What one file says of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The engine, where the place tells.
    pub engine: Option<Engine>,
    /// The container's id.
    pub id: String,
    /// Names that people use for it.
    pub names: Vec<String>,
    /// The first process, as the host numbers it.
    pub pid: Option<u32>,
    /// When that process started, in clock ticks since boot: guards against another process with its pid.
    pub start: Option<u64>,
    /// Its cgroup: relative to the v2 hierarchy, or absolute as the runtime saw it.
    pub cgroup: Option<PathBuf>,
    /// The image that it was made from.
    pub image: Option<String>,
    /// The pod: namespace, name, uid, and the container's name in it.
    pub pod: PodRecord,
    /// Labels and annotations.
    pub labels: BTreeMap<String, String>,
    /// Whether these are all names and labels that the engine has for it.
    pub is_all: bool,
}

/// A pod, as annotations name it; empty texts are unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRecord {
    /// The Kubernetes namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The container's name in the pod.
    pub container: String,
    /// Whether this is the container that only holds the pod's namespaces.
    pub is_sandbox: bool,
}

type Reader = fn(&Path, Option<Engine>) -> Option<Record>;

/// Where to look: a path below the host's root, whose `*` stand for any name, how to read what is there, and the
/// engine if the place tells.
const PLACES: &[(&str, Reader, Option<Engine>)] = &[
    ("run/runc/*/state.json", runc, None),
    ("run/docker/runtime-runc/moby/*/state.json", runc, Some(Engine::Docker)),
    ("run/containerd/runc/moby/*/state.json", runc, Some(Engine::Docker)),
    ("run/containerd/runc/*/*/state.json", runc, Some(Engine::Containerd)),
    ("var/snap/microk8s/common/run/containerd/runc/*/*/state.json", runc, Some(Engine::Containerd)),
    ("run/k3s/containerd/runc/*/*/state.json", runc, Some(Engine::Containerd)),
    ("run/user/*/runc/*/state.json", runc, None),
    ("run/crun/*/status", crun, None),
    ("run/user/*/crun/*/status", crun, None),
    ("run/containerd/io.containerd.runtime.v2.task/*/*/config.json", bundle, Some(Engine::Containerd)),
    ("run/k3s/containerd/io.containerd.runtime.v2.task/*/*/config.json", bundle, Some(Engine::Containerd)),
    ("var/lib/docker/containers/*/config.v2.json", docker, Some(Engine::Docker)),
    ("run/systemd/machines/*", machine, Some(Engine::Machine)),
];

/// Lists of containers, of podman and CRI-O.
const LISTS: &[&str] = &[
    "var/lib/containers/storage/overlay-containers/containers.json",
    "var/lib/containers/storage/overlay-containers/volatile-containers.json",
    "home/*/.local/share/containers/storage/overlay-containers/containers.json",
    "home/*/.local/share/containers/storage/overlay-containers/volatile-containers.json",
];

/// All records below `root`, which is `/` or where the host's root is mounted.
pub fn read_all(root: &Path) -> Vec<Record> {
    let mut records = read_places(root, None);
    for pattern in LISTS {
        for path in expand(root, pattern, None) {
            records.extend(storage_list(&path));
        }
    }
    records
}

/// The records of the container with this id, of places that are called by ids.
pub fn read_of(root: &Path, id: &str) -> Vec<Record> {
    // What is no name of a file leads elsewhere.
    if id.is_empty() || id.contains('/') || id == "." || id == ".." {
        return Vec::new();
    }
    let mut records = read_places(root, Some(id));
    records.retain(|record| record.id == id);
    records
}

fn read_places(root: &Path, id: Option<&str>) -> Vec<Record> {
    let mut records = Vec::new();
    for (pattern, reader, engine) in PLACES {
        for path in expand(root, pattern, id) {
            records.extend(reader(&path, *engine).filter(|record| !record.id.is_empty()));
        }
    }
    records
}

/// The places that exist, for people.
pub fn present(root: &Path) -> Vec<String> {
    let directories = PLACES.iter().filter_map(|(pattern, ..)| Some(pattern.rsplit_once("/*")?.0));
    let places = directories.chain(LISTS.iter().copied()).flat_map(|pattern| expand(root, pattern, None));
    let shown = |place: PathBuf| {
        let below = place.strip_prefix(root).ok()?;
        place.exists().then(|| format!("`{}`", text::path(&Path::new("/").join(below))))
    };
    let mut found = Vec::new();
    for place in places.filter_map(shown) {
        if !found.contains(&place) {
            found.push(place);
        }
    }
    found
}

/// The paths that a pattern stands for; `*` is one whole component, the last one `id` if that is given.
fn expand(root: &Path, pattern: &str, id: Option<&str>) -> Vec<PathBuf> {
    let mut paths = vec![root.to_owned()];
    let mut stars = pattern.matches('*').count();
    for part in pattern.split('/') {
        stars -= usize::from(part == "*");
        if let (0, "*", Some(id)) = (stars, part, id) {
            paths.iter_mut().for_each(|path| path.push(id));
        } else if part == "*" {
            paths = paths.iter().flat_map(|path| children(path)).take(ENTRIES_LIMIT).collect();
        } else {
            paths.iter_mut().for_each(|path| path.push(part));
        }
    }
    paths
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.take(ENTRIES_LIMIT).map(|entry| entry.path()).collect()
}

/// Regular files only, and never more than [`FILE_LIMIT`]: a fifo or a device must not hold us up.
fn read(path: &Path) -> Option<Vec<u8>> {
    let meta = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    // One byte more than there is: the read that finds the end needs room, too.
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len().min(FILE_LIMIT)).unwrap_or(0) + 1);
    File::open(path).ok()?.take(FILE_LIMIT).read_to_end(&mut bytes).ok()?;
    ((bytes.len() as u64) < FILE_LIMIT).then_some(bytes)
}

fn json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&read(path)?).ok()
}

/// What is at the end of these keys; null if one of them is missing.
pub(super) fn at<'a>(value: &'a Value, keys: &[&str]) -> &'a Value {
    keys.iter().try_fold(value, |value, key| value.get(key)).unwrap_or(&Value::Null)
}

pub(super) fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

pub(super) fn pid(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|pid| u32::try_from(pid).ok()).filter(|&pid| pid > 0)
}

pub(super) fn string_map(value: &Value) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    for (key, value) in value.as_object().into_iter().flatten() {
        if let Some(value) = value.as_str() {
            map.insert(key.clone(), value.to_owned());
        }
    }
    map
}

/// runc's `state.json`; its `config.labels` are the annotations as `key=value`.
fn runc(path: &Path, engine: Option<Engine>) -> Option<Record> {
    let state = json(path)?;
    let mut labels = BTreeMap::new();
    for label in at(&state, &["config", "labels"]).as_array().into_iter().flatten() {
        if let Some((key, value)) = label.as_str().and_then(|label| label.split_once('=')) {
            labels.insert(key.to_owned(), value.to_owned());
        }
    }
    let mut record = Record {
        engine,
        id: text(at(&state, &["id"]))?,
        pid: pid(at(&state, &["init_process_pid"])),
        start: at(&state, &["init_process_start"]).as_u64(),
        cgroup: text(at(&state, &["cgroup_paths", ""])).map(PathBuf::from),
        labels,
        ..Record::default()
    };
    from_annotations(&mut record);
    Some(record)
}

/// crun's `status`; the annotations are in `config.json` beside it or in the bundle.
fn crun(path: &Path, engine: Option<Engine>) -> Option<Record> {
    let status = json(path)?;
    let directory = path.parent()?;
    let bundle = text(at(&status, &["bundle"])).map(PathBuf::from);
    let config = json(&directory.join("config.json"))
        .or_else(|| json(&bundle?.join("config.json")))
        .unwrap_or_default();
    let mut record = Record {
        engine,
        id: directory.file_name()?.to_str()?.to_owned(),
        pid: pid(at(&status, &["pid"])),
        start: at(&status, &["process-start-time"]).as_u64(),
        cgroup: text(at(&status, &["cgroup-path"])).map(PathBuf::from),
        labels: string_map(at(&config, &["annotations"])),
        ..Record::default()
    };
    from_annotations(&mut record);
    Some(record)
}

/// A containerd task: the OCI configuration, and the pid beside it.
fn bundle(path: &Path, engine: Option<Engine>) -> Option<Record> {
    let config = json(path)?;
    let directory = path.parent()?;
    let pid = read(&directory.join("init.pid"));
    let mut record = Record {
        engine,
        id: directory.file_name()?.to_str()?.to_owned(),
        pid: pid.and_then(|pid| std::str::from_utf8(&pid).ok()?.trim().parse().ok()),
        cgroup: text(at(&config, &["linux", "cgroupsPath"]))
            .filter(|path| !path.contains(':'))
            .map(PathBuf::from),
        labels: string_map(at(&config, &["annotations"])),
        ..Record::default()
    };
    from_annotations(&mut record);
    Some(record)
}

/// Docker's own file.
fn docker(path: &Path, engine: Option<Engine>) -> Option<Record> {
    let config = json(path)?;
    let name = text(at(&config, &["Name"])).map(|name| name.trim_start_matches('/').to_owned());
    let mut record = Record {
        engine,
        id: text(at(&config, &["ID"])).or_else(|| Some(path.parent()?.file_name()?.to_str()?.to_owned()))?,
        names: name.into_iter().collect(),
        pid: pid(at(&config, &["State", "Pid"])),
        image: text(at(&config, &["Config", "Image"])),
        labels: string_map(at(&config, &["Config", "Labels"])),
        is_all: true,
        ..Record::default()
    };
    from_annotations(&mut record);
    Some(record)
}

/// systemd-machined's `KEY=VALUE` lines.
fn machine(path: &Path, engine: Option<Engine>) -> Option<Record> {
    let name = path.file_name()?.to_str()?;
    // `unit:X` and `leader:X` are links to the file of the machine.
    if name.contains(':') || path.is_symlink() {
        return None;
    }
    let bytes = read(path)?;
    let lines = std::str::from_utf8(&bytes).ok()?;
    let value = |key: &str| lines.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    if value("CLASS") != Some("container") {
        return None;
    }
    Some(Record {
        engine,
        id: name.to_owned(),
        names: vec![name.to_owned()],
        pid: value("LEADER").and_then(|leader| leader.parse().ok()),
        ..Record::default()
    })
}

/// The lists of containers/storage.
fn storage_list(path: &Path) -> Vec<Record> {
    let Some(list) = json(path) else { return Vec::new() };
    let entries = list.as_array().into_iter().flatten().take(ENTRIES_LIMIT);
    let record = |entry: &Value| {
        let names = at(entry, &["names"]).as_array().into_iter().flatten().filter_map(text);
        let metadata: Value = at(entry, &["metadata"])
            .as_str()
            .and_then(|metadata| serde_json::from_str(metadata).ok())
            .unwrap_or_default();
        let mut record = Record {
            id: text(at(entry, &["id"]))?,
            names: names.collect(),
            image: text(at(&metadata, &["image-name"])),
            ..Record::default()
        };
        if let (Some(pod), Some(name)) =
            (text(at(&metadata, &["pod-name"])), text(at(&metadata, &["metadata-name"])))
        {
            record.pod.name = pod;
            record.pod.container = name;
        }
        Some(record)
    };
    entries.filter_map(record).collect()
}

/// What engines write into annotations: first containerd's key, then CRI-O's, then Kubernetes' own labels.
pub(super) fn from_annotations(record: &mut Record) {
    let labels = &record.labels;
    let first = |keys: &[&str]| keys.iter().find_map(|key| labels.get(*key)).cloned();
    let namespace = first(&["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"]);
    let pod = first(&["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]);
    let container = first(&["io.kubernetes.cri.container-name", "io.kubernetes.container.name"]);
    let kind = first(&["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"]);
    let image = first(&["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName"]);
    let name = first(&["nerdctl/name", "io.podman.annotations.name", "org.opencontainers.container.name"]);
    let more = labels
        .get("io.kubernetes.cri-o.Labels")
        .and_then(|labels| serde_json::from_str(labels).ok())
        .map(|labels: Value| string_map(&labels));
    record.pod.is_sandbox = kind.as_deref() == Some("sandbox") || container.as_deref() == Some("POD");
    record.pod.namespace = namespace.unwrap_or_default();
    record.pod.name = pod.unwrap_or_default();
    record.pod.container = container.unwrap_or_default();
    record.image = record.image.take().or(image);
    record.names.extend(name);
    record.labels.extend(more.unwrap_or_default());
}
