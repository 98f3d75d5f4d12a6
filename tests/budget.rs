//! What a change may not cost unnoticed, counted and not timed: instructions of each program, as clang made them and as the
//! kernel runs them; how many the verifier walks through; the system calls of a start; instructions of our own code for an
//! event and for the kernel's types.
//!
//! The tables say what was counted. What a compiler made may be a tenth more, what a kernel or a library did a seventh: a
//! fifth more is always noticed. What a kernel does differs between kernels by more than that, so that these bounds hold on
//! the kernel of [`REFERENCE`] and much wider ones elsewhere. A change that needs more counts again (`cargo test --test
//! budget -- --nocapture` prints all numbers), and its commit says what it was worth; so does one that needs much less, or
//! the bound is no longer near. How fast all of it is, `make bench` measures.
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

/// The release of the kernel that the tables were counted on begins with this.
const REFERENCE: &str = "6.18.";

fn on_the_reference() -> bool {
    nix::sys::utsname::uname().is_ok_and(|names| names.release().to_string_lossy().starts_with(REFERENCE))
}

/// What was counted, and a tenth for other compilers.
fn compiled(counted: usize) -> usize {
    counted + counted / 10
}

/// What was counted, and a seventh for other builds of the kernel and of libraries.
fn done(counted: usize) -> usize {
    counted + counted / 7
}

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

/// For programs without a line, and for what was not counted.
const ANY: Budget = Budget { linked: 2000, translated: 2000, verified: 20_000 };

/// Tracer and program; instructions in the object and in the kernel, steps of the verifier. 0: cannot be loaded there.
#[rustfmt::skip] // a table
const COUNTED: &[(&str, [usize; 3])] = &[
    ("execsnoop enter_execve", [305, 121, 115]),
    ("execsnoop enter_execveat", [307, 123, 117]),
    ("execsnoop exit_execve", [927, 796, 4187]),
    ("execsnoop exit_execveat", [927, 796, 4187]),
    ("execsnoop process_exec", [1101, 954, 1346]),
    ("execsnoop process_exec_2", [1117, 980, 1340]),
    ("opensnoop enter_creat", [418, 151, 146]),
    ("opensnoop enter_open", [428, 161, 164]),
    ("opensnoop enter_openat", [428, 161, 164]),
    ("opensnoop enter_openat2", [416, 148, 143]),
    ("opensnoop exit_open", [1064, 393, 769]),
    ("opensnoop exit_openat2", [1024, 0, 0]),
    ("opensnoop exit_openat2_2", [1040, 0, 0]),
    ("opensnoop exit_syscall", [1103, 421, 954]),
    ("opensnoop leave_creat", [1006, 337, 548]),
    ("opensnoop leave_open", [1006, 337, 548]),
    ("opensnoop leave_openat", [1006, 337, 548]),
    ("opensnoop leave_openat2", [1026, 357, 569]),
    ("opensnoop ring_enter", [412, 0, 0]),
    ("opensnoop ring_exit", [879, 0, 0]),
    ("opensnoop tree_exit", [31, 31, 31]),
    ("opensnoop tree_fork", [49, 59, 50]),
    ("tcpaccept accept_sockcall", [612, 412, 553]),
    ("tcpaccept call_graft", [529, 329, 449]),
    ("tcpaccept enter_graft", [557, 0, 0]),
    ("tcpaccept enter_graft_2", [573, 0, 0]),
    ("tcpaccept exit_accept", [605, 405, 544]),
    ("tcpaccept exit_accept4", [605, 405, 544]),
    ("tcpaccept exit_csk_accept", [533, 0, 0]),
    ("tcpaccept ret_csk_accept", [529, 329, 449]),
    ("tcpconnect call_v4_connect", [320, 136, 132]),
    ("tcpconnect call_v6_connect", [320, 136, 132]),
    ("tcpconnect enter_connect", [442, 258, 292]),
    ("tcpconnect enter_sockcall", [450, 266, 302]),
    ("tcpconnect exit_connect", [786, 507, 654]),
    ("tcpconnect exit_receiving", [1343, 1003, 1879]),
    ("tcpconnect exit_recv_inet", [619, 0, 0]),
    ("tcpconnect exit_recv_inet6", [619, 0, 0]),
    ("tcpconnect exit_sockcall", [786, 507, 654]),
    ("tcpconnect fail_v4", [808, 0, 0]),
    ("tcpconnect fail_v4_2", [824, 0, 0]),
    ("tcpconnect fail_v6", [798, 0, 0]),
    ("tcpconnect fail_v6_2", [814, 0, 0]),
    ("tcpconnect ret_v4_connect", [801, 524, 668]),
    ("tcpconnect ret_v6_connect", [801, 524, 668]),
    ("tcpconnect retransmit", [536, 288, 321]),
    ("tcpconnect set_state", [1211, 897, 1881]),
    ("tcpconnect set_state_2", [1227, 923, 1847]),
    ("tcptracer accept_sockcall", [1168, 887, 1318]),
    ("tcptracer call_graft", [1085, 804, 1209]),
    ("tcptracer enter_graft", [1113, 0, 0]),
    ("tcptracer enter_graft_2", [1129, 0, 0]),
    ("tcptracer exit_accept", [1161, 880, 1309]),
    ("tcptracer exit_accept4", [1161, 880, 1309]),
    ("tcptracer exit_csk_accept", [1089, 0, 0]),
    ("tcptracer ret_csk_accept", [1085, 804, 1209]),
    ("tcptracer set_state", [2051, 1674, 2627]),
    ("tcptracer set_state_2", [2067, 1700, 2635]),
];

