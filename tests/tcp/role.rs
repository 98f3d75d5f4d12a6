//! Processes that do something with sockets: see `common/role.rs` for how a test becomes one.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use socket2::Domain;

use super::{loopback, socket, wait_until};
use crate::common::cgroup::Cgroup;
use crate::common::role::{part, role};

/// The body of `#[test] fn plays_a_role()`.
pub(crate) fn play() {
    let Some((name, args)) = part() else { return };
    let port = || args[0].to_str().unwrap().parse::<u16>().unwrap();
    match name.to_str() {
        Some("talk to itself") => (0..port()).for_each(|_| super::close(super::pair("127.0.0.1"))),
        Some("connect and exit") => connect_and_exit(port()),
        Some("connect") => drop(TcpStream::connect(("127.0.0.1", port()))),
        Some("connect with a timeout") => connect_with_timeout(port()),
        Some("accept") => accept(port()),
        Some("receive from") => receive_from(port()),
        Some("connect and hold") => hold(TcpStream::connect(("127.0.0.1", port())).unwrap()),
        Some("connect, send and exit") => connect_and_send(port(), Path::new(&args[1])),
        Some("receive and hold") => receive_and_hold(Path::new(&args[0])),
        Some("hold") => drop(std::io::stdin().read_exact(&mut [0])),
        _ => panic!("no such role: {name:?}"),
    }
}

/// Does not wait for the outcome, and does not close.
fn connect_and_exit(port: u16) {
    let socket = socket(Domain::IPV4);
    socket.set_nonblocking(true).unwrap();
    let _ = socket.connect(&loopback(port));
    std::process::exit(0);
}

/// Does not wait for the outcome, which is for another process.
fn connect_and_send(port: u16, path: &Path) {
    let socket = socket(Domain::IPV4);
    socket.set_nonblocking(true).unwrap();
    let _ = socket.connect(&loopback(port));
    send(path, &socket);
    std::process::exit(0);
}

/// Sends a descriptor to the process that takes one there, in a message (`SCM_RIGHTS`, unix(7)).
pub(crate) fn send(path: &Path, what: &impl AsFd) {
    let mut to = None;
    wait_until("somebody takes descriptors", || {
        to = UnixStream::connect(path).ok();
        to.is_some()
    });
    let fds = [what.as_fd().as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    let byte = [IoSlice::new(b"x")];
    let mut to = to.unwrap();
    sendmsg::<()>(to.as_raw_fd(), &byte, &rights, MsgFlags::empty(), None).unwrap();
    // It is there when the other one says so.
    to.read_exact(&mut [0]).unwrap();
}

/// Takes a descriptor, and exits with it open when standard input ends.
fn receive_and_hold(path: &Path) {
    let (mut from, _) = UnixListener::bind(path).unwrap().accept().unwrap();
    let (mut byte, mut space) = ([0], nix::cmsg_space!([i32; 1]));
    let mut bytes = [IoSliceMut::new(&mut byte)];
    let message =
        recvmsg::<()>(from.as_raw_fd(), &mut bytes, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC).unwrap();
    assert!(message.cmsgs().unwrap().any(|part| matches!(part, ControlMessageOwned::ScmRights(_))));
    from.write_all(b"x").unwrap();
    let _ = std::io::stdin().read_exact(&mut [0]);
    std::process::exit(0);
}

/// Is interrupted, and then waits for the outcome.
fn connect_with_timeout(port: u16) {
    let socket = socket(Domain::IPV4);
    socket.set_write_timeout(Some(Duration::from_secs(1000))).unwrap();
    let error = socket.connect(&loopback(port)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Interrupted);
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::try_from(crate::common::BOUND).unwrap()).unwrap();
    assert!(socket.take_error().unwrap().is_none() && socket.peer_addr().is_ok());
}

/// Sends a datagram there, and waits for one that comes back.
fn receive_from(port: u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    socket.send(b"a query").unwrap();
    socket.recv(&mut [0; 512]).unwrap();
}

/// Waits for one connection and holds it until it is told to end.
fn accept(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (stream, _) = listener.accept().unwrap();
    hold(stream);
}

/// Exits without closing when standard input ends.
fn hold(_stream: TcpStream) {
    let _ = std::io::stdin().read_exact(&mut [0]);
    std::process::exit(0);
}

/// Starts a part that goes on until its standard input is closed.
pub(crate) fn spawn(name: &str, args: &[&str]) -> Child {
    role(name, args).stdin(Stdio::piped()).spawn().unwrap()
}

/// Lets it end, and waits for that.
pub(crate) fn release(mut child: Child) {
    drop(child.stdin.take());
    assert!(crate::common::run::wait_bounded(&mut child).is_some_and(|status| status.success()));
}

/// A process that has a copy of the socket, and does nothing but exit when `release`d.
pub(crate) fn holder(stream: &TcpStream) -> Child {
    let copy: OwnedFd = stream.try_clone().unwrap().into();
    let mut command: Command = role("hold", [""; 0]);
    // Standard error is as good a place as any: nothing is written there unless the test fails.
    command.stdin(Stdio::piped()).stderr(Stdio::from(copy)).spawn().unwrap()
}

/// Whether a thread of the process is in this system call of sockets. (The one that plays a part is not its first.)
pub(crate) fn is_in(pid: u32, call: libc::c_long) -> bool {
    // The C library of s390x makes all of them through one, socketcall(2).
    let call = if cfg!(target_arch = "s390x") { 102 } else { call };
    let begin = format!("{call} ");
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let calls = threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("syscall")));
    calls.into_iter().any(|text| text.is_ok_and(|text| text.starts_with(&begin)))
}

/// Whether all threads of the process are stopped by a signal.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let mut threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.all(|thread| {
        let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    })
}

/// A part in a cgroup.
pub(crate) fn in_cgroup(group: &Cgroup, name: &str, args: &[&str]) -> Command {
    let part = role(name, args);
    let mut command = crate::common::program::in_cgroup(group, part.get_program().to_str().unwrap());
    command.args(part.get_args()).stdin(Stdio::piped()).stdout(Stdio::null());
    for (key, value) in part.get_envs() {
        command.env(key, value.unwrap());
    }
    command
}
