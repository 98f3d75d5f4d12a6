//! From an [`ObjectSpec`] to kernel objects: the ordered steps and nothing else.
//!
//! In: a spec, already edited; the kernel's BTF. Out: an [`Object`] with its maps, from which programs are
//! loaded one by one, so that a kernel which refuses one of them can still run the others.
//!
//! | file | step |
//! |---|---|
//! | `btf` | the object's own types are handed to the kernel |
//! | `map` | a declared map becomes the numbers that the kernel is asked for, and gets its contents |
//! | [`target`] | the kernel's types are searched once for all that the object may ask |
//! | [`externs`] | configuration values, kernel symbols and functions are looked up |
//! | `pin` | a map that is pinned already is used instead of a new one |
//! | `fixup` | symbolic references in instructions become fds and offsets |
//! | `struct_ops` | a declared struct_ops becomes the kernel's struct |
//! | `program` | records and ids around a relocated program become `BPF_PROG_LOAD` |

mod btf;
pub mod externs;
mod fixup;
mod map;
mod pin;
mod program;
mod struct_ops;
pub mod target;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use crate::attach::{Link, usdt};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::kernel::{probe, token};
use crate::linker;
use crate::map::{Map, UpdateMode};
use crate::program::Program;
use crate::section::{ProgramKind, Target, attach_type, program_type};
use crate::spec::map::map_type;
use crate::spec::{Global, GlobalValue, InitialTarget, MapSpec, ObjectSpec, ReadableGlobal};
use crate::sys::bpf::fd_u32;
pub use externs::Externs;
use fixup::Fixup;
pub use map::config_of as map_config;
pub use target::{KernelTypes, TargetFiles};

/// Where maps are pinned that ask for it, if the caller says nothing else.
pub const PIN_ROOT: &str = "/sys/fs/bpf";

/// Where programs count what they could not send.
const LOST: &str = "lost";

/// How an object is loaded.
#[derive(Debug, Default)]
pub struct LoadOptions {
    /// A BTF file (raw, ELF, gzip) for CO-RE relocation, instead of `/sys/kernel/btf/vmlinux`. Hooks and symbols remain those
    /// of the running kernel.
    pub btf: Option<PathBuf>,
    /// Modules whose types count for CO-RE relocation, instead of those that are loaded; see [`TargetFiles::modules`].
    pub module_btf: Vec<PathBuf>,
    /// Maps to use in place of declared ones, by name: pinned sets of the user, or maps shared with
    /// another object. Their geometry is the caller's to check.
    pub maps: BTreeMap<String, Map>,
    /// The directory, on a bpffs, for maps that are pinned by name; [`PIN_ROOT`] if none is given.
    pub pin_root: Option<PathBuf>,
    /// Go on when a map cannot be created: only the programs that refer to it fail, each with the map's reason.
    pub skip_failed_maps: bool,
    /// A bpffs whose token stands for the privilege (6.9); see [`crate::kernel::token`].
    pub token: Option<PathBuf>,
    /// Functions of which [`Object::kernel_has_function`] is to know whether the kernel has them.
    pub functions: Vec<&'static str>,
    /// Lines `CONFIG_X=y` that overrule the kernel's own configuration for `.kconfig` externs.
    pub kconfig: String,
}

/// A loaded object: its maps, and the means to load its programs.
#[derive(Debug)]
pub struct Object {
    spec: ObjectSpec,
    maps: BTreeMap<String, Map>,
    /// Why maps that were to be created were not.
    failed_maps: BTreeMap<String, Error>,
    btf: btf::ObjectTypes,
    types: KernelTypes,
    externs: Externs,
    token: Option<OwnedFd>,
    /// Where the variables of the object's arena begin, in bytes from its start.
    arena_variables: u32,
    /// Where programs on static probes find their arguments; once one is loaded.
    usdt: Option<Arc<usdt::Tables>>,
}

