//! Reading objects that are built here, well-formed and hostile, in both byte orders. Needs nothing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use common::elf::{ABS64, LOCAL, NOBITS, ObjectBuilder, R64_64, Symbol};
use common::sample::{self, MapTypes, call, exit, load, set};
use loader::btf::encode::{BtfBuilder, BtfFeatures, Field, for_kernel};
use loader::btf::{Btf, BtfData, IntInfo, Linkage, TypeId};
use loader::section::{Target, program_type};
use loader::spec::map::{map_flag, map_type};
use loader::spec::{ExternKind, InitialTarget, InitialValue, ObjectSpec, Pinning, RelocTarget};
use loader::{Endian, ErrorKind, linker};

const ORDERS: [Endian; 2] = [Endian::Little, Endian::Big];

#[test]
fn an_object_of_either_byte_order_gives_the_same_spec() {
    let [little, big] = ORDERS.map(|endian| ObjectSpec::parse(&sample::object(endian)).unwrap());
    assert_eq!((little.endian, big.endian), (Endian::Little, Endian::Big));
    let strip = |spec: &ObjectSpec| {
        let maps: Vec<_> = spec.maps.iter().filter(|map| map.name != ".data").cloned().collect();
        let links: Vec<_> = spec
            .programs
            .iter()
            .map(|program| linker::link(spec, program).unwrap())
            .map(|p| (p.insns, p.relocations, p.func_info, p.source_lines, p.core, p.functions))
            .collect();
        (maps, spec.externs.clone(), spec.globals().to_vec(), spec.license.clone(), links)
    };
    assert_eq!(strip(&little), strip(&big));
    assert_eq!(little.global("table").unwrap(), [7, 0, 0, 0, 9, 0, 0, 0]);
    assert_eq!(big.global("table").unwrap(), [0, 0, 0, 7, 0, 0, 0, 9]);
}

#[test]
fn a_spec_says_what_the_object_says() {
    for endian in ORDERS {
        let spec = ObjectSpec::parse(&sample::object(endian)).unwrap();
        assert_eq!(spec.license, "GPL");
        assert_eq!(spec.programs.len(), 1);
        let program = spec.program("main_prog").unwrap();
        assert_eq!(program.kind.target, Target::BtfTracepoint { name: "sched_process_exec".into() });
        assert!(program.autoload);

        let names: Vec<&str> = spec.maps.iter().map(|map| map.name.as_str()).collect();
        assert_eq!(names, ["events", "set", "slot", "outer", ".rodata", ".data", ".bss", ".kconfig"]);
        let events = spec.map("events").unwrap();
        assert_eq!((events.map_type, events.max_entries), (map_type::RINGBUF, 4096));
        assert_eq!((events.key_size, events.value_size), (0, 0), "the kernel takes no sizes here");
        let record = spec.btf.as_ref().unwrap().type_by_id(events.value_type_id).unwrap();
        assert_eq!(record.name().unwrap(), "event");
        let set = spec.map("set").unwrap();
        assert_eq!((set.key_size, set.value_size, set.pinning), (4, 8, Pinning::ByName));
        let outer = spec.map("outer").unwrap();
        let inner = outer.inner.as_deref().unwrap();
        assert_eq!((outer.value_size, inner.name.as_str(), inner.value_size), (4, "outer.inner", 8));
        let value = InitialValue { slot: 1, target: InitialTarget::Map { index: 2 } };
        assert_eq!(outer.initial_values, [value]);

        let rodata = spec.map(".rodata").unwrap();
        assert_eq!(rodata.flags, map_flag::RDONLY_PROG | map_flag::MMAPABLE);
        assert!(rodata.freeze);
        let bss = spec.map(".bss").unwrap();
        assert_eq!((bss.flags, bss.freeze), (0, false), "nothing but static variables");
        assert_eq!(bss.contents.as_deref(), Some(&[0; 16][..]));

        let externs: Vec<_> = spec.externs.iter().map(|e| (e.name.as_str(), e.weak)).collect();
        assert_eq!(externs, [("LINUX_KERNEL_VERSION", false), ("bpf_rcu_read_lock", true)]);
        assert!(matches!(spec.externs[0].kind, ExternKind::Kconfig { size: 4, .. }));
        assert!(matches!(spec.externs[1].kind, ExternKind::Function { .. }));
    }
}

