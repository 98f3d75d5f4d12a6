//! What is said on standard error, and the exit codes.
//!
//! In: errors and notes. Out: one line each, `execsnoop: ...`, lower case, with a hint of what to do, made from the kind of the
//! error. Exit codes: 0 done or interrupted, 1 failed, 2 wrong usage. Standard output carries events only.

use std::io::{self, Write};
use std::process::ExitCode;

use loader::kernel::privilege::{Need, explain};
use loader::{Error, ErrorKind};

use crate::format::escape::push_text;

/// Why a run ended without success.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    text: String,
    hint: Option<String>,
    /// More lines, for `--verbose`: the verifier's log.
    detail: Option<String>,
}

impl Failure {
    /// Wrong usage: exit code 2.
    pub fn usage(text: impl Into<String>) -> Self {
        Self { code: 2, text: text.into(), hint: None, detail: None }
    }

    /// Replaces the hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let detail = error.verifier_log().map(str::to_owned);
        Self { code: 1, text: error.to_string(), hint: hint_for(&error), detail }
    }
}

fn hint_for(error: &Error) -> Option<String> {
    match error.kind() {
        // A bare errno says nothing about which privilege is missing; other texts have the reason already.
        ErrorKind::Permission if error.errno().is_some() => {
            let reason = explain(Error::os("", libc::EPERM), Need::Tracing).to_string();
            Some(reason.trim_start_matches("not permitted: ").to_owned())
        }
        ErrorKind::Verifier => Some("see the whole verifier log with --verbose".to_owned()),
        _ => None,
    }
}

/// Says things in the name of a tool.
#[derive(Clone, Copy, Debug)]
pub struct Messages {
    tool: &'static str,
    verbose: bool,
}

impl Messages {
    /// Messages of `tool`.
    pub fn new(tool: &'static str, verbose: bool) -> Self {
        Self { tool, verbose }
    }

    /// Says one line. Names from outside that are part of it cannot break or colour it.
    pub fn say(&self, text: &str) {
        let mut line = format!("{}: ", self.tool).into_bytes();
        for (index, part) in text.split('\\').enumerate() {
            if index > 0 {
                line.push(b'\\');
            }
            push_text(&mut line, part.as_bytes(), false);
        }
        line.push(b'\n');
        // When standard error is gone there is nobody left to tell.
        let _ = io::stderr().write_all(&line);
    }

    /// Says one line if the user asked for more.
    pub fn explain(&self, text: &str) {
        if self.verbose {
            self.say(text);
        }
    }

    /// Says why the run failed. Out: the exit code.
    pub fn fail(&self, failure: &Failure) -> ExitCode {
        match &failure.hint {
            Some(hint) => self.say(&format!("{} ({hint})", failure.text)),
            None => self.say(&failure.text),
        }
        for line in failure.detail.iter().flat_map(|detail| detail.lines()) {
            self.explain(line);
        }
        ExitCode::from(failure.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_its_text_and_gets_a_hint_from_its_kind() {
        let error = Error::verifier(libc::EACCES, "R1 invalid mem access".to_owned(), "0: r1 = 0".to_owned());
        let failure = Failure::from(error.context("load program `exec`"));
        assert!(failure.text.starts_with("load program `exec`: "));
        assert_eq!(failure.detail.as_deref(), Some("0: r1 = 0"));
        assert_eq!(failure.code, 1);
        assert!(failure.hint.is_some());
        assert!(Failure::from(Error::invalid("x")).hint.is_none());
        assert_eq!(Failure::usage("x").code, 2);
    }
}
