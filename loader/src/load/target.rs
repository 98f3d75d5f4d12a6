//! What an object is fitted to: the types of a kernel and of its modules.
//!
//! In: a spec, and the kernel's BTF or files in its place ([`TargetFiles`]). Out: [`KernelTypes`]: a [`CoreResolver`] that knows
//! every name the object may ask for, after one pass over the kernel's types, and, only if some name is not there, one over
//! each module's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::struct_ops;
use crate::btf::encode::BtfBuilder;
use crate::btf::ext::CoreRecord;
use crate::btf::wanted::essential_name;
use crate::btf::{Btf, BtfData, Kind};
use crate::core_reloc::{CoreResolver, KernelType};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::kernel::{self, modules};
use crate::map::MapConfig;
use crate::section::{ProgramKind, Target};
use crate::spec::{ExternKind, MapSpec, ObjectSpec};

/// Files to take for the kernel's types; none for those of the running kernel.
#[derive(Clone, Debug, Default)]
pub struct TargetFiles {
    /// The types of the kernel: raw BTF, an ELF file with a section `.BTF`, either packed with gzip.
    pub kernel: Option<PathBuf>,
    /// Modules, in the place of those that are loaded: a module's file, or its raw BTF. See
    /// [`crate::kernel::btf::open_module`].
    pub modules: Vec<PathBuf>,
}

/// The types that an object is fitted to.
#[derive(Debug, Default)]
pub struct KernelTypes {
    resolver: Option<CoreResolver>,
    /// What CO-RE relocation asks in place of `resolver`, which then knows names only.
    core: Option<CoreResolver>,
    modules: Vec<KernelModule>,
}

#[derive(Debug)]
struct KernelModule {
    name: String,
    /// Its BTF object, once something needed it.
    object: Option<OwnedFd>,
}

impl KernelModule {
    fn object(&mut self) -> Result<BorrowedFd<'_>> {
        if self.object.is_none() {
            let object = modules::open_object(&self.name);
            self.object = Some(object.with_context(|| format!("open the BTF of module `{}`", self.name))?);
        }
        self.object.as_ref().map(AsFd::as_fd).ok_or_else(|| Error::invalid("a module without types"))
    }
}

impl KernelTypes {
    /// Looks up all that any program of `spec` may ask for, in the running kernel and its modules or, if a file is given
    /// for the kernel, in the given files alone. Reads nothing if the object asks for nothing, so that such objects
    /// load on kernels without BTF.
    ///
    /// # Errors
    /// `NotSupported` when the kernel has no types and the object needs them; `NotFound` and `InvalidObject` for the files.
    pub fn find(spec: &ObjectSpec, files: &TargetFiles) -> Result<Self> {
        Self::look_up(spec, files, &core_records(spec), &wanted_names(spec), &[])
    }

    /// As [`KernelTypes::find`], for programs that the running kernel is to load: hooks and symbols are its own,
    /// whatever file the fields are relocated by. So it is with libbpf's `btf_custom_path`. Finds out as well which of
    /// `functions` that kernel has, see [`KernelTypes::has_function`].
    ///
    /// # Errors
    /// As for [`KernelTypes::find`].
    pub fn find_to_load(spec: &ObjectSpec, files: &TargetFiles, functions: &[&str]) -> Result<Self> {
        if files.kernel.is_none() && files.modules.is_empty() {
            return Self::look_up(spec, files, &core_records(spec), &wanted_names(spec), functions);
        }
        let core = Self::look_up(spec, files, &core_records(spec), &[], &[])?.resolver;
        let types = match Self::look_up(spec, &TargetFiles::default(), &[], &wanted_names(spec), functions) {
            // It lacks the names, too; that is for the programs to tell which need them.
            Err(error) if matches!(error.kind(), ErrorKind::NotSupported { .. }) => Self::default(),
            types => types?,
        };
        Ok(Self { core, ..types })
    }