#[test]
fn the_kernel_is_told_where_variables_are() {
    let spec = ObjectSpec::parse(&sample::object(Endian::Little)).unwrap();
    let rodata = &spec.btf_fixups.datasecs[".rodata"];
    assert_eq!((rodata.size, rodata.variables["limit"].offset), (16, 8));
    assert_eq!(spec.btf_fixups.datasecs[".bss"].size, 16);
    assert!(!spec.btf_fixups.datasecs[".bss"].variables.contains_key("count"), "static: the compiler knows");
    let kconfig = &spec.btf_fixups.datasecs[".kconfig"];
    assert_eq!(
        (kconfig.size, kconfig.variables["LINUX_KERNEL_VERSION"].offset),
        (4, 0),
        "it is laid out here"
    );
}

#[test]
fn static_variables_of_one_name_keep_their_places() {
    // As in an object that was linked from two files (`bpftool gen object`).
    let mut btf = BtfBuilder::new();
    let long = btf.int("unsigned long", 8, 0);
    let [one, other] = [0, 8].map(|at| (btf.var("seen", long, Linkage::Static), at, 8));
    let shared = (btf.var("shared", long, Linkage::Global), 0, 8);
    let section = btf.datasec(".bss", 0, &[shared, other, one]);
    let mut builder = ObjectBuilder::new(Endian::Little);
    let bss = builder.zeros(".bss", 24);
    builder.data(".BTF", &btf.build(Endian::Little));
    builder.symbol(Symbol::object("seen", bss, 0, 8).bound(LOCAL));
    builder.symbol(Symbol::object("seen", bss, 8, 8).bound(LOCAL));
    builder.symbol(Symbol::object("shared", bss, 16, 8));
    let mut spec = ObjectSpec::parse(&builder.build()).unwrap();
    let bytes = for_kernel(spec.btf.as_ref().unwrap(), &spec.btf_fixups, &BtfFeatures::ALL).unwrap();
    let btf = Btf::parse(BtfData::from(bytes)).unwrap();
    let places: Vec<_> =
        btf.type_by_id(section).unwrap().section_vars().map(|var| (var.type_id, var.offset)).collect();
    assert_eq!(places, [(one.0, 0), (other.0, 8), (shared.0, 16)]);
    assert_eq!(spec.set_global("seen", 1_u64).unwrap_err().kind(), ErrorKind::Incompatible, "which one?");
}

#[test]
fn a_global_is_set_in_the_byte_order_of_the_object() {
    for endian in ORDERS {
        let mut spec = ObjectSpec::parse(&sample::object(endian)).unwrap();
        spec.set_global("limit", 0x0102_0304_0506_0708_u64).unwrap();
        assert_eq!(spec.global("limit").unwrap(), endian.u64_bytes(0x0102_0304_0506_0708));
        spec.set_global("flag", true).unwrap();
        spec.set_global("count", 5_u64).unwrap();
        spec.set_global("table", &[1_u8; 8][..]).unwrap();
        assert_eq!(spec.get_global::<u64>("limit").unwrap(), 0x0102_0304_0506_0708);
        assert!(spec.get_global::<bool>("flag").unwrap());
        assert_eq!(spec.get_global::<[u8; 8]>("table").unwrap(), [1; 8]);
        let rodata = spec.map(".rodata").unwrap().contents.as_deref().unwrap();
        assert_eq!(rodata[..8], [1, 0, 0, 0, 0, 0, 0, 0], "the neighbours stay as they are");
        assert_eq!(rodata[8..], endian.u64_bytes(0x0102_0304_0506_0708));
    }
}

#[test]
fn a_global_refuses_values_of_another_type() {
    let mut spec = ObjectSpec::parse(&sample::object(Endian::Little)).unwrap();
    assert_eq!(spec.set_global("limt", 1_u64).unwrap_err().kind(), ErrorKind::NotFound);
    let refusals = [
        spec.set_global("limit", 1_u32),
        spec.set_global("limit", 1_i64),
        spec.set_global("limit", [0_u8; 9]),
        spec.set_global("flag", 1_u8),
        spec.set_global("table", 1_u64),
    ];
    for refusal in refusals {
        assert_eq!(refusal.unwrap_err().kind(), ErrorKind::Incompatible);
    }
    assert_eq!(spec.global("limit").unwrap(), [0; 8]);
    let error = spec.get_global::<u32>("limit").unwrap_err();
    assert_eq!(error.to_string(), "read variable `limit`: it has 8 bytes, the value has 4");
    let error = spec.get_global::<i64>("limit").unwrap_err();
    assert_eq!(error.to_string(), "read variable `limit`: it is int `unsigned long`, no signed value");
}

