//! A connection to an engine's Unix socket that is over at a certain moment, whatever the other side does.
//!
//! In: a socket's path, a moment when patience ends. Out: a stream, or a [`Problem`] in words for people. What is said on it
//! is in [`super::http`] and [`super::grpc`].

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

/// What an engine may send as an answer. A thousand containers take some 2 MB.
pub(super) const BODY_LIMIT: usize = 8 << 20;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// No engine is behind this socket, or none that we may talk to.
    NobodyThere(String),
    /// Somebody is, and does not answer as an engine does.
    Wrong(String),
}

impl Problem {
    pub(super) fn wrong(what: impl Into<String>) -> Self {
        Self::Wrong(what.into())
    }

    pub(super) fn of(doing: &str, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::wrong("does not answer in time"),
            // A peer that goes while something for it is under way resets the connection.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                Self::wrong("ends its answer too soon")
            }
            _ => Self::wrong(format!("{doing}: {error}")),
        }
    }
}

pub(super) fn too_large() -> Problem {
    Problem::wrong(format!("answers with more than {} MB", BODY_LIMIT >> 20))
}

/// A connection that is over at a certain moment, however often it is read.
pub(super) struct Timed {
    socket: Socket,
    deadline: Instant,
}

impl Timed {
    /// # Errors
    /// [`Problem::NobodyThere`] if nobody listens, or not to us.
    pub(super) fn connect(path: &Path, deadline: Instant) -> Result<Self, Problem> {
        let connected = || -> io::Result<Socket> {
            let address = SockAddr::unix(path)?;
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            // It also bounds connect(2), which waits for room in the queue of a server that takes nobody in.
            socket.set_write_timeout(Some(left(deadline)?))?;
            loop {
                // With a time-out, it also fails when this process was stopped meanwhile and goes on (signal(7)).
                match socket.connect(&address) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                        socket.set_write_timeout(Some(left(deadline)?))?;
                    }
                    connected => return connected.map(|()| socket),
                }
            }
        };
        let socket = connected().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotADirectory => Problem::NobodyThere(error.to_string()),
            _ => Problem::of("connect", &error),
        })?;
        Ok(Self { socket, deadline })
    }
}

/// The time until `deadline`; none is an error, since a time-out of 0 would mean to wait for ever.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left.max(Duration::from_millis(1))) }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(left(self.deadline)?))?;
        self.socket.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(left(self.deadline)?))?;
        self.socket.send_with_flags(bytes, libc::MSG_NOSIGNAL)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
