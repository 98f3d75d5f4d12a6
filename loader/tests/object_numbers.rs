//! The kernel's numbers for program, attach and map types, compared with the running kernel's own BTF.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;

use common::kernel::vmlinux;
use loader::btf::{Btf, Kind};
use loader::section::{attach_type, program_type};
use loader::spec::map::map_type;

/// Compares our names with those of an enum; a name that this kernel is too old for is passed over.
fn compare(btf: &Btf, enumeration: &str, prefix: &str, ours: &[(&str, u32)]) {
    let id = btf.find(enumeration, Kind::Enum).unwrap().unwrap();
    let theirs: BTreeMap<&str, u64> = btf
        .type_by_id(id)
        .unwrap()
        .enumerators()
        .map(|enumerator| (btf.string(enumerator.name_off).unwrap(), enumerator.value))
        .collect();
    let mut compared = 0;
    for (name, number) in ours {
        if let Some(&value) = theirs.get(format!("{prefix}{name}").as_str()) {
            assert_eq!(u64::from(*number), value, "{prefix}{name}");
            compared += 1;
        }
    }
    // The oldest kernel with BTF at this path, 5.4, has more than twenty of each.
    assert!(compared > 20, "only {compared} names of {enumeration} were compared");
}

#[test]
fn program_and_attach_types_have_the_kernels_numbers() {
    let Some(btf) = vmlinux() else { return };
    compare(&btf, "bpf_prog_type", program_type::PREFIX, program_type::ALL);
    compare(&btf, "bpf_attach_type", attach_type::PREFIX, attach_type::ALL);
}

macro_rules! named {
    ($($name:ident)*) => { &[$((stringify!($name), map_type::$name)),*] };
}

#[test]
fn map_types_have_the_kernels_numbers() {
    let Some(btf) = vmlinux() else { return };
    let ours = named!(
        UNSPEC HASH ARRAY PROG_ARRAY PERF_EVENT_ARRAY PERCPU_HASH PERCPU_ARRAY STACK_TRACE CGROUP_ARRAY LRU_HASH
        LRU_PERCPU_HASH LPM_TRIE ARRAY_OF_MAPS HASH_OF_MAPS DEVMAP SOCKMAP CPUMAP XSKMAP SOCKHASH CGROUP_STORAGE
        REUSEPORT_SOCKARRAY PERCPU_CGROUP_STORAGE QUEUE STACK SK_STORAGE DEVMAP_HASH STRUCT_OPS RINGBUF
        INODE_STORAGE TASK_STORAGE BLOOM_FILTER USER_RINGBUF CGRP_STORAGE ARENA INSN_ARRAY
    );
    compare(&btf, "bpf_map_type", "BPF_MAP_TYPE_", ours);
}
