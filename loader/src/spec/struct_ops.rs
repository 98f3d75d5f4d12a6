//! `.struct_ops`: tables of functions that the kernel calls, such as a `struct tcp_congestion_ops`.
//!
//! In: the sections `.struct_ops` and `.struct_ops.link` (with a leading `?`: not created by default), their variables and
//! relocations. Out: a [`MapSpec`] for each variable, with its bytes and which program stands for which member. What the
//! kernel's struct looks like is not known here.

use std::collections::BTreeMap;

use super::map::{MapSpec, map_flag, map_type};
use super::program::{FunctionRef, ProgramSpec, entries};
use super::variables::{Variable, Variables};
use crate::btf::{Btf, Kind, TypeId};
use crate::elf::{ElfObject, Place, RawRelocation, Section, SymbolKind, reloc};
use crate::error::{Error, Result, ResultExt as _};
use crate::insn::InsnOffset;
use crate::order::sort_by_number;
use crate::section::split_autoload;

/// Size in bytes of a pointer in the object's structs.
const POINTER: u64 = 8;

/// What a variable of a `.struct_ops` section says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StructOps {
    /// Its struct in the object's BTF.
    pub type_id: TypeId,
    /// Its bytes, in the object's byte order; pointers to functions are zero.
    pub contents: Vec<u8>,
    /// Which program is in which member, by member.
    pub functions: Vec<StructOpsFunction>,
}

/// A member that is a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StructOpsFunction {
    /// Number of the member in the object's struct.
    pub member: u32,
    /// Index into [`super::ObjectSpec::programs`].
    pub program: usize,
}

/// A section of such variables: whether to create them, and whether they are attached by a link.
fn section_kind(name: &str) -> Option<(bool, bool)> {
    let (name, autocreate) = split_autoload(name);
    match name {
        ".struct_ops" => Some((autocreate, false)),
        ".struct_ops.link" => Some((autocreate, true)),
        _ => None,
    }
}

/// Reads all such sections into `maps`.
pub(super) fn read_maps(
    elf: &ElfObject<'_>,
    btf: Option<&Btf>,
    variables: &Variables<'_>,
    programs: &[ProgramSpec],
    maps: &mut Vec<MapSpec>,
) -> Result<()> {
    let entries = entries(programs);
    for section in elf.sections.iter().filter(|section| section.size > 0) {
        let Some((autocreate, link)) = section_kind(section.name) else { continue };
        let context = || format!("read section `{}`", section.name);
        let Some(btf) = btf else {
            return Err(Error::invalid("struct_ops without BTF (compile with -g)")).with_context(context);
        };
        let mut read = Vec::new();
        for variable in variables.of(section.name) {
            let place = place(elf, section, variable).with_context(context)?;
            read.push((place, variable));
        }
        sort_by_number(&mut read, |((start, _), _)| *start as u64);
        for ((start, end), variable) in read {
            let ops = read_ops(elf, btf, section, (start, end), variable.type_id, &entries);
            let ops = ops.with_context(|| format!("read struct_ops `{}`", variable.name))?;
            let flags = if link { map_flag::LINK } else { 0 };
            // The size of the value is the kernel's to say.
            let map = MapSpec::new(variable.name, map_type::STRUCT_OPS, 4, 0, 1);
            maps.push(MapSpec { flags, autocreate, struct_ops: Some(ops), ..map });
        }
    }
    Ok(())
}

/// First byte of a variable in its section, and one past the last.
fn place(elf: &ElfObject<'_>, section: &Section<'_>, variable: &Variable<'_>) -> Result<(usize, usize)> {
    let symbol = elf.symbols.iter().find(|symbol| {
        symbol.place == Place::Section(section.index)
            && symbol.kind == SymbolKind::Object
            && symbol.name == variable.name
    });
    let range = symbol.and_then(|symbol| {
        let start = usize::try_from(symbol.value).ok()?;
        let end = start.checked_add(usize::try_from(symbol.size).ok()?)?;
        (end <= section.data.len()).then_some((start, end))
    });
    range.ok_or_else(|| Error::invalid(format!("variable `{}` has no place in it", variable.name)))
}

