//! How `follow --for` ends: what it added is gone, also what it had no time to hear of, and what a run before it left.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::following::{Following, can_watch, keys};
use common::{Cgroup, Ran, Sandbox};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nsmap::identity::cgroup::id_of_path;

fn below(own: &Cgroup) -> String {
    format!("/{}/*", own.path.file_name().unwrap().to_str().unwrap())
}

/// (event, id) of each line.
fn events(out: &str) -> Vec<(String, u64)> {
    let of = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        (line["event"].as_str().unwrap().to_owned(), line["id"].as_u64().unwrap())
    };
    out.lines().map(of).collect()
}

#[test]
fn a_run_with_an_end_takes_over_what_a_killed_one_left() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    if !can_watch() {
        return;
    }
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    let (stays, goes) = (own.child("stays"), own.child("goes"));
    let (stays, gone) = (id_of_path(&stays).unwrap(), id_of_path(&goes).unwrap());
    let mut first = Following::start(&sandbox, sandbox.nsmap(), &[&below(&own), "--for", "600s"]);
    let mut both = vec![stays, gone];
    both.sort_unstable();
    assert_eq!(keys(&sandbox, "cgroup_set"), both);
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    assert_eq!(keys(&sandbox, "cgroup_set"), both, "a killed one cannot remove what it added");
    fs::remove_dir(&goes).unwrap();
    let comes = id_of_path(&own.child("comes")).unwrap();
    let ran = sandbox.run(["--json", "follow", &below(&own), "--for", "300ms"]);
    let mut seen = events(&ran.ok());
    let mut end = seen.split_off(2);
    assert_eq!(seen, [("removed".to_owned(), gone), ("added".to_owned(), comes)]);
    end.sort_unstable();
    let mut expected = vec![("removed".to_owned(), stays), ("removed".to_owned(), comes)];
    expected.sort_unstable();
    assert_eq!(end, expected);
    assert!(keys(&sandbox, "cgroup_set").is_empty());
}

#[test]
fn what_the_kernel_added_and_nobody_heard_of_is_removed_at_the_end() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    if !can_watch() {
        return;
    }
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    let following = Following::start(&sandbox, sandbox.nsmap(), &[&below(&own), "--for", "3s"]);
    let ready = Instant::now();
    let pid = Pid::from_raw(following.child.id().cast_signed());
    kill(pid, Signal::SIGSTOP).unwrap();
    let stays = id_of_path(&own.child("stays")).unwrap();
    let goes = own.child("goes");
    let gone = id_of_path(&goes).unwrap();
    fs::remove_dir(&goes).unwrap();
    let found = keys(&sandbox, "cgroup_set");
    assert!(found.contains(&stays) && found.contains(&gone), "{found:?}");
    // The end comes while it cannot move: its time began when it was ready, or a little later.
    std::thread::sleep(Duration::from_millis(3500).saturating_sub(ready.elapsed()));
    kill(pid, Signal::SIGCONT).unwrap();
    let mut child = following.child;
    assert!(child.wait().unwrap().success());
    let told: Vec<(String, u64)> = following.lines.iter().flat_map(|line| events(&line)).collect();
    for id in [stays, gone] {
        let of_id: Vec<&str> =
            told.iter().filter(|(_, other)| *other == id).map(|(event, _)| event.as_str()).collect();
        assert_eq!(of_id, ["added", "removed"], "{told:?}");
    }
    assert!(keys(&sandbox, "cgroup_set").is_empty());
}

#[test]
fn a_signal_before_the_end_removes_what_was_added_too() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    if !can_watch() {
        return;
    }
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    let id = id_of_path(&own.child("x")).unwrap();
    let following = Following::start(&sandbox, sandbox.nsmap(), &[&below(&own), "--for", "600s"]);
    assert_eq!(keys(&sandbox, "cgroup_set"), [id]);
    let told = following.end();
    assert_eq!(told.iter().map(|event| &event["event"]).collect::<Vec<_>>(), ["added", "removed"]);
    assert!(keys(&sandbox, "cgroup_set").is_empty());
}

#[test]
fn a_run_without_an_end_takes_over_what_another_left() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    if !can_watch() {
        return;
    }
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    let id = id_of_path(&own.child("x")).unwrap();
    let first = Following::start(&sandbox, sandbox.nsmap(), &[&below(&own)]);
    assert_eq!(first.end().len(), 1);
    let second = Following::start(&sandbox, sandbox.nsmap(), &[&below(&own)]);
    fs::remove_dir(own.path.join("x")).unwrap();
    let told = second.next();
    assert_eq!((&told["event"], &told["id"]), (&"removed".into(), &id.into()), "nothing was added anew");
    assert!(second.end().is_empty());
    let ran: Ran = sandbox.run(["follow", &below(&own), "--once"]);
    assert_eq!(ran.ok(), "");
}