    fn look_up(
        spec: &ObjectSpec,
        files: &TargetFiles,
        records: &[&CoreRecord],
        names: &[(String, Kind)],
        functions: &[&str],
    ) -> Result<Self> {
        if records.is_empty() && names.is_empty() && !names_modules(spec) {
            return Ok(Self::default());
        }
        let kernel = kernel::btf::open(files.kernel.as_deref())?;
        let names = names.iter().map(|(name, kind)| (name.as_str(), *kind));
        let extra: Vec<_> = names.chain(functions.iter().map(|name| (*name, Kind::Func))).collect();
        // An object without types may still name a hook by its type.
        let untyped = || Btf::parse(BtfData::from(BtfBuilder::new().build(spec.endian)));
        let local = spec.btf.clone().map_or_else(untyped, Ok)?;
        let resolver = CoreResolver::new(&local, &kernel, records.iter().copied(), &extra)
            .context("prepare CO-RE relocation")?;
        let mut types = Self { resolver: Some(resolver), ..Self::default() };
        for path in &files.modules {
            types.add_module(module_name(path), &kernel::btf::open_module(path, &kernel)?)?;
        }
        if files.kernel.is_none() && files.modules.is_empty() {
            types.add_loaded_modules(spec, &kernel, functions);
        }
        Ok(types)
    }

    /// Whether the kernel itself has that function; none if it was not among those that [`KernelTypes::find_to_load`] was given.
    pub fn has_function(&self, name: &str) -> Option<bool> {
        self.resolver.as_ref()?.has_function(name)
    }

    fn add_module(&mut self, name: String, btf: &Btf) -> Result<()> {
        let Some(resolver) = self.resolver.as_mut() else { return Ok(()) };
        resolver.add_module(btf)?;
        self.modules.push(KernelModule { name, object: None });
        Ok(())
    }

    /// Looks into modules only if the kernel itself lacks a name, or if a program says that it means a module's.
    fn add_loaded_modules(&mut self, spec: &ObjectSpec, kernel: &Btf, kernel_only: &[&str]) {
        let lacks_names = |resolver: &CoreResolver| resolver.lacks_names(kernel_only);
        if !names_modules(spec) && !self.resolver.as_ref().is_some_and(lacks_names) {
            return;
        }
        for module in modules::all(kernel) {
            // One that cannot be searched is as good as not loaded.
            self.add_module(module.name, &module.btf).ok();
        }
    }

    /// What knows the kernel's names; none if the object asks for no types.
    pub fn resolver(&mut self) -> Option<&mut CoreResolver> {
        self.resolver.as_mut()
    }

    /// What CO-RE relocation asks; none if the object asks for no types.
    pub fn core_resolver(&mut self) -> Option<&mut CoreResolver> {
        self.core.as_mut().or(self.resolver.as_mut())
    }

    /// A type of the kernel, or of a module, that [`KernelTypes::find`] looked for.
    pub(super) fn find_type(&self, name: &str, kind: Kind) -> Option<KernelType> {
        self.resolver.as_ref()?.find_anywhere(name, kind)
    }

    /// The blob that has a type.
    pub(super) fn btf_of(&self, found: KernelType) -> Option<&Btf> {
        self.resolver.as_ref()?.btf_of(found)
    }

