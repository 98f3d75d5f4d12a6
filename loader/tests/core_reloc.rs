//! CO-RE relocations: what becomes of an instruction, for every kind, in both byte orders.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests say what they mean")]

use loader::btf::encode::{BtfBuilder, Field};
use loader::btf::ext::CoreRecord;
use loader::btf::{Btf, BtfData, IntInfo, Kind, TypeId};
use loader::core_reloc::{CoreResolver, FailedRelocation, FailureReason, Outcome, POISON_HELPER, RelocKind};
use loader::insn::{Insn, InsnOffset, OP_CALL, OP_LD_IMM64};
use loader::{Endian, ErrorKind, Result};

const BOTH: [Endian; 2] = [Endian::Little, Endian::Big];
/// `r1 = imm`, 64 bits.
const MOV: u8 = 0xb7;
/// `r1 = *(u32 *)(r2 + off)`; the other widths are + 8 (2 bytes), + 16 (1 byte), + 24 (8 bytes).
const LDX_W: u8 = 0x61;
const LDX_DW: u8 = 0x79;

/// The object's types, the kernel's types, and one relocation.
struct Case {
    endian: Endian,
    local: BtfBuilder,
    target: BtfBuilder,
}

impl Case {
    fn new(endian: Endian) -> Self {
        let mut case = Self { endian, local: BtfBuilder::new(), target: BtfBuilder::new() };
        // Ids 1 to 4 on both sides; the kernel has something in front of the rest.
        for b in [&mut case.local, &mut case.target] {
            b.int("u32", 4, 0);
            b.int("u64", 8, 0);
            b.int("s32", 4, IntInfo::SIGNED);
            b.ptr(TypeId::VOID);
        }
        case.target.float("filler", 8);
        case
    }

    fn run(&mut self, kind: RelocKind, root: TypeId, access: &str, insns: &mut [Insn]) -> Result<Outcome> {
        let access_off = self.local.string(access);
        let parse = |b: &BtfBuilder| Btf::parse(BtfData::from(b.build(self.endian))).unwrap();
        let record = CoreRecord { offset: InsnOffset(0), type_id: root, access_off, kind: kind as u32 };
        CoreResolver::new(&parse(&self.local), &parse(&self.target), [&record], &[])?.relocate(&record, insns)
    }

    /// The value that a `r1 = was` becomes.
    fn mov(&mut self, kind: RelocKind, root: TypeId, access: &str, was: i32) -> i32 {
        let mut insns = [Insn { code: MOV, dst: 1, imm: was, ..Insn::default() }];
        assert_eq!(self.run(kind, root, access, &mut insns).unwrap(), Outcome::Patched, "{kind:?} {access}");
        assert_eq!((insns[0].code, insns[0].dst), (MOV, 1));
        insns[0].imm
    }

    fn poisoned(&mut self, kind: RelocKind, root: TypeId, access: &str, insn: Insn) -> FailedRelocation {
        let mut insns = [insn];
        let Outcome::Poisoned(failed) = self.run(kind, root, access, &mut insns).unwrap() else {
            panic!("{kind:?} {access} was patched");
        };
        assert_eq!(insns, [Insn { code: OP_CALL, imm: POISON_HELPER, ..Insn::default() }]);
        *failed
    }

    fn error(&mut self, kind: RelocKind, root: TypeId, access: &str, insn: Insn) -> String {
        let mut insns = [insn];
        self.run(kind, root, access, &mut insns).unwrap_err().to_string()
    }
}

fn load(code: u8, off: i16) -> Insn {
    Insn { code, dst: 1, src: 2, off, imm: 0 }
}

fn mov(imm: i32) -> Insn {
    Insn { code: MOV, imm, ..Insn::default() }
}

const U32: TypeId = TypeId(1);
const U64: TypeId = TypeId(2);
const S32: TypeId = TypeId(3);
const PTR: TypeId = TypeId(4);

/// `struct file { u32 f_mode; s32 f_count; }` here, elsewhere in the kernel.
fn file_case(endian: Endian) -> (Case, TypeId) {
    let mut case = Case::new(endian);
    let root =
        case.local.structure("file", 8, &[Field::new("f_mode", U32, 0), Field::new("f_count", S32, 4)]);
    let fields = [Field::new("f_lock", U64, 0), Field::new("f_count", S32, 8), Field::new("f_mode", U32, 20)];
    case.target.structure("file", 24, &fields);
    (case, root)
}

