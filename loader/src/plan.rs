//! A dry run: what each reference, extern, map and hook of an object would become, without making anything.
//!
//! In: a spec, and the running kernel or a BTF file in its place. Out: a [`Plan`]. Needs no privilege, and takes objects of
//! the other byte order too. Nothing is loaded, so what only the verifier knows is not in it: whether a poisoned
//! instruction can be reached, for one. Doing it is [`crate::load`].

use std::collections::BTreeSet;

use crate::attach::{uprobe, usdt};
use crate::btf::ext::CoreRecord;
use crate::core_reloc::{self, CoreResolver, FailedRelocation, KernelType, Outcome, RelocKind};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::insn::{Insn, InsnOffset, class};
use crate::kernel::config;
use crate::kernel::kallsyms;
use crate::kernel::tracefs::TraceFs;
use crate::linker::{self, LinkedProgram, SourceLine};
use crate::load::externs::Resolved;
use crate::load::{Externs, KernelTypes, TargetFiles};
use crate::map::MapConfig;
use crate::section::Target;
use crate::spec::{ObjectSpec, ProgramSpec, RelocTarget};

/// What an object would become.
#[derive(Debug)]
pub struct Plan {
    /// By map of the spec: the numbers that the kernel would be asked for.
    pub maps: Vec<Result<MapConfig<'static>>>,
    /// By extern of the spec.
    pub externs: Vec<Result<PlannedExtern>>,
    /// By program of the spec.
    pub programs: Vec<PlannedProgram>,
}

/// What an extern is on this kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlannedExtern {
    /// A configuration value: its bytes, in the object's byte order.
    Value(Vec<u8>),
    /// The address of a symbol.
    Address(u64),
    /// A variable or function.
    Type {
        /// Its BTF id.
        id: u32,
        /// The module that has it; the kernel itself if absent.
        module: Option<String>,
    },
    /// It is weak and missing.
    Absent,
    /// It exists, but this process is not told where.
    Hidden,
}

/// What a program would become.
#[derive(Debug)]
pub struct PlannedProgram {
    /// The program as it would be loaded, but for fds; or why it cannot be.
    pub code: Result<PlannedCode>,
    /// Where it would be attached.
    pub hook: Result<PlannedHook>,
}

/// The instructions of a program.
#[derive(Debug)]
pub struct PlannedCode {
    /// Number of slots, with all functions that are called.
    pub slots: usize,
    /// References to maps, data and externs, by instruction.
    pub references: Vec<Reference>,
    /// CO-RE relocations, by instruction.
    pub core: Vec<PlannedRelocation>,
}

/// A reference of an instruction.
#[derive(Debug)]
pub struct Reference {
    /// The instruction, in slots from the start of the program.
    pub at: InsnOffset,
    /// What it refers to.
    pub target: RelocTarget,
    /// For an extern that this kernel lacks and the program needs: why the program would not be loaded.
    pub refused: Option<String>,
}

/// A CO-RE relocation, applied.
#[derive(Debug)]
pub struct PlannedRelocation {
    /// The instruction, in slots from the start of the program.
    pub at: InsnOffset,
    /// What is asked for.
    pub kind: RelocKind,
    /// The object's type and field in C spelling with the access string, such as `struct file.f_mode (0:3)`.
    pub access: String,
    /// The source line.
    pub source: Option<SourceLine>,
    /// The number that the compiler wrote.
    pub before: i64,
    /// The number of the target, or why it has none.
    pub after: std::result::Result<i64, Box<FailedRelocation>>,
}

/// Where a program would be attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlannedHook {
    /// To a type of the kernel: a typed tracepoint, a function, a security hook, an iterator.
    Type {
        /// The type's name.
        name: String,
        /// Its BTF id.
        id: u32,
        /// The module that has it; the kernel itself if absent.
        module: Option<String>,
    },
    /// To a tracepoint with this id in tracefs.
    Tracepoint {
        /// The id.
        id: u64,
    },
    /// To a symbol of the kernel, which exists.
    Symbol {
        /// Its name.
        name: String,
    },
    /// To a file at this offset in bytes.
    File {
        /// The file.
        path: String,
        /// Bytes from its start.
        offset: u64,
    },
    /// To these places of a file: those of a static probe.
    Places {
        /// The file.
        path: String,
        /// The places; not empty.
        places: Vec<usdt::Place>,
    },
    /// The caller says where: a device, a cgroup, a socket, another program.
    Caller,
    /// It is only known on the machine itself.
    Unknown,
}

