//! From cgroups and processes to numbers and back, with cgroups of each test's own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;

use common::{Cgroup, Sandbox, arg};
use loader::map::Access;
use nsmap::identity::cgroup::{self, Location, Resolver};
use nsmap::set::{CgroupMember, Set};
use nsmap::{Kind, Member};

#[test]
fn the_id_is_printed_as_bcc_does() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    let id = fs::metadata(&own.path).unwrap().ino();
    assert_eq!(sandbox.run(["cgroupid", "number", arg(&own.path)]).ok(), format!("{id}\n"));
    let bytes: Vec<String> = id.to_ne_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(sandbox.run(["cgroupid", "hex", arg(&own.path)]).ok(), format!("{}\n", bytes.join(" ")));
    // Through a link, and by another spelling, it is the same directory.
    symlink(&own.path, sandbox.plain("link")).unwrap();
    assert_eq!(sandbox.run(["cgroupid", "number", arg(&sandbox.plain("link"))]).ok(), format!("{id}\n"));
    let spelled = format!("{}/../{}/", arg(&own.path), own.path.file_name().unwrap().to_str().unwrap());
    assert_eq!(sandbox.run(["cgroupid", "number", &spelled]).ok(), format!("{id}\n"));
}

#[test]
fn what_is_no_cgroup_gets_no_number() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    symlink("/no/such", sandbox.plain("dangling")).unwrap();
    let file = own.path.join("cgroup.procs");
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    for (path, code, text) in [
        (arg(&file), 6, "found a file"),
        ("/etc", 6, "expected one on cgroup2"),
        ("/etc/passwd", 6, "found a file"),
        (arg(&sandbox.plain("dangling")), 3, "a symbolic link to nothing"),
        ("/no/such", 3, "not found"),
    ] {
        sandbox.run(["cgroupid", "number", path]).refused(code, &[text, path]);
        sandbox.run(["add-cgroup", path]).refused(code, &[text]);
    }
    let v1 = fs::read_to_string("/proc/self/mountinfo").unwrap();
    if let Some(line) = v1.lines().find(|line| line.contains(" - cgroup ")) {
        let mount_point = line.split(' ').nth(4).unwrap();
        sandbox.run(["add-cgroup", mount_point]).refused(6, &["cgroup (v1)"]);
    }
    assert_eq!(sandbox.run(["--json", "list"]).json()["sets"][0]["used"], 0);
}

#[test]
fn cgroups_are_added_listed_by_path_and_removed_after_their_end() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    let child = own.child("child");
    let (id, child_id) = (cgroup::id_of_path(&own.path).unwrap(), cgroup::id_of_path(&child).unwrap());
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    sandbox.run(["add-cgroup", arg(&own.path)]).ok();
    sandbox.run(["add-cgroup", "--subtree", arg(&child)]).ok();
    let set = Set::open_for_tracer(&sandbox.pin("cgroup_set"), Kind::Cgroup).unwrap();
    assert_eq!(set.get(id).unwrap(), Some(Member::Cgroup(CgroupMember { id, flags: 0 })));
    assert_eq!(set.get(child_id).unwrap(), Some(Member::Cgroup(CgroupMember { id: child_id, flags: 1 })));

    let list = sandbox.run(["--json", "list"]).json();
    let members = list["sets"][0]["members"].as_array().unwrap();
    assert_eq!((&members[0]["path"], &members[0]["subtree"]), (&arg(&own.path).into(), &false.into()));
    assert_eq!((&members[1]["path"], &members[1]["subtree"]), (&arg(&child).into(), &true.into()));

    fs::remove_dir(&child).unwrap();
    let list = sandbox.run(["--json", "list"]).json();
    assert_eq!(list["sets"][0]["members"][1]["state"], "dead");
    sandbox.run(["remove-cgroup", arg(&child)]).refused(3, &["by its id"]);
    assert!(sandbox.run(["remove-cgroup", &child_id.to_string()]).ok().starts_with("removed cgroup"));
    sandbox.run(["add-cgroup", &child_id.to_string()]).refused(3, &["no cgroup has this id"]);
    assert!(sandbox.run(["add-cgroup", "--subtree", &id.to_string()]).ok().starts_with("updated cgroup"));
}

