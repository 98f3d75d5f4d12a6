//! An object's BTF made acceptable to a kernel.
//!
//! In: the object's [`Btf`], what the ELF file knows of its data sections, and which BTF features the kernel has.
//! Out: the bytes for `BPF_BTF_LOAD`. Two passes over a copy: the first fills in what clang leaves open (sizes and
//! offsets in data sections), the second rewrites kinds that the kernel is too old for. Types are rewritten in
//! place and new ones only appended, so that every id keeps its meaning; strings are only appended. The
//! untouched BTF stays the one that CO-RE relocations read.

use std::collections::{BTreeMap, BTreeSet};

use super::parse::{Step, TYPE_LEN};
use super::{Btf, IntInfo, Kind, Linkage, SectionVar, Type, TypeId, encode};
use crate::bytes::{Endian, u32_at};
use crate::error::{Error, Result, ResultExt};
use crate::order::sort_by_number;

/// Which BTF features a kernel has; each field names the first release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BtfFeatures {
    /// `FUNC` and `FUNC_PROTO` (5.0).
    pub func: bool,
    /// `VAR` and `DATASEC` (5.2).
    pub datasec: bool,
    /// Functions with global linkage (5.6).
    pub func_global: bool,
    /// Data sections without variables (5.12).
    pub empty_datasec: bool,
    /// `FLOAT` (5.13).
    pub float: bool,
    /// `DECL_TAG` (5.16).
    pub decl_tag: bool,
    /// `TYPE_TAG` (5.17).
    pub type_tag: bool,
    /// `ENUM64`, and the signed flag of `ENUM` (6.0).
    pub enum64: bool,
    /// Data section names that start with `?` (6.9).
    pub qmark_datasec: bool,
    /// More than 65535 members (7.x).
    pub wide_vlen: bool,
}

impl BtfFeatures {
    /// A kernel that has everything.
    pub const ALL: BtfFeatures = BtfFeatures {
        func: true,
        datasec: true,
        func_global: true,
        empty_datasec: true,
        float: true,
        decl_tag: true,
        type_tag: true,
        enum64: true,
        qmark_datasec: true,
        wide_vlen: true,
    };
}

/// What the ELF file, or the loader, decided about names in the BTF.
#[derive(Clone, Debug, Default)]
pub struct Fixups {
    /// By section name, `.kconfig` with its chosen layout included. `.ksyms` needs none.
    pub datasecs: BTreeMap<String, DatasecFixup>,
    /// Functions whose symbol is hidden: global for the linker, static for the verifier.
    pub static_functions: BTreeSet<String>,
}

/// Size and variables of one data section.
#[derive(Clone, Debug, Default)]
pub struct DatasecFixup {
    /// Bytes.
    pub size: u32,
    /// By variable name.
    pub variables: BTreeMap<String, VariableFixup>,
}

/// Where a variable is.
#[derive(Clone, Copy, Debug, Default)]
pub struct VariableFixup {
    /// Bytes from the start of the section.
    pub offset: u32,
    /// The symbol is hidden or internal: static for the verifier.
    pub hidden: bool,
}

/// The bytes to load, with the 24-byte header that every kernel knows. Kind `NotSupported` for what cannot be
/// expressed without a feature, `NotFound` for a variable that `fixups` does not place.
pub fn for_kernel(btf: &Btf, fixups: &Fixups, features: &BtfFeatures) -> Result<Vec<u8>> {
    if btf.base().is_some() {
        return Err(Error::incompatible("split BTF is not an object's"));
    }
    let (types, strings) = (btf.type_bytes().to_vec(), btf.string_section().to_vec());
    let mut copy = Copy { btf, endian: btf.endian(), types, strings, added: 0 };
    copy.fix(fixups).context("fix up BTF")?;
    copy.sanitize(features).context("fit BTF to this kernel")?;
    Ok(encode::blob(&copy.types, &copy.strings, copy.endian))
}

