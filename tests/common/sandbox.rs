//! A place of its own for a test: a mount namespace, a bpffs, a directory. All of it goes with the value.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

use super::cgroup::cgroup1_mount;
use super::program::find;
use super::run::run_ok;
use super::skip::Skip;
use super::{tag, tool};

/// Where a sandbox has its own cgroup v1 hierarchy.
const CGROUP1: &str = "cgroup1";

/// The calling thread's own mount namespace (children and threads started from here on are in it too), with an empty
/// bpffs.
pub(crate) struct Sandbox {
    dir: TempDir,
    bpffs: PathBuf,
}

impl Sandbox {
    /// For tests of tracers, which need the kernel's types.
    pub(crate) fn new() -> Result<Self, Skip> {
        if Path::new("/sys/kernel/btf/vmlinux").exists() { Self::for_sets() } else { Err(Skip::NoTypes) }
    }

    /// For tests of what needs no types.
    pub(crate) fn for_sets() -> Result<Self, Skip> {
        if !nix::unistd::geteuid().is_root() {
            return Err(Skip::NotRoot);
        }
        let refused = |what: &'static str| move |errno| Skip::NoSandbox(format!("{what}: {errno}"));
        unshare(CloneFlags::CLONE_NEWNS).map_err(refused("unshare"))?;
        private("/").map_err(refused("mount --make-rprivate"))?;
        let dir = tempfile::Builder::new().prefix("tracers-test-").tempdir().unwrap();
        // Other users must be able to pass, for the tests of what they are told.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let bpffs = dir.path().join("bpf");
        fs::create_dir(&bpffs).unwrap();
        mount_bpffs(&bpffs).map_err(refused("mount bpffs"))?;
        Ok(Self { dir, bpffs })
    }

    /// A path in the sandbox's directory, on an ordinary file system.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A path on the sandbox's bpffs.
    pub(crate) fn pin(&self, name: &str) -> PathBuf {
        self.bpffs.join(name)
    }

    pub(crate) fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    /// The root of a cgroup v1 hierarchy: one that this machine has, else one without controllers, which is mounted in the
    /// sandbox only.
    pub(crate) fn cgroup1(&self) -> Result<PathBuf, Skip> {
        if let Some(mounted) = cgroup1_mount() {
            return Ok(mounted);
        }
        let path = self.path(CGROUP1);
        fs::create_dir(&path).unwrap();
        let data = Some("none,name=tracers-test");
        mount(Some("none"), &path, Some("cgroup"), MsFlags::empty(), data)
            .map_err(|errno| Skip::NoSandbox(format!("mount cgroup v1: {errno}")))?;
        Ok(path)
    }

    /// What is pinned, by name. (Some kernels put two iterators into each bpffs: kernel/bpf/preload.)
    pub(crate) fn pins(&self) -> Vec<String> {
        let mut pins = names(&self.bpffs);
        pins.retain(|name| !name.ends_with(".debug"));
        pins
    }

    /// One of our tools, with both default sets in the sandbox.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, name: &str, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(tool(name));
        command.args(args);
        command.env("NSMAP_MNTNS_SET", self.pin("mnt_ns_set"));
        command.env("NSMAP_CGROUP_SET", self.pin("cgroup_set"));
        command
    }

    /// A file with these bytes that everybody may execute.
    pub(crate) fn executable(&self, name: &str, content: &[u8]) -> PathBuf {
        let draft = self.path(&tag("draft"));
        fs::write(&draft, content).unwrap();
        self.install(&draft, name)
    }

    /// A copy of a program that everybody may execute.
    ///
    /// Another process writes it: were it this one, a child that some other thread starts just now could hold the file
    /// open for writing until it has executed its own program, and nobody could execute this one (ETXTBSY).
    pub(crate) fn install(&self, program: &Path, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        run_ok(Command::new(find("cp")).arg(program).arg(&path));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = umount2(&self.path(CGROUP1), MntFlags::MNT_DETACH);
        let _ = umount2(&self.bpffs, MntFlags::MNT_DETACH);
    }
}

/// Makes the mounts below `path` private: what happens to them in this namespace stays in it.
pub(crate) fn private(path: &str) -> nix::Result<()> {
    mount(None::<&str>, path, None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
}

/// Mounts a bpffs that nobody else sees.
pub(crate) fn mount_bpffs(path: &Path) -> nix::Result<()> {
    mount(Some("bpf"), path, Some("bpf"), MsFlags::empty(), None::<&str>)
}

/// The names in a directory, sorted.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The mounts of the calling thread's namespace, as the kernel tells them.
pub(crate) fn mounts() -> String {
    fs::read_to_string("/proc/thread-self/mountinfo").unwrap()
}
