//! Objects as clang writes them, in both byte orders, with `goblin` as a second opinion. Needs clang.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::cast_possible_truncation, reason = "goblin counts in u64")]

mod common;

use std::collections::BTreeMap;

use common::clang::{Skipped, compile, compile_both};
use loader::Endian;
use loader::btf::encode::{BtfFeatures, for_kernel};
use loader::btf::{Btf, BtfData, Kind};
use loader::section::{Target, program_type};
use loader::spec::map::{map_flag, map_type};
use loader::spec::{ExternKind, InitialTarget, MapSpec, ObjectSpec, Pinning};

/// A test that may be skipped; the skip has been said aloud by then.
fn unless_skipped(test: impl FnOnce() -> Result<(), Skipped>) {
    drop(test());
}

#[test]
fn the_maps_of_a_compiled_object_are_those_of_its_source() {
    unless_skipped(|| {
        for object in compile_both("maps")? {
            check_maps(&ObjectSpec::parse(&object).unwrap());
        }
        Ok(())
    });
}

fn check_maps(spec: &ObjectSpec) {
    let map = |name: &str| spec.map(name).unwrap();
    let events = map("events");
    assert_eq!((events.map_type, events.max_entries), (map_type::RINGBUF, 8192));
    let btf = spec.btf.as_ref().unwrap();
    assert_eq!(btf.type_by_id(events.value_type_id).unwrap().name().unwrap(), "event");
    let members = map("members");
    let numbers =
        (members.map_type, members.key_size, members.value_size, members.max_entries, members.flags);
    assert_eq!(numbers, (map_type::HASH, 8, 4, 16384, map_flag::NO_PREALLOC));
    assert_eq!(members.pinning, Pinning::ByName);
    let samples = map("samples");
    assert_eq!((samples.key_size, samples.value_size, samples.max_entries), (4, 4, 0));

    let index = |name: &str| spec.maps.iter().position(|map| map.name == name).unwrap();
    let program = |name: &str| spec.programs.iter().position(|program| program.name == name).unwrap();
    let values = |map: &MapSpec| map.initial_values.iter().map(|v| (v.slot, v.target)).collect::<Vec<_>>();
    let (first, second) = (index("first"), index("second"));
    let expected = [(1, InitialTarget::Map { index: second }), (4, InitialTarget::Map { index: first })];
    assert_eq!(values(map("table")), expected);
    let inner = map("table").inner.as_deref().unwrap();
    assert_eq!((inner.map_type, inner.max_entries, inner.value_size), (map_type::ARRAY, 3, 8));
    let (tail, entry) = (program("tail"), program("entry"));
    let expected =
        [(0, InitialTarget::Program { index: tail }), (1, InitialTarget::Program { index: entry })];
    assert_eq!(values(map("jumps")), expected);
}

#[test]
fn the_variables_of_a_compiled_object_are_found_and_set() {
    unless_skipped(|| {
        for object in compile_both("maps")? {
            let mut spec = ObjectSpec::parse(&object).unwrap();
            let endian = spec.endian;
            assert_eq!(spec.global("limit").unwrap(), endian.u32_bytes(77));
            assert_eq!(spec.global("offset").unwrap(), endian.u32_bytes((-5_i32).cast_unsigned()));
            assert_eq!(spec.global("hidden_constant").unwrap(), endian.u64_bytes(1 << 40));
            assert_eq!(spec.global("written").unwrap(), endian.u64_bytes(0x1122_3344_5566_7788));
            assert_eq!(spec.global("own_section").unwrap(), endian.u32_bytes(9));
            assert_eq!(spec.global("counters").unwrap(), [0; 24]);
            assert_eq!(spec.global("entry.in_function").unwrap(), [0; 4]);
            spec.set_global("enabled", true).unwrap();
            spec.set_global("limit", 5_u32).unwrap();
            spec.set_global("offset", -1_i32).unwrap();
            spec.set_global("name", *b"xyz\0").unwrap();
            assert!(spec.set_global("limit", 5_i32).is_err());
            assert!(spec.set_global("enabled", 1_u8).is_err());
            assert_eq!(spec.global("name").unwrap(), b"xyz\0");
            assert!(spec.map(".rodata").unwrap().freeze);
            assert!(spec.map(".data.own").is_some());
        }
        Ok(())
    });
}

#[test]
fn the_programs_and_externs_of_a_compiled_object_are_those_of_its_source() {
    unless_skipped(|| {
        for object in compile_both("maps")? {
            let spec = ObjectSpec::parse(&object).unwrap();
            assert_eq!(spec.license, "Dual BSD/GPL");
            let entry = spec.program("entry").unwrap();
            assert_eq!(entry.kind.program_type, program_type::TRACING);
            assert_eq!(entry.kind.btf_target().unwrap(), "btf_trace_sched_process_exec");
            let tail = spec.program("tail").unwrap();
            assert_eq!((tail.kind.program_type, tail.autoload), (program_type::TRACEPOINT, false));
            let target = Target::Tracepoint { category: "syscalls".into(), name: "sys_enter_openat".into() };
            assert_eq!(tail.kind.target, target);

            let externs: BTreeMap<&str, _> =
                spec.externs.iter().map(|e| (e.name.as_str(), (e.kind, e.weak))).collect();
            assert_eq!(externs.len(), 5);
            assert!(matches!(externs["LINUX_KERNEL_VERSION"], (ExternKind::Kconfig { size: 4, .. }, false)));
            assert!(matches!(externs["CONFIG_HIGH_HOPES"], (ExternKind::Kconfig { size: 1, .. }, true)));
            assert_eq!(externs["bpf_link_fops"], (ExternKind::Address, false));
            assert!(matches!(externs["runqueues"], (ExternKind::Variable { .. }, true)));
            assert!(matches!(externs["bpf_rcu_read_lock"], (ExternKind::Function { .. }, true)));
        }
        Ok(())
    });
}

