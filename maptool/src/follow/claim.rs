//! One follower for each set: two would undo each other's work without end.
//!
//! In: a set. Out: a [`Claim`] on it, which ends with its process, however that ends.
//!
//! A claim is a map of maps in which the set itself lies. The kernel tells every such map to whoever may ask (CAP_SYS_ADMIN),
//! in whatever mount, network or pid namespace, which no lock file and no name of a socket is; and what lies in it cannot be
//! said by somebody who could not open the set. Nothing is pinned, so nothing is left behind.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use loader::map::{self, Access, Map, MapConfig, UpdateMode};
use loader::spec::map::map_type;
use loader::{Error, ErrorKind, Result, ResultExt};

use crate::set::Set;

/// The name of the maps that are claims.
const NAME: &str = "nsmap_follow";
/// Slot that says who wants the set, filled before the look at others.
const WANTS: u32 = 0;
/// Slot that says who has it, filled after that.
const HAS: u32 = 1;
/// How often it is looked whether a claim is really held: a listing of all maps holds each of them for a moment, also one
/// whose process has just ended.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// That nobody else follows for a set, as long as the value lives.
#[derive(Debug)]
pub(super) struct Claim {
    _map: Map,
}

/// Somebody else's claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rival {
    /// Which of the follower's sets, counted from 0.
    pub set: usize,
    /// The id of its map.
    pub set_id: u32,
    /// The id of the map that is the claim: who has that open is the other follower.
    pub claim: u32,
}

impl Claim {
    /// Claims a set, or says which map is the claim of another.
    ///
    /// # Errors
    /// `Permission`: CAP_SYS_ADMIN is needed.
    pub(super) fn take(set: &Set) -> Result<std::result::Result<Self, u32>> {
        Self::try_take(set).context("find out whether another process follows for the set")
    }

    fn try_take(set: &Set) -> Result<std::result::Result<Self, u32>> {
        let own = Map::create(&MapConfig {
            name: NAME.to_owned(),
            map_type: map_type::ARRAY_OF_MAPS,
            key_size: 4,
            value_size: 4,
            max_entries: 2,
            inner: Some(set.map().as_fd()),
            ..MapConfig::default()
        })?;
        put(&own, WANTS, set)?;
        let mut rival = None;
        for look in 0..LOOKS {
            if look > 0 {
                std::thread::sleep(BETWEEN_LOOKS);
            }
            rival = find_rival(own.info().id, set.map().info().id)?;
            if rival.is_none() {
                put(&own, HAS, set)?;
                return Ok(Ok(Self { _map: own }));
            }
        }
        Ok(rival.map_or(Ok(Self { _map: own }), Err))
    }
}

fn put(claim: &Map, slot: u32, set: &Set) -> Result<()> {
    let fd = set.map().as_fd().as_raw_fd();
    claim.update(&slot.to_ne_bytes(), &fd.to_ne_bytes(), UpdateMode::Any)
}

/// A claim of another that goes before this one: it holds, or was made earlier. Of two that begin at the same time, each sees the other's
/// wish, and ids of maps ascend.
fn find_rival(own: u32, set: u32) -> Result<Option<u32>> {
    for id in map::ids()?.into_iter().filter(|&id| id != own) {
        let other = match Map::open_id(id, Access::ReadOnly) {
            Ok(other) => other,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if is_claim(&other) && (holds(&other, HAS, set)? || id < own && holds(&other, WANTS, set)?) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

fn is_claim(map: &Map) -> bool {
    let info = map.info();
    info.name == NAME && info.map_type == map_type::ARRAY_OF_MAPS && info.max_entries == 2
}

/// Whether this set lies in this slot. Read from outside, it is the set's id.
fn holds(claim: &Map, slot: u32, set: u32) -> Result<bool> {
    let found = claim.lookup(&slot.to_ne_bytes())?;
    let id = found.map(|id| id.try_into().map_err(|_| Error::invalid("a map id that has no 4 bytes")));
    Ok(id.transpose()?.map(u32::from_ne_bytes) == Some(set))
}
