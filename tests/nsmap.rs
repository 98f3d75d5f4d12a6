//! nsmap as a user meets it: sets are made, filled, shown and removed on a bpffs of the test's own.
//!
//! What is tested where: `sets` making and removing sets; `members` what goes into them and comes out; `ids` what numbers
//! things have; `refusals` what it will not do; `containers` following real ones; `stale` members whose namespace is gone.
//! What sets do to a tracer is in `tests/execsnoop/filters.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets something unexpected must fail"
)]

mod common;

#[path = "nsmap/containers.rs"]
mod containers;
#[path = "nsmap/ids.rs"]
mod ids;
#[path = "nsmap/members.rs"]
mod members;
#[path = "nsmap/refusals.rs"]
mod refusals;
#[path = "nsmap/sets.rs"]
mod sets;
#[path = "nsmap/stale.rs"]
mod stale;

use std::ffi::OsStr;
use std::path::Path;

use common::sandbox::Sandbox;
use loader::map::{Access, Map};

/// Other processes of these tests: see `common/role.rs`.
#[test]
fn plays_a_role() {
    common::role::play();
}

/// The entries of a pinned map as the kernel has them, sorted by key: a look past nsmap.
fn entries(pin: &Path) -> Vec<(u64, Vec<u8>)> {
    let map = Map::open_pinned(pin, Access::ReadOnly).unwrap();
    let mut entries: Vec<_> = map
        .entries()
        .unwrap()
        .into_iter()
        .map(|(key, value)| (u64::from_ne_bytes(key.try_into().unwrap()), value))
        .collect();
    entries.sort();
    entries
}

fn keys(pin: &Path) -> Vec<u64> {
    entries(pin).into_iter().map(|(key, _)| key).collect()
}

/// Runs `nsmap WORDS PATH`, which must succeed.
#[track_caller]
fn nsmap_on(sandbox: &Sandbox, words: &[&str], path: &Path) -> String {
    sandbox.nsmap_ok(words.iter().map(OsStr::new).chain([path.as_os_str()]))
}
