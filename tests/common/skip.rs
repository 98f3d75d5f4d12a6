//! Skipping, in one place: loud, with a reason that has a type, and a failure where the machine is meant to have it all.

use std::io::Write;
use std::panic::Location;

/// Why a test cannot run here.
#[derive(Clone, Debug)]
pub(crate) enum Skip {
    /// Mount namespaces and BPF need root.
    NotRoot,
    /// The kernel does not show its types, without which no tracer runs.
    NoTypes,
    /// The kernel refused something that sandboxes are made of.
    NoSandbox(String),
    /// There is no cgroup v2 mount that cgroups can be made in.
    NoCgroup2(String),
    /// A program that results are compared with is not installed.
    NoPeer(&'static str),
    /// Not all tasks are in the root of cgroup v2, as on hosts that use v1 beside it.
    NotHybrid,
    /// The kernel does not tell the ids of mount namespaces that are never used again (before 6.11).
    NoNamespaceId,
    /// The kernel runs no 32-bit programs, or is not for this processor.
    NoIa32,
    /// The kernel was built without something that the tools can do without.
    NotInKernel(&'static str),
    /// Only for a kernel of `make test-kernels`, which is known and is thrown away afterwards.
    NotInGuest,
}

impl Skip {
    /// What `ALLOW_SKIP` calls it.
    fn name(&self) -> &'static str {
        match self {
            Self::NotRoot => "root",
            Self::NoTypes => "types",
            Self::NoSandbox(_) => "sandbox",
            Self::NoCgroup2(_) => "cgroup2",
            Self::NoPeer(_) => "peer",
            Self::NotHybrid => "hybrid",
            Self::NoNamespaceId => "kernel",
            Self::NoIa32 => "ia32",
            Self::NotInKernel(_) => "kernel",
            Self::NotInGuest => "guest",
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::NotRoot => "not root".to_owned(),
            Self::NoTypes => "this kernel does not show its types".to_owned(),
            Self::NoSandbox(what) => format!("no sandbox: {what}"),
            Self::NoCgroup2(what) => format!("no cgroup v2: {what}"),
            Self::NoPeer(program) => format!("{program} is not installed"),
            Self::NotHybrid => "not all tasks are in the root of cgroup v2".to_owned(),
            Self::NoNamespaceId => "this kernel does not tell never-reused ids of namespaces".to_owned(),
            Self::NoIa32 => "no 32-bit programs here".to_owned(),
            Self::NotInKernel(what) => format!("no {what} in this kernel"),
            Self::NotInGuest => "only for the guests of make test-kernels".to_owned(),
        }
    }
}

/// Says that the calling test is skipped, or fails it if `REQUIRE_BPF` says that there is no excuse.
#[track_caller]
pub(crate) fn skip(why: &Skip) {
    let at = Location::caller();
    let thread = std::thread::current();
    let test = thread.name().filter(|name| *name != "main").map_or_else(|| at.to_string(), str::to_owned);
    let allowed =
        std::env::var("ALLOW_SKIP").is_ok_and(|kinds| kinds.split(',').any(|kind| kind == why.name()));
    let required = std::env::var_os("REQUIRE_BPF").is_some_and(|value| value == "1");
    assert!(allowed || !required, "REQUIRE_BPF=1, but {test} cannot run: {}", why.reason());
    // Not eprintln: the test harness would hide what a passing test prints.
    let _ = writeln!(std::io::stderr(), "SKIP {test}: {}", why.reason());
}

/// The value, or a skip of the test that this stands in.
macro_rules! or_skip {
    ($attempt:expr) => {
        match $attempt {
            Ok(value) => value,
            Err(why) => return $crate::common::skip::skip(&why),
        }
    };
}
pub(crate) use or_skip;