impl Object {
    /// Creates the maps and prepares relocation; loads no program yet.
    ///
    /// # Errors
    /// Those of the kernel's BTF, of map creation, and `InvalidObject` for an object that is for the other
    /// byte order.
    pub fn create(mut spec: ObjectSpec, options: LoadOptions) -> Result<Self> {
        if spec.endian != crate::Endian::NATIVE {
            return Err(Error::invalid("the object was built for the other byte order"));
        }
        let token = options.token.as_deref().map(token::create).transpose()?;
        let files = TargetFiles { kernel: options.btf, modules: options.module_btf };
        let mut types = KernelTypes::find_to_load(&spec, &files, &options.functions)?;
        let externs =
            Externs::configure(&mut spec, &options.kconfig, owned(token.as_ref().map(AsFd::as_fd))?);
        let btf = btf::load(&spec, token.as_ref().map(AsFd::as_fd));
        let root = options.pin_root.unwrap_or_else(|| PathBuf::from(PIN_ROOT));
        let with = map::With { types: &btf, root: &root, token: token.as_ref().map(AsFd::as_fd) };
        let created = map::create_all(&spec, options.maps, &with, &mut types);
        let map::Created { maps, failed: mut failed_maps } = created;
        match failed_maps.pop_first() {
            Some((_, error)) if !options.skip_failed_maps => return Err(error),
            first => failed_maps.extend(first),
        }
        let arena_variables = arena_variables(&spec, token.as_ref().map(AsFd::as_fd));
        Ok(Self { spec, maps, failed_maps, btf, types, externs, token, arena_variables, usdt: None })
    }

    /// Links, relocates and loads the program `name`, and puts it into the program arrays that declare it.
    ///
    /// # Errors
    /// `NotFound` when there is no such program, or no such attach target or extern in this kernel; `Verifier`; the
    /// kernel's errno otherwise.
    pub fn load_program(&mut self, name: &str) -> Result<Program> {
        self.try_load(name, None).with_context(|| format!("load program `{name}`"))
    }

    /// As [`Object::load_program`], for a program that goes on a function of another program, `extended`: an extension
    /// (`freplace`), or one that traces it (`fentry`, `fexit`). It must have been loaded with its types.
    ///
    /// # Errors
    /// Also `NotFound` when `extended` has no such function.
    pub fn load_program_on(&mut self, name: &str, extended: &Program) -> Result<Program> {
        self.try_load(name, Some(extended)).with_context(|| format!("load program `{name}`"))
    }

    /// Whether the program `name`, if it traces a function of the kernel, is not refused whatever is in it. Much cheaper than to
    /// load it in vain; what else may be wrong with it, loading it tells.
    ///
    /// # Errors
    /// `Permission`.
    pub fn may_trace(&mut self, name: &str) -> Result<()> {
        let index = self.spec.programs.iter().position(|program| program.name == name);
        let traces = |index: &usize| {
            let program = self.spec.programs.get(*index);
            program.is_some_and(|program| matches!(program.kind.target, Target::Function { .. }))
        };
        let Some(index) = index.filter(traces) else { return Ok(()) };
        let Ok((kind, place)) = attach_to(&self.spec, index, &mut self.types, None) else { return Ok(()) };
        let token = self.token.as_ref().map(AsFd::as_fd);
        probe::may_trace(&kind, place, token).with_context(|| format!("load program `{name}`"))
    }

    fn try_load(&mut self, name: &str, extended: Option<&Program>) -> Result<Program> {
        let found = self.spec.programs.iter().position(|program| program.name == name);
        let (index, spec) = found
            .and_then(|index| Some((index, self.spec.programs.get(index)?)))
            .ok_or_else(|| Error::not_found("the object has no such program"))?;
        let linked = linker::link(&self.spec, spec)?;
        let relocated = match self.types.core_resolver() {
            Some(resolver) => linked.relocate(resolver)?,
            None => linked.relocate_without_types()?,
        };
        let (maps, externs, types) = (&self.maps, &mut self.externs, &mut self.types);
        let token = self.token.as_ref().map(AsFd::as_fd);
        let mut fixup = Fixup {
            spec: &self.spec,
            maps,
            failed: &self.failed_maps,
            externs,
            types,
            arena_variables: self.arena_variables,
            token,
            jump_tables: Vec::new(),
            modules: Vec::new(),
        };
        let insns = fixup.apply(&relocated)?;
        let (called, _jump_tables) = (fixup.modules, fixup.jump_tables);
        // Owned, since they must stay open until the program is loaded.
        let modules =
            called.iter().map(|module| owned(types.module_object(*module)?)).collect::<Result<Vec<_>>>()?;
        let modules: Vec<BorrowedFd<'_>> = modules.iter().flatten().map(AsFd::as_fd).collect();
        let (mut kind, attach_to) = attach_to(&self.spec, index, types, extended)?;
        // One link for all places of a static probe, where the kernel has such links; the program must be loaded for it.
        if kind.is_for_static_probe() && probe::uprobe_multi(token).unwrap_or(false) {
            kind.attach_type = attach_type::TRACE_UPROBE_MULTI;
        }
        let program = program::load(&program::Parts {
            object: &self.spec,
            spec,
            kind: &kind,
            relocated: &relocated,
            insns: &insns,
            btf: self.btf.object.as_ref(),
            attach_to,
            modules: &modules,
            token,
        });
        let program = program.map_err(|error| self.without_types(error))?;
        self.after_load(index, &program)?;
        match program.kind().is_for_static_probe() {
            true => self.with_usdt_tables(program),
            false => Ok(program),
        }
    }

