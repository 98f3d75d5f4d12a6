//! Each option, at least once, for what it promises. Columns together are in `rows`, sets in `filters`.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::common::cgroup::Cgroup;
use crate::common::program::{find, run_true, run_true_in, true_path};
use crate::common::run::{run, run_ok};
use crate::common::sandbox::Sandbox;
use crate::common::skip::or_skip;
use crate::common::tag;
use crate::{args_column, argv, drain, execsnoop, with_word};

/// Starts execsnoop with each of `spellings`, executes `true WORD` once, and gives header and row of each run.
fn header_and_row(sandbox: &Sandbox, spellings: &[&[&str]]) -> Vec<(String, String)> {
    spellings
        .iter()
        .map(|options| {
            let tracer = execsnoop(sandbox, *options);
            let word = tag("option");
            run_true([&word]);
            let row = tracer.wait_line("row", |row| row.contains(&word));
            let finished = tracer.stop().quiet();
            (finished.stdout[0].clone(), row)
        })
        .collect()
}

#[track_caller]
fn is_clock(text: &str) {
    let parts: Vec<u32> = text.split(':').map(|part| part.parse().unwrap()).collect();
    assert!(text.len() == 8 && parts.len() == 3 && parts[0] < 24 && parts[1] < 60 && parts[2] < 61, "{text}");
}

#[test]
fn time_is_the_local_time_of_the_event() {
    let sandbox = or_skip!(Sandbox::new());
    for (header, row) in header_and_row(&sandbox, &[&["-T"], &["--time"]]) {
        assert!(header.starts_with("TIME     PCOMM "), "{header}");
        is_clock(row.split(' ').next().unwrap());
    }
}

#[test]
fn timestamp_counts_seconds_from_the_start() {
    let sandbox = or_skip!(Sandbox::new());
    for (header, row) in header_and_row(&sandbox, &[&["-t"], &["--timestamp"]]) {
        assert!(header.starts_with("TIME(s)"), "{header}");
        let text = row.split(' ').next().unwrap();
        assert_eq!(text.split_once('.').unwrap().1.len(), 3, "{row}");
        assert!((0.0..60.0).contains(&text.parse::<f64>().unwrap()), "{row}");
    }
}

#[test]
fn print_uid_shows_the_user_who_executed() {
    let sandbox = or_skip!(Sandbox::new());
    for (header, row) in header_and_row(&sandbox, &[&["-U"], &["--print-uid"]]) {
        assert!(header.starts_with("UID    PCOMM"), "{header}");
        assert!(row.starts_with("0      true "), "{row}");
    }
}

#[test]
fn print_pcomm_shows_the_parents_name() {
    let sandbox = or_skip!(Sandbox::new());
    for options in [["-M"], ["--print-pcomm"]] {
        let tracer = execsnoop(&sandbox, options);
        let word = tag("parent");
        // A copy with its own name is the parent; not `exec`, so that it stays one.
        let parent = sandbox
            .executable("parent-of-it", format!("#!{}\n\"$@\"\nexit 0\n", find("sh").display()).as_bytes());
        run_ok(Command::new(&parent).args([&true_path(), &word]));
        let row = tracer.wait_line("row", |row| row.starts_with("true ") && row.contains(&word));
        assert_eq!(row.split_whitespace().nth(2), Some("parent-of-it"), "{row}");
        let finished = tracer.stop().quiet();
        assert_eq!(finished.stdout[0], "PCOMM            PID    PARENT           PPID   RET ARGS");
    }
}

#[test]
fn print_cpu_shows_a_cpu_that_exists() {
    let sandbox = or_skip!(Sandbox::new());
    let possible = fs::read_to_string("/sys/devices/system/cpu/possible").unwrap();
    let last: u32 = possible.trim().rsplit(['-', ',']).next().unwrap().parse().unwrap();
    for (header, row) in header_and_row(&sandbox, &[&["-C"], &["--print-cpu"]]) {
        assert_eq!(header, "PCOMM            PID    PPID   CPU  RET ARGS");
        assert!(row.split_whitespace().nth(3).unwrap().parse::<u32>().unwrap() <= last, "{row}");
    }
}

