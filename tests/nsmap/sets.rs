//! Making sets, finding that they exist, removing them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use loader::map::{Access, Map, MapInfo};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::common::bpftool::Bpftool;
use crate::common::namespace::MountNamespace;
use crate::common::odd_pins::{self, pin_map, pin_program};
use crate::common::run::{Output, run};
use crate::common::sandbox::{Sandbox, mounts};
use crate::common::skip::or_skip;
use crate::common::tool;
use crate::common::tracer::Tracer;
use crate::{entries, keys, nsmap_on};

fn info(pin: &Path) -> MapInfo {
    Map::open_pinned(pin, Access::ReadOnly).unwrap().info().clone()
}

fn mode(pin: &Path) -> u32 {
    fs::metadata(pin).unwrap().permissions().mode() & 0o7777
}

/// Type, key, value, entries, name.
fn shape(pin: &Path) -> (u32, u32, u32, u32, String) {
    let info = info(pin);
    (info.map_type, info.key_size, info.value_size, info.max_entries, info.name)
}

#[test]
fn create_makes_a_set_of_mount_namespaces_by_default() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let pin = sandbox.pin("some_set");
    nsmap_on(&sandbox, &["create"], &pin);
    assert_eq!(shape(&pin), (odd_pins::HASH, 8, 4, 16_384, "mnt_ns_set".to_owned()));
    assert_eq!(mode(&pin), 0o600);
    // Without a path, where the environment says.
    sandbox.nsmap_ok(["create"]);
    sandbox.nsmap_ok(["create", "--kind", "cgroup"]);
    assert_eq!(sandbox.pins(), ["cgroup_set", "mnt_ns_set", "some_set"]);
    assert_eq!(shape(&sandbox.pin("cgroup_set")), (odd_pins::HASH, 8, 8, 16_384, "cgroupset".to_owned()));
}

#[test]
fn create_does_what_its_options_say() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let pin = sandbox.pin("options");
    let options = ["create", "--kind", "cgroup", "--entries", "7", "--name", "my_set", "--mode", "0640"];
    nsmap_on(&sandbox, &options, &pin);
    assert_eq!(shape(&pin), (odd_pins::HASH, 8, 8, 7, "my_set".to_owned()));
    assert_eq!(mode(&pin), 0o640);
    nsmap_on(&sandbox, &["create", "--map"], &sandbox.pin("by_option"));
    assert_eq!(shape(&sandbox.pin("by_option")).2, 4);
}

#[test]
fn a_second_create_says_exists_and_changes_nothing() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let pin = sandbox.create_set("mntns");
    sandbox.nsmap_ok(["add-self-mntns"]);
    let before = (info(&pin).id, entries(&pin), mode(&pin));
    assert!(nsmap_on(&sandbox, &["create"], &pin).contains("exists"));
    assert!(
        nsmap_on(&sandbox, &["create", "--entries", "7", "--mode", "0666", "--name", "other"], &pin)
            .contains("exists")
    );
    assert_eq!((info(&pin).id, entries(&pin), mode(&pin)), before);
}

#[test]
fn of_many_creates_at_once_one_makes_the_set_and_all_succeed() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let pin = sandbox.pin("raced");
    let outputs: Vec<String> = std::thread::scope(|scope| {
        let starts = (0..11).map(|_| scope.spawn(|| nsmap_on(&sandbox, &["create"], &pin)));
        let threads: Vec<_> = starts.collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(outputs.iter().filter(|text| text.starts_with("created")).count(), 1, "{outputs:#?}");
    assert_eq!(outputs.iter().filter(|text| text.starts_with("exists")).count(), 10, "{outputs:#?}");
}

#[test]
fn create_refuses_what_is_there_with_another_geometry() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let groups = sandbox.create_set("cgroup");
    let (array, narrow, program) = (sandbox.pin("array"), sandbox.pin("narrow"), sandbox.pin("program"));
    pin_map(&array, odd_pins::ARRAY, 4, 8);
    pin_map(&narrow, odd_pins::HASH, 4, 4);
    pin_program(&program);
    for (pin, found) in [(&groups, "value 8"), (&array, "array"), (&narrow, "key 4"), (&program, "program")] {
        let output = sandbox.nsmap(["create".as_ref(), pin.as_os_str()]);
        let line = output.refused(6, "nsmap");
        assert!(line.contains(found) && (line.contains("expected") || line.contains("not a map")), "{line}");
    }
    assert_eq!(sandbox.pins(), ["array", "cgroup_set", "narrow", "program"]);
}

