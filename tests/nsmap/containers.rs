//! Containers as runtimes make them, followed by nsmap and traced by execsnoop.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::BOUND;
use crate::common::sandbox::Sandbox;
use crate::common::skip::{Skip, or_skip};
use crate::common::tracer::Tracer;
use crate::keys;

#[path = "../../maptool/tests/common/oci.rs"]
#[allow(dead_code, reason = "the tests of nsmap use more of it")]
mod oci;

use oci::{Missing, Oci};

/// A prime number of containers.
const MANY: usize = 101;

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
        let place = sandbox.path("notify");
        let socket = UnixDatagram::bind(&place).unwrap();
        socket.set_read_timeout(Some(BOUND)).unwrap();
        let mut command = sandbox.command("nsmap", ["follow", selector]);
        command.env("NOTIFY_SOCKET", &place).env("NSMAP_HOST_ROOT", &oci.host).stdout(Stdio::null());
        let following = Self(command.spawn().unwrap());
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        assert!(buffer[..length].starts_with(b"READY=1\n"));
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

#[test]
fn the_first_program_of_each_container_of_crun_is_traced() {
    first_programs_are_traced("crun", MANY);
}

#[test]
fn the_first_program_of_each_container_of_runc_is_traced() {
    first_programs_are_traced("runc", 13);
}
