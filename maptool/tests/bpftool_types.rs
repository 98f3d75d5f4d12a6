//! Maps with types, which bpftool shows as numbers, texts and names, against the real program.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::os::fd::AsFd;
use std::path::Path;

use common::bpftool::{compare, has_bpftool};
use common::{Lacking, Sandbox, arg, skip};
use loader::Endian;
use loader::btf::encode::{BtfBuilder, Field};
use loader::btf::{Linkage, TypeId};
use loader::map::{Map, MapBtf, MapConfig, UpdateMode};
use loader::spec::map::map_type;
use loader::sys::bpf::btf_load;

#[test]
fn a_map_with_types_is_dumped_as_bpftool_dumps_it() {
    let Some(sandbox) = Sandbox::new() else { return };
    if !has_bpftool() {
        return;
    }
    sandbox.run(["create"]).ok();
    sandbox.run(["add-mntns", "4026532901", "4026532902"]).ok();
    let directory = sandbox.pin("");
    let directory = Path::new(arg(&directory).trim_end_matches('/')).to_owned();
    for words in [
        "map dump pinned @/mnt_ns_set",
        "-j map dump pinned @/mnt_ns_set",
        "-p map dump pinned @/mnt_ns_set",
        "map lookup pinned @/mnt_ns_set key hex 25 04 00 f0 00 00 00 00",
        "-j map lookup pinned @/mnt_ns_set key hex 25 04 00 f0 00 00 00 00",
        "map show pinned @/mnt_ns_set",
        "-j map show pinned @/mnt_ns_set",
    ] {
        compare(&sandbox, words, &directory, &directory);
    }
}

/// A map of these types, pinned at `name`; `build` makes the types of key and value.
fn typed_map(
    sandbox: &Sandbox,
    name: &str,
    (map_type, key_size, value_size): (u32, u32, u32),
    build: impl Fn(&mut BtfBuilder) -> (TypeId, TypeId),
) -> Map {
    let mut types = BtfBuilder::new();
    let (key, value) = build(&mut types);
    let fd = btf_load(&types.build(Endian::NATIVE), &mut [], None).unwrap();
    let config = MapConfig {
        name: name.to_owned(),
        map_type,
        key_size,
        value_size,
        max_entries: if key == TypeId::VOID { 1 } else { 7 },
        btf: Some(MapBtf { fd: fd.as_fd(), key_type_id: key.0, value_type_id: value.0 }),
        ..MapConfig::default()
    };
    let map = Map::create(&config).unwrap();
    map.pin(&sandbox.pin(name)).unwrap();
    map
}

/// All commands that show entries, in all shapes.
fn compare_all(sandbox: &Sandbox, name: &str, key: &str) {
    let directory = sandbox.pin("x").parent().unwrap().to_owned();
    for shape in ["", "-j ", "-p "] {
        for words in [
            "dump pinned @/NAME",
            "lookup pinned @/NAME key KEY",
            "getnext pinned @/NAME",
            "show pinned @/NAME",
        ] {
            let words = format!("{shape}map {}", words.replace("NAME", name).replace("KEY", key));
            compare(sandbox, &words, &directory, &directory);
        }
    }
}

/// 4 bytes of text, 4 of numbers, a truth value, characters, an enumeration, bit-fields, a union, 16 bytes of number.
fn everything(types: &mut BtfBuilder) -> TypeId {
    let char = types.int("char", 1, 1);
    let byte = types.int("unsigned char", 1, 0);
    let truth = types.int("_Bool", 1, 4);
    let letter = types.int("letter", 1, 2);
    let (short, int) = (types.int("short", 2, 1), types.int("unsigned int", 4, 0));
    let wide = types.int("__int128", 16, 1);
    let (text, bytes) = (types.array(char, int, 4), types.array(byte, int, 4));
    let name = types.typedef("name_t", char);
    let named = types.array(name, int, 2);
    let colour = types.enumeration("colour", 4, false, &[("RED", 1), ("GREEN", -2)]);
    let bits = [
        Field::bits("three", int, 0, 3),
        Field::bits("seven", int, 3, 7),
        Field::bits("twenty", int, 10, 20),
    ];
    let bits = types.structure("bits", 4, &bits);
    let either = types.union("either", 4, &[Field::new("number", int, 0), Field::new("bytes", bytes, 0)]);
    let kept = types.constant(short);
    let fields = [
        ("text", text, 0),
        ("bytes", bytes, 4),
        ("truth", truth, 8),
        ("letter", letter, 9),
        ("short", kept, 10),
        ("colour", colour, 12),
        ("bits", bits, 16),
        ("", either, 20),
        ("name", named, 24),
        ("wide", wide, 32),
    ];
    types.structure("everything", 48, &fields.map(|(name, ty, at)| Field::new(name, ty, at)))
}