#[test]
fn a_field_offset_moves_into_loads_stores_and_immediates() {
    for endian in BOTH {
        let (mut case, root) = file_case(endian);
        for code in [LDX_W, 0x62, 0x63] {
            let mut insns = [load(code, 0)];
            assert_eq!(
                case.run(RelocKind::FieldByteOffset, root, "0:0", &mut insns).unwrap(),
                Outcome::Patched
            );
            assert_eq!(insns, [load(code, 20)]);
        }
        assert_eq!(case.mov(RelocKind::FieldByteOffset, root, "0:1", 4), 8);
        let mut wide = [Insn { code: OP_LD_IMM64, dst: 3, imm: 4, ..Insn::default() }, Insn::default()];
        case.run(RelocKind::FieldByteOffset, root, "0:1", &mut wide).unwrap();
        assert_eq!((wide[0].imm, wide[1].imm, wide[0].dst), (8, 0, 3));
    }
}

#[test]
fn the_other_field_kinds_give_size_existence_and_sign() {
    for endian in BOTH {
        let (mut case, root) = file_case(endian);
        assert_eq!(case.mov(RelocKind::FieldByteSize, root, "0:1", 4), 4);
        assert_eq!(case.mov(RelocKind::FieldExists, root, "0:1", 1), 1);
        assert_eq!(case.mov(RelocKind::FieldSigned, root, "0:0", 0), 0);
        assert_eq!(case.mov(RelocKind::FieldSigned, root, "0:1", 1), 1);
        assert_eq!(case.mov(RelocKind::FieldLeftShift, root, "0:1", 32), 32);
        assert_eq!(case.mov(RelocKind::FieldRightShift, root, "0:1", 32), 32);
    }
}

#[test]
fn an_index_on_the_root_steps_whole_structs() {
    let (mut case, root) = file_case(Endian::Little);
    assert_eq!(case.mov(RelocKind::FieldByteOffset, root, "3:0", 24), 3 * 24 + 20);
    assert_eq!(case.mov(RelocKind::FieldByteOffset, root, "2", 16), 48);
    assert_eq!(case.mov(RelocKind::FieldByteSize, root, "0", 8), 24);
    assert!(case.error(RelocKind::FieldSigned, root, "0", mov(0)).contains("no field signedness"));
}

#[test]
fn a_missing_field_is_named_with_its_neighbours() {
    let mut case = Case::new(Endian::Little);
    let root = case.local.structure("file", 8, &[Field::new("f_mode", U32, 0)]);
    let inner = case.target.structure("", 8, &[Field::new("f_node", U32, 0)]);
    case.target.structure(
        "file",
        24,
        &[Field::new("f_modes", U64, 0), Field::new("", inner, 8), Field::new("zzzzzzz", U32, 20)],
    );
    let failed = case.poisoned(RelocKind::FieldByteOffset, root, "0:0", load(LDX_W, 0));
    assert_eq!(failed.access(), "struct file.f_mode (0:0)");
    assert_eq!(failed.nearest(), ["f_modes", "f_node"]);
    assert_eq!(
        failed.to_string(),
        "field offset of `struct file.f_mode (0:0)`: `struct file` of the kernel has no member `f_mode` (nearest: `f_modes`, `f_node`)"
    );
    assert_eq!(case.mov(RelocKind::FieldExists, root, "0:0", 1), 0);
    for kind in [
        RelocKind::FieldByteSize,
        RelocKind::FieldSigned,
        RelocKind::FieldLeftShift,
        RelocKind::FieldRightShift,
    ] {
        case.poisoned(kind, root, "0:0", mov(0));
    }
}

#[test]
fn a_missing_type_poisons_both_slots_of_a_wide_load() {
    let mut case = Case::new(Endian::Big);
    let root = case.local.structure("gone", 8, &[Field::new("x", U32, 4)]);
    case.target.union("gone", 8, &[Field::new("x", U32, 4)]);
    let next = mov(7);
    let mut insns = [Insn { code: OP_LD_IMM64, imm: 4, ..Insn::default() }, Insn::default(), next];
    let Outcome::Poisoned(failed) = case.run(RelocKind::FieldByteOffset, root, "0:0", &mut insns).unwrap()
    else {
        panic!()
    };
    assert_eq!(failed.reason(), FailureReason::NoType);
    let poison = Insn { code: OP_CALL, imm: POISON_HELPER, ..Insn::default() };
    assert_eq!(insns, [poison, poison, next]);
}

