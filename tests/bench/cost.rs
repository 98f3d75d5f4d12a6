//! What tracing costs those who are traced, and those who are not; and whether all was seen.
//!
//! The cost of an open is the CPU time that it takes from the caller while a tracer runs, less that without one, measured
//! in turn: it holds the programs, their wake-ups, and what the hook itself costs. Beside it stand
//! - elapsed time, which also holds the waiting for a CPU that the tracer uses; it means something on an idle machine only;
//! - the kernel's own count of the time in BPF programs (`kernel.bpf_stats_enabled`): exact even where, as for an exec, the
//!   difference drowns in noise. It holds what the rest of the machine did meanwhile, on both sides alike;
//! - CPU time of the tracer for each line that it wrote: reading, decoding, formatting, writing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::Bench;
use crate::empty::Empty;
use crate::process::Running;
use crate::report::{Row, Target, Unit};
use crate::sample::{Sample, Side, alternate};
use crate::tools::{self, Tool};
use crate::work::{Connections, Took, getppid};

/// Execs in a round.
const EXECS: usize = 150;
/// Connections in a round.
const CONNECTIONS: usize = 500;
/// Calls in a round of the cheapest system call.
const CALLS: usize = 200_000;

/// What a round found; nanoseconds for each event.
#[derive(Clone, Copy, Default)]
pub(crate) struct Found {
    took: Took,
    pub(crate) programs: f64,
    /// CPU time of the tool for each line of its output.
    tool: f64,
    /// Events that the tool did not show.
    lost: f64,
}

pub(crate) type Round = Result<Found, String>;

/// What is done while a tool runs, and what is then looked for in its output.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    Opens,
    /// So many of them a second.
    OpensAt(usize),
    /// The same while threads come and go, each open by another of them.
    OpensOfThreads,
    /// The same, but all opens by one thread.
    OpensBesideThreads,
    Execs,
    Connections,
    Nothing,
}

impl Work {
    fn run(self, bench: &Bench) -> Took {
        match self {
            Self::Opens => bench.files.open_all(),
            Self::OpensAt(rate) => bench.files.open_at(rate),
            Self::OpensOfThreads => bench.files.open_among_threads(true),
            Self::OpensBesideThreads => bench.files.open_among_threads(false),
            Self::Execs => bench.program.run(EXECS),
            Self::Connections => bench.connections.make(CONNECTIONS),
            Self::Nothing => getppid(CALLS),
        }
    }

    fn events(self, bench: &Bench) -> usize {
        match self {
            Self::Opens | Self::OpensOfThreads | Self::OpensBesideThreads => bench.files.count(),
            Self::OpensAt(rate) => bench.files.count_at(rate),
            Self::Execs => EXECS,
            Self::Connections => CONNECTIONS,
            Self::Nothing => CALLS,
        }
    }

    fn missing(self, bench: &Bench, output: &Path) -> f64 {
        match self {
            Self::Opens | Self::OpensAt(_) | Self::OpensOfThreads | Self::OpensBesideThreads => {
                bench.files.missing(output, self.events(bench))
            }
            Self::Execs => bench.program.missing(output, EXECS),
            Self::Connections => Connections::missing(output, CONNECTIONS),
            Self::Nothing => 0.0,
        }
    }
}

/// The nanoseconds that these programs have run, as bpftool tells; 0 without it.
fn run_time(programs: &BTreeSet<u32>) -> f64 {
    let one = |id: &u32| {
        let mut command = Command::new("/usr/sbin/bpftool");
        let output = command.args(["--json", "prog", "show", "id", &id.to_string()]).output().ok()?;
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        json["run_time_ns"].as_f64()
    };
    programs.iter().filter_map(one).sum()
}

pub(crate) fn round(bench: &Bench, tool: &Tool, work: Work) -> Round {
    let output = bench.work.join("output");
    let running = Running::to_file(tool.command(), &output)?;
    let before = running.cpu_time();
    let took = work.run(bench);
    let programs = running.programs();
    // Another pass, with the kernel counting, which costs a little itself.
    let counted = counting(|| {
        let before = run_time(&programs);
        work.run(bench);
        run_time(&programs) - before
    })?;
    // Until it has read and written what has happened.
    std::thread::sleep(Duration::from_millis(120));
    let used = running.cpu_time() - before;
    running.stop()?;
    let lines = fs::read(&output).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count();
    Ok(Found {
        took,
        programs: counted / work.events(bench) as f64,
        tool: used / lines as f64,
        lost: work.missing(bench, &output),
    })
}

