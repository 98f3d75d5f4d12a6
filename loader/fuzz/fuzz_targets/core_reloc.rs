//! See `targets::core_reloc`. The object is the file that `FUZZ_OBJECT` names.

#![no_main]

#[path = "../targets.rs"]
mod targets;

use std::sync::LazyLock;

use loader::spec::ObjectSpec;

static SPEC: LazyLock<ObjectSpec> = LazyLock::new(|| {
    let path = std::env::var_os("FUZZ_OBJECT").expect("FUZZ_OBJECT names an object with CO-RE relocations");
    ObjectSpec::parse(&std::fs::read(path).expect("the object can be read")).expect("it is an object")
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::core_reloc(&SPEC, data));
