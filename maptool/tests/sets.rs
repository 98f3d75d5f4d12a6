//! Making, filling, showing and removing sets with the built binary, on a bpffs of each test's own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use common::{Ran, Sandbox, arg, copy_program};
use loader::map::{Access, Map, MapConfig, UpdateMode};
use loader::spec::map::map_type;
use nsmap::set::{NewSet, Set};
use nsmap::{Kind, Member};

fn foreign_map(sandbox: &Sandbox, name: &str, map_type: u32, key_size: u32, value_size: u32) -> Map {
    let config = MapConfig {
        name: "foreign".into(),
        map_type,
        key_size,
        value_size,
        max_entries: 128,
        ..MapConfig::default()
    };
    let map = Map::create(&config).unwrap();
    map.pin(&sandbox.pin(name)).unwrap();
    map
}

#[test]
fn a_second_create_of_the_same_kind_finds_the_first() {
    let Some(sandbox) = Sandbox::new() else { return };
    assert!(sandbox.run(["create"]).ok().starts_with("created: mntns set "));
    sandbox.run(["add-mntns", "4026532999"]).ok();
    assert!(sandbox.run(["create"]).ok().starts_with("exists: mntns set "));
    assert_eq!(sandbox.run(["--json", "list"]).json()["sets"][0]["used"], 1);
    let mode = fs::metadata(sandbox.pin("mnt_ns_set")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_create_of_another_kind_is_refused_with_found_and_expected() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create"]).ok();
    let pin = sandbox.pin("mnt_ns_set");
    sandbox
        .run(["create", "--kind", "cgroup", arg(&pin)])
        .refused(6, &["found a hash with key 8, value 4", "expected", "value 8"]);
    assert_eq!(Set::open(&pin, Access::ReadOnly).unwrap().kind(), Kind::Mntns);
}

#[test]
fn options_of_create_reach_the_map_and_the_pin() {
    let Some(sandbox) = Sandbox::new() else { return };
    let pin = sandbox.pin("mine");
    sandbox
        .run([
            "create",
            arg(&pin),
            "--kind",
            "cgroup",
            "--entries",
            "131",
            "--name",
            "my.set",
            "--mode",
            "640",
        ])
        .ok();
    let set = Set::open(&pin, Access::ReadOnly).unwrap();
    let info = set.map().info();
    assert_eq!((info.map_type, info.key_size, info.value_size), (map_type::HASH, 8, 8));
    assert_eq!((info.max_entries, info.name.as_str()), (131, "my.set"));
    assert_ne!(info.btf_id, 0, "other tools print the entries as numbers");
    assert_eq!(fs::metadata(&pin).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn a_group_may_be_given_the_pin() {
    use std::os::unix::fs::MetadataExt;
    let Some(sandbox) = Sandbox::new() else { return };
    if !sandbox.opens_without_capabilities() {
        return;
    }
    sandbox.run(["create", "--mode", "660", "--group", "65534"]).ok();
    let meta = fs::metadata(sandbox.pin("mnt_ns_set")).unwrap();
    assert_eq!((meta.gid(), meta.mode() & 0o777), (65534, 0o660));
    // The group of nobody: no capability at all, and the set can be edited.
    assert!(sandbox.run_as_nobody(["add-mntns", "4026532901"]).ok().starts_with("added mntns"));
    sandbox
        .run(["create", arg(&sandbox.pin("other")), "--group", "no such group"])
        .refused(3, &["create set", "no group `no such group`"]);
    assert!(!sandbox.pin("other").exists());
}

#[test]
fn nothing_is_created_or_mounted_outside_of_bpffs() {
    let Some(sandbox) = Sandbox::new() else { return };
    let mounts = || fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let before = mounts();
    let directory = sandbox.plain("");
    sandbox.run(["create", arg(&sandbox.plain("set"))]).refused(7, &["expected bpffs", "mount -t bpf bpf"]);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    sandbox.run(["create", arg(&sandbox.plain("no/set"))]).refused(3, &["not found", "mkdir"]);
    sandbox.run(["create", arg(&sandbox.pin("a.b"))]).refused(2, &["`.`"]);
    assert_eq!(mounts(), before);
}

#[test]
fn an_empty_usual_mount_point_gets_a_bpffs_and_one_with_files_does_not() {
    let Some(sandbox) = Sandbox::new() else { return };
    let usual = "/sys/fs/bpf";
    // A tmpfs, private to this test, stands in for the empty directory.
    let hide =
        || nix::mount::mount(Some("t"), usual, Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>);
    if let Err(errno) = hide() {
        return common::skip(&common::Lacking::Privilege(format!("mount on {usual}: {errno}")));
    }
    fs::write("/sys/fs/bpf/file", "kept").unwrap();
    sandbox.run(["create", "/sys/fs/bpf/set"]).refused(7, &["it has files"]);
    assert_eq!(fs::read_to_string("/sys/fs/bpf/file").unwrap(), "kept");
    fs::remove_file("/sys/fs/bpf/file").unwrap();

    let made = sandbox.run(["create", "/sys/fs/bpf/set"]);
    assert!(made.err.contains("mounted bpffs on `/sys/fs/bpf`"), "{made:?}");
    made.ok();
    assert_eq!(Set::open("/sys/fs/bpf/set".as_ref(), Access::ReadOnly).unwrap().kind(), Kind::Mntns);
}

#[test]
fn a_shell_adds_and_removes_its_own_mount_namespace() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create"]).ok();
    let own = sandbox.run(["mntnsid", "number"]).ok().trim().parse::<u64>().unwrap();
    let check = sandbox.run(["--json", "mntnsid", "number"]).json()["unique_id"].as_u64();

    assert!(sandbox.run(["add-self-mntns"]).ok().starts_with(&format!("added mntns {own}")));
    assert!(sandbox.run(["add-self-mntns"]).ok().starts_with(&format!("already there: mntns {own}")));
    let set = Set::open_for_tracer(&sandbox.pin("mnt_ns_set"), Kind::Mntns).unwrap();
    let Some(Member::Mntns(member)) = set.get(own).unwrap() else { panic!("not in the set") };
    assert_eq!(u64::from(member.check), check.unwrap_or(0) & 0xffff_ffff);

    assert!(sandbox.run(["remove-self-mntns"]).ok().starts_with(&format!("removed mntns {own}")));
    assert!(sandbox.run(["remove-self-mntns"]).ok().starts_with(&format!("not there: mntns {own}")));
    assert_eq!(set.members().unwrap(), []);
}

#[test]
fn a_namespace_is_the_same_by_pid_file_and_number() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create"]).ok();
    let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = sleeper.id().to_string();
    let file = format!("/proc/{pid}/ns/mnt");
    let own = sandbox.run(["mntnsid", "number", &pid]).ok();
    let own = own.trim();
    for item in [pid.as_str(), &file, own, &format!("mnt:[{own}]")] {
        assert!(sandbox.run(["add-mntns", item]).ok().contains(&format!("added mntns {own}")), "{item}");
        let list = sandbox.run(["--json", "list"]).json();
        let member = &list["sets"][0]["members"][0];
        assert_eq!(member["id"].to_string(), own);
        assert_eq!(member["state"], "live");
        assert!(member["processes"].as_array().unwrap().iter().any(|process| process["comm"] == "sleep"));
        assert!(sandbox.run(["remove-mntns", item]).ok().contains(&format!("removed mntns {own}")), "{item}");
    }
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}

#[test]
fn a_member_whose_number_went_to_another_namespace_is_shown_as_reused() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create"]).ok();
    let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
    let found = sandbox.run(["--json", "mntnsid", "number", &sleeper.id().to_string()]).json();
    if found["unique_id"].is_u64() {
        let set = Set::open(&sandbox.pin("mnt_ns_set"), Access::ReadWrite).unwrap();
        let inode = found["id"].as_u64().unwrap();
        let stale = nsmap::set::MntnsMember { inode, check: 0xdead_beef };
        set.insert(&Member::Mntns(stale)).unwrap();
        let list = sandbox.run(["--json", "list"]).json();
        assert_eq!(list["sets"][0]["members"][0]["state"], "reused");
        assert!(sandbox.run(["add-mntns", &sleeper.id().to_string()]).ok().starts_with("updated mntns"));
        let list = sandbox.run(["--json", "list"]).json();
        assert_eq!(list["sets"][0]["members"][0]["state"], "live");
    }
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}

