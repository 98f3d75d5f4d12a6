//! Processes that exec in ways that `std::process::Command` has no word for.
//!
//! The test binary executes itself, asking for its one test called `plays_a_role` and naming a part in the environment:
//! that is a fresh process, which may do what a test beside other tests may not. (The harness runs it in a second
//! thread.) Without the variable, that test does nothing.
//! To add a part: a function here and an arm in [`play`].

use std::convert::Infallible;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{execve, execveat};

const ROLE: &str = "TRACERS_TEST_ROLE";
const ARGUMENT: &str = "TRACERS_TEST_ROLE_";

/// A part, by name, with arguments.
pub(crate) fn role<A: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "plays_a_role", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, name).stdin(Stdio::null()).stdout(Stdio::null());
    for (index, arg) in args.into_iter().enumerate() {
        command.env(format!("{ARGUMENT}{index}"), arg);
    }
    command
}

/// Plays a part to its end; gives its pid. What it executes must end with status 0.
#[track_caller]
pub(crate) fn played<A: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = A>) -> u32 {
    let mut child = role(name, args).spawn().unwrap();
    let pid = child.id();
    let status = super::run::wait_bounded(&mut child).unwrap_or_else(|| panic!("{name} does not end"));
    assert!(status.success(), "{name}: {status}");
    pid
}

/// The part that this process plays, with its arguments; none in the process that runs the tests.
pub(crate) fn part() -> Option<(OsString, Vec<OsString>)> {
    let name = std::env::var_os(ROLE)?;
    let args = (0..).map_while(|index| std::env::var_os(format!("{ARGUMENT}{index}"))).collect();
    Some((name, args))
}

/// The body of `#[test] fn plays_a_role()`.
pub(crate) fn play() {
    let Some((name, args)) = part() else { return };
    match name.to_str() {
        Some("execve") => exec_or_die(execve(&c_string(&args[0]), &c_strings(&args[1..]), NO_ENV)),
        Some("execve in a thread") => exec_in_thread(args),
        Some("execve of untouched memory") => {
            exec_or_die(execve(UNTOUCHED_PROGRAM, &[UNTOUCHED_ARG; 2], NO_ENV));
        }
        Some("execveat in a directory") => exec_in_directory(&args),
        Some("execveat of a descriptor") => exec_descriptor(&File::open(&args[0]).unwrap(), &args[1..]),
        Some("execveat of a memfd") => exec_memfd(&args),
        Some("failing execs") => std::thread::spawn(move || failing_execs(&args)).join().unwrap(),
        Some("failing exec of untouched memory") => {
            assert_eq!(execve(UNTOUCHED_MISSING, &[UNTOUCHED_ARG; 2], NO_ENV), Err(Errno::ENOENT));
        }
        Some("burst") => burst(&args),
        Some("exec when told") => exec_when_told(&args),
        Some("refused execs at a time") => refused_execs(&args),
        _ => panic!("no such role: {name:?}"),
    }
}

const NO_ENV: &[&CStr] = &[];

fn c_string(text: &OsStr) -> CString {
    CString::new(text.as_bytes()).unwrap()
}

fn c_strings(texts: &[OsString]) -> Vec<CString> {
    texts.iter().map(|text| c_string(text)).collect()
}

fn exec_or_die(outcome: nix::Result<Infallible>) {
    panic!("exec: {:?}", outcome.unwrap_err());
}

fn exec_in_thread(args: Vec<OsString>) {
    let thread =
        std::thread::spawn(move || exec_or_die(execve(&c_string(&args[0]), &c_strings(&args[1..]), NO_ENV)));
    let _ = thread.join();
    panic!("the other thread came back");
}

/// Arguments: directory, name in it, `argv`.
fn exec_in_directory(args: &[OsString]) {
    let dir = File::open(&args[0]).unwrap();
    let name = c_string(&args[1]);
    exec_or_die(execveat(dir.as_fd(), &name, &c_strings(&args[2..]), NO_ENV, AtFlags::empty()));
}

