//! Mount namespaces: the inode number that sets hold, and the never-reused id that guards it.
//!
//! The inode number of `/proc/PID/ns/mnt` is 32 bits and goes to the next namespace as soon as this one
//! ends. `NS_GET_MNTNS_ID` (6.11) gives a 64-bit id that is never given twice; its low half is stored as
//! the value of the member, and a tracer compares it.
//!
//! In: pids, namespace files, inode numbers. Out: [`MountNamespace`].

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use loader::sys::fs::{mntns_id, mntns_neighbour};
use loader::{Error, Result, ResultExt};
use nix::sys::stat::fstat;

use super::nsfile::{self, Type, open_read};
use super::proc_path;
use super::process::{self, ByMountNamespace};
use crate::filesystem;
use crate::set::{Member, MntnsMember};
use crate::text;

/// Smallest inode number that can be a namespace's: 0xF0000000 is the first dynamic number of procfs, and the
/// initial namespaces have fixed numbers right below it (the mount namespace 0xEFFFFFF8, since 6.18).
pub const FIRST_INODE: u64 = 0xefff_fff0;

/// The magic number of procfs (`linux/magic.h`).
const PROCFS: u32 = 0x9fa0;

/// No host has as many; the kernel's own limit is in `user.max_mnt_namespaces`.
const NAMESPACES_LIMIT: usize = 1 << 20;

/// A mount namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountNamespace {
    /// The inode number of its nsfs file, as in `mnt:[4026531832]`.
    pub inode: u32,
    /// The id that is never given twice; `None` where the kernel has none (before 6.11), or where no process
    /// in the namespace could be asked.
    pub unique_id: Option<u64>,
}

impl MountNamespace {
    /// What a set stores beside the inode number: the low 32 bits of the unique id; 0, which means
    /// unchecked, if that is unknown (or its low half happens to be 0).
    pub fn member_value(&self) -> u32 {
        self.unique_id.map_or(0, |id| u32::try_from(id & u64::from(u32::MAX)).unwrap_or(0))
    }

    /// The member of a set that stands for it.
    pub fn member(&self) -> Member {
        Member::Mntns(MntnsMember { inode: self.inode.into(), check: self.member_value() })
    }
}

/// The mount namespace of this process.
///
/// # Errors
/// `/proc` is not mounted.
pub fn own() -> Result<MountNamespace> {
    of_file(Path::new("/proc/self/ns/mnt"))
}

/// The mount namespace that a process is in.
///
/// # Errors
/// `NotFound`: no such process, or it is exiting. `Permission`: looking at another user's process needs
/// CAP_SYS_PTRACE.
pub fn of_process(pid: u32) -> Result<MountNamespace> {
    match open_link(pid).and_then(|file| of_fd(&file)) {
        Err(_) if !process::exists(pid) => Err(Error::not_found(format!("no process {pid}"))),
        Err(error) if error.kind() == loader::ErrorKind::NotFound => {
            Err(Error::not_found(format!("process {pid} is exiting and has no mount namespace any more")))
        }
        result => result.with_context(|| format!("mount namespace of process {pid}")),
    }
}

/// As [`of_process`], with an open file that keeps the namespace, and so its inode number, from going away.
///
/// # Errors
/// As [`of_process`].
pub fn open_of_process(pid: u32) -> Result<(MountNamespace, OwnedFd)> {
    let file = open_link(pid)?;
    Ok((of_fd(&file)?, file))
}

/// On 5.10.262 the link of a process that may not be looked at opens as itself, a file of procfs, instead of failing.
fn open_link(pid: u32) -> Result<OwnedFd> {
    let file = open_read(&proc_path(pid, "ns/mnt"))?;
    match filesystem::of_fd(&file)? {
        PROCFS => Err(Error::os("", libc::EACCES)),
        _ => Ok(file),
    }
}

