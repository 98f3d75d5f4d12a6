//! `follow`: sets that stay equal to what matches while containers come and go.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::following::{Following, can_watch, keys, wait_for};
use common::{Cgroup, Ran, Sandbox};
use loader::map::Access;
use nsmap::follow::tree::{Change, Tree};
use nsmap::follow::{Event, Follower, Selector};
use nsmap::identity::cgroup::{Hierarchy, id_of_path};
use nsmap::set::Set;

#[test]
fn a_cgroup_set_follows_what_a_path_selects() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    if !can_watch() {
        return;
    }
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    sandbox.run(["add-cgroup", "1"]).ok();
    let before = own.child("web-0");
    let first = id_of_path(&before).unwrap();
    let glob = format!("/{}/web-*", own.path.file_name().unwrap().to_str().unwrap());
    let following = Following::start(&sandbox, sandbox.nsmap(), &[&glob]);
    // What was there before is found, and what does not match is gone.
    assert_eq!(keys(&sandbox, "cgroup_set"), [first]);
    assert_eq!(
        (&following.next()["event"], &following.next()["event"]),
        (&"removed".into(), &"added".into())
    );
    let made = own.child("web-1");
    let second = id_of_path(&made).unwrap();
    own.child("other");
    fs::create_dir(made.join("web-inner")).unwrap();
    let change = following.next();
    assert_eq!(
        (&change["event"], &change["kind"], &change["id"]),
        (&"added".into(), &"cgroup".into(), &second.into())
    );
    assert!(
        change["time"].as_str().unwrap().ends_with('Z')
            && change["name"].as_str().unwrap().ends_with("/web-1")
    );
    fs::remove_dir(made.join("web-inner")).unwrap();
    fs::remove_dir(&made).unwrap();
    let change = following.next();
    assert_eq!((&change["event"], &change["id"]), (&"removed".into(), &second.into()));
    assert_eq!(following.end(), Vec::<serde_json::Value>::new());
    assert_eq!(keys(&sandbox, "cgroup_set"), [first], "members stay for the next start");
}

#[test]
fn a_burst_of_cgroups_leaves_an_exact_set() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    if !can_watch() {
        return;
    }
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    let glob = format!("/{}/*", own.path.file_name().unwrap().to_str().unwrap());
    let following = Following::start(&sandbox, sandbox.nsmap(), &[&glob]);
    let mut kept = Vec::new();
    for number in 0..1009 {
        let path = own.child(&number.to_string());
        if number % 101 == 0 {
            kept.push(id_of_path(&path).unwrap());
        } else {
            fs::remove_dir(&path).unwrap();
        }
    }
    kept.sort_unstable();
    wait_for(&sandbox, "cgroup_set", &kept);
    following.end();
    assert_eq!(keys(&sandbox, "cgroup_set"), kept);
}

/// Lets a process do nothing, or go on.
fn signal(following: &Following, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(following.child.id().cast_signed());
    nix::sys::signal::kill(pid, signal).unwrap();
}

#[test]
fn a_new_cgroup_is_a_member_before_its_follower_moves() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    if !can_watch() {
        return;
    }
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    let name = own.path.file_name().unwrap().to_str().unwrap().to_owned();
    let id = "3f".repeat(32);
    let deep = own.child("deep");
    let words = [
        format!("/{name}/web-*"),
        format!("/{name}/*/exact"),
        format!("unit:{name}*"),
        "engine:podman".to_owned(),
    ];
    let following = Following::start(&sandbox, sandbox.nsmap(), &words.each_ref().map(String::as_str));
    signal(&following, nix::sys::signal::Signal::SIGSTOP);
    // Others may run containers of their own meanwhile.
    let ours = |own: &Cgroup| -> Vec<u64> {
        let all: Vec<u64> = nsmap::identity::cgroup::directories(&own.path)
            .filter_map(|directory| id_of_path(&directory).ok())
            .collect();
        keys(&sandbox, "cgroup_set").into_iter().filter(|id| all.contains(id)).collect()
    };
    let mut expected: Vec<u64> =
        ["web-1", "web-", &format!("{name}-x.service"), &format!("libpod-{id}.scope")]
            .map(|name| id_of_path(&own.child(name)).unwrap())
            .to_vec();
    fs::create_dir(deep.join("exact")).unwrap();
    let exact = id_of_path(&deep.join("exact")).unwrap();
    expected.push(exact);
    for other in
        ["other", "web", "xweb-1", "exact", "web-1.x", &format!("libpod-conmon-{id}.scope"), "docker"]
    {
        own.child(other);
    }
    let dotted = id_of_path(&own.path.join("web-1.x")).unwrap();
    expected.push(dotted);
    expected.sort_unstable();
    assert_eq!(ours(&own), expected);
    // One that comes and goes meanwhile is told of all the same.
    fs::remove_dir(own.path.join("web-1")).unwrap();
    signal(&following, nix::sys::signal::Signal::SIGCONT);
    let gone = expected.remove(expected.iter().position(|&id| id != dotted).unwrap());
    fs::remove_dir(deep.join("exact")).unwrap();
    let last = |line: &serde_json::Value| {
        line["event"] == "removed" && line["name"].as_str().unwrap().ends_with("exact")
    };
    let mut events = Vec::new();
    while !events.last().is_some_and(last) {
        events.push(following.next());
    }
    let of_gone: Vec<_> =
        events.iter().filter(|event| event["id"] == gone).map(|event| &event["event"]).collect();
    assert_eq!(of_gone, ["added", "removed"]);
    expected.retain(|&id| id != exact);
    assert_eq!(ours(&own), expected);
    following.end();
}