    /// What the kernel would be asked for: a struct_ops is as large as the kernel's struct.
    ///
    /// # Errors
    /// Those of fitting a struct_ops to the kernel.
    pub fn map_config(&self, spec: &ObjectSpec, map: &MapSpec) -> Result<MapConfig<'static>> {
        let mut config = super::map_config(map, None)?;
        // One that is not created by default need not fit.
        if map.struct_ops.is_some() && map.autocreate {
            let size = struct_ops::fit(spec, map, self)?.bytes.len();
            config.value_size = u32::try_from(size).unwrap_or(u32::MAX);
        }
        Ok(config)
    }

    /// Name of the module that has a type; none for the kernel itself.
    pub fn module_name(&self, found: KernelType) -> Option<&str> {
        let module = self.modules.get(found.blob.checked_sub(1)?)?;
        Some(&module.name)
    }

    /// The BTF object of the module that has a type; none for the kernel itself. Needs `CAP_SYS_ADMIN`.
    ///
    /// # Errors
    /// `Permission`; `NotFound` when the module has gone since.
    pub fn module_object(&mut self, found: KernelType) -> Result<Option<BorrowedFd<'_>>> {
        let module = found.blob.checked_sub(1).and_then(|number| self.modules.get_mut(number));
        module.map(KernelModule::object).transpose()
    }

    /// The BTF object of the module that programs of that kind must be loaded for, although they have no target yet.
    ///
    /// # Errors
    /// `NotFound` when no such module is loaded.
    pub fn loaded_for(&mut self, kind: &ProgramKind) -> Result<Option<BorrowedFd<'_>>> {
        let Target::Functions { module: Some(name), .. } = &kind.target else { return Ok(None) };
        if !is_module(name) {
            return Ok(None);
        }
        let module = self.modules.iter_mut().find(|module| module.name == *name);
        let module =
            module.ok_or_else(|| Error::not_found(format!("no module `{name}` with types is loaded")))?;
        module.object().map(Some)
    }

    /// The attach target of a program of that kind; none if its kind has no target among the kernel's types.
    ///
    /// # Errors
    /// `NotFound` when neither the kernel nor the module that it names has it.
    pub fn attach_target(&self, kind: &ProgramKind) -> Result<Option<KernelType>> {
        let Some((name, btf_kind)) = attach_target(kind) else { return Ok(None) };
        let found = self.resolver.as_ref().and_then(|resolver| match target_module(kind) {
            Some(module) if is_module(module) => {
                let number = self.modules.iter().position(|known| known.name == module)?;
                resolver.find_in(number + 1, &name, btf_kind)
            }
            Some(_) => resolver.find_in(0, &name, btf_kind),
            None => resolver.find_anywhere(&name, btf_kind),
        });
        let missing = || {
            let place = match target_module(kind).filter(|module| is_module(module)) {
                Some(module) => format!("the BTF of module `{module}`"),
                None => "this kernel's BTF".to_owned(),
            };
            Error::not_found(format!("{place} has no {} `{name}`", btf_kind.word()))
        };
        found.ok_or_else(missing).map(Some)
    }
}

/// What the kernel calls the module in that file: `nf_conntrack` for `nf-conntrack.ko`.
fn module_name(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    file.split('.').next().unwrap_or_default().replace('-', "_")
}

/// Where a program says that its function is.
fn target_module(kind: &ProgramKind) -> Option<&str> {
    match &kind.target {
        Target::Function { module, .. } | Target::Functions { module, .. } => module.as_deref(),
        _ => None,
    }
}

fn names_modules(spec: &ObjectSpec) -> bool {
    spec.programs.iter().any(|program| target_module(&program.kind).is_some_and(is_module))
}

/// The kernel itself may be named, too.
fn is_module(name: &str) -> bool {
    name != "vmlinux"
}

/// The name in the kernel's BTF that programs of this kind are attached to.
pub(super) fn attach_target(kind: &ProgramKind) -> Option<(String, Kind)> {
    let name = kind.btf_target()?;
    let btf_kind = match kind.target {
        Target::BtfTracepoint { .. } => Kind::Typedef,
        _ => Kind::Func,
    };
    Some((name, btf_kind))
}

fn core_records(spec: &ObjectSpec) -> Vec<&CoreRecord> {
    spec.code().values().flat_map(|section| &section.ext.core).collect()
}

fn wanted_names(spec: &ObjectSpec) -> Vec<(String, Kind)> {
    let targets = spec.programs.iter().filter_map(|program| attach_target(&program.kind));
    let symbols = spec.externs.iter().filter_map(|external| {
        let kind = match external.kind {
            ExternKind::Variable { .. } => Kind::Var,
            ExternKind::Function { .. } => Kind::Func,
            _ => return None,
        };
        Some((kernel_name(&external.name).to_owned(), kind))
    });
    let ops =
        spec.maps.iter().filter_map(|map| struct_ops::names(spec.btf.as_ref()?, map.struct_ops.as_ref()?));
    let structs = ops.flatten().map(|name| (name, Kind::Struct));
    targets.chain(symbols).chain(structs).collect()
}

/// An extern's name in the kernel: without its flavour.
pub(super) fn kernel_name(name: &str) -> &str {
    name.get(..essential_name(name.as_bytes()).len()).unwrap_or(name)
}
