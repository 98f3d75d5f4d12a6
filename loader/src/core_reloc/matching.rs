//! Whether, and where, a type of the kernel has what the object means.
//!
//! In: the object's [`Spec`] and one candidate of the kernel. Out: the candidate's own `Spec`, or [`Miss`]: at
//! which step it has nothing alike. The rules are those of libbpf's and the kernel's `relo_core.c`, because clang
//! and everybody's programs rely on them.

use super::access::{Family, RelocKind, Spec};
use crate::btf::wanted::essential_name;
use crate::btf::{Btf, Kind, MAX_DEPTH, Type, TypeId};
use crate::error::{Error, ErrorKind, Result};

/// Types and members that one object's relocations may look at, all together. A real object stays far below;
/// nameless members and function prototypes can multiply without end in a hostile blob.
const BUDGET: u32 = 1 << 24;

/// Why a candidate does not match. Ids of the kernel's BTF, but for `local`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    /// The struct, union or enum has no such member or variant, or is none at all.
    NoMember { parent: TypeId, name_off: u32 },
    /// The member is there, but is something else.
    Incompatible { local: TypeId, target: TypeId },
    /// Not an array, or too short a one.
    NoElement { target: TypeId, index: u32 },
    /// The types as a whole are not alike.
    Unlike { target: TypeId },
}

/// What a search for a member came to.
enum Found {
    /// Its struct, number, bits from the start of the struct that was searched, and type.
    Member {
        parent: TypeId,
        index: u32,
        name_off: u32,
        bits: u64,
        type_id: TypeId,
    },
    Incompatible(TypeId),
    Nothing,
}

/// The two sides, and what is left of the budget.
pub(super) struct Matcher<'a> {
    pub(super) local: &'a Btf,
    pub(super) target: &'a Btf,
    pub(super) budget: &'a mut Budget,
}

/// Steps left.
#[derive(Debug)]
pub(super) struct Budget(u32);

impl Default for Budget {
    fn default() -> Self {
        Self(BUDGET)
    }
}

impl Budget {
    fn spend(&mut self) -> Result<()> {
        let left = self.0.checked_sub(1);
        self.0 =
            left.ok_or_else(|| Error::new(ErrorKind::Limit, "CO-RE types are too entangled to compare"))?;
        Ok(())
    }
}

/// The kinds are the same, or both are enumerations.
pub(super) fn same_kind(local: Kind, target: Kind) -> bool {
    local == target || (local.is_enum() && target.is_enum())
}

