//! Linking programs that are built here, in both byte orders. Needs nothing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use common::elf::{LOCAL, ObjectBuilder, R64_32, R64_64, Symbol, WEAK};
use common::sample::{self, call, exit, load, set, switching};
use loader::btf::encode::{BtfBuilder, Field, ext_blob};
use loader::btf::ext::CoreRecord;
use loader::btf::{Btf, BtfData, Linkage, TypeId};
use loader::core_reloc::CoreResolver;
use loader::insn::{Insn, InsnOffset, pseudo};
use loader::linker::{LinkedProgram, link};
use loader::spec::{ObjectSpec, RelocTarget};
use loader::{Endian, ErrorKind, Result};

const ORDERS: [Endian; 2] = [Endian::Little, Endian::Big];

/// Links the first program.
fn link_first(builder: &ObjectBuilder) -> Result<LinkedProgram> {
    let spec = ObjectSpec::parse(&builder.build())?;
    link(&spec, &spec.programs[0])
}

fn function_names(program: &LinkedProgram) -> Vec<(&str, usize)> {
    program.functions.iter().map(|(name, at)| (name.as_str(), at.0)).collect()
}

#[test]
fn the_sample_links_to_one_list_with_all_that_is_still_open() {
    for endian in ORDERS {
        let spec = ObjectSpec::parse(&sample::object(endian)).unwrap();
        let linked = link(&spec, &spec.programs[0]).unwrap();
        assert_eq!(function_names(&linked), [("main_prog", 0), ("callback", 11), ("helper", 13)]);
        let callback = linked.insns[4];
        assert_eq!((callback.src, callback.imm, linked.insns[5].imm), (pseudo::FUNC, 6, 0));
        assert_eq!(linked.insns[9], call(3));
        let open: Vec<_> = linked.relocations.iter().map(|r| (r.at.0, r.target)).collect();
        let expected = [
            (0, RelocTarget::Map { index: 0 }),
            (2, RelocTarget::Data { map: 4, offset: 0 }),
            (6, RelocTarget::Extern { index: 0 }),
            (8, RelocTarget::Extern { index: 1 }),
            (13, RelocTarget::Data { map: 6, offset: 8 }),
        ];
        assert_eq!(open, expected);
        let infos: Vec<_> = linked.func_info.iter().map(|r| r.offset.0).collect();
        let lines: Vec<_> = linked.source_lines.iter().map(|r| r.offset.0).collect();
        let core: Vec<_> = linked.core.iter().map(|r| r.offset.0).collect();
        assert_eq!((infos, lines, core), (vec![0, 11, 13], vec![0, 11, 13], vec![0, 13]));
    }
}

/// A program that calls the first of a chain of functions, and the last calls the first again.
fn chain(length: usize) -> ObjectBuilder {
    let mut builder = ObjectBuilder::new(Endian::Little);
    let code = builder.code("socket", &[call(-1), exit()]);
    let body = [call(-1), exit()];
    let text = builder.code(".text", &body.repeat(length));
    builder.symbol(Symbol::function("main", code, 0, 2));
    let functions: Vec<usize> = (0..length)
        .map(|n| builder.symbol(Symbol::function(&format!("f{n}"), text, n as u64 * 2, 2)))
        .collect();
    builder.relocate(code, 0, functions[0], R64_32);
    for n in 0..length {
        builder.relocate(text, n as u64 * 16, functions[(n + 1) % length], R64_32);
    }
    builder
}

#[test]
fn functions_that_call_each_other_in_a_circle_are_taken_once() {
    let linked = link_first(&chain(3)).unwrap();
    assert_eq!(function_names(&linked), [("main", 0), ("f0", 2), ("f1", 4), ("f2", 6)]);
    assert_eq!(linked.insns[0], call(1));
    assert_eq!(linked.insns[6], call(-5), "the circle closes backwards");
}

#[test]
fn the_kernels_limit_of_functions_is_a_limit_here() {
    assert_eq!(link_first(&chain(255)).unwrap().functions.len(), 256);
    assert_eq!(link_first(&chain(256)).unwrap_err().kind(), ErrorKind::Limit);
}

