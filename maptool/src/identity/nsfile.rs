//! Namespace files: `/proc/PID/ns/...`, and bind mounts of them such as those of ip-netns(8).
//!
//! In: a path, or an open file, and the type of namespace that it should be. Out: its inode number, which is what the kernel
//! and everybody else calls that namespace by.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use loader::sys::fs::namespace_type;
use loader::{Error, Result};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat};

use crate::filesystem::{self, magic};

/// The types that somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Mount,
    Network,
}

impl Type {
    fn flag(self) -> i32 {
        match self {
            Self::Mount => libc::CLONE_NEWNS,
            Self::Network => libc::CLONE_NEWNET,
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Mount => "mount",
            Self::Network => "network",
        }
    }
}

/// What `/proc/PID/ns` calls the types.
fn name(flag: i32) -> &'static str {
    const CLONE_NEWTIME: i32 = 0x80;
    match flag {
        libc::CLONE_NEWNS => "mnt",
        libc::CLONE_NEWNET => "net",
        libc::CLONE_NEWCGROUP => "cgroup",
        libc::CLONE_NEWUTS => "uts",
        libc::CLONE_NEWIPC => "ipc",
        libc::CLONE_NEWUSER => "user",
        libc::CLONE_NEWPID => "pid",
        CLONE_NEWTIME => "time",
        _ => "unknown",
    }
}

/// Opens a file that may be a namespace's.
pub(super) fn open_read(path: &Path) -> Result<OwnedFd> {
    // O_NONBLOCK: a fifo must not hold us up.
    open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK, Mode::empty()).map_err(|errno| {
        match errno as i32 {
            libc::ENOENT => Error::not_found("not found"),
            other => Error::os("", other),
        }
    })
}

/// The inode number of the namespace that an open file stands for.
///
/// # Errors
/// `Incompatible`: not a namespace file, or one of another type.
pub(super) fn inode(file: &OwnedFd, wanted: Type) -> Result<u32> {
    let magic_number = filesystem::of_fd(file)?;
    if magic_number != magic::NSFS {
        let found = filesystem::name(magic_number);
        let wanted = wanted.noun();
        return Err(Error::incompatible(format!(
            "found a file on {found}, expected a {wanted} namespace (nsfs)"
        )));
    }
    let found = namespace_type(file.as_fd())?;
    if found != wanted.flag() {
        let (found, wanted) = (name(found), name(wanted.flag()));
        return Err(Error::incompatible(format!(
            "found a namespace of type `{found}`, expected one of type `{wanted}`"
        )));
    }
    let inode = fstat(file).map_err(|errno| Error::os("fstat", errno as i32))?.st_ino;
    u32::try_from(inode).map_err(|_| Error::invalid(format!("namespace inode {inode} has more than 32 bits")))
}