#[test]
fn numbers_texts_names_and_bit_fields_are_shown_as_bpftool_shows_them() {
    let Some(sandbox) = Sandbox::new() else { return };
    if !has_bpftool() {
        return;
    }
    let map = typed_map(&sandbox, "all", (map_type::HASH, 4, 48), |types| {
        (types.int("key", 4, 0), everything(types))
    });
    let mut value: Vec<u8> = (0..48_u8).map(|byte| byte.wrapping_mul(37).wrapping_add(11)).collect();
    for (key, text, letter, colour) in [
        (1_u32, *b"abc\0", b'A', 1_i32),
        (2, *b"abcd", 7, -2),
        (3, *b"a\x01b\0", b'\n', 99),
        (4, [0; 4], 0xff, 0),
    ] {
        value[..4].copy_from_slice(&text);
        value[8] = u8::from(key == 1);
        value[9] = letter;
        value[12..16].copy_from_slice(&colour.to_ne_bytes());
        if key == 4 {
            value[16..].fill(0);
        }
        map.update(&key.to_ne_bytes(), &value, UpdateMode::Any).unwrap();
    }
    let key: Vec<String> = 1_u32.to_ne_bytes().iter().map(u8::to_string).collect();
    compare_all(&sandbox, "all", &key.join(" "));
}

#[test]
fn values_of_cpus_and_variables_of_a_program_are_shown_as_bpftool_shows_them() {
    let Some(sandbox) = Sandbox::new() else { return };
    if !has_bpftool() {
        return;
    }
    let array = typed_map(&sandbox, "cpus", (map_type::PERCPU_ARRAY, 4, 4), |types| {
        let int = types.int("int", 4, 1);
        (int, types.typedef("count", int))
    });
    assert!(array.is_per_cpu());
    compare_all(&sandbox, "cpus", "0 0 0 0");
    let variables = typed_map(&sandbox, "data", (map_type::ARRAY, 4, 8), |types| {
        let int = types.int("int", 4, 1);
        let (one, two) = (types.var("one", int, Linkage::Global), types.var("two", int, Linkage::Static));
        (TypeId::VOID, types.datasec(".data", 8, &[(one, 0, 4), (two, 4, 4)]))
    });
    variables.update(&[0; 4], &[[7, 0, 0, 0], [0xff; 4]].concat(), UpdateMode::Any).unwrap();
    compare_all(&sandbox, "data", "0 0 0 0");
}

/// What bpftool prints there is no JSON.
#[test]
fn what_json_has_no_form_for_is_quoted_or_shown_as_bytes() {
    let Some(sandbox) = Sandbox::new() else { return };
    let map = typed_map(&sandbox, "pointer", (map_type::HASH, 4, 8), |types| {
        (types.int("key", 4, 0), types.ptr(TypeId::VOID))
    });
    let dump = |words: &[&str]| sandbox.run([&["map", "dump", "name"], words].concat()).ok();
    let parse = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    map.update(&[0; 4], &0_u64.to_ne_bytes(), UpdateMode::Any).unwrap();
    assert_eq!(parse(dump(&["pointer"]))[0]["value"], "(nil)");
    map.update(&[0; 4], &0xffff_8881_u64.to_ne_bytes(), UpdateMode::Any).unwrap();
    assert_eq!(parse(dump(&["pointer"]))[0]["value"], "0xffff8881");
    assert_eq!(parse(dump(&["pointer", "-j"]))[0]["formatted"]["value"], 0xffff_8881_u64);
    let map = typed_map(&sandbox, "text", (map_type::HASH, 4, 4), |types| {
        let (int, char) = (types.int("int", 4, 0), types.int("char", 1, 1));
        (int, types.array(char, int, 4))
    });
    map.update(&[0; 4], b"\\'\"\0", UpdateMode::Any).unwrap();
    assert_eq!(parse(dump(&["text"]))[0]["value"], "\\'\"");
    assert_eq!(parse(dump(&["text", "-j"]))[0]["formatted"]["value"], "\\'\"");
    if !has_float() {
        return skip(&Lacking::Kernel("floating point numbers in BTF (5.13)"));
    }
    let map = typed_map(&sandbox, "float", (map_type::HASH, 4, 4), |types| {
        let fields = |ty| [Field::new("f", ty, 0)];
        let float = types.float("float", 4);
        (types.int("int", 4, 0), types.structure("holder", 4, &fields(float)))
    });
    map.update(&[0; 4], &1.5_f32.to_ne_bytes(), UpdateMode::Any).unwrap();
    assert_eq!(parse(dump(&["float"]))[0]["value"].as_array().unwrap().len(), 4);
    assert!(parse(dump(&["float", "-j"]))[0].get("formatted").is_none());
}

fn has_float() -> bool {
    let mut types = BtfBuilder::new();
    types.float("float", 4);
    btf_load(&types.build(Endian::NATIVE), &mut [], None).is_ok()
}
