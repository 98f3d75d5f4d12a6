//! Who a task is, for a filter: its cgroup id and its mount namespace, and the way back from such a
//! number to something a person knows.
//!
//! In: paths, process ids, `/proc`. Out: numbers for set members, paths, processes. The sets that hold the
//! numbers are in [`crate::set`], container names in [`crate::container`].

use std::fs::File;
use std::io::Read;
use std::path::Path;

use loader::{Error, Result};

pub mod cgroup;
pub mod mntns;
pub mod mounts;
pub mod netns;
mod nsfile;
pub mod process;

/// Largest pid the kernel can give (`PID_MAX_LIMIT` on 64-bit); a larger number is never a pid.
pub const PID_MAX: u64 = 4 * 1024 * 1024;

/// Reads a file of /proc or cgroupfs, at most `limit` bytes of it.
fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| Error::io("", error))?;
    Ok(bytes)
}

/// `/proc/PID/REST`; pids are those of the pid namespace that `/proc` was mounted for.
fn proc_path(pid: u32, rest: &str) -> std::path::PathBuf {
    Path::new("/proc").join(pid.to_string()).join(rest)
}
