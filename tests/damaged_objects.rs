//! The objects that are built into the tracers, damaged in every section: an error or a spec, never a panic, never
//! a hang.
//!
//! The positions come from a fixed sequence, so that a failure repeats; how many of them are tried depends on the
//! time that each section has.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests say what they expect")]

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use goblin::elf::Elf;
use loader::linker;
use loader::spec::ObjectSpec;

/// How long each section of each object is damaged.
const TIME_PER_SECTION: Duration = Duration::from_millis(40);
/// At least so many damages must have been tried in each section, however slow the machine is.
const AT_LEAST: u32 = 11;
/// No single damaged object may take longer to refuse.
const TIME_PER_OBJECT: Duration = Duration::from_secs(5);

/// The compiled objects, which the build script leaves beside each other.
fn objects() -> Vec<(String, Vec<u8>)> {
    let built = PathBuf::from(env!("OUT_DIR"));
    let mut found: Vec<(String, Vec<u8>)> = fs::read_dir(built)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "o"))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "the build script left no object");
    found
}

/// As far as a loader gets without a kernel.
fn parse_and_link(bytes: &[u8]) {
    let started = Instant::now();
    if let Ok(spec) = ObjectSpec::parse(bytes) {
        for program in &spec.programs {
            let _ = linker::link(&spec, program);
        }
    }
    assert!(started.elapsed() < TIME_PER_OBJECT, "a damaged object took {:?}", started.elapsed());
}

/// xorshift64: good enough to scatter positions, the same on every run.
struct Scatter(u64);

impl Scatter {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

#[test]
fn the_objects_as_built_parse_and_link() {
    for (name, bytes) in objects() {
        let spec = ObjectSpec::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!spec.programs.is_empty(), "{name} has no program");
        for program in &spec.programs {
            linker::link(&spec, program).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

#[test]
fn a_flipped_bit_in_any_section_is_no_panic() {
    for (name, bytes) in objects() {
        let elf = Elf::parse(&bytes).unwrap();
        let sections: Vec<_> = elf.section_headers.iter().filter_map(|header| header.file_range()).collect();
        let mut scatter = Scatter(0x9e37_79b9_7f4a_7c15);
        for range in sections.into_iter().filter(|range| !range.is_empty()) {
            let started = Instant::now();
            let mut tried = 0;
            while tried < AT_LEAST || started.elapsed() < TIME_PER_SECTION {
                let mut damaged = bytes.clone();
                for _ in 0..=scatter.below(3) {
                    damaged[range.start + scatter.below(range.len())] ^= 1 << scatter.below(8);
                }
                parse_and_link(&damaged);
                tried += 1;
            }
            assert!(tried >= AT_LEAST, "{name}: only {tried} tries at {range:?}");
        }
    }
}

#[test]
fn a_truncated_object_is_no_panic() {
    for (_, bytes) in objects() {
        let mut scatter = Scatter(0x2545_f491_4f6c_dd1d);
        let started = Instant::now();
        let mut tried = 0;
        while tried < AT_LEAST || started.elapsed() < TIME_PER_SECTION * 10 {
            parse_and_link(&bytes[..scatter.below(bytes.len())]);
            tried += 1;
        }
    }
}

#[test]
fn a_damaged_section_table_is_no_panic() {
    for (_, bytes) in objects() {
        let start = usize::try_from(Elf::parse(&bytes).unwrap().header.e_shoff).unwrap();
        // Five and the eight bytes of a field have no common factor: over many sections, every byte of every field.
        for at in (0..64).chain((start..bytes.len()).step_by(5)) {
            for value in [0x00, 0x7f, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                parse_and_link(&damaged);
            }
        }
    }
}
