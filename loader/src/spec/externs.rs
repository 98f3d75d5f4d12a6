//! Externs: what the object wants from the kernel it will run on.
//!
//! In: undefined symbols, and the DATASECs `.kconfig` and `.ksyms` that say what they are. Out: [`ExternSpec`]s, still
//! symbolic; looking them up in a kernel is not done in this half of the crate. An undefined symbol that is in
//! neither section spoils only the programs that refer to it.

use std::collections::BTreeMap;

use super::relocation::Places;
use super::variables::{Variable, Variables};
use crate::btf::{Btf, Kind, TypeId};
use crate::elf::{Binding, ElfObject, Place};
use crate::error::{Error, Result, ResultExt as _};

/// Something that the kernel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternSpec {
    /// The C name.
    pub name: String,
    /// What it is.
    pub kind: ExternKind,
    /// Whether the program can do without: a missing one is 0, or a call that is never reached.
    pub weak: bool,
}

/// What an extern is. Types are those of the object's BTF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternKind {
    /// A configuration value (`.kconfig`): `CONFIG_*` or one of the loader's own, such as
    /// `LINUX_KERNEL_VERSION`.
    Kconfig {
        /// Type of the variable.
        type_id: TypeId,
        /// Size in bytes.
        size: u32,
        /// Bytes from the start of the map [`super::kconfig::SECTION`].
        offset: u32,
    },
    /// The address of a kernel symbol, whatever it is (`extern const void X __ksym`).
    Address,
    /// A kernel variable, by its BTF.
    Variable {
        /// Type of the variable.
        type_id: TypeId,
    },
    /// A kernel function, by its BTF.
    Function {
        /// The BTF FUNC.
        type_id: TypeId,
    },
    /// In neither section: something that another object should have defined. Programs that refer to it
    /// cannot be linked.
    Undefined,
}

/// Reads all externs, in the order of the symbol table, and notes their places.
pub(super) fn read_externs(
    elf: &ElfObject<'_>,
    btf: Option<&Btf>,
    variables: &Variables<'_>,
    places: &mut Places,
) -> Result<Vec<ExternSpec>> {
    let by_name = |section| {
        let mut found = BTreeMap::new();
        found.extend(variables.of(section).iter().map(|variable| (variable.name, variable)));
        found
    };
    let (kconfig, ksyms) = (by_name(".kconfig"), by_name(".ksyms"));
    let mut externs = Vec::new();
    let undefined = elf.symbols.iter().filter(|symbol| {
        symbol.place == Place::Undefined && symbol.binding != Binding::Local && !symbol.name.is_empty()
    });
    for symbol in undefined {
        let kind = match (btf, kconfig.get(symbol.name), ksyms.get(symbol.name)) {
            (Some(btf), Some(variable), _) => kconfig_kind(btf, variable),
            (Some(btf), None, Some(variable)) => ksym_kind(btf, variable),
            _ => Ok(ExternKind::Undefined),
        };
        let kind = kind.with_context(|| format!("read extern `{}`", symbol.name))?;
        places.externs.insert(symbol.index, externs.len());
        let weak = symbol.binding == Binding::Weak;
        externs.push(ExternSpec { name: symbol.name.to_owned(), kind, weak });
    }
    Ok(externs)
}

fn kconfig_kind(btf: &Btf, variable: &Variable<'_>) -> Result<ExternKind> {
    if variable.kind != Kind::Var {
        return Err(Error::invalid("a configuration value must be a variable"));
    }
    let size = btf.size_of(variable.type_id)?;
    let size = u32::try_from(size).map_err(|_| Error::invalid(format!("a size of {size} bytes")))?;
    Ok(ExternKind::Kconfig { type_id: variable.type_id, size, offset: 0 })
}

fn ksym_kind(btf: &Btf, variable: &Variable<'_>) -> Result<ExternKind> {
    if variable.kind == Kind::Func {
        return Ok(ExternKind::Function { type_id: variable.id });
    }
    match btf.strip(variable.type_id)?.kind() {
        Kind::Void => Ok(ExternKind::Address),
        _ => Ok(ExternKind::Variable { type_id: variable.type_id }),
    }
}
