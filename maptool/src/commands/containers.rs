//! `containers`: those that run on this host, with names.

use std::collections::BTreeMap;
use std::fmt;

use nsmap::container::inventory::{Inventory, Running};
use nsmap::container::patterns::Engine;
use nsmap::identity::mntns;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{Name, Outcome};

#[derive(Serialize)]
struct Containers {
    containers: Vec<Report>,
}

#[derive(Serialize)]
struct Report {
    engine: Option<&'static str>,
    id: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<PodReport>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    pid: Option<u32>,
    mntns: Option<u32>,
    cgroup: Option<u64>,
    path: Option<Name>,
}

#[derive(Serialize)]
struct PodReport {
    namespace: String,
    name: String,
    container: String,
    uid: Option<String>,
}

impl fmt::Display for Containers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.containers.is_empty() {
            return Ok(());
        }
        writeln!(f, "{:<10} {:<12} {:>7} {:<10} {:<10} NAME", "ENGINE", "ID", "PID", "MNTNS", "CGROUP")?;
        for one in &self.containers {
            let number =
                |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
            let id: String = one.id.chars().take(12).collect();
            writeln!(
                f,
                "{:<10} {:<12} {:>7} {:<10} {:<10} {}",
                one.engine.unwrap_or("-"),
                nsmap::text::safe(id.as_ref()),
                number(one.pid.map(u64::from)),
                number(one.mntns.map(u64::from)),
                number(one.cgroup),
                one.name
            )?;
        }
        Ok(())
    }
}

pub(crate) fn run() -> Result<Outcome, Failure> {
    let inventory = Inventory::take();
    let shown = inventory.running.iter().filter(|running| !running.pod.is_sandbox);
    let mut outcome = Outcome::done(&Containers { containers: shown.map(report).collect() })?;
    outcome.notes = inventory.problems;
    Ok(outcome)
}

fn report(running: &Running) -> Report {
    let pid = running.first_pid();
    let pod = &running.pod;
    let known = !pod.name.is_empty() || running.pod_uid.is_some();
    Report {
        engine: running.engine.map(Engine::name),
        id: running.id.clone(),
        name: running.name(),
        image: running.image.clone(),
        labels: running.labels.clone(),
        pod: known.then(|| PodReport {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            container: pod.container.clone(),
            uid: running.pod_uid.clone(),
        }),
        pid,
        mntns: pid.and_then(|pid| mntns::of_process(pid).ok()).map(|found| found.inode),
        cgroup: running.cgroup,
        path: running.directory.as_deref().map(Name::new),
    }
}
