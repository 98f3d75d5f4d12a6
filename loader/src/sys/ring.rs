//! The shared pages of a BPF ring buffer.
//!
//! What crosses: memory that the kernel writes while we read it. Layout (`kernel/bpf/ringbuf.c`):
//! one read-write page whose first 8 bytes are `consumer_pos`; then, mapped read-only, one page whose
//! first 8 bytes are `producer_pos`, followed by the data area. The kernel offers the data area twice in a row, so
//! that no record wraps for the reader; we map it once, since every mapped page counts as resident memory, and
//! copy the one record per round that wraps. Each record is an 8-byte header (u32 length with a BUSY and a DISCARD bit, u32 for
//! the kernel's own use) and its bytes; the next one starts at the next multiple of 8.
//!
//! The bytes of a record become a `&[u8]` only after the kernel has committed it: its length word was
//! loaded with acquire ordering (pairs with the kernel's `xchg` in `bpf_ringbuf_commit`) and has no BUSY
//! bit. From then on the kernel does not touch them until `consumer_pos` has moved past, which needs
//! `&mut self` and therefore the end of every borrow.

#![expect(unsafe_code, reason = "loads and stores in shared memory")]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use super::uapi::{RINGBUF_BUSY_BIT, RINGBUF_DISCARD_BIT, RINGBUF_HDR_SIZE};
use super::{SysError, SysResult};

/// The mapped pages of one ring buffer.
#[derive(Debug)]
pub struct RingPages {
    consumer: MmapRaw,
    producer: MmapRaw,
    page_size: usize,
    /// Size of the data area in bytes, a power of two.
    size: usize,
    /// Our own copy of `consumer_pos`; nobody else writes it.
    position: u64,
    /// `producer_pos` as last seen: everything before it has at least a header.
    produced: u64,
    /// A copy of the record at the reading position, if that one wraps; else empty.
    wrapped: Vec<u8>,
}

/// What is at the reading position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// Everything that was produced has been read.
    Empty,
    /// A record that is still being written; the commit will wake a poller.
    Busy,
    /// A committed record; [`RingPages::record`] has its bytes.
    Record,
    /// The producer gave this record up; skip it with [`RingPages::advance`].
    Discarded,
    /// A length or a position that cannot be: the ring is not what it claims to be.
    Corrupt,
}

impl RingPages {
    /// Maps the pages of the ring buffer map `fd` whose `max_entries` is `size` bytes.
    pub fn map(fd: BorrowedFd<'_>, size: u32, page_size: usize) -> SysResult<Self> {
        let size = size as usize;
        let invalid = SysError { call: "mmap", errno: libc::EINVAL };
        if !size.is_power_of_two() || page_size == 0 || !size.is_multiple_of(page_size) {
            return Err(invalid);
        }
        let producer_len = size.checked_add(page_size).ok_or(invalid)?;
        let os_error =
            |error: std::io::Error| SysError { call: "mmap", errno: error.raw_os_error().unwrap_or(0) };
        let consumer = MmapOptions::new().len(page_size).map_raw(fd.as_raw_fd()).map_err(os_error)?;
        let producer = MmapOptions::new()
            .offset(page_size as u64)
            .len(producer_len)
            .map_raw_read_only(fd.as_raw_fd())
            .map_err(os_error)?;
        let mut pages =
            Self { consumer, producer, page_size, size, position: 0, produced: 0, wrapped: Vec::new() };
        pages.position = pages.consumer_pos().load(Ordering::Relaxed);
        pages.produced = pages.position;
        // Another process that maps the ring may have written anything there.
        if !pages.position.is_multiple_of(8) {
            return Err(invalid);
        }
        Ok(pages)
    }

    /// Size of the data area in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Bytes between the reader and the newest reservation, headers and padding included.
    pub fn pending(&self) -> u64 {
        self.producer_pos().load(Ordering::Acquire).wrapping_sub(self.position)
    }

    /// Looks at the reading position without moving.
    pub fn peek(&mut self) -> Peek {
        if self.position == self.produced {
            self.produced = self.producer_pos().load(Ordering::Acquire);
        }
        let (peek, len) = self.state();
        if peek == Peek::Record && self.wrapped.is_empty() && len > self.room() {
            let (head, tail) = (self.data(self.room()), self.data_from_start(len - self.room()));
            self.wrapped = [head, tail].concat();
        }
        peek
    }

    /// The bytes of the record at the reading position; empty unless [`Self::peek`] said [`Peek::Record`].
    pub fn record(&self) -> &[u8] {
        match self.state() {
            (Peek::Record, len) if len <= self.room() => self.data(len),
            (Peek::Record, _) => &self.wrapped,
            _ => &[],
        }
    }

