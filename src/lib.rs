//! What the tracers share: from the command line to the last flushed row.
//!
//! A tracer observes one kind of activity with a BPF object, filters in the kernel, and prints an event per line. All
//! of them are the same program ([`tracer`]) over a different [`tracer::Tracer`], which holds what is their own:
//!
//! | what | where |
//! |---|---|
//! | options and their meaning | [`cli`] (uniform ones), the tool's `Options`, [`filter`] |
//! | hooks, best first | the tool's [`tracer::Hook`]s |
//! | bytes of a record to a typed event | [`event`], the tool's `decode` |
//! | header, row, JSON and help of each field | [`field`], the tool's table |
//! | formatting | [`mod@format`], [`output`] |
//! | life cycle, errors | [`tracer`], [`signals`], [`message`] |
//! | what the tcp tools share | [`tcp`] |
//! | a command to trace | [`command`] |
//! | what a DNS answer says | [`dns`] |
//!
//! # To add a tracer
//!
//! 1. `bpf-src/NAME.bpf.c`: `struct NAME_event` that starts with the header of `event.h`, the ring buffer `events`,
//!    programs that ask `filter.h` first. The build compiles every such file.
//! 2. `src/bin/NAME.rs`: declare the same struct with [`record!`](crate::record), list the fields, implement
//!    [`tracer::Tracer`], and let `main` call [`tracer::main`].
//! 3. `tests/NAME.rs`: run it against a known workload; a row in the README.
//!
//! No other file changes: the command line, JSON, man page and completions follow from the implementation.

pub mod cli;
pub mod command;
pub mod dns;
pub mod event;
pub mod field;
pub mod filter;
pub mod format;
pub mod lost;
pub mod message;
pub mod output;
pub mod pattern;
pub mod signals;
pub mod stream;
pub mod tcp;
pub mod tracer;
