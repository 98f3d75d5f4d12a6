//! Signals that end a run, turned into a file descriptor.
//!
//! In: SIGINT, SIGTERM, SIGHUP, and SIGCHLD of a command that is traced. Out: a descriptor that polls as readable once one of
//! them has come; from one of the first three on the event loop drains, flushes, reports and exits 0. They are blocked, so nothing is interrupted half-way. SIGPIPE needs
//! nothing: Rust starts programs with it ignored, and a write to a closed pipe reports it ([`crate::output::sink`]).

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};

use loader::{Error, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What a signal means to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It is to end.
    End,
    /// Something became of a child.
    Child,
}

/// The blocked signals and the descriptor that reports them.
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks the signals in this (only) thread. SIGHUP is left alone when it came ignored: `nohup execsnoop` must outlive its
    /// terminal. SIGINT is taken even so, because a shell script starts its background jobs with it ignored.
    pub fn block() -> Result<Self> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGINT);
        set.add(Signal::SIGTERM);
        set.add(Signal::SIGCHLD);
        if !is_ignored(&fs::read_to_string("/proc/self/status").unwrap_or_default(), Signal::SIGHUP) {
            set.add(Signal::SIGHUP);
        }
        set.thread_block().map_err(|errno| Error::os("sigprocmask", errno as i32))?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let fd = SignalFd::with_flags(&set, flags).map_err(|errno| Error::os("signalfd", errno as i32))?;
        Ok(Self { fd })
    }

    /// Undoes [`Signals::block`] in a process that has inherited it and is about to become something else, for which Ctrl-C, and
    /// the end of its own children, are what they always are.
    pub fn unblock() -> Result<()> {
        let set = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD, Signal::SIGHUP]
            .into_iter()
            .collect::<SigSet>();
        set.thread_unblock().map_err(|errno| Error::os("sigprocmask", errno as i32))
    }

    /// Takes one that has come; the next stays pending for whoever polls the descriptor.
    pub fn take(&self) -> Option<News> {
        let signal = self.fd.read_signal().ok()??.ssi_signo;
        Some(if signal == Signal::SIGCHLD as u32 { News::Child } else { News::End })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Reads the mask `SigIgn` of proc_pid_status(5): hexadecimal, bit N-1 for signal N.
fn is_ignored(status: &str, signal: Signal) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal as i32 - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::signal::raise;

    #[test]
    fn a_signal_becomes_readable_instead_of_killing() {
        let signals = Signals::block().unwrap();
        assert_eq!(signals.take(), None);
        raise(Signal::SIGTERM).unwrap();
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::ZERO).unwrap(), 1);
        assert_eq!(signals.take(), Some(News::End));
        raise(Signal::SIGCHLD).unwrap();
        assert_eq!(signals.take(), Some(News::Child));
        assert_eq!(signals.take(), None);
    }

    #[test]
    fn the_mask_of_ignored_signals_is_read_by_signal_number() {
        let status = "Name:\tx\nSigIgn:\t0000000000000001\nSigCgt:\tffff\n";
        assert!(is_ignored(status, Signal::SIGHUP));
        assert!(!is_ignored(status, Signal::SIGINT));
        assert!(!is_ignored("", Signal::SIGHUP));
    }
}
