//! BTF blobs built in Rust, in both byte orders, and what the reader says about them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests say what they mean")]

use loader::btf::encode::{BtfBuilder, Field};
use loader::btf::{Array, Btf, BtfData, IntInfo, Kind, Linkage, TypeId, WantedSet};
use loader::{Endian, ErrorKind};

const BOTH: [Endian; 2] = [Endian::Little, Endian::Big];

fn parse(builder: &BtfBuilder, endian: Endian) -> Btf {
    Btf::parse(BtfData::from(builder.build(endian))).unwrap()
}

/// One type of every kind; the ids are 1 to 19 in the order of the kinds' numbers.
fn every_kind() -> BtfBuilder {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, IntInfo::SIGNED);
    let ptr = b.ptr(int);
    let array = b.array(int, int, 7);
    let fields = [
        Field::bits("low", int, 0, 3),
        Field::bits("high", int, 3, 29),
        Field::new("next", ptr, 8),
        Field::new("", TypeId(5), 16),
    ];
    b.structure("node", 48, &fields);
    b.union("either", 28, &[Field::new("list", array, 0), Field::new("one", int, 0)]);
    b.enumeration("color", 4, true, &[("RED", -1), ("BLUE", 5)]);
    b.forward("later", true);
    b.typedef("int_t", int);
    b.volatile(TypeId(8));
    b.constant(TypeId(9));
    b.restrict(ptr);
    b.func("run", TypeId(13), Linkage::Global);
    b.func_proto(&[("self", ptr), ("", TypeId::VOID)], int);
    b.var("counter", TypeId(10), Linkage::Extern);
    b.datasec(".data", 8, &[(TypeId(14), 4, 4)]);
    b.float("double", 8);
    b.decl_tag("note", TypeId(4), 2);
    b.type_tag("user", int);
    b.enumeration64("wide", 8, false, &[("MAX", u64::MAX - 1), ("ONE", 1)]);
    b
}

#[test]
fn every_kind_reads_back_as_it_was_built_in_both_byte_orders() {
    for endian in BOTH {
        let btf = parse(&every_kind(), endian);
        assert_eq!((btf.endian(), btf.type_count()), (endian, 20));
        for (number, ty) in (1_u8..).zip(btf.types()) {
            assert_eq!(ty.unwrap().kind(), Kind::from_raw(number));
            assert_eq!(btf.type_by_id(TypeId(u32::from(number))).unwrap().kind(), Kind::from_raw(number));
        }
        let ty = |id| btf.type_by_id(TypeId(id)).unwrap();
        assert_eq!(ty(1).int().unwrap(), IntInfo { encoding: IntInfo::SIGNED, bit_offset: 0, bits: 32 });
        assert_eq!(ty(3).array().unwrap(), Array { element: TypeId(1), index: TypeId(1), len: 7 });
        let members: Vec<_> =
            ty(4).members().map(|m| (btf.string(m.name_off).unwrap(), m.bit_offset, m.bit_size)).collect();
        assert_eq!(members, [("low", 0, 3), ("high", 3, 29), ("next", 64, 0), ("", 128, 0)]);
        assert_eq!(ty(4).member(2).unwrap().type_id, TypeId(2));
        assert!(ty(4).member(4).is_none());
        assert_eq!(ty(6).enumerators().map(|e| e.value.cast_signed()).collect::<Vec<_>>(), [-1, 5]);
        assert!(ty(6).kind_flag() && ty(7).kind_flag() && !ty(19).kind_flag());
        assert_eq!((ty(12).linkage(), ty(12).target()), (Some(Linkage::Global), Some(TypeId(13))));
        assert_eq!(ty(13).params().map(|p| p.type_id).collect::<Vec<_>>(), [TypeId(2), TypeId::VOID]);
        assert_eq!(ty(14).linkage(), Some(Linkage::Extern));
        let var = ty(15).section_vars().next().unwrap();
        assert_eq!((var.type_id, var.offset, var.size), (TypeId(14), 4, 4));
        assert_eq!((ty(17).tag_component(), ty(17).target()), (Some(2), Some(TypeId(4))));
        assert_eq!(ty(19).enumerator(0).unwrap().value, u64::MAX - 1);
        assert_eq!(ty(18).name().unwrap(), "user");
    }
}

