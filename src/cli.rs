//! The command line: options that all tracers share, how a tool adds its own, help, man page and completions.
//!
//! In: `argv`. Out: [`Common`] and the tool's own options, or an end of the run: help on standard output (exit 0), one line
//! about wrong usage on standard error (exit 2). Everything comes from one clap definition per tool. The uniform options
//! are long; which short ones they have is the tool's choice ([`Tracer::SHORTS`]), because BCC's tools differ in them.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum};
use nsmap::manual;

use crate::filter::TaskFilter;
use crate::message::Failure;
use crate::output::json::Object;
use crate::output::sink;
use crate::tracer::Tracer;

const COLUMNS: &str = "Columns";
const FILTERS: &str = "Filters";
const RUN: &str = "Run";

/// The options that every tracer has.
#[derive(clap::Args, Clone, Debug)]
pub struct Common {
    /// Show the local time of each event, HH:MM:SS
    #[arg(long, help_heading = COLUMNS)]
    pub time: bool,
    /// Show the seconds from the start of the tool to each event
    #[arg(long, help_heading = COLUMNS)]
    pub timestamp: bool,
    /// Show the user id
    #[arg(long, help_heading = COLUMNS)]
    pub print_uid: bool,
    /// Show the container by its engine and name, or id where no name is known; else the unit or cgroup
    #[arg(long, help_heading = COLUMNS)]
    pub containers: bool,
    /// Print JSON, one object per line, with all ids and exact times, instead of a table
    #[arg(long, help_heading = COLUMNS)]
    pub json: bool,

    /// Only this process
    #[arg(long, value_name = "PID", value_parser = id, help_heading = FILTERS)]
    pub pid: Option<u32>,
    /// Only this user: a number (0 is root) or a name
    #[arg(long, value_name = "USER", value_parser = user, help_heading = FILTERS)]
    pub uid: Option<u32>,
    /// Only tasks whose cgroup is in the set pinned at PATH (see nsmap)
    #[arg(long, value_name = "PATH", help_heading = FILTERS)]
    pub cgroupmap: Option<PathBuf>,
    /// Only tasks whose mount namespace is in the set pinned at PATH (see nsmap)
    #[arg(long, value_name = "PATH", help_heading = FILTERS)]
    pub mntnsmap: Option<PathBuf>,
    /// Only tasks in this cgroup v2 directory and everything below it
    #[arg(long, value_name = "PATH", help_heading = FILTERS)]
    pub cgroup: Option<PathBuf>,
    /// Only tasks in this running container: its name, the beginning of its id, or ENGINE://ID
    #[arg(long, value_name = "NAME", conflicts_with_all = ["cgroup", "mntnsmap"], help_heading = FILTERS)]
    pub container: Option<String>,

    /// Stop after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = RUN)]
    pub duration: Option<Duration>,
    /// Stop after this many events were printed
    #[arg(long, value_name = "N", value_parser = count, help_heading = RUN)]
    pub max_events: Option<u64>,
    /// Size of the buffer between kernel and tool, such as 512K or 16M
    #[arg(long, value_name = "SIZE", value_parser = buffer_size, help_heading = RUN)]
    pub buffer_size: Option<u32>,
    /// Observe through this hook only, named as --verbose names it (its beginning will do)
    #[arg(long, value_name = "NAME", help_heading = RUN)]
    pub hook: Option<String>,
    /// Say which hooks are used and why better ones are not, and how loading went
    #[arg(long, help_heading = RUN)]
    pub verbose: bool,

    /// Print a man page or a shell completion
    #[arg(long, value_name = "WHAT", hide = true, exclusive = true)]
    pub generate: Option<Generate>,
}

impl Common {
    /// The restrictions that every tracer hands to the kernel; sets and the subtree come when they have been opened.
    pub fn task_filter(&self) -> TaskFilter {
        TaskFilter { pid: self.pid, uid: self.uid, ..TaskFilter::default() }
    }

    /// Adds the filters in force to the `filters` of the JSON `start` record.
    pub fn describe(&self, filters: &mut Object<'_>) {
        for (key, id) in [("pid", self.pid), ("uid", self.uid)] {
            if let Some(id) = id {
                filters.u64(key, id.into());
            }
        }
        for (key, path) in
            [("cgroupmap", &self.cgroupmap), ("mntnsmap", &self.mntnsmap), ("cgroup", &self.cgroup)]
        {
            if let Some(path) = path {
                filters.text(key, path.as_os_str().as_bytes());
            }
        }
        if let Some(name) = &self.container {
            filters.text("container", name.as_bytes());
        }
    }
}

