//! A record that the kernel wrote, for what only decodes and prints.

use loader::attach::{self, Link};
use loader::load::{LoadOptions, Object};
use loader::ringbuf::RingBuffer;
use tracers::cli::{self, Common, Parsed};
use tracers::tracer::{Tracer, Way, prepare};

use crate::work::{Files, Program};

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
pub(crate) fn capture<T: Tracer>(files: &Files, program: &Program) -> Result<Vec<u8>, String> {
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
    files.open_all();
    program.run(10);
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
