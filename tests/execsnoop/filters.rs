//! Who is shown: sets of mount namespaces and cgroups, edited while execsnoop runs, and the smaller filters.
//!
//! The order of events is the order in which they happened, so that when the last one is out, what was filtered is known.

use std::process::Command;

use loader::map::{Access, Map, UpdateMode};

use crate::common::bpftool::{Bpftool, hex};
use crate::common::cgroup::Cgroup;
use crate::common::namespace::MountNamespace;
use crate::common::program::{find, in_cgroup, run_true, run_true_in, true_path};
use crate::common::run::run_ok;
use crate::common::sandbox::Sandbox;
use crate::common::skip::{Skip, or_skip, skip};
use crate::common::tracer::{Finished, Tracer};
use crate::common::{tag, tool};
use crate::{args_column, execsnoop};

/// Executes `true` with one word.
fn say(word: &str) {
    run_true([word]);
}

fn shown(finished: &Finished) -> Vec<&str> {
    finished.rows().iter().map(|row| args_column(row)).collect()
}

/// `true` with each word, as the column ARGS shows it.
fn expect_words(finished: &Finished, words: &[&str]) {
    let program = true_path();
    let expected: Vec<String> = words.iter().map(|word| format!("{program} {word}")).collect();
    assert_eq!(shown(finished), expected);
}

fn with_set(sandbox: &Sandbox, option: &str, set: &std::path::Path) -> Tracer {
    execsnoop(sandbox, [option.as_ref(), set.as_os_str()])
}

#[test]
fn only_the_shell_in_the_set_is_shown_and_each_edit_counts_at_once() {
    let sandbox = or_skip!(Sandbox::new());
    let set = sandbox.create_set("mntns");
    let tracer = with_set(&sandbox, "--mntnsmap", &set);
    let (shell, other) = (MountNamespace::new(), MountNamespace::new());
    say("before, outside");
    shell.run(|| say("before"));
    shell.run(|| sandbox.nsmap_ok(["add-self-mntns"]));
    shell.run(|| say("one"));
    other.run(|| say("other"));
    say("outside");
    shell.run(|| sandbox.nsmap_ok(["remove-self-mntns"]));
    shell.run(|| say("removed"));
    sandbox.nsmap_ok(["add-mntns", &shell.inode.to_string()]);
    shell.run(|| say("two"));
    other.run(|| say("other again"));
    shell.run(|| say("three"));
    tracer.wait_word("three");
    let finished = tracer.stop().quiet();
    let (program, nsmap) = (true_path(), tool("nsmap"));
    let expected = [
        format!("{program} one"),
        // In the set while it was executed.
        format!("{} remove-self-mntns", nsmap.display()),
        format!("{program} two"),
        format!("{program} three"),
    ];
    assert_eq!(shown(&finished), expected);
}

#[test]
fn a_set_that_is_empty_shows_nothing_and_one_with_all_namespaces_shows_all() {
    let sandbox = or_skip!(Sandbox::new());
    let set = sandbox.create_set("mntns");
    let tracer = with_set(&sandbox, "--mntnsmap", &set);
    let shells: Vec<_> = (0..5).map(|_| MountNamespace::new()).collect();
    shells.iter().for_each(|shell| shell.run(|| say("empty")));
    for shell in &shells {
        sandbox.nsmap_ok(["add-mntns", &shell.inode.to_string()]);
    }
    let words: Vec<String> = (0..5).map(|number| format!("word{number}")).collect();
    shells.iter().zip(&words).for_each(|(shell, word)| shell.run(|| say(word)));
    tracer.wait_word("word4");
    sandbox.nsmap_ok(["clear".as_ref(), set.as_os_str()]);
    shells.iter().for_each(|shell| shell.run(|| say("cleared")));
    sandbox.nsmap_ok(["add-mntns", &shells[0].inode.to_string()]);
    shells[0].run(|| say("end"));
    tracer.wait_word("end");
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    words.push("end");
    expect_words(&tracer.stop().quiet(), &words);
}

