//! More calls under way than the table of calls has room for.

use std::io::Write;
use std::os::fd::AsFd;
use std::process::Stdio;

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::fanotify::{
    EventFFlags, Fanotify, FanotifyEvent, FanotifyResponse, InitFlags, MarkFlags, MaskFlags, Response,
};

use crate::common::BOUND;
use crate::common::emulated;
use crate::common::role::role;
use crate::common::run::wait_bounded;
use crate::common::sandbox::Sandbox;
use crate::common::skip::{Skip, or_skip};
use crate::execsnoop;

const CALLS: usize = 5;

/// Asks before a file is executed: whoever executes it waits in the kernel for the answer.
fn gate() -> Result<Fanotify, Skip> {
    match Fanotify::init(InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_CLOEXEC, EventFFlags::O_CLOEXEC) {
        Err(Errno::EINVAL | Errno::ENOSYS) => Err(Skip::NotInKernel("fanotify that asks")),
        other => Ok(other.unwrap()),
    }
}

/// The question of one more call.
fn question(gate: &Fanotify) -> FanotifyEvent {
    let timeout = PollTimeout::try_from(BOUND).unwrap();
    let readable = poll(&mut [PollFd::new(gate.as_fd(), PollFlags::POLLIN)], timeout).unwrap();
    assert_eq!(readable, 1, "nobody executes it");
    let [question] = <[_; 1]>::try_from(gate.read_events().unwrap()).unwrap();
    question
}

#[test]
fn failing_calls_that_find_no_room_are_told_as_lost() {
    let sandbox = or_skip!(Sandbox::new());
    let gate = or_skip!(gate());
    let program = sandbox.executable("asked", b"#!/bin/sh\n");
    gate.mark(MarkFlags::FAN_MARK_ADD, MaskFlags::FAN_OPEN_EXEC_PERM, AT_FDCWD, Some(&program)).unwrap();
    for (size, shown) in [("2", 2), ("5", CALLS)] {
        let mut parent = role("refused execs at a time", [&program]).stdin(Stdio::piped()).spawn().unwrap();
        let tracer = execsnoop(&sandbox, ["-x", "-P", &parent.id().to_string(), "--table-size", size]);
        let mut orders = parent.stdin.take().unwrap();
        // One after the other: where the kernel preempts programs, one call would hide the next.
        let asked: Vec<_> = (0..CALLS)
            .map(|_| {
                orders.write_all(b"x").unwrap();
                question(&gate)
            })
            .collect();
        drop(orders);
        if shown < CALLS && !emulated() {
            tracer.wait_message("(a table is full: raise --table-size, or filter more)");
        }
        for question in &asked {
            gate.write_response(FanotifyResponse::new(question.fd().unwrap(), Response::FAN_DENY)).unwrap();
        }
        assert!(wait_bounded(&mut parent).is_some_and(|status| status.success()));
        let finished = tracer.stop();
        let (rows, told) = (finished.rows().len(), finished.told());
        // Where a program takes as long as a time slice, what interrupts it is missing as well, and told.
        let exact = (rows, told) == (shown, CALLS - shown);
        assert!(exact || emulated() && rows <= shown && rows + told >= CALLS, "{finished:#?}");
    }
}