#[test]
fn the_types_of_a_compiled_object_can_be_completed_for_the_kernel() {
    unless_skipped(|| {
        let spec = ObjectSpec::parse(&compile("functions", Endian::Little)?).unwrap();
        let bytes = for_kernel(spec.btf.as_ref().unwrap(), &spec.btf_fixups, &BtfFeatures::ALL).unwrap();
        let btf = Btf::parse(BtfData::from(bytes)).unwrap();
        let bss = btf.type_by_id(btf.find(".bss", Kind::Datasec).unwrap().unwrap()).unwrap();
        assert_eq!(bss.size(), Some(8));
        let concealed = btf.type_by_id(btf.find("concealed", Kind::Func).unwrap().unwrap()).unwrap();
        assert_eq!(concealed.linkage(), Some(loader::btf::Linkage::Static));
        Ok(())
    });
}

#[test]
fn goblin_sees_the_same_sections_and_symbols() {
    unless_skipped(|| {
        for name in ["maps", "functions"] {
            for object in compile_both(name)? {
                let spec = ObjectSpec::parse(&object).unwrap();
                let elf = goblin::elf::Elf::parse(&object).unwrap();
                assert_eq!(elf.little_endian, spec.endian == Endian::Little);
                check_code(&spec, &elf);
                check_data(&spec, &elf, &object);
            }
        }
        Ok(())
    });
}

fn check_code(spec: &ObjectSpec, elf: &goblin::elf::Elf<'_>) {
    let code: BTreeMap<usize, (&str, usize)> = elf
        .section_headers
        .iter()
        .enumerate()
        .filter(|(_, header)| header.is_executable())
        .map(|(n, header)| (n, (&elf.shdr_strtab[header.sh_name], header.sh_size as usize / 8)))
        .collect();
    let ours: BTreeMap<usize, (&str, usize)> = spec
        .code()
        .iter()
        .map(|(index, section)| (index.0, (section.name.as_str(), section.insns.len())))
        .collect();
    assert_eq!(ours, code);
    let functions = elf.syms.iter().filter(|symbol| symbol.is_function());
    let mut theirs: Vec<_> = functions
        .map(|f| (f.st_shndx, f.st_value as usize / 8, f.st_size as usize / 8, &elf.strtab[f.st_name]))
        .collect();
    theirs.sort_unstable();
    let mut ours: Vec<_> = spec
        .code()
        .iter()
        .flat_map(|(index, section)| section.functions.iter().map(move |f| (index.0, f)))
        .map(|(index, f)| (index, f.offset.0, f.len, f.name.as_str()))
        .collect();
    ours.sort_unstable();
    assert_eq!(ours, theirs);
}

fn check_data(spec: &ObjectSpec, elf: &goblin::elf::Elf<'_>, object: &[u8]) {
    let mut checked = 0;
    for header in &elf.section_headers {
        let name = &elf.shdr_strtab[header.sh_name];
        let Some(contents) = spec.map(name).and_then(|map| map.contents.as_deref()) else { continue };
        match header.file_range() {
            Some(range) => assert_eq!(contents, &object[range], "{name}"),
            None => assert_eq!(contents, vec![0; header.sh_size as usize], "{name}"),
        }
        checked += 1;
    }
    let in_file = |map: &&MapSpec| map.contents.is_some() && map.name != ".kconfig";
    assert_eq!(checked, spec.maps.iter().filter(in_file).count());
    let globals = elf.syms.iter().filter(|symbol| symbol.st_type() == goblin::elf::sym::STT_OBJECT);
    for symbol in globals {
        let name = &elf.strtab[symbol.st_name];
        let section = &elf.shdr_strtab[elf.section_headers[symbol.st_shndx].sh_name];
        let Some(global) = spec.globals().iter().find(|global| global.name == name) else {
            assert!(matches!(section, ".maps" | "license"), "{name} in {section}");
            continue;
        };
        assert_eq!((global.offset as u64, global.size as u64), (symbol.st_value, symbol.st_size), "{name}");
        assert_eq!(spec.maps[global.map].name, section);
    }
}

#[test]
fn no_truncation_or_flip_of_a_compiled_object_makes_the_parser_panic() {
    unless_skipped(|| {
        for mut object in compile_both("functions")? {
            for len in (0..object.len()).step_by(41) {
                let _ = ObjectSpec::parse(&object[..len]);
            }
            for at in (0..object.len()).step_by(5) {
                object[at] ^= 0x81;
                if let Ok(spec) = ObjectSpec::parse(&object) {
                    for program in &spec.programs {
                        let _ = loader::linker::link(&spec, program);
                    }
                }
                object[at] ^= 0x81;
            }
        }
        Ok(())
    });
}