#[test]
fn a_cgroup_in_the_set_is_that_cgroup_and_not_its_children() {
    let sandbox = or_skip!(Sandbox::new());
    let group = or_skip!(Cgroup::new());
    let (child, other) = (group.child("child"), or_skip!(Cgroup::new()));
    let set = sandbox.create_set("cgroup");
    let tracer = with_set(&sandbox, "--cgroupmap", &set);
    run_true_in(&group, &["before"]);
    sandbox.nsmap_ok(["add-cgroup".as_ref(), group.path.as_os_str()]);
    run_true_in(&group, &["one"]);
    run_true_in(&child, &["child"]);
    run_true_in(&other, &["other"]);
    say("root");
    sandbox.nsmap_ok(["remove-cgroup".as_ref(), group.path.as_os_str()]);
    run_true_in(&group, &["removed"]);
    sandbox.nsmap_ok(["add-cgroup".as_ref(), group.path.as_os_str()]);
    run_true_in(&group, &["two"]);
    tracer.wait_word("two");
    expect_words(&tracer.stop(), &["one", "two"]);
}

#[test]
fn a_subtree_in_the_set_is_every_cgroup_below_it_also_later_ones() {
    let sandbox = or_skip!(Sandbox::new());
    let above = or_skip!(Cgroup::new());
    let (group, sibling) = (above.child("group"), above.child("sibling"));
    let child = group.child("child");
    let set = sandbox.create_set("cgroup");
    let tracer = with_set(&sandbox, "--cgroupmap", &set);
    sandbox.nsmap_ok(["add-cgroup".as_ref(), "--subtree".as_ref(), group.path.as_os_str()]);
    let grandchild = child.child("grandchild");
    run_true_in(&group, &["itself"]);
    run_true_in(&sibling, &["sibling"]);
    run_true_in(&child, &["child"]);
    run_true_in(&above, &["above"]);
    run_true_in(&grandchild, &["grandchild"]);
    // Without the flag again: the entry itself stays.
    sandbox.nsmap_ok(["remove-cgroup".as_ref(), group.path.as_os_str()]);
    sandbox.nsmap_ok(["add-cgroup".as_ref(), group.path.as_os_str()]);
    run_true_in(&grandchild, &["too deep"]);
    run_true_in(&group, &["end"]);
    tracer.wait_word("end");
    expect_words(&tracer.stop(), &["itself", "child", "grandchild", "end"]);
}

#[test]
fn with_both_sets_a_task_must_be_in_both() {
    let sandbox = or_skip!(Sandbox::new());
    let group = or_skip!(Cgroup::new());
    let (namespaces, groups) = (sandbox.create_set("mntns"), sandbox.create_set("cgroup"));
    let tracer = execsnoop(
        &sandbox,
        ["--mntnsmap".as_ref(), namespaces.as_os_str(), "--cgroupmap".as_ref(), groups.as_os_str()],
    );
    let shell = MountNamespace::new();
    sandbox.nsmap_ok(["add-mntns", &shell.inode.to_string()]);
    shell.run(|| run_true_in(&group, &["namespace only, set empty"]));
    sandbox.nsmap_ok(["add-cgroup".as_ref(), group.path.as_os_str()]);
    run_true_in(&group, &["cgroup only"]);
    shell.run(|| say("namespace only"));
    say("neither");
    shell.run(|| run_true_in(&group, &["both"]));
    sandbox.nsmap_ok(["remove-mntns", &shell.inode.to_string()]);
    shell.run(|| run_true_in(&group, &["cgroup only again"]));
    sandbox.nsmap_ok(["add-mntns", &shell.inode.to_string()]);
    shell.run(|| run_true_in(&group, &["end"]));
    tracer.wait_word("end");
    expect_words(&tracer.stop(), &["both", "end"]);
}

