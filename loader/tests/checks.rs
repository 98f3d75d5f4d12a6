//! Programs that check themselves, loaded and run. Needs clang; root for all but the comparison of byte orders.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::collections::BTreeMap;

use common::clang::{compile, compile_both};
use common::kernel::{Bpffs, callbacks, may_use_bpf};
use loader::load::{LoadOptions, Object};
use loader::map::{Access, MapConfig, UpdateMode};
use loader::spec::map::map_type;
use loader::spec::{ObjectSpec, Pinning};
use loader::{Endian, ErrorKind, Map, linker};

/// The object, ready to be loaded; none if the test cannot run here.
fn checks() -> Option<ObjectSpec> {
    may_use_bpf().ok()?;
    let mut spec = ObjectSpec::parse(&compile("checks", Endian::NATIVE).ok()?).unwrap();
    spec.set_global("tunable", 42_u32).unwrap();
    Some(spec)
}

fn object() -> Option<Object> {
    Some(Object::create(checks()?, LoadOptions::default()).unwrap())
}

/// Runs one program, which must return 0; anything else is the line that does not hold.
fn run(object: &mut Object, name: &str) -> u32 {
    let program = object.load_program(name).unwrap();
    program.test_run(&[0; 64]).unwrap()
}

#[test]
fn programs_find_everything_they_check_for() {
    let Some(mut object) = object() else { return };
    for name in ["globals", "maps_of_maps", "configuration", "symbols", "functions", "types"] {
        assert_eq!(run(&mut object, name), 0, "the line of checks.c that does not hold in `{name}`");
    }
    assert_eq!(object.global("counter").unwrap(), 42_u64.to_ne_bytes());
    assert_eq!(object.lost().unwrap(), Some(5), "the variable named `lost` counts");
}

#[test]
fn functions_are_called_back_by_the_kernel() {
    let Some(mut object) = callbacks() else { return };
    assert_eq!(run(&mut object, "callbacks"), 0, "the line of callbacks.c that does not hold");
}

#[test]
fn a_program_array_jumps_to_its_programs_once_they_are_loaded() {
    let Some(mut object) = object() else { return };
    let before = run(&mut object, "tail_calls");
    assert_ne!(before, 4242);
    let _tail = object.load_program("tail").unwrap();
    assert_eq!(run(&mut object, "tail_calls"), 4242);
}

#[test]
fn what_the_kernel_lacks_spoils_only_the_program_that_needs_it() {
    let Some(mut object) = object() else { return };
    let setting = object.load_program("needs_setting").unwrap_err();
    assert_eq!(setting.kind(), ErrorKind::NotFound);
    let expected = "load program `needs_setting`: relocate instruction 0 (checks.c:132): \
                    resolve extern `CONFIG_NEVER_HEARD_OF`: this kernel's configuration does not set it";
    assert_eq!(setting.to_string(), expected);
    let symbol = object.load_program("needs_symbol").unwrap_err();
    assert_eq!(symbol.kind(), ErrorKind::NotFound);
    let expected = "load program `needs_symbol`: relocate instruction 0 (checks.c:146): \
                    resolve extern `never_heard_of`: this kernel does not have it";
    assert_eq!(symbol.to_string(), expected);
    assert_eq!(run(&mut object, "symbols"), 0);
}

#[test]
fn a_setting_that_the_caller_gives_overrules_the_kernel() {
    let Some(spec) = checks() else { return };
    let options =
        LoadOptions { kconfig: "CONFIG_NEVER_HEARD_OF=1234\n".to_owned(), ..LoadOptions::default() };
    let mut object = Object::create(spec, options).unwrap();
    assert_eq!(run(&mut object, "needs_setting"), 1234);
}

#[test]
fn a_missing_field_that_is_reached_is_named_with_its_source_line() {
    let Some(mut object) = object() else { return };
    let error = object.load_program("reaches_missing_field").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Verifier);
    let line = error.to_string();
    let field = "load program `reaches_missing_field`: rejected by the verifier: \
                 field offset of `struct task_struct.never_had_this (0:1)`: \
                 `struct task_struct` of the kernel has no member `never_had_this`";
    let source = "; at `return (int)__builtin_preserve_field_info(task->never_had_this, 0); @ checks.c:181` (verifier log: ";
    assert!(line.starts_with(field) && line.contains(source), "{line}");
    assert!(!line.contains("unknown#"), "{line}");
    assert!(format!("{error:#}").contains("invalid func unknown#195896080"), "{error:#}");
}

#[test]
fn a_rejection_is_one_line_and_the_long_form_has_the_log() {
    let Some(mut object) = object() else { return };
    let error = object.load_program("rejected").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Verifier);
    let (short, long) = (error.to_string(), format!("{error:#}"));
    let log = error.verifier_log().unwrap();
    assert!(
        short.starts_with("load program `rejected`: rejected by the verifier: dereference of "),
        "{short}"
    );
    let source = "; at `return *(volatile int *)(context + 100000);";
    let length = format!("` (verifier log: {} lines)", log.lines().count());
    assert!(short.contains(source) && short.ends_with(&length), "{short}");
    assert_eq!(short.lines().count(), 1);
    assert!(
        long.starts_with("load program `rejected`\n  rejected by the verifier: dereference of "),
        "{long}"
    );
    assert!(long.ends_with(&format!("\nverifier log:\n{log}")) && log.contains("processed "), "{long}");
}