#[test]
fn a_byte_takes_numbers_of_either_sign_but_no_truth_value() {
    let mut btf = BtfBuilder::new();
    let byte = btf.int("unsigned char", 1, 0);
    let tiny = btf.var("tiny", byte, Linkage::Global);
    btf.datasec(".data", 0, &[(tiny, 0, 1)]);
    let mut builder = ObjectBuilder::new(Endian::Little);
    let data = builder.data(".data", &[0]);
    builder.data(".BTF", &btf.build(Endian::Little));
    builder.symbol(Symbol::object("tiny", data, 0, 1));
    let mut spec = ObjectSpec::parse(&builder.build()).unwrap();
    spec.set_global("tiny", 200_u8).unwrap();
    spec.set_global("tiny", -1_i8).unwrap();
    assert_eq!(spec.set_global("tiny", true).unwrap_err().kind(), ErrorKind::Incompatible);
    assert_eq!(spec.global("tiny").unwrap(), [0xff]);
}

#[test]
fn what_is_not_a_bpf_object_is_refused() {
    let built = |edit: &dyn Fn(&mut ObjectBuilder)| {
        let mut builder = ObjectBuilder::new(Endian::Little);
        let section = builder.code("socket", &[set(0), exit()]);
        builder.symbol(Symbol::function("f", section, 0, 2));
        edit(&mut builder);
        ObjectSpec::parse(&builder.build())
    };
    assert!(built(&|_| {}).is_ok());
    assert!(built(&|builder| builder.machine = 0).is_ok(), "old compilers wrote EM_NONE");
    let refusals = [
        (built(&|builder| builder.machine = 62), "machine 62"),
        (built(&|builder| builder.elf_type = 2), "ELF type 2"),
        (built(&|builder| builder.with_symbols = false), "stripped"),
        (
            built(&|builder| {
                builder.section("extra", 2, 0, vec![0; 24]);
            }),
            "more than one symbol table",
        ),
        (
            built(&|builder| {
                builder.section(".rela", 4, 0, vec![0; 24]);
            }),
            "SHT_RELA",
        ),
        (
            built(&|builder| {
                builder.zeros(".bss", 1 << 40);
            }),
            "zeroed data",
        ),
        (
            built(&|builder| {
                builder.symbol(Symbol::function("g", 1, 1, 2));
            }),
            "leave a section of 2",
        ),
        (
            built(&|builder| {
                builder.symbol(Symbol::object("g", 99, 0, 0));
            }),
            "no section number 99",
        ),
        (
            built(&|builder| {
                builder.symbol(Symbol::undefined(&"x".repeat(600)));
            }),
            "does not end",
        ),
    ];
    for (refusal, text) in refusals {
        let error = refusal.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidObject);
        assert!(error.to_string().contains(text), "{error}");
    }
    assert!(ObjectSpec::parse(b"").is_err());
    assert!(ObjectSpec::parse(b"\x7fELF").is_err());
}

#[test]
fn sections_that_share_bytes_are_refused() {
    // Thousands of headers for the same bytes would make a small file cost gigabytes.
    let mut object = sample::object(Endian::Little);
    let table = usize::try_from(u64::from_le_bytes(object[40..48].try_into().unwrap())).unwrap();
    let size = object.len() as u64;
    object[table + 64 + 24..table + 64 + 32].copy_from_slice(&0_u64.to_le_bytes());
    object[table + 64 + 32..table + 64 + 40].copy_from_slice(&size.to_le_bytes());
    let error = ObjectSpec::parse(&object).unwrap_err();
    assert!(error.to_string().contains("in a file of"), "{error}");
}

/// Makes the members of a map definition; gets the id of `int`.
type Members<'a> = &'a dyn Fn(&mut MapTypes<'_>, TypeId) -> Vec<(&'static str, TypeId)>;