#[test]
fn sizes_follow_typedefs_qualifiers_arrays_and_variables() {
    let btf = parse(&every_kind(), Endian::Big);
    let sizes = [
        (1, 4),
        (2, 8),
        (3, 28),
        (4, 48),
        (5, 28),
        (6, 4),
        (8, 4),
        (10, 4),
        (11, 8),
        (14, 4),
        (15, 8),
        (16, 8),
        (18, 4),
        (19, 8),
    ];
    for (id, size) in sizes {
        assert_eq!(btf.size_of(TypeId(id)).unwrap(), size, "type {id}");
    }
    for id in [0, 7, 12, 13] {
        assert_eq!(btf.size_of(TypeId(id)).unwrap_err().kind(), ErrorKind::Incompatible, "type {id}");
    }
    assert_eq!(btf.size_of(TypeId(20)).unwrap_err().kind(), ErrorKind::InvalidObject);
    assert_eq!(btf.strip(TypeId(10)).unwrap().id(), TypeId(1));
}

#[test]
fn pointers_have_the_size_of_long() {
    let mut b = BtfBuilder::new();
    b.int("long unsigned int", 4, 0);
    let ptr = b.ptr(TypeId::VOID);
    assert_eq!(parse(&b, Endian::Little).size_of(ptr).unwrap(), 4);
}

#[test]
fn a_size_beyond_64_bits_is_an_error() {
    let mut b = BtfBuilder::new();
    let mut ty = b.int("int", 4, 0);
    for _ in 0..3 {
        ty = b.array(ty, TypeId(1), u32::MAX);
    }
    let error = parse(&b, Endian::Little).size_of(ty).unwrap_err();
    assert!(error.to_string().contains("exceeds 64 bits"), "{error}");
}

#[test]
fn a_cycle_of_typedefs_is_an_error_and_a_chain_of_31_is_not() {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, 0);
    let mut end = int;
    for _ in 0..31 {
        end = b.typedef("t", end);
    }
    let first = b.typedef("a", int);
    let second = b.constant(first);
    b.retarget(first, second);
    let btf = parse(&b, Endian::Little);
    assert_eq!(btf.strip(end).unwrap().id(), int);
    assert_eq!(btf.size_of(end).unwrap(), 4);
    for id in [first, second] {
        assert!(btf.strip(id).is_err() && btf.size_of(id).is_err());
    }
}

#[test]
fn ids_far_from_a_checkpoint_are_found_too() {
    let mut b = BtfBuilder::new();
    for index in 0..1009 {
        let int = b.int(&format!("i{index}"), 4, 0);
        b.structure(&format!("s{index}"), 4, &vec![Field::new("x", int, 0); index % 7]);
    }
    let btf = parse(&b, Endian::Big);
    for index in (0..1009).rev() {
        let id = TypeId(index * 2 + 2);
        assert_eq!(btf.type_by_id(id).unwrap().name().unwrap(), format!("s{index}"));
        assert_eq!(btf.type_by_id(id).unwrap().vlen(), index % 7);
    }
    assert_eq!(btf.find("s1008", Kind::Struct).unwrap(), Some(TypeId(2018)));
    assert_eq!(btf.find("s1008", Kind::Union).unwrap(), None);
}

#[test]
fn wanted_names_are_found_with_their_flavours_whatever_their_length() {
    let names = [
        "a",
        "ab",
        "abc",
        "abcd",
        "abcde",
        "abcdef",
        "abcdefg",
        "abcdefgh",
        "abcdefghi",
        "__u32",
        "q___b_",
        "___x",
        "u_",
    ];
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, 0);
    let mut set = WantedSet::new();
    for name in names {
        set.insert(name);
        b.structure(name, 0, &[]);
        b.structure(&format!("{name}x"), 0, &[]);
        b.typedef(&format!("{name}___v1"), int);
        b.union(&format!("{name}__v1"), 0, &[]);
        b.structure(&format!("{name}___"), 0, &[]);
        b.structure(&format!("x{name}"), 0, &[]);
    }
    set.insert("");
    set.insert("missing");
    let btf = parse(&b, Endian::Little);
    let found = btf.wanted(&set).unwrap();
    for (index, name) in (0_u32..).zip(names) {
        assert_eq!(found.find(name, Kind::Struct), Some(TypeId(2 + index * 6)), "{name}");
        assert_eq!(found.find(name, Kind::Typedef), None);
        let flavoured = found.essential(name).filter(|hit| hit.kind == Kind::Typedef).count();
        // A separator needs something other than an underscore in front of it.
        assert_eq!(flavoured, usize::from(!name.ends_with('_')), "{name}");
        assert_eq!(found.essential(name).filter(|hit| hit.kind == Kind::Union).count(), 0);
    }
    assert_eq!(found.essential("").count() + found.essential("missing").count(), 0);
}

