//! More mount namespaces: the shells of the tutorial, as values.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use nix::sched::{CloneFlags, setns, unshare};

use super::sandbox::private;

/// A mount namespace that lives as long as this value (or whoever is in it).
pub(crate) struct MountNamespace {
    file: File,
    /// What `/proc/PID/ns/mnt` of its processes says.
    pub(crate) inode: u64,
}

impl MountNamespace {
    /// A copy of the calling thread's namespace, with another identity.
    pub(crate) fn new() -> Self {
        let file = on_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            private("/").unwrap();
            current()
        });
        Self::of(file)
    }

    /// The calling thread's own.
    pub(crate) fn here() -> Self {
        Self::of(current())
    }

    fn of(file: File) -> Self {
        let inode = file.metadata().unwrap().ino();
        Self { file, inode }
    }

    /// Does `work` in the namespace. Processes that it starts are in there too.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        on_own_thread(|| {
            // A thread that shares its working directory with others may not enter a mount namespace.
            unshare(CloneFlags::CLONE_FS).unwrap();
            setns(&self.file, CloneFlags::CLONE_NEWNS).unwrap();
            work()
        })
    }
}

fn current() -> File {
    File::open("/proc/thread-self/ns/mnt").unwrap()
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let outcome = std::thread::scope(|scope| scope.spawn(work).join());
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
