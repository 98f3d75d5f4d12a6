//! A host with containers that no file tells of: cgroups with a sleeping process each, and a root directory for sockets.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};

use super::{Cgroup, Ran, Sandbox};

/// A host with containers that no file tells of.
pub(crate) struct Host {
    pub(crate) sandbox: Sandbox,
    pub(crate) own: Cgroup,
    tasks: Vec<Child>,
}

impl Host {
    pub(crate) fn new() -> Option<Self> {
        let sandbox = Sandbox::new()?;
        let own = Cgroup::new()?;
        fs::create_dir(sandbox.plain("host")).unwrap();
        Some(Self { sandbox, own, tasks: Vec::new() })
    }

    pub(crate) fn socket(&self, path: &str) -> PathBuf {
        self.sandbox.plain("host").join(path)
    }

    /// A sleeping process in a cgroup with this path below the test's own.
    pub(crate) fn task(&mut self, below: &str) -> u32 {
        let directory = self.own.path.join(below);
        fs::create_dir_all(&directory).unwrap();
        let task = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = task.id();
        fs::write(directory.join("cgroup.procs"), pid.to_string()).unwrap();
        self.tasks.push(task);
        pid
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = self.sandbox.nsmap();
        command.env("NSMAP_HOST_ROOT", self.sandbox.plain("host"));
        for name in ["DOCKER_HOST", "CONTAINER_RUNTIME_ENDPOINT", "XDG_RUNTIME_DIR"] {
            command.env_remove(name);
        }
        // A machine that is busy is no engine that hangs.
        command.env("NSMAP_ENGINE_TIMEOUT_MS", "30000");
        command
    }

    /// Without endless patience, for what hangs.
    pub(crate) fn run_briefly(&self, words: &[&str]) -> Ran {
        Ran::from(self.command().env("NSMAP_ENGINE_TIMEOUT_MS", "3000").args(words).output().unwrap())
    }

    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        Ran::from(self.command().args(words).output().unwrap())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for task in &mut self.tasks {
            let _ = task.kill();
            let _ = task.wait();
        }
        let below = nsmap::identity::cgroup::directories(&self.own.path).collect::<Vec<_>>();
        for directory in below.iter().rev() {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// What was told of a container.
pub(crate) fn of<'a>(shown: &'a serde_json::Value, id: &str) -> &'a serde_json::Value {
    shown["containers"].as_array().unwrap().iter().find(|one| one["id"] == id).unwrap()
}
