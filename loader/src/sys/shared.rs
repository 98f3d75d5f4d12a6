//! The memory of a map that programs use while we do: arenas, and arrays made with `BPF_F_MMAPABLE`.
//!
//! What crosses: pages that the kernel's programs read and write at any time, and that other processes may have mapped as
//! well. They never become a slice: bytes go in and out by atomic loads and stores, each as wide as its place allows, so that
//! a number that is aligned in its map is read and written whole.

#![expect(unsafe_code, reason = "mmap(2), and loads and stores in shared memory")]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::{SysError, SysResult};

/// The mapped memory of one map; unmapped on drop.
#[derive(Debug)]
pub struct SharedMemory {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the pages belong to the process, not to a thread, and are only accessed by atomic loads and stores.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Maps the first `len` bytes of `map`, a multiple of the page size: at the address `at`, where nothing may be mapped yet, or
    /// where the kernel likes it if that is 0.
    pub fn map(map: BorrowedFd<'_>, len: usize, at: usize) -> SysResult<Self> {
        const CALL: &str = "mmap";
        let fixed = if at == 0 { 0 } else { libc::MAP_FIXED_NOREPLACE };
        let hint = std::ptr::without_provenance_mut::<libc::c_void>(at);
        // SAFETY: `MAP_FIXED_NOREPLACE` fails rather than replace a mapping, so that no memory of this process changes;
        // `map` is open during the call, and the mapping does not need it afterwards.
        let start = unsafe {
            libc::mmap(
                hint,
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | fixed,
                map.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
            return Err(SysError { call: CALL, errno });
        }
        let start = NonNull::new(start.cast()).ok_or(SysError { call: CALL, errno: libc::EFAULT })?;
        let mapped = Self { start, len };
        // A kernel before 4.17 takes the address for a hint.
        if at != 0 && mapped.address() != at {
            return Err(SysError { call: CALL, errno: libc::EEXIST });
        }
        Ok(mapped)
    }

    /// Where the memory is in this process.
    pub fn address(&self) -> usize {
        self.start.as_ptr().addr()
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies the bytes at `offset` to `out`; does nothing and says no if they are not all inside.
    #[must_use]
    pub fn read(&self, offset: usize, out: &mut [u8]) -> bool {
        if !self.holds(offset, out.len()) {
            return false;
        }
        let mut done = 0;
        while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
            done += self.load(offset + done, rest);
        }
        true
    }

    /// Stores `bytes` at `offset`; does nothing and says no if they do not all fit inside.
    #[must_use]
    pub fn write(&self, offset: usize, bytes: &[u8]) -> bool {
        if !self.holds(offset, bytes.len()) {
            return false;
        }
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            done += self.store(offset + done, rest);
        }
        true
    }

    fn holds(&self, offset: usize, len: usize) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len)
    }

    /// One load, as wide as alignment and `out` allow; how many bytes that was. The caller has checked the range.
    fn load(&self, offset: usize, out: &mut [u8]) -> usize {
        let width = width(offset, out.len());
        let mut copy = |bytes: &[u8]| out.iter_mut().zip(bytes).for_each(|(slot, byte)| *slot = *byte);
        match width {
            8 => copy(&self.atomic::<AtomicU64>(offset).load(Ordering::Relaxed).to_ne_bytes()),
            4 => copy(&self.atomic::<AtomicU32>(offset).load(Ordering::Relaxed).to_ne_bytes()),
            2 => copy(&self.atomic::<AtomicU16>(offset).load(Ordering::Relaxed).to_ne_bytes()),
            _ => copy(&[self.atomic::<AtomicU8>(offset).load(Ordering::Relaxed)]),
        }
        width
    }

    fn store(&self, offset: usize, bytes: &[u8]) -> usize {
        let width = width(offset, bytes.len());
        let mut word = [0; 8];
        word.iter_mut().zip(bytes.iter().take(width)).for_each(|(slot, byte)| *slot = *byte);
        let [b0, b1, b2, b3, ..] = word;
        match width {
            8 => self.atomic::<AtomicU64>(offset).store(u64::from_ne_bytes(word), Ordering::Relaxed),
            4 => {
                let word = u32::from_ne_bytes([b0, b1, b2, b3]);
                self.atomic::<AtomicU32>(offset).store(word, Ordering::Relaxed);
            }
            2 => {
                self.atomic::<AtomicU16>(offset).store(u16::from_ne_bytes([b0, b1]), Ordering::Relaxed);
            }
            _ => self.atomic::<AtomicU8>(offset).store(b0, Ordering::Relaxed),
        }
        width
    }

    /// The atomic of type `T` at `offset`, which the callers have checked to be aligned for it and inside of the memory.
    fn atomic<T>(&self, offset: usize) -> &T {
        debug_assert!(offset.is_multiple_of(size_of::<T>()) && self.holds(offset, size_of::<T>()));
        // SAFETY: the range lies in pages that stay mapped as long as `self`; they begin at a page, so that an offset that is
        // a multiple of the size is aligned; `T` is one of the atomics above, for which every bit pattern is valid and which
        // may be shared with other writers.
        unsafe { &*self.start.as_ptr().wrapping_add(offset).cast::<T>() }
    }
}

/// The widest number that `offset` is aligned for and that `len` bytes fill.
fn width(offset: usize, len: usize) -> usize {
    [8, 4, 2].into_iter().find(|width| offset.is_multiple_of(*width) && len >= *width).unwrap_or(1)
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `map`, nobody else unmaps it, and no reference into it outlives `self`.
        let _ = unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd as _;

    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;

    fn memory(at: usize) -> SysResult<SharedMemory> {
        let file = File::from(memfd_create(c"shared", MFdFlags::MFD_CLOEXEC).unwrap());
        file.set_len(1 << 16).unwrap();
        SharedMemory::map(file.as_fd(), 1 << 16, at)
    }

    #[test]
    fn bytes_come_back_from_any_offset_and_length() {
        let memory = memory(0).unwrap();
        let all: Vec<u8> = (1..=31).collect();
        for offset in 0..9 {
            for len in 0..all.len() {
                let mut back = vec![0; len];
                assert!(memory.write(offset, &all[..len]) && memory.read(offset, &mut back));
                assert_eq!(back, all[..len], "{len} bytes at {offset}");
            }
        }
    }

    #[test]
    fn nothing_is_read_or_written_outside() {
        let memory = memory(0).unwrap();
        let end = memory.len();
        for (offset, len) in [(end, 1), (end - 3, 4), (usize::MAX, 1), (0, end + 1)] {
            assert!(!memory.write(offset, &vec![1; len]) && !memory.read(offset, &mut vec![0; len]));
        }
        assert!(memory.write(end, &[]) && memory.write(end - 4, &[1; 4]));
    }

    #[test]
    fn a_place_that_is_taken_is_refused_and_keeps_what_it_has() {
        let first = memory(0).unwrap();
        assert!(first.write(0, &[7]));
        assert_eq!(memory(first.address()).unwrap_err().errno, libc::EEXIST);
        let mut byte = [0];
        assert!(first.read(0, &mut byte));
        assert_eq!(byte, [7]);
    }
}
