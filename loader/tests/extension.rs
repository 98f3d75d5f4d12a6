//! Programs on functions of other programs, and on security hooks. Needs root and clang.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::clang::compile;
use common::kernel::{Bpffs, NotRun, has_trampolines, may_use_bpf, not_run};
use loader::attach::attach;
use loader::load::{LoadOptions, Object};
use loader::spec::ObjectSpec;
use loader::{Endian, Error, ErrorKind, Link, Program};

fn object() -> Option<Object> {
    may_use_bpf().ok()?;
    let spec = ObjectSpec::parse(&compile("extension", Endian::NATIVE).ok()?).unwrap();
    Some(Object::create(spec, LoadOptions::default()).unwrap())
}

/// What was attached; nothing on kernels that refuse, each in its own words.
#[track_caller]
fn attached(made: Result<Link, Error>, what: &'static str) -> Option<Link> {
    match made {
        Ok(link) => Some(link),
        Err(error) => {
            assert!(!has_trampolines(), "{error:#}");
            not_run(&NotRun::KernelLacks(what));
            None
        }
    }
}

const FRAME: [u8; 64] = [0; 64];

#[test]
fn a_function_of_a_program_is_replaced_until_the_link_goes() {
    let Some(mut object) = object() else { return };
    let extended = object.load_program("extended").unwrap();
    assert_eq!(extended.test_run(&FRAME).unwrap(), 42);
    let made = object.load_program_on("replacement", &extended).and_then(|program| attach(&program));
    let Some(link) = attached(made, "extensions of programs") else { return };
    assert_eq!(extended.test_run(&FRAME).unwrap(), 1041);
    link.detach();
    assert_eq!(extended.test_run(&FRAME).unwrap(), 42);
}

#[test]
fn a_function_of_a_pinned_program_is_traced() {
    let Some(mut object) = object() else { return };
    let bpffs = Bpffs::mount();
    object.load_program("extended").unwrap().pin(&bpffs.path("extended")).unwrap();
    let extended = Program::open_pinned(&bpffs.path("extended")).unwrap();
    assert_eq!(
        extended.info().unwrap(),
        Program::open_id(extended.info().unwrap().id).unwrap().info().unwrap()
    );
    let made = object.load_program_on("at_entry", &extended).and_then(|program| attach(&program));
    let Some(link) = attached(made, "fentry") else { return };
    assert_eq!(extended.test_run(&FRAME).unwrap(), 42);
    assert_eq!(object.global("hits").unwrap(), 1_u64.to_ne_bytes());
    assert_eq!(extended.test_run(&FRAME).unwrap(), 43, "called with another value, which is not counted");
    link.detach();
    assert_eq!(object.global("hits").unwrap(), 1_u64.to_ne_bytes());
}

#[test]
fn an_extension_of_nothing_is_refused_with_the_reason() {
    let Some(mut object) = object() else { return };
    let error = object.load_program("replacement").unwrap_err();
    assert_eq!(
        error.to_string(),
        "load program `replacement`: it replaces a function of a program; say of which"
    );
    let extended = object.load_program("extended").unwrap();
    let error = object.load_program_on("replaces_nothing", &extended).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().ends_with("program `extended` has no function `no_such_function` with a type"));
    let bpffs = Bpffs::mount();
    let map = bpffs.path("map");
    object.maps().next().unwrap().1.pin(&map).unwrap();
    let error = Program::open_pinned(&map).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Incompatible, "this is a pinned map, not a program")
    );
}

#[test]
fn programs_for_security_hooks_are_attached_or_left_to_a_cgroup() {
    let Some(mut object) = object() else { return };
    let made = object.load_program("at_open").and_then(|program| attach(&program));
    let Some(link) = attached(made, "security hooks") else { return };
    link.detach();
    // Since 6.0.
    let program = match object.load_program("at_socket") {
        Ok(program) => program,
        Err(error) if matches!(error.kind(), ErrorKind::NotSupported { since: "6.0", .. }) => {
            return not_run(&NotRun::KernelLacks("security hooks of cgroups"));
        }
        Err(error) => panic!("{error:#}"),
    };
    let error = attach(&program).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (
            ErrorKind::Incompatible,
            "attach program `at_socket`: this crate does not attach programs of this type"
        )
    );
}
