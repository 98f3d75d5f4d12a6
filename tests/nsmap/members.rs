//! What goes into sets and comes out of them.

use std::fs;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::common::bpftool::{Bpftool, hex};
use crate::common::cgroup::Cgroup;
use crate::common::namespace::MountNamespace;
use crate::common::program::find;
use crate::common::sandbox::Sandbox;
use crate::common::skip::or_skip;
use crate::{entries, keys, nsmap_on};

/// A shell that waits until it is dropped.
struct Waiting(Child);

impl Waiting {
    fn start() -> Self {
        let mut command = Command::new(find("sh"));
        Self(command.args(["-c", "read line"]).stdin(Stdio::piped()).spawn().unwrap())
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// Moves it.
    fn into_cgroup(self, group: &Cgroup) -> Self {
        fs::write(group.procs(), self.pid()).unwrap();
        self
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn the_shell_adds_its_own_mount_namespace() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let pin = sandbox.create_set("mntns");
    let shells = [MountNamespace::new(), MountNamespace::new(), MountNamespace::new()];
    for shell in &shells {
        shell.run(|| sandbox.nsmap_ok(["add-self-mntns"]));
    }
    let mut expected: Vec<u64> = shells.iter().map(|shell| shell.inode).collect();
    expected.sort_unstable();
    assert_eq!(keys(&pin), expected);
    shells[1].run(|| sandbox.nsmap_ok(["remove-self-mntns"]));
    expected.retain(|inode| *inode != shells[1].inode);
    assert_eq!(keys(&pin), expected);
}

#[test]
fn a_mount_namespace_can_be_named_in_each_way() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let pin = sandbox.create_set("mntns");
    let shell = MountNamespace::new();
    let process = shell.run(Waiting::start);
    let file = format!("/proc/{}/ns/mnt", process.pid());
    let names = [process.pid(), file, shell.inode.to_string(), format!("mnt:[{}]", shell.inode)];
    let mut values = Vec::new();
    for name in &names {
        sandbox.nsmap_ok(["add-mntns", name]);
        let [(key, value)] = &entries(&pin)[..] else { panic!("{name}") };
        assert_eq!(*key, shell.inode, "{name}");
        values.push(value.clone());
        sandbox.nsmap_ok(["remove-mntns", name]);
        assert_eq!(keys(&pin), Vec::<u64>::new(), "{name}");
    }
    // Whichever way, the same never-reused id is stored, since a process shows it.
    values.dedup();
    assert_eq!(values.len(), 1, "{values:?}");
}

#[test]
fn adding_what_is_there_and_removing_what_is_not_is_told_and_is_no_error() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let pin = sandbox.create_set("mntns");
    assert!(sandbox.nsmap_ok(["add-self-mntns"]).starts_with("added"));
    let before = entries(&pin);
    assert!(sandbox.nsmap_ok(["add-self-mntns"]).starts_with("already there"));
    assert_eq!(entries(&pin), before);
    assert!(sandbox.nsmap_ok(["remove-self-mntns"]).starts_with("removed"));
    assert!(sandbox.nsmap_ok(["remove-self-mntns"]).starts_with("not there"));
    assert_eq!(keys(&pin), Vec::<u64>::new());
}

#[test]
fn cgroups_are_added_by_path_with_or_without_their_subtree() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let group = or_skip!(Cgroup::new());
    let children = [group.child("one"), group.child("two")];
    let pin = sandbox.create_set("cgroup");
    let paths = [group.path.as_os_str(), children[0].path.as_os_str()];
    sandbox.nsmap_ok(["add-cgroup".as_ref()].into_iter().chain(paths));
    nsmap_on(&sandbox, &["add-cgroup", "--subtree"], &children[1].path);
    let exact = 0_u64.to_ne_bytes().to_vec();
    let subtree = 1_u64.to_ne_bytes().to_vec();
    let mut expected = vec![
        (group.id(), exact.clone()),
        (children[0].id(), exact.clone()),
        (children[1].id(), subtree.clone()),
    ];
    expected.sort();
    assert_eq!(entries(&pin), expected);
    // The flag follows the last word about it.
    nsmap_on(&sandbox, &["add-cgroup", "--subtree"], &group.path);
    assert!(entries(&pin).contains(&(group.id(), subtree)));
    nsmap_on(&sandbox, &["add-cgroup"], &group.path);
    assert!(entries(&pin).contains(&(group.id(), exact)));
    // By id, and through a symbolic link.
    sandbox.nsmap_ok(["remove-cgroup", &group.id().to_string()]);
    let link = sandbox.path("link");
    std::os::unix::fs::symlink(&children[0].path, &link).unwrap();
    nsmap_on(&sandbox, &["remove-cgroup"], &link);
    assert_eq!(keys(&pin), [children[1].id()]);
}

