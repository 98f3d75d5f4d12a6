//! A tracer's life: options -> load -> attach -> poll -> print -> detach. The only event loop of the workspace.
//!
//! In: a [`Tracer`] and the command line. Out: text on standard output, messages on standard error, an exit code.
//! What becomes of a record is [`crate::stream`]'s; how it reaches the reader is [`crate::output::sink`]'s.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use loader::attach::{self, AttachOptions, Link};
use loader::hooks::{self, Refusal};
use loader::load::{LoadOptions, Object};
use loader::map::{Entry, Map, UpdateMode};
use loader::program::Program;
use loader::ringbuf::RingBuffer;
use loader::spec::ObjectSpec;
use loader::sys::memory::drop_code_pages;
use loader::{Error, Result, ResultExt};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::cli::{self, Common, Parsed};
use crate::command::{self, Traced};
use crate::event::{Header, Member, Wire, check_layout};
use crate::field::{Context, Field};
use crate::filter::{Sets, TaskFilter};
use crate::format::time::Clock;
use crate::lost::Counters;
use crate::message::{Failure, Messages};
use crate::output::json::Object as JsonObject;
use crate::output::sink::{Sink, Written};
use crate::signals::{News, Signals};
use crate::stream::Stream;

/// How long a record may lie in the ring before it is printed. Programs wake the reader only when much has
/// piled up, because a wake-up per event costs them more than the event.
const TICK: Duration = Duration::from_millis(50);
/// How often the counter of lost events and the wall clock are looked at.
const CHECK: Duration = Duration::from_secs(1);
/// Output is written when this much is there, even if more records wait.
const BATCH: usize = 64 << 10;
/// A program wakes the reader when this part of the ring is full, or so many bytes wait: enough of them that the wake-up
/// costs little for each, few enough that the room left lasts until the reader gets a processor.
const WAKEUP_DIVISOR: u64 = 4;
const WAKEUP_MOST: u64 = 128 << 10;
/// What the ring buffer puts in front of each record, bytes (`BPF_RINGBUF_HDR_SZ`).
const RECORD_HEADER: u64 = 8;
/// Malformed records that are described one by one; the rest is only counted.
const DESCRIBED: u64 = 3;
/// Names another file than `/sys/kernel/btf/vmlinux` as the BTF of the kernel.
const BTF_VARIABLE: &str = "NSMAP_BTF";

/// What one tracer has of its own; see the recipe in the crate's documentation.
pub trait Tracer: Sized + 'static {
    /// Name of the program, as typed.
    const NAME: &'static str;
    /// One line for the help.
    const ABOUT: &'static str;
    /// Worked examples for the end of the help: indented lines.
    const EXAMPLES: &'static str;
    /// What each hook does not see, for the help: `include_str!(concat!(env!("OUT_DIR"), "/NAME.misses"))`.
    const MISSES: &'static str;
    /// Short names of uniform options: the option's id and its letter.
    const SHORTS: &'static [(&'static str, char)];
    /// Width of the column of `--timestamp`, and decimals of its seconds: those of the tool of that name in BCC.
    const TIMESTAMP: (usize, usize) = (8, 3);
    /// The compiled BPF object.
    const OBJECT: &'static [u8];
    /// The C struct of a record, which [`Tracer::Record`] mirrors.
    const RECORD: &'static str;
    /// The fixed part of a record.
    type Record: Wire;
    /// Bytes of the smallest record; less than [`Tracer::Record`] has where there are records of another kind.
    const SMALLEST: usize = <Self::Record as Wire>::SIZE;
    /// The tool's own options.
    type Options: clap::Args;
    /// Buffers that decoding reuses.
    type Scratch: Default;
    /// A decoded record, which borrows from its bytes and from the scratch buffers.
    type Event<'r>;

    /// Makes a tracer of the options; an error is wrong usage.
    fn new(options: Self::Options, common: &Common) -> Result<Self, Failure>;
    /// What to attach for these options.
    fn hooks(&self) -> Vec<Hook>;
    /// Adds the tool's own restrictions to those of the uniform options.
    fn restrict(&self, _: &mut TaskFilter) {}
    /// Edits the object before it is loaded: the tool's own globals and maps.
    fn configure(&self, spec: &mut ObjectSpec) -> Result<()>;
    /// The uniform options, as given to [`Tracer::new`].
    fn common(&self) -> &Common;
    /// What every event has.
    fn header<'a>(event: &'a Self::Event<'_>) -> &'a Header;
    /// The fields, in the order of columns and keys.
    fn fields() -> &'static [Field<Self>];
    /// The JSON `type` of an event.
    fn record_type(event: &Self::Event<'_>) -> &'static str;
    /// Bytes to an event; `None` for one that filters in user space drop.
    fn decode<'r>(
        &'r self,
        scratch: &'r mut Self::Scratch,
        bytes: &'r [u8],
    ) -> Result<Option<Self::Event<'r>>>;
    /// Adds the tool's own filters to the JSON `start` record.
    fn describe(&self, filters: &mut JsonObject<'_>);
    /// A command line to execute and trace; its process id goes to the object's map `tree`, and the run ends with it.
    fn command(&self) -> Option<&[OsString]> {
        None
    }
    /// What is printed at the end instead of events while they happen, if the options ask for that.
    fn summary(&self) -> Option<Summary<Self>> {
        None
    }
}

