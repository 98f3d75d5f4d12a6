//! Global variables: data sections as maps, and their values before load.
//!
//! In: `.rodata*`, `.data*`, `.bss*` and `.percpu*` with their symbols and BTF. Out: one array map of one entry for each
//! section (those of `.percpu*` have a value for each CPU; variables in an arena are the arena's contents), and
//! [`Global`]s: where each variable is, so that it can be set by name ([`GlobalValue`]) before the map is created. Offsets
//! come from symbols: clang leaves those in BTF to the linker.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::map::{MapSpec, map_flag, map_type};
use super::relocation::Places;
use super::variables::{GlobalSymbols, Variable, Variables};
use crate::btf::{Btf, IntInfo, Kind, Linkage, TypeId};
use crate::bytes::Endian;
use crate::elf::{ElfObject, Place, Section, SectionIndex, SectionKind, Symbol, SymbolKind};
use crate::error::{Error, Result, ResultExt as _};

/// A global variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// The symbol's name; `function.name` for a static variable of a function.
    pub name: String,
    /// Index into [`super::ObjectSpec::maps`].
    pub map: usize,
    /// Bytes from the start of the map's only value.
    pub offset: usize,
    /// Size in bytes.
    pub size: usize,
    /// Its type in the object's BTF, if it is there.
    pub type_id: Option<TypeId>,
}

/// What the variables of a section are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DataKind {
    /// Written before load only.
    Constant,
    /// Shared by all CPUs.
    Shared,
    /// Another copy on each CPU, all of which begin alike (7.3). Even what C calls constant is written by whoever holds the map.
    PerCpu,
}

/// What variables a section holds, if it holds any.
fn data_kind(section: &Section<'_>) -> Option<DataKind> {
    let is = |name: &str| {
        section.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    match section.kind {
        SectionKind::Data | SectionKind::Zeros if is(".rodata") => Some(DataKind::Constant),
        SectionKind::Data | SectionKind::Zeros if is(".data") || is(".bss") => Some(DataKind::Shared),
        SectionKind::Data | SectionKind::Zeros if is(".percpu") => Some(DataKind::PerCpu),
        _ => None,
    }
}

/// Reads all data sections into `maps`, and their places into `places`. Empty ones are left out.
pub(super) fn read_maps(
    elf: &ElfObject<'_>,
    variables: &Variables<'_>,
    maps: &mut Vec<MapSpec>,
    places: &mut Places,
) -> Result<()> {
    let symbols = GlobalSymbols::read(elf);
    read_arena(elf, maps, places);
    for section in elf.sections.iter().filter(|section| section.size > 0) {
        let Some(kind) = data_kind(section) else { continue };
        let map = read_map(section, kind, variables, &symbols)
            .with_context(|| format!("read data section `{}`", section.name))?;
        places.data.insert(section.index, maps.len());
        maps.push(map);
    }
    Ok(())
}

/// The section of variables in address space 1, which is the arena.
const ARENA: &str = ".addr_space.1";

/// An object has one arena at most. Without one, what refers to these variables cannot be linked.
fn read_arena(elf: &ElfObject<'_>, maps: &mut [MapSpec], places: &mut Places) {
    let Some(section) = elf.section_by_name(ARENA).filter(|section| section.size > 0) else { return };
    let arena = maps.iter_mut().enumerate().find(|(_, map)| map.map_type == map_type::ARENA);
    if let Some((index, map)) = arena {
        places.data.insert(section.index, index);
        map.contents = Some(section.contents());
    }
}

fn read_map(
    section: &Section<'_>,
    kind: DataKind,
    variables: &Variables<'_>,
    symbols: &GlobalSymbols<'_, '_>,
) -> Result<MapSpec> {
    let size = u32::try_from(section.size).map_err(|_| Error::invalid(format!("{} bytes", section.size)))?;
    let map_type = if kind == DataKind::PerCpu { map_type::PERCPU_ARRAY } else { map_type::ARRAY };
    let mut map = MapSpec::new(section.name, map_type, 4, size, 1);
    if kind == DataKind::Constant {
        map.flags |= map_flag::RDONLY_PROG;
        map.freeze = true;
    }
    // A section of static and hidden variables and string constants only is nobody's business outside.
    let is_public = |variable: &Variable<'_>| {
        let hidden = symbols.find(section.index, variable.name).is_some_and(|symbol| symbol.hidden);
        variable.linkage != Linkage::Static && !hidden
    };
    // The kernel lends no memory of per-CPU maps.
    if kind != DataKind::PerCpu && variables.of(section.name).iter().any(is_public) {
        map.flags |= map_flag::MMAPABLE;
    }
    map.value_type_id = variables.datasec(section.name).unwrap_or_default();
    map.contents = Some(section.contents());
    Ok(map)
}

