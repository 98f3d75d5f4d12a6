//! Linking: one program with all the functions it calls, as one list of instructions.
//!
//! In: an [`ObjectSpec`] and one of its programs. Out: [`LinkedProgram`]: the program's own instructions, then each
//! called function once, in the order in which the calls are found (depth first, as libbpf does), with calls and
//! callback addresses resolved. Function, line and CO-RE records move with their instructions. What is left open are maps,
//! data and externs: they need fds. Next: [`LinkedProgram::relocate`] adapts it to the target's types.
//!
//! The kernel takes one list per program, so a function that two programs call is copied into both.

mod relocate;

use std::collections::BTreeMap;

pub use relocate::{PoisonedInsn, RelocatedProgram, SourceLine};

use crate::btf::Btf;
use crate::btf::ext::{CoreRecord, FuncInfo, LineInfo};
use crate::error::{Error, ErrorKind, Result, ResultExt as _};
use crate::insn::{Insn, InsnOffset, OP_CALL, pseudo};
use crate::order::sort_by_number;
use crate::spec::{
    CodeSection, ExternKind, ExternSpec, Function, FunctionRef, Linkage, ObjectSpec, ProgramSpec,
    RelocTarget, Relocation,
};

/// Most instructions in a program (`BPF_COMPLEXITY_LIMIT_INSNS`, 5.2).
const MAX_INSNS: usize = 1_000_000;
/// Most functions in a program (`BPF_MAX_SUBPROGS`).
const MAX_FUNCTIONS: usize = 256;

/// A program that is complete but for maps, data, externs and the target's types.
#[derive(Clone, Debug)]
pub struct LinkedProgram {
    /// The program's name.
    pub name: String,
    /// The program, then the functions it calls.
    pub insns: Vec<Insn>,
    /// What is still symbolic: maps, data, jump tables and externs only. By offset.
    pub relocations: Vec<Relocation>,
    /// Where `switch` statements jump to.
    pub jump_tables: Vec<Vec<InsnOffset>>,
    /// Where functions start; empty if the types of any of them are not known, since the kernel wants all or none.
    pub func_info: Vec<FuncInfo>,
    /// Source lines, by offset, as far as they are known.
    pub source_lines: Vec<LineInfo>,
    /// Whether the kernel takes `source_lines`: it wants one at the start of every function, and `func_info`.
    pub has_all_lines: bool,
    /// CO-RE relocations, by offset.
    pub core: Vec<CoreRecord>,
    /// Name and first instruction of every function, the program itself first.
    pub functions: Vec<(String, InsnOffset)>,
    /// The object's types, which the records refer to.
    pub btf: Option<Btf>,
}

/// Links one program of `object`.
///
/// # Errors
/// `InvalidObject` for references that lead nowhere or to what is defined nowhere; `Limit` for a program that no kernel takes.
pub fn link(object: &ObjectSpec, program: &ProgramSpec) -> Result<LinkedProgram> {
    Linker::new(object).run(program).with_context(|| format!("link program `{}`", program.name))
}

struct Linker<'a> {
    object: &'a ObjectSpec,
    out: LinkedProgram,
    /// Functions that are in the program, and where.
    placed: BTreeMap<FunctionRef, InsnOffset>,
    has_func_info: bool,
    /// Entries of all jump tables so far.
    jump_entries: usize,
}

/// A function in the program whose calls are being resolved.
struct Frame<'a> {
    section: &'a CodeSection,
    at: FunctionRef,
    /// Where it is in the program.
    base: usize,
    len: usize,
    /// Next instruction to look at, in slots from the start of the function.
    next: usize,
}

impl<'a> Linker<'a> {
    fn new(object: &'a ObjectSpec) -> Self {
        let out = LinkedProgram {
            name: String::new(),
            insns: Vec::new(),
            relocations: Vec::new(),
            jump_tables: Vec::new(),
            func_info: Vec::new(),
            source_lines: Vec::new(),
            has_all_lines: true,
            core: Vec::new(),
            functions: Vec::new(),
            btf: object.btf.clone(),
        };
        Self { object, out, placed: BTreeMap::new(), has_func_info: true, jump_entries: 0 }
    }

    fn run(mut self, program: &ProgramSpec) -> Result<LinkedProgram> {
        self.out.name.clone_from(&program.name);
        let entry = self.append(program.function)?;
        self.follow(entry)?;
        if let Some(name) = &program.exception_callback {
            let callback = self.global_function(name)?;
            if !self.placed.contains_key(&callback) {
                let appended = self.append(callback)?;
                self.follow(appended)?;
            }
        }
        self.finish();
        Ok(self.out)
    }

