//! Many kernel functions at once: `kprobe.multi/GLOB` (5.18), `kprobe.session/GLOB` (6.10). Needs `CONFIG_FPROBE`.
//!
//! In: a program and a name or pattern. Out: one link. A pattern is matched against tracefs' list of functions that can
//! be traced; where that cannot be read, against all functions of the kernel.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::os::fd::AsFd as _;

use super::{AttachOptions, Link, glob};
use crate::error::{ENOTSUPP, Error, Result};
use crate::kernel::kallsyms;
use crate::kernel::tracefs::TraceFs;
use crate::program::Program;
use crate::sys::{SysError, link, uapi};

/// Attaches to all functions that match `pattern`.
///
/// # Errors
/// `NotFound` when none matches; `NotSupported` without fprobe.
pub fn attach(program: &Program, pattern: &str, at_return: bool, options: AttachOptions) -> Result<Link> {
    let names = if glob::is_pattern(pattern) { matching(pattern)? } else { vec![pattern.to_owned()] };
    if names.is_empty() {
        return Err(Error::not_found(format!("this kernel has no function `{pattern}` that can be traced")));
    }
    let names: Vec<CString> = names.into_iter().filter_map(|name| CString::new(name).ok()).collect();
    let names: Vec<&CStr> = names.iter().map(CString::as_c_str).collect();
    let flags = if at_return { uapi::F_KPROBE_MULTI_RETURN } else { 0 };
    let attach_type = program.kind().attach_type;
    match link::link_create_kprobe_multi(program.as_fd(), attach_type, &names, flags, options.cookie) {
        Ok(link) => Ok(Link::from_link(link)),
        Err(SysError { errno: libc::ESRCH | libc::ENOENT, .. }) => {
            Err(Error::not_found(format!("this kernel has no function `{pattern}` that can be traced")))
        }
        Err(SysError { errno: libc::EOPNOTSUPP | ENOTSUPP, .. }) => Err(not_supported()),
        Err(SysError { errno: libc::EINVAL, .. })
            if !link::has_kprobe_multi(program.as_fd(), attach_type) =>
        {
            Err(not_supported())
        }
        Err(error) => Err(error.into()),
    }
}

fn not_supported() -> Error {
    Error::not_supported("probes on many functions (CONFIG_FPROBE)", "5.18")
}

fn matching(pattern: &str) -> Result<Vec<String>> {
    let names = match traceable(pattern) {
        Ok(names) => names,
        Err(_) => kallsyms::functions(|name| glob::matches(pattern, name))?,
    };
    Ok(names.into_iter().collect())
}

/// The functions that tracefs says can be traced and that match.
pub(super) fn traceable(pattern: &str) -> Result<BTreeSet<String>> {
    let text = TraceFs::open()?.traceable_functions()?;
    let names = text.lines().filter_map(|line| line.split_whitespace().next());
    // Places of functions that the linker dropped are listed under a name that no symbol has.
    let real = names.filter(|name| !name.starts_with("__ftrace_invalid_address__"));
    Ok(real.filter(|name| glob::matches(pattern, name)).map(str::to_owned).collect())
}
