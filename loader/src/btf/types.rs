//! The vocabulary of BTF: ids, kinds and the decoded form of one type.
//!
//! In: the three header words of a type and the bytes that follow them. Out: [`Type`], whose members,
//! parameters, enumerators and variables are decoded one by one while they are iterated, so that looking at
//! a type allocates nothing. Where the bytes come from is in `parse.rs`.
//! Source: `include/uapi/linux/btf.h`.

use super::Btf;
use crate::bytes::Endian;
use crate::error::Result;

/// Id of a type in one BTF blob; 0 is `void`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(pub u32);

impl TypeId {
    /// The type without values; every BTF has it, none spells it out.
    pub const VOID: TypeId = TypeId(0);
}

/// What a type is. The discriminants are the kernel's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names of the BTF document")]
#[repr(u8)]
#[non_exhaustive]
pub enum Kind {
    Void = 0,
    Int = 1,
    Ptr = 2,
    Array = 3,
    Struct = 4,
    Union = 5,
    Enum = 6,
    Fwd = 7,
    Typedef = 8,
    Volatile = 9,
    Const = 10,
    Restrict = 11,
    Func = 12,
    FuncProto = 13,
    Var = 14,
    Datasec = 15,
    Float = 16,
    DeclTag = 17,
    TypeTag = 18,
    Enum64 = 19,
    /// A kind newer than this code, which the blob's layout section allows to step over.
    Unknown = 127,
}

impl Kind {
    /// From the number in a type's info word.
    pub fn from_raw(raw: u8) -> Kind {
        use Kind::*;
        const KINDS: [Kind; 20] = [
            Void, Int, Ptr, Array, Struct, Union, Enum, Fwd, Typedef, Volatile, Const, Restrict, Func,
            FuncProto, Var, Datasec, Float, DeclTag, TypeTag, Enum64,
        ];
        KINDS.get(usize::from(raw)).copied().unwrap_or(Unknown)
    }

    /// `struct` or `union`.
    pub fn is_composite(self) -> bool {
        matches!(self, Kind::Struct | Kind::Union)
    }

    /// An enumeration of either width.
    pub fn is_enum(self) -> bool {
        matches!(self, Kind::Enum | Kind::Enum64)
    }

    /// A layer that changes neither layout nor value: qualifiers, typedefs, type tags.
    pub fn is_modifier_or_typedef(self) -> bool {
        matches!(self, Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag)
    }

    /// The word that C, or the BTF document, has for this kind.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Void => "void",
            Kind::Int => "int",
            Kind::Ptr => "ptr",
            Kind::Array => "array",
            Kind::Struct => "struct",
            Kind::Union => "union",
            Kind::Enum | Kind::Enum64 => "enum",
            Kind::Fwd => "fwd",
            Kind::Typedef => "typedef",
            Kind::Volatile => "volatile",
            Kind::Const => "const",
            Kind::Restrict => "restrict",
            Kind::Func => "func",
            Kind::FuncProto => "func_proto",
            Kind::Var => "var",
            Kind::Datasec => "datasec",
            Kind::Float => "float",
            Kind::DeclTag => "decl_tag",
            Kind::TypeTag => "type_tag",
            Kind::Unknown => "unknown",
        }
    }
}

/// Linkage of a function or variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Linkage {
    Static,
    Global,
    Extern,
    /// A number that no kernel uses so far.
    Other(u32),
}

impl Linkage {
    /// From the number in the blob.
    pub fn from_raw(raw: u32) -> Self {
        match raw {
            0 => Linkage::Static,
            1 => Linkage::Global,
            2 => Linkage::Extern,
            other => Linkage::Other(other),
        }
    }

    /// The number in the blob.
    pub fn raw(self) -> u32 {
        match self {
            Linkage::Static => 0,
            Linkage::Global => 1,
            Linkage::Extern => 2,
            Linkage::Other(other) => other,
        }
    }
}

/// The three words every type starts with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RawType {
    pub(crate) name_off: u32,
    pub(crate) info: u32,
    pub(crate) size_or_type: u32,
}

impl RawType {
    /// Bits 24 to 30. Before 7.x the kind had bits 24 to 28 only and the two above were zero.
    pub(crate) fn kind(self) -> u8 {
        self.info.to_be_bytes()[0] & 0x7f
    }

    /// Bits 0 to 23. Before 7.x bits 16 to 23 were zero.
    pub(crate) fn vlen(self) -> u32 {
        self.info & 0x00ff_ffff
    }
}