#[test]
fn fields_are_found_in_nameless_members_at_any_depth() {
    let mut case = Case::new(Endian::Little);
    let root = case.local.structure("sock", 8, &[Field::new("daddr", U32, 0)]);
    let deep = case.target.structure("", 8, &[Field::new("pad", U32, 0), Field::new("daddr", U32, 4)]);
    let middle = case.target.union("", 8, &[Field::new("other", U64, 0), Field::new("", deep, 0)]);
    let qualified = case.target.constant(middle);
    case.target.structure("sock", 24, &[Field::new("first", U64, 0), Field::new("", qualified, 8)]);
    assert_eq!(case.mov(RelocKind::FieldByteOffset, root, "0:0", 0), 12);
}

#[test]
fn local_nameless_members_count_but_need_no_counterpart() {
    let mut case = Case::new(Endian::Little);
    let inner = case.local.structure("", 8, &[Field::new("a", U32, 0), Field::new("b", U32, 4)]);
    let root = case.local.structure("s", 16, &[Field::new("x", U64, 0), Field::new("", inner, 8)]);
    case.target.structure("s", 4, &[Field::new("b", U32, 0)]);
    assert_eq!(case.mov(RelocKind::FieldByteOffset, root, "0:1:1", 12), 0);
}

#[test]
fn flavours_are_ignored_on_both_sides() {
    let mut case = Case::new(Endian::Little);
    let root = case.local.structure("file___mine", 4, &[Field::new("f", U32, 0)]);
    case.target.structure("file___v2", 16, &[Field::new("f", U32, 12)]);
    assert_eq!(case.mov(RelocKind::FieldByteOffset, root, "0:0", 0), 12);
    // Member names have no flavours.
    let other = case.local.structure("file___x", 4, &[Field::new("f___y", U32, 0)]);
    assert_eq!(case.mov(RelocKind::FieldExists, other, "0:0", 1), 0);
}

#[test]
fn array_elements_are_stepped_with_the_kernels_element_size() {
    let mut case = Case::new(Endian::Little);
    let row = case.local.array(U32, U32, 3);
    let matrix = case.local.array(row, U32, 5);
    let root = case.local.structure("m", 60, &[Field::new("cells", matrix, 0)]);
    let row = case.target.array(U64, U32, 4);
    let matrix = case.target.array(row, U32, 7);
    case.target.structure("m", 232, &[Field::new("pad", U64, 0), Field::new("cells", matrix, 8)]);
    assert_eq!(case.mov(RelocKind::FieldByteOffset, root, "0:0:2:1", 28), 8 + (2 * 4 + 1) * 8);
    assert_eq!(case.mov(RelocKind::FieldByteSize, root, "0:0", 60), 7 * 4 * 8);
    assert_eq!(case.mov(RelocKind::FieldByteSize, root, "0:0:1", 12), 32);
    assert!(
        case.error(RelocKind::FieldByteOffset, root, "0:0:5", mov(0)).contains("outside of an array of 5")
    );
    // An unsigned element may change its width too.
    let mut insns = [load(LDX_W, 28)];
    case.run(RelocKind::FieldByteOffset, root, "0:0:2:1", &mut insns).unwrap();
    assert_eq!(insns, [load(LDX_DW, 80)]);
}

#[test]
fn an_array_that_is_too_short_in_the_kernel_has_no_such_element_unless_it_is_flexible() {
    let mut case = Case::new(Endian::Little);
    let array = case.local.array(U32, U32, 9);
    let root = case.local.structure("s", 36, &[Field::new("a", array, 0)]);
    let short = case.target.array(U32, U32, 8);
    case.target.structure("s", 32, &[Field::new("a", short, 0)]);
    let failed = case.poisoned(RelocKind::FieldByteOffset, root, "0:0:8", mov(32));
    assert_eq!(failed.reason(), FailureReason::NoElement { target: "u32[8]".into(), index: 8 });

    let flexible = case.local.array(U32, U32, 0);
    let root = case.local.structure("f", 4, &[Field::new("n", U32, 0), Field::new("a", flexible, 4)]);
    let inside = case.local.structure("g", 4, &[Field::new("a", flexible, 0), Field::new("n", U32, 0)]);
    let flexible = case.target.array(U32, U32, 0);
    case.target.structure("f", 8, &[Field::new("n", U64, 0), Field::new("a", flexible, 8)]);
    assert_eq!(case.mov(RelocKind::FieldByteOffset, root, "0:1:1000", 4004), 4008);
    assert!(case.error(RelocKind::FieldByteOffset, inside, "0:0:1", mov(0)).contains("array of 0"));
}

