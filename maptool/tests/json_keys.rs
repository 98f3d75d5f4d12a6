//! The keys of `--json` and their table in docs/nsmap.md: whatever is printed is documented, and the other way round.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use common::{Cgroup, Ran, Sandbox, arg, unshared};
use loader::map::Access;
use nsmap::set::{CgroupMember, Member, Set};
use serde_json::Value;

/// Words of the table that a host may give no reason to print.
const SELDOM: &[&str] = &["overflow", "warning", "problem", "hint"];

/// Rows of the first table: what stands in its first column, and the words in backquotes in its second.
fn documented() -> Vec<(String, BTreeSet<String>)> {
    let (_, table) = include_str!("../../docs/nsmap.md").split_once("| command | keys |").unwrap();
    let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.map(|row| {
        let (first, second) = row.split_once(" | ").unwrap();
        (first.to_owned(), second.split('`').skip(1).step_by(2).map(str::to_owned).collect())
    })
    .collect()
}

/// What the commands printed.
#[derive(Default)]
struct Printed {
    /// Keys, by command.
    keys: BTreeMap<String, BTreeSet<String>>,
    /// Values that are words.
    words: BTreeSet<String>,
}

impl Printed {
    fn take(&mut self, command: &str, value: &Value) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    self.keys.entry(command.to_owned()).or_default().insert(key.clone());
                    // Whose keys others choose.
                    if key != "labels" {
                        self.take(command, value);
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.take(command, item)),
            Value::String(word) => {
                self.words.insert(word.clone());
            }
            _ => {}
        }
    }

    fn run(&mut self, sandbox: &Sandbox, words: &[&str]) -> i32 {
        let mut command = sandbox.nsmap();
        command.env("NSMAP_HOST_ROOT", sandbox.plain("host")).arg("--json").args(words);
        let ran = Ran::from(command.output().unwrap());
        for line in ran.out.lines() {
            self.take(words[0], &serde_json::from_str(line).unwrap());
        }
        ran.code
    }
}

fn members(sandbox: &Sandbox, own: &Cgroup, printed: &mut Printed) {
    let (path, namespaces) = (arg(&own.path), sandbox.pin("mnt_ns_set"));
    let namespaces = arg(&namespaces);
    for words in [
        &["create"][..],
        &["create"],
        &["create", "--kind", "cgroup"],
        &["add-self-mntns"],
        &["add-self-mntns"],
        &["add-container", "web", "--map", namespaces],
        &["add-cgroup", path],
        &["add-cgroup", "--subtree", path],
        &["list"],
        &["export", "--kind", "cgroup"],
        &["gc", "--dry-run"],
        &["test"],
        &["resolve", "--kind", "cgroup", "1"],
        &["cgroupid", "number", path],
        &["mntnsid", "hex"],
        &["containers"],
        &["doctor"],
        &["remove-self-mntns"],
        &["remove-self-mntns"],
    ] {
        let code = printed.run(sandbox, words);
        assert!(code == 0 || ["test", "doctor"].contains(&words[0]), "{words:?}: {code}");
    }
    let own_namespace = sandbox.run(["mntnsid", "number"]).ok();
    printed.run(sandbox, &["resolve", own_namespace.trim()]);
    assert_eq!(printed.run(sandbox, &["add-cgroup", "/no/such"]), 3);
}

