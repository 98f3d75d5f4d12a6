//! `.maps`: maps whose attributes are written as types.
//!
//! In: the DATASEC `.maps`, its symbols and its relocations. Out: [`MapSpec`]s. Each variable is a
//! struct, each member an attribute: `__uint(name, N)` is a pointer to an array of N elements,
//! `__type(name, T)` a pointer to T, `__array(name, T)` an array of T without elements, `__ulong(name, N)` an enum with
//! one value. To add an attribute, add it to [`Attributes::set`].

use std::collections::BTreeMap;

use super::map::{InitialTarget, InitialValue, MapSpec, Pinning, map_type};
use super::program::{FunctionRef, ProgramSpec, entries};
use super::relocation::Places;
use super::variables::{GlobalSymbols, Variable, Variables};
use crate::btf::{Btf, Kind, Linkage, Member, TypeId};
use crate::elf::{ElfObject, Place, RawRelocation, Section, SectionIndex, Symbol, reloc};
use crate::error::{Error, Result, ResultExt as _};
use crate::insn::InsnOffset;
use crate::order::sort_by_number;

/// Name of the section.
const SECTION: &str = ".maps";
/// Size in bytes of a pointer to BPF, and so of one slot of `values`.
const POINTER: u64 = 8;

/// Reads all maps of `.maps` into `maps`, and their places into `places`.
pub(super) fn read_maps(
    elf: &ElfObject<'_>,
    btf: Option<&Btf>,
    variables: &Variables<'_>,
    maps: &mut Vec<MapSpec>,
    places: &mut Places,
) -> Result<Vec<ValuesPlace>> {
    let Some(section) = elf.section_by_name(SECTION).filter(|section| section.size > 0) else {
        return Ok(Vec::new());
    };
    let Some(btf) = btf else { return Err(Error::invalid("`.maps` without BTF (compile with -g)")) };
    let symbols = GlobalSymbols::read(elf);
    let mut read = Vec::new();
    for variable in variables.of(SECTION) {
        let one = read_map(btf, section, &symbols, variable);
        read.push(one.with_context(|| format!("read map `{}`", variable.name))?);
    }
    sort_by_number(&mut read, |(offset, ..)| *offset);
    let mut values = Vec::new();
    for (offset, map, place) in read {
        if places.maps.insert((section.index, offset), maps.len()).is_some() {
            return Err(Error::invalid(format!("map `{}` is where another map is", map.name)));
        }
        values.extend(place.map(|place| ValuesPlace { map: maps.len(), section: section.index, ..place }));
        maps.push(map);
    }
    Ok(values)
}

/// Where the `values` of a map are.
#[derive(Clone, Copy, Debug)]
pub(super) struct ValuesPlace {
    map: usize,
    section: SectionIndex,
    /// First byte in the section.
    start: u64,
    /// One past the last byte.
    end: u64,
    /// The values are programs, not maps.
    programs: bool,
}

fn read_map<'a>(
    btf: &Btf,
    section: &Section<'_>,
    symbols: &GlobalSymbols<'_, 'a>,
    variable: &Variable<'a>,
) -> Result<(u64, MapSpec, Option<ValuesPlace>)> {
    if variable.kind != Kind::Var || variable.linkage != Linkage::Global {
        return Err(Error::invalid("a map must be a global variable, not static or extern"));
    }
    let symbol = symbols
        .find(section.index, variable.name)
        .ok_or_else(|| Error::invalid("it has no symbol in the section"))?;
    let end = symbol.value.checked_add(symbol.size);
    let Some(end) = end.filter(|&end| usize::try_from(end).is_ok_and(|end| end <= section.size)) else {
        return Err(Error::invalid("it leaves the section"));
    };
    let attributes = Attributes::read(btf, variable.type_id, Depth::Outer)?;
    let values = attributes.values.as_ref().map(|values| ValuesPlace {
        map: 0,
        section: section.index,
        start: symbol.value.saturating_add(values.offset),
        end,
        programs: values.inner.is_none(),
    });
    Ok((symbol.value, attributes.into_spec(variable.name)?, values))
}

/// Whether a definition is for a map inside of a map.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Outer,
    Inner,
}

/// What the members of a map definition say.
#[derive(Default)]
struct Attributes {
    map_type: Option<u32>,
    max_entries: Option<u32>,
    map_flags: Option<u32>,
    numa_node: Option<u32>,
    key_size: Option<u32>,
    key: Option<(TypeId, u32)>,
    value_size: Option<u32>,
    value: Option<(TypeId, u32)>,
    pinning: Option<u32>,
    map_extra: Option<u64>,
    values: Option<Values>,
}

struct Values {
    /// Bytes from the start of the definition.
    offset: u64,
    /// The definition of the maps inside; absent when the values are programs.
    inner: Option<Box<Attributes>>,
}

