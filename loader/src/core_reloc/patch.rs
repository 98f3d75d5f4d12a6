//! Writing a relocation's value into its instruction.
//!
//! In: the instruction, the value in the object's types and the value in the kernel's. Out: the instruction
//! patched, or poisoned: replaced by a call that the verifier rejects only if it can be reached.

use super::value::{Value, width_may_change};
use crate::btf::Btf;
use crate::error::{Error, Result};
use crate::insn::{Insn, OP_CALL, SRC_REG, class};

/// Number of the helper that a poisoned instruction calls; no kernel has it, and verifier logs show it as
/// `invalid func unknown#195896080`. libbpf uses the same number.
pub const POISON_HELPER: i32 = 0x0bad_2310;

/// What became of the instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patched {
    Done,
    /// The load cannot be changed from the local to the target width, both in bytes.
    Width {
        local: u64,
        target: u64,
    },
}

/// Replaces the instruction at slot `at`; both slots of an `ld_imm64`, so that nothing moves.
pub(super) fn poison(insns: &mut [Insn], at: usize) -> Result<()> {
    let call = Insn { code: OP_CALL, imm: POISON_HELPER, ..Insn::default() };
    let rest = insns.get_mut(at..).unwrap_or_default();
    match rest {
        [first, second, ..] if first.is_ld_imm64() => (*first, *second) = (call, call),
        [first, ..] if !first.is_ld_imm64() => *first = call,
        _ => return Err(no_insn(at)),
    }
    Ok(())
}

/// Patches the instruction at slot `at` from `old` (a value of `local`) to `new` (a value of `target`).
pub(super) fn patch(
    insns: &mut [Insn],
    at: usize,
    old: &Value,
    new: &Value,
    (local, target): (&Btf, &Btf),
) -> Result<Patched> {
    let rest = insns.get_mut(at..).unwrap_or_default();
    let (first, rest) = rest.split_first_mut().ok_or_else(|| no_insn(at))?;
    match first.class() {
        class::ALU | class::ALU64 => patch_alu(first, old, new).map(|()| Patched::Done),
        class::LD => patch_wide(first, rest.first_mut(), old, new).map(|()| Patched::Done),
        class::LDX | class::ST | class::STX => {
            let offset = i16::try_from(new.value)
                .map_err(|_| Error::invalid(format!("offset {} does not fit a load or store", new.value)))?;
            check(old, i64::from(first.off).cast_unsigned())?;
            if let (Some((old_size, old_type)), Some((new_size, new_type))) = (old.load, new.load)
                && old_size != new_size
            {
                if !width_may_change(local.type_by_id(old_type)?, target.type_by_id(new_type)?) {
                    return Ok(Patched::Width { local: old_size, target: new_size });
                }
                set_width(first, old_size, new_size)?;
            }
            first.off = offset;
            Ok(Patched::Done)
        }
        _ => Err(unsuited(first)),
    }
}

fn patch_alu(insn: &mut Insn, old: &Value, new: &Value) -> Result<()> {
    if insn.code & SRC_REG != 0 {
        return Err(unsuited(insn));
    }
    check(old, i64::from(insn.imm).cast_unsigned())?;
    // 64-bit operations sign-extend the immediate, 32-bit ones do not.
    let signed = i32::try_from(new.value.cast_signed()).ok();
    let unsigned = u32::try_from(new.value).ok().map(u32::cast_signed).filter(|_| insn.class() == class::ALU);
    let too_large = || Error::invalid(format!("value {:#x} does not fit a 32-bit immediate", new.value));
    insn.imm = signed.or(unsigned).ok_or_else(too_large)?;
    Ok(())
}

fn patch_wide(first: &mut Insn, second: Option<&mut Insn>, old: &Value, new: &Value) -> Result<()> {
    let Some(second) = second.filter(|_| first.is_ld_imm64()) else { return Err(unsuited(first)) };
    let clean = first.src == 0 && first.off == 0 && *second == Insn { imm: second.imm, ..Insn::default() };
    if !clean {
        return Err(unsuited(first));
    }
    let [l0, l1, l2, l3] = first.imm.to_le_bytes();
    let [h0, h1, h2, h3] = second.imm.to_le_bytes();
    check(old, u64::from_le_bytes([l0, l1, l2, l3, h0, h1, h2, h3]))?;
    let [l0, l1, l2, l3, h0, h1, h2, h3] = new.value.to_le_bytes();
    first.imm = i32::from_le_bytes([l0, l1, l2, l3]);
    second.imm = i32::from_le_bytes([h0, h1, h2, h3]);
    Ok(())
}

/// The compiler must have put the object's own value there; anything else would be patched on a false belief.
fn check(old: &Value, present: u64) -> Result<()> {
    if old.validate && old.value != present {
        let text = format!("the instruction has {present:#x} where the object's types say {:#x}", old.value);
        return Err(Error::invalid(text));
    }
    Ok(())
}

/// Bits 3 and 4 of a load's or store's opcode are its width; the rest stays.
fn set_width(insn: &mut Insn, old: u64, new: u64) -> Result<()> {
    const MASK: u8 = 0x18;
    const WIDTHS: [(u64, u8); 4] = [(1, 0x10), (2, 0x08), (4, 0x00), (8, 0x18)];
    let bits = |size| WIDTHS.iter().find(|(width, _)| *width == size).map(|(_, bits)| *bits);
    match (bits(old), bits(new)) {
        (Some(old), Some(new)) if insn.code & MASK == old => insn.code = (insn.code & !MASK) | new,
        _ => return Err(Error::invalid(format!("a load of {old} bytes cannot become one of {new} bytes"))),
    }
    Ok(())
}

fn unsuited(insn: &Insn) -> Error {
    Error::invalid(format!("instruction {:#04x} cannot carry a CO-RE value", insn.code))
}

fn no_insn(at: usize) -> Error {
    Error::invalid(format!("no instruction at slot {at}"))
}
