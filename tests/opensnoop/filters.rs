//! Who and what is shown: sets that are edited while opensnoop runs, and the filters of its own. All of them work in the
//! kernel, on each hook.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::gettid;

use crate::common::cgroup::Cgroup;
use crate::common::container::Container;
use crate::common::emulated;
use crate::common::namespace::MountNamespace;
use crate::common::program::{find, in_cgroup};
use crate::common::run::{run_ok, wait_bounded};
use crate::common::sandbox::Sandbox;
use crate::common::skip::or_skip;
use crate::common::tracer::Finished;
use crate::{drain, hooks, opensnoop, own};

fn touch(sandbox: &Sandbox, name: &str) {
    let _ = File::open(sandbox.path(name));
}

/// The names in the sandbox that are shown, without their directory.
fn shown(finished: &Finished, sandbox: &Sandbox) -> Vec<String> {
    let dir = sandbox.path("").display().to_string();
    finished.rows().iter().filter_map(|row| Some(row.split_once(&dir)?.1.to_owned())).collect()
}

#[test]
fn only_what_is_in_the_set_is_shown_and_each_edit_counts_at_once() {
    let sandbox = or_skip!(Sandbox::new());
    let set = sandbox.create_set("mntns");
    let (shell, other) = (MountNamespace::new(), MountNamespace::new());
    for hook in hooks(&sandbox) {
        let args = ["--hook".into(), hook.into(), "--mntnsmap".into(), set.clone().into_os_string()];
        let tracer = opensnoop(&sandbox, args.iter().chain(&own(&sandbox)));
        shell.run(|| touch(&sandbox, "before"));
        sandbox.nsmap_ok(["add-mntns", &shell.inode.to_string()]);
        shell.run(|| touch(&sandbox, "one"));
        other.run(|| touch(&sandbox, "other"));
        touch(&sandbox, "outside");
        sandbox.nsmap_ok(["remove-mntns", &shell.inode.to_string()]);
        shell.run(|| touch(&sandbox, "removed"));
        sandbox.nsmap_ok(["add-mntns", &shell.inode.to_string()]);
        shell.run(|| touch(&sandbox, "two"));
        tracer.wait_word("two");
        assert_eq!(shown(&tracer.stop().quiet(), &sandbox), ["one", "two"], "{hook}");
        sandbox.nsmap_ok(["remove-mntns", &shell.inode.to_string()]);
    }
}

#[test]
fn a_cgroup_in_the_set_is_shown_and_no_other() {
    let sandbox = or_skip!(Sandbox::new());
    let cgroup = or_skip!(Cgroup::new());
    let set = sandbox.create_set("cgroup");
    let read = |name: &str| format!("true < {}", sandbox.path(name).display());
    for hook in hooks(&sandbox) {
        sandbox.nsmap_ok([Path::new("add-cgroup"), &cgroup.path]);
        let args = ["--hook".into(), hook.into(), "--cgroupmap".into(), set.clone().into_os_string()];
        let tracer = opensnoop(&sandbox, args.iter().chain(&own(&sandbox)));
        let sh = find("sh").display().to_string();
        touch(&sandbox, "outside");
        let _ = in_cgroup(&cgroup, &sh).args(["-c", &read("inside")]).status();
        sandbox.nsmap_ok([Path::new("remove-cgroup"), &cgroup.path]);
        let _ = in_cgroup(&cgroup, &sh).args(["-c", &read("removed")]).status();
        sandbox.nsmap_ok([Path::new("add-cgroup"), &cgroup.path]);
        let _ = in_cgroup(&cgroup, &sh).args(["-c", &read("last")]).status();
        tracer.wait_word("last");
        assert_eq!(shown(&tracer.stop(), &sandbox), ["inside", "last"], "{hook}");
    }
}

