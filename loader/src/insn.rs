//! One BPF instruction slot, its byte form in both byte orders, and the opcodes that a loader must know.
//!
//! Sources: `include/uapi/linux/bpf.h`, `Documentation/bpf/standardization/instruction-set.rst`.

use crate::bytes::{Endian, array_at};
use crate::error::{Error, Result};

/// Size of one instruction slot in bytes; `ld_imm64` takes two slots.
pub const INSN_SIZE: usize = 8;

/// A position or distance counted in 8-byte instruction slots, never in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InsnOffset(pub usize);

impl InsnOffset {
    /// From a byte offset, which must be a multiple of [`INSN_SIZE`].
    ///
    /// # Errors
    /// `InvalidObject` for any other.
    pub fn from_bytes(offset: u64) -> Result<Self> {
        let offset =
            usize::try_from(offset).map_err(|_| Error::invalid("instruction offset does not fit"))?;
        if !offset.is_multiple_of(INSN_SIZE) {
            return Err(Error::invalid(format!("byte offset {offset} is not at an instruction")));
        }
        Ok(Self(offset / INSN_SIZE))
    }
}

/// Instruction classes: the low three bits of the opcode.
pub mod class {
    #![allow(missing_docs, reason = "the names of the instruction set document")]
    pub const LD: u8 = 0x00;
    pub const LDX: u8 = 0x01;
    pub const ST: u8 = 0x02;
    pub const STX: u8 = 0x03;
    pub const ALU: u8 = 0x04;
    pub const JMP: u8 = 0x05;
    pub const JMP32: u8 = 0x06;
    pub const ALU64: u8 = 0x07;
}

/// `ld_imm64`: a 64-bit constant in two slots.
pub const OP_LD_IMM64: u8 = 0x18;
/// `call`.
pub const OP_CALL: u8 = 0x85;
/// `exit`.
pub const OP_EXIT: u8 = 0x95;
/// Bit 3 of an ALU or jump opcode: the source is a register, not the immediate.
pub const SRC_REG: u8 = 0x08;

/// Meaning of `src_reg` in `ld_imm64`.
pub mod pseudo {
    /// `imm` is a map fd.
    pub const MAP_FD: u8 = 1;
    /// `imm` is a map fd, the second `imm` an offset into its only value.
    pub const MAP_VALUE: u8 = 2;
    /// `imm` is a BTF id of a kernel variable, the second `imm` a BTF object fd or 0.
    pub const BTF_ID: u8 = 3;
    /// `imm` is the distance, in slots, to a function of the same program.
    pub const FUNC: u8 = 4;
    /// In `call`: `imm` is the distance to a function of the same program.
    pub const CALL: u8 = 1;
    /// In `call`: `imm` is a BTF id of a kernel function, `off` an index into `fd_array`.
    pub const KFUNC_CALL: u8 = 2;
}

/// One 8-byte instruction slot, decoded. The fields are plain numbers; an instruction is only as valid as
/// the kernel's verifier says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Insn {
    /// Opcode.
    pub code: u8,
    /// Destination register, 0 to 15 (4 bits).
    pub dst: u8,
    /// Source register or pseudo value, 0 to 15 (4 bits).
    pub src: u8,
    /// Signed offset: bytes for memory accesses, slots for jumps.
    pub off: i16,
    /// Signed immediate.
    pub imm: i32,
}

impl Insn {
    /// Decodes the slot at `data[0..8]`. The two register nibbles are a C bit-field, so they swap places
    /// with the byte order.
    pub fn decode(data: [u8; INSN_SIZE], endian: Endian) -> Self {
        let [code, regs, o0, o1, i0, i1, i2, i3] = data;
        let (low, high) = (regs & 0x0f, regs >> 4);
        let (dst, src) = match endian {
            Endian::Little => (low, high),
            Endian::Big => (high, low),
        };
        let off = endian.u16([o0, o1]).cast_signed();
        let imm = endian.u32([i0, i1, i2, i3]).cast_signed();
        Self { code, dst, src, off, imm }
    }

    /// The inverse of [`Insn::decode`].
    pub fn encode(self, endian: Endian) -> [u8; INSN_SIZE] {
        let regs = match endian {
            Endian::Little => (self.dst & 0x0f) | (self.src << 4),
            Endian::Big => (self.src & 0x0f) | (self.dst << 4),
        };
        let [o0, o1] = endian.u16_bytes(self.off.cast_unsigned());
        let [i0, i1, i2, i3] = endian.u32_bytes(self.imm.cast_unsigned());
        [self.code, regs, o0, o1, i0, i1, i2, i3]
    }

    /// Decodes a whole function; its size must be a multiple of 8 bytes.
    ///
    /// # Errors
    /// `InvalidObject` for any other size.
    pub fn decode_all(data: &[u8], endian: Endian) -> Result<Vec<Self>> {
        if !data.len().is_multiple_of(INSN_SIZE) {
            return Err(Error::invalid(format!(
                "{} bytes of code are no multiple of {INSN_SIZE}",
                data.len()
            )));
        }
        (0..data.len()).step_by(INSN_SIZE).map(|at| Ok(Self::decode(array_at(data, at)?, endian))).collect()
    }

    /// The instruction class.
    pub fn class(self) -> u8 {
        self.code & 0x07
    }

    /// Whether this is the first slot of `ld_imm64`.
    pub fn is_ld_imm64(self) -> bool {
        self.code == OP_LD_IMM64
    }

    /// Whether this calls a function of the same object (as opposed to a helper or kernel function).
    pub fn is_pseudo_call(self) -> bool {
        self.code == OP_CALL && self.src == pseudo::CALL
    }

    /// Whether this is the first slot of an `ld_imm64` that loads the address of a function.
    pub fn is_pseudo_func(self) -> bool {
        self.is_ld_imm64() && self.src == pseudo::FUNC
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_and_encode_are_inverse_in_both_byte_orders() {
        let insn = Insn { code: OP_LD_IMM64, dst: 3, src: 1, off: -2, imm: -559_038_737 };
        for endian in [Endian::Little, Endian::Big] {
            assert_eq!(Insn::decode(insn.encode(endian), endian), insn);
        }
        assert_eq!(insn.encode(Endian::Little)[1], 0x13);
        assert_eq!(insn.encode(Endian::Big)[1], 0x31);
    }

    #[test]
    fn half_an_instruction_is_refused() {
        assert!(Insn::decode_all(&[0; 12], Endian::Little).is_err());
        assert!(InsnOffset::from_bytes(12).is_err());
        assert_eq!(InsnOffset::from_bytes(16).unwrap(), InsnOffset(2));
    }
}
