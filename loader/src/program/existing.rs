//! Programs that somebody loaded before: found by a pin or by their id, to put other programs on their functions.
//!
//! In: a path on a bpffs or an id. Out: a [`Program`], of which only the type is known; and the ids of its functions.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use super::Program;
use crate::btf::{Btf, BtfData, Kind};
use crate::error::{Error, Result};
use crate::map::name_of;
use crate::pinned;
use crate::section::ProgramKind;
use crate::sys::{bpf, by_id};

impl Program {
    /// Opens a pinned program.
    ///
    /// # Errors
    /// `NotFound`; `Permission`; `Incompatible` when the path is not a pinned program.
    pub fn open_pinned(path: &Path) -> Result<Self> {
        Self::existing(pinned::open(path, 0, pinned::PROGRAM)?)
    }

    /// Opens the program with this id. Needs `CAP_SYS_ADMIN`.
    ///
    /// # Errors
    /// `NotFound`; `Permission`.
    pub fn open_id(id: u32) -> Result<Self> {
        Self::existing(by_id::prog_by_id(id)?)
    }

    fn existing(fd: OwnedFd) -> Result<Self> {
        let info = bpf::prog_info(fd.as_fd())?;
        let kind = ProgramKind { program_type: info.prog_type, ..ProgramKind::UNKNOWN };
        Ok(Self { fd, name: name_of(&info.name), kind, usdt: None })
    }

    /// BTF id of the function `name` of this program, in the program's own types.
    ///
    /// # Errors
    /// `NotFound` when the program was loaded without types, or has no such function.
    pub fn function_id(&self, name: &str) -> Result<u32> {
        let missing =
            || Error::not_found(format!("program `{}` has no function `{name}` with a type", self.name));
        let id = self.info()?.btf_id;
        if id == 0 {
            return Err(missing());
        }
        let object = by_id::btf_by_id(id)?;
        let btf = Btf::parse(BtfData::from(by_id::btf_bytes(object.as_fd())?))?;
        Ok(btf.find(name, Kind::Func)?.ok_or_else(missing)?.0)
    }
}
