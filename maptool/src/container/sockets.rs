//! What running engines tell of their containers: Docker and Podman, which speak the same HTTP on a Unix socket, and those
//! that speak Kubernetes' interface ([`super::cri`]).
//!
//! To teach it another place: a line in [`PLACES`].
//!
//! In: sockets at the places that are known, or that `DOCKER_HOST` and `CONTAINER_RUNTIME_ENDPOINT` name. Out: [`Record`]s as
//! the state files give them, and what was wrong with an engine that did not answer. All are asked at once, and [`PATIENCE`]
//! bounds all of it.

use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::connection::Problem;
use super::patterns::{self, Engine};
use super::state::{self, Record, at, pid, string_map, text};
use super::{cri, http};

/// How long an engine may take to answer, with all that it is asked; `NSMAP_ENGINE_TIMEOUT_MS` says otherwise.
pub const PATIENCE: Duration = Duration::from_millis(500);
/// However long it is said to be.
const PATIENCE_LIMIT: Duration = Duration::from_secs(60);
/// Containers that one engine is asked about one by one.
const INSPECT_LIMIT: usize = 256;
/// Containers that one engine can have.
const LIST_LIMIT: usize = 1 << 14;

/// How an engine is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    /// Docker's HTTP.
    Docker,
    /// Kubernetes' gRPC.
    Cri,
}

/// Where engines listen, below the host's root directory.
const PLACES: &[(&str, Engine, Speech)] = &[
    ("run/docker.sock", Engine::Docker, Speech::Docker),
    ("run/podman/podman.sock", Engine::Podman, Speech::Docker),
    ("run/containerd/containerd.sock", Engine::Containerd, Speech::Cri),
    ("run/k3s/containerd/containerd.sock", Engine::Containerd, Speech::Cri),
    ("var/snap/microk8s/common/run/containerd.sock", Engine::Containerd, Speech::Cri),
    ("run/crio/crio.sock", Engine::Crio, Speech::Cri),
    ("run/cri-dockerd.sock", Engine::Docker, Speech::Cri),
];

/// The socket of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Whose it is.
    pub engine: Engine,
    /// Where it is.
    pub path: PathBuf,
    speech: Speech,
}

/// What engines told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Their running containers.
    pub records: Vec<Record>,
    /// Whom of them could not be asked, and why: a line each, for people.
    pub problems: Vec<String>,
}

impl Socket {
    /// Whether containers that are said to be of `engine` may be of this one. Under the cgroupfs driver a path tells only
    /// that a container is a pod's.
    pub fn may_have(&self, engine: Option<Engine>) -> bool {
        match engine {
            Some(Engine::Kubernetes) => self.engine == Engine::Docker || self.speech == Speech::Cri,
            Some(engine) => engine == self.engine,
            None => true,
        }
    }

    /// As people would write it, for messages.
    fn label(&self) -> String {
        format!("{} at `{}`", self.engine.name(), crate::text::path(&self.path))
    }

    fn list(&self, deadline: Instant) -> Result<Vec<Record>, Problem> {
        let mut records = match self.speech {
            Speech::Docker => self.list_docker(deadline)?,
            Speech::Cri => cri::list(&self.path, self.engine, deadline)?,
        };
        records.truncate(LIST_LIMIT);
        Ok(records)
    }

    fn list_docker(&self, deadline: Instant) -> Result<Vec<Record>, Problem> {
        let body = http::get(&self.path, "/containers/json", deadline)?;
        let strange = || Problem::Wrong("answers something that is no list of containers".to_owned());
        let list: Value = serde_json::from_slice(&body).map_err(|_| strange())?;
        let list = list.as_array().ok_or_else(strange)?;
        Ok(list.iter().filter_map(|entry| self.summary(entry)).collect())
    }

    /// An element of `GET /containers/json`.
    fn summary(&self, entry: &Value) -> Option<Record> {
        let names = at(entry, &["Names"]).as_array().into_iter().flatten().filter_map(text);
        // `/web` is its name, `/other/web` what another one calls it by an old-style link.
        let own =
            names.map(|name| name.trim_start_matches('/').to_owned()).filter(|name| !name.contains('/'));
        let mut record = Record {
            engine: Some(self.engine),
            id: text(at(entry, &["Id"]))?,
            names: own.collect(),
            image: text(at(entry, &["Image"])),
            labels: string_map(at(entry, &["Labels"])),
            is_all: true,
            ..Record::default()
        };
        state::from_annotations(&mut record);
        Some(record)
    }

