//! The one error of this crate: a root cause under a chain of contexts.
//!
//! The lowest layer says what was wrong with which bytes; each layer above adds, once, what it was
//! working on. `{}` prints the whole chain on one line, outermost first, and how long the verifier log is where there is
//! one; `{:#}` prints one line per link, followed by that log. [`Error::kind`] is what a program acts on.
//! Hints for people ("create it with ...") come from the kind, in the tools, never from here.

use std::borrow::Cow;
use std::fmt;
use std::io;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can act on. New kinds may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Bytes that are not what they claim to be: ELF, BTF, a record, an answer of the kernel.
    InvalidObject,
    /// A name, path, id or key that does not exist.
    NotFound,
    /// The kernel, or this build, does not have a feature.
    NotSupported {
        /// What is missing, in the words of the kernel documentation.
        feature: &'static str,
        /// The first kernel that has it, such as `5.15`; empty when no version is known.
        since: &'static str,
    },
    /// The kernel refused for lack of a privilege or by policy.
    Permission,
    /// The verifier rejected a program; see [`Error::verifier_log`].
    Verifier,
    /// Something is full or too large: a map, a buffer, the memlock limit.
    Limit,
    /// It exists, but is not of the expected type or shape.
    Incompatible,
    /// It exists already.
    Exists,
    /// Any other failure of the operating system.
    Io,
}

/// An error with its contexts.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    root: Root,
    /// Innermost first.
    contexts: Vec<Cow<'static, str>>,
}

enum Root {
    Message { kind: ErrorKind, text: Cow<'static, str> },
    Os { call: &'static str, errno: i32 },
    Verifier { errno: i32, summary: String, log: String },
}

/// `ENOTSUPP`, an errno that only the kernel's own headers define; `bpf(2)` answers it for functions
/// and architectures without trampolines.
pub const ENOTSUPP: i32 = 524;

impl Error {
    /// An error of `kind` whose text says what was found and what was expected.
    pub fn new(kind: ErrorKind, text: impl Into<Cow<'static, str>>) -> Self {
        Self::from_root(Root::Message { kind, text: text.into() })
    }

    /// Malformed input; `text` names the bytes.
    pub fn invalid(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidObject, text)
    }

    /// Something that does not exist.
    pub fn not_found(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::NotFound, text)
    }

    /// The wrong type or shape; `text` says found and expected.
    pub fn incompatible(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Incompatible, text)
    }

    /// A feature that this kernel does not have, with the first kernel that does (or an empty string).
    pub fn not_supported(feature: &'static str, since: &'static str) -> Self {
        let text = if since.is_empty() {
            format!("this kernel has no {feature}")
        } else {
            format!("this kernel has no {feature} (Linux {since} and newer do)")
        };
        Self::new(ErrorKind::NotSupported { feature, since }, text)
    }

    /// A failed system call, by errno. `call` is its name, with the command for multiplexed calls.
    pub fn os(call: &'static str, errno: i32) -> Self {
        Self::from_root(Root::Os { call, errno })
    }

    /// As [`Error::os`], from a standard library error (errno 0 when it carries none).
    #[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
    pub fn io(call: &'static str, error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::os(call, errno),
            None => Self::new(ErrorKind::Io, format!("{call}: {error}")),
        }
    }

    /// A program that the verifier rejected: `summary` is its last telling line, `log` all of it.
    pub fn verifier(errno: i32, summary: String, log: String) -> Self {
        Self::from_root(Root::Verifier { errno, summary, log })
    }

    fn from_root(root: Root) -> Self {
        Self { inner: Box::new(Inner { root, contexts: Vec::new() }) }
    }

    /// Adds what the caller was working on: "load program `x`".
    #[must_use]
    pub fn context(mut self, context: impl Into<Cow<'static, str>>) -> Self {
        self.inner.contexts.push(context.into());
        self
    }

    /// The kind of the root cause.
    pub fn kind(&self) -> ErrorKind {
        match &self.inner.root {
            Root::Message { kind, .. } => *kind,
            Root::Os { errno, .. } => kind_of_errno(*errno),
            Root::Verifier { .. } => ErrorKind::Verifier,
        }
    }

    /// The errno of the failed system call, if the root cause is one.
    pub fn errno(&self) -> Option<i32> {
        match &self.inner.root {
            Root::Message { .. } => None,
            Root::Os { errno, .. } | Root::Verifier { errno, .. } => Some(*errno),
        }
    }

    /// The whole verifier log of a rejected program.
    pub fn verifier_log(&self) -> Option<&str> {
        match &self.inner.root {
            Root::Verifier { log, .. } => Some(log),
            _ => None,
        }
    }
}

