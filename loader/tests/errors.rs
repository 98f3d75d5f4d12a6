//! Each kind of error as it comes out of a real failure, in one line and in full. Those that only the kernel makes need
//! root; the verifier's are in `checks.rs`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use common::elf::{ObjectBuilder, Symbol};
use common::kernel::may_use_bpf;
use common::sample::{self, exit};
use loader::btf::TypeId;
use loader::btf::encode::{BtfBuilder, Field};
use loader::load::{LoadOptions, Object};
use loader::map::{MapConfig, UpdateMode};
use loader::spec::ObjectSpec;
use loader::spec::map::map_type;
use loader::{Access, Endian, Error, ErrorKind, Map, linker};

/// A map that is refused as invalid; newer kernels (7.x) say in between what they have against it.
fn assert_refused_map(error: &Error, asked: &str) {
    const CALL: &str = "bpf(BPF_MAP_CREATE): invalid argument";
    let line = error.to_string();
    let between = line.strip_prefix(asked).and_then(|rest| rest.strip_suffix(CALL));
    let between = between.unwrap_or_else(|| panic!("{line}")).trim_matches([':', ' ']);
    match between.is_empty() {
        true => assert_reads(error, ErrorKind::Io, &[asked, CALL]),
        false => assert_reads(error, ErrorKind::Io, &[asked, between, CALL]),
    }
}

/// The short form is one line; the long form has one line for each part of it.
fn assert_reads(error: &Error, kind: ErrorKind, parts: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(error.to_string(), parts.join(": "));
    assert_eq!(format!("{error:#}"), parts.join("\n  "));
}

fn sample() -> ObjectSpec {
    ObjectSpec::parse(&sample::object(Endian::NATIVE)).unwrap()
}

#[test]
fn bytes_that_are_no_object_say_which_part_is_wrong() {
    let error = ObjectSpec::parse(b"\x7fELF").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidObject);
    assert!(error.to_string().starts_with("read the ELF header: "), "{error}");
    assert!(format!("{error:#}").starts_with("read the ELF header\n  "), "{error:#}");
}

#[test]
fn an_object_of_the_other_byte_order_is_inspected_but_not_loaded() {
    let foreign = if Endian::NATIVE == Endian::Little { Endian::Big } else { Endian::Little };
    let spec = ObjectSpec::parse(&sample::object(foreign)).unwrap();
    let error = Object::create(spec, LoadOptions::default()).unwrap_err();
    assert_reads(&error, ErrorKind::InvalidObject, &["the object was built for the other byte order"]);
}

#[test]
fn a_variable_that_does_not_exist_is_named() {
    let error = sample().set_global("limits", 1_u64).unwrap_err();
    assert_reads(&error, ErrorKind::NotFound, &["the object has no global variable `limits`"]);
}

#[test]
fn a_value_of_another_size_says_both_sizes() {
    let error = sample().set_global("limit", 1_u8).unwrap_err();
    let parts = ["set variable `limit`", "it has 8 bytes, the value has 1"];
    assert_reads(&error, ErrorKind::Incompatible, &parts);
}

#[test]
fn a_kernel_without_types_is_named_with_the_version_that_has_them() {
    let spec = sample();
    let linked = linker::link(&spec, &spec.programs[0]).unwrap();
    assert!(!linked.core.is_empty());
    let error = linked.relocate_without_types().unwrap_err();
    let feature = "BTF, which CO-RE relocations need";
    let text = format!("this kernel has no {feature} (Linux 5.2 and newer do)");
    let kind = ErrorKind::NotSupported { feature, since: "5.2" };
    assert_reads(&error, kind, &["relocate program `main_prog`", &text]);
}

#[test]
fn a_btf_file_that_is_none_is_named() {
    let options = LoadOptions { btf: Some("/proc/version".into()), ..LoadOptions::default() };
    let error = Object::create(sample(), options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidObject);
    assert!(error.to_string().starts_with("BTF file `/proc/version`: parse BTF: "), "{error}");
}

fn config(map_type: u32, max_entries: u32) -> MapConfig<'static> {
    let name = "errors".to_owned();
    MapConfig { name, map_type, key_size: 4, value_size: 4, max_entries, ..MapConfig::default() }
}

