//! The grammar of `bpftool map`, for scripts that were written for it.
//!
//! In: words, as bpftool takes them (also as `nsmap map ...`, and from a link of that name). Out: what bpftool
//! 7.1 prints in its plain and JSON shapes, on the same streams where that can be relied upon. Where it is
//! wrong, this is right: `docs/bpftool-differences.md` has the list, and it and this folder change together.
//!
//! To add a command: a line in [`COMMANDS`], a function in the file that it belongs to.

use std::ffi::{OsStr, OsString};

use crate::failure::{Code, Failure};

mod args;
mod batch;
mod create;
mod data;
mod elements;
mod formatted;
mod json;
mod options;
mod select;
mod show;
mod usage;

use args::Words;
use json::Writer;
pub(crate) use options::Options;

/// What a run leaves for the two streams, and its exit code.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: u8,
}

/// Where commands print: text, or JSON values that are being built.
pub(super) struct Screen {
    pub(super) options: Options,
    pub(super) plain: String,
    pub(super) json: Writer,
    pub(super) err: String,
    /// A refusal that is an answer too: a lookup that found nothing.
    pub(super) code: Code,
}

impl Screen {
    fn new(options: Options) -> Self {
        let json = Writer::new(options.pretty);
        Self { options, plain: String::new(), json, err: String::new(), code: Code::Done }
    }

    /// The answer of a command that has none.
    pub(super) fn nothing(&mut self) {
        if self.options.json {
            self.json.null();
        }
    }
}

type Command = fn(&mut Screen, Words<'_>) -> Result<(), Failure>;

/// The commands; a prefix of a word means the first line that it fits.
const COMMANDS: &[(&str, Command)] = &[
    ("show", show::show),
    ("list", show::show),
    ("help", usage::map_help),
    ("dump", elements::dump),
    ("update", elements::update),
    ("lookup", elements::lookup),
    ("getnext", elements::getnext),
    ("delete", elements::delete),
    ("pin", create::pin),
    ("event_pipe", event_pipe),
    ("peek", elements::lookup),
    ("push", elements::update),
    ("enqueue", elements::update),
    ("pop", elements::pop),
    ("dequeue", elements::pop),
    ("freeze", create::freeze),
    ("create", create::create),
];

/// What else bpftool knows; its first letters lead to no `map` command.
const OTHER_OBJECTS: &[&str] =
    &["prog", "link", "cgroup", "perf", "net", "feature", "btf", "gen", "struct_ops", "iter"];

/// Runs `bpftool WORDS...`: options, then an object of which only `map` is known here.
pub(crate) fn run(words: &[OsString]) -> Answer {
    with_options(words, |screen, words| object(screen, words, true))
}

/// Runs `nsmap map WORDS...`.
pub(crate) fn run_map(words: &[OsString], json: bool) -> Answer {
    with_options(words, |screen, words| {
        screen.options.json |= json;
        map(screen, words)
    })
}

/// Runs `nsmap batch WORDS...`.
pub(crate) fn run_batch(words: &[OsString], json: bool) -> Answer {
    with_options(words, |screen, words| {
        screen.options.json |= json;
        batch::run(screen, words)
    })
}

fn with_options(
    words: &[OsString],
    run: impl FnOnce(&mut Screen, Words<'_>) -> Result<(), Failure>,
) -> Answer {
    let (options, words) = options::parse(words);
    let words = match words {
        Ok(words) => words,
        Err(failure) => {
            let usage = if options.json { "" } else { usage::TOP };
            let err = error_line(&failure.to_string(), options.json) + usage;
            return Answer { out: String::new(), err, code: failure.code as u8 };
        }
    };
    let asked = options.asked;
    let mut screen = Screen::new(options);
    let result = match asked {
        Some(options::Asked::Help) => usage::top_help(&mut screen, Words::new(&[], "help")),
        Some(options::Asked::Version) => usage::version(&mut screen, Words::new(&[], "version")),
        None => run(&mut screen, Words::new(&words, "bpftool")),
    };
    finish(screen, result)
}

fn finish(screen: Screen, result: Result<(), Failure>) -> Answer {
    let failed = result.as_ref().err().map(|failure| failure.code);
    let mut answer =
        Answer { err: screen.err, code: failed.unwrap_or(screen.code) as u8, ..Answer::default() };
    if let Err(failure) = result {
        let text = failure.to_string();
        // A usage text is the whole message.
        let line = if text.is_empty() { String::new() } else { error_line(&text, screen.options.json) };
        answer.err.push_str(&line);
    }
    // JSON that was not finished is no JSON: the error, on its stream, is the answer.
    answer.out = match screen.options.json {
        true if failed.is_none() || screen.json.is_complete() => screen.json.finish(),
        true => String::new(),
        false => screen.plain,
    };
    answer
}

fn error_line(text: &str, json: bool) -> String {
    let line = crate::output::one_line(text);
    if json {
        let mut writer = Writer::new(false);
        writer.open('{');
        writer.name("error");
        writer.text(&line);
        writer.close('}');
        return writer.finish();
    }
    format!("Error: {line}\n")
}

/// `map ...`, `batch ...`, `version`, `help`.
fn object(screen: &mut Screen, mut words: Words<'_>, batches: bool) -> Result<(), Failure> {
    let Some(object) = words.next() else { return usage::top_help(screen, words) };
    let is = |keyword: &str| args::is_prefix(object, keyword);
    if is("help") {
        return usage::top_help(screen, words);
    }
    if batches && is("batch") {
        return batch::run(screen, words);
    }
    if is("map") {
        return map(screen, words);
    }
    if let Some(other) = OTHER_OBJECTS.iter().find(|other| is(other)) {
        let message = format!("`{other}` is not done here, only `map` and `batch` are");
        return Err(Failure::new(Code::Usage, message).hint("install bpftool itself for it"));
    }
    if is("version") {
        return usage::version(screen, words);
    }
    screen.err.push_str(usage::TOP);
    Err(Failure::new(Code::Usage, ""))
}

fn map(screen: &mut Screen, mut words: Words<'_>) -> Result<(), Failure> {
    let Some(word) = words.next() else { return show::show(screen, words) };
    match COMMANDS.iter().find(|(name, _)| args::is_prefix(word, name)) {
        Some((_, command)) => command(screen, words),
        None => Err(usage::wrong(screen)),
    }
}

fn event_pipe(_: &mut Screen, _: Words<'_>) -> Result<(), Failure> {
    Err(Failure::new(Code::Usage, "`event_pipe` is not done here").hint("install bpftool itself for it"))
}

/// The name under which this program was started, if it is that of a program it stands in for.
pub(crate) fn stand_in(program: &OsStr) -> Option<&'static str> {
    let name = std::path::Path::new(program).file_name()?;
    ["bpftool", "cgroupid"].into_iter().find(|known| name == *known)
}
