//! Files: handles, namespace ids, detached mounts, read-only mappings.
//!
//! What crosses: a `struct file_handle` that the kernel reads or fills, numbers that it fills, path and option
//! strings that it reads, and pages of a file that are mapped for reading.

#![expect(unsafe_code, reason = "system calls that nix does not wrap, and mmap")]

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sys::statfs::{Statfs, fstatfs, statfs};

use super::uapi::{NS_GET_MNTNS_ID, NS_GET_NSTYPE, NS_MNT_GET_NEXT, NS_MNT_GET_PREV};
use super::{SysError, SysResult, check, own_fd};

/// Largest handle that the kernel makes (`MAX_HANDLE_SZ`), in bytes.
const MAX_HANDLE: usize = 128;

/// `struct file_handle` with room for any handle. Its header is two 32-bit numbers, so the payload needs no
/// more than 4-byte alignment.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawHandle {
    handle_bytes: u32,
    handle_type: i32,
    payload: [u8; MAX_HANDLE],
}

/// A file handle: what `name_to_handle_at(2)` says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHandle {
    /// Meaning of the payload, such as [`super::uapi::FILEID_KERNFS`].
    pub handle_type: i32,
    /// The payload, at most 128 bytes; for kernfs a `u64` in host byte order.
    pub payload: Vec<u8>,
}

/// The handle of the file that `fd` refers to (an `O_PATH` fd serves). `name_to_handle_at(2)` with
/// `AT_EMPTY_PATH`, so that what was checked on the fd and what is named here are one object.
pub fn file_handle(fd: BorrowedFd<'_>) -> SysResult<FileHandle> {
    const CALL: &str = "name_to_handle_at";
    let mut handle = RawHandle { handle_bytes: 128, handle_type: 0, payload: [0; MAX_HANDLE] };
    let mut mount_id: libc::c_int = 0;
    // SAFETY: the kernel reads the empty path; it writes at most 8 + handle_bytes bytes at `handle`, which is
    // that long and made from `&mut`, and one int at `mount_id`, likewise.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            fd.as_raw_fd(),
            c"".as_ptr(),
            std::ptr::from_mut(&mut handle),
            std::ptr::from_mut(&mut mount_id),
            libc::AT_EMPTY_PATH,
        )
    };
    check(CALL, ret)?;
    let len = handle.handle_bytes as usize;
    let payload = handle.payload.get(..len).ok_or(SysError { call: CALL, errno: libc::EOVERFLOW })?;
    Ok(FileHandle { handle_type: handle.handle_type, payload: payload.to_vec() })
}

/// Opens, as `O_PATH`, the file that `handle` names in the file system of `mount` (any real fd in it).
/// Needs `CAP_DAC_READ_SEARCH`; `ESTALE` when there is no such file any more.
pub fn open_by_handle(mount: BorrowedFd<'_>, handle: &FileHandle) -> SysResult<OwnedFd> {
    const CALL: &str = "open_by_handle_at";
    let too_long = SysError { call: CALL, errno: libc::EOVERFLOW };
    let mut raw = RawHandle {
        handle_bytes: u32::try_from(handle.payload.len()).map_err(|_| too_long)?,
        handle_type: handle.handle_type,
        payload: [0; MAX_HANDLE],
    };
    raw.payload.get_mut(..handle.payload.len()).ok_or(too_long)?.copy_from_slice(&handle.payload);
    // SAFETY: the kernel only reads 8 + handle_bytes bytes at `raw`, whose payload is at least that long.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            mount.as_raw_fd(),
            std::ptr::from_ref(&raw),
            libc::O_PATH | libc::O_CLOEXEC,
        )
    };
    own_fd(CALL, check(CALL, ret)?)
}

/// The type of the namespace that `fd` (an open `/proc/PID/ns/...`, or a bind mount of one) refers to: the flag of clone(2)
/// that makes one, such as `CLONE_NEWNET`. `ENOTTY` for other files.
pub fn namespace_type(fd: BorrowedFd<'_>) -> SysResult<i32> {
    // SAFETY: NS_GET_NSTYPE takes no argument; the kernel neither reads nor writes memory of ours.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE as _) };
    check("ioctl(NS_GET_NSTYPE)", libc::c_long::from(ret))?;
    Ok(ret)
}

/// The 64-bit id of the mount namespace that `fd` (an open `/proc/PID/ns/mnt`) refers to. Unlike the inode
/// number it is never reused. Since 6.11; `ENOTTY` before.
pub fn mntns_id(fd: BorrowedFd<'_>) -> SysResult<u64> {
    let mut id: u64 = 0;
    // SAFETY: NS_GET_MNTNS_ID makes the kernel write one u64 at `id`, made from `&mut`.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_MNTNS_ID as _, std::ptr::from_mut(&mut id)) };
    check("ioctl(NS_GET_MNTNS_ID)", libc::c_long::from(ret))?;
    Ok(id)
}

