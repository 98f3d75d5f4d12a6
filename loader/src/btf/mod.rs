//! BTF: the kernel's compact type format, read in place.
//!
//! In: a blob, of an object or of a kernel, as [`BtfData`]. Out: [`Btf`], which answers by id from the bytes
//! themselves. It keeps one offset for every sixteenth type and nothing else, because a kernel has more than a
//! hundred thousand types and a tracer looks at a few dozen. The one-pass search for many names is in
//! [`wanted`], writing BTF in [`encode`], the event contract's layouts in [`layout`], `.BTF.ext` in [`ext`], modules built
//! for another kernel in `distilled`.

mod distilled;
pub mod encode;
pub mod ext;
pub mod layout;
mod parse;
mod sanitize;
pub mod types;
pub mod wanted;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

pub use parse::BtfData;
use parse::{KindSizes, Sections, Step, Walk};
use types::RawType;
pub use types::{Array, Enumerator, IntInfo, Kind, Linkage, Member, Param, SectionVar, Type, TypeId};
use wanted::Hit;
pub use wanted::{WantedIds, WantedSet};

use crate::bytes::{Endian, c_str_at};
use crate::error::{Error, Result, ResultExt};

/// Longest chain of typedefs, qualifiers or arrays that is followed; a longer one is taken for a cycle, as in
/// the kernel.
pub const MAX_DEPTH: u32 = 32;

/// Every how many types the checkpoint table has an entry.
const STRIDE: u32 = 16;

/// A parsed blob. Clones share everything.
#[derive(Clone)]
pub struct Btf(Arc<Inner>);

struct Inner {
    data: BtfData,
    endian: Endian,
    types: Range<usize>,
    strings: Range<usize>,
    sizes: KindSizes,
    base: Option<Btf>,
    /// Id of the first type of the type section: 1, or what follows the base's last.
    first_id: u32,
    /// Offset of the first string: 0, or what follows the base's last.
    first_string: u32,
    /// Made by the first walk over the type section.
    index: OnceLock<Index>,
    pointer_size: OnceLock<u32>,
}

/// Where types are.
#[derive(Debug)]
struct Index {
    /// One more than the last id.
    end_id: u32,
    /// Byte offset in the type section of each [`STRIDE`]th type.
    checkpoints: Vec<u32>,
}

impl Btf {
    /// Parses a self-contained blob of either byte order. Walks the type section once.
    ///
    /// # Errors
    /// `InvalidObject`, naming the byte; also for a kind of type that is newer than this loader, if the blob does not say how
    /// large it is.
    pub fn parse(data: BtfData) -> Result<Self> {
        let btf = Self::parse_on(data, None).context("parse BTF")?;
        btf.index().context("parse BTF")?;
        Ok(btf)
    }

    /// As [`Btf::parse`], but leaves the walk to the first question. For the kernel's own BTF, where the first
    /// question is [`Btf::wanted`] and walks anyway; a broken type section is reported there, and by
    /// [`Btf::type_by_id`].
    ///
    /// # Errors
    /// `InvalidObject` for the header; damage further in is found by whoever reads there.
    pub fn parse_deferred(data: BtfData) -> Result<Self> {
        Self::parse_on(data, None).context("parse BTF")
    }

    /// Parses a kernel module's blob, whose ids and string offsets continue those of `base`.
    ///
    /// # Errors
    /// As for [`Btf::parse`]; `InvalidObject` also for another byte order than the base's.
    pub fn parse_split(data: BtfData, base: &Btf) -> Result<Self> {
        base.index().context("parse BTF")?;
        let btf = Self::parse_on(data, Some(base)).context("parse split BTF")?;
        btf.index().context("parse split BTF")?;
        Ok(btf)
    }

    fn parse_on(data: BtfData, base: Option<&Btf>) -> Result<Self> {
        let bytes = data.bytes();
        let sections = Sections::read(bytes)?;
        if let Some(base) = base
            && base.endian() != sections.endian
        {
            return Err(Error::invalid("byte order differs from that of the base"));
        }
        check_strings(bytes.get(sections.strings.clone()).unwrap_or_default(), base.is_some())?;
        let sizes = sections.kind_sizes(bytes, base.map(|base| &base.0.sizes))?;
        let first_id = base.map_or(1, Btf::type_count);
        let Sections { endian, types, strings, .. } = sections;
        let first_string = base.map_or(Ok(0), Btf::end_string)?;
        let (index, pointer_size) = (OnceLock::new(), OnceLock::new());
        let base = base.cloned();
        Ok(Self(Arc::new(Inner {
            data,
            endian,
            types,
            strings,
            sizes,
            base,
            first_id,
            first_string,
            index,
            pointer_size,
        })))
    }

    /// Byte order of the blob.
    pub fn endian(&self) -> Endian {
        self.0.endian
    }

