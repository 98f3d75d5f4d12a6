//! The two shapes of an answer, text and JSON, and the one shape of a problem.
//!
//! In: reports of commands, which say how they print (`Display`) and what they hold (`Serialize`). Out: text.
//! JSON is one object on one line per command; problems are lines on standard error in either shape.

use std::ffi::OsString;
use std::fmt::{self, Display};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::error::ErrorKind;
use serde::{Serialize, Serializer};

use crate::bpftool::Answer;
use crate::failure::{Code, Failure};

/// What a command leaves to be printed.
pub(crate) struct Outcome {
    plain: String,
    json: String,
    /// Things the user should know though nothing failed.
    pub(crate) notes: Vec<String>,
    pub(crate) failures: Vec<Failure>,
    pub(crate) code: Code,
}

impl Outcome {
    /// A success; the report prints in both shapes.
    pub(crate) fn done(report: &(impl Serialize + Display)) -> Result<Self, Failure> {
        let mut json = serde_json::to_string(report)
            .map_err(|error| Failure::new(Code::Other, format!("write JSON: {error}")))?;
        json.push('\n');
        let plain = report.to_string();
        Ok(Self { plain, json, notes: Vec::new(), failures: Vec::new(), code: Code::Done })
    }

    /// A success whose answer was printed already.
    pub(crate) fn nothing() -> Self {
        Self {
            plain: String::new(),
            json: String::new(),
            notes: Vec::new(),
            failures: Vec::new(),
            code: Code::Done,
        }
    }

    pub(crate) fn text(&self, json: bool) -> &str {
        if json { &self.json } else { &self.plain }
    }
}

/// A path or the name of a process, which may be any bytes.
///
/// In text it is safe for a terminal; in JSON it is itself if it is UTF-8, else in the `$'...'` form of the
/// shell. Neither loses anything.
#[derive(Clone, Debug)]
pub(crate) struct Name(OsString);

impl Name {
    pub(crate) fn new(name: impl Into<OsString>) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&nsmap::text::safe(&self.0))
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => serializer.serialize_str(&nsmap::text::safe(&self.0)),
        }
    }
}

/// One problem, one line. A standard error that is gone is nobody's problem any more.
pub(crate) fn complain(failure: &Failure) {
    let _ = writeln!(io::stderr(), "nsmap: {}", one_line(&failure.to_string()));
}

/// The time in UTC as RFC 3339 has it, with nanoseconds.
pub(crate) fn now() -> String {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc3339(since_epoch.as_secs(), since_epoch.subsec_nanos())
}

/// Days become a date in eras of 400 years, which begin with a March so that a leap day ends its year (Hinnant,
/// "chrono-compatible low-level date algorithms").
fn rfc3339(seconds: u64, nanoseconds: u32) -> String {
    const DAY: u64 = 86_400;
    let days = seconds / DAY + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds % DAY / 3600, seconds % 3600 / 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z")
}

/// Whether the answer goes to a person.
pub(crate) fn on_terminal() -> bool {
    io::stdout().is_terminal()
}

/// A line of an answer that goes on, out at once; false when nobody reads it any more.
pub(crate) fn line(line: &str) -> bool {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).is_ok()
}

/// How far a long piece of work is, on one line of a terminal, which is empty again in the end. Work of less than a second
/// shows nothing, and neither does work whose standard error is no terminal.
pub(crate) struct Progress {
    doing: &'static str,
    total: usize,
    next: Option<Instant>,
    drawn: bool,
}

impl Progress {
    const FIRST: Duration = Duration::from_secs(1);
    const AGAIN: Duration = Duration::from_millis(100);
    const WIDTH: usize = 40;

    pub(crate) fn new(doing: &'static str, total: usize) -> Self {
        let is_seen = total > 0 && io::stderr().is_terminal();
        Self { doing, total, next: is_seen.then(|| Instant::now() + Self::FIRST), drawn: false }
    }

    /// So much of it is done.
    pub(crate) fn at(&mut self, done: usize) {
        let now = Instant::now();
        if self.next.is_some_and(|next| now >= next) {
            self.next = Some(now + Self::AGAIN);
            self.drawn = true;
            let _ = write!(io::stderr(), "\r\x1b[K{}", Self::bar(self.doing, done, self.total));
        }
    }

