//! MAP: which map a command means, by id, pin or name.
//!
//! In: `id N`, `pinned FILE` or `name NAME`. Out: open maps.

use std::ffi::OsStr;
use std::path::Path;

use loader::map::{self, Access, Map};
use loader::{Error, ErrorKind};
use nsmap::bpffs::{self, Pin};
use nsmap::{filesystem, text};

use super::args::{Words, number, usage};
use crate::failure::{Capability, Code, Failure};

/// `what` failed, with the kernel's words for why.
pub(super) fn failed(what: &str, error: &Error) -> Failure {
    let reason = error.errno().map_or_else(|| error.to_string(), reason);
    Failure::new(Code::of(error), format!("{what}: {reason}"))
}

/// An error number as strerror(3) has it, which is what scripts look for.
pub(super) fn reason(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    match text.rsplit_once(" (os error") {
        // glibc's word for a number that it does not know; other C libraries have no number in it.
        _ if errno == loader::ENOTSUPP => format!("Unknown error {errno}"),
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

/// The only map that MAP means.
pub(super) fn one(words: &mut Words<'_>, access: Access) -> Result<Map, Failure> {
    let mut maps = all(words, access)?;
    match (maps.pop(), maps.is_empty()) {
        (Some(map), true) => Ok(map),
        _ => Err(Failure::new(Code::Usage, "several maps match this handle").hint("name it by id or pin")),
    }
}

/// Every map that MAP means: a name may be that of several. Never none.
pub(super) fn all(words: &mut Words<'_>, access: Access) -> Result<Vec<Map>, Failure> {
    let Some(keyword) = words.peek() else {
        return Err(usage("expected 'id', 'name' or 'pinned', got nothing".to_owned()));
    };
    if words.takes("id") {
        let word = words.next().unwrap_or_default();
        let id = number(word).and_then(|id| u32::try_from(id).ok());
        let id = id.ok_or_else(|| usage(format!("can't parse {} as ID", text::safe(word))))?;
        let map = Map::open_id(id, access).map_err(|error| by_id(id, &error))?;
        return Ok(vec![map]);
    }
    if words.takes("name") {
        return by_name(words.next().unwrap_or_default(), access);
    }
    if words.takes("pinned") {
        return pinned(Path::new(words.next().unwrap_or_default()), access).map(|map| vec![map]);
    }
    Err(usage(format!("expected 'id', 'name' or 'pinned', got: '{}'?", text::safe(keyword))))
}

fn by_id(id: u32, error: &Error) -> Failure {
    failed(&format!("get map by id ({id})"), error).needs(Capability::SysAdmin)
}

fn by_name(name: &OsStr, access: Access) -> Result<Vec<Map>, Failure> {
    if name.len() > 15 {
        return Err(usage("can't parse name".to_owned()));
    }
    let maps = every(access)?;
    let found: Vec<Map> = maps.into_iter().filter(|map| name == map.info().name.as_str()).collect();
    if found.is_empty() {
        return Err(Failure::new(Code::NotFound, format!("no map has the name {}", text::safe(name))));
    }
    Ok(found)
}

/// All maps of the host; those that go away meanwhile are passed over.
pub(super) fn every(access: Access) -> Result<Vec<Map>, Failure> {
    let ids = map::ids().map_err(|error| failed("can't get next map", &error).needs(Capability::SysAdmin))?;
    let mut maps = Vec::with_capacity(ids.len());
    for id in ids {
        match Map::open_id(id, access) {
            Ok(map) => maps.push(map),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&format!("can't get map by id ({id})"), &error)),
        }
    }
    Ok(maps)
}

fn pinned(path: &Path, access: Access) -> Result<Map, Failure> {
    let what = format!("bpf obj get ({})", text::path(path));
    match bpffs::look(path) {
        Ok(Pin::Elsewhere(found)) => {
            return Err(Failure::new(
                Code::NotBpffs,
                format!("{what}: found a file on {found}, not on bpffs"),
            ));
        }
        Ok(Pin::Directory) => {
            let found = filesystem::name(loader::sys::fs::fs_magic_of_path(path).unwrap_or(0));
            return Err(Failure::new(Code::Wrong, format!("{what}: this is a directory (on {found})")));
        }
        Ok(Pin::Missing | Pin::Pinned) | Err(_) => {}
    }
    Map::open_pinned(path, access).map_err(|error| match error.kind() {
        ErrorKind::Incompatible => Failure::new(Code::Wrong, format!("{what}: {error}")),
        _ => failed(&what, &error).needs(Capability::DacOverride).needs(Capability::Bpf),
    })
}
