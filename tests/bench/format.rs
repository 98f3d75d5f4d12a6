//! How many events one core can decode and print: the tracer's own code, on a record that the kernel wrote.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tracers::format::time::Clock;
use tracers::stream::Stream;
use tracers::tracer::Tracer;

use crate::Bench;
use crate::capture::{capture, parse};
use crate::report::{Row, Target, Unit};
use crate::sample::Sample;

/// Events in a round.
const EVENTS: usize = 200_000;
/// Output is written, here thrown away, when there is so much: as in the tracers' event loop.
const BATCH: usize = 64 << 10;

fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// Events a second.
fn rate(mut event: impl FnMut()) -> f64 {
    let begun = cpu_time();
    (0..EVENTS).for_each(|_| event());
    EVENTS as f64 / (cpu_time() - begun).as_secs_f64()
}

pub(crate) fn measure<T: Tracer>(bench: &mut Bench) {
    let record = match capture::<T>(&bench.files, &bench.program) {
        Ok(record) => record,
        Err(why) => return bench.report.add(&Row::missing(format!("{}: decode and format", T::NAME), why)),
    };
    for (what, args) in [("table", &[][..]), ("JSON", &["--json"])] {
        let (tracer, common) = parse::<T>(args).unwrap();
        let mut stream = Stream::new(tracer, &common, Clock::start(true));
        let mut one = || {
            stream.record(&record).unwrap();
            if stream.buffer().len() > BATCH {
                stream.buffer().clear();
            }
        };
        let ours: Sample = (0..bench.rounds).map(|_| rate(&mut one)).collect();
        stream.buffer().clear();
        stream.record(&record).unwrap();
        let line = stream.buffer().clone();
        let mut copy = Vec::new();
        let copied: Sample = (0..bench.rounds)
            .map(|_| {
                rate(|| {
                    copy.extend_from_slice(std::hint::black_box(&line));
                    if copy.len() > BATCH {
                        copy.clear();
                    }
                })
            })
            .collect();
        let (record, line) = (record.len(), line.len());
        let what = format!("{}: decode {record} bytes and format {line} bytes of {what}, events", T::NAME);
        let row = Row::new(what, Unit::PerSecond, ours).target(Target::AtLeast(1e6));
        bench.report.add(&row.limit("copying the line", &copied));
    }
}