    /// `storing [####......]  40%`
    fn bar(doing: &str, done: usize, total: usize) -> String {
        let part = |of: usize| done.min(total).saturating_mul(of) / total.max(1);
        let full = part(Self::WIDTH);
        let empty = Self::WIDTH.saturating_sub(full);
        format!("{doing} [{}{}] {:3}%", "#".repeat(full), ".".repeat(empty), part(100))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// Something worth knowing, on standard error.
pub(crate) fn note(note: &str) {
    let _ = writeln!(io::stderr(), "nsmap: note: {}", one_line(note));
}

/// A message may quote an argument, which may hold anything.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if nsmap::text::is_confusing(character) {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

/// The answer of a stand-in for another program, which has streams and shapes of its own.
pub(crate) fn as_is(answer: &Answer) -> ExitCode {
    let written = io::stdout().lock().write_all(answer.out.as_bytes());
    let _ = io::stderr().write_all(answer.err.as_bytes());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&Failure::new(Code::Other, format!("write the answer: {error}")));
            Code::Other.into()
        }
        _ => answer.code.into(),
    }
}

/// Help goes out as it is; a wrong command line becomes one line, as every problem.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match error.print() {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                complain(&loader::Error::io("write", error).into());
                Code::Other.into()
            }
            _ => Code::Done.into(),
        },
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            Code::Usage.into()
        }
        _ => {
            complain(&Failure::new(Code::Usage, usage_line(&error.to_string())).hint("try: nsmap --help"));
            Code::Usage.into()
        }
    }
}

/// The first paragraph of clap's message, in our words' form.
fn usage_line(rendered: &str) -> String {
    let lines = rendered.lines().map(str::trim).take_while(|line| !line.is_empty());
    let text = lines.collect::<Vec<_>>().join(" ");
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    text.replace('\'', "`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn a_usage_error_is_one_line() {
        let rendered =
            "error: the following required arguments were not provided:\n  <PATH>\n\nUsage: nsmap x\n";
        assert_eq!(usage_line(rendered), "the following required arguments were not provided: <PATH>");
    }

    #[test]
    fn names_lose_nothing_in_either_shape() {
        let json = |name: &Name| serde_json::to_string(name).unwrap();
        let escape = Name::new("/\u{1b}[31m");
        assert_eq!(escape.to_string(), "$'/\\033[31m'");
        assert_eq!(json(&escape), "\"/\\u001b[31m\"");
        let bytes = Name::new(OsString::from_vec(b"/\xff".to_vec()));
        assert_eq!(bytes.to_string(), "$'/\\377'");
        assert_eq!(json(&bytes), "\"$'/\\\\377'\"");
    }

    #[test]
    fn times_are_right_around_leap_days_and_turns_of_the_century() {
        assert_eq!(rfc3339(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(951_782_399, 1), "2000-02-28T23:59:59.000000001Z");
        assert_eq!(rfc3339(951_782_400, 0), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(rfc3339(951_868_800, 0), "2000-03-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(1_709_251_199, 0), "2024-02-29T23:59:59.000000000Z");
        assert_eq!(rfc3339(4_107_542_400, 0), "2100-03-01T00:00:00.000000000Z");
    }

    #[test]
    fn a_bar_is_as_full_as_the_work_is_done() {
        let dots = ".".repeat(40);
        assert_eq!(Progress::bar("storing", 0, 7), format!("storing [{dots}]   0%"));
        assert_eq!(
            Progress::bar("storing", 4, 10),
            format!("storing [{}{}]  40%", "#".repeat(16), ".".repeat(24))
        );
        for (done, total) in [(7, 7), (9, 7), (usize::MAX, 1)] {
            assert_eq!(Progress::bar("x", done, total), format!("x [{}] 100%", "#".repeat(40)));
        }
        assert!(Progress::bar("x", 1, 0).ends_with("  0%"));
    }

    #[test]
    fn a_message_cannot_move_the_cursor() {
        assert_eq!(one_line("a\nb\u{1b}c"), "a\\nb\\u{1b}c");
    }
}