/// Plans `spec` for the running kernel, or, if `files` has one, for the kernel whose types are in that file; then
/// configuration values and addresses are still those of the running kernel, and hooks that are not found by
/// type stay unknown.
///
/// # Errors
/// When there are no types to be had; all other problems are in the plan.
pub fn plan(mut spec: ObjectSpec, files: &TargetFiles) -> Result<Plan> {
    let mut types = KernelTypes::find(&spec, files)?;
    let mut externs = Externs::configure(&mut spec, "", None);
    let spec = &spec;
    let maps = spec.maps.iter().map(|map| types.map_config(spec, map)).collect();
    let resolved: Vec<Result<Resolved>> =
        (0..spec.externs.len()).map(|index| externs.resolve(spec, index, &mut types)).collect();
    let symbols = files.kernel.is_none().then(|| hook_symbols(spec));
    let programs = spec
        .programs
        .iter()
        .map(|program| PlannedProgram {
            code: code(spec, program, &mut types, &resolved),
            hook: match hook(program, &types, symbols.as_ref()) {
                // What only root may look up is not refused by that.
                Err(error) if error.kind() == ErrorKind::Permission => Ok(PlannedHook::Unknown),
                hook => hook,
            },
        })
        .collect();
    let externs = resolved.into_iter().enumerate().map(|(index, resolved)| match resolved {
        Ok(resolved) => Ok(extern_plan(spec, index, resolved, &types)),
        Err(error) if error.kind() == ErrorKind::Permission => Ok(PlannedExtern::Hidden),
        Err(error) => Err(error),
    });
    Ok(Plan { maps, externs: externs.collect(), programs })
}

fn extern_plan(spec: &ObjectSpec, index: usize, resolved: Resolved, types: &KernelTypes) -> PlannedExtern {
    match resolved {
        Resolved::Kconfig { offset } => {
            let size = spec.externs.get(index).map_or(0, |external| match external.kind {
                crate::spec::ExternKind::Kconfig { size, .. } => size,
                _ => 0,
            });
            let (start, size) = (usize::try_from(offset).unwrap_or(0), usize::try_from(size).unwrap_or(0));
            let contents = spec.map(crate::spec::kconfig::SECTION).and_then(|map| map.contents.as_deref());
            let value = contents.and_then(|contents| contents.get(start..start.checked_add(size)?));
            PlannedExtern::Value(value.unwrap_or_default().to_vec())
        }
        Resolved::Address(address) => PlannedExtern::Address(address),
        Resolved::Type(found) => PlannedExtern::Type { id: found.id.0, module: module(types, found) },
        Resolved::Absent => PlannedExtern::Absent,
    }
}

fn module(types: &KernelTypes, found: KernelType) -> Option<String> {
    types.module_name(found).map(str::to_owned)
}

fn code(
    spec: &ObjectSpec,
    program: &ProgramSpec,
    types: &mut KernelTypes,
    externs: &[Result<Resolved>],
) -> Result<PlannedCode> {
    let mut linked = linker::link(spec, program)?;
    let references = linked.relocations.iter().map(|relocation| {
        let refused = match relocation.target {
            RelocTarget::Extern { index } => externs.get(index).and_then(|resolved| resolved.as_ref().err()),
            _ => None,
        };
        let refused = refused.filter(|error| error.kind() != ErrorKind::Permission);
        Reference { at: relocation.at, target: relocation.target, refused: refused.map(Error::to_string) }
    });
    let references = references.collect();
    let mut core = Vec::new();
    if let Some(resolver) = types.resolver() {
        for record in linked.core.clone() {
            core.push(relocate(&mut linked, &record, resolver)?);
        }
    }
    Ok(PlannedCode { slots: linked.insns.len(), references, core })
}

