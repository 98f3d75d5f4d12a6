//! Records and ids around a relocated program become `BPF_PROG_LOAD`.
//!
//! In: a relocated program, its final instructions, the object's BTF in the kernel. Out: a [`Program`].

use std::os::fd::{AsFd as _, BorrowedFd};

use super::fixup::{POISON_FUNCTION, POISON_MAP};
use crate::btf::ext::{FuncInfo, LineInfo};
use crate::error::{Error, Result};
use crate::insn::Insn;
use crate::kernel::btf::BtfObject;
use crate::linker::{PoisonedInsn, RelocatedProgram};
use crate::program::{Program, ProgramBtf, ProgramConfig};
use crate::section::ProgramKind;
use crate::spec::ObjectSpec;
use crate::spec::program::ProgramSpec;
use crate::verifier_log;

/// Everything around the instructions.
pub(super) struct Parts<'a> {
    pub(super) object: &'a ObjectSpec,
    pub(super) spec: &'a ProgramSpec,
    /// The kind in the spec, and for struct_ops the number of the member.
    pub(super) kind: &'a ProgramKind,
    pub(super) relocated: &'a RelocatedProgram,
    pub(super) insns: &'a [Insn],
    pub(super) btf: Option<&'a BtfObject>,
    /// BTF id of the attach target and, if it is not in vmlinux, what has it.
    pub(super) attach_to: (u32, Option<BorrowedFd<'a>>),
    pub(super) modules: &'a [BorrowedFd<'a>],
    pub(super) token: Option<BorrowedFd<'a>>,
}

/// Loads the instructions as the program that the spec describes.
pub(super) fn load(parts: &Parts<'_>) -> Result<Program> {
    let Parts { object, spec, relocated, .. } = *parts;
    if spec.kind == ProgramKind::UNKNOWN {
        let section = &spec.section_name;
        return Err(Error::invalid(format!("section name `{section}` says no program type; set one")));
    }
    let func_info = func_info_bytes(&relocated.func_info)?;
    let line_info = line_info_bytes(&relocated.line_info)?;
    // The kernel wants the first record at instruction 0, or none at all.
    let debug_info = parts.btf.filter(|_| !func_info.is_empty()).map(|btf| ProgramBtf {
        fd: btf.as_fd(),
        func_info: &func_info,
        line_info: &line_info,
    });
    let loaded = Program::load(&ProgramConfig {
        name: &spec.name,
        kind: parts.kind,
        insns: parts.insns,
        license: &object.license,
        attach_btf_id: parts.attach_to.0,
        attach_target: parts.attach_to.1,
        modules: parts.modules,
        kernel_version: object.kernel_version,
        debug_info,
        token: parts.token,
    });
    loaded.map_err(|error| blame(error, object, &relocated.poisoned))
}

/// When the verifier stumbled over an instruction that this kernel has no answer for, which it calls an unknown function, says
/// in its place which field of which struct it was, and where in the source.
fn blame(error: Error, object: &ObjectSpec, poisoned: &[PoisonedInsn]) -> Error {
    let (Some(log), Some(errno)) = (error.verifier_log(), error.errno()) else { return error };
    let reached = verifier_log::unknown_calls(log);
    if let Some(insn) = poisoned.iter().find(|insn| reached.iter().any(|call| call.at == insn.at.0)) {
        let source = insn.source.as_ref().map(|line| {
            let file = line.file.rsplit('/').next().unwrap_or_default();
            format!("; at `{} @ {file}:{}`", line.text, line.line)
        });
        let why = format!("{}{}", insn.failure, source.unwrap_or_default());
        return Error::verifier(errno, why, log.to_owned());
    }
    let missing = reached.iter().find_map(|call| {
        let name = |base| usize::try_from(call.helper.checked_sub(base)?).ok();
        let external = name(POISON_FUNCTION).and_then(|index| object.externs.get(index));
        let map = name(POISON_MAP).and_then(|index| object.maps.get(index));
        let external = external
            .map(|it| format!("it calls the weak kernel function `{}`, which this kernel lacks", it.name));
        external.or_else(|| map.map(|it| format!("it uses the map `{}`, which was not created", it.name)))
    });
    match missing {
        Some(why) => {
            let why = format!("{why}{}", verifier_log::at_source(log));
            Error::verifier(errno, why, log.to_owned())
        }
        None => error,
    }
}

fn func_info_bytes(records: &[FuncInfo]) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(records.len() * 8);
    for record in records {
        push_all(&mut bytes, [slot(record.offset.0)?, record.type_id.0]);
    }
    Ok(bytes)
}

fn line_info_bytes(records: &[LineInfo]) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(records.len() * 16);
    for record in records {
        push_all(
            &mut bytes,
            [slot(record.offset.0)?, record.file_name_off, record.line_off, record.line_col],
        );
    }
    Ok(bytes)
}

fn slot(offset: usize) -> Result<u32> {
    u32::try_from(offset).map_err(|_| Error::invalid("an instruction offset that does not fit 32 bits"))
}

fn push_all<const N: usize>(bytes: &mut Vec<u8>, words: [u32; N]) {
    bytes.extend(words.into_iter().flat_map(u32::to_ne_bytes));
}
