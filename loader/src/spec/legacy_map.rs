//! `maps`, `maps/NAME`: map definitions as plain numbers, from before there was BTF.
//!
//! In: the section `maps`, or one for each map as gobpf has it, and their symbols. Out: [`MapSpec`]s. Each symbol is one
//! `struct bpf_map_def` of five `u32`; what else a longer struct holds is kept as it is ([`MapSpec::extra`]).

use super::btf_map::adjust_sizes;
use super::map::MapSpec;
use super::relocation::Places;
use crate::bytes::{slice_at, u32_at};
use crate::elf::{ElfObject, Place, Section, SectionKind, Symbol, SymbolKind};
use crate::error::{Error, Result, ResultExt as _};
use crate::order::sort_by_number;

/// Size in bytes of the part of the definition that is known.
const DEFINITION: usize = 20;

/// Reads all maps of these sections into `maps`, and their places into `places`.
pub(super) fn read_maps(elf: &ElfObject<'_>, maps: &mut Vec<MapSpec>, places: &mut Places) -> Result<()> {
    let holds_maps = |section: &&Section<'_>| {
        section.kind == SectionKind::Data && (section.name == "maps" || section.name.starts_with("maps/"))
    };
    elf.sections.iter().filter(holds_maps).try_for_each(|section| read_section(elf, section, maps, places))
}

fn read_section(
    elf: &ElfObject<'_>,
    section: &Section<'_>,
    maps: &mut Vec<MapSpec>,
    places: &mut Places,
) -> Result<()> {
    let mut symbols: Vec<&Symbol<'_>> = elf
        .symbols
        .iter()
        .filter(|symbol| symbol.place == Place::Section(section.index))
        .filter(|symbol| matches!(symbol.kind, SymbolKind::Object | SymbolKind::NoType))
        .filter(|symbol| !symbol.name.is_empty())
        .collect();
    sort_by_number(&mut symbols, |symbol| symbol.value);
    if symbols.is_empty() {
        return Ok(());
    }
    for symbol in &symbols {
        let size = definition_size(section, &symbols, symbol);
        let map = size.and_then(|size| read_map(elf, section, symbol, size));
        let map = map.with_context(|| format!("read map `{}`", symbol.name))?;
        if places.maps.insert((section.index, symbol.value), maps.len()).is_some() {
            return Err(Error::invalid(format!("map `{}` is where another map is", symbol.name)));
        }
        maps.push(map);
    }
    Ok(())
}

/// Bytes of one definition. The symbols of old compilers have no size; then all definitions are of the same struct.
fn definition_size(section: &Section<'_>, symbols: &[&Symbol<'_>], symbol: &Symbol<'_>) -> Result<usize> {
    let size = match usize::try_from(symbol.size) {
        Ok(0) if section.size.is_multiple_of(symbols.len()) => section.size / symbols.len(),
        Ok(size) => size,
        Err(_) => 0,
    };
    if size < DEFINITION {
        return Err(Error::invalid(format!(
            "a definition of at least {DEFINITION} bytes expected (section `{}` has {} bytes for {} maps)",
            section.name,
            section.size,
            symbols.len()
        )));
    }
    Ok(size)
}

fn read_map(elf: &ElfObject<'_>, section: &Section<'_>, symbol: &Symbol<'_>, size: usize) -> Result<MapSpec> {
    let at = usize::try_from(symbol.value).map_err(|_| Error::invalid("it leaves the section"))?;
    let definition = slice_at(section.data, at, size)?;
    let word = |index: usize| u32_at(definition, index * 4, elf.endian);
    let mut map = MapSpec::new(symbol.name, word(0)?, word(1)?, word(2)?, word(3)?);
    map.flags = word(4)?;
    let extra = definition.get(DEFINITION..).unwrap_or_default();
    if extra.iter().any(|&byte| byte != 0) {
        map.extra = extra.to_vec();
    }
    adjust_sizes(&mut map, false);
    Ok(map)
}