fn whole_sets(sandbox: &Sandbox, own: &Cgroup, printed: &mut Printed) {
    let (listing, pin) = (sandbox.plain("listing"), sandbox.pin("mnt_ns_set"));
    fs::write(&listing, "4026532901\n").unwrap();
    let held = Set::open(&pin, Access::ReadOnly).unwrap();
    let set = Set::open(&sandbox.pin("cgroup_set"), Access::ReadWrite).unwrap();
    let glob = format!("/{}", own.path.file_name().unwrap().to_str().unwrap());
    set.insert(&Member::Cgroup(CgroupMember::new(1 << 40, false))).unwrap();
    for (words, code) in [
        (&["apply", arg(&listing), "--kind", "mntns", "--dry-run"][..], 0),
        (&["apply", arg(&listing), "--kind", "mntns"], 0),
        (&["diff", arg(&pin), arg(&listing)], 0),
        (&["resize", "31", "--kind", "mntns"], 0),
        (&["resize", "31", "--kind", "mntns"], 0),
        (&["gc"], 0),
        (&["follow", &glob, "--once"], 0),
        (&["clear", "--kind", "mntns"], 0),
        (&["add-cgroup", "1"], 0),
    ] {
        assert_eq!(printed.run(sandbox, words), code, "{words:?}");
    }
    sandbox.run(["map", "freeze", "pinned", arg(&sandbox.pin("cgroup_set"))]).ok();
    assert_eq!(printed.run(sandbox, &["follow", &glob, "--once"]), 8);
    assert_eq!(printed.run(sandbox, &["delete", "--kind", "cgroup"]), 0);
    drop(held);
}

fn watched(sandbox: &Sandbox, own: &Cgroup, printed: &mut Printed) {
    sandbox.run(["create", "--kind", "cgroup"]).ok();
    let mut command = sandbox.nsmap();
    command.args(["--json", "watch", "--kind", "cgroup", "--interval", "5ms", "--for", "60s"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = |event: &str| {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(line["event"], event);
        printed.take("watch", &line);
    };
    sandbox.run(["add-cgroup", arg(&own.path)]).ok();
    next("added");
    let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
    fs::write(own.path.join("cgroup.procs"), sleeper.id().to_string()).unwrap();
    next("changed");
    sandbox.run(["remove-cgroup", arg(&own.path)]).ok();
    next("removed");
    for child in [&mut child, &mut sleeper] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// What a runtime writes down of a container, and its process.
fn container(sandbox: &Sandbox) -> Child {
    let task = unshared();
    let start = nsmap::identity::process::start_ticks(task.id()).unwrap();
    let state = sandbox.plain("host/run/runc/web");
    fs::create_dir_all(&state).unwrap();
    let labels =
        ["container-name=c", "sandbox-name=p", "sandbox-namespace=n", "sandbox-uid=u", "image-name=i"]
            .map(|label| format!("io.kubernetes.cri.{label}"));
    let record = serde_json::json!({
        "id": "web", "init_process_pid": task.id(), "init_process_start": start, "config": { "labels": labels }
    });
    fs::write(state.join("state.json"), record.to_string()).unwrap();
    task
}

#[test]
fn what_is_printed_is_documented_and_what_is_documented_is_printed() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    let mut printed = Printed::default();
    let mut task = container(&sandbox);
    members(&sandbox, &own, &mut printed);
    whole_sets(&sandbox, &own, &mut printed);
    watched(&sandbox, &own, &mut printed);
    task.kill().unwrap();
    task.wait().unwrap();

    let rows = documented();
    let row = |word: &str| &rows.iter().find(|(first, _)| first.contains(word)).expect(word).1;
    let of_member = row("a member");
    for (command, keys) in &printed.keys {
        let own = match command.split_once('-') {
            Some((verb @ ("add" | "remove"), _)) => row(&format!("`{verb}-*`")),
            _ => row(&format!("`{command}`")),
        };
        let unknown: Vec<_> =
            keys.iter().filter(|key| !own.contains(*key) && !of_member.contains(*key)).collect();
        assert!(unknown.is_empty(), "`{command}` prints {unknown:?}, which docs/nsmap.md does not know");
    }
    let printed: BTreeSet<&String> = printed.keys.values().flatten().chain(&printed.words).collect();
    let missing: Vec<_> = rows
        .iter()
        .flat_map(|(_, words)| words)
        .filter(|word| !printed.contains(word) && !SELDOM.contains(&word.as_str()))
        .collect();
    assert!(missing.is_empty(), "docs/nsmap.md has {missing:?}, which nothing printed");
}