#[test]
fn a_container_is_shown_beside_the_host_while_it_is_in_both_sets() {
    const OPENS: usize = 17;
    let sandbox = or_skip!(Sandbox::new());
    let container = or_skip!(Container::new());
    let sets = ["mntns", "cgroup"].map(|kind| sandbox.create_set(kind));
    let file = sandbox.path("inside").display().to_string();
    let mut part = Command::new(find("sh"));
    part.args(["-c", &format!("for i in $(seq {OPENS}); do true < {file}; done 2>/dev/null; true")]);
    for hook in hooks(&sandbox) {
        let [mntns, cgroup] = sets.each_ref().map(|set| set.to_str().unwrap());
        let args = ["--hook", hook, "--mntnsmap", mntns, "--cgroupmap", cgroup, "--json"].map(OsString::from);
        let tracer = opensnoop(&sandbox, args.iter().chain(&own(&sandbox)));
        let done = AtomicBool::new(false);
        let pids = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    touch(&sandbox, "host");
                }
            });
            let pids = container.come_and_go(&sandbox, |_| {
                let (mut inside, mut half) = (container.spawn(&part), container.spawn_in_cgroup(&part));
                container.namespace.run(|| touch(&sandbox, "half"));
                for child in [&mut inside, &mut half] {
                    assert!(wait_bounded(child).is_some_and(|status| status.success()));
                }
                inside.id()
            });
            done.store(true, Ordering::Relaxed);
            pids
        });
        let finished = tracer.stop();
        let told = finished.records().last().unwrap()["lost"].as_u64().unwrap();
        assert!(told == 0 || emulated(), "{hook}");
        let events = finished.events();
        let of = |pid: &u32| events.iter().filter(|event| event["pid"] == *pid).count();
        let missing: usize = pids.iter().map(|pid| OPENS.checked_sub(of(pid)).unwrap()).sum();
        assert!(u64::try_from(missing).unwrap() <= told, "{hook}: {missing} missing, {told} told");
        assert_eq!(events.len() + missing, OPENS * pids.len(), "{hook}: {events:#?}");
        let ids = (container.namespace.inode, container.cgroup.id());
        assert!(events.iter().all(|event| event["mntns"] == ids.0 && event["cgroup_id"] == ids.1), "{hook}");
    }
}

/// Starts opensnoop with these filters, lets `work` happen, then opens `last`, which the filters must let through.
#[track_caller]
fn names(sandbox: &Sandbox, args: &[&str], work: impl Fn()) -> Vec<String> {
    let mut seen: Vec<Vec<String>> = Vec::new();
    for hook in hooks(sandbox) {
        let args = args.iter().map(OsString::from).chain(own(sandbox)).chain(["--hook".into(), hook.into()]);
        let tracer = opensnoop(sandbox, args);
        work();
        tracer.wait_word("last");
        seen.push(shown(&tracer.stop().quiet(), sandbox));
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "the hooks disagree: {seen:?}");
    seen.remove(0)
}

#[test]
fn pid_and_tid_select_a_process_and_a_thread() {
    let sandbox = or_skip!(Sandbox::new());
    let elsewhere = || {
        std::thread::scope(|scope| drop(scope.spawn(|| touch(&sandbox, "thread")).join()));
        let script = format!("true < {}", sandbox.path("process").display());
        let _ = Command::new("/bin/sh").args(["-c", &script]).status();
        touch(&sandbox, "last");
    };
    let pid = std::process::id().to_string();
    assert_eq!(names(&sandbox, &["-p", &pid], elsewhere), ["thread", "last"]);
    let tid = gettid().to_string();
    assert_eq!(names(&sandbox, &["-t", &tid], elsewhere), ["last"]);
    assert_eq!(names(&sandbox, &["-t", &tid, "-p", &pid], elsewhere), ["last"]);
}

#[test]
fn zero_is_a_user() {
    let sandbox = or_skip!(Sandbox::new());
    assert_eq!(names(&sandbox, &["-u", "0"], || touch(&sandbox, "last")), ["last"]);
    let tracer = opensnoop(&sandbox, ["-u", "4294967294"].map(OsString::from).iter().chain(&own(&sandbox)));
    touch(&sandbox, "of root");
    // Its own end is the only thing to wait for.
    assert!(tracer.stop().quiet().rows().is_empty());
}

