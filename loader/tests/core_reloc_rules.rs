//! CO-RE's three notions of "alike": fields compatible, types compatible, types match. One row per rule.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests say what they mean")]

use loader::btf::encode::{BtfBuilder, Field};
use loader::btf::ext::CoreRecord;
use loader::btf::{Btf, BtfData, IntInfo, TypeId};
use loader::core_reloc::{CoreResolver, RelocKind};
use loader::insn::{Insn, InsnOffset};
use loader::{Endian, Result};

/// Builds a type and gives its id.
type Make = fn(&mut BtfBuilder) -> TypeId;

/// The answer (0 or 1) of an existence kind for the type that `root` makes on both sides.
fn ask(
    kind: RelocKind,
    access: &str,
    local: &dyn Fn(&mut BtfBuilder) -> TypeId,
    target: &dyn Fn(&mut BtfBuilder) -> TypeId,
) -> Result<i32> {
    let (mut a, mut b) = (BtfBuilder::new(), BtfBuilder::new());
    let type_id = local(&mut a);
    // Ids must not accidentally be the same on both sides.
    b.float("filler", 4);
    target(&mut b);
    let record =
        CoreRecord { offset: InsnOffset(0), type_id, access_off: a.string(access), kind: kind as u32 };
    let [a, b] = [a, b].map(|b| Btf::parse(BtfData::from(b.build(Endian::Big))).unwrap());
    let mut insns = [Insn { code: 0xb7, imm: 1, ..Insn::default() }];
    CoreResolver::new(&a, &b, [&record], &[])?.relocate(&record, &mut insns)?;
    Ok(insns[0].imm)
}

/// Whether a member of type `local` is found when the kernel's member is a `target`.
fn field(local: Make, target: Make) -> bool {
    let holder = |make: Make| {
        move |b: &mut BtfBuilder| {
            let ty = make(b);
            b.structure("holder", 64, &[Field::new("member", ty, 0)])
        }
    };
    ask(RelocKind::FieldExists, "0:0", &holder(local), &holder(target)).unwrap() == 1
}

/// Whether the typedef `alias` of `local` counts as that of `target`.
fn whole(kind: RelocKind, local: Make, target: Make) -> bool {
    let holder = |make: Make| {
        move |b: &mut BtfBuilder| {
            let ty = make(b);
            b.typedef("alias", ty)
        }
    };
    ask(kind, "0", &holder(local), &holder(target)).unwrap() == 1
}

