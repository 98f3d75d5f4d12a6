//! What went wrong, as a user sees it: an exit code, one line, and what to do about it.
//!
//! In: the library's errors. Out: [`Failure`].

use std::fmt;
use std::process::ExitCode;

use loader::ErrorKind;
use nsmap::identity::process::has_capability;

/// Exit codes; scripts rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// Done, or it was so already.
    Done = 0,
    /// Anything that has no number of its own.
    Other = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// No such map, cgroup, process or namespace.
    NotFound = 3,
    /// Not permitted.
    Permission = 4,
    /// The set has no room.
    Full = 5,
    /// A thing of the wrong geometry or kind.
    Wrong = 6,
    /// The place is not on a bpffs.
    NotBpffs = 7,
    /// Some of several items failed, or all of them for different reasons.
    SomeFailed = 8,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// A capability, by its number in `linux/capability.h`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Capability {
    DacOverride = 1,
    SysPtrace = 19,
    SysAdmin = 21,
    Bpf = 39,
}

impl Capability {
    fn name(self) -> &'static str {
        match self {
            Self::DacOverride => "CAP_DAC_OVERRIDE",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::Bpf => "CAP_BPF",
        }
    }
}

/// A failure of a command, or of one of its items.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    message: String,
    hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// What the user can do.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts what was worked on in front.
    #[must_use]
    pub(crate) fn context(mut self, context: &str) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// If permission was lacking, names the capability that would have helped and is not there.
    #[must_use]
    pub(crate) fn needs(self, capability: Capability) -> Self {
        if self.code != Code::Permission || self.hint.is_some() || has_capability(capability as u32) {
            return self;
        }
        let name = capability.name();
        if self.message.contains(name) {
            return self;
        }
        self.hint(format!("needs {name}, which this process lacks; run as root"))
    }
}

impl Code {
    /// The code of a library error. A full set is not told by its kind alone: see `edit`.
    pub(crate) fn of(error: &loader::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::Permission => Self::Permission,
            ErrorKind::Incompatible => Self::Wrong,
            _ => Self::Other,
        }
    }
}

impl From<loader::Error> for Failure {
    fn from(error: loader::Error) -> Self {
        Self::new(Code::of(&error), error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hint {
            Some(hint) => write!(f, "{} ({hint})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// The exit code of a command with several items: that of all of them if they agree.
pub(crate) fn combined(codes: &[Code]) -> Code {
    match codes.split_first() {
        None => Code::Done,
        Some((first, rest)) if rest.iter().all(|code| code == first) => *first,
        Some(_) => Code::SomeFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_that_agree_give_their_code_and_others_eight() {
        use Code::*;
        assert_eq!(combined(&[]), Done);
        assert_eq!(combined(&[Done, Done]), Done);
        assert_eq!(combined(&[NotFound]), NotFound);
        assert_eq!(combined(&[NotFound, NotFound]), NotFound);
        assert_eq!(combined(&[Done, NotFound]), SomeFailed);
        assert_eq!(combined(&[Full, NotFound]), SomeFailed);
    }

    #[test]
    fn kinds_of_errors_have_their_exit_codes() {
        let code = |error: loader::Error| Failure::from(error).code;
        assert_eq!(code(loader::Error::not_found("x")), Code::NotFound);
        assert_eq!(code(loader::Error::os("x", libc::EACCES)), Code::Permission);
        assert_eq!(code(loader::Error::incompatible("x")), Code::Wrong);
        assert_eq!(code(loader::Error::os("x", libc::EIO)), Code::Other);
    }
}
