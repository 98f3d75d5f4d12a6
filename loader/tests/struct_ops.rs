//! Tables of functions that the kernel calls: what the object says, and a congestion control at work. Needs clang; root
//! and a kernel with types where something is loaded.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::io;
use std::net::TcpListener;

use common::clang::{compile, compile_both};
use common::kernel::{NotRun, may_use_bpf, not_run};
use loader::load::{LoadOptions, Object};
use loader::spec::map::{map_flag, map_type};
use loader::spec::{MapSpec, ObjectSpec};
use loader::{Endian, Error, ErrorKind, Program};
use socket2::{Domain, Socket, Type};

const OBJECT: &str = "struct_ops";

fn spec() -> Option<ObjectSpec> {
    may_use_bpf().ok()?;
    Some(ObjectSpec::parse(&compile(OBJECT, Endian::NATIVE).ok()?).unwrap())
}

fn ops<'a>(spec: &'a ObjectSpec, map: &str) -> (&'a MapSpec, Vec<(u32, &'a str)>) {
    let map = spec.map(map).unwrap();
    let functions = &map.struct_ops.as_ref().unwrap().functions;
    let named = functions
        .iter()
        .map(|function| (function.member, spec.programs.get(function.program).unwrap().name.as_str()));
    (map, named.collect())
}

#[test]
fn each_variable_is_a_map_with_its_bytes_and_programs_in_both_byte_orders() {
    let Ok(objects) = compile_both(OBJECT) else { return };
    for bytes in objects {
        let spec = ObjectSpec::parse(&bytes).unwrap();
        let (map, functions) = ops(&spec, "by_update");
        assert_eq!((map.map_type, map.flags, map.autocreate), (map_type::STRUCT_OPS, 0, true));
        assert_eq!(functions, [(0, "cc_undo"), (2, "cc_init"), (3, "cc_ssthresh"), (4, "cc_avoid")]);
        let contents = &map.struct_ops.as_ref().unwrap().contents;
        assert_eq!(contents.len(), 56);
        assert_eq!(contents.get(8..22).unwrap(), b"ldr_by_update\0");
        assert!(contents.iter().take(8).all(|byte| *byte == 0), "pointers are no bytes");
        let (map, _) = ops(&spec, "by_link");
        assert_eq!((map.flags, map.autocreate), (map_flag::LINK, true));
        assert!(!ops(&spec, "lacks_member").0.autocreate);
        // Programs that are only in tables which are not created are not loaded either.
        let loaded = |name| spec.program(name).unwrap().autoload;
        assert_eq!((loaded("cc_ssthresh"), loaded("cc_never"), loaded("cc_call")), (true, false, false));
    }
}

/// Has no other struct_ops than `map` created.
fn only(spec: &mut ObjectSpec, map: &str) {
    spec.maps.iter_mut().filter(|map| map.struct_ops.is_some()).for_each(|map| map.autocreate = false);
    spec.map_mut(map).unwrap().autocreate = true;
}

/// The object with its maps and programs, if this kernel lets programs be congestion controls.
fn loaded(map: &str) -> Option<(Object, Vec<Program>)> {
    let mut spec = spec()?;
    only(&mut spec, map);
    let mut object = match Object::create(spec, LoadOptions::default()) {
        Ok(object) => object,
        Err(error) => {
            // Without a JIT the kernel has none at all, and links came later.
            assert!(lacking(&error), "{error:#}");
            not_run(&NotRun::KernelLacks("struct_ops of congestion controls"));
            return None;
        }
    };
    let names = ["cc_undo", "cc_init", "cc_ssthresh", "cc_avoid"];
    let programs = names.iter().map(|name| object.load_program(name).unwrap()).collect();
    Some((object, programs))
}

fn lacking(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotSupported { .. })
}

fn use_congestion_control(name: &str) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_tcp_congestion(name.as_bytes())?;
    Ok(socket)
}

#[test]
fn sockets_use_a_congestion_control_made_of_programs_until_its_link_goes() {
    for map in ["by_update", "by_link"] {
        let name = format!("ldr_{map}");
        let Some((object, programs)) = loaded(map) else { continue };
        assert_eq!(use_congestion_control(&name).unwrap_err().kind(), io::ErrorKind::NotFound);
        let link = object.attach_struct_ops(map, &programs).unwrap();
        assert_eq!(link.as_link().is_some(), map == "by_link");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().into();
        for _ in 0..3 {
            use_congestion_control(&name).unwrap().connect(&address).unwrap();
        }
        assert_eq!(object.global("starts").unwrap(), 3_u64.to_ne_bytes());
        link.detach();
        // Connections that still close hold on to it, but nobody new gets it.
        assert_eq!(use_congestion_control(&name).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

#[test]
fn what_does_not_fit_the_kernels_struct_is_named() {
    let refusal = |map: &str| {
        let mut spec = spec()?;
        only(&mut spec, map);
        Some(Object::create(spec, LoadOptions::default()).unwrap_err().to_string())
    };
    let Some(text) = refusal("lacks_struct") else { return };
    assert_eq!(text, "create map `lacks_struct`: this kernel has no `struct no_such_ops`");
    let text = refusal("lacks_member").unwrap();
    if text.contains("this kernel does not let") {
        return not_run(&NotRun::KernelLacks("struct_ops of congestion controls"));
    }
    let member = "member `never_had_this` of `struct tcp_congestion_ops`: the kernel has no such member";
    assert_eq!(text, format!("create map `lacks_member`: {member}"));
}

#[test]
fn a_program_that_is_in_no_table_is_refused_with_the_reason() {
    let Some((mut object, _)) = loaded("by_update") else { return };
    let error = object.load_program("cc_unused").unwrap_err();
    assert_eq!(error.to_string(), "load program `cc_unused`: it is in no struct_ops of the object");
}
