//! Whole sets: listings in and out, differences, replacement, other sizes; and what members stand for.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use common::{Cgroup, Ran, Sandbox, arg, unshared};
use loader::map::Access;
use nsmap::set::{MntnsMember, NewSet, Set};
use nsmap::{Kind, Member};

fn keys(sandbox: &Sandbox, name: &str) -> Vec<u64> {
    let set = Set::open(&sandbox.pin(name), Access::ReadOnly).unwrap();
    set.members().unwrap().iter().map(Member::key).collect()
}

fn from_stdin(sandbox: &Sandbox, args: &[&str], input: &str) -> Ran {
    let mut child = sandbox
        .nsmap()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Ran::from(child.wait_with_output().unwrap())
}

#[test]
fn a_set_survives_the_way_out_and_in_again() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create"]).ok();
    from_stdin(&sandbox, &["apply", "-"], "4026532901 check=7\n4026532902\n# not 4026532903\n").ok();
    let listing = sandbox.run(["export"]).ok();
    assert!(listing.starts_with("# mntns set "), "{listing}");
    let copy = sandbox.pin("copy");
    sandbox.run(["create", arg(&copy)]).ok();
    from_stdin(&sandbox, &["apply", "-", "--map", arg(&copy)], &listing).ok();
    let set = Set::open(&copy, Access::ReadOnly).unwrap();
    let member = |inode, check| Member::Mntns(MntnsMember { inode, check });
    assert_eq!(set.members().unwrap(), [member(4_026_532_901, 7), member(4_026_532_902, 0)]);
    assert_eq!(sandbox.run(["export", "--bare"]).ok().lines().count(), 3);
    assert_eq!(sandbox.run(["diff", "--exit-code", arg(&sandbox.pin("mnt_ns_set")), arg(&copy)]).ok(), "");
}

#[test]
fn differences_are_lines_with_a_sign() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create"]).ok();
    from_stdin(&sandbox, &["apply", "-"], "4026532901\n4026532902\n").ok();
    let file = sandbox.plain("wanted");
    fs::write(&file, "4026532902 check=3\n4026532903\n").unwrap();
    let pin = sandbox.pin("mnt_ns_set");
    assert_eq!(
        sandbox.run(["diff", arg(&pin), arg(&file)]).ok(),
        "- 4026532901\n~ 4026532902 check=3\n+ 4026532903\n"
    );
    assert_eq!(sandbox.run(["diff", "--exit-code", arg(&file), arg(&pin)]).code, 1);
    sandbox.run(["diff", arg(&file), arg(&file)]).refused(2, &["of which kind", "--kind"]);
    sandbox.run(["diff", arg(&pin), "/no/such"]).refused(3, &["read listing `/no/such`"]);
    assert_eq!(
        sandbox.run(["apply", arg(&file), "--replace", "--dry-run"]).ok().lines().next(),
        Some("- 4026532901")
    );
    assert_eq!(keys(&sandbox, "mnt_ns_set"), [4_026_532_901, 4_026_532_902], "a dry run changes nothing");
    let report = sandbox.run(["--json", "apply", arg(&file), "--replace"]).json();
    assert_eq!((&report["added"], &report["updated"], &report["removed"]), (&1.into(), &1.into(), &1.into()));
    assert_eq!(keys(&sandbox, "mnt_ns_set"), [4_026_532_902, 4_026_532_903]);
}

#[test]
fn lines_that_are_no_members_are_told_and_the_others_done() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create"]).ok();
    let listing = "4026532901\nnonsense\n4026532902 check=x\n4294967296\n4026532903\n";
    let ran = from_stdin(&sandbox, &["apply", "-"], listing);
    assert_eq!(ran.code, 8, "{ran:?}");
    for line in ["`-` line 2: `nonsense`", "`-` line 3: `x`", "`-` line 4: `4294967296`"] {
        assert!(ran.err.contains(line), "{ran:?}");
    }
    assert_eq!(keys(&sandbox, "mnt_ns_set"), [4_026_532_901, 4_026_532_903]);
    // With --replace a line that is not understood may have been meant to keep a member.
    let ran = from_stdin(&sandbox, &["apply", "-", "--replace"], "4026532905\nnonsense\n");
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("nothing was changed"), "{ran:?}");
    assert_eq!(keys(&sandbox, "mnt_ns_set"), [4_026_532_901, 4_026_532_903]);
    let ran = from_stdin(&sandbox, &["apply", "-"], &"x\n".repeat(10_007));
    assert_eq!((ran.code, ran.err.lines().count()), (2, 101), "only the first are told one by one");
    assert!(ran.err.ends_with("`-`: 9907 more such lines\n"), "{:?}", ran.err.lines().last());
}

