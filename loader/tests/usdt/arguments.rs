//! Arguments of probes, in registers and memory of x86-64.

use std::process::Command;

use loader::ErrorKind;
use loader::attach::{AttachOptions, attach, attach_with, usdt};
use loader::kernel::probe;
use loader::load::{LoadOptions, Object};
use loader::section::ProgramKind;

use crate::common::kernel::{NotRun, not_run};
use crate::{
    CODE, CODE_ADDRESS, DATA, DATA_ADDRESS, binary, binary_of, bytes, note_with, notes, spec_of, try_attach,
    write_program,
};

/// An x86-64 program that has its arguments in places of every kind when it comes to the nop at `ARGUMENTS_AT`.
fn binary_with_arguments(notes: &[u8]) -> Vec<u8> {
    let mut code = vec![0xbf, 0xf9, 0xff, 0xff, 0xff, 0xbb]; // mov $-7, %edi; mov MEMORY, %ebx
    code.extend(bytes(&[(DATA_ADDRESS + 16, 4)]));
    code.extend([0x8b, 0x03]); // mov (%rbx), %eax: the program cannot wait for a page to be read
    code.extend([0xb9, 3, 0, 0, 0, 0x90]); // mov $3, %ecx; nop
    code.extend([0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]); // exit(0)
    let mut binary = binary_of(&code, notes);
    let memory = usize::try_from(DATA + 16).unwrap();
    for (byte, number) in binary.iter_mut().skip(memory).zip(0x80..0x90) {
        *byte = number;
    }
    binary
}

const ARGUMENTS_AT: u64 = CODE_ADDRESS + CODE + 17;

fn number(object: &Object, name: &str) -> u64 {
    u64::from_ne_bytes(object.global(name).unwrap().try_into().unwrap())
}

#[test]
fn arguments_reach_the_program_from_registers_memory_and_the_note_itself() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("probed");
    let arguments = "-4@%edi 8@$12 -2@2(%rbx) 1@-8(%rbx,%rcx,4) 4@%ecx";
    write_program(&path, &binary_with_arguments(&note_with(("ours", "full", arguments), ARGUMENTS_AT, 0, 0)));
    let Some(spec) = spec_of("usdt", "take", &path, "full") else { return };
    let mut object = Object::create(spec, LoadOptions::default()).unwrap();
    let program = object.load_program("take").unwrap();
    let Some(link) = try_attach(&program, 5) else { return };
    assert!(Command::new(&path).status().unwrap().success());
    link.detach();
    let counted = ["hits", "cookies", "argument_count"].map(|name| number(&object, name));
    assert_eq!(counted, [1, 5, 5]);
    let read = object.global("arguments").unwrap();
    let read: Vec<u64> =
        read.chunks_exact(8).take(5).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect();
    assert_eq!(read, [(-7_i64).cast_unsigned(), 12, 0xffff_ffff_ffff_8382, 0x84, 3]);
}

/// `SEC("usdt")` leaves the place to whoever attaches. Such a program was loaded as any uprobe, and without the tables of
/// arguments, so that `bpf_usdt_arg()` found nothing wherever it was attached.
#[test]
fn a_program_whose_section_names_no_probe_is_put_on_one_with_its_arguments() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("probed");
    let note = note_with(("ours", "one", "-4@%edi"), ARGUMENTS_AT, 0, 0);
    write_program(&path, &binary_with_arguments(&note));
    let Some(mut spec) = spec_of("usdt", "take", &path, "one") else { return };
    spec.program_mut("take").unwrap().kind = ProgramKind::from_section_name("usdt").unwrap();
    let mut object = Object::create(spec, LoadOptions::default()).unwrap();
    let program = object.load_program("take").unwrap();
    assert_eq!(program.kind().attach_type != 0, probe::uprobe_multi(None).unwrap(), "loaded for one link");
    let path = path.display().to_string();
    let link = match usdt::attach(&program, &path, "ours", "one", AttachOptions { cookie: 9 }) {
        Err(error) if matches!(error.kind(), ErrorKind::NotSupported { .. }) => {
            return not_run(&NotRun::KernelLacks("uprobes"));
        }
        other => other.unwrap(),
    };
    assert!(Command::new(&path).status().unwrap().success());
    link.detach();
    let counted = ["hits", "cookies", "argument_count"].map(|name| number(&object, name));
    assert_eq!(counted, [1, 9, 1]);
    assert_eq!(object.global("arguments").unwrap()[..8], (-7_i64).to_ne_bytes());
}

#[test]
fn a_table_of_arguments_is_shared_and_says_when_it_is_full() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("probed");
    write_program(&path, &binary(&notes(0)));
    let Some(spec) = spec_of("usdt", "take", &path, "plain") else { return };
    let mut object = Object::create(spec, LoadOptions::default()).unwrap();
    let program = object.load_program("take").unwrap();
    // The object's table has three entries.
    for cookie in [1, 2, 3, 1, 2, 3] {
        let Some(link) = try_attach(&program, cookie) else { return };
        link.detach();
    }
    let error = attach_with(&program, AttachOptions { cookie: 4 }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(
        error.to_string().ends_with("map `__bpf_usdt_specs` is full: its 3 entries are in use"),
        "{error}"
    );
}

#[test]
fn arguments_that_no_program_can_read_are_refused_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("probed");
    let probe = ("ours", "floating", "8@%rdi 8f@%xmm0");
    write_program(&path, &binary_with_arguments(&note_with(probe, ARGUMENTS_AT, 0, 0)));
    let Some(spec) = spec_of("usdt", "take", &path, "floating") else { return };
    let mut object = Object::create(spec, LoadOptions::default()).unwrap();
    let error = attach(&object.load_program("take").unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidObject);
    let expected =
        "attach program `take`: argument 2 of the probe, `8f@%xmm0`: floating-point arguments cannot be read";
    assert_eq!(error.to_string(), expected);
}
