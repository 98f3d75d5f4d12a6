//! What is fed with damaged input: one function for each parser, from bytes to nothing. None may panic, hang, or take
//! more memory than a small multiple of its input. Used by `cargo fuzz` (in this directory) and, with a seeded generator
//! and a bound, by `tests/fuzz.rs`.

use std::io::Write;
use std::os::fd::AsFd;

use loader::btf::ext::BtfExt;
use loader::btf::{Btf, BtfData};
use loader::core_reloc::CoreResolver;
use loader::spec::ObjectSpec;
use loader::spec::kconfig::{KernelConfig, encode};
use loader::sys::ring::{Peek, RingPages};
use loader::{Endian, linker};
use nix::sys::memfd::{MFdFlags, memfd_create};

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
        let Ok(linked) = linker::link(spec, program) else { continue };
        if let Ok(relocated) = linked.relocate(&mut resolver) {
            relocated.poisoned.iter().for_each(|insn| _ = insn.failure.to_string());
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

/// A ring buffer: a file in place of the kernel's pages, with any positions (the first two words) and any records.
pub fn ring(data: &[u8]) {
    const PAGE: usize = 4096;
    let mut pages = vec![0; 3 * PAGE];
    for (index, byte) in data.iter().take(16 + PAGE).enumerate() {
        // The positions begin a page each; the records are in the third.
        let at = if index < 16 { index / 8 * PAGE + index % 8 } else { 2 * PAGE + index - 16 };
        pages[at] = *byte;
    }
    let mut file = std::fs::File::from(memfd_create(c"ring", MFdFlags::MFD_CLOEXEC).unwrap());
    file.write_all(&pages).unwrap();
    let Ok(mut ring) = RingPages::map(file.as_fd(), PAGE as u32, PAGE) else { return };
    let mut bytes = 0;
    while let peek @ (Peek::Record | Peek::Discarded) = ring.peek() {
        bytes += ring.record().len() + 8;
        assert!(bytes <= PAGE, "more records than fit");
        assert!(peek == Peek::Record || ring.record().is_empty());
        ring.advance();
    }
}
