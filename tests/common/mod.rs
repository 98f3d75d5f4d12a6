//! What the tests of the tools share: a sandbox to work in, tools to run in it, and programs for them to observe.
//!
//! A test makes a [`sandbox::Sandbox`] (its own mount namespace, bpffs, directory), starts a [`tracer::Tracer`] and waits
//! until that says it is attached, does a known thing with a [`program`] or a [`role`], and looks at the rows. Rules:
//! nothing outside of the sandbox is touched, whatever a test makes is gone when it ends or panics, every wait has a bound
//! ([`BOUND`]), and nobody sleeps in the hope that something has happened meanwhile.
//!
//! Environment:
//! - `TRACERS_BIN_DIR`: where the tools are, if not beside the one that cargo has built for this test.
//! - `REQUIRE_BPF=1`: a test that would be skipped fails. `ALLOW_SKIP=peer,ia32`: except for these reasons.
#![allow(dead_code, unused_imports, unused_macros)] // each test program compiles all of this and uses its part

pub(crate) mod assembly;
pub(crate) mod bpftool;
pub(crate) mod cgroup;
pub(crate) mod container;
pub(crate) mod elf;
pub(crate) mod namespace;
pub(crate) mod nsmap;
pub(crate) mod odd_pins;
pub(crate) mod program;
pub(crate) mod role;
pub(crate) mod run;
pub(crate) mod sandbox;
pub(crate) mod skip;
pub(crate) mod tracer;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The longest that a step of a test may take: generous, for an emulated machine under load. A step that works takes
/// milliseconds.
pub(crate) const BOUND: Duration = Duration::from_secs(180);

/// Whether everything takes a hundred times as long here, as in all guests of `make test-kernels`.
pub(crate) fn emulated() -> bool {
    std::env::var_os("TEST_KERNEL").is_some()
        || std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("QEMU TCG"))
}

/// The executable of one of our tools.
pub(crate) fn tool(name: &str) -> PathBuf {
    let beside =
        || PathBuf::from(env!("CARGO_BIN_EXE_execsnoop")).parent().map(PathBuf::from).unwrap_or_default();
    let dir = std::env::var_os("TRACERS_BIN_DIR").map_or_else(beside, PathBuf::from);
    let path = dir.join(name);
    assert!(
        path.is_file(),
        "`{}` is missing: `cargo build --workspace` makes it, or TRACERS_BIN_DIR says where it is",
        path.display()
    );
    path
}

/// A word that nothing else on this machine has in its arguments.
pub(crate) fn tag(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
