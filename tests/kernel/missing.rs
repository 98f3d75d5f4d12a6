//! Kernels that lack something, and limits: what still works, and what is said where it does not.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::commands;
use crate::common::program::find;
use crate::common::run::run;
use crate::common::sandbox::Sandbox;
use crate::common::skip::{Skip, or_skip, skip};
use crate::common::tracer::Tracer;

/// Hides what is at `path` in this mount namespace, if there is anything.
fn hide(path: &str) {
    if Path::new(path).is_dir() {
        mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    }
}

#[test]
fn a_kernel_without_type_information_is_named_as_the_reason() {
    let sandbox = or_skip!(Sandbox::for_sets());
    hide("/sys/kernel/btf");
    for (tracer, options) in commands() {
        let output = run(&mut sandbox.command(tracer, options));
        let line = output.refused(1, tracer);
        assert!(line.contains("/sys/kernel/btf/vmlinux") && line.contains("CONFIG_DEBUG_INFO_BTF"), "{line}");
    }
    // Sets need no types of the kernel.
    sandbox.create_set("mntns");
}

#[test]
fn tracers_run_where_no_tracefs_is_mounted_and_mount_none_that_others_see() {
    let sandbox = or_skip!(Sandbox::new());
    hide("/sys/kernel/debug");
    while umount2("/sys/kernel/tracing", MntFlags::MNT_DETACH).is_ok() {}
    let before = crate::common::sandbox::mounts();
    for (tracer, options) in commands() {
        let running = Tracer::start(sandbox.command(tracer, options));
        assert_eq!(crate::common::sandbox::mounts(), before);
        running.stop();
    }
}

/// Runs a tool with 64 KiB of locked memory, which it may or may not raise.
fn limited(command: &Command, may_raise: bool) -> Result<Command, Skip> {
    let setpriv = Path::new("/usr/bin/setpriv");
    if !setpriv.is_file() {
        return Err(Skip::NoPeer("setpriv"));
    }
    let set = if may_raise { "+sys_resource" } else { "-sys_resource" };
    let mut limited = Command::new(find("sh"));
    limited.args(["-c", r#"ulimit -l 64 && exec "$@""#, "sh"]).arg(setpriv);
    limited.args(["--bounding-set", set]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        limited.env(name, value.unwrap());
    }
    Ok(limited)
}

#[test]
fn the_limit_on_locked_memory_is_raised_where_the_kernel_counts_maps() {
    let sandbox = or_skip!(Sandbox::new());
    for (tracer, options) in commands() {
        Tracer::start(or_skip!(limited(&sandbox.command(tracer, options), true))).stop().quiet();
    }
    let create = sandbox.command("nsmap", ["create", sandbox.pin("set").to_str().unwrap()]);
    run(&mut or_skip!(limited(&create, true))).ok();
}

/// Linux counts maps as locked memory up to 5.10: the only kernel of the table that does.
#[test]
fn the_limit_on_locked_memory_is_named_where_it_stands_in_the_way() {
    let sandbox = or_skip!(Sandbox::new());
    let counts = std::env::var("TEST_KERNEL").is_ok_and(|name| name == "5.10");
    for (tracer, options) in commands() {
        let command = or_skip!(limited(&sandbox.command(tracer, &options), false));
        if counts {
            let mut command = command;
            let output = run(&mut command);
            let line = output.refused(1, tracer);
            assert!(line.contains("64 KiB") && line.contains("ulimit -l"), "{line}");
        } else {
            Tracer::start(command).stop();
        }
    }
}

/// Runs a tool as a user with two capabilities and no more.
fn with_two_capabilities(sandbox: &Sandbox, tool: &str, options: &[&str]) -> Result<Command, Skip> {
    let setpriv = Path::new("/usr/bin/setpriv");
    if !setpriv.is_file() {
        return Err(Skip::NoPeer("setpriv"));
    }
    let copy = sandbox.install(&crate::common::tool(tool), tool);
    let mut command = Command::new(setpriv);
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.args(["--inh-caps", "-all,+bpf,+perfmon", "--ambient-caps", "-all,+bpf,+perfmon"]);
    command.arg(copy).args(options);
    Ok(command)
}

#[test]
fn a_user_with_the_two_capabilities_of_tracing_can_trace() {
    let sandbox = or_skip!(Sandbox::new());
    // Without CAP_SYS_RESOURCE the limit stays, and before 5.11 it matters.
    let counts = std::env::var("TEST_KERNEL").is_ok_and(|name| name == "5.10");
    let mut command = or_skip!(with_two_capabilities(&sandbox, "execsnoop", &[]));
    if counts {
        let output = run(&mut command);
        let line = output.refused(1, "execsnoop");
        assert!(line.contains("ulimit -l"), "{line}");
    } else {
        Tracer::start(command).stop().quiet();
    }
}

/// What the other tests expect of a kernel goes by that name.
#[test]
fn a_guest_runs_the_kernel_that_its_name_says() {
    let Ok(name) = std::env::var("TEST_KERNEL") else { return skip(&Skip::NotInGuest) };
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert!(release.starts_with(name.rsplit('-').next().unwrap()), "{name} is {release}");
}
