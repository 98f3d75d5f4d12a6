//! Maps, before they are created.
//!
//! In: nothing. Out: [`MapSpec`], and the kernel's numbers for map types and flags (`enum bpf_map_type` and
//! `BPF_F_*` of `include/uapi/linux/bpf.h`). Reading maps out of an object is in `btf_map` (`.maps`),
//! `legacy_map` (`maps`, `maps/NAME`) and [`super::data`] (global variables).

use super::struct_ops::StructOps;
use crate::btf::TypeId;

/// One map: everything that `BPF_MAP_CREATE` wants to know, with what is put into it before programs run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapSpec {
    /// The C variable's or the data section's name, in full; the kernel takes 15 bytes of it.
    pub name: String,
    /// One of [`map_type`].
    pub map_type: u32,
    /// Bytes.
    pub key_size: u32,
    /// Bytes. 0 for ring buffers and arenas, even when the object gives them a value type.
    pub value_size: u32,
    /// Number of entries; bytes for ring buffers, pages for arenas. As written in the object: rounding to what the
    /// running kernel wants is done when the map is created, since the page size is only known then.
    pub max_entries: u32,
    /// Bits of [`map_flag`].
    pub flags: u32,
    /// Hash functions of a bloom filter, address of an arena, else 0.
    pub map_extra: u64,
    /// What a legacy definition holds behind the members that are known, if it is not all zero: a dialect of another
    /// loader, such as iproute2's. Such a map is not created until this is emptied.
    pub extra: Vec<u8>,
    /// Node to allocate from; written in the object or not at all.
    pub numa_node: Option<u32>,
    /// Whether to be pinned.
    pub pinning: Pinning,
    /// The key's type in the object's BTF; `void` if it gives none.
    pub key_type_id: TypeId,
    /// The value's type in the object's BTF; `void` if it gives none. For ring buffers this is the type of the
    /// records, as far as the object says; for data sections, the DATASEC (and the key's type is `void`).
    pub value_type_id: TypeId,
    /// For map-in-map types: what the maps inside look like.
    pub inner: Option<Box<MapSpec>>,
    /// Entries to be set before programs run, whose values are fds.
    pub initial_values: Vec<InitialValue>,
    /// For data sections: the only value.
    pub contents: Option<Vec<u8>>,
    /// For struct_ops: the struct, and the programs in it.
    pub struct_ops: Option<StructOps>,
    /// Frozen after `contents` is written, so that the verifier may take the values for constants.
    pub freeze: bool,
    /// Whether to create it when the object is loaded.
    pub autocreate: bool,
}

impl MapSpec {
    /// A map with plain keys and values (sizes in bytes) and no flags.
    pub fn new(
        name: impl Into<String>,
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
    ) -> Self {
        let name = name.into();
        Self { name, map_type, key_size, value_size, max_entries, autocreate: true, ..Self::default() }
    }

    /// Whether the values of this map type are maps.
    pub fn is_map_in_map(&self) -> bool {
        matches!(self.map_type, map_type::ARRAY_OF_MAPS | map_type::HASH_OF_MAPS)
    }
}

/// Whether a map is pinned when the object is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pinning {
    /// No.
    #[default]
    None,
    /// Below the pin root, under the map's name; a compatible map that is there already is used instead.
    ByName,
    /// What the object says means nothing to this loader. Such a map cannot be created; what the object has besides can.
    Unknown(u32),
}

/// One entry whose value is an fd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitialValue {
    /// The key: an index.
    pub slot: u32,
    /// The value.
    pub target: InitialTarget,
}

/// What an initial value is the fd of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialTarget {
    /// A map: index into [`super::ObjectSpec::maps`].
    Map {
        /// The index.
        index: usize,
    },
    /// A program, to be set once it is loaded: index into [`super::ObjectSpec::programs`].
    Program {
        /// The index.
        index: usize,
    },
}