fn budget(name: &str) -> Budget {
    let Some(&(_, [linked, translated, verified])) = COUNTED.iter().find(|(known, _)| *known == name) else {
        return ANY;
    };
    let linked = compiled(linked);
    if translated == 0 || !on_the_reference() {
        // Nowhere is more left than there was, but for what the kernel puts in the place of some calls.
        return Budget { linked, translated: done(linked), ..ANY };
    }
    Budget { linked, translated: done(translated), verified: done(verified) }
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

/// System calls from the first to the one that prints the header. Half are the C library's and Rust's own; to be refused fexit
/// hooks takes ten, kprobes two.
const START_CALLS: &[(&str, usize)] =
    &[("execsnoop", 191), ("opensnoop", 205), ("tcpaccept", 245), ("tcpconnect", 260), ("tcptracer", 261)];
/// On other kernels, and of other tracers.
const ANY_START_CALLS: usize = 320;

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
        let counted = START_CALLS.iter().find(|(known, _)| *known == tracer && on_the_reference());
        let most = counted.map_or(ANY_START_CALLS, |(_, counted)| done(*counted));
        assert!(
            calls.len() <= most,
            "{tracer} starts with {} system calls, {most} allowed:\n{}",
            calls.len(),
            calls.join("\n")
        );
    }
}

/// Instructions of our own code, as a build for tests has it, under callgrind: for an event that is decoded and formatted,
/// and for 1000 bytes of the kernel's types in the one pass over them.
const EVENT: &[(&str, &str, usize)] = &[
    ("execsnoop", "table", 27_800),
    ("execsnoop", "json", 58_500),
    ("opensnoop", "table", 19_900),
    ("opensnoop", "json", 50_300),
];
const TYPES: usize = 41_600;
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
fn instructions(measure: &Path, args: &[&str]) -> usize {
    let mut command = Command::new(VALGRIND);
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(measure).args(args);
    let output = common::run::run(&mut command);
    assert_eq!(output.code(), 0, "{output:?}");
    let said = output.stderr;
    let collected = said.lines().find_map(|line| line.split("Collected : ").nth(1));
    collected.unwrap_or_else(|| panic!("callgrind tells no number: {said}")).trim().parse().unwrap()
}

/// Instructions for each of `more` repetitions, without those of a start.
fn each(measure: &Path, args: &[&str], more: usize) -> usize {
    let run = |count: usize| instructions(measure, &[args, &[&count.to_string()]].concat());
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
    for &(tracer, format, counted) in EVENT {
        let file = sandbox.path(&format!("{tracer}.record")).display().to_string();
        common::run::run_ok(Command::new(&measure).args(["capture", tracer, &file]));
        let found = each(&measure, &["replay", tracer, &file, format], 101);
        over(
            &mut complaints,
            &format!("{tracer} {format}"),
            "instructions for an event",
            found,
            done(counted),
        );
    }
    let bytes = fs::metadata("/sys/kernel/btf/vmlinux").unwrap().len();
    let bytes = usize::try_from(bytes).unwrap();
    let found = each(&measure, &["types"], 1) / (bytes / 1000);
    over(&mut complaints, "types of the kernel", "instructions for 1000 bytes", found, done(TYPES));
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}
