//! execsnoop as a user meets it: each test starts it, lets programs be executed, and looks at the rows.
//!
//! Needs root and BPF. What is tested where: here the helpers; `filters` who is shown; `programs` which ways of executing
//! are seen; `rows` how they are shown; `options` each option; `ending` how a run ends; `refusals` how it does not begin;
//! `tables` what finds no room; `json` the records for programs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets something unexpected must fail"
)]

mod common;

#[path = "execsnoop/ending.rs"]
mod ending;
#[path = "execsnoop/filters.rs"]
mod filters;
#[path = "execsnoop/json.rs"]
mod json;
#[path = "execsnoop/options.rs"]
mod options;
#[path = "execsnoop/programs.rs"]
mod programs;
#[path = "execsnoop/refusals.rs"]
mod refusals;
#[path = "execsnoop/rows.rs"]
mod rows;
#[path = "execsnoop/tables.rs"]
mod tables;

use std::ffi::OsStr;

use serde_json::Value;

use common::program::run_true;
use common::sandbox::Sandbox;
use common::tag;
use common::tracer::{Finished, Tracer};

/// Other processes of these tests: see `common/role.rs`.
#[test]
fn plays_a_role() {
    common::role::play();
}

/// Starts execsnoop and waits until it is attached.
#[track_caller]
fn execsnoop<A: AsRef<OsStr>>(sandbox: &Sandbox, args: impl IntoIterator<Item = A>) -> Tracer {
    Tracer::start(sandbox.command("execsnoop", args))
}

/// Lets one more event happen, waits until it is out (so is all that was before it), and ends the tracer.
#[track_caller]
fn drain(tracer: Tracer) -> Finished {
    let last = tag("last");
    run_true([&last]);
    tracer.wait_word(&last);
    tracer.stop()
}

/// Lets `work` happen under `execsnoop --json ARGS` and gives all events.
#[track_caller]
fn events_of(args: &[&str], work: impl FnOnce()) -> Option<Vec<Value>> {
    let sandbox = match Sandbox::new() {
        Ok(sandbox) => sandbox,
        Err(why) => {
            common::skip::skip(&why);
            return None;
        }
    };
    let tracer = execsnoop(&sandbox, ["--json"].iter().chain(args));
    work();
    Some(drain(tracer).quiet().events())
}

/// The `argv` of an event.
#[track_caller]
fn argv(event: &Value) -> Vec<&str> {
    event["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect()
}

/// Events that have `word` among their arguments.
fn with_word<'e>(events: &'e [Value], word: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| argv(event).contains(&word)).collect()
}

/// The only event of a process that matters: the last one. (Before, the test binary executed itself.)
#[track_caller]
fn last_of(events: &[Value], pid: u32) -> &Value {
    events
        .iter()
        .rfind(|event| event["pid"] == pid)
        .unwrap_or_else(|| panic!("no event of {pid}: {events:#?}"))
}

/// What the column ARGS of a row says, in the table without further columns: all after four words.
fn args_column(row: &str) -> &str {
    (0..4).fold(row, |rest, _| rest.trim_start().split_once(' ').map_or("", |(_, rest)| rest)).trim_start()
}
