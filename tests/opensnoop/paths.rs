//! Names as given, and with `-F` the path from the root of the process.

use std::fs::{self, File};
use std::os::fd::AsFd;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, chroot};
use serde_json::Value;

use crate::common::namespace::MountNamespace;
use crate::common::sandbox::Sandbox;
use crate::common::skip::or_skip;
use crate::{events_of, hooks, opensnoop};

/// A sandbox with `etc/hostname`, `srv/par` and a link to `etc`, which the calling thread works in `srv/par` of.
fn scene() -> Result<(Sandbox, String), crate::common::skip::Skip> {
    let sandbox = Sandbox::new()?;
    for dir in ["etc", "srv/par"] {
        fs::create_dir_all(sandbox.path(dir)).unwrap();
    }
    fs::write(sandbox.path("etc/hostname"), "x").unwrap();
    std::os::unix::fs::symlink(sandbox.path("etc"), sandbox.path("link")).unwrap();
    // Only this thread's, as the sandbox has given it a file system context of its own.
    chdir(&sandbox.path("srv/par")).unwrap();
    let dir = sandbox.path("").canonicalize().unwrap().display().to_string();
    Ok((sandbox, dir))
}

/// `[name, path, exact]` of the calling thread's events but the last ones that end the run.
fn resolved(events: &[Value]) -> Vec<(String, Option<String>, bool)> {
    let tid = nix::unistd::gettid().as_raw();
    let of = |event: &Value| {
        let text = |key: &str| event[key].as_str().map(str::to_owned);
        (text("name").unwrap(), text("path"), event["path_exact"].as_bool().unwrap())
    };
    events.iter().filter(|event| event["tid"] == tid).map(of).collect()
}

fn open_in(dir: impl AsFd, name: &str) {
    let _ = openat(dir, name, OFlag::O_RDONLY, Mode::empty());
}

#[test]
fn a_path_honours_the_directory_descriptor_and_is_normalised() {
    let (sandbox, dir) = or_skip!(scene());
    let etc = File::open(sandbox.path("etc")).unwrap();
    for hook in hooks(&sandbox) {
        let events = events_of(&sandbox, &["-F", "--hook", hook], || {
            open_in(&etc, "hostname");
            open_in(&etc, "nope");
            open_in(&etc, "./x/../../srv//nope");
            let _ = File::open("../../etc/./hostname");
            let _ = File::open("../nope");
            let _ = File::open("../../link/hostname");
            let _ = File::open(format!("{dir}/etc/../etc/nope"));
            let _ = File::open("/../../../");
            let _ = File::open("/nope/..");
        });
        let row = |name: &str, path: &str, exact| (name.to_owned(), Some(path.to_owned()), exact);
        let expected = [
            row("hostname", &format!("{dir}/etc/hostname"), true),
            row("nope", &format!("{dir}/etc/nope"), false),
            row("./x/../../srv//nope", &format!("{dir}/srv/nope"), false),
            row("../../etc/./hostname", &format!("{dir}/etc/hostname"), true),
            row("../nope", &format!("{dir}/srv/nope"), false),
            row("../../link/hostname", &format!("{dir}/etc/hostname"), true),
            row(&format!("{dir}/etc/../etc/nope"), &format!("{dir}/etc/nope"), false),
            row("/../../../", "/", true),
            row("/nope/..", "/", false),
        ];
        assert_eq!(resolved(&events), expected, "{hook}");
    }
}

#[test]
fn a_path_starts_at_the_root_of_the_process_and_not_of_the_host() {
    let (sandbox, _) = or_skip!(scene());
    for hook in hooks(&sandbox) {
        let tracer = opensnoop(&sandbox, ["-F", "--json", "--hook", hook]);
        std::thread::scope(|scope| {
            let in_chroot = scope.spawn(|| {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).unwrap();
                chroot(&sandbox.path("")).unwrap();
                chdir("/srv").unwrap();
                let _ = File::open("../etc/hostname");
                let _ = File::open("par/chrooted-nope");
                nix::unistd::gettid().as_raw()
            });
            let tid = in_chroot.join().unwrap();
            tracer.wait_word("chrooted-nope");
            let events = tracer.stop().quiet().events();
            let paths: Vec<&str> = events
                .iter()
                .filter(|event| event["tid"] == tid)
                .map(|event| event["path"].as_str().unwrap())
                .collect();
            assert_eq!(paths, ["/etc/hostname", "/srv/par/chrooted-nope"], "{hook}");
        });
    }
}