#[test]
fn create_adopts_a_set_that_bpftool_made() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let bpftool = or_skip!(Bpftool::find());
    let pin = sandbox.pin("theirs");
    // As BCC's own tools make it.
    bpftool.create_map(&pin, "hash", 8, 4, 1024, "mount_ns_set");
    assert!(nsmap_on(&sandbox, &["create"], &pin).contains("exists"));
    assert_eq!(shape(&pin), (odd_pins::HASH, 8, 4, 1024, "mount_ns_set".to_owned()));
    assert_eq!(
        sandbox.nsmap(["create".as_ref(), "--kind".as_ref(), "cgroup".as_ref(), pin.as_os_str()]).code(),
        6
    );
}

#[test]
fn create_pins_only_on_bpffs_and_mounts_nothing_over_files() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let before = mounts();
    let directory = sandbox.path("ordinary");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("precious"), "data").unwrap();
    let refuse = |path: &Path, code: i32| {
        let output = sandbox.nsmap(["create".as_ref(), path.as_os_str()]);
        output.refused(code, "nsmap").to_owned()
    };
    let line = refuse(&directory.join("set"), 7);
    assert!(line.contains("bpffs") && line.contains("mount -t bpf"), "{line}");
    fs::remove_file(directory.join("precious")).unwrap();
    refuse(&directory.join("set"), 7);
    assert!(fs::read_dir(&directory).unwrap().next().is_none(), "something was created");
    refuse(&sandbox.path("no/such/set"), 3);
    refuse(&sandbox.pin("no_such/set"), 3);
    // bpffs refuses such a name; the kernel's word for it would be "operation not permitted".
    let line = refuse(&sandbox.pin("with.dot"), 2);
    assert!(line.contains('.'), "{line}");
    fs::write(sandbox.path("file"), "data").unwrap();
    refuse(&sandbox.path("file"), 7);
    refuse(sandbox.bpffs(), 6);
    assert_eq!(sandbox.pins(), Vec::<String>::new());
    assert_eq!(fs::read_to_string(sandbox.path("file")).unwrap(), "data");
    assert_eq!(mounts(), before);
}

/// `nsmap create`, with nothing said at all.
fn create_by_default() -> Output {
    run(Command::new(tool("nsmap"))
        .arg("create")
        .env_remove("NSMAP_MNTNS_SET")
        .env_remove("NSMAP_CGROUP_SET"))
}

const USUAL: &str = "/sys/fs/bpf";