#[test]
fn a_listing_that_does_not_fit_is_applied_as_far_as_it_fits_or_not_at_all() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create", "--entries", "7"]).ok();
    sandbox.run(["add-mntns", "4026532900"]).ok();
    let listing: String = (1..=11).map(|n| format!("{}\n", 4_026_532_900_u64 + n)).collect();
    let ran = from_stdin(&sandbox, &["apply", "-", "--replace"], &listing);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.err.contains("11 members do not fit, there is room for 7"), "{ran:?}");
    assert!(ran.err.contains("nsmap resize 11"), "{ran:?}");
    assert_eq!(keys(&sandbox, "mnt_ns_set"), [4_026_532_900]);
    let ran = from_stdin(&sandbox, &["apply", "-"], &listing);
    assert_eq!(ran.code, 8, "{ran:?}");
    assert!(ran.out.contains("6 added") && ran.err.contains("5 members not added"), "{ran:?}");
    assert!(ran.err.contains("full: 7 of 7"), "{ran:?}");
    assert_eq!(keys(&sandbox, "mnt_ns_set").len(), 7);
    // A replacement of the same size has no room for both: it goes through all the same.
    let other: String = (21..=27).map(|n| format!("{}\n", 4_026_532_900_u64 + n)).collect();
    from_stdin(&sandbox, &["apply", "-", "--replace"], &other).ok();
    assert_eq!(keys(&sandbox, "mnt_ns_set").first(), Some(&4_026_532_921));
}

#[test]
fn many_members_need_few_system_calls() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create", "--kind", "cgroup", "--entries", "131072"]).ok();
    let listing: String = (1..=100_003_u64).map(|n| format!("{}\n", n << 20)).collect();
    let file = sandbox.plain("many");
    fs::write(&file, listing).unwrap();
    let report = sandbox.run(["--json", "apply", arg(&file)]).json();
    assert_eq!((&report["added"], &report["used"]), (&100_003.into(), &100_003.into()));
    let report = sandbox.run(["--json", "apply", arg(&file), "--replace"]).json();
    assert_eq!((&report["added"], &report["unchanged"]), (&0.into(), &100_003.into()));
    let set = Set::open(&sandbox.pin("cgroup_set"), Access::ReadOnly).unwrap();
    assert_eq!(set.members().unwrap().len(), 100_003);
}

#[test]
fn a_listing_may_name_cgroups_by_path() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    let name = own.path.file_name().unwrap().to_str().unwrap();
    let listing = format!("{} subtree\n/{name}\n/no/such/cgroup\n", arg(&own.path));
    let ran = from_stdin(&sandbox, &["apply", "-"], &listing);
    assert_eq!(ran.code, 8, "{ran:?}");
    assert!(ran.err.contains("line 3: cgroup `/no/such/cgroup`: not found"), "{ran:?}");
    assert_eq!(keys(&sandbox, "cgroup_set"), [nsmap::identity::cgroup::id_of_path(&own.path).unwrap()]);
}