    /// A program may be rejected because the kernel has not got the types of its functions.
    fn without_types(&self, error: Error) -> Error {
        match &self.btf.refused {
            Some(refused) if error.kind() == ErrorKind::Verifier => {
                error.context(format!("without the object's types ({refused})"))
            }
            _ => error,
        }
    }

    fn with_usdt_tables(&mut self, program: Program) -> Result<Program> {
        if self.usdt.is_none() {
            self.usdt = usdt::Tables::of(&self.spec, &self.maps)?.map(Arc::new);
        }
        Ok(match &self.usdt {
            Some(tables) => program.with_usdt_tables(Arc::clone(tables)),
            None => program,
        })
    }

    /// Other tools find a program's constants by the program; program arrays get their entries.
    fn after_load(&self, index: usize, program: &Program) -> Result<()> {
        for declared in &self.spec.maps {
            let Some(map) = self.maps.get(&declared.name) else { continue };
            // Not `.kconfig`, which is frozen as well: its values are the kernel's and say nothing about the program.
            if declared.freeze && declared.name != crate::spec::kconfig::SECTION {
                // Before 5.10 there is no such command, and nothing depends on it.
                program.bind_map(map).ok();
            }
            for value in &declared.initial_values {
                if value.target == (InitialTarget::Program { index }) {
                    store_fd(map, value.slot, program.as_fd()).with_context(|| {
                        format!("put it into slot {} of map `{}`", value.slot, declared.name)
                    })?;
                }
            }
        }
        Ok(())
    }

    /// The map declared under `name`.
    ///
    /// # Errors
    /// `NotFound` when the object declares none of that name, or it was not created.
    pub fn map(&self, name: &str) -> Result<&Map> {
        self.maps.get(name).ok_or_else(|| Error::not_found(format!("the object has no map `{name}`")))
    }

    /// Puts the struct_ops `name` to work: the kernel calls `programs`, all of which this object loaded for it, until the link
    /// goes.
    ///
    /// # Errors
    /// `NotFound` when there is no such map; what the kernel has against the struct: it may need members that are empty, or
    /// may know one of its name already (`Exists`).
    pub fn attach_struct_ops(&self, name: &str, programs: &[Program]) -> Result<Link> {
        let attach = || {
            let declared =
                self.spec.map(name).ok_or_else(|| Error::not_found("the object has no such map"))?;
            let fitted = struct_ops::fit(&self.spec, declared, &self.types)?;
            let value = fitted.value(|index| {
                let name = &self.spec.programs.get(index)?.name;
                programs.iter().find(|program| program.name() == name).map(|program| fd_u32(program.as_fd()))
            });
            crate::attach::struct_ops::attach(self.map(name)?, &value)
        };
        attach().with_context(|| format!("attach struct_ops `{name}`"))
    }

    /// Maps that could not be created, by name, and why; see [`LoadOptions::skip_failed_maps`].
    pub fn failed_maps(&self) -> impl Iterator<Item = (&str, &Error)> {
        self.failed_maps.iter().map(|(name, error)| (name.as_str(), error))
    }

    /// All maps, by name.
    pub fn maps(&self) -> impl Iterator<Item = (&str, &Map)> {
        self.maps.iter().map(|(name, map)| (name.as_str(), map))
    }

