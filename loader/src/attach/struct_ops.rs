//! Tables of functions that the kernel calls: `.struct_ops` (5.6) and `.struct_ops.link` (6.4).
//!
//! In: the map of a struct_ops and its value with the fds of programs in it. Out: a [`Link`]. Storing the value is what registers
//! it, unless the map was made for links. What the value looks like is found out in [`crate::load`].

use std::os::fd::{AsFd as _, OwnedFd};

use super::Link;
use crate::error::{Error, Result, ResultExt as _};
use crate::map::{Map, UpdateMode};
use crate::spec::map::map_flag;
use crate::sys::link;

/// The only key.
const KEY: [u8; 4] = [0; 4];

/// A struct_ops that is registered without a link; taken back when this is dropped.
#[derive(Debug)]
pub(super) struct Registered {
    map: Map,
}

impl Drop for Registered {
    fn drop(&mut self) {
        // It may be in use, and then goes with its last user.
        self.map.delete(&KEY).ok();
    }
}

/// Stores `value` and registers it.
///
/// # Errors
/// The kernel's: `Exists` when one of that name is registered, `Io` with `EINVAL` when a member is missing.
pub fn attach(map: &Map, value: &[u8]) -> Result<Link> {
    map.update(&KEY, value, UpdateMode::Any).context("store its members")?;
    if map.info().map_flags & map_flag::LINK != 0 {
        return Ok(Link::from_link(link::link_create_struct_ops(map.as_fd())?));
    }
    let fd: OwnedFd = map.as_fd().try_clone_to_owned().map_err(|error| Error::io("dup", error))?;
    let registered = Some(Registered { map: Map::from_fd(fd)? });
    Ok(Link { link: None, event: None, defined: None, registered, others: Vec::new() })
}