/// A namespace with the inode number of one that is gone. The kernel gives the number to the next one that is made, which
/// another test that runs meanwhile may snatch; so there are many attempts.
fn successor(sandbox: &Sandbox, add: impl Fn(&MountNamespace)) -> Option<MountNamespace> {
    (0..199).find_map(|_| {
        let first = MountNamespace::new();
        let inode = first.inode;
        add(&first);
        drop(first);
        let second = MountNamespace::new();
        if second.inode == inode {
            return Some(second);
        }
        sandbox.nsmap_ok(["clear"]);
        None
    })
}

#[test]
fn the_next_namespace_with_the_same_number_is_not_shown_for_a_stale_entry() {
    let sandbox = or_skip!(Sandbox::new());
    let set = sandbox.create_set("mntns");
    let add = |shell: &MountNamespace| drop(shell.run(|| sandbox.nsmap_ok(["add-self-mntns"])));
    let Some(next) = successor(&sandbox, add) else {
        return skip(&Skip::NoSandbox(
            "the kernel does not give the numbers of mount namespaces again".to_owned(),
        ));
    };
    let map = Map::open_pinned(&set, Access::ReadWrite).unwrap();
    if map.lookup(&next.inode.to_ne_bytes()).unwrap() == Some(vec![0; 4]) {
        return skip(&Skip::NoNamespaceId);
    }
    let tracer = with_set(&sandbox, "--mntnsmap", &set);
    next.run(|| say("stale"));
    // The number alone, as other tools store it, does select it.
    map.update(&next.inode.to_ne_bytes(), &[0; 4], UpdateMode::Any).unwrap();
    next.run(|| say("unchecked"));
    next.run(|| sandbox.nsmap_ok(["remove-self-mntns"]));
    next.run(|| sandbox.nsmap_ok(["add-self-mntns"]));
    next.run(|| say("fresh"));
    tracer.wait_word("fresh");
    let finished = tracer.stop().quiet();
    let rows: Vec<_> = shown(&finished).into_iter().filter(|args| !args.contains("nsmap")).collect();
    assert_eq!(rows, ["unchecked", "fresh"].map(|word| format!("{} {word}", true_path())));
}

#[test]
fn an_entry_with_the_id_of_another_namespace_selects_nobody() {
    let sandbox = or_skip!(Sandbox::new());
    let set = sandbox.create_set("mntns");
    let shell = MountNamespace::new();
    let key = shell.inode.to_ne_bytes();
    shell.run(|| sandbox.nsmap_ok(["add-self-mntns"]));
    let map = Map::open_pinned(&set, Access::ReadWrite).unwrap();
    let right = map.lookup(&key).unwrap().unwrap();
    let id = u32::from_ne_bytes(right.clone().try_into().unwrap());
    let tracer = with_set(&sandbox, "--mntnsmap", &set);
    shell.run(|| say("right"));
    map.update(&key, &(id ^ 0x4000_0000).to_ne_bytes(), UpdateMode::Any).unwrap();
    shell.run(|| say("wrong"));
    map.update(&key, &right, UpdateMode::Any).unwrap();
    shell.run(|| say("end"));
    tracer.wait_word("end");
    expect_words(&tracer.stop().quiet(), &["right", "end"]);
}