/// `enum bpf_map_type`.
pub mod map_type {
    #![allow(missing_docs, reason = "the names of include/uapi/linux/bpf.h")]
    pub const UNSPEC: u32 = 0;
    pub const HASH: u32 = 1;
    pub const ARRAY: u32 = 2;
    pub const PROG_ARRAY: u32 = 3;
    pub const PERF_EVENT_ARRAY: u32 = 4;
    pub const PERCPU_HASH: u32 = 5;
    pub const PERCPU_ARRAY: u32 = 6;
    pub const STACK_TRACE: u32 = 7;
    pub const CGROUP_ARRAY: u32 = 8;
    pub const LRU_HASH: u32 = 9;
    pub const LRU_PERCPU_HASH: u32 = 10;
    pub const LPM_TRIE: u32 = 11;
    pub const ARRAY_OF_MAPS: u32 = 12;
    pub const HASH_OF_MAPS: u32 = 13;
    pub const DEVMAP: u32 = 14;
    pub const SOCKMAP: u32 = 15;
    pub const CPUMAP: u32 = 16;
    pub const XSKMAP: u32 = 17;
    pub const SOCKHASH: u32 = 18;
    pub const CGROUP_STORAGE: u32 = 19;
    pub const REUSEPORT_SOCKARRAY: u32 = 20;
    pub const PERCPU_CGROUP_STORAGE: u32 = 21;
    pub const QUEUE: u32 = 22;
    pub const STACK: u32 = 23;
    pub const SK_STORAGE: u32 = 24;
    pub const DEVMAP_HASH: u32 = 25;
    pub const STRUCT_OPS: u32 = 26;
    pub const RINGBUF: u32 = 27;
    pub const INODE_STORAGE: u32 = 28;
    pub const TASK_STORAGE: u32 = 29;
    pub const BLOOM_FILTER: u32 = 30;
    pub const USER_RINGBUF: u32 = 31;
    pub const CGRP_STORAGE: u32 = 32;
    pub const ARENA: u32 = 33;
    pub const INSN_ARRAY: u32 = 34;

    /// Every number with the kernel's name for it, without its prefix.
    pub const ALL: &[(&str, u32)] = &[
        ("UNSPEC", UNSPEC),
        ("HASH", HASH),
        ("ARRAY", ARRAY),
        ("PROG_ARRAY", PROG_ARRAY),
        ("PERF_EVENT_ARRAY", PERF_EVENT_ARRAY),
        ("PERCPU_HASH", PERCPU_HASH),
        ("PERCPU_ARRAY", PERCPU_ARRAY),
        ("STACK_TRACE", STACK_TRACE),
        ("CGROUP_ARRAY", CGROUP_ARRAY),
        ("LRU_HASH", LRU_HASH),
        ("LRU_PERCPU_HASH", LRU_PERCPU_HASH),
        ("LPM_TRIE", LPM_TRIE),
        ("ARRAY_OF_MAPS", ARRAY_OF_MAPS),
        ("HASH_OF_MAPS", HASH_OF_MAPS),
        ("DEVMAP", DEVMAP),
        ("SOCKMAP", SOCKMAP),
        ("CPUMAP", CPUMAP),
        ("XSKMAP", XSKMAP),
        ("SOCKHASH", SOCKHASH),
        ("CGROUP_STORAGE", CGROUP_STORAGE),
        ("REUSEPORT_SOCKARRAY", REUSEPORT_SOCKARRAY),
        ("PERCPU_CGROUP_STORAGE", PERCPU_CGROUP_STORAGE),
        ("QUEUE", QUEUE),
        ("STACK", STACK),
        ("SK_STORAGE", SK_STORAGE),
        ("DEVMAP_HASH", DEVMAP_HASH),
        ("STRUCT_OPS", STRUCT_OPS),
        ("RINGBUF", RINGBUF),
        ("INODE_STORAGE", INODE_STORAGE),
        ("TASK_STORAGE", TASK_STORAGE),
        ("BLOOM_FILTER", BLOOM_FILTER),
        ("USER_RINGBUF", USER_RINGBUF),
        ("CGRP_STORAGE", CGRP_STORAGE),
        ("ARENA", ARENA),
        ("INSN_ARRAY", INSN_ARRAY),
    ];
}

/// `BPF_F_*` of `BPF_MAP_CREATE`.
pub mod map_flag {
    /// Allocate hash entries when they are needed.
    pub const NO_PREALLOC: u32 = 1 << 0;
    /// One LRU list per CPU.
    pub const NO_COMMON_LRU: u32 = 1 << 1;
    /// The attribute `numa_node` counts.
    pub const NUMA_NODE: u32 = 1 << 2;
    /// The fd cannot write.
    pub const RDONLY: u32 = 1 << 3;
    /// The fd cannot read.
    pub const WRONLY: u32 = 1 << 4;
    /// Programs cannot write (5.2).
    pub const RDONLY_PROG: u32 = 1 << 7;
    /// Programs cannot read (5.2).
    pub const WRONLY_PROG: u32 = 1 << 8;
    /// The value can be mapped into memory (5.5).
    pub const MMAPABLE: u32 = 1 << 10;
    /// Array maps inside may differ in `max_entries` (5.10).
    pub const INNER_MAP: u32 = 1 << 12;
    /// A struct_ops map is attached by a link, not by an update (6.4).
    pub const LINK: u32 = 1 << 13;
    /// The value's type is in a module's BTF object (6.9).
    pub const VTYPE_BTF_OBJ_FD: u32 = 1 << 15;
    /// A token stands for the privilege (6.9).
    pub const TOKEN_FD: u32 = 1 << 16;
    /// A ring buffer that is full loses its oldest records, not the newest (6.19).
    pub const RB_OVERWRITE: u32 = 1 << 19;
}