#[test]
fn what_a_rule_of_the_kernel_says_too_much_is_taken_back() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    if !can_watch() {
        return;
    }
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    let following = Following::start(&sandbox, sandbox.nsmap(), &["engine:docker"]);
    // As long as an id.
    let impostor = own.child(&format!("docker-{}.scope", "x".repeat(64)));
    let real = own.child(&format!("docker-{}.scope", "a".repeat(64)));
    let expected = id_of_path(&real).unwrap();
    let wrong = id_of_path(&impostor).unwrap();
    // Others may run containers of their own meanwhile.
    let ours = |event: &serde_json::Value| event["id"] == expected || event["id"] == wrong;
    let next = || (0..1000).map(|_| following.next()).find(ours).unwrap();
    assert_eq!(next()["id"], expected);
    let now = keys(&sandbox, "cgroup_set");
    assert!(now.contains(&expected) && !now.contains(&wrong));
    fs::remove_dir(&impostor).unwrap();
    fs::remove_dir(&real).unwrap();
    assert_eq!(next()["id"], expected);
    assert!(!following.end().iter().any(ours));
}

#[test]
fn a_namespace_is_followed_and_held_until_its_cgroup_is_gone() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    if !can_watch() {
        return;
    }
    sandbox.run(["create"]).ok();
    let glob = format!("/{}/*", own.path.file_name().unwrap().to_str().unwrap());
    let following = Following::start(&sandbox, sandbox.nsmap(), &[&glob]);
    let place = own.child("box");
    // First in the namespace of the host, as a runtime begins: that one must never be a member.
    let mut host = Command::new("sleep").arg("60").spawn().unwrap();
    fs::write(place.join("cgroup.procs"), host.id().to_string()).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(keys(&sandbox, "mnt_ns_set").is_empty());
    host.kill().unwrap();
    host.wait().unwrap();
    let mut task = common::unshared();
    fs::write(place.join("cgroup.procs"), task.id().to_string()).unwrap();
    let inode = u64::from(nsmap::identity::process::mntns_inode(task.id()).unwrap());
    let change = following.next();
    assert_eq!(
        (&change["event"], &change["kind"], &change["id"]),
        (&"added".into(), &"mntns".into(), &inode.into())
    );
    task.kill().unwrap();
    task.wait().unwrap();
    // Nobody is in it, and yet its number goes to nobody else.
    let other = common::unshared();
    assert_ne!(u64::from(nsmap::identity::process::mntns_inode(other.id()).unwrap()), inode);
    fs::remove_dir(&place).unwrap();
    assert_eq!(following.next()["event"], "removed");
    assert!(keys(&sandbox, "mnt_ns_set").is_empty());
    following.end();
    let mut other = other;
    other.kill().unwrap();
    other.wait().unwrap();
}

/// What a tree tells of the cgroups in `own`, until one named `last` is gone.
fn told(mut tree: Tree, own: u64, last: &str) -> Vec<Change> {
    let end = Instant::now() + Duration::from_secs(30);
    let mut changes = Vec::new();
    while !changes.iter().any(|change| matches!(change, Change::Removed { name, .. } if name == last)) {
        assert!(Instant::now() < end, "{changes:?}");
        let mut fds = [nix::poll::PollFd::new(tree.as_fd(), nix::poll::PollFlags::POLLIN)];
        nix::poll::poll(&mut fds, nix::poll::PollTimeout::from(1000_u16)).unwrap();
        changes.extend(tree.changes().unwrap());
    }
    changes.retain(|change| match change {
        Change::Created { parent, .. } | Change::Removed { parent, .. } => *parent == own,
        Change::Overflow => true,
    });
    changes
}