fn relocate(
    linked: &mut LinkedProgram,
    record: &CoreRecord,
    resolver: &mut CoreResolver,
) -> Result<PlannedRelocation> {
    let local = linked.btf.clone().ok_or_else(|| Error::invalid("CO-RE relocations without BTF"))?;
    let (kind, access) = core_reloc::describe(&local, record)?;
    let before = operand(&linked.insns, record.offset);
    let outcome = resolver.relocate(record, &mut linked.insns);
    let after = match outcome.with_context(|| format!("relocate program `{}`", linked.name))? {
        Outcome::Patched => Ok(operand(&linked.insns, record.offset)),
        Outcome::Poisoned(failure) => Err(failure),
    };
    Ok(PlannedRelocation {
        at: record.offset,
        kind,
        access,
        source: linked.source_line(record.offset),
        before,
        after,
    })
}

/// The number in an instruction that a relocation is about: the offset of a memory access, else the immediate.
fn operand(insns: &[Insn], at: InsnOffset) -> i64 {
    let Some(insn) = insns.get(at.0) else { return 0 };
    match insn.class() {
        class::LDX | class::ST | class::STX => i64::from(insn.off),
        _ if insn.is_ld_imm64() => {
            let high = insns.get(at.0 + 1).map_or(0, |second| i64::from(second.imm));
            high << 32 | i64::from(insn.imm.cast_unsigned())
        }
        _ => i64::from(insn.imm),
    }
}

/// `symbols` are those of the running kernel, if the plan is for that one.
fn hook(
    program: &ProgramSpec,
    types: &KernelTypes,
    symbols: Option<&BTreeSet<String>>,
) -> Result<PlannedHook> {
    if let Some(found) = types.attach_target(&program.kind)? {
        let name = program.kind.btf_target().unwrap_or_default();
        return Ok(PlannedHook::Type { name, id: found.id.0, module: module(types, found) });
    }
    if let Some(error) = program.kind.target.unusable() {
        return Err(error);
    }
    if let Target::None | Target::ProgramFunction { .. } | Target::StructOps { .. } = &program.kind.target {
        return Ok(PlannedHook::Caller);
    }
    let Some(symbols) = symbols else { return Ok(PlannedHook::Unknown) };
    match &program.kind.target {
        Target::Tracepoint { category, name } => {
            let id = TraceFs::open()?.tracepoint_id(category, name);
            Ok(PlannedHook::Tracepoint { id: id.with_context(|| format!("tracepoint {category}:{name}"))? })
        }
        Target::Uprobe { path, symbol, offset, .. } => {
            let path = uprobe::find_binary(path)?;
            let start = symbol.as_deref().map_or(Ok(0), |symbol| uprobe::symbol_offset(&path, symbol))?;
            Ok(PlannedHook::File { path: path.display().to_string(), offset: start.saturating_add(*offset) })
        }
        Target::Usdt { path, provider, name } => {
            let path = uprobe::find_binary(path)?;
            let places = usdt::places(&path, provider, name)?;
            Ok(PlannedHook::Places { path: path.display().to_string(), places })
        }
        target => match hook_symbol(target) {
            None => Ok(PlannedHook::Unknown),
            Some(symbol) => {
                let name = symbol.strip_prefix(TRACEPOINT).unwrap_or(&symbol).to_owned();
                match symbols.contains(&symbol) {
                    true => Ok(PlannedHook::Symbol { name }),
                    false => Err(Error::not_found(format!("this kernel has no `{name}`"))),
                }
            }
        },
    }
}

/// What the kernel's symbol of a tracepoint starts with.
const TRACEPOINT: &str = "__tracepoint_";

/// The symbol that the kernel has if it has the target.
fn hook_symbol(target: &Target) -> Option<String> {
    match target {
        Target::RawTracepoint { name } => Some(format!("{TRACEPOINT}{name}")),
        Target::Kprobe { symbol, .. } => Some(symbol.clone()),
        Target::Syscall { name, .. } => {
            let prefix = config::syscall_prefix().filter(|_| config::has_syscall_wrapper());
            Some(format!("{}{name}", prefix.unwrap_or("__se_sys_")))
        }
        _ => None,
    }
}

/// Those symbols of all the hooks that the running kernel has, found in one pass: its table has hundreds of thousands.
fn hook_symbols(spec: &ObjectSpec) -> BTreeSet<String> {
    let wanted: BTreeSet<String> =
        spec.programs.iter().filter_map(|program| hook_symbol(&program.kind.target)).collect();
    if wanted.is_empty() {
        return wanted;
    }
    let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
    kallsyms::find(&names).unwrap_or_default().into_keys().collect()
}
