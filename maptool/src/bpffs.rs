//! The place of a pin: is its directory on bpffs, and may one be mounted there?
//!
//! In: the path of a pin that exists or shall exist. Out: a verdict. Nothing is ever mounted over a directory
//! that has files in it, nor anywhere but on the usual mount point.

use std::io;
use std::path::{Path, PathBuf};

use loader::sys::fs::fs_magic_of_path;
use loader::sys::uapi::magic;
use loader::{Error, Result, ResultExt};
use nix::mount::{MsFlags, mount};

use crate::filesystem;
use crate::text;

/// Where every tool looks for pins.
pub const MOUNT_POINT: &str = "/sys/fs/bpf";

/// What lies at a path where a set is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Nothing.
    Missing,
    /// A file on bpffs: some pinned object.
    Pinned,
    /// A directory.
    Directory,
    /// A file that is not on bpffs, but on the named file system.
    Elsewhere(String),
}

/// Looks at `path`, following symbolic links.
///
/// # Errors
/// `Permission`, or another failure of stat(2).
pub fn look(path: &Path) -> Result<Pin> {
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if is_missing(&error) => return Ok(Pin::Missing),
        Err(error) => return Err(Error::io("", error)),
    };
    if meta.is_dir() {
        return Ok(Pin::Directory);
    }
    match fs_magic_of_path(path).map_err(Error::from)? {
        magic::BPF_FS => Ok(Pin::Pinned),
        other => Ok(Pin::Elsewhere(filesystem::name(other))),
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether a new pin can be made at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its directory is on bpffs.
    Ready,
    /// Its directory is [`MOUNT_POINT`], empty, and without a bpffs: one may be mounted.
    Mountable,
    /// Its directory does not exist.
    NoDirectory(PathBuf),
    /// Its directory is on another file system.
    NotBpffs {
        /// The directory.
        directory: PathBuf,
        /// The name of its file system.
        found: String,
    },
}

/// Looks at the directory that a pin at `path` would be in.
///
/// # Errors
/// `Permission`, or another failure of stat(2).
pub fn place_of(path: &Path) -> Result<Place> {
    let directory = directory_of(path);
    match std::fs::metadata(&directory) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => return Ok(Place::NoDirectory(directory)),
        Err(error) if is_missing(&error) => return Ok(Place::NoDirectory(directory)),
        Err(error) => {
            return Err(Error::io("", error).context(format!("directory `{}`", text::path(&directory))));
        }
    }
    let found = fs_magic_of_path(&directory).map_err(Error::from)?;
    if found == magic::BPF_FS {
        return Ok(Place::Ready);
    }
    let is_usual = directory.canonicalize().is_ok_and(|real| real == Path::new(MOUNT_POINT));
    if is_usual && std::fs::read_dir(&directory).is_ok_and(|mut entries| entries.next().is_none()) {
        return Ok(Place::Mountable);
    }
    Ok(Place::NotBpffs { directory, found: filesystem::name(found) })
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Mounts a bpffs that only root can enter on [`MOUNT_POINT`], as systemd does. Call it only for
/// [`Place::Mountable`].
///
/// # Errors
/// `Permission`: mounting needs CAP_SYS_ADMIN.
pub fn mount_usual() -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("bpf"), MOUNT_POINT, Some("bpf"), flags, Some("mode=0700"))
        .map_err(|errno| Error::os("mount", errno as i32))
        .with_context(|| format!("mount bpffs on `{MOUNT_POINT}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_places_are_told_apart() {
        assert_eq!(look(Path::new("/no/such")).unwrap(), Pin::Missing);
        assert_eq!(look(Path::new("/etc/passwd/x")).unwrap(), Pin::Missing);
        assert_eq!(look(Path::new("/etc")).unwrap(), Pin::Directory);
        assert!(matches!(look(Path::new("/etc/passwd")).unwrap(), Pin::Elsewhere(_)));
        assert!(matches!(place_of(Path::new("/etc/set")).unwrap(), Place::NotBpffs { .. }));
        assert!(matches!(place_of(Path::new("/no/such/set")).unwrap(), Place::NoDirectory(_)));
    }

    #[test]
    fn a_bare_name_lies_in_the_working_directory() {
        assert_eq!(directory_of(Path::new("set")), Path::new("."));
    }
}
