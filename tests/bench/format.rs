//! How many events one core can decode and print: the tracer's own code, on a record that the kernel wrote.

use std::time::Duration;

use loader::attach::{self, Link};
use loader::load::{LoadOptions, Object};
use loader::ringbuf::RingBuffer;
use nix::time::{ClockId, clock_gettime};
use tracers::cli::{self, Common, Parsed};
use tracers::format::time::Clock;
use tracers::stream::Stream;
use tracers::tracer::{Tracer, Way, prepare};

use crate::Bench;
use crate::report::{Row, Target, Unit};
use crate::sample::Sample;

/// Events in a round.
const EVENTS: usize = 200_000;
/// Output is written, here thrown away, when there is so much: as in the tracers' event loop.
const BATCH: usize = 64 << 10;

pub(crate) fn parse<T: Tracer>(args: &[&str]) -> Result<(T, Common), String> {
    let argv = [T::NAME].iter().chain(args).map(Into::into);
    match cli::parse::<T>(argv) {
        Ok(Parsed::Run(common, options)) => match T::new(options, &common) {
            Ok(tracer) => Ok((tracer, common)),
            Err(_) => Err("refused its options".to_owned()),
        },
        _ => Err("did not understand its options".to_owned()),
    }
}

fn attach_way(object: &mut Object, way: &Way) -> loader::Result<Vec<Link>> {
    way.programs.iter().map(|name| attach::attach(&object.load_program(name)?)).collect()
}

/// A record of something that this process, or a child of it, did.
pub(crate) fn capture<T: Tracer>(bench: &Bench) -> Result<Vec<u8>, String> {
    let (tracer, common) = parse::<T>(&[])?;
    let text = |error: loader::Error| error.to_string();
    let spec = prepare(&tracer, &common.task_filter()).map_err(text)?;
    let mut object = Object::create(spec, LoadOptions::default()).map_err(text)?;
    let mut links = Vec::new();
    for hook in tracer.hooks() {
        let found = hook.ways.iter().find_map(|way| attach_way(&mut object, way).ok());
        links.extend(found.ok_or_else(|| format!("no hook works here to observe {}", hook.observes))?);
    }
    let mut ring = RingBuffer::new(object.map("events").map_err(text)?).map_err(text)?;
    bench.files.open_all();
    bench.program.run(10);
    drop(links);
    let (me, mut scratch) = (std::process::id(), T::Scratch::default());
    while let Some(record) = ring.next().map_err(text)? {
        let bytes = record.to_vec();
        if let Ok(Some(event)) = tracer.decode(&mut scratch, &bytes) {
            let header = T::header(&event);
            if header.pid == me || header.ppid == me {
                return Ok(bytes.clone());
            }
        }
    }
    Err("the kernel wrote no record".to_owned())
}

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
    let record = match capture::<T>(bench) {
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