/// What can be made from the definition of the command line.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generate {
    /// A man page, roff.
    Man,
    /// Completion for bash.
    Bash,
    /// Completion for zsh.
    Zsh,
    /// Completion for fish.
    Fish,
}

#[derive(Parser)]
struct Cli<O: clap::Args> {
    #[command(flatten)]
    own: O,
    #[command(flatten)]
    common: Common,
}

/// What to do after the command line was read.
pub enum Parsed<O> {
    /// Trace.
    Run(Common, O),
    /// What was asked for has been printed.
    Done,
}

/// Reads a command line; `args` has the program name first.
pub fn parse<T: Tracer>(args: impl IntoIterator<Item = OsString>) -> Result<Parsed<T::Options>, Failure> {
    let mut definition = command::<T>();
    let matches = match definition.try_get_matches_from_mut(args) {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => {
            return Ok(print(error.to_string().as_bytes())?);
        }
        Err(error) => return Err(usage::<T>(&error)),
    };
    let cli = Cli::<T::Options>::from_arg_matches(&matches).map_err(|error| usage::<T>(&error))?;
    match cli.common.generate {
        Some(what) => Ok(print(&generate(&mut definition, what))?),
        None => Ok(Parsed::Run(cli.common, cli.own)),
    }
}

/// The definition that everything is made from.
pub fn command<T: Tracer>() -> clap::Command {
    let mut command = Cli::<T::Options>::command()
        .name(T::NAME)
        .bin_name(T::NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .about(T::ABOUT)
        .after_help(format!("Examples:\n{}", T::EXAMPLES.trim_matches('\n')))
        .after_long_help(format!(
            "Fields (JSON key, column):\n{}\nA column widens for what does not fit it (an IPv6 address, a container, a large\nnumber); on a terminal the header is repeated then.\n\nNot seen, by hook:\n{}\nExamples:\n{}",
            fields::<T>(),
            T::MISSES,
            T::EXAMPLES.trim_matches('\n')
        ));
    for &(option, short) in T::SHORTS {
        command = command.mut_arg(option, |arg| arg.short(short));
    }
    command
}

/// The field table as help text, in lines that clap leaves as they are.
fn fields<T: Tracer>() -> String {
    const WIDTH: usize = 98;
    const INDENT: usize = 30;
    let mut text = String::new();
    for field in T::fields() {
        let column = field.column.as_ref().map_or("", |column| column.header);
        let mut line = format!("  {:<16} {:<10}", field.key, column);
        for word in field.help.split(' ') {
            if line.chars().count() + 1 + word.chars().count() > WIDTH {
                let _ = writeln!(text, "{line}");
                line = " ".repeat(INDENT - 1);
            }
            let _ = write!(line, " {word}");
        }
        let _ = writeln!(text, "{line}");
    }
    text
}

fn usage<T: Tracer>(error: &clap::Error) -> Failure {
    // The first paragraph says what is wrong, sometimes on several lines; usage and tips follow after an empty line.
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let line = first.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line).replace('\'', "`");
    Failure::usage(line).hint(format!("see {} --help", T::NAME))
}

fn print<O>(text: &[u8]) -> loader::Result<Parsed<O>> {
    sink::print(text).map(|()| Parsed::Done).map_err(|error| loader::Error::io("write", error))
}

fn generate(command: &mut clap::Command, what: Generate) -> Vec<u8> {
    let mut out = Vec::new();
    let name = command.get_name().to_owned();
    let shell = match what {
        Generate::Man => {
            let source = concat!("nsmap ", env!("CARGO_PKG_VERSION"));
            // Writing to memory cannot fail.
            return manual::page(command.clone(), &name, "8", source).unwrap_or_default();
        }
        Generate::Bash => clap_complete::Shell::Bash,
        Generate::Zsh => clap_complete::Shell::Zsh,
        Generate::Fish => clap_complete::Shell::Fish,
    };
    clap_complete::generate(shell, command, name, &mut out);
    out
}

/// A number in decimal digits and nothing else: `12x`, `+1`, ` 1` and the empty string are refused.
pub fn number(text: &str) -> Result<u64, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let refuse = || format!("`{text}` is not a number");
    if digits { text.parse().map_err(|_| format!("`{text}` is too large")) } else { Err(refuse()) }
}

