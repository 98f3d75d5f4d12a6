//! The step from a linked to a relocated program: its CO-RE records are applied and used up.
//!
//! In: a [`LinkedProgram`], by value, and the [`CoreResolver`] of its object and target. Out:
//! [`RelocatedProgram`], with a [`PoisonedInsn`] for each instruction that the target has no answer for. Those are
//! no error yet: a program that checks for a field before it reads it never reaches the other read.

use super::LinkedProgram;
use crate::btf::Btf;
use crate::btf::ext::{FuncInfo, LineInfo};
use crate::core_reloc::{CoreResolver, FailedRelocation, Outcome};
use crate::error::{Error, Result, ResultExt as _};
use crate::insn::{Insn, InsnOffset};
use crate::spec::Relocation;

/// A program that fits the target's types, and lacks nothing but fds.
#[derive(Clone, Debug)]
pub struct RelocatedProgram {
    /// The program's name.
    pub name: String,
    /// The program, then the functions it calls.
    pub insns: Vec<Insn>,
    /// What is still symbolic: maps, data, jump tables and externs only. By offset.
    pub relocations: Vec<Relocation>,
    /// Where `switch` statements jump to.
    pub jump_tables: Vec<Vec<InsnOffset>>,
    /// Where functions start; all functions or none.
    pub func_info: Vec<FuncInfo>,
    /// Source lines; empty without `func_info`.
    pub line_info: Vec<LineInfo>,
    /// Name and first instruction of every function, the program itself first.
    pub functions: Vec<(String, InsnOffset)>,
    /// Instructions that the verifier will reject if they can be reached, by offset.
    pub poisoned: Vec<PoisonedInsn>,
}

/// An instruction whose CO-RE relocation found nothing in the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoisonedInsn {
    /// Slots from the start of the program.
    pub at: InsnOffset,
    /// The function it is in.
    pub function: String,
    /// What was looked for, and why it was not found.
    pub failure: FailedRelocation,
    /// The source line, if the object has line records.
    pub source: Option<SourceLine>,
}

/// A line of the C source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// The file, as the compiler was given it.
    pub file: String,
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1; 0 if it is not known.
    pub column: u32,
    /// The line itself, without the space around it; empty if the compiler could not read it.
    pub text: String,
}

impl LinkedProgram {
    /// Applies all CO-RE relocations. An error means a broken object or an ambiguous target; what the target simply
    /// does not have is in [`RelocatedProgram::poisoned`].
    pub fn relocate(mut self, resolver: &mut CoreResolver) -> Result<RelocatedProgram> {
        let mut poisoned = Vec::new();
        let records = std::mem::take(&mut self.core);
        for record in &records {
            let outcome = resolver
                .relocate(record, &mut self.insns)
                .with_context(|| format!("relocate program `{}`", self.name))?;
            if let Outcome::Poisoned(failure) = outcome {
                poisoned.push(self.poisoned(record.offset, *failure));
            }
        }
        Ok(self.relocated(poisoned))
    }

    /// For a target without BTF: refused (kind `NotSupported`) if the program has CO-RE relocations.
    pub fn relocate_without_types(self) -> Result<RelocatedProgram> {
        if !self.core.is_empty() {
            let error = Error::not_supported("BTF, which CO-RE relocations need", "5.2");
            return Err(error.context(format!("relocate program `{}`", self.name)));
        }
        Ok(self.relocated(Vec::new()))
    }

    /// The source line of the instruction at `at`: that of the last record at or before it.
    pub fn source_line(&self, at: InsnOffset) -> Option<SourceLine> {
        source_line(self.btf.as_ref()?, &self.source_lines, at)
    }

    fn poisoned(&self, at: InsnOffset, failure: FailedRelocation) -> PoisonedInsn {
        let after = self.functions.partition_point(|&(_, start)| start <= at);
        let function = after.checked_sub(1).and_then(|index| self.functions.get(index));
        let function = function.map(|(name, _)| name.clone()).unwrap_or_default();
        PoisonedInsn { at, function, failure, source: self.source_line(at) }
    }

    fn relocated(self, poisoned: Vec<PoisonedInsn>) -> RelocatedProgram {
        let line_info = if self.has_all_lines { self.source_lines } else { Vec::new() };
        RelocatedProgram {
            name: self.name,
            insns: self.insns,
            relocations: self.relocations,
            jump_tables: self.jump_tables,
            func_info: self.func_info,
            line_info,
            functions: self.functions,
            poisoned,
        }
    }
}

fn source_line(btf: &Btf, lines: &[LineInfo], at: InsnOffset) -> Option<SourceLine> {
    let after = lines.partition_point(|line| line.offset <= at);
    let record = lines.get(after.checked_sub(1)?)?;
    let text =
        |offset| btf.string_bytes(offset).map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
    Some(SourceLine {
        file: text(record.file_name_off).ok()?,
        line: record.line_col >> 10,
        column: record.line_col & 0x3ff,
        text: text(record.line_off).ok()?,
    })
}