    /// Gives the record at the reading position back to the kernel. Does nothing unless [`Self::peek`] found a
    /// committed or discarded record there.
    pub fn advance(&mut self) {
        self.step();
        self.release();
    }

    /// Moves the reading position past the record without giving it back; see [`Self::advance`].
    pub fn step(&mut self) {
        if let (Peek::Record | Peek::Discarded, len) = self.state() {
            self.position = self.position.wrapping_add(step_over(len));
            self.wrapped.clear();
        }
    }

    /// Gives everything before the reading position back to the kernel.
    pub fn release(&mut self) {
        // Release: our reads of the records are done before the kernel may reuse their bytes.
        self.consumer_pos().store(self.position, Ordering::Release);
    }

    /// What is at the reading position, and the length of the record there in bytes.
    fn state(&self) -> (Peek, usize) {
        let ahead = self.produced.wrapping_sub(self.position);
        if ahead == 0 {
            return (Peek::Empty, 0);
        }
        if ahead > self.size as u64 || !ahead.is_multiple_of(8) {
            return (Peek::Corrupt, 0);
        }
        let header = self.header().load(Ordering::Acquire);
        let len = (header & !(RINGBUF_DISCARD_BIT | RINGBUF_BUSY_BIT)) as usize;
        if header & RINGBUF_BUSY_BIT != 0 {
            (Peek::Busy, 0)
        } else if step_over(len) > ahead {
            (Peek::Corrupt, 0)
        } else if header & RINGBUF_DISCARD_BIT != 0 {
            (Peek::Discarded, len)
        } else {
            (Peek::Record, len)
        }
    }

    fn consumer_pos(&self) -> &AtomicU64 {
        // SAFETY: the page is mapped read-write as long as `self`, its first 8 bytes are page-aligned, and the
        // kernel accesses them atomically too; an atomic may be shared with it.
        unsafe { &*self.consumer.as_mut_ptr().cast::<AtomicU64>() }
    }

    fn producer_pos(&self) -> &AtomicU64 {
        // SAFETY: as above; this page is mapped read-only, and callers only load.
        unsafe { &*self.producer.as_mut_ptr().cast::<AtomicU64>() }
    }

    /// Index of the reading position in the data area.
    fn index(&self) -> usize {
        // The mask keeps the value below `size`, which is a usize.
        usize::try_from(self.position & (self.size as u64 - 1)).unwrap_or(0)
    }

    /// Bytes between the header at the reading position and the end of the data area. A header never wraps:
    /// positions are multiples of 8.
    fn room(&self) -> usize {
        self.size - self.index() - RINGBUF_HDR_SIZE
    }

    fn header(&self) -> &AtomicU32 {
        let offset = self.page_size + self.index();
        // SAFETY: `index` is below `size` and a multiple of 8 (positions only move in steps of 8 from 0), so
        // these 4 bytes are aligned and inside the mapping of page_size + size bytes. The kernel writes the
        // word atomically; we only load.
        unsafe { &*self.producer.as_mut_ptr().wrapping_add(offset).cast::<AtomicU32>() }
    }

    /// The first `len` bytes of the record at the reading position, up to the end of the data area. The caller has
    /// seen the record committed.
    fn data(&self, len: usize) -> &[u8] {
        let len = len.min(self.room());
        let offset = self.page_size + self.index() + RINGBUF_HDR_SIZE;
        // SAFETY: len <= room(), so the range ends within the mapped data area. The record is committed
        // (acquire load without BUSY bit), so the kernel does not write it before `consumer_pos` moves, which
        // needs `&mut self` and so the end of this borrow.
        unsafe { std::slice::from_raw_parts(self.producer.as_mut_ptr().wrapping_add(offset), len) }
    }

    /// The first `len` bytes of the data area, which belong to the record at the reading position when it wraps.
    fn data_from_start(&self, len: usize) -> &[u8] {
        let len = len.min(self.index());
        // SAFETY: `len` is below `size`, so the range is inside the mapping; it belongs to the committed record at
        // the reading position (a record is shorter than the ring, so it cannot reach its own start again), and
        // is not written before `consumer_pos` moves, as above.
        unsafe { std::slice::from_raw_parts(self.producer.as_mut_ptr().wrapping_add(self.page_size), len) }
    }
}

/// From one header to the next, bytes; a length has 30 bits.
fn step_over(len: usize) -> u64 {
    (len + RINGBUF_HDR_SIZE).next_multiple_of(8) as u64
}
