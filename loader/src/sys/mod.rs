//! The only unsafe code of the workspace: system calls, shared memory, and nothing else.
//!
//! One function per kernel command, no policy: no feature detection, no retry other than `EINTR`, no
//! interpretation of answers. In: numbers, slices, borrowed fds. Out: numbers, [`OwnedFd`]s, or a
//! [`SysError`]. What to do about an error is decided by the modules above.
//!
//! | file | what crosses |
//! |---|---|
//! | [`uapi`] | constants of `linux/bpf.h`, `linux/perf_event.h`, `linux/nsfs.h`: no code |
//! | [`attr`] | the attribute structs of `bpf(2)`, and the one trait that vouches for them |
//! | [`bpf`] | `bpf(2)`, one function per command |
//! | [`by_id`] | `bpf(2)` on objects that the kernel lists |
//! | [`link`] | `bpf(2)` for links: one function for each kind of attachment |
//! | [`memory`] | giving code pages back |
//! | [`perf`] | `perf_event_open(2)` and its ioctls |
//! | [`process`] | `fork(2)`, to leave slow closes behind |
//! | [`ring`] | the pages of a ring buffer that the kernel writes while we read |
//! | [`shared`] | the memory of maps that programs use while we do |
//! | [`fs`] | file handles, namespace ids, detached mounts, read-only file mappings |

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::error::Error;

pub mod attr;
pub mod bpf;
pub mod by_id;
pub mod fs;
pub mod link;
pub mod memory;
pub mod perf;
pub mod process;
pub mod ring;
pub mod shared;
pub mod uapi;

/// A failed system call: which one, and its errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SysError {
    /// The call with its command, such as `bpf(BPF_MAP_CREATE)`.
    pub call: &'static str,
    /// The errno, which may be one that libc has no name for.
    pub errno: i32,
}

impl From<SysError> for Error {
    fn from(error: SysError) -> Self {
        Error::os(error.call, error.errno)
    }
}

/// The result of a system call.
pub type SysResult<T> = Result<T, SysError>;

/// Turns the return value of a libc call (-1 and errno on failure) into a result.
fn check(call: &'static str, ret: libc::c_long) -> SysResult<libc::c_long> {
    if ret < 0 {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        return Err(SysError { call, errno });
    }
    Ok(ret)
}

/// Takes ownership of a file descriptor that the kernel has just returned.
///
/// `bpf(2)` reads fd 0 in an attribute as "none given", so a descriptor that came back as 0, 1 or 2
/// (the process was started with those closed) is moved up once.
#[expect(unsafe_code, reason = "turns a fresh descriptor number into an owner")]
fn own_fd(call: &'static str, ret: libc::c_long) -> SysResult<OwnedFd> {
    let raw = RawFd::try_from(ret).map_err(|_| SysError { call, errno: libc::EBADF })?;
    // SAFETY: `raw` was returned by the kernel to this call as a new descriptor and has no other owner.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    if raw > 2 {
        return Ok(fd);
    }
    // SAFETY: no pointers; F_DUPFD_CLOEXEC returns a new descriptor >= 3 or -1.
    let moved = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) };
    let moved = check("fcntl(F_DUPFD_CLOEXEC)", libc::c_long::from(moved))?;
    let moved = RawFd::try_from(moved).map_err(|_| SysError { call, errno: libc::EBADF })?;
    // SAFETY: as above: new, and owned by nobody else. The low-numbered `fd` closes on return.
    Ok(unsafe { OwnedFd::from_raw_fd(moved) })
}
