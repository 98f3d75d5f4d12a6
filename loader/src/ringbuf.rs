//! Reading a BPF ring buffer.
//!
//! In: a [`Map`] of type RINGBUF. Out: one [`Record`] at a time, in the order in which the programs reserved
//! them, across all CPUs. A record borrows the ring and gives its slot back when it is dropped, so its
//! bytes are never copied and never outlive the slot. What the bytes mean is the caller's.
//!
//! Wake-ups: the fd ([`AsFd`]) is readable for `poll(2)`, level-triggered, whenever something has been produced
//! and not read, but a sleeper is woken only when a program asks for it. A program that batches its
//! wake-ups wants a reader that polls with a short time-out.

use std::ops::{ControlFlow, Deref};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::error::{Error, Result, ResultExt};
use crate::kernel::cpu;
use crate::map::Map;
use crate::spec::map::{map_flag, map_type};
use crate::sys::ring::{Peek, RingPages};

/// After how many records [`RingBuffer::consume`] gives slots back.
const BATCH: usize = 64;

/// The reading end of a ring buffer. There should be one reader: the position is kept in shared memory.
#[derive(Debug)]
pub struct RingBuffer {
    map: Map,
    pages: RingPages,
}

/// One committed record; dereferences to its bytes.
#[derive(Debug)]
pub struct Record<'ring> {
    pages: &'ring mut RingPages,
}

impl Deref for Record<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.pages.record()
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        self.pages.advance();
    }
}

impl AsFd for RingBuffer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

impl RingBuffer {
    /// Maps the pages of `map`.
    ///
    /// # Errors
    /// `Incompatible` when it is not a ring buffer, or one whose records are overwritten while they are read (6.19).
    pub fn new(map: &Map) -> Result<Self> {
        let info = map.info();
        if info.map_type != map_type::RINGBUF {
            let name = &info.name;
            return Err(Error::incompatible(format!(
                "map `{name}` is of type {}, not a ring buffer",
                info.map_type
            )));
        }
        if info.map_flags & map_flag::RB_OVERWRITE != 0 {
            let why = "map `{}` overwrites what was not read (BPF_F_RB_OVERWRITE), so that no record stays as it is";
            return Err(Error::incompatible(why.replace("{}", &info.name)));
        }
        let page_size = cpu::page_size() as usize;
        let map = map.try_clone()?;
        let pages =
            RingPages::map(map.as_fd(), info.max_entries, page_size).context("map the ring buffer")?;
        Ok(Self { map, pages })
    }

    /// The next record; `None` when there is none, or when the next one is still being written (its commit
    /// makes the fd readable again).
    ///
    /// # Errors
    /// `InvalidObject` when the shared memory does not hold a ring buffer; reading cannot go on.
    #[expect(clippy::should_implement_trait, reason = "a record borrows the ring, which no Iterator can say")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>> {
        loop {
            match self.pages.peek() {
                Peek::Empty | Peek::Busy => return Ok(None),
                Peek::Record => return Ok(Some(Record { pages: &mut self.pages })),
                Peek::Discarded => self.pages.advance(),
                Peek::Corrupt => return Err(corrupt()),
            }
        }
    }

    /// Hands at most `limit` records to `each`, which may stop early. Slots are given back in batches: cheaper than
    /// [`RingBuffer::next`], at the price that programs get space back a little later. Returns how many there were.
    ///
    /// # Errors
    /// As for [`RingBuffer::next`]; records before the broken one have been handed over.
    pub fn consume(&mut self, limit: usize, mut each: impl FnMut(&[u8]) -> ControlFlow<()>) -> Result<usize> {
        let (mut count, mut held) = (0, 0);
        let result = loop {
            if count == limit {
                break Ok(count);
            }
            match self.pages.peek() {
                Peek::Empty | Peek::Busy => break Ok(count),
                Peek::Corrupt => break Err(corrupt()),
                Peek::Discarded => self.pages.step(),
                Peek::Record => {
                    let go_on = each(self.pages.record());
                    count += 1;
                    self.pages.step();
                    if go_on.is_break() {
                        break Ok(count);
                    }
                }
            }
            held += 1;
            if held == BATCH {
                self.pages.release();
                held = 0;
            }
        };
        self.pages.release();
        result
    }

    /// Reads what is left once all programs are detached: until everything that was reserved is read, also what a
    /// program on another CPU is still writing, but no longer than `patience`. Returns how many records there were.
    ///
    /// # Errors
    /// As for [`RingBuffer::next`].
    pub fn drain(&mut self, patience: Duration, mut each: impl FnMut(&[u8])) -> Result<usize> {
        const PAUSE: Duration = Duration::from_millis(1);
        let start = Instant::now();
        let mut count = 0;
        loop {
            let some = self.consume(1 << 14, |record| {
                each(record);
                ControlFlow::Continue(())
            })?;
            count += some;
            if self.pending() == 0 || start.elapsed() >= patience {
                return Ok(count);
            }
            if some == 0 {
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// Bytes produced and not yet read, headers and unfinished records included.
    pub fn pending(&self) -> u64 {
        self.pages.pending()
    }

    /// Size of the ring in bytes.
    pub fn size(&self) -> usize {
        self.pages.size()
    }
}

fn corrupt() -> Error {
    Error::invalid("ring buffer: a record longer than the ring")
}
