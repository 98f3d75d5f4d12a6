//! A tracer that is running: wait until it is attached, wait for rows, end it, look at all it said.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::run::{ended, wait_bounded};
use super::{BOUND, emulated};

/// The longest that a tracer may take to end. What is promised is 50 ms; a test is not a stopwatch.
pub(crate) const END_BOUND: Duration = Duration::from_secs(20);

/// A running tracer, killed when the test is done with it.
pub(crate) struct Tracer {
    child: Child,
    out: Stream,
    err: Stream,
    json: bool,
}

/// All that an ended tracer said.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: Vec<String>,
    pub(crate) took: Duration,
    json: bool,
}

impl Tracer {
    /// Starts a tracer that was given `--json` or not, and waits until it says that it is attached: by its header, or
    /// by the record `start`.
    #[track_caller]
    pub(crate) fn start(mut command: Command) -> Self {
        let json = command.get_args().any(|arg| arg == "--json");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let out = Stream::collect(child.stdout.take().unwrap());
        let err = Stream::collect(child.stderr.take().unwrap());
        let tracer = Self { child, out, err, json };
        let first = tracer.wait_line("the header", |_| true);
        if json {
            assert_eq!(parse(&first)["type"], "start", "{first}");
        } else {
            assert!(first.contains("PID") || first.contains("TID"), "not a header: {first}");
        }
        tracer
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a line of standard output is accepted, and gives it.
    #[track_caller]
    pub(crate) fn wait_line(&self, what: &str, accept: impl Fn(&str) -> bool) -> String {
        match self.out.wait(accept) {
            Ok(line) => line,
            Err(seen) => panic!("no {what} came; stdout: {seen:#?}, stderr: {:#?}", self.err.seen()),
        }
    }

    /// Waits until `word` is somewhere in the output: all events before that one are out then, too.
    #[track_caller]
    pub(crate) fn wait_word(&self, word: &str) {
        self.wait_line(word, |line| line.contains(word));
    }

    /// Waits until `word` is on standard error.
    #[track_caller]
    pub(crate) fn wait_message(&self, word: &str) -> String {
        self.err
            .wait(|line| line.contains(word))
            .unwrap_or_else(|seen| panic!("no message `{word}`: {seen:#?}"))
    }

    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Asks it to end, as Ctrl-C would, and expects that it does so as it should.
    #[track_caller]
    pub(crate) fn stop(self) -> Finished {
        self.stop_by(Signal::SIGINT)
    }

    #[track_caller]
    pub(crate) fn stop_by(self, signal: Signal) -> Finished {
        self.signal(signal);
        self.finish()
    }

    /// Waits for its end, which must come within [`END_BOUND`] with exit code 0 and nothing lost.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Finished {
        let begun = Instant::now();
        let status = wait_bounded(&mut self.child);
        let took = begun.elapsed();
        let (stdout, stderr) = (self.out.all(), self.err.all());
        let Some(status) = status else {
            panic!("it does not end; stdout: {stdout:#?}, stderr: {stderr:#?}")
        };
        let finished = Finished { status, stdout, stderr, took, json: self.json };
        assert_eq!(finished.status.code(), Some(0), "{}: {finished:#?}", ended(finished.status));
        assert!(took < END_BOUND, "it took {took:?} to end");
        finished
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Finished {
    /// The lines of the table without the header.
    pub(crate) fn rows(&self) -> &[String] {
        assert!(!self.json);
        &self.stdout[1..]
    }

    /// All records of `--json`, each line parsed by somebody else's parser.
    #[track_caller]
    pub(crate) fn records(&self) -> Vec<Value> {
        assert!(self.json);
        self.stdout.iter().map(|line| parse(line)).collect()
    }

    /// The events among the records.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        let about_the_run = ["start", "lost", "end"];
        let mut records = self.records();
        records.retain(|record| !about_the_run.contains(&record["type"].as_str().unwrap()));
        records
    }

    /// How many events were told as lost on standard error, in all.
    pub(crate) fn told(&self) -> usize {
        told(self.stderr.iter().map(String::as_str))
    }

    /// Fails if an event was lost, or if anything at all was said on standard error. Where a program takes as long as a
    /// time slice, what interrupts it may be told as lost, whether the filters wanted it or not: there, the events show.
    #[track_caller]
    pub(crate) fn quiet(self) -> Self {
        assert_eq!(unexpected(self.stderr.iter().map(String::as_str)), Vec::<&str>::new());
        self
    }
}

/// How many events these lines of standard error tell as lost, in all.
pub(crate) fn told<'a>(lines: impl DoubleEndedIterator<Item = &'a str>) -> usize {
    let count = |line: &str| line.split_once(" in all")?.0.rsplit(' ').next()?.parse().ok();
    lines.rev().find_map(count).unwrap_or(0)
}

/// What should not have been said on standard error, see [`Finished::quiet`].
pub(crate) fn unexpected<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let interrupted = |line: &str| line.contains("(they interrupted the work on others)");
    lines.filter(|line| !(emulated() && interrupted(line))).collect()
}

#[track_caller]
fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON: {error}: {line}"))
}

/// One of the two output streams: read by a thread, so that a tracer never waits for its test.
struct Stream {
    shared: Arc<Shared>,
    reader: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

impl Stream {
    fn collect(from: impl Read + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        let reader = std::thread::spawn(move || writer.fill(BufReader::new(from)));
        Self { shared, reader }
    }

    /// The first line that is accepted; all lines if none is before the end of the stream, or of the time.
    fn wait(&self, accept: impl Fn(&str) -> bool) -> Result<String, Vec<String>> {
        let deadline = Instant::now() + BOUND;
        let mut checked = 0;
        let mut state = self.shared.state.lock().unwrap();
        loop {
            if let Some(line) = state.lines[checked..].iter().find(|line| accept(line)) {
                return Ok(line.clone());
            }
            checked = state.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return Err(state.lines.clone());
            }
            (state, _) = self.shared.changed.wait_timeout(state, left).unwrap();
        }
    }

    fn seen(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().lines.clone()
    }

    /// All lines, after the process has ended. Somebody else who holds the pipe open is a defect.
    fn all(&self) -> Vec<String> {
        let deadline = Instant::now() + BOUND;
        while !self.reader.is_finished() {
            assert!(Instant::now() < deadline, "the process has ended, its output has not");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.seen()
    }
}

impl Shared {
    fn fill(&self, mut from: impl BufRead) {
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            let mut state = self.state.lock().unwrap();
            state.lines.push(decode(&line));
            self.changed.notify_all();
            line.clear();
        }
        self.state.lock().unwrap().ended = true;
        self.changed.notify_all();
    }
}

/// A line without its end. What no tracer may write is made visible, so that no comparison succeeds with it: bytes that are
/// not UTF-8, control characters, a line without an end.
fn decode(line: &[u8]) -> String {
    let Some(body) = line.strip_suffix(b"\n") else {
        return format!("UNFINISHED LINE {:?}", String::from_utf8_lossy(line));
    };
    match std::str::from_utf8(body) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => format!("UNSAFE LINE {:?}", String::from_utf8_lossy(body)),
    }
}
