//! What is behind a name in a bpffs.
//!
//! In: a path. Out: the fd of the map or program that is pinned there, or an error that says what it is instead.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;

use crate::error::{Error, Result};
use crate::sys::{self, SysError, bpf, uapi};

pub(crate) const MAP: &str = "map";
pub(crate) const PROGRAM: &str = "program";

/// Opens what is pinned at `path`, which must be a `wanted`: [`MAP`] or [`PROGRAM`].
///
/// # Errors
/// `NotFound`; `Permission`; `Incompatible` when the path is no such pin (a directory, an ordinary file, a pin of another
/// kind).
pub(crate) fn open(path: &Path, flags: u32, wanted: &'static str) -> Result<OwnedFd> {
    let c_path = crate::map::c_path(path)?;
    let fd = bpf::obj_get(&c_path, flags).map_err(|error| explain(path, error, wanted))?;
    // Queues and stacks, which have no keys, answer that question as anything but a map does.
    let is_wanted = (wanted == MAP && bpf::is_map(fd.as_fd())) || kind(&fd) == wanted;
    if !is_wanted {
        return Err(Error::incompatible(format!("this is a pinned {}, not a {wanted}", kind(&fd))));
    }
    Ok(fd)
}

/// Says in words what the kernel means when `BPF_OBJ_GET` fails on something that is no pin: it answers
/// `EACCES` for anything that is not a regular bpffs inode, whoever asks.
fn explain(path: &Path, error: SysError, wanted: &str) -> Error {
    let Ok(meta) = fs::metadata(path) else { return error.into() };
    if meta.is_dir() {
        return Error::incompatible(format!("this is a directory, not a pinned {wanted}"));
    }
    let on_bpffs = sys::fs::fs_magic_of_path(path).is_ok_and(|magic| magic == uapi::magic::BPF_FS);
    if !on_bpffs {
        return Error::incompatible(format!("this is an ordinary file, not a pinned {wanted}"));
    }
    error.into()
}

/// `program`, `link`...: what an fd of an unknown BPF object is, as far as /proc says.
fn kind(fd: &OwnedFd) -> &'static str {
    let link = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap_or_default();
    let link = link.to_string_lossy();
    if link.contains("bpf-prog") {
        PROGRAM
    } else if link.contains("bpf-map") {
        MAP
    } else if link.contains("bpf_link") || link.contains("bpf-link") {
        "link"
    } else {
        "BPF object of another kind"
    }
}
