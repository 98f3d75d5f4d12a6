//! Attaching programs: one file per way, one [`Link`] for all.
//!
//! In: a loaded [`Program`], whose section name said where it belongs. Out: a [`Link`], which detaches when
//! it is dropped. Trying several ways in order of preference, and keeping why the better ones were
//! refused, is [`crate::hooks`].
//!
//! To add a way: write its file, with a function from a program (and what else it needs) to a [`Link`], and
//! a line in [`attach_with`], or in [`attach_in_kernel`].

mod glob;
pub mod iterator;
pub mod kprobe;
pub mod kprobe_multi;
mod pmu;
pub mod raw_tracepoint;
pub mod struct_ops;
pub mod tracepoint;
pub mod tracing;
pub mod tracing_multi;
pub mod uprobe;
pub mod usdt;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use crate::error::{Error, Result, ResultExt};
use crate::kernel::privilege::{self, Need};
use crate::kernel::tracefs::DynamicEvent;
use crate::program::Program;
use crate::section::{Target, attach_type};
use crate::sys::{bpf, link, perf, process};

/// How a program is attached.
#[derive(Clone, Copy, Debug, Default)]
pub struct AttachOptions {
    /// What `bpf_get_attach_cookie()` returns in the program; 0 is none. Perf events 5.15, kprobe.multi 5.18, tracing
    /// 5.19, raw tracepoints 6.10, uprobe.multi 6.6.
    pub cookie: u64,
}

/// A program at work. Dropping it detaches the program, unless the kernel object is held elsewhere.
#[derive(Debug)]
#[must_use = "dropping a link detaches the program"]
pub struct Link {
    /// A BPF link, or for old-style attachments nothing.
    link: Option<OwnedFd>,
    /// The perf event under it, for tracepoints; closing one waits for RCU grace periods, tens of
    /// milliseconds each.
    event: Option<OwnedFd>,
    /// The definition of that event in tracefs, if it is ours. Taken out after the event is closed: fields are dropped
    /// in this order.
    defined: Option<DynamicEvent>,
    /// A struct_ops without a link.
    registered: Option<struct_ops::Registered>,
    /// Those on further places of the same probe.
    others: Vec<Link>,
}

impl Link {
    fn from_link(link: OwnedFd) -> Self {
        Self { link: Some(link), event: None, defined: None, registered: None, others: Vec::new() }
    }

    /// One link for all of them; none if there are none.
    fn together(mut links: Vec<Link>) -> Option<Self> {
        let first = links.pop()?;
        Some(Self { others: links, ..first })
    }

    /// All that keeps it attached.
    fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let own = self.link.iter().chain(&self.event).map(AsFd::as_fd);
        own.chain(self.others.iter().flat_map(Link::fds)).collect()
    }

    fn keeping(self, defined: DynamicEvent) -> Self {
        Self { defined: Some(defined), ..self }
    }

    /// The BPF link; none for attachments of old kernels, and for probes in several places.
    pub fn as_link(&self) -> Option<BorrowedFd<'_>> {
        self.link.as_ref().filter(|_| self.others.is_empty()).map(AsFd::as_fd)
    }

    /// Pins the link at `path` on a bpffs: the program stays attached when this process ends.
    ///
    /// # Errors
    /// `NotSupported` for attachments that are no links, or are several.
    pub fn pin(&self, path: &std::path::Path) -> Result<()> {
        let link = self.as_link().ok_or_else(|| Error::not_supported("link for this attachment", "5.15"))?;
        Ok(bpf::obj_pin(link, &crate::map::c_path(path)?)?)
    }

    /// Whether detaching takes tens of milliseconds.
    pub fn is_slow(&self) -> bool {
        self.event.is_some()
    }

    /// Detaches now, and waits until it is done.
    pub fn detach(self) {
        drop(self.link);
        drop(self.event);
        drop(self.defined);
        drop(self.registered);
        Link::detach_all(self.others);
    }

    /// Gives up links for good at the end of a process that is about to exit. Fast ones are detached now. Slow
    /// ones are left to a child process, so that the caller exits at once: the kernel serialises them, and
    /// four together take a third of a second, whether in threads or not. Programs behind slow links may run a
    /// little longer; nobody reads what they write.
    ///
    /// The process must have no other threads.
    pub fn leave_all(links: Vec<Link>) {
        let (slow, fast): (Vec<Link>, Vec<Link>) = links.into_iter().partition(Link::is_slow);
        fast.into_iter().for_each(Link::detach);
        if slow.is_empty() {
            return;
        }
        let fds: Vec<BorrowedFd<'_>> = slow.iter().flat_map(Link::fds).collect();
        let held = pipe2(OFlag::O_CLOEXEC)
            .is_ok_and(|(read_end, write_end)| process::hold_until_exit(&fds, read_end, write_end).is_ok());
        if !held {
            Link::detach_all(slow);
        }
    }

    /// Detaches many programs. Slow links are closed side by side, each in its own thread, since each only
    /// waits for the kernel.
    pub fn detach_all(links: impl IntoIterator<Item = Link>) {
        let (slow, fast): (Vec<Link>, Vec<Link>) = links.into_iter().partition(Link::is_slow);
        fast.into_iter().for_each(Link::detach);
        std::thread::scope(|scope| {
            let mut slow = slow.into_iter();
            let last = slow.next();
            for link in slow {
                scope.spawn(move || link.detach());
            }
            if let Some(link) = last {
                link.detach();
            }
        });
    }
}

