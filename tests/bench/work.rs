//! What the tools observe: opens, execs, connections and other system calls, each with a number, so that a lost one is found.
//!
//! The work is done by threads of this process (or children of it) without anything between two calls, and is timed here.

use std::collections::HashSet;
use std::ffi::CString;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, open};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::stat::Mode;
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};
use socket2::SockRef;

/// Nanoseconds for each call.
#[derive(Clone, Copy, Default)]
pub(crate) struct Took {
    /// CPU time of the calling thread and of its children.
    pub(crate) cpu: f64,
    pub(crate) elapsed: f64,
}

fn cpu_time() -> Duration {
    let own = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    let children = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let microseconds = children.user_time() + children.system_time();
    Duration::from(own) + Duration::from_micros(microseconds.num_microseconds() as u64)
}

pub(crate) fn timed(count: usize, work: impl FnOnce()) -> Took {
    let (cpu, begun) = (cpu_time(), Instant::now());
    work();
    let (elapsed, cpu) = (begun.elapsed(), cpu_time().saturating_sub(cpu));
    let each = |time: Duration| time.as_nanos() as f64 / count as f64;
    Took { cpu: each(cpu), elapsed: each(elapsed) }
}

/// Files of their own, with numbers for names.
pub(crate) struct Files {
    prefix: String,
    paths: Vec<CString>,
}

impl Files {
    /// `dir` must be new, and is best on a tmpfs.
    pub(crate) fn create(dir: &Path, count: usize) -> Self {
        fs::create_dir_all(dir).unwrap();
        let paths = (0..count).map(|number| {
            let path = dir.join(number.to_string());
            fs::write(&path, b"").unwrap();
            CString::new(path.as_os_str().as_bytes()).unwrap()
        });
        Self { paths: paths.collect(), prefix: format!("{}/", dir.display()) }
    }

    pub(crate) fn count(&self) -> usize {
        self.paths.len()
    }

    /// Opens and closes each once.
    pub(crate) fn open_all(&self) -> Took {
        timed(self.paths.len(), || {
            for path in &self.paths {
                drop(open(path.as_c_str(), OFlag::O_RDONLY, Mode::empty()).unwrap());
            }
        })
    }

    /// Those that are opened in a fifth of a second when so many are in a second.
    pub(crate) fn count_at(&self, rate: usize) -> usize {
        (rate / 5).min(self.paths.len())
    }

    /// Opens and closes some of them, a few each millisecond.
    pub(crate) fn open_at(&self, rate: usize) -> Took {
        let paths = &self.paths[..self.count_at(rate)];
        let mut next = Instant::now();
        timed(paths.len(), || {
            for few in paths.chunks(rate.div_ceil(1000)) {
                for path in few {
                    drop(open(path.as_c_str(), OFlag::O_RDONLY, Mode::empty()).unwrap());
                }
                next += Duration::from_millis(1);
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        })
    }

    /// The same while threads come and go, one for each open, which is its own or this thread's.
    pub(crate) fn open_among_threads(&self, theirs: bool) -> Took {
        timed(self.paths.len(), || {
            for path in &self.paths {
                let opens = || drop(open(path.as_c_str(), OFlag::O_RDONLY, Mode::empty()));
                std::thread::scope(|scope| drop(scope.spawn(|| theirs.then(opens))));
                if !theirs {
                    opens();
                }
            }
        })
    }

    /// How many of the first `count` `output` does not show.
    pub(crate) fn missing(&self, output: &Path, count: usize) -> f64 {
        missing(output, &self.prefix, count)
    }
}

/// A program as small as can be, executed with a number.
pub(crate) struct Program {
    path: PathBuf,
    word: &'static str,
}

impl Program {
    pub(crate) fn create(dir: &Path) -> Self {
        let path = match std::env::consts::ARCH {
            "x86_64" => {
                let path = dir.join("tiny");
                // Another process writes it: a child that some thread starts meanwhile would inherit the open file,
                // and nobody could execute it.
                let draft = dir.join("tiny.draft");
                fs::write(&draft, tiny_x86_64()).unwrap();
                assert!(Command::new("/bin/cp").arg(&draft).arg(&path).status().unwrap().success());
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
                path
            }
            _ => PathBuf::from("/bin/true"),
        };
        Self { path, word: "number-" }
    }