/// Finds the variables of all data sections, by name.
pub(super) fn read_globals(
    elf: &ElfObject<'_>,
    variables: &Variables<'_>,
    places: &Places,
) -> Result<Vec<Global>> {
    let types = TypesByName::read(elf, variables, places);
    let mut globals = Vec::new();
    for (section, map, symbol) in data_symbols(elf, places) {
        let global = read_global(elf.section(section)?, map, symbol, &types)
            .with_context(|| format!("read variable `{}`", symbol.name))?;
        globals.push(global);
    }
    globals.sort_unstable_by(|a, b| (&a.name, a.map, a.offset).cmp(&(&b.name, b.map, b.offset)));
    Ok(globals)
}

fn data_symbols<'a, 'data>(
    elf: &'a ElfObject<'data>,
    places: &'a Places,
) -> impl Iterator<Item = (SectionIndex, usize, &'a Symbol<'data>)> {
    elf.symbols.iter().filter_map(|symbol| match (symbol.place, symbol.kind) {
        (Place::Section(section), SymbolKind::Object) if symbol.size > 0 => {
            Some((section, *places.data.get(&section)?, symbol))
        }
        _ => None,
    })
}

fn read_global(
    section: &Section<'_>,
    map: usize,
    symbol: &Symbol<'_>,
    types: &TypesByName<'_>,
) -> Result<Global> {
    let (Ok(offset), Ok(size)) = (usize::try_from(symbol.value), usize::try_from(symbol.size)) else {
        return Err(Error::invalid("it leaves its section"));
    };
    if offset.checked_add(size).is_none_or(|end| end > section.size) {
        return Err(Error::invalid(format!(
            "{size} bytes at {offset} leave section `{}` of {}",
            section.name, section.size
        )));
    }
    let type_id = types.0.get(&(section.index, symbol.name)).copied();
    Ok(Global { name: symbol.name.to_owned(), map, offset, size, type_id })
}

struct TypesByName<'a>(BTreeMap<(SectionIndex, &'a str), TypeId>);

impl<'a> TypesByName<'a> {
    fn read(elf: &'a ElfObject<'_>, variables: &Variables<'a>, places: &Places) -> Self {
        let mut types = BTreeMap::new();
        for section in elf.sections.iter().filter(|section| places.data.contains_key(&section.index)) {
            for variable in variables.of(section.name) {
                types.insert((section.index, variable.name), variable.type_id);
            }
        }
        Self(types)
    }
}

/// A value that a global variable can be set to: integers, `bool`, bytes.
pub trait GlobalValue: sealed::Sealed {
    /// The bytes in the object's byte order.
    #[doc(hidden)]
    fn bytes(&self, endian: Endian) -> Cow<'_, [u8]>;
    /// What the variable must be.
    #[doc(hidden)]
    fn shape(&self) -> Shape;
}

mod sealed {
    pub trait Sealed {}
}

/// What a global variable can be read as: integers, `bool`, arrays of bytes.
pub trait ReadableGlobal: GlobalValue + Sized {
    /// What the variable must be.
    #[doc(hidden)]
    const SHAPE: Shape;
    /// From as many bytes as the value has, in byte order `endian`; nothing from fewer or more.
    #[doc(hidden)]
    fn read(bytes: &[u8], endian: Endian) -> Option<Self>;
}

/// What a variable must be to take a value.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Bool,
    Unsigned,
    Signed,
    Bytes,
}