fn counting<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let set = |value| fs::write(COUNTING, value).map_err(|error| format!("{COUNTING}: {error}"));
    set("1")?;
    let found = work();
    set("0")?;
    Ok(found)
}

/// `run` puts it back as it was.
const COUNTING: &str = "/proc/sys/kernel/bpf_stats_enabled";

fn empty_round(bench: &Bench, empty: Option<&Empty>, work: Work) -> Round {
    let link = empty.map(Empty::attach).transpose()?;
    let took = work.run(bench);
    drop(link);
    Ok(Found { took, ..Found::default() })
}

/// A comparison: what is done, by whom it is watched, what is promised.
struct Case {
    what: &'static str,
    work: Work,
    ours: Tool,
    theirs: Tool,
    /// The empty program on the hook that ours uses.
    empty: &'static str,
    target: Target,
    /// Whether the tools are to show each event.
    shown: bool,
}

pub(crate) fn column(rounds: &[Round], figure: impl Fn(&Found) -> f64) -> Result<Sample, String> {
    rounds.iter().map(|round| round.as_ref().map(&figure).map_err(Clone::clone)).collect()
}

fn compare(bench: &mut Bench, case: &Case) {
    if !case.ours.installed() {
        return;
    }
    let empty = Empty::load(&bench.empty, case.empty);
    let mut sides: Vec<Side<'_, Round>> = vec![
        Box::new(|| empty_round(bench, None, case.work)),
        Box::new(|| round(bench, &case.ours, case.work)),
        Box::new(|| round(bench, &case.theirs, case.work)),
        Box::new(|| match &empty {
            Ok(empty) => empty_round(bench, Some(empty), case.work),
            Err(why) => Err(why.clone()),
        }),
    ];
    let found = alternate(bench.rounds.div_ceil(2), &mut sides);
    drop(sides);
    let [none, ours, theirs, least] = &found[..] else { return };
    report(bench, case, [none, ours, theirs, least]);
}

fn report(bench: &mut Bench, case: &Case, [none, ours, theirs, least]: [&[Round]; 4]) {
    let extra = |rounds: &[Round], figure: fn(&Found) -> f64| {
        let base = column(none, figure).unwrap_or_default();
        column(rounds, figure).map(|sample| sample.minus(&base))
    };
    let peer = case.theirs.name;
    let row = match extra(ours, |found| found.took.cpu) {
        Ok(sample) => Row::new(case.what, Unit::Nanoseconds, sample).target(case.target),
        Err(why) => return bench.report.add(&Row::missing(case.what, why)),
    };
    let row = row.theirs(peer, extra(theirs, |found| found.took.cpu));
    bench.report.add(&match extra(least, |found| found.took.cpu) {
        Ok(least) => row.limit("empty program on the hook", &least),
        Err(_) => row,
    });
    if matches!(case.work, Work::Nothing) {
        return;
    }
    let mut both = |what: &str, unit, target, figure: &dyn Fn(&[Round]) -> Result<Sample, String>| {
        let Ok(sample) = figure(ours) else { return };
        let row = Row::new(format!("{}: {what}", case.what), unit, sample).target(target);
        bench.report.add(&row.theirs(peer, figure(theirs)));
    };
    both("time in BPF programs", Unit::Nanoseconds, Target::None, &|rounds| {
        column(rounds, |found| found.programs)
    });
    if case.shown {
        both("elapsed time", Unit::Nanoseconds, Target::None, &|rounds| {
            extra(rounds, |found| found.took.elapsed)
        });
        both("CPU time of the tracer", Unit::Nanoseconds, Target::Ratio(1.0), &|rounds| {
            column(rounds, |found| found.tool)
        });
        both("lost in the worst round", Unit::Count, Target::AtMost(0.0), &|rounds| {
            column(rounds, |found| found.lost).map(|sample| [sample.max()].into_iter().collect())
        });
    }
}

pub(crate) fn opens(bench: &mut Bench) {
    let ours = Tool::ours(&bench.bin, "opensnoop");
    let theirs = tools::libbpf("opensnoop");
    let cases = [
        ("open, matched", &[][..], &[][..], Target::Ratio(0.2), true),
        ("open, matched, both on syscall tracepoints", &["--hook", "tracepoint"], &[], Target::None, true),
        ("open, filtered out by pid", &["-p", "1"], &["-p", "1"], Target::None, false),
        (
            "open, filtered out by pid, both on syscall tracepoints",
            &["-p", "1", "--hook", "tracepoint"],
            &["-p", "1"],
            Target::Ratio(0.6),
            false,
        ),
    ];
    for (what, our_args, their_args, target, shown) in cases {
        let (ours, theirs) = (ours.clone().with(our_args), theirs.clone().with(their_args));
        let empty = if our_args.contains(&"--hook") { "empty_openat" } else { open_hook(bench) };
        let case = Case { what, work: Work::Opens, ours, theirs, empty, target, shown };
        compare(bench, &case);
    }
}