impl Attributes {
    fn read(btf: &Btf, type_id: TypeId, depth: Depth) -> Result<Self> {
        let definition = btf.strip(type_id)?;
        if definition.kind() != Kind::Struct {
            return Err(Error::invalid(format!(
                "the definition is {}, expected struct",
                definition.kind().word()
            )));
        }
        let mut attributes = Self::default();
        for member in definition.members() {
            let name = btf.string(member.name_off)?;
            attributes
                .set(btf, name, member, depth)
                .with_context(|| format!("read attribute `{}`", shorten(name)))?;
        }
        Ok(attributes)
    }

    fn set(&mut self, btf: &Btf, name: &str, member: Member, depth: Depth) -> Result<()> {
        if self.values.is_some() {
            return Err(Error::invalid("`values` must be the last attribute"));
        }
        let uint = || uint(btf, member.type_id);
        match name {
            "type" => once(&mut self.map_type, uint()?),
            "max_entries" => once(&mut self.max_entries, uint()?),
            "map_flags" => once(&mut self.map_flags, uint()?),
            "numa_node" => once(&mut self.numa_node, uint()?),
            "key_size" => once(&mut self.key_size, uint()?),
            "key" => once(&mut self.key, pointee(btf, member.type_id)?),
            "value_size" => once(&mut self.value_size, uint()?),
            "value" => once(&mut self.value, pointee(btf, member.type_id)?),
            "map_extra" => once(&mut self.map_extra, ulong(btf, member.type_id)?),
            "pinning" | "values" if depth == Depth::Inner => {
                Err(Error::invalid("a map inside of a map has no such attribute"))
            }
            "pinning" => once(&mut self.pinning, uint()?),
            "values" => once(&mut self.values, read_values(btf, member)?),
            _ => Err(Error::invalid("unknown attribute")),
        }
    }

    fn into_spec(self, name: &str) -> Result<MapSpec> {
        let map_type = self.map_type.ok_or_else(|| Error::invalid("attribute `type` is missing"))?;
        let key_size = size(self.key_size, self.key, "key")?;
        let value_size = size(self.value_size, self.value, "value")?;
        let mut map = MapSpec::new(name, map_type, key_size, value_size, self.max_entries.unwrap_or(0));
        map.flags = self.map_flags.unwrap_or(0);
        map.map_extra = self.map_extra.unwrap_or(0);
        map.numa_node = self.numa_node;
        map.key_type_id = self.key.map_or(TypeId::VOID, |(id, _)| id);
        map.value_type_id = self.value.map_or(TypeId::VOID, |(id, _)| id);
        map.pinning = match self.pinning.unwrap_or(0) {
            0 => Pinning::None,
            1 => Pinning::ByName,
            other => Pinning::Unknown(other),
        };
        if let Some(values) = self.values {
            set_values(&mut map, values)?;
        }
        adjust_sizes(&mut map, self.value.is_some());
        Ok(map)
    }
}

fn set_values(map: &mut MapSpec, values: Values) -> Result<()> {
    let fits = match values.inner {
        Some(_) => map.is_map_in_map(),
        None => map.map_type == map_type::PROG_ARRAY,
    };
    if !fits {
        return Err(Error::invalid(format!("map type {} cannot have these `values`", map.map_type)));
    }
    if let Some(inner) = values.inner {
        let name = format!("{}.inner", map.name);
        let inner = inner.into_spec(&name).context("read the definition of the maps inside")?;
        if inner.is_map_in_map() {
            return Err(Error::invalid("a map inside of a map cannot hold maps itself"));
        }
        map.inner = Some(Box::new(inner));
    }
    match map.value_size {
        0 | 4 => map.value_size = 4,
        other => return Err(Error::invalid(format!("values are fds of 4 bytes, not of {other}"))),
    }
    Ok(())
}

/// A value type on a ring buffer or perf event array says what its records are; the kernel wants the
/// size that these maps really have.
pub(super) fn adjust_sizes(map: &mut MapSpec, has_value_type: bool) {
    match map.map_type {
        map_type::RINGBUF | map_type::USER_RINGBUF | map_type::ARENA => map.value_size = 0,
        map_type::PERF_EVENT_ARRAY => {
            if map.key_size == 0 {
                map.key_size = 4;
            }
            if map.value_size == 0 || has_value_type {
                map.value_size = 4;
            }
        }
        _ => {}
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::invalid("it is given twice")),
    }
}

/// The size that is written out, or that of the type; both must agree.
fn size(written: Option<u32>, of_type: Option<(TypeId, u32)>, what: &str) -> Result<u32> {
    match (written, of_type) {
        (Some(written), Some((_, size))) if written != size => {
            Err(Error::invalid(format!("{what} size {written} differs from the size of its type, {size}")))
        }
        (written, of_type) => Ok(of_type.map(|(_, size)| size).or(written).unwrap_or(0)),
    }
}

/// `__uint`: pointer to an array; its length is the number.
fn uint(btf: &Btf, type_id: TypeId) -> Result<u32> {
    let pointer = btf.strip(type_id)?;
    let array = match (pointer.kind(), pointer.target()) {
        (Kind::Ptr, Some(target)) => btf.strip(target)?.array(),
        _ => None,
    };
    array.map(|array| array.len).ok_or_else(|| Error::invalid("it is not written with __uint()"))
}

