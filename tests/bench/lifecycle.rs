//! Start, memory, end and size of a tracer, and of what a user would start instead.

use std::time::Duration;

use crate::Bench;
use crate::machine;
use crate::process::{Memory, Running};
use crate::report::{Row, Target, Unit};
use crate::sample::{Sample, Side, alternate};
use crate::tools::{self, Tool};

/// One life of a tool.
struct Life {
    start_ms: f64,
    end_ms: f64,
    /// Mebibytes resident at most, buffers apart.
    peak: f64,
    anonymous: f64,
}

const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// Starts a tool, lets it see some events, and ends it.
fn live(bench: &Bench, tool: &Tool) -> Result<Life, String> {
    let (running, start) = Running::on_terminal(tool.command(), tool.mark)?;
    let early = running.memory();
    bench.files.open_all();
    bench.program.run(50);
    // Until it has read and printed what has happened.
    std::thread::sleep(Duration::from_millis(120));
    let late = running.memory();
    let end = running.stop()?;
    Ok(Life {
        start_ms: start.as_secs_f64() * 1e3,
        end_ms: end.as_secs_f64() * 1e3,
        peak: early_peak(tool, &early)?.max(late.peak - late.buffers) / MEBIBYTE,
        anonymous: early.anonymous.max(late.anonymous) / MEBIBYTE,
    })
}

/// The most that was resident until the header came. The perf buffers of peers are empty then and count nothing; our ring
/// counts as soon as it is mapped, which is after the peak or is the peak, so that another start shows it with the smallest.
fn early_peak(tool: &Tool, early: &Memory) -> Result<f64, String> {
    if tool.name != "ours" {
        return Ok(early.peak);
    }
    let small = tool.clone().with(&["--buffer-size", "4K"]);
    let (running, _) = Running::on_terminal(small.command(), small.mark)?;
    let peak = running.memory().peak;
    running.stop()?;
    Ok(peak)
}

/// What a tracer that does nothing would need: a process that prints its header and waits.
fn nothing() -> f64 {
    let tool = std::process::Command::new("/bin/sh");
    let mut command = tool;
    command.args(["-c", "echo PID; exec sleep 30"]);
    Running::on_terminal(command, "PID").map_or(f64::NAN, |(_, took)| took.as_secs_f64() * 1e3)
}

fn samples(lives: &[Result<Life, String>], figure: fn(&Life) -> f64) -> Result<Sample, String> {
    lives.iter().map(|life| life.as_ref().map(figure).map_err(Clone::clone)).collect()
}

pub(crate) fn measure(bench: &mut Bench, tracer: &'static str) {
    let ours = Tool::ours(&bench.bin, tracer);
    if !ours.installed() {
        bench.report.add(&Row::missing(tracer, "not built"));
        return;
    }
    let nothing: Sample = (0..bench.rounds).map(|_| nothing()).collect();
    for peer in tools::of(tracer) {
        if !peer.installed() {
            bench.report.add(&Row::missing(format!("{tracer} against {}", peer.name), "not installed"));
            continue;
        }
        // What needs a second to start does not need many rounds.
        let rounds = if peer.name == "libbpf-tools" { bench.rounds } else { bench.rounds.min(3) };
        let mut sides: Vec<Side<'_, _>> =
            vec![Box::new(|| live(bench, &ours)), Box::new(|| live(bench, &peer))];
        let lives = alternate(rounds, &mut sides);
        drop(sides);
        let [ours, theirs] = &lives[..] else { return };
        compare(bench, tracer, peer.name, &nothing, (ours, theirs));
    }
}

type Lives = [Result<Life, String>];
type Figure = (&'static str, Unit, Target, fn(&Life) -> f64);

fn compare(bench: &mut Bench, tracer: &str, peer: &str, nothing: &Sample, (ours, theirs): (&Lives, &Lives)) {
    let figures: [Figure; 4] = [
        ("start to header", Unit::Milliseconds, start_target(peer), |life| life.start_ms),
        ("peak memory, buffers apart", Unit::Mebibytes, Target::AtMost(3.0), |life| life.peak),
        ("anonymous memory", Unit::Mebibytes, Target::AtMost(1.0), |life| life.anonymous),
        ("end after Ctrl-C", Unit::Milliseconds, Target::AtMost(50.0), |life| life.end_ms),
    ];
    for (index, (what, unit, target, figure)) in figures.into_iter().enumerate() {
        let what = format!("{tracer}: {what}");
        let row = match samples(ours, figure) {
            Ok(sample) => Row::new(what, unit, sample).theirs(peer, samples(theirs, figure)).target(target),
            Err(why) => Row::missing(what, why),
        };
        bench.report.add(&if index == 0 { row.limit("a shell that prints a word", nothing) } else { row });
    }
}

fn start_target(peer: &str) -> Target {
    match peer {
        "libbpf-tools" => Target::Ratio(0.5),
        "BCC" => Target::Ratio(0.02),
        _ => Target::None,
    }
}

/// Sizes of the binaries; those of peers leave out the libraries that they are linked with.
pub(crate) fn sizes(bench: &mut Bench) {
    for name in bench.binaries() {
        let size = |tool: &Tool| tool.size().map(|bytes| [bytes / 1e6].into_iter().collect::<Sample>());
        let Some(ours) = size(&Tool::ours(&bench.bin, name)) else { continue };
        let peer = tools::libbpf(name);
        let mut row = Row::new(format!("{name}: binary"), Unit::Megabytes, ours).target(Target::AtMost(2.0));
        if let Some(theirs) = size(&peer) {
            let version = machine::package("libbpf-tools").unwrap_or_default();
            row = row.theirs(format!("{} {version}", peer.name), Ok(theirs));
        }
        bench.report.add(&row);
    }
}