#[test]
fn bit_fields_are_loaded_and_shifted_by_the_objects_byte_order() {
    for endian in BOTH {
        let mut case = Case::new(endian);
        let root =
            case.local.structure("b", 4, &[Field::bits("flag", U32, 0, 1), Field::bits("count", U32, 1, 7)]);
        // 7 bits across the end of the first u32 of the kernel's struct: needs an 8-byte load.
        let fields = [
            Field::bits("low", U32, 0, 29),
            Field::bits("count", U32, 29, 7),
            Field::bits("flag", U32, 36, 1),
        ];
        case.target.structure("b", 8, &fields);
        assert_eq!(case.mov(RelocKind::FieldByteOffset, root, "0:1", 99), 0);
        assert_eq!(case.mov(RelocKind::FieldByteSize, root, "0:1", 99), 8);
        let left = if endian == Endian::Little { 64 - 29 - 7 } else { 29 };
        assert_eq!(case.mov(RelocKind::FieldLeftShift, root, "0:1", 99), left);
        assert_eq!(case.mov(RelocKind::FieldRightShift, root, "0:1", 57), 57);
        assert_eq!(case.mov(RelocKind::FieldByteOffset, root, "0:0", 99), 4);
        assert_eq!(case.mov(RelocKind::FieldByteSize, root, "0:0", 99), 4);
        let left = if endian == Endian::Little { 64 - 4 - 1 } else { 4 * 8 + 4 };
        assert_eq!(case.mov(RelocKind::FieldLeftShift, root, "0:0", 99), left);
        // The right shift and the sign of a bit-field are checked all the same.
        assert!(case.error(RelocKind::FieldRightShift, root, "0:1", mov(56)).contains("0x38"));
    }
}

#[test]
fn a_bit_field_that_no_load_can_hold_is_an_error() {
    let mut case = Case::new(Endian::Little);
    let root = case.local.structure("b", 8, &[Field::bits("x", U64, 0, 40)]);
    case.target.structure("b", 16, &[Field::bits("x", U64, 40, 40)]);
    assert!(case.error(RelocKind::FieldByteOffset, root, "0:0", mov(0)).contains("at most 8 bytes"));
}

#[test]
fn loads_of_unsigned_integers_and_pointers_change_their_width() {
    let mut case = Case::new(Endian::Little);
    let narrow_ptr = {
        case.target = BtfBuilder::new();
        case.target.int("u32", 4, 0);
        case.target.int("u64", 8, 0);
        case.target.int("s64", 8, IntInfo::SIGNED);
        case.target.int("long int", 4, IntInfo::SIGNED);
        case.target.ptr(TypeId::VOID)
    };
    let fields = [
        Field::new("grown", U32, 0),
        Field::new("shrunk", U64, 8),
        Field::new("signed", S32, 16),
        Field::new("ptr", PTR, 24),
    ];
    let root = case.local.structure("s", 32, &fields);
    let fields = [
        Field::new("grown", U64, 0),
        Field::new("shrunk", U32, 8),
        Field::new("signed", S32, 16),
        Field::new("ptr", narrow_ptr, 24),
    ];
    case.target.structure("s", 32, &fields);
    let mut check = |access: &str, from: Insn, to: Insn| {
        let mut insns = [from];
        assert_eq!(case.run(RelocKind::FieldByteOffset, root, access, &mut insns).unwrap(), Outcome::Patched);
        assert_eq!(insns, [to], "{access}");
    };
    check("0:0", load(LDX_W, 0), load(LDX_DW, 0));
    check("0:1", load(LDX_DW, 8), load(LDX_W, 8));
    check("0:3", load(LDX_DW, 24), load(LDX_W, 24));
    // An address computed with the offset has no width.
    assert_eq!(case.mov(RelocKind::FieldByteOffset, root, "0:2", 16), 16);
    let failed = case.poisoned(RelocKind::FieldByteOffset, root, "0:2", load(LDX_W, 16));
    assert_eq!(failed.reason(), FailureReason::Width { local: 4, target: 8 });
    assert!(case.error(RelocKind::FieldByteOffset, root, "0:0", load(LDX_DW, 0)).contains("cannot become"));
}