fn kind_of_errno(errno: i32) -> ErrorKind {
    match errno {
        libc::ENOENT | libc::ESRCH | libc::ESTALE => ErrorKind::NotFound,
        libc::EPERM | libc::EACCES => ErrorKind::Permission,
        libc::EEXIST => ErrorKind::Exists,
        libc::E2BIG | libc::ENOSPC | libc::ENOMEM | libc::EMFILE | libc::ENFILE => ErrorKind::Limit,
        ENOTSUPP | libc::EOPNOTSUPP | libc::ENOSYS => ErrorKind::NotSupported { feature: "", since: "" },
        _ => ErrorKind::Io,
    }
}

/// The text of an errno, in lower case as the rest of a message; knows the kernel's 524 too.
pub fn errno_text(errno: i32) -> String {
    if errno == ENOTSUPP {
        return "not supported by this kernel (errno 524)".to_owned();
    }
    let text = io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => format!("errno {errno}"),
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Root::Message { text, .. } => f.write_str(text),
            Root::Os { call: "", errno } => f.write_str(&errno_text(*errno)),
            Root::Os { call, errno } => write!(f, "{call}: {}", errno_text(*errno)),
            // The errno tells nothing more: nearly always EACCES or EINVAL, whatever is wrong.
            Root::Verifier { summary, .. } => write!(f, "rejected by the verifier: {summary}"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if f.alternate() { "\n  " } else { ": " };
        for context in self.inner.contexts.iter().rev() {
            write!(f, "{context}{separator}")?;
        }
        write!(f, "{}", self.inner.root)?;
        match &self.inner.root {
            Root::Verifier { log, .. } if f.alternate() => write!(f, "\nverifier log:\n{log}"),
            Root::Verifier { log, .. } => write!(f, " (verifier log: {})", lines(log)),
            _ => Ok(()),
        }
    }
}

fn lines(log: &str) -> String {
    match log.lines().count() {
        1 => "1 line".to_owned(),
        count => format!("{count} lines"),
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:#}")
    }
}

impl std::error::Error for Error {}

/// Adds contexts to a `Result`.
pub trait ResultExt<T> {
    /// Adds a fixed context to the error.
    fn context(self, context: &'static str) -> Result<T>;
    /// Adds a context that is made only when there is an error.
    fn with_context<C: Into<Cow<'static, str>>>(self, context: impl FnOnce() -> C) -> Result<T>;
}

impl<T, E: Into<Error>> ResultExt<T> for Result<T, E> {
    fn context(self, context: &'static str) -> Result<T> {
        self.map_err(|error| error.into().context(context))
    }

    fn with_context<C: Into<Cow<'static, str>>>(self, context: impl FnOnce() -> C) -> Result<T> {
        self.map_err(|error| error.into().context(context()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_reads_from_the_outside_in() {
        let error =
            Error::os("bpf(BPF_OBJ_GET)", libc::ENOENT).context("open map `/x`").context("load `a.o`");
        assert_eq!(
            error.to_string(),
            "load `a.o`: open map `/x`: bpf(BPF_OBJ_GET): no such file or directory"
        );
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.errno(), Some(libc::ENOENT));
    }

    #[test]
    fn the_long_form_shows_the_verifier_log() {
        let error = Error::verifier(libc::EACCES, "R1 invalid mem access".into(), "0: r1 = 0\n".into());
        assert_eq!(error.kind(), ErrorKind::Verifier);
        let short = "rejected by the verifier: R1 invalid mem access (verifier log: 1 line)";
        assert_eq!(error.to_string(), short);
        let long = "rejected by the verifier: R1 invalid mem access\nverifier log:\n0: r1 = 0\n";
        assert_eq!(format!("{error:#}"), long);
    }

    #[test]
    fn errno_524_has_a_text() {
        assert!(errno_text(ENOTSUPP).contains("524"));
        assert_eq!(errno_text(libc::EPERM), "operation not permitted");
    }
}
