//! From the buffer to standard output.
//!
//! In: a batch of whole lines. Out: written, or the news that nobody reads any more. A reader that stalls (`| less`) must
//! not make the tracer deaf to Ctrl-C: signals are blocked (see [`crate::signals`]), so `write` is only called when the
//! other end has room, and waiting for room also watches for a signal.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A pipe that polls as writable takes this much without blocking (`PIPE_BUF`, pipe(7)).
const PIPE_CHUNK: usize = 4096;
/// How long the end of a run waits for a reader that takes nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// Standard output, or in tests any other file.
pub struct Sink {
    file: File,
    /// Regular files neither stall nor hang up.
    regular: bool,
}

/// To be polled for no event at all, which still reports a reader that has gone.
impl AsFd for Sink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Prints a text that is not events, such as help. A reader that has gone is no error.
pub fn print(text: &[u8]) -> io::Result<()> {
    match io::stdout().write_all(text).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// All of it is out.
    All,
    /// The reader has gone; the rest is dropped.
    Closed,
    /// The reader took nothing for a second after the run was to end; this many bytes are dropped.
    Stalled(usize),
}

impl Sink {
    /// A sink on a duplicate of standard output.
    pub fn standard_output() -> io::Result<Self> {
        let fd = io::stdout().as_fd().try_clone_to_owned()?;
        Self::new(File::from(fd))
    }

    /// A sink on `file`.
    pub fn new(file: File) -> io::Result<Self> {
        let regular = file.metadata()?.is_file();
        Ok(Self { file, regular })
    }

    /// Writes `data`. A reader that takes nothing is not waited for long when `stop` is readable or absent, nor
    /// once the time is `until`.
    pub fn write(
        &mut self,
        mut data: &[u8],
        mut stop: Option<BorrowedFd<'_>>,
        until: Option<Instant>,
    ) -> io::Result<Written> {
        let soon = Instant::now() + PATIENCE;
        let mut deadline =
            if stop.is_none() { Some(soon) } else { until.map(|until| soon.max(until + PATIENCE)) };
        while !data.is_empty() {
            if !self.regular && !self.wait_for_room(&mut stop, &mut deadline)? {
                return Ok(Written::Stalled(data.len()));
            }
            let chunk = if self.regular { data.len() } else { data.len().min(PIPE_CHUNK) };
            match self.file.write(data.get(..chunk).unwrap_or(data)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    data = data.get(count..).unwrap_or_default();
                    deadline = deadline.map(|deadline| deadline.max(Instant::now() + PATIENCE));
                }
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Written::Closed),
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Written::All)
    }

    /// True when there is room, or an error to be had from `write`; false when the deadline passed.
    fn wait_for_room(
        &self,
        stop: &mut Option<BorrowedFd<'_>>,
        deadline: &mut Option<Instant>,
    ) -> io::Result<bool> {
        loop {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let timeout = left
                .map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
            let mut fds = vec![PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
            fds.extend(stop.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            match poll(&mut fds, timeout) {
                Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(false),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            if fds.first().is_some_and(|fd| fd.any() == Some(true)) {
                return Ok(true);
            }
            if fds.get(1).is_some_and(|fd| fd.any() == Some(true)) {
                *stop = None;
                *deadline = Some(Instant::now() + PATIENCE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    fn pipe() -> (File, Sink) {
        let (read, write) = nix::unistd::pipe().unwrap();
        (File::from(read), Sink::new(File::from(write)).unwrap())
    }

    #[test]
    fn a_large_batch_reaches_a_slow_reader_whole() {
        let (mut read, mut sink) = pipe();
        let data: Vec<u8> = (0..300_000u32).flat_map(u32::to_ne_bytes).collect();
        let expected = data.clone();
        let writer = std::thread::spawn(move || sink.write(&data, None, None).unwrap());
        let mut got = Vec::new();
        read.read_to_end(&mut got).unwrap();
        assert_eq!(writer.join().unwrap(), Written::All);
        assert!(got == expected);
    }

    #[test]
    fn a_closed_pipe_is_news_and_not_an_error() {
        let (read, mut sink) = pipe();
        drop(read);
        assert_eq!(sink.write(b"x\n", None, None).unwrap(), Written::Closed);
    }

    #[test]
    fn a_reader_that_takes_nothing_does_not_hold_the_end_of_a_run() {
        let (_read, mut sink) = pipe();
        let (stop, wake) = UnixStream::pair().unwrap();
        (&wake).write_all(b"stop").unwrap();
        for until in [None, Some(Instant::now() + Duration::from_secs(1 << 32))] {
            let begun = Instant::now();
            let written = sink.write(&vec![b'x'; 1 << 20], Some(stop.as_fd()), until).unwrap();
            assert!(matches!(written, Written::Stalled(left) if left > 0 && left <= 1 << 20));
            assert!(begun.elapsed() < 3 * PATIENCE);
        }
    }

    #[test]
    fn a_reader_that_takes_nothing_does_not_prolong_a_run_of_limited_duration() {
        let (_read, mut sink) = pipe();
        let (stop, _wake) = UnixStream::pair().unwrap();
        let begun = Instant::now();
        let written = sink.write(&vec![b'x'; 1 << 20], Some(stop.as_fd()), Some(begun)).unwrap();
        assert!(matches!(written, Written::Stalled(left) if left > 0 && left < 1 << 20));
        assert!(begun.elapsed() < 3 * PATIENCE);
    }

    #[test]
    fn a_regular_file_is_written_at_once() {
        let file = tempfile::tempfile().unwrap();
        let mut sink = Sink::new(file.try_clone().unwrap()).unwrap();
        assert_eq!(sink.write(&[b'y'; 100_000], None, None).unwrap(), Written::All);
        assert_eq!(file.metadata().unwrap().len(), 100_000);
    }
}
