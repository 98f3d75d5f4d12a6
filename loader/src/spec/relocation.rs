//! Relocations of instructions: which instruction refers to what.
//!
//! In: `SHT_REL` entries of the executable sections, and where the maps and externs are. Out:
//! [`Relocation`]s that name their target by its place in the spec. Nothing is patched here: calls are resolved by
//! [`crate::linker`], maps and externs when there are fds.

use std::collections::BTreeMap;

use super::program::CodeSection;
use crate::elf::{ElfObject, Place, RawRelocation, Section, SectionIndex, Symbol, SymbolIndex, reloc};
use crate::error::{Error, Result, ResultExt as _};
use crate::insn::{Insn, InsnOffset, OP_CALL, pseudo};
use crate::order::sort_by_number;

/// An instruction that refers to something that has no number yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Slots from the start of the section (in a spec) or of the program (once linked).
    pub at: InsnOffset,
    /// What it refers to.
    pub target: RelocTarget,
}

/// What an instruction refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelocTarget {
    /// `call` of a function of the object.
    Function {
        /// The section that holds it.
        section: SectionIndex,
        /// Its first instruction, in slots from the start of that section.
        offset: InsnOffset,
    },
    /// `ld_imm64` of the address of a function of the object, for a callback.
    FunctionAddress {
        /// The section that holds it.
        section: SectionIndex,
        /// Its first instruction, in slots from the start of that section.
        offset: InsnOffset,
    },
    /// `ld_imm64` of a map.
    Map {
        /// Index into [`super::ObjectSpec::maps`].
        index: usize,
    },
    /// `ld_imm64` of an address inside of a data section.
    Data {
        /// Index into [`super::ObjectSpec::maps`].
        map: usize,
        /// Bytes from the start of the map's only value. Modulo 2^32: the compiler may point before
        /// a variable and add to it later; the kernel checks the sum.
        offset: u32,
    },
    /// `ld_imm64` of the table of a `switch`.
    JumpTable {
        /// Index into [`super::ObjectSpec::jump_tables`]; once linked, into
        /// [`crate::linker::LinkedProgram::jump_tables`].
        index: usize,
    },
    /// `ld_imm64` or `call` of something that the kernel has.
    Extern {
        /// Index into [`super::ObjectSpec::externs`].
        index: usize,
    },
}

/// Where things are, by their place in the file.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Maps by section and byte offset there.
    pub(super) maps: BTreeMap<(SectionIndex, u64), usize>,
    /// Maps that stand for a whole section.
    pub(super) data: BTreeMap<SectionIndex, usize>,
    /// Jump tables by symbol.
    pub(super) jump_tables: BTreeMap<SymbolIndex, usize>,
    /// Externs by symbol.
    pub(super) externs: BTreeMap<SymbolIndex, usize>,
}

/// Reads the relocations of all code sections into them.
pub(super) fn read_relocations(
    elf: &ElfObject<'_>,
    code: &mut BTreeMap<SectionIndex, CodeSection>,
    places: &Places,
) -> Result<()> {
    let sections: Vec<SectionIndex> = code.keys().copied().collect();
    for index in sections {
        let section = elf.section(index)?;
        let relocations = read_section(elf, section, code, places)
            .with_context(|| format!("read the relocations of section `{}`", section.name))?;
        if let Some(section) = code.get_mut(&index) {
            section.relocations = relocations;
        }
    }
    Ok(())
}

fn read_section(
    elf: &ElfObject<'_>,
    section: &Section<'_>,
    code: &BTreeMap<SectionIndex, CodeSection>,
    places: &Places,
) -> Result<Vec<Relocation>> {
    let Some(own) = code.get(&section.index) else { return Ok(Vec::new()) };
    let covered = covered_ranges(own);
    let mut relocations = Vec::new();
    for raw in elf.relocations(section).filter(|raw| raw.kind != reloc::NONE) {
        let at = InsnOffset::from_bytes(raw.offset)?;
        // A weak function that was overridden leaves code without a symbol behind; nobody can call it, and
        // what its relocations refer to may be gone.
        if !is_covered(&covered, at) {
            continue;
        }
        let target = resolve(elf, own, code, places, raw, at)
            .with_context(|| format!("relocate instruction {}", at.0))?;
        relocations.push(Relocation { at, target });
    }
    sort_by_number(&mut relocations, |relocation| relocation.at.0 as u64);
    if let Some(&[a, _]) = relocations.windows(2).find(|pair| matches!(pair, [a, b] if a.at == b.at)) {
        return Err(Error::invalid(format!("two relocations for instruction {}", a.at.0)));
    }
    Ok(relocations)
}

/// The parts of a section that belong to functions: disjoint, in order, as (start, end) in slots.
fn covered_ranges(section: &CodeSection) -> Vec<(usize, usize)> {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for function in &section.functions {
        let (start, end) = (function.offset.0, function.offset.0.saturating_add(function.len));
        match ranges.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => ranges.push((start, end)),
        }
    }
    ranges
}

