//! Static probes of user-space binaries (USDT): `usdt/PATH:PROVIDER:NAME`.
//!
//! In: a program, and a binary whose section `.note.stapsdt` lists its probes. Out: a [`Link`] on every place where the
//! compiler put the probe, which may be several (inlined functions): a uprobe.multi link (6.6) if the program was loaded for
//! that, else a perf event each. Binaries count in a semaphore whether anybody listens; the kernel counts for us (4.20). Where
//! the arguments are is in [`Place::arguments`], as the binary says it; [`arguments`] reads it, and `tables` hands it to
//! programs that use libbpf's `bpf_usdt_arg()`.

pub mod arguments;
mod tables;

use std::path::Path;

use object::read::elf::{ElfFile, FileHeader};
use object::{Object as _, ObjectKind, ObjectSection as _, ObjectSegment as _};

use super::{AttachOptions, Link, uprobe};
use crate::bytes::{Endian, c_str_at, slice_at, u32_at, u64_at};
use crate::error::{Error, Result, ResultExt as _};
use crate::program::Program;
use crate::section::attach_type;
pub(crate) use tables::Tables;

const NOTES: &str = ".note.stapsdt";
/// Its address tells by how much a linker moved the binary after the notes were written (prelink).
const BASE: &str = ".stapsdt.base";
const OWNER: &[u8] = b"stapsdt\0";
const NT_STAPSDT: u32 = 3;

/// A place of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bytes from the start of the file to the instruction.
    pub offset: u64,
    /// Bytes from the start of the file to the 16-bit number of listeners, if the probe looks at one.
    pub semaphore: Option<u64>,
    /// Where the instruction is in memory, if that is the same in every process: not in libraries, nor in
    /// position-independent programs.
    pub address: Option<u64>,
    /// Sizes and places of the arguments in assembler's words, such as `8@%rbx -4@8(%rsp)`.
    pub arguments: String,
}

/// Attaches to all places of a probe.
///
/// # Errors
/// `NotFound` for no such binary or probe; `NotSupported` without uprobes; `InvalidObject` for arguments that the program
/// asks for and that cannot be read.
pub fn attach(
    program: &Program,
    path: &str,
    provider: &str,
    name: &str,
    options: AttachOptions,
) -> Result<Link> {
    let path = uprobe::find_binary(path)?;
    let places = places(&path, provider, name)?;
    let cookie = |place| match program.usdt_tables() {
        Some(tables) => tables.enter(place, options.cookie),
        None => Ok(options.cookie),
    };
    let cookies = places.iter().map(cookie).collect::<Result<Vec<u64>>>()?;
    if program.kind().attach_type == attach_type::TRACE_UPROBE_MULTI {
        let offsets: Vec<u64> = places.iter().map(|place| place.offset).collect();
        let semaphores: Vec<u64> = places.iter().map(|place| place.semaphore.unwrap_or(0)).collect();
        return uprobe::on_places(program, &path, &offsets, &semaphores, &cookies, 0);
    }
    let mut links = Vec::new();
    for (place, cookie) in places.iter().zip(cookies) {
        let options = AttachOptions { cookie };
        links.push(uprobe::attach_at(program, &path, place.offset, place.semaphore, options)?);
    }
    Link::together(links).ok_or_else(|| Error::invalid("a probe without a place"))
}

/// Where the probe is in the binary; not empty.
///
/// # Errors
/// `NotFound` when the binary has no such probe; `InvalidObject` for what is no ELF file.
pub fn places(path: &Path, provider: &str, name: &str) -> Result<Vec<Place>> {
    let read = || -> Result<Vec<Place>> {
        let bytes = uprobe::read_binary(path)?;
        parse(&bytes, provider, name)
    };
    let places = read().with_context(|| format!("read the probes of `{}`", path.display()))?;
    match places.is_empty() {
        true => Err(Error::not_found(format!("`{}` has no probe `{provider}:{name}`", path.display()))),
        false => Ok(places),
    }
}

/// As [`places`], from the bytes of a binary; empty if it has no such probe.
///
/// # Errors
/// `InvalidObject` for bytes that are no ELF file, or notes that are damaged.
pub fn parse(bytes: &[u8], provider: &str, name: &str) -> Result<Vec<Place>> {
    match bytes.get(4) {
        Some(1) => parse_class::<object::elf::FileHeader32<object::Endianness>>(bytes, provider, name),
        _ => parse_class::<object::elf::FileHeader64<object::Endianness>>(bytes, provider, name),
    }
}