    /// The first process of a container, which the list does not tell.
    fn inspect(&self, id: &str, deadline: Instant) -> Option<Record> {
        let body = http::get(&self.path, &format!("/containers/{id}/json"), deadline).ok()?;
        let told: Value = serde_json::from_slice(&body).ok()?;
        (text(at(&told, &["Id"])).as_deref() == Some(id)).then_some(())?;
        Some(Record {
            engine: Some(self.engine),
            id: id.to_owned(),
            pid: Some(pid(at(&told, &["State", "Pid"]))?),
            ..Record::default()
        })
    }
}

fn patience() -> Duration {
    let said = std::env::var("NSMAP_ENGINE_TIMEOUT_MS").ok().and_then(|text| text.parse().ok());
    said.map_or(PATIENCE, Duration::from_millis).min(PATIENCE_LIMIT)
}

/// The sockets that are there: those that variables name as they are, the others below `root`, the host's root directory.
pub fn find(root: &Path) -> Vec<Socket> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let named = |name: &str| Some(PathBuf::from(variable(name)?.to_str()?.strip_prefix("unix://")?));
    let docker = named("DOCKER_HOST").map(|path| (of_path(&path, Engine::Docker), Speech::Docker, path));
    let cri = named("CONTAINER_RUNTIME_ENDPOINT")
        .map(|path| (of_path(&path, Engine::Containerd), Speech::Cri, path));
    let user = variable("XDG_RUNTIME_DIR").map(|directory| {
        let path = directory.join("podman/podman.sock");
        (Engine::Podman, Speech::Docker, root.join(path.strip_prefix("/").unwrap_or(&path)))
    });
    let usual = PLACES.iter().map(|(path, engine, speech)| (*engine, *speech, root.join(path)));
    let mut seen = BTreeSet::new();
    let mut sockets = Vec::new();
    for (engine, speech, path) in docker.into_iter().chain(cri).chain(usual).chain(user) {
        let Ok(meta) = std::fs::metadata(&path) else { continue };
        if meta.file_type().is_socket() && seen.insert((meta.dev(), meta.ino())) {
            sockets.push(Socket { engine, path, speech });
        }
    }
    sockets
}

/// Whose socket it is that a variable names: its path tells, or it is the usual one's.
fn of_path(path: &Path, usual: Engine) -> Engine {
    let path = path.to_str().unwrap_or_default();
    let known = [("podman", Engine::Podman), ("crio", Engine::Crio), ("docker", Engine::Docker)];
    known.into_iter().find(|(word, _)| path.contains(word)).map_or(usual, |(_, engine)| engine)
}

/// Asks all of these engines for their containers. Those of `unplaced` ids, which are known by nothing else, are asked
/// for their first process, too.
pub fn ask(sockets: &[Socket], is_unplaced: impl Fn(&str) -> bool + Sync) -> Answer {
    let deadline = Instant::now() + patience();
    let mut answer = Answer::default();
    std::thread::scope(|scope| {
        let asked: Vec<_> = sockets
            .iter()
            .map(|socket| {
                let is_unplaced = &is_unplaced;
                (socket, scope.spawn(move || ask_one(socket, is_unplaced, deadline)))
            })
            .collect();
        for (socket, asked) in asked {
            match asked.join() {
                Ok(Ok(records)) => answer.records.extend(records),
                // A socket that was left behind, or is not for us, is as good as none.
                Ok(Err(Problem::NobodyThere(_))) => {}
                Ok(Err(Problem::Wrong(problem))) => {
                    answer.problems.push(format!("{} {problem}", socket.label()));
                }
                Err(_) => answer.problems.push(format!("{} could not be asked", socket.label())),
            }
        }
    });
    answer
}

fn ask_one(
    socket: &Socket,
    is_unplaced: impl Fn(&str) -> bool,
    deadline: Instant,
) -> Result<Vec<Record>, Problem> {
    let mut records = socket.list(deadline)?;
    if socket.speech == Speech::Cri {
        // A pod's containers are known by their cgroups.
        return Ok(records);
    }
    // Only ids of the usual form go into a question.
    let unplaced: Vec<String> = records
        .iter()
        .map(|record| &record.id)
        .filter(|id| patterns::is_id(id) && is_unplaced(id))
        .take(INSPECT_LIMIT)
        .cloned()
        .collect();
    for id in unplaced {
        records.extend(socket.inspect(&id, deadline));
    }
    Ok(records)
}

/// What a socket answers, for people: whether somebody is there.
pub fn check(socket: &Socket) -> Result<String, String> {
    match socket.list(Instant::now() + patience()) {
        Ok(records) => {
            let count = records.iter().filter(|record| !record.pod.is_sandbox).count();
            Ok(format!("{} tells of {count} running containers", socket.label()))
        }
        Err(Problem::NobodyThere(why)) => Ok(format!("{} cannot be asked ({why})", socket.label())),
        Err(Problem::Wrong(why)) => Err(format!("{} {why}", socket.label())),
    }
}
