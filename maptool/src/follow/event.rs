//! What a follower has to tell.

use crate::set::Kind;

/// What happened to a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A member was stored.
    Added(Entry),
    /// A member was removed.
    Removed(Entry),
    /// A member could not be stored or removed.
    Failed(Entry, String),
    /// The kernel could not keep up; everything was looked at anew.
    Overflow,
    /// An engine does not answer as it should; names that only it knows are missing.
    Warning(String),
}

/// A member, and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The kind of the set.
    pub kind: Kind,
    /// Its number.
    pub id: u64,
    /// The name of the container or unit, or the path in the hierarchy.
    pub name: String,
}