fn parse_class<H: FileHeader<Endian = object::Endianness>>(
    bytes: &[u8],
    provider: &str,
    name: &str,
) -> Result<Vec<Place>> {
    let file = ElfFile::<H>::parse(bytes).map_err(|error| Error::invalid(format!("not ELF: {error}")))?;
    let Some(section) = file.section_by_name(NOTES) else { return Ok(Vec::new()) };
    let base = file.section_by_name(BASE).map(|section| section.address());
    let data = section.data().map_err(|error| Error::invalid(format!("section `{NOTES}`: {error}")))?;
    let endian = if file.endian() == object::Endianness::Big { Endian::Big } else { Endian::Little };
    let in_file = |address: u64| {
        let found = file.segments().find_map(|segment| {
            let (start, len) = segment.file_range();
            let inside = address.checked_sub(segment.address()).filter(|inside| *inside < len)?;
            start.checked_add(inside)
        });
        found.ok_or_else(|| Error::invalid(format!("its address {address:#x} is not in the file")))
    };
    let mut places = Vec::new();
    let notes = Notes { data, at: 0, endian };
    for note in notes {
        let probe = Probe::read(note?, endian, file.is_64())?;
        if probe.provider != provider.as_bytes() || probe.name != name.as_bytes() {
            continue;
        }
        let moved = base.filter(|_| probe.base != 0).map_or(0, |base| base.wrapping_sub(probe.base));
        let address = |written: u64| written.wrapping_add(moved);
        let semaphore = match probe.semaphore {
            0 => None,
            semaphore => Some(in_file(address(semaphore)).context("find its semaphore")?),
        };
        let arguments = String::from_utf8_lossy(probe.arguments).into_owned();
        let fixed = file.kind() == ObjectKind::Executable;
        let in_memory = fixed.then(|| address(probe.location));
        places.push(Place {
            offset: in_file(address(probe.location))?,
            semaphore,
            address: in_memory,
            arguments,
        });
    }
    Ok(places)
}

/// The descriptors of the notes that are probes.
struct Notes<'a> {
    data: &'a [u8],
    at: usize,
    endian: Endian,
}

impl<'a> Notes<'a> {
    /// The descriptor of the note at `at`, unless it is another's, and where the next note is.
    fn read(&self) -> Result<(Option<&'a [u8]>, usize)> {
        const HEADER: usize = 12;
        let word = |number: usize| u32_at(self.data, self.at + number * 4, self.endian);
        let (name_len, len, kind) = (word(0)? as usize, word(1)? as usize, word(2)?);
        let owner = slice_at(self.data, self.at + HEADER, name_len)?;
        let start = self.at + HEADER + padded(name_len);
        let descriptor = slice_at(self.data, start, len)?;
        let ours = owner == OWNER && kind == NT_STAPSDT;
        Ok((ours.then_some(descriptor), start + padded(len)))
    }
}

/// Names and descriptors are padded to four bytes. Saturates far outside of any section.
fn padded(len: usize) -> usize {
    len.checked_next_multiple_of(4).unwrap_or(usize::MAX / 4)
}

impl<'a> Iterator for Notes<'a> {
    type Item = Result<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.data.len() {
            match self.read() {
                // At least a header further, which bounds the loop.
                Ok((descriptor, next)) => {
                    self.at = next;
                    if let Some(descriptor) = descriptor {
                        return Some(Ok(descriptor));
                    }
                }
                Err(error) => {
                    self.at = self.data.len();
                    return Some(Err(error.context(format!("section `{NOTES}`"))));
                }
            }
        }
        None
    }
}

/// What a note says. Addresses are those that the linker gave.
struct Probe<'a> {
    location: u64,
    base: u64,
    semaphore: u64,
    provider: &'a [u8],
    name: &'a [u8],
    arguments: &'a [u8],
}

impl<'a> Probe<'a> {
    fn read(note: &'a [u8], endian: Endian, wide: bool) -> Result<Self> {
        let size = if wide { 8 } else { 4 };
        let address = |number: usize| match wide {
            true => u64_at(note, number * size, endian),
            false => u32_at(note, number * size, endian).map(u64::from),
        };
        let provider = c_str_at(note, 3 * size)?;
        let name_at = 3 * size + provider.len() + 1;
        let name = c_str_at(note, name_at)?;
        let arguments = c_str_at(note, name_at + name.len() + 1)?;
        Ok(Self {
            location: address(0)?,
            base: address(1)?,
            semaphore: address(2)?,
            provider,
            name,
            arguments,
        })
    }
}
