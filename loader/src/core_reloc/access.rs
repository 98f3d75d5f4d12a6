//! What a CO-RE relocation means in the object's own types.
//!
//! In: a record and the object's BTF. Out: [`Spec`], the steps from the root type to the field or variant, by
//! name where there is a name, with the bit offset they add up to. [`super::matching`] walks the same steps in
//! the kernel's types and gets another `Spec`; [`super::value`] turns either into a number.

use crate::btf::{Array, Btf, Kind, Type, TypeId};
use crate::error::{Error, Result};

/// Longest access string, in numbers, as in libbpf and the kernel.
const MAX_STEPS: usize = 64;

/// What the instruction wants to know. The discriminants are those of `enum bpf_core_relo_kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the words of the kernel's enum")]
#[repr(u8)]
pub enum RelocKind {
    FieldByteOffset = 0,
    FieldByteSize = 1,
    FieldExists = 2,
    FieldSigned = 3,
    FieldLeftShift = 4,
    FieldRightShift = 5,
    TypeIdLocal = 6,
    TypeIdTarget = 7,
    TypeExists = 8,
    TypeSize = 9,
    EnumValueExists = 10,
    EnumValue = 11,
    TypeMatches = 12,
}

/// What a relocation is rooted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Field,
    Type,
    EnumValue,
}

impl RelocKind {
    /// From the number in the record.
    ///
    /// # Errors
    /// `InvalidObject` for a number without a meaning.
    pub fn from_raw(raw: u32) -> Result<Self> {
        use RelocKind::*;
        const KINDS: [RelocKind; 13] = [
            FieldByteOffset,
            FieldByteSize,
            FieldExists,
            FieldSigned,
            FieldLeftShift,
            FieldRightShift,
            TypeIdLocal,
            TypeIdTarget,
            TypeExists,
            TypeSize,
            EnumValueExists,
            EnumValue,
            TypeMatches,
        ];
        let kind = usize::try_from(raw).ok().and_then(|raw| KINDS.get(raw));
        kind.copied().ok_or_else(|| Error::invalid(format!("CO-RE relocation kind {raw} is unknown")))
    }

    pub(super) fn family(self) -> Family {
        use RelocKind::*;
        match self {
            FieldByteOffset | FieldByteSize | FieldExists | FieldSigned | FieldLeftShift
            | FieldRightShift => Family::Field,
            TypeIdLocal | TypeIdTarget | TypeExists | TypeSize | TypeMatches => Family::Type,
            EnumValueExists | EnumValue => Family::EnumValue,
        }
    }

    /// What is asked for, in words.
    pub fn word(self) -> &'static str {
        use RelocKind::*;
        match self {
            FieldByteOffset => "field offset",
            FieldByteSize => "field size",
            FieldExists => "field existence",
            FieldSigned => "field signedness",
            FieldLeftShift => "field left shift",
            FieldRightShift => "field right shift",
            TypeIdLocal => "local type id",
            TypeIdTarget => "kernel type id",
            TypeExists => "type existence",
            TypeSize => "type size",
            EnumValueExists => "enum value existence",
            EnumValue => "enum value",
            TypeMatches => "type match",
        }
    }
}

/// One step towards the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accessor {
    /// The struct, union or enum that has the member or variant; for an index, the element's type. Stripped.
    pub(super) type_id: TypeId,
    /// Number of the member, variant or element.
    pub(super) index: u32,
    /// String offset of the member's or variant's name; none for an index.
    pub(super) name_off: Option<u32>,
}

/// A resolved access. Nameless members leave no accessor, only their offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) root: TypeId,
    pub(super) accessors: Vec<Accessor>,
    pub(super) bit_offset: u64,
}

impl Spec {
    /// The meaning of `access`, such as `0:1:2`, applied to the type `root` of the object.
    pub(super) fn local(btf: &Btf, root: TypeId, access: &str, kind: RelocKind) -> Result<Self> {
        let steps = parse_steps(access)?;
        let mut spec = Spec { root, accessors: Vec::new(), bit_offset: 0 };
        match (kind.family(), steps.as_slice()) {
            (Family::Type, [0]) => {}
            (Family::EnumValue, [index]) => spec.push_variant(btf.strip(root)?, *index)?,
            (Family::Field, [first, rest @ ..]) => {
                let mut ty = btf.strip(root)?;
                spec.push_element(btf, ty.id(), *first)?;
                for step in rest {
                    ty = btf.strip(spec.push_step(btf, ty, *step)?)?;
                }
            }
            _ => return Err(bad_access(access)),
        }
        Ok(spec)
    }

    fn push_variant(&mut self, ty: Type<'_>, index: u32) -> Result<()> {
        let missing = || Error::invalid(format!("{} {} has no variant {index}", ty.kind().word(), ty.id().0));
        let variant = ty.enumerator(index).ok_or_else(missing)?;
        self.accessors.push(Accessor { type_id: ty.id(), index, name_off: Some(variant.name_off) });
        Ok(())
    }

