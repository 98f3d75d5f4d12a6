//! Pins of maps: names in a bpffs.
//!
//! In: a [`Map`] and a path. Out: a pin, made or replaced in one step, and the answer whether a map is like
//! another.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use super::{Map, MapConfig, c_path};
use crate::error::{Error, Result, ResultExt};
use crate::spec::map::{map_flag, map_type};
use crate::sys::bpf;
use std::os::fd::AsFd as _;

impl Map {
    /// Pins the map at `path`, which must not exist and must be on a bpffs.
    ///
    /// # Errors
    /// `Exists`; `NotFound` for the directory; `Permission`, also when that is not on a bpffs.
    pub fn pin(&self, path: &Path) -> Result<()> {
        bpf::obj_pin(self.fd.as_fd(), &c_path(path)?)?;
        Ok(())
    }

    /// As [`Map::pin`]; makes the directories above it (mode 0700) if they are missing.
    ///
    /// # Errors
    /// As for [`Map::pin`], and those of making directories.
    pub fn pin_with_parent(&self, path: &Path) -> Result<()> {
        if let Some(parent) = path.parent().filter(|parent| !parent.exists()) {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(parent);
            made.map_err(|error| Error::io("mkdir", error)).with_context(|| parent.display().to_string())?;
        }
        self.pin(path)
    }

    /// Pins the map at `path` in place of whatever is pinned there: at no moment is there no pin, and whoever opens it gets
    /// the old map or the new one.
    ///
    /// # Errors
    /// As for [`Map::pin`], but for `Exists`.
    pub fn repin(&self, path: &Path) -> Result<()> {
        let name = path.file_name().ok_or_else(|| Error::invalid("the path has no last part"))?;
        let mut temporary = OsString::from(".");
        temporary.push(name);
        // bpffs takes no dots in names, but for those of pins by the kernel itself.
        let temporary: String =
            temporary.to_string_lossy().replace('.', "_") + &format!("_new_{}", std::process::id());
        let temporary = path.with_file_name(temporary);
        self.pin(&temporary)?;
        fs::rename(&temporary, path).map_err(|error| {
            // The new name was ours alone; an error here would hide the one that matters.
            fs::remove_file(&temporary).ok();
            Error::io("rename", error)
        })
    }

    /// Whether the map is as `wanted` asks for: type, sizes, entries, flags and extra number.
    ///
    /// # Errors
    /// `Incompatible`, naming every field that differs with both values.
    pub fn check_like(&self, wanted: &MapConfig<'_>) -> Result<()> {
        let (found, mut flags) = (self.info(), self.info().map_flags);
        // The kernel adds this one itself.
        if matches!(found.map_type, map_type::DEVMAP | map_type::DEVMAP_HASH) {
            flags &= !map_flag::RDONLY_PROG | wanted.map_flags;
        }
        let fields = [
            ("type", u64::from(found.map_type), u64::from(wanted.map_type)),
            ("key size", u64::from(found.key_size), u64::from(wanted.key_size)),
            ("value size", u64::from(found.value_size), u64::from(wanted.value_size)),
            ("max entries", u64::from(found.max_entries), u64::from(wanted.max_entries)),
            ("flags", u64::from(flags), u64::from(wanted.map_flags)),
            ("map_extra", found.map_extra, wanted.map_extra),
        ];
        let differing: Vec<String> = fields
            .iter()
            .filter(|(_, found, wanted)| found != wanted)
            .map(|(name, found, wanted)| format!("{name} is {found}, expected {wanted}"))
            .collect();
        if differing.is_empty() {
            return Ok(());
        }
        Err(Error::incompatible(format!("the map is another one: {}", differing.join("; "))))
    }
}
