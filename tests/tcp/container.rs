//! A container beside the host, for each of the tcp tools: both filters, members that come and go.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::{Scene, close, pair, settle};
use crate::common::container::Container;
use crate::common::emulated;
use crate::common::role::role;
use crate::common::run::wait_bounded;
use crate::common::skip::or_skip;
use crate::common::tracer::Tracer;

/// Connections of the container, each time.
const TALKS: usize = 17;
/// Those of the host, which has ports for so many.
const HOST_TALKS: usize = 5003;

/// What a container does with itself is shown while it is in both sets, `each` events for a connection, and nothing else: not
/// what the host does, not what is in one of the two only.
pub(crate) fn is_shown_beside_the_host(tool: &'static str, hooks: &[&'static str], each: usize) {
    let scene = or_skip!(Scene::new(tool));
    let container = or_skip!(Container::new());
    let sets = ["mntns", "cgroup"].map(|kind| scene.sandbox.create_set(kind));
    for hook in scene.hooks(&[], hooks) {
        let [mntns, cgroup] = sets.each_ref().map(|set| set.to_str().unwrap());
        let tracer = scene.start_json(["--hook", hook, "--mntnsmap", mntns, "--cgroupmap", cgroup]);
        let done = AtomicBool::new(false);
        let pids = std::thread::scope(|scope| {
            scope.spawn(|| (0..HOST_TALKS).take_while(|_| talk(&done)).count());
            let pids = container
                .come_and_go(&scene.sandbox, |shown| talk_inside(&container, shown.then_some(&tracer), each));
            done.store(true, Ordering::Relaxed);
            pids
        });
        let finished = tracer.stop();
        let told = usize::try_from(finished.records().last().unwrap()["lost"].as_u64().unwrap()).unwrap();
        assert!(told == 0 || emulated(), "{hook}: {told} lost");
        let events = finished.events();
        let of = |pid: &u32| events.iter().filter(|event| event["pid"] == *pid).count();
        let missing: usize = pids.iter().map(|pid| (each * TALKS).checked_sub(of(pid)).unwrap()).sum();
        assert!(missing <= may_be_missing(told, each), "{hook}: {missing} missing, {told} told");
        assert_eq!(events.len() + missing, each * TALKS * pids.len(), "{hook}: {events:#?}");
        let ids = (container.namespace.inode, container.cgroup.id());
        assert!(events.iter().all(|event| event["mntns"] == ids.0 && event["cgroup_id"] == ids.1), "{hook}");
    }
}

/// How many events of `each` for a connection may be missing when so many losses were told. Where a program takes as long as a
/// time slice, what interrupts it is missing, and told; whose accept was lost is not known at the close, which is missing, too.
fn may_be_missing(told: usize, each: usize) -> usize {
    if emulated() { told * each.min(2) } else { 0 }
}

/// How many events were lost so far, if the line is about that.
fn told(line: &str) -> usize {
    let record: Value = serde_json::from_str(line).unwrap();
    usize::try_from(record["total"].as_u64().filter(|_| record["type"] == "lost").unwrap_or(0)).unwrap()
}

/// The host's. It leaves some time to the others.
fn talk(done: &AtomicBool) -> bool {
    close(pair("127.0.0.1"));
    std::thread::sleep(Duration::from_micros(100));
    !done.load(Ordering::Relaxed)
}

/// The container's, and that of two that are half in it. What it does is over before this returns: with a tracer that is to show
/// it, it has.
fn talk_inside(container: &Container, shown: Option<&Tracer>, each: usize) -> u32 {
    let part = role("talk to itself", [TALKS.to_string()]);
    let (mut inside, mut half) = (container.spawn(&part), container.spawn_in_cgroup(&part));
    container.namespace.run(|| close(pair("127.0.0.1")));
    for child in [&mut inside, &mut half] {
        assert!(wait_bounded(child).is_some_and(|status| status.success()));
    }
    settle();
    let pid = inside.id();
    if let Some(tracer) = shown {
        let (key, seen, lost) = (format!("\"pid\":{pid},"), Cell::new(0), Cell::new(0));
        tracer.wait_line("all of the container's", |line| {
            seen.set(seen.get() + usize::from(line.contains(&key)));
            lost.set(lost.get().max(told(line)));
            seen.get() + may_be_missing(lost.get(), each) >= each * TALKS
        });
    }
    pid
}
