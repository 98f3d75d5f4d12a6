//! An object's BTF made loadable: what is filled in, and what an older kernel gets instead.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests say what they mean")]

use loader::btf::encode::{BtfBuilder, BtfFeatures, DatasecFixup, Field, Fixups, VariableFixup, for_kernel};
use loader::btf::{Btf, BtfData, IntInfo, Kind, Linkage, SectionVar, TypeId};
use loader::{Endian, ErrorKind};

fn parse(data: Vec<u8>) -> Btf {
    Btf::parse(BtfData::from(data)).unwrap()
}

fn prepared(b: &BtfBuilder, endian: Endian, fixups: &Fixups, features: &BtfFeatures) -> Btf {
    parse(for_kernel(&parse(b.build(endian)), fixups, features).unwrap())
}

fn vars(btf: &Btf, id: TypeId) -> Vec<(u32, u32, u32)> {
    let ty = btf.type_by_id(id).unwrap();
    ty.section_vars().map(|SectionVar { type_id, offset, size }| (type_id.0, offset, size)).collect()
}

#[test]
fn data_sections_get_their_size_and_their_variables_in_order() {
    for endian in [Endian::Little, Endian::Big] {
        let mut b = BtfBuilder::new();
        let int = b.int("int", 4, 0);
        let late = b.var("late", int, Linkage::Global);
        let early = b.var("early", int, Linkage::Global);
        let section = b.datasec(".rodata", 0, &[(late, 0, 4), (early, 0, 4)]);
        let place = |offset, hidden| VariableFixup { offset, hidden };
        let variables = [("late".into(), place(8, true)), ("early".into(), place(0, false))].into();
        let mut fixups = Fixups::default();
        fixups.datasecs.insert(".rodata".into(), DatasecFixup { size: 12, variables });
        let btf = prepared(&b, endian, &fixups, &BtfFeatures::ALL);
        assert_eq!(btf.size_of(section).unwrap(), 12);
        assert_eq!(vars(&btf, section), [(early.0, 0, 4), (late.0, 8, 4)]);
        assert_eq!(btf.type_by_id(late).unwrap().linkage(), Some(Linkage::Static));
        assert_eq!(btf.type_by_id(early).unwrap().linkage(), Some(Linkage::Global));

        let error = for_kernel(&parse(b.build(endian)), &Fixups::default(), &BtfFeatures::ALL).unwrap_err();
        assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains(".rodata"), "{error}");
        fixups.datasecs.get_mut(".rodata").unwrap().variables.remove("late");
        let error = for_kernel(&parse(b.build(endian)), &fixups, &BtfFeatures::ALL).unwrap_err();
        assert!(error.to_string().contains("`late`"), "{error}");
    }
}

#[test]
fn kernel_symbols_become_plausible_ints_and_ids_stay() {
    let mut b = BtfBuilder::new();
    let task = b.forward("task_struct", false);
    let proto = b.func_proto(&[("", task), ("named", task)], task);
    let func = b.func("bpf_kfunc", proto, Linkage::Extern);
    let var = b.var("runqueues", task, Linkage::Extern);
    let section = b.datasec(".ksyms", 0, &[(func, 0, 0), (var, 0, 0)]);
    let end = b.next_id();
    let btf = prepared(&b, Endian::Little, &Fixups::default(), &BtfFeatures::ALL);
    let entries = vars(&btf, section);
    assert_eq!(btf.size_of(section).unwrap(), 8);
    assert_eq!(entries, [(end.0 + 1, 0, 4), (var.0, 4, 4)]);
    assert_eq!(btf.type_by_id(TypeId(entries[0].0)).unwrap().name().unwrap(), "dummy_ksym");
    assert_eq!(btf.type_by_id(func).unwrap().linkage(), Some(Linkage::Global));
    assert_eq!(btf.type_by_id(var).unwrap().linkage(), Some(Linkage::Global));
    assert_eq!(btf.size_of(var).unwrap(), 4);
    let names: Vec<_> =
        btf.type_by_id(proto).unwrap().params().map(|p| btf.string(p.name_off).unwrap().to_owned()).collect();
    assert_eq!(names, ["arg", "named"]);
}

