//! Programs, and the code they are linked from.
//!
//! In: the executable sections and function symbols of an object. Out: [`CodeSection`] (decoded
//! instructions with their functions, relocations and BTF records) and one [`ProgramSpec`] per entry point.
//! How a program is put together from them is in [`crate::linker`]; what its section name means, in
//! [`crate::section`].

use std::collections::BTreeMap;

use super::relocation::Relocation;
use crate::btf::ext::SectionExt;
use crate::btf::{Btf, Kind};
use crate::elf::{Binding, ElfObject, Place, Section, SectionIndex, SectionKind, Symbol, SymbolKind};
use crate::error::{Error, Result, ResultExt as _};
use crate::insn::{INSN_SIZE, Insn, InsnOffset};
use crate::order::sort_by_number;
use crate::section::{ProgramKind, split_autoload};

/// The section that holds subprograms only.
const SUBPROGRAMS: &str = ".text";

/// One program, before it is linked.
#[derive(Clone, Debug)]
pub struct ProgramSpec {
    /// The C function's name.
    pub name: String,
    /// The ELF section's name, with a leading `?` if it has one.
    pub section_name: String,
    /// Program type, attach type and target; [`ProgramKind::UNKNOWN`] if the section name says nothing.
    pub kind: ProgramKind,
    /// Whether to load it when the object is loaded; off for sections whose name starts with `?`.
    pub autoload: bool,
    /// Its instructions.
    pub function: FunctionRef,
    /// The global function that runs when the program throws (6.7), as the BTF declaration tag `exception_callback:NAME` of the
    /// program's function says. Nothing calls it, so the linker must be told.
    pub exception_callback: Option<String>,
}

/// The position of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FunctionRef {
    /// The section that holds it.
    pub section: SectionIndex,
    /// Its first instruction, in slots from the start of the section.
    pub offset: InsnOffset,
}

/// An executable section.
#[derive(Clone, Debug)]
pub struct CodeSection {
    /// The ELF section's name.
    pub name: String,
    /// All instructions.
    pub insns: Vec<Insn>,
    /// By offset; two symbols may stand for the same function.
    pub functions: Vec<Function>,
    /// By offset; only those inside of functions.
    pub relocations: Vec<Relocation>,
    /// Function, line and CO-RE records, each by offset.
    pub ext: SectionExt,
}

/// A function symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// The C name.
    pub name: String,
    /// First instruction, in slots from the start of the section.
    pub offset: InsnOffset,
    /// Length in slots.
    pub len: usize,
    /// Who can see it.
    pub linkage: Linkage,
}

/// Who can see a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linkage {
    /// `static`: the kernel verifies it with each caller.
    Static,
    /// Global with hidden or internal visibility: to be verified as if it were static, so its BTF FUNC
    /// must be loaded with static linkage.
    Hidden,
    /// The kernel verifies it on its own (5.6).
    Global,
}

impl CodeSection {
    /// The function that starts at `offset`; the one with code, should an empty symbol be there as well.
    pub fn function_at(&self, offset: InsnOffset) -> Option<&Function> {
        let first = self.functions.partition_point(|function| function.offset < offset);
        let here = self.functions.get(first..).unwrap_or_default();
        here.iter().take_while(|function| function.offset == offset).max_by_key(|function| function.len)
    }

    /// The instructions of a function of this section.
    ///
    /// # Errors
    /// `InvalidObject` when it leaves the section.
    pub fn body(&self, function: &Function) -> Result<&[Insn]> {
        function
            .offset
            .0
            .checked_add(function.len)
            .and_then(|end| self.insns.get(function.offset.0..end))
            .ok_or_else(|| Error::invalid(format!("function `{}` leaves its section", function.name)))
    }
}

impl ProgramSpec {
    fn new(section_name: &str, function: &Function, at: FunctionRef) -> Self {
        let (name, autoload) = split_autoload(section_name);
        Self {
            name: function.name.clone(),
            section_name: section_name.to_owned(),
            kind: ProgramKind::of_section(name),
            autoload,
            function: at,
            exception_callback: None,
        }
    }
}

/// What tells the kernel of a function to run when a program throws; the function's name follows.
const EXCEPTION_CALLBACK: &str = "exception_callback:";