#[test]
fn a_full_set_says_how_full_and_what_fitted_stays() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create", "--entries", "3"]).ok();
    let numbers = ["4026532901", "4026532902", "4026532903", "4026532904", "4026532905"];
    let ran = sandbox.run(["add-mntns"].iter().chain(&numbers));
    assert_eq!(ran.code, 8, "{ran:?}");
    assert_eq!(ran.out.matches("added mntns").count(), 3, "{ran:?}");
    assert_eq!(ran.err.matches("full: 3 of 3").count(), 2, "{ran:?}");
    sandbox.run(["add-mntns", "4026532906"]).refused(5, &["full: 3 of 3"]);
    assert!(sandbox.run(["add-mntns", "4026532901"]).ok().starts_with("already there"));
    assert_eq!(sandbox.run(["clear"]).ok().split(" from").next(), Some("removed 3 members"));
}

#[test]
fn sets_made_by_others_are_adopted_whatever_their_name_and_size() {
    let Some(sandbox) = Sandbox::new() else { return };
    let map = foreign_map(&sandbox, "mnt_ns_set", map_type::HASH, 8, 4);
    map.update(&4_026_532_900_u64.to_ne_bytes(), &[0; 4], UpdateMode::Any).unwrap();
    assert!(sandbox.run(["create"]).ok().contains("room for 128"));
    let list = sandbox.run(["--json", "list"]).json();
    assert_eq!(list["sets"][0]["members"][0]["id"], 4_026_532_900_u64);
    assert_eq!(list["sets"][0]["members"][0]["checked"], false);
    sandbox.run(["remove-mntns", "4026532900"]).ok();
    assert_eq!(map.entries().unwrap(), []);
}

