//! A module's types on a kernel that it was not built for.
//!
//! In: split BTF whose base is not a kernel's BTF but a distilled one (`.BTF.base`, modules built out of tree since
//! 6.11): only what the module refers to, by name and, where it matters, size. And the kernel that is running. Out:
//! the same split BTF on top of that kernel's types. Each distilled type must be one type of the kernel: the rules are
//! those of libbpf's `btf__relocate()` and of the kernel, which does the same when it loads a module.

use std::collections::BTreeSet;

use super::parse::{Step, TYPE_LEN};
use super::types::RawType;
use super::{Btf, BtfData, Hit, Kind, MAX_DEPTH, Type, TypeId, WantedIds, WantedSet, encode};
use crate::bytes::{Endian, u32_at};
use crate::error::{Error, Result, ResultExt as _};

impl Btf {
    /// Parses a module's blob `split`, whose ids and string offsets continue those of `distilled`, and puts it on top of
    /// `kernel`. All three have the same byte order.
    ///
    /// # Errors
    /// `Incompatible` when the kernel lacks a type that the module was built with, has it in another size where
    /// that matters, or has several; `InvalidObject` for blobs that are malformed.
    pub fn parse_distilled(split: BtfData, distilled: BtfData, kernel: &Btf) -> Result<Btf> {
        let base = Btf::parse(distilled).context("the distilled base")?;
        let split = Btf::parse_split(split, &base)?;
        let bytes = on_kernel(&split, &base, kernel).context("fit a module's BTF to the kernel")?;
        Btf::parse_split(BtfData::from(bytes), kernel)
    }
}

/// The bytes of `split` with ids and string offsets that continue those of `kernel`.
fn on_kernel(split: &Btf, base: &Btf, kernel: &Btf) -> Result<Vec<u8>> {
    if kernel.endian() != split.endian() {
        return Err(Error::incompatible("byte order differs from that of the kernel's BTF"));
    }
    let moved = Moved::new(split, base, kernel)?;
    let mut types = split.type_bytes().to_vec();
    for step in split.walk(0) {
        let Step { at, raw, .. } = step?;
        moved.rewrite(&mut types, at, raw)?;
    }
    // The base's strings follow the module's own: which of them the kernel has as well does not matter.
    let strings = [split.string_section(), base.string_section()].concat();
    Ok(encode::blob(&types, &strings, split.endian()))
}

/// Where ids and strings of a blob and of its distilled base went.
struct Moved {
    endian: Endian,
    /// By distilled id, `void` included: the kernel's id.
    base_ids: Vec<TypeId>,
    /// Id of the first type after the kernel's.
    first_id: u32,
    base_strings: u32,
    split_strings: u32,
    first_string: u32,
}

impl Moved {
    fn new(split: &Btf, base: &Btf, kernel: &Btf) -> Result<Self> {
        let len = |btf: &Btf| u32::try_from(btf.string_section().len()).unwrap_or(u32::MAX);
        Ok(Self {
            endian: split.endian(),
            base_ids: find_all(split, base, kernel)?,
            first_id: kernel.type_count(),
            base_strings: len(base),
            split_strings: len(split),
            first_string: kernel.end_string()?,
        })
    }

    fn id(&self, id: u32) -> Result<u32> {
        let known = usize::try_from(id).ok().and_then(|index| self.base_ids.get(index));
        let own = || id.checked_sub(u32::try_from(self.base_ids.len()).ok()?)?.checked_add(self.first_id);
        known.map(|id| id.0).or_else(own).ok_or_else(|| Error::invalid(format!("type id {id} is too large")))
    }

    fn string(&self, offset: u32) -> Result<u32> {
        if offset == 0 {
            return Ok(0);
        }
        let moved = match offset.checked_sub(self.base_strings) {
            Some(own) => self.first_string.checked_add(own),
            None => self.first_string.checked_add(self.split_strings).and_then(|end| end.checked_add(offset)),
        };
        moved.ok_or_else(|| Error::invalid(format!("string offset {offset} is too large")))
    }

    fn rewrite(&self, types: &mut [u8], at: usize, raw: RawType) -> Result<()> {
        use Kind::*;
        let kind = Kind::from_raw(raw.kind());
        if kind == Unknown {
            return Err(Error::not_supported("BTF of a kind newer than this loader", ""));
        }
        self.put(types, at, Self::string)?;
        let refers = matches!(
            kind,
            Ptr | Typedef | Volatile | Const | Restrict | Func | FuncProto | Var | DeclTag | TypeTag
        );
        if refers {
            self.put(types, at + 8, Self::id)?;
        }
        // Words of one entry of the tail, and which of them are a name and an id.
        let (words, name, id): (usize, Option<usize>, Option<usize>) = match kind {
            Struct | Union => (3, Some(0), Some(1)),
            FuncProto => (2, Some(0), Some(1)),
            Enum => (2, Some(0), None),
            Enum64 => (3, Some(0), None),
            Datasec => (3, None, Some(0)),
            _ => (0, None, None),
        };
        for entry in 0..usize::try_from(raw.vlen()).unwrap_or(0) {
            let start = at + TYPE_LEN + entry * words * 4;
            name.map_or(Ok(()), |word| self.put(types, start + word * 4, Self::string))?;
            id.map_or(Ok(()), |word| self.put(types, start + word * 4, Self::id))?;
        }
        if kind == Array {
            self.put(types, at + TYPE_LEN, Self::id)?;
            self.put(types, at + TYPE_LEN + 4, Self::id)?;
        }
        Ok(())
    }

