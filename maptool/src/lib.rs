//! What a set is, for the tool that edits sets and for the tracers that filter by them.
//!
//! A set is a pinned BPF hash map. A tracer shows a task only if the task's cgroup, or its mount
//! namespace, is a key of the set; editing the map changes the filter at once.
//!
//! | | cgroup set | mount namespace set |
//! |---|---|---|
//! | key, 8 bytes, host byte order | cgroup v2 id | inode number of `/proc/PID/ns/mnt` |
//! | value, host byte order | 8 bytes; bit 0: the whole subtree | 4 bytes; low half of the namespace's never-reused id, 0: unchecked |
//!
//! BCC's tools look at keys only, so either side may make the map and fill it.
//!
//! Two ways lead through this crate: from a path or pid to a number ([`identity`]) into a [`set`], and from a
//! number back to something a person knows ([`identity`], [`container`]). Nothing here prints.

pub mod account;
pub mod bpffs;
mod btf;
pub mod container;
pub mod filesystem;
pub mod follow;
pub mod identity;
pub mod listing;
pub mod manual;
pub mod plan;
pub mod set;
pub mod text;

pub use set::{Kind, Member, Set};