/// What a tracer does for an event, when there are few and when there are many: it wakes up for either.
pub(crate) fn rates(bench: &mut Bench) {
    let (ours, theirs) = (Tool::ours(&bench.bin, "opensnoop"), tools::libbpf("opensnoop"));
    for (what, rate) in [
        ("open, matched, 1000 a second", 1000),
        ("open, matched, 10,000 a second", 10_000),
        ("open, matched, 50,000 a second", 50_000),
    ] {
        let work = Work::OpensAt(rate);
        let mut sides: [Side<'_, Round>; 2] =
            [Box::new(|| round(bench, &ours, work)), Box::new(|| round(bench, &theirs, work))];
        let found = alternate(bench.rounds.div_ceil(3), &mut sides);
        drop(sides);
        let [ours, theirs] = &found[..] else { return };
        type Figure = fn(&Found) -> f64;
        let figures: [(&str, Unit, Target, Figure); 2] = [
            ("CPU time of the tracer", Unit::Nanoseconds, Target::Ratio(1.0), |found| found.tool),
            ("lost", Unit::Count, Target::AtMost(0.0), |found| found.lost),
        ];
        for (figure_name, unit, target, figure) in figures {
            let what = format!("{what}: {figure_name}");
            bench.report.add(&match column(ours, figure) {
                Ok(sample) => {
                    Row::new(what, unit, sample).theirs("libbpf-tools", column(theirs, figure)).target(target)
                }
                Err(why) => Row::missing(what, why),
            });
        }
    }
}

/// The empty program on the best hook for opens that this kernel lets one use.
fn open_hook(bench: &Bench) -> &'static str {
    let fexit = Empty::load(&bench.empty, "empty_fexit").and_then(|empty| empty.attach());
    if fexit.is_ok() { "empty_fexit" } else { "empty_sys_exit" }
}

pub(crate) fn execs(bench: &mut Bench) {
    let ours = Tool::ours(&bench.bin, "execsnoop");
    let theirs = tools::libbpf("execsnoop");
    let nobody = &["-u", "12345"][..];
    let cases = [
        ("exec, matched", &[][..], &[][..], Target::Ratio(1.0), true),
        ("exec, filtered out by uid", nobody, nobody, Target::Ratio(1.0), false),
    ];
    for (what, our_args, their_args, target, shown) in cases {
        let (ours, theirs) = (ours.clone().with(our_args), theirs.clone().with(their_args));
        compare(bench, &Case { what, work: Work::Execs, ours, theirs, empty: "empty_exec", target, shown });
    }
}

/// A connection: made, accepted, closed at both ends. BCC's family has kprobes only, which this kernel may not have.
pub(crate) fn connections(bench: &mut Bench) {
    for (what, tracer) in [
        ("connection, tcpconnect", "tcpconnect"),
        ("connection, tcpaccept", "tcpaccept"),
        ("connection, tcptracer", "tcptracer"),
    ] {
        let (ours, theirs) = (Tool::ours(&bench.bin, tracer), tools::libbpf(tracer));
        let target = Target::Ratio(1.0);
        let empty = "empty_state";
        compare(bench, &Case { what, work: Work::Connections, ours, theirs, empty, target, shown: true });
    }
}

/// The price that everybody pays for a hook on all system calls, beside a peer that sees the same callers: libbpf-tools see no
/// 32-bit ones, opensnoop does unless it is told otherwise.
pub(crate) fn untraced(bench: &mut Bench) {
    let all_callers = tools::opensnoop_of_all_callers();
    for (what, tracer, args, theirs, empty) in [
        ("getppid while execsnoop runs", "execsnoop", &[][..], tools::libbpf("execsnoop"), "empty_exec"),
        (
            "getppid while opensnoop runs, 64-bit callers seen",
            "opensnoop",
            &["--hook", "tracepoint"],
            tools::libbpf("opensnoop"),
            "empty_openat",
        ),
        (
            "getppid while opensnoop runs, 32-bit callers seen, too",
            "opensnoop",
            &[],
            all_callers,
            open_hook(bench),
        ),
    ] {
        let ours = Tool::ours(&bench.bin, tracer).with(args);
        let target = Target::Ratio(1.0);
        compare(bench, &Case { what, work: Work::Nothing, ours, theirs, empty, target, shown: false });
    }
}