/// Attaches `program` where its section name says.
///
/// # Errors
/// `NotFound` for a tracepoint that this kernel lacks; `Incompatible` for a type that is attached by other
/// means than this crate has; the kernel's errno otherwise.
pub fn attach(program: &Program) -> Result<Link> {
    attach_with(program, AttachOptions::default())
}

/// As [`attach`], with options.
///
/// # Errors
/// As for [`attach`]; `NotSupported` also for a cookie that this kernel has not for such programs.
pub fn attach_with(program: &Program, options: AttachOptions) -> Result<Link> {
    let attached = match &program.kind().target {
        Target::Uprobe { path, symbol, offset, at_return } => {
            let symbol = symbol.as_deref();
            let place = uprobe::Place { path, symbol, offset: *offset, at_return: *at_return };
            uprobe::attach(program, place, options)
        }
        Target::UprobeMulti { path, pattern, at_return } => {
            uprobe::attach_multi(program, path, pattern, *at_return, options)
        }
        Target::Usdt { path, provider, name } => usdt::attach(program, path, provider, name, options),
        _ => return attach_in_kernel(program, options),
    };
    explained(program, attached)
}

/// As [`attach_with`], for programs that observe the kernel: tools without probes in binaries are smaller without the code
/// that reads binaries.
///
/// # Errors
/// Also `Incompatible` for a program on a binary.
pub fn attach_in_kernel(program: &Program, options: AttachOptions) -> Result<Link> {
    let attached = match &program.kind().target {
        Target::Tracepoint { category, name } => tracepoint::attach(program, category, name, options),
        Target::RawTracepoint { name } => raw_tracepoint::attach(program, name, options),
        Target::Lsm { .. } if program.kind().attach_type == attach_type::LSM_CGROUP => Err(by_others()),
        Target::BtfTracepoint { .. }
        | Target::Function { .. }
        | Target::Lsm { .. }
        | Target::ProgramFunction { .. } => tracing::attach(program, options),
        Target::Functions { module, pattern } => {
            tracing_multi::attach(program, module.as_deref(), pattern, options)
        }
        Target::Iterator { .. } => iterator::attach(program),
        Target::Kprobe { symbol, offset, at_return } => {
            let place = kprobe::Place { symbol, offset: *offset, at_return: *at_return };
            kprobe::attach(program, place, options)
        }
        Target::Syscall { name, at_return } => kprobe::attach_syscall(program, name, *at_return, options),
        Target::KprobeMulti { pattern, at_return } => {
            kprobe_multi::attach(program, pattern, *at_return, options)
        }
        Target::StructOps { .. } => {
            let why = "a function of a struct_ops is attached together with the others of it";
            Err(Error::incompatible(why))
        }
        target => Err(target.unusable().unwrap_or_else(by_others)),
    };
    explained(program, attached)
}

/// The number of the perf tracepoint `category:name`, for [`attach_to_tracepoint`].
///
/// # Errors
/// `NotFound` when this kernel has no such tracepoint.
pub fn tracepoint_id(category: &str, name: &str) -> Result<u64> {
    tracepoint::id(category, name)
}

/// Attaches `program`, which is for perf tracepoints, to the one with that number, whatever its own section says.
///
/// # Errors
/// The kernel's errno.
pub fn attach_to_tracepoint(program: &Program, id: u64) -> Result<Link> {
    explained(program, tracepoint::attach_to(program, id, AttachOptions::default()))
}

fn explained(program: &Program, attached: Result<Link>) -> Result<Link> {
    attached
        .map_err(|error| privilege::explain(error, Need::Tracing))
        .with_context(|| format!("attach program `{}`", program.name()))
}

/// For programs that are attached to devices, cgroups and sockets.
fn by_others() -> Error {
    Error::incompatible("this crate does not attach programs of this type")
}

/// Asks, before a program for `target` is loaded, whether this kernel has what it would be attached to. Cheap, and no promise.
///
/// # Errors
/// `NotSupported`; `NotFound` for a tracepoint that this kernel lacks.
pub fn possible(target: &Target) -> Result<()> {
    match target {
        Target::Tracepoint { category, name } => tracepoint::id(category, name).map(drop),
        Target::Kprobe { .. } | Target::Syscall { .. } => kprobe::possible(),
        _ => Ok(()),
    }
}

/// Puts `program` on a perf event and starts it: by a link (5.15), or by ioctl (any kernel).
fn on_event(program: &Program, event: OwnedFd, options: AttachOptions) -> Result<Link> {
    // Any refusal means the old way: EINVAL where there are no such links, EPERM under some policies.
    let link = link::link_create_perf(program.as_fd(), event.as_fd(), options.cookie).ok();
    if link.is_none() {
        if options.cookie != 0 {
            return Err(Error::not_supported("cookie for perf events", "5.15"));
        }
        perf::set_bpf(event.as_fd(), program.as_fd())?;
    }
    perf::enable(event.as_fd())?;
    Ok(Link { link, event: Some(event), defined: None, registered: None, others: Vec::new() })
}
