//! What only the ELF file knows of an object's types.
//!
//! In: sections and symbols, the variables of each DATASEC, the functions. Out: [`Fixups`], by which
//! [`crate::btf::encode::for_kernel`] completes the BTF: clang leaves the sizes of data sections and the offsets of global
//! variables to the linker, and says nothing about visibility.

use std::collections::{BTreeMap, BTreeSet};

use super::program::{CodeSection, Linkage};
use super::variables::{GlobalSymbols, Variable, Variables};
use crate::btf::encode::{DatasecFixup, Fixups, VariableFixup};
use crate::btf::{self, Kind};
use crate::elf::{ElfObject, Section, SectionIndex};
use crate::error::{Error, Result, ResultExt as _};

/// Collects the fix-ups of all data sections that are in the file.
pub(super) fn read_fixups(
    elf: &ElfObject<'_>,
    variables: &Variables<'_>,
    code: &BTreeMap<SectionIndex, CodeSection>,
) -> Result<Fixups> {
    let symbols = GlobalSymbols::read(elf);
    let mut datasecs = BTreeMap::new();
    for (name, variables) in variables.sections() {
        // `.kconfig` and `.ksyms` are in no file.
        let Some(section) = elf.section_by_name(name) else { continue };
        let fixup = read_datasec(section, variables, &symbols)
            .with_context(|| format!("read data section `{name}`"))?;
        datasecs.insert(name.to_owned(), fixup);
    }
    let functions = code.values().flat_map(|section| &section.functions);
    let static_functions: BTreeSet<String> = functions
        .filter(|function| function.linkage == Linkage::Hidden)
        .map(|function| function.name.clone())
        .collect();
    Ok(Fixups { datasecs, static_functions })
}

fn read_datasec(
    section: &Section<'_>,
    variables: &[Variable<'_>],
    symbols: &GlobalSymbols<'_, '_>,
) -> Result<DatasecFixup> {
    let size = u32::try_from(section.size).map_err(|_| Error::invalid(format!("{} bytes", section.size)))?;
    let mut placed = BTreeMap::new();
    // Static variables are left out: their offsets are known to the compiler, and their names may repeat.
    let wanted =
        |variable: &&Variable<'_>| variable.kind == Kind::Var && variable.linkage != btf::Linkage::Static;
    for variable in variables.iter().filter(wanted) {
        let Some(symbol) = symbols.find(section.index, variable.name) else { continue };
        let offset = u32::try_from(symbol.value).ok().filter(|&offset| offset <= size);
        let offset = offset
            .ok_or_else(|| Error::invalid(format!("variable `{}` leaves the section", variable.name)))?;
        placed.insert(variable.name.to_owned(), VariableFixup { offset, hidden: symbol.hidden });
    }
    Ok(DatasecFixup { size, variables: placed })
}
