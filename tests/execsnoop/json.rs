//! `--json`, for programs that read it: one object per line, the documented keys, every byte recoverable.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::common::cgroup::Cgroup;
use crate::common::namespace::MountNamespace;
use crate::common::program::{find, run_true, run_true_in, true_path};
use crate::common::run::run_ok;
use crate::common::sandbox::Sandbox;
use crate::common::skip::or_skip;
use crate::common::tag;
use crate::{argv, drain, events_of, execsnoop, last_of, with_word};

const DOCUMENT: &str = include_str!("../../docs/events.md");

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn records_start_and_end_frame_the_events() {
    let sandbox = or_skip!(Sandbox::new());
    let word = tag("frame");
    let tracer = execsnoop(&sandbox, ["--json", "-x", "-l", "no-match-for-this$"]);
    run_true([word.as_str(), "no-match-for-this"]);
    tracer.wait_word(&word);
    let records = tracer.stop().quiet().records();
    let types: Vec<&str> = records.iter().map(|record| record["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["start", "exec", "end"]);
    let start = &records[0];
    assert_eq!(start["tool"], "execsnoop");
    assert_eq!(start["version"], env!("CARGO_PKG_VERSION"));
    let hooks: Vec<&str> =
        start["hooks"].as_array().unwrap().iter().map(|hook| hook["hook"].as_str().unwrap()).collect();
    assert!(hooks.iter().any(|hook| hook.contains("sched_process_exec")), "{hooks:?}");
    assert_eq!(hooks.len(), 2, "{hooks:?}");
    assert_eq!(
        (&start["filters"]["fails"], &start["filters"]["line"]),
        (&true.into(), &"no-match-for-this$".into())
    );
    let end = &records[2];
    assert_eq!((&end["events"], &end["lost"]), (&1.into(), &0.into()));
}

#[test]
fn every_key_is_documented() {
    let sandbox = or_skip!(Sandbox::new());
    let tracer = execsnoop(&sandbox, ["--json", "-x"]);
    let word = tag("keys");
    run_true([OsStr::new(&word), OsStr::from_bytes(b"\xff")]);
    crate::common::role::played("failing execs", [word.as_str(), "/nothing-here"]);
    let records = drain(tracer).quiet().records();
    for record in &records {
        for key in keys(record) {
            let plain = key.strip_suffix("_hex").unwrap_or(key);
            assert!(DOCUMENT.contains(&format!("`{plain}`")), "docs/events.md does not know `{key}`");
        }
    }
    // And each event has all of them, always.
    let all: Vec<BTreeSet<&str>> = records
        .iter()
        .filter(|record| record["type"] == "exec")
        .map(|event| keys(event).into_iter().filter(|key| !key.ends_with("_hex")).collect())
        .collect();
    assert!(all.len() > 3 && all.windows(2).all(|pair| pair[0] == pair[1]));
    let expected = [
        "type",
        "time",
        "pid",
        "tid",
        "ppid",
        "uid",
        "gid",
        "comm",
        "parent_comm",
        "cpu",
        "cgroup_id",
        "mntns",
        "ret",
        "error",
        "filename",
        "exe",
        "args",
        "argc",
    ];
    assert!(expected.iter().all(|key| all[0].contains(key)), "{:?}", all[0]);
}

/// The bytes of a text that is accompanied by `<key>_hex` when it is not UTF-8.
fn from_hex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// `argv` as it was, whatever the bytes.
fn raw_argv(event: &Value) -> Vec<Vec<u8>> {
    let hex = event.get("args_hex").and_then(Value::as_array).cloned().unwrap_or_default();
    let bytes = |(index, text): (usize, &str)| match hex.get(index).and_then(Value::as_str) {
        Some(hex) => from_hex(hex),
        None => text.as_bytes().to_vec(),
    };
    argv(event).into_iter().enumerate().map(bytes).collect()
}

#[test]
fn every_byte_of_an_argument_can_be_told() {
    // All of them but NUL, which ends one; and each alone, where it may be cut off from its neighbours.
    let all: Vec<u8> = (1..=255).collect();
    let single: Vec<Vec<u8>> = (1..=255).map(|byte| vec![byte]).collect();
    let word = tag("bytes");
    let text = "\u{202e}bidi \u{1b}[31m \n\t\" \\ ü \u{1f600} \u{fffd}";
    let Some(events) = events_of(&[], || {
        let args = [word.as_bytes(), &all, text.as_bytes(), b"", b"\xe2\x82"];
        run_true(
            args.iter()
                .map(|arg| OsStr::from_bytes(arg))
                .chain(single.iter().map(|arg| OsStr::from_bytes(arg))),
        );
    }) else {
        return;
    };
    let [event] = with_word(&events, &word)[..] else { panic!("{events:#?}") };
    let raw = raw_argv(event);
    assert_eq!(raw[2], all);
    assert_eq!(raw[3], text.as_bytes());
    assert_eq!((&raw[4][..], &raw[5][..]), (&b""[..], &b"\xe2\x82"[..]));
    assert_eq!(raw[6..], single);
}

#[test]
fn a_line_of_json_has_nothing_that_drives_a_terminal() {
    let sandbox = or_skip!(Sandbox::new());
    let tracer = execsnoop(&sandbox, ["--json"]);
    let word = tag("safe");
    run_true([word.as_str(), "\u{1b}[31m", "\u{202e}", "\u{9b}m", "\u{7f}", "\n"]);
    let line = tracer.wait_line("event", |line| line.contains(&word));
    assert!(!line.contains(|c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)), "{line}");
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(argv(&event)[2..], ["\u{1b}[31m", "\u{202e}", "\u{9b}m", "\u{7f}", "\n"]);
    tracer.stop().quiet();
}

#[test]
fn ids_are_those_of_the_task() {
    let sandbox = or_skip!(Sandbox::new());
    let group = or_skip!(Cgroup::new());
    let shell = MountNamespace::new();
    let tracer = execsnoop(&sandbox, ["--json"]);
    let words = [tag("ids"), tag("ids")];
    shell.run(|| run_ok(Command::new(true_path()).arg(&words[0]).uid(3_000_019).gid(3_000_023)));
    run_true_in(&group, &[&words[1]]);
    let events = drain(tracer).quiet().events();
    let [event] = with_word(&events, &words[0])[..] else { panic!("{events:#?}") };
    assert_eq!((&event["uid"], &event["gid"]), (&3_000_019.into(), &3_000_023.into()));
    assert_eq!(event["mntns"], shell.inode);
    let event = with_word(&events, &words[1]).into_iter().find(|event| event["comm"] == "true").unwrap();
    assert_eq!(event["cgroup_id"], group.id());
    assert_eq!(event["mntns"], MountNamespace::here().inode);
}

/// Seconds since 1970 of `2026-01-31T12:34:56.123456789Z`, by the calendar's own rules.
fn parse_time(text: &str) -> f64 {
    let number = |range: std::ops::Range<usize>| text[range].parse::<u32>().unwrap();
    assert!(
        text.len() == 30 && &text[10..11] == "T" && &text[19..20] == "." && text.ends_with('Z'),
        "{text}"
    );
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let leap = |year: u32| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let years: u32 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let months: u32 = lengths.iter().take(month as usize - 1).sum();
    let days = years + months + day - 1;
    let seconds = days * 86_400 + number(11..13) * 3600 + number(14..16) * 60 + number(17..19);
    f64::from(seconds) + f64::from(number(20..29)) / 1e9
}

#[test]
fn the_time_is_when_it_happened_and_not_when_it_was_printed() {
    let sandbox = or_skip!(Sandbox::new());
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let tracer = execsnoop(&sandbox, ["--json"]);
    // Stopped, it cannot print.
    tracer.signal(nix::sys::signal::Signal::SIGSTOP);
    let word = tag("time");
    let before = now();
    let pid = run_true([&word]);
    let after = now();
    std::thread::sleep(Duration::from_millis(300));
    tracer.signal(nix::sys::signal::Signal::SIGCONT);
    let events = drain(tracer).quiet().events();
    let time = parse_time(last_of(&events, pid)["time"].as_str().unwrap());
    // The two clocks are read one after the other, so a little is allowed.
    assert!(before - 0.05 <= time && time <= after + 0.05, "{before} {time} {after}");
}

#[test]
fn a_number_is_a_number_and_what_is_not_known_is_null() {
    let word = tag("types");
    let Some(events) = events_of(&["-x"], || {
        run_true([&word]);
        crate::common::role::played("failing execs", [word.as_str(), "/nothing-here"]);
    }) else {
        return;
    };
    let own = with_word(&events, &word);
    assert_eq!(own.len(), 4);
    for event in own {
        for key in ["pid", "tid", "ppid", "uid", "gid", "cpu", "cgroup_id", "mntns"] {
            assert!(event[key].is_u64(), "{key}: {event:#}");
        }
        assert!(event["ret"].is_i64());
        let failed = event["ret"] != 0;
        assert_eq!(event["error"].is_string(), failed, "{event:#}");
        assert_eq!(event["error"].is_null(), !failed, "{event:#}");
    }
}

#[test]
fn a_mounted_root_does_not_hide_the_path_of_the_program() {
    let sandbox = or_skip!(Sandbox::new());
    let program = sandbox.install(&find("true"), "deep/er/program");
    let tracer = execsnoop(&sandbox, ["--json"]);
    let path = program.to_str().unwrap();
    let pid = crate::common::role::played("execve", [path, "true"]);
    let events = drain(tracer).quiet().events();
    assert_eq!(last_of(&events, pid)["exe"], path);
}