/// Notes the exception callbacks that the types declare, by the name of the program's function.
pub(super) fn read_exception_callbacks(btf: &Btf, programs: &mut [ProgramSpec]) -> Result<()> {
    let mut callbacks = BTreeMap::new();
    for ty in btf.types() {
        let ty = ty?;
        if ty.kind() != Kind::DeclTag || ty.tag_component() != Some(-1) {
            continue;
        }
        let Some(callback) = ty.name()?.strip_prefix(EXCEPTION_CALLBACK) else { continue };
        let Some(tagged) = ty.target().map(|id| btf.type_by_id(id)).transpose()? else { continue };
        if tagged.kind() == Kind::Func {
            // Of several tags the verifier complains itself.
            callbacks.entry(tagged.name()?).or_insert(callback);
        }
    }
    for program in programs {
        program.exception_callback = callbacks.get(program.name.as_str()).map(|&name| name.to_owned());
    }
    Ok(())
}

/// Decodes all executable sections; `ext` is emptied into them. Relocations are added later, when the maps
/// are known.
pub(super) fn read_code(
    elf: &ElfObject<'_>,
    mut ext: BTreeMap<String, SectionExt>,
) -> Result<BTreeMap<SectionIndex, CodeSection>> {
    let mut functions = functions_by_section(elf);
    let mut code = BTreeMap::new();
    for section in elf.sections.iter().filter(|section| section.kind == SectionKind::Code) {
        let symbols = functions.remove(&section.index).unwrap_or_default();
        // Two sections of one name cannot be told apart in `.BTF.ext`; the first one gets the records.
        let ext = ext.remove(section.name).unwrap_or_default();
        let read = read_section(elf, section, &symbols, ext)
            .with_context(|| format!("read section `{}`", section.name))?;
        code.insert(section.index, read);
    }
    Ok(code)
}

fn functions_by_section<'a, 'data>(
    elf: &'a ElfObject<'data>,
) -> BTreeMap<SectionIndex, Vec<&'a Symbol<'data>>> {
    let mut sections: BTreeMap<SectionIndex, Vec<&Symbol<'_>>> = BTreeMap::new();
    for symbol in elf.symbols.iter().filter(|symbol| symbol.kind == SymbolKind::Function) {
        if let Place::Section(section) = symbol.place {
            sections.entry(section).or_default().push(symbol);
        }
    }
    sections
}

fn read_section(
    elf: &ElfObject<'_>,
    section: &Section<'_>,
    symbols: &[&Symbol<'_>],
    mut ext: SectionExt,
) -> Result<CodeSection> {
    let insns = Insn::decode_all(section.data, elf.endian)?;
    let mut functions = symbols
        .iter()
        .map(|symbol| {
            read_function(symbol, insns.len()).with_context(|| format!("read function `{}`", symbol.name))
        })
        .collect::<Result<Vec<_>>>()?;
    functions.sort_unstable_by(|a, b| (a.offset, &a.name).cmp(&(b.offset, &b.name)));
    sort_by_number(&mut ext.func_info, |record| record.offset.0 as u64);
    sort_by_number(&mut ext.line_info, |record| record.offset.0 as u64);
    sort_by_number(&mut ext.core, |record| record.offset.0 as u64);
    Ok(CodeSection { name: section.name.to_owned(), insns, functions, relocations: Vec::new(), ext })
}

fn read_function(symbol: &Symbol<'_>, slots: usize) -> Result<Function> {
    let offset = InsnOffset::from_bytes(symbol.value)?;
    let len = InsnOffset::from_bytes(symbol.size)
        .with_context(|| format!("{} bytes are no multiple of {INSN_SIZE}", symbol.size))?
        .0;
    if offset.0.checked_add(len).is_none_or(|end| end > slots) {
        return Err(Error::invalid(format!(
            "instructions {} to {} leave a section of {slots}",
            offset.0,
            offset.0.saturating_add(len)
        )));
    }
    let linkage = match symbol.binding {
        Binding::Local => Linkage::Static,
        _ if symbol.hidden => Linkage::Hidden,
        _ => Linkage::Global,
    };
    Ok(Function { name: symbol.name.to_owned(), offset, len, linkage })
}

/// The programs by the function that each begins with.
pub(super) fn entries(programs: &[ProgramSpec]) -> BTreeMap<FunctionRef, usize> {
    let mut found = BTreeMap::new();
    found.extend(programs.iter().enumerate().map(|(index, program)| (program.function, index)));
    found
}

/// One program for every function outside of `.text` that is not static, in the order of the file. A
/// static function there is a subprogram.
pub(super) fn read_programs(code: &BTreeMap<SectionIndex, CodeSection>) -> Result<Vec<ProgramSpec>> {
    let mut programs = Vec::new();
    for (&index, section) in code.iter().filter(|(_, section)| section.name != SUBPROGRAMS) {
        for function in section.functions.iter().filter(|function| function.linkage != Linkage::Static) {
            let at = FunctionRef { section: index, offset: function.offset };
            programs.push(ProgramSpec::new(&section.name, function, at));
        }
    }
    Ok(programs)
}