#[test]
fn type_kinds_answer_ids_sizes_and_existence() {
    for endian in BOTH {
        let (mut case, root) = file_case(endian);
        assert_eq!(case.mov(RelocKind::TypeIdLocal, root, "0", 99), 5);
        assert_eq!(case.mov(RelocKind::TypeIdTarget, root, "0", 99), 6);
        assert_eq!(case.mov(RelocKind::TypeExists, root, "0", 1), 1);
        assert_eq!(case.mov(RelocKind::TypeSize, root, "0", 8), 24);
        assert_eq!(case.mov(RelocKind::TypeMatches, root, "0", 1), 1);
        let gone = case.local.structure("gone", 8, &[]);
        assert_eq!(case.mov(RelocKind::TypeIdTarget, gone, "0", 99), 0);
        assert_eq!(case.mov(RelocKind::TypeExists, gone, "0", 1), 0);
        assert_eq!(case.mov(RelocKind::TypeSize, gone, "0", 8), 0);
        assert_eq!(case.mov(RelocKind::TypeMatches, gone, "0", 1), 0);
        assert!(case.error(RelocKind::TypeExists, root, "0:0", mov(1)).contains("access string"));
    }
}

#[test]
fn enum_values_are_found_by_name_in_either_width() {
    for endian in BOTH {
        let mut case = Case::new(endian);
        let root = case.local.enumeration("e___local", 4, true, &[("A___x", -1), ("GONE", 1), ("BIG", 2)]);
        case.target.enumeration64(
            "e",
            8,
            false,
            &[("BIG", 0x1_2345_6789_abcd), ("A", (-3_i64).cast_unsigned())],
        );
        assert_eq!(case.mov(RelocKind::EnumValue, root, "0", -1), -3);
        assert_eq!(case.mov(RelocKind::EnumValueExists, root, "0", 1), 1);
        assert_eq!(case.mov(RelocKind::EnumValueExists, root, "1", 1), 0);
        let failed = case.poisoned(RelocKind::EnumValue, root, "1", mov(1));
        assert_eq!(
            failed.reason(),
            FailureReason::NoVariant { parent: "enum e".into(), name: "GONE".into() }
        );
        assert_eq!(failed.access(), "enum e___local::GONE (1)");
        let mut wide = [Insn { code: OP_LD_IMM64, imm: 2, ..Insn::default() }, Insn::default()];
        case.run(RelocKind::EnumValue, root, "2", &mut wide).unwrap();
        assert_eq!((wide[0].imm, wide[1].imm), (0x6789_abcd, 0x1_2345));
        assert!(case.error(RelocKind::EnumValue, root, "2", mov(2)).contains("32-bit immediate"));
        assert!(case.error(RelocKind::EnumValue, root, "3", mov(2)).contains("no variant 3"));
    }
}

#[test]
fn an_instruction_without_the_compilers_value_is_refused() {
    let (mut case, root) = file_case(Endian::Little);
    for insn in [load(LDX_W, 8), mov(8)] {
        let error = case.error(RelocKind::FieldByteOffset, root, "0:1", insn);
        assert!(error.contains("0x8") && error.contains("struct file.f_count (0:1)"), "{error}");
    }
    let mut wide = [Insn { code: OP_LD_IMM64, imm: 5, ..Insn::default() }, Insn::default()];
    assert!(case.run(RelocKind::FieldByteOffset, root, "0:1", &mut wide).is_err());
}

#[test]
fn only_immediates_memory_accesses_and_wide_loads_can_be_patched() {
    let (mut case, root) = file_case(Endian::Little);
    let call = Insn { code: OP_CALL, imm: 4, ..Insn::default() };
    let register = Insn { code: MOV | 8, imm: 4, ..Insn::default() };
    for insn in [call, register] {
        assert!(case.error(RelocKind::FieldByteOffset, root, "0:1", insn).contains("cannot carry"));
    }
    let first = Insn { code: OP_LD_IMM64, imm: 4, ..Insn::default() };
    let half = [first];
    let map = [Insn { src: 1, ..first }, Insn::default()];
    let odd = [first, mov(0)];
    for insns in [&mut half.to_vec(), &mut map.to_vec(), &mut odd.to_vec(), &mut vec![]] {
        assert!(case.run(RelocKind::FieldByteOffset, root, "0:1", insns).is_err());
    }
}

#[test]
fn an_offset_beyond_32767_does_not_fit_a_load() {
    let (mut case, root) = file_case(Endian::Little);
    case.target = BtfBuilder::new();
    case.target.int("u32", 4, 0);
    case.target.structure("file", 1 << 16, &[Field::new("f_mode", U32, 32_768)]);
    assert!(
        case.error(RelocKind::FieldByteOffset, root, "0:0", load(LDX_W, 0)).contains("does not fit a load")
    );
    assert_eq!(case.mov(RelocKind::FieldByteOffset, root, "0:0", 0), 32_768);
}

