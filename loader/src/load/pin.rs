//! A map that is pinned already is used instead of a new one.
//!
//! In: where the map is pinned by name, and what it should be like. Out: the pinned map, if it is like that, or a new
//! one, pinned. Only `ENOENT` means "not pinned yet": anything else that goes wrong must not quietly make a
//! second map.

use std::path::Path;

use crate::error::{ErrorKind, Result, ResultExt};
use crate::map::{Access, Map, MapConfig};

/// Opens the map at `path`, or makes one with `create` and pins it there.
pub(super) fn open_or_create(
    path: &Path,
    wanted: &MapConfig<'_>,
    create: impl FnOnce() -> Result<Map>,
) -> Result<Map> {
    let context = || format!("pin `{}`", path.display());
    if let Some(map) = open(path, wanted).with_context(context)? {
        return Ok(map);
    }
    let map = create()?;
    match map.pin_with_parent(path) {
        // Somebody was faster; theirs is as good.
        Err(error) if error.kind() == ErrorKind::Exists => match open(path, wanted).with_context(context)? {
            Some(map) => Ok(map),
            None => Err(error).with_context(context),
        },
        other => other.map(|()| map).with_context(context),
    }
}

fn open(path: &Path, wanted: &MapConfig<'_>) -> Result<Option<Map>> {
    match Map::open_pinned(path, Access::ReadWrite) {
        Ok(map) => map.check_like(wanted).map(|()| Some(map)),
        Err(error) if error.errno() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}
