//! What changes with the kernel: which hooks a tracer chooses by itself, what it says where something is missing, and that
//! nothing stays behind in any kernel. The behaviour of the tools, which is the same everywhere, is tested elsewhere.
//!
//! Needs root and BPF. Here: what the parts share; `hooks` the choice of hooks; `missing` kernels without one thing or
//! another; `stress` many starts and violent ends.
//!
//! Environment: `TEST_KERNEL` is the name of this kernel in `tests/kernels/table`, set in the guests of
//! `make test-kernels`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets something unexpected must fail"
)]

mod common;

#[path = "kernel/hooks.rs"]
mod hooks;
#[path = "kernel/missing.rs"]
mod missing;
#[path = "kernel/stress.rs"]
mod stress;

/// A line of `tests/kernels/hooks`: a hook that a tracer must choose on some kernels.
struct Expected {
    kernels: Vec<&'static str>,
    tracer: &'static str,
    options: Vec<&'static str>,
    observes: &'static str,
    hook: &'static str,
}

/// The table of hooks.
fn table() -> Vec<Expected> {
    let lines =
        include_str!("kernels/hooks").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(expected).collect()
}

fn expected(line: &'static str) -> Expected {
    let fields: Vec<&str> = line.split('|').map(str::trim).collect();
    let [kernels, tracer, options, observes, hook] = fields[..] else {
        panic!("not a line of the table of hooks: {line}")
    };
    let (kernels, options) = (kernels.split(' ').collect(), options.split_whitespace().collect());
    Expected { kernels, tracer, options, observes, hook }
}

/// The different command lines in the table: every tracer, with each option that brings in further hooks.
fn commands() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut commands: Vec<_> = table().into_iter().map(|row| (row.tracer, row.options)).collect();
    commands.dedup();
    commands
}