#[test]
fn a_cgroup_that_is_gone_can_be_removed_by_its_id() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let group = or_skip!(Cgroup::new());
    let pin = sandbox.create_set("cgroup");
    nsmap_on(&sandbox, &["add-cgroup"], &group.path);
    let id = group.id();
    drop(group);
    let listed = sandbox.list(&pin);
    assert_eq!(listed["sets"][0]["members"][0]["state"], "dead", "{listed:#}");
    assert!(nsmap_on(&sandbox, &["list"], &pin).contains("(dead"));
    sandbox.nsmap(["add-cgroup", &id.to_string()]).refused(3, "nsmap");
    sandbox.nsmap_ok(["remove-cgroup", &id.to_string()]);
    assert_eq!(keys(&pin), Vec::<u64>::new());
}

#[test]
fn add_pid_fills_whichever_sets_exist() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let group = or_skip!(Cgroup::new());
    let shell = MountNamespace::new();
    let process = shell.run(Waiting::start).into_cgroup(&group);
    let namespaces = sandbox.create_set("mntns");
    sandbox.nsmap_ok(["add-pid", &process.pid()]);
    assert_eq!(keys(&namespaces), [shell.inode]);
    let groups = sandbox.create_set("cgroup");
    sandbox.nsmap_ok(["add-pid", &process.pid()]);
    assert_eq!((keys(&namespaces), keys(&groups)), (vec![shell.inode], vec![group.id()]));
    sandbox.nsmap_ok(["remove-pid", &process.pid()]);
    assert_eq!((keys(&namespaces), keys(&groups)), (vec![], vec![]));
    sandbox.nsmap_ok(["add-pid".as_ref(), process.pid().as_ref(), "--map".as_ref(), groups.as_os_str()]);
    assert_eq!((keys(&namespaces), keys(&groups)), (vec![], vec![group.id()]));
}

#[test]
fn the_root_cgroup_is_not_added_by_accident() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let groups = sandbox.create_set("cgroup");
    let own = std::process::id().to_string();
    if !fs::read_to_string("/proc/self/cgroup").unwrap().lines().any(|line| line == "0::/") {
        return crate::common::skip::skip(&crate::common::skip::Skip::NotHybrid);
    }
    let output = sandbox.nsmap(["add-pid", &own]);
    assert!(output.refused(1, "nsmap").contains("--force"), "{output:?}");
    assert_eq!(keys(&groups), Vec::<u64>::new());
    sandbox.nsmap_ok(["add-pid", "--force", &own]);
    assert_eq!(keys(&groups).len(), 1);
}

