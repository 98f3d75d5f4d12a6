//! Iterators: `iter/T` (5.8). A program that runs once for each thing of a sort, while a file is read.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd};

use super::Link;
use crate::error::{Error, Result};
use crate::map::Map;
use crate::program::Program;
use crate::sys::bpf::{self, fd_u32};
use crate::sys::{SysError, link};

/// What an iterator goes through.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Over<'a> {
    /// All that there is.
    Everything,
    /// The entries of a map (`iter/bpf_map_elem` and those of storages).
    Map(&'a Map),
    /// One thread, by its id (`iter/task*`, 6.1).
    Thread(u32),
    /// The threads of one process, by its id (`iter/task*`, 6.1).
    Process(u32),
    /// A cgroup, by a directory of the v2 hierarchy, and those around it (`iter/cgroup`, 6.1).
    Cgroup(BorrowedFd<'a>, CgroupOrder),
}

/// Which cgroups an iterator goes through, and how (`enum bpf_cgroup_iter_order`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CgroupOrder {
    /// This one alone.
    SelfOnly = 1,
    /// All below, each after the one it is in.
    DescendantsPre = 2,
    /// All below, each before the one it is in.
    DescendantsPost = 3,
    /// All above, up to the root.
    AncestorsUp = 4,
}

impl Over<'_> {
    /// A `union bpf_iter_link_info`: {map fd} or {thread, process, pidfd} or {order, cgroup fd, id in 64 bits}.
    fn info(self) -> [u32; 4] {
        match self {
            Over::Everything => [0; 4],
            Over::Map(map) => [fd_u32(map.as_fd()), 0, 0, 0],
            Over::Thread(id) => [id, 0, 0, 0],
            Over::Process(id) => [0, id, 0, 0],
            Over::Cgroup(directory, order) => [order as u32, fd_u32(directory), 0, 0],
        }
    }

    /// What a kernel lacks that does not know it.
    fn feature(self) -> Option<&'static str> {
        match self {
            Over::Everything | Over::Map(_) => None,
            Over::Thread(_) | Over::Process(_) => Some("iterator over the threads of one process"),
            Over::Cgroup(..) => Some("iterator over cgroups"),
        }
    }
}

/// Makes a link on everything there is; nothing runs before [`open`].
///
/// # Errors
/// As for [`attach_over`].
pub fn attach(program: &Program) -> Result<Link> {
    attach_over(program, Over::Everything)
}

/// As [`attach`], on a part. A map is kept as long as the link.
///
/// # Errors
/// `NotSupported` on kernels that do not know such a part. A kernel that knows, but not for this iterator, ignores it or
/// answers `EINVAL`; an iterator that needs a map answers `EBADF` without one.
pub fn attach_over(program: &Program, over: Over<'_>) -> Result<Link> {
    let create = |over: Over<'_>| link::link_create_iter(program.as_fd(), over.info());
    let made = match over {
        // A kernel that knows no threads takes the id of one for the fd of a map, which it does not want, and goes through
        // everything. Where processes are, it wants zeros.
        Over::Thread(id) => create(Over::Process(id)).and_then(|_| create(over)),
        _ => create(over),
    };
    match (made, over.feature()) {
        (Ok(link), _) => Ok(Link::from_link(link)),
        (Err(SysError { errno: libc::E2BIG, .. }), Some(feature)) => {
            Err(Error::not_supported(feature, "6.1"))
        }
        (Err(error), _) => Err(error.into()),
    }
}

/// A new run of the iterator behind `link`: what the program writes is what reading the file gives.
///
/// # Errors
/// `Limit` when there are too many files open.
pub fn open(link: BorrowedFd<'_>) -> Result<File> {
    Ok(File::from(bpf::iter_create(link)?))
}

/// All that one run writes, at most `limit` bytes. The kernel may ask to be read again (`EAGAIN`).
///
/// # Errors
/// Those of [`open`], and what the program's run ends with.
pub fn read_all(link: BorrowedFd<'_>, limit: usize) -> Result<Vec<u8>> {
    const RETRIES: usize = 1000;
    let mut file = open(link)?;
    let (mut out, mut buffer, mut retries) = (Vec::new(), vec![0; 1 << 16], 0);
    while out.len() < limit {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => out.extend_from_slice(buffer.get(..len).unwrap_or_default()),
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && retries < RETRIES => retries += 1,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("read", error)),
        }
    }
    out.truncate(limit);
    Ok(out)
}
