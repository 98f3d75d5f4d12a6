//! `mntnsid`: the inode number of a mount namespace, in the same two forms as `cgroupid`.

use std::fmt;

use nsmap::identity::mntns;
use nsmap::text;
use serde::Serialize;

use super::items;
use crate::cli::{Format, MntnsId};
use crate::failure::Failure;
use crate::output::Outcome;

#[derive(Serialize)]
struct Id {
    pid: u32,
    id: u32,
    hex: String,
    /// The never-reused id; null where the kernel has none (before 6.11).
    unique_id: Option<u64>,
    #[serde(skip)]
    format: Format,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.format {
            Format::Number => writeln!(f, "{}", self.id),
            Format::Hex => writeln!(f, "{}", self.hex),
        }
    }
}

pub(crate) fn run(args: &MntnsId) -> Result<Outcome, Failure> {
    let found = match args.pid {
        Some(pid) => mntns::of_process(pid),
        None => mntns::own(),
    };
    let namespace = items::namespace_of(found)?;
    Outcome::done(&Id {
        pid: args.pid.unwrap_or_else(std::process::id),
        id: namespace.inode,
        hex: text::hex_bytes(u64::from(namespace.inode)),
        unique_id: namespace.unique_id,
        format: args.format,
    })
}
