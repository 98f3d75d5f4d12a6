//! What does not reach the user, as the kernel counts it.
//!
//! In: the map `lost` of an object (`bpf-src/include/event.h`), its map `seen_second` (`twin.h`) if it has one, and its attached
//! programs. Out: totals since the start.
//! Who is told, and when, is the event loop's business ([`crate::tracer`]).

use loader::Result;
use loader::map::Map;
use loader::program::Program;

/// Indices of the map.
const RECORD: u32 = 0;
const STATE: u32 = 1;
/// How the name of the second program of a pair ends.
const SECOND: &str = "_2";

/// Where the kernel counts.
pub struct Counters {
    map: Map,
    seen_second: Option<Map>,
    programs: Vec<Program>,
}

/// Totals since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Records that found no room in the ring buffer.
    pub records: u64,
    /// Things that could not be followed, because the table for them was full.
    pub untracked: u64,
    /// What happened on a processor whose program (of a pair, both) was at work on something else just then and had been
    /// interrupted: the kernel runs no program inside itself. Whether the filters wanted it, nobody knows. Counted from 5.12 on.
    pub missed: u64,
}

impl Counters {
    /// The maps `lost` and `seen_second`, and all programs that are attached.
    pub fn new(map: Map, seen_second: Option<Map>, programs: Vec<Program>) -> Self {
        Self { map, seen_second, programs }
    }

    /// Asks the kernel.
    pub fn read(&self) -> Result<Lost> {
        let missed = self.read_missed()?;
        let (records, untracked) = (self.map.sum_percpu_u64(RECORD)?, self.map.sum_percpu_u64(STATE)?);
        Ok(Lost { records, untracked, missed })
    }

    /// What the programs missed, but for what the second one of a pair saw instead.
    fn read_missed(&self) -> Result<u64> {
        // Asked first: both numbers only grow, and none is reported that was seen.
        let firsts = self.programs.iter().filter(|program| !program.name().ends_with(SECOND));
        let missed = firsts.map(|program| Ok(program.info()?.recursion_misses)).sum::<Result<u64>>()?;
        let seen = self.seen_second.as_ref().map_or(Ok(0), |seen| {
            (0..seen.info().max_entries).map(|pair| seen.sum_percpu_u64(pair)).sum::<Result<u64>>()
        })?;
        Ok(missed.saturating_sub(seen))
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
            (0, _) => "a table is full: raise --table-size, or filter more",
            _ => "raise --buffer-size and --table-size, or filter more",
        }
    }
}