#[test]
fn a_set_that_bpftool_made_and_filled_filters() {
    let sandbox = or_skip!(Sandbox::new());
    let bpftool = or_skip!(Bpftool::find());
    let (namespaces, groups) = (sandbox.pin("by_bpftool"), sandbox.pin("groups_by_bpftool"));
    bpftool.create_map(&namespaces, "hash", 8, 4, 128, "mnt_ns_set");
    bpftool.create_map(&groups, "hash", 8, 8, 128, "cgroupset");
    let shell = MountNamespace::new();
    let tracer = with_set(&sandbox, "--mntnsmap", &namespaces);
    shell.run(|| say("before"));
    let entry = format!("{} key hex {}", namespaces.display(), hex(&shell.inode.to_ne_bytes()));
    bpftool.run(&format!("map update pinned {entry} value hex 00 00 00 00 any"));
    shell.run(|| say("in"));
    bpftool.run(&format!("map delete pinned {entry}"));
    shell.run(|| say("out"));
    bpftool.run(&format!("map update pinned {entry} value hex 00 00 00 00 any"));
    shell.run(|| say("end"));
    tracer.wait_word("end");
    expect_words(&tracer.stop().quiet(), &["in", "end"]);

    let group = or_skip!(Cgroup::new());
    let tracer = with_set(&sandbox, "--cgroupmap", &groups);
    let entry = format!("{} key hex {}", groups.display(), hex(&group.id().to_ne_bytes()));
    bpftool.run(&format!("map update pinned {entry} value hex 00 00 00 00 00 00 00 00 any"));
    say("root");
    run_true_in(&group, &["end"]);
    tracer.wait_word("end");
    expect_words(&tracer.stop(), &["end"]);
}

#[test]
fn a_cgroup_given_by_path_is_its_subtree() {
    let sandbox = or_skip!(Sandbox::new());
    let group = or_skip!(Cgroup::new());
    let (child, other) = (group.child("child"), or_skip!(Cgroup::new()));
    for option in ["-c", "--cgroup"] {
        let tracer = with_set(&sandbox, option, &group.path);
        say("root");
        run_true_in(&other, &["other"]);
        run_true_in(&group, &["itself"]);
        run_true_in(&child, &["child"]);
        tracer.wait_word("child");
        expect_words(&tracer.stop(), &["itself", "child"]);
    }
}

/// A shell that executes `true` twice: with `word` as its child, then as itself. Gives its pid.
fn shell_and_child(word: &str) -> u32 {
    let program = true_path();
    let script = format!("{program} {word}-child; exec {program} {word}-self");
    let mut child = Command::new(find("sh")).args(["-c", &script]).spawn().unwrap();
    let pid = child.id();
    assert!(child.wait().unwrap().success());
    pid
}

#[test]
fn a_parent_selects_its_children() {
    let sandbox = or_skip!(Sandbox::new());
    let own = std::process::id().to_string();
    let words = [tag("ppid"), tag("ppid")];
    for (option, word) in ["-P", "--ppid"].into_iter().zip(&words) {
        let tracer = execsnoop(&sandbox, [option, &own]);
        shell_and_child(word);
        tracer.wait_word(&format!("{word}-self"));
        let finished = tracer.stop().quiet();
        // The shell and what it became are children of this process; its child is not.
        assert!(
            !finished.stdout.iter().any(|row| row.ends_with(&format!("true {word}-child"))),
            "{finished:#?}"
        );
        assert!(
            finished.rows().iter().all(|row| row.split_whitespace().nth(2) == Some(&own)),
            "{finished:#?}"
        );
    }
}

