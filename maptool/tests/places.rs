//! Places that are not what they seem: symbolic links, bpffs that may only be read, files of other kinds.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use common::bpftool::link;
use common::{Cgroup, Ran, Sandbox, arg};
use nix::mount::{MsFlags, mount};

#[test]
fn a_dangling_link_is_told_as_such_by_each_command() {
    let Some(sandbox) = Sandbox::new() else { return };
    let (inside, outside) = (sandbox.pin("dangling"), sandbox.plain("dangling"));
    for path in [&inside, &outside] {
        symlink(sandbox.pin("nothing"), path).unwrap();
        let path = arg(path);
        let text = "a symbolic link to nothing";
        sandbox.run(["create", path]).refused(3, &["create set", path, text]);
        for command in ["list", "clear", "delete", "gc", "export"] {
            sandbox.run([command, path]).refused(3, &["open set", path, text]);
        }
        for words in [&["add-self-mntns"][..], &["add-cgroup", "1"], &["resize", "7"], &["follow", "/none"]] {
            sandbox.run([words, &["--map", path]].concat()).refused(3, &["open set", path, text]);
        }
        // In place of bpftool: as it says it.
        let map = |words: &[&str]| {
            Ran::from(std::process::Command::new(link(&sandbox)).arg("map").args(words).output().unwrap())
        };
        for words in [&["show", "pinned", path][..], &["dump", "pinned", path]] {
            let ran = map(words);
            assert_eq!(ran.err, format!("Error: bpf obj get ({path}): No such file or directory\n"));
            assert_eq!((ran.code, ran.out.as_str()), (3, ""));
        }
    }
    let create = "map create @ type hash key 8 value 4 entries 1 name x".replace('@', arg(&inside));
    let ran = sandbox.run(create.split(' '));
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
    assert!(ran.err.contains("File exists"), "{ran:?}");
    assert!(inside.is_symlink() && !sandbox.pin("nothing").exists());
    // A cgroup that was given the name of a link: see identity.rs. Beside good ones, those are done.
    let Some(own) = Cgroup::new() else { return };
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    let ran = sandbox.run(["add-cgroup", arg(&outside), arg(&own.path)]);
    assert_eq!(ran.code, 8, "{ran:?}");
    assert!(ran.err.contains("a symbolic link to nothing") && ran.out.starts_with("added cgroup"), "{ran:?}");
}

#[test]
fn a_set_is_the_same_through_a_link() {
    let Some(sandbox) = Sandbox::new() else { return };
    let (set, to_set) = (sandbox.pin("set"), sandbox.plain("link"));
    sandbox.run(["create", arg(&set)]).ok();
    symlink(&set, &to_set).unwrap();
    assert!(sandbox.run(["create", arg(&to_set)]).ok().starts_with("exists"));
    sandbox.run(["add-self-mntns", "--map", arg(&to_set)]).ok();
    sandbox.run(["resize", "7", arg(&to_set)]).ok();
    let list = sandbox.run(["--json", "list", arg(&set)]).json();
    assert_eq!((&list["sets"][0]["used"], &list["sets"][0]["capacity"]), (&1.into(), &7.into()));
    let ran = sandbox.run(["delete", arg(&to_set)]);
    assert!(ran.err.contains("is a symbolic link to nothing now"), "{ran:?}");
    assert!(ran.ok().starts_with("deleted mntns set"));
    assert!(!set.exists() && to_set.is_symlink());
}

fn remount(bpffs: &Path, flags: MsFlags) -> nix::Result<()> {
    mount(None::<&str>, bpffs, None::<&str>, MsFlags::MS_REMOUNT | flags, None::<&str>)
}

#[test]
fn a_bpffs_that_may_only_be_read_shows_its_sets_and_keeps_them() {
    let Some(sandbox) = Sandbox::new() else { return };
    let set = sandbox.pin("mnt_ns_set");
    let path = arg(&set);
    sandbox.run(["create"]).ok();
    sandbox.run(["add-self-mntns"]).ok();
    remount(set.parent().unwrap(), MsFlags::MS_RDONLY).unwrap();
    let shown = sandbox.run(["--json", "list"]).json();
    assert_eq!(shown["sets"][0]["used"], 1);
    for words in [&["export"][..], &["gc", "--dry-run"], &["map", "dump", "pinned", path], &["create"]] {
        sandbox.run(words).ok();
    }
    let listing = sandbox.plain("listing");
    fs::write(&listing, "4026532901\n").unwrap();
    for words in [
        &["create", arg(&sandbox.pin("new"))][..],
        &["add-self-mntns"],
        &["remove-self-mntns"],
        &["clear"],
        &["delete"],
        &["gc"],
        &["resize", "7"],
        &["apply", arg(&listing)],
        &["follow", "/none", "--once"],
    ] {
        sandbox.run(words).refused(1, &["read-only file system"]);
    }
    for words in ["map create @2 type hash key 8 value 4 entries 1 name x", "map pin pinned @ @2"] {
        let ran = sandbox.run(words.replace('@', path).split(' '));
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
        assert!(ran.err.starts_with("Error: ") && ran.err.contains("Read-only file system"), "{ran:?}");
    }
    remount(set.parent().unwrap(), MsFlags::empty()).unwrap();
    assert_eq!(sandbox.run(["--json", "list"]).json(), shown);
    assert!(!sandbox.pin("new").exists());
}

#[test]
fn a_listing_in_the_place_of_a_member_is_told_where_it_belongs() {
    let Some(sandbox) = Sandbox::new() else { return };
    let listing = sandbox.plain("members");
    fs::write(&listing, "4026532901\n").unwrap();
    sandbox.run(["create", "--mode", "660", "--group", "65534"]).ok();
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    let hint = "a listing of members is put into a set with: nsmap apply FILE";
    sandbox.run(["add-cgroup", arg(&listing)]).refused(6, &["found a file", hint]);
    sandbox.run(["add-mntns", arg(&listing)]).refused(6, &["expected a mount namespace", hint]);
    // Other files are no listings.
    let ran = sandbox.run(["add-mntns", "/proc/self/ns/net", "/proc/self/status"]);
    assert!(ran.code == 6 && !ran.err.contains(hint), "{ran:?}");
    // And so it is done, as the group that may edit the set.
    if sandbox.opens_without_capabilities() {
        let map = sandbox.pin("mnt_ns_set");
        let ran = sandbox.run_as_nobody(["apply", arg(&listing), "--map", arg(&map)]);
        assert!(ran.ok().contains("1 added"));
    }
}

#[test]
fn what_is_no_listing_is_refused_and_changes_nothing() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create"]).ok();
    sandbox.run(["add-self-mntns"]).ok();
    let before = sandbox.run(["export", "--bare"]).ok();
    symlink("/no/such", sandbox.plain("dangling")).unwrap();
    let (directory, dangling) = (sandbox.plain(""), sandbox.plain("dangling"));
    for (path, code, text) in [
        (arg(&directory), 1, "is a directory"),
        ("/dev/zero", 1, "larger than 67108864 bytes"),
        (arg(&dangling), 3, "no such file or directory"),
        ("/proc/self/mem", 1, "input/output error"),
    ] {
        for words in
            [&["apply", path][..], &["apply", path, "--replace"], &["diff", path, path, "--kind", "mntns"]]
        {
            sandbox.run(words).refused(code, &["read listing", path, text]);
        }
    }
    sandbox.run(["generate", "man", "--out", "/no/such"]).refused(3, &["write man pages to `/no/such`: "]);
    assert_eq!(sandbox.run(["export", "--bare"]).ok(), before);
}