/// One type, decoded on demand. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Type<'a> {
    pub(super) btf: &'a Btf,
    pub(super) id: TypeId,
    pub(super) raw: RawType,
    pub(super) tail: &'a [u8],
}

/// A member of a struct or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// String offset of the name; 0 for nameless members.
    pub name_off: u32,
    /// Its type.
    pub type_id: TypeId,
    /// Bits from the start of the struct.
    pub bit_offset: u32,
    /// Width in bits of a bit-field; 0 for all others.
    pub bit_size: u32,
}

/// A parameter of a function prototype.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    /// String offset of the name; 0 when it has none.
    pub name_off: u32,
    /// Its type; `void` as last parameter stands for `...`.
    pub type_id: TypeId,
}

/// One name of an enumeration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enumerator {
    /// String offset of the name.
    pub name_off: u32,
    /// The value; a 32-bit one is sign-extended, whatever its signedness, as libbpf does.
    pub value: u64,
}

/// A variable's place in a data section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionVar {
    /// A `Var` (or a `Func`, in `.ksyms`).
    pub type_id: TypeId,
    /// Bytes from the start of the section; clang leaves 0 here.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
}

/// Element type, index type and element count of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Array {
    /// Type of one element.
    pub element: TypeId,
    /// Type of the index.
    pub index: TypeId,
    /// Number of elements.
    pub len: u32,
}

/// What an integer's extra word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntInfo {
    /// Bit 0 signed, bit 1 char, bit 2 bool.
    pub encoding: u8,
    /// Bit offset inside the storage (legacy bit-fields), else 0.
    pub bit_offset: u8,
    /// Width in bits.
    pub bits: u8,
}

impl IntInfo {
    /// Encoding bit: signed.
    pub const SIGNED: u8 = 1;
    /// Encoding bit: a character.
    pub const CHAR: u8 = 2;
    /// Encoding bit: a truth value.
    pub const BOOL: u8 = 4;

    /// Whether values are signed.
    pub fn is_signed(self) -> bool {
        self.encoding & Self::SIGNED != 0
    }
}

impl Member {
    /// With the kind flag, the upper 8 bits of the offset word are the width of a bit-field.
    fn decode([name_off, type_id, offset]: [u32; 3], flag: bool) -> Self {
        let (bit_offset, bit_size) = if flag { (offset & 0x00ff_ffff, offset >> 24) } else { (offset, 0) };
        Self { name_off, type_id: TypeId(type_id), bit_offset, bit_size }
    }
}

impl Enumerator {
    fn narrow([name_off, value]: [u32; 2]) -> Self {
        Self { name_off, value: i64::from(value.cast_signed()).cast_unsigned() }
    }

    fn wide([name_off, low, high]: [u32; 3]) -> Self {
        Self { name_off, value: u64::from(low) | u64::from(high) << 32 }
    }
}

impl<'a> Type<'a> {
    /// Its id.
    pub fn id(self) -> TypeId {
        self.id
    }

    /// Its kind.
    pub fn kind(self) -> Kind {
        Kind::from_raw(self.raw.kind())
    }

    /// Bit 31 of the info word: bit-field offsets (struct, union), signed (enum), union (fwd).
    pub fn kind_flag(self) -> bool {
        self.raw.info & 0x8000_0000 != 0
    }

    /// Number of members, parameters, enumerators or variables; linkage for functions.
    pub fn vlen(self) -> u32 {
        self.raw.vlen()
    }

    /// String offset of the name; 0 for nameless types.
    pub fn name_off(self) -> u32 {
        self.raw.name_off
    }

