//! The running kernel's BTF, where it can be read: the largest and least tidy blob there is.
#![allow(clippy::unwrap_used, reason = "tests say what they mean")]

mod common;

use std::collections::BTreeSet;

use common::kernel::vmlinux;
use loader::btf::wanted::essential_name;
use loader::btf::{Kind, TypeId, WantedSet};

#[test]
fn one_pass_finds_in_vmlinux_what_a_linear_search_finds() {
    let Some(btf) = vmlinux() else { return };
    // Every 401st name, short and long ones, and some that do not exist.
    let mut names: BTreeSet<String> = BTreeSet::new();
    for ty in btf.types().step_by(401) {
        names.insert(ty.unwrap().name().unwrap().to_owned());
    }
    names.extend(
        ["u8", "file", "task_struct", "btf_trace_sched_process_exec", "no_such_type", "fil"]
            .map(str::to_owned),
    );
    names.remove("");
    let mut set = WantedSet::new();
    names.iter().for_each(|name| set.insert(name));
    let found = btf.wanted(&set).unwrap();
    let mut expected: Vec<(String, Kind, TypeId)> = Vec::new();
    for ty in btf.types() {
        let ty = ty.unwrap();
        let essential = std::str::from_utf8(essential_name(ty.name_bytes().unwrap())).unwrap();
        for name in BTreeSet::from([essential, ty.name().unwrap()]) {
            if names.contains(name) {
                expected.push((name.to_owned(), ty.kind(), ty.id()));
            }
        }
    }
    let mut actual: Vec<_> = names
        .iter()
        .flat_map(|name| found.essential(name).map(move |hit| (name.clone(), hit.kind, hit.id)))
        .collect();
    actual.sort();
    expected.sort();
    assert!(expected.len() >= 100, "only {} types looked at", expected.len());
    assert_eq!(actual, expected);
}

#[test]
fn types_by_id_are_those_of_a_walk() {
    let Some(btf) = vmlinux() else { return };
    let mut seen = 0_u32;
    for ty in btf.types() {
        let ty = ty.unwrap();
        seen += 1;
        if seen.is_multiple_of(31) {
            let same = btf.type_by_id(ty.id()).unwrap();
            assert_eq!((same.kind(), same.name_off(), same.vlen()), (ty.kind(), ty.name_off(), ty.vlen()));
        }
    }
    assert_eq!(seen + 1, btf.type_count());
    assert!(btf.type_by_id(TypeId(btf.type_count())).is_err());
}

#[test]
fn the_kernels_own_integers_have_their_sizes() {
    let Some(btf) = vmlinux() else { return };
    for (name, size) in [("u8", 1), ("u16", 2), ("u32", 4), ("u64", 8)] {
        let id = btf.find(name, Kind::Typedef).unwrap().unwrap();
        assert_eq!(btf.size_of(id).unwrap(), size, "{name}");
    }
}
