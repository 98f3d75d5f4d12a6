//! Real OCI containers, by runc and crun, without a daemon: a root directory of busybox, a bundle, and a place
//! for their state that `NSMAP_HOST_ROOT` leads to. The tests of the tracers use this file, too.
//!
//! They run in the caller's private mount namespace, where a plain cgroup2 lies on `/sys/fs/cgroup`, so that they
//! see a host with v2 only.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};

/// What is not here.
#[derive(Debug)]
pub(crate) enum Missing {
    Program(&'static str),
    Mount(String),
}

/// A runtime, and where its containers are.
pub(crate) struct Oci {
    pub(crate) runtime: &'static str,
    /// What stands for the host's root directory.
    pub(crate) host: PathBuf,
    bundle: PathBuf,
    parent: PathBuf,
}

impl Oci {
    /// With all its files below `place`.
    pub(crate) fn new(place: &Path, runtime: &'static str) -> Result<Self, Missing> {
        let there = |program: &str| {
            let mut asked = Command::new(program);
            asked.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
        };
        if !there(runtime) {
            return Err(Missing::Program(runtime));
        }
        if !Path::new("/bin/busybox").exists() {
            return Err(Missing::Program("busybox"));
        }
        mount(Some("none"), "/sys/fs/cgroup", Some("cgroup2"), MsFlags::empty(), None::<&str>)
            .map_err(|errno| Missing::Mount(format!("mount cgroup2: {errno}")))?;
        let host = place.join(format!("host-{runtime}"));
        let bundle = place.join(format!("bundle-{runtime}"));
        for directory in ["bin", "proc", "sys", "dev", "tmp"] {
            fs::create_dir_all(bundle.join("rootfs").join(directory)).unwrap();
        }
        // By another process: see the callers' helpers for why.
        let copied = Command::new("cp").arg("/bin/busybox").arg(bundle.join("rootfs/bin/busybox")).status();
        assert!(copied.unwrap().success());
        for name in ["sh", "sleep", "true"] {
            std::os::unix::fs::symlink("busybox", bundle.join("rootfs/bin").join(name)).unwrap();
        }
        fs::create_dir_all(host.join("run").join(runtime)).unwrap();
        let parent = format!("nsmap-oci-{}-{runtime}", std::process::id());
        Ok(Self { runtime, host, bundle, parent: PathBuf::from(parent) })
    }

    /// Where its containers' cgroups are, in the hierarchy.
    pub(crate) fn parent(&self) -> String {
        format!("/{}", self.parent.display())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.runtime);
        command.arg("--root").arg(self.host.join("run").join(self.runtime));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn configure(&self, id: &str, args: &[&str], annotations: &[(&str, &str)]) {
        let annotations: serde_json::Map<String, serde_json::Value> =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
        let namespaces =
            ["pid", "ipc", "uts", "mount", "cgroup"].map(|kind| serde_json::json!({ "type": kind }));
        let config = serde_json::json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false, "cwd": "/", "args": args, "user": { "uid": 0, "gid": 0 },
                "env": ["PATH=/bin"], "noNewPrivileges": true
            },
            "root": { "path": "rootfs", "readonly": false },
            "hostname": id,
            "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
            "annotations": annotations,
            "linux": {
                "cgroupsPath": format!("{}/{id}", self.parent()),
                "namespaces": namespaces
            }
        });
        fs::write(self.bundle.join("config.json"), config.to_string()).unwrap();
    }

    /// Starts a container that runs until it is removed.
    pub(crate) fn start(&self, id: &str, annotations: &[(&str, &str)]) {
        self.run(id, &["sleep", "600"], annotations, true);
    }

    /// Runs a container; detached, or to its end.
    pub(crate) fn run(&self, id: &str, args: &[&str], annotations: &[(&str, &str)], detached: bool) {
        self.configure(id, args, annotations);
        let mut command = self.command();
        command.arg("run");
        if detached {
            command.arg("--detach").stderr(Stdio::null());
        }
        let output = command.arg("--bundle").arg(&self.bundle).arg(id).output().unwrap();
        assert!(output.status.success(), "{} run {id}: {output:?}", self.runtime);
    }

    /// Ends and removes a container.
    pub(crate) fn remove(&self, id: &str) {
        let output = self.command().args(["delete", "--force", id]).output().unwrap();
        assert!(output.status.success(), "{} delete {id}: {output:?}", self.runtime);
    }
}

impl Drop for Oci {
    fn drop(&mut self) {
        let state = self.host.join("run").join(self.runtime);
        for entry in fs::read_dir(state).into_iter().flatten().flatten() {
            let _ = self.command().args(["delete", "--force"]).arg(entry.file_name()).output();
        }
        let _ = fs::remove_dir(Path::new("/sys/fs/cgroup").join(&self.parent));
        let _ = nix::mount::umount2("/sys/fs/cgroup", nix::mount::MntFlags::MNT_DETACH);
    }
}
