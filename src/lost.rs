//! What does not reach the user, as the kernel counts it.
//!
//! In: the map `lost` of an object (`bpf-src/include/event.h`) and its attached programs. Out: totals since the start.
//! Who is told, and when, is the event loop's business ([`crate::tracer`]).

use loader::Result;
use loader::map::Map;
use loader::program::Program;

/// Indices of the map.
const RECORD: u32 = 0;
const STATE: u32 = 1;

/// Where the kernel counts.
pub struct Counters {
    map: Map,
    programs: Vec<Program>,
}

/// Totals since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Records that found no room in the ring buffer.
    pub records: u64,
    /// Things that could not be followed, because the table for them was full.
    pub untracked: u64,
    /// What happened on a processor whose program was at work on something else just then and had been interrupted: the
    /// kernel runs no program inside itself. Whether the filters wanted it, nobody knows. Counted from 5.12 on.
    pub missed: u64,
}

impl Counters {
    /// The map `lost`, and all programs that are attached.
    pub fn new(map: Map, programs: Vec<Program>) -> Self {
        Self { map, programs }
    }

    /// Asks the kernel.
    pub fn read(&self) -> Result<Lost> {
        let mut missed = 0_u64;
        for program in &self.programs {
            missed = missed.saturating_add(program.info()?.recursion_misses);
        }
        let (records, untracked) = (self.map.sum_percpu_u64(RECORD)?, self.map.sum_percpu_u64(STATE)?);
        Ok(Lost { records, untracked, missed })
    }
}

impl Lost {
    /// All of it.
    pub fn total(self) -> u64 {
        self.records.saturating_add(self.untracked).saturating_add(self.missed)
    }

    /// What the user can do about it.
    pub fn hint(self) -> &'static str {
        match (self.records, self.untracked) {
            (0, 0) => "they interrupted the work on others",
            (_, 0) => "raise --buffer-size, or filter more",
            (0, _) => "a table is full: raise --table-size where there is one, or filter more",
            _ => "raise --buffer-size and --table-size, or filter more",
        }
    }
}