/// What is mounted at the usual place, topmost last.
fn mounted_there() -> Vec<String> {
    let at = |line: &&str| line.split(' ').nth(4) == Some(USUAL);
    let kind = |line: &str| line.split(" - ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    mounts().lines().filter(at).map(kind).collect()
}

#[test]
fn create_mounts_bpffs_only_at_the_usual_place_if_that_is_empty() {
    let sandbox = or_skip!(Sandbox::for_sets());
    // In a namespace of its own, as this changes /sys/fs/bpf.
    MountNamespace::new().run(|| {
        while umount2(USUAL, MntFlags::MNT_DETACH).is_ok() {}
        assert_eq!(mounted_there(), Vec::<String>::new());
        let output = create_by_default();
        output.ok();
        assert!(output.stderr.contains("mounted") && output.stderr.contains(USUAL), "{output:?}");
        assert_eq!(mounted_there(), ["bpf"]);
        assert_eq!(shape(Path::new("/sys/fs/bpf/mnt_ns_set")).2, 4);
        // The second one finds it there.
        let output = create_by_default();
        assert!(output.ok().contains("exists") && output.stderr.is_empty(), "{output:?}");
        assert_eq!(mounted_there(), ["bpf"]);
    });
    MountNamespace::new().run(|| {
        while umount2(USUAL, MntFlags::MNT_DETACH).is_ok() {}
        let occupied = sandbox.path("occupied");
        fs::create_dir(&occupied).unwrap();
        fs::write(occupied.join("precious"), "data").unwrap();
        mount(Some(&occupied), USUAL, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        let before = mounts();
        create_by_default().refused(7, "nsmap");
        assert_eq!(mounts(), before);
        assert_eq!(fs::read_to_string("/sys/fs/bpf/precious").unwrap(), "data");
    });
}

#[test]
fn delete_removes_the_pin_of_a_set_and_of_nothing_else() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let (set, program, file) = (sandbox.create_set("mntns"), sandbox.pin("program"), sandbox.path("file"));
    pin_program(&program);
    fs::write(&file, "data").unwrap();
    for (path, code) in [(&program, 6), (&file, 7), (&sandbox.pin("nope"), 3)] {
        sandbox.nsmap(["delete".as_ref(), path.as_os_str()]).refused(code, "nsmap");
    }
    assert_eq!(sandbox.pins(), ["mnt_ns_set", "program"]);
    assert!(file.exists());
    nsmap_on(&sandbox, &["delete"], &set);
    assert_eq!(sandbox.pins(), ["program"]);
    sandbox.nsmap(["delete".as_ref(), set.as_os_str()]).refused(3, "nsmap");
}

#[test]
fn what_would_destroy_must_name_one_set_if_there_are_two() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let (namespaces, groups) = (sandbox.create_set("mntns"), sandbox.create_set("cgroup"));
    for command in ["clear", "delete"] {
        sandbox.nsmap([command]).refused(2, "nsmap");
    }
    assert!(namespaces.exists() && groups.exists());
    sandbox.nsmap_ok(["delete", "--kind", "cgroup"]);
    assert_eq!(sandbox.pins(), ["mnt_ns_set"]);
    sandbox.nsmap_ok(["delete"]);
    assert_eq!(sandbox.pins(), Vec::<String>::new());
}

#[test]
fn clear_empties_a_large_set() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let pin = sandbox.create_set("mntns");
    let ids: Vec<String> = (0..1009_u32).map(|number| (4_100_000_000 + number).to_string()).collect();
    sandbox.nsmap_ok(["add-mntns"].into_iter().chain(ids.iter().map(String::as_str)));
    assert_eq!(keys(&pin), (0..1009).map(|number| 4_100_000_000 + number).collect::<Vec<u64>>());
    assert!(sandbox.nsmap_ok(["clear"]).contains("1009"));
    assert_eq!(keys(&pin), Vec::<u64>::new());
    assert!(sandbox.nsmap_ok(["clear"]).contains('0'));
}

#[test]
fn resize_names_the_tracer_that_keeps_the_old_map() {
    let sandbox = or_skip!(Sandbox::new());
    let set = sandbox.create_set("mntns");
    let map = set.to_str().unwrap();
    let tracer = Tracer::start(sandbox.command("execsnoop", ["--mntnsmap", map]));
    let output = sandbox.nsmap(["resize", "101", map]);
    let note = format!("nsmap: note: the old map is in use by: {} execsnoop\n", tracer.pid());
    assert!(output.stderr.contains(&note), "{output:?}");
    assert!(output.stderr.contains("keep the old map until they are started again"), "{output:?}");
    tracer.stop();
    let output = sandbox.nsmap(["resize", "103", map]);
    assert!(!output.stderr.contains("in use by"), "{output:?}");
}
