//! `show`: what maps there are.
//!
//! In: nothing, or MAP. Out: a few lines on each map, or an object.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use loader::map::{Access, Map};
use nsmap::identity::mounts;
use nsmap::text;

use super::Screen;
use super::args::Words;
use super::json::Writer;
use super::select;
use crate::failure::Failure;

/// Names of map types by number (`enum bpf_map_type`), as libbpf spells them.
pub(super) const TYPES: &[&str] = &[
    "unspec",
    "hash",
    "array",
    "prog_array",
    "perf_event_array",
    "percpu_hash",
    "percpu_array",
    "stack_trace",
    "cgroup_array",
    "lru_hash",
    "lru_percpu_hash",
    "lpm_trie",
    "array_of_maps",
    "hash_of_maps",
    "devmap",
    "sockmap",
    "cpumap",
    "xskmap",
    "sockhash",
    "cgroup_storage",
    "reuseport_sockarray",
    "percpu_cgroup_storage",
    "queue",
    "stack",
    "sk_storage",
    "devmap_hash",
    "struct_ops",
    "ringbuf",
    "inode_storage",
    "task_storage",
    "bloom_filter",
    "user_ringbuf",
    "cgrp_storage",
    "arena",
    "insn_array",
];

/// At most this many pins are opened for `-f`.
const PINS_LIMIT: usize = 1 << 16;

pub(super) fn show(screen: &mut Screen, mut words: Words<'_>) -> Result<(), Failure> {
    let all = words.peek().is_none();
    if !all && words.len() != 2 {
        return words.end();
    }
    let maps = match all {
        true => select::every(Access::ReadOnly)?,
        false => select::all(&mut words, Access::ReadOnly)?,
    };
    let all_pins = if screen.options.pins { pins() } else { HashMap::new() };
    let list = all || maps.len() > 1;
    if screen.options.json && list {
        screen.json.open('[');
    }
    for map in &maps {
        let pins = all_pins.get(&map.info().id).map_or(&[][..], Vec::as_slice);
        match screen.options.json {
            // An empty list for a map without pins, if there are pins at all.
            true => json_map(&mut screen.json, map, (!all_pins.is_empty()).then_some(pins)),
            false => plain_map(&mut screen.plain, map, pins),
        }
    }
    if screen.options.json && list {
        screen.json.close(']');
    }
    Ok(())
}

/// `185: hash  name mnt_ns_set  flags 0x0`.
pub(super) fn header(map: &Map) -> String {
    let info = map.info();
    let mut line = format!("{}: ", info.id);
    let _ = match type_name(info.map_type) {
        Some(name) => write!(line, "{name}  "),
        None => write!(line, "type {}  ", info.map_type),
    };
    if !info.name.is_empty() {
        let _ = write!(line, "name {}  ", info.name);
    }
    let _ = writeln!(line, "flags {:#x}", info.map_flags);
    line
}

fn type_name(number: u32) -> Option<&'static str> {
    TYPES.get(usize::try_from(number).ok()?).copied()
}

pub(super) fn header_fields(json: &mut Writer, map: &Map) {
    let info = map.info();
    json.number_field("id", u64::from(info.id));
    match type_name(info.map_type) {
        Some(name) => json.text_field("type", name),
        None => json.number_field("type", u64::from(info.map_type)),
    }
    if !info.name.is_empty() {
        json.text_field("name", &info.name);
    }
    json.number_field("flags", u64::from(info.map_flags));
}

fn plain_map(out: &mut String, map: &Map, pins: &[PathBuf]) {
    let (info, more) = (map.info(), FdInfo::of(map));
    out.push_str(&header(map));
    let _ =
        write!(out, "\tkey {}B  value {}B  max_entries {}", info.key_size, info.value_size, info.max_entries);
    if let Some(memlock) = more.number("memlock") {
        let _ = write!(out, "  memlock {memlock}B");
    }
    for pin in pins {
        let _ = write!(out, "\n\tpinned {}", text::path(pin));
    }
    let frozen = more.number("frozen").is_some_and(|frozen| frozen != 0);
    match (info.btf_id, frozen) {
        (0, false) => {}
        (0, true) => out.push_str("\n\tfrozen"),
        (btf, frozen) => {
            let _ = write!(out, "\n\tbtf_id {btf}{}", if frozen { "  frozen" } else { "" });
        }
    }
    out.push('\n');
}

fn json_map(json: &mut Writer, map: &Map, pins: Option<&[PathBuf]>) {
    let (info, more) = (map.info(), FdInfo::of(map));
    json.open('{');
    header_fields(json, map);
    json.number_field("bytes_key", u64::from(info.key_size));
    json.number_field("bytes_value", u64::from(info.value_size));
    json.number_field("max_entries", u64::from(info.max_entries));
    for (name, key) in [("bytes_memlock", "memlock"), ("frozen", "frozen")] {
        if let Some(number) = more.number(key) {
            json.number_field(name, number);
        }
    }
    if info.btf_id != 0 {
        json.number_field("btf_id", u64::from(info.btf_id));
    }
    if let Some(pins) = pins {
        json.name("pinned");
        json.open('[');
        pins.iter().for_each(|pin| json.text(&text::path(pin)));
        json.close(']');
    }
    json.close('}');
}

/// What only `/proc/self/fdinfo` says of a map.
struct FdInfo(String);

impl FdInfo {
    fn of(map: &Map) -> Self {
        let path = Path::new("/proc/self/fdinfo").join(map.as_fd().as_raw_fd().to_string());
        Self(std::fs::read_to_string(path).unwrap_or_default())
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.0.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')?.trim().parse().ok())
    }
}

/// The pins of all maps on every bpffs that is mounted here.
fn pins() -> HashMap<u32, Vec<PathBuf>> {
    let mut found: HashMap<u32, Vec<PathBuf>> = HashMap::new();
    let mounts = mounts::own().unwrap_or_default();
    let mut open: Vec<PathBuf> =
        mounts.into_iter().filter(|mount| mount.fs_type == "bpf").map(|mount| mount.mount_point).collect();
    for _ in 0..PINS_LIMIT {
        let Some(path) = open.pop() else { break };
        match std::fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => {
                let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
                open.extend(entries.map(|entry| entry.path()));
            }
            Ok(meta) if meta.is_file() => {
                if let Ok(map) = Map::open_pinned(&path, Access::ReadOnly) {
                    found.entry(map.info().id).or_default().push(path);
                }
            }
            _ => {}
        }
    }
    found.values_mut().for_each(|paths| {
        paths.sort();
        paths.dedup();
    });
    found
}
