//! How a run does not begin: one clear line, the right exit code, nothing created, nothing mounted.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;

use crate::common::cgroup::Cgroup;
use crate::common::nsmap::with_closed;
use crate::common::odd_pins::{self, pin_map, pin_program};
use crate::common::run::run;
use crate::common::sandbox::{Sandbox, mounts};
use crate::common::skip::or_skip;
use crate::common::tool;

/// Expects that `execsnoop ARGS` is refused with exit code 1, and changes neither pins nor mounts. Gives its line.
#[track_caller]
fn refused<A: AsRef<OsStr>>(sandbox: &Sandbox, args: impl IntoIterator<Item = A>) -> String {
    let before = (sandbox.pins(), mounts());
    let output = run(&mut sandbox.command("execsnoop", args));
    assert_eq!((sandbox.pins(), mounts()), before, "something was left behind");
    output.refused(1, "execsnoop").to_owned()
}

#[track_caller]
fn refused_set(sandbox: &Sandbox, option: &str, path: &Path) -> String {
    let line = refused(sandbox, [OsStr::new(option), path.as_os_str()]);
    assert!(line.contains(path.to_str().unwrap()), "the line does not name the path: {line}");
    line
}

#[test]
fn a_set_that_is_not_there_is_refused_with_the_command_that_makes_it() {
    let sandbox = or_skip!(Sandbox::new());
    for (option, create) in [("--mntnsmap", "nsmap create "), ("--cgroupmap", "nsmap create --kind cgroup ")]
    {
        let path = sandbox.pin("nope");
        let line = refused_set(&sandbox, option, &path);
        assert!(
            line.contains("not found") && line.contains(&format!("{create}{}", path.display())),
            "{line}"
        );
        refused_set(&sandbox, option, &sandbox.path("nope"));
        refused_set(&sandbox, option, &sandbox.path("no/such/directory"));
    }
    assert!(!sandbox.path("no").exists());
    run(&mut sandbox.command("execsnoop", ["--mntnsmap", ""])).refused(2, "execsnoop");
}

#[test]
fn what_is_no_set_is_refused_as_one() {
    let sandbox = or_skip!(Sandbox::new());
    let file = sandbox.path("file");
    fs::write(&file, "precious").unwrap();
    let (program, array, narrow) = (sandbox.pin("program"), sandbox.pin("array"), sandbox.pin("narrow"));
    pin_program(&program);
    pin_map(&array, odd_pins::ARRAY, 4, 8);
    pin_map(&narrow, odd_pins::HASH, 4, 4);
    let wide = sandbox.pin("wide");
    pin_map(&wide, odd_pins::HASH, 16, 4);
    let lru = sandbox.pin("lru");
    pin_map(&lru, odd_pins::LRU_HASH, 8, 4);
    for option in ["--mntnsmap", "--cgroupmap"] {
        refused_set(&sandbox, option, &file);
        refused_set(&sandbox, option, &sandbox.path(""));
        refused_set(&sandbox, option, sandbox.bpffs());
        let line = refused_set(&sandbox, option, &program);
        assert!(line.contains("program"), "{line}");
        let line = refused_set(&sandbox, option, &array);
        assert!(line.contains("array"), "{line}");
        let line = refused_set(&sandbox, option, &narrow);
        assert!(line.contains("key 4") && line.contains("key 8"), "found and expected: {line}");
        let line = refused_set(&sandbox, option, &wide);
        assert!(line.contains("key 16"), "{line}");
        refused_set(&sandbox, option, &lru);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn a_set_of_the_other_kind_is_refused() {
    let sandbox = or_skip!(Sandbox::new());
    let (namespaces, groups) = (sandbox.create_set("mntns"), sandbox.create_set("cgroup"));
    let line = refused_set(&sandbox, "--mntnsmap", &groups);
    assert!(line.contains("mntns") && line.contains("cgroup"), "{line}");
    let line = refused_set(&sandbox, "--cgroupmap", &namespaces);
    assert!(line.contains("mntns") && line.contains("cgroup"), "{line}");
    // One good set does not excuse the other one.
    refused(
        &sandbox,
        ["--mntnsmap".as_ref(), namespaces.as_os_str(), "--cgroupmap".as_ref(), namespaces.as_os_str()],
    );
}

#[test]
fn what_is_no_cgroup_is_refused_as_one() {
    let sandbox = or_skip!(Sandbox::new());
    let group = or_skip!(Cgroup::new());
    for path in ["/nope", "/etc", "/etc/passwd"] {
        for option in ["-c", "--cgroup"] {
            refused(&sandbox, [option, path]);
        }
    }
    refused_set(&sandbox, "--cgroup", &group.procs());
    refused_set(&sandbox, "--cgroup", &or_skip!(sandbox.cgroup1()));
    let dangling = sandbox.path("dangling");
    std::os::unix::fs::symlink("/nope", &dangling).unwrap();
    refused_set(&sandbox, "--cgroup", &dangling);
}

#[test]
fn a_user_without_privileges_is_told_which_are_missing() {
    let sandbox = or_skip!(Sandbox::new());
    // The build directory may be closed to others.
    let copy = sandbox.install(&tool("execsnoop"), "execsnoop");
    for args in [&[][..], &["--json"], &["-x"]] {
        let output = run(std::process::Command::new(&copy).args(args).uid(65_534).gid(65_534));
        let line = output.refused(1, "execsnoop");
        assert!(line.contains("CAP_BPF") && line.contains("CAP_PERFMON"), "{line}");
    }
    // Nor can a set be opened, and that is no reason to go on without.
    let set = sandbox.create_set("mntns");
    fs::set_permissions(sandbox.bpffs(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = std::process::Command::new(&copy);
    let output = run(command.arg("--mntnsmap").arg(&set).uid(65_534).gid(65_534));
    output.refused(1, "execsnoop");
}

#[test]
fn a_kernel_without_btf_is_said_to_be_one() {
    let sandbox = or_skip!(Sandbox::for_sets());
    for file in ["/dev/null", "/etc/passwd", "/nope"] {
        let mut command = sandbox.command("execsnoop", [""; 0]);
        let output = run(command.env("NSMAP_BTF", file));
        let line = output.refused(1, "execsnoop");
        assert!(line.contains(file) && line.contains("BTF"), "{line}");
    }
}

#[test]
fn refusals_have_their_exit_code_also_when_nobody_can_read_them() {
    let sandbox = or_skip!(Sandbox::new());
    let nope = sandbox.pin("nope");
    let command = sandbox.command("execsnoop", ["--mntnsmap".as_ref(), nope.as_os_str()]);
    for streams in [&[2][..], &[0, 1, 2]] {
        assert_eq!(run(&mut with_closed(streams, &command)).code(), 1);
    }
}