#[test]
fn an_old_kernel_gets_kinds_it_knows_with_the_same_ids_and_sizes() {
    for endian in [Endian::Little, Endian::Big] {
        let mut b = BtfBuilder::new();
        let int = b.int("int", 4, IntInfo::SIGNED);
        let float = b.float("double", 8);
        let tag = b.type_tag("user", int);
        let node = b.structure("node", 4, &[Field::new("x", int, 0)]);
        let decl = b.decl_tag("note", node, 0);
        let narrow = b.enumeration("narrow", 4, true, &[("N", -1)]);
        let wide = b.enumeration64("wide", 8, false, &[("W1", 1 << 40), ("W2", 2)]);
        let proto = b.func_proto(&[("a", int)], int);
        let func = b.func("run", proto, Linkage::Global);
        let var = b.var("v", int, Linkage::Global);
        let section = b.datasec("?.data.x", 8, &[(var, 4, 4)]);
        let empty = b.datasec(".maps", 4, &[]);
        let end = b.next_id();

        let same = prepared(&b, endian, &Fixups::default(), &BtfFeatures::ALL);
        assert_eq!(same.raw(), b.build(endian));

        let old = prepared(&b, endian, &Fixups::default(), &BtfFeatures::default());
        let kind = |id| old.type_by_id(id).unwrap().kind();
        let expected = [
            (int, Kind::Int),
            (float, Kind::Struct),
            (tag, Kind::Const),
            (node, Kind::Struct),
            (decl, Kind::Int),
            (narrow, Kind::Enum),
            (wide, Kind::Union),
            (proto, Kind::Enum),
            (func, Kind::Typedef),
            (var, Kind::Int),
            (section, Kind::Struct),
            (empty, Kind::Struct),
        ];
        for (id, expected) in expected {
            assert_eq!(kind(id), expected, "{id:?}");
        }
        for (id, size) in [(float, 8), (decl, 1), (wide, 8), (var, 1), (section, 8), (empty, 4)] {
            assert_eq!(old.size_of(id).unwrap(), size, "{id:?}");
        }
        assert!(!old.type_by_id(narrow).unwrap().kind_flag());
        let names = |id| old.type_by_id(id).unwrap().name().unwrap().to_owned();
        assert_eq!([names(float), names(tag), names(section), names(empty)], ["", "", "__data_x", "_maps"]);
        let member = old.type_by_id(section).unwrap().member(0).unwrap();
        assert_eq!((old.string(member.name_off).unwrap(), member.type_id, member.bit_offset), ("v", var, 32));
        let members: Vec<_> = old
            .type_by_id(wide)
            .unwrap()
            .members()
            .map(|m| (old.string(m.name_off).unwrap(), m.type_id))
            .collect();
        assert_eq!(members, [("W1", end), ("W2", end)]);
        assert_eq!(old.size_of(end).unwrap(), 1);

        let features = BtfFeatures { func_global: false, qmark_datasec: false, ..BtfFeatures::ALL };
        let newer = prepared(&b, endian, &Fixups::default(), &features);
        assert_eq!(newer.type_by_id(func).unwrap().linkage(), Some(Linkage::Static));
        assert_eq!(newer.type_by_id(section).unwrap().name().unwrap(), "_.data.x");
    }
}

#[test]
fn what_cannot_be_expressed_is_refused() {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, 0);
    b.structure("wide", 4, &vec![Field::new("m", int, 0); 65_537]);
    let btf = parse(b.build(Endian::Little));
    let old = BtfFeatures { wide_vlen: false, ..BtfFeatures::ALL };
    assert!(for_kernel(&btf, &Fixups::default(), &BtfFeatures::ALL).is_ok());
    let error = for_kernel(&btf, &Fixups::default(), &old).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotSupported { .. }), "{error}");
}