#[test]
fn a_resized_set_has_the_same_members_name_and_permissions() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create", "--entries", "3", "--mode", "640", "--name", "mine"]).ok();
    sandbox.run(["add-mntns", "4026532901", "4026532902", "4026532903"]).ok();
    sandbox.run(["add-mntns", "4026532904"]).refused(5, &["full: 3 of 3", "nsmap resize 6 "]);
    let pin = sandbox.pin("mnt_ns_set");
    let old = Set::open(&pin, Access::ReadOnly).unwrap();
    let ran = sandbox.run(["resize", "101", arg(&pin)]);
    assert!(ran.err.contains("tracers that are running keep the old map"), "{ran:?}");
    ran.ok();
    let new = Set::open(&pin, Access::ReadOnly).unwrap();
    assert_eq!((new.capacity(), new.map().info().name.as_str()), (101, "mine"));
    assert_eq!(new.members().unwrap(), old.members().unwrap());
    assert_ne!(new.map().info().id, old.map().info().id);
    assert_eq!(fs::metadata(&pin).unwrap().permissions().mode() & 0o777, 0o640);
    let names =
        fs::read_dir(sandbox.pin("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with("mnt_ns_set")).count(), 1, "nothing is left beside it");
    sandbox.run(["resize", "2"]).refused(5, &["3 members do not fit into 2", "nothing was changed"]);
    assert!(sandbox.run(["resize", "101"]).ok().starts_with("already so"));
    assert!(sandbox.run(["add-mntns", "4026532904"]).ok().starts_with("added"));
}

#[test]
fn a_resize_names_who_keeps_the_old_map() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create"]).ok();
    let set = Set::open(&sandbox.pin("mnt_ns_set"), Access::ReadOnly).unwrap();
    let report = sandbox.run(["--json", "resize", "31"]).json();
    let holders = report["holders"].as_array().unwrap();
    assert!(holders.iter().any(|holder| holder["pid"] == std::process::id()), "{report}");
    drop(set);
}

fn end(mut child: std::process::Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_is_dead_or_reused_is_told_and_collected_and_the_rest_is_kept() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create"]).ok();
    let Some(every) = nsmap::identity::mntns::every() else {
        return common::skip(&common::Lacking::Kernel("list of mount namespaces (6.12)"));
    };
    let (stays, goes) = (unshared(), unshared());
    sandbox.run(["add-mntns", &stays.id().to_string(), &goes.id().to_string()]).ok();
    let set = Set::open(&sandbox.pin("mnt_ns_set"), Access::ReadWrite).unwrap();
    // The host's own number with the id of a namespace that ended long ago.
    let own = nsmap::identity::mntns::own().unwrap();
    let stale = MntnsMember { inode: own.inode.into(), check: own.member_value().wrapping_add(1) };
    set.insert(&Member::Mntns(stale)).unwrap();
    assert!(every.contains_key(&own.inode));
    end(goes);
    // The kernel takes a namespace apart a little after its last task has ended, and may give its number to one that
    // another test makes.
    let list = (0..500)
        .map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            sandbox.run(["--json", "list"]).json()
        })
        .find(|list| list.to_string().matches("\"live\"").count() == 1)
        .expect("the ended namespace is gone within five seconds");
    let members = list["sets"][0]["members"].as_array().unwrap();
    let states: Vec<&str> = members.iter().map(|member| member["state"].as_str().unwrap()).collect();
    let count = |state: &str| states.iter().filter(|found| **found == state).count();
    assert_eq!(count("dead") + count("reused"), 2, "{list}");
    assert!(count("reused") >= 1, "{list}");
    assert!(sandbox.run(["gc", "--dry-run"]).ok().contains("would remove 2 of 3 members"));
    assert_eq!(keys(&sandbox, "mnt_ns_set").len(), 3);
    let report = sandbox.run(["--json", "gc"]).json();
    assert_eq!(
        (report["sets"][0]["removed"].as_array().unwrap().len(), &report["sets"][0]["kept"]),
        (2, &1.into())
    );
    let kept = nsmap::identity::process::mntns_inode(stays.id()).unwrap();
    assert_eq!(keys(&sandbox, "mnt_ns_set"), [u64::from(kept)]);
    end(stays);
}