    /// One more than the highest id; `void` and the types of the base count.
    pub fn type_count(&self) -> u32 {
        // Only a deferred parse can fail here; then there is nothing but `void`.
        self.index().map_or(self.0.first_id, |index| index.end_id)
    }

    fn index(&self) -> Result<&Index> {
        if let Some(index) = self.0.index.get() {
            return Ok(index);
        }
        let mut indexer = Indexer::new(self.0.first_id);
        for step in self.walk(0) {
            indexer.add(step?.at)?;
        }
        Ok(self.0.index.get_or_init(|| indexer.finish()))
    }

    /// The blob this one continues, if it is a module's.
    pub fn base(&self) -> Option<&Btf> {
        self.0.base.as_ref()
    }

    /// The bytes that were parsed.
    pub fn raw(&self) -> &[u8] {
        self.0.data.bytes()
    }

    /// Whether both are the same parsed blob.
    pub fn is_same(&self, other: &Btf) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The type with this id.
    ///
    /// # Errors
    /// `InvalidObject` when there is no such id.
    pub fn type_by_id(&self, id: TypeId) -> Result<Type<'_>> {
        if id == TypeId::VOID {
            return Ok(Type { btf: self, id, raw: RawType::default(), tail: &[] });
        }
        let mut level = self;
        while id.0 < level.0.first_id {
            level = level.base().ok_or_else(|| self.no_type(id))?;
        }
        let step = level.locate(id)?.ok_or_else(|| self.no_type(id))?;
        Ok(Type { btf: self, id, raw: step.raw, tail: step.tail })
    }

    fn locate(&self, id: TypeId) -> Result<Option<Step<'_>>> {
        let index = self.index()?;
        let place = id.0.checked_sub(self.0.first_id).and_then(|number| {
            let checkpoint = index.checkpoints.get(usize::try_from(number / STRIDE).ok()?)?;
            Some((usize::try_from(*checkpoint).ok()?, usize::try_from(number % STRIDE).ok()?))
        });
        place.and_then(|(at, number)| self.walk(at).nth(number)).transpose()
    }

    #[cold]
    fn no_type(&self, id: TypeId) -> Error {
        Error::invalid(format!("no type has id {}, the last one is {}", id.0, self.type_count() - 1))
    }

    /// Walks this blob's own types, from a byte offset in its type section.
    fn walk(&self, at: usize) -> Walk<'_> {
        Walk::new(self.type_bytes(), at, self.0.endian, &self.0.sizes)
    }

    fn type_bytes(&self) -> &[u8] {
        self.raw().get(self.0.types.clone()).unwrap_or_default()
    }

    fn string_section(&self) -> &[u8] {
        self.raw().get(self.0.strings.clone()).unwrap_or_default()
    }

    fn end_string(&self) -> Result<u32> {
        u32::try_from(self.0.strings.len())
            .ok()
            .and_then(|len| self.0.first_string.checked_add(len))
            .ok_or_else(|| Error::invalid("string offsets exceed 32 bits"))
    }

    /// The base of all bases first, this blob last.
    fn levels(&self) -> Vec<&Btf> {
        let mut levels: Vec<&Btf> = std::iter::successors(Some(self), |level| level.base()).collect();
        levels.reverse();
        levels
    }

    /// All types in the order of their ids, `void` left out, the base's included.
    pub fn types(&self) -> impl Iterator<Item = Result<Type<'_>>> {
        let steps = self.levels().into_iter().flat_map(|level| level.walk(0));
        (1..).map(TypeId).zip(steps).map(|(id, step)| {
            let Step { raw, tail, .. } = step?;
            Ok(Type { btf: self, id, raw, tail })
        })
    }

    /// As [`Btf::types`], without those of the base.
    pub fn own_types(&self) -> impl Iterator<Item = Result<Type<'_>>> {
        (self.0.first_id..).map(TypeId).zip(self.walk(0)).map(|(id, step)| {
            let Step { raw, tail, .. } = step?;
            Ok(Type { btf: self, id, raw, tail })
        })
    }

    /// The bytes, without the NUL, of the string at a string offset.
    ///
    /// # Errors
    /// `InvalidObject` when the offset is in no string section.
    pub fn string_bytes(&self, offset: u32) -> Result<&[u8]> {
        let mut level = self;
        while let (true, Some(base)) = (offset < level.0.first_string, level.base()) {
            level = base;
        }
        let at = usize::try_from(offset.saturating_sub(level.0.first_string)).unwrap_or(usize::MAX);
        c_str_at(level.string_section(), at).context("BTF string")
    }

    /// The string at a string offset.
    ///
    /// # Errors
    /// As for [`Btf::string_bytes`], and when it is not UTF-8.
    pub fn string(&self, offset: u32) -> Result<&str> {
        std::str::from_utf8(self.string_bytes(offset)?)
            .map_err(|_| Error::invalid(format!("BTF string at offset {offset} is not UTF-8")))
    }

    /// The first type of this name and kind. Walks the type section; for more than one name see [`Btf::wanted`].
    ///
    /// # Errors
    /// `InvalidObject` when the types are damaged.
    pub fn find(&self, name: &str, kind: Kind) -> Result<Option<TypeId>> {
        for ty in self.types() {
            let ty = ty?;
            if ty.kind() == kind && ty.name_bytes()? == name.as_bytes() {
                return Ok(Some(ty.id()));
            }
        }
        Ok(None)
    }

    /// The type below all qualifiers, typedefs and type tags.
    ///
    /// # Errors
    /// `InvalidObject` when there is no such id, or the chain is too long or leads back to itself.
    pub fn strip(&self, id: TypeId) -> Result<Type<'_>> {
        let mut ty = self.type_by_id(id)?;
        for _ in 0..MAX_DEPTH {
            match ty.target() {
                Some(target) if ty.kind().is_modifier_or_typedef() => ty = self.type_by_id(target)?,
                _ => return Ok(ty),
            }
        }
        Err(too_deep(id))
    }

    /// Size in bytes of a value of this type. Kind `Incompatible` for types that have no values: `void`, forward
    /// declarations, functions.
    pub fn size_of(&self, id: TypeId) -> Result<u64> {
        let mut ty = self.type_by_id(id)?;
        let mut count: u64 = 1;
        for _ in 0..MAX_DEPTH {
            let size = match ty.kind() {
                Kind::Ptr => Some(self.pointer_size()),
                _ => ty.size(),
            };
            if let Some(size) = size {
                return count.checked_mul(u64::from(size)).ok_or_else(|| too_large(id));
            }
            let next = match (ty.kind(), ty.array()) {
                (_, Some(array)) => {
                    count = count.checked_mul(u64::from(array.len)).ok_or_else(|| too_large(id))?;
                    array.element
                }
                (Kind::Void | Kind::Func | Kind::FuncProto, _) => return Err(sizeless(ty)),
                _ => ty.target().ok_or_else(|| sizeless(ty))?,
            };
            ty = self.type_by_id(next)?;
        }
        Err(too_deep(id))
    }

    /// Size in bytes of a pointer: that of `long` in this blob, 8 when it has none.
    pub fn pointer_size(&self) -> u32 {
        *self.0.pointer_size.get_or_init(|| match self.base() {
            Some(base) => base.pointer_size(),
            None => self.long_size().unwrap_or(8),
        })
    }

    fn long_size(&self) -> Option<u32> {
        const LONGS: [&[u8]; 4] = [b"long unsigned int", b"long int", b"unsigned long", b"long"];
        self.types()
            .filter_map(Result::ok)
            .filter(|ty| ty.kind() == Kind::Int && matches!(ty.size(), Some(4 | 8)))
            .find(|ty| ty.name_bytes().is_ok_and(|name| LONGS.contains(&name)))
            .and_then(Type::size)
    }
}

