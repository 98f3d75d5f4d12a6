//! See `targets::kconfig`.

#![no_main]

#[path = "../targets.rs"]
mod targets;

use std::sync::LazyLock;

use loader::btf::encode::BtfBuilder;
use loader::btf::{Btf, BtfData, IntInfo};

static TYPES: LazyLock<Btf> = LazyLock::new(|| {
    let mut builder = BtfBuilder::new();
    let character = builder.int("char", 1, IntInfo::SIGNED);
    builder.int("bool", 1, IntInfo::BOOL);
    builder.int("long", 8, 0);
    builder.array(character, character, 16);
    builder.enumeration("libbpf_tristate", 4, false, &[("TRI_NO", 0)]);
    Btf::parse(BtfData::from(builder.build(loader::Endian::NATIVE))).expect("it is well-formed")
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::kconfig(&TYPES, data));
