//! Symbolic references in instructions become fds, offsets, addresses and ids.
//!
//! In: a relocated program, the maps that exist now, the kernel's types and symbols. Out: its final instructions, and the
//! modules whose functions it calls. A reference is a `ld_imm64` (the first slot says what is meant in `src` and
//! which one in `imm`, the second has the rest) or, for functions of the kernel, a `call`.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::externs::{Externs, Resolved};
use super::target::KernelTypes;
use crate::core_reloc::KernelType;
use crate::error::{Error, Result, ResultExt};
use crate::insn::{Insn, OP_CALL, OP_LD_IMM64, pseudo};
use crate::linker::RelocatedProgram;
use crate::map::Map;
use crate::spec::map::map_type;
use crate::spec::{ObjectSpec, RelocTarget, Relocation, kconfig};

/// Marks a reference to a map that was not created: a call of a helper that does not exist. Harmless in code
/// that the verifier finds dead, and recognisable in its log. The number is libbpf's, plus the map's index.
pub(super) const POISON_MAP: i32 = 2_001_000_000;

/// Likewise for calls of a kernel function that this kernel lacks, plus the extern's index.
pub(super) const POISON_FUNCTION: i32 = 2_002_000_000;

/// What references are resolved with.
pub(super) struct Fixup<'a> {
    pub(super) spec: &'a ObjectSpec,
    pub(super) maps: &'a BTreeMap<String, Map>,
    /// Maps that were to be created and could not be.
    pub(super) failed: &'a BTreeMap<String, Error>,
    pub(super) externs: &'a mut Externs,
    pub(super) types: &'a mut KernelTypes,
    /// Where the variables of the arena begin, in bytes from its start.
    pub(super) arena_variables: u32,
    /// What stands for the privilege.
    pub(super) token: Option<BorrowedFd<'a>>,
    /// The maps that jump tables became, which must stay open until the program is loaded.
    pub(super) jump_tables: Vec<Map>,
    /// Modules whose functions are called; `call` has the position plus 1 in `off`.
    pub(super) modules: Vec<KernelType>,
}

