//! `list` names the processes of cgroups: those in it, in what is below it, in threaded ones, and no others.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;

use common::host::Host;
use common::{Ran, arg};

/// The only member, as JSON.
fn member(ran: &Ran) -> serde_json::Value {
    ran.json()["sets"][0]["members"][0].clone()
}

fn pids(member: &serde_json::Value) -> Vec<u64> {
    member["processes"].as_array().unwrap().iter().map(|one| one["pid"].as_u64().unwrap()).collect()
}

#[test]
fn a_cgroup_has_its_own_processes_and_a_subtree_those_below() {
    let Some(mut host) = Host::new() else { return };
    host.run(&["create", "--kind", "cgroup"]).ok();
    let mut tasks: Vec<u64> = (0..3).map(|_| u64::from(host.task("top"))).collect();
    let below: Vec<u64> = (0..2).map(|number| u64::from(host.task(&format!("top/in/{number}")))).collect();
    let top = host.own.path.join("top");
    host.run(&["add-cgroup", arg(&top)]).ok();
    let exact = member(&host.run(&["--json", "list"]));
    assert_eq!((pids(&exact), &exact["process_count"]), (tasks.clone(), &3.into()), "{exact}");
    assert_eq!(exact["processes"][0]["comm"], "sleep");
    let line = format!("{}: {} sleep, {} sleep, {} sleep\n", arg(&top), tasks[0], tasks[1], tasks[2]);
    assert!(host.run(&["list"]).ok().ends_with(&line), "{line}");
    host.run(&["add-cgroup", "--subtree", arg(&top)]).ok();
    tasks.extend(below);
    tasks.sort_unstable();
    let subtree = member(&host.run(&["--json", "list"]));
    assert_eq!((pids(&subtree), &subtree["process_count"]), (tasks, &5.into()), "{subtree}");
    assert!(host.run(&["list"]).ok().ends_with(" sleep and 1 more\n"));
}

#[test]
fn a_cgroup_without_processes_says_zero_and_a_dead_one_nothing() {
    let Some(host) = Host::new() else { return };
    host.run(&["create", "--kind", "cgroup"]).ok();
    let empty = host.own.child("empty");
    host.run(&["add-cgroup", "--subtree", arg(&empty)]).ok();
    let shown = member(&host.run(&["--json", "list"]));
    assert_eq!((&shown["process_count"], pids(&shown)), (&0.into(), vec![]), "{shown}");
    assert!(host.run(&["list"]).ok().ends_with(&format!(" {}\n", arg(&empty))));
    fs::remove_dir(&empty).unwrap();
    let shown = member(&host.run(&["--json", "list"]));
    assert_eq!((&shown["process_count"], pids(&shown)), (&serde_json::Value::Null, vec![]), "{shown}");
}

#[test]
fn a_threaded_cgroup_has_the_processes_of_its_threads() {
    let Some(mut host) = Host::new() else { return };
    host.run(&["create", "--kind", "cgroup"]).ok();
    let task = host.task("top");
    let threaded = host.own.path.join("top/threads");
    fs::create_dir(&threaded).unwrap();
    fs::write(threaded.join("cgroup.type"), "threaded").unwrap();
    fs::write(threaded.join("cgroup.threads"), task.to_string()).unwrap();
    host.run(&["add-cgroup", arg(&threaded)]).ok();
    let shown = member(&host.run(&["--json", "list"]));
    assert_eq!((pids(&shown), &shown["process_count"]), (vec![task.into()], &1.into()), "{shown}");
    // The domain above it tells it, too, but it is one process.
    host.run(&["remove-cgroup", arg(&threaded)]).ok();
    host.run(&["add-cgroup", "--subtree", arg(&host.own.path.join("top"))]).ok();
    let shown = member(&host.run(&["--json", "list"]));
    assert_eq!((pids(&shown), &shown["process_count"]), (vec![task.into()], &1.into()), "{shown}");
}
