//! `nsmap`: makes, fills and shows filter sets.
//!
//! In: the command line ([`cli`]). Out: an answer on standard output, problems on standard error, one line
//! each, and an exit code ([`failure::Code`]). Each sub-command is a file in [`commands`]; what a set is, is
//! in the library.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

mod bpftool;
mod cli;
mod commands;
mod failure;
mod output;

use cli::{Cli, Command};
use failure::{Code, Failure};
use output::Outcome;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_default();
    match bpftool::stand_in(&program) {
        Some("bpftool") => return output::as_is(&bpftool::run(&words.collect::<Vec<_>>())),
        Some(_) => return output::as_is(&commands::as_cgroupid(&words.collect::<Vec<_>>())),
        None => {}
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return output::usage(&error),
    };
    match &cli.command {
        Command::Map(args) => return output::as_is(&bpftool::run_map(&args.words, cli.json)),
        Command::Batch(args) => return output::as_is(&bpftool::run_batch(&args.words, cli.json)),
        _ => {}
    }
    match commands::run(&cli.command, cli.json) {
        Ok(outcome) => finish(&outcome, cli.json),
        Err(failure) => {
            output::complain(&failure);
            failure.code.into()
        }
    }
}

/// A reader that has gone away (`nsmap list | head -1`) is no failure: the work is done.
fn finish(outcome: &Outcome, json: bool) -> ExitCode {
    let written = io::stdout().lock().write_all(outcome.text(json).as_bytes());
    outcome.notes.iter().for_each(|note| output::note(note));
    outcome.failures.iter().for_each(output::complain);
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            output::complain(&Failure::new(Code::Other, format!("write the answer: {error}")));
            Code::Other.into()
        }
        _ => outcome.code.into(),
    }
}
