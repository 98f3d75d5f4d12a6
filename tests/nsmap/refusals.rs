//! What nsmap does not do: one line, an exit code that says why, and nothing changed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::common::nsmap::with_closed;
use crate::common::odd_pins::{self, pin_map, pin_program};
use crate::common::run::{Output, run, wait_bounded};
use crate::common::sandbox::Sandbox;
use crate::common::skip::or_skip;
use crate::common::tool;
use crate::keys;

#[test]
fn a_set_that_is_not_there_is_named_with_the_command_that_makes_it() {
    let sandbox = or_skip!(Sandbox::for_sets());
    for command in [&["add-self-mntns"][..], &["add-mntns", "4100000003"], &["remove-self-mntns"]] {
        let output = sandbox.nsmap(command);
        let line = output.refused(3, "nsmap");
        assert!(line.contains("nsmap create ") && line.contains("mnt_ns_set"), "{line}");
    }
    let output = sandbox.nsmap(["add-cgroup", "/sys/fs/cgroup"]);
    assert!(output.refused(3, "nsmap").contains("nsmap create --kind cgroup "), "{output:?}");
    for command in ["list", "clear", "delete"] {
        sandbox.nsmap([command]).refused(3, "nsmap");
    }
    assert_eq!(sandbox.pins(), Vec::<String>::new());
}

#[test]
fn what_is_no_set_is_refused_by_each_command() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let (program, array, file) = (sandbox.pin("program"), sandbox.pin("array"), sandbox.path("file"));
    pin_program(&program);
    pin_map(&array, odd_pins::ARRAY, 4, 8);
    fs::write(&file, "data").unwrap();
    for (path, code) in [(&program, 6), (&array, 6), (&file, 7), (&sandbox.bpffs().to_owned(), 6)] {
        let path = path.to_str().unwrap();
        for command in [
            &["add-self-mntns"][..],
            &["add-mntns", "4100000003"],
            &["remove-self-mntns"],
            &["list"],
            &["clear"],
            &["delete"],
        ] {
            sandbox.nsmap(command.iter().chain(&["--map", path])).refused(code, "nsmap");
        }
    }
    assert_eq!(sandbox.pins(), ["array", "program"]);
}

#[test]
fn the_wrong_kind_of_number_does_not_get_into_a_set() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let (namespaces, groups) = (sandbox.create_set("mntns"), sandbox.create_set("cgroup"));
    sandbox.nsmap(["add-self-mntns", "--map", groups.to_str().unwrap()]).refused(6, "nsmap");
    sandbox
        .nsmap(["add-cgroup", "/sys/fs/cgroup", "--map", namespaces.to_str().unwrap()])
        .refused(6, "nsmap");
    // A network namespace is a namespace file, but not of this kind.
    for file in ["/proc/self/ns/net", "/proc/self/ns/pid", "/etc/passwd", "/proc/self/status"] {
        sandbox.nsmap(["add-mntns", file]).refused(6, "nsmap");
    }
    sandbox.nsmap(["add-mntns", "/nope"]).refused(3, "nsmap");
    assert_eq!((keys(&namespaces), keys(&groups)), (vec![], vec![]));
}

#[test]
fn a_process_that_has_ended_is_not_found() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let pin = sandbox.create_set("mntns");
    let mut child = Command::new(crate::common::program::true_path()).spawn().unwrap();
    let pid = child.id().to_string();
    child.wait().unwrap();
    for command in ["add-mntns", "add-pid"] {
        sandbox.nsmap([command, &pid]).refused(3, "nsmap");
    }
    assert_eq!(keys(&pin), Vec::<u64>::new());
}

/// Runs a copy of nsmap as nobody.
fn as_nobody(sandbox: &Sandbox, args: &[&str]) -> Output {
    let copy = sandbox.install(&tool("nsmap"), "nsmap-for-nobody");
    run(Command::new(&copy).args(args).uid(65_534).gid(65_534))
}

#[test]
fn without_privileges_the_missing_one_is_named() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let set = sandbox.create_set("mntns");
    let set = set.to_str().unwrap();
    let new = sandbox.pin("new");
    let output = as_nobody(&sandbox, &["create", new.to_str().unwrap()]);
    assert!(output.refused(4, "nsmap").contains("CAP_"), "{output:?}");
    for command in [&["list"][..], &["add-self-mntns"], &["clear"], &["delete"]] {
        let args: Vec<&str> = command.iter().chain(&["--map", set]).copied().collect();
        let output = as_nobody(&sandbox, &args);
        assert!(output.refused(4, "nsmap").contains("CAP_"), "{output:?}");
    }
    assert_eq!(sandbox.pins(), ["mnt_ns_set"]);
    // A pid of somebody else, too.
    let output = as_nobody(&sandbox, &["mntnsid", "number", "1"]);
    assert!(output.refused(4, "nsmap").contains("CAP_SYS_PTRACE"), "{output:?}");
}

#[test]
fn a_pin_that_may_be_written_can_be_edited_where_the_kernel_lets_users_call_bpf() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let set = sandbox.pin("shared");
    sandbox.nsmap_ok(["create".as_ref(), "--mode".as_ref(), "0666".as_ref(), set.as_os_str()]);
    fs::set_permissions(sandbox.bpffs(), fs::Permissions::from_mode(0o755)).unwrap();
    let output = as_nobody(&sandbox, &["add-self-mntns", "--map", set.to_str().unwrap()]);
    // Kernels before 5.19 may forbid bpf(2) altogether.
    if output.code() == 0 {
        assert_eq!(keys(&set).len(), 1);
    } else {
        assert!(output.refused(4, "nsmap").contains("CAP_BPF"), "{output:?}");
        assert_eq!(keys(&set), Vec::<u64>::new());
    }
}

#[test]
fn closed_and_full_outputs_are_told_by_the_exit_code() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let set = sandbox.create_set("mntns");
    sandbox.nsmap_ok(["add-self-mntns"]);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut child = sandbox.command("nsmap", ["list"]).stdout(full).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(wait_bounded(&mut child).unwrap().code(), Some(1));
    let mut child = sandbox.command("nsmap", ["list"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(wait_bounded(&mut child).unwrap().code(), Some(0));
    // The map must not become descriptor 1, nor the report go into it.
    for streams in [&[0][..], &[0, 2], &[0, 1, 2]] {
        let output = run(&mut with_closed(streams, &sandbox.command("nsmap", ["add-self-mntns"])));
        assert_eq!(output.code(), 0, "{streams:?}: {output:?}");
        assert_eq!(keys(&set).len(), 1);
        let pin = sandbox.pin("closed");
        let create = ["create".as_ref(), pin.as_os_str()];
        assert_eq!(run(&mut with_closed(streams, &sandbox.command("nsmap", create))).code(), 0);
    }
}