#[test]
fn functions_can_be_left_out_of_a_search_and_nothing_else_is() {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, 0);
    let structure = b.structure("same", 0, &[]);
    let proto = b.func_proto(&[], int);
    let function = b.func("same", proto, Linkage::Static);
    let btf = parse(&b, Endian::Little);
    let mut set = WantedSet::new();
    set.insert("same");
    let hits = |set: &WantedSet| {
        let found = btf.wanted(set).unwrap();
        found.essential("same").map(|hit| hit.id).collect::<Vec<_>>()
    };
    assert!(set.contains_function("same"));
    assert_eq!(hits(&set), [structure, function]);
    set.leave_out_functions();
    assert!(set.contains("same") && !set.contains_function("same"));
    assert_eq!(hits(&set), [structure]);
}

#[test]
fn a_flavour_is_cut_at_the_last_separator() {
    use loader::btf::wanted::essential_name;
    let cases: [(&[u8], &[u8]); 8] = [
        (b"a___b___c", b"a___b"),
        (b"file___old", b"file"),
        (b"file", b"file"),
        (b"___x", b"___x"),
        (b"x___", b"x___"),
        (b"x____y", b"x____y"),
        (b"a___b____c", b"a"),
        (b"", b""),
    ];
    for (name, essential) in cases {
        assert_eq!(essential_name(name), essential, "{}", String::from_utf8_lossy(name));
    }
}

#[test]
fn split_btf_continues_the_ids_and_strings_of_its_base() {
    for endian in BOTH {
        let base = parse(&every_kind(), endian);
        let mut b = BtfBuilder::split(&base);
        let own = b.structure("module_node", 48, &[Field::new("inner", TypeId(4), 0)]);
        let data = b.build(endian);
        let split = Btf::parse_split(BtfData::from(data.clone()), &base).unwrap();
        assert_eq!(own, TypeId(20));
        assert_eq!(split.type_by_id(own).unwrap().name().unwrap(), "module_node");
        assert_eq!(split.type_by_id(TypeId(4)).unwrap().name().unwrap(), "node");
        assert_eq!(
            split.types().map(|ty| ty.unwrap().id().0).collect::<Vec<_>>(),
            (1..=20).collect::<Vec<_>>()
        );
        let mut set = WantedSet::new();
        set.insert("node");
        set.insert("module_node");
        let found = split.wanted(&set).unwrap();
        assert_eq!(found.find("node", Kind::Struct), Some(TypeId(4)));
        assert_eq!(found.find("module_node", Kind::Struct), Some(own));
        let layout = split.struct_layout("module_node");
        assert!(layout.unwrap_err().to_string().contains("bit-field"));
        let other = parse(&every_kind(), if endian == Endian::Big { Endian::Little } else { Endian::Big });
        assert!(Btf::parse_split(BtfData::from(data), &other).is_err());
    }
}

/// A 7.x header: 32 bytes, with a layout section in front of the strings that knows a kind 20 of 4 + 8 per element.
fn with_layout(types: &[u8], endian: Endian, entries: usize) -> Vec<u8> {
    let layout: Vec<u8> =
        (0..entries).flat_map(|kind| if kind == 20 { [4, 8, 0, 0] } else { [0, 0, 0, 0] }).collect();
    let strings = b"\0new\0int\0";
    let mut out = endian.u16_bytes(0xeb9f).to_vec();
    out.extend([1, 0]);
    let [types_len, layout_len, strings_len] =
        [types.len(), layout.len(), strings.len()].map(|n| u32::try_from(n).unwrap());
    for word in [32, 0, types_len, types_len + layout_len, strings_len, types_len, layout_len] {
        out.extend(endian.u32_bytes(word));
    }
    [&out[..], types, &layout, strings].concat()
}

