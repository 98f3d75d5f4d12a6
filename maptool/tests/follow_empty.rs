//! Cgroups without processes: a follower of mount namespaces sleeps until one gets a process, however late.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use common::following::{Following, can_watch, keys};
use common::{Cgroup, Sandbox, unshared};
use loader::map::Access;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nsmap::follow::{Event, Follower, Selector};
use nsmap::set::Set;

fn below(own: &Cgroup) -> String {
    format!("/{}/*", own.path.file_name().unwrap().to_str().unwrap())
}

#[test]
fn a_follower_of_empty_cgroups_sleeps_until_one_has_a_process() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    sandbox.run(["create"]).ok();
    let set = Set::open(&sandbox.pin("mnt_ns_set"), Access::ReadWrite).unwrap();
    let boxes: Vec<_> = (0..7).map(|number| own.child(&number.to_string())).collect();
    let mut follower = Follower::new(vec![Selector::parse(&below(&own)).unwrap()], vec![set]).unwrap();
    follower.synchronise().unwrap();
    assert_eq!(follower.len(), 7);
    // It looks for a while, as containers are empty when they are new.
    let end = Instant::now() + Duration::from_secs(60);
    while let Some(next) = follower.next_tick() {
        assert!(Instant::now() < end, "it still looks");
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        follower.tick();
    }
    let mut task = unshared();
    fs::write(boxes[3].join("cgroup.procs"), task.id().to_string()).unwrap();
    let fd = follower.wakeups().unwrap().try_clone_to_owned().unwrap();
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::from(30_000_u16)), Ok(1), "the kernel tells");
    let inode = nsmap::identity::process::mntns_inode(task.id()).unwrap();
    let added = |event: &Event| matches!(event, Event::Added(entry) if entry.id == u64::from(inode));
    let mut events = Vec::new();
    while !events.iter().any(added) {
        assert!(Instant::now() < end, "{events:?}");
        follower.tick();
        events.extend(follower.take_events());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(keys(&sandbox, "mnt_ns_set"), [u64::from(inode)]);
    task.kill().unwrap();
    task.wait().unwrap();
}

#[test]
fn a_process_that_comes_late_is_followed() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    if !can_watch() {
        return;
    }
    sandbox.run(["create"]).ok();
    let early = own.child("early");
    let following = Following::start(&sandbox, sandbox.nsmap(), &[&below(&own)]);
    let late = own.child("late");
    // Both are asleep by now.
    std::thread::sleep(Duration::from_secs(4));
    for place in [&early, &late] {
        let mut task = unshared();
        fs::write(place.join("cgroup.procs"), task.id().to_string()).unwrap();
        let inode = u64::from(nsmap::identity::process::mntns_inode(task.id()).unwrap());
        let change = following.next();
        assert_eq!((&change["event"], &change["id"]), (&"added".into(), &inode.into()), "{change}");
        task.kill().unwrap();
        task.wait().unwrap();
    }
    for place in [&early, &late] {
        fs::remove_dir(place).unwrap();
        assert_eq!(following.next()["event"], "removed");
    }
    assert!(following.end().is_empty());
    assert!(keys(&sandbox, "mnt_ns_set").is_empty());
}
