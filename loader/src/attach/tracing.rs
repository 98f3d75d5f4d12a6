//! Programs with a BTF target: `tp_btf`, `fentry`, `fexit`, `fmod_ret`, `lsm`, `freplace`.
//!
//! The target was resolved to a BTF id at load; attaching names nothing any more. `BPF_LINK_CREATE` takes
//! `tp_btf` since 5.19 or so; kernels before that answer `EINVAL`, and know `BPF_RAW_TRACEPOINT_OPEN` with
//! no name for the same purpose (5.5).

use std::os::fd::AsFd;

use super::{AttachOptions, Link};
use crate::error::{Error, Result};
use crate::program::Program;
use crate::sys::{SysError, bpf, link};

/// Attaches a program that was loaded with a BTF target.
///
/// # Errors
/// `NotSupported` for a cookie before 5.19; `Limit` when the function has all the programs that it can have; `Io` with
/// `EBUSY` when something else is on it.
pub fn attach(program: &Program, options: AttachOptions) -> Result<Link> {
    let attach_type = program.kind().attach_type;
    let link = match link::link_create_tracing(program.as_fd(), attach_type, options.cookie) {
        Err(SysError { errno: libc::EINVAL, .. }) if options.cookie != 0 => {
            return Err(Error::not_supported("cookie for tracing programs", "5.19"));
        }
        Err(SysError { errno: libc::EINVAL, .. }) => bpf::raw_tracepoint_open(None, program.as_fd(), 0)?,
        // BPF_MAX_TRAMP_LINKS: 38 on most architectures.
        Err(error @ SysError { errno: libc::E2BIG, .. }) => {
            let why = "there are as many programs on the function as the kernel allows";
            return Err(Error::from(error).context(why));
        }
        Err(error @ SysError { errno: libc::EBUSY, .. }) => {
            let why = "the function is in the hands of something else, such as live patching, or is replaced already";
            return Err(Error::from(error).context(why));
        }
        other => other?,
    };
    Ok(Link::from_link(link))
}