    /// How many records the programs could not send, by convention: they count in a per-CPU array of u64 named `lost`
    /// (entry 0) or in a global u64 variable of that name, which may be one per CPU. `None` if the object has neither.
    ///
    /// # Errors
    /// Those of reading the map.
    pub fn lost(&self) -> Result<Option<u64>> {
        if let Some(map) = self.maps.get(LOST).filter(|map| map.is_per_cpu()) {
            return map.sum_percpu_u64(0).map(Some).context("read the map `lost`");
        }
        let global = self.spec.globals().iter().find(|global| global.name == LOST && global.size == 8);
        let Some(global) = global else { return Ok(None) };
        let map = self.spec.maps.get(global.map).and_then(|map| self.maps.get(&map.name));
        let Some(map) = map else { return Ok(None) };
        if map.is_per_cpu() {
            let counts = self.global_per_cpu(LOST)?;
            let counts = counts.iter().map(|count| crate::bytes::u64_at(count, 0, crate::Endian::NATIVE));
            return counts.sum::<Result<u64>>().map(Some);
        }
        let value = map.lookup(&0_u32.to_ne_bytes()).context("read the variable `lost`")?.unwrap_or_default();
        Ok(Some(crate::bytes::u64_at(&value, global.offset, crate::Endian::NATIVE)?))
    }

    /// The present value of a global variable, in host byte order.
    ///
    /// # Errors
    /// `NotFound` if there is none of that name, or its map was not created; `Incompatible` if each CPU has its own.
    pub fn global(&self, name: &str) -> Result<Vec<u8>> {
        let missing = || missing_global(name);
        let (global, declared, map) = self.find_global(name)?;
        if map.is_per_cpu() {
            return Err(Error::incompatible(format!("variable `{name}` has a value for each CPU")));
        }
        if declared.map_type == map_type::ARENA {
            let mut value = vec![0; global.size];
            let inside = map.memory()?.read(self.start_of(declared, global), &mut value);
            return inside.then_some(value).ok_or_else(missing);
        }
        let value = map.lookup(&0_u32.to_ne_bytes())?.unwrap_or_default();
        Ok(crate::bytes::slice_at(&value, global.offset, global.size)?.to_vec())
    }

    /// The present values of a global variable of a section `.percpu`, by CPU number.
    ///
    /// # Errors
    /// As for [`Object::global`]; `Incompatible` if all CPUs share one.
    pub fn global_per_cpu(&self, name: &str) -> Result<Vec<Vec<u8>>> {
        let (global, _, map) = self.find_global(name)?;
        let values = map.lookup_per_cpu(&0_u32.to_ne_bytes())?.unwrap_or_default();
        let of_cpu =
            |value: &Vec<u8>| Ok(crate::bytes::slice_at(value, global.offset, global.size)?.to_vec());
        values.iter().map(of_cpu).collect()
    }

    /// A variable, and the map that it is in.
    fn find_global(&self, name: &str) -> Result<(&Global, &MapSpec, &Map)> {
        let missing = || missing_global(name);
        let global = self.spec.globals().iter().find(|global| global.name == name).ok_or_else(missing)?;
        let declared = self.spec.maps.get(global.map).ok_or_else(missing)?;
        Ok((global, declared, self.map(&declared.name)?))
    }

    /// As [`Object::global`], as a value of the variable's type.
    ///
    /// # Errors
    /// Also `Incompatible` if its size or type is another.
    pub fn get_global<T: ReadableGlobal>(&self, name: &str) -> Result<T> {
        self.spec.decode_global(name, &self.global(name)?)
    }

    /// Sets a global variable while programs run, which see it at once. A number that is aligned, as C has them, changes as a
    /// whole. No system call is made, but for the first variable of a section.
    ///
    /// # Errors
    /// As for [`ObjectSpec::set_global`]; `Incompatible` also for constants, and for variables of a section where all are
    /// static or hidden, which only the programs share.
    pub fn set_global(&self, name: &str, value: impl GlobalValue) -> Result<()> {
        let global = self.spec.global_for(name, &value)?;
        let set = || -> Result<()> {
            let missing = || Error::not_found("it is in no map");
            let declared = self.spec.maps.get(global.map).ok_or_else(missing)?;
            if declared.freeze {
                return Err(Error::incompatible("it is a constant, to be set before the object is created"));
            }
            let memory = self.map(&declared.name)?.memory()?;
            let inside = memory.write(self.start_of(declared, global), &value.bytes(self.spec.endian));
            inside.then_some(()).ok_or_else(missing)
        };
        set().with_context(|| format!("set variable `{name}`"))
    }

