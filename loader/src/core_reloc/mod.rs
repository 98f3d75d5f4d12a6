//! CO-RE: compile once, run everywhere. Fits an object's instructions to the kernel's struct layouts.
//!
//! In: the object's BTF, the kernel's BTF and the records of `.BTF.ext`. Out: patched instructions, and for each
//! instruction that the kernel has no answer for, a poisoned one and the reason. The semantics are those of
//! libbpf and the kernel's `relo_core.c`. One relocation goes through the files in this order:
//! `access` (what is meant) -> `matching` (where the kernel has it) -> `value` (as a number) -> `patch`;
//! `report` explains failures. A new relocation kind starts in [`RelocKind`].

mod access;
mod matching;
mod patch;
mod report;
mod value;

use std::collections::HashMap;

use access::Spec;
pub use access::{RelocKind, type_spelling};
use matching::{Budget, Matcher, Miss, same_kind};
pub use patch::POISON_HELPER;
use patch::Patched;
use report::Cause;
pub use report::{FailedRelocation, FailureReason};
use value::{Value, value};

use crate::btf::ext::CoreRecord;
use crate::btf::wanted::essential_name;
use crate::btf::{Btf, Kind, TypeId, WantedIds, WantedSet};
use crate::error::{Error, Result, ResultExt};
use crate::insn::Insn;

/// Relocates the programs of one object against one kernel.
#[derive(Debug)]
pub struct CoreResolver {
    local: Btf,
    wanted: WantedSet,
    /// The kernel itself, then its modules as far as they were added.
    blobs: Vec<Blob>,
    /// Candidates of each local root type. Shared by all programs: a candidate that did not match once, while
    /// another did, is out for good.
    candidates: HashMap<TypeId, Vec<KernelType>>,
    budget: Budget,
}

/// One blob of the kernel, and what was found in it.
#[derive(Debug)]
struct Blob {
    btf: Btf,
    ids: WantedIds,
}

/// A type of the kernel, and which of the resolver's blobs has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelType {
    /// Its id in that blob.
    pub id: TypeId,
    /// 0 is the kernel itself, n the n-th module that was added.
    pub blob: usize,
}

/// What a relocation did to its instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The instruction has the kernel's value.
    Patched,
    /// The kernel has no value: the instruction is now one that the verifier rejects if it can be reached.
    Poisoned(Box<FailedRelocation>),
}