/// The mount namespace that a namespace file stands for: a `/proc/PID/ns/mnt`, or a bind mount of one.
///
/// # Errors
/// `NotFound`; `Incompatible`: not a namespace file, or one of another type; `Permission`.
pub fn of_file(path: &Path) -> Result<MountNamespace> {
    open_read(path)
        .and_then(|file| of_fd(&file))
        .with_context(|| format!("namespace file `{}`", text::path(path)))
}

fn of_fd(file: &OwnedFd) -> Result<MountNamespace> {
    let inode = nsfile::inode(file, Type::Mount)?;
    // Kernels before 6.11 have no such id.
    Ok(MountNamespace { inode, unique_id: mntns_id(file.as_fd()).ok() })
}

/// Every mount namespace of the host, also those without a process, as inode number -> never-reused id. `None`
/// where the kernel cannot list them (before 6.12), or not to this process (CAP_SYS_ADMIN).
pub fn every() -> Option<HashMap<u32, u64>> {
    let own = open_read(Path::new("/proc/self/ns/mnt")).ok()?;
    let mut found = HashMap::new();
    note(&own, &mut found)?;
    for after in [true, false] {
        let mut last = own.try_clone().ok()?;
        for _ in 0..NAMESPACES_LIMIT {
            match mntns_neighbour(last.as_fd(), after) {
                Ok(next) => last = next,
                Err(error) if error.errno == libc::ENOENT => break,
                Err(_) => return None,
            }
            note(&last, &mut found)?;
        }
    }
    Some(found)
}

fn note(namespace: &OwnedFd, found: &mut HashMap<u32, u64>) -> Option<()> {
    let inode = u32::try_from(fstat(namespace).ok()?.st_ino).ok()?;
    found.insert(inode, mntns_id(namespace.as_fd()).ok()?);
    Some(())
}

/// The namespace with this inode number: its unique id is asked of a process in it. Without such a process
/// (a bind mount or an open file may keep it alive too) the id stays unknown.
pub fn of_inode(inode: u32, processes: &ByMountNamespace) -> MountNamespace {
    processes
        .pids(inode)
        .iter()
        .filter_map(|&pid| of_process(pid).ok())
        .find(|found| found.inode == inode)
        .unwrap_or(MountNamespace { inode, unique_id: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_namespace_is_the_same_by_every_way() {
        let own = own().unwrap();
        assert_eq!(of_process(std::process::id()).unwrap(), own);
        assert_eq!(process::mntns_inode(std::process::id()), Some(own.inode));
        assert_eq!(of_inode(own.inode, &ByMountNamespace::scan()), own);
        assert!(u64::from(own.inode) >= FIRST_INODE);
    }

    #[test]
    fn the_own_namespace_is_among_all_of_them() {
        let own = own().unwrap();
        if let (Some(every), Some(id)) = (every(), own.unique_id) {
            assert_eq!(every.get(&own.inode), Some(&id));
        }
    }

    #[test]
    fn a_namespace_of_another_type_is_refused() {
        let error = of_file(Path::new("/proc/self/ns/net")).unwrap_err();
        assert_eq!(error.kind(), loader::ErrorKind::Incompatible);
        assert!(error.to_string().contains("`net`"), "{error}");
    }

    #[test]
    fn an_ordinary_file_is_refused() {
        let error = of_file(Path::new("/etc/passwd")).unwrap_err();
        assert_eq!(error.kind(), loader::ErrorKind::Incompatible);
        assert_eq!(of_file(Path::new("/no/such")).unwrap_err().kind(), loader::ErrorKind::NotFound);
    }

    #[test]
    fn a_unique_id_whose_low_half_is_zero_is_stored_as_unchecked() {
        let with = |unique_id| MountNamespace { inode: 1, unique_id }.member_value();
        assert_eq!(with(Some(0x5_0000_0000)), 0);
        assert_eq!(with(Some(0x5_0000_1007)), 0x1007);
        assert_eq!(with(None), 0);
    }
}
