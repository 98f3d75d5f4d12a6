//! Static probes of binaries: a binary written here, read, and run while a program listens. Needs root and clang where
//! something is attached.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[cfg(target_arch = "x86_64")]
#[path = "usdt/arguments.rs"]
mod arguments;
mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use common::clang::compile;
use common::kernel::{NotRun, may_use_bpf, not_run};
use loader::attach::usdt::{self, Place};
use loader::attach::{AttachOptions, Link, attach_with};
use loader::kernel::probe;
use loader::load::{LoadOptions, Object};
use loader::plan::{PlannedHook, plan};
use loader::program::Program;
use loader::section::Target;
use loader::spec::ObjectSpec;
use loader::{Endian, ErrorKind};

/// Where things are in the binary: offsets in the file, and addresses in memory.
const CODE: u64 = 0x100;
/// From one probe to the next: where instructions have a length, as on arm64, a probe is put between two.
const APART: u64 = 4;
const DATA: u64 = 0x1000;
const CODE_ADDRESS: u64 = 0x0040_0000;
const DATA_ADDRESS: u64 = 0x0060_2000;
const BASE_ADDRESS: u64 = 0x0040_0300;
const SEMAPHORE: u64 = DATA + 6;

fn bytes(words: &[(u64, usize)]) -> Vec<u8> {
    words.iter().flat_map(|(word, size)| word.to_le_bytes().into_iter().take(*size)).collect()
}

/// A note; `moved` is what a later tool has added to all addresses since.
fn note(provider: &str, name: &str, location: u64, semaphore: u64, moved: u64) -> Vec<u8> {
    note_with((provider, name, "-4@%edi 8@8(%rsp)"), location, semaphore, moved)
}