/// An object with one map `m` that is defined by `members`.
fn map_object(linkage: Linkage, members: Members<'_>) -> Vec<u8> {
    let mut btf = BtfBuilder::new();
    let int = btf.int("int", 4, IntInfo::SIGNED);
    let mut types = MapTypes { btf: &mut btf, int };
    let members = members(&mut types, int);
    let (id, size) = types.definition(&members);
    let var = btf.var("m", id, linkage);
    btf.datasec(".maps", 0, &[(var, 0, size)]);
    let mut builder = ObjectBuilder::new(Endian::Little);
    let section = builder.data(".maps", &vec![0; size as usize]);
    builder.data(".BTF", &btf.build(Endian::Little));
    builder.symbol(Symbol::object("m", section, 0, u64::from(size)));
    builder.build()
}

#[test]
fn every_map_attribute_is_read() {
    let object = map_object(Linkage::Global, &|types, _| {
        let extra = types.btf.enumeration64("", 8, false, &[("x", 1 << 44)]);
        vec![
            ("type", types.uint(map_type::ARENA)),
            ("max_entries", types.uint(3)),
            ("map_flags", types.uint(1 << 10)),
            ("numa_node", types.uint(1)),
            ("key_size", types.uint(4)),
            ("value_size", types.uint(12)),
            ("map_extra", extra),
        ]
    });
    let spec = ObjectSpec::parse(&object).unwrap();
    let map = spec.map("m").unwrap();
    assert_eq!((map.max_entries, map.flags, map.numa_node), (3, 1 << 10, Some(1)));
    assert_eq!((map.key_size, map.value_size, map.map_extra), (4, 0, 1 << 44));
}

#[test]
fn a_perf_event_array_has_the_sizes_that_the_kernel_wants() {
    let object = map_object(Linkage::Global, &|types, _| {
        let event = types.btf.structure("event", 64, &[]);
        vec![("type", types.uint(map_type::PERF_EVENT_ARRAY)), ("value", types.of(event))]
    });
    let spec = ObjectSpec::parse(&object).unwrap();
    assert_eq!((spec.maps[0].key_size, spec.maps[0].value_size), (4, 4));
}

