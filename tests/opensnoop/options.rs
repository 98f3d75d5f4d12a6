//! The options that are no filters: columns, ends, strictness.

use std::fs::{self, File};
use std::time::Duration;

use crate::common::run::run;
use crate::common::sandbox::Sandbox;
use crate::common::skip::or_skip;
use crate::common::tag;
use crate::{drain, opensnoop, own};

/// Options that add or change columns.
const COLUMNS: [&[&str]; 7] = [&["-T"], &["--time"], &["-U"], &["-e"], &["-F"], &["--containers"], &["-t"]];

/// Where each word of a header starts, and what each column may look like.
fn starts(line: &str) -> Vec<usize> {
    let bytes = line.as_bytes();
    (0..bytes.len()).filter(|&at| bytes[at] != b' ' && (at == 0 || bytes[at - 1] == b' ')).collect()
}

#[test]
fn columns_are_aligned_with_each_option_alone_and_with_all_of_them() {
    // Every combination is tried without a kernel, in `src/bin/opensnoop/tests.rs`.
    let sandbox = or_skip!(Sandbox::new());
    fs::write(sandbox.path("file"), "").unwrap();
    let tid = nix::unistd::gettid().to_string();
    let alone = (0..COLUMNS.len()).map(|bit| 1usize << bit);
    for bits in alone.chain([0, (1 << COLUMNS.len()) - 1]) {
        let chosen = (0..COLUMNS.len()).filter(|bit| bits >> bit & 1 == 1).flat_map(|bit| COLUMNS[bit]);
        let mut args: Vec<String> = Vec::new();
        for option in chosen {
            args.push((*option).to_owned());
            args.extend((*option == "-t").then(|| tid.clone()));
        }
        args.extend(own(&sandbox).map(|arg| arg.into_string().unwrap()));
        let tracer = opensnoop(&sandbox, &args);
        let _ = File::open(sandbox.path("file"));
        let _ = fs::OpenOptions::new().write(true).create(true).truncate(true).open(sandbox.path("made"));
        let _ = File::open(sandbox.path("last"));
        tracer.wait_word("/last");
        let finished = tracer.stop().quiet();
        let header = &finished.stdout[0];
        let has = |word: &str| header.split_whitespace().any(|column| column == word);
        assert_eq!(has("FLAGS") && has("MODE"), args.iter().any(|arg| arg == "-e"));
        assert_eq!(has("TID"), !has("PID"));
        assert_eq!(finished.rows().len(), 3, "{finished:?}");
        for row in finished.rows() {
            let (header_at, row_at) = (starts(header), starts(row));
            assert_eq!(header_at.len(), row_at.len(), "{header}\n{row}");
            for (column, (start, found)) in header.split_whitespace().zip(header_at.iter().zip(&row_at)) {
                if ["FD", "ERR"].contains(&column) {
                    // To the right: the ends meet.
                    let end = |line: &str, at: usize| at + line[at..].find(' ').unwrap();
                    assert_eq!(end(header, *start), end(row, *found), "{header}\n{row}");
                } else {
                    assert_eq!(start, found, "{column}:\n{header}\n{row}");
                }
            }
        }
    }
}

#[test]
fn the_plain_table_is_the_one_that_people_know() {
    let sandbox = or_skip!(Sandbox::new());
    let tracer = opensnoop(&sandbox, own(&sandbox));
    let _ = File::open(sandbox.path("nope"));
    tracer.wait_word("nope");
    let finished = tracer.stop().quiet();
    assert_eq!(finished.stdout[0], "PID    COMM               FD ERR PATH");
    let words: Vec<&str> = finished.rows()[0].split_whitespace().collect();
    assert_eq!(words[2..], ["-1", "2", &sandbox.path("nope").display().to_string()]);
    let tracer = opensnoop(&sandbox, ["-e".into()].iter().chain(&own(&sandbox)));
    fs::write(sandbox.path("made"), "").unwrap();
    let row = tracer.wait_line("row", |row| row.contains("/made"));
    assert!(row.contains(" 02001101 0666 /"), "{row}");
    assert_eq!(tracer.stop().quiet().stdout[0], "PID    COMM               FD ERR FLAGS    MODE PATH");
}

#[test]
fn a_duration_ends_on_a_quiet_and_on_a_busy_system_with_success() {
    let sandbox = or_skip!(Sandbox::new());
    let tracer = opensnoop(&sandbox, ["-d", "0.3", "--path-prefix", "/nobody/opens/this"]);
    assert!(tracer.finish().quiet().rows().is_empty());
    let tracer = opensnoop(&sandbox, ["-d", "0.5"].map(Into::into).iter().chain(&own(&sandbox)));
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(600) {
        let _ = File::open(sandbox.path("busy"));
    }
    assert!(!tracer.finish().rows().is_empty());
}

#[test]
fn what_the_tool_itself_opens_is_not_among_the_rows() {
    let sandbox = or_skip!(Sandbox::new());
    let tracer = opensnoop(&sandbox, ["--json"]);
    let pid = tracer.pid();
    let finished = drain(&sandbox, tracer);
    let own: Vec<_> = finished.events().into_iter().filter(|event| event["pid"] == pid).collect();
    assert!(own.is_empty(), "{own:#?}");
}

#[test]
fn max_events_counts_exactly() {
    let sandbox = or_skip!(Sandbox::new());
    let tracer = opensnoop(&sandbox, ["--max-events", "13"].map(Into::into).iter().chain(&own(&sandbox)));
    for number in 0..17 {
        let _ = File::open(sandbox.path(&number.to_string()));
    }
    assert_eq!(tracer.finish().quiet().rows().len(), 13);
}

#[test]
fn a_buffer_may_be_given_in_pages() {
    let sandbox = or_skip!(Sandbox::new());
    for pages in ["1", "64", "65"] {
        let word = tag("pages");
        let tracer = opensnoop(&sandbox, ["-b", pages].map(Into::into).iter().chain(&own(&sandbox)));
        let _ = File::open(sandbox.path(&word));
        tracer.wait_word(&word);
        tracer.stop().quiet();
    }
}

#[test]
fn wrong_options_are_wrong_usage() {
    let sandbox = or_skip!(Sandbox::new());
    let wrong: [&[&str]; 21] = [
        &["word"],
        &["-p", "0"],
        &["-p", "12x"],
        &["-t", "0"],
        &["-t", "x"],
        &["-u", "12x"],
        &["-d", "0"],
        &["-n", ""],
        &["-n", "longer-than-comm"],
        &["-f", "O_X"],
        &["-f", "o_creat"],
        &["-f", "64"],
        &["-b", "0"],
        &["-b", "99999999999"],
        &["-b", "1", "--buffer-size", "1M"],
        &["--path-prefix", ""],
        &["-F", "--path-prefix", "etc"],
        &["--exec"],
        &["--hook", "nope"],
        &["-t", "1", "--exec", "true"],
        &["-x", "-x"],
    ];
    for args in wrong {
        run(&mut sandbox.command("opensnoop", args)).refused(2, "opensnoop");
    }
    let long = "/".repeat(257);
    run(&mut sandbox.command("opensnoop", ["--path-prefix", &long])).refused(2, "opensnoop");
}