#[test]
fn a_path_crosses_the_mounts_of_the_process() {
    let (sandbox, dir) = or_skip!(scene());
    let shell = MountNamespace::new();
    let events = events_of(&sandbox, &["-F"], || {
        shell.run(|| {
            let flags = nix::mount::MsFlags::empty();
            nix::mount::mount(Some("t"), &sandbox.path("srv"), Some("tmpfs"), flags, None::<&str>).unwrap();
            fs::create_dir(sandbox.path("srv/inside")).unwrap();
            fs::write(sandbox.path("srv/inside/file"), "x").unwrap();
        });
    });
    let paths: Vec<&str> = events.iter().filter_map(|event| event["path"].as_str()).collect();
    assert!(paths.contains(&format!("{dir}/srv/inside/file").as_str()), "{paths:?}");
}

#[test]
fn a_path_is_whole_however_many_components_it_has_and_up_to_the_greatest_length() {
    let (sandbox, dir) = or_skip!(scene());
    // The kernel takes names of up to 4095 bytes; of a path, so many bytes and so many components.
    let long = "x".repeat(255);
    let longest = (4095 - dir.len() - "/srv/file".len()) / 256;
    for (name, depth) in [("d", (4095 - dir.len() - "/srv/file".len()) / 2), (long.as_str(), longest)] {
        chdir(&sandbox.path("srv")).unwrap();
        for _ in 0..depth {
            if fs::create_dir(name).is_ok() {
                chdir(name).unwrap();
            }
        }
        fs::write("file", "").unwrap();
        for hook in hooks(&sandbox) {
            let events = events_of(&sandbox, &["-F", "--hook", hook], || {
                let _ = File::open("file");
                let _ = File::open("nope");
            });
            let base = format!("{dir}/srv{}", format!("/{name}").repeat(depth));
            let expected = ["file", "nope"].map(|file| Some(format!("{base}/{file}")));
            let paths: Vec<_> = resolved(&events).into_iter().map(|(_, path, _)| path).collect();
            assert_eq!(paths, expected, "{hook} {depth}");
            assert!(events.iter().all(|event| event["path_cut"] != true), "{hook}");
        }
    }
}

#[test]
fn what_a_name_is_relative_to_may_be_unknown_and_then_the_path_says_so() {
    let (sandbox, _) = or_skip!(scene());
    let tracer = opensnoop(&sandbox, ["-F"]);
    // A descriptor that is closed.
    let gone = File::open("/").unwrap().as_fd().try_clone_to_owned().unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&gone);
    drop(gone);
    let unused = number + 1000;
    let _ = std::process::Command::new("/bin/sh")
        .args(["-c", &format!("true < /proc/self/fd/{unused}")])
        .status();
    let _ = File::open("relative-nope");
    let row = tracer.wait_line("row", |row| row.contains("relative-nope"));
    assert!(row.ends_with("/srv/par/relative-nope"), "{row}");
    tracer.stop().quiet();
}

#[test]
fn a_name_that_would_drive_the_terminal_is_escaped_and_comes_back_from_json() {
    use std::os::unix::ffi::OsStrExt;
    let sandbox = or_skip!(Sandbox::new());
    let tracer = opensnoop(&sandbox, ["-x", "--path-prefix", "/evil"]);
    let _ = File::open(std::ffi::OsStr::from_bytes(b"/evil\x1b[31m\n\xff"));
    let row = tracer.wait_line("row", |row| row.contains("/evil"));
    assert!(row.ends_with(r"/evil\x1b[31m\n\xff"), "{row}");
    tracer.stop().quiet();
    let tracer = opensnoop(&sandbox, ["--json", "--path-prefix", "/evil"]);
    let _ = File::open(std::ffi::OsStr::from_bytes(b"/evil\x1b[31m\n\xff"));
    tracer.wait_word("/evil");
    let finished = tracer.stop().quiet();
    assert_eq!(finished.events()[0]["name_hex"], "2f6576696c1b5b33316d0aff");
}
