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
    /// Runs of programs that the kernel left out, because the program was interrupted on that processor by what it
    /// observes (5.12; 0 before). What they would have seen, and whether the filters wanted it, nobody knows.
    pub skipped: u64,
}

impl Counters {
    /// The map `lost`, and all programs that are attached.
    pub fn new(map: Map, programs: Vec<Program>) -> Self {
        Self { map, programs }
    }

    /// Asks the kernel.
    pub fn read(&self) -> Result<Lost> {
        let mut skipped = 0_u64;
        for program in &self.programs {
            skipped = skipped.saturating_add(program.info()?.recursion_misses);
        }
        let (records, untracked) = (self.map.sum_percpu_u64(RECORD)?, self.map.sum_percpu_u64(STATE)?);
        Ok(Lost { records, untracked, skipped })
    }
}

impl Lost {
    /// Events that are lost for certain.
    pub fn events(self) -> u64 {
        self.records.saturating_add(self.untracked)
    }

    /// What the user can do about lost events.
    pub fn hint(self) -> &'static str {
        match (self.records, self.untracked) {
            (_, 0) => "raise --buffer-size, or filter more",
            (0, _) => "a table is full: raise --table-size where there is one, or filter more",
            _ => "raise --buffer-size and --table-size, or filter more",
        }
    }
}
