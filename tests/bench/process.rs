//! A tool that is being measured: started, watched, ended by its process id.
//!
//! In: a command. Out: how long it took to be attached, what it holds in memory, which BPF programs it runs, how long it
//! took to end. On a terminal of its own (libbpf-tools print their header into a buffer otherwise) or into a file.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The longest that any tool may take for anything; LLVM in a peer takes seconds on a loaded machine.
const BOUND: Duration = Duration::from_secs(30);

/// A tool at work; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    /// Takes from the terminal what the tool prints.
    reader: Option<JoinHandle<()>>,
}

/// Memory of a process, bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// The most that was resident at any time.
    pub(crate) peak: f64,
    /// Resident now and of no file.
    pub(crate) anonymous: f64,
    /// Resident now in buffers that are shared with the kernel.
    pub(crate) buffers: f64,
}

impl Running {
    /// Starts a tool on a terminal and waits for a line with `mark`. Gives the time from before the process existed.
    pub(crate) fn on_terminal(mut command: Command, mark: &str) -> Result<(Self, Duration), String> {
        let terminal = openpty(None, None).map_err(|errno| format!("no terminal: {errno}"))?;
        command.stdin(Stdio::null()).stderr(Stdio::null()).stdout(terminal.slave);
        let begun = Instant::now();
        let child = command.spawn().map_err(|error| error.to_string())?;
        // The terminal ends for us when the last process that writes to it is gone.
        drop(command);
        let mut running = Self { child, reader: None };
        let mut master = File::from(terminal.master);
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains(mark) {
            if !readable(&master, BOUND.saturating_sub(begun.elapsed())) || !read_some(&mut master, &mut seen)
            {
                return Err(format!("it ended or hung, and said {:?}", String::from_utf8_lossy(&seen)));
            }
        }
        let took = begun.elapsed();
        running.reader = Some(std::thread::spawn(move || {
            let mut rest = Vec::new();
            while read_some(&mut master, &mut rest) {
                rest.clear();
            }
        }));
        Ok((running, took))
    }

    /// Starts a tool that writes to a file, and waits until it waits for events.
    pub(crate) fn to_file(mut command: Command, file: &Path) -> Result<Self, String> {
        let out = File::create(file).map_err(|error| error.to_string())?;
        command.stdin(Stdio::null()).stderr(Stdio::null()).stdout(out);
        let child = command.spawn().map_err(|error| error.to_string())?;
        let mut running = Self { child, reader: None };
        let begun = Instant::now();
        while begun.elapsed() < BOUND {
            if let Ok(Some(status)) = running.child.try_wait() {
                return Err(format!("it ended at once: {status}"));
            }
            if running.waits_for_events() && !running.programs().is_empty() {
                return Ok(running);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err("it never waited for events".to_owned())
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is in a system call that waits for file descriptors.
    fn waits_for_events(&self) -> bool {
        let text = fs::read_to_string(format!("/proc/{}/syscall", self.pid())).unwrap_or_default();
        let number = text.split(' ').next().and_then(|word| word.parse::<i64>().ok());
        // Newer processors have only the calls with a mask of signals.
        #[cfg(any(target_arch = "x86_64", target_arch = "s390x"))]
        let waits = [libc::SYS_epoll_pwait, libc::SYS_ppoll, libc::SYS_epoll_wait, libc::SYS_poll];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "s390x")))]
        let waits = [libc::SYS_epoll_pwait, libc::SYS_ppoll];
        number.is_some_and(|number| waits.contains(&number))
    }

    /// Ids of the BPF programs that it holds, itself or through links.
    pub(crate) fn programs(&self) -> BTreeSet<u32> {
        let Ok(files) = fs::read_dir(format!("/proc/{}/fdinfo", self.pid())) else { return BTreeSet::new() };
        let id = |text: String| {
            let line = text.lines().find_map(|line| line.strip_prefix("prog_id:"))?;
            line.trim().parse().ok()
        };
        files.filter_map(|file| id(fs::read_to_string(file.ok()?.path()).ok()?)).collect()
    }

    /// Nanoseconds that its threads have been on a CPU.
    pub(crate) fn cpu_time(&self) -> f64 {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.pid())) else { return f64::NAN };
        let one = |thread: fs::DirEntry| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<f64>().ok()
        };
        threads.filter_map(|thread| one(thread.ok()?)).sum()
    }

    pub(crate) fn memory(&self) -> Memory {
        let read =
            |what: &str| fs::read_to_string(format!("/proc/{}/{what}", self.pid())).unwrap_or_default();
        let status = read("status");
        Memory {
            peak: kilobytes(&status, "VmHWM:"),
            anonymous: kilobytes(&status, "RssAnon:"),
            buffers: buffers(&read("smaps")),
        }
    }

    /// Ends it as Ctrl-C does, and gives the time until it is gone.
    pub(crate) fn stop(mut self) -> Result<Duration, String> {
        let begun = Instant::now();
        kill(Pid::from_raw(self.pid().cast_signed()), Signal::SIGINT).map_err(|errno| errno.to_string())?;
        while begun.elapsed() < BOUND {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                let took = begun.elapsed();
                if let Some(reader) = self.reader.take() {
                    let _ = reader.join();
                }
                return Ok(took);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Err("it does not end".to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn readable(file: &File, within: Duration) -> bool {
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
    poll(&mut fds, timeout).is_ok_and(|ready| ready > 0)
}

/// Reads once; false at the end, which a terminal reports as an error.
fn read_some(file: &mut File, into: &mut Vec<u8>) -> bool {
    let mut bytes = [0; 4096];
    let read = file.read(&mut bytes).unwrap_or(0);
    into.extend_from_slice(&bytes[..read]);
    read > 0
}

/// The number of a line such as `VmHWM:   2048 kB`, in bytes.
fn kilobytes(text: &str, key: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    number.map_or(f64::NAN, |kilobytes| kilobytes * 1024.0)
}

/// What is resident of BPF maps and perf buffers, from smaps.
fn buffers(smaps: &str) -> f64 {
    let (mut sum, mut inside) = (0.0, false);
    for line in smaps.lines() {
        // A mapping begins with its addresses, its properties with a capital letter.
        if line.starts_with(|c: char| c.is_ascii_hexdigit() && !c.is_ascii_uppercase()) {
            inside = line.contains("bpf-map") || line.contains("[perf_event]");
        } else if inside && line.starts_with("Rss:") {
            sum += kilobytes(line, "Rss:");
        }
    }
    sum
}