fn int4(b: &mut BtfBuilder) -> TypeId {
    b.int("int", 4, IntInfo::SIGNED)
}
fn int4u(b: &mut BtfBuilder) -> TypeId {
    b.int("int", 4, 0)
}
fn int8(b: &mut BtfBuilder) -> TypeId {
    b.int("int", 8, IntInfo::SIGNED)
}
fn int_named(b: &mut BtfBuilder) -> TypeId {
    b.int("long", 4, IntInfo::SIGNED)
}
fn int_shifted(b: &mut BtfBuilder) -> TypeId {
    b.int_bits("int", 4, 0, 3, 5)
}
fn ptr_void(b: &mut BtfBuilder) -> TypeId {
    b.ptr(TypeId::VOID)
}
fn ptr_int(b: &mut BtfBuilder) -> TypeId {
    let int = int4(b);
    b.ptr(int)
}
fn strukt(b: &mut BtfBuilder) -> TypeId {
    let int = int4(b);
    b.structure("s", 4, &[Field::new("a", int, 0)])
}
fn struct_more(b: &mut BtfBuilder) -> TypeId {
    let int = int4(b);
    b.structure("s___new", 8, &[Field::new("b", int, 0), Field::new("a", int, 4)])
}
fn struct_other(b: &mut BtfBuilder) -> TypeId {
    let int = int4(b);
    b.structure("t", 4, &[Field::new("a", int, 0)])
}
fn struct_retyped(b: &mut BtfBuilder) -> TypeId {
    let int = int8(b);
    b.structure("s", 8, &[Field::new("a", int, 0)])
}
fn struct_buried(b: &mut BtfBuilder) -> TypeId {
    let int = int4(b);
    let inner = b.structure("", 4, &[Field::new("a", int, 0)]);
    b.structure("s", 4, &[Field::new("", inner, 0)])
}
fn onion(b: &mut BtfBuilder) -> TypeId {
    let int = int4(b);
    b.union("s", 4, &[Field::new("a", int, 0)])
}
fn fwd(b: &mut BtfBuilder) -> TypeId {
    b.forward("s", false)
}
fn fwd_union(b: &mut BtfBuilder) -> TypeId {
    b.forward("s", true)
}
fn fwd_other(b: &mut BtfBuilder) -> TypeId {
    b.forward("t", false)
}
fn enum_ab(b: &mut BtfBuilder) -> TypeId {
    b.enumeration("e", 4, false, &[("A", 0), ("B", 1)])
}
fn enum_bac(b: &mut BtfBuilder) -> TypeId {
    b.enumeration("e___v2", 4, true, &[("B", 9), ("A___x", 8), ("C", 7)])
}
fn enum_ac(b: &mut BtfBuilder) -> TypeId {
    b.enumeration("e", 4, false, &[("A", 0), ("C", 1)])
}
fn enum_other(b: &mut BtfBuilder) -> TypeId {
    b.enumeration("f", 4, false, &[("A", 0), ("B", 1)])
}
fn enum_nameless(b: &mut BtfBuilder) -> TypeId {
    b.enumeration("", 4, false, &[("A", 0), ("B", 1)])
}
fn enum64_ab4(b: &mut BtfBuilder) -> TypeId {
    b.enumeration64("e", 4, false, &[("A", 0), ("B", 1)])
}
fn enum64_ab8(b: &mut BtfBuilder) -> TypeId {
    b.enumeration64("e", 8, false, &[("A", 0), ("B", 1)])
}
fn float8(b: &mut BtfBuilder) -> TypeId {
    b.float("double", 8)
}
fn float4(b: &mut BtfBuilder) -> TypeId {
    b.float("float", 4)
}
fn array3(b: &mut BtfBuilder) -> TypeId {
    let int = int4(b);
    b.array(int, int, 3)
}
fn array4(b: &mut BtfBuilder) -> TypeId {
    let int = int4(b);
    b.array(int, int, 4)
}
fn array_ptr(b: &mut BtfBuilder) -> TypeId {
    let ptr = ptr_int(b);
    b.array(ptr, ptr, 3)
}
fn proto(b: &mut BtfBuilder) -> TypeId {
    let (int, ptr) = (int4(b), ptr_int(b));
    b.func_proto(&[("a", int), ("b", ptr)], int)
}
fn proto_qualified(b: &mut BtfBuilder) -> TypeId {
    let (int, ptr) = (int4(b), ptr_int(b));
    let (c, t) = (b.constant(int), b.typedef("p", ptr));
    b.func_proto(&[("x", c), ("y", t)], c)
}
fn proto_one(b: &mut BtfBuilder) -> TypeId {
    let int = int4(b);
    b.func_proto(&[("a", int)], int)
}
fn proto_swapped(b: &mut BtfBuilder) -> TypeId {
    let (int, ptr) = (int4(b), ptr_int(b));
    b.func_proto(&[("a", ptr), ("b", int)], int)
}
fn proto_void(b: &mut BtfBuilder) -> TypeId {
    let (int, ptr) = (int4(b), ptr_int(b));
    b.func_proto(&[("a", int), ("b", ptr)], TypeId::VOID)
}
fn void(_: &mut BtfBuilder) -> TypeId {
    TypeId::VOID
}
fn wrapped(b: &mut BtfBuilder) -> TypeId {
    let int = int4(b);
    let (a, c) = (b.volatile(int), b.next_id());
    b.constant(a);
    let tag = b.type_tag("tag", c);
    b.typedef("whatever", tag)
}

/// A pointer to what `F` makes, as a plain function; the list of tables below needs nothing captured.
macro_rules! ptr_to {
    ($make:ident) => {
        |b: &mut BtfBuilder| {
            let ty = $make(b);
            b.ptr(ty)
        }
    };
}