impl CoreResolver {
    /// Collects the names of all `records` (of every program that may be loaded) and of `extra`, and looks them
    /// all up in `target` in one pass. Records with a broken type are reported by [`CoreResolver::relocate`].
    ///
    /// # Errors
    /// `InvalidObject` when the target's types are damaged.
    pub fn new<'r>(
        local: &Btf,
        target: &Btf,
        records: impl IntoIterator<Item = &'r CoreRecord>,
        extra: &[(&str, Kind)],
    ) -> Result<Self> {
        let mut wanted = WantedSet::new();
        let mut functions = false;
        for record in records {
            let Ok(ty) = local.type_by_id(record.type_id) else { continue };
            if let Ok(name) = ty.name_bytes() {
                wanted.insert_bytes(essential_name(name));
                functions |= ty.kind() == Kind::Func;
            }
        }
        for (name, kind) in extra {
            wanted.insert(name);
            functions |= *kind == Kind::Func;
        }
        if !functions {
            wanted.leave_out_functions();
        }
        let ids = target.wanted(&wanted).context("look up types in the kernel's BTF")?;
        let blobs = vec![Blob { btf: target.clone(), ids }];
        let (local, candidates) = (local.clone(), HashMap::new());
        Ok(Self { local, wanted, blobs, candidates, budget: Budget::default() })
    }

    /// Whether some name, apart from those of `kernel_only`, was not found in any blob so far, so that it is worth looking into
    /// modules.
    pub fn lacks_names(&self, kernel_only: &[&str]) -> bool {
        self.wanted.names().filter(|name| !kernel_only.iter().any(|other| other.as_bytes() == *name)).any(
            |name| {
                !name.is_empty()
                    && self.blobs.iter().all(|blob| blob.ids.essential_bytes(name).next().is_none())
            },
        )
    }

    /// Whether the kernel itself has a function of that name; none if nobody wanted to know when this was made.
    pub fn has_function(&self, name: &str) -> Option<bool> {
        self.wanted.contains_function(name).then(|| self.find(name, Kind::Func).is_some())
    }

    /// Looks into a kernel module too; `module` is split BTF on the kernel's own. Its types count only for names
    /// that the kernel itself does not have. Returns the number that [`KernelType::blob`] has for it.
    ///
    /// # Errors
    /// `InvalidObject` when the module's types are damaged.
    pub fn add_module(&mut self, module: &Btf) -> Result<usize> {
        let ids = module.wanted_own(&self.wanted).context("look up types in a module's BTF")?;
        self.blobs.push(Blob { btf: module.clone(), ids });
        self.candidates.clear();
        Ok(self.blobs.len() - 1)
    }

    /// A type of the kernel itself by its exact name, if it was among the names given to [`CoreResolver::new`].
    pub fn find(&self, name: &str, kind: Kind) -> Option<TypeId> {
        self.blobs.first()?.ids.find(name, kind)
    }

    /// As [`CoreResolver::find`], in the kernel itself first, then in the modules.
    pub fn find_anywhere(&self, name: &str, kind: Kind) -> Option<KernelType> {
        (0..self.blobs.len()).find_map(|blob| self.find_in(blob, name, kind))
    }

    /// As [`CoreResolver::find_anywhere`], in one blob only.
    pub fn find_in(&self, blob: usize, name: &str, kind: Kind) -> Option<KernelType> {
        let id = self.blobs.get(blob)?.ids.find(name, kind)?;
        Some(KernelType { id, blob })
    }

    /// The blob that has a type.
    pub fn btf_of(&self, found: KernelType) -> Option<&Btf> {
        self.blobs.get(found.blob).map(|blob| &blob.btf)
    }

    /// The kernel's variable (`Kind::Var`) or function (`Kind::Func`) of that name, whose type must be like
    /// `declared`, the type of the object's variable or the prototype of its function. Kind `Incompatible` if
    /// there is one, but of another type.
    pub fn find_symbol(&mut self, name: &str, kind: Kind, declared: TypeId) -> Result<Option<KernelType>> {
        let Some(found) = self.find_anywhere(name, kind) else { return Ok(None) };
        let Some(blob) = self.blobs.get(found.blob) else { return Ok(None) };
        let symbol = blob.btf.type_by_id(found.id)?;
        let target = symbol.target().unwrap_or_default();
        let mut matcher = Matcher { local: &self.local, target: &blob.btf, budget: &mut self.budget };
        if matcher.symbols_compatible(declared, target)? {
            return Ok(Some(found));
        }
        let (ours, theirs) = (type_spelling(&self.local, declared), type_spelling(&blob.btf, target));
        Err(Error::incompatible(format!(
            "`{name}` is declared as `{ours}`, and is `{theirs}` in the kernel, which does not fit"
        )))
    }

    /// Relocates one instruction of a program; the record's offset counts from the start of `insns`. An error
    /// means that the object or the kernel's BTF is broken, or that the kernel has several types of the name which
    /// disagree (kind `Incompatible`).
    pub fn relocate(&mut self, record: &CoreRecord, insns: &mut [Insn]) -> Result<Outcome> {
        let kind = RelocKind::from_raw(record.kind)?;
        let local = self.local.clone();
        let at = record.offset.0;
        let access = local.string(record.access_off)?;
        let spec = Spec::local(&local, record.type_id, access, kind)
            .with_context(|| format!("CO-RE relocation at instruction {at} ({})", kind.word()))?;
        self.relocate_spec(record, &spec, kind, insns).with_context(|| {
            format!("CO-RE {} of `{}`", kind.word(), report::access_text(&local, &spec, access))
        })
    }

    fn relocate_spec(
        &mut self,
        record: &CoreRecord,
        spec: &Spec,
        kind: RelocKind,
        insns: &mut [Insn],
    ) -> Result<Outcome> {
        let at = record.offset.0;
        let old = value(&self.local, spec, kind, self.local.endian())?;
        if kind == RelocKind::TypeIdLocal {
            patch::patch(insns, at, &old, &old, (&self.local, &self.local))?;
            return Ok(Outcome::Patched);
        }
        let candidates = self.candidates_of(record.type_id)?;
        let (new, miss) = match self.decide(record.type_id, spec, kind, &candidates)? {
            Ok(new) => (Some(new), None),
            Err(miss) => (missing_value(kind).map(|value| (value, 0)), miss),
        };
        if let Some((new, blob)) = new {
            match patch::patch(insns, at, &old, &new, (&self.local, self.blob(blob)?))? {
                Patched::Done => return Ok(Outcome::Patched),
                Patched::Width { local, target } => {
                    patch::poison(insns, at)?;
                    return self.failed(
                        record,
                        spec,
                        kind,
                        (Cause::Width { local, target }, blob),
                        &candidates,
                    );
                }
            }
        }
        patch::poison(insns, at)?;
        let blob = miss.map_or(0, |(_, blob)| blob);
        self.failed(record, spec, kind, (Cause::Miss(miss.map(|(miss, _)| miss)), blob), &candidates)
    }

    fn blob(&self, blob: usize) -> Result<&Btf> {
        let blob = self.blobs.get(blob).or(self.blobs.first());
        blob.map(|blob| &blob.btf).ok_or_else(|| Error::invalid("the resolver has no target"))
    }

    fn failed(
        &self,
        record: &CoreRecord,
        spec: &Spec,
        kind: RelocKind,
        (cause, blob): (Cause, usize),
        candidates: &[KernelType],
    ) -> Result<Outcome> {
        Ok(Outcome::Poisoned(Box::new(FailedRelocation {
            offset: record.offset,
            kind,
            candidates: candidates.iter().map(|candidate| candidate.id).collect(),
            spec: spec.clone(),
            access_off: record.access_off,
            cause,
            local: self.local.clone(),
            target: self.blob(blob)?.clone(),
        })))
    }

    /// Types of the kernel with the same essential name and kind as the local root; those of modules only if the
    /// kernel itself has none.
    fn candidates_of(&mut self, root: TypeId) -> Result<Vec<KernelType>> {
        if let Some(known) = self.candidates.get(&root) {
            return Ok(known.clone());
        }
        let ty = self.local.type_by_id(root)?;
        let name = essential_name(ty.name_bytes()?);
        if name.is_empty() {
            return Err(Error::incompatible(format!("the root is a nameless {}", ty.kind().word())));
        }
        let of = |(number, blob): (usize, &Blob)| -> Vec<KernelType> {
            let hits = blob.ids.essential_bytes(name).filter(|hit| same_kind(ty.kind(), hit.kind));
            hits.map(|hit| KernelType { id: hit.id, blob: number }).collect()
        };
        let mut found = self.blobs.iter().enumerate().take(1).flat_map(of).collect::<Vec<_>>();
        if found.is_empty() {
            found = self.blobs.iter().enumerate().skip(1).flat_map(of).collect();
        }
        self.candidates.insert(root, found.clone());
        Ok(found)
    }

    /// The one value that all matching candidates agree on, and the blob of the first; if none matches, where the
    /// first one stopped.
    #[expect(clippy::type_complexity, reason = "a value or a miss, each with its blob")]
    fn decide(
        &mut self,
        root: TypeId,
        spec: &Spec,
        kind: RelocKind,
        candidates: &[KernelType],
    ) -> Result<Result<(Value, usize), Option<(Miss, usize)>>> {
        let mut agreed: Option<(Value, u64, KernelType)> = None;
        let mut first_miss = None;
        let mut matching = Vec::new();
        for &candidate in candidates {
            let Some(target) = self.blobs.get(candidate.blob).map(|blob| &blob.btf) else { continue };
            let mut matcher = Matcher { local: &self.local, target, budget: &mut self.budget };
            let found = match matcher.candidate(spec, candidate.id, kind)? {
                Ok(found) => found,
                Err(miss) => {
                    first_miss = first_miss.or(Some((miss, candidate.blob)));
                    continue;
                }
            };
            let new = value(target, &found, kind, self.local.endian())?;
            matching.push(candidate);
            match agreed {
                None => agreed = Some((new, found.bit_offset, candidate)),
                Some((value, bit_offset, _))
                    if value.value == new.value && bit_offset == found.bit_offset => {}
                Some((value, bits, other)) => {
                    let (first, second) =
                        ((value.value, bits, other.id), (new.value, found.bit_offset, candidate.id));
                    return Err(ambiguous(first, second));
                }
            }
        }
        if !matching.is_empty() {
            self.candidates.insert(root, matching);
        }
        Ok(agreed.map(|(value, _, candidate)| (value, candidate.blob)).ok_or(first_miss))
    }
}

