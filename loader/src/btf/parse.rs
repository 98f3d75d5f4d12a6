//! From bytes to a walkable type section: header, section bounds, kind sizes, one step over one type.
//!
//! In: a blob of either byte order. Out: [`Sections`] and [`Walk`]. Everything that asks about types is in
//! [`super`]. Source: `include/uapi/linux/btf.h`; the layout section came with the 7.x kernels.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::types::RawType;
use crate::bytes::{Endian, array_at, slice_at, u32_at};
use crate::error::{Error, Result};

/// First two bytes of every blob, in its own byte order.
pub(super) const MAGIC: u16 = 0xeb9f;
/// Bytes of the header without the layout section's words.
pub(super) const HEADER_LEN: u32 = 24;
const HEADER_LEN_WITH_LAYOUT: u32 = 32;
/// Bytes in front of every type's tail: name offset, info, size or type.
pub(super) const TYPE_LEN: usize = 12;

/// Owned or shared bytes of a blob: a `Vec`, or something mapped that derefs to bytes.
#[derive(Clone)]
pub struct BtfData(Arc<dyn AsRef<[u8]> + Send + Sync>);

impl BtfData {
    /// Bytes that somebody else holds too, such as a mapping of `/sys/kernel/btf/vmlinux`. They must not change
    /// while they are shared; a change could make lookups fail, but not unsound.
    pub fn from_shared(data: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Self {
        Self(data)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl From<Vec<u8>> for BtfData {
    fn from(data: Vec<u8>) -> Self {
        Self(Arc::new(data))
    }
}

impl fmt::Debug for BtfData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BtfData({} bytes)", self.bytes().len())
    }
}

/// Where the sections of a blob are, as byte ranges of the blob.
#[derive(Debug)]
pub(super) struct Sections {
    pub(super) endian: Endian,
    pub(super) types: Range<usize>,
    pub(super) strings: Range<usize>,
    layout: Option<Range<usize>>,
}

/// Tail sizes per kind: bytes after the header words, and bytes per vlen element. Kept as plain words, because
/// every step of a walk waits for one: bits 0 to 7 fixed, 8 to 15 per element, [`UNKNOWN`] for no such kind.
#[derive(Clone, Debug)]
pub(super) struct KindSizes([u32; 128]);

const UNKNOWN: u32 = u32::MAX;

fn pack((fixed, each): (u8, u8)) -> u32 {
    u32::from_be_bytes([0, 0, each, fixed])
}

impl Sections {
    /// Reads the header and checks that each section lies inside of the blob.
    pub(super) fn read(data: &[u8]) -> Result<Self> {
        let endian = magic(data)?;
        let [_, _, version, _] = array_at(data, 0)?;
        if version != 1 {
            return Err(Error::invalid(format!("version {version} where 1 was expected")));
        }
        let header_len = u32_at(data, 4, endian)?;
        if header_len < HEADER_LEN {
            return Err(Error::invalid(format!(
                "header of {header_len} bytes, at least {HEADER_LEN} expected"
            )));
        }
        let section = |name: &str, at: usize| {
            section(data, header_len, endian, at).map_err(|e| e.context(name.to_owned()))
        };
        let types = section("type section", 8)?;
        let strings = section("string section", 16)?;
        let layout = match header_len >= HEADER_LEN_WITH_LAYOUT {
            true => Some(section("layout section", 24)?).filter(|range| !range.is_empty()),
            false => None,
        };
        Ok(Self { endian, types, strings, layout })
    }