#[test]
fn a_malformed_map_is_refused_by_name() {
    let cases: [(Members<'_>, &str); 8] = [
        (&|types, _| vec![("max_entries", types.uint(1))], "`type` is missing"),
        (&|types, _| vec![("type", types.uint(1)), ("colour", types.uint(1))], "`colour`: unknown attribute"),
        (&|types, _| vec![("type", types.uint(1)), ("type", types.uint(2))], "given twice"),
        (
            &|types, int| vec![("type", types.uint(1)), ("key", types.of(int)), ("key_size", types.uint(8))],
            "key size 8",
        ),
        (&|_, int| vec![("type", int)], "__uint()"),
        (&|types, _| vec![("type", types.uint(1)), ("key", types.of(TypeId(0)))], "no size"),
        (
            &|types, int| {
                let proto = types.btf.func_proto(&[], int);
                let pointer = types.btf.ptr(proto);
                let values = types.btf.array(pointer, int, 0);
                vec![("type", types.uint(1)), ("values", values)]
            },
            "map type 1 cannot have these `values`",
        ),
        (
            &|types, int| {
                let (pinned, _) = {
                    let one = types.uint(1);
                    types.definition(&[("type", one), ("pinning", one)])
                };
                let pointer = types.btf.ptr(pinned);
                let values = types.btf.array(pointer, int, 0);
                vec![("type", types.uint(12)), ("values", values)]
            },
            "inside of a map has no such attribute",
        ),
    ];
    for (members, text) in cases {
        let error = ObjectSpec::parse(&map_object(Linkage::Global, members)).unwrap_err();
        assert!(error.to_string().contains("read map `m`"), "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
    let error = ObjectSpec::parse(&map_object(Linkage::Static, &|types, _| vec![("type", types.uint(1))]));
    assert!(error.unwrap_err().to_string().contains("must be a global variable"));
}

/// cilium/ebpf opens such an object, too; libbpf refuses it.
#[test]
fn a_pinning_of_no_meaning_spoils_the_map_and_not_the_object() {
    let members: Members<'_> = &|types, _| vec![("type", types.uint(1)), ("pinning", types.uint(2))];
    let spec = ObjectSpec::parse(&map_object(Linkage::Global, members)).unwrap();
    assert_eq!(spec.map("m").unwrap().pinning, Pinning::Unknown(2));
}

#[test]
fn a_map_definition_inside_itself_is_refused() {
    let object = map_object(Linkage::Global, &|types, int| {
        let number = types.uint(map_type::ARRAY_OF_MAPS);
        let pointer = types.btf.ptr(TypeId(0));
        let values = types.btf.array(pointer, int, 0);
        let inner =
            types.btf.structure("d", 16, &[Field::new("type", number, 0), Field::new("values", values, 8)]);
        types.btf.retarget(pointer, inner);
        vec![("type", number), ("values", values)]
    });
    assert!(ObjectSpec::parse(&object).unwrap_err().to_string().contains("has no such attribute"));
}

#[test]
fn legacy_maps_are_five_numbers() {
    let legacy = |extra: u32| {
        let mut builder = ObjectBuilder::new(Endian::Big);
        let words = [1, 4, 8, 100, 1, extra, 2, 4, 16, 1, 0, 0];
        let bytes: Vec<u8> = words.iter().flat_map(|&word: &u32| word.to_be_bytes()).collect();
        let maps = builder.data("maps", &bytes);
        let second = builder.symbol(Symbol::object("second", maps, 24, 24));
        builder.symbol(Symbol::object("first", maps, 0, 24));
        let code = builder.code("socket", &[&load(0)[..], &[exit()]].concat());
        builder.symbol(Symbol::function("f", code, 0, 3));
        builder.relocate(code, 0, second, R64_64);
        ObjectSpec::parse(&builder.build())
    };
    let spec = legacy(0).unwrap();
    let maps: Vec<_> =
        spec.maps.iter().map(|m| (m.name.as_str(), m.map_type, m.value_size, m.flags)).collect();
    assert_eq!(maps, [("first", 1, 8, 1), ("second", 2, 16, 0)]);
    let linked = linker::link(&spec, &spec.programs[0]).unwrap();
    assert_eq!(linked.relocations[0].target, loader::spec::RelocTarget::Map { index: 1 });
    assert!(spec.maps[0].extra.is_empty());
    let dialect = legacy(3).unwrap();
    assert_eq!(dialect.maps[0].extra, [0, 0, 0, 3], "a dialect is kept, and refused when the map is created");
}

/// gobpf's way, in which opensnitch's objects are built to this day: cilium/ebpf opens them, and libbpf never did.
#[test]
fn each_legacy_map_may_have_a_section_of_its_own() {
    let mut builder = ObjectBuilder::new(Endian::Little);
    let code = builder.code("socket", &[&load(0)[..], &[exit()]].concat());
    builder.symbol(Symbol::function("f", code, 0, 3));
    let [_, second] = [("one", 8), ("two", 16)].map(|(name, value_size)| {
        let words = [1, 4, value_size, 100, 0].map(u32::to_le_bytes).concat();
        let section = builder.data(&format!("maps/{name}"), &words);
        builder.symbol(Symbol::object(name, section, 0, 20))
    });
    builder.relocate(code, 0, second, R64_64);
    let spec = ObjectSpec::parse(&builder.build()).unwrap();
    assert_eq!((spec.maps[0].value_size, spec.maps[1].value_size), (8, 16));
    let linked = linker::link(&spec, &spec.programs[0]).unwrap();
    assert_eq!(linked.relocations[0].target, loader::spec::RelocTarget::Map { index: 1 });
}

#[test]
fn a_prog_array_names_its_programs() {
    let mut btf = BtfBuilder::new();
    let int = btf.int("int", 4, IntInfo::SIGNED);
    let mut types = MapTypes { btf: &mut btf, int };
    let proto = types.btf.func_proto(&[], int);
    let pointer = types.btf.ptr(proto);
    let slots = types.btf.array(pointer, int, 0);
    let (kind, four) = (types.uint(map_type::PROG_ARRAY), types.uint(4));
    let (id, size) =
        types.definition(&[("type", kind), ("key_size", four), ("max_entries", four), ("values", slots)]);
    let var = btf.var("jumps", id, Linkage::Global);
    btf.datasec(".maps", 0, &[(var, 0, size)]);
    let build = |form, offset: u64, target: &str| {
        let mut builder = ObjectBuilder::new(Endian::Little);
        let maps = builder.data(".maps", &vec![0; size as usize + 16]);
        builder.data(".BTF", &btf.build(Endian::Little));
        let code = builder.code("socket", &[set(0), exit(), set(1), exit()]);
        builder.symbol(Symbol::object("jumps", maps, 0, u64::from(size) + 16));
        let symbols = [
            ("one", builder.symbol(Symbol::function("one", code, 0, 2))),
            ("two", builder.symbol(Symbol::function("two", code, 2, 2))),
            ("jumps", 1),
        ];
        let symbol = symbols.iter().find(|(name, _)| *name == target).unwrap().1;
        builder.relocate(maps, offset, symbol, form);
        ObjectSpec::parse(&builder.build())
    };
    let values = [ABS64, R64_64].map(|form| build(form, 40, "two").unwrap().maps[0].initial_values[0]);
    let second = InitialValue { slot: 2, target: InitialTarget::Program { index: 1 } };
    assert_eq!(values, [second; 2], "clang before 13 had one type of relocation for all addresses");
    for (offset, target) in [(24, "jumps"), (27, "one"), (8, "one"), (48, "one")] {
        assert!(build(ABS64, offset, target).is_err(), "{offset} {target}");
    }
}

/// Four of the kernel's selftests have variables in an arena. They are the arena's: the object was refused.
#[test]
fn variables_in_an_arena_are_its_contents() {
    let mut btf = BtfBuilder::new();
    let int = btf.int("int", 4, IntInfo::SIGNED);
    let mut types = MapTypes { btf: &mut btf, int };
    let (kind, pages) = (types.uint(map_type::ARENA), types.uint(3));
    let (id, size) = types.definition(&[("type", kind), ("max_entries", pages)]);
    let var = btf.var("arena", id, Linkage::Global);
    btf.datasec(".maps", 0, &[(var, 0, size)]);
    let mut builder = ObjectBuilder::new(Endian::Little);
    let maps = builder.data(".maps", &vec![0; size as usize]);
    builder.data(".BTF", &btf.build(Endian::Little));
    let variables = builder.data(".addr_space.1", &[0, 0, 0, 0, 7, 0, 0, 0]);
    let [first, second] = load(0);
    let code = builder.code("syscall", &[first, second, set(0), exit()]);
    builder.symbol(Symbol::object("arena", maps, 0, size.into()));
    builder.symbol(Symbol::function("prog", code, 0, 4));
    let seven = builder.symbol(Symbol::object("seven", variables, 4, 4));
    builder.relocate(code, 0, seven, R64_64);
    let spec = ObjectSpec::parse(&builder.build()).unwrap();
    assert_eq!(spec.maps.len(), 1);
    assert_eq!(spec.maps[0].contents.as_deref(), Some(&[0, 0, 0, 0, 7, 0, 0, 0][..]));
    let global = spec.globals().iter().find(|global| global.name == "seven").unwrap();
    assert_eq!((global.map, global.offset, global.size), (0, 4, 4));
    let linked = linker::link(&spec, &spec.programs[0]).unwrap();
    assert_eq!(linked.relocations[0].target, RelocTarget::Data { map: 0, offset: 4 });
}

#[test]
fn a_static_function_in_a_program_section_is_no_program() {
    let mut builder = ObjectBuilder::new(Endian::Little);
    let code = builder.code("?socket", &[set(1), exit(), call(-3), exit()]);
    builder.symbol(Symbol::function("quiet", code, 0, 2).bound(LOCAL));
    builder.symbol(Symbol::function("loud", code, 2, 2));
    let spec = ObjectSpec::parse(&builder.build()).unwrap();
    assert_eq!(spec.programs.len(), 1);
    assert!(!spec.programs[0].autoload);
    assert_eq!(spec.programs[0].section_name, "?socket");
    assert_eq!(linker::link(&spec, &spec.programs[0]).unwrap().insns, [call(1), exit(), set(1), exit()]);
}

/// A kernel selftest has spin locks in `private(A)` variables, which are hidden: its section is nobody's to map, as with libbpf.
#[test]
fn a_data_section_is_mmapable_only_if_it_has_a_variable_that_others_can_see() {
    let flags = |linkage, hidden: bool| {
        let mut btf = BtfBuilder::new();
        let int = btf.int("int", 4, 1);
        let variable = btf.var("v", int, linkage);
        btf.datasec(".data.A", 0, &[(variable, 0, 4)]);
        let mut builder = ObjectBuilder::new(Endian::Little);
        let data = builder.data(".data.A", &[0; 4]);
        let symbol = Symbol::object("v", data, 0, 4);
        builder.symbol(if hidden { symbol.hide() } else { symbol });
        builder.data(".BTF", &btf.build(Endian::Little));
        ObjectSpec::parse(&builder.build()).unwrap().maps[0].flags
    };
    assert_eq!(flags(Linkage::Global, false), map_flag::MMAPABLE);
    assert_eq!(flags(Linkage::Global, true), 0);
    assert_eq!(flags(Linkage::Static, false), 0);
}

/// pwru names its sections `kprobe/skb-1` and attaches the programs to other functions itself. libbpf reads a target only
/// when it attaches, so nothing else may fail for it.
#[test]
fn a_section_name_whose_target_is_none_refuses_neither_the_object_nor_its_other_programs() {
    let mut builder = ObjectBuilder::new(Endian::Little);
    for (name, section) in
        [("labelled", "kprobe/skb-1"), ("half", "?tp/syscalls"), ("whole", "kprobe/vfs_open")]
    {
        let code = builder.code(section, &[set(0), exit()]);
        builder.symbol(Symbol::function(name, code, 0, 2));
    }
    let spec = ObjectSpec::parse(&builder.build()).unwrap();
    let kind = |name: &str| spec.program(name).unwrap().kind.clone();
    assert_eq!(kind("labelled").program_type, program_type::KPROBE);
    assert_eq!(
        kind("labelled").target,
        Target::Malformed { why: "`skb-1` is not the name of a kernel symbol".into() }
    );
    assert_eq!(kind("half").target, Target::Malformed { why: "`syscalls` is not `CATEGORY/NAME`".into() });
    assert_eq!(
        kind("whole").target,
        Target::Kprobe { symbol: "vfs_open".into(), offset: 0, at_return: false }
    );
}

/// Parses and links; what comes out does not matter, that it comes out does.
fn survive(object: &[u8]) -> bool {
    let Ok(spec) = ObjectSpec::parse(object) else { return false };
    for program in &spec.programs {
        let _ = linker::link(&spec, program);
    }
    true
}

#[test]
fn a_truncated_object_is_an_error_and_never_a_panic() {
    for endian in ORDERS {
        let object = sample::object(endian);
        for len in 0..object.len() {
            assert!(!survive(&object[..len]), "the section headers are at the end: {len} bytes cannot do");
        }
        assert!(survive(&object));
    }
}

#[test]
fn no_flipped_bit_makes_the_parser_panic_or_linger() {
    let start = Instant::now();
    let mut survivors = 0_u32;
    for (endian, patterns) in [(Endian::Little, &[0x01, 0x80][..]), (Endian::Big, &[0xff])] {
        let mut object = sample::object(endian);
        for at in 0..object.len() {
            for pattern in patterns {
                object[at] ^= pattern;
                let began = Instant::now();
                survivors += u32::from(survive(&object));
                assert!(began.elapsed() < Duration::from_secs(2), "byte {at} with {pattern:#x}");
                object[at] ^= pattern;
            }
        }
    }
    assert!(survivors > 100, "most flips in unused bytes are harmless; {survivors} were");
    assert!(start.elapsed() < Duration::from_secs(120), "{:?}", start.elapsed());
}

#[test]
fn no_hostile_word_makes_the_parser_panic() {
    for (endian, words) in [(Endian::Little, [u32::MAX, 0x7fff_ffff]), (Endian::Big, [0, u32::MAX - 7])] {
        let mut object = sample::object(endian);
        for at in (0..object.len() - 4).step_by(4) {
            let was: [u8; 4] = object[at..at + 4].try_into().unwrap();
            for word in words {
                object[at..at + 4].copy_from_slice(&endian.u32_bytes(word));
                survive(&object);
            }
            object[at..at + 4].copy_from_slice(&was);
        }
    }
}

#[test]
fn an_object_may_lie_at_any_address() {
    let object = sample::object(Endian::Little);
    for shift in 0..8 {
        let mut moved = vec![0; shift];
        moved.extend_from_slice(&object);
        assert!(survive(&moved[shift..]), "shifted by {shift}");
    }
}

#[test]
fn empty_data_sections_make_no_maps() {
    let mut builder = ObjectBuilder::new(Endian::Little);
    builder.data(".data", &[]);
    builder.section(".bss", NOBITS, 3, Vec::new());
    builder.data(".rodata.str1.1", b"text\0");
    builder.data(".database", &[1]);
    let spec = ObjectSpec::parse(&builder.build()).unwrap();
    let names: Vec<_> = spec.maps.iter().map(|map| map.name.as_str()).collect();
    assert_eq!(names, [".rodata.str1.1"]);
}
