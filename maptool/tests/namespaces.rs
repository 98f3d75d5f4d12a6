//! Mount namespaces by their numbers alone, and those that may not be looked at.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs::File;
use std::process::Command;

use common::{Lacking, Ran, Sandbox, skip, unshared};
use nsmap::identity::mntns;

/// Numbers are given from the lowest one that is free: nobody's.
const NOBODYS: &str = "4294967290";

#[test]
fn a_number_that_nobody_has_is_added_with_a_note() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create"]).ok();
    let ran = sandbox.run(["add-mntns", NOBODYS]);
    assert!(ran.out.starts_with(&format!("added mntns {NOBODYS}, unchecked")), "{ran:?}");
    let note = format!("nsmap: note: no mount namespace has the number {NOBODYS} now");
    match mntns::every() {
        Some(_) => assert!(ran.err.starts_with(&note) && ran.err.lines().count() == 1, "{ran:?}"),
        None => assert_eq!(ran.err, "", "this kernel does not say"),
    }
    ran.ok();
    let ran = sandbox.run(["remove-mntns", NOBODYS]);
    assert_eq!(ran.err, "");
    assert!(ran.ok().starts_with("removed mntns"));
    let own = sandbox.run(["mntnsid", "number"]).ok();
    let ran = sandbox.run(["add-mntns", own.trim()]);
    assert_eq!(ran.err, "");
}

#[test]
fn a_namespace_without_processes_is_checked_where_the_kernel_lists_it() {
    let Some(sandbox) = Sandbox::new() else { return };
    if mntns::every().is_none() {
        return skip(&Lacking::Kernel("list of mount namespaces (6.12)"));
    }
    sandbox.run(["create"]).ok();
    let mut task = unshared();
    let kept = File::open(format!("/proc/{}/ns/mnt", task.id())).unwrap();
    let namespace = mntns::of_process(task.id()).unwrap();
    task.kill().unwrap();
    task.wait().unwrap();
    let out = sandbox.run(["add-mntns", &namespace.inode.to_string()]).ok();
    assert!(!out.contains("unchecked"), "{out}");
    let list = sandbox.run(["--json", "list"]).json();
    let member = &list["sets"][0]["members"][0];
    assert_eq!((&member["state"], &member["checked"]), (&"live".into(), &true.into()), "{list}");
    assert_eq!(member["process_count"], 0);
    drop(kept);
}

#[test]
fn a_process_that_capabilities_do_not_reach_is_told_as_such() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create"]).ok();
    let own = std::process::id().to_string();
    // All capabilities, but of a user namespace of its own.
    let inside = |words: &[&str]| {
        let mut command = Command::new("unshare");
        Ran::from(command.args(["-Ur", env!("CARGO_BIN_EXE_nsmap")]).args(words).output().unwrap())
    };
    if inside(&["--version"]).code != 0 {
        return skip(&Lacking::Kernel("user namespaces"));
    }
    inside(&["mntnsid", "number", &own]).refused(
        4,
        &[&format!("mount namespace of process {own}: "), "CAP_SYS_PTRACE is there", "outer user namespace"],
    );
}