#[test]
fn quote_puts_quotes_around_each_argument() {
    let sandbox = or_skip!(Sandbox::new());
    for options in [["-q"], ["--quote"]] {
        let tracer = execsnoop(&sandbox, options);
        let word = tag("quote");
        run_true([word.as_str(), "say \"hi\"", "", "two words", "back\\slash"]);
        let row = tracer.wait_line("row", |row| row.contains(&word));
        let expected = format!(r#""{}" "{word}" "say \"hi\"" "" "two words" "back\\slash""#, true_path());
        assert_eq!(args_column(&row), expected);
        tracer.stop().quiet();
    }
}

#[test]
fn max_args_counts_the_program_and_marks_only_what_was_cut() {
    let sandbox = or_skip!(Sandbox::new());
    let program = true_path();
    for (limit, mark) in [
        ("1", " ...[+4 args]"),
        ("3", " 2 ...[+2 args]"),
        ("4", " 2 3 ...[+1 args]"),
        ("5", " 2 3 4"),
        ("60", " 2 3 4"),
    ] {
        let tracer = execsnoop(&sandbox, ["--max-args", limit, "-n", "^true$"]);
        let word = tag("max");
        run_true([&word, "2", "3", "4"]);
        // With one item, the word itself is cut.
        let row =
            tracer.wait_line("row", |row| row.contains(&word) || limit == "1" && row.contains("[+4 args]"));
        let word = if limit == "1" { String::new() } else { format!(" {word}") };
        assert_eq!(args_column(&row), format!("{program}{word}{mark}"));
        tracer.stop().quiet();
    }
}

#[test]
fn args_size_sets_how_much_is_read() {
    let sandbox = or_skip!(Sandbox::new());
    let program = true_path();
    let long = "y".repeat(100_003);
    for (size, bytes) in [("1K", 1024), ("256K", 256 * 1024), ("4099", 4099)] {
        let tracer = execsnoop(&sandbox, ["--args-size", size, "--json"]);
        let word = tag("size");
        run_true([&word, &long]);
        let line = tracer.wait_line("event", |line| line.contains(&word));
        let event: Value = serde_json::from_str(&line).unwrap();
        let front = program.len() + 1 + word.len() + 1;
        let shown = argv(&event)[2].len();
        assert_eq!(shown, long.len().min(bytes - front.min(bytes)), "{size}");
        assert_eq!(event["args_cut"], shown < long.len());
        assert_eq!(event["args_bytes"], front + long.len() + 1);
        assert_eq!(event["argc"], 3);
        tracer.stop().quiet();
    }
}

#[test]
fn name_is_a_pattern_for_the_name_of_the_command() {
    let sandbox = or_skip!(Sandbox::new());
    let words = [tag("name"), tag("name")];
    let script = sandbox.executable("other-name", format!("#!{}\nexit 0\n", find("sh").display()).as_bytes());
    for (options, word) in [["-n", "^tr[u]e$"], ["--name", "^true"]].into_iter().zip(&words) {
        let tracer = execsnoop(&sandbox, options);
        // Its arguments match; its name does not.
        run_ok(Command::new(&script).args(["true", word]));
        run_true([word]);
        let finished = drain(tracer).quiet();
        let rows: Vec<_> = finished.rows().iter().filter(|row| row.contains(word)).collect();
        assert_eq!(rows.len(), 1, "{rows:#?}");
        assert!(finished.rows().iter().all(|row| row.starts_with("true")), "{finished:#?}");
    }
}

#[test]
fn line_is_a_pattern_for_program_and_arguments() {
    let sandbox = or_skip!(Sandbox::new());
    for option in ["-l", "--line"] {
        let word = tag("line");
        let tracer = execsnoop(&sandbox, [option, &format!("true {word} [0-9]+ end$")]);
        run_true([word.as_str(), "x", "end"]);
        run_true([word.as_str(), "7", "end", "or not"]);
        run_true([word.as_str(), "11", "end"]);
        tracer.wait_word("11 end");
        let finished = tracer.stop().quiet();
        let shown: Vec<_> = finished.rows().iter().map(|row| args_column(row)).collect();
        assert_eq!(shown, [format!("{} {word} 11 end", true_path())]);
    }
}

#[test]
fn verbose_names_the_hook_in_use_on_standard_error_only() {
    let sandbox = or_skip!(Sandbox::new());
    for option in ["-v", "--verbose"] {
        let tracer = execsnoop(&sandbox, [option]);
        tracer.wait_message("sched_process_exec");
        let finished = drain(tracer);
        assert!(finished.stderr.iter().all(|line| line.starts_with("execsnoop: ")), "{finished:#?}");
        assert!(finished.stdout[0].starts_with("PCOMM"), "{finished:#?}");
    }
}

#[test]
fn hook_takes_the_beginning_of_a_name_and_refuses_what_is_none() {
    let sandbox = or_skip!(Sandbox::new());
    let tracer = execsnoop(&sandbox, ["--hook", "tp_btf", "--verbose"]);
    tracer.wait_message("through tp_btf/sched_process_exec");
    drain(tracer);
    let output = run(&mut sandbox.command("execsnoop", ["--hook", "kprobe"]));
    let line = output.refused(2, "execsnoop");
    assert!(line.contains("`kprobe`") && line.contains("`tp_btf/sched_process_exec`"), "{line}");
}

#[test]
fn buffer_size_may_be_small_or_large() {
    let sandbox = or_skip!(Sandbox::new());
    for size in ["1", "512K", "16M"] {
        let tracer = execsnoop(&sandbox, ["--buffer-size", size, "--name", "^true$"]);
        let word = tag("buffer");
        run_true([&word]);
        tracer.wait_word(&word);
        tracer.stop();
    }
}

#[test]
fn containers_adds_a_column_that_names_what_a_task_is_in() {
    let sandbox = or_skip!(Sandbox::new());
    let group = or_skip!(Cgroup::new());
    // As runc names the cgroup of a container of Docker, by its 64 hexadecimal digits.
    let id = "c0ffee".repeat(11)[..64].to_owned();
    let container = group.child(&format!("docker-{id}.scope"));
    let tracer = execsnoop(&sandbox, ["--containers"]);
    let json = execsnoop(&sandbox, ["--containers", "--json"]);
    let word = tag("container");
    run_true_in(&container, &[&word]);
    let row = tracer.wait_line("row", |row| row.starts_with("true") && row.contains(&word));
    assert!(row.contains(&id[..12]), "{row}");
    assert!(tracer.stop().quiet().stdout[0].contains("CONTAINER"));
    let events = drain(json).quiet().events();
    let event = with_word(&events, &word).into_iter().find(|event| event["comm"] == "true").unwrap();
    assert!(event["container"].as_str().unwrap().contains(&id[..12]), "{event:#}");
    assert_eq!(event["cgroup_id"], container.id());
}

#[test]
fn a_hook_can_be_forced_by_name_and_an_unknown_one_is_wrong_usage() {
    let sandbox = or_skip!(Sandbox::new());
    for (_, row) in
        header_and_row(&sandbox, &[&["--hook", "tp_btf/sched_process_exec"], &["--hook", "tp_btf"]])
    {
        assert!(row.contains("true"), "{row}");
    }
    let refused = crate::common::run::run(&mut sandbox.command("execsnoop", ["--hook", "fexit/nothing"]));
    let line = refused.refused(2, "execsnoop");
    assert!(line.contains("fexit/nothing") && line.contains("tp_btf/sched_process_exec"), "{line}");
}
