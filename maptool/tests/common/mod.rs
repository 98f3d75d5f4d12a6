//! What the tests of the tool share: a bpffs and cgroups of their own, and running the built binary.
//!
//! A test that needs root calls [`Sandbox::new`]. Without root it says loudly what it lacks and passes, unless
//! `REQUIRE_BPF=1` is set, which makes that a failure.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

pub(crate) mod bpftool;
pub(crate) mod engine;
pub(crate) mod following;
pub(crate) mod host;
pub(crate) mod notified;
pub(crate) mod oci;

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

/// What a test lacked.
#[derive(Debug)]
pub(crate) enum Lacking {
    Privilege(String),
    CgroupV2,
    /// A program of somebody else's, to compare with or to be run.
    Peer(&'static str),
    /// The kernel was asked, and does not have it.
    Kernel(&'static str),
}

/// Says that the test was skipped, and why; fails where skipping is not allowed.
pub(crate) fn skip(lacking: &Lacking) {
    let excuses = std::env::var("ALLOW_SKIP").unwrap_or_default();
    let excused = excuses.split(',').any(|excuse| match lacking {
        Lacking::Peer(_) => excuse == "peer",
        Lacking::Kernel(_) => excuse == "kernel",
        Lacking::Privilege(_) | Lacking::CgroupV2 => false,
    });
    assert!(
        excused || std::env::var_os("REQUIRE_BPF").is_none_or(|value| value != "1"),
        "REQUIRE_BPF=1, but: {lacking:?}"
    );
    let thread = std::thread::current();
    // Not by a macro: those are captured, and a test that passes shows nothing.
    let _ = writeln!(std::io::stderr(), "SKIP {}: {lacking:?}", thread.name().unwrap_or("test"));
}

/// A private mount namespace, for the calling thread and its children, with a bpffs in a directory of its own.
pub(crate) struct Sandbox {
    directory: TempDir,
}

impl Sandbox {
    /// `None` after a [`skip`].
    pub(crate) fn new() -> Option<Self> {
        match Self::enter() {
            Ok(sandbox) => Some(sandbox),
            Err(errno) => {
                skip(&Lacking::Privilege(format!("unshare or mount: {errno}")));
                None
            }
        }
    }

    fn enter() -> nix::Result<Self> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("bpf")).unwrap();
        fs::create_dir(directory.path().join("plain")).unwrap();
        mount(Some("bpf"), &directory.path().join("bpf"), Some("bpf"), MsFlags::empty(), Some("mode=0755"))?;
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(directory.path(), open).unwrap();
        Ok(Self { directory })
    }

    /// A path on the bpffs.
    pub(crate) fn pin(&self, name: &str) -> PathBuf {
        self.directory.path().join("bpf").join(name)
    }

    /// A path on an ordinary file system.
    pub(crate) fn plain(&self, name: &str) -> PathBuf {
        self.directory.path().join("plain").join(name)
    }

    /// The binary, with the default sets on the sandbox's bpffs.
    pub(crate) fn nsmap(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nsmap"));
        command.env("NSMAP_MNTNS_SET", self.pin("mnt_ns_set"));
        command.env("NSMAP_CGROUP_SET", self.pin("cgroup_set"));
        command
    }

    /// A runtime of containers; `None` after a [`skip`].
    pub(crate) fn oci(&self, runtime: &'static str) -> Option<oci::Oci> {
        match oci::Oci::new(&self.plain(""), runtime) {
            Ok(oci) => Some(oci),
            Err(oci::Missing::Program(program)) => {
                skip(&Lacking::Peer(program));
                None
            }
            Err(oci::Missing::Mount(why)) => {
                skip(&Lacking::Privilege(why));
                None
            }
        }
    }

    /// The binary, looking for state where these containers have it.
    pub(crate) fn nsmap_for(&self, oci: &oci::Oci) -> Command {
        let mut command = self.nsmap();
        command.env("NSMAP_HOST_ROOT", &oci.host);
        command
    }

