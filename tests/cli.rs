//! The command lines of the tools: what can be said about them without root and without BPF. `tracers`: options of all tracers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets something unexpected must fail"
)]

mod common;

#[path = "cli/tracers.rs"]
mod tracers;

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use common::run::{Output, run, wait_bounded};
use common::tool;

const TOOLS: [&str; 2] = ["execsnoop", "nsmap"];

/// Without what a user may have set.
fn command(name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(tool(name));
    command.args(args).env_remove("NSMAP_MNTNS_SET").env_remove("NSMAP_CGROUP_SET").env("COLUMNS", "100");
    command
}

#[track_caller]
fn misused(name: &str, args: &[&str]) -> Output {
    let output = run(&mut command(name, args));
    output.refused(2, name);
    output
}

#[test]
fn help_goes_to_standard_output_and_ends_with_examples() {
    for name in TOOLS {
        for option in ["--help", "-h"] {
            let output = run(&mut command(name, &[option]));
            let text = output.ok();
            assert_eq!(output.stderr, "");
            let examples =
                text.split_once("Examples:\n").unwrap_or_else(|| panic!("{name} has no examples: {text}")).1;
            assert!(
                examples.lines().filter(|line| line.contains("  nsmap ") || line.contains(name)).count() >= 3
            );
            assert!(text.lines().all(|line| line.chars().count() <= 120), "{name} {option}");
        }
    }
}

#[test]
fn what_a_tracer_misses_is_in_its_help_as_at_the_top_of_its_program_file() {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for (name, source) in [
        ("execsnoop", include_str!("../bpf-src/execsnoop.bpf.c")),
        ("opensnoop", include_str!("../bpf-src/opensnoop.bpf.c")),
        ("tcpaccept", include_str!("../bpf-src/tcpaccept.bpf.c")),
        ("tcpconnect", include_str!("../bpf-src/tcpconnect.bpf.c")),
        ("tcptracer", include_str!("../bpf-src/tcptracer.bpf.c")),
    ] {
        let help = run(&mut command(name, &["--help"])).ok().to_owned();
        let comment = source.split_once("*/").unwrap().0.split_once("\n * Misses\n").unwrap().1;
        let written =
            words(&comment.lines().map_while(|line| line.strip_prefix(" * ")).collect::<Vec<_>>().join(" "));
        let (_, shown) = help.split_once("\nNot seen, by hook:\n").unwrap();
        assert_eq!(words(shown.split_once("\n\nExamples:").unwrap().0), written, "{name}");
        assert!(written.len() > 200, "{name}");
    }
}

#[test]
fn the_table_of_fields_keeps_its_columns() {
    for name in ["execsnoop", "opensnoop", "tcpconnect", "tcpaccept", "tcptracer"] {
        let help = run(&mut command(name, &["--help"])).ok().to_owned();
        let (_, fields) = help.split_once("\nFields (JSON key, column):\n").unwrap();
        let fields: Vec<&str> = fields.split("\n\n").next().unwrap().lines().collect();
        for line in &fields {
            let text = &line[30..];
            assert!(text.starts_with(|c: char| c != ' ') && text.len() <= 68, "{name}: {line}");
        }
        assert!(fields.len() > 15, "{name}");
    }
}

