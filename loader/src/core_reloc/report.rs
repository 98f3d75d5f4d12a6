//! Why a relocation found nothing in the kernel, for people.
//!
//! In: the access, the kernel's candidates and where the first of them stopped matching. Out:
//! [`FailedRelocation`]. It is made for every poisoned instruction and shown only for those that the verifier
//! reached.

use std::fmt;

use super::access::{RelocKind, Spec, type_spelling};
use super::matching::Miss;
use crate::btf::{Btf, MAX_DEPTH, Type, TypeId};
use crate::insn::InsnOffset;

/// Most member names that are compared, and most bytes of one.
const MAX_NAMES: usize = 2048;
const MAX_NAME_LEN: usize = 64;
/// How many near names a report lists.
const NEAREST: usize = 3;

/// A relocation whose instruction was poisoned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRelocation {
    /// The poisoned instruction, in slots from the start of the program.
    pub offset: InsnOffset,
    /// What was asked for.
    pub kind: RelocKind,
    /// The object's type and field in C spelling with the access string, such as `struct file.f_mode (0:3)`.
    pub access: String,
    /// Why there is no answer.
    pub reason: FailureReason,
    /// Members (or variants) of the kernel's type with names like the missing one, nearest first.
    pub nearest: Vec<String>,
    /// The kernel's types that were looked at.
    pub candidates: Vec<TypeId>,
}

/// Why a relocation has no value in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureReason {
    /// The kernel has no type of this name and kind.
    NoType,
    /// The kernel's type has no such member.
    NoMember {
        /// The kernel's type.
        parent: String,
        /// The missing name.
        name: String,
    },
    /// The kernel's enumeration has no such name.
    NoVariant {
        /// The kernel's enumeration.
        parent: String,
        /// The missing name.
        name: String,
    },
    /// The member exists, but is of another sort.
    Incompatible {
        /// Type in the object.
        local: String,
        /// Type in the kernel.
        target: String,
    },
    /// What is indexed is no array in the kernel, or a shorter one.
    NoElement {
        /// Type in the kernel.
        target: String,
        /// The index.
        index: u32,
    },
    /// The load cannot be given the kernel's width, because one side is signed or no integer.
    Width {
        /// Bytes in the object.
        local: u64,
        /// Bytes in the kernel.
        target: u64,
    },
    /// The types as a whole differ.
    Unlike,
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoType => f.write_str("the kernel has no such type"),
            Self::NoMember { parent, name } => write!(f, "`{parent}` of the kernel has no member `{name}`"),
            Self::NoVariant { parent, name } => write!(f, "`{parent}` of the kernel has no `{name}`"),
            Self::Incompatible { local, target } => {
                write!(f, "it is `{local}` in the object and `{target}` in the kernel")
            }
            Self::NoElement { target, index } => write!(f, "`{target}` of the kernel has no element {index}"),
            Self::Width { local, target } => {
                write!(
                    f,
                    "a load of {local} bytes cannot become one of {target} bytes without knowing the sign"
                )
            }
            Self::Unlike => f.write_str("the kernel's type differs"),
        }
    }
}

impl fmt::Display for FailedRelocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of `{}`: {}", self.kind.word(), self.access, self.reason)?;
        for (index, name) in self.nearest.iter().enumerate() {
            write!(f, "{}`{name}`", if index == 0 { " (nearest: " } else { ", " })?;
        }
        if self.nearest.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

/// The reason, and names near the missing one, for a candidate that stopped matching at `miss`.
pub(super) fn explain(local: &Btf, target: &Btf, miss: Option<Miss>) -> (FailureReason, Vec<String>) {
    let none = Vec::new();
    match miss {
        None => (FailureReason::NoType, none),
        Some(Miss::NoMember { parent, name_off }) => {
            let name = lossy(local, name_off);
            let ty = target.type_by_id(parent).ok();
            let nearest = ty.map(|ty| nearest(target, ty, &name)).unwrap_or_default();
            let parent = type_spelling(target, parent);
            match ty {
                Some(ty) if ty.kind().is_enum() => (FailureReason::NoVariant { parent, name }, nearest),
                _ => (FailureReason::NoMember { parent, name }, nearest),
            }
        }
        Some(Miss::Incompatible { local: a, target: b }) => {
            let (local, target) = (type_spelling(local, a), type_spelling(target, b));
            (FailureReason::Incompatible { local, target }, none)
        }
        Some(Miss::NoElement { target: id, index }) => {
            (FailureReason::NoElement { target: type_spelling(target, id), index }, none)
        }
        Some(Miss::Unlike { .. }) => (FailureReason::Unlike, none),
    }
}

/// `struct file.f_mode (0:3)`.
pub(super) fn access_text(local: &Btf, spec: &Spec, access: &str) -> String {
    format!("{} ({access})", spec.spelling(local))
}

fn lossy(btf: &Btf, name_off: u32) -> String {
    String::from_utf8_lossy(btf.string_bytes(name_off).unwrap_or_default()).into_owned()
}

fn nearest(btf: &Btf, ty: Type<'_>, name: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut left = MAX_NAMES;
    collect_names(btf, ty, MAX_DEPTH, &mut left, &mut names);
    let mut scored: Vec<(usize, String)> = names
        .into_iter()
        .map(|candidate| (distance(name.as_bytes(), candidate.as_bytes()), candidate))
        .filter(|(distance, candidate)| *distance * 2 <= name.len().max(candidate.len()))
        .collect();
    scored.sort_unstable();
    scored.truncate(NEAREST);
    scored.into_iter().map(|(_, name)| name).collect()
}

/// Names that an access could have meant, those inside of nameless members too.
fn collect_names(btf: &Btf, ty: Type<'_>, depth: u32, left: &mut usize, names: &mut Vec<String>) {
    let Some(depth) = depth.checked_sub(1) else { return };
    let members = ty.members().map(|member| (member.name_off, Some(member.type_id)));
    let variants = ty.enumerators().map(|variant| (variant.name_off, None));
    for (name_off, inner) in members.chain(variants) {
        let Some(rest) = left.checked_sub(1) else { return };
        *left = rest;
        if name_off != 0 {
            names.push(lossy(btf, name_off));
        } else if let Some(Ok(inner)) = inner.map(|id| btf.strip(id)) {
            collect_names(btf, inner, depth, left, names);
        }
    }
}

/// Edit distance of the first bytes of two names.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let b: Vec<u8> = b.iter().copied().take(MAX_NAME_LEN).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().take(MAX_NAME_LEN).enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(i + 1);
        for ((y, above), diagonal) in b.iter().zip(row.iter().skip(1)).zip(&row) {
            let left = next.last().copied().unwrap_or(0);
            next.push((diagonal + usize::from(x != y)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