fn exec_descriptor(program: &impl AsFd, args: &[OsString]) {
    exec_or_die(execveat(program.as_fd(), c"", &c_strings(args), NO_ENV, AtFlags::AT_EMPTY_PATH));
}

/// Arguments: the program that the memfd is filled with, `argv`.
fn exec_memfd(args: &[OsString]) {
    let memory = memfd_create("from-memory", MFdFlags::MFD_CLOEXEC).unwrap();
    let mut memory = File::from(memory);
    memory.write_all(&std::fs::read(&args[0]).unwrap()).unwrap();
    exec_descriptor(&memory, &args[1..]);
}

/// Arguments: one for `argv[1]`, then programs, each of which must fail, by execve and by execveat; by a thread that is
/// not the first.
fn failing_execs(args: &[OsString]) {
    let root = File::open("/").unwrap();
    for program in args[1..].iter().map(|arg| c_string(arg)) {
        let argv = [program.clone(), c_string(&args[0])];
        let _ = execve(&program, &argv, NO_ENV);
        let _ = execveat(root.as_fd(), &program, &argv, NO_ENV, AtFlags::empty());
    }
    // The flags are wrong before anything is looked up.
    let program = c_string(&args[1]);
    let wrong = AtFlags::from_bits_retain(0x4000_0000);
    let outcome = execveat(root.as_fd(), &program, &[program.clone(), c_string(&args[0])], NO_ENV, wrong);
    assert_eq!(outcome, Err(Errno::EINVAL));
}

/// Arguments: how many children, one after the other, and the first argument of each; the second one counts.
/// (`Command` makes them the way vfork does.)
fn burst(args: &[OsString]) {
    let count: u32 = args[0].to_str().unwrap().parse().unwrap();
    let program = super::program::true_path();
    for number in 0..count {
        let status = Command::new(&program).arg(&args[1]).arg(number.to_string()).status().unwrap();
        assert!(status.success());
    }
}

/// Arguments: program, `argv`. Waits for a byte on standard input.
fn exec_when_told(args: &[OsString]) {
    std::io::stdin().read_exact(&mut [0]).unwrap();
    exec_or_die(execve(&c_string(&args[0]), &c_strings(&args[1..]), NO_ENV));
}

/// Arguments: program, which the kernel refuses to execute. For each byte on standard input a thread tries to.
fn refused_execs(args: &[OsString]) {
    let refused =
        || assert_eq!(Command::new(&args[0]).status().unwrap_err().raw_os_error(), Some(libc::EPERM));
    std::thread::scope(|scope| std::io::stdin().lock().bytes().for_each(|_| drop(scope.spawn(refused))));
}

/// A C string in the middle of so much of the executable's read-only data that no page near it is mapped until
/// somebody reads it: the kernel maps up to 64 KiB around a fault.
#[repr(C)]
struct Lonely {
    before: [u8; 256 << 10],
    text: [u8; 32],
    after: [u8; 256 << 10],
}

const fn lonely(text: &[u8; 32]) -> Lonely {
    Lonely { before: [1; 256 << 10], text: *text, after: [1; 256 << 10] }
}

static LONELY_PROGRAM: Lonely = lonely(b"/bin/true\0......................");
static LONELY_MISSING: Lonely = lonely(b"/nothing-here\0..................");
static LONELY_ARG: Lonely = lonely(b"never/read/before/true\0.........");

/// The length is found by the compiler, so that looking for the NUL does not touch the string.
const fn c_str(lonely: &'static Lonely) -> &'static CStr {
    match CStr::from_bytes_until_nul(&lonely.text) {
        Ok(text) => text,
        Err(_) => panic!("no NUL"),
    }
}

static UNTOUCHED_PROGRAM: &CStr = c_str(&LONELY_PROGRAM);
static UNTOUCHED_MISSING: &CStr = c_str(&LONELY_MISSING);
static UNTOUCHED_ARG: &CStr = c_str(&LONELY_ARG);