impl Fixup<'_> {
    /// The instructions of `program` with every reference filled in.
    pub(super) fn apply(&mut self, program: &RelocatedProgram) -> Result<Vec<Insn>> {
        let mut insns = program.insns.clone();
        for relocation in &program.relocations {
            self.patch(program, relocation, &mut insns)
                .with_context(|| format!("relocate instruction {}", relocation.at.0))?;
        }
        Ok(insns)
    }

    fn patch(
        &mut self,
        program: &RelocatedProgram,
        relocation: &Relocation,
        insns: &mut [Insn],
    ) -> Result<()> {
        let outside = || Error::invalid("a relocation outside of the program");
        let rest = insns.get_mut(relocation.at.0..).ok_or_else(outside)?;
        match (relocation.target, rest) {
            (RelocTarget::Function { .. } | RelocTarget::FunctionAddress { .. }, _) => Ok(()),
            (RelocTarget::Extern { index }, [call, ..]) if call.code == OP_CALL => self.call(index, call),
            (target, [first, second, ..]) if first.is_ld_imm64() => match target {
                RelocTarget::Map { index } => self.map(index, None, first, second),
                RelocTarget::Data { map, offset } => self.map(map, Some(offset), first, second),
                RelocTarget::Extern { index } => self.load(index, first, second),
                RelocTarget::JumpTable { index } => self.jump_table(program, index, first),
                _ => Ok(()),
            },
            (_, []) => Err(outside()),
            (_, [insn, ..]) => Err(Error::invalid(format!("opcode {:#04x} cannot refer to this", insn.code))),
        }
    }

    fn map(&self, index: usize, offset: Option<u32>, first: &mut Insn, second: &mut Insn) -> Result<()> {
        let declared = self.spec.maps.get(index).ok_or_else(|| Error::invalid("a reference to no map"))?;
        self.check_created(&declared.name)?;
        let Some(map) = self.maps.get(&declared.name) else {
            let call = poison(POISON_MAP, index);
            (*first, *second) = (call, call);
            return Ok(());
        };
        first.imm = map.as_fd().as_raw_fd();
        first.src = if offset.is_some() { pseudo::MAP_VALUE } else { pseudo::MAP_FD };
        let start = if declared.map_type == map_type::ARENA { self.arena_variables } else { 0 };
        second.imm = offset.map_or(0, |offset| start.wrapping_add(offset)).cast_signed();
        Ok(())
    }

    /// The reason, if the map was to be created and could not be.
    fn check_created(&self, name: &str) -> Result<()> {
        self.failed.get(name).map_or(Ok(()), |error| Err(Error::new(error.kind(), error.to_string())))
    }

    /// `ld_imm64` of a jump table, which becomes a map; the instruction that jumps finds the target in it.
    fn jump_table(&mut self, program: &RelocatedProgram, index: usize, first: &mut Insn) -> Result<()> {
        let targets =
            program.jump_tables.get(index).ok_or_else(|| Error::invalid("a reference to no table"))?;
        let map = super::map::jump_table(targets, self.token).context("make its jump table")?;
        first.src = pseudo::MAP_VALUE;
        first.imm = map.as_fd().as_raw_fd();
        self.jump_tables.push(map);
        Ok(())
    }

    /// `ld_imm64` of an extern.
    fn load(&mut self, index: usize, first: &mut Insn, second: &mut Insn) -> Result<()> {
        let dst = first.dst;
        let (src, low, high) = match self.externs.resolve(self.spec, index, self.types)? {
            Resolved::Kconfig { offset } => {
                self.check_created(kconfig::SECTION)?;
                let map = self.maps.get(kconfig::SECTION);
                let map = map.ok_or_else(|| Error::invalid("the map `.kconfig` was not created"))?;
                (pseudo::MAP_VALUE, map.as_fd().as_raw_fd(), offset.cast_signed())
            }
            Resolved::Address(address) => {
                let [low, high] = [address, address >> 32].map(|half| half & u64::from(u32::MAX));
                let half = |half| u32::try_from(half).unwrap_or(0).cast_signed();
                (0, half(low), half(high))
            }
            Resolved::Type(found) => {
                let object = self.types.module_object(found)?.map_or(0, |object| object.as_raw_fd());
                (pseudo::BTF_ID, found.id.0.cast_signed(), object)
            }
            Resolved::Absent => (0, 0, 0),
        };
        *first = Insn { code: OP_LD_IMM64, dst, src, off: 0, imm: low };
        *second = Insn { imm: high, ..Insn::default() };
        Ok(())
    }

    /// `call` of an extern.
    fn call(&mut self, index: usize, call: &mut Insn) -> Result<()> {
        *call = match self.externs.resolve(self.spec, index, self.types)? {
            Resolved::Type(found) => Insn {
                code: OP_CALL,
                src: pseudo::KFUNC_CALL,
                off: self.module_number(found)?,
                imm: found.id.0.cast_signed(),
                ..Insn::default()
            },
            Resolved::Absent => poison(POISON_FUNCTION, index),
            Resolved::Kconfig { .. } | Resolved::Address(_) => {
                return Err(Error::invalid("a call of something that is no function"));
            }
        };
        Ok(())
    }

    /// 0 for the kernel itself, else the place of the module in the list of this program.
    fn module_number(&mut self, found: KernelType) -> Result<i16> {
        if found.blob == 0 {
            return Ok(0);
        }
        let known = self.modules.iter().position(|module| module.blob == found.blob);
        let at = known.unwrap_or(self.modules.len());
        if known.is_none() {
            self.modules.push(found);
        }
        i16::try_from(at + 1).map_err(|_| Error::invalid("calls of functions of too many modules"))
    }
}

fn poison(base: i32, index: usize) -> Insn {
    Insn { code: OP_CALL, imm: base.saturating_add(i32::try_from(index).unwrap_or(0)), ..Insn::default() }
}