#[test]
fn list_names_what_the_numbers_stand_for() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let group = or_skip!(Cgroup::new());
    let shell = MountNamespace::new();
    let process = shell.run(Waiting::start);
    let (namespaces, groups) = (sandbox.create_set("mntns"), sandbox.create_set("cgroup"));
    sandbox.nsmap_ok(["add-mntns", &process.pid()]);
    nsmap_on(&sandbox, &["add-cgroup", "--subtree"], &group.path);

    let listed = sandbox.list(&namespaces);
    let set = &listed["sets"][0];
    assert_eq!((&set["kind"], &set["used"], &set["capacity"]), (&"mntns".into(), &1.into(), &16_384.into()));
    let member = &set["members"][0];
    assert_eq!((&member["id"], &member["state"]), (&shell.inode.into(), &"live".into()));
    assert_eq!(member["hex"], hex(&shell.inode.to_ne_bytes()));
    assert_eq!(member["processes"][0]["pid"].to_string(), process.pid());
    assert_eq!(member["processes"][0]["comm"], "sh");
    let text = nsmap_on(&sandbox, &["list"], &namespaces);
    for word in [shell.inode.to_string(), hex(&shell.inode.to_ne_bytes()), format!("{} sh", process.pid())] {
        assert!(text.contains(&word), "{word}: {text}");
    }

    let listed = sandbox.list(&groups);
    let member = &listed["sets"][0]["members"][0];
    assert_eq!((&member["id"], &member["subtree"]), (&group.id().into(), &true.into()));
    assert_eq!(member["path"], group.path.to_str().unwrap());
    let text = nsmap_on(&sandbox, &["list"], &groups);
    assert!(text.contains(group.path.to_str().unwrap()) && text.contains("subtree"), "{text}");
    // Both, if nothing is said.
    let both: Value = serde_json::from_str(&sandbox.nsmap_ok(["list", "--json"])).unwrap();
    assert_eq!(both["sets"].as_array().unwrap().len(), 2);
    // The last process has gone; the namespace has not: a thread of this test is in it. Kernels that list namespaces
    // (6.12) can tell.
    drop(process);
    let listed = sandbox.list(&namespaces);
    let member = &listed["sets"][0]["members"][0];
    assert_eq!(member["process_count"], 0, "{listed:#}");
    assert!(member["state"] == "live" || member["state"] == "no-process-seen", "{listed:#}");
}

#[test]
fn what_nsmap_stores_is_what_bpftool_reads_and_the_other_way_round() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let bpftool = or_skip!(Bpftool::find());
    let group = or_skip!(Cgroup::new());
    let shell = MountNamespace::new();
    let (namespaces, groups) = (sandbox.create_set("mntns"), sandbox.create_set("cgroup"));
    shell.run(|| sandbox.nsmap_ok(["add-self-mntns"]));
    nsmap_on(&sandbox, &["add-cgroup", "--subtree"], &group.path);
    let dump = |pin: &std::path::Path| -> Value {
        let text = bpftool.run(&format!("-j map dump pinned {}", pin.display()));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    let bytes = |list: &Value| -> Vec<u8> {
        let list = list.as_array().unwrap().iter();
        list.map(|byte| u8::from_str_radix(&byte.as_str().unwrap()[2..], 16).unwrap()).collect()
    };
    let dumped = dump(&groups);
    assert_eq!(dumped.as_array().unwrap().len(), 1);
    assert_eq!(bytes(&dumped[0]["key"]), group.id().to_ne_bytes());
    assert_eq!(bytes(&dumped[0]["value"]), 1_u64.to_ne_bytes());
    let dumped = dump(&namespaces);
    assert_eq!(bytes(&dumped[0]["key"]), shell.inode.to_ne_bytes());
    assert_eq!(bytes(&dumped[0]["value"]).len(), 4);
    // In the tutorial's words, for people.
    let lookup =
        format!("map lookup pinned {} key hex {}", namespaces.display(), hex(&shell.inode.to_ne_bytes()));
    assert!(!bpftool.run(&lookup).contains("Not found"));
    let show = bpftool.run(&format!("map show pinned {}", namespaces.display()));
    assert!(
        show.contains("hash") && show.contains("mnt_ns_set") && show.contains("key 8B  value 4B"),
        "{show}"
    );

    let (theirs, other) = (sandbox.pin("theirs"), MountNamespace::new());
    bpftool.create_map(&theirs, "hash", 8, 4, 128, "mnt_ns_set");
    let key = hex(&other.inode.to_ne_bytes());
    bpftool.run(&format!("map update pinned {} key hex {key} value hex 00 00 00 00 any", theirs.display()));
    let listed = sandbox.list(&theirs);
    let set = &listed["sets"][0];
    assert_eq!((&set["used"], &set["capacity"]), (&1.into(), &128.into()));
    assert_eq!(
        (&set["members"][0]["id"], &set["members"][0]["checked"]),
        (&other.inode.into(), &false.into())
    );
    sandbox.nsmap_ok(["remove-mntns", &other.inode.to_string(), "--map", theirs.to_str().unwrap()]);
    assert_eq!(keys(&theirs), Vec::<u64>::new());
}