    /// Goes to member or element `step` of `ty`, which is stripped; gives the type found there.
    fn push_step(&mut self, btf: &Btf, ty: Type<'_>, step: u32) -> Result<TypeId> {
        if let Some(array) = ty.array() {
            if step >= array.len && !self.is_flexible(btf, array)? {
                return Err(Error::invalid(format!("index {step} is outside of an array of {}", array.len)));
            }
            let element = btf.strip(array.element)?.id();
            self.push_element(btf, element, step)?;
            return Ok(element);
        }
        let missing = || Error::invalid(format!("{} {} has no member {step}", ty.kind().word(), ty.id().0));
        let member = ty.member(step).ok_or_else(missing)?;
        if member.name_off != 0 {
            self.accessors.push(Accessor { type_id: ty.id(), index: step, name_off: Some(member.name_off) });
        }
        self.advance(u64::from(member.bit_offset))?;
        Ok(member.type_id)
    }

    /// Steps to element `index` of an array whose elements have type `element`.
    pub(super) fn push_element(&mut self, btf: &Btf, element: TypeId, index: u32) -> Result<()> {
        let bits = btf.size_of(element)?.checked_mul(8).and_then(|bits| bits.checked_mul(u64::from(index)));
        self.accessors.push(Accessor { type_id: element, index, name_off: None });
        self.advance(bits.ok_or_else(too_far)?)
    }

    /// Adds to the bit offset; 32 bits are what instructions and libbpf can express.
    pub(super) fn advance(&mut self, bits: u64) -> Result<()> {
        let offset = self.bit_offset.checked_add(bits).filter(|offset| *offset <= u64::from(u32::MAX));
        self.bit_offset = offset.ok_or_else(too_far)?;
        Ok(())
    }

    /// Whether the array just reached is the flexible one: no elements, last member of its struct.
    pub(super) fn is_flexible(&self, btf: &Btf, array: Array) -> Result<bool> {
        match self.accessors.last() {
            Some(Accessor { type_id, index, name_off: Some(_) }) if array.len == 0 => {
                Ok(index.checked_add(1) == Some(btf.type_by_id(*type_id)?.vlen()))
            }
            _ => Ok(false),
        }
    }

    /// C spelling: `struct file.f_path.dentry`, `struct s.a[3]`, `enum e::VARIANT`.
    pub(super) fn spelling(&self, btf: &Btf) -> String {
        let mut text = type_spelling(btf, self.root);
        for (step, accessor) in self.accessors.iter().enumerate() {
            let name = accessor
                .name_off
                .map(|off| String::from_utf8_lossy(btf.string_bytes(off).unwrap_or_default()));
            let in_enum = btf.type_by_id(accessor.type_id).is_ok_and(|ty| ty.kind().is_enum());
            match name {
                Some(name) if in_enum => text += &format!("::{name}"),
                Some(name) => text += &format!(".{name}"),
                None if step == 0 && accessor.index == 0 => {}
                None => text += &format!("[{}]", accessor.index),
            }
        }
        text
    }
}

/// C spelling of a type, as far as a message needs it.
pub fn type_spelling(btf: &Btf, id: TypeId) -> String {
    let mut suffix = String::new();
    let mut id = id;
    for _ in 0..crate::btf::MAX_DEPTH {
        let Ok(ty) = btf.type_by_id(id) else { break };
        let name = String::from_utf8_lossy(ty.name_bytes().unwrap_or_default());
        match (ty.kind(), ty.array(), ty.target()) {
            (Kind::Ptr, _, Some(target)) => {
                suffix.insert(0, '*');
                id = target;
            }
            (_, Some(array), _) => {
                suffix.insert_str(0, &format!("[{}]", array.len));
                id = array.element;
            }
            (Kind::Const | Kind::Volatile | Kind::Restrict | Kind::TypeTag, _, Some(target)) => id = target,
            (kind, ..) => {
                let word = match kind {
                    Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 => kind.word(),
                    Kind::Fwd if ty.kind_flag() => "union",
                    Kind::Fwd => "struct",
                    Kind::FuncProto => "function",
                    Kind::Void => "void",
                    _ => "",
                };
                let name = if name.is_empty() && word != "void" && word != "function" {
                    "(nameless)".into()
                } else {
                    name
                };
                let space = if suffix.starts_with('*') { " " } else { "" };
                return format!("{word} {name}{space}{suffix}").trim().replace("  ", " ");
            }
        }
    }
    format!("type {}", id.0)
}

fn parse_steps(access: &str) -> Result<Vec<u32>> {
    let step =
        |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten();
    let steps: Option<Vec<u32>> = access.split(':').take(MAX_STEPS + 1).map(step).collect();
    steps.filter(|steps| steps.len() <= MAX_STEPS).ok_or_else(|| bad_access(access))
}

fn bad_access(access: &str) -> Error {
    let shown: String = access.chars().take(40).collect();
    Error::invalid(format!("access string `{}` does not suit the relocation", shown.escape_debug()))
}

fn too_far() -> Error {
    Error::invalid("field is further than 2^32 bits from its root")
}
