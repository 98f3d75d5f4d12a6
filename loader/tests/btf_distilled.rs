//! Types of a module that was built for another kernel, put on top of this one's.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what they mean")]

use loader::btf::encode::{BtfBuilder, Field};
use loader::btf::{Btf, BtfData, IntInfo, Kind, Linkage, TypeId};
use loader::{Endian, ErrorKind, Result};

const BOTH: [Endian; 2] = [Endian::Little, Endian::Big];

/// The running kernel: what the module needs has other ids than in the distilled base, and more members.
fn kernel() -> BtfBuilder {
    let mut b = BtfBuilder::new();
    b.typedef("unrelated", TypeId(3));
    b.float("double", 8);
    let int = b.int("int", 4, IntInfo::SIGNED);
    b.enumeration64("wide", 8, false, &[("MAX", u64::MAX)]);
    b.structure("grown", 64, &[Field::new("a", int, 0), Field::new("b", int, 4)]);
    b.structure("inside", 16, &[Field::new("x", int, 12)]);
    b.union("either", 4, &[Field::new("u", int, 0)]);
    b.structure("pointed", 4, &[Field::new("p", int, 0)]);
    b
}

/// What a module is distilled to: int, enum, two structs of a size, a union, a struct that is only pointed to.
struct Distilled {
    base: BtfBuilder,
    int: TypeId,
    wide: TypeId,
    grown: TypeId,
    inside: TypeId,
    either: TypeId,
    pointed: TypeId,
}

fn distilled(inside_size: u32) -> Distilled {
    let mut b = BtfBuilder::new();
    Distilled {
        int: b.int("int", 4, IntInfo::SIGNED),
        wide: b.enumeration("wide", 8, false, &[]),
        grown: b.structure("grown", 32, &[]),
        inside: b.structure("inside", inside_size, &[]),
        either: b.union("either", 4, &[]),
        pointed: b.forward("pointed", false),
        base: b,
    }
}

/// A module that refers to all of it, in every kind of type that has names or ids.
fn module(base: &Distilled, endian: Endian) -> Vec<u8> {
    let parsed = Btf::parse(BtfData::from(base.base.build(endian))).unwrap();
    let mut b = BtfBuilder::split(&parsed);
    let pointer = b.ptr(base.grown);
    let array = b.array(base.inside, base.int, 2);
    let constant = b.constant(array);
    let pointed = b.ptr(base.pointed);
    let fields = [
        Field::new("next", pointer, 0),
        Field::new("two", constant, 8),
        Field::new("one", base.either, 40),
        Field::new("far", pointed, 48),
        Field::new("big", base.wide, 56),
    ];
    let own = b.structure("module_node", 64, &fields);
    let proto = b.func_proto(&[("node", own), ("n", base.int)], base.int);
    let func = b.func("module_fn", proto, Linkage::Static);
    b.decl_tag("tag", func, -1);
    b.enumeration("module_enum", 4, false, &[("MODULE_ONE", 1)]);
    b.enumeration64("module_wide", 8, false, &[("MODULE_MAX", 1 << 40)]);
    let var = b.var("module_var", own, Linkage::Global);
    b.datasec(".data..percpu", 64, &[(var, 0, 64)]);
    b.build(endian)
}

fn fit(base: &Distilled, kernel: &BtfBuilder, endian: Endian) -> Result<Btf> {
    let kernel = Btf::parse(BtfData::from(kernel.build(endian))).unwrap();
    let distilled = BtfData::from(base.base.build(endian));
    Btf::parse_distilled(BtfData::from(module(base, endian)), distilled, &kernel)
}

