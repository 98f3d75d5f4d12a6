//! Which features this kernel has, by trial: the smallest thing that needs a feature is offered to the
//! kernel. Versions are never compared, since distributions move features.
//!
//! An [`Answer`] is yes, no, or that this process cannot ask; only the first two are remembered.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::OnceLock;

use crate::Endian;
use crate::btf::encode::{BtfBuilder, BtfFeatures};
use crate::btf::{IntInfo, Linkage, TypeId};

use super::btf;
use crate::error::{ErrorKind, Result};
use crate::insn::{Insn, OP_CALL, OP_EXIT, OP_LD_IMM64, pseudo};
use crate::map::{Map, MapConfig};
use crate::program::{Program, ProgramConfig};
use crate::section::{ProgramKind, attach_type, program_type};
use crate::spec::map::map_type;
use crate::sys::{bpf, link};

/// `r0 = imm`, on all 64 bits.
const MOV64_IMM: u8 = 0xb7;
/// Jumps if a register is equal to `imm`.
const JUMP_EQ_IMM: u8 = 0x15;

/// `Ok` with what the kernel has; an error, of kind `Permission` or `Limit`, if it refused this process before it came to that.
pub type Answer = Result<bool>;

/// Whether programs are put on perf events by links (5.15), which can carry a cookie. Asked once per process.
///
/// # Errors
/// See [`Answer`].
pub fn perf_links(token: Token<'_>) -> Answer {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    cached(&ANSWER, token, || {
        let kind = ProgramKind { program_type: program_type::TRACEPOINT, ..ProgramKind::UNKNOWN };
        answer(smallest_program(&kind, token), |program| link::has_perf_links(program.as_fd()))
    })
}

/// A token that probes need as well as what they are for. What it allows is its own, so nothing is remembered then.
pub type Token<'a> = Option<BorrowedFd<'a>>;

fn cached(answer: &OnceLock<bool>, token: Token<'_>, ask: impl FnOnce() -> Answer) -> Answer {
    match (token, answer.get()) {
        (Some(_), _) => ask(),
        (None, Some(known)) => Ok(*known),
        (None, None) => {
            let found = ask()?;
            Ok(*answer.get_or_init(|| found))
        }
    }
}

/// What a trial says: of what was made, `has` tells; what was refused, the kernel does not have, unless it is about this
/// process.
fn answer<T>(trial: Result<T>, has: impl FnOnce(T) -> bool) -> Answer {
    match trial {
        Ok(made) => Ok(has(made)),
        Err(error) if matches!(error.kind(), ErrorKind::Permission | ErrorKind::Limit) => Err(error),
        Err(_) => Ok(false),
    }
}

/// Whether programs may call functions of the kernel (5.13; without a JIT they may not): a program that would never get to
/// its call of the one with this BTF id, as the verifier looks at a call before it finds out that it is not reached. Asked
/// once per process.
///
/// # Errors
/// See [`Answer`].
pub fn kernel_functions(id: u32, token: Token<'_>) -> Answer {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    cached(&ANSWER, token, || {
        let kind = ProgramKind { program_type: program_type::TRACEPOINT, ..ProgramKind::UNKNOWN };
        let jump = Insn { code: JUMP_EQ_IMM, off: 1, ..Insn::default() };
        let call = Insn { code: OP_CALL, src: pseudo::KFUNC_CALL, imm: id.cast_signed(), ..Insn::default() };
        let insns = [Insn { code: MOV64_IMM, ..Insn::default() }, jump, call, EXIT];
        answer(program(&kind, &insns, token), |_| true)
    })
}

/// Asks whether policy forbids programs like this one, which belongs on the function `attach_to`, as some forbid all that trace
/// functions: a program of two instructions costs less than a whole one that the kernel looks at twice. A kernel that allows
/// one is not asked again.
///
/// # Errors
/// `Permission`.
pub fn may_trace(
    kind: &ProgramKind,
    (attach_btf_id, attach_target): (u32, Option<BorrowedFd<'_>>),
    token: Token<'_>,
) -> Result<()> {
    static ALLOWED: OnceLock<()> = OnceLock::new();
    if ALLOWED.get().is_some() {
        return Ok(());
    }
    let insns = [Insn { code: MOV64_IMM, ..Insn::default() }, EXIT];
    Program::permitted(&ProgramConfig {
        name: "probe",
        insns: &insns,
        license: "GPL",
        attach_btf_id,
        attach_target,
        token,
        ..ProgramConfig::new(kind)
    })?;
    if token.is_none() {
        ALLOWED.get_or_init(|| ());
    }
    Ok(())
}

/// Whether programs may refer to bytes of a map beyond the first half gigabyte (7.x), as only arenas have. Asked with a place
/// that is outside of its map in any case; what counts is what the kernel says against it.
///
/// # Errors
/// See [`Answer`].
pub fn far_offsets(token: Token<'_>) -> Answer {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    cached(&ANSWER, token, || {
        let config = MapConfig {
            map_type: map_type::ARRAY,
            key_size: 4,
            value_size: 4,
            max_entries: 1,
            token,
            ..MapConfig::default()
        };
        let map = Map::create(&config)?;
        let imm = bpf::fd_u32(map.as_fd()).cast_signed();
        let load = Insn { code: OP_LD_IMM64, dst: 1, src: pseudo::MAP_VALUE, off: 0, imm };
        let offset = Insn { imm: 1 << 30, ..Insn::default() };
        let kind = ProgramKind { program_type: program_type::SOCKET_FILTER, ..ProgramKind::UNKNOWN };
        let Err(refused) = program(&kind, &[load, offset, EXIT], token) else { return Ok(false) };
        match refused.verifier_log() {
            Some(log) => Ok(!log.contains("direct value offset")),
            None => Err(refused),
        }
    })
}