fn ambiguous(first: (u64, u64, TypeId), second: (u64, u64, TypeId)) -> Error {
    Error::incompatible(format!(
        "ambiguous: the kernel's type {} has {} at bit {}, its type {} of the same name has {} at bit {}",
        first.2.0, first.0, first.1, second.2.0, second.0, second.1
    ))
}

/// What a record asks for, in the object's own words: the kind, and the access in C spelling with the access string,
/// such as `struct file.f_mode (0:3)`. Needs no target.
///
/// # Errors
/// `InvalidObject` for a record that the object's types do not fit.
pub fn describe(local: &Btf, record: &CoreRecord) -> Result<(RelocKind, String)> {
    let kind = RelocKind::from_raw(record.kind)?;
    let access = local.string(record.access_off)?;
    let spec = Spec::local(local, record.type_id, access, kind)?;
    Ok((kind, report::access_text(local, &spec, access)))
}

/// The answer when the kernel has nothing: "no" and "no such type" are answers, other questions have none.
fn missing_value(kind: RelocKind) -> Option<Value> {
    use RelocKind::*;
    let answer =
        matches!(kind, FieldExists | TypeExists | TypeMatches | EnumValueExists | TypeIdTarget | TypeSize);
    answer.then_some(Value { value: 0, load: None, validate: true })
}