#[test]
fn each_sub_command_of_nsmap_has_help() {
    let help = run(&mut command("nsmap", &["--help"])).ok().to_owned();
    let listed = help.split_once("Commands:\n").unwrap().1.split("\n\n").next().unwrap();
    let names: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()))
        .collect();
    let expected = [
        "create",
        "add-cgroup",
        "add-self-mntns",
        "add-mntns",
        "add-pid",
        "remove-cgroup",
        "remove-self-mntns",
        "remove-mntns",
        "remove-pid",
        "list",
        "clear",
        "delete",
        "cgroupid",
        "mntnsid",
    ];
    assert!(expected.iter().all(|name| names.contains(name)), "{names:?}");
    for name in names {
        assert!(run(&mut command("nsmap", &[name, "--help"])).ok().contains("Usage:"), "{name}");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    for name in TOOLS {
        let output = run(&mut command(name, &["--version"]));
        assert_eq!(output.ok(), format!("{name} {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn wrong_options_of_execsnoop_are_wrong_usage() {
    let wrong: [&[&str]; 28] = [
        &["--nope"],
        &["-Z"],
        &["word"],
        &["-u", "12x"],
        &["-u", ""],
        &["-u", "-1"],
        &["-u", "no-such-user-here"],
        &["-u", "4294967296"],
        &["--pid", "0"],
        &["--pid", "x"],
        &["-P", "12x"],
        &["-P", "0"],
        &["-P", "-5"],
        &["--duration", "0"],
        &["--duration", "-1"],
        &["--duration", "1h30x"],
        &["--duration"],
        &["-d", "nan"],
        &["--max-events", "0"],
        &["--max-events", "7.0"],
        &["--max-args", "0"],
        &["--max-args", "x"],
        &["--buffer-size", "0"],
        &["--buffer-size", "1X"],
        &["--args-size", "0"],
        &["--args-size", "257K"],
        &["-n", "("],
        &["-l", "[z-a]"],
    ];
    for args in wrong {
        misused("execsnoop", args);
    }
    // The line names what is wrong.
    for (args, word) in [(["-u", "12x"], "12x"), (["-P", "0x1"], "0x1"), (["-n", "(("], "((")] {
        let output = misused("execsnoop", &args);
        assert!(output.stderr.contains(word), "{output:?}");
    }
}

#[test]
fn wrong_command_lines_of_nsmap_are_wrong_usage() {
    let wrong: [&[&str]; 18] = [
        &["nope"],
        &["create", "--kind", "nope", "/x"],
        &["create", "--entries", "0", "/x"],
        &["create", "--entries", "-1", "/x"],
        &["create", "--entries", "many", "/x"],
        &["create", "--mode", "9", "/x"],
        &["create", "--name", "a-name-that-is-too-long", "/x"],
        &["create", "/x", "/y"],
        &["add-cgroup"],
        &["add-mntns"],
        &["add-mntns", "0"],
        &["add-mntns", "99999999999"],
        &["add-pid"],
        &["add-pid", "x"],
        &["add-pid", "0"],
        &["cgroupid", "print-hex", "/x"],
        &["cgroupid", "number"],
        &["mntnsid", "hex", "-1"],
    ];
    for args in wrong {
        misused("nsmap", args);
    }
    // Alone it explains itself, but that is no success either.
    assert_eq!(run(&mut command("nsmap", &[])).code(), 2);
}

#[test]
fn a_flag_may_be_said_once_and_help_wins() {
    assert_eq!(run(&mut command("execsnoop", &["-x", "--help"])).code(), 0);
    misused("execsnoop", &["--duration", "1", "--duration", "2"]);
}

#[test]
fn man_page_and_completions_come_from_the_tool() {
    for (what, word) in
        [("man", ".TH execsnoop"), ("bash", "--mntnsmap"), ("zsh", "--mntnsmap"), ("fish", "mntnsmap")]
    {
        let output = run(&mut command("execsnoop", &["--generate", what]));
        assert!(output.ok().contains(word), "{what}: {output:?}");
    }
    let page = run(&mut command("execsnoop", &["--generate", "man"])).ok().to_owned();
    let examples = page.split_once(".SH \"EXAMPLES\"\n.nf\n").expect("examples, as lines").1;
    assert!(examples.starts_with("execsnoop "), "{examples}");
    let output = run(&mut command("nsmap", &["generate", "man"]));
    assert!(output.ok().contains(".TH nsmap"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            run(&mut command("nsmap", &["generate", "completions", shell])).ok().contains("add-self-mntns")
        );
    }
}

#[test]
fn help_to_a_reader_that_has_gone_is_no_error_and_to_a_full_disk_is() {
    for name in TOOLS {
        let mut child = command(name, &["--help"]).stdout(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        assert_eq!(wait_bounded(&mut child).unwrap().code(), Some(0), "{name}");
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut child = command(name, &["--help"]).stdout(full).stderr(Stdio::null()).spawn().unwrap();
        assert_eq!(wait_bounded(&mut child).unwrap().code(), Some(1), "{name}");
    }
}

/// Long options in a help text.
fn long_options(help: &str) -> BTreeSet<&str> {
    help.split("Examples:")
        .next()
        .unwrap()
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        .filter(|word| word.starts_with("--") && word.len() > 2)
        .collect()
}

#[test]
fn every_option_of_execsnoop_is_used_by_a_test() {
    let tests = concat!(
        include_str!("execsnoop/ending.rs"),
        include_str!("execsnoop/filters.rs"),
        include_str!("execsnoop/json.rs"),
        include_str!("execsnoop/options.rs"),
        include_str!("execsnoop/rows.rs"),
        include_str!("execsnoop/tables.rs"),
        include_str!("nsmap/containers.rs"),
        include_str!("cli.rs"),
    );
    let help = run(&mut command("execsnoop", &["--help"])).ok().to_owned();
    let options = long_options(&help);
    assert!(options.len() > 20, "{options:?}");
    let unused: Vec<_> = options.iter().filter(|option| !tests.contains(&format!("\"{option}\""))).collect();
    assert_eq!(unused, Vec::<&&str>::new());
}

#[test]
fn a_tool_without_arguments_that_it_knows_touches_nothing() {
    // A missing set is found before anything else is done, whoever asks.
    let output = run(&mut command("execsnoop", &["--mntnsmap", "/nope/nope"]));
    let line = output.refused(1, "execsnoop");
    assert!(line.contains("/nope/nope"), "{line}");
}

#[test]
fn a_hostile_path_is_told_on_one_line_that_drives_no_terminal() {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::OsStr::from_bytes(b"/nope/\x1b[31m\nx\xff\xe2\x80\xae");
    let lines = [
        ("execsnoop", run(command("execsnoop", &["--mntnsmap"]).arg(path)), 1),
        ("execsnoop", run(command("execsnoop", &["--cgroupmap"]).arg(path)), 1),
        ("execsnoop", run(command("execsnoop", &["--cgroup"]).arg(path)), 1),
        ("execsnoop", run(command("execsnoop", &[]).arg(path)), 2),
        ("nsmap", run(command("nsmap", &["list"]).arg(path)), 3),
        ("nsmap", run(command("nsmap", &["delete"]).arg(path)), 3),
        ("nsmap", run(command("nsmap", &["create"]).arg(path)), 3),
        ("nsmap", run(command("nsmap", &["cgroupid", "hex"]).arg(path)), 3),
        ("nsmap", run(command("nsmap", &[]).arg(path)), 2),
    ];
    for (name, output, code) in lines {
        let line = output.refused(code, name);
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
        // Nothing is lost: a byte that cannot be shown is told by its number. (Usage is clap's to word.)
        assert!(code == 2 || line.contains(r"\377"), "{line:?}");
    }
}