#[test]
fn a_full_set_takes_what_fits_and_says_so() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let pin = sandbox.pin("mnt_ns_set");
    nsmap_on(&sandbox, &["create", "--entries", "3"], &pin);
    let ids = ["4100000001", "4100000002", "4100000003"];
    sandbox.nsmap_ok(["add-mntns"].iter().chain(&ids));
    let output = sandbox.nsmap(["add-mntns", "4100000004"]);
    let line = output.refused(5, "nsmap");
    assert!(line.contains("3 of 3"), "{line}");
    // What is there already needs no room.
    sandbox.nsmap_ok(["add-mntns", ids[1]]);
    assert_eq!(keys(&pin), [4_100_000_001, 4_100_000_002, 4_100_000_003]);
    sandbox.nsmap_ok(["remove-mntns", ids[0]]);
    let output = sandbox.nsmap(["add-mntns", "4100000005", "4100000006"]);
    assert_eq!(output.code(), 8, "{output:?}");
    assert!(output.stdout.contains("4100000005") && output.stderr.contains("3 of 3"), "{output:?}");
    assert_eq!(keys(&pin), [4_100_000_002, 4_100_000_003, 4_100_000_005]);
}

#[test]
fn good_items_are_done_also_when_others_fail() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let group = or_skip!(Cgroup::new());
    let pin = sandbox.create_set("cgroup");
    let output =
        sandbox.nsmap(["add-cgroup".as_ref(), "/nope".as_ref(), group.path.as_os_str(), "/etc".as_ref()]);
    assert_eq!(output.code(), 8, "{output:?}");
    assert_eq!(output.stderr.lines().filter(|line| line.starts_with("nsmap: ")).count(), 2, "{output:?}");
    assert!(output.stderr.contains("/nope") && output.stderr.contains("/etc"), "{output:?}");
    assert_eq!(keys(&pin), [group.id()]);
}

#[test]
fn the_set_is_chosen_by_option_then_environment() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let (default, other) = (sandbox.create_set("mntns"), sandbox.pin("other"));
    nsmap_on(&sandbox, &["create"], &other);
    sandbox.nsmap_ok(["add-mntns", "4100000007", "--map", other.to_str().unwrap()]);
    assert_eq!((keys(&default), keys(&other)), (vec![], vec![4_100_000_007]));
    sandbox.nsmap_ok(["add-mntns", "4100000011"]);
    assert_eq!((keys(&default), keys(&other)), (vec![4_100_000_011], vec![4_100_000_007]));
}

#[test]
fn each_command_answers_in_json_on_one_line() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let group = or_skip!(Cgroup::new());
    let path = group.path.to_str().unwrap();
    let (namespaces, groups) = (sandbox.pin("mnt_ns_set"), sandbox.pin("cgroup_set"));
    let (namespaces, groups) = (namespaces.to_str().unwrap(), groups.to_str().unwrap());
    let process = Waiting::start();
    let pid = process.pid();
    let commands: [&[&str]; 19] = [
        &["create", namespaces],
        &["create", namespaces],
        &["create", groups, "--kind", "cgroup"],
        &["add-self-mntns"],
        &["add-self-mntns"],
        &["remove-self-mntns"],
        &["remove-self-mntns"],
        &["add-mntns", &pid],
        &["remove-mntns", &pid],
        &["add-cgroup", path],
        &["remove-cgroup", path],
        &["add-pid", &pid, "--map", namespaces],
        &["remove-pid", &pid, "--map", namespaces],
        &["list"],
        &["clear", namespaces],
        &["cgroupid", "hex", path],
        &["cgroupid", "number", path],
        &["mntnsid", "number"],
        &["delete", namespaces],
    ];
    for command in commands {
        let text = sandbox.nsmap_ok(["--json"].iter().chain(command));
        assert_eq!(text.lines().count(), 1, "{command:?}: {text}");
        let value: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{command:?}: {error}: {text}"));
        assert!(value.is_object(), "{command:?}: {text}");
    }
    // The numbers are numbers.
    let text = sandbox.nsmap_ok(["cgroupid", "hex", path, "--json"]);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&value["id"], &value["hex"]), (&group.id().into(), &hex(&group.id().to_ne_bytes()).into()));
}
