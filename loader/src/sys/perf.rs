//! `perf_event_open(2)`: the events that tracepoint and kprobe programs are attached to.
//!
//! What crosses: one attribute struct by shared reference, which the kernel only reads (it writes `size`
//! back only when it answers `E2BIG`, so the reference is exclusive), and the address of a symbol name
//! inside it; then ioctls that carry a number.

#![expect(unsafe_code, reason = "perf_event_open(2) and its ioctls")]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::{SysResult, check, own_fd};

/// `struct perf_event_attr` up to `config2` (`PERF_ATTR_SIZE_VER1`), with the words we use named.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct PerfEventAttr {
    event_type: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    config1: u64,
    config2: u64,
}

const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 1 << 3;
const PERF_EVENT_IOC_ENABLE: libc::c_ulong = 0x2400;
const PERF_EVENT_IOC_DISABLE: libc::c_ulong = 0x2401;
/// `_IOW('$', 8, __u32)`.
const PERF_EVENT_IOC_SET_BPF: libc::c_ulong = 0x4004_2408;

/// A perf event to open.
#[derive(Clone, Copy, Debug, Default)]
pub struct PerfEvent<'a> {
    /// `perf_event_attr.type`: a constant, or a number read below `/sys/bus/event_source/devices`.
    pub event_type: u32,
    /// `config`: the tracepoint id, or the retprobe bit of the kprobe PMU.
    pub config: u64,
    /// `config1` as a pointer: the kprobe's symbol.
    pub symbol: Option<&'a CStr>,
    /// `config2`: offset into the symbol, in bytes.
    pub offset: u64,
}

/// Opens `event` for all processes. BPF programs on tracepoints and kprobes run on every CPU, whatever
/// `cpu` is, so one event on CPU 0 serves.
pub fn perf_event_open(event: PerfEvent<'_>) -> SysResult<OwnedFd> {
    const CALL: &str = "perf_event_open";
    let mut attr = PerfEventAttr {
        event_type: event.event_type,
        size: 72,
        config: event.config,
        sample_period: 1,
        config1: event.symbol.map_or(0, |symbol| symbol.as_ptr().addr() as u64),
        config2: event.offset,
        ..Default::default()
    };
    const { assert!(size_of::<PerfEventAttr>() == 72) };
    // SAFETY: the kernel reads `size` bytes at `attr` (and may write the supported size into it: made from
    // `&mut`), and the symbol up to its NUL; both outlive the call, and the kernel keeps neither.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            std::ptr::from_mut(&mut attr),
            -1,
            0,
            -1,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    own_fd(CALL, check(CALL, ret)?)
}

fn ioctl(call: &'static str, event: BorrowedFd<'_>, request: libc::c_ulong, value: i32) -> SysResult<()> {
    // SAFETY: the three requests of this file take a number, no pointer.
    let ret = unsafe { libc::ioctl(event.as_raw_fd(), request as _, value) };
    check(call, libc::c_long::from(ret)).map(drop)
}

/// Attaches `program` to `event`, the way that every kernel knows; it lives as long as the event.
pub fn set_bpf(event: BorrowedFd<'_>, program: BorrowedFd<'_>) -> SysResult<()> {
    ioctl("ioctl(PERF_EVENT_IOC_SET_BPF)", event, PERF_EVENT_IOC_SET_BPF, program.as_raw_fd())
}

/// Starts the event.
pub fn enable(event: BorrowedFd<'_>) -> SysResult<()> {
    ioctl("ioctl(PERF_EVENT_IOC_ENABLE)", event, PERF_EVENT_IOC_ENABLE, 0)
}

/// Stops the event.
pub fn disable(event: BorrowedFd<'_>) -> SysResult<()> {
    ioctl("ioctl(PERF_EVENT_IOC_DISABLE)", event, PERF_EVENT_IOC_DISABLE, 0)
}
