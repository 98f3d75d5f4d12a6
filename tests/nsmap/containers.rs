//! Containers as runtimes make them, followed by nsmap and traced by execsnoop.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::BOUND;
use crate::common::run::run;
use crate::common::sandbox::Sandbox;
use crate::common::skip::{Skip, or_skip};
use crate::common::tracer::Tracer;
use crate::keys;

#[path = "../../maptool/tests/common/oci.rs"]
#[allow(dead_code, reason = "the tests of nsmap use more of it")]
mod oci;

#[path = "../../maptool/tests/common/notified.rs"]
mod notified;

use notified::Notified;
use oci::{Missing, Oci};

/// A prime number of containers.
const MANY: usize = 101;
/// The same of containers that are looked for by name while they live.
const SHORT: usize = 7;

fn runtime(sandbox: &Sandbox, name: &'static str) -> Result<Oci, Skip> {
    Oci::new(&sandbox.path("."), name).map_err(|missing| match missing {
        Missing::Program(program) => Skip::NoPeer(program),
        Missing::Mount(why) => Skip::NoCgroup2(why),
    })
}

/// A running `nsmap follow`, killed with the value.
struct Following(std::process::Child);

impl Following {
    /// Waits until it says that it follows.
    fn start(sandbox: &Sandbox, oci: &Oci, selector: &str) -> Self {
        let notified = Notified::bind(&sandbox.path("notify"), BOUND);
        let mut command = sandbox.command("nsmap", ["follow", selector]);
        notified.tell(&mut command);
        command.env("NSMAP_HOST_ROOT", &oci.host).stdout(Stdio::null());
        let following = Self(command.spawn().unwrap());
        assert!(notified.next().starts_with("READY=1\n"));
        following
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every container lives for as long as its one program, and each of those is seen.
fn first_programs_are_traced(name: &'static str, count: usize) {
    let sandbox = or_skip!(Sandbox::new());
    let oci = or_skip!(runtime(&sandbox, name));
    let set = sandbox.create_set("cgroup");
    let following = Following::start(&sandbox, &oci, &format!("{}/*", oci.parent()));
    let set_path = set.to_str().unwrap();
    let tracer = Tracer::start(sandbox.command("execsnoop", ["--json", "--cgroupmap", set_path]));
    let word = |number: usize| format!("first-program-{number}");
    for number in 0..count {
        oci.run(&format!("quick-{number}"), &["true", &word(number)], &[], false);
    }
    oci.run("last", &["sleep", "600"], &[("word", "x")], true);
    tracer.wait_word("600");
    let last = format!("/sys/fs/cgroup{}/last", oci.parent());
    let expected = [fs::metadata(last).unwrap().ino()];
    let deadline = Instant::now() + BOUND;
    while keys(&set) != expected {
        assert!(Instant::now() < deadline, "{:?}, not only the one that is there", keys(&set));
        std::thread::sleep(Duration::from_millis(1));
    }
    let events = tracer.stop().events();
    let traced = |word: &str| {
        let is_it =
            |event: &&serde_json::Value| event["args"].as_array().unwrap().iter().any(|arg| arg == word);
        events.iter().filter(is_it).count()
    };
    let missed: Vec<usize> = (0..count).filter(|&number| traced(&word(number)) != 1).collect();
    assert!(missed.is_empty(), "{missed:?} of {count} were not traced once");
    drop(following);
}

/// Containers that are gone before their events are printed, and one that stays.
fn containers_are_named_in_events(name: &'static str) {
    let sandbox = or_skip!(Sandbox::new());
    let oci = or_skip!(runtime(&sandbox, name));
    let mut command = sandbox.command("execsnoop", ["--json", "--containers"]);
    command.env("NSMAP_HOST_ROOT", &oci.host);
    let tracer = Tracer::start(command);
    let pod = [
        ("io.kubernetes.cri.container-name", "nginx"),
        ("io.kubernetes.cri.sandbox-name", "web-0"),
        ("io.kubernetes.cri.sandbox-namespace", "shop"),
    ];
    // Both runtimes' containers are seen, as nothing is filtered here.
    let tag = u32::from(name == "crun");
    let late = |number: usize| format!("0.00{tag}{number}");
    let only = |number: usize| format!("only-word-{tag}-{number}");
    let stays = format!("600.0{tag}");
    for number in 0..SHORT {
        let program = format!("sleep 0.2; exec sleep {}", late(number));
        oci.run(&format!("named-{number}"), &["sh", "-c", &program], &[], false);
        oci.run(&format!("quick-{number}"), &["true", &only(number)], &[], false);
    }
    oci.run("pod-1", &["sleep", &stays], &pod, true);
    tracer.wait_word(&stays);
    let events = tracer.stop().events();
    let container_of = |word: &str| {
        let own =
            |event: &&serde_json::Value| event["args"].as_array().unwrap().iter().any(|arg| arg == word);
        let found: Vec<_> = events.iter().filter(own).map(|event| event["container"].clone()).collect();
        assert_eq!(found.len(), 1, "{word}: {events:#?}");
        found.into_iter().next().unwrap()
    };
    for number in 0..SHORT {
        assert_eq!(container_of(&late(number)), format!("named-{number}"));
        // Files that are there for a millisecond may be missed: the name, or where it was.
        let quick = container_of(&only(number));
        let (own, path) = (format!("quick-{number}"), format!("{}/quick-{number}", oci.parent()));
        assert!(quick == own || quick == path, "{quick}");
    }
    assert_eq!(container_of(&stays), "shop/web-0/nginx");
}

#[test]
fn containers_of_crun_are_named_in_events_however_short_they_live() {
    containers_are_named_in_events("crun");
}

#[test]
fn containers_of_runc_are_named_in_events_however_short_they_live() {
    containers_are_named_in_events("runc");
}

#[test]
fn a_container_is_traced_by_its_name_without_any_set() {
    let sandbox = or_skip!(Sandbox::new());
    let oci = or_skip!(runtime(&sandbox, "runc"));
    let shell = "while true; do sleep 0.01; done";
    oci.run("chosen-1", &["sh", "-c", shell], &[], true);
    oci.run("other-1", &["sh", "-c", shell], &[], true);
    let start = |word: &str| {
        let mut command = sandbox.command("execsnoop", ["--json", "--containers", "--container", word]);
        command.env("NSMAP_HOST_ROOT", &oci.host);
        command
    };
    for word in ["chosen-1", "cho"] {
        let mut command = start(word);
        command.arg("--max-events=7");
        let finished = Tracer::start(command).finish();
        assert_eq!(finished.records()[0]["filters"]["container"], word);
        let named: Vec<_> = finished.events().iter().map(|event| event["container"].clone()).collect();
        assert_eq!(named, vec!["chosen-1"; 7]);
    }
    for (word, part) in
        [("nobody", "no container `nobody` runs here (see: nsmap containers)"), ("", "no container ``")]
    {
        let line = run(&mut start(word)).refused(1, "execsnoop").to_owned();
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn the_first_program_of_each_container_of_crun_is_traced() {
    first_programs_are_traced("crun", MANY);
}

#[test]
fn the_first_program_of_each_container_of_runc_is_traced() {
    first_programs_are_traced("runc", 13);
}