/// A table that the kernel fills and that is printed when the run ends.
pub struct Summary<T> {
    /// Name of the map that holds it.
    pub map: &'static str,
    /// Appends the header line of the table.
    pub push_header: fn(&T, &mut Vec<u8>),
    /// Appends rows or JSON lines for the entries of the map.
    pub push_rows: fn(&T, Vec<Entry>, &Context, &mut Vec<u8>),
}

/// Programs that observe something together; see the loader.
pub type Way = hooks::Way<'static>;

/// Further places for a program of a way; see the loader.
pub type Further = hooks::Further<'static>;
/// What a way does not see on some kernels; see the loader.
pub type Partial = hooks::Partial<'static>;

/// One kind of activity and the ways to observe it, best first.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// What it observes, for messages.
    pub observes: &'static str,
    /// The ways; the first one that the kernel takes is used.
    pub ways: &'static [Way],
}

/// The way that is used, and why better ones are not.
#[derive(Debug)]
pub struct ChosenHook {
    /// As [`Hook::observes`].
    pub observes: &'static str,
    /// The way's name.
    pub name: String,
    /// Better ways and optional programs, and why the kernel refused each.
    pub refused: Vec<Refusal>,
}

/// `main` of every tracer.
pub fn main<T: Tracer>() -> ExitCode {
    let plain = Messages::new(T::NAME, false);
    // Here, after the options and before the ring: what a step needed of the code does not add to the peak of the next.
    drop_code_pages();
    if let Some(code) = command::step_aside(plain) {
        return code;
    }
    let (common, options) = match cli::parse::<T>(env::args_os()) {
        Ok(Parsed::Run(common, options)) => (common, options),
        Ok(Parsed::Done) => return ExitCode::SUCCESS,
        Err(failure) => return plain.fail(&failure),
    };
    let messages = Messages::new(T::NAME, common.verbose);
    match run::<T>(&common, options, messages) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => messages.fail(&failure),
    }
}

fn run<T: Tracer>(common: &Common, options: T::Options, messages: Messages) -> Result<(), Failure> {
    // Before anything is attached: a signal during the start ends the run in order, too.
    let signals = Signals::block()?;
    let clock = Clock::start(common.time);
    let tracer = T::new(options, common)?;
    drop_code_pages();
    let mut object = load(&tracer, common, messages)?;
    let child = tracer.command().map(|line| start_command(line, &object, common)).transpose()?;
    let mut attached = Attachments::default();
    let hooks = attach_all(&mut object, &choose(tracer.hooks(), common)?, &mut attached, messages)?;
    let events = object.map("events")?.try_clone()?;
    let seen_second = object.map("seen_second").and_then(Map::try_clone).ok();
    let lost = Counters::new(object.map("lost")?.try_clone()?, seen_second, attached.programs);
    let counts = tracer.summary().map(|summary| object.map(summary.map)?.try_clone()).transpose()?;
    // The BTF of the kernel goes before the ring is mapped: the two largest things in memory never meet.
    drop(object);
    drop_code_pages();
    let ring = RingBuffer::new(&events)?;
    let sink = Sink::standard_output().map_err(|error| Error::io("standard output", error))?;
    let mut stream = Stream::new(tracer, common, clock);
    stream.listen();
    if io::stdout().is_terminal() {
        stream.repeat_header();
    }
    let deadline = common.duration.map(|duration| Instant::now() + duration);
    let mut run = Run { stream, ring, sink, signals, lost, counts, messages, deadline, child };
    run.stream.start(common, &hooks);
    if let Some(child) = &mut run.child {
        child.release()?;
    }
    let mut end = run.follow()?;
    run.empty(&mut end)?;
    // What has happened by now is in the output. What still happens is nobody's business, and detaching can take
    // a third of a second, which need not be waited for.
    Link::leave_all(attached.links);
    run.finish(end)
}