#[test]
fn candidates_must_agree() {
    let (mut case, root) = file_case(Endian::Little);
    case.target.structure(
        "file___twin",
        24,
        &[Field::new("f_mode", U32, 20), Field::new("f_count", S32, 12)],
    );
    assert_eq!(case.mov(RelocKind::FieldByteOffset, root, "0:0", 0), 20);
    let error = case.error(RelocKind::FieldByteOffset, root, "0:1", mov(4));
    assert!(error.contains("ambiguous") && error.contains("file.f_count"), "{error}");
    // Same value of the relocation, but not the same place: still two different fields.
    assert!(case.error(RelocKind::FieldExists, root, "0:1", mov(1)).contains("ambiguous"));
    assert!(case.error(RelocKind::TypeIdTarget, root, "0", mov(1)).contains("ambiguous"));
}

#[test]
fn a_candidate_that_failed_while_another_matched_does_not_count_later() {
    let (mut case, root) = file_case(Endian::Little);
    case.target.structure("file", 24, &[Field::new("f_count", S32, 12)]);
    let [first, second] = ["0:0", "0:1"].map(|access| case.local.string(access));
    let [local, target] =
        [&case.local, &case.target].map(|b| Btf::parse(BtfData::from(b.build(case.endian))).unwrap());
    let record = |access_off| CoreRecord { offset: InsnOffset(0), type_id: root, access_off, kind: 0 };
    let mut resolver = CoreResolver::new(&local, &target, [&record(first)], &[]).unwrap();
    let mut insns = [mov(4)];
    assert_eq!(resolver.relocate(&record(second), &mut insns).unwrap_err().kind(), ErrorKind::Incompatible);
    resolver.relocate(&record(first), &mut [mov(0)]).unwrap();
    assert_eq!(resolver.relocate(&record(second), &mut insns).unwrap(), Outcome::Patched);
    assert_eq!(insns, [mov(8)]);
}

#[test]
fn attach_targets_are_found_in_the_same_pass() {
    let (mut case, _) = file_case(Endian::Little);
    let typedef = case.target.typedef("btf_trace_sched_process_exec", PTR);
    let [local, target] =
        [&case.local, &case.target].map(|b| Btf::parse(BtfData::from(b.build(case.endian))).unwrap());
    let extra = [("btf_trace_sched_process_exec", Kind::Typedef), ("inet_csk_accept", Kind::Func)];
    let resolver = CoreResolver::new(&local, &target, [], &extra).unwrap();
    assert_eq!(resolver.find("btf_trace_sched_process_exec", Kind::Typedef), Some(typedef));
    assert_eq!(resolver.find("btf_trace_sched_process_exec", Kind::Func), None);
    assert_eq!(resolver.find("inet_csk_accept", Kind::Func), None);
}

#[test]
fn malformed_records_are_refused_with_what_is_wrong() {
    let (mut case, root) = file_case(Endian::Little);
    let long = "0:".repeat(64) + "0";
    for access in ["", ":", "0:", "0::0", "-1", "+0:0", "0:x", "0:99999999999", long.as_str(), "0 :0"] {
        let error = case.error(RelocKind::FieldByteOffset, root, access, mov(0));
        assert!(error.contains("access string"), "{access}: {error}");
    }
    assert!(case.error(RelocKind::FieldByteOffset, root, "0:2", mov(0)).contains("no member 2"));
    assert!(case.error(RelocKind::FieldByteOffset, root, "0:0:0", mov(0)).contains("no member 0"));
    assert!(case.error(RelocKind::FieldByteOffset, root, "4294967295:0", mov(0)).contains("2^32"));
    assert!(case.error(RelocKind::FieldByteOffset, TypeId(99), "0:0", mov(0)).contains("no type has id 99"));
    assert!(case.error(RelocKind::EnumValue, root, "0", mov(0)).contains("no variant 0"));
    let nameless = case.local.structure("", 8, &[Field::new("x", U32, 0)]);
    assert!(case.error(RelocKind::FieldByteOffset, nameless, "0:0", mov(0)).contains("nameless struct"));
    assert_eq!(case.mov(RelocKind::TypeIdLocal, nameless, "0", 0), i32::try_from(nameless.0).unwrap());
    assert!(RelocKind::from_raw(13).is_err());
}

#[test]
fn every_kind_has_its_number() {
    for number in 0..13 {
        assert_eq!(RelocKind::from_raw(number).unwrap() as u32, number);
    }
}
