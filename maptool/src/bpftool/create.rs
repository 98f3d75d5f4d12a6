//! `create`, `pin`, `freeze`.
//!
//! In: a path, and what the map shall be. Out: a pinned map. Everything that can be refused is refused before the
//! map is made, and no directory is ever hidden by a mount.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::Path;

use loader::ErrorKind;
use loader::map::{Access, Map, MapConfig};
use nsmap::bpffs::{self, Pin, Place};
use nsmap::text;

use super::Screen;
use super::args::{Words, number_u32, usage};
use super::select::{self, failed};
use super::show::TYPES;
use crate::commands;
use crate::failure::{Capability, Code, Failure};

#[derive(Default)]
struct Wanted<'a> {
    map_type: u32,
    name: Option<&'a OsStr>,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
    inner: Option<Map>,
}

pub(super) fn create(screen: &mut Screen, mut words: Words<'_>) -> Result<(), Failure> {
    words.need(7)?;
    let path = Path::new(words.next().unwrap_or_default());
    let wanted = parse(&mut words)?;
    let name = wanted.name.ok_or_else(|| usage("map name not specified".to_owned()))?;
    let name = map_name(name, screen)?;
    let place = place_for(path, screen)?;
    let config = MapConfig {
        name,
        map_type: wanted.map_type,
        key_size: wanted.key,
        value_size: wanted.value,
        max_entries: wanted.entries,
        map_flags: wanted.flags,
        inner: wanted.inner.as_ref().map(AsFd::as_fd),
        ..MapConfig::default()
    };
    let map = Map::create(&config).map_err(|error| create_failed(&wanted, &error))?;
    pin_at(&map, path, &place, screen)?;
    screen.nothing();
    Ok(())
}

fn parse<'a>(words: &mut Words<'a>) -> Result<Wanted<'a>, Failure> {
    let mut wanted = Wanted::default();
    while words.peek().is_some() {
        words.need(2)?;
        if words.takes("type") {
            if wanted.map_type != 0 {
                return Err(usage("map type already specified".to_owned()));
            }
            wanted.map_type = map_type(words.next().unwrap_or_default())?;
        } else if words.takes("name") {
            wanted.name = words.next();
        } else if words.takes("key") {
            set(words, &mut wanted.key, "key size")?;
        } else if words.takes("value") {
            set(words, &mut wanted.value, "value size")?;
        } else if words.takes("entries") {
            set(words, &mut wanted.entries, "max entries")?;
        } else if words.takes("flags") {
            set(words, &mut wanted.flags, "flags")?;
        } else if words.takes("inner_map") {
            words.need(2)?;
            wanted.inner = Some(select::one(words, Access::ReadWrite)?);
        } else if words.takes("dev") || words.takes("offload_dev") {
            return Err(usage("maps of network devices are not done here".to_owned()));
        } else {
            let word = text::safe(words.next().unwrap_or_default());
            return Err(usage(format!("unknown arg {word}")));
        }
    }
    Ok(wanted)
}

fn set(words: &mut Words<'_>, number: &mut u32, what: &str) -> Result<(), Failure> {
    if *number != 0 {
        return Err(usage(format!("{what} already specified")));
    }
    *number = number_u32(words.next().unwrap_or_default(), what)?;
    Ok(())
}

fn map_type(word: &OsStr) -> Result<u32, Failure> {
    let at = TYPES.iter().position(|name| word == *name).and_then(|at| u32::try_from(at).ok());
    at.ok_or_else(|| usage(format!("unrecognized map type: {}", text::safe(word))))
}

/// The kernel keeps 15 characters, of a small alphabet, and says only "invalid argument" to others.
fn map_name(name: &OsStr, screen: &mut Screen) -> Result<String, Failure> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
    let name = name.to_str().filter(|name| name.bytes().all(allowed)).ok_or_else(|| {
        usage(format!(
            "map create failed: the name {} has other characters than A-Z a-z 0-9 _ .",
            text::safe(name)
        ))
    })?;
    let short = name.get(..15).unwrap_or(name);
    if short != name {
        screen
            .err
            .push_str(&format!("nsmap: note: the map is named `{short}`, the kernel keeps 15 characters\n"));
    }
    Ok(short.to_owned())
}

fn create_failed(wanted: &Wanted<'_>, error: &loader::Error) -> Failure {
    let failure = failed("map create failed", error).needs(Capability::Bpf);
    let hash_like = matches!(wanted.map_type, 1 | 5 | 9 | 10);
    match error.errno() {
        Some(libc::EINVAL) if wanted.map_type == 0 => failure.hint("no type was given"),
        Some(libc::EINVAL) if wanted.entries == 0 => failure.hint("entries is 0"),
        Some(libc::EINVAL) if hash_like && wanted.key == 0 => failure.hint("key is 0"),
        Some(libc::EINVAL) if hash_like && wanted.value == 0 => failure.hint("value is 0"),
        Some(libc::E2BIG | libc::ENOMEM) => failure.hint(format!("{} entries are too many", wanted.entries)),
        _ => failure,
    }
}

pub(super) fn pin(screen: &mut Screen, mut words: Words<'_>) -> Result<(), Failure> {
    words.need(3)?;
    let map = select::one(&mut words, Access::ReadWrite)?;
    let path = Path::new(words.next().unwrap_or_default());
    words.end()?;
    let place = place_for(path, screen)?;
    pin_at(&map, path, &place, screen)?;
    screen.nothing();
    Ok(())
}

/// Whether a pin can be made at `path`.
fn place_for(path: &Path, screen: &Screen) -> Result<Place, Failure> {
    let at = format!("can't pin the object ({})", text::path(path));
    if matches!(bpffs::look(path), Ok(Pin::Pinned | Pin::Directory | Pin::Elsewhere(_))) {
        return Err(Failure::new(Code::Other, format!("{at}: File exists")));
    }
    match commands::place(path).map_err(|failure| failure.context(&at))? {
        Place::Mountable if screen.options.nomount => Err(Failure::new(
            Code::NotBpffs,
            "no BPF file system found, not mounting it due to --nomount option",
        )),
        place => Ok(place),
    }
}

fn pin_at(map: &Map, path: &Path, place: &Place, screen: &mut Screen) -> Result<(), Failure> {
    let what = format!("can't pin the object ({})", text::path(path));
    if *place == Place::Mountable {
        bpffs::mount_usual().map_err(|error| failed(&what, &error).needs(Capability::SysAdmin))?;
        screen
            .err
            .push_str(&format!("nsmap: note: mounted bpffs on `{}`, which was empty\n", bpffs::MOUNT_POINT));
    }
    map.pin(path).map_err(|error| match error.kind() {
        ErrorKind::Exists => Failure::new(Code::Other, format!("{what}: File exists")),
        _ => failed(&what, &error).needs(Capability::DacOverride),
    })
}

pub(super) fn freeze(screen: &mut Screen, mut words: Words<'_>) -> Result<(), Failure> {
    words.need(2)?;
    let map = select::one(&mut words, Access::ReadWrite)?;
    words.end()?;
    map.freeze().map_err(|error| match error.errno() {
        Some(libc::EBUSY | libc::EPERM) => failed("failed to freeze map", &error)
            .hint("it may be frozen already, or mapped for writing by another process"),
        _ => failed("failed to freeze map", &error),
    })?;
    screen.nothing();
    Ok(())
}