fn start_command(line: &[OsString], object: &Object, common: &Common) -> Result<Traced, Failure> {
    let child = Traced::stopped(line, common.json)?;
    let tree = object.map("tree")?;
    tree.update(&child.id().to_ne_bytes(), &1u32.to_ne_bytes(), UpdateMode::Any)?;
    Ok(child)
}

// ---- load and attach ------------------------------------------------------------------------------------------------

fn load<T: Tracer>(tracer: &T, common: &Common, messages: Messages) -> Result<Object, Failure> {
    let mut filter = common.task_filter();
    tracer.restrict(&mut filter);
    let mut sets = Sets::open(common.cgroupmap.as_deref(), common.mntnsmap.as_deref())?;
    if let Some(name) = &common.container {
        sets.add_container(name, &mut filter)?;
    }
    if let Some(path) = &common.cgroup {
        filter.subtree = Some(nsmap::identity::cgroup::id_of_path(path)?);
    }
    if common.cgroupmap.is_some() || common.cgroup.is_some() {
        warn_about_cgroups(common, messages);
    }
    let mut spec = prepare(tracer, &filter)?;
    let mut maps = BTreeMap::new();
    sets.apply(&mut spec, &mut maps)?;
    let btf = env::var_os(BTF_VARIABLE).map(PathBuf::from);
    let functions = functions_asked_for(&tracer.hooks());
    Ok(Object::create(spec, LoadOptions { btf, maps, functions, ..Default::default() })?)
}

/// The functions by which a kernel is known on which a way does not see everything.
fn functions_asked_for(hooks: &[Hook]) -> Vec<&'static str> {
    let partial = hooks.iter().flat_map(|hook| hook.ways).filter_map(|way| way.partial.as_ref());
    partial.flat_map(|partial| partial.functions.iter().chain(partial.siblings).copied()).collect()
}

/// The object as it is to be loaded, sets apart. Needs no privilege and no kernel.
pub fn prepare<T: Tracer>(tracer: &T, filter: &TaskFilter) -> Result<ObjectSpec> {
    let mut spec = ObjectSpec::parse(T::OBJECT).context("read the built-in BPF object")?;
    check_record::<T::Record>(&spec, T::RECORD)?;
    filter.apply(&mut spec)?;
    set_ring_size(&mut spec, tracer.common().buffer_size)?;
    tracer.configure(&mut spec)?;
    Ok(spec)
}

/// The C struct is the truth: nothing is loaded when this program would read records of this name wrongly.
pub fn check_record<R: Wire>(spec: &ObjectSpec, name: &str) -> Result<()> {
    let btf = spec.btf.as_ref().ok_or_else(|| Error::invalid("the built-in BPF object has no BTF"))?;
    let layout = btf.struct_layout(name)?;
    let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let members = layout.fields.into_iter().map(|field| Member {
        path: field.path,
        offset: number(field.offset),
        size: number(field.size),
    });
    check_layout::<R>(name, number(layout.size), members)
}

/// Sets how many entries a map of the object has.
pub fn set_table_size(spec: &mut ObjectSpec, map: &str, entries: u32) -> Result<()> {
    let map = spec.map_mut(map).ok_or_else(|| Error::invalid(format!("the object has no map `{map}`")))?;
    map.max_entries = entries;
    Ok(())
}

fn set_ring_size(spec: &mut ObjectSpec, size: Option<u32>) -> Result<()> {
    let ring =
        spec.map_mut("events").ok_or_else(|| Error::invalid("the object has no ring buffer `events`"))?;
    if let Some(size) = size {
        ring.max_entries = size;
    }
    let wakeup = (u64::from(ring.max_entries) / WAKEUP_DIVISOR).min(WAKEUP_MOST);
    spec.set_global("wakeup_bytes", wakeup)
}

fn warn_about_cgroups(common: &Common, messages: Messages) {
    if let Some(reason) = nsmap::identity::cgroup::why_ids_are_useless() {
        let option = if common.cgroupmap.is_some() { "--cgroupmap" } else { "--cgroup" };
        messages.say(&format!("warning: `{option}` may match nothing: {reason} (use --mntnsmap here)"));
    }
}

/// What is attached, of all hooks.
#[derive(Default)]
struct Attachments {
    links: Vec<Link>,
    programs: Vec<Program>,
}

fn attach_all(
    object: &mut Object,
    hooks: &[(Hook, Vec<Way>)],
    all: &mut Attachments,
    messages: Messages,
) -> Result<Vec<ChosenHook>> {
    hooks.iter().map(|(hook, ways)| attach_hook(object, hook, ways, all, messages)).collect()
}