#[test]
fn a_process_selects_itself_and_a_user_what_he_runs() {
    let sandbox = or_skip!(Sandbox::new());
    // The first process to be told about itself is a shell that waits to go on.
    let script = format!("read line; {0} child; exec {0} itself", true_path());
    let mut shell =
        Command::new(find("sh")).args(["-c", &script]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    let tracer = execsnoop(&sandbox, ["--pid", &shell.id().to_string()]);
    say("somebody else");
    drop(shell.stdin.take());
    shell.wait().unwrap();
    tracer.wait_word("itself");
    expect_words(&tracer.stop().quiet(), &["itself"]);
}

/// Executes `true` as another user.
fn say_as(uid: u32, word: &str) {
    use std::os::unix::process::CommandExt;
    run_ok(Command::new(true_path()).arg(word).uid(uid).gid(uid));
}

#[test]
fn a_user_selects_what_he_runs_and_zero_is_a_user() {
    let sandbox = or_skip!(Sandbox::new());
    // Of no real user, so that all rows are known.
    let uid = 3_000_017;
    for option in ["-u", "--uid"] {
        let tracer = execsnoop(&sandbox, [option, &uid.to_string()]);
        say("root");
        say_as(uid + 1, "another");
        say_as(uid, "end");
        tracer.wait_word("end");
        expect_words(&tracer.stop().quiet(), &["end"]);
    }
    for root in ["0", "root"] {
        let (not_shown, last) = (tag("uid"), tag("uid"));
        let tracer = execsnoop(&sandbox, ["-u", root]);
        say_as(uid, &not_shown);
        say(&last);
        tracer.wait_word(&last);
        let finished = tracer.stop().quiet();
        assert!(!finished.stdout.iter().any(|row| row.contains(&not_shown)), "{finished:#?}");
    }
}

#[test]
fn a_filter_by_cgroup_says_when_all_tasks_are_in_the_root_cgroup() {
    let sandbox = or_skip!(Sandbox::new());
    let group = or_skip!(Cgroup::new());
    or_skip!(sandbox.cgroup1());
    if !std::fs::read_to_string("/proc/1/cgroup").unwrap().lines().any(|line| line == "0::/") {
        return skip(&Skip::NotHybrid);
    }
    let set = sandbox.create_set("cgroup");
    sandbox.nsmap_ok(["add-cgroup".as_ref(), group.path.as_os_str()]);
    // Tests beside this one put tasks into cgroups for moments, and then it is not so.
    let said = (0..23).any(|_| {
        let tracer = with_set(&sandbox, "--cgroupmap", &set);
        run_true_in(&group, &["end"]);
        tracer.wait_word("end");
        let finished = tracer.stop();
        expect_words(&finished, &["end"]);
        matches!(&finished.stderr[..], [line] if line.contains("--mntnsmap"))
    });
    assert!(said);
}

#[test]
fn a_tracer_keeps_its_set_when_the_pin_is_deleted() {
    let sandbox = or_skip!(Sandbox::new());
    let set = sandbox.create_set("mntns");
    let shell = MountNamespace::new();
    shell.run(|| sandbox.nsmap_ok(["add-self-mntns"]));
    let tracer = with_set(&sandbox, "--mntnsmap", &set);
    sandbox.nsmap_ok(["delete".as_ref(), set.as_os_str()]);
    assert_eq!(sandbox.pins(), Vec::<String>::new());
    say("outside");
    shell.run(|| say("end"));
    tracer.wait_word("end");
    expect_words(&tracer.stop().quiet(), &["end"]);
}

#[test]
fn two_tracers_share_one_set() {
    let sandbox = or_skip!(Sandbox::new());
    let set = sandbox.create_set("mntns");
    let shell = MountNamespace::new();
    let tracers = [with_set(&sandbox, "--mntnsmap", &set), with_set(&sandbox, "--mntnsmap", &set)];
    shell.run(|| say("before"));
    shell.run(|| sandbox.nsmap_ok(["add-self-mntns"]));
    shell.run(|| say("end"));
    for tracer in tracers {
        tracer.wait_word("end");
        expect_words(&tracer.stop().quiet(), &["end"]);
    }
}

#[test]
fn a_container_in_a_cgroup_is_shown_whatever_it_mounts() {
    let sandbox = or_skip!(Sandbox::new());
    let group = or_skip!(Cgroup::new());
    let set = sandbox.create_set("cgroup");
    sandbox.nsmap_ok(["add-cgroup".as_ref(), group.path.as_os_str()]);
    let tracer = with_set(&sandbox, "--cgroupmap", &set);
    let shell = MountNamespace::new();
    shell.run(|| run_ok(in_cgroup(&group, &true_path()).arg("end")));
    tracer.wait_word("end");
    expect_words(&tracer.stop(), &["end"]);
}
