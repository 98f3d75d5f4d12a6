//! Externs become what this kernel has for them.
//!
//! In: the externs of a spec, the kernel's types, symbols and configuration. Out: [`Resolved`], one by one and only when a
//! program refers to it, so that a missing symbol spoils no other program. Configuration values are filled in
//! before their map is created; what went wrong with one is kept until a program asks for it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use super::target::{KernelTypes, kernel_name};
use crate::btf::{Kind, TypeId};
use crate::core_reloc::KernelType;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::kernel::config;
use crate::kernel::kallsyms::{self, Address};
use crate::kernel::probe;
use crate::spec::kconfig::{self, KernelConfig};
use crate::spec::{ExternKind, ExternSpec, ObjectSpec};

/// What an extern is on this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// A configuration value: bytes from the start of the map `.kconfig`.
    Kconfig {
        /// The offset.
        offset: u32,
    },
    /// The address of a symbol.
    Address(u64),
    /// A variable or function, by its BTF.
    Type(KernelType),
    /// The kernel does not have it, and the program can do without.
    Absent,
}

/// Resolves the externs of one object.
#[derive(Debug, Default)]
pub struct Externs {
    /// By extern: why its configuration value could not be set.
    unset: BTreeMap<usize, (ErrorKind, String)>,
    /// Addresses of all typeless symbols of the object, once one was asked for.
    addresses: Option<BTreeMap<String, Address>>,
    token: Option<OwnedFd>,
}

impl Externs {
    /// Fills in the configuration values of `spec`. `overrides` are lines `CONFIG_X=y` that overrule the kernel's own
    /// configuration; a token stands for the privilege of asking it (6.9).
    pub fn configure(spec: &mut ObjectSpec, overrides: &str, token: Option<OwnedFd>) -> Self {
        let mut externs = Self { token, ..Self::default() };
        let mut source = ConfigSource { overrides, config: None };
        for (index, external) in spec.externs.clone().iter().enumerate() {
            let token = externs.token.as_ref().map(AsFd::as_fd);
            if let Err(error) = set_config(spec, external, &mut source, token) {
                externs.unset.insert(index, (error.kind(), error.to_string()));
            }
        }
        externs
    }

    /// What the extern at `index` is.
    ///
    /// # Errors
    /// `NotFound` when the kernel does not have it and it is not weak; `Incompatible` when its type is another;
    /// `Permission` when the kernel hides addresses.
    pub fn resolve(&mut self, spec: &ObjectSpec, index: usize, types: &mut KernelTypes) -> Result<Resolved> {
        let external = spec.externs.get(index).ok_or_else(|| Error::invalid("a reference to no extern"))?;
        let resolved = match external.kind {
            ExternKind::Kconfig { offset, .. } => {
                self.unset.get(&index).map_or(Ok(Some(Resolved::Kconfig { offset })), |(kind, text)| {
                    Err(Error::new(*kind, text.clone()))
                })
            }
            ExternKind::Address => self.address(spec, &external.name),
            ExternKind::Variable { type_id } => symbol(external, Kind::Var, type_id, types),
            ExternKind::Function { type_id } => {
                function(spec, external, type_id, types, self.token.as_ref().map(AsFd::as_fd))
            }
            ExternKind::Undefined => Err(Error::invalid("it is defined nowhere")),
        };
        let found = resolved.with_context(|| format!("resolve extern `{}`", external.name))?;
        match found {
            Some(resolved) => Ok(resolved),
            None if external.weak => Ok(Resolved::Absent),
            None => Err(Error::not_found("this kernel does not have it")
                .context(format!("resolve extern `{}`", external.name))),
        }
    }

