//! What BTF says about the sections of an object that hold variables.
//!
//! In: the object's BTF. Out: [`Variables`]: the variables of each DATASEC, by section name. Where a
//! variable is comes from its ELF symbol, since clang leaves the offsets in a DATASEC to the linker.

use std::collections::BTreeMap;

use crate::btf::{Btf, Kind, Linkage, Type, TypeId};
use crate::elf::{Binding, ElfObject, Place, SectionIndex, Symbol};
use crate::error::{Error, Result, ResultExt as _};

/// The variables of all data sections.
#[derive(Debug, Default)]
pub(super) struct Variables<'a> {
    sections: BTreeMap<&'a str, (TypeId, Vec<Variable<'a>>)>,
}

/// A `Var` of a DATASEC; in `.ksyms` also a `Func`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variable<'a> {
    pub(super) name: &'a str,
    /// The `Var` or `Func` itself.
    pub(super) id: TypeId,
    pub(super) kind: Kind,
    /// The variable's type or the function's prototype.
    pub(super) type_id: TypeId,
    pub(super) linkage: Linkage,
}

impl<'a> Variables<'a> {
    /// Reads all DATASECs; of two with one name, the first.
    pub(super) fn read(btf: &'a Btf) -> Result<Self> {
        let mut sections = BTreeMap::new();
        for ty in btf.types() {
            let ty = ty?;
            if ty.kind() != Kind::Datasec {
                continue;
            }
            let name = ty.name()?;
            if sections.contains_key(name) {
                continue;
            }
            let variables = read_section(btf, ty).with_context(|| format!("read DATASEC `{name}`"))?;
            sections.insert(name, (ty.id(), variables));
        }
        Ok(Self { sections })
    }

    /// All sections.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&'a str, &[Variable<'a>])> {
        self.sections.iter().map(|(&name, (_, variables))| (name, variables.as_slice()))
    }

    /// The DATASEC of one section.
    pub(super) fn datasec(&self, section: &str) -> Option<TypeId> {
        self.sections.get(section).map(|&(id, _)| id)
    }

    /// The variables of one section; none if BTF does not have it.
    pub(super) fn of(&self, section: &str) -> &[Variable<'a>] {
        self.sections.get(section).map_or(&[], |(_, variables)| variables)
    }
}

fn read_section<'a>(btf: &'a Btf, section: Type<'a>) -> Result<Vec<Variable<'a>>> {
    let read = |entry: crate::btf::SectionVar| {
        let ty = btf.type_by_id(entry.type_id)?;
        match (ty.kind(), ty.target(), ty.linkage()) {
            (kind @ (Kind::Var | Kind::Func), Some(type_id), Some(linkage)) => {
                Ok(Variable { name: ty.name()?, id: entry.type_id, kind, type_id, linkage })
            }
            (kind, ..) => Err(Error::invalid(format!("type {} is {}, no variable", ty.id().0, kind.word()))),
        }
    };
    section.section_vars().map(read).collect()
}

/// Symbols that other objects could see, by section and name.
#[derive(Debug)]
pub(super) struct GlobalSymbols<'a, 'data>(BTreeMap<(SectionIndex, &'data str), &'a Symbol<'data>>);

impl<'a, 'data> GlobalSymbols<'a, 'data> {
    pub(super) fn read(elf: &'a ElfObject<'data>) -> Self {
        let global = elf.symbols.iter().filter(|symbol| symbol.binding != Binding::Local);
        let mut found = BTreeMap::new();
        for symbol in global {
            if let Place::Section(section) = symbol.place {
                found.insert((section, symbol.name), symbol);
            }
        }
        Self(found)
    }

    pub(super) fn find(&self, section: SectionIndex, name: &'data str) -> Option<&'a Symbol<'data>> {
        self.0.get(&(section, name)).copied()
    }
}