#[test]
fn what_is_no_set_is_refused_by_every_command() {
    let Some(sandbox) = Sandbox::new() else { return };
    foreign_map(&sandbox, "array", map_type::ARRAY, 4, 8);
    foreign_map(&sandbox, "key4", map_type::HASH, 4, 4);
    foreign_map(&sandbox, "lru", map_type::LRU_HASH, 8, 8);
    fs::write(sandbox.plain("file"), "").unwrap();
    fs::create_dir(sandbox.pin("directory")).unwrap();
    let cases = [
        (sandbox.pin("array"), 6, "found an array with key 4, value 8, expected a hash with key 8"),
        (sandbox.pin("key4"), 6, "found a hash with key 4, value 4"),
        (sandbox.pin("lru"), 6, "found an LRU hash"),
        (sandbox.pin("directory"), 6, "directory"),
        (sandbox.plain("file"), 7, "expected a map pinned on bpffs"),
        (sandbox.plain("file/below"), 3, "not found"),
        (sandbox.pin("nothing"), 3, "create it with: nsmap create"),
    ];
    for (path, code, text) in &cases {
        let path = arg(path);
        sandbox.run(["list", path]).refused(*code, &[text, path]);
        sandbox.run(["add-self-mntns", "--map", path]).refused(*code, &[text]);
        sandbox.run(["delete", path]).refused(*code, &[text]);
        sandbox.run(["clear", "--map", path]).refused(*code, &[text]);
    }
    assert!(sandbox.pin("array").exists() && sandbox.plain("file").exists());
    sandbox.run(["create"]).ok();
    let mntns = sandbox.pin("mnt_ns_set");
    sandbox.run(["add-cgroup", "--map", arg(&mntns), "/"]).refused(6, &["(mntns), expected", "(cgroup)"]);
}

#[test]
fn two_sets_are_told_apart_before_harm_is_done() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["list"]).refused(3, &["nsmap create"]);
    sandbox.run(["create"]).ok();
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    sandbox.run(["clear"]).refused(2, &["--kind"]);
    sandbox.run(["delete"]).refused(2, &["--kind"]);
    assert_eq!(sandbox.run(["--json", "list"]).json()["sets"].as_array().unwrap().len(), 2);
    sandbox.run(["delete", "--kind", "cgroup"]).ok();
    assert!(!sandbox.pin("cgroup_set").exists());
    sandbox.run(["delete"]).ok();
    assert!(!sandbox.pin("mnt_ns_set").exists());
}

#[test]
fn a_reader_needs_only_the_read_bit_and_a_refusal_names_the_capability() {
    let Some(sandbox) = Sandbox::new() else { return };
    if !sandbox.opens_without_capabilities() {
        return;
    }
    sandbox.run(["create", "--mode", "644"]).ok();
    sandbox.run(["add-mntns", "4026532907"]).ok();
    assert!(sandbox.run_as_nobody(["list"]).ok().contains("4026532907"));
    sandbox.run_as_nobody(["add-mntns", "4026532908"]).refused(4, &["mode 0644", "CAP_DAC_OVERRIDE"]);
    // A place where anyone may make files leaves only the map itself to be refused.
    fs::set_permissions(sandbox.pin(""), PermissionsExt::from_mode(0o777)).unwrap();
    sandbox.run_as_nobody(["create", arg(&sandbox.pin("other"))]).refused(4, &["CAP_BPF"]);
    assert!(!sandbox.pin("other").exists());
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create"]).ok();
    let mut child =
        sandbox.nsmap().arg("list").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(Ran::from(child.wait_with_output().unwrap()).code, 0);
}

#[test]
fn a_hostile_process_name_stays_on_its_line() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create"]).ok();
    let hostile = sandbox.plain("x\u{1b}[31m\ny");
    copy_program("/bin/sleep", &hostile);
    let mut sleeper = Command::new(&hostile).arg0("sleep").arg("60").spawn().unwrap();
    sandbox.run(["add-mntns", &sleeper.id().to_string()]).ok();
    let text = sandbox.run(["list"]).ok();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}

#[test]
fn many_members_are_cleared_at_once() {
    let Some(sandbox) = Sandbox::new() else { return };
    let new = NewSet { kind: Kind::Cgroup, entries: 2003, name: "many", mode: 0o600 };
    let set = Set::create(&sandbox.pin("cgroup_set"), &new).unwrap();
    for id in 1..=1999 {
        set.insert(&Member::Cgroup(nsmap::set::CgroupMember::new(id << 20, false))).unwrap();
    }
    assert_eq!(set.members().unwrap().len(), 1999);
    assert!(sandbox.run(["clear"]).ok().starts_with("removed 1999 members"));
    assert_eq!(set.members().unwrap(), []);
}
