//! What our own code does, again and again, without the kernel: `tests/budget.rs` counts its instructions.
//!
//! `measure capture TOOL FILE` leaves a record that the kernel wrote; `measure replay TOOL FILE FORMAT COUNT` decodes and
//! formats it so many times; `measure types COUNT` goes through the kernel's types, for all that opensnoop knows.

use std::fs;
use std::hint::black_box;
use std::path::Path;

use loader::kernel;
use tracers::format::time::Clock;
use tracers::stream::Stream;
use tracers::tracer::Tracer;

use crate::Bench;
use crate::capture::{capture, parse};
use crate::execsnoop::Execsnoop;
use crate::loading::names;
use crate::opensnoop::Opensnoop;

/// Does what `args` say; `None` when they say something else.
pub(crate) fn run(args: &[&str]) -> Option<Result<(), String>> {
    Some(match args {
        ["capture", "execsnoop", file] => keep::<Execsnoop>(Path::new(file)),
        ["capture", "opensnoop", file] => keep::<Opensnoop>(Path::new(file)),
        ["replay", "execsnoop", file, format, count] => replay::<Execsnoop>(file, format, count),
        ["replay", "opensnoop", file, format, count] => replay::<Opensnoop>(file, format, count),
        ["types", count] => types(count),
        _ => return None,
    })
}

/// Works in the folder of the file.
fn keep<T: Tracer>(file: &Path) -> Result<(), String> {
    let work = file.parent().ok_or("not a file")?;
    let bench = Bench::new(work.to_owned(), work.to_owned());
    let record = capture::<T>(&bench.files, &bench.program)?;
    fs::write(file, record).map_err(|error| error.to_string())
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number"))
}

fn replay<T: Tracer>(file: &str, format: &str, count: &str) -> Result<(), String> {
    let record = fs::read(file).map_err(|error| error.to_string())?;
    let (tracer, common) = parse::<T>(if format == "json" { &["--json"] } else { &[] })?;
    let mut stream = Stream::new(tracer, &common, Clock::start(true));
    for _ in 0..number(count)? {
        stream.record(&record).map_err(|error| error.to_string())?;
        black_box(stream.buffer()).clear();
    }
    Ok(())
}

fn types(count: &str) -> Result<(), String> {
    let wanted = names(Opensnoop::OBJECT);
    for _ in 0..number(count)? {
        let found =
            kernel::btf::open(None).and_then(|btf| btf.wanted(&wanted).map(|found| drop(black_box(found))));
        found.map_err(|error| error.to_string())?;
    }
    Ok(())
}
