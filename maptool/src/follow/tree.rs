//! New and removed cgroups of the whole v2 hierarchy, as the kernel reports them: fanotify(7) on cgroupfs, or else a BPF
//! program ([`super::traced`]).
//!
//! In: the mount point. Out: [`Change`]s with the ids of the kernel, in order; an overflow of the queue is told,
//! and everything has to be looked at anew.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind as IoErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use loader::sys::fs::{fanotify_init, fanotify_mark};
use loader::sys::uapi::{FILEID_KERNFS, fanotify};
use loader::{Error, Result, ResultExt};

use super::traced::Traced;
use crate::text;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A cgroup was made; nothing is in it yet.
    Created {
        /// The id of the cgroup that it is in.
        parent: u64,
        /// Its own name.
        name: OsString,
        /// Its own id, if the kernel said it; cgroupfs (seen on 6.18) tells before it has made the inode, and does not.
        id: Option<u64>,
    },
    /// A cgroup was removed.
    Removed {
        /// The id of the cgroup that it was in.
        parent: u64,
        /// Its own name.
        name: OsString,
        /// The id that it had.
        id: Option<u64>,
    },
    /// The kernel could not keep up: changes are missing.
    Overflow,
}

/// A watched hierarchy.
#[derive(Debug)]
pub struct Tree {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Fanotify(File),
    Traced(Box<Traced>),
}

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::Fanotify(group) => group.as_fd(),
            Source::Traced(traced) => traced.as_fd(),
        }
    }
}

impl Tree {
    /// Watches all of the hierarchy that is mounted at `mount_point`.
    ///
    /// # Errors
    /// `NotSupported`: neither Linux 6.7, for fanotify, nor BPF with types of the kernel. `Permission`: CAP_SYS_ADMIN, or
    /// CAP_BPF and CAP_PERFMON.
    pub fn watch(mount_point: &Path) -> Result<Self> {
        let source = fanotify(mount_point).map(Source::Fanotify).or_else(|refused| {
            // The better way's reason is the one to tell.
            Traced::attach().map(|traced| Source::Traced(Box::new(traced))).map_err(|_| refused)
        });
        let source = source.with_context(|| format!("watch cgroups at `{}`", text::path(mount_point)))?;
        Ok(Self { source })
    }

    /// As [`Tree::watch`], by the BPF program.
    ///
    /// # Errors
    /// `Permission`: CAP_BPF and CAP_PERFMON are needed. Those of the loader.
    pub fn trace() -> Result<Self> {
        Ok(Self { source: Source::Traced(Box::new(Traced::attach()?)) })
    }

    /// By what the kernel reports.
    pub fn way(&self) -> &'static str {
        match &self.source {
            Source::Fanotify(_) => "fanotify",
            Source::Traced(_) => "a BPF program",
        }
    }

    /// What has happened since the last call; empty if nothing has. Does not block.
    ///
    /// # Errors
    /// read(2) failed.
    pub fn changes(&mut self) -> Result<Vec<Change>> {
        let group = match &mut self.source {
            Source::Fanotify(group) => group,
            Source::Traced(traced) => return traced.changes(),
        };
        let mut buffer = vec![0; 64 << 10];
        match group.read(&mut buffer) {
            Ok(length) => Ok(parse(buffer.get(..length).unwrap_or_default())),
            Err(error) if matches!(error.kind(), IoErrorKind::WouldBlock | IoErrorKind::Interrupted) => {
                Ok(Vec::new())
            }
            Err(error) => Err(Error::io("read fanotify events", error)),
        }
    }
}

/// Linux 5.17 has names and target ids; cgroupfs has the number of a file system that is wanted since 6.7.
fn fanotify(mount_point: &Path) -> Result<File> {
    let flags = fanotify::CLOEXEC
        | fanotify::NONBLOCK
        | fanotify::REPORT_FID
        | fanotify::REPORT_DIR_FID
        | fanotify::REPORT_NAME
        | fanotify::REPORT_TARGET_FID;
    let too_old = |error: loader::sys::SysError| match error.errno {
        libc::EINVAL | libc::ENODEV => Error::not_supported("fanotify on cgroup2", "6.7"),
        _ => error.into(),
    };
    let group = fanotify_init(flags).map_err(too_old)?;
    let target = File::open(mount_point).map_err(|error| Error::io("open", error))?;
    let mask = fanotify::CREATE | fanotify::DELETE | fanotify::ONDIR;
    let mark = fanotify::MARK_ADD | fanotify::MARK_FILESYSTEM;
    fanotify_mark(group.as_fd(), mark, mask, target.as_fd()).map_err(too_old)?;
    Ok(File::from(group))
}

