//! What tests need of the machine: root, a bpffs of their own.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use loader::Endian;
use loader::btf::{Btf, BtfData};
use loader::kernel::btf::VMLINUX;
use loader::load::{LoadOptions, Object};
use loader::spec::ObjectSpec;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::clang::compile;

/// Why a test, or a part of one, did not run.
#[derive(Clone, Debug)]
pub enum NotRun {
    /// BPF needs root.
    NoBpf,
    /// The loader's own objects need the kernel's types, which it does not show.
    NoTypes,
    /// There is no compiler, nor are there objects made before.
    NoCompiler(String),
    /// A program to compare with is not installed.
    NoPeer(&'static str),
    /// The kernel was asked, and does not have it.
    KernelLacks(&'static str),
}

impl NotRun {
    /// What `ALLOW_SKIP` calls it.
    fn name(&self) -> &'static str {
        match self {
            Self::NoBpf => "bpf",
            Self::NoTypes => "types",
            Self::NoCompiler(_) => "compiler",
            Self::NoPeer(_) => "peer",
            Self::KernelLacks(_) => "kernel",
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::NoBpf => "BPF needs root".to_owned(),
            Self::NoTypes => "this kernel does not show its types".to_owned(),
            Self::NoCompiler(error) => format!("no compiler: {error}"),
            Self::NoPeer(program) => format!("{program} is not installed"),
            Self::KernelLacks(what) => format!("this kernel has no {what}"),
        }
    }
}

/// Whether BPF can be used here.
pub fn may_use_bpf() -> Result<(), NotRun> {
    let why = match (nix::unistd::geteuid().is_root(), Path::new(VMLINUX).exists()) {
        (true, true) => return Ok(()),
        (false, _) => NotRun::NoBpf,
        (true, false) => NotRun::NoTypes,
    };
    not_run(&why);
    Err(why)
}

/// The running kernel's types, or a skip.
pub fn vmlinux() -> Option<Btf> {
    let Ok(data) = std::fs::read(VMLINUX) else {
        not_run(&NotRun::NoTypes);
        return None;
    };
    Some(Btf::parse(BtfData::from(data)).unwrap())
}

/// Says aloud that a test did not run. `REQUIRE_BPF=1` makes that a failure, except for the reasons in `ALLOW_SKIP`.
pub fn not_run(why: &NotRun) {
    let reason = why.reason();
    let allowed =
        std::env::var("ALLOW_SKIP").is_ok_and(|kinds| kinds.split(',').any(|kind| kind == why.name()));
    let required = std::env::var_os("REQUIRE_BPF").is_some_and(|value| value == "1");
    assert!(allowed || !required, "REQUIRE_BPF=1, but: {reason}");
    let thread = std::thread::current();
    let line = format!("SKIP {}: {reason}\n", thread.name().unwrap_or("test"));
    // Not `eprintln!`: the test harness would swallow that.
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// The object `callbacks`, if this kernel calls functions of programs back; it is asked by a program.
pub fn callbacks() -> Option<Object> {
    may_use_bpf().ok()?;
    let spec = ObjectSpec::parse(&compile("callbacks", Endian::NATIVE).ok()?).unwrap();
    let mut object = Object::create(spec, LoadOptions::default()).unwrap();
    let has_callbacks = object.load_program("has_callbacks").unwrap().test_run(&[0; 64]).unwrap();
    if has_callbacks == 0 {
        not_run(&NotRun::KernelLacks("bpf_loop"));
        return None;
    }
    if object.load_program("callbacks").is_err_and(|error| needs_jit(&error)) {
        return None;
    }
    Some(object)
}

/// Whether the verifier refused because this kernel interprets programs (s390x of Debian); says aloud that a test did not run.
pub(crate) fn needs_jit(error: &loader::Error) -> bool {
    let log = error.verifier_log().unwrap_or_default();
    let refused = log.contains("not allowed in non-JITed programs") || log.contains("JIT is required");
    if refused {
        not_run(&NotRun::KernelLacks("JIT"));
    }
    refused
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

/// Whether this is a kernel of `make test-kernels` that lets programs go on functions of all kinds: x86-64.
pub(crate) fn has_trampolines() -> bool {
    std::env::var_os("TEST_KERNEL").is_some() && cfg!(target_arch = "x86_64")
}