#[test]
fn a_bpf_program_tells_what_fanotify_tells_and_every_id() {
    let Some(own) = Cgroup::new() else { return };
    if !can_watch() || !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return;
    }
    let traced = Tree::trace().unwrap();
    let watched = Tree::watch(Hierarchy::find().unwrap().mount_point()).unwrap();
    let parent = id_of_path(&own.path).unwrap();
    let mut expected = Vec::new();
    let long = "n".repeat(255);
    for name in ["one", "two", long.as_str(), "\u{e9} x", "last"] {
        let id = Some(id_of_path(&own.child(name)).unwrap());
        expected.push(Change::Created { parent, name: name.into(), id });
        fs::remove_dir(own.path.join(name)).unwrap();
        expected.push(Change::Removed { parent, name: name.into(), id });
    }
    assert_eq!(told(traced, parent, "last"), expected);
    let without_ids = |changes: Vec<Change>| -> Vec<Change> {
        changes
            .into_iter()
            .map(|change| match change {
                Change::Created { parent, name, .. } => Change::Created { parent, name, id: None },
                other => other,
            })
            .collect()
    };
    assert_eq!(without_ids(told(watched, parent, "last")), without_ids(expected));
}

#[test]
fn after_an_overflow_everything_is_looked_at_anew() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    let set = Set::open(&sandbox.pin("cgroup_set"), Access::ReadWrite).unwrap();
    let glob = format!("/{}/*", own.path.file_name().unwrap().to_str().unwrap());
    let mut follower = Follower::new(vec![Selector::parse(&glob).unwrap()], vec![set]).unwrap();
    follower.synchronise().unwrap();
    assert!(follower.is_empty());
    let id = id_of_path(&own.child("missed")).unwrap();
    follower.take_in(vec![Change::Overflow]).unwrap();
    assert_eq!((follower.len(), keys(&sandbox, "cgroup_set")), (1, vec![id]));
    assert!(
        matches!(follower.take_events().as_slice(), [Event::Overflow, Event::Added(entry)] if entry.id == id)
    );
    assert_eq!(follower.next_tick(), None, "it sleeps until the kernel has something to tell");
}

#[test]
fn a_removed_container_of_a_full_set_makes_room() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    if !can_watch() {
        return;
    }
    sandbox.run(["create", "--kind", "cgroup", "--entries", "1"]).ok();
    let glob = format!("/{}/*", own.path.file_name().unwrap().to_str().unwrap());
    let following = Following::start(&sandbox, sandbox.nsmap(), &[&glob]);
    let first = own.child("first");
    assert_eq!(following.next()["event"], "added");
    own.child("second");
    let change = following.next();
    assert_eq!(change["event"], "failed");
    assert!(change["error"].is_string(), "{change}");
    fs::remove_dir(&first).unwrap();
    assert_eq!(following.next()["event"], "removed");
    let id = id_of_path(&own.path.join("second")).unwrap();
    wait_for(&sandbox, "cgroup_set", &[id]);
    drop(following.next());
    let mut child = following.child;
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn watch_tells_each_change_of_a_set() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create"]).ok();
    let mut command = sandbox.nsmap();
    command.args(["--json", "watch", "--interval", "5ms", "--for", "60s"]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut next = || {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        serde_json::from_str::<serde_json::Value>(&line).unwrap()
    };
    sandbox.run(["add-self-mntns"]).ok();
    let change = next();
    assert_eq!(change["event"], "added");
    // Only threads of this process are in it: kernels that do not list namespaces (before 6.12) cannot tell.
    let what = change["what"].as_str().unwrap();
    let unknown = nsmap::identity::mntns::every().is_none() && what == "no process seen";
    assert!(what.starts_with("live") || unknown, "{change}");
    sandbox.run(["remove-self-mntns"]).ok();
    let mut last = next();
    // Processes of the namespace come and go meanwhile.
    for _ in 0..1000 {
        if last["event"] != "changed" {
            break;
        }
        last = next();
    }
    assert_eq!(last["event"], "removed");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_run_with_an_end_leaves_nothing_behind() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    if !can_watch() {
        return;
    }
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    let id = id_of_path(&own.child("x")).unwrap();
    let glob = format!("/{}/*", own.path.file_name().unwrap().to_str().unwrap());
    let ran = sandbox.run(["--json", "follow", &glob, "--for", "300ms"]);
    let lines: Vec<serde_json::Value> =
        ran.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<_> =
        lines.iter().map(|line| (line["event"].as_str().unwrap(), line["id"].as_u64().unwrap())).collect();
    assert_eq!(events, [("added", id), ("removed", id)]);
    assert!(keys(&sandbox, "cgroup_set").is_empty());
}