#[test]
fn a_modules_types_refer_to_the_kernels_own_after_it_was_fitted() {
    for endian in BOTH {
        let fitted = fit(&distilled(16), &kernel(), endian).unwrap();
        let name = |id| fitted.type_by_id(id).unwrap().name().unwrap();
        let node = fitted.type_by_id(fitted.find("module_node", Kind::Struct).unwrap().unwrap()).unwrap();
        assert!(node.id().0 >= fitted.base().unwrap().type_count());
        let members: Vec<_> =
            node.members().map(|m| (fitted.string(m.name_off).unwrap(), m.type_id)).collect();
        let [(next, pointer), (two, constant), (_, either), (_, pointed), (_, wide)] = members[..] else {
            panic!("{members:?}")
        };
        assert_eq!((next, two), ("next", "two"));
        let target = |id| fitted.type_by_id(id).unwrap().target().unwrap();
        assert_eq!(target(pointer), TypeId(5));
        let array = fitted.type_by_id(target(constant)).unwrap().array().unwrap();
        assert_eq!((array.element, array.index, array.len), (TypeId(6), TypeId(3), 2));
        assert_eq!((either, target(pointed), wide), (TypeId(7), TypeId(8), TypeId(4)));
        // The kernel's own members are seen through the module's type.
        let grown = fitted.type_by_id(target(pointer)).unwrap();
        assert_eq!((grown.size(), grown.vlen()), (Some(64), 2));
        let func = fitted.type_by_id(fitted.find("module_fn", Kind::Func).unwrap().unwrap()).unwrap();
        let proto = fitted.type_by_id(func.target().unwrap()).unwrap();
        let params: Vec<_> =
            proto.params().map(|p| (fitted.string(p.name_off).unwrap(), p.type_id)).collect();
        assert_eq!(params, [("node", node.id()), ("n", TypeId(3))]);
        assert_eq!(proto.target(), Some(TypeId(3)));
        for (of, kind, first) in
            [("module_enum", Kind::Enum, "MODULE_ONE"), ("module_wide", Kind::Enum64, "MODULE_MAX")]
        {
            let ty = fitted.type_by_id(fitted.find(of, kind).unwrap().unwrap()).unwrap();
            assert_eq!(fitted.string(ty.enumerators().next().unwrap().name_off).unwrap(), first);
        }
        let section = fitted.find(".data..percpu", Kind::Datasec).unwrap().unwrap();
        let var = fitted.type_by_id(section).unwrap().section_vars().next().unwrap();
        assert_eq!(name(var.type_id), "module_var");
    }
}

#[test]
fn a_struct_inside_of_a_modules_struct_must_have_kept_its_size_and_one_behind_a_pointer_need_not() {
    let error = fit(&distilled(24), &kernel(), Endian::NATIVE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    let text = error.to_string();
    assert!(text.contains("struct `inside`: it has 16 bytes, the module expects 24"), "{text}");
}

#[test]
fn what_the_kernel_lacks_or_has_twice_is_named() {
    let mut lacking = BtfBuilder::new();
    lacking.int("int", 4, IntInfo::SIGNED);
    let text = fit(&distilled(16), &lacking, Endian::NATIVE).unwrap_err().to_string();
    assert!(text.contains("enum `wide`: the kernel has no such type"), "{text}");

    // Two of one name are told apart by their size, if they can be.
    let mut twice = kernel();
    twice.structure("grown", 32, &[]);
    let fitted = fit(&distilled(16), &twice, Endian::NATIVE).unwrap();
    let node = fitted.type_by_id(fitted.find("module_node", Kind::Struct).unwrap().unwrap()).unwrap();
    let pointer = fitted.type_by_id(node.member(0).unwrap().type_id).unwrap();
    assert_eq!(pointer.target(), Some(TypeId(9)));

    twice.structure("grown", 32, &[]);
    let text = fit(&distilled(16), &twice, Endian::NATIVE).unwrap_err().to_string();
    assert!(text.contains("ambiguous: the kernel has it as type 9 and as type 10"), "{text}");
}

#[test]
fn an_int_of_another_sign_or_a_distilled_typedef_is_refused() {
    let mut other = kernel();
    other.int("unsigned", 4, 0);
    let mut base = distilled(16);
    base.base.int("unsigned", 4, IntInfo::SIGNED);
    let text = fit(&base, &other, Endian::NATIVE).unwrap_err().to_string();
    assert!(text.contains("int `unsigned`: the kernel has no such type"), "{text}");

    let mut base = distilled(16);
    let int = base.int;
    base.base.typedef("unrelated", int);
    let text = fit(&base, &other, Endian::NATIVE).unwrap_err().to_string();
    assert!(text.contains("a distilled base has no typedef"), "{text}");
}

#[test]
fn damaged_blobs_are_errors_and_nothing_else() {
    let base = distilled(16);
    let (good, distilled) = (module(&base, Endian::NATIVE), base.base.build(Endian::NATIVE));
    let kernel = Btf::parse(BtfData::from(kernel().build(Endian::NATIVE))).unwrap();
    let mut refused = 0;
    for (at, bit) in (0..good.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut bad = good.clone();
        *bad.get_mut(at).unwrap() ^= 1 << bit;
        let fitted = Btf::parse_distilled(bad.into(), distilled.clone().into(), &kernel);
        refused += usize::from(fitted.is_err());
    }
    for (at, bit) in (0..distilled.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut bad = distilled.clone();
        *bad.get_mut(at).unwrap() ^= 1 << bit;
        let fitted = Btf::parse_distilled(good.clone().into(), bad.into(), &kernel);
        refused += usize::from(fitted.is_err());
    }
    assert!(refused > distilled.len(), "{refused}");
}
