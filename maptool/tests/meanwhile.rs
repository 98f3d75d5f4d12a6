//! What changes or vanishes between two looks: cgroups, pins, maps; and who else works on the same set.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::process::Stdio;

use common::{Cgroup, Ran, Sandbox, arg};
use loader::map::Access;
use nsmap::Member;
use nsmap::identity::cgroup::id_of_path;
use nsmap::set::Set;

fn keys(sandbox: &Sandbox, name: &str) -> Vec<u64> {
    let set = Set::open(&sandbox.pin(name), Access::ReadOnly).unwrap();
    set.members().unwrap().iter().map(Member::key).collect()
}

/// Makes a set of two members that refuses every change from now on.
fn frozen(sandbox: &Sandbox) {
    sandbox.run(["create"]).ok();
    sandbox.run(["add-mntns", "4026532901", "4026532902"]).ok();
    sandbox.run(["map", "freeze", "pinned", arg(&sandbox.pin("mnt_ns_set"))]).ok();
}

#[test]
fn a_cgroup_that_is_removed_while_it_is_open_is_not_added() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    let gone = own.child("gone");
    let mut command = sandbox.nsmap();
    // The shell removes the directory that it stands in.
    let shell = r#"cd "$1" && rmdir "$1" && shift && exec "$0" "$@""#;
    let mut inside = std::process::Command::new("sh");
    inside.args(["-c", shell]).arg(command.get_program()).args([arg(&gone), "add-cgroup", "."]);
    for (key, value) in command.env("LC_ALL", "C").get_envs() {
        inside.env(key, value.unwrap_or_default());
    }
    Ran::from(inside.output().unwrap()).refused(3, &["cgroup `.`: it was removed"]);
    assert_eq!(keys(&sandbox, "cgroup_set"), Vec::<u64>::new());
}

#[test]
fn a_set_that_refuses_changes_says_so_for_each_command_and_keeps_what_it_has() {
    let Some(sandbox) = Sandbox::new() else { return };
    frozen(&sandbox);
    let listing = sandbox.plain("listing");
    fs::write(&listing, "4026532903\n").unwrap();
    let why = "the map is frozen or read-only";
    sandbox.run(["add-self-mntns"]).refused(4, &[why, "mnt_ns_set"]);
    sandbox.run(["remove-mntns", "mnt:[4026532901]"]).refused(4, &[why]);
    sandbox.run(["clear"]).refused(4, &[why]);
    let gc = sandbox.run(["gc"]);
    if nsmap::identity::mntns::every().is_some() {
        gc.refused(4, &[why]);
    } else {
        // Kernels that do not list their namespaces (before 6.12) do not tell that these are none: nothing is changed.
        assert!(gc.ok().contains("removed 0 of 2 members"));
    }
    for words in [["apply", arg(&listing)].as_slice(), &["apply", arg(&listing), "--replace"]] {
        let ran = sandbox.run(words);
        assert!(ran.code == 4 && ran.err.contains(why) && ran.out.contains("0 added"), "{ran:?}");
        assert_eq!(ran.err.contains("nothing was changed"), words.len() == 3, "{ran:?}");
    }
    assert_eq!(keys(&sandbox, "mnt_ns_set"), [4_026_532_901, 4_026_532_902]);
}

#[test]
fn follow_tells_which_changes_a_set_refused() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    frozen(&sandbox);
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    let name = own.path.file_name().unwrap().to_str().unwrap().to_owned();
    let ran = sandbox.run(["--json", "follow", &format!("/{name}"), "--once"]);
    assert_eq!(ran.code, 8, "{ran:?}");
    let events: Vec<serde_json::Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| -> Vec<_> {
        events.iter().filter(|event| event["kind"] == kind).map(|event| &event["event"]).collect()
    };
    assert_eq!(of("mntns"), ["failed", "failed"], "they are still there");
    assert_eq!(of("cgroup"), ["added"], "the other set is right");
    assert_eq!(keys(&sandbox, "cgroup_set"), [id_of_path(&own.path).unwrap()]);
}

#[test]
fn a_set_whose_pin_is_removed_or_replaced_meanwhile_is_worked_on_to_the_end() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create"]).ok();
    // It has opened the set, and waits for the listing.
    let mut child = sandbox
        .nsmap()
        .args(["--json", "apply", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let opened = (0..30_000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(1));
        let fds = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
        fds.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.ends_with("anon_inode:bpf-map")))
    });
    assert!(opened);
    let old = Set::open(&sandbox.pin("mnt_ns_set"), Access::ReadOnly).unwrap();
    fs::remove_file(sandbox.pin("mnt_ns_set")).unwrap();
    sandbox.run(["create", "--kind", "cgroup", arg(&sandbox.pin("mnt_ns_set"))]).ok();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"4026532901\n").unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.code, &ran.json()["added"]), (0, &1.into()));
    assert_eq!(old.members().unwrap().len(), 1);
    assert_eq!(keys(&sandbox, "mnt_ns_set"), Vec::<u64>::new(), "the new one is another set");
    sandbox.run(["add-self-mntns"]).refused(6, &["(cgroup), expected"]);
}

#[test]
fn two_that_replace_at_once_leave_the_set_of_one_or_both_but_of_nobody_else() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create", "--entries", "4003"]).ok();
    sandbox.run(["add-mntns", "4026532999"]).ok();
    let listings: Vec<Vec<u64>> =
        [4_026_540_000_u64, 4_026_550_000].map(|from| (from..from + 1009).collect()).to_vec();
    let started: Vec<_> = listings
        .iter()
        .enumerate()
        .map(|(at, members)| {
            let file = sandbox.plain(&at.to_string());
            let text: String = members.iter().map(|member| format!("{member}\n")).collect();
            fs::write(&file, text).unwrap();
            let mut command = sandbox.nsmap();
            command.arg("apply").arg(&file).arg("--replace").stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in started {
        assert!(child.wait().unwrap().success());
    }
    let left = keys(&sandbox, "mnt_ns_set");
    assert!(!left.contains(&4_026_532_999) && left.iter().all(|key| listings.concat().contains(key)));
    assert!(listings.iter().any(|members| members.iter().all(|member| left.contains(member))));
}
