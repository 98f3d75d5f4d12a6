//! Many names in one pass over a blob.
//!
//! In: the names an object cares about (roots of CO-RE relocations, attach targets, kernel variables). Out: for
//! each name the types that carry it, also under a flavour (`task_struct___v2` for `task_struct`). Looking the
//! names up one by one would walk a hundred thousand types for each of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Btf, Indexer, Kind, TypeId};
use crate::error::Result;

/// Names to look for.
#[derive(Clone, Debug, Default)]
pub struct WantedSet {
    names: BTreeSet<Vec<u8>>,
    no_functions: bool,
}

/// What was found: for each wanted name the types that carry it, in the order of their ids.
#[derive(Clone, Debug, Default)]
pub struct WantedIds {
    hits: BTreeMap<Vec<u8>, Vec<Hit>>,
}

/// A type that carries a wanted name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Its kind.
    pub kind: Kind,
    /// Its id.
    pub id: TypeId,
    /// Whether its name is the wanted one followed by a flavour.
    pub flavoured: bool,
}

impl WantedSet {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a name; the empty name is never found.
    pub fn insert(&mut self, name: &str) {
        self.insert_bytes(name.as_bytes());
    }

    /// As [`WantedSet::insert`], for a name that nobody checked to be UTF-8.
    pub fn insert_bytes(&mut self, name: &[u8]) {
        self.names.insert(name.to_vec());
    }

    /// Leaves functions out, whatever their names: half of all types of a kernel need not be looked at then.
    pub fn leave_out_functions(&mut self) {
        self.no_functions = true;
    }

    /// Whether a function of that name is looked for.
    pub fn contains_function(&self, name: &str) -> bool {
        !self.no_functions && self.contains(name)
    }

    /// Whether that name is looked for.
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains(name.as_bytes())
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.names.iter().map(Vec::as_slice)
    }
}

impl WantedIds {
    /// Types whose name is `name`, or `name` and a flavour.
    pub fn essential(&self, name: &str) -> impl Iterator<Item = Hit> {
        self.essential_bytes(name.as_bytes())
    }

    /// As [`WantedIds::essential`], for a name that nobody checked to be UTF-8.
    pub fn essential_bytes(&self, name: &[u8]) -> impl Iterator<Item = Hit> {
        self.hits.get(name).into_iter().flatten().copied()
    }

    /// The first type of exactly this name and kind.
    pub fn find(&self, name: &str, kind: Kind) -> Option<TypeId> {
        self.essential(name).find(|hit| hit.kind == kind && !hit.flavoured).map(|hit| hit.id)
    }
}

/// A name without its flavour: cut in front of the last `___` that has something other than an underscore on
/// both sides.
pub fn essential_name(name: &[u8]) -> &[u8] {
    let is_separator =
        |w: &[u8]| matches!(w, [before, b'_', b'_', b'_', after] if *before != b'_' && *after != b'_');
    match name.windows(5).rposition(is_separator) {
        Some(at) => name.get(..=at).unwrap_or(name),
        None => name,
    }
}

impl Btf {
    /// Finds all types that carry one of `names`, the base's included, in one pass.
    ///
    /// # Errors
    /// `InvalidObject` when the types are damaged.
    pub fn wanted(&self, names: &WantedSet) -> Result<WantedIds> {
        self.wanted_in(&self.levels(), names)
    }

    /// As [`Btf::wanted`], without the types of the base.
    ///
    /// # Errors
    /// As for [`Btf::wanted`].
    pub fn wanted_own(&self, names: &WantedSet) -> Result<WantedIds> {
        self.wanted_in(&[self], names)
    }

    fn wanted_in(&self, levels: &[&Btf], names: &WantedSet) -> Result<WantedIds> {
        let filter = Filter::new(names);
        let mut hits: BTreeMap<Vec<u8>, Vec<Hit>> = BTreeMap::new();
        for level in levels {
            let (strings, first_string) = (level.string_section(), level.0.first_string);
            let mut indexer = Indexer::new(level.0.first_id);
            for step in level.walk(0) {
                let step = step?;
                let (id, raw) = (indexer.add(step.at)?, step.raw);
                if raw.name_off == 0 || names.no_functions && Kind::from_raw(raw.kind()) == Kind::Func {
                    continue;
                }
                let own = raw.name_off.checked_sub(first_string).and_then(|off| usize::try_from(off).ok());
                let head = own.and_then(|off| strings.get(off..)).and_then(<[u8]>::first_chunk);
                // Names at the very end, or in the base's strings, skip the quick look.
                if head.is_some_and(|head| !filter.may_match(*head)) {
                    continue;
                }
                record(names, &mut hits, self.string_bytes(raw.name_off)?, Kind::from_raw(raw.kind()), id);
            }
            // The walk was the one that a deferred parse still owes.
            level.0.index.get_or_init(|| indexer.finish());
        }
        Ok(WantedIds { hits })
    }
}