/// The hooks, each with the ways that `--hook` leaves.
fn choose(hooks: Vec<Hook>, common: &Common) -> Result<Vec<(Hook, Vec<Way>)>, Failure> {
    let Some(wanted) = &common.hook else {
        return Ok(hooks.into_iter().map(|hook| (hook, hook.ways.to_vec())).collect());
    };
    let fits = |way: &&Way| way.name.starts_with(wanted.as_str());
    let known: Vec<&str> = hooks.iter().flat_map(|hook| hook.ways).map(|way| way.name).collect();
    if !hooks.iter().flat_map(|hook| hook.ways).any(|way| fits(&way)) {
        let known = known.join("`, `");
        return Err(Failure::usage(format!("no hook is called `{wanted}`; there are `{known}`")));
    }
    // What can be observed in one way only is not what the choice is about.
    let choose = |hook: Hook| {
        let left: Vec<Way> = hook.ways.iter().filter(fits).copied().collect();
        (hook, if left.is_empty() { hook.ways.to_vec() } else { left })
    };
    Ok(hooks.into_iter().map(choose).collect())
}

fn attach_hook(
    object: &mut Object,
    hook: &Hook,
    ways: &[Way],
    all: &mut Attachments,
    messages: Messages,
) -> Result<ChosenHook> {
    let attach = |program: &Program| attach::attach_in_kernel(program, AttachOptions::default());
    let mut attached =
        hooks::attach_first_by(object, ways, attach).with_context(|| format!("observe {}", hook.observes))?;
    messages.explain(&format!("observing {} through {}", hook.observes, attached.name));
    for refusal in &attached.refused {
        messages.explain(&format!("not observing {} through {refusal}", hook.observes));
    }
    all.links.append(&mut attached.links);
    all.programs.append(&mut attached.programs);
    Ok(ChosenHook { observes: hook.observes, name: attached.name, refused: attached.refused })
}

// ---- poll and print -------------------------------------------------------------------------------------------------

struct Run<T: Tracer> {
    stream: Stream<T>,
    ring: RingBuffer,
    sink: Sink,
    signals: Signals,
    lost: Counters,
    /// The map of [`Summary`].
    counts: Option<Map>,
    messages: Messages,
    deadline: Option<Instant>,
    child: Option<Traced>,
}

/// Why a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Signal,
    /// The command that was to be traced has ended.
    Command,
    Duration,
    MaxEvents,
    /// Nobody reads the output any more.
    Closed,
    /// The reader takes nothing, and the user wants to end.
    Stalled(usize),
}

/// Whether the ring may hold more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drained {
    Empty,
    More,
}

impl<T: Tracer> Run<T> {
    fn follow(&mut self) -> Result<End> {
        let epoll = self.watch()?;
        let mut next_check = Instant::now() + CHECK;
        loop {
            if let Some(end) = self.flush(true)? {
                return Ok(end);
            }
            let drained = self.drain(&mut { u64::MAX })?;
            if self.stream.is_full() {
                return Ok(End::MaxEvents);
            }
            let now = Instant::now();
            if now >= next_check {
                next_check = now + CHECK;
                self.stream.adjust_clock();
                self.report_lost();
            }
            if self.deadline.is_some_and(|deadline| now >= deadline) {
                return Ok(End::Duration);
            }
            let busy = drained == Drained::More || !self.stream.buffer().is_empty();
            if let Some(end) = self.wait(&epoll, if busy { Duration::ZERO } else { self.until_tick(now) })? {
                return Ok(end);
            }
        }
    }