#[test]
fn some_failures_among_several_items_are_told_apart() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    let ran = sandbox.run(["--json", "add-cgroup", arg(&own.path), "/etc", "/no/such"]);
    assert_eq!(ran.code, 8, "{ran:?}");
    assert_eq!(ran.err.lines().count(), 2, "{ran:?}");
    let answer = ran.json();
    let items = answer["items"].as_array().unwrap();
    let results: Vec<_> = items.iter().map(|item| item["result"].as_str().unwrap()).collect();
    assert_eq!(results, ["added", "failed", "failed"]);
    assert_eq!((&items[1]["error"]["code"], &items[2]["error"]["code"]), (&6.into(), &3.into()));
    assert_eq!(sandbox.run(["add-cgroup", "/no/such", "/no/other"]).code, 3);
    assert_eq!(sandbox.run(["add-cgroup", "/no/such", "/etc"]).code, 8);
}

#[test]
fn a_process_is_added_to_the_sets_that_exist() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = sleeper.id().to_string();
    fs::write(own.path.join("cgroup.procs"), &pid).unwrap();
    let id = cgroup::id_of_path(&own.path).unwrap();

    sandbox.run(["add-pid", &pid]).refused(3, &["nsmap create"]);
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    let out = sandbox.run(["add-pid", &pid]).ok();
    assert_eq!((out.lines().count(), out.contains(&format!("added cgroup {id} "))), (1, true), "{out}");
    sandbox.run(["create"]).ok();
    let out = sandbox.run(["add-pid", &pid]).ok();
    assert!(out.contains("added mntns ") && out.contains("already there: cgroup "), "{out}");
    let out = sandbox.run(["remove-pid", &pid]).ok();
    assert_eq!(out.matches("removed ").count(), 2, "{out}");
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    sandbox.run(["remove-mntns", &pid]).refused(3, &[&format!("no process {pid}")]);
}

#[test]
fn a_task_in_the_root_cgroup_is_added_only_by_force() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Ok(found) = cgroup::of_process(std::process::id()) else {
        return common::skip(&common::Lacking::CgroupV2);
    };
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    let refused = sandbox.run(["add-self-cgroup"]);
    if !found.is_root() {
        assert!(refused.ok().starts_with(&format!("added cgroup {}", found.id)));
        return;
    }
    refused.refused(1, &["root cgroup", "--force"]);
    assert!(sandbox.run(["add-self-cgroup", "--force"]).ok().starts_with("added cgroup 1 "));
    assert!(sandbox.run(["remove-self-cgroup"]).ok().starts_with("removed cgroup 1 "));
}

#[test]
fn a_task_in_a_cgroup_namespace_is_known_by_the_same_id() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    let id = cgroup::id_of_path(&own.path).unwrap();
    let script = "echo $$ >\"$0/cgroup.procs\" && exec unshare --cgroup \"$1\" add-self-cgroup";
    let nsmap = sandbox.nsmap();
    let mut shell = Command::new("sh");
    shell.args(["-c", script, arg(&own.path)]).arg(nsmap.get_program());
    let settings = nsmap.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let ran = common::Ran::from(shell.envs(settings).output().unwrap());
    assert!(ran.out.starts_with(&format!("added cgroup {id} ")), "{ran:?}");
}

#[test]
fn ids_lead_back_to_directories_only() {
    let Some(own) = Cgroup::new() else { return };
    let mut resolver = Resolver::new().unwrap();
    let id = cgroup::id_of_path(&own.path).unwrap();
    assert_eq!(resolver.locate(id), Location::Directory(own.path.clone()));
    let file = fs::metadata(own.path.join("cgroup.procs")).unwrap().ino();
    assert_eq!(resolver.locate(file), Location::Gone);
    assert_eq!(resolver.locate(id | 7 << 32), Location::Gone);
    let root = resolver.root_id();
    assert!(matches!(resolver.locate(root), Location::Directory(_)));
    fs::remove_dir(&own.path).unwrap();
    assert_eq!(resolver.locate(id), Location::Gone);
}

#[test]
fn without_privilege_paths_are_found_by_walking() {
    let Some(sandbox) = Sandbox::new() else { return };
    if !sandbox.opens_without_capabilities() {
        return;
    }
    let Some(own) = Cgroup::new() else { return };
    sandbox.run(["create", "--kind", "cgroup", "--mode", "644"]).ok();
    sandbox.run(["add-cgroup", arg(&own.path)]).ok();
    let list = sandbox.run_as_nobody(["--json", "list"]).json();
    assert_eq!(list["sets"][0]["members"][0]["path"], arg(&own.path));
    assert!(Set::open(&sandbox.pin("cgroup_set"), Access::ReadOnly).is_ok());
}
