//! What tests need of the machine: root, a bpffs of their own.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Why a test did not run; `REQUIRE_BPF=1` turns that into a failure.
#[derive(Debug)]
pub struct NotRun;

/// Whether BPF can be used here.
pub fn may_use_bpf() -> Result<(), NotRun> {
    if nix::unistd::geteuid().is_root() && Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Ok(());
    }
    Err(not_run("BPF needs root and a kernel with types"))
}

/// Says aloud that a test did not run.
pub fn not_run(reason: &str) -> NotRun {
    assert!(std::env::var_os("REQUIRE_BPF").is_none_or(|value| value != "1"), "REQUIRE_BPF=1, but: {reason}");
    let thread = std::thread::current();
    let line = format!("SKIP {}: {reason}\n", thread.name().unwrap_or("test"));
    // Not `eprintln!`: the test harness would swallow that.
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    NotRun
}

/// A bpffs that only the calling thread sees; it goes with the thread.
pub struct Bpffs {
    directory: tempfile::TempDir,
}

impl Bpffs {
    pub fn mount() -> Self {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let directory = tempfile::tempdir().unwrap();
        mount(Some("bpf"), directory.path(), Some("bpf"), MsFlags::empty(), none).unwrap();
        Self { directory }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        nix::mount::umount2(self.directory.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
    }
}
