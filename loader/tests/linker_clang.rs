//! Linking programs as clang writes them, in both byte orders. Needs clang.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::clang::{Skipped, compile_both};
use loader::Endian;
use loader::btf::{Btf, BtfData};
use loader::core_reloc::CoreResolver;
use loader::insn::{InsnOffset, OP_CALL};
use loader::linker::{LinkedProgram, link};
use loader::spec::{ObjectSpec, RelocTarget};

/// A test that may be skipped; the skip has been said aloud by then.
fn unless_skipped(test: impl FnOnce() -> Result<(), Skipped>) {
    drop(test());
}

fn both(name: &str) -> Result<[ObjectSpec; 2], Skipped> {
    Ok(compile_both(name)?.map(|object| ObjectSpec::parse(&object).unwrap()))
}

fn names(program: &LinkedProgram) -> Vec<&str> {
    program.functions.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn both_byte_orders_link_to_the_same_instructions() {
    unless_skipped(|| {
        for name in ["maps", "functions"] {
            let [little, big] = both(name)?;
            assert_eq!((little.endian, big.endian), (Endian::Little, Endian::Big));
            for (one, other) in little.programs.iter().zip(&big.programs) {
                let (one, other) = (link(&little, one).unwrap(), link(&big, other).unwrap());
                assert_eq!(one.insns, other.insns, "{}", one.name);
                assert_eq!(one.relocations, other.relocations);
                assert_eq!(one.functions, other.functions);
                assert_eq!(one.func_info, other.func_info);
                assert_eq!(one.source_lines, other.source_lines);
                assert_eq!(one.core, other.core);
            }
            assert_eq!(little.programs.len(), big.programs.len());
        }
        Ok(())
    });
}

#[test]
fn every_function_that_is_called_is_in_the_program_once() {
    unless_skipped(|| {
        for spec in both("functions")? {
            let calls = link(&spec, spec.program("calls").unwrap()).unwrap();
            let expected = ["calls", "each", "leaf", "global", "concealed", "replaceable", "beside"];
            assert_eq!(names(&calls), expected);
            let again = link(&spec, spec.program("again").unwrap()).unwrap();
            assert_eq!(names(&again), ["again", "beside", "leaf"]);
            let programs: Vec<_> = spec.programs.iter().map(|program| program.name.as_str()).collect();
            assert_eq!(programs, ["calls", "again", "reads"], "`beside` is static");
        }
        Ok(())
    });
}

#[test]
fn every_call_and_callback_lands_on_a_function() {
    unless_skipped(|| {
        for spec in both("functions")? {
            for program in &spec.programs {
                let linked = link(&spec, program).unwrap();
                let starts: Vec<usize> = linked.functions.iter().map(|(_, at)| at.0).collect();
                let mut landed = 0;
                for (at, insn) in linked.insns.iter().enumerate() {
                    if insn.is_pseudo_call() || insn.is_pseudo_func() {
                        let target = (at + 1).checked_add_signed(isize::try_from(insn.imm).unwrap()).unwrap();
                        assert!(starts.contains(&target), "{}: {at} -> {target}", program.name);
                        landed += 1;
                    } else {
                        assert!(insn.code != OP_CALL || insn.src == 0);
                    }
                }
                assert!(landed >= linked.functions.len() - 1);
            }
        }
        Ok(())
    });
}

#[test]
fn every_function_has_its_type_and_a_line_at_its_start() {
    unless_skipped(|| {
        for spec in both("functions")? {
            let linked = link(&spec, spec.program("calls").unwrap()).unwrap();
            let btf = spec.btf.as_ref().unwrap();
            assert!(linked.has_all_lines);
            assert_eq!(linked.func_info.len(), linked.functions.len());
            for (record, (name, at)) in linked.func_info.iter().zip(&linked.functions) {
                assert_eq!(record.offset, *at);
                assert_eq!(btf.type_by_id(record.type_id).unwrap().name().unwrap(), name);
            }
            assert!(
                linked.source_lines.is_sorted_by(|a, b| a.offset < b.offset),
                "the kernel wants them rising"
            );
            let line = linked.source_line(linked.functions[2].1).unwrap();
            assert!(line.file.ends_with("functions.c"), "{}", line.file);
            assert!(line.text.contains("leaf(int value)"), "{}", line.text);
        }
        Ok(())
    });
}

#[test]
fn maps_data_and_externs_stay_symbolic() {
    unless_skipped(|| {
        for spec in both("maps")? {
            let linked = link(&spec, spec.program("tail").unwrap()).unwrap();
            let mut found = Vec::new();
            for relocation in &linked.relocations {
                let insn = linked.insns[relocation.at.0];
                match relocation.target {
                    RelocTarget::Map { index } => found.push(spec.maps[index].name.as_str()),
                    RelocTarget::Extern { index } => found.push(spec.externs[index].name.as_str()),
                    RelocTarget::Data { map, .. } => found.push(spec.maps[map].name.as_str()),
                    other => assert!(insn.is_ld_imm64(), "{other:?} should have been resolved"),
                }
                assert!(insn.is_ld_imm64() || insn.code == OP_CALL);
            }
            found.sort_unstable();
            found.dedup();
            let expected = [
                ".bss",
                "CONFIG_HIGH_HOPES",
                "LINUX_KERNEL_VERSION",
                "bpf_link_fops",
                "bpf_rcu_read_lock",
                "jumps",
                "runqueues",
                "samples",
                "table",
            ];
            assert_eq!(found, expected);
        }
        Ok(())
    });
}

#[test]
fn a_core_record_moves_with_its_function() {
    unless_skipped(|| {
        for spec in both("functions")? {
            let linked = link(&spec, spec.program("reads").unwrap()).unwrap();
            assert_eq!(names(&linked), ["reads", "pid_of"]);
            let [record] = &linked.core[..] else { unreachable!("{:?}", linked.core) };
            assert!(record.offset >= linked.functions[1].1);
            let local = spec.btf.clone().unwrap();
            // The object's own types as the target: nothing changes.
            let own = Btf::parse(BtfData::from(local.raw().to_vec())).unwrap();
            let mut resolver = CoreResolver::new(&local, &own, &linked.core, &[]).unwrap();
            let before = linked.insns.clone();
            let at: InsnOffset = record.offset;
            let relocated = linked.relocate(&mut resolver).unwrap();
            assert_eq!((relocated.insns, relocated.poisoned), (before, vec![]), "{at:?}");
        }
        Ok(())
    });
}
