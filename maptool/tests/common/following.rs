//! A `follow` that runs beside the test, and what its sets hold.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use loader::map::Access;
use nsmap::Member;
use nsmap::follow::tree::Tree;
use nsmap::identity::cgroup::Hierarchy;
use nsmap::set::Set;

use super::notified::Notified;
use super::{Lacking, Sandbox, skip};

/// A running `follow`, ended with the value.
pub(crate) struct Following {
    pub(crate) child: Child,
    pub(crate) lines: Receiver<String>,
    pub(crate) notified: Notified,
}

impl Following {
    /// Starts it, and waits until it says that it is ready.
    pub(crate) fn start(sandbox: &Sandbox, mut command: Command, words: &[&str]) -> Self {
        let notified = Notified::bind(&sandbox.plain("notify"), Duration::from_secs(30));
        notified.tell(&mut command);
        command.args(["--json", "follow"]).args(words);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines() {
                let _ = sender.send(line.unwrap());
            }
        });
        assert!(notified.next().starts_with("READY=1\n"));
        Self { child, lines, notified }
    }

    /// The next change.
    pub(crate) fn next(&self) -> serde_json::Value {
        serde_json::from_str(&self.lines.recv_timeout(Duration::from_secs(30)).unwrap()).unwrap()
    }

    pub(crate) fn end(mut self) -> Vec<serde_json::Value> {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success());
        assert_eq!(self.notified.next(), "STOPPING=1");
        self.lines.iter().map(|line| serde_json::from_str(&line).unwrap()).collect()
    }
}

pub(crate) fn can_watch() -> bool {
    match Hierarchy::find().and_then(|found| Tree::watch(found.mount_point())) {
        Ok(_) => true,
        // Neither fanotify on cgroup2 (6.7) nor types of the kernel for a BPF program.
        Err(error) if matches!(error.kind(), loader::ErrorKind::NotSupported { .. }) => {
            skip(&Lacking::Kernel("fanotify on cgroup2, or BTF"));
            false
        }
        Err(error) => {
            skip(&Lacking::Privilege(error.to_string()));
            false
        }
    }
}

pub(crate) fn keys(sandbox: &Sandbox, name: &str) -> Vec<u64> {
    let set = Set::open(&sandbox.pin(name), Access::ReadOnly).unwrap();
    set.members().unwrap().iter().map(Member::key).collect()
}

/// Waits until a set holds exactly these numbers.
pub(crate) fn wait_for(sandbox: &Sandbox, name: &str, expected: &[u64]) {
    let end = Instant::now() + Duration::from_secs(30);
    while keys(sandbox, name) != expected {
        assert!(Instant::now() < end, "{:?} instead of {expected:?}", keys(sandbox, name));
        std::thread::sleep(Duration::from_millis(2));
    }
}