/// The copy that is edited, and the original, which says where each type is.
struct Copy<'a> {
    btf: &'a Btf,
    endian: Endian,
    types: Vec<u8>,
    strings: Vec<u8>,
    /// Types appended so far.
    added: u32,
}

// Word numbers inside a type.
const NAME: usize = 0;
const INFO: usize = 1;
const SIZE: usize = 2;
const TAIL: usize = TYPE_LEN / 4;

impl Copy<'_> {
    fn put(&mut self, at: usize, word: usize, value: u32) {
        let bytes = self.endian.u32_bytes(value);
        let start = at + word * 4;
        if let Some(slot) = self.types.get_mut(start..start + 4) {
            slot.copy_from_slice(&bytes);
        }
    }

    fn get(&self, at: usize, word: usize) -> Result<u32> {
        u32_at(&self.types, at + word * 4, self.endian)
    }

    fn put_info(&mut self, at: usize, kind: Kind, vlen: u32) {
        self.put(at, INFO, u32::from(kind as u8) << 24 | vlen);
    }

    /// Byte offset of a type in the type section, which the copy has in common with the original.
    fn place(&self, id: TypeId) -> Result<usize> {
        let step = self.btf.locate(id)?.ok_or_else(|| self.btf.no_type(id))?;
        Ok(step.at)
    }

    fn add_string(&mut self, text: &[u8]) -> Result<u32> {
        let offset =
            u32::try_from(self.strings.len()).map_err(|_| Error::invalid("string section is too long"))?;
        self.strings.extend_from_slice(text);
        self.strings.push(0);
        Ok(offset)
    }

    fn add_type(&mut self, name: &str, kind: Kind, size_or_type: u32, tail: u32) -> Result<TypeId> {
        let name_off = self.add_string(name.as_bytes())?;
        for word in [name_off, u32::from(kind as u8) << 24, size_or_type, tail] {
            self.types.extend_from_slice(&self.endian.u32_bytes(word));
        }
        let id = TypeId(self.btf.type_count().saturating_add(self.added));
        self.added += 1;
        Ok(id)
    }

    fn add_int(&mut self, name: &str, size: u8, encoding: u8) -> Result<TypeId> {
        let word = u32::from_be_bytes([encoding, 0, 0, size.saturating_mul(8)]);
        self.add_type(name, Kind::Int, u32::from(size), word)
    }

    // -- first pass: what clang leaves open ----------------------------------------------------------------

    fn fix(&mut self, fixups: &Fixups) -> Result<()> {
        for ty in self.btf.types() {
            let ty = ty?;
            match ty.kind() {
                Kind::Datasec => self.fix_datasec(ty, fixups).with_context(|| datasec_context(ty))?,
                Kind::Func if fixups.static_functions.contains(ty.name()?) => {
                    let at = self.place(ty.id())?;
                    self.put_info(at, Kind::Func, Linkage::Static.raw());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn fix_datasec(&mut self, ty: Type<'_>, fixups: &Fixups) -> Result<()> {
        let name = ty.name()?;
        match fixups.datasecs.get(name) {
            Some(fixup) => self.fill_datasec(ty, fixup, name == ".kconfig"),
            None if name == ".ksyms" => self.fix_ksyms(ty),
            None if ty.size() == Some(0) && ty.vlen() > 0 => {
                Err(Error::not_found("the section's size is not known"))
            }
            None => Ok(()),
        }
    }

    fn fill_datasec(&mut self, ty: Type<'_>, fixup: &DatasecFixup, externs: bool) -> Result<()> {
        let mut vars = Vec::new();
        for entry in ty.section_vars() {
            let var = self.btf.type_by_id(entry.type_id)?;
            let name = var.name()?;
            let missing = || Error::not_found(format!("variable `{name}` is not in the section"));
            // Two files linked into one object may each have a static variable of a name; of those the
            // compiler knows the offset.
            let place = match (var.linkage(), fixup.variables.get(name)) {
                (Some(Linkage::Static), None) => VariableFixup { offset: entry.offset, hidden: false },
                (_, place) => *place.ok_or_else(missing)?,
            };
            let linkage = match var.linkage() {
                Some(Linkage::Extern) if externs => Some(Linkage::Global),
                Some(Linkage::Extern) => {
                    return Err(Error::incompatible(format!(
                        "extern variable `{name}` outside of .kconfig and .ksyms"
                    )));
                }
                _ if place.hidden => Some(Linkage::Static),
                _ => None,
            };
            if let (Some(linkage), Kind::Var) = (linkage, var.kind()) {
                let at = self.place(entry.type_id)?;
                self.put(at, TAIL, linkage.raw());
            }
            vars.push(SectionVar { offset: place.offset, ..entry });
        }
        sort_by_number(&mut vars, |var| u64::from(var.offset));
        self.put_vars(ty.id(), fixup.size, &vars)
    }

    /// Kernel symbols have no place in a section: the kernel only wants to see plausible ints.
    fn fix_ksyms(&mut self, ty: Type<'_>) -> Result<()> {
        let int = self.add_int("int", 4, IntInfo::SIGNED)?;
        let dummy = self.add_type("dummy_ksym", Kind::Var, int.0, Linkage::Global.raw())?;
        let mut vars = Vec::new();
        let mut offset: u32 = 0;
        for entry in ty.section_vars() {
            let symbol = self.btf.type_by_id(entry.type_id)?;
            let at = self.place(entry.type_id)?;
            let type_id = match symbol.kind() {
                Kind::Func => {
                    self.put_info(at, Kind::Func, Linkage::Global.raw());
                    self.name_params(symbol.target().unwrap_or_default())?;
                    dummy
                }
                Kind::Var => {
                    self.put(at, SIZE, int.0);
                    self.put(at, TAIL, Linkage::Global.raw());
                    entry.type_id
                }
                kind => {
                    return Err(Error::invalid(format!(
                        "a {} is neither variable nor function",
                        kind.word()
                    )));
                }
            };
            vars.push(SectionVar { type_id, offset, size: 4 });
            offset = offset.saturating_add(4);
        }
        self.put_vars(ty.id(), offset, &vars)
    }

    /// The kernel refuses nameless parameters in a function that has a name.
    fn name_params(&mut self, proto: TypeId) -> Result<()> {
        let proto = self.btf.type_by_id(proto)?;
        if proto.kind() != Kind::FuncProto {
            return Err(Error::invalid(format!("type {} is not a function prototype", proto.id().0)));
        }
        let at = self.place(proto.id())?;
        for (index, param) in proto.params().enumerate() {
            if param.name_off == 0 && param.type_id != TypeId::VOID {
                let name = self.add_string(b"arg")?;
                self.put(at, TAIL + index * 2, name);
            }
        }
        Ok(())
    }

    fn put_vars(&mut self, id: TypeId, size: u32, vars: &[SectionVar]) -> Result<()> {
        let at = self.place(id)?;
        self.put(at, SIZE, size);
        for (index, var) in vars.iter().enumerate() {
            for (word, value) in [var.type_id.0, var.offset, var.size].into_iter().enumerate() {
                self.put(at, TAIL + index * 3 + word, value);
            }
        }
        Ok(())
    }

    // -- second pass: what the kernel is too old for -------------------------------------------------------

    fn sanitize(&mut self, features: &BtfFeatures) -> Result<()> {
        let btf = self.btf;
        let placeholder = match features.enum64 || !has_kind(btf, Kind::Enum64)? {
            true => TypeId::VOID,
            false => self.add_int("enum64_placeholder", 1, 0)?,
        };
        for step in btf.walk(0) {
            let Step { at, raw, .. } = step?;
            let kind = Kind::from_raw(raw.kind());
            if kind == Kind::Unknown {
                return Err(Error::not_supported("BTF of a kind newer than this loader", ""));
            }
            if raw.vlen() > 0xffff && !features.wide_vlen {
                return Err(Error::not_supported("BTF type with more than 65535 members", "7.0"));
            }
            self.sanitize_type(at, kind, raw.vlen(), features, placeholder)?;
        }
        Ok(())
    }

    fn sanitize_type(
        &mut self,
        at: usize,
        kind: Kind,
        vlen: u32,
        has: &BtfFeatures,
        small: TypeId,
    ) -> Result<()> {
        match kind {
            Kind::Var if !has.datasec => self.make_small_int(at),
            Kind::DeclTag if !has.decl_tag => self.make_small_int(at),
            Kind::Datasec if !has.datasec || (vlen == 0 && !has.empty_datasec) => {
                return self.datasec_to_struct(at, vlen);
            }
            Kind::Datasec if !has.qmark_datasec => return self.rename(at, |byte| byte == b'?'),
            Kind::FuncProto if !has.func => {
                self.put_info(at, Kind::Enum, vlen);
                self.put(at, SIZE, 4);
            }
            Kind::Func if !has.func => self.put_info(at, Kind::Typedef, 0),
            Kind::Func if !has.func_global => self.put_info(at, Kind::Func, Linkage::Static.raw()),
            Kind::Float if !has.float => {
                self.put(at, NAME, 0);
                self.put_info(at, Kind::Struct, 0);
            }
            Kind::TypeTag if !has.type_tag => {
                self.put(at, NAME, 0);
                self.put_info(at, Kind::Const, 0);
            }
            Kind::Enum if !has.enum64 => self.put_info(at, Kind::Enum, vlen),
            Kind::Enum64 if !has.enum64 => self.enum64_to_union(at, vlen, small),
            _ => {}
        }
        Ok(())
    }

    /// One byte is the safest size: a larger one could exceed the struct member or variable it stands for.
    fn make_small_int(&mut self, at: usize) {
        self.put_info(at, Kind::Int, 0);
        self.put(at, SIZE, 1);
        self.put(at, TAIL, 8);
    }

    fn datasec_to_struct(&mut self, at: usize, vlen: u32) -> Result<()> {
        self.rename(at, |byte| !byte.is_ascii_alphanumeric() && byte != b'_')?;
        self.put_info(at, Kind::Struct, vlen);
        for index in 0..usize::try_from(vlen).unwrap_or(0) {
            let entry = TAIL + index * 3;
            let (var, offset) = (self.get(at, entry)?, self.get(at, entry + 1)?);
            let name = self.get(self.place(TypeId(var))?, NAME)?;
            let bits = offset.checked_mul(8).ok_or_else(|| Error::invalid("variable offset is too large"))?;
            for (word, value) in [name, var, bits].into_iter().enumerate() {
                self.put(at, entry + word, value);
            }
        }
        Ok(())
    }

    /// Same size, same names, but members in the place of values; nothing in the kernel looks at the values.
    fn enum64_to_union(&mut self, at: usize, vlen: u32, small: TypeId) {
        self.put_info(at, Kind::Union, vlen);
        for index in 0..usize::try_from(vlen).unwrap_or(0) {
            self.put(at, TAIL + index * 3 + 1, small.0);
            self.put(at, TAIL + index * 3 + 2, 0);
        }
    }

    /// Gives the type a name in which the bytes that are `bad` became underscores.
    fn rename(&mut self, at: usize, bad: fn(u8) -> bool) -> Result<()> {
        let name = self.btf.string_bytes(self.get(at, NAME)?)?;
        if name.iter().any(|byte| bad(*byte)) {
            let clean: Vec<u8> = name.iter().map(|&byte| if bad(byte) { b'_' } else { byte }).collect();
            let name_off = self.add_string(&clean)?;
            self.put(at, NAME, name_off);
        }
        Ok(())
    }
}

fn has_kind(btf: &Btf, kind: Kind) -> Result<bool> {
    for ty in btf.types() {
        if ty?.kind() == kind {
            return Ok(true);
        }
    }
    Ok(false)
}

fn datasec_context(ty: Type<'_>) -> String {
    format!("data section `{}`", String::from_utf8_lossy(ty.name_bytes().unwrap_or_default()))
}
