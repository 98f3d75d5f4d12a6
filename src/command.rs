//! A command that is traced from its first instruction (`--exec`).
//!
//! In: a command line. Out: a process that will become the command, stopped, so that the kernel side can be told its id before
//! it does anything; then its end. The process is this same executable, asked by its first argument to stop itself and to
//! execute the rest once it is continued ([`step_aside`]): no code of ours runs between a fork and an exec.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use loader::{Error, Result, ResultExt};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::message::{Failure, Messages};
use crate::signals::Signals;

/// First argument of the process that waits; not an option of any tool.
const STEP_ASIDE: &str = "--become";

/// A process that is about to become the command, or has become it. One that was never let go is killed.
#[derive(Debug)]
pub struct Traced {
    child: Child,
    released: bool,
}

impl Traced {
    /// Starts a process that stops before it executes `line` (program first), and waits until it has stopped. With
    /// `own_output` the standard output is the tracer's alone, and the command's goes to standard error.
    pub fn stopped(line: &[OsString], own_output: bool) -> Result<Self, Failure> {
        let program = line.first().map(OsString::as_os_str).unwrap_or_default();
        if !can_be_found(program) {
            let program = program.display();
            return Err(Failure::from(Error::not_found(format!("execute `{program}`: no such program"))));
        }
        Ok(Self::spawn(line, own_output).context("start the command")?)
    }

    fn spawn(line: &[OsString], own_output: bool) -> Result<Self> {
        let own = env::current_exe().map_err(|error| Error::io("readlink", error))?;
        let output = if own_output { Stdio::from(io::stderr()) } else { Stdio::inherit() };
        let child = Command::new(own).arg(STEP_ASIDE).args(line).stdout(output).spawn();
        let traced = Self { child: child.map_err(|error| Error::io("execve", error))?, released: false };
        loop {
            match waitpid(traced.pid()?, Some(WaitPidFlag::WUNTRACED)) {
                Ok(WaitStatus::Stopped(..)) => return Ok(traced),
                Err(Errno::EINTR) => {}
                Ok(status) => return Err(Error::invalid(format!("it did not stop but {status:?}"))),
                Err(errno) => return Err(Error::os("waitpid", errno as i32)),
            }
        }
    }

    fn pid(&self) -> Result<Pid> {
        i32::try_from(self.id()).map(Pid::from_raw).map_err(|_| Error::invalid("a process id over 2^31"))
    }

    /// Its process id, before and after it has become the command.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Lets it go.
    pub fn release(&mut self) -> Result<()> {
        self.released = true;
        kill(self.pid()?, Signal::SIGCONT).map_err(|errno| Error::os("kill", errno as i32))
    }

    /// Whether the command has ended.
    pub fn has_ended(&mut self) -> bool {
        // An error would mean that somebody else has waited for it.
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if !self.released {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Whether execvp(3) would find something. Its answer would come when the tool is running already.
fn can_be_found(program: &OsStr) -> bool {
    let executable = |path: &Path| {
        path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if program.as_bytes().contains(&b'/') {
        return executable(Path::new(program));
    }
    let path = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    !program.is_empty() && env::split_paths(&path).any(|dir| executable(&dir.join(program)))
}

/// The part of the process that waits: stops, and once continued executes the command. Out: none unless this process was
/// asked to, else an exit code as of a shell that could not execute something.
pub fn step_aside(messages: Messages) -> Option<ExitCode> {
    let mut args = env::args_os().skip(1);
    if args.next()? != STEP_ASIDE {
        return None;
    }
    let program = args.next()?;
    // Should the tracer die before it lets go, nobody else would; once released, the command is on its own.
    let stopped = prctl::set_pdeathsig(Signal::SIGKILL).and_then(|()| raise(Signal::SIGSTOP));
    if let Err(errno) = stopped.and_then(|()| prctl::set_pdeathsig(None)) {
        messages.say(&format!("wait to be continued: {errno}"));
        return Some(ExitCode::FAILURE);
    }
    if let Err(error) = Signals::unblock() {
        messages.say(&error.to_string());
        return Some(ExitCode::FAILURE);
    }
    let error = Command::new(&program).args(args).exec();
    messages.say(&format!("execute `{}`: {error}", program.display()));
    Some(ExitCode::from(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_as_execvp_finds_them() {
        assert!(can_be_found(OsStr::new("sh")));
        assert!(can_be_found(OsStr::new("/bin/sh")));
        for missing in ["", "no-such-program-here", "/bin", "/etc/passwd", "./sh"] {
            assert!(!can_be_found(OsStr::new(missing)), "{missing}");
        }
    }
}
