//! An object as a spec: everything that its bytes say, with nothing created yet.
//!
//! In: the bytes of an ELF object. Out: [`ObjectSpec`]: programs, maps, global variables, externs, types, all
//! editable, and holding no fd. Next: [`crate::linker`] puts single programs together.
//!
//! One file for each thing that an object has: [`program`] (code and programs), [`relocation`], [`map`] with its
//! readers `btf_map` and `legacy_map`, [`data`] (global variables), `jump_table`, [`struct_ops`], [`externs`]; `variables` is
//! what BTF says about them, `fixups` what it must be told.

mod btf_map;
pub mod data;
pub mod externs;
mod fixups;
mod jump_table;
pub mod kconfig;
mod legacy_map;
pub mod map;
pub mod program;
pub mod relocation;
pub mod struct_ops;
mod variables;

use std::collections::BTreeMap;

pub use data::{Global, GlobalValue};
pub use externs::{ExternKind, ExternSpec};
pub use jump_table::JumpTables;
pub use map::{InitialTarget, InitialValue, MapSpec, Pinning};
pub use program::{CodeSection, Function, FunctionRef, Linkage, ProgramSpec};
pub use relocation::{RelocTarget, Relocation};
pub use struct_ops::{StructOps, StructOpsFunction};

pub use crate::elf::{SectionIndex, SymbolIndex};

use crate::btf::encode::Fixups;
use crate::btf::ext::{BtfExt, SectionExt};
use crate::btf::{Btf, BtfData};
use crate::bytes::{Endian, u32_at};
use crate::elf::ElfObject;
use crate::error::{Error, Result, ResultExt as _};
use relocation::Places;
use variables::Variables;

/// Longest licence that is passed on, in bytes; the kernel compares whole strings of at most this length.
const MAX_LICENSE: usize = 63;

/// A parsed object. Everything may be edited before it is loaded; indices between the lists (a
/// relocation's map, an initial value's program) are positions, so do not remove or reorder entries: switch them off
/// with `autoload` and `autocreate`.
#[derive(Clone, Debug)]
pub struct ObjectSpec {
    /// Byte order; only objects of the machine's own can be loaded.
    pub endian: Endian,
    /// Text of the section `license`; empty if there is none, and then GPL-only helpers are refused.
    pub license: String,
    /// Number of the section `version`; looked at by kernels before 5.0 only.
    pub kernel_version: u32,
    /// In the order of the file.
    pub programs: Vec<ProgramSpec>,
    /// Legacy maps, then `.maps`, then data sections, then struct_ops, each in the order of the file; last `.kconfig`, if
    /// there is one.
    pub maps: Vec<MapSpec>,
    /// What the object wants from the kernel.
    pub externs: Vec<ExternSpec>,
    /// The object's types, as written by the compiler.
    pub btf: Option<Btf>,
    /// What only the ELF file knows of the types: sizes and offsets in data sections, hidden functions. For
    /// [`crate::btf::encode::for_kernel`].
    pub btf_fixups: Fixups,
    code: BTreeMap<SectionIndex, CodeSection>,
    jump_tables: JumpTables,
    /// By name.
    globals: Vec<Global>,
}

impl ObjectSpec {
    /// Parses an object. Kind `InvalidObject` for anything that is not a well-formed BPF object; the message
    /// says which part.
    pub fn parse(data: &[u8]) -> Result<Self> {
        let elf = ElfObject::parse(data)?;
        let btf = read_btf(&elf)?;
        let variables = btf.as_ref().map(Variables::read).transpose()?.unwrap_or_default();
        let mut code = program::read_code(&elf, read_ext(&elf, btf.as_ref())?)?;
        let mut programs = program::read_programs(&code)?;
        if let Some(btf) = &btf {
            program::read_exception_callbacks(btf, &mut programs).context("read exception callbacks")?;
        }

        let (mut maps, mut places) = (Vec::new(), Places::default());
        legacy_map::read_maps(&elf, &mut maps, &mut places)?;
        let values = btf_map::read_maps(&elf, btf.as_ref(), &variables, &mut maps, &mut places)?;
        data::read_maps(&elf, &variables, &mut maps, &mut places)?;
        struct_ops::read_maps(&elf, btf.as_ref(), &variables, &programs, &mut maps)?;
        struct_ops::spare_programs(&maps, &mut programs);
        let mut externs = externs::read_externs(&elf, btf.as_ref(), &variables, &mut places)?;
        let kconfig = kconfig::lay_out(&mut externs, btf.as_ref(), variables.datasec(kconfig::SECTION))?;

        let jump_tables = jump_table::read(&elf, &mut places)?;
        btf_map::read_initial_values(&elf, &values, &mut maps, &programs, &places)?;
        relocation::read_relocations(&elf, &mut code, &places)?;
        let globals = data::read_globals(&elf, &variables, &places)?;
        let mut btf_fixups = fixups::read_fixups(&elf, &variables, &code)?;
        if let Some((map, fixup)) = kconfig {
            maps.push(map);
            btf_fixups.datasecs.insert(kconfig::SECTION.to_owned(), fixup);
        }
        drop(variables);
        let (license, kernel_version) = (read_license(&elf)?, read_version(&elf)?);
        let endian = elf.endian;
        Ok(Self {
            endian,
            license,
            kernel_version,
            programs,
            maps,
            externs,
            btf,
            btf_fixups,
            code,
            jump_tables,
            globals,
        })
    }

