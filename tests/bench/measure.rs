//! Measures side by side with what a user would pick instead; `make bench` runs it through `tests/bench/run`.
//!
//! In: the folder of our binaries, and from `run` a private mount namespace with a tmpfs, a bpffs and tracefs in it. Out:
//! Markdown on standard output: a row as soon as it is known. Nothing here is a test: no figure makes it fail.
//!
//! | file | rows |
//! |---|---|
//! | `lifecycle` | start, memory, end, size of the tracers |
//! | `loading` | the kernel's types, loading of objects |
//! | `cost` | what an open, an exec, a connection, an untraced system call costs; lost events |
//! | `format` | events that one core decodes and prints |
//! | `growth` | the cost of an open while sets, cgroups, buffers, threads get more |
//! | `sets` | many members into a set |
//!
//! `replay` repeats what our own code does, for `tests/budget.rs` to count. `sample` measures in turn, `report` writes the
//! table, `tools` knows the peers, `process` watches a running one, `work` gives it something to see, `capture` keeps a
//! record of it. Parts of our own code that nobody else has are measured by `components.rs`: `cargo bench`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a measurement that meets something unexpected must stop"
)]

mod capture;
mod cost;
mod empty;
mod format;
mod growth;
mod lifecycle;
mod loading;
mod machine;
mod process;
mod replay;
mod report;
mod sample;
mod sets;
mod tools;
mod work;

// The tracers are programs; what they do with a record is reached through their source.
#[allow(dead_code, reason = "their `main`")]
#[path = "../../src/bin/execsnoop.rs"]
mod execsnoop;
#[allow(dead_code, reason = "their `main`")]
#[path = "../../src/bin/opensnoop.rs"]
mod opensnoop;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tracers::tracer::Tracer;

use execsnoop::Execsnoop;
use opensnoop::Opensnoop;
use report::Report;

/// What every measurement needs.
struct Bench {
    /// Our binaries.
    bin: PathBuf,
    /// A tmpfs.
    work: PathBuf,
    /// A bpffs.
    bpffs: PathBuf,
    /// The object of `empty.bpf.c`.
    empty: PathBuf,
    rounds: usize,
    files: work::Files,
    program: work::Program,
    connections: work::Connections,
    report: Report,
}

/// Opens in a round.
const FILES: usize = 10_000;

impl Bench {
    fn new(bin: PathBuf, work: PathBuf) -> Self {
        let rounds = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(15);
        let (bpffs, empty) = (work.join("bpf"), work.join("empty.bpf.o"));
        let files = work::Files::create(&work.join("opened"), FILES);
        let program = work::Program::create(&work);
        let connections = work::Connections::listen();
        Self { bin, work, bpffs, empty, rounds, files, program, connections, report: Report::default() }
    }

    /// The names of our binaries that are built.
    fn binaries(&self) -> Vec<&'static str> {
        let all = ["execsnoop", "opensnoop", "tcpconnect", "tcpaccept", "tcptracer", "nsmap"];
        all.into_iter().filter(|name| self.bin.join(name).is_file()).collect()
    }
}

/// A name, and what measures.
type Group = (&'static str, fn(&mut Bench));

/// The groups of rows, in the order of the report.
const GROUPS: [Group; 8] = [
    // First, while the kernel has no tracer to clear away that has just ended.
    ("loading", |bench| {
        loading::btf(bench, Opensnoop::OBJECT);
        loading::objects(bench, "execsnoop", Execsnoop::OBJECT, &["process_exec"]);
        loading::objects(bench, "opensnoop", Opensnoop::OBJECT, &["exit_syscall", "exit_open"]);
    }),
    ("lifecycle", |bench| {
        lifecycle::measure(bench, "execsnoop");
        lifecycle::measure(bench, "opensnoop");
        lifecycle::sizes(bench);
    }),
    ("opens", |bench| {
        cost::opens(bench);
        cost::rates(bench);
    }),
    ("execs", |bench| {
        cost::execs(bench);
        cost::untraced(bench);
    }),
    ("connections", cost::connections),
    ("format", |bench| {
        format::measure::<Execsnoop>(bench);
        format::measure::<Opensnoop>(bench);
    }),
    ("growth", growth::measure),
    ("sets", sets::measure),
];

/// `measure BIN_DIR WORK_DIR [GROUP...]`; `measure load OBJECT` is one side of a comparison.
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    if let Some(done) = replay::run(&words) {
        return match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("measure: {why}");
                ExitCode::FAILURE
            }
        };
    }
    let [first, second, groups @ ..] = &args[..] else {
        eprintln!("usage: measure BIN_DIR WORK_DIR [GROUP...], through tests/bench/run");
        return ExitCode::from(2);
    };
    if first == "load" {
        return ExitCode::from(u8::from(!loading::role(Path::new(second))));
    }
    if let Some(unknown) = groups.iter().find(|group| !GROUPS.iter().any(|(name, _)| name == group)) {
        eprintln!(
            "measure: no group is called `{unknown}`; there are {}",
            GROUPS.map(|(name, _)| name).join(", ")
        );
        return ExitCode::from(2);
    }
    let mut bench = Bench::new(first.into(), second.into());
    println!("{}", machine::describe(&bench.bin));
    for (name, measure) in GROUPS {
        if groups.is_empty() || groups.iter().any(|group| group == name) {
            measure(&mut bench);
        }
    }
    println!("\n- load at the end {:.1}", machine::load());
    ExitCode::SUCCESS
}