#[test]
fn test_says_which_member_matches_a_process_or_why_none_does() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    let inner = own.child("inner");
    sandbox.run(["create"]).ok();
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    let task = unshared();
    let pid = task.id().to_string();
    fs::write(inner.join("cgroup.procs"), &pid).unwrap();
    let test = || sandbox.run(["test", "--pid", &pid]);
    let (before, text) = (test(), "is no member");
    assert_eq!((before.code, before.out.matches(text).count()), (1, 2), "{before:?}");
    assert!(before.out.contains("is not shown"), "{before:?}");
    sandbox.run(["add-cgroup", arg(&own.path)]).ok();
    assert!(test().out.contains("a member without its subtree"));
    sandbox.run(["add-cgroup", "--subtree", arg(&own.path)]).ok();
    assert!(test().out.contains("a member with its subtree"));
    assert_eq!(test().code, 1, "the mount namespace set does not match yet");
    sandbox.run(["add-mntns", &pid]).ok();
    assert!(test().ok().contains("is shown by a tracer"));
    let inode = nsmap::identity::process::mntns_inode(task.id()).unwrap();
    let set = Set::open(&sandbox.pin("mnt_ns_set"), Access::ReadWrite).unwrap();
    set.insert(&Member::Mntns(MntnsMember { inode: inode.into(), check: 1 })).unwrap();
    if nsmap::identity::mntns::own().unwrap().unique_id.is_some() {
        assert!(test().out.contains("is stale"));
    } else {
        common::skip(&common::Lacking::Kernel("ids of mount namespaces that are never given twice"));
    }
    sandbox.run(["test", "--pid", "4194304"]).refused(3, &["no process 4194304"]);
    end(task);
}

#[test]
fn resolve_names_what_a_number_stands_for() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    let id = nsmap::identity::cgroup::id_of_path(&own.path).unwrap();
    assert_eq!(
        sandbox.run(["resolve", &id.to_string()]).ok(),
        format!("cgroup {id}: live {}\n", arg(&own.path))
    );
    let namespace = nsmap::identity::mntns::own().unwrap().inode;
    let found = sandbox.run(["--json", "resolve", "--kind", "mntns", &namespace.to_string()]).json();
    assert_eq!(found["found"][0]["state"], "live");
    sandbox
        .run(["resolve", "18446744073709551615"])
        .refused(3, &["no cgroup or mount namespace has the number"]);
    sandbox.run(["resolve", "x"]).refused(2, &["x"]);
}

#[test]
fn doctor_says_what_works_and_what_to_do_about_the_rest() {
    let Some(sandbox) = Sandbox::new() else { return };
    let report = sandbox.run(["--json", "doctor"]).json();
    let checks = report["checks"].as_array().unwrap();
    let of = |name: &str| checks.iter().find(|check| check["check"] == name).unwrap();
    assert_eq!(of("maps")["status"], "ok");
    assert!(checks.iter().all(|check| check["status"] == "ok" || check["hint"].is_string()), "{report}");
    let nobody = sandbox.run_as_nobody(["doctor"]);
    assert_eq!(nobody.code, 1, "{nobody:?}");
    assert!(nobody.out.contains("problem  maps: ") && nobody.out.contains("CAP_BPF"), "{nobody:?}");
}

#[test]
fn two_at_once_leave_a_whole_set() {
    let Some(sandbox) = Sandbox::new() else { return };
    let new = NewSet { kind: Kind::Mntns, entries: 4003, name: "mnt_ns_set", mode: 0o600 };
    Set::create(&sandbox.pin("mnt_ns_set"), &new).unwrap();
    let listing = |from: u64| (from..from + 1009).map(|n| format!("{n}\n")).collect::<String>();
    let files = [sandbox.plain("a"), sandbox.plain("b"), sandbox.plain("c")];
    for (file, from) in files.iter().zip([4_026_540_000, 4_026_550_000, 4_026_560_000]) {
        fs::write(file, listing(from)).unwrap();
    }
    let started: Vec<_> = files
        .iter()
        .map(|file| sandbox.nsmap().args(["apply", arg(file)]).stdout(Stdio::null()).spawn().unwrap())
        .collect();
    for mut child in started {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(keys(&sandbox, "mnt_ns_set").len(), 3027);
}