#[test]
fn fields_are_compatible_loosely() {
    let rows: [(&str, Make, Make, bool); 22] = [
        ("size and sign of an int may change", int4, int4u, true),
        ("size of an int may change", int4, int8, true),
        ("the name of an int does not count", int4, int_named, true),
        ("an int with a bit offset is not an int", int4, int_shifted, false),
        ("qualifiers, tags and typedefs do not count", wrapped, int4, true),
        ("nor on the other side", int4, wrapped, true),
        ("pointers to anything", ptr_void, ptr_int, true),
        ("an int is no pointer", int8, ptr_int, false),
        ("floats of any size", float8, float4, true),
        ("a float is no int", float8, int8, false),
        ("structs of any name", strukt, struct_other, true),
        ("a struct may become a union", strukt, onion, true),
        ("a struct is no int", strukt, int4, false),
        ("enums by essential name", enum_ab, enum_bac, true),
        ("an enum of another name is another", enum_ab, enum_other, false),
        ("a nameless enum is any", enum_ab, enum_nameless, true),
        ("enums of either width", enum_ab, enum64_ab8, true),
        ("an enum is no int", enum_ab, int4, false),
        ("arrays of any length", array3, array4, true),
        ("arrays of other elements are others", array3, array_ptr, false),
        ("an array is not its element", array3, int4, false),
        ("a prototype is never compatible", proto, proto, false),
    ];
    for (rule, local, target, expected) in rows {
        assert_eq!(field(local, target), expected, "{rule}");
    }
}

#[test]
fn types_are_compatible_by_kind_all_the_way_down() {
    let rows: [(&str, Make, Make, bool); 20] = [
        ("structs whatever is in them", strukt, struct_other, true),
        ("a struct is no union", strukt, onion, false),
        ("a struct is no forward declaration", strukt, fwd, false),
        ("forward declarations", fwd, fwd_other, true),
        ("ints of any size and sign", int4, int8, true),
        ("but without bit offset", int4, int_shifted, false),
        ("enums of either width", enum64_ab8, enum_other, true),
        ("floats never", float8, float8, false),
        ("void", void, void, true),
        ("void is no int", void, int4, false),
        ("pointers look through", ptr_to!(strukt), ptr_to!(struct_other), true),
        ("and see the difference", ptr_to!(strukt), ptr_to!(onion), false),
        ("arrays look at elements, not lengths", array3, array4, true),
        ("and see the difference in elements", array3, array_ptr, false),
        ("prototypes", proto, proto, true),
        ("with qualifiers", proto, proto_qualified, true),
        ("of the same arity", proto, proto_one, false),
        ("with parameters in the same order", proto, proto_swapped, false),
        ("and the same return type", proto, proto_void, false),
        ("behind a pointer too", ptr_to!(proto), ptr_to!(proto_swapped), false),
    ];
    for (rule, local, target, expected) in rows {
        assert_eq!(whole(RelocKind::TypeExists, local, target), expected, "{rule}");
    }
}

