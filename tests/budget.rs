//! What a change may not cost unnoticed, counted and not timed: instructions of each program, as clang made them and as the
//! kernel runs them; how many the verifier walks through; the system calls of a start; instructions of our own code for an
//! event and for the kernel's types.
//!
//! The bounds leave a quarter of room over what was counted, of the verifier's steps twice as much, so that compilers and
//! kernels may differ. A change that needs more raises the bound here, and its commit says what it was worth. A program without a line in [`KNOWN`] has to keep
//! within [`ANY`]. How fast all of it is, `make bench` measures.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that meets something unexpected must fail"
)]

mod common;

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::sandbox::Sandbox;
use common::skip::{Skip, or_skip, skip};
use common::tracer::Tracer;
use loader::linker;
use loader::load::{LoadOptions, Object};
use loader::spec::ObjectSpec;

/// What a program may have.
#[derive(Clone, Copy)]
struct Budget {
    /// Instructions in the object, subprograms included.
    linked: usize,
    /// Instructions that the kernel runs, after it has taken out what it knows to be dead.
    translated: usize,
    /// Steps of the verifier. The kernel's own limit is a million.
    verified: usize,
}

/// For programs that are not known.
const ANY: Budget = Budget { linked: 2000, translated: 2000, verified: 100_000 };

/// Tracer and program; instructions in the object and in the kernel, steps of the verifier (what another kernel keeps of a
/// program, and how often its verifier walks through a piece, differs more than what clang makes of it).
#[rustfmt::skip] // a table
const KNOWN: &[(&str, [usize; 3])] = &[
    ("execsnoop enter_execve", [360, 360, 1_000]),
    ("execsnoop enter_execveat", [360, 360, 1_000]),
    ("execsnoop exit_execve", [1_120, 1_120, 11_740]),
    ("execsnoop exit_execveat", [1_120, 1_120, 11_740]),
    ("execsnoop process_exec", [1_130, 1_130, 4_840]),
    ("opensnoop enter_creat", [410, 410, 1_000]),
    ("opensnoop enter_open", [420, 420, 1_000]),
    ("opensnoop enter_openat", [420, 420, 1_000]),
    ("opensnoop enter_openat2", [420, 420, 1_000]),
    ("opensnoop exit_openat2", [1_110, 1_110, 20_000]),
    ("opensnoop exit_syscall", [1_950, 1_950, 2_540]),
    ("opensnoop leave_creat", [1_100, 1_100, 1_000]),
    ("opensnoop leave_open", [1_100, 1_100, 1_000]),
    ("opensnoop leave_openat", [1_100, 1_100, 1_000]),
    ("opensnoop leave_openat2", [1_100, 1_100, 1_000]),
    ("opensnoop ring_enter", [490, 490, 20_000]),
    ("opensnoop ring_exit", [1_070, 1_070, 20_000]),
    ("opensnoop tree_exit", [40, 40, 1_000]),
    ("opensnoop tree_fork", [70, 80, 1_000]),
    ("tcpaccept exit_accept", [730, 730, 1_340]),
    ("tcpaccept exit_accept4", [730, 730, 1_340]),
    ("tcpaccept exit_csk_accept", [640, 640, 20_000]),
    ("tcpconnect enter_connect", [530, 530, 1_000]),
    ("tcpconnect exit_connect", [880, 880, 1_520]),
    ("tcpconnect fail_v4", [910, 910, 20_000]),
    ("tcpconnect fail_v4_2", [910, 910, 20_000]),
    ("tcpconnect fail_v6", [910, 910, 20_000]),
    ("tcpconnect fail_v6_2", [910, 910, 20_000]),
    ("tcpconnect retransmit", [600, 600, 1_000]),
    ("tcpconnect set_state", [1_440, 1_440, 4_120]),
    ("tcptracer exit_accept", [1_410, 1_410, 3_160]),
    ("tcptracer exit_accept4", [1_410, 1_410, 3_160]),
    ("tcptracer exit_csk_accept", [1_330, 1_330, 20_000]),
    ("tcptracer set_state", [2_400, 2_400, 6_200]),
];

