//! Which processes hold a map.
//!
//! In: the map's id, `/proc`. Out: pids and names. Those that may not be looked at are not seen.

use std::collections::HashMap;

use nsmap::identity::process;
use serde::Serialize;

use crate::output::Name;

/// A process that has a map open.
#[derive(Serialize)]
pub(super) struct Holder {
    pub(super) pid: u32,
    pub(super) comm: Name,
}

/// Who has a map open, or a program that uses it: itself or by its link, as a tracer that is running. Those that may not
/// be looked at are not seen, nor programs on perf events.
pub(super) fn of_map(id: u32) -> Vec<Holder> {
    let mut programs = HashMap::new();
    let mut found = Vec::new();
    for pid in process::pids().into_iter().filter(|&pid| pid != std::process::id()) {
        if holds(pid, id, &mut programs)
            && let Some(comm) = process::comm(pid)
        {
            found.push(Holder { pid, comm: Name::new(comm) });
        }
    }
    found
}

/// `programs` remembers which of them use the map.
fn holds(pid: u32, map: u32, programs: &mut HashMap<u32, bool>) -> bool {
    let Ok(fds) = std::fs::read_dir(format!("/proc/{pid}/fdinfo")) else { return false };
    fds.flatten().any(|fd| {
        let link = std::fs::read_link(format!("/proc/{pid}/fd/{}", fd.file_name().to_string_lossy()));
        let is_bpf = link.is_ok_and(|link| link.to_string_lossy().starts_with("anon_inode:bpf"));
        let info =
            if is_bpf { std::fs::read_to_string(fd.path()).unwrap_or_default() } else { String::new() };
        let number = |key: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            value.and_then(|value| value.trim().parse::<u32>().ok())
        };
        number("map_id") == Some(map)
            || number("prog_id").is_some_and(|program| {
                let uses = || loader::map::ids_used_by(program).is_ok_and(|maps| maps.contains(&map));
                *programs.entry(program).or_insert_with(uses)
            })
    })
}