#[test]
fn callees_come_depth_first_in_the_order_of_the_calls() {
    let mut builder = ObjectBuilder::new(Endian::Big);
    let code = builder.code("socket", &[call(-1), call(-1), exit()]);
    // a: calls c. b, c: leaves.
    let text = builder.code(".text", &[call(-1), exit(), set(2), exit(), set(3), exit()]);
    builder.symbol(Symbol::function("main", code, 0, 3));
    let a = builder.symbol(Symbol::function("a", text, 0, 2));
    let b = builder.symbol(Symbol::function("b", text, 2, 2));
    let c = builder.symbol(Symbol::function("c", text, 4, 2));
    builder.relocate(code, 0, a, R64_32);
    builder.relocate(code, 8, b, R64_32);
    builder.relocate(text, 0, c, R64_32);
    let linked = link_first(&builder).unwrap();
    assert_eq!(function_names(&linked), [("main", 0), ("a", 3), ("c", 5), ("b", 7)]);
    assert_eq!(linked.insns, [call(2), call(5), exit(), call(1), exit(), set(3), exit(), set(2), exit()]);
}

#[test]
fn a_call_within_a_section_needs_no_relocation() {
    let mut builder = ObjectBuilder::new(Endian::Little);
    let code = builder.code("socket", &[set(1), exit(), call(-3), call(2), exit(), set(9), set(7), exit()]);
    builder.symbol(Symbol::function("before", code, 0, 2).bound(LOCAL));
    builder.symbol(Symbol::function("main", code, 2, 3));
    builder.symbol(Symbol::function("after", code, 6, 2).bound(LOCAL));
    let linked = link_first(&builder).unwrap();
    assert_eq!(function_names(&linked), [("main", 0), ("before", 3), ("after", 5)]);
    assert_eq!(linked.insns, [call(2), call(3), exit(), set(1), exit(), set(7), exit()]);
}

#[test]
fn two_programs_get_a_copy_each_of_what_both_call() {
    let mut builder = ObjectBuilder::new(Endian::Little);
    let code = builder.code("socket", &[call(-1), exit(), set(5), call(-1), exit()]);
    let text = builder.code(".text", &[set(1), exit()]);
    builder.symbol(Symbol::function("one", code, 0, 2));
    builder.symbol(Symbol::function("two", code, 2, 3));
    let shared = builder.symbol(Symbol::function("shared", text, 0, 2));
    builder.relocate(code, 0, shared, R64_32);
    builder.relocate(code, 24, shared, R64_32);
    let spec = ObjectSpec::parse(&builder.build()).unwrap();
    let [one, two] = [0, 1].map(|n| link(&spec, &spec.programs[n]).unwrap().insns);
    assert_eq!(one, [call(1), exit(), set(1), exit()]);
    assert_eq!(two, [set(5), call(1), exit(), set(1), exit()]);
}

#[test]
fn what_is_left_of_an_overridden_weak_function_is_ignored() {
    let mut builder = ObjectBuilder::new(Endian::Little);
    let code = builder.code("socket", &[call(-1), exit()]);
    // Slots 0 to 2 have lost their symbol, and refer to something absurd.
    let text = builder.code(".text", &[&load(0)[..], &[exit(), set(2), exit()]].concat());
    builder.symbol(Symbol::function("main", code, 0, 2));
    let file = builder.symbol(Symbol { name: "a.c", section: 0xfff1, kind: 4, ..Symbol::section(0) });
    let strong = builder.symbol(Symbol::function("f", text, 3, 2).bound(WEAK));
    builder.relocate(code, 0, strong, R64_32);
    builder.relocate(text, 0, file, R64_64);
    assert_eq!(link_first(&builder).unwrap().insns, [call(1), exit(), set(2), exit()]);
    let hole = builder.symbol(Symbol::section(text));
    builder.relocate(code, 8, hole, R64_32);
    assert!(link_first(&builder).is_err(), "`exit` cannot be relocated");
}

#[test]
fn a_call_into_the_middle_of_a_function_is_refused() {
    let mut builder = ObjectBuilder::new(Endian::Little);
    let code = builder.code("socket", &[call(0), exit()]);
    let text = builder.code(".text", &[set(1), set(2), exit()]);
    builder.symbol(Symbol::function("main", code, 0, 2));
    let callee = builder.symbol(Symbol::function("f", text, 0, 3));
    builder.relocate(code, 0, callee, R64_32);
    let error = link_first(&builder).unwrap_err().to_string();
    assert_eq!(error, "link program `main`: no function starts at instruction 1 of `.text`");
}