#[test]
fn failed_leaves_out_what_succeeded() {
    let sandbox = or_skip!(Sandbox::new());
    fs::write(sandbox.path("there"), "").unwrap();
    let work = || ["there", "missing", "there", "last"].iter().for_each(|name| touch(&sandbox, name));
    assert_eq!(names(&sandbox, &["-x"], work), ["missing", "last"]);
    assert_eq!(names(&sandbox, &["--failed"], work), ["missing", "last"]);
}

#[test]
fn one_of_the_flags_is_enough_and_read_only_is_one() {
    let sandbox = or_skip!(Sandbox::new());
    let open = |name: &str, options: &mut OpenOptions| drop(options.open(sandbox.path(name)));
    let work = || {
        open("read", OpenOptions::new().read(true));
        open("write", OpenOptions::new().write(true));
        open("both", OpenOptions::new().read(true).write(true));
        open("create", OpenOptions::new().append(true).create(true));
        open("truncate", OpenOptions::new().write(true).truncate(true));
    };
    let with = |last: &'static str, options: fn(&mut OpenOptions) -> &mut OpenOptions| {
        move || {
            work();
            open(last, options(&mut OpenOptions::new()));
        }
    };
    let read = with("last", |options| options.read(true));
    let write = with("last", |options| options.write(true));
    let truncate = with("last", |options| options.write(true).truncate(true));
    assert_eq!(names(&sandbox, &["-f", "O_RDONLY"], read), ["read", "last"]);
    assert_eq!(names(&sandbox, &["-f", "O_WRONLY"], write), ["write", "create", "truncate", "last"]);
    let both = ["-f", "O_TRUNC", "--flag_filter", "O_RDWR"];
    assert_eq!(names(&sandbox, &both, truncate), ["both", "truncate", "last"]);
    assert_eq!(names(&sandbox, &["-f", "O_CLOEXEC", "-f", "O_APPEND"], read).len(), 6);
}

#[test]
fn a_name_is_looked_for_in_the_middle_of_comm_and_one_that_nobody_has_is_no_error() {
    let sandbox = or_skip!(Sandbox::new());
    let named = |name: &str, open: &str| {
        let thread = std::thread::Builder::new().name(name.to_owned());
        std::thread::scope(|scope| {
            drop(thread.spawn_scoped(scope, || touch(&sandbox, open)).unwrap().join());
        });
    };
    let work = || {
        named("needle", "alone");
        named("a-needle-b", "middle");
        named("nine-of-needle", "at the end");
        named("needl", "almost");
        named("Needle", "case");
        named("needle", "last");
    };
    assert_eq!(names(&sandbox, &["-n", "needle"], work), ["alone", "middle", "at the end", "last"]);
    let tracer = opensnoop(&sandbox, ["-n", "nosuch", "-d", "0.3"]);
    touch(&sandbox, "of nobody");
    assert!(tracer.finish().quiet().rows().is_empty());
}

#[test]
fn a_path_prefix_is_compared_to_its_last_byte() {
    let sandbox = or_skip!(Sandbox::new());
    let deep = format!("{}/x", "d".repeat(150));
    for prefix in ["a", "abcdefgh", "abcdefghi", &deep] {
        let option = sandbox.path(prefix).display().to_string();
        for hook in hooks(&sandbox) {
            let tracer = opensnoop(&sandbox, ["--path-prefix", &option, "--hook", hook]);
            for name in [prefix, &prefix[..prefix.len() - 1], &format!("{}_", &prefix[..prefix.len() - 1])] {
                touch(&sandbox, name);
            }
            touch(&sandbox, &format!("{prefix}-last"));
            tracer.wait_word("-last");
            let finished = tracer.stop().quiet();
            assert_eq!(shown(&finished, &sandbox), [prefix.to_owned(), format!("{prefix}-last")], "{hook}");
        }
    }
}

