//! What is fed with damaged input: one function for each parser, from bytes to nothing. None may panic, hang, or take
//! more memory than a small multiple of its input. Used by `cargo fuzz` (in this directory) and, with a seeded generator
//! and a bound, by `tests/fuzz.rs`.

use loader::btf::ext::BtfExt;
use loader::btf::{Btf, BtfData};
use loader::core_reloc::CoreResolver;
use loader::spec::ObjectSpec;
use loader::spec::kconfig::{KernelConfig, encode};
use loader::{Endian, linker};

/// An object: parsed, and each program linked.
pub fn elf(data: &[u8]) {
    let Ok(spec) = ObjectSpec::parse(data) else { return };
    for program in &spec.programs {
        if let Ok(linked) = linker::link(&spec, program) {
            let _ = linked.relocate_without_types();
        }
    }
}

/// Types: every one looked at in every way.
pub fn btf(data: &[u8]) {
    let Ok(btf) = Btf::parse(BtfData::from(data.to_vec())) else { return };
    for ty in btf.types() {
        let Ok(ty) = ty else { return };
        let _ = (ty.name(), btf.size_of(ty.id()), btf.strip(ty.id()), btf.layout_of(ty.id()));
        let _ =
            (ty.members().count(), ty.params().count(), ty.enumerators().count(), ty.section_vars().count());
        let _ = loader::core_reloc::type_spelling(&btf, ty.id());
    }
}

/// Function, line and CO-RE records: the first byte pair says how long the types in front are.
pub fn btf_ext(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<2>() else { return };
    let Some((types, ext)) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length))) else { return };
    let Ok(btf) = Btf::parse(BtfData::from(types.to_vec())) else { return };
    if let Ok(sections) = BtfExt::parse(ext, &btf) {
        for record in sections.values().flat_map(|section| &section.core) {
            let _ = loader::core_reloc::describe(&btf, record);
        }
    }
}

/// An object relocated against damaged types.
pub fn core_reloc(spec: &ObjectSpec, data: &[u8]) {
    let (Some(local), Ok(target)) = (&spec.btf, Btf::parse_deferred(BtfData::from(data.to_vec()))) else {
        return;
    };
    let records = spec.code().values().flat_map(|section| &section.ext.core);
    let Ok(mut resolver) = CoreResolver::new(local, &target, records, &[]) else { return };
    for program in &spec.programs {
        if let Ok(linked) = linker::link(spec, program) {
            let _ = linked.relocate(&mut resolver);
        }
    }
}

/// A kernel configuration, and values of every type of `types`.
pub fn kconfig(types: &Btf, data: &[u8]) {
    let config = KernelConfig::new(String::from_utf8_lossy(data));
    let Some(text) = config.get("CONFIG_X") else { return };
    for ty in types.types().flatten() {
        for size in [1, 2, 4, 8] {
            let _ = encode(types, ty.id(), size, text, Endian::Big);
        }
    }
}