#[test]
fn an_undefined_function_spoils_only_the_program_that_calls_it() {
    let mut builder = ObjectBuilder::new(Endian::Little);
    let code = builder.code("socket", &[call(-1), exit(), set(5), exit()]);
    builder.symbol(Symbol::function("bad", code, 0, 2));
    builder.symbol(Symbol::function("good", code, 2, 2));
    let missing = builder.symbol(Symbol::undefined("elsewhere"));
    builder.relocate(code, 0, missing, R64_32);
    let spec = ObjectSpec::parse(&builder.build()).unwrap();
    let error = link(&spec, spec.program("bad").unwrap()).unwrap_err();
    assert!(error.to_string().contains("`elsewhere` is defined nowhere"), "{error}");
    assert!(link(&spec, spec.program("good").unwrap()).is_ok());
}

#[test]
fn an_object_cannot_bring_fds_and_ids_of_this_machine() {
    for source in [pseudo::MAP_FD, pseudo::MAP_VALUE, pseudo::BTF_ID, 5, 6] {
        let mut builder = ObjectBuilder::new(Endian::Little);
        let [first, second] = load(3);
        let code = builder.code("socket", &[Insn { src: source, ..first }, second, exit()]);
        builder.symbol(Symbol::function("main", code, 0, 3));
        let error = link_first(&builder).unwrap_err().to_string();
        assert!(error.contains("a number of this machine"), "{error}");
    }
    let mut builder = ObjectBuilder::new(Endian::Little);
    let kfunc = Insn { src: pseudo::KFUNC_CALL, ..call(77) };
    let code = builder.code("socket", &[kfunc, exit()]);
    builder.symbol(Symbol::function("main", code, 0, 2));
    assert!(link_first(&builder).is_err());
}

#[test]
fn relocations_that_make_no_sense_are_refused() {
    let refused = |offset: u64, kind: u32, twice: bool, text: &str| {
        let mut builder = ObjectBuilder::new(Endian::Little);
        let code = builder.code("socket", &[&load(0)[..], &[set(1), exit()]].concat());
        let data = builder.data("other", &[0; 8]);
        let rodata = builder.data(".rodata", &[0; 8]);
        builder.symbol(Symbol::function("main", code, 0, 4));
        let symbol = builder.symbol(Symbol::object("x", if twice { rodata } else { data }, 0, 8));
        builder.relocate(code, offset, symbol, kind);
        if twice {
            builder.relocate(code, offset, symbol, kind);
        }
        let error = ObjectSpec::parse(&builder.build()).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    };
    refused(0, R64_64, false, "holds no map or data");
    refused(0, R64_32, false, "relocation type 10");
    refused(16, R64_64, false, "refers to nothing");
    refused(4, R64_64, false, "not at an instruction");
    refused(0, R64_64, true, "two relocations for instruction 0");
}

/// A program at slot 0 of `.text`'s neighbour that calls two functions, with records for some of them.
fn with_records(recorded: &[&str]) -> LinkedProgram {
    let mut btf = BtfBuilder::new();
    let int = btf.int("int", 4, 1);
    let proto = btf.func_proto(&[], int);
    let mut id = |name| btf.func(name, proto, Linkage::Global);
    let ids = [("main", id("main"), 0), ("f", id("f"), 0), ("g", id("g"), 2)];
    let (socket, text) = (btf.string("socket"), btf.string(".text"));
    let of = |names: &[&str]| {
        let wanted = ids.iter().filter(|(name, ..)| names.contains(name) && recorded.contains(name));
        let list: Vec<(usize, TypeId)> = wanted.map(|&(_, id, slot)| (slot, id)).collect();
        sample::records(&list, 1)
    };
    let (own, others) = (of(&["main"]), of(&["f", "g"]));
    let mut builder = ObjectBuilder::new(Endian::Little);
    let code = builder.code("socket", &[call(-1), call(1), exit()]);
    let functions = builder.code(".text", &[set(1), exit(), set(2), exit()]);
    builder.data(".BTF", &btf.build(Endian::Little));
    builder.data(".BTF.ext", &ext_blob(&[(socket, &own), (text, &others)], Endian::Little));
    let section = builder.symbol(Symbol::section(functions));
    builder.symbol(Symbol::function("main", code, 0, 3));
    builder.symbol(Symbol::function("f", functions, 0, 2).bound(LOCAL));
    builder.symbol(Symbol::function("g", functions, 2, 2).hide());
    builder.relocate(code, 0, section, R64_32);
    builder.relocate(code, 8, section, R64_32);
    link_first(&builder).unwrap()
}