#[test]
fn values_of_per_cpu_maps_are_set_and_read_by_cpu() {
    let Some(object) = object() else { return };
    let map = object.map("per_cpu").unwrap();
    let key = 0_u32.to_ne_bytes();
    let cpus = map.lookup_per_cpu(&key).unwrap().unwrap().len();
    let values: Vec<[u8; 4]> =
        (0..cpus).map(|cpu| u32::try_from(cpu * 3 + 1).unwrap().to_ne_bytes()).collect();
    let values: Vec<&[u8]> = values.iter().map(<[u8; 4]>::as_slice).collect();
    map.update_per_cpu(&key, &values, UpdateMode::Any).unwrap();
    assert_eq!(map.lookup_per_cpu(&key).unwrap().unwrap(), values);
    let too_few = map.update_per_cpu(&key, &values[1..], UpdateMode::Any).unwrap_err();
    assert_eq!(too_few.kind(), ErrorKind::Incompatible);
    let flat = object.map("first").unwrap().lookup_per_cpu(&key).unwrap_err();
    assert!(flat.to_string().contains("one value for all CPUs"));
}

#[test]
fn a_map_pinned_by_name_is_used_again_and_every_difference_is_named() {
    let Some(mut spec) = checks() else { return };
    let bpffs = Bpffs::mount();
    spec.map_mut("first").unwrap().pinning = Pinning::ByName;
    let options = || LoadOptions { pin_root: Some(bpffs.path("maps")), ..LoadOptions::default() };
    let one = Object::create(spec.clone(), options()).unwrap();
    let two = Object::create(spec.clone(), options()).unwrap();
    assert_eq!(one.map("first").unwrap().info().id, two.map("first").unwrap().info().id);

    let first = spec.map_mut("first").unwrap();
    (first.max_entries, first.value_size) = (2, 16);
    let error = Object::create(spec, options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    let line = error.to_string();
    assert!(line.starts_with("create map `first`: pin `"), "{line}");
    assert!(
        line.ends_with("the map is another one: value size is 8, expected 16; max entries is 1, expected 2"),
        "{line}"
    );
}

#[test]
fn a_map_whose_pinning_has_no_meaning_is_not_created_and_says_why() {
    let Some(mut spec) = checks() else { return };
    spec.map_mut("per_cpu").unwrap().pinning = Pinning::Unknown(7);
    let options = LoadOptions { skip_failed_maps: true, ..LoadOptions::default() };
    let mut object = Object::create(spec, options).unwrap();
    let (name, error) = object.failed_maps().next().unwrap();
    assert_eq!((name, error.kind()), ("per_cpu", ErrorKind::Incompatible));
    assert_eq!(error.to_string(), "create map `per_cpu`: pinning 7 is not 0 (no) or 1 (by name)");
    assert_eq!(run(&mut object, "globals"), 0, "programs that do without it are loaded");
}

#[test]
fn a_pin_is_replaced_in_one_step() {
    if may_use_bpf().is_err() {
        return;
    }
    let bpffs = Bpffs::mount();
    let create = |name: &str| {
        let config = MapConfig {
            name: name.to_owned(),
            map_type: map_type::ARRAY,
            key_size: 4,
            value_size: 8,
            max_entries: 1,
            ..MapConfig::default()
        };
        Map::create(&config).unwrap()
    };
    let (old, new, path) = (create("old"), create("new"), bpffs.path("set"));
    old.pin(&path).unwrap();
    new.repin(&path).unwrap();
    assert_eq!(Map::open_pinned(&path, Access::ReadWrite).unwrap().info().id, new.info().id);
    let entries = std::fs::read_dir(path.parent().unwrap()).unwrap();
    // The kernel puts two files of its own into a bpffs.
    let names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".debug"))
        .collect();
    assert_eq!(names, ["set"], "no temporary name stays behind");
}

#[test]
fn both_byte_orders_link_to_the_same_instructions() {
    let Ok(objects) = compile_both("checks") else { return };
    let linked = objects.map(|object| {
        let spec = ObjectSpec::parse(&object).unwrap();
        let link = |program: &loader::spec::ProgramSpec| {
            let linked = linker::link(&spec, program).unwrap();
            (program.name.clone(), (linked.insns, linked.relocations, linked.functions))
        };
        spec.programs.iter().map(link).collect::<BTreeMap<_, _>>()
    });
    let [little, big] = linked;
    assert!(little.len() > 10);
    assert_eq!(little, big);
}

#[test]
fn a_map_that_cannot_be_created_fails_only_the_programs_that_use_it() {
    let Some(mut spec) = checks() else { return };
    spec.map_mut("jumps").unwrap().key_size = 3;
    let error = Object::create(spec.clone(), LoadOptions::default()).unwrap_err();
    let refused = error.to_string();
    let asked = "create map `jumps`: prog_array of 2 entries, key 3 value 4 bytes, flags 0x0: ";
    // Newer kernels say in between what they have against it.
    assert!(
        refused.starts_with(asked) && refused.ends_with("bpf(BPF_MAP_CREATE): invalid argument"),
        "{refused}"
    );
    let options = LoadOptions { skip_failed_maps: true, ..LoadOptions::default() };
    let mut object = Object::create(spec, options).unwrap();
    assert_eq!(run(&mut object, "globals"), 0);
    let error = object.load_program("tail_calls").unwrap_err();
    assert!(error.to_string().ends_with(&refused), "{error}");
}
