//! `create`: makes a set, or finds that it exists. Nothing is left behind when it refuses.

use std::fmt;
use std::path::Path;

use loader::ErrorKind;
use loader::map::Access;
use nsmap::bpffs::{self, MOUNT_POINT, Pin, Place};
use nsmap::set::{DEFAULT_ENTRIES, NewSet};
use nsmap::{Kind, Set, account, text};
use serde::Serialize;

use super::sets;
use crate::cli::Create;
use crate::failure::{Capability, Code, Failure};
use crate::output::{Name, Outcome};

#[derive(Serialize)]
struct Created {
    map: Name,
    kind: &'static str,
    name: String,
    id: u32,
    capacity: u32,
    result: &'static str,
}

impl fmt::Display for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { map, kind, name, capacity, result, .. } = self;
        writeln!(f, "{result}: {kind} set {map} (map {name}, room for {capacity})")
    }
}

pub(crate) fn run(args: &Create) -> Result<Outcome, Failure> {
    let kind = Kind::from(args.kind);
    let path = args.path.clone().or_else(|| args.map.clone()).unwrap_or_else(|| sets::default_path(kind));
    match bpffs::look(&path) {
        Ok(Pin::Missing) if path.is_symlink() => {
            let message = format!("create set `{}`: a symbolic link to nothing", text::path(&path));
            Err(Failure::new(Code::NotFound, message).hint("remove the link, or name where it leads"))
        }
        Ok(Pin::Missing) => make(&path, kind, args),
        Ok(_) => adopt(&path, kind, args),
        Err(error) => {
            let at = format!("create set `{}`", text::path(&path));
            // What is wrong with the place says more than the failure of a look at it.
            place(&path).map_err(|failure| failure.context(&at))?;
            Err(Failure::from(error).context(&at).needs(Capability::DacOverride))
        }
    }
}

/// A set that is there already is as good as a new one if it has the geometry.
fn adopt(path: &Path, kind: Kind, args: &Create) -> Result<Outcome, Failure> {
    let named = sets::open(path, Some(kind), Access::ReadOnly)?;
    let mut outcome = report(&named.path, &named.set, "exists")?;
    if args.entries > named.set.capacity() && args.entries != DEFAULT_ENTRIES {
        let (found, wanted) = (named.set.capacity(), args.entries);
        outcome.notes.push(format!("the existing set has room for {found} members, not {wanted}"));
    }
    Ok(outcome)
}

fn report(path: &Path, set: &Set, result: &'static str) -> Result<Outcome, Failure> {
    let info = set.map().info();
    Outcome::done(&Created {
        map: Name::new(path),
        kind: set.kind().name(),
        name: info.name.clone(),
        id: info.id,
        capacity: info.max_entries,
        result,
    })
}

/// The map comes first: it leaves nothing behind if a later step fails.
fn make(path: &Path, kind: Kind, args: &Create) -> Result<Outcome, Failure> {
    let at = format!("create set `{}`", text::path(path));
    let place = place(path).map_err(|failure| failure.context(&at))?;
    let group = args.group.as_deref().map(group_id).transpose().map_err(|failure| failure.context(&at))?;
    let new = NewSet {
        kind,
        entries: args.entries,
        name: args.name.as_deref().unwrap_or(kind.default_map_name()),
        mode: args.mode,
    };
    let set =
        Set::create_unpinned(&new).map_err(|error| creation_failure(error, args.entries).context(&at))?;
    let mut notes = Vec::new();
    if place == Place::Mountable {
        bpffs::mount_usual()
            .map_err(|error| Failure::from(error).needs(Capability::SysAdmin).context(&at))?;
        notes.push(format!("mounted bpffs on `{MOUNT_POINT}`, which was empty"));
    }
    let mut outcome = match set.pin(path, args.mode) {
        Ok(()) => report(path, &set, "created")?,
        // Somebody else was quicker.
        Err(error) if error.kind() == ErrorKind::Exists => adopt(path, kind, args)?,
        Err(error) => {
            return Err(Failure::from(error).needs(Capability::DacOverride).context(&at));
        }
    };
    if let Some(group) = group {
        std::os::unix::fs::chown(path, None, Some(group)).map_err(|error| {
            let _ = std::fs::remove_file(path);
            Failure::from(loader::Error::io("chown", error)).context(&at)
        })?;
    }
    if args.mode & 0o002 != 0 {
        notes.push("every user of this host may edit this set, and so decide what is traced".to_owned());
    }
    notes.append(&mut outcome.notes);
    outcome.notes = notes;
    Ok(outcome)
}

fn group_id(group: &str) -> Result<u32, Failure> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    match account::group_id(group) {
        Ok(Some(id)) => Ok(id),
        Ok(None) | Err(_) => {
            Err(Failure::new(Code::NotFound, format!("no group `{}`", text::safe(group.as_ref()))))
        }
    }
}

fn creation_failure(error: loader::Error, entries: u32) -> Failure {
    match error.errno() {
        Some(libc::E2BIG | libc::ENOMEM | libc::EINVAL) => {
            Failure::from(error).hint(format!("{entries} entries may be too many for this host"))
        }
        _ => Failure::from(error).needs(Capability::Bpf),
    }
}

/// Whether a pin can be made there; refusals say how it could.
pub(crate) fn place(path: &Path) -> Result<Place, Failure> {
    let dotted = path.file_name().is_some_and(|name| name.as_encoded_bytes().contains(&b'.'));
    match bpffs::place_of(path).map_err(|error| Failure::from(error).needs(Capability::DacOverride))? {
        Place::Ready | Place::Mountable if dotted => {
            Err(Failure::new(Code::Usage, "the name of a pin cannot hold a `.` on bpffs"))
        }
        place @ (Place::Ready | Place::Mountable) => Ok(place),
        Place::NoDirectory(directory) => {
            let directory = text::path(&directory);
            let message = format!("directory `{directory}` not found");
            Err(Failure::new(Code::NotFound, message).hint(format!("make it with: mkdir {directory}")))
        }
        Place::NotBpffs { directory, found } => Err(not_bpffs(&directory, &found)),
    }
}

fn not_bpffs(directory: &Path, found: &str) -> Failure {
    let occupied = std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some());
    let directory = text::path(directory);
    let message = format!("directory `{directory}` is on {found}, expected bpffs");
    let hint = if occupied {
        format!("it has files, which a mount would hide; mount one with: mount -t bpf bpf {MOUNT_POINT}")
    } else {
        format!("mount one with: mount -t bpf bpf {directory}")
    };
    Failure::new(Code::NotBpffs, message).hint(hint)
}
