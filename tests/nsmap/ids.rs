//! The numbers of things, in the two forms of BCC's `cgroupid`.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::common::bpftool::hex;
use crate::common::cgroup::Cgroup;
use crate::common::namespace::MountNamespace;
use crate::common::run::run;
use crate::common::sandbox::Sandbox;
use crate::common::skip::or_skip;
use crate::common::tool;
use crate::nsmap_on;

#[test]
fn the_id_of_a_cgroup_is_printed_as_a_number_or_as_its_bytes() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let group = or_skip!(Cgroup::new());
    let (number, bytes) = (format!("{}\n", group.id()), format!("{}\n", hex(&group.id().to_ne_bytes())));
    assert_eq!(bytes.len(), 8 * 3);
    let link = sandbox.path("link");
    symlink(&group.path, &link).unwrap();
    let slash = group.path.join("");
    let dotted = group.path.join("..").join(group.path.file_name().unwrap());
    for path in [&group.path, &link, &slash, &dotted, &link.join("")] {
        assert_eq!(nsmap_on(&sandbox, &["cgroupid", "number"], path), number, "{}", path.display());
        assert_eq!(nsmap_on(&sandbox, &["cgroupid", "hex"], path), bytes, "{}", path.display());
    }
    let mut relative = sandbox.command("nsmap", ["cgroupid", "number", "."]);
    assert_eq!(run(relative.current_dir(&group.path)).ok(), number);
}

#[test]
fn what_is_no_cgroup_has_no_id_and_is_not_added() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let group = or_skip!(Cgroup::new());
    let pin = sandbox.create_set("cgroup");
    let (file_link, dangling) = (sandbox.path("file-link"), sandbox.path("dangling"));
    symlink(group.procs(), &file_link).unwrap();
    symlink("/nope", &dangling).unwrap();
    let wrong = vec![
        (group.procs(), 6),
        (file_link, 6),
        (Path::new("/etc").to_owned(), 6),
        (Path::new("/etc/passwd").to_owned(), 6),
        (sandbox.bpffs().to_owned(), 6),
        (dangling, 3),
        (group.path.join("nope"), 3),
        (Path::new("/nope").to_owned(), 3),
        (or_skip!(sandbox.cgroup1()), 6),
    ];
    for (path, code) in wrong {
        for command in [&["cgroupid", "number"][..], &["cgroupid", "hex"], &["add-cgroup"]] {
            let output = sandbox.nsmap(command.iter().map(std::ffi::OsStr::new).chain([path.as_os_str()]));
            let line = output.refused(code, "nsmap");
            assert!(line.contains(path.to_str().unwrap()), "{line}");
        }
    }
    assert_eq!(crate::keys(&pin), Vec::<u64>::new());
}

#[test]
fn the_id_of_a_cgroup_needs_no_privileges() {
    use std::os::unix::process::CommandExt;
    let sandbox = or_skip!(Sandbox::for_sets());
    let group = or_skip!(Cgroup::new());
    let copy = sandbox.install(&tool("nsmap"), "nsmap");
    let output =
        run(Command::new(&copy).args(["cgroupid", "number"]).arg(&group.path).uid(65_534).gid(65_534));
    assert_eq!(output.ok(), format!("{}\n", group.id()));
}

#[test]
fn the_number_of_a_mount_namespace_is_that_of_its_file() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let shell = MountNamespace::new();
    let (number, bytes) = (format!("{}\n", shell.inode), format!("{}\n", hex(&shell.inode.to_ne_bytes())));
    assert_eq!(shell.run(|| sandbox.nsmap_ok(["mntnsid", "number"])), number);
    assert_eq!(shell.run(|| sandbox.nsmap_ok(["mntnsid", "hex"])), bytes);
    let here = MountNamespace::here();
    assert_ne!(shell.inode, here.inode);
    // Of another process: of this one, whose main thread has stayed where it was started.
    let own = std::process::id().to_string();
    let link = std::fs::read_link(format!("/proc/{own}/ns/mnt")).unwrap();
    let number = sandbox.nsmap_ok(["mntnsid", "number", &own]);
    assert_eq!(format!("mnt:[{}]", number.trim()), link.to_str().unwrap());
    sandbox.nsmap(["mntnsid", "number", "4194304"]).refused(3, "nsmap");
}

#[test]
fn a_tracer_and_a_shell_agree_on_the_number() {
    let sandbox = or_skip!(Sandbox::for_sets());
    let shell = MountNamespace::new();
    let link = shell.run(|| std::fs::read_link("/proc/thread-self/ns/mnt").unwrap());
    let number = shell.run(|| sandbox.nsmap_ok(["mntnsid", "number"]));
    assert_eq!(link.to_str().unwrap(), format!("mnt:[{}]", number.trim()));
}