#[test]
fn func_and_line_info_are_passed_on_for_all_functions_or_for_none() {
    let all = with_records(&["main", "f", "g"]);
    let at = |program: &LinkedProgram| program.func_info.iter().map(|r| r.offset).collect::<Vec<_>>();
    assert_eq!(at(&all), [InsnOffset(0), InsnOffset(3), InsnOffset(5)]);
    assert!(all.has_all_lines);
    let refused = all.relocate_without_types().unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::NotSupported { .. }), "{refused}");
    for partial in [&["main", "f"][..], &["f", "g"], &["main"], &[]] {
        let program = with_records(partial);
        assert_eq!((program.func_info.len(), program.has_all_lines), (0, false), "{partial:?}");
    }
}

/// A program of the kernel's selftests throws, and only a declaration tag names the function that catches. Nothing
/// calls it, so it was left out, and the verifier said `exception callback type id not found in func_info`.
#[test]
fn the_function_that_a_program_throws_to_comes_last_although_nothing_calls_it() {
    let build = |callback: &str, hidden: bool| {
        let mut btf = BtfBuilder::new();
        let int = btf.int("int", 4, 1);
        let proto = btf.func_proto(&[], int);
        let main = btf.func("main", proto, Linkage::Global);
        btf.decl_tag("another", main, -1);
        btf.decl_tag(&format!("exception_callback:{callback}"), main, -1);
        let mut builder = ObjectBuilder::new(Endian::Little);
        let code = builder.code("tc", &[call(-1), exit()]);
        let text = builder.code(".text", &[set(1), exit(), call(-3), exit(), set(2), exit()]);
        builder.data(".BTF", &btf.build(Endian::Little));
        builder.symbol(Symbol::function("main", code, 0, 2));
        let called = builder.symbol(Symbol::function("called", text, 4, 2));
        let catches = Symbol::function("catches", text, 2, 2);
        builder.symbol(if hidden { catches.hide() } else { catches });
        builder.symbol(Symbol::function("helps", text, 0, 2).bound(LOCAL));
        builder.relocate(code, 0, called, R64_32);
        link_first(&builder)
    };
    let linked = build("catches", false).unwrap();
    assert_eq!(function_names(&linked), [("main", 0), ("called", 2), ("catches", 4), ("helps", 6)]);
    assert_eq!(linked.insns[4], call(1));
    assert_eq!(build("called", false).unwrap().functions.len(), 2, "what is called is there already");
    for (callback, hidden) in [("catches", true), ("helps", false), ("nothing", false)] {
        let error = build(callback, hidden).unwrap_err().to_string();
        let expected = format!(
            "link program `main`: the exception callback `{callback}` is no global function of the object"
        );
        assert_eq!(error, expected);
    }
}

#[test]
fn a_hidden_function_is_to_be_static_for_the_kernel() {
    let mut builder = ObjectBuilder::new(Endian::Little);
    let code = builder.code("socket", &[set(0), exit()]);
    let text = builder.code(".text", &[set(0), exit(), set(1), exit()]);
    builder.symbol(Symbol::function("main", code, 0, 2));
    builder.symbol(Symbol::function("open", text, 0, 2));
    builder.symbol(Symbol::function("closed", text, 2, 2).hide());
    let spec = ObjectSpec::parse(&builder.build()).unwrap();
    let hidden: Vec<_> = spec.btf_fixups.static_functions.iter().map(String::as_str).collect();
    assert_eq!(hidden, ["closed"]);
}

/// `struct task` with these members, four bytes each.
fn task(members: &[&str]) -> BtfBuilder {
    let mut btf = BtfBuilder::new();
    let int = btf.int("int", 4, 1);
    let fields: Vec<Field<'_>> =
        members.iter().zip(0..).map(|(name, n)| Field::new(name, int, n * 4)).collect();
    btf.structure("task", 4 * u32::try_from(members.len()).unwrap(), &fields);
    btf
}

