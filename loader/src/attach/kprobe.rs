//! Kernel functions: `kprobe/F`, `kretprobe/F`, `ksyscall/N`.
//!
//! In: a program and a symbol. Out: a [`Link`] on a perf event of the kprobe PMU (4.17) or, where that is refused, of a trace
//! event that is written into tracefs and taken out again when the link goes. Kernels without `CONFIG_KPROBES` have
//! neither.

use std::ffi::CString;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use super::pmu::Pmu;
use super::{AttachOptions, Link, on_event};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::kernel::config;
use crate::kernel::tracefs::{DynamicEvent, TraceFs};
use crate::program::Program;
use crate::sys::perf::{self, PerfEvent};
use crate::sys::uapi;

/// A place in the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The symbol.
    pub symbol: &'a str,
    /// Bytes from its start.
    pub offset: u64,
    /// At the return of the function.
    pub at_return: bool,
}

/// Attaches to a kernel function.
///
/// # Errors
/// `NotSupported` without kprobes; `NotFound` for no such symbol, or one that cannot be probed.
pub fn attach(program: &Program, place: Place<'_>, options: AttachOptions) -> Result<Link> {
    possible()?;
    let by_pmu = by_pmu(program, place, options);
    let refused = match by_pmu {
        Ok(link) => return Ok(link),
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(no_symbol(place)),
        Err(error) => error,
    };
    match by_tracefs(program, place, options) {
        Ok(link) => Ok(link),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(no_symbol(place)),
        // The first reason is the telling one, unless it only says that the newer way is not there.
        Err(error) if matches!(refused.kind(), ErrorKind::NotSupported { .. }) => Err(error),
        Err(_) => Err(refused),
    }
}

/// Attaches to the function of a system call, whatever this architecture calls it.
///
/// # Errors
/// As for [`attach`].
pub fn attach_syscall(
    program: &Program,
    name: &str,
    at_return: bool,
    options: AttachOptions,
) -> Result<Link> {
    let prefix = config::syscall_prefix().filter(|_| config::has_syscall_wrapper()).unwrap_or("__se_sys_");
    let symbol = format!("{prefix}{name}");
    attach(program, Place { symbol: &symbol, offset: 0, at_return }, options)
}

/// Whether this kernel has kprobes at all, as far as sysfs tells: then neither way works, and no program need be loaded.
///
/// # Errors
/// `NotSupported`.
pub(super) fn possible() -> Result<()> {
    let told = Path::new("/sys/bus/event_source/devices").exists();
    Pmu::read("kprobe").map(drop).or_else(|error| if told { Err(error) } else { Ok(()) })
}

fn no_symbol(place: Place<'_>) -> Error {
    Error::not_found(format!("this kernel has no function `{}` that can be probed", place.symbol))
}

fn by_pmu(program: &Program, place: Place<'_>, options: AttachOptions) -> Result<Link> {
    let pmu = Pmu::read("kprobe")?;
    let symbol = CString::new(place.symbol).map_err(|_| Error::invalid("symbol with a NUL byte"))?;
    let event = perf::perf_event_open(PerfEvent {
        event_type: pmu.event_type,
        config: if place.at_return { pmu.return_bit } else { 0 },
        symbol: Some(&symbol),
        offset: place.offset,
    })?;
    on_event(program, event, options)
}

fn by_tracefs(program: &Program, place: Place<'_>, options: AttachOptions) -> Result<Link> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("p{}_{number}", std::process::id());
    let mut definition =
        format!("{}:kprobes/{name} {}", if place.at_return { 'r' } else { 'p' }, place.symbol);
    if place.offset != 0 {
        write!(definition, "+{:#x}", place.offset).map_err(|_| Error::invalid("formatting failed"))?;
    }
    let dynamic = DynamicEvent::create(TraceFs::open()?, "kprobe_events", &definition, "kprobes", &name)
        .context("define a kprobe in tracefs")?;
    let event = perf::perf_event_open(PerfEvent {
        event_type: uapi::PERF_TYPE_TRACEPOINT,
        config: dynamic.id()?,
        ..Default::default()
    })?;
    Ok(on_event(program, event, options)?.keeping(dynamic))
}
