//! Leaving slow closes to a process that nobody waits for.
//!
//! What crosses: nothing but control: `fork(2)` in a process that the caller knows to be single-threaded, and calls
//! in the child that are safe after it.

#![expect(unsafe_code, reason = "fork(2) and what its child calls")]

use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

use super::{SysResult, check};

/// Forks a child that holds a copy of `held` until this process has ended, and then ends too. So what is slow to
/// close is closed after this process has gone. `read_end` and `write_end` are a fresh pipe.
///
/// The caller must have no other threads: a lock that one of them held would stay locked in the child, which
/// therefore also calls nothing that takes one.
pub fn hold_until_exit(held: &[BorrowedFd<'_>], read_end: OwnedFd, write_end: OwnedFd) -> SysResult<()> {
    let mut kept: Vec<RawFd> = held.iter().map(AsRawFd::as_raw_fd).chain([read_end.as_raw_fd()]).collect();
    kept.sort_unstable();
    // SAFETY: no pointers. The child below only makes system calls and ends with `_exit`.
    let pid = check("fork", libc::c_long::from(unsafe { libc::fork() }))?;
    if pid == 0 {
        wait_and_exit(&kept, read_end.as_raw_fd());
    }
    // Open until this process ends: its closing is what the child waits for.
    let _ = write_end.into_raw_fd();
    Ok(())
}

/// The child: keeps `kept` (sorted) and nothing else open, and nothing busy, until the pipe ends.
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "one argument covers all of them")]
fn wait_and_exit(kept: &[RawFd], read_end: RawFd) -> ! {
    let mut byte = 0_u8;
    let mut first = 0;
    // SAFETY: close_range, chdir and _exit take numbers and a literal; read writes at most one byte at `byte`, made
    // from `&mut`. No fd that a Rust owner of this process image still uses is touched again: the child never
    // returns. Where close_range does not exist (before 5.9) the fds stay open until the end.
    unsafe {
        for &fd in kept {
            if fd > first {
                libc::syscall(libc::SYS_close_range, first, fd - 1, 0);
            }
            first = fd + 1;
        }
        libc::syscall(libc::SYS_close_range, first, RawFd::MAX, 0);
        libc::chdir(c"/".as_ptr());
        libc::read(read_end, std::ptr::from_mut(&mut byte).cast(), 1);
        libc::_exit(0)
    }
}