impl fmt::Debug for Btf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Btf({} bytes, {:?})", self.raw().len(), self.endian())
    }
}

/// The kernel wants the first and the last byte to be NUL; a split blob's first string need not be empty.
fn check_strings(strings: &[u8], split: bool) -> Result<()> {
    match (strings.first(), strings.last()) {
        (Some(first), Some(0)) if split || *first == 0 => Ok(()),
        (None, _) if split => Ok(()),
        _ => Err(Error::invalid("string section does not start and end with NUL")),
    }
}

/// Makes an [`Index`] along a walk.
struct Indexer {
    first_id: u32,
    next_id: u32,
    checkpoints: Vec<u32>,
}

impl Indexer {
    fn new(first_id: u32) -> Self {
        Self { first_id, next_id: first_id, checkpoints: Vec::new() }
    }

    /// The next type starts at this byte of the type section; gives its id.
    #[inline]
    fn add(&mut self, at: usize) -> Result<TypeId> {
        let id = self.next_id;
        if (id - self.first_id).is_multiple_of(STRIDE) {
            // The header's length word bounds the type section to 32 bits.
            self.checkpoints.push(u32::try_from(at).map_err(|_| Error::invalid("type section is too long"))?);
        }
        self.next_id = id.checked_add(1).ok_or_else(|| Error::invalid("type ids exceed 32 bits"))?;
        Ok(TypeId(id))
    }

    fn finish(mut self) -> Index {
        self.checkpoints.shrink_to_fit();
        Index { end_id: self.next_id, checkpoints: self.checkpoints }
    }
}

fn too_deep(id: TypeId) -> Error {
    Error::invalid(format!("type {} is nested deeper than {MAX_DEPTH} levels, or in itself", id.0))
}

fn too_large(id: TypeId) -> Error {
    Error::invalid(format!("size of type {} exceeds 64 bits", id.0))
}

fn sizeless(ty: Type<'_>) -> Error {
    let name = String::from_utf8_lossy(ty.name_bytes().unwrap_or_default()).into_owned();
    Error::incompatible(format!("{} `{name}` (type {}) has no size", ty.kind().word(), ty.id().0))
}