#[test]
fn what_the_kernel_refuses_is_told_by_kind() {
    if may_use_bpf().is_err() {
        return;
    }
    let map = Map::create(&config(map_type::HASH, 1)).unwrap();
    map.update(&[1; 4], &[0; 4], UpdateMode::Any).unwrap();
    let full = map.update(&[2; 4], &[0; 4], UpdateMode::Any).unwrap_err();
    assert_reads(&full, ErrorKind::Limit, &["bpf(BPF_MAP_UPDATE_ELEM): argument list too long"]);
    let exists = map.update(&[1; 4], &[0; 4], UpdateMode::NoExist).unwrap_err();
    assert_reads(&exists, ErrorKind::Exists, &["bpf(BPF_MAP_UPDATE_ELEM): file exists"]);
    assert_eq!(exists.errno(), Some(nix::libc::EEXIST));
    map.freeze().unwrap();
    let frozen = map.update(&[1; 4], &[0; 4], UpdateMode::Any).unwrap_err();
    assert_reads(&frozen, ErrorKind::Permission, &["bpf(BPF_MAP_UPDATE_ELEM): operation not permitted"]);
    let invalid = Map::create(&config(map_type::HASH, 0)).unwrap_err();
    let asked = "hash of 0 entries, key 4 value 4 bytes, flags 0x0";
    assert_refused_map(&invalid, asked);
    let trie = Map::create(&MapConfig { key_size: 8, ..config(map_type::LPM_TRIE, 1) }).unwrap_err();
    let asked =
        "lpm_trie of 1 entries, key 8 value 4 bytes, flags 0x0, where this type needs BPF_F_NO_PREALLOC";
    assert_refused_map(&trie, asked);
    // The kernel has the type, so that this is about the numbers.
    let ring = Map::create(&config(map_type::RINGBUF, 3)).unwrap_err();
    let asked = "ringbuf of 3 entries, key 4 value 4 bytes, flags 0x0";
    assert_refused_map(&ring, asked);
    let length = map.lookup(&[0; 3]).unwrap_err();
    assert_reads(&length, ErrorKind::Incompatible, &["key of 3 bytes for map `errors`, which takes 4"]);
    let file = Map::open_pinned("/proc/version".as_ref(), Access::ReadOnly).unwrap_err();
    assert_reads(&file, ErrorKind::Incompatible, &["this is an ordinary file, not a pinned map"]);
}

#[test]
fn a_token_of_a_place_that_delegates_nothing_is_refused_with_the_reason() {
    if may_use_bpf().is_err() {
        return;
    }
    let error = loader::kernel::token::create(std::path::Path::new("/proc")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotSupported { since: "6.9", .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.starts_with("make a BPF token of `/proc`: this kernel has no BPF token for this place"),
        "{text}"
    );
    let error = loader::kernel::token::create(std::path::Path::new("/no/such/place")).unwrap_err();
    assert_eq!(error.to_string(), "make a BPF token of `/no/such/place`: open: no such file or directory");
}

#[test]
fn a_rejection_without_types_says_why_the_kernel_did_not_take_them() {
    if may_use_bpf().is_err() {
        return;
    }
    let mut builder = ObjectBuilder::new(Endian::NATIVE);
    let code = builder.code("socket", &[exit()]);
    builder.symbol(Symbol::function("nothing", code, 0, 1));
    let mut types = BtfBuilder::new();
    types.structure("odd", 4, &[Field::new("nothing", TypeId::VOID, 0)]);
    builder.data(".BTF", &types.build(Endian::NATIVE));
    let spec = ObjectSpec::parse(&builder.build()).unwrap();
    let error = Object::create(spec, LoadOptions::default()).unwrap().load_program("nothing").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Verifier);
    let line = error.to_string();
    let start = "load program `nothing`: without the object's types (the kernel refused the BTF: ";
    let end = ": bpf(BPF_BTF_LOAD): invalid argument): rejected by the verifier: R0 !read_ok (verifier log: ";
    assert!(line.starts_with(start) && line.contains(end), "{line}");
}