    /// Bytes from the start of a map's memory to a variable in it.
    fn start_of(&self, declared: &MapSpec, global: &Global) -> usize {
        let start = if declared.map_type == map_type::ARENA { self.arena_variables as usize } else { 0 };
        start.saturating_add(global.offset)
    }

    /// Whether the kernel itself, modules apart, has a function of that name; none if it was not in
    /// [`LoadOptions::functions`], or if nothing was asked of the kernel's types.
    pub fn kernel_has_function(&self, name: &str) -> Option<bool> {
        self.types.has_function(name)
    }

    /// Whether the object has a program `name`.
    pub fn has_program(&self, name: &str) -> bool {
        self.spec.program(name).is_some()
    }

    /// The spec that this object was made from, with the configuration values filled in.
    pub fn spec(&self) -> &ObjectSpec {
        &self.spec
    }
}

fn missing_global(name: &str) -> Error {
    Error::not_found(format!("the object has no global variable `{name}`"))
}

fn arena_variables(spec: &ObjectSpec, token: probe::Token<'_>) -> u32 {
    let arena = spec.maps.iter().find(|map| map.map_type == map_type::ARENA);
    arena.map_or(0, |arena| u32::try_from(map::arena_variables(arena, token)).unwrap_or(u32::MAX))
}

fn owned(fd: Option<BorrowedFd<'_>>) -> Result<Option<OwnedFd>> {
    fd.map(|fd| fd.try_clone_to_owned().map_err(|error| Error::io("dup", error))).transpose()
}

/// BTF id of what the program at `index` is attached to, and what has that type if it is not vmlinux. A function of a
/// struct_ops has the number of its member for an attach type.
fn attach_to<'a>(
    object: &ObjectSpec,
    index: usize,
    types: &'a mut KernelTypes,
    extended: Option<&'a Program>,
) -> Result<(ProgramKind, (u32, Option<BorrowedFd<'a>>))> {
    let spec =
        object.programs.get(index).ok_or_else(|| Error::not_found("the object has no such program"))?;
    let mut kind = spec.kind.clone();
    match (&spec.kind.target, extended) {
        (Target::ProgramFunction { name } | Target::Function { name, .. }, Some(extended)) => {
            Ok((kind, (extended.function_id(name)?, Some(extended.as_fd()))))
        }
        (Target::ProgramFunction { .. }, None) => {
            Err(Error::invalid("it replaces a function of a program; say of which"))
        }
        (Target::StructOps { .. }, _) => {
            let (ops, member) = struct_ops::of_program(object, index, types)?;
            kind.attach_type = member;
            Ok((kind, (ops.id.0, types.module_object(ops)?)))
        }
        _ => match types.attach_target(&spec.kind)? {
            Some(found) => Ok((kind, (found.id.0, types.module_object(found)?))),
            None => match spec.kind.target.unusable() {
                Some(error) if needs_target(&spec.kind) => Err(error),
                _ => Ok((kind, (0, types.loaded_for(&spec.kind)?))),
            },
        },
    }
}

/// Whether the verifier must know what the program is attached to. Other kinds are asked only when they are attached.
fn needs_target(kind: &ProgramKind) -> bool {
    let typed = [program_type::TRACING, program_type::LSM, program_type::EXT];
    let many =
        [attach_type::TRACE_FENTRY_MULTI, attach_type::TRACE_FEXIT_MULTI, attach_type::TRACE_FSESSION_MULTI];
    typed.contains(&kind.program_type) && !many.contains(&kind.attach_type)
}

/// Stores an fd in a map of fds.
fn store_fd(map: &Map, slot: u32, fd: BorrowedFd<'_>) -> Result<()> {
    let value = fd_u32(fd).to_ne_bytes();
    map.update(&slot.to_ne_bytes(), &value, UpdateMode::Any)
}

/// Where a map that is pinned by name goes.
fn pin_path(root: &std::path::Path, declared: &MapSpec) -> PathBuf {
    root.join(&declared.name)
}
