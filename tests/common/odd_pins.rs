//! Pinned things that are no sets.

use std::path::Path;

use loader::insn::Insn;
use loader::map::{Map, MapConfig};
use loader::program::{Program, ProgramConfig};
use loader::section::ProgramKind;

/// Map types of `enum bpf_map_type` (linux/bpf.h).
pub(crate) const HASH: u32 = 1;
pub(crate) const ARRAY: u32 = 2;
pub(crate) const LRU_HASH: u32 = 9;

/// Pins a new map with room for 7.
pub(crate) fn pin_map(path: &Path, map_type: u32, key_size: u32, value_size: u32) {
    let name = "odd".to_owned();
    let config = MapConfig { name, map_type, key_size, value_size, max_entries: 7, ..MapConfig::default() };
    Map::create(&config).unwrap().pin(path).unwrap();
}

/// Pins a socket filter that returns 0.
pub(crate) fn pin_program(path: &Path) {
    let slots = [[0xb7, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let insns = slots.map(|slot| Insn::decode(slot, loader::Endian::NATIVE));
    let kind = ProgramKind::from_section_name("socket").unwrap();
    let config = ProgramConfig { name: "odd", insns: &insns, license: "GPL", ..ProgramConfig::new(&kind) };
    Program::load(&config).unwrap().pin(path).unwrap();
}
