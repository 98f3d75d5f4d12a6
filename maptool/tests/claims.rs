//! One follower for each set: a second one is refused, and what is left of one that was killed stands in nobody's way.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::following::{Following, can_watch, keys};
use common::{Cgroup, Ran, Sandbox};
use nsmap::identity::cgroup::id_of_path;

#[test]
fn a_set_that_is_followed_is_refused_until_its_follower_is_gone() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    if !can_watch() {
        return;
    }
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    sandbox.run(["create"]).ok();
    let kept = id_of_path(&own.child("kept")).unwrap();
    let glob = format!("/{}/*", own.path.file_name().unwrap().to_str().unwrap());
    let set = sandbox.pin("cgroup_set");
    let mut following = Following::start(&sandbox, sandbox.nsmap(), &["--map", common::arg(&set), &glob]);
    let by = format!("process {} (nsmap)", following.child.id());
    for words in
        [&["follow", "/none"][..], &["follow", "/none", "--once"], &["follow", "/none", "--for", "1s"]]
    {
        sandbox.run(words).refused(1, &["follow for set", "cgroup_set", &by]);
    }
    // Another pin is the same set; another mount, network and pid namespace sees it, too.
    let pin = sandbox.pin("second");
    let (from, to) = (common::arg(&set), common::arg(&pin));
    sandbox.run(["map", "pin", "pinned", from, to]).ok();
    let inside = Command::new("unshare")
        .args([
            "-m",
            "-n",
            "-p",
            "-f",
            "--mount-proc",
            env!("CARGO_BIN_EXE_nsmap"),
            "follow",
            "/none",
            "--map",
            to,
        ])
        .output();
    Ran::from(inside.unwrap()).refused(1, &["second", "a process that is not seen from here"]);
    assert_eq!(keys(&sandbox, "cgroup_set"), [kept]);
    // A set of its own is nobody's else.
    sandbox.run(["follow", "/none", "--once", "--map", common::arg(&sandbox.pin("mnt_ns_set"))]).ok();
    following.child.kill().unwrap();
    following.child.wait().unwrap();
    assert!(sandbox.run(["follow", "/none", "--once"]).ok().contains(" removed cgroup "));
    assert!(keys(&sandbox, "cgroup_set").is_empty());
}

#[test]
fn what_looks_like_a_claim_of_another_set_is_none() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    sandbox.run(["create", "--kind", "cgroup", common::arg(&sandbox.pin("other"))]).ok();
    let (set, other, claim) = (sandbox.pin("cgroup_set"), sandbox.pin("other"), sandbox.pin("claim"));
    let create = ["type", "array_of_maps", "key", "4", "value", "4", "entries", "2", "name", "nsmap_follow"];
    let words =
        [&["map", "create", common::arg(&claim)], &create[..], &["inner_map", "pinned", common::arg(&set)]];
    sandbox.run(words.concat()).ok();
    let put = |inner: &Path| {
        let index = 1_u32.to_ne_bytes().map(|byte| byte.to_string());
        let slot = ["map", "update", "pinned", common::arg(&claim), "key"];
        let slot = slot.into_iter().chain(index.iter().map(String::as_str));
        sandbox.run(slot.chain(["value", "pinned", common::arg(inner)])).ok();
    };
    sandbox.run(["follow", "/none", "--once"]).ok();
    put(&other);
    sandbox.run(["follow", "/none", "--once"]).ok();
    put(&set);
    sandbox.run(["follow", "/none", "--once"]).refused(1, &["a process that is not seen from here"]);
}

/// Of followers that begin at the same time, exactly one goes on.
#[test]
fn of_followers_that_begin_together_one_goes_on() {
    let Some(sandbox) = Sandbox::new() else { return };
    if !can_watch() {
        return;
    }
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    let start = |_| {
        let mut command = sandbox.nsmap();
        command.args(["follow", "/none"]).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut all: Vec<Child> = (0..7).map(start).collect();
    let end = Instant::now() + Duration::from_secs(60);
    while all.len() > 1 {
        assert!(Instant::now() < end, "{} go on", all.len());
        all.retain_mut(|child| child.try_wait().unwrap().is_none_or(|status| status.code() != Some(1)));
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut last = all.pop().unwrap();
    sandbox.run(["follow", "/none"]).refused(1, &[&format!("process {} (nsmap)", last.id())]);
    assert_eq!(last.try_wait().unwrap(), None);
    last.kill().unwrap();
    last.wait().unwrap();
}