/// Whether programs may refer to the value of a per-CPU array as to variables (7.3; without a JIT they may not). Asked once per
/// process.
///
/// # Errors
/// See [`Answer`].
pub fn per_cpu_variables(token: Token<'_>) -> Answer {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    cached(&ANSWER, token, || {
        let shape = MapConfig { key_size: 4, value_size: 8, max_entries: 1, ..MapConfig::default() };
        let map = Map::create(&MapConfig { map_type: map_type::PERCPU_ARRAY, token, ..shape })?;
        let imm = bpf::fd_u32(map.as_fd()).cast_signed();
        let load = Insn { code: OP_LD_IMM64, dst: 1, src: pseudo::MAP_VALUE, off: 0, imm };
        let result = Insn { code: MOV64_IMM, ..Insn::default() };
        let kind = ProgramKind { program_type: program_type::SOCKET_FILTER, ..ProgramKind::UNKNOWN };
        answer(program(&kind, &[load, Insn::default(), result, EXIT], token), |_| true)
    })
}

/// Whether one link puts a program on many places of a binary (6.6), each with its own cookie. Asked once per process.
///
/// # Errors
/// See [`Answer`].
pub fn uprobe_multi(token: Token<'_>) -> Answer {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    cached(&ANSWER, token, || {
        let attach_type = attach_type::TRACE_UPROBE_MULTI;
        let kind = ProgramKind { program_type: program_type::KPROBE, attach_type, ..ProgramKind::UNKNOWN };
        let trial = smallest_program(&kind, token);
        answer(trial, |program| link::has_uprobe_multi(program.as_fd(), attach_type))
    })
}

const EXIT: Insn = Insn { code: OP_EXIT, dst: 0, src: 0, off: 0, imm: 0 };

/// Loads `r0 = 0; exit` as a program of that kind.
fn smallest_program(kind: &ProgramKind, token: Token<'_>) -> Result<Program> {
    program(kind, &[Insn { code: MOV64_IMM, ..Insn::default() }, EXIT], token)
}

fn program(kind: &ProgramKind, insns: &[Insn], token: Token<'_>) -> Result<Program> {
    let config = ProgramConfig { name: "probe", insns, license: "GPL", token, ..ProgramConfig::new(kind) };
    Program::load(&config)
}

/// The BTF features of this kernel: one blob of a few dozen bytes for each. A kernel that refuses every blob
/// (no permission) seems to have none.
pub fn btf_features(token: Token<'_>) -> BtfFeatures {
    let accepts = |make: &dyn Fn(&mut BtfBuilder)| {
        let mut builder = BtfBuilder::new();
        make(&mut builder);
        btf::load(&builder.build(Endian::NATIVE), token).is_ok()
    };
    let int = |builder: &mut BtfBuilder| builder.int("int", 4, IntInfo::SIGNED);
    BtfFeatures {
        func: accepts(&|b| function(b, Linkage::Static)),
        datasec: accepts(&|b| datasec(b, ".data")),
        func_global: accepts(&|b| function(b, Linkage::Global)),
        empty_datasec: accepts(&|b| {
            b.datasec(".data", 0, &[]);
        }),
        float: accepts(&|b| {
            b.float("float", 4);
        }),
        decl_tag: accepts(&|b| {
            let target = int(b);
            let var = b.var("x", target, Linkage::Static);
            b.decl_tag("tag", var, -1);
        }),
        type_tag: accepts(&|b| {
            let target = int(b);
            let tag = b.type_tag("tag", target);
            b.ptr(tag);
        }),
        enum64: accepts(&|b| {
            b.enumeration64("e", 8, false, &[("A", 1 << 40)]);
        }),
        qmark_datasec: accepts(&|b| datasec(b, "?.data")),
        // Only a type with more than 65535 members could tell, and no object of ours has one.
        wide_vlen: false,
    }
}

fn function(builder: &mut BtfBuilder, linkage: Linkage) {
    let proto = builder.func_proto(&[], TypeId::VOID);
    builder.func("f", proto, linkage);
}

fn datasec(builder: &mut BtfBuilder, name: &str) {
    let target = builder.int("int", 4, IntInfo::SIGNED);
    let var = builder.var("x", target, Linkage::Global);
    builder.datasec(name, 4, &[(var, 0, 4)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn a_refusal_of_this_process_is_no_answer_and_is_not_remembered() {
        let known = OnceLock::new();
        let ask = |trial: Result<()>| cached(&known, None, || answer(trial, |()| true));
        let refused = |errno| Err(Error::os("bpf(BPF_PROG_LOAD)", errno));
        assert_eq!(ask(refused(libc::EPERM)).unwrap_err().kind(), ErrorKind::Permission);
        assert!(!ask(refused(libc::EINVAL)).unwrap());
        assert!(!ask(Ok(())).unwrap(), "the first answer counts");
    }
}
