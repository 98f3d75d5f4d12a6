//! Places in user-space binaries: `uprobe/PATH:F`, `uretprobe/...`, and many at once (`uprobe.multi`).
//!
//! In: a program, a binary, and a symbol or an offset in the file. Out: a [`Link`] on a perf event of the uprobe PMU, for all
//! processes that run the binary, or a uprobe.multi link (6.6).

use std::ffi::{CString, OsStr};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use object::read::elf::{ElfFile, FileHeader, Version};
use object::{Object as _, ObjectSegment as _, ObjectSymbol as _};

use super::pmu::Pmu;
use super::{AttachOptions, Link, glob, on_event};
use crate::error::{Error, Result, ResultExt};
use crate::program::Program;
use crate::sys::link::UprobeMulti;
use crate::sys::perf::{self, PerfEvent};
use crate::sys::{SysError, link, uapi};

/// No binary that is probed by symbol is larger, in bytes.
const SIZE_LIMIT: u64 = 1 << 30;

/// A place in a binary.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The binary: a path, or a name that is looked for where binaries and libraries are.
    pub path: &'a str,
    /// A function of the binary; absent when `offset` counts from the start of the file.
    pub symbol: Option<&'a str>,
    /// Bytes.
    pub offset: u64,
    /// At the return of the function.
    pub at_return: bool,
}

/// Attaches to a place in a binary.
///
/// # Errors
/// `NotFound` for no such binary or symbol; `NotSupported` without uprobes.
pub fn attach(program: &Program, place: Place<'_>, options: AttachOptions) -> Result<Link> {
    let path = find_binary(place.path)?;
    let start = match place.symbol {
        Some(symbol) => symbol_offset(&path, symbol)?,
        None => 0,
    };
    let offset = start.checked_add(place.offset).ok_or_else(|| Error::invalid("the offset is too large"))?;
    let pmu = Pmu::read("uprobe")?;
    on_uprobe(program, pmu, (&path, offset), if place.at_return { pmu.return_bit } else { 0 }, options)
}

/// Attaches at `offset` of a file; the kernel counts up the 16-bit number at `semaphore` while it is attached.
pub(super) fn attach_at(
    program: &Program,
    path: &Path,
    offset: u64,
    semaphore: Option<u64>,
    options: AttachOptions,
) -> Result<Link> {
    let pmu = Pmu::read("uprobe")?;
    let counter = pmu.counter(semaphore.unwrap_or_default())?;
    on_uprobe(program, pmu, (path, offset), counter, options)
}

fn on_uprobe(
    program: &Program,
    pmu: Pmu,
    (path, offset): (&Path, u64),
    config: u64,
    options: AttachOptions,
) -> Result<Link> {
    let c_path = c_path(path)?;
    let event = PerfEvent { event_type: pmu.event_type, config, symbol: Some(&c_path), offset };
    let event = perf::perf_event_open(event)
        .map_err(Error::from)
        .with_context(|| format!("probe `{}` at offset {offset:#x}", path.display()))?;
    on_event(program, event, options)
}

/// Attaches to all functions of a binary whose names match `pattern`.
///
/// # Errors
/// `NotFound` for no such binary or function; `NotSupported` before 6.6.
pub fn attach_multi(
    program: &Program,
    path: &str,
    pattern: &str,
    at_return: bool,
    options: AttachOptions,
) -> Result<Link> {
    let path = find_binary(path)?;
    let offsets = matching_offsets(&path, pattern)?;
    if offsets.is_empty() {
        return Err(Error::not_found(format!("`{}` has no function `{pattern}`", path.display())));
    }
    let flags = if at_return { uapi::F_UPROBE_MULTI_RETURN } else { 0 };
    let cookies = vec![options.cookie; if options.cookie == 0 { 0 } else { offsets.len() }];
    on_places(program, &path, &offsets, &[], &cookies, flags)
}

/// Puts `program`, which was loaded for such links, on places of a file by one link; see [`UprobeMulti`].
pub(super) fn on_places(
    program: &Program,
    path: &Path,
    offsets: &[u64],
    semaphores: &[u64],
    cookies: &[u64],
    flags: u32,
) -> Result<Link> {
    let (c_path, attach_type) = (c_path(path)?, program.kind().attach_type);
    let places = UprobeMulti { path: &c_path, offsets, semaphores, cookies, flags };
    match link::link_create_uprobe_multi(program.as_fd(), attach_type, places) {
        Ok(link) => Ok(Link::from_link(link)),
        Err(SysError { errno: libc::EINVAL, .. })
            if !link::has_uprobe_multi(program.as_fd(), attach_type) =>
        {
            Err(Error::not_supported("probes on many places of a binary", "6.6"))
        }
        Err(error) => Err(error.into()),
    }
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::invalid("path with a NUL byte"))
}

/// The file behind a name: the path itself, or what the usual directories of libraries and programs have.
///
/// # Errors
/// `NotFound`. A path, which has a slash, is not looked at.
pub fn find_binary(name: &str) -> Result<PathBuf> {
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    let triplet = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let library = name.contains(".so");
    let places: Vec<PathBuf> = if library {
        [triplet.as_str(), "/usr/lib64", "/usr/lib", "/lib64", "/lib"]
            .into_iter()
            .map(PathBuf::from)
            .collect()
    } else {
        let path = std::env::var_os("PATH").unwrap_or_else(|| OsStr::new("/usr/bin:/usr/sbin").to_owned());
        std::env::split_paths(&path).collect()
    };
    let found = places.into_iter().map(|place| place.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        Error::not_found(format!("no file `{name}` among {}", if library { "libraries" } else { "programs" }))
    })
}

