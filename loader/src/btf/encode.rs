//! Writing BTF: a builder for blobs made in Rust, and the way an object's BTF takes to the kernel.
//!
//! In: types, one call each. Out: the bytes of a blob in the wanted byte order. Used for map key and value types,
//! for feature probes, and by every test of the pure half. Making an existing blob loadable is
//! [`for_kernel`], in `sanitize.rs`.

use std::collections::HashMap;

use super::ext::SectionExt;
use super::parse::{HEADER_LEN, MAGIC};
pub use super::sanitize::{BtfFeatures, DatasecFixup, Fixups, VariableFixup, for_kernel};
use super::{Btf, Kind, Linkage, TypeId};
use crate::bytes::Endian;
use crate::insn::{INSN_SIZE, InsnOffset};

/// A member of a struct or union to build.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    name: &'a str,
    type_id: TypeId,
    bit_offset: u32,
    bit_size: u32,
}

impl<'a> Field<'a> {
    /// An ordinary member at a byte offset. An empty name makes a nameless one.
    pub fn new(name: &'a str, type_id: TypeId, byte_offset: u32) -> Self {
        Self { name, type_id, bit_offset: byte_offset.saturating_mul(8), bit_size: 0 }
    }

    /// A bit-field of `bit_size` bits, at most 255, at a bit offset.
    pub fn bits(name: &'a str, type_id: TypeId, bit_offset: u32, bit_size: u8) -> Self {
        Self { name, type_id, bit_offset, bit_size: u32::from(bit_size) }
    }
}

struct Entry {
    name_off: u32,
    kind: Kind,
    flag: bool,
    vlen: u32,
    size_or_type: u32,
    /// Everything after the header words; all kinds have 32-bit words there.
    words: Vec<u32>,
}

/// Collects types; ids count up from 1 (or from the base's last) in the order of the calls. Nothing is checked:
/// ids may point forward, to types not added yet, and a blob may be wrong on purpose.
pub struct BtfBuilder {
    strings: Vec<u8>,
    known: HashMap<String, u32>,
    entries: Vec<Entry>,
    first_id: u32,
    first_string: u32,
}

impl Default for BtfBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BtfBuilder {
    /// An empty blob.
    pub fn new() -> Self {
        let known = HashMap::from([(String::new(), 0)]);
        Self { strings: vec![0], known, entries: Vec::new(), first_id: 1, first_string: 0 }
    }

    /// A blob that continues the ids and strings of `base`, as that of a kernel module does.
    pub fn split(base: &Btf) -> Self {
        let known = HashMap::from([(String::new(), 0)]);
        let (first_id, first_string) = (base.type_count(), base.end_string().unwrap_or(u32::MAX));
        Self { strings: Vec::new(), known, entries: Vec::new(), first_id, first_string }
    }

    /// The string offset of `text`, added once.
    pub fn string(&mut self, text: &str) -> u32 {
        if let Some(offset) = self.known.get(text) {
            return *offset;
        }
        let offset = self.first_string.saturating_add(len32(self.strings.len()));
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        self.known.insert(text.to_owned(), offset);
        offset
    }

    /// The id that the next type gets.
    pub fn next_id(&self) -> TypeId {
        TypeId(self.first_id.saturating_add(len32(self.entries.len())))
    }

    fn add(&mut self, name: &str, kind: Kind, size_or_type: u32, words: Vec<u32>) -> TypeId {
        self.add_full(name, kind, false, 0, size_or_type, words)
    }

    fn add_full(
        &mut self,
        name: &str,
        kind: Kind,
        flag: bool,
        vlen: usize,
        size_or_type: u32,
        words: Vec<u32>,
    ) -> TypeId {
        let id = self.next_id();
        let name_off = self.string(name);
        self.entries.push(Entry { name_off, kind, flag, vlen: len32(vlen), size_or_type, words });
        id
    }

    /// An integer of `size` bytes; `encoding` has the bits of [`super::IntInfo`].
    pub fn int(&mut self, name: &str, size: u8, encoding: u8) -> TypeId {
        self.int_bits(name, size, encoding, 0, size.saturating_mul(8))
    }

    /// An integer with a bit offset and width of its own (legacy bit-fields).
    pub fn int_bits(&mut self, name: &str, size: u8, encoding: u8, bit_offset: u8, bits: u8) -> TypeId {
        let word = u32::from_be_bytes([encoding, bit_offset, 0, bits]);
        self.add(name, Kind::Int, u32::from(size), vec![word])
    }