/// The mount namespace that comes after (or before) that of `fd` in the order of their never-reused ids; every
/// one is found, also those that only an fd or a mount keeps. Since 6.12, needs `CAP_SYS_ADMIN`; `ENOENT` at the
/// end.
pub fn mntns_neighbour(fd: BorrowedFd<'_>, after: bool) -> SysResult<OwnedFd> {
    const CALL: &str = "ioctl(NS_MNT_GET_NEXT)";
    let request = if after { NS_MNT_GET_NEXT } else { NS_MNT_GET_PREV };
    // `struct mnt_ns_info`: u32 size, u32 number of mounts, u64 id.
    let mut info = [0_u64; 2];
    // SAFETY: both requests make the kernel write at most the 16 bytes that they encode at `info`, which is that
    // long and made from `&mut`. The answer is a new fd.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, info.as_mut_ptr()) };
    own_fd(CALL, check(CALL, libc::c_long::from(ret))?)
}

/// A group that is told of changes in file systems; `flags` of [`super::uapi::fanotify`]. Reading from it gives
/// events. Needs `CAP_SYS_ADMIN` for marks of file systems.
pub fn fanotify_init(flags: u32) -> SysResult<OwnedFd> {
    const CALL: &str = "fanotify_init";
    // SAFETY: no pointers.
    let ret = unsafe { libc::syscall(libc::SYS_fanotify_init, flags, libc::O_RDONLY | libc::O_CLOEXEC) };
    own_fd(CALL, check(CALL, ret)?)
}

/// Adds to a group what it wants to hear (`mask`) of the object that `target` refers to, or of its whole file
/// system, as `flags` say.
pub fn fanotify_mark(group: BorrowedFd<'_>, flags: u32, mask: u64, target: BorrowedFd<'_>) -> SysResult<()> {
    // SAFETY: libc splits the 64-bit mask where the ABI wants that; the path is null, which stands for `target`
    // itself, so nothing is read or written.
    let ret =
        unsafe { libc::fanotify_mark(group.as_raw_fd(), flags, mask, target.as_raw_fd(), std::ptr::null()) };
    check("fanotify_mark", libc::c_long::from(ret)).map(drop)
}

/// The magic number of the file system that `fd` is on; see [`super::uapi::magic`].
pub fn fs_magic(fd: impl AsFd) -> SysResult<u32> {
    match fstatfs(fd) {
        Ok(stat) => Ok(magic_of(&stat)),
        Err(errno) => Err(SysError { call: "fstatfs", errno: errno as i32 }),
    }
}

/// As [`fs_magic`], by path; follows symbolic links.
pub fn fs_magic_of_path(path: &Path) -> SysResult<u32> {
    match statfs(path) {
        Ok(stat) => Ok(magic_of(&stat)),
        Err(errno) => Err(SysError { call: "statfs", errno: errno as i32 }),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "every magic number has 32 bits")]
fn magic_of(stat: &Statfs) -> u32 {
    // 64 bits wide and signed on most architectures, 32 bits on s390x.
    stat.filesystem_type().0 as u32
}

/// Mounts a file system of type `fs_type` that appears nowhere: the returned directory fd is the only way
/// in, and closing it unmounts. Nobody's mount table changes. `fsopen(2)` and friends, since 5.2.
pub fn mount_detached(fs_type: &CStr) -> SysResult<OwnedFd> {
    const FSOPEN_CLOEXEC: libc::c_uint = 1;
    const FSMOUNT_CLOEXEC: libc::c_uint = 1;
    const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
    // SAFETY: the kernel reads the type name up to its NUL.
    let ret = unsafe { libc::syscall(libc::SYS_fsopen, fs_type.as_ptr(), FSOPEN_CLOEXEC) };
    let context = own_fd("fsopen", check("fsopen", ret)?)?;
    let null = std::ptr::null::<libc::c_char>();
    // SAFETY: FSCONFIG_CMD_CREATE takes no key and no value.
    let ret =
        unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, null, null, 0) };
    check("fsconfig", ret)?;
    // SAFETY: no pointers.
    let ret = unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, 0) };
    own_fd("fsmount", check("fsmount", ret)?)
}

/// Maps a whole file for reading, privately: the kernel refuses a shared mapping of its BTF. `ENODEV` for files that cannot be
/// mapped, such as the kernel's BTF in sysfs before 6.16.
///
/// Only for files that nobody truncates or rewrites in place while they are mapped: the kernel's BTF (which is
/// constant) is the intended one.
pub fn map_file(file: &File) -> SysResult<memmap2::Mmap> {
    // MAP_PRIVATE, which `Mmap::map` is not: the kernel refuses a shared mapping of its BTF with EACCES
    // (btf_sysfs_vmlinux_mmap, Linux 6.16).
    // SAFETY: the mapping is private and read-only; the caller's contract is that the file does not change.
    unsafe { memmap2::MmapOptions::new().map_copy_read_only(file) }
        .map_err(|error| SysError { call: "mmap", errno: error.raw_os_error().unwrap_or(0) })
}
