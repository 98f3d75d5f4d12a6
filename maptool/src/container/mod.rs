//! Which container or unit a task belongs to, from its cgroup path alone: no daemon, no privilege.
//!
//! In: a cgroup path. Out: engine and id, or the unit of systemd. The patterns are in [`patterns`]; names
//! that only the engines know are read from their files by [`state`], asked of them by [`sockets`], and joined with the
//! rest in [`inventory`]. For tracers, [`Namer`] does so at the time of each event.

use std::ffi::OsStr;
use std::path::Path;

use crate::text;

mod connection;
mod cri;
pub mod find;
mod grpc;
mod http;
pub mod inventory;
mod namer;
pub mod patterns;
pub mod sockets;
pub mod sources;
pub mod state;

pub use namer::Namer;
pub use patterns::{Container, Engine, Pod, from_cgroup_path, unit_of_cgroup_path};

/// The label of what runs in the cgroup at `path`.
pub fn label(path: &Path) -> Option<String> {
    from_cgroup_path(path).map(|container| container.label()).or_else(|| unit(path))
}

fn unit(path: &Path) -> Option<String> {
    unit_of_cgroup_path(path).map(|unit| text::safe(OsStr::new(&unit)))
}
