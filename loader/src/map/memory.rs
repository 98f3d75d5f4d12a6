//! The memory of a map in this process: arenas (6.9), and arrays made with `BPF_F_MMAPABLE` (5.5), as global variables are.
//!
//! In: such a [`Map`]. Out: its [`SharedMemory`], mapped when it is first asked for and then kept as long as the map. What is
//! stored there, programs see at once, and the other way round; no system call is made.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use super::{Map, map_flag, map_type};
use crate::error::{Error, Result, ResultExt as _};
use crate::kernel::cpu;
use crate::sys::SysError;
use crate::sys::shared::SharedMemory;

impl Map {
    /// The memory. Of an array these are the values, each at the next multiple of 8 bytes; of an arena all of its pages, which
    /// are at the address `map_extra` if that is not 0.
    ///
    /// # Errors
    /// `Incompatible` for a map without such memory; `Permission` for one that is frozen; `Exists` when something else of this
    /// process is at the address of an arena.
    pub fn memory(&self) -> Result<&SharedMemory> {
        if let Some(memory) = self.memory.get() {
            return Ok(memory);
        }
        let mapped = self.map_memory().with_context(|| format!("map `{}` into memory", self.info.name))?;
        // Somebody may have been faster; then this mapping goes, and theirs counts.
        Ok(self.memory.get_or_init(|| Arc::new(mapped)))
    }

    fn map_memory(&self) -> Result<SharedMemory> {
        let (info, page) = (&self.info, cpu::page_size() as usize);
        let entries = info.max_entries as usize;
        let (len, at) = match info.map_type {
            map_type::ARENA => (entries.checked_mul(page), info.map_extra),
            map_type::ARRAY if info.map_flags & map_flag::MMAPABLE != 0 => {
                ((info.value_size as usize).next_multiple_of(8).checked_mul(entries), 0)
            }
            _ => return Err(Error::incompatible("it is no arena, and no array made with BPF_F_MMAPABLE")),
        };
        let len = len.and_then(|len| len.checked_next_multiple_of(page));
        let (Some(len), Ok(at)) = (len, usize::try_from(at)) else {
            return Err(Error::incompatible("it does not fit into the memory of this process"));
        };
        match SharedMemory::map(self.fd.as_fd(), len, at) {
            Err(error @ SysError { errno: libc::EEXIST, .. }) => {
                Err(Error::from(error).context(format!("the address {at:#x} is in use")))
            }
            other => Ok(other?),
        }
    }
}
