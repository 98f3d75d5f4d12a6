//! Members whose namespace is gone, while its number goes to one namespace after the other.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::common::program::find;
use crate::common::sandbox::Sandbox;
use crate::common::skip::{Skip, or_skip};
use crate::common::tracer::Tracer;
use crate::common::{BOUND, tag};
use crate::{entries, nsmap_on};

/// A prime number of namespaces.
const MANY: usize = 1009;
/// The same for the check that these would be seen.
const FEW: usize = 23;
/// Attempts at a number that comes back: other processes of this machine take numbers, too.
const ATTEMPTS: usize = 101;

/// A process that sleeps in a mount namespace of its own, ended with the value.
struct Sleeper(Child);

impl Sleeper {
    fn new() -> Self {
        let child = Command::new(find("unshare")).args(["-m", "sleep", "600"]).spawn().unwrap();
        let sleeper = Self(child);
        let own = inode_of("self");
        let deadline = Instant::now() + BOUND;
        while [None, own].contains(&inode_of(&sleeper.0.id().to_string())) {
            assert!(Instant::now() < deadline, "unshare did not get a namespace");
            std::thread::sleep(Duration::from_millis(1));
        }
        sleeper
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The number of a process's mount namespace.
fn inode_of(pid: &str) -> Option<u64> {
    let link = std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok()?;
    number(link.to_str()?)
}

fn number(link: &str) -> Option<u64> {
    link.trim().strip_prefix("mnt:[")?.strip_suffix(']')?.parse().ok()
}

/// Runs a program, with this word among its arguments, in a new namespace; the number of that. For the program, the word is
/// the name of a file that is not there.
fn in_new_namespace(word: &str) -> u64 {
    let mut command = Command::new(find("unshare"));
    let output = command.args(["-m", "stat", "-L", "-c", "%i", "/proc/self/ns/mnt", word]).output().unwrap();
    std::str::from_utf8(&output.stdout).unwrap().trim().parse().unwrap()
}

/// Makes a member of which only the number is left, and which the next namespace gets.
fn stale_member(sandbox: &Sandbox, set: &Path) -> Result<u64, Skip> {
    for _ in 0..ATTEMPTS {
        nsmap_on(sandbox, &["clear"], set);
        let gone = Sleeper::new();
        nsmap_on(sandbox, &["add-mntns", &gone.pid(), "--map"], set);
        let (inode, check) = entries(set).pop().unwrap();
        if check == [0; 4] {
            return Err(Skip::NoNamespaceId);
        }
        drop(gone);
        if in_new_namespace("x") == inode {
            return Ok(inode);
        }
    }
    panic!("no number came back in {ATTEMPTS} attempts");
}

/// Runs programs in new namespaces; how many of these had the number.
fn run_many(word: &str, count: usize, inode: u64) -> usize {
    (0..count).filter(|_| in_new_namespace(word) == inode).count()
}

/// Rows with this word, of all that happened before a live member's.
fn rows_with(sandbox: &Sandbox, set: &Path, live: &Sleeper, count: usize, inode: u64) -> (usize, usize) {
    let word = &tag("in-new-namespace");
    let (map, last) = (set.to_str().unwrap(), tag("last"));
    let tracer = Tracer::start(sandbox.command("execsnoop", ["--json", "--mntnsmap", map]));
    let hits = run_many(word, count, inode);
    nsmap_on(sandbox, &["add-mntns", &live.pid(), "--map"], set);
    let mut enter = Command::new(find("nsenter"));
    assert!(enter.args(["-t", &live.pid(), "-m", "echo", &last]).output().unwrap().status.success());
    tracer.wait_word(&last);
    nsmap_on(sandbox, &["remove-mntns", &live.pid(), "--map"], set);
    let events = tracer.stop().events();
    let has_word =
        |event: &&serde_json::Value| event["args"].as_array().unwrap().iter().any(|arg| arg == word);
    (hits, events.iter().filter(has_word).count())
}

#[test]
fn a_stale_member_never_lets_the_next_owner_of_its_number_through() {
    let sandbox = or_skip!(Sandbox::new());
    let set = sandbox.create_set("mntns");
    // First, so that it does not get the number.
    let live = Sleeper::new();
    let mut hits = 0;
    for _ in 0..ATTEMPTS {
        let inode = or_skip!(stale_member(&sandbox, &set));
        let rows;
        (hits, rows) = rows_with(&sandbox, &set, &live, MANY, inode);
        assert_eq!(rows, 0, "{hits} of {MANY} namespaces had the number of the one that is gone");
        // Another test may have got the number, and kept it.
        if hits > 0 {
            break;
        }
    }
    assert!(hits > 0, "no namespace got the number");
}

#[test]
fn without_the_check_every_next_owner_is_let_through() {
    let sandbox = or_skip!(Sandbox::new());
    let set = sandbox.create_set("mntns");
    let live = Sleeper::new();
    let inode = or_skip!(stale_member(&sandbox, &set));
    nsmap_on(&sandbox, &["clear"], &set);
    nsmap_on(&sandbox, &["apply", unchecked(&sandbox, inode).as_str(), "--map"], &set);
    let (hits, rows) = rows_with(&sandbox, &set, &live, FEW, inode);
    assert_eq!(rows, hits, "what the other test does not see could be seen");
}

/// A listing with the number alone.
fn unchecked(sandbox: &Sandbox, inode: u64) -> String {
    let path = sandbox.path("unchecked");
    std::fs::write(&path, format!("{inode}\n")).unwrap();
    path.to_str().unwrap().to_owned()
}