/// A program that calls `reader`, whose second instruction reads `task.pid`, at byte 4 when it was compiled.
fn reader(endian: Endian) -> LinkedProgram {
    let mut btf = task(&["state", "pid"]);
    let proto = btf.func_proto(&[], TypeId(1));
    let (main, reader) =
        (btf.func("main", proto, Linkage::Global), btf.func("reader", proto, Linkage::Static));
    let (socket, text) = (btf.string("socket"), btf.string(".text"));
    let (line, access) = (btf.string("  return task->pid;"), btf.string("0:1"));
    let mut of_main = sample::records(&[(0, main)], line);
    of_main.core.clear();
    let mut of_reader = sample::records(&[(0, reader)], line);
    of_reader.core =
        vec![CoreRecord { offset: InsnOffset(1), type_id: TypeId(2), access_off: access, kind: 0 }];
    let read = Insn { code: 0x61, src: 1, off: 4, ..Insn::default() };
    let mut builder = ObjectBuilder::new(endian);
    let code = builder.code("socket", &[call(-1), exit()]);
    let functions = builder.code(".text", &[set(0), read, exit()]);
    builder.data(".BTF", &btf.build(endian));
    builder.data(".BTF.ext", &ext_blob(&[(socket, &of_main), (text, &of_reader)], endian));
    builder.symbol(Symbol::function("main", code, 0, 2));
    let callee = builder.symbol(Symbol::function("reader", functions, 0, 3).bound(LOCAL));
    builder.relocate(code, 0, callee, R64_32);
    link_first(&builder).unwrap()
}

fn resolver(program: &LinkedProgram, target: &BtfBuilder) -> CoreResolver {
    let target = Btf::parse(BtfData::from(target.build(Endian::NATIVE))).unwrap();
    CoreResolver::new(program.btf.as_ref().unwrap(), &target, &program.core, &[]).unwrap()
}

#[test]
fn a_relocated_program_reads_where_the_target_has_the_field() {
    for endian in ORDERS {
        let linked = reader(endian);
        let mut resolver = resolver(&linked, &task(&["state", "flags", "cpu", "pid"]));
        let program = linked.relocate(&mut resolver).unwrap();
        assert_eq!(program.insns[3].off, 12);
        assert_eq!(program.poisoned, []);
        assert_eq!(program.line_info.len(), 2);
    }
}

#[test]
fn a_field_that_the_target_lacks_is_reported_with_its_source_line() {
    let linked = reader(Endian::Little);
    let mut resolver = resolver(&linked, &task(&["state", "tgid"]));
    let program = linked.relocate(&mut resolver).unwrap();
    assert_eq!(program.insns[3].code, 0x85, "poisoned");
    let [poisoned] = &program.poisoned[..] else { panic!("{:?}", program.poisoned) };
    assert_eq!((poisoned.at.0, poisoned.function.as_str()), (3, "reader"));
    let source = poisoned.source.as_ref().unwrap();
    assert_eq!((source.line, source.column, source.text.as_str()), (7, 1, "return task->pid;"));
}

#[test]
fn jump_tables_lead_to_the_same_instructions_wherever_their_function_goes() {
    for endian in ORDERS {
        let linked = link_first(&switching(endian, 5 * 8)).unwrap();
        assert_eq!(function_names(&linked), [("main", 0), ("switching", 2)]);
        let [table] = &linked.jump_tables[..] else { panic!("{:?}", linked.jump_tables) };
        let led_to: Vec<Insn> = table.iter().map(|target| linked.insns[target.0]).collect();
        assert_eq!((table[0].0, led_to), (5, vec![set(7), set(8)]));
        let open: Vec<_> = linked.relocations.iter().map(|r| (r.at.0, r.target)).collect();
        assert_eq!(open, [(2, RelocTarget::JumpTable { index: 0 })]);
    }
}

#[test]
fn a_jump_table_that_leads_out_of_its_function_is_refused() {
    // Into the function in front, between two instructions, behind the end, and far away.
    for target in [0, 5 * 8 + 4, 9 * 8, u64::MAX - 7] {
        let error = link_first(&switching(Endian::Little, target)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidObject);
        let expected = "link program `main`: a jump table that leads out of its function";
        assert_eq!(error.to_string(), expected, "{target}");
    }
}

#[test]
fn a_jump_table_that_is_not_in_its_section_is_refused() {
    for (value, size) in [(8, 16), (4, 8), (0, 12), (0, 0), (u64::MAX - 7, 16), (0, u64::MAX)] {
        let mut builder = ObjectBuilder::new(Endian::Little);
        let tables = builder.section(".jumptables", common::elf::PROGBITS, 2, vec![0; 16]);
        builder.symbol(Symbol::object("table", tables, value, size));
        let error = ObjectSpec::parse(&builder.build()).unwrap_err();
        let expected = format!(
            "read section `.jumptables`: read jump table `table`: {size} bytes at {value} are no entries of 8 bytes in it"
        );
        assert_eq!(error.to_string(), expected);
    }
}