    /// Runs it.
    pub(crate) fn run(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ran {
        Ran::from(self.nsmap().args(args).output().unwrap())
    }

    /// Runs it as nobody.
    pub(crate) fn run_as_nobody(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ran {
        Ran::from(self.command_as_nobody().args(args).output().unwrap())
    }

    /// The binary, to be run by nobody, from a copy that nobody can reach.
    pub(crate) fn command_as_nobody(&self) -> Command {
        use std::os::unix::process::CommandExt;
        let copy = self.plain("nsmap");
        if !copy.exists() {
            copy_program(env!("CARGO_BIN_EXE_nsmap"), &copy);
        }
        let mut command = Command::new(copy);
        command.env("NSMAP_MNTNS_SET", self.pin("mnt_ns_set"));
        command.env("NSMAP_CGROUP_SET", self.pin("cgroup_set"));
        command.uid(65534).gid(65534);
        command
    }
}

impl Sandbox {
    /// Whether a process without capabilities may open a pinned map, if its mode allows it; kernels before 5.19 refuse that
    /// where `kernel.unprivileged_bpf_disabled` is set. `false` after a [`skip`].
    pub(crate) fn opens_without_capabilities(&self) -> bool {
        let pin = self.pin("probe");
        self.run(["create", arg(&pin), "--mode", "666"]).ok();
        let asked = self.run_as_nobody(["list", arg(&pin)]);
        self.run(["delete", arg(&pin)]).ok();
        let setting = fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled").unwrap_or_default();
        if asked.code == 0 || setting.trim() == "0" {
            return true;
        }
        asked.refused(4, &["bpf(BPF_OBJ_GET)", "CAP_BPF"]);
        skip(&Lacking::Kernel("maps that processes without capabilities may open"));
        false
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // The temporary directory can only be removed without the mount on it.
        let _ = nix::mount::umount2(&self.directory.path().join("bpf"), nix::mount::MntFlags::MNT_DETACH);
    }
}

/// What a run left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// Its standard output, if it ended with 0.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Checks a refusal: this code, nothing on standard output, one line that holds all of `parts`.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, parts: &[&str]) {
        assert_eq!((self.code, self.out.as_str()), (code, ""), "{self:?}");
        assert_eq!(self.err.matches('\n').count(), 1, "{self:?}");
        assert!(self.err.starts_with("nsmap: "), "{self:?}");
        for part in parts {
            assert!(self.err.contains(part), "no `{part}` in {self:?}");
        }
    }

    /// Its answer as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.out.matches('\n').count(), 1, "{self:?}");
        serde_json::from_str(&self.out).unwrap()
    }
}

/// A cgroup v2 directory of the test's own, removed with what is below it.
pub(crate) struct Cgroup {
    pub(crate) path: PathBuf,
}

impl Cgroup {
    /// `None` after a [`skip`].
    pub(crate) fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let Ok(hierarchy) = nsmap::identity::cgroup::Hierarchy::find() else {
            skip(&Lacking::CgroupV2);
            return None;
        };
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = hierarchy.mount_point().join(format!("nsmap-test-{}-{number}", std::process::id()));
        match fs::create_dir(&path) {
            Ok(()) => Some(Self { path }),
            Err(error) => {
                skip(&Lacking::Privilege(format!("mkdir in cgroupfs: {error}")));
                None
            }
        }
    }

    /// A cgroup in it.
    pub(crate) fn child(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir(&path).unwrap();
        path
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Ok(entries) = fs::read_dir(&self.path) {
            for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
                let _ = fs::remove_dir(entry.path());
            }
        }
        let _ = fs::remove_dir(&self.path);
    }
}

/// Copies a program by another process: a file that this one has open for writing could be inherited, for a
/// moment, by a child that another test starts, and then executing it fails with `ETXTBSY`.
pub(crate) fn copy_program(from: &str, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

/// As text, for arguments.
pub(crate) fn arg(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A process in a mount namespace of its own.
pub(crate) fn unshared() -> std::process::Child {
    let child = Command::new("unshare").args(["-m", "sleep", "60"]).spawn().unwrap();
    // That of this thread, which is the one of its sandbox: the child begins there.
    let own = fs::metadata("/proc/thread-self/ns/mnt").unwrap().ino();
    let ready = (0..2000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(1));
        nsmap::identity::process::mntns_inode(child.id()).is_some_and(|inode| u64::from(inode) != own)
    });
    assert!(ready, "unshare did not get a namespace in two seconds");
    child
}
