//! The number a relocation asks for.
//!
//! In: an access, in the object's types or in the kernel's. Out: [`Value`], with the width of the field that a
//! load would have. An access that does not exist is decided by the caller.

use super::access::{Accessor, Family, RelocKind, Spec};
use super::matching::is_signed;
use crate::btf::{Btf, Kind, Member, Type, TypeId};
use crate::bytes::Endian;
use crate::error::{Error, ErrorKind, Result};

/// A computed relocation value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) value: u64,
    /// Width in bytes of a load of the field, and the field's type: only for byte offsets of whole fields.
    pub(super) load: Option<(u64, TypeId)>,
    /// Whether the compiler is known to put exactly this value of the object's types into the instruction.
    pub(super) validate: bool,
}

impl Value {
    fn plain(value: u64) -> Self {
        Self { value, load: None, validate: true }
    }
}

/// The value of `kind` for `spec`. `object` is the byte order of the object that the instruction is in.
pub(super) fn value(btf: &Btf, spec: &Spec, kind: RelocKind, object: Endian) -> Result<Value> {
    match (kind.family(), kind) {
        (_, RelocKind::TypeSize) => Ok(Value::plain(btf.size_of(spec.root)?)),
        (_, RelocKind::TypeIdLocal | RelocKind::TypeIdTarget) => {
            Ok(Value { validate: false, ..Value::plain(u64::from(spec.root.0)) })
        }
        (_, RelocKind::EnumValue) => variant(btf, spec).map(Value::plain),
        (_, RelocKind::FieldExists) | (Family::Type | Family::EnumValue, _) => Ok(Value::plain(1)),
        (Family::Field, _) => match spec.accessors.last() {
            Some(Accessor { type_id, index, name_off: Some(_) }) => {
                let ty = btf.type_by_id(*type_id)?;
                let member = ty.member(*index).ok_or_else(|| Error::invalid("member is gone"))?;
                Field::new(btf, spec, member)?.value(btf, kind, object)
            }
            Some(Accessor { type_id, name_off: None, .. }) => element(btf, spec, *type_id, kind),
            None => Err(Error::invalid("field access without a field")),
        },
    }
}

fn variant(btf: &Btf, spec: &Spec) -> Result<u64> {
    let accessor = spec.accessors.first().ok_or_else(|| Error::invalid("enum access without a variant"))?;
    let variant = btf.type_by_id(accessor.type_id)?.enumerator(accessor.index);
    Ok(variant.ok_or_else(|| Error::invalid("variant is gone"))?.value)
}

/// An access that ends in an index knows only where and how large the element is.
fn element(btf: &Btf, spec: &Spec, type_id: TypeId, kind: RelocKind) -> Result<Value> {
    match kind {
        RelocKind::FieldByteOffset => {
            let load = Some((innermost_size(btf, type_id)?, type_id));
            Ok(Value { load, ..Value::plain(spec.bit_offset / 8) })
        }
        RelocKind::FieldByteSize => Ok(Value::plain(btf.size_of(type_id)?)),
        _ => Err(Error::invalid(format!("an array element has no {}", kind.word()))),
    }
}

/// Size of one element, however many dimensions an array has: what one load reads.
fn innermost_size(btf: &Btf, id: TypeId) -> Result<u64> {
    let mut ty = btf.strip(id)?;
    for _ in 0..crate::btf::MAX_DEPTH {
        match ty.array() {
            Some(array) => ty = btf.strip(array.element)?,
            None => return btf.size_of(ty.id()),
        }
    }
    Err(Error::invalid("array has too many dimensions"))
}

/// A member with the bytes that have to be loaded to read it.
struct Field<'a> {
    ty: Type<'a>,
    bitfield: bool,
    bit_offset: u64,
    bits: u64,
    byte_offset: u64,
    byte_size: u64,
}

impl<'a> Field<'a> {
    fn new(btf: &'a Btf, spec: &Spec, member: Member) -> Result<Self> {
        let ty = btf.strip(member.type_id)?;
        let byte_size = btf.size_of(ty.id())?;
        let bit_offset = spec.bit_offset;
        if member.bit_size == 0 {
            let bits = byte_size.checked_mul(8).ok_or_else(|| Error::invalid("field is too large"))?;
            return Ok(Self {
                ty,
                bitfield: false,
                bit_offset,
                bits,
                byte_offset: bit_offset / 8,
                byte_size,
            });
        }
        let bits = u64::from(member.bit_size);
        let (byte_offset, byte_size) = storage(bit_offset, bits, byte_size)?;
        Ok(Self { ty, bitfield: true, bit_offset, bits, byte_offset, byte_size })
    }

    fn value(&self, btf: &Btf, kind: RelocKind, object: Endian) -> Result<Value> {
        // Which storage a compiler picks for a bit-field is its own business; its width and sign are not.
        let plain = |value| Value { validate: !self.bitfield, ..Value::plain(value) };
        match kind {
            RelocKind::FieldByteOffset if self.bitfield => Ok(plain(self.byte_offset)),
            RelocKind::FieldByteOffset => {
                let load = Some((innermost_size(btf, self.ty.id())?, self.ty.id()));
                Ok(Value { load, ..plain(self.byte_offset) })
            }
            RelocKind::FieldByteSize => Ok(plain(self.byte_size)),
            RelocKind::FieldSigned => {
                let signed_enum = self.ty.kind().is_enum() && self.ty.kind_flag();
                Ok(Value::plain(u64::from(signed_enum || is_signed(self.ty))))
            }
            RelocKind::FieldLeftShift => self.left_shift(object).map(plain),
            RelocKind::FieldRightShift => {
                64_u64.checked_sub(self.bits).map(Value::plain).ok_or_else(too_wide)
            }
            _ => Err(Error::invalid(format!("a field has no {}", kind.word()))),
        }
    }

    /// How far the loaded storage, zero-extended to 64 bits, is shifted to bring the field to the top.
    fn left_shift(&self, object: Endian) -> Result<u64> {
        let inside = self.bit_offset.checked_sub(self.byte_offset * 8).ok_or_else(too_wide)?;
        match object {
            Endian::Little => 64_u64.checked_sub(inside + self.bits).ok_or_else(too_wide),
            Endian::Big => {
                8_u64.checked_sub(self.byte_size).map(|unused| unused * 8 + inside).ok_or_else(too_wide)
            }
        }
    }
}

/// Offset and size in bytes of the smallest aligned integer, from the declared type upwards, that holds all bits.
fn storage(bit_offset: u64, bits: u64, declared: u64) -> Result<(u64, u64)> {
    let mut size = declared;
    while size > 0 {
        let byte_offset = bit_offset / 8 / size * size;
        if bit_offset + bits <= (byte_offset + size) * 8 {
            return Ok((byte_offset, size));
        }
        if size >= 8 {
            return Err(too_wide());
        }
        size *= 2;
    }
    Err(Error::invalid("bit-field of a type without size"))
}

fn too_wide() -> Error {
    Error::new(ErrorKind::Limit, "field cannot be read with one load of at most 8 bytes")
}

/// Whether a load may change from the width of one type to that of the other: between pointers, and between
/// unsigned integers, where the upper bits are zero either way.
pub(super) fn width_may_change(local: Type<'_>, target: Type<'_>) -> bool {
    match (local.kind(), target.kind()) {
        (Kind::Ptr, Kind::Ptr) => true,
        (Kind::Int, Kind::Int) => !is_signed(local) && !is_signed(target),
        _ => false,
    }
}
