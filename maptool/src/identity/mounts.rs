//! `/proc/thread-self/mountinfo`: where file systems of a type are mounted, as this process sees it.
//!
//! In: the text (proc_pid_mountinfo(5)). Out: the few fields used here, octal escapes undone.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use loader::{Result, ResultExt};

use super::read_bounded;

/// Container hosts have thousands of mounts of some 200 bytes each; past this the rest is not read.
const MOUNTINFO_LIMIT: u64 = 32 << 20;

/// One line of mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The directory of the file system that is mounted; for a cgroup file system it is seen from this
    /// process's cgroup namespace and may begin with `/..`.
    pub root: PathBuf,
    /// Where it is mounted, relative to this process's root directory.
    pub mount_point: PathBuf,
    /// The file system type, such as `cgroup2`.
    pub fs_type: String,
    /// Options of the file system; for v1 cgroups these name the controllers.
    pub super_options: String,
}

/// The mounts of this process's mount namespace, in mount order.
///
/// # Errors
/// `/proc` is not mounted, or is not this kernel's.
pub fn own() -> Result<Vec<Mount>> {
    let path = Path::new("/proc/thread-self/mountinfo");
    read_bounded(path, MOUNTINFO_LIMIT).context("read `/proc/thread-self/mountinfo`").map(|text| parse(&text))
}

/// Parses mountinfo; lines of another form are passed over.
pub fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`; the number of optional
/// fields before the `-` varies.
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let root = fields.nth(3)?;
    let mount_point = fields.next()?;
    fields.find(|field| *field == b"-")?;
    let fs_type = fields.next()?;
    let super_options = fields.nth(1).unwrap_or_default();
    Some(Mount {
        root: unescape(root),
        mount_point: unescape(mount_point),
        fs_type: String::from_utf8_lossy(fs_type).into_owned(),
        super_options: String::from_utf8_lossy(super_options).into_owned(),
    })
}

/// Undoes the kernel's `\ooo` for blank, tab, newline and backslash.
fn unescape(field: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                out.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                rest = after;
            }
            _ => out.push(byte),
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_fields_may_be_missing_or_many() {
        let text =
            b"25 1 0:22 / /sys/fs/cgroup rw,nosuid shared:4 master:2 - cgroup2 cgroup2 rw,nsdelegate\n\
            26 1 0:23 /../.. /mnt/a\\040b rw - cgroup cgroup rw,memory\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].fs_type, "cgroup2");
        assert_eq!(mounts[0].mount_point, Path::new("/sys/fs/cgroup"));
        assert_eq!(mounts[1].root, Path::new("/../.."));
        assert_eq!(mounts[1].mount_point, Path::new("/mnt/a b"));
        assert_eq!(mounts[1].super_options, "rw,memory");
    }

    #[test]
    fn lines_that_are_not_mounts_are_passed_over() {
        assert!(parse(b"\n1 2 3\n1 2 3 4 5 6 7 8\nx - ext4").is_empty());
    }

    #[test]
    fn a_backslash_without_three_octal_digits_stays() {
        assert_eq!(unescape(b"/a\\04"), Path::new("/a\\04"));
        assert_eq!(unescape(b"/a\\134x"), Path::new("/a\\x"));
    }
}