macro_rules! integers {
    ($($type:ty: $shape:ident),*) => {$(
        impl sealed::Sealed for $type {}
        impl GlobalValue for $type {
            fn bytes(&self, endian: Endian) -> Cow<'_, [u8]> {
                Cow::Owned(match endian {
                    Endian::Little => self.to_le_bytes().to_vec(),
                    Endian::Big => self.to_be_bytes().to_vec(),
                })
            }
            fn shape(&self) -> Shape {
                Shape::$shape
            }
        }
        impl ReadableGlobal for $type {
            const SHAPE: Shape = Shape::$shape;
            fn read(bytes: &[u8], endian: Endian) -> Option<Self> {
                let bytes = bytes.try_into().ok()?;
                Some(match endian {
                    Endian::Little => Self::from_le_bytes(bytes),
                    Endian::Big => Self::from_be_bytes(bytes),
                })
            }
        }
    )*};
}

integers!(u8: Unsigned, u16: Unsigned, u32: Unsigned, u64: Unsigned);
integers!(i8: Signed, i16: Signed, i32: Signed, i64: Signed);

impl sealed::Sealed for bool {}
impl GlobalValue for bool {
    fn bytes(&self, _: Endian) -> Cow<'_, [u8]> {
        Cow::Owned(vec![u8::from(*self)])
    }
    fn shape(&self) -> Shape {
        Shape::Bool
    }
}

impl ReadableGlobal for bool {
    const SHAPE: Shape = Shape::Bool;
    fn read(bytes: &[u8], _: Endian) -> Option<Self> {
        let [byte] = bytes else { return None };
        Some(*byte != 0)
    }
}

impl<const N: usize> sealed::Sealed for [u8; N] {}
impl<const N: usize> ReadableGlobal for [u8; N] {
    const SHAPE: Shape = Shape::Bytes;
    fn read(bytes: &[u8], _: Endian) -> Option<Self> {
        bytes.try_into().ok()
    }
}
impl<const N: usize> GlobalValue for [u8; N] {
    fn bytes(&self, _: Endian) -> Cow<'_, [u8]> {
        Cow::Borrowed(self)
    }
    fn shape(&self) -> Shape {
        Shape::Bytes
    }
}

impl sealed::Sealed for &[u8] {}
impl GlobalValue for &[u8] {
    fn bytes(&self, _: Endian) -> Cow<'_, [u8]> {
        Cow::Borrowed(self)
    }
    fn shape(&self) -> Shape {
        Shape::Bytes
    }
}

/// Refuses a value of another size or nature than the variable's.
pub(super) fn check_value(global: &Global, btf: Option<&Btf>, size: usize, shape: Shape) -> Result<()> {
    if size != global.size {
        return Err(Error::incompatible(format!("it has {} bytes, the value has {size}", global.size)));
    }
    let (Some(btf), Some(type_id)) = (btf, global.type_id) else { return Ok(()) };
    let declared = btf.size_of(type_id)?;
    if usize::try_from(declared) != Ok(size) {
        return Err(Error::invalid(format!("its type has {declared} bytes, its symbol {size}")));
    }
    let ty = btf.strip(type_id)?;
    let fits = match (shape, ty.kind(), ty.int()) {
        (Shape::Bytes, ..) => true,
        (Shape::Bool, Kind::Int, Some(int)) => int.encoding & IntInfo::BOOL != 0,
        (Shape::Bool, ..) => false,
        (_, Kind::Enum | Kind::Enum64, _) => true,
        // `char` may be either, as in C.
        (_, Kind::Int, Some(int)) if int.encoding & IntInfo::BOOL != 0 => false,
        (_, Kind::Int, Some(_)) if size == 1 => true,
        (shape, Kind::Int, Some(int)) => int.is_signed() == (shape == Shape::Signed),
        _ => false,
    };
    match fits {
        true => Ok(()),
        false => Err(Error::incompatible(format!(
            "it is {} `{}`, no {} value",
            ty.kind().word(),
            ty.name()?,
            match shape {
                Shape::Bool => "bool",
                Shape::Unsigned => "unsigned",
                Shape::Signed => "signed",
                Shape::Bytes => "byte",
            }
        ))),
    }
}
