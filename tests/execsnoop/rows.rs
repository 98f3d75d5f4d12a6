//! How events are shown in the table: columns that line up, one line per event, nothing that drives a terminal.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use crate::common::program::{run_true, true_path};
use crate::common::run::wait_bounded;
use crate::common::sandbox::Sandbox;
use crate::common::skip::or_skip;
use crate::common::{elf, tag};
use crate::{args_column, argv, execsnoop};

/// Shell escapes of hostile arguments (A13 of the reproducers, and worse).
const HOSTILE: [(&[u8], &str); 9] = [
    (b"\x1b[31mred", r"\x1b[31mred"),
    (b"n\nl", r"n\nl"),
    (b"t\tt", r"t\tt"),
    (b"c\rr", r"c\rr"),
    (b"caf\xe9 \xff", r"caf\xe9 \xff"),
    ("bidi\u{202e}txt.exe".as_bytes(), r"bidi\u{202e}txt.exe"),
    ("c1\u{9b}31m".as_bytes(), r"c1\u{9b}31m"),
    (b"back\\slash", r"back\\slash"),
    ("stays \u{fc} \u{6771}".as_bytes(), "stays \u{fc} \u{6771}"),
];

#[test]
fn hostile_arguments_are_escaped_on_one_line() {
    let sandbox = or_skip!(Sandbox::new());
    let tracer = execsnoop(&sandbox, [""; 0]);
    let quoted = execsnoop(&sandbox, ["-q"]);
    for (raw, shown) in HOSTILE {
        let word = tag("hostile");
        run_true([OsStr::new(&word), OsStr::from_bytes(raw)]);
        let row = tracer.wait_line("row", |row| row.contains(&word));
        assert_eq!(args_column(&row), format!("{} {word} {shown}", true_path()));
        let row = quoted.wait_line("row", |row| row.contains(&word));
        assert_eq!(args_column(&row), format!(r#""{}" "{word}" "{shown}""#, true_path()));
    }
    // Had a newline come through, there would be a line that is no row.
    let finished = tracer.stop().quiet();
    assert!(finished.rows().iter().all(|row| row.split_whitespace().nth(1).unwrap().parse::<u32>().is_ok()));
    quoted.stop().quiet();
}

#[test]
fn a_hostile_name_of_a_program_is_escaped_in_every_column() {
    let sandbox = or_skip!(Sandbox::new());
    let sh = crate::common::program::find("sh");
    let script = sandbox.executable("\u{1b}[2J\nx", format!("#!{}\nexit 0\n", sh.display()).as_bytes());
    let tracer = execsnoop(&sandbox, ["-M"]);
    let word = tag("name");
    assert!(wait_bounded(&mut Command::new(&script).arg(&word).spawn().unwrap()).unwrap().success());
    let row = tracer.wait_line("row", |row| row.contains(&word));
    assert!(row.starts_with(r"\x1b[2J\nx"), "{row}");
    assert!(row.ends_with(&format!(r"/\x1b[2J\nx {word}")), "{row}");
    tracer.stop().quiet();
}

#[test]
fn the_table_is_as_in_the_tutorial() {
    let sandbox = or_skip!(Sandbox::new());
    let tracer = execsnoop(&sandbox, [""; 0]);
    let word = tag("tutorial");
    let pid = run_true([&word]);
    tracer.wait_word(&word);
    let finished = tracer.stop().quiet();
    assert_eq!(finished.stdout[0], "PCOMM            PID    PPID   RET ARGS");
    let row = finished.rows().iter().find(|row| row.contains(&word)).unwrap();
    let own = std::process::id();
    assert_eq!(*row, format!("{:<16} {pid:<6} {own:<6} {:>3} {} {word}", "true", 0, true_path()));
}

#[test]
fn columns_line_up_with_every_option() {
    let sandbox = or_skip!(Sandbox::new());
    let option_sets: [&[&str]; 9] =
        [&[], &["-T"], &["-t"], &["-U"], &["-C"], &["-M"], &["-T", "-t"], &["-x"], &["-TtUMCxq"]];
    for options in option_sets {
        let tracer = execsnoop(&sandbox, options);
        let words = [tag("aligned"), tag("aligned")];
        for word in &words {
            run_true([word]);
        }
        tracer.wait_word(&words[1]);
        let finished = tracer.stop().quiet();
        let header = &finished.stdout[0];
        let args = header.find("ARGS").unwrap();
        for word in &words {
            let row = finished.rows().iter().find(|row| row.contains(word)).unwrap();
            let column = row.get(args..).unwrap_or_else(|| panic!("{header}\n{row}"));
            let quote = if options.contains(&"-TtUMCxq") { "\"" } else { "" };
            assert_eq!(
                column,
                format!("{quote}{}{quote} {quote}{word}{quote}", true_path()),
                "{header}\n{row}"
            );
            assert_eq!(&row[args - 2..args], "0 ", "{header}\n{row}");
            assert_eq!(header.split_whitespace().count(), row[..args].split_whitespace().count() + 1);
        }
    }
}

#[test]
fn no_row_ends_with_a_blank() {
    let sandbox = or_skip!(Sandbox::new());
    let tracer = execsnoop(&sandbox, ["--max-args", "2"]);
    let word = tag("blank");
    run_true([&word, "x", "y"]);
    run_true([word.as_str()]);
    let finished = crate::drain(tracer).quiet();
    assert!(finished.stdout.iter().all(|line| !line.ends_with(' ')), "{finished:#?}");
    assert_eq!(finished.rows().iter().filter(|row| row.contains(&word)).count(), 2);
}

#[test]
fn a_long_name_of_a_program_is_cut_as_the_kernel_does_and_moves_no_column() {
    let sandbox = or_skip!(Sandbox::new());
    let script = sandbox.executable("name-longer-than-the-column-is", b"#!/bin/sh\nexit 0\n");
    let tracer = execsnoop(&sandbox, [""; 0]);
    let word = tag("long");
    assert!(wait_bounded(&mut Command::new(&script).arg(&word).spawn().unwrap()).unwrap().success());
    let row = tracer.wait_line("row", |row| row.contains(&word));
    // The kernel keeps fifteen bytes of a name.
    assert!(row.starts_with("name-longer-tha  "), "{row}");
    tracer.stop().quiet();
}

#[test]
fn failures_are_shown_on_request_with_their_errors_and_arguments() {
    let sandbox = or_skip!(Sandbox::new());
    let tracer = execsnoop(&sandbox, ["-x", "--json"]);
    let table = execsnoop(&sandbox, ["--fails"]);
    let without = execsnoop(&sandbox, ["--json"]);
    let missing = sandbox.path("missing").display().to_string();
    let plain = sandbox.path("not-executable").display().to_string();
    std::fs::write(&plain, "text").unwrap();
    let strange = sandbox.executable("strange", &elf::for_no_machine()).display().to_string();
    let below_a_file = format!("{plain}/x");
    let directory = sandbox.path("").display().to_string();
    let programs = [
        (missing.as_str(), -libc::ENOENT, "ENOENT"),
        (&plain, -libc::EACCES, "EACCES"),
        (&strange, -libc::ENOEXEC, "ENOEXEC"),
        (&below_a_file, -libc::ENOTDIR, "ENOTDIR"),
        (&directory, -libc::EACCES, "EACCES"),
    ];
    let word = tag("fails");
    let args = [word.as_str()].into_iter().chain(programs.iter().map(|(path, ..)| *path));
    let pid = crate::common::role::played("failing execs", args);
    let events = crate::drain(tracer).quiet().events();
    let own: Vec<_> = events.iter().filter(|event| event["pid"] == pid && event["ret"] != 0).collect();
    let wrong_flags = (missing.as_str(), -libc::EINVAL, "EINVAL");
    let calls = programs.iter().flat_map(|program| [program, program]).chain([&wrong_flags]);
    let mut expected = 0;
    for (event, (path, ret, name)) in own.iter().zip(calls) {
        assert_eq!((&event["ret"], &event["error"]), (&(*ret).into(), &(*name).into()), "{event:#}");
        assert_eq!(event["filename"], *path, "{event:#}");
        assert_eq!(argv(event), [*path, &word], "{event:#}");
        // It was not the first thread who tried.
        assert_ne!(event["tid"], event["pid"], "{event:#}");
        expected += 1;
    }
    assert_eq!((own.len(), expected), (11, 11), "{own:#?}");
    let table = crate::drain(table).quiet();
    let rows: Vec<_> =
        table.rows().iter().filter(|row| row.split_whitespace().nth(1) == Some(&pid.to_string())).collect();
    let first = rows.iter().find(|row| row.contains(&missing)).unwrap();
    assert_eq!(args_column(first), format!("{missing} {word}"));
    assert_eq!(first.split_whitespace().nth(3), Some("-2"));
    // The test binary itself and eleven failures.
    assert_eq!(rows.len(), 12, "{rows:#?}");
    let without = crate::drain(without).quiet().events();
    assert_eq!(without.iter().filter(|event| event["pid"] == pid).count(), 1);
    assert!(without.iter().all(|event| event["ret"] == 0));
}

#[test]
fn a_failure_of_a_process_with_one_thread_is_shown_with_its_arguments() {
    let sandbox = or_skip!(Sandbox::new());
    let tracer = execsnoop(&sandbox, ["-x", "--json"]);
    let word = tag("single");
    let missing = sandbox.path("missing").display().to_string();
    assert!(Command::new(&missing).args([&word, "two words"]).spawn().is_err());
    let events = crate::drain(tracer).quiet().events();
    let [event] = crate::with_word(&events, &word)[..] else { panic!("{events:#?}") };
    assert_eq!((&event["ret"], &event["error"]), (&(-libc::ENOENT).into(), &"ENOENT".into()));
    assert_eq!(
        (argv(event), &event["filename"]),
        (vec![&missing[..], &word, "two words"], &missing[..].into())
    );
    assert_eq!((&event["tid"], &event["ppid"]), (&event["pid"], &std::process::id().into()));
    assert_eq!(event["syscall"], "execve");
}

#[test]
fn a_failure_whose_strings_nobody_had_in_memory_is_never_empty() {
    let sandbox = or_skip!(Sandbox::new());
    let tracer = execsnoop(&sandbox, ["-x"]);
    let pid = crate::common::role::played("failing exec of untouched memory", [""; 0]).to_string();
    let finished = crate::drain(tracer).quiet();
    let mut rows = finished.rows().iter().filter(|row| row.split_whitespace().nth(1) == Some(&pid));
    let row = rows.rfind(|row| row.split_whitespace().nth(3) == Some("-2")).unwrap();
    let args = args_column(row);
    // The kernel had to read the file name; the arguments it may never have looked at, and then that is said.
    assert!(args.starts_with("/nothing-here"), "{row}");
    assert!(args.contains("never/read/before/true") || args.contains("[memory fault]"), "{row}");
}

#[test]
fn one_exec_with_failures_shown_is_still_one_row() {
    let sandbox = or_skip!(Sandbox::new());
    let tracer = execsnoop(&sandbox, ["-x"]);
    let word = tag("once");
    run_true([&word]);
    let finished = crate::drain(tracer).quiet();
    let rows: Vec<_> = finished.rows().iter().filter(|row| row.contains(&word)).collect();
    assert_eq!(rows.len(), 1, "{rows:#?}");
}
