//! Many starts, and ends without a chance to tidy up: nothing may stay behind in the kernel.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::commands;
use crate::common::BOUND;
use crate::common::bpftool::Bpftool;
use crate::common::program::find;
use crate::common::sandbox::{Sandbox, mounts};
use crate::common::skip::or_skip;
use crate::common::tracer::Tracer;

/// Rounds of attaching and detaching.
const ROUNDS: usize = 100;
/// Rounds that go on at the same time: most of a round is waiting for the kernel, and hooks that come and go meanwhile are what
/// it is about.
const AT_ONCE: usize = 3;
/// Tracers that are killed.
const KILLED: usize = 101;

/// What could be left behind: pins, mounts, old-style kprobe events, programs, maps and links.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    pins: Vec<String>,
    mounts: String,
    events: String,
    objects: BTreeSet<String>,
}

fn traces(sandbox: &Sandbox, bpftool: &Bpftool) -> Traces {
    let read = |name: &str| fs::read_to_string(format!("/sys/kernel/tracing/{name}")).unwrap_or_default();
    let mut objects = BTreeSet::new();
    for kind in ["prog", "map", "link"] {
        let list: Value = serde_json::from_str(&bpftool.list(kind)).unwrap_or(Value::Null);
        let ids = list.as_array().into_iter().flatten().map(|object| object["id"].clone());
        objects.extend(ids.map(|id| format!("{kind} {id}")));
    }
    let events = read("kprobe_events") + &read("uprobe_events");
    Traces { pins: sandbox.pins(), mounts: mounts(), events, objects }
}

/// Waits until everything is as it was; the kernel frees programs and maps some time after their last user.
#[track_caller]
fn expect_nothing_more(sandbox: &Sandbox, bpftool: &Bpftool, before: &Traces) {
    let deadline = Instant::now() + BOUND;
    loop {
        let now = traces(sandbox, bpftool);
        // Something of the system's own may have gone meanwhile.
        let more: Vec<_> = now.objects.difference(&before.objects).collect();
        if more.is_empty()
            && now.pins == before.pins
            && now.mounts == before.mounts
            && now.events == before.events
        {
            return;
        }
        assert!(Instant::now() < deadline, "left behind: {more:?}\nbefore: {before:#?}\nnow: {now:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Opens files all the time and executes programs again and again: with pauses, as an emulated guest shares the processors of
/// its host with other guests, and as what is tested is not how fast it is.
struct Load(Child);

impl Load {
    fn start() -> Self {
        let work = r#"
            while :; do
                n=0; while [ $n -lt 50 ]; do : < /dev/null; n=$((n + 1)); done
                "$0"; "$1" 0.1
            done"#;
        let mut command = Command::new(find("sh"));
        command.args(["-c", work]).arg(find("true")).arg(find("sleep"));
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_hundred_rounds_of_attaching_and_detaching_under_load_leave_nothing_behind() {
    let sandbox = or_skip!(Sandbox::new());
    let bpftool = or_skip!(Bpftool::find());
    let before = traces(&sandbox, &bpftool);
    let commands = commands();
    let next = AtomicUsize::new(0);
    {
        let _load = Load::start();
        let attach_and_detach = || {
            while let Some(round) = Some(next.fetch_add(1, Relaxed)).filter(|round| *round < ROUNDS) {
                let (tracer, options) = &commands[round % commands.len()];
                let _ = Tracer::start(sandbox.command(tracer, options)).stop();
            }
        };
        std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(attach_and_detach))));
    }
    expect_nothing_more(&sandbox, &bpftool, &before);
}

/// Numbers that differ from run to run: where a kill hits is left to chance.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self(u64::from(now.subsec_nanos()) | 1)
    }

    /// A duration up to `limit`.
    fn up_to(&mut self, limit: Duration) -> Duration {
        // Xorshift (Marsaglia 2003).
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        limit.mul_f64(f64::from(u32::try_from(self.0 >> 32).unwrap()) / f64::from(u32::MAX))
    }
}

#[test]
fn tracers_that_are_killed_at_any_moment_leave_nothing_behind() {
    let sandbox = or_skip!(Sandbox::new());
    let bpftool = or_skip!(Bpftool::find());
    let before = traces(&sandbox, &bpftool);
    let commands = commands();
    let mut chance = Chance::new();
    // From before it has begun until some time after it is attached.
    let starts: Duration = commands
        .iter()
        .map(|(tracer, options)| {
            let begun = Instant::now();
            let _tracer = Tracer::start(sandbox.command(tracer, options));
            begun.elapsed()
        })
        .sum();
    let limit = starts * 3 / 2 / u32::try_from(commands.len()).unwrap();
    for number in 0..KILLED {
        let (tracer, options) = &commands[number % commands.len()];
        let mut command = sandbox.command(tracer, options);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(chance.up_to(limit));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    expect_nothing_more(&sandbox, &bpftool, &before);
}
