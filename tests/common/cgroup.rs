//! cgroups of version 2 for tests: made below the mount that this machine has, removed with the value.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::skip::Skip;
use super::{BOUND, tag};

/// A cgroup. Its children must go before it does.
pub(crate) struct Cgroup {
    pub(crate) path: PathBuf,
}

impl Cgroup {
    pub(crate) fn new() -> Result<Self, Skip> {
        let mount = cgroup2_mount().ok_or_else(|| Skip::NoCgroup2("not mounted".to_owned()))?;
        let path = mount.join(tag("tracers-test"));
        fs::create_dir(&path).map_err(|error| Skip::NoCgroup2(format!("mkdir: {error}")))?;
        Ok(Self { path })
    }

    pub(crate) fn child(&self, name: &str) -> Self {
        let path = self.path.join(name);
        fs::create_dir(&path).unwrap();
        Self { path }
    }

    /// Its id. (An inode number is one on 64-bit kernels from 5.5 on: an independent opinion, as the tools ask for a
    /// file handle.)
    pub(crate) fn id(&self) -> u64 {
        fs::metadata(&self.path).unwrap().ino()
    }

    /// Where a process writes `0` to move itself in.
    pub(crate) fn procs(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that has just been waited for may still count for a moment.
        let deadline = Instant::now() + BOUND;
        while fs::remove_dir(&self.path).is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY)) {
            if Instant::now() > deadline {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Where cgroup v2 is mounted.
pub(crate) fn cgroup2_mount() -> Option<PathBuf> {
    mount_of_type(|kind, _| kind == "cgroup2")
}

/// The root of a version 1 hierarchy, if this machine has one.
pub(crate) fn cgroup1_mount() -> Option<PathBuf> {
    mount_of_type(|kind, _| kind == "cgroup")
}

/// The first mount point whose file system type is accepted, from proc_pid_mountinfo(5).
fn mount_of_type(accept: impl Fn(&str, &Path) -> bool) -> Option<PathBuf> {
    let mounts = super::sandbox::mounts();
    mounts.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let point = Path::new(front.split(' ').nth(4)?);
        accept(back.split(' ').next()?, point).then(|| point.to_owned())
    })
}