fn record(names: &WantedSet, hits: &mut BTreeMap<Vec<u8>, Vec<Hit>>, name: &[u8], kind: Kind, id: TypeId) {
    let mut add = |name: &[u8], flavoured| {
        if names.names.contains(name) {
            hits.entry(name.to_vec()).or_default().push(Hit { kind, id, flavoured });
        }
    };
    add(name, false);
    let essential = essential_name(name);
    if essential.len() != name.len() {
        add(essential, true);
    }
}

/// Says "no" to nearly all names without reading on: by the first three bytes, which is a few instructions, and then by
/// the first sixteen (eight would let all of the kernel's `btf_trace_...` pass). Both are bitmaps over a hash.
struct Filter {
    starts: Bitmap,
    heads: Bitmap,
}

/// 32768 bits: few enough that both maps stay in the nearest cache, so many that hardly a name passes for another's hash.
struct Bitmap([u64; 512]);

/// How many bytes of a name the filter looks at, and how many it looks at first.
const HEAD: usize = 16;
const START: usize = 3;

impl Filter {
    fn new(names: &WantedSet) -> Self {
        let mut filter = Self { starts: Bitmap([0; 512]), heads: Bitmap([0; 512]) };
        for name in names.names.iter().filter(|name| !name.is_empty()) {
            // A short name may be followed by the NUL or by a flavour's underscores.
            for suffix in [&[0; HEAD][..], b"___"] {
                let mut head = [0; HEAD];
                head.iter_mut().zip(name.iter().chain(suffix)).for_each(|(slot, byte)| *slot = *byte);
                filter.heads.insert(Self::hash_of_head(head));
                // Behind the NUL of a name of one byte stands what begins the next string.
                let behind =
                    if name.len() + 1 < START && suffix.starts_with(&[0]) { 0..=u8::MAX } else { 0..=0 };
                for byte in behind {
                    let [first, second, third, ..] = head;
                    filter.starts.insert(Self::hash_of_start([first, second, third | byte]));
                }
            }
        }
        filter
    }

    #[inline]
    fn may_match(&self, head: [u8; HEAD]) -> bool {
        let [first, second, third, ..] = head;
        self.starts.contains(Self::hash_of_start([first, second, third]))
            && self.heads.contains(Self::hash_of_head(head))
    }

    #[inline]
    fn hash_of_start([first, second, third]: [u8; START]) -> u64 {
        u64::from(u32::from_le_bytes([first, second, third, 0])).wrapping_mul(MULTIPLIER)
    }

    /// Of the bytes in front of the first NUL or `___`, whichever comes first.
    #[inline]
    fn hash_of_head(head: [u8; HEAD]) -> u64 {
        let head = u128::from_le_bytes(head);
        let underscores = equals(head, b'_');
        let stops = equals(head, 0) | (underscores & (underscores >> 8) & (underscores >> 16));
        // The bytes below the lowest stop, which is a byte's top bit; all of them when there is none.
        let below = (stops & stops.wrapping_neg()).wrapping_sub(1) >> 7;
        let key = head & if stops == 0 { u128::MAX } else { below };
        let [low, high] =
            [key, key >> 64].map(|half| u64::try_from(half & u128::from(u64::MAX)).unwrap_or(0));
        (low ^ high.rotate_left(23)).wrapping_mul(MULTIPLIER)
    }
}

/// Spreads what differs into the top bits.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

impl Bitmap {
    /// Word and bit for the top 15 bits of a hash: 512 words of 64 bits.
    #[inline]
    fn place(hash: u64) -> (usize, u64) {
        let top = hash >> 49;
        (usize::try_from(top >> 6).unwrap_or(0), 1 << (top & 63))
    }

    fn insert(&mut self, hash: u64) {
        let (word, bit) = Self::place(hash);
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    #[inline]
    fn contains(&self, hash: u64) -> bool {
        let (word, bit) = Self::place(hash);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }
}

/// The top bit of each byte of `word` that equals `byte`, exact for every byte (no borrow between bytes).
#[inline]
fn equals(word: u128, byte: u8) -> u128 {
    const LOW: u128 = u128::from_le_bytes([0x7f; HEAD]);
    let diff = word ^ u128::from_le_bytes([byte; HEAD]);
    !(((diff & LOW) + LOW) | diff | LOW)
}