    /// Starts it and waits for its end, `count` times.
    pub(crate) fn run(&self, count: usize) -> Took {
        timed(count, || {
            for number in 0..count {
                let mut command = Command::new(&self.path);
                command.arg(format!("{}{number}", self.word)).stdin(Stdio::null());
                assert!(command.status().unwrap().success());
            }
        })
    }

    /// How many of the first `count` runs `output` does not show.
    pub(crate) fn missing(&self, output: &Path, count: usize) -> f64 {
        missing(output, self.word, count)
    }
}

/// Connections over loopback: each is made, accepted, and closed at both ends. The number is in the address connected to.
pub(crate) struct Connections {
    listener: TcpListener,
}

/// Numbers of connections are in the last two bytes of an address below this.
const NETWORK: &str = "127.77.";

impl Connections {
    pub(crate) fn listen() -> Self {
        Self { listener: TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap() }
    }

    fn address(number: usize) -> Ipv4Addr {
        Ipv4Addr::new(127, 77, (number / 250) as u8, (number % 250 + 1) as u8)
    }

    pub(crate) fn make(&self, count: usize) -> Took {
        let port = self.listener.local_addr().unwrap().port();
        timed(count, || {
            for number in 0..count {
                let near = TcpStream::connect((Self::address(number), port)).unwrap();
                let (far, _) = self.listener.accept().unwrap();
                // The end that closes first keeps the port for a minute, unless it closes by a reset.
                SockRef::from(&near).set_linger(Some(Duration::ZERO)).unwrap();
                drop(near);
                drop(far);
            }
        })
    }

    /// How many of the first `count` the output does not show.
    pub(crate) fn missing(output: &Path, count: usize) -> f64 {
        let text = fs::read(output).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let seen: HashSet<&str> = text
            .split(|c: char| c != '.' && !c.is_ascii_digit())
            .filter(|w| w.starts_with(NETWORK))
            .collect();
        (0..count).filter(|number| !seen.contains(Self::address(*number).to_string().as_str())).count() as f64
    }
}

/// The cheapest system call there is.
pub(crate) fn getppid(count: usize) -> Took {
    timed(count, || {
        for _ in 0..count {
            std::hint::black_box(nix::unistd::getppid());
        }
    })
}

/// Which of the numbers below `count` does not follow `word` anywhere in the file.
fn missing(output: &Path, word: &str, count: usize) -> f64 {
    let text = fs::read(output).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let digits = |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok());
    let seen: HashSet<usize> = text.split(word).skip(1).filter_map(digits).collect();
    (0..count).filter(|number| !seen.contains(number)).count() as f64
}

/// An executable that only ends, with status 0: `mov eax, 60; xor edi, edi; syscall` after its headers.
fn tiny_x86_64() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let code = [0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05];
    let size = HEADERS + code.len() as u64;
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    [2u16, 62].iter().for_each(|value| elf.extend(value.to_le_bytes())); // ET_EXEC, EM_X86_64
    elf.extend(1u32.to_le_bytes());
    [BASE + HEADERS, 64, 0].iter().for_each(|value| elf.extend(value.to_le_bytes())); // entry, program headers, no sections
    elf.extend(0u32.to_le_bytes());
    [64u16, 56, 1, 0, 0, 0].iter().for_each(|value| elf.extend(value.to_le_bytes()));
    [1u32, 5].iter().for_each(|value| elf.extend(value.to_le_bytes())); // PT_LOAD, readable and executable
    [0, BASE, BASE, size, size, 0x1000].iter().for_each(|value: &u64| elf.extend(value.to_le_bytes()));
    elf.extend(code);
    elf
}