    /// The name; empty for nameless types.
    ///
    /// # Errors
    /// `InvalidObject` when it is in no string section, or not UTF-8.
    pub fn name(self) -> Result<&'a str> {
        self.btf.string(self.raw.name_off)
    }

    /// The bytes of the name; empty for nameless types.
    ///
    /// # Errors
    /// `InvalidObject` when it is in no string section.
    pub fn name_bytes(self) -> Result<&'a [u8]> {
        self.btf.string_bytes(self.raw.name_off)
    }

    /// The size word, in bytes, of kinds that have one; see [`Btf::size_of`] for all others.
    pub fn size(self) -> Option<u32> {
        use Kind::*;
        matches!(self.kind(), Int | Struct | Union | Enum | Enum64 | Float | Datasec)
            .then_some(self.raw.size_or_type)
    }

    /// The type this one refers to: pointee, aliased type, prototype of a function, return type, variable's type.
    pub fn target(self) -> Option<TypeId> {
        use Kind::*;
        let refers = matches!(
            self.kind(),
            Ptr | Typedef | Volatile | Const | Restrict | Func | FuncProto | Var | DeclTag | TypeTag
        );
        refers.then_some(TypeId(self.raw.size_or_type))
    }

    /// Array element, index type and length.
    pub fn array(self) -> Option<Array> {
        let [element, index, len] = self.words_if(self.kind() == Kind::Array)?;
        Some(Array { element: TypeId(element), index: TypeId(index), len })
    }

    /// The extra word of an integer.
    pub fn int(self) -> Option<IntInfo> {
        let [word] = self.words_if(self.kind() == Kind::Int)?;
        let [top, bit_offset, _, bits] = word.to_be_bytes();
        Some(IntInfo { encoding: top & 0x0f, bit_offset, bits })
    }

    /// Linkage of a function (kept in its vlen) or of a variable.
    pub fn linkage(self) -> Option<Linkage> {
        match self.kind() {
            Kind::Func => Some(Linkage::from_raw(self.vlen())),
            Kind::Var => self.words_if(true).map(|[word]| Linkage::from_raw(word)),
            _ => None,
        }
    }

    /// Which member or parameter a declaration tag is for; -1 for the declaration itself.
    pub fn tag_component(self) -> Option<i32> {
        self.words_if(self.kind() == Kind::DeclTag).map(|[word]| word.cast_signed())
    }

    /// Members of a struct or union; none for other kinds.
    pub fn members(self) -> impl Iterator<Item = Member> + 'a {
        let flag = self.kind_flag();
        self.entries(self.kind().is_composite()).map(move |[name_off, type_id, offset]| {
            let (bit_offset, bit_size) =
                if flag { (offset & 0x00ff_ffff, offset >> 24) } else { (offset, 0) };
            Member { name_off, type_id: TypeId(type_id), bit_offset, bit_size }
        })
    }

    /// The member at `index`, counted from 0.
    pub fn member(self, index: u32) -> Option<Member> {
        let words = self.entry_at(self.kind().is_composite(), index)?;
        Some(Member::decode(words, self.kind_flag()))
    }

    /// Parameters of a function prototype; none for other kinds.
    pub fn params(self) -> impl Iterator<Item = Param> + 'a {
        self.entries(self.kind() == Kind::FuncProto)
            .map(|[name_off, type_id]| Param { name_off, type_id: TypeId(type_id) })
    }

    /// Names and values of an enumeration of either width; none for other kinds.
    pub fn enumerators(self) -> impl Iterator<Item = Enumerator> + 'a {
        let narrow = self.entries(self.kind() == Kind::Enum).map(Enumerator::narrow);
        let wide = self.entries(self.kind() == Kind::Enum64).map(Enumerator::wide);
        narrow.chain(wide)
    }

    /// The enumerator at `index`, counted from 0.
    pub fn enumerator(self, index: u32) -> Option<Enumerator> {
        match self.kind() {
            Kind::Enum => self.entry_at(true, index).map(Enumerator::narrow),
            _ => self.entry_at(self.kind() == Kind::Enum64, index).map(Enumerator::wide),
        }
    }

    /// Variables of a data section; none for other kinds.
    pub fn section_vars(self) -> impl Iterator<Item = SectionVar> + 'a {
        self.entries(self.kind() == Kind::Datasec).map(|[type_id, offset, size]| SectionVar {
            type_id: TypeId(type_id),
            offset,
            size,
        })
    }

    fn words_if<const N: usize>(self, is_kind: bool) -> Option<[u32; N]> {
        self.entry_at(is_kind, 0)
    }

    fn entry_at<const N: usize>(self, is_kind: bool, index: u32) -> Option<[u32; N]> {
        let start = usize::try_from(index).ok()?.checked_mul(N * 4)?;
        let chunk = self.tail.get(start..start.checked_add(N * 4)?).filter(|_| is_kind)?;
        Some(words(chunk, self.btf.endian()))
    }

    fn entries<const N: usize>(self, is_kind: bool) -> impl Iterator<Item = [u32; N]> + 'a {
        let endian = self.btf.endian();
        let tail = if is_kind { self.tail } else { &[] };
        tail.chunks_exact(N * 4).map(move |chunk| words(chunk, endian))
    }
}

/// The first `N` words of `chunk`, which has at least as many; missing ones would read as 0.
fn words<const N: usize>(chunk: &[u8], endian: Endian) -> [u32; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(chunk.as_chunks::<4>().0) {
        *word = endian.u32(*bytes);
    }
    words
}
