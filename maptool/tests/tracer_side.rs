//! What a tracer does with a set: opens it, refuses what is none, and hands the map to a program.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use common::{Sandbox, arg};
use loader::ErrorKind;
use loader::sys::attr::ProgLoad;
use loader::sys::bpf::{ProgLoadBuffers, obj_pin, prog_load, raw_tracepoint_open};
use nsmap::set::{NewSet, Set};
use nsmap::{Kind, Member};

/// `enum bpf_prog_type`.
const SOCKET_FILTER: u32 = 1;
const RAW_TRACEPOINT: u32 = 17;

/// A program that returns 0, after loading the address of `map`.
fn program(prog_type: u32, map: Option<&Set>) -> OwnedFd {
    let fd = map.map_or(0, |set| set.map().as_fd().as_raw_fd());
    let mut insns = Vec::new();
    if fd != 0 {
        // r1 = map: a 16-byte instruction, source register 1 (BPF_PSEUDO_MAP_FD)
        insns.extend([0x18, registers(1, 1), 0, 0]);
        insns.extend(fd.to_ne_bytes());
        insns.extend([0; 8]);
    }
    insns.extend([0xb7, 0, 0, 0, 0, 0, 0, 0]); // r0 = 0
    insns.extend([0x95, 0, 0, 0, 0, 0, 0, 0]); // exit
    // Kernels before 5.11 count programs as locked memory, and the raw call does not care.
    loader::kernel::privilege::raise_memlock();
    let numbers = ProgLoad { prog_type, ..ProgLoad::default() };
    let buffers = ProgLoadBuffers {
        insns: &insns,
        license: c"GPL",
        func_info: &[],
        line_info: &[],
        fd_array: &[],
        log: &mut [],
    };
    prog_load(numbers, buffers).unwrap()
}

fn registers(destination: u8, source: u8) -> u8 {
    if cfg!(target_endian = "little") { source << 4 | destination } else { destination << 4 | source }
}

#[test]
fn a_set_opened_for_a_tracer_serves_a_program_and_follows_edits() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create"]).ok();
    let set = Set::open_for_tracer(&sandbox.pin("mnt_ns_set"), Kind::Mntns).unwrap();
    assert_eq!((set.kind(), set.value_size()), (Kind::Mntns, 4));
    let _program = program(SOCKET_FILTER, Some(&set));
    sandbox.run(["add-mntns", "4026532909"]).ok();
    assert!(matches!(set.get(4_026_532_909).unwrap(), Some(Member::Mntns(member)) if member.check == 0));
    sandbox.run(["delete"]).ok();
    assert_eq!(set.members().unwrap().len(), 1, "the map outlives its pin");
}

#[test]
fn a_tracer_never_takes_something_else_for_a_set() {
    let Some(sandbox) = Sandbox::new() else { return };
    let pin = sandbox.pin("program");
    let program = program(RAW_TRACEPOINT, None);
    let c_path = CString::new(arg(&pin)).unwrap();
    obj_pin(program.as_fd(), &c_path).unwrap();
    let link_pin = sandbox.pin("link");
    let link = raw_tracepoint_open(Some(c"sched_process_exit"), program.as_fd(), 0).unwrap();
    obj_pin(link.as_fd(), &CString::new(arg(&link_pin)).unwrap()).unwrap();
    sandbox.run(["create"]).ok();
    std::fs::write(sandbox.plain("file"), "").unwrap();
    for (path, kind, text) in [
        (pin, ErrorKind::Incompatible, "program"),
        (link_pin.clone(), ErrorKind::Incompatible, "pinned link"),
        (sandbox.pin(""), ErrorKind::Incompatible, "directory"),
        (sandbox.plain("file"), ErrorKind::Incompatible, "file"),
        (sandbox.pin("nothing"), ErrorKind::NotFound, "not found"),
        (sandbox.pin("mnt_ns_set"), ErrorKind::Incompatible, "value 4 (mntns), expected"),
    ] {
        let error = Set::open_for_tracer(&path, Kind::Cgroup).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let line = error.to_string();
        assert!(line.contains(text) && line.contains(arg(&path)), "{line}");
    }
    sandbox.run(["list", arg(&sandbox.pin("program"))]).refused(6, &["a pinned program, not a map"]);
    sandbox.run(["add-self-mntns", "--map", arg(&link_pin)]).refused(6, &["pinned link, not a map"]);
    assert!(!sandbox.pin("nothing").exists(), "a tracer creates nothing");
}

#[test]
fn a_race_of_two_creators_leaves_one_set() {
    let Some(sandbox) = Sandbox::new() else { return };
    let new = NewSet { kind: Kind::Mntns, entries: 7, name: "one", mode: 0o600 };
    Set::create(&sandbox.pin("set"), &new).unwrap();
    let error = Set::create(&sandbox.pin("set"), &new).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
}