fn budget(name: &str) -> Budget {
    // The second program of a pair does what the first one does.
    let name = name.strip_suffix("_2").unwrap_or(name);
    let known = KNOWN.iter().find(|(known, _)| *known == name);
    known.map_or(ANY, |&(_, [linked, translated, verified])| Budget { linked, translated, verified })
}

/// The compiled objects, which the build script leaves beside each other: tracer and bytes.
fn objects() -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(env!("OUT_DIR")).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name()?.to_str()?.strip_suffix(".bpf.o").map(str::to_owned);
    let mut found: Vec<_> = files.filter_map(|path| Some((name(&path)?, fs::read(&path).unwrap()))).collect();
    found.sort();
    assert!(!found.is_empty(), "the build script left no object");
    found
}

/// A complaint when a program has more of something than it may.
fn over<N: PartialOrd + Display>(complaints: &mut Vec<String>, program: &str, what: &str, found: N, most: N) {
    println!("{program}: {found} {what}");
    if found > most {
        complaints.push(format!("{program}: {found} {what}, {most} allowed"));
    }
}

#[test]
fn no_program_has_more_instructions_than_its_budget() {
    let mut complaints = Vec::new();
    for (object, bytes) in objects() {
        let spec = ObjectSpec::parse(&bytes).unwrap();
        for program in &spec.programs {
            let count = linker::link(&spec, program).unwrap().insns.len();
            let name = format!("{object} {}", program.name);
            over(&mut complaints, &name, "instructions in the object", count, budget(&name).linked);
        }
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn what_the_kernel_makes_of_each_program_keeps_within_its_budget() {
    let _sandbox = or_skip!(Sandbox::new());
    let mut complaints = Vec::new();
    for (tracer, bytes) in objects() {
        let mut object = Object::create(ObjectSpec::parse(&bytes).unwrap(), LoadOptions::default()).unwrap();
        let names: Vec<String> = object.spec().programs.iter().map(|program| program.name.clone()).collect();
        let mut loaded = 0;
        for name in names {
            // Not every kernel has every hook; the tests of the tracer see to it that enough are left.
            let Ok(program) = object.load_program(&name) else { continue };
            loaded += 1;
            let (info, name) = (program.info().unwrap(), format!("{tracer} {name}"));
            let (translated, verified) = (info.instructions as usize, info.verified as usize);
            assert!(translated > 0, "{name}: the kernel tells no number");
            let most = budget(&name);
            over(&mut complaints, &name, "instructions in the kernel", translated, most.translated);
            over(&mut complaints, &name, "steps of the verifier", verified, most.verified);
        }
        assert!(loaded > 0, "{tracer}: no program could be loaded");
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// System calls from the first to the one that prints the header. Half are the C library's and Rust's own; where fexit hooks
/// are refused, to be refused kprobes and kretprobes as well takes 25 each.
const START_CALLS: usize = 350;

fn strace() -> Result<PathBuf, Skip> {
    let path = PathBuf::from("/usr/bin/strace");
    if path.is_file() { Ok(path) } else { Err(Skip::NoPeer("strace")) }
}

/// The system calls of a start, one a line.
fn start_calls(sandbox: &Sandbox, strace: &Path, tracer: &str) -> Vec<String> {
    let log = sandbox.path(&format!("{tracer}.strace"));
    let mut command = Command::new(strace);
    command.args(["-s", "200", "-o"]).arg(&log).arg(common::tool(tracer));
    // strace, which would get the signal that ends a run, ignores it.
    command.args(["--duration", "1"]);
    // Cargo's, in which the C library would look for itself.
    command.env_remove("LD_LIBRARY_PATH");
    Tracer::start(command).finish();
    let text = fs::read_to_string(&log).unwrap();
    let header = text.lines().position(|line| line.starts_with("write(") && line.contains("PID"));
    let header = header.unwrap_or_else(|| panic!("{tracer} wrote no header: {text}"));
    // Before each close, a debug build of Rust's library asks whether that is an open file.
    let own = |line: &&str| !line.contains("F_GETFD");
    text.lines().take(header + 1).filter(own).map(str::to_owned).collect()
}

#[test]
fn a_start_takes_no_more_system_calls_than_its_budget() {
    let sandbox = or_skip!(Sandbox::new());
    let strace = or_skip!(strace());
    for (tracer, _) in objects() {
        let calls = start_calls(&sandbox, &strace, &tracer);
        println!("{tracer}: {} system calls", calls.len());
        assert!(
            calls.len() <= START_CALLS,
            "{tracer} starts with {} system calls, {START_CALLS} allowed:\n{}",
            calls.len(),
            calls.join("\n")
        );
    }
}

/// Instructions of our own code, as a build for tests has it, under callgrind: for an event that is decoded and formatted,
/// and for a byte of the kernel's types in the one pass over them.
const EVENT: &[(&str, &str, u64)] = &[
    ("execsnoop", "table", 38_000),
    ("execsnoop", "json", 80_000),
    ("opensnoop", "table", 28_000),
    ("opensnoop", "json", 68_000),
];
const BYTE_OF_TYPES: u64 = 65;
const VALGRIND: &str = "/usr/bin/valgrind";

/// The measuring program of `tests/bench`. Cargo builds the examples of a package along with all of its tests only; and
/// valgrind takes minutes to read what this one tells a debugger.
fn measure(sandbox: &Sandbox) -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    assert!(build.args(["build", "--quiet", "--locked", "--example", "measure"]).status().unwrap().success());
    let own = std::env::current_exe().unwrap();
    let built = own.parent().and_then(Path::parent).unwrap().join("examples/measure");
    let stripped = sandbox.path("measure");
    common::run::run_ok(Command::new("strip").arg("-o").arg(&stripped).arg(built));
    stripped
}

/// Instructions of a run.
fn instructions(measure: &Path, args: &[&str]) -> u64 {
    let mut command = Command::new(VALGRIND);
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(measure).args(args);
    let output = common::run::run(&mut command);
    assert_eq!(output.code(), 0, "{output:?}");
    let said = output.stderr;
    let collected = said.lines().find_map(|line| line.split("Collected : ").nth(1));
    collected.unwrap_or_else(|| panic!("callgrind tells no number: {said}")).trim().parse().unwrap()
}

/// Instructions for each of `more` repetitions, without those of a start.
fn each(measure: &Path, args: &[&str], more: u64) -> u64 {
    let run = |count: u64| instructions(measure, &[args, &[&count.to_string()]].concat());
    run(1 + more).saturating_sub(run(1)) / more
}

#[test]
fn our_own_code_takes_no_more_instructions_than_its_budget() {
    let sandbox = or_skip!(Sandbox::new());
    if !Path::new(VALGRIND).is_file() {
        return skip(&Skip::NoPeer("valgrind"));
    }
    let measure = measure(&sandbox);
    let mut complaints = Vec::new();
    for &(tracer, format, most) in EVENT {
        let file = sandbox.path(&format!("{tracer}.record")).display().to_string();
        common::run::run_ok(Command::new(&measure).args(["capture", tracer, &file]));
        let found = each(&measure, &["replay", tracer, &file, format], 101);
        over(&mut complaints, &format!("{tracer} {format}"), "instructions for an event", found, most);
    }
    let bytes = fs::metadata("/sys/kernel/btf/vmlinux").unwrap().len();
    let found = each(&measure, &["types"], 1);
    over(&mut complaints, "types of the kernel", "instructions", found, bytes * BYTE_OF_TYPES);
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}
