//! The table of a `switch` in the kernel. Needs root and Linux 6.19; how tables are linked is in `linker.rs`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::elf::{LOCAL, ObjectBuilder, PROGBITS, R64_64, Symbol};
use common::kernel::{NotRun, may_use_bpf, not_run};
use common::sample::{exit, set};
use loader::insn::Insn;
use loader::load::{LoadOptions, Object};
use loader::spec::ObjectSpec;
use loader::{Endian, ErrorKind};

/// As clang 22 compiles `return length % 2 ? 8 : 7` if it thinks that is worth a table.
fn switching() -> ObjectSpec {
    let insn = |code, dst, src, imm| Insn { code, dst, src, off: 0, imm };
    let insns = [
        insn(0x61, 2, 1, 0), // r2 = length of the packet
        insn(0x57, 2, 0, 1), // r2 &= 1
        insn(0x67, 2, 0, 3), // r2 <<= 3
        insn(0x18, 1, 0, 0), // r1 = table
        Insn::default(),
        insn(0x0f, 1, 2, 0), // r1 += r2
        insn(0x79, 1, 1, 0), // r1 = *r1
        insn(0x0d, 1, 0, 0), // gotox r1
        set(7),
        exit(),
        set(8),
        exit(),
    ];
    let mut builder = ObjectBuilder::new(Endian::NATIVE);
    let code = builder.code("socket", &insns);
    let data = [8 * 8_u64, 10 * 8].map(|target| Endian::NATIVE.u64_bytes(target)).concat();
    let tables = builder.section(".jumptables", PROGBITS, 2, data);
    builder.data("license", b"GPL\0");
    builder.symbol(Symbol::function("parity", code, 0, 12));
    let table = builder.symbol(Symbol::object("BPF.JT.0.0", tables, 0, 16).bound(LOCAL));
    builder.relocate(code, 3 * 8, table, R64_64);
    ObjectSpec::parse(&builder.build()).unwrap()
}

#[test]
fn a_program_jumps_by_its_table_or_the_kernel_is_told_to_lack_them() {
    if may_use_bpf().is_err() {
        return;
    }
    let mut object = Object::create(switching(), LoadOptions::default()).unwrap();
    let program = match object.load_program("parity") {
        Ok(program) => program,
        Err(error) => {
            let feature = "jump tables (BPF_MAP_TYPE_INSN_ARRAY)";
            assert_eq!(error.kind(), ErrorKind::NotSupported { feature, since: "6.19" }, "{error:#}");
            let expected = "load program `parity`: relocate instruction 3: make its jump table: this kernel has no jump \
                            tables (BPF_MAP_TYPE_INSN_ARRAY) (Linux 6.19 and newer do)";
            assert_eq!(error.to_string(), expected);
            return not_run(&NotRun::KernelLacks("jump tables"));
        }
    };
    assert_eq!((program.test_run(&[0; 64]).unwrap(), program.test_run(&[0; 65]).unwrap()), (7, 8));
}
