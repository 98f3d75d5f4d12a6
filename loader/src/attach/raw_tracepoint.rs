//! Raw tracepoints: `raw_tp/NAME`. `BPF_RAW_TRACEPOINT_OPEN` by name (4.17); `ENOENT` when there is none.

use std::ffi::CString;
use std::os::fd::AsFd;

use super::{AttachOptions, Link};
use crate::error::{Error, Result};
use crate::program::Program;
use crate::sys::{SysError, bpf};

/// Attaches to the tracepoint `name`.
///
/// # Errors
/// `NotFound` when this kernel has no such tracepoint; `NotSupported` for a cookie before 6.10.
pub fn attach(program: &Program, name: &str, options: AttachOptions) -> Result<Link> {
    let c_name = CString::new(name).map_err(|_| Error::invalid("tracepoint name with a NUL byte"))?;
    match bpf::raw_tracepoint_open(Some(&c_name), program.as_fd(), options.cookie) {
        Ok(link) => Ok(Link::from_link(link)),
        Err(SysError { errno: libc::ENOENT, .. }) => {
            Err(Error::not_found(format!("this kernel has no raw tracepoint `{name}`")))
        }
        Err(SysError { errno: libc::EINVAL | libc::E2BIG, .. }) if options.cookie != 0 => {
            Err(Error::not_supported("cookie for raw tracepoints", "6.10"))
        }
        Err(error) => Err(error.into()),
    }
}
