//! What kind of file system an open file is on, by the magic number of statfs(2), and its name for messages.

use std::os::fd::AsFd;

use loader::sys::fs::fs_magic;
pub use loader::sys::uapi::magic;
use loader::{Error, Result};

/// The magic number of the file system that `fd` is on (`linux/magic.h`).
///
/// # Errors
/// fstatfs(2) failed.
pub fn of_fd(fd: impl AsFd) -> Result<u32> {
    fs_magic(fd).map_err(Error::from)
}

/// The usual name of a file system, or its magic number in hexadecimal.
pub fn name(magic_number: u32) -> String {
    let known = match magic_number {
        magic::BPF_FS => "bpf",
        magic::CGROUP2 => "cgroup2",
        magic::CGROUP => "cgroup (v1)",
        magic::NSFS => "nsfs",
        magic::TRACEFS => "tracefs",
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x794c_7630 => "overlay",
        0x0102_1994 => "tmpfs",
        0x6265_6572 => "sysfs",
        0x9fa0 => "proc",
        0x6462_6720 => "debugfs",
        0x6969 => "nfs",
        0x6573_5546 => "fuse",
        0x2fc1_2fc1 => "zfs",
        _ => return format!("file system {magic_number:#x}"),
    };
    known.to_owned()
}
