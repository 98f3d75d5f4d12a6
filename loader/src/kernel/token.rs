//! BPF tokens (6.9): a share of the privilege to use BPF, handed into a container.
//!
//! In: the root of a bpffs that was mounted with `delegate_cmds`, `delegate_maps`, `delegate_progs` and `delegate_attachs` for
//! a user namespace. Out: an fd that stands for what they name, for processes with `CAP_BPF` in that namespace.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use crate::error::{Error, Result, ResultExt as _};
use crate::sys::{SysError, bpf};

/// Makes a token of the bpffs at `place`.
///
/// # Errors
/// `NotFound` when nothing is delegated there; `NotSupported` before 6.9 and outside of user namespaces; `Permission`.
pub fn create(place: &Path) -> Result<OwnedFd> {
    let open = || -> Result<OwnedFd> {
        let directory = File::open(place).map_err(|error| Error::io("open", error))?;
        bpf::token_create(directory.as_fd()).map_err(|error| match error {
            SysError { errno: libc::ENOENT, .. } => Error::not_found(
                "nothing is delegated there (mount options delegate_cmds, delegate_maps, ...)",
            ),
            // Commands that the kernel does not know are invalid, too; a directory that is not the root of a bpffs as well.
            SysError { errno: libc::EINVAL, .. } => {
                Error::not_supported("BPF token for this place, which must be the root of a bpffs", "6.9")
            }
            SysError { errno: libc::EOPNOTSUPP, .. } => {
                Error::not_supported("BPF token outside of a user namespace; there privileges need none", "")
            }
            other => other.into(),
        })
    };
    open().with_context(|| format!("make a BPF token of `{}`", place.display()))
}