/// Where a function is in the file, in bytes from its start. `F@VERSION` is that version of a library's function, where `F` is
/// the one that programs are linked with today.
///
/// # Errors
/// `NotFound` when the file or the function does not exist; `Incompatible` when there are several of that name;
/// `InvalidObject` for a file that is no ELF.
pub fn symbol_offset(path: &Path, symbol: &str) -> Result<u64> {
    let (name, version) = match symbol.split_once('@') {
        Some((name, version)) => (name, Some(version.trim_start_matches('@').as_bytes())),
        None => (symbol, None),
    };
    let found =
        with_functions(path, |found, of| found == name && version.is_none_or(|version| of == Some(version)))?;
    match strongest(&found).as_slice() {
        [only] => Ok(*only),
        [] => Err(Error::not_found(format!("`{}` has no function `{symbol}`", path.display()))),
        [first, second, ..] => Err(Error::incompatible(format!(
            "`{}` has more than one function `{symbol}`, at {first:#x} and at {second:#x}; say which by its offset",
            path.display()
        ))),
    }
}

fn matching_offsets(path: &Path, pattern: &str) -> Result<Vec<u64>> {
    Ok(distinct(&with_functions(path, |name, _| glob::matches(pattern, name))?))
}

/// Where functions of one name are: those that give way do so if there are others.
fn strongest(functions: &[Function]) -> Vec<u64> {
    let strong: Vec<Function> = functions.iter().copied().filter(|function| !function.gives_way).collect();
    distinct(if strong.is_empty() { functions } else { &strong })
}

/// The offsets, ascending, each once: most functions have a symbol in both tables, and some have several names.
fn distinct(functions: &[Function]) -> Vec<u64> {
    let mut offsets: Vec<u64> = functions.iter().map(|function| function.offset).collect();
    offsets.sort_unstable();
    offsets.dedup();
    offsets
}

/// A function of a binary.
#[derive(Clone, Copy, Debug)]
struct Function {
    /// Bytes from the start of the file.
    offset: u64,
    /// It is weak, or kept for programs that were linked with an older version of a library.
    gives_way: bool,
}

/// The functions that `wanted` picks by name and, for those of libraries that have several, version.
fn with_functions(path: &Path, wanted: impl Fn(&str, Option<&[u8]>) -> bool) -> Result<Vec<Function>> {
    let read = || -> Result<Vec<Function>> {
        let bytes = read_binary(path)?;
        match bytes.get(4) {
            Some(1) => functions::<object::elf::FileHeader32<object::Endianness>>(&bytes, wanted),
            _ => functions::<object::elf::FileHeader64<object::Endianness>>(&bytes, wanted),
        }
    };
    read().with_context(|| format!("read the symbols of `{}`", path.display()))
}

/// The bytes of a binary of a size that binaries have.
pub(super) fn read_binary(path: &Path) -> Result<Vec<u8>> {
    let size = std::fs::metadata(path).map_err(|error| Error::io("stat", error))?.len();
    if size > SIZE_LIMIT {
        return Err(Error::invalid(format!("{size} bytes are too large for a binary")));
    }
    std::fs::read(path).map_err(|error| Error::io("read", error))
}

fn functions<H: FileHeader<Endian = object::Endianness>>(
    bytes: &[u8],
    wanted: impl Fn(&str, Option<&[u8]>) -> bool,
) -> Result<Vec<Function>> {
    let file = ElfFile::<H>::parse(bytes).map_err(|error| Error::invalid(format!("not ELF: {error}")))?;
    // Damaged versions are none.
    let versions = file.elf_section_table().versions(file.endian(), bytes).ok().flatten();
    // The kernel counts in the file, symbols count in memory.
    let in_file = |address: u64| {
        file.segments().find_map(|segment| {
            let (start, len) = segment.file_range();
            let inside = address.checked_sub(segment.address()).filter(|inside| *inside < len)?;
            start.checked_add(inside)
        })
    };
    let mut found = Vec::new();
    let tables = [(file.symbols(), None), (file.dynamic_symbols(), versions.as_ref())];
    for (symbols, versions) in tables {
        for symbol in symbols.filter(|it| it.is_definition() && it.kind() == object::SymbolKind::Text) {
            let version = versions.map(|table| (table, table.version_index(file.endian(), symbol.index())));
            let name = version.and_then(|(table, version)| table.version(version.index()).ok().flatten());
            if !symbol.name().is_ok_and(|symbol| wanted(symbol, name.map(Version::name))) {
                continue;
            }
            let gives_way = symbol.is_weak() || version.is_some_and(|(_, version)| version.is_hidden());
            found.extend(in_file(symbol.address()).map(|offset| Function { offset, gives_way }));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_its_function_and_for_several_if_they_differ() {
        let function = |offset, gives_way| Function { offset, gives_way };
        // In both symbol tables; weak, and overridden; weak only; two files with a static function each.
        assert_eq!(strongest(&[function(16, false), function(16, false)]), [16]);
        assert_eq!(strongest(&[function(16, true), function(32, false)]), [32]);
        assert_eq!(strongest(&[function(16, true)]), [16]);
        assert_eq!(strongest(&[function(32, false), function(16, false)]), [16, 32]);
    }

    #[test]
    fn a_library_has_a_function_in_several_versions() {
        let Ok(library) = find_binary("libc.so.6") else { return };
        let offset = |symbol: &str| symbol_offset(&library, symbol);
        // Since 2003; architectures that came later never had the old one.
        let Ok(old) = offset("pthread_cond_wait@GLIBC_2.2.5") else { return };
        let new = offset("pthread_cond_wait").unwrap();
        assert_eq!(offset("pthread_cond_wait@@GLIBC_2.3.2").unwrap(), new);
        assert_ne!(old, new);
        assert_eq!(offset("pthread_cond_wait@GLIBC_1").unwrap_err().kind(), crate::ErrorKind::NotFound);
    }
}
