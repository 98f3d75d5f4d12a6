//! `docs/events.md` beside what the tracers print, both ways: no key that is not described, no description of a key that is
//! not there.
//!
//! Keys of events are compared by `--help`, whose table of fields is the one that JSON is made from; records about the run
//! come from a run, which needs root and BPF.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets something unexpected must fail"
)]

mod common;

use std::collections::BTreeSet;
use std::fs::File;
use std::process::Command;

use serde_json::Value;

use common::run::run;
use common::sandbox::Sandbox;
use common::skip::or_skip;
use common::tool;
use common::tracer::{Finished, Tracer};

const DOCUMENT: &str = include_str!("../docs/events.md");

/// Each tracer, and the sections with keys of its events.
const TRACERS: [(&str, &[&str]); 5] = [
    ("execsnoop", &["## execsnoop: "]),
    ("opensnoop", &["## opensnoop: "]),
    ("tcpconnect", &["## The tcp tools", "### tcpconnect: "]),
    ("tcpaccept", &["## The tcp tools"]),
    ("tcptracer", &["## The tcp tools", "### tcptracer: "]),
];

/// The text from a heading that begins like this to the next one.
#[track_caller]
fn section(heading: &str) -> &'static str {
    let start = DOCUMENT.find(&format!("\n{heading}")).unwrap_or_else(|| panic!("no section {heading}"));
    let text = &DOCUMENT[start + 1..];
    &text[..text.find("\n#").unwrap_or(text.len())]
}

/// What is in backticks.
fn quoted(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The keys in the first column of a section's table.
#[track_caller]
fn described(heading: &str) -> BTreeSet<String> {
    let rows = section(heading).lines().filter_map(|line| line.strip_prefix("| `"));
    let keys = rows.flat_map(|row| quoted(&format!("`{}", row.split(" | ").next().unwrap()))).collect();
    assert_ne!(keys, BTreeSet::new(), "no table in {heading}");
    keys
}

/// The keys in the table of fields at the end of the help.
fn printed(name: &str) -> BTreeSet<String> {
    let help = run(Command::new(tool(name)).arg("--help")).ok().to_owned();
    let (_, fields) = help.split_once("\nFields (JSON key, column):\n").unwrap();
    let fields = fields.split("\n\n").next().unwrap().lines().filter_map(|line| line.strip_prefix("  "));
    let first = fields.filter(|line| !line.starts_with(' ')).filter_map(|line| line.split(' ').next());
    first.map(str::to_owned).collect()
}

#[test]
fn each_key_of_an_event_is_described_and_each_described_one_is_printed() {
    for (name, headings) in TRACERS {
        let mut expected = described("## Keys of every event");
        headings.iter().for_each(|heading| expected.extend(described(heading)));
        let mut keys = printed(name);
        keys.insert("type".to_owned());
        let unknown: Vec<_> = keys.difference(&expected).collect();
        let gone: Vec<_> = expected.difference(&keys).collect();
        assert!(
            unknown.is_empty() && gone.is_empty(),
            "{name}: not described {unknown:?}, not printed {gone:?}"
        );
    }
}

/// The filters of its own that a tool has, by what the document says between these words and the next full stop.
#[track_caller]
fn own_filters(heading: &str, after: &str) -> BTreeSet<String> {
    let (_, text) = section(heading).split_once(after).unwrap();
    quoted(text.split_once(".\n").map_or(text, |(sentence, _)| sentence))
}

fn keys(record: &Value) -> BTreeSet<String> {
    record.as_object().unwrap().keys().cloned().collect()
}

/// Runs a tool with filters that want nothing, and gives the keys of `filters`.
#[track_caller]
fn filters_of(sandbox: &Sandbox, name: &str, args: &[&str]) -> BTreeSet<String> {
    let (groups, namespaces) = (sandbox.pin("cgroup_set"), sandbox.pin("mnt_ns_set"));
    let mut command = sandbox.command(name, ["--json", "--pid", "1", "--uid", "0"].iter().chain(args));
    command.arg("--cgroupmap").arg(groups).arg("--mntnsmap").arg(namespaces);
    keys(&Tracer::start(command).stop().records()[0]["filters"])
}

#[test]
fn each_filter_in_the_start_record_is_described_and_each_described_one_is_printed() {
    let sandbox = or_skip!(Sandbox::new());
    for kind in ["cgroup", "mntns"] {
        sandbox.create_set(kind);
    }
    let tcp = own_filters("## The tcp tools", "Filters of their own in `start`:");
    let without = |key: &str| tcp.iter().filter(|other| *other != key).cloned().collect::<BTreeSet<_>>();
    let ends = ["-4", "-N", "1", "-P", "80"];
    let cases: [(&str, &[&str], BTreeSet<String>); 4] = [
        (
            "execsnoop",
            &["-x", "-P", "1", "-n", "x", "-l", "x"],
            own_filters("## execsnoop: ", "Filters of its own in `start`:"),
        ),
        (
            "opensnoop",
            &["-x", "-t", "1", "-n", "x", "-f", "O_CREAT", "--path-prefix", "/x"],
            own_filters("## opensnoop: ", "Filters of its own in `start`:"),
        ),
        ("tcpaccept", &ends, without("fails")),
        ("tcpconnect", &ends, tcp.clone()),
    ];
    let both = described_filters();
    for (name, args, mut own) in cases {
        // One of two that exclude each other, and one that would start something.
        own.remove(if name == "opensnoop" { "exec" } else { "ipv6" });
        let found: BTreeSet<String> =
            filters_of(&sandbox, name, args).into_iter().filter(|key| !both.contains(key)).collect();
        assert_eq!(found, own, "{name}");
    }
}

/// Filters that all tools have.
fn described_filters() -> BTreeSet<String> {
    let row = section("## `start`").lines().find(|line| line.starts_with("| `filters`")).unwrap();
    let mut all = quoted(row);
    all.remove("filters");
    all
}

#[track_caller]
fn record<'a>(records: &'a [Value], kind: &str) -> &'a Value {
    records.iter().find(|record| record["type"] == kind).unwrap_or_else(|| panic!("no `{kind}`"))
}

/// A run that loses most of what it sees.
fn lossy(sandbox: &Sandbox) -> Finished {
    let prefix = sandbox.path("").display().to_string();
    let args = ["--json", "--buffer-size", "4096", "--path-prefix", &prefix];
    let tracer = Tracer::start(sandbox.command("opensnoop", args));
    for _ in 0..10_007 {
        let _ = File::open(sandbox.path("nothing"));
    }
    tracer.wait_word("\"lost\"");
    tracer.stop()
}

#[test]
fn the_records_about_a_run_have_the_keys_that_are_described() {
    let sandbox = or_skip!(Sandbox::new());
    let records = lossy(&sandbox).records();
    for kind in ["start", "lost", "end"] {
        assert_eq!(keys(record(&records, kind)), described(&format!("## `{kind}`")), "{kind}");
    }
    let (end, lost) = (record(&records, "end"), record(&records, "lost"));
    assert!(end["lost"].as_u64() >= lost["count"].as_u64(), "{end}");
    let events = records.iter().filter(|record| record["type"] == "open").count();
    assert_eq!(end["events"], events);
    // All that happened is there, or told as lost.
    assert_eq!(end["lost"].as_u64().unwrap() + events as u64, 10_007);
    assert!(section("## `end`").contains(&format!("`\"{}\"`", end["reason"].as_str().unwrap())));
}
