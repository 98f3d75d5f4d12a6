//! Why a relocation found nothing in the kernel, for people.
//!
//! In: the access, the kernel's candidates and where the first of them stopped matching. Out:
//! [`FailedRelocation`]. It is kept for every poisoned instruction, and put into words only for those that the verifier
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

/// A relocation whose instruction was poisoned. Most of these are never reached, so that what the kernel has instead is
/// looked up only when somebody asks.
#[derive(Clone)]
pub struct FailedRelocation {
    /// The poisoned instruction, in slots from the start of the program.
    pub offset: InsnOffset,
    /// What was asked for.
    pub kind: RelocKind,
    /// The kernel's types that were looked at.
    pub candidates: Vec<TypeId>,
    pub(super) spec: Spec,
    /// String offset of the access string in `local`.
    pub(super) access_off: u32,
    pub(super) cause: Cause,
    pub(super) local: Btf,
    pub(super) target: Btf,
}

/// Where a relocation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// There is no candidate, or the first one stopped matching there.
    Miss(Option<Miss>),
    /// The load cannot be given the kernel's width: bytes in the object and in the kernel.
    Width { local: u64, target: u64 },
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

impl FailedRelocation {
    /// The object's type and field in C spelling with the access string, such as `struct file.f_mode (0:3)`.
    pub fn access(&self) -> String {
        access_text(&self.local, &self.spec, self.local.string(self.access_off).unwrap_or_default())
    }

    /// Why there is no answer.
    pub fn reason(&self) -> FailureReason {
        let miss = match self.cause {
            Cause::Width { local, target } => return FailureReason::Width { local, target },
            Cause::Miss(miss) => miss,
        };
        let theirs = |id| type_spelling(&self.target, id);
        match miss {
            None => FailureReason::NoType,
            Some(Miss::NoMember { parent, name_off }) => {
                let name = lossy(&self.local, name_off);
                let in_enum = self.target.type_by_id(parent).is_ok_and(|ty| ty.kind().is_enum());
                let parent = theirs(parent);
                match in_enum {
                    true => FailureReason::NoVariant { parent, name },
                    false => FailureReason::NoMember { parent, name },
                }
            }
            Some(Miss::Incompatible { local, target }) => {
                let local = type_spelling(&self.local, local);
                FailureReason::Incompatible { local, target: theirs(target) }
            }
            Some(Miss::NoElement { target, index }) => {
                FailureReason::NoElement { target: theirs(target), index }
            }
            Some(Miss::Unlike { .. }) => FailureReason::Unlike,
        }
    }

    /// Members (or variants) of the kernel's type with names like the missing one, nearest first.
    pub fn nearest(&self) -> Vec<String> {
        let Cause::Miss(Some(Miss::NoMember { parent, name_off })) = self.cause else { return Vec::new() };
        let name = lossy(&self.local, name_off);
        self.target.type_by_id(parent).map(|ty| nearest(&self.target, ty, &name)).unwrap_or_default()
    }
}

impl fmt::Display for FailedRelocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of `{}`: {}", self.kind.word(), self.access(), self.reason())?;
        let nearest = self.nearest();
        for (index, name) in nearest.iter().enumerate() {
            write!(f, "{}`{name}`", if index == 0 { " (nearest: " } else { ", " })?;
        }
        if nearest.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

impl fmt::Debug for FailedRelocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {}: {self}", self.offset.0)
    }
}

/// The same question with the same outcome; both are about the same types.
impl PartialEq for FailedRelocation {
    fn eq(&self, other: &Self) -> bool {
        let about = |it: &Self| (it.offset, it.kind, it.access_off, it.cause);
        about(self) == about(other) && self.spec == other.spec && self.candidates == other.candidates
    }
}

impl Eq for FailedRelocation {}

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
