//! The attribute structs of `sys::attr` against the running kernel's own BTF.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what they expect")]

mod common;

use common::kernel::{NotRun, not_run, vmlinux};
use loader::btf::{Btf, Kind, TypeId};
use loader::sys::attr;

type Fields = &'static [(&'static str, usize, usize)];

/// All members at any depth: name, byte offset, byte size. A bit-field counts as the integer that holds it.
fn flatten(btf: &Btf, id: TypeId, base: u64, members: &mut Vec<(String, u64, u64)>) {
    for member in btf.strip(id).unwrap().members() {
        let offset = base + u64::from(member.bit_offset / 8);
        let name = btf.string(member.name_off).unwrap().to_owned();
        members.push((name, offset, btf.size_of(member.type_id).unwrap()));
        flatten(btf, member.type_id, offset, members);
    }
}

/// Every field must be a member of `c_type` with that name, offset and size. Names that C spells otherwise
/// are translated; padding has no name in C.
fn assert_fields_match(btf: &Btf, c_type: &str, rust_type: &str, fields: Fields) {
    let id = btf
        .find(c_type, Kind::Union)
        .unwrap()
        .or_else(|| btf.find(c_type, Kind::Struct).unwrap())
        .unwrap_or_else(|| panic!("the kernel has no {c_type}"));
    let mut members = Vec::new();
    flatten(btf, id, 0, &mut members);
    if let Some((what, sign)) = sign_of(rust_type)
        && members.iter().all(|(known, _, _)| known != sign)
    {
        return not_run(&NotRun::KernelLacks(what));
    }
    for &(name, offset, size) in fields {
        let c_name = match (rust_type, name) {
            (_, "pad") => continue,
            ("GetId", "id") => "start_id",
            ("LinkCreatePerf", "cookie") => "bpf_cookie",
            ("LinkCreateKprobeMulti" | "LinkCreateUprobeMulti", "link_flags") => "flags",
            ("BpfMapInfo", "map_type") | ("BpfProgInfo", "prog_type") => "type",
            (_, other) => other,
        };
        // Only the kernels of the guests may be too old to know a member; everywhere else it has to be there.
        let unknown = members.iter().all(|(known, _, _)| known != c_name);
        let beyond = rust_type == "RawTracepointOpen"
            && members.iter().any(|(known, _, size)| known == "raw_tracepoint" && *size <= offset as u64);
        if old_guest() && (unknown || beyond) {
            continue;
        }
        let expected = (c_name.to_owned(), offset as u64, size as u64);
        assert!(
            members.contains(&expected),
            "{c_type} has no member {c_name} of {size} bytes at {offset}, as {rust_type} says"
        );
    }
}

/// For attributes that came as a whole, under names that others have, too: what came, and a name that only they have.
fn sign_of(rust_type: &str) -> Option<(&'static str, &'static str)> {
    match rust_type {
        "LinkCreateKprobeMulti" => Some(("kprobe.multi", "syms")),
        "LinkCreateUprobeMulti" => Some(("uprobe.multi", "ref_ctr_offsets")),
        "TokenCreate" => Some(("BPF tokens", "token_create")),
        "LinkCreateTracingMulti" => Some(("fentry.multi", "tracing_multi")),
        _ => None,
    }
}

/// Whether this is one of the guests of `make test-kernels` that lack members which newer kernels have.
fn old_guest() -> bool {
    std::env::var("TEST_KERNEL").is_ok_and(|name| ["5.10", "6.1", "arm64-6.1"].contains(&name.as_str()))
}

#[test]
fn every_field_is_where_the_running_kernel_has_it() {
    let Some(btf) = vmlinux() else { return };
    let all: [(&str, Fields); 21] = [
        ("MapCreate", attr::MapCreate::FIELDS),
        ("MapElem", attr::MapElem::FIELDS),
        ("MapFd", attr::MapFd::FIELDS),
        ("GetId", attr::GetId::FIELDS),
        ("MapBatch", attr::MapBatch::FIELDS),
        ("ProgLoad", attr::ProgLoad::FIELDS),
        ("Obj", attr::Obj::FIELDS),
        ("ObjInfo", attr::ObjInfo::FIELDS),
        ("RawTracepointOpen", attr::RawTracepointOpen::FIELDS),
        ("BtfLoad", attr::BtfLoad::FIELDS),
        ("LinkCreate", attr::LinkCreate::FIELDS),
        ("LinkCreatePerf", attr::LinkCreatePerf::FIELDS),
        ("LinkCreateKprobeMulti", attr::LinkCreateKprobeMulti::FIELDS),
        ("LinkCreateUprobeMulti", attr::LinkCreateUprobeMulti::FIELDS),
        ("LinkCreateTracingMulti", attr::LinkCreateTracingMulti::FIELDS),
        ("LinkCreateIter", attr::LinkCreateIter::FIELDS),
        ("LinkCreateMap", attr::LinkCreateMap::FIELDS),
        ("TokenCreate", attr::TokenCreate::FIELDS),
        ("IterCreate", attr::IterCreate::FIELDS),
        ("ProgBindMap", attr::ProgBindMap::FIELDS),
        ("TestRun", attr::TestRun::FIELDS),
    ];
    for (name, fields) in all {
        assert_fields_match(&btf, "bpf_attr", name, fields);
    }
    match btf.find("bpf_common_attr", Kind::Struct).unwrap() {
        Some(_) => assert_fields_match(&btf, "bpf_common_attr", "CommonAttr", attr::CommonAttr::FIELDS),
        None => not_run(&NotRun::KernelLacks("struct bpf_common_attr")),
    }
    assert_fields_match(&btf, "bpf_map_info", "BpfMapInfo", attr::BpfMapInfo::FIELDS);
    assert_fields_match(&btf, "bpf_btf_info", "BpfBtfInfo", attr::BpfBtfInfo::FIELDS);
    assert_fields_match(&btf, "bpf_prog_info", "BpfProgInfo", attr::BpfProgInfo::FIELDS);
}
