//! Types of kernel modules.
//!
//! In: `/sys/kernel/btf` (5.11), a file for each module, readable by everybody. Out: split BTF on the kernel's own. Programs
//! that refer to a module's types need the fd of its BTF object as well, which takes `CAP_SYS_ADMIN`: [`open_object`].

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::btf::Btf;
use crate::error::{Error, Result, ResultExt};
use crate::sys::{SysError, by_id};

const PLACE: &str = "/sys/kernel/btf";

/// No kernel has more modules loaded.
const MAX_MODULES: usize = 4096;

/// A module with types.
#[derive(Clone, Debug)]
pub struct Module {
    /// The module's name, with `_` for `-`.
    pub name: String,
    /// Its types, on top of the kernel's.
    pub btf: Btf,
}

/// All loaded modules that have types, by name; `base` is the kernel's own BTF. One that cannot be read (it may
/// be going) is left out.
pub fn all(base: &Btf) -> Vec<Module> {
    names().into_iter().filter_map(|name| Some(Module { btf: open(&name, base).ok()?, name })).collect()
}

fn names() -> Vec<String> {
    let entries = fs::read_dir(PLACE).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name != "vmlinux").take(MAX_MODULES).collect();
    names.sort();
    names
}

/// The types of one loaded module, on top of those of `base`.
///
/// # Errors
/// `NotFound` when no such module is loaded, or it has no types.
pub fn open(name: &str, base: &Btf) -> Result<Btf> {
    let data = super::btf::read_place(&Path::new(PLACE).join(name))?;
    Btf::parse_split(data, base)
}

/// The BTF object of module `name`, for instructions and attach targets that refer to its types.
///
/// # Errors
/// `NotFound` when no such module is loaded (or it has no types); `Permission`.
pub fn open_object(name: &str) -> Result<OwnedFd> {
    let mut id = 0;
    // Objects come and go while their ids are walked, so the bound is generous.
    for _ in 0..1 << 20 {
        id = match by_id::btf_next_id(id) {
            Ok(next) => next,
            Err(SysError { errno: libc::ENOENT, .. }) => break,
            Err(error) => return Err(error.into()),
        };
        let fd = match by_id::btf_by_id(id) {
            Ok(fd) => fd,
            Err(SysError { errno: libc::ENOENT, .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let (info, found) =
            by_id::btf_info_name(std::os::fd::AsFd::as_fd(&fd)).context("ask for its name")?;
        if info.kernel_btf != 0 && found == name {
            return Ok(fd);
        }
    }
    Err(Error::not_found(format!("no kernel module `{name}` with types is loaded")))
}
