//! Memory that programs and this process share: arenas, and global variables while programs run. Needs root and clang.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::clang::compile;
use common::kernel::{NotRun, may_use_bpf, needs_jit, not_run};
use loader::load::{LoadOptions, Object};
use loader::map::MapConfig;
use loader::spec::ObjectSpec;
use loader::spec::map::{map_flag, map_type};
use loader::{Endian, ErrorKind, Map};

const PAGE: usize = 4096;

/// The object with an arena at `address`, or anywhere if that is 0; a skip where the kernel has no arenas.
fn arena(address: u64) -> Option<ObjectSpec> {
    may_use_bpf().ok()?;
    let mut spec = ObjectSpec::parse(&compile("arena", Endian::NATIVE).ok()?).unwrap();
    spec.map_mut("arena").unwrap().map_extra = address;
    let (name, map_flags) = ("probe".to_owned(), map_flag::MMAPABLE);
    let asked =
        MapConfig { name, map_type: map_type::ARENA, max_entries: 1, map_flags, ..MapConfig::default() };
    if Map::create(&asked).is_err() {
        not_run(&NotRun::KernelLacks("arenas (6.9), or no JIT for them"));
        return None;
    }
    Some(spec)
}

fn number(object: &Object, name: &str) -> u64 {
    let value = object.global(name).unwrap();
    value.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[test]
fn variables_in_an_arena_are_shared_with_programs_at_any_address() {
    for address in [0, 1 << 44] {
        let Some(mut spec) = arena(address) else { return };
        spec.set_global("limit", 5_u32).unwrap();
        let mut object = Object::create(spec, LoadOptions::default()).unwrap();
        let program = match object.load_program("count") {
            Err(error) if needs_jit(&error) => return,
            other => other.unwrap(),
        };
        let run = || program.test_run(&[0; 64]).unwrap();
        assert_eq!((run(), number(&object, "counter")), (5, 42), "{address:#x}");
        object.set_global("counter", 1000_u64).unwrap();
        object.set_global("limit", 11_u32).unwrap();
        assert_eq!((run(), number(&object, "counter")), (11, 1002));
        let memory = object.map("arena").unwrap().memory().unwrap();
        assert_eq!(memory.len(), 8 * PAGE);
        assert!(address == 0 || memory.address() as u64 == address);
    }
}

#[test]
fn an_arena_that_is_too_small_or_whose_address_is_taken_is_refused_with_the_reason() {
    let Some(mut spec) = arena(0) else { return };
    spec.map_mut("arena").unwrap().contents = Some(vec![0; 8 * PAGE + 1]);
    let error = Object::create(spec, LoadOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidObject);
    let expected = "create map `arena`: its variables have 32769 bytes, the arena has 32768";
    assert_eq!(error.to_string(), expected);

    let first = Object::create(arena(0).unwrap(), LoadOptions::default()).unwrap();
    let taken = first.map("arena").unwrap().memory().unwrap().address() as u64;
    let error = Object::create(arena(taken).unwrap(), LoadOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    let expected = format!(
        "create map `arena`: map `arena` into memory: the address {taken:#x} is in use: mmap: file exists"
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn variables_are_set_while_programs_run_and_constants_are_not() {
    if may_use_bpf().is_err() {
        return;
    }
    let Ok(object) = compile("attach", Endian::NATIVE) else { return };
    let object = Object::create(ObjectSpec::parse(&object).unwrap(), LoadOptions::default()).unwrap();
    object.set_global("hits", 0x0102_0304_0506_0708_u64).unwrap();
    assert_eq!(object.get_global::<u64>("hits").unwrap(), 0x0102_0304_0506_0708);
    let error = object.set_global("tgid", 1_u32).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    let expected = "set variable `tgid`: it is a constant, to be set before the object is created";
    assert_eq!(error.to_string(), expected);
    let error = object.set_global("hits", 1_u32).unwrap_err();
    assert_eq!(error.to_string(), "set variable `hits`: it has 8 bytes, the value has 4");
    assert_eq!(object.set_global("none", 1_u32).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_map_that_cannot_be_shared_says_so() {
    if may_use_bpf().is_err() {
        return;
    }
    let name = "plain".to_owned();
    let config = MapConfig {
        name,
        map_type: map_type::ARRAY,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        ..MapConfig::default()
    };
    let error = Map::create(&config).unwrap().memory().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    let expected = "map `plain` into memory: it is no arena, and no array made with BPF_F_MMAPABLE";
    assert_eq!(error.to_string(), expected);
}

/// `.percpu`, which libbpf has since 1.8, was a section of unknown meaning, so that objects with it were refused as a whole.
#[test]
fn variables_per_cpu_are_copies_that_begin_alike_or_the_kernel_is_told_to_lack_them() {
    let Ok(bytes) = compile("percpu", Endian::NATIVE) else { return };
    let mut spec = ObjectSpec::parse(&bytes).unwrap();
    for (name, size) in [(".percpu", 12), (".percpu.runs", 4), (".percpu.bonus", 4)] {
        let map = spec.map(name).unwrap();
        let shape = (map.map_type, map.key_size, map.value_size, map.max_entries, map.flags, map.freeze);
        assert_eq!(shape, (map_type::PERCPU_ARRAY, 4, size, 1, 0, false), "{name}");
        assert_ne!(map.value_type_id.0, 0, "{name} is printed by its type");
    }
    spec.set_global("step", 7_u32).unwrap();
    if may_use_bpf().is_err() {
        return;
    }
    let options = LoadOptions { skip_failed_maps: true, ..LoadOptions::default() };
    let mut object = Object::create(spec, options).unwrap();
    let shared = object.load_program("needs_none").unwrap();
    assert_eq!(shared.test_run(&[0; 64]).unwrap(), 2, "what needs no such variable is loaded anywhere");
    let program = match object.load_program("count") {
        Ok(program) => program,
        Err(error) => {
            let kind = ErrorKind::NotSupported { feature: "variables per CPU", since: "7.3" };
            assert_eq!(error.kind(), kind, "{error:#}");
            return not_run(&NotRun::KernelLacks("variables per CPU (7.3), or no JIT for them"));
        }
    };
    let returned = program.test_run(&[0; 64]).unwrap();
    assert_eq!(returned, 101, "constants are there, counters begin at 0");
    let cpus = object.global_per_cpu("runs").unwrap();
    let ran = cpus.iter().filter(|runs| **runs == 1_u32.to_ne_bytes()).count();
    let idle = cpus.iter().filter(|runs| **runs == [0; 4]).count();
    assert_eq!((ran, idle), (1, cpus.len() - 1), "one CPU counts, the others do not see it");
    assert_eq!(object.lost().unwrap(), Some(2 * cpus.len() as u64 + 7), "lost on any of them");
    assert_eq!(object.global("runs").unwrap_err().kind(), ErrorKind::Incompatible);
    assert_eq!(object.global_per_cpu("shared").unwrap_err().kind(), ErrorKind::Incompatible);
    assert_eq!(object.set_global("step", 1_u32).unwrap_err().kind(), ErrorKind::Incompatible);
}