fn is_covered(ranges: &[(usize, usize)], at: InsnOffset) -> bool {
    let after = ranges.partition_point(|&(start, _)| start <= at.0);
    after.checked_sub(1).and_then(|index| ranges.get(index)).is_some_and(|&(_, end)| at.0 < end)
}

fn resolve(
    elf: &ElfObject<'_>,
    own: &CodeSection,
    code: &BTreeMap<SectionIndex, CodeSection>,
    places: &Places,
    raw: RawRelocation,
    at: InsnOffset,
) -> Result<RelocTarget> {
    let symbol = elf.symbol(raw.symbol)?;
    let insn = own
        .insns
        .get(at.0)
        .copied()
        .ok_or_else(|| Error::invalid(format!("there is no instruction {}", at.0)))?;
    let expected = match insn.code {
        OP_CALL => reloc::R64_32,
        _ if insn.is_ld_imm64() => reloc::R64_64,
        code => return Err(Error::invalid(format!("opcode {code:#04x} refers to nothing"))),
    };
    if raw.kind != expected {
        return Err(Error::invalid(format!(
            "relocation type {} on opcode {:#04x}, expected {expected}",
            raw.kind, insn.code
        )));
    }
    let section = match symbol.place {
        Place::Undefined => return resolve_extern(symbol, places),
        Place::Elsewhere => return Err(Error::invalid(format!("symbol `{}` has no section", symbol.name))),
        Place::Section(section) => section,
    };
    match insn.code {
        OP_CALL => resolve_call(symbol, section, code, insn),
        _ if code.contains_key(&section) => resolve_function_address(symbol, section, insn),
        _ => resolve_address(symbol, elf.section(section)?, places, insn),
    }
}

fn resolve_extern(symbol: &Symbol<'_>, places: &Places) -> Result<RelocTarget> {
    match places.externs.get(&symbol.index) {
        Some(&index) => Ok(RelocTarget::Extern { index }),
        None => Err(Error::invalid(format!(
            "symbol number {} is undefined and cannot be linked to",
            symbol.index.0
        ))),
    }
}

/// The immediate counts slots from the instruction after the symbol's: -1 is the symbol itself.
fn resolve_call(
    symbol: &Symbol<'_>,
    section: SectionIndex,
    code: &BTreeMap<SectionIndex, CodeSection>,
    insn: Insn,
) -> Result<RelocTarget> {
    if insn.src != pseudo::CALL {
        return Err(Error::invalid(format!("`call` with source register {}", insn.src)));
    }
    if !code.contains_key(&section) {
        return Err(Error::invalid(format!("`call` of `{}`, which is not code", symbol.name)));
    }
    let offset = InsnOffset::from_bytes(symbol.value)?
        .0
        .checked_add_signed(isize::try_from(i64::from(insn.imm) + 1).unwrap_or(isize::MIN))
        .ok_or_else(|| Error::invalid("`call` before the start of the section"))?;
    Ok(RelocTarget::Function { section, offset: InsnOffset(offset) })
}

/// Here the immediate is an addend in bytes.
fn resolve_function_address(symbol: &Symbol<'_>, section: SectionIndex, insn: Insn) -> Result<RelocTarget> {
    let bytes = symbol
        .value
        .checked_add_signed(i64::from(insn.imm))
        .ok_or_else(|| Error::invalid("function address before the start of the section"))?;
    Ok(RelocTarget::FunctionAddress { section, offset: InsnOffset::from_bytes(bytes)? })
}

fn resolve_address(
    symbol: &Symbol<'_>,
    section: &Section<'_>,
    places: &Places,
    insn: Insn,
) -> Result<RelocTarget> {
    if let Some(&index) = places.jump_tables.get(&symbol.index) {
        return match insn.imm {
            0 => Ok(RelocTarget::JumpTable { index }),
            inside => Err(Error::invalid(format!("byte {inside} of the jump table `{}`", symbol.name))),
        };
    }
    if let Some(&map) = places.data.get(&section.index) {
        let value = u32::try_from(symbol.value)
            .map_err(|_| Error::invalid(format!("symbol `{}` is outside of its section", symbol.name)))?;
        return Ok(RelocTarget::Data { map, offset: value.wrapping_add(insn.imm.cast_unsigned()) });
    }
    let offset = symbol.value.checked_add_signed(i64::from(insn.imm));
    match offset.and_then(|offset| places.maps.get(&(section.index, offset))) {
        Some(&index) => Ok(RelocTarget::Map { index }),
        None => Err(Error::invalid(format!(
            "address of `{}` in section `{}`, which holds no map or data",
            symbol.name, section.name
        ))),
    }
}