#[test]
fn types_match_strictly() {
    let rows: [(&str, Make, Make, bool); 37] = [
        ("the same int", int4, int4, true),
        ("another size is another int", int4, int8, false),
        ("another sign is another int", int4, int4u, false),
        ("another name is another int", int4, int_named, false),
        ("typedefs, tags and qualifiers do not count", wrapped, int4, true),
        ("the kernel may have more members, in any order", strukt, struct_more, true),
        ("it may not have fewer", struct_more, strukt, false),
        ("another name is another struct", strukt, struct_other, false),
        ("members must match in depth", strukt, struct_retyped, false),
        ("members in nameless structs are not seen", strukt, struct_buried, false),
        ("nameless members pair with nameless ones", struct_buried, struct_buried, true),
        ("a struct is no union", strukt, onion, false),
        ("a definition is no declaration", strukt, fwd, false),
        ("a declaration is no definition", fwd, strukt, false),
        ("declarations of the same sort", fwd, fwd, true),
        ("a struct's is not a union's", fwd, fwd_union, false),
        ("by name", fwd, fwd_other, false),
        ("behind a pointer members do not count", ptr_to!(strukt), ptr_to!(struct_retyped), true),
        ("names do", ptr_to!(strukt), ptr_to!(struct_other), false),
        ("and the kind", ptr_to!(strukt), ptr_to!(onion), false),
        ("a definition may be a declaration there", ptr_to!(strukt), ptr_to!(fwd), true),
        ("of the same sort", ptr_to!(strukt), ptr_to!(fwd_union), false),
        ("and the reverse", ptr_to!(fwd_union), ptr_to!(onion), true),
        ("two declarations differ by sort there too", ptr_to!(fwd_union), ptr_to!(fwd), false),
        ("all local names of an enum must be there, values do not count", enum_ab, enum_bac, true),
        ("a missing name counts", enum_ab, enum_ac, false),
        ("fewer names in the kernel count", enum_bac, enum_ab, false),
        ("enums of either width if the sizes are the same", enum_ab, enum64_ab4, true),
        ("not if they are not", enum_ab, enum64_ab8, false),
        ("nameless only with nameless", enum_nameless, enum_ab, false),
        ("arrays of the same length", array3, array3, true),
        ("another length is another array", array3, array4, false),
        ("floats never", float8, float8, false),
        ("void", void, void, true),
        ("prototypes in depth", proto, proto_qualified, true),
        ("of the same arity", proto, proto_one, false),
        ("with the same return type", ptr_to!(proto), ptr_to!(proto_void), false),
    ];
    for (rule, local, target, expected) in rows {
        assert_eq!(whole(RelocKind::TypeMatches, local, target), expected, "{rule}");
    }
}

#[test]
fn an_incompatible_inner_member_does_not_hide_one_further_out() {
    let local = |b: &mut BtfBuilder| {
        let int = int4(b);
        b.structure("holder", 8, &[Field::new("x", int, 0)])
    };
    let target = |outer: bool| {
        move |b: &mut BtfBuilder| {
            let (int, ptr) = (int4(b), ptr_int(b));
            let inner = b.structure("", 8, &[Field::new("x", ptr, 0)]);
            let fields = [Field::new("", inner, 0), Field::new(if outer { "x" } else { "y" }, int, 8)];
            b.structure("holder", 16, &fields)
        }
    };
    assert_eq!(ask(RelocKind::FieldExists, "0:0", &local, &target(true)).unwrap(), 1);
    assert_eq!(ask(RelocKind::FieldExists, "0:0", &local, &target(false)).unwrap(), 0);
}

#[test]
fn types_that_contain_themselves_end_in_an_error_soon() {
    let knot = |b: &mut BtfBuilder| {
        let ptr = b.ptr(TypeId(1));
        b.retarget(ptr, ptr);
        b.typedef("alias", ptr)
    };
    let local = |b: &mut BtfBuilder| {
        b.float("one more", 4);
        let ptr = b.ptr(TypeId(2));
        b.typedef("alias", ptr)
    };
    let knot_target = |b: &mut BtfBuilder| {
        let ptr = b.ptr(TypeId(2));
        b.typedef("alias", ptr)
    };
    for kind in [RelocKind::TypeExists, RelocKind::TypeMatches] {
        assert!(ask(kind, "0", &local, &knot_target).is_err());
        assert!(ask(kind, "0", &knot, &knot_target).is_err());
    }
    // Prototypes with seven parameters of their own type, and nameless members of their own type: without a
    // budget these would take longer than the universe has.
    let protos = |id: u32| {
        move |b: &mut BtfBuilder| {
            let own = TypeId(id);
            b.func_proto(&[("p", own); 7], TypeId::VOID);
            b.typedef("alias", own)
        }
    };
    assert!(ask(RelocKind::TypeExists, "0", &protos(1), &protos(2)).is_err());
    let local = |b: &mut BtfBuilder| b.structure("holder", 8, &[Field::new("x", TypeId::VOID, 0)]);
    let nested = |b: &mut BtfBuilder| b.structure("holder", 8, &[Field::new("", TypeId(2), 0); 7]);
    assert!(ask(RelocKind::FieldExists, "0:0", &local, &nested).is_err());
}