    /// The ring is watched for wake-ups (edge-triggered) and not for being non-empty: else the first record of each tick
    /// would end the wait, and batching with it.
    fn watch(&self) -> Result<Epoll> {
        let os = |errno| Error::os("epoll", errno as i32);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(os)?;
        let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        epoll.add(self.ring.as_fd(), EpollEvent::new(edge, token::RING)).map_err(os)?;
        epoll.add(self.signals.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, token::SIGNAL)).map_err(os)?;
        // Hang-up is reported without being asked for. A regular file cannot be watched and does not hang up.
        match epoll.add(self.sink.as_fd(), EpollEvent::new(EpollFlags::empty(), token::OUTPUT)) {
            Ok(()) | Err(Errno::EPERM) => Ok(epoll),
            Err(errno) => Err(os(errno)),
        }
    }

    fn until_tick(&self, now: Instant) -> Duration {
        self.deadline.map_or(TICK, |deadline| deadline.saturating_duration_since(now).min(TICK))
    }

    fn wait(&mut self, epoll: &Epoll, at_most: Duration) -> Result<Option<End>> {
        // Rounded up: a wait of no time until the deadline would spin.
        let millis = at_most.as_nanos().div_ceil(1_000_000);
        let timeout = EpollTimeout::from(u16::try_from(millis).unwrap_or(u16::MAX));
        let mut events = [EpollEvent::empty(); 3];
        let ready = match epoll.wait(&mut events, timeout) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(Error::os("epoll_wait", errno as i32)),
        };
        let seen = |token: u64| events.iter().take(ready).any(|event| event.data() == token);
        if seen(token::SIGNAL) {
            match self.signals.take() {
                Some(News::End) => return Ok(Some(End::Signal)),
                Some(News::Child) if self.child.as_mut().is_some_and(Traced::has_ended) => {
                    return Ok(Some(End::Command));
                }
                _ => {}
            }
        }
        Ok(seen(token::OUTPUT).then_some(End::Closed))
    }

    /// Formats what the ring holds, up to one batch and `most` records, which it counts down.
    fn drain(&mut self, most: &mut u64) -> Result<Drained> {
        while *most > 0 && !self.stream.is_full() && self.stream.buffer().len() < BATCH {
            let Some(record) = self.ring.next()? else { return Ok(Drained::Empty) };
            *most -= 1;
            if let Err(error) = self.stream.record(&record)
                && self.stream.counts().malformed <= DESCRIBED
            {
                self.messages.say(&error.to_string());
            }
        }
        Ok(Drained::More)
    }

    /// Writes the buffer. `patient`: until the run is to end; else a stalled reader is given up soon.
    fn flush(&mut self, patient: bool) -> Result<Option<End>> {
        let stop = patient.then(|| self.signals.as_fd());
        let written = self.sink.write(self.stream.buffer(), stop, self.deadline);
        self.stream.buffer().clear();
        match written {
            Ok(Written::All) => Ok(None),
            Ok(Written::Closed) => Ok(Some(End::Closed)),
            Ok(Written::Stalled(bytes)) => Ok(Some(End::Stalled(bytes))),
            Err(error) => Err(Error::io("write", error).context("write to standard output")),
        }
    }

    fn report_lost(&mut self) {
        let lost = match self.lost.read() {
            Ok(lost) => lost,
            Err(error) => return self.messages.say(&format!("read the counters of lost events: {error}")),
        };
        let new = self.stream.lost(lost.total());
        if new > 0 {
            self.messages.say(&format!("{new} events lost, {} in all ({})", lost.total(), lost.hint()));
        }
    }

    /// Prints what the ring holds now, unless the end is one after which no more is wanted. While programs are attached,
    /// more may come than can ever be printed: the bound is how many records fit in the bytes that wait.
    fn empty(&mut self, end: &mut End) -> Result<()> {
        let smallest = u64::try_from(T::SMALLEST).unwrap_or(u64::MAX).saturating_add(RECORD_HEADER);
        let mut left = self.ring.pending() / smallest + 1;
        while matches!(end, End::Signal | End::Duration | End::Command) && left > 0 {
            if self.drain(&mut left)? == Drained::Empty {
                left = 0;
            }
            if let Some(other) = self.flush(false)? {
                *end = other;
            } else if self.stream.is_full() {
                *end = End::MaxEvents;
            }
        }
        Ok(())
    }

    /// Everything is detached and printed: reports about the run.
    fn finish(mut self, end: End) -> Result<(), Failure> {
        self.report_lost();
        let malformed = self.stream.counts().malformed;
        if malformed > DESCRIBED {
            self.messages.say(&format!("{malformed} records were not understood"));
        }
        let reason = match end {
            End::Signal => "signal",
            End::Command => "command",
            End::Duration => "duration",
            End::MaxEvents => "max-events",
            End::Closed => return Ok(()),
            End::Stalled(bytes) => return Err(stalled(bytes)),
        };
        if let Some(counts) = &self.counts {
            self.stream.summarize(counts.entries().context("read the counts")?);
        }
        self.stream.end(reason);
        match self.flush(false)? {
            Some(End::Stalled(bytes)) => Err(stalled(bytes)),
            _ => Ok(()),
        }
    }
}

fn stalled(bytes: usize) -> Failure {
    Error::io("write", io::ErrorKind::TimedOut.into())
        .context(format!("the reader of the output took nothing for a second, {bytes} bytes are dropped"))
        .into()
}

/// What an epoll event is about.
mod token {
    pub(super) const RING: u64 = 0;
    pub(super) const SIGNAL: u64 = 1;
    pub(super) const OUTPUT: u64 = 2;
}