    /// A floating-point number of `size` bytes.
    pub fn float(&mut self, name: &str, size: u32) -> TypeId {
        self.add(name, Kind::Float, size, Vec::new())
    }

    /// A pointer.
    pub fn ptr(&mut self, target: TypeId) -> TypeId {
        self.add("", Kind::Ptr, target.0, Vec::new())
    }

    /// An array of `len` elements.
    pub fn array(&mut self, element: TypeId, index: TypeId, len: u32) -> TypeId {
        self.add("", Kind::Array, 0, vec![element.0, index.0, len])
    }

    /// A struct of `size` bytes.
    pub fn structure(&mut self, name: &str, size: u32, fields: &[Field<'_>]) -> TypeId {
        self.composite(name, Kind::Struct, size, fields)
    }

    /// A union of `size` bytes.
    pub fn union(&mut self, name: &str, size: u32, fields: &[Field<'_>]) -> TypeId {
        self.composite(name, Kind::Union, size, fields)
    }

    fn composite(&mut self, name: &str, kind: Kind, size: u32, fields: &[Field<'_>]) -> TypeId {
        // With the flag set, the upper 8 bits of each offset are the bit-field's width.
        let flag = fields.iter().any(|field| field.bit_size != 0);
        let mut words = Vec::with_capacity(fields.len() * 3);
        for field in fields {
            let name_off = self.string(field.name);
            words.extend([name_off, field.type_id.0, field.bit_offset | field.bit_size << 24]);
        }
        self.add_full(name, kind, flag, fields.len(), size, words)
    }

    /// An enumeration of `size` bytes with 32-bit values.
    pub fn enumeration(&mut self, name: &str, size: u32, signed: bool, values: &[(&str, i32)]) -> TypeId {
        let words =
            values.iter().flat_map(|(name, value)| [self.string(name), value.cast_unsigned()]).collect();
        self.add_full(name, Kind::Enum, signed, values.len(), size, words)
    }

    /// An enumeration of `size` bytes with 64-bit values.
    pub fn enumeration64(&mut self, name: &str, size: u32, signed: bool, values: &[(&str, u64)]) -> TypeId {
        let mut words = Vec::with_capacity(values.len() * 3);
        for (name, value) in values {
            let [h3, h2, h1, h0, l3, l2, l1, l0] = value.to_be_bytes();
            let (high, low) = (u32::from_be_bytes([h3, h2, h1, h0]), u32::from_be_bytes([l3, l2, l1, l0]));
            words.extend([self.string(name), low, high]);
        }
        self.add_full(name, Kind::Enum64, signed, values.len(), size, words)
    }

    /// A forward declaration of a struct, or of a union.
    pub fn forward(&mut self, name: &str, is_union: bool) -> TypeId {
        self.add_full(name, Kind::Fwd, is_union, 0, 0, Vec::new())
    }

    /// Another name for a type.
    pub fn typedef(&mut self, name: &str, target: TypeId) -> TypeId {
        self.add(name, Kind::Typedef, target.0, Vec::new())
    }

    /// `const`.
    pub fn constant(&mut self, target: TypeId) -> TypeId {
        self.add("", Kind::Const, target.0, Vec::new())
    }

    /// `volatile`.
    pub fn volatile(&mut self, target: TypeId) -> TypeId {
        self.add("", Kind::Volatile, target.0, Vec::new())
    }

    /// `restrict`.
    pub fn restrict(&mut self, target: TypeId) -> TypeId {
        self.add("", Kind::Restrict, target.0, Vec::new())
    }

    /// A tag on a type.
    pub fn type_tag(&mut self, tag: &str, target: TypeId) -> TypeId {
        self.add(tag, Kind::TypeTag, target.0, Vec::new())
    }

    /// A tag on a declaration; `component` is a member or parameter number, or -1.
    pub fn decl_tag(&mut self, tag: &str, target: TypeId, component: i32) -> TypeId {
        self.add(tag, Kind::DeclTag, target.0, vec![component.cast_unsigned()])
    }

    /// A function's parameters, as names and types, and its return type.
    pub fn func_proto(&mut self, params: &[(&str, TypeId)], returns: TypeId) -> TypeId {
        let words = params.iter().flat_map(|(name, id)| [self.string(name), id.0]).collect();
        self.add_full("", Kind::FuncProto, false, params.len(), returns.0, words)
    }

    /// A function of that prototype.
    pub fn func(&mut self, name: &str, proto: TypeId, linkage: Linkage) -> TypeId {
        let id = self.add(name, Kind::Func, proto.0, Vec::new());
        if let Some(entry) = self.entries.last_mut() {
            entry.vlen = linkage.raw();
        }
        id
    }

    /// A variable.
    pub fn var(&mut self, name: &str, type_id: TypeId, linkage: Linkage) -> TypeId {
        self.add(name, Kind::Var, type_id.0, vec![linkage.raw()])
    }

    /// A data section of `size` bytes with (variable, offset, size) for each variable.
    pub fn datasec(&mut self, name: &str, size: u32, vars: &[(TypeId, u32, u32)]) -> TypeId {
        let words = vars.iter().flat_map(|(id, offset, size)| [id.0, *offset, *size]).collect();
        self.add_full(name, Kind::Datasec, false, vars.len(), size, words)
    }

    /// Points a pointer, typedef, qualifier, tag, function or variable that was added before to `target`, to
    /// close a cycle.
    pub fn retarget(&mut self, id: TypeId, target: TypeId) {
        let index = id.0.checked_sub(self.first_id).and_then(|index| usize::try_from(index).ok());
        if let Some(entry) = index.and_then(|index| self.entries.get_mut(index)) {
            entry.size_or_type = target.0;
        }
    }

    /// The blob, with the 24-byte header that every kernel understands.
    pub fn build(&self, endian: Endian) -> Vec<u8> {
        let mut types = Vec::new();
        for entry in &self.entries {
            let info = u32::from(entry.flag) << 31 | u32::from(entry.kind as u8) << 24 | entry.vlen;
            for word in [entry.name_off, info, entry.size_or_type].iter().chain(&entry.words) {
                types.extend_from_slice(&endian.u32_bytes(*word));
            }
        }
        blob(&types, &self.strings, endian)
    }
}

/// Header, types, strings.
pub(super) fn blob(types: &[u8], strings: &[u8], endian: Endian) -> Vec<u8> {
    let mut out = Vec::with_capacity(types.len() + strings.len() + 24);
    out.extend_from_slice(&endian.u16_bytes(MAGIC));
    out.extend_from_slice(&[1, 0]);
    let type_len = len32(types.len());
    for word in [HEADER_LEN, 0, type_len, type_len, len32(strings.len())] {
        out.extend_from_slice(&endian.u32_bytes(word));
    }
    out.extend_from_slice(types);
    out.extend_from_slice(strings);
    out
}

/// The bytes of a `.BTF.ext` section: what [`super::ext::BtfExt::parse`] reads. Each section is given with the
/// string offset of its ELF name.
pub fn ext_blob(sections: &[(u32, &SectionExt)], endian: Endian) -> Vec<u8> {
    let mut infos = [Vec::new(), Vec::new(), Vec::new()];
    let [funcs, lines, cores] = &mut infos;
    [8, 16, 16].iter().zip([&mut *funcs, lines, cores]).for_each(|(size, info)| info.push(*size));
    for (name, ext) in sections {
        let records = ext.func_info.iter().map(|r| vec![bytes_of(r.offset), r.type_id.0]);
        push_block(funcs, *name, records.collect());
        let records =
            ext.line_info.iter().map(|r| vec![bytes_of(r.offset), r.file_name_off, r.line_off, r.line_col]);
        push_block(lines, *name, records.collect());
        let records = ext.core.iter().map(|r| vec![bytes_of(r.offset), r.type_id.0, r.access_off, r.kind]);
        push_block(cores, *name, records.collect());
    }
    let mut words = vec![32];
    let mut offset = 0;
    for info in &infos {
        let len = len32(info.len() * 4);
        words.extend([offset, len]);
        offset = offset.saturating_add(len);
    }
    let mut out = endian.u16_bytes(MAGIC).to_vec();
    out.extend_from_slice(&[1, 0]);
    for word in words.iter().chain(infos.iter().flatten()) {
        out.extend_from_slice(&endian.u32_bytes(*word));
    }
    out
}

fn push_block(info: &mut Vec<u32>, name: u32, records: Vec<Vec<u32>>) {
    if !records.is_empty() {
        info.extend([name, len32(records.len())]);
        info.extend(records.into_iter().flatten());
    }
}

fn bytes_of(offset: InsnOffset) -> u32 {
    len32(offset.0.saturating_mul(INSN_SIZE))
}

fn len32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