#[test]
fn with_full_paths_the_prefix_is_compared_with_the_path_and_not_with_the_name() {
    let sandbox = or_skip!(Sandbox::new());
    for dir in ["wanted", "other"] {
        fs::create_dir(sandbox.path(dir)).unwrap();
        fs::write(sandbox.path(dir).join("file"), "").unwrap();
    }
    std::os::unix::fs::symlink(sandbox.path("wanted"), sandbox.path("link")).unwrap();
    let wanted = sandbox.path("wanted").canonicalize().unwrap().join("");
    for hook in hooks(&sandbox) {
        let args = ["-F", "--hook", hook, "--path-prefix"].map(OsString::from);
        let tracer = opensnoop(&sandbox, args.iter().chain([&wanted.clone().into_os_string()]));
        let dir = File::open(sandbox.path("wanted")).unwrap();
        drop(nix::fcntl::openat(&dir, "file", OFlag::O_RDONLY, Mode::empty()).unwrap());
        touch(&sandbox, "link/file");
        touch(&sandbox, "other/file");
        touch(&sandbox, "wanted/../other/file");
        touch(&sandbox, "other/../wanted/last");
        tracer.wait_word("last");
        let finished = tracer.stop().quiet();
        let paths: Vec<&str> = finished.rows().iter().map(|row| row.rsplit(' ').next().unwrap()).collect();
        let expected = ["file", "file", "last"].map(|name| wanted.join(name).display().to_string());
        assert_eq!(paths, expected, "{hook}");
    }
}

#[test]
fn a_command_is_traced_from_its_first_instruction_with_its_descendants_and_nothing_else() {
    let sandbox = or_skip!(Sandbox::new());
    let file = |name: &str| sandbox.path(name).display().to_string();
    let (one, two, three) = (file("one"), file("two"), file("three"));
    let script = format!("true < {one}; sh -c 'true < {two}; (sh -c \"true < {three}\")'; exit 3");
    for hook in hooks(&sandbox) {
        // The loader of the command is its first instruction's work: it opens libraries, or a static sh nothing.
        let args = ["--hook", hook, "-x", "--exec", "sh", "-c", &script];
        let tracer = opensnoop(&sandbox, args);
        let finished = tracer.finish();
        assert_eq!(shown(&finished, &sandbox), ["one", "two", "three"], "{hook}");
    }
    // Standard output is for JSON only.
    let script = format!("grep SigBlk: /proc/self/status | tr -d '\t'; true < {one}");
    let tracer = opensnoop(&sandbox, ["-x", "--json", "--exec", "sh", "-c", &script]);
    let finished = tracer.finish();
    assert_eq!(finished.events().last().unwrap()["name"], one.as_str());
    // It may be interrupted, and learns of its children, as anywhere else.
    let blocked = fs::read_to_string("/proc/thread-self/status").unwrap();
    let blocked = blocked.lines().find(|line| line.starts_with("SigBlk:")).unwrap();
    assert_eq!(finished.stderr.first(), Some(&blocked.replace('\t', "")));
    let missing = crate::run(&mut sandbox.command("opensnoop", ["--exec", "/nope/nope"]));
    assert!(missing.refused(1, "opensnoop").contains("/nope/nope"));
    let with_pid = crate::run(&mut sandbox.command("opensnoop", ["-p", "1", "--exec", "true"]));
    with_pid.refused(2, "opensnoop");
}

#[test]
fn an_event_of_everything_at_once_is_found() {
    let sandbox = or_skip!(Sandbox::new());
    let pid = std::process::id().to_string();
    let work = || {
        fs::write(sandbox.path("created"), "").unwrap();
        touch(&sandbox, "last");
    };
    let args = ["-x", "-u", "0", "-p", &pid, "-f", "O_RDONLY", "-F", "-e", "-U", "-T"];
    assert_eq!(names(&sandbox, &args, work), ["last"]);
    let tracer = opensnoop(&sandbox, args);
    let finished = drain(&sandbox, tracer);
    run_ok(&mut Command::new(find("true")));
    assert!(finished.stdout[0].starts_with("TIME(s)"), "{finished:?}");
}
