//! Perf tracepoints: `tp/CATEGORY/NAME`.
//!
//! The id comes from tracefs, the event from `perf_event_open(2)`; the program is put on it by a BPF link
//! (5.15) or by ioctl (any kernel). Closing such an event waits for grace periods: tens of milliseconds.

use super::{AttachOptions, Link, on_event};
use crate::error::{Result, ResultExt};
use crate::kernel::tracefs::TraceFs;
use crate::program::Program;
use crate::sys::perf::{self, PerfEvent};
use crate::sys::uapi;

/// Attaches to the tracepoint `category:name`.
///
/// # Errors
/// `NotFound` when this kernel has no such tracepoint; `NotSupported` for a cookie before 5.15; `Permission`.
pub fn attach(program: &Program, category: &str, name: &str, options: AttachOptions) -> Result<Link> {
    attach_to(program, id(category, name)?, options)
}

/// Attaches to the tracepoint with that number.
pub(super) fn attach_to(program: &Program, id: u64, options: AttachOptions) -> Result<Link> {
    let event = perf::perf_event_open(PerfEvent {
        event_type: uapi::PERF_TYPE_TRACEPOINT,
        config: id,
        ..Default::default()
    })?;
    on_event(program, event, options)
}

/// The number of the tracepoint `category:name`.
///
/// # Errors
/// `NotFound` when this kernel has no such tracepoint.
pub(super) fn id(category: &str, name: &str) -> Result<u64> {
    TraceFs::open()?.tracepoint_id(category, name).with_context(|| format!("tracepoint {category}:{name}"))
}