fn read_ops(
    elf: &ElfObject<'_>,
    btf: &Btf,
    section: &Section<'_>,
    (start, end): (usize, usize),
    type_id: TypeId,
    entries: &BTreeMap<FunctionRef, usize>,
) -> Result<StructOps> {
    let ty = btf.strip(type_id)?;
    if ty.kind() != Kind::Struct {
        return Err(Error::invalid(format!("it is a {}, expected a struct", ty.kind().word())));
    }
    let contents = section.data.get(start..end).unwrap_or_default().to_vec();
    if btf.size_of(ty.id())? != contents.len() as u64 {
        return Err(Error::invalid(format!("{} bytes differ from the size of its type", contents.len())));
    }
    let mut ops = StructOps { type_id: ty.id(), contents, functions: Vec::new() };
    for raw in elf.relocations(section).filter(|raw| raw.kind != reloc::NONE) {
        let Some(at) = usize::try_from(raw.offset).ok().and_then(|at| at.checked_sub(start)) else {
            continue;
        };
        if at < end - start {
            let function = read_function(elf, btf, &mut ops, raw, at, entries);
            ops.functions.push(function.with_context(|| format!("read its member at byte {at}"))?);
        }
    }
    sort_by_number(&mut ops.functions, |function| u64::from(function.member));
    Ok(ops)
}

/// The program in the member at byte `at`, whose pointer is taken out of the contents.
fn read_function(
    elf: &ElfObject<'_>,
    btf: &Btf,
    ops: &mut StructOps,
    raw: RawRelocation,
    at: usize,
    entries: &BTreeMap<FunctionRef, usize>,
) -> Result<StructOpsFunction> {
    reloc::check_address(raw.kind)?;
    let bits = u32::try_from(at).ok().and_then(|at| at.checked_mul(8));
    let mut members = (0_u32..).zip(btf.type_by_id(ops.type_id)?.members());
    let member = members.find(|(_, member)| Some(member.bit_offset) == bits);
    let Some((member, _)) = member.filter(|(_, member)| points(btf, member.type_id)) else {
        return Err(Error::invalid("there is no pointer"));
    };
    let slot = ops.contents.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<8>);
    let slot =
        slot.ok_or_else(|| Error::invalid(format!("a pointer of {POINTER} bytes leaves the struct")))?;
    let addend = elf.endian.u64(std::mem::take(slot));
    let symbol = elf.symbol(raw.symbol)?;
    let program = match symbol.place {
        Place::Section(section) => {
            let offset = InsnOffset::from_bytes(symbol.value.wrapping_add(addend))?;
            entries.get(&FunctionRef { section, offset })
        }
        _ => None,
    };
    let program = *program.ok_or_else(|| Error::invalid(format!("`{}` is no program", symbol.name)))?;
    Ok(StructOpsFunction { member, program })
}

fn points(btf: &Btf, type_id: TypeId) -> bool {
    btf.strip(type_id).is_ok_and(|ty| ty.kind() == Kind::Ptr)
}

/// Turns autoload off for programs that are only in structs which are not created by default.
pub(super) fn spare_programs(maps: &[MapSpec], programs: &mut [ProgramSpec]) {
    for (index, program) in programs.iter_mut().enumerate() {
        let mut tables = maps.iter().filter(|map| map.struct_ops_member(index).is_some()).peekable();
        if tables.peek().is_some() && tables.all(|map| !map.autocreate) {
            program.autoload = false;
        }
    }
}

impl MapSpec {
    /// The member of this struct_ops that the program at `index` is for, if it is one of its functions.
    pub fn struct_ops_member(&self, index: usize) -> Option<u32> {
        let ops = self.struct_ops.as_ref()?;
        ops.functions.iter().find(|function| function.program == index).map(|function| function.member)
    }
}

#[cfg(test)]
mod tests {
    use super::section_kind;

    #[test]
    fn a_question_mark_turns_creation_off_and_the_suffix_asks_for_a_link() {
        assert_eq!(section_kind(".struct_ops"), Some((true, false)));
        assert_eq!(section_kind("?.struct_ops.link"), Some((false, true)));
        assert_eq!(section_kind(".struct_ops.other"), None);
    }
}