impl Matcher<'_> {
    /// The access `spec` in the candidate type `candidate`.
    pub(super) fn candidate(
        &mut self,
        spec: &Spec,
        candidate: TypeId,
        kind: RelocKind,
    ) -> Result<Result<Spec, Miss>> {
        self.budget.spend()?;
        let found = Spec { root: candidate, accessors: Vec::new(), bit_offset: 0 };
        match kind.family() {
            Family::Field => self.field(spec, found),
            Family::EnumValue => self.variant(spec, found),
            Family::Type => {
                let alike = match kind {
                    RelocKind::TypeMatches => self.types_match(spec.root, candidate, false, MAX_DEPTH)?,
                    _ => self.types_compatible_roots(spec.root, candidate)?,
                };
                Ok(if alike { Ok(found) } else { Err(Miss::Unlike { target: candidate }) })
            }
        }
    }

    // -- fields and variants -------------------------------------------------------------------------------

    fn field(&mut self, spec: &Spec, mut found: Spec) -> Result<Result<Spec, Miss>> {
        let mut current = found.root;
        for (step, accessor) in spec.accessors.iter().enumerate() {
            let ty = self.target.strip(current)?;
            let Some(name_off) = accessor.name_off else {
                let element = match (step, ty.array()) {
                    (0, _) => ty.id(),
                    (_, Some(array))
                        if accessor.index < array.len || found.is_flexible(self.target, array)? =>
                    {
                        self.target.strip(array.element)?.id()
                    }
                    _ => return Ok(Err(Miss::NoElement { target: ty.id(), index: accessor.index })),
                };
                match found.push_element(self.target, element, accessor.index) {
                    Err(error) if error.kind() == ErrorKind::Incompatible => {
                        return Ok(Err(Miss::Unlike { target: element }));
                    }
                    other => other?,
                }
                current = element;
                continue;
            };
            let local = self.local.type_by_id(accessor.type_id)?.member(accessor.index);
            let local = local.ok_or_else(|| Error::invalid("member is gone"))?.type_id;
            match self.member(name_off, local, ty, MAX_DEPTH)? {
                Found::Member { parent, index, name_off, bits, type_id } => {
                    found.accessors.push(super::access::Accessor {
                        type_id: parent,
                        index,
                        name_off: Some(name_off),
                    });
                    found.advance(bits)?;
                    current = type_id;
                }
                Found::Incompatible(target) => return Ok(Err(Miss::Incompatible { local, target })),
                Found::Nothing => return Ok(Err(Miss::NoMember { parent: ty.id(), name_off })),
            }
        }
        Ok(Ok(found))
    }

    /// Searches `ty` and the nameless structs and unions in it. The first member of that name decides for its
    /// level; an incompatible one does not stop the search further out.
    fn member(&mut self, name_off: u32, local: TypeId, ty: Type<'_>, depth: u32) -> Result<Found> {
        let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
        let name = self.local.string_bytes(name_off)?;
        let mut result = Found::Nothing;
        for (index, member) in (0..).zip(ty.members()) {
            self.budget.spend()?;
            if member.name_off == 0 {
                let inner = self.target.strip(member.type_id)?;
                match self.member(name_off, local, inner, depth)? {
                    Found::Member { parent, index, name_off, bits, type_id } => {
                        let bits = bits.saturating_add(u64::from(member.bit_offset));
                        return Ok(Found::Member { parent, index, name_off, bits, type_id });
                    }
                    Found::Incompatible(target) => result = Found::Incompatible(target),
                    Found::Nothing => {}
                }
            } else if self.target.string_bytes(member.name_off)? == name {
                if !self.fields_compatible(local, member.type_id)? {
                    return Ok(Found::Incompatible(member.type_id));
                }
                let (parent, bits) = (ty.id(), u64::from(member.bit_offset));
                return Ok(Found::Member {
                    parent,
                    index,
                    name_off: member.name_off,
                    bits,
                    type_id: member.type_id,
                });
            }
        }
        Ok(result)
    }

    fn variant(&mut self, spec: &Spec, mut found: Spec) -> Result<Result<Spec, Miss>> {
        let ty = self.target.strip(found.root)?;
        let name_off = spec.accessors.first().and_then(|accessor| accessor.name_off).unwrap_or(0);
        let wanted = essential_name(self.local.string_bytes(name_off)?);
        for (index, variant) in (0..).zip(ty.enumerators()) {
            self.budget.spend()?;
            if essential_name(self.target.string_bytes(variant.name_off)?) == wanted {
                let name_off = Some(variant.name_off);
                found.accessors.push(super::access::Accessor { type_id: ty.id(), index, name_off });
                return Ok(Ok(found));
            }
        }
        Ok(Err(Miss::NoMember { parent: ty.id(), name_off }))
    }

    /// Loose: a field may change its size or signedness, or become another struct.
    fn fields_compatible(&mut self, local: TypeId, target: TypeId) -> Result<bool> {
        let (mut local, mut target) = (local, target);
        for _ in 0..MAX_DEPTH {
            let (a, b) = (self.local.strip(local)?, self.target.strip(target)?);
            if a.kind().is_composite() && b.kind().is_composite() {
                return Ok(true);
            }
            if !same_kind(a.kind(), b.kind()) {
                return Ok(false);
            }
            match (a.kind(), a.array(), b.array()) {
                (Kind::Ptr | Kind::Float, ..) => return Ok(true),
                (Kind::Fwd | Kind::Enum | Kind::Enum64, ..) => {
                    let (a, b) = (essential_name(a.name_bytes()?), essential_name(b.name_bytes()?));
                    return Ok(a.is_empty() || b.is_empty() || a == b);
                }
                (Kind::Int, ..) => return Ok(whole_int(a) && whole_int(b)),
                (_, Some(a), Some(b)) => (local, target) = (a.element, b.element),
                _ => return Ok(false),
            }
        }
        Err(too_deep())
    }

    /// Whether the type of a symbol of the object fits that of the kernel's symbol.
    pub(super) fn symbols_compatible(&mut self, local: TypeId, target: TypeId) -> Result<bool> {
        self.types_compatible(local, target, MAX_DEPTH)
    }

    // -- whole types: compatible ---------------------------------------------------------------------------

    fn types_compatible_roots(&mut self, local: TypeId, target: TypeId) -> Result<bool> {
        let (a, b) = (self.local.type_by_id(local)?.kind(), self.target.type_by_id(target)?.kind());
        Ok(same_kind(a, b) && self.types_compatible(local, target, MAX_DEPTH)?)
    }

    /// Names were compared at the root and do not count below.
    fn types_compatible(&mut self, local: TypeId, target: TypeId, level: u32) -> Result<bool> {
        let level = level.checked_sub(1).ok_or_else(too_deep)?;
        let (mut local, mut target) = (local, target);
        for _ in 0..MAX_DEPTH {
            self.budget.spend()?;
            let (a, b) = (self.local.strip(local)?, self.target.strip(target)?);
            if !same_kind(a.kind(), b.kind()) {
                return Ok(false);
            }
            match a.kind() {
                Kind::Void | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Fwd => {
                    return Ok(true);
                }
                Kind::Int => return Ok(whole_int(a) && whole_int(b)),
                Kind::Ptr | Kind::Array => {}
                Kind::FuncProto => {
                    if a.vlen() != b.vlen() {
                        return Ok(false);
                    }
                    for (a, b) in a.params().zip(b.params()) {
                        if !self.types_compatible(a.type_id, b.type_id, level)? {
                            return Ok(false);
                        }
                    }
                }
                _ => return Ok(false),
            }
            (local, target) = (inner(a), inner(b));
        }
        Err(too_deep())
    }

    // -- whole types: match --------------------------------------------------------------------------------

    /// Strict: everything the object's type has must be in the kernel's, by name and, not behind a pointer, in
    /// depth.
    fn types_match(&mut self, local: TypeId, target: TypeId, behind_ptr: bool, level: u32) -> Result<bool> {
        let level = level.checked_sub(1).ok_or_else(too_deep)?;
        let (mut local, mut target, mut behind_ptr) = (local, target, behind_ptr);
        for _ in 0..MAX_DEPTH {
            self.budget.spend()?;
            let (a, b) = (self.local.strip(local)?, self.target.strip(target)?);
            if !self.names_match(a.name_off(), b.name_off())? {
                return Ok(false);
            }
            match a.kind() {
                Kind::Enum | Kind::Enum64 => return self.enums_match(a, b),
                Kind::Struct | Kind::Union | Kind::Fwd if behind_ptr => return Ok(declared_alike(a, b)),
                kind if kind != b.kind() => return Ok(false),
                Kind::Void => return Ok(true),
                Kind::Fwd => return Ok(a.kind_flag() == b.kind_flag()),
                Kind::Struct | Kind::Union => return self.composites_match(a, b, level),
                Kind::Int => return Ok(a.size() == b.size() && is_signed(a) == is_signed(b)),
                Kind::Ptr => behind_ptr = true,
                Kind::Array if a.array().map(|array| array.len) == b.array().map(|array| array.len) => {}
                Kind::FuncProto if a.vlen() == b.vlen() => {
                    for (a, b) in a.params().zip(b.params()) {
                        if !self.types_match(a.type_id, b.type_id, behind_ptr, level)? {
                            return Ok(false);
                        }
                    }
                }
                _ => return Ok(false),
            }
            (local, target) = (inner(a), inner(b));
        }
        Err(too_deep())
    }

    fn names_match(&self, local: u32, target: u32) -> Result<bool> {
        let (local, target) = (self.local.string_bytes(local)?, self.target.string_bytes(target)?);
        Ok(essential_name(local) == essential_name(target))
    }

    fn enums_match(&mut self, a: Type<'_>, b: Type<'_>) -> Result<bool> {
        if !b.kind().is_enum() || a.size() != b.size() || a.vlen() > b.vlen() {
            return Ok(false);
        }
        for local in a.enumerators() {
            let mut found = false;
            for target in b.enumerators() {
                self.budget.spend()?;
                found = found || self.names_match(local.name_off, target.name_off)?;
            }
            if !found {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Members pair within one level: nameless members with nameless ones.
    fn composites_match(&mut self, a: Type<'_>, b: Type<'_>, level: u32) -> Result<bool> {
        if a.vlen() > b.vlen() {
            return Ok(false);
        }
        for local in a.members() {
            let mut found = false;
            for target in b.members() {
                self.budget.spend()?;
                if self.names_match(local.name_off, target.name_off)?
                    && self.types_match(local.type_id, target.type_id, false, level)?
                {
                    found = true;
                    break;
                }
            }
            if !found {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Behind a pointer a declaration is as good as a definition, if both say `struct` or both say `union`.
fn declared_alike(a: Type<'_>, b: Type<'_>) -> bool {
    let says_union = |ty: Type<'_>| match ty.kind() {
        Kind::Struct => Some(false),
        Kind::Union => Some(true),
        Kind::Fwd => Some(ty.kind_flag()),
        _ => None,
    };
    says_union(a) == says_union(b)
}

/// Pointee, element or return type.
fn inner(ty: Type<'_>) -> TypeId {
    ty.array().map(|array| array.element).or(ty.target()).unwrap_or_default()
}

/// No bit-field in disguise.
fn whole_int(ty: Type<'_>) -> bool {
    ty.int().is_some_and(|int| int.bit_offset == 0)
}

pub(super) fn is_signed(ty: Type<'_>) -> bool {
    ty.int().is_some_and(crate::btf::IntInfo::is_signed)
}

fn too_deep() -> Error {
    Error::invalid(format!("types are nested deeper than {MAX_DEPTH} levels, or in themselves"))
}