fn number_32(text: &str) -> Result<u32, String> {
    u32::try_from(number(text)?).map_err(|_| format!("`{text}` is too large"))
}

/// The id of a process or thread; there is none with 0 to be traced.
pub fn id(text: &str) -> Result<u32, String> {
    match number_32(text)? {
        0 => Err("0 is no process".to_owned()),
        id => Ok(id),
    }
}

/// An amount of at least 1.
pub fn count(text: &str) -> Result<u64, String> {
    match number(text)? {
        0 => Err("at least 1 is needed".to_owned()),
        count => Ok(count),
    }
}

/// How many entries a table of the kernel has at the most.
pub fn table_size(text: &str) -> Result<u32, String> {
    match count(text)?.try_into() {
        Ok(size @ 1..=0x40_0000) => Ok(size),
        _ => Err(format!("`{text}` is too large: 4194304 is the most")),
    }
}

/// A user id, or the name of a user of this host. Digits are an id, whatever names there are.
pub fn user(text: &str) -> Result<u32, String> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return match number_32(text)? {
            u32::MAX => Err("4294967295 is no user".to_owned()),
            uid => Ok(uid),
        };
    }
    match nsmap::account::user_id(text) {
        Ok(Some(uid)) => Ok(uid),
        Ok(None) => Err(format!("no user `{text}` on this host")),
        Err(error) => {
            let reason = error.raw_os_error().map_or_else(|| error.to_string(), loader::errno_text);
            Err(format!("look up user `{text}`: {reason}"))
        }
    }
}

/// A positive number of seconds, with a fraction if wanted.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds = plain.then(|| text.parse::<f64>().ok()).flatten();
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match duration {
        Some(duration) if duration > Duration::from_secs(100 * 365 * 86400) => {
            Err(format!("`{text}` is too large"))
        }
        Some(duration) if !duration.is_zero() => Ok(duration),
        Some(_) => Err("more than 0 is needed".to_owned()),
        None => Err(format!("`{text}` is not a number of seconds")),
    }
}

/// A number of bytes; K, M and G are powers of 1024.
pub fn size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let bytes = number(digits).map_err(|_| format!("`{text}` is not a size such as 512K or 16M"))?;
    bytes.checked_mul(1 << shift).ok_or_else(|| format!("`{text}` is too large"))
}

/// Bytes of a ring buffer: the next power of two from 4 KiB to 1 GiB, as the kernel wants it.
pub fn buffer_size(text: &str) -> Result<u32, String> {
    let bytes = size(text)?;
    let rounded = bytes.max(4096).checked_next_power_of_two().and_then(|bytes| u32::try_from(bytes).ok());
    match rounded {
        _ if bytes == 0 => Err("more than 0 is needed".to_owned()),
        Some(rounded) if rounded <= 1 << 30 => Ok(rounded),
        _ => Err(format!("`{text}` is too large: 1G is the most")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_and_nothing_else() {
        for bad in ["", "12x", "abc", "+1", "-1", " 1", "1 ", "0x10", "1.0", "99999999999999999999"] {
            assert!(number(bad).is_err(), "{bad:?}");
        }
        assert_eq!(number("007"), Ok(7));
        assert!(id("0").is_err() && id("4294967296").is_err());
        assert!(count("0").is_err());
    }

    #[test]
    fn zero_is_a_user_and_a_name_is_looked_up() {
        assert_eq!(user("0"), Ok(0));
        assert_eq!(user("root"), Ok(0));
        assert!(user("12x").is_err());
        assert!(user("4294967295").is_err());
        assert_eq!(user("no-such-user-here"), Err("no user `no-such-user-here` on this host".to_owned()));
    }

    #[test]
    fn durations_are_positive_seconds() {
        assert_eq!(seconds("2"), Ok(Duration::from_secs(2)));
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for bad in ["", "0", "0.0", "-1", "1e3", "inf", "nan", "1s", ".", "99999999999999999999999"] {
            assert!(seconds(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_know_their_units_and_buffers_are_powers_of_two() {
        assert_eq!(size("512"), Ok(512));
        assert_eq!(size("16M"), Ok(16 << 20));
        for bad in ["", "K", "1T", "1.5M", "99999999999G", "-1K"] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
        assert_eq!(buffer_size("1"), Ok(4096));
        assert_eq!(buffer_size("5K"), Ok(8192));
        assert_eq!(buffer_size("1G"), Ok(1 << 30));
        assert!(buffer_size("0").is_err() && buffer_size("2G").is_err());
    }
}
