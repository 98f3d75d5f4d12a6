//! Map types that a kernel may be too old for, which it says by `EINVAL` and nothing else.
//!
//! In: a type that was refused. Out: an error that names the first kernel with it, if this one refuses even the smallest map of
//! the type. To add a type, add a row.

use super::MapConfig;
use crate::error::Error;
use crate::kernel::cpu;
use crate::spec::map::{map_flag, map_type};
use crate::sys::{SysError, attr, bpf};

/// Type, name, first kernel, and what the smallest map has: bytes of key and value, flags.
#[rustfmt::skip] // a table
const LATE: [(u32, &str, &str, [u32; 3]); 5] = [
    (map_type::RINGBUF, "map type BPF_MAP_TYPE_RINGBUF", "5.8", [0, 0, 0]),
    (map_type::BLOOM_FILTER, "map type BPF_MAP_TYPE_BLOOM_FILTER", "5.16", [0, 4, 0]),
    (map_type::USER_RINGBUF, "map type BPF_MAP_TYPE_USER_RINGBUF", "6.1", [0, 0, 0]),
    (map_type::ARENA, "map type BPF_MAP_TYPE_ARENA", "6.9", [0, 0, map_flag::MMAPABLE]),
    (map_type::INSN_ARRAY, "jump tables (BPF_MAP_TYPE_INSN_ARRAY)", "6.19", [4, 16, 0]),
];

/// What this kernel lacks, if that is why it refused `config` as invalid.
pub(super) fn lacking(config: &MapConfig<'_>) -> Option<Error> {
    let late = LATE.iter().find(|(known, ..)| *known == config.map_type)?;
    let (map_type, feature, since, [key_size, value_size, map_flags]) = *late;
    let ring = matches!(map_type, map_type::RINGBUF | map_type::USER_RINGBUF);
    let smallest = attr::MapCreate {
        map_type,
        key_size,
        value_size,
        max_entries: if ring { cpu::page_size() } else { 1 },
        map_flags: map_flags | config.token.map_or(0, |_| map_flag::TOKEN_FD),
        map_token_fd: config.token.map_or(0, bpf::fd_u32),
        ..Default::default()
    };
    match bpf::map_create(smallest) {
        Err(SysError { errno: libc::EINVAL, .. }) => Some(Error::not_supported(feature, since)),
        _ => None,
    }
}