fn note_with(
    (provider, name, arguments): (&str, &str, &str),
    location: u64,
    semaphore: u64,
    moved: u64,
) -> Vec<u8> {
    let [location, semaphore] =
        [location, semaphore].map(|address| if address == 0 { 0 } else { address - moved });
    let mut descriptor = bytes(&[(location, 8), (BASE_ADDRESS - moved, 8), (semaphore, 8)]);
    descriptor.extend(format!("{provider}\0{name}\0{arguments}\0").bytes());
    let mut note = bytes(&[(8, 4), (descriptor.len() as u64, 4), (3, 4)]);
    note.extend(b"stapsdt\0");
    note.extend(&descriptor);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

/// Probes `ours:twice` at two places with a semaphore, `ours:plain` at one without.
fn notes(moved: u64) -> Vec<u8> {
    let mut notes = bytes(&[(4, 4), (4, 4), (3, 4)]);
    notes.extend(b"GNU\0\x01\x02\x03\x04");
    let (code, semaphore) = (CODE_ADDRESS + CODE, DATA_ADDRESS + 6);
    notes.extend(note("ours", "twice", code, semaphore, moved));
    notes.extend(note("ours", "plain", code + 2 * APART, 0, moved));
    notes.extend(note("ours", "twice", code + APART, semaphore, moved));
    notes
}

/// An x86-64 program that goes through the probes and exits with the value of the semaphore.
fn binary(notes: &[u8]) -> Vec<u8> {
    let mut code = vec![0x90; usize::try_from(3 * APART).unwrap()]; // nops: the probes
    code.extend([0x0f, 0xb7, 0x3c, 0x25]); // movzwl SEMAPHORE, %edi
    code.extend(bytes(&[(DATA_ADDRESS + 6, 4)]));
    code.extend([0xb8, 60, 0, 0, 0, 0x0f, 0x05]); // exit(edi)
    binary_of(&code, notes)
}

fn binary_of(code: &[u8], notes: &[u8]) -> Vec<u8> {
    const NAMES: &[u8] = b"\0.note.stapsdt\0.stapsdt.base\0.shstrtab\0";
    let (notes_at, names_at, headers_at) = (DATA + 0x100, DATA + 0x800, DATA + 0x900);
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend(bytes(&[(2, 2), (62, 2), (1, 4), (CODE_ADDRESS + CODE, 8), (64, 8), (headers_at, 8)]));
    file.extend(bytes(&[(0, 4), (64, 2), (56, 2), (2, 2), (64, 2), (4, 2), (3, 2)]));
    for (flags, offset, address, size) in [(5, 0, CODE_ADDRESS, 0x400), (6, DATA, DATA_ADDRESS, 0x100)] {
        file.extend(bytes(&[(1, 4), (flags, 4), (offset, 8), (address, 8), (address, 8)]));
        file.extend(bytes(&[(size, 8), (size, 8), (0x1000, 8)]));
    }
    file.resize(usize::try_from(CODE).unwrap(), 0);
    file.extend(code);
    file.resize(usize::try_from(notes_at).unwrap(), 0);
    file.extend(notes);
    file.resize(usize::try_from(names_at).unwrap(), 0);
    file.extend(NAMES);
    file.resize(usize::try_from(headers_at).unwrap(), 0);
    let size = notes.len() as u64;
    for (name, kind, address, offset, size) in [
        (0, 0, 0, 0, 0),
        (1, 7, 0, notes_at, size),
        (15, 1, BASE_ADDRESS, 0x300, 1),
        (29, 3, 0, names_at, NAMES.len() as u64),
    ] {
        file.extend(bytes(&[(name, 4), (kind, 4), (0, 8), (address, 8), (offset, 8), (size, 8)]));
        file.extend(bytes(&[(0, 8), (1, 8), (0, 8)]));
    }
    file
}

fn place(offset: u64, semaphore: Option<u64>) -> Place {
    let address = Some(offset + CODE_ADDRESS);
    Place { offset, semaphore, address, arguments: "-4@%edi 8@8(%rsp)".to_owned() }
}

#[test]
fn all_places_of_a_probe_are_found_with_their_semaphore_and_arguments() {
    for moved in [0, 0x10] {
        let binary = binary(&notes(moved));
        let twice = usdt::parse(&binary, "ours", "twice").unwrap();
        assert_eq!(twice, [place(CODE, Some(SEMAPHORE)), place(CODE + APART, Some(SEMAPHORE))], "{moved}");
        assert_eq!(usdt::parse(&binary, "ours", "plain").unwrap(), [place(CODE + 2 * APART, None)]);
        assert_eq!(usdt::parse(&binary, "ours", "none").unwrap(), []);
    }
}

#[test]
fn damaged_notes_are_errors_and_never_read_outside() {
    let whole = notes(0);
    let mut refused = 0;
    for len in 0..whole.len() {
        refused += usize::from(usdt::parse(&binary(whole.get(..len).unwrap()), "ours", "twice").is_err());
        for value in [0, 1, 0x7f, 0xff] {
            let mut damaged = whole.clone();
            *damaged.get_mut(len).unwrap() = value;
            usdt::parse(&binary(&damaged), "ours", "twice").ok();
        }
    }
    // All but those cut between two notes, or in the three bytes behind each of ours that only align the next.
    assert_eq!(refused, whole.len() - 4 - 3 * 3);
    let outside = note("ours", "far", 0x0070_0000, 0, 0);
    let error = usdt::parse(&binary(&outside), "ours", "far").unwrap_err();
    assert_eq!(error.to_string(), "its address 0x700000 is not in the file");
    assert_eq!(usdt::parse(b"\x7fELF\x02", "ours", "far").unwrap_err().kind(), ErrorKind::InvalidObject);
}

/// The object with its program on the probe `name` of the binary at `path`.
fn spec(path: &Path, name: &str) -> Option<ObjectSpec> {
    spec_of("attach", "by_usdt", path, name)
}

fn spec_of(object: &str, program: &str, path: &Path, name: &str) -> Option<ObjectSpec> {
    may_use_bpf().ok()?;
    let mut spec = ObjectSpec::parse(&compile(object, Endian::NATIVE).ok()?).unwrap();
    let (path, provider, name) = (path.display().to_string(), "ours".to_owned(), name.to_owned());
    spec.program_mut(program).unwrap().kind.target = Target::Usdt { path, provider, name };
    Some(spec)
}

fn write_program(path: &Path, binary: &[u8]) {
    std::fs::write(path, binary).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_probe_is_seen_at_every_place_and_its_semaphore_says_that_somebody_listens() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("probed");
    write_program(&path, &binary(&notes(0)));
    let Some(spec) = spec(&path, "twice") else { return };
    let run = || Command::new(&path).status().unwrap().code();
    let mut object = Object::create(spec, LoadOptions::default()).unwrap();
    let program = object.load_program("by_usdt").unwrap();
    let Some(link) = try_attach(&program, 0) else { return };
    assert_eq!(
        link.as_link().is_some(),
        probe::uprobe_multi(None).unwrap(),
        "one link where the kernel has such links"
    );
    let listened = if cfg!(target_arch = "x86_64") { run() } else { Some(2) };
    let hits = object.global("hits").unwrap();
    link.detach();
    if cfg!(target_arch = "x86_64") {
        // Each of the two places counts.
        assert_eq!((listened, run()), (Some(2), Some(0)));
        assert_eq!(hits, 2_u64.to_ne_bytes());
        assert_eq!(object.global("hits").unwrap(), hits, "detached programs see nothing");
    }
}

#[test]
fn a_missing_probe_is_named_and_a_plan_shows_where_one_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("probed");
    std::fs::write(&path, binary(&notes(0))).unwrap();
    let Some(known) = spec(&path, "plain") else { return };
    let hook = |spec: ObjectSpec| {
        let index = spec.programs.iter().position(|program| program.name == "by_usdt").unwrap();
        plan(spec, &loader::load::TargetFiles::default()).unwrap().programs.remove(index).hook
    };
    let places = vec![place(CODE + 2 * APART, None)];
    assert_eq!(hook(known).unwrap(), PlannedHook::Places { path: path.display().to_string(), places });
    let error = hook(spec(&path, "none").unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().ends_with("/probed` has no probe `ours:none`"), "{error}");
}

/// Attaches, or says aloud that it cannot be done here.
fn try_attach(program: &Program, cookie: u64) -> Option<Link> {
    match attach_with(program, AttachOptions { cookie }) {
        Ok(link) => Some(link),
        Err(error) if matches!(error.kind(), ErrorKind::NotSupported { .. }) => {
            not_run(&NotRun::KernelLacks("uprobes"));
            None
        }
        Err(error) => panic!("{error:#}"),
    }
}
