//! opensnoop as a user meets it: each test starts it, opens files in its own directory, and looks at the rows.
//!
//! Needs root and BPF. What is tested where: here the helpers; `calls` which ways of opening are seen, on each hook that
//! this kernel allows; `paths` names and paths; `filters` who and what is shown; `options` the other options; `many` that
//! nothing is lost; `tables` what is told when something is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets something unexpected must fail"
)]

mod common;

#[path = "opensnoop/calls.rs"]
mod calls;
#[path = "opensnoop/filters.rs"]
mod filters;
#[path = "opensnoop/many.rs"]
mod many;
#[path = "opensnoop/options.rs"]
mod options;
#[path = "opensnoop/paths.rs"]
mod paths;
#[path = "opensnoop/tables.rs"]
mod tables;

use std::ffi::{OsStr, OsString};
use std::fs::File;

use serde_json::Value;

use common::run::run;
use common::sandbox::Sandbox;
use common::tag;
use common::tracer::{Finished, Tracer};

/// Other processes of these tests: see `common/role.rs`, and `many` for the one that is opensnoop's own.
#[test]
fn plays_a_role() {
    if !many::play() && !tables::play() {
        common::role::play();
    }
}

/// `--path-prefix` and the sandbox's directory: only what the test itself opens there.
fn own(sandbox: &Sandbox) -> [OsString; 2] {
    ["--path-prefix".into(), sandbox.path("").into_os_string()]
}

/// Starts opensnoop and waits until it is attached.
#[track_caller]
fn opensnoop<A: AsRef<OsStr>>(sandbox: &Sandbox, args: impl IntoIterator<Item = A>) -> Tracer {
    Tracer::start(sandbox.command("opensnoop", args))
}

/// Opens a file that is not there in the sandbox, waits until that is out (so is all that was before it), and ends the
/// tracer.
#[track_caller]
fn drain(sandbox: &Sandbox, tracer: Tracer) -> Finished {
    drain_with(sandbox, tracer, &tag("last"))
}

#[track_caller]
fn drain_with(sandbox: &Sandbox, tracer: Tracer, last: &str) -> Finished {
    assert!(File::open(sandbox.path(last)).is_err());
    tracer.wait_word(last);
    tracer.stop()
}

/// Lets `work` happen under `opensnoop --json ARGS` and gives the events until it is done.
#[track_caller]
fn events_of(sandbox: &Sandbox, args: &[&str], work: impl FnOnce()) -> Vec<Value> {
    let tracer = opensnoop(sandbox, ["--json"].iter().chain(args));
    work();
    let last = tag("last");
    let mut events = drain_with(sandbox, tracer, &last).quiet().events();
    let is_last = |event: &Value| event["name"].as_str().is_some_and(|name| name.ends_with(&last));
    events.truncate(events.iter().position(is_last).unwrap());
    events
}

/// The hooks that this kernel allows; two of them always, as all that we support have tracepoints.
fn hooks(sandbox: &Sandbox) -> Vec<&'static str> {
    let mut usable = vec!["tp_btf", "tracepoint syscalls"];
    let exits = run(&mut sandbox.command("opensnoop", ["--hook", "tracepoint exits", "--duration", "0.01"]));
    match exits.code() {
        0 => usable.push("tracepoint exits"),
        // Before 5.15 no program is told the registers of a task.
        _ => assert!(exits.refused(1, "opensnoop").contains("unknown"), "{exits:?}"),
    }
    let fexit = run(&mut sandbox.command("opensnoop", ["--hook", "fexit", "--duration", "0.01"]));
    match fexit.code() {
        0 => usable.push("fexit"),
        _ => assert!(fexit.refused(1, "opensnoop").contains("fexit do_sys_openat2"), "{fexit:?}"),
    }
    usable
}