    /// What this code knows, extended by what the blob's layout section, or else the base's, says of newer kinds.
    pub(super) fn kind_sizes(&self, data: &[u8], base: Option<&KindSizes>) -> Result<KindSizes> {
        let mut sizes = base.cloned().unwrap_or_else(KindSizes::known);
        let Some(layout) = self.layout.clone() else { return Ok(sizes) };
        let entries = slice_at(data, layout.start, layout.len())?.as_chunks::<4>().0;
        for ([fixed, each, _, _], slot) in entries.iter().zip(&mut sizes.0).skip(KNOWN.len()) {
            *slot = pack((*fixed, *each));
        }
        Ok(sizes)
    }
}

/// The byte order, from the magic.
pub(super) fn magic(data: &[u8]) -> Result<Endian> {
    let bytes = array_at(data, 0)?;
    [Endian::Little, Endian::Big]
        .into_iter()
        .find(|endian| endian.u16(bytes) == MAGIC)
        .ok_or_else(|| Error::invalid(format!("magic {:#06x} is not that of BTF", Endian::Big.u16(bytes))))
}

/// The section whose offset and length words are at `at`; offsets count from the end of the header.
pub(super) fn section(data: &[u8], header_len: u32, endian: Endian, at: usize) -> Result<Range<usize>> {
    let offset = u64::from(u32_at(data, at, endian)?) + u64::from(header_len);
    let end = offset + u64::from(u32_at(data, at + 4, endian)?);
    match (usize::try_from(offset), usize::try_from(end)) {
        (Ok(start), Ok(end)) if end <= data.len() => Ok(start..end),
        _ => Err(Error::invalid(format!("bytes {offset} to {end} are outside of {} bytes", data.len()))),
    }
}

const KNOWN: [Option<(u8, u8)>; 20] = [
    None,
    Some((4, 0)),  // int
    Some((0, 0)),  // ptr
    Some((12, 0)), // array
    Some((0, 12)), // struct
    Some((0, 12)), // union
    Some((0, 8)),  // enum
    Some((0, 0)),  // fwd
    Some((0, 0)),  // typedef
    Some((0, 0)),  // volatile
    Some((0, 0)),  // const
    Some((0, 0)),  // restrict
    Some((0, 0)),  // func: vlen is the linkage
    Some((0, 8)),  // func_proto
    Some((4, 0)),  // var
    Some((0, 12)), // datasec
    Some((0, 0)),  // float
    Some((4, 0)),  // decl_tag
    Some((0, 0)),  // type_tag
    Some((0, 12)), // enum64
];

impl KindSizes {
    fn known() -> Self {
        let mut sizes = [UNKNOWN; 128];
        for (slot, known) in sizes.iter_mut().zip(KNOWN) {
            *slot = known.map_or(UNKNOWN, pack);
        }
        Self(sizes)
    }

    /// Bytes after the header words of this type.
    #[inline]
    fn tail_len(&self, raw: RawType) -> Option<usize> {
        let sizes = self.0.get(usize::from(raw.kind())).copied().filter(|sizes| *sizes != UNKNOWN)?;
        // At most 255 + 255 * (2^24 - 1), which fits 32 bits.
        usize::try_from((sizes & 0xff) + (sizes >> 8) * raw.vlen()).ok()
    }
}

/// Steps through a type section, one type at a time, in the order of the ids.
pub(super) struct Walk<'a> {
    types: &'a [u8],
    at: usize,
    endian: Endian,
    sizes: &'a KindSizes,
}

/// A type as found by [`Walk`]: where it starts in the type section, its words, its tail.
pub(super) struct Step<'a> {
    pub(super) at: usize,
    pub(super) raw: RawType,
    pub(super) tail: &'a [u8],
}

impl<'a> Walk<'a> {
    /// `at` is the byte offset, in the type section `types`, of the type to start with.
    pub(super) fn new(types: &'a [u8], at: usize, endian: Endian, sizes: &'a KindSizes) -> Self {
        Self { types, at, endian, sizes }
    }

    #[cold]
    fn broken(&mut self) -> Error {
        let at = std::mem::replace(&mut self.at, self.types.len());
        let info = u32_at(self.types, at.saturating_add(4), self.endian).unwrap_or(0);
        let raw = RawType { info, ..RawType::default() };
        if self.types.len() - at >= TYPE_LEN && self.sizes.tail_len(raw).is_none() {
            return Error::invalid(format!("type at byte {at} has kind {}, which is unknown", raw.kind()));
        }
        Error::invalid(format!("type at byte {at} (kind {}, vlen {}) is cut off", raw.kind(), raw.vlen()))
    }

    #[inline]
    fn step(&self) -> Option<Step<'a>> {
        let rest = self.types.get(self.at..)?;
        let (words, rest) = rest.split_first_chunk::<TYPE_LEN>()?;
        let [n0, n1, n2, n3, i0, i1, i2, i3, s0, s1, s2, s3] = *words;
        let raw = RawType {
            name_off: self.endian.u32([n0, n1, n2, n3]),
            info: self.endian.u32([i0, i1, i2, i3]),
            size_or_type: self.endian.u32([s0, s1, s2, s3]),
        };
        let tail = rest.get(..self.sizes.tail_len(raw)?)?;
        Some(Step { at: self.at, raw, tail })
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<Step<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.types.len() {
            return None;
        }
        match self.step() {
            Some(step) => {
                self.at += TYPE_LEN + step.tail.len();
                Some(Ok(step))
            }
            None => Some(Err(self.broken())),
        }
    }
}