#[test]
fn a_kind_from_the_future_is_stepped_over_when_the_layout_section_knows_it() {
    for endian in BOTH {
        let words = [1, 20 << 24 | 2, 0, 9, 1, 2, 3, 4, 5, 1 << 24, 4, 32];
        let types: Vec<u8> = words.into_iter().flat_map(|word| endian.u32_bytes(word)).collect();
        let btf = Btf::parse(BtfData::from(with_layout(&types, endian, 21))).unwrap();
        assert_eq!(btf.type_by_id(TypeId(1)).unwrap().kind(), Kind::Unknown);
        assert_eq!(btf.find("int", Kind::Int).unwrap(), Some(TypeId(2)));
        let error = Btf::parse(BtfData::from(with_layout(&types, endian, 20))).unwrap_err();
        assert!(error.to_string().contains("kind 20"), "{error}");
    }
}

#[test]
fn more_than_65535_members_are_read_as_7_x_writes_them() {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, 0);
    let id = b.structure("wide", 4, &vec![Field::new("m", int, 0); 70_001]);
    let after = b.int("after", 1, 0);
    let btf = parse(&b, Endian::Little);
    assert_eq!(btf.type_by_id(id).unwrap().members().count(), 70_001);
    assert_eq!(btf.type_by_id(after).unwrap().name().unwrap(), "after");
}

#[test]
fn headers_that_lie_are_refused_with_the_reason() {
    let good = every_kind().build(Endian::Little);
    let refused = |at: usize, bytes: &[u8], says: &str| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        let error = Btf::parse(BtfData::from(bad)).unwrap_err();
        assert!(error.to_string().contains(says), "{error} does not say {says}");
        assert_eq!(error.kind(), ErrorKind::InvalidObject);
    };
    refused(0, &[0, 0], "magic");
    refused(2, &[2], "version");
    refused(4, &[23, 0, 0, 0], "header of 23");
    refused(4, &[0xff; 4], "type section");
    refused(8, &[0xff; 4], "type section");
    refused(12, &[0xff; 4], "type section");
    refused(16, &[0xff; 4], "string section");
    refused(20, &[0, 0, 0, 0], "NUL");
    refused(24 + 7, &[0x7f], "kind 127");
}

#[test]
fn struct_layouts_are_flat_and_dotted() {
    let mut b = BtfBuilder::new();
    let (u8_, u64_) = (b.int("u8", 1, 0), b.int("u64", 8, 0));
    let comm = b.array(u8_, u8_, 16);
    let rest = b.array(u8_, u8_, 0);
    let header = b.structure("header", 24, &[Field::new("time", u64_, 0), Field::new("comm", comm, 8)]);
    let alias = b.typedef("header_t", header);
    let nameless = b.union("", 8, &[Field::new("v4", u8_, 0), Field::new("v6", u64_, 0)]);
    b.structure(
        "event",
        40,
        &[
            Field::new("header", alias, 0),
            Field::new("", nameless, 24),
            Field::new("n", u64_, 32),
            Field::new("data", rest, 40),
        ],
    );
    let layout = parse(&b, Endian::NATIVE).struct_layout("event").unwrap();
    let fields: Vec<_> = layout.fields.iter().map(|f| (f.path.as_str(), f.offset, f.size)).collect();
    let expected = [
        ("header", 0, 24),
        ("header.time", 0, 8),
        ("header.comm", 8, 16),
        ("v4", 24, 1),
        ("v6", 24, 8),
        ("n", 32, 8),
        ("data", 40, 0),
    ];
    assert_eq!((layout.size, fields), (40, expected.to_vec()));
    assert_eq!(layout.field("header.comm").unwrap().offset, 8);
    assert_eq!(parse(&b, Endian::NATIVE).struct_layout("nope").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_struct_that_contains_itself_namelessly_has_no_layout_and_no_endless_search() {
    let mut b = BtfBuilder::new();
    b.structure("s", 8, &[Field::new("", TypeId(1), 0); 5]);
    assert!(parse(&b, Endian::Little).struct_layout("s").is_err());
}