#[test]
fn once_makes_a_set_equal_and_ends() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    sandbox.run(["create", "--kind", "cgroup", "--entries", "2"]).ok();
    let ids: Vec<u64> = ["a", "b"].map(|name| id_of_path(&own.child(name)).unwrap()).to_vec();
    let glob = format!("/{}/*", own.path.file_name().unwrap().to_str().unwrap());
    assert_eq!(sandbox.run(["follow", &glob, "--once"]).ok().matches(" added cgroup ").count(), 2);
    assert_eq!(sandbox.run(["follow", &glob, "--once"]).ok(), "", "nothing is left to do");
    assert_eq!(keys(&sandbox, "cgroup_set"), ids);
    own.child("c");
    let ran = sandbox.run(["follow", &glob, "--once"]);
    assert_eq!(ran.code, 8, "{ran:?}");
    assert!(ran.out.contains(" failed cgroup ") && ran.err.contains("1 changes failed"), "{ran:?}");
    sandbox.run(["follow", "frob:x"]).refused(2, &["`frob:x` is no selector"]);
    sandbox
        .run(["follow", "engine:dokcer"])
        .refused(2, &["no engine is called `dokcer`", "docker, containerd"]);
    sandbox.run(["follow", "x", "--for", "soon"]).refused(2, &["10m"]);
    sandbox.run(["follow", "--map", "/no/such", "x"]).refused(3, &["nsmap create"]);
}

fn containers_are_followed(runtime: &'static str) {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(oci) = sandbox.oci(runtime) else { return };
    if !can_watch() {
        return;
    }
    Ran::from(sandbox.nsmap_for(&oci).args(["create"]).output().unwrap()).ok();
    Ran::from(sandbox.nsmap_for(&oci).args(["create", "--kind", "cgroup"]).output().unwrap()).ok();
    let following = Following::start(&sandbox, sandbox.nsmap_for(&oci), &["web-*"]);
    oci.start("web-1", &[]);
    oci.start("other", &[]);
    let (one, two) = (following.next(), following.next());
    assert_eq!((&one["event"], &one["name"]), (&"added".into(), &"web-1".into()));
    assert_eq!((&two["event"], &two["name"]), (&"added".into(), &"web-1".into()));
    assert_ne!(one["kind"], two["kind"]);
    let list = Ran::from(sandbox.nsmap_for(&oci).args(["--json", "list"]).output().unwrap()).json();
    for set in list["sets"].as_array().unwrap() {
        assert_eq!((&set["used"], &set["members"][0]["container"]), (&1.into(), &"web-1".into()), "{list}");
    }
    oci.remove("web-1");
    assert_eq!(
        (&following.next()["event"], &following.next()["event"]),
        (&"removed".into(), &"removed".into())
    );
    following.end();
    assert_eq!((keys(&sandbox, "cgroup_set"), keys(&sandbox, "mnt_ns_set")), (vec![], vec![]));
}

#[test]
fn containers_of_runc_are_followed_from_start_to_end() {
    containers_are_followed("runc");
}

#[test]
fn containers_of_crun_are_followed_from_start_to_end() {
    containers_are_followed("crun");
}

#[test]
fn containers_that_come_and_go_quickly_leave_an_exact_set() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(oci) = sandbox.oci("crun") else { return };
    if !can_watch() {
        return;
    }
    Ran::from(sandbox.nsmap_for(&oci).args(["create"]).output().unwrap()).ok();
    Ran::from(sandbox.nsmap_for(&oci).args(["create", "--kind", "cgroup"]).output().unwrap()).ok();
    let glob = format!("{}/*", oci.parent());
    let following = Following::start(&sandbox, sandbox.nsmap_for(&oci), &[&glob]);
    for number in 0..101 {
        let id = format!("quick-{number}");
        match number % 50 {
            0 => oci.run(&id, &["sleep", "600"], &[], true),
            _ => oci.run(&id, &["true"], &[], false),
        }
    }
    let path = |number: u32| format!("/sys/fs/cgroup{}/quick-{number}", oci.parent());
    let mut expected: Vec<u64> =
        [0, 50, 100].map(|number| id_of_path(path(number).as_ref()).unwrap()).to_vec();
    expected.sort_unstable();
    wait_for(&sandbox, "cgroup_set", &expected);
    let mut namespaces: Vec<u64> = [0, 50, 100]
        .map(|number| {
            let pid = nsmap::container::inventory::lowest_pid(path(number).as_ref()).unwrap();
            u64::from(nsmap::identity::process::mntns_inode(pid).unwrap())
        })
        .to_vec();
    namespaces.sort_unstable();
    wait_for(&sandbox, "mnt_ns_set", &namespaces);
    let events = following.end();
    // Each was a member, however short it lived: the kernel adds them itself.
    let count = |name: &str| {
        events.iter().filter(|event| event["kind"] == "cgroup" && event["event"] == name).count()
    };
    assert_eq!((count("added"), count("removed"), count("failed")), (101, 98, 0));
    assert_eq!(keys(&sandbox, "cgroup_set"), expected);
}