    /// Appends all that a function of the program calls, and resolves the calls.
    fn follow(&mut self, first: Frame<'a>) -> Result<()> {
        // The frames are a stack of our own: its depth is bounded by the number of functions.
        let mut stack = vec![first];
        while let Some(frame) = stack.last_mut() {
            let Some((slot, callee)) = self.next_reference(frame)? else {
                stack.pop();
                continue;
            };
            let at = match self.placed.get(&callee) {
                Some(&at) => at,
                None => {
                    let appended = self.append(callee)?;
                    let at = InsnOffset(appended.base);
                    stack.push(appended);
                    at
                }
            };
            self.set_distance(slot, at)?;
        }
        Ok(())
    }

    /// The function that runs when the program throws. It must be global, since the verifier looks at it on its own.
    fn global_function(&self, name: &str) -> Result<FunctionRef> {
        let found = self.object.code().iter().find_map(|(&section, code)| {
            let named = |function: &&Function| function.name == name && function.linkage == Linkage::Global;
            code.functions.iter().find(named).map(|function| FunctionRef { section, offset: function.offset })
        });
        found.ok_or_else(|| {
            Error::invalid(format!("the exception callback `{name}` is no global function of the object"))
        })
    }

    /// Copies a function to the end of the program.
    fn append(&mut self, at: FunctionRef) -> Result<Frame<'a>> {
        let section = self.object.code().get(&at.section);
        let section =
            section.ok_or_else(|| Error::invalid(format!("section number {} is no code", at.section.0)))?;
        let function = section.function_at(at.offset).ok_or_else(|| {
            Error::invalid(format!("no function starts at instruction {} of `{}`", at.offset.0, section.name))
        })?;
        let body = section.body(function)?;
        let base = self.out.insns.len();
        if body.is_empty() {
            return Err(Error::invalid(format!("function `{}` has no instructions", function.name)));
        }
        if base + body.len() > MAX_INSNS || self.placed.len() >= MAX_FUNCTIONS {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("more than {MAX_INSNS} instructions or {MAX_FUNCTIONS} functions"),
            ));
        }
        self.out.insns.extend_from_slice(body);
        self.out.functions.push((function.name.clone(), InsnOffset(base)));
        self.placed.insert(at, InsnOffset(base));
        self.append_records(section, function, base);
        Ok(Frame { section, at, base, len: body.len(), next: 0 })
    }

    /// Takes the records of a function along.
    fn append_records(&mut self, section: &CodeSection, function: &Function, base: usize) {
        let (start, end) = (function.offset, InsnOffset(function.offset.0 + function.len));
        let moved = |offset: InsnOffset| InsnOffset(offset.0 - start.0 + base);
        let ext = &section.ext;

        let info = in_range(&ext.func_info, |record| record.offset, start, end);
        self.has_func_info &= info.first().is_some_and(|record| record.offset == start);
        // An alias brings a second record for the same instruction, which the kernel would refuse.
        let info = info.first().into_iter();
        self.out.func_info.extend(info.map(|record| FuncInfo { offset: moved(record.offset), ..*record }));

        let lines = in_range(&ext.line_info, |record| record.offset, start, end);
        self.out.has_all_lines &= lines.first().is_some_and(|record| record.offset == start);
        self.out
            .source_lines
            .extend(lines.iter().map(|record| LineInfo { offset: moved(record.offset), ..*record }));

        let core = in_range(&ext.core, |record| record.offset, start, end);
        self.out
            .core
            .extend(core.iter().map(|record| CoreRecord { offset: moved(record.offset), ..*record }));
    }

    /// The next instruction of the frame that refers to a function: its position in the program, and the
    /// function. Relocations on the way that refer to other things are taken over.
    fn next_reference(&mut self, frame: &mut Frame<'_>) -> Result<Option<(usize, FunctionRef)>> {
        while frame.next < frame.len {
            let slot = frame.base + frame.next;
            let source = InsnOffset(frame.at.offset.0 + frame.next);
            let Some(&insn) = self.out.insns.get(slot) else { break };
            frame.next += if insn.is_ld_imm64() { 2 } else { 1 };
            let target = find_relocation(frame.section, source);
            let callee = match target {
                Some(RelocTarget::Function { section, offset }) => FunctionRef { section, offset },
                Some(RelocTarget::FunctionAddress { section, offset }) => {
                    self.mark_function_address(slot);
                    FunctionRef { section, offset }
                }
                Some(target) => {
                    self.check_defined(target)?;
                    let target = match target {
                        RelocTarget::JumpTable { index } => self.append_jump_table(index, frame)?,
                        other => other,
                    };
                    self.out.relocations.push(Relocation { at: InsnOffset(slot), target });
                    continue;
                }
                None => match local_reference(insn, frame.at, source)? {
                    Some(callee) => callee,
                    None => continue,
                },
            };
            return Ok(Some((slot, callee)));
        }
        Ok(None)
    }

    /// Takes over a table that the function of `frame` uses; the kernel wants to know where the targets are in the program.
    fn append_jump_table(&mut self, index: usize, frame: &Frame<'_>) -> Result<RelocTarget> {
        let entries = self.object.jump_tables().get(index);
        let entries = entries.ok_or_else(|| Error::invalid("a reference to no jump table"))?;
        self.jump_entries = self.jump_entries.saturating_add(entries.len());
        if self.jump_entries > MAX_INSNS {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("jump tables of more than {MAX_INSNS} entries"),
            ));
        }
        let moved = |&bytes: &u64| {
            let inside = InsnOffset::from_bytes(bytes).ok()?.0.checked_sub(frame.at.offset.0)?;
            (inside < frame.len).then_some(InsnOffset(frame.base + inside))
        };
        let table: Option<Vec<InsnOffset>> = entries.iter().map(moved).collect();
        let table = table.ok_or_else(|| Error::invalid("a jump table that leads out of its function"))?;
        self.out.jump_tables.push(table);
        Ok(RelocTarget::JumpTable { index: self.out.jump_tables.len() - 1 })
    }

    fn check_defined(&self, target: RelocTarget) -> Result<()> {
        let RelocTarget::Extern { index } = target else { return Ok(()) };
        match self.object.externs.get(index) {
            Some(ExternSpec { kind: ExternKind::Undefined, name, .. }) => Err(Error::invalid(format!(
                "`{name}` is defined nowhere, and is no extern of .ksyms or .kconfig"
            ))),
            _ => Ok(()),
        }
    }

    fn mark_function_address(&mut self, slot: usize) {
        if let Some(insn) = self.out.insns.get_mut(slot) {
            insn.src = pseudo::FUNC;
        }
        if let Some(second) = self.out.insns.get_mut(slot + 1) {
            second.imm = 0;
        }
    }

    /// Both `call` and the address of a function count from the instruction after their first slot.
    fn set_distance(&mut self, slot: usize, callee: InsnOffset) -> Result<()> {
        let distance = i32::try_from(callee.0)
            .ok()
            .zip(i32::try_from(slot).ok())
            .and_then(|(callee, slot)| callee.checked_sub(slot)?.checked_sub(1));
        match (self.out.insns.get_mut(slot), distance) {
            (Some(insn), Some(distance)) => {
                insn.imm = distance;
                Ok(())
            }
            _ => Err(Error::invalid("a function is too far away")),
        }
    }

    fn finish(&mut self) {
        if !self.has_func_info {
            self.out.func_info.clear();
        }
        self.out.has_all_lines &= self.has_func_info;
        // Callees are looked into before the caller's next instruction, so these came interleaved.
        sort_by_number(&mut self.out.relocations, |relocation| relocation.at.0 as u64);
    }
}

