//! Maps that have no pin in reach: found by their ids, of which the kernel keeps a list.
//!
//! In: ids. Out: [`Map`]s, and the types that a map was made with. All of it needs CAP_SYS_ADMIN, whatever the
//! permissions of any pin.

use std::os::fd::AsFd;

use super::{Access, Map, map_flag};
use crate::btf::{Btf, BtfData};
use crate::error::Result;
use crate::sys::{SysError, bpf, by_id};

/// The ids of all maps, ascending.
///
/// # Errors
/// `Permission`.
pub fn ids() -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    let mut last = 0;
    loop {
        match by_id::map_next_id(last) {
            // Ascending by contract, which bounds the loop.
            Ok(id) if id > last => {
                ids.push(id);
                last = id;
            }
            Ok(_) | Err(SysError { errno: libc::ENOENT, .. }) => return Ok(ids),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The ids of the maps that the program with this id uses.
///
/// # Errors
/// `NotFound`; `Permission`.
pub fn ids_used_by(program: u32) -> Result<Vec<u32>> {
    let program = by_id::prog_by_id(program)?;
    Ok(by_id::prog_map_ids(program.as_fd())?)
}

impl Map {
    /// Opens the map with this id.
    ///
    /// # Errors
    /// `NotFound`; `Permission`.
    pub fn open_id(id: u32, access: Access) -> Result<Self> {
        let flags = match access {
            Access::ReadWrite => 0,
            Access::ReadOnly => map_flag::RDONLY,
        };
        Self::from_fd(by_id::map_by_id(id, flags)?)
    }

    /// The types of this map's keys and values, or `None` if it was made without.
    ///
    /// # Errors
    /// `Permission`; `InvalidObject`.
    pub fn types(&self) -> Result<Option<Btf>> {
        if self.info.btf_id == 0 {
            return Ok(None);
        }
        let object = by_id::btf_by_id(self.info.btf_id)?;
        let bytes = by_id::btf_bytes(object.as_fd())?;
        Btf::parse(BtfData::from(bytes)).map(Some)
    }

    /// Takes the next value out of a queue or stack; `None` when it is empty.
    ///
    /// # Errors
    /// `Io` with `EINVAL` for a map with keys.
    pub fn pop(&self) -> Result<Option<Vec<u8>>> {
        let mut value = vec![0; self.shape.value_size];
        match bpf::map_pop(self.raw(), &mut value) {
            Ok(()) => Ok(Some(value)),
            Err(SysError { errno: libc::ENOENT, .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