/// `__ulong`: an enum with one value; `__uint` will do as well.
fn ulong(btf: &Btf, type_id: TypeId) -> Result<u64> {
    let ty = btf.strip(type_id)?;
    if !ty.kind().is_enum() {
        return uint(btf, type_id).map(u64::from);
    }
    match (ty.enumerators().next(), ty.vlen()) {
        (Some(only), 1) => Ok(only.value),
        _ => Err(Error::invalid("it is not written with __ulong()")),
    }
}

/// `__type`: pointer to a type; the type and its size in bytes.
fn pointee(btf: &Btf, type_id: TypeId) -> Result<(TypeId, u32)> {
    let pointer = btf.strip(type_id)?;
    let (Kind::Ptr, Some(target)) = (pointer.kind(), pointer.target()) else {
        return Err(Error::invalid("it is not written with __type()"));
    };
    let size = btf.size_of(target)?;
    let size = u32::try_from(size).map_err(|_| Error::invalid(format!("a size of {size} bytes")))?;
    Ok((target, size))
}

/// `__array(values, ...)`: an array without elements, of pointers to a map definition or to functions.
fn read_values(btf: &Btf, member: Member) -> Result<Values> {
    let malformed = || Error::invalid("it is not written with __array()");
    if !member.bit_offset.is_multiple_of(8) {
        return Err(malformed());
    }
    let offset = u64::from(member.bit_offset / 8);
    let array = btf.strip(member.type_id)?.array().filter(|array| array.len == 0).ok_or_else(malformed)?;
    let pointer = btf.strip(array.element)?;
    let (Kind::Ptr, Some(target)) = (pointer.kind(), pointer.target()) else { return Err(malformed()) };
    match btf.strip(target)?.kind() {
        Kind::FuncProto => Ok(Values { offset, inner: None }),
        Kind::Struct => {
            let inner = Attributes::read(btf, target, Depth::Inner)
                .context("read the definition of the maps inside")?;
            Ok(Values { offset, inner: Some(Box::new(inner)) })
        }
        kind => {
            Err(Error::invalid(format!("values are pointers to {}, not to maps or functions", kind.word())))
        }
    }
}

fn shorten(name: &str) -> &str {
    name.get(..64).unwrap_or(name)
}

/// Reads what `.maps` is initialised with: its relocations say which map or program is in which slot.
pub(super) fn read_initial_values(
    elf: &ElfObject<'_>,
    values: &[ValuesPlace],
    maps: &mut [MapSpec],
    programs: &[ProgramSpec],
    places: &Places,
) -> Result<()> {
    let Some(section) = elf.section_by_name(SECTION) else { return Ok(()) };
    let entries = entries(programs);
    for raw in elf.relocations(section).filter(|raw| raw.kind != reloc::NONE) {
        let (map, value) = read_initial_value(elf, values, raw, &entries, places)
            .with_context(|| format!("read the map value at byte {} of `.maps`", raw.offset))?;
        if let Some(map) = maps.get_mut(map) {
            map.initial_values.push(value);
        }
    }
    for map in maps {
        sort_by_number(&mut map.initial_values, |value| u64::from(value.slot));
    }
    Ok(())
}

fn read_initial_value(
    elf: &ElfObject<'_>,
    values: &[ValuesPlace],
    raw: RawRelocation,
    entries: &BTreeMap<FunctionRef, usize>,
    places: &Places,
) -> Result<(usize, InitialValue)> {
    reloc::check_address(raw.kind)?;
    // `values` is in the order of the file, by start.
    let after = values.partition_point(|place| place.start <= raw.offset);
    let place = after
        .checked_sub(1)
        .and_then(|index| values.get(index))
        .filter(|place| raw.offset < place.end)
        .ok_or_else(|| Error::invalid("no map has its `values` there"))?;
    let bytes = raw.offset - place.start;
    let slot = u32::try_from(bytes / POINTER).ok().filter(|_| bytes.is_multiple_of(POINTER));
    let slot = slot.ok_or_else(|| Error::invalid(format!("byte {bytes} of `values` is not at a slot")))?;
    let target = find_target(elf.symbol(raw.symbol)?, place, entries, places)?;
    Ok((place.map, InitialValue { slot, target }))
}

fn find_target(
    symbol: &Symbol<'_>,
    place: &ValuesPlace,
    entries: &BTreeMap<FunctionRef, usize>,
    places: &Places,
) -> Result<InitialTarget> {
    let Place::Section(section) = symbol.place else {
        return Err(Error::invalid(format!("`{}` is defined nowhere", symbol.name)));
    };
    if place.programs {
        let at = FunctionRef { section, offset: InsnOffset::from_bytes(symbol.value)? };
        return match entries.get(&at) {
            Some(&index) => Ok(InitialTarget::Program { index }),
            None => Err(Error::invalid(format!("`{}` is no program", symbol.name))),
        };
    }
    match places.maps.get(&(section, symbol.value)) {
        Some(&index) if section == place.section => Ok(InitialTarget::Map { index }),
        _ => Err(Error::invalid(format!("`{}` is no map", symbol.name))),
    }
}