/// A reference that needs no relocation, because the assembler knew the distance: between functions of one section.
fn local_reference(insn: Insn, at: FunctionRef, source: InsnOffset) -> Result<Option<FunctionRef>> {
    if insn.is_ld_imm64() && !matches!(insn.src, 0 | pseudo::FUNC) {
        return Err(Error::invalid(format!(
            "instruction {} has a number of this machine in it (pseudo source {})",
            source.0, insn.src
        )));
    }
    if insn.code == OP_CALL && !matches!(insn.src, 0 | pseudo::CALL) {
        return Err(Error::invalid(format!("instruction {} calls by pseudo source {}", source.0, insn.src)));
    }
    if !insn.is_pseudo_call() && !insn.is_pseudo_func() {
        return Ok(None);
    }
    let distance = isize::try_from(i64::from(insn.imm) + 1).unwrap_or(isize::MIN);
    let offset = source.0.checked_add_signed(distance);
    let offset = offset.ok_or_else(|| {
        Error::invalid(format!("instruction {} refers to a place before its section", source.0))
    })?;
    Ok(Some(FunctionRef { section: at.section, offset: InsnOffset(offset) }))
}

fn find_relocation(section: &CodeSection, at: InsnOffset) -> Option<RelocTarget> {
    let index = section.relocations.binary_search_by_key(&at, |relocation| relocation.at).ok()?;
    section.relocations.get(index).map(|relocation| relocation.target)
}

/// The records of a list, sorted by offset, from `start` up to `end`.
fn in_range<T>(records: &[T], offset: impl Fn(&T) -> InsnOffset, start: InsnOffset, end: InsnOffset) -> &[T] {
    let first = records.partition_point(|record| offset(record) < start);
    let last = records.partition_point(|record| offset(record) < end);
    records.get(first..last).unwrap_or_default()
}
