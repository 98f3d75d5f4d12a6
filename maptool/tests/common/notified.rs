//! What a tool tells the one who started it (sd_notify(3)), received.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The socket that `NOTIFY_SOCKET` names.
pub(crate) struct Notified {
    socket: UnixDatagram,
    place: PathBuf,
}

impl Notified {
    /// Waits for at most `bound` each time.
    pub(crate) fn bind(place: &Path, bound: Duration) -> Self {
        let _ = std::fs::remove_file(place);
        let socket = UnixDatagram::bind(place).unwrap();
        socket.set_read_timeout(Some(bound)).unwrap();
        Self { socket, place: place.to_owned() }
    }

    pub(crate) fn tell(&self, command: &mut Command) {
        command.env("NOTIFY_SOCKET", &self.place);
    }

    /// The next message. A time-out makes recv(2) fail when the process was stopped or frozen meanwhile and goes
    /// on (signal(7)), which is no answer.
    pub(crate) fn next(&self) -> String {
        let mut buffer = [0; 256];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) => return String::from_utf8(buffer[..length].to_vec()).unwrap(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("nothing was told: {error}"),
            }
        }
    }
}