    fn address(&mut self, spec: &ObjectSpec, name: &str) -> Result<Option<Resolved>> {
        if self.addresses.is_none() {
            let typeless = spec.externs.iter().filter(|external| external.kind == ExternKind::Address);
            let names: Vec<&str> = typeless.map(|external| external.name.as_str()).collect();
            self.addresses = Some(kallsyms::find(&names)?);
        }
        match self.addresses.as_ref().and_then(|addresses| addresses.get(name)) {
            None => Ok(None),
            Some(Address::Unique(address)) => Ok(Some(Resolved::Address(*address))),
            Some(Address::Ambiguous) => {
                Err(Error::incompatible("the kernel has several symbols of that name at different addresses"))
            }
            Some(Address::Hidden) => Err(Error::new(
                ErrorKind::Permission,
                "the kernel hides addresses from this process (kernel.kptr_restrict)",
            )),
        }
    }
}

fn symbol(
    external: &ExternSpec,
    kind: Kind,
    declared: TypeId,
    types: &mut KernelTypes,
) -> Result<Option<Resolved>> {
    let Some(resolver) = types.resolver() else { return Ok(None) };
    match resolver.find_symbol(kernel_name(&external.name), kind, declared) {
        Ok(found) => Ok(found.map(Resolved::Type)),
        // What a weak extern's type does not fit is as good as missing.
        Err(error) if external.weak && error.kind() == ErrorKind::Incompatible => Ok(None),
        Err(error) => Err(error),
    }
}

fn function(
    spec: &ObjectSpec,
    external: &ExternSpec,
    type_id: TypeId,
    types: &mut KernelTypes,
    token: probe::Token<'_>,
) -> Result<Option<Resolved>> {
    let local = spec.btf.as_ref().ok_or_else(|| Error::invalid("the object has no types"))?;
    let prototype = local.type_by_id(type_id)?.target().unwrap_or_default();
    let found = symbol(external, Kind::Func, prototype, types)?;
    // The verifier takes no call at all where there is no JIT, reached or not.
    let callable = |found: &Resolved| match found {
        Resolved::Type(function) if function.blob == 0 => {
            // Where this process cannot ask, nothing will be loaded; a plan may say that the function is there.
            probe::kernel_functions(function.id.0, token).unwrap_or(true)
        }
        _ => true,
    };
    Ok(found.filter(|found| !external.weak || callable(found)))
}

/// The kernel's configuration, read when the first setting is asked for.
struct ConfigSource<'a> {
    overrides: &'a str,
    config: Option<std::result::Result<KernelConfig, (ErrorKind, String)>>,
}

impl ConfigSource<'_> {
    fn setting(&mut self, name: &str) -> Result<Option<String>> {
        let overrides = KernelConfig::new(self.overrides);
        if let Some(text) = overrides.get(name) {
            return Ok(Some(text.to_owned()));
        }
        let config = self
            .config
            .get_or_insert_with(|| config::read().map_err(|error| (error.kind(), error.to_string())));
        match config {
            Ok(config) => Ok(config.get(name).map(str::to_owned)),
            Err((kind, text)) => Err(Error::new(*kind, text.clone())),
        }
    }
}

fn set_config(
    spec: &mut ObjectSpec,
    external: &ExternSpec,
    source: &mut ConfigSource<'_>,
    token: probe::Token<'_>,
) -> Result<()> {
    let ExternKind::Kconfig { type_id, size, offset } = external.kind else { return Ok(()) };
    let Some(btf) = spec.btf.clone() else { return Ok(()) };
    let value = match config::virtual_value(&external.name, token) {
        Some(number) => Some(number.to_string()),
        None if external.name.starts_with("CONFIG_") => match source.setting(&external.name) {
            Err(_) if external.weak => None,
            other => other?,
        },
        None => None,
    };
    let Some(text) = value else {
        // A weak value that is missing stays zero.
        let missing = || Error::not_found("this kernel's configuration does not set it");
        return if external.weak { Ok(()) } else { Err(missing()) };
    };
    let bytes = kconfig::encode(&btf, type_id, size, &text, spec.endian)?;
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let contents = spec.map_mut(kconfig::SECTION).and_then(|map| map.contents.as_deref_mut());
    let slot = contents.and_then(|contents| contents.get_mut(start..start.checked_add(bytes.len())?));
    slot.ok_or_else(|| Error::invalid("it lies outside of its map"))?.copy_from_slice(&bytes);
    Ok(())
}
