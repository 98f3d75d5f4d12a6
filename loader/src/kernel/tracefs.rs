//! Finding tracefs, which knows the ids of the perf tracepoints.
//!
//! In: the well-known paths, `/proc/self/mountinfo`. Out: a [`TraceFs`], which looks ids up. Where no tracefs
//! is mounted at all (containers, minimal hosts) one is mounted that only this process sees: a detached
//! mount, which appears in no mount table and goes with the process. What was found is kept, since every tracepoint asks.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::error::{Error, Result, ResultExt};
use crate::sys::{fs, uapi};

/// A directory fd on the root of a tracefs, shared by all that opened it.
#[derive(Clone, Debug)]
pub struct TraceFs(Arc<Root>);

#[derive(Debug)]
struct Root {
    directory: OwnedFd,
    place: Option<PathBuf>,
}

impl TraceFs {
    /// Opens the tracefs of this host.
    ///
    /// # Errors
    /// `Permission` when none is mounted and this process may not mount one (CAP_SYS_ADMIN).
    pub fn open() -> Result<Self> {
        static FOUND: OnceLock<TraceFs> = OnceLock::new();
        if let Some(found) = FOUND.get() {
            return Ok(found.clone());
        }
        let found = Self(Arc::new(Root::find()?));
        Ok(FOUND.get_or_init(|| found).clone())
    }

    /// Where it is mounted; `None` for a private mount.
    pub fn place(&self) -> Option<&Path> {
        self.0.place.as_deref()
    }

    /// The id of tracepoint `category:name`, which `perf_event_open(2)` takes.
    ///
    /// # Errors
    /// `NotFound` when this kernel has no such tracepoint; `Permission` (also under kernel lockdown).
    pub fn tracepoint_id(&self, category: &str, name: &str) -> Result<u64> {
        let path = format!("events/{category}/{name}/id");
        let text = self.read(&path).map_err(|error| match error.errno() {
            Some(libc::ENOENT) => Error::not_found("this kernel has no such tracepoint"),
            _ => error.context(format!("read {path} in tracefs")),
        })?;
        text.trim().parse().map_err(|_| Error::invalid(format!("{path} in tracefs holds `{}`", text.trim())))
    }

    /// The list of functions that can be traced, one a line, followed by `[module]` for those of modules.
    ///
    /// # Errors
    /// `NotFound` without `CONFIG_DYNAMIC_FTRACE`; `Permission`, also under lockdown.
    pub fn traceable_functions(&self) -> Result<String> {
        const LIMIT: u64 = 64 << 20;
        self.read_up_to("available_filter_functions", LIMIT)
    }

    /// Appends a line to one of the files that define events.
    fn append(&self, path: &str, line: &str) -> Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CLOEXEC;
        let fd = openat(self.0.directory.as_fd(), path, flags, Mode::empty())
            .map_err(|errno| Error::os("openat", errno as i32).context(format!("{path} in tracefs")))?;
        // One line is one command, so it must be one write.
        let written = File::from(fd).write_all(line.as_bytes());
        written.map_err(|error| Error::io("write", error).context(format!("{path} in tracefs")))
    }

    fn read(&self, path: &str) -> Result<String> {
        const LIMIT: u64 = 64;
        self.read_up_to(path, LIMIT)
    }

    fn read_up_to(&self, path: &str, limit: u64) -> Result<String> {
        let fd = openat(self.0.directory.as_fd(), path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|errno| Error::os("openat", errno as i32))?;
        let mut text = String::new();
        File::from(fd).take(limit).read_to_string(&mut text).map_err(|error| Error::io("read", error))?;
        Ok(text)
    }
}

impl Root {
    fn find() -> Result<Self> {
        let known = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"].into_iter().map(PathBuf::from);
        for place in known.chain(std::iter::once_with(mounted).flatten()) {
            if let Some(directory) = open_root(&place) {
                return Ok(Self { directory, place: Some(place) });
            }
        }
        let directory =
            fs::mount_detached(c"tracefs").context("mount a private tracefs (none is mounted here)")?;
        Ok(Self { directory, place: None })
    }
}

/// An event that this process defined; it is taken out again when this is dropped.
#[derive(Debug)]
pub struct DynamicEvent {
    tracefs: TraceFs,
    file: &'static str,
    group: String,
    name: String,
}

impl DynamicEvent {
    /// Defines the event `group:name` by appending `definition` to `file` of tracefs.
    ///
    /// # Errors
    /// `NotFound` when tracefs has no such file; the kernel's errno for a definition that it does not take.
    pub fn create(
        tracefs: TraceFs,
        file: &'static str,
        definition: &str,
        group: &str,
        name: &str,
    ) -> Result<Self> {
        tracefs.append(file, definition)?;
        Ok(Self { tracefs, file, group: group.to_owned(), name: name.to_owned() })
    }

    /// The id that `perf_event_open(2)` takes.
    ///
    /// # Errors
    /// As for [`TraceFs::tracepoint_id`].
    pub fn id(&self) -> Result<u64> {
        self.tracefs.tracepoint_id(&self.group, &self.name)
    }
}

impl Drop for DynamicEvent {
    fn drop(&mut self) {
        // Refused (EBUSY) while somebody uses it; there is nobody left to tell.
        self.tracefs.append(self.file, &format!("-:{}/{}", self.group, self.name)).ok();
    }
}

/// A directory is the root of a tracefs when the file system says so and it has events: an empty
/// `/sys/kernel/debug` is common.
fn open_root(place: &Path) -> Option<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = nix::fcntl::open(place, flags, Mode::empty()).ok()?;
    (fs::fs_magic(&root) == Ok(uapi::magic::TRACEFS)).then_some(root)
}

/// Mount points of type tracefs. Paths in mountinfo escape space, tab, newline and backslash as octal; a
/// path that needs that is not found here.
fn mounted() -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = table.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        after.starts_with("tracefs ").then(|| before.split(' ').nth(4).map(PathBuf::from))?
    });
    places.collect()
}