/// `struct fanotify_event_metadata`: u32 length, u8 version, u8, u16 length of this header, u64 mask, i32 fd,
/// i32 pid; then records of information. Events of another form are passed over.
fn parse(bytes: &[u8]) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut rest = bytes;
    while let Some(length) = u32_at(rest, 0).and_then(|length| usize::try_from(length).ok()) {
        let Some(event) = rest.get(..length).filter(|event| event.len() >= 24) else { break };
        event_changes(event, &mut changes);
        rest = rest.get(length..).unwrap_or_default();
    }
    changes
}

fn event_changes(event: &[u8], changes: &mut Vec<Change>) {
    let header = usize::from(u16_at(event, 6).unwrap_or(u16::MAX));
    let mask = u64_at(event, 8).unwrap_or(0);
    if event.get(4) != Some(&fanotify::METADATA_VERSION) || mask & fanotify::Q_OVERFLOW != 0 {
        changes.push(Change::Overflow);
        return;
    }
    if mask & fanotify::ONDIR == 0 {
        return;
    }
    let mut info = event.get(header..).unwrap_or_default();
    let (mut place, mut own) = (None, None);
    while let Some(length) = u16_at(info, 2).map(usize::from).filter(|&length| length >= 4) {
        let Some(record) = info.get(..length) else { break };
        match record.first() {
            Some(&fanotify::INFO_DFID_NAME) => place = parent_and_name(record),
            Some(&fanotify::INFO_FID) => own = handle(record).map(|(id, _)| id),
            _ => {}
        }
        info = info.get(length..).unwrap_or_default();
    }
    let Some((parent, name)) = place else { return };
    // One event may tell of both, in this order: an id is never made twice.
    if mask & fanotify::CREATE != 0 {
        changes.push(Change::Created { parent, name: name.clone(), id: own });
    }
    if mask & fanotify::DELETE != 0 {
        changes.push(Change::Removed { parent, name, id: own });
    }
}

/// The kernfs id of a record, and what comes behind it. `u8 type, u8, u16 length, u64 fsid`, then
/// `struct file_handle`: u32 length, i32 type, the id in host byte order.
fn handle(record: &[u8]) -> Option<(u64, &[u8])> {
    let length = usize::try_from(u32_at(record, 12)?).ok()?;
    let kind = u32_at(record, 16)?.cast_signed();
    let id = u64_at(record, 20)?;
    (kind == FILEID_KERNFS && length == 8).then_some(())?;
    Some((id, record.get(28..)?))
}

fn parent_and_name(record: &[u8]) -> Option<(u64, OsString)> {
    let (parent, name) = handle(record)?;
    let name = name.split(|&byte| byte == 0).next()?;
    (!name.is_empty()).then(|| (parent, OsString::from_vec(name.to_vec())))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, id: u64, name: &[u8]) -> Vec<u8> {
        let mut record = vec![kind, 0, 0, 0];
        record.extend([0; 8]);
        record.extend(8_u32.to_ne_bytes());
        record.extend(FILEID_KERNFS.to_ne_bytes());
        record.extend(id.to_ne_bytes());
        record.extend(name);
        let length = u16::try_from(record.len()).unwrap();
        record[2..4].copy_from_slice(&length.to_ne_bytes());
        record
    }

    fn event(mask: u64, records: &[Vec<u8>]) -> Vec<u8> {
        let body: Vec<u8> = records.concat();
        let mut event = u32::try_from(24 + body.len()).unwrap().to_ne_bytes().to_vec();
        event.extend([fanotify::METADATA_VERSION, 0]);
        event.extend(24_u16.to_ne_bytes());
        event.extend(mask.to_ne_bytes());
        event.extend([0xff; 8]);
        event.extend(body);
        event
    }

    #[test]
    fn creation_and_removal_are_told_with_ids_and_names() {
        let place = record(fanotify::INFO_DFID_NAME, 25, b"web\0\0\0");
        let own = record(fanotify::INFO_FID, 44, b"");
        let mut bytes = event(fanotify::CREATE | fanotify::ONDIR, &[place.clone(), own.clone()]);
        bytes.extend(event(fanotify::DELETE | fanotify::ONDIR, &[place, own]));
        assert_eq!(
            parse(&bytes),
            [
                Change::Created { parent: 25, name: "web".into(), id: Some(44) },
                Change::Removed { parent: 25, name: "web".into(), id: Some(44) }
            ]
        );
    }

    #[test]
    fn an_overflow_is_told_and_files_are_not() {
        assert_eq!(parse(&event(fanotify::Q_OVERFLOW, &[])), [Change::Overflow]);
        let file = event(fanotify::CREATE, &[record(fanotify::INFO_DFID_NAME, 25, b"x\0")]);
        assert_eq!(parse(&file), []);
    }

    #[test]
    fn cut_and_damaged_events_end_the_reading() {
        let whole =
            event(fanotify::CREATE | fanotify::ONDIR, &[record(fanotify::INFO_DFID_NAME, 25, b"web\0")]);
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), []);
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                assert!(parse(&damaged).len() <= 1);
            }
        }
    }
}