    fn put(&self, types: &mut [u8], at: usize, moved: fn(&Self, u32) -> Result<u32>) -> Result<()> {
        let word = moved(self, u32_at(types, at, self.endian)?)?;
        if let Some(slot) = types.get_mut(at..at + 4) {
            slot.copy_from_slice(&self.endian.u32_bytes(word));
        }
        Ok(())
    }
}

/// For each distilled type, in the order of the ids, the kernel's; first `void`.
fn find_all(split: &Btf, base: &Btf, kernel: &Btf) -> Result<Vec<TypeId>> {
    let mut names = WantedSet::new();
    for ty in base.types() {
        names.insert_bytes(ty?.name_bytes()?);
    }
    let found = kernel.wanted(&names)?;
    let embedded = embedded(split)?;
    let mut ids = vec![TypeId::VOID];
    for ty in base.types() {
        let ty = ty?;
        let id = find(ty, embedded.contains(&ty.id()), kernel, &found);
        ids.push(id.with_context(|| {
            let name = String::from_utf8_lossy(ty.name_bytes().unwrap_or_default()).into_owned();
            format!("{} `{name}`", ty.kind().word())
        })?);
    }
    Ok(ids)
}

fn find(ty: Type<'_>, embedded: bool, kernel: &Btf, found: &WantedIds) -> Result<TypeId> {
    let name = ty.name_bytes()?;
    if name.is_empty() {
        return Err(Error::invalid("a distilled type has no name"));
    }
    let mut candidates = Vec::new();
    for Hit { id, flavoured, .. } in found.essential_bytes(name) {
        let candidate = kernel.type_by_id(id)?;
        if !flavoured && alike(ty, candidate)? {
            candidates.push(candidate);
        }
    }
    // A struct that is only pointed to may have grown since; one inside of another must not have. The size also tells
    // two of one name apart.
    if ty.kind().is_composite() && (embedded || candidates.len() > 1) {
        let sizes: Vec<_> = candidates.iter().filter_map(|candidate| candidate.size()).collect();
        candidates.retain(|candidate| candidate.size() == ty.size());
        if let (Some(size), []) = (sizes.first(), candidates.as_slice()) {
            let built = ty.size().unwrap_or_default();
            return Err(Error::incompatible(format!("it has {size} bytes, the module expects {built}")));
        }
    }
    match candidates.as_slice() {
        [only] => Ok(only.id()),
        [] => Err(Error::incompatible("the kernel has no such type")),
        [first, second, ..] => Err(Error::incompatible(format!(
            "ambiguous: the kernel has it as type {} and as type {}",
            first.id().0,
            second.id().0
        ))),
    }
}

/// Whether a type of the kernel, which has the right name, can be what was distilled to `ty`.
fn alike(ty: Type<'_>, candidate: Type<'_>) -> Result<bool> {
    let (kind, theirs) = (ty.kind(), candidate.kind());
    let same_size = ty.size() == candidate.size();
    Ok(match kind {
        Kind::Int => {
            let encoding = |ty: Type<'_>| ty.int().map(|int| int.encoding);
            theirs == kind && same_size && encoding(ty) == encoding(candidate)
        }
        Kind::Float => theirs == kind && same_size,
        // Enumerations of either width lose their names, and become this.
        Kind::Enum => theirs.is_enum() && same_size,
        Kind::Struct | Kind::Union => theirs == kind,
        Kind::Fwd => match theirs {
            Kind::Fwd => ty.kind_flag() == candidate.kind_flag(),
            Kind::Struct => !ty.kind_flag(),
            Kind::Union => ty.kind_flag(),
            _ => false,
        },
        _ => return Err(Error::invalid(format!("a distilled base has no {}", kind.word()))),
    })
}

/// Types of the base that a struct or union of the module has inside of itself, not behind a pointer.
fn embedded(split: &Btf) -> Result<BTreeSet<TypeId>> {
    let own = split.base().map_or(1, Btf::type_count);
    let mut found = BTreeSet::new();
    for (id, step) in (own..).zip(split.walk(0)) {
        step?;
        for member in split.type_by_id(TypeId(id))?.members() {
            if let Some(inside) = composite_inside(split, member.type_id)?.filter(|inside| inside.0 < own) {
                found.insert(inside);
            }
        }
    }
    Ok(found)
}

/// The struct or union below qualifiers, typedefs and arrays.
fn composite_inside(btf: &Btf, id: TypeId) -> Result<Option<TypeId>> {
    let mut ty = btf.strip(id)?;
    for _ in 0..MAX_DEPTH {
        match ty.array() {
            Some(array) => ty = btf.strip(array.element)?,
            None => break,
        }
    }
    Ok(Some(ty.id()).filter(|_| ty.kind().is_composite()))
}