    /// The program of that name.
    pub fn program(&self, name: &str) -> Option<&ProgramSpec> {
        self.programs.iter().find(|program| program.name == name)
    }

    /// The program of that name, to edit it.
    pub fn program_mut(&mut self, name: &str) -> Option<&mut ProgramSpec> {
        self.programs.iter_mut().find(|program| program.name == name)
    }

    /// The map of that name; data sections go by their section's name.
    pub fn map(&self, name: &str) -> Option<&MapSpec> {
        self.maps.iter().find(|map| map.name == name)
    }

    /// The map of that name, to edit it.
    pub fn map_mut(&mut self, name: &str) -> Option<&mut MapSpec> {
        self.maps.iter_mut().find(|map| map.name == name)
    }

    /// All global variables, by name.
    pub fn globals(&self) -> &[Global] {
        &self.globals
    }

    /// The executable sections, by number.
    pub fn code(&self) -> &BTreeMap<SectionIndex, CodeSection> {
        &self.code
    }

    /// Where `switch` statements jump to.
    pub fn jump_tables(&self) -> &JumpTables {
        &self.jump_tables
    }

    /// The value of a global variable, in the object's byte order. Kind `NotFound` if there is none of
    /// that name, `Incompatible` if there are two.
    pub fn global(&self, name: &str) -> Result<&[u8]> {
        let global = self.find_global(name)?;
        self.maps
            .get(global.map)
            .and_then(|map| map.contents.as_deref())
            .and_then(|contents| contents.get(global.offset..global.offset.checked_add(global.size)?))
            .ok_or_else(|| Error::incompatible(format!("variable `{name}` lies outside of its edited map")))
    }

    /// Sets a global variable. Kind `NotFound` if there is none of that name; `Incompatible` if its size
    /// differs from the value's, or if its type is another (bytes fit every type).
    pub fn set_global(&mut self, name: &str, value: impl GlobalValue) -> Result<()> {
        let bytes = value.bytes(self.endian);
        let global = self.global_for(name, &value)?;
        let (map, start, end) = (global.map, global.offset, global.offset.checked_add(global.size));
        self.maps
            .get_mut(map)
            .and_then(|map| map.contents.as_deref_mut())
            .and_then(|contents| contents.get_mut(start..end?))
            .ok_or_else(|| Error::incompatible(format!("variable `{name}` lies outside of its edited map")))?
            .copy_from_slice(&bytes);
        Ok(())
    }

    /// The variable of that name, which can hold `value`.
    pub(crate) fn global_for(&self, name: &str, value: &impl GlobalValue) -> Result<&Global> {
        let global = self.find_global(name)?;
        data::check_value(global, self.btf.as_ref(), value.bytes(self.endian).len(), value.shape())
            .with_context(|| format!("set variable `{name}`"))?;
        Ok(global)
    }

    fn find_global(&self, name: &str) -> Result<&Global> {
        let first = self.globals.partition_point(|global| global.name.as_str() < name);
        let mut same = self.globals.iter().skip(first).take_while(|global| global.name == name);
        match (same.next(), same.next()) {
            (None, _) => Err(Error::not_found(format!("the object has no global variable `{name}`"))),
            (Some(global), None) => Ok(global),
            (Some(_), Some(_)) => {
                Err(Error::incompatible(format!("the object has more than one variable `{name}`")))
            }
        }
    }
}

fn read_btf(elf: &ElfObject<'_>) -> Result<Option<Btf>> {
    let Some(section) = elf.section_by_name(".BTF") else { return Ok(None) };
    let btf = Btf::parse(BtfData::from(section.contents())).context("read section `.BTF`")?;
    if btf.endian() != elf.endian {
        return Err(Error::invalid("section `.BTF` has another byte order than the object"));
    }
    Ok(Some(btf))
}

fn read_ext(elf: &ElfObject<'_>, btf: Option<&Btf>) -> Result<BTreeMap<String, SectionExt>> {
    match (elf.section_by_name(".BTF.ext"), btf) {
        (Some(section), Some(btf)) => BtfExt::parse(section.data, btf).context("read section `.BTF.ext`"),
        _ => Ok(BTreeMap::new()),
    }
}

fn read_license(elf: &ElfObject<'_>) -> Result<String> {
    let Some(section) = elf.section_by_name("license") else { return Ok(String::new()) };
    let text = section.data.split(|&byte| byte == 0).next().unwrap_or_default();
    let text = text.get(..MAX_LICENSE).unwrap_or(text);
    String::from_utf8(text.to_vec()).map_err(|_| Error::invalid("section `license` is not UTF-8"))
}

fn read_version(elf: &ElfObject<'_>) -> Result<u32> {
    match elf.section_by_name("version") {
        Some(section) => u32_at(section.data, 0, elf.endian).context("read section `version`"),
        None => Ok(0),
    }
}
