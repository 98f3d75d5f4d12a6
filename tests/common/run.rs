//! Running a command to its end, with a bound, and reading what it said.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::BOUND;

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    command: String,
}

impl Output {
    /// The exit code; a death by signal fails the test.
    #[track_caller]
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("{} died by a signal: {self:?}", self.command))
    }

    /// Fails unless the command succeeded; gives its standard output.
    #[track_caller]
    pub(crate) fn ok(&self) -> &str {
        assert_eq!(self.code(), 0, "{self:?}");
        &self.stdout
    }

    /// A refusal as users should meet it: this exit code, nothing on standard output, one line on standard error which
    /// begins with the tool's name. Gives the line.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, tool: &str) -> &str {
        assert_eq!(self.code(), code, "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        let line = self.stderr.strip_suffix('\n').unwrap_or_else(|| panic!("no whole line: {self:?}"));
        assert!(!line.contains('\n'), "more than one line: {self:?}");
        assert!(line.starts_with(&format!("{tool}: ")), "{self:?}");
        line
    }

    /// Fails unless the usage is explained: exit code 2, an explanation on standard error only.
    #[track_caller]
    pub(crate) fn misused(&self) {
        assert_eq!(self.code(), 2, "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        assert!(self.stderr.starts_with("error: "), "{self:?}");
    }
}

/// Runs a command with nothing on standard input (unless the caller set one), and waits for its end.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Output {
    let text = format!("{command:?}");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{text}: {error}"));
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    std::thread::scope(|scope| {
        let stdout = scope.spawn(move || read_all(&mut out));
        let stderr = scope.spawn(move || read_all(&mut err));
        let status = wait_bounded(&mut child);
        let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
        let status = status.unwrap_or_else(|| panic!("{text} did not end; it said {stdout}{stderr}"));
        Output { status, stdout, stderr, command: text }
    })
}

/// Runs a command that has nothing to say and must succeed.
#[track_caller]
pub(crate) fn run_ok(command: &mut Command) {
    run(command).ok();
}

fn read_all(from: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).expect("our tools speak UTF-8")
}

/// The child's end; it is killed (and this is none) if it does not come within [`BOUND`].
pub(crate) fn wait_bounded(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + BOUND;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How a process ended, in words for a message.
pub(crate) fn ended(status: ExitStatus) -> String {
    status.code().map_or_else(|| format!("signal {:?}", status.signal()), |code| format!("exit code {code}"))
}
