//! Damaged BTF and `.BTF.ext`: whatever the bytes, an answer or an error, in bounded time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests say what they mean")]

use loader::Endian;
use loader::btf::encode::{BtfBuilder, BtfFeatures, Field, Fixups, ext_blob, for_kernel};
use loader::btf::ext::{BtfExt, CoreRecord, FuncInfo, LineInfo, SectionExt};
use loader::btf::{Btf, BtfData, Kind, Linkage, TypeId, WantedSet};
use loader::core_reloc::CoreResolver;
use loader::insn::{Insn, InsnOffset};
use proptest::prelude::*;

/// A blob with something of everything, its `.BTF.ext` and two relocations of every kind.
fn object(endian: Endian) -> (Vec<u8>, Vec<u8>, Vec<CoreRecord>) {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, 1);
    let ptr = b.ptr(TypeId(5));
    let array = b.array(int, int, 0);
    let inner = b.union("", 4, &[Field::new("a", int, 0), Field::new("b", int, 0)]);
    let fields = [
        Field::new("", inner, 0),
        Field::new("next", ptr, 8),
        Field::bits("bit", int, 128, 3),
        Field::new("tail", array, 20),
    ];
    let node = b.structure("node", 20, &fields);
    let choice = b.enumeration("choice", 4, true, &[("A", -1), ("B", 1)]);
    b.enumeration64("wide", 8, false, &[("X", 1 << 40)]);
    let alias = b.typedef("alias", node);
    let proto = b.func_proto(&[("n", ptr), ("", int)], int);
    b.func("run", proto, Linkage::Extern);
    let var = b.var("v", node, Linkage::Global);
    b.datasec(".data", 20, &[(var, 0, 20)]);
    b.datasec(".ksyms", 0, &[(TypeId(10), 0, 0)]);
    b.decl_tag("tag", node, 1);
    b.type_tag("user", alias);
    b.forward("later", false);
    b.float("double", 8);
    let name = b.string("tp_btf/exec");
    let [member, element, first] = ["0:1", "0:3:5", "0"].map(|text| b.string(text));
    let mut ext = SectionExt::default();
    for kind in 0..13 {
        let roots = [(node, [member, element]), (choice, [first, first]), (alias, [first, first])];
        let (type_id, accesses) = roots[match kind {
            0..6 => 0,
            10 | 11 => 1,
            _ => 2,
        }];
        ext.core.extend(accesses.map(|access_off| CoreRecord {
            offset: InsnOffset(0),
            type_id,
            access_off,
            kind,
        }));
    }
    ext.func_info.push(FuncInfo { offset: InsnOffset(0), type_id: TypeId(10) });
    ext.line_info.push(LineInfo {
        offset: InsnOffset(1),
        file_name_off: first,
        line_off: member,
        line_col: 5 << 10 | 3,
    });
    let ext_bytes = ext_blob(&[(name, &ext)], endian);
    (b.build(endian), ext_bytes, ext.core)
}

/// Asks everything that can be asked of a blob.
fn exercise(data: &[u8], ext: &[u8], records: &[CoreRecord], good: &Btf) {
    let Ok(btf) = Btf::parse(BtfData::from(data.to_vec())) else { return };
    let mut set = WantedSet::new();
    ["node", "choice", "alias", "int"].into_iter().for_each(|name| set.insert(name));
    let _ = btf.wanted(&set);
    let _ = btf.find("node", Kind::Struct);
    let _ = btf.struct_layout("node");
    let _ = btf.pointer_size();
    for id in 0..btf.type_count().saturating_add(2).min(64) {
        let id = TypeId(id);
        let _ = (btf.size_of(id), btf.strip(id), btf.layout_of(id));
        if let Ok(ty) = btf.type_by_id(id) {
            let _ = (ty.name(), ty.linkage(), ty.array(), ty.int(), ty.tag_component());
            let _ = (
                ty.members().count(),
                ty.params().count(),
                ty.enumerators().count(),
                ty.section_vars().count(),
            );
        }
    }
    for features in [BtfFeatures::ALL, BtfFeatures::default()] {
        if let Ok(data) = for_kernel(&btf, &Fixups::default(), &features) {
            assert_eq!(Btf::parse(BtfData::from(data)).unwrap().endian(), btf.endian());
        }
    }
    let _ = BtfExt::parse(ext, &btf);
    for (local, target) in [(&btf, good), (good, &btf)] {
        let Ok(mut resolver) = CoreResolver::new(local, target, records, &[]) else { continue };
        for record in records {
            let _ = resolver.relocate(record, &mut [Insn { code: 0x61, ..Insn::default() }]);
        }
    }
}

#[test]
fn the_undamaged_object_is_answered_and_relocated_against_itself() {
    for endian in [Endian::Little, Endian::Big] {
        let (data, ext, records) = object(endian);
        let btf = Btf::parse(BtfData::from(data)).unwrap();
        let sections = BtfExt::parse(&ext, &btf).unwrap();
        assert_eq!(sections["tp_btf/exec"].core, records);
        assert_eq!(
            sections["tp_btf/exec"].func_info,
            [FuncInfo { offset: InsnOffset(0), type_id: TypeId(10) }]
        );
        assert_eq!(sections["tp_btf/exec"].line_info[0].line_col, 5 << 10 | 3);
        assert_eq!(sections["tp_btf/exec"].line_info[0].offset, InsnOffset(1));
        let mut resolver = CoreResolver::new(&btf, &btf, &records, &[]).unwrap();
        let record = &records[0];
        resolver.relocate(record, &mut [Insn { code: 0xb7, imm: 8, ..Insn::default() }]).unwrap();
    }
}

#[test]
fn truncation_at_every_byte_is_survived() {
    for endian in [Endian::Little, Endian::Big] {
        let (data, ext, records) = object(endian);
        let good = Btf::parse(BtfData::from(data.clone())).unwrap();
        for len in 0..data.len() {
            assert!(Btf::parse(BtfData::from(data[..len].to_vec())).is_err(), "{len} bytes");
        }
        for len in 0..ext.len() {
            assert!(BtfExt::parse(&ext[..len], &good).is_err(), "{len} bytes");
        }
        exercise(&data, &ext, &records, &good);
    }
}

#[test]
fn every_single_bit_flip_is_survived() {
    // Every bit in one byte order; the other shares the code, and a sample has to do.
    for (endian, step) in [(Endian::Little, 1), (Endian::Big, 11)] {
        let (data, ext, records) = object(endian);
        let good = Btf::parse(BtfData::from(data.clone())).unwrap();
        for bit in (0..data.len() * 8).step_by(step) {
            let mut bad = data.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            exercise(&bad, &ext, &records, &good);
        }
        for bit in 0..ext.len() * 8 {
            let mut bad = ext.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok(sections) = BtfExt::parse(&bad, &good) {
                let records = sections
                    .values()
                    .map(|s| s.core.len() + s.line_info.len() + s.func_info.len())
                    .sum::<usize>();
                assert!(records <= ext.len() / 8);
            }
        }
    }
}

#[test]
fn ext_sections_that_lie_are_refused() {
    let (data, ext, _) = object(Endian::Little);
    let btf = Btf::parse(BtfData::from(data)).unwrap();
    let other = Btf::parse(BtfData::from(object(Endian::Big).0)).unwrap();
    assert!(BtfExt::parse(&ext, &other).unwrap_err().to_string().contains("byte order"));
    let refused = |at: usize, word: u32, says: &str| {
        let mut bad = ext.clone();
        bad[at..at + 4].copy_from_slice(&word.to_le_bytes());
        let error = BtfExt::parse(&bad, &btf).unwrap_err().to_string();
        assert!(error.contains(says), "{error} does not say {says}");
    };
    refused(4, 20, "header of 20");
    refused(8, u32::MAX, "func_info");
    refused(32, 4, "record size 4");
    refused(32, 9, "record size 9");
    refused(40, 0, "0 records");
    refused(40, u32::MAX, "func_info");
    refused(44, 12, "not at an instruction");
}

#[test]
fn longer_records_are_read_by_their_start() {
    let (data, ext, _) = object(Endian::Little);
    let btf = Btf::parse(BtfData::from(data)).unwrap();
    // One func_info record of 12 bytes instead of 8, and nothing else.
    let words = [24, 0, 24, 24, 0, 12];
    let mut bytes = ext[..4].to_vec();
    bytes.extend(words.iter().flat_map(|word: &u32| word.to_le_bytes()));
    bytes.extend(&ext[36..44]);
    bytes.extend([16_u32, 10, 99].iter().flat_map(|word| word.to_le_bytes()));
    bytes[12..16].copy_from_slice(&24_u32.to_le_bytes());
    let sections = BtfExt::parse(&bytes, &btf).unwrap();
    assert_eq!(sections["tp_btf/exec"].func_info, [FuncInfo { offset: InsnOffset(2), type_id: TypeId(10) }]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn several_random_bytes_at_once_are_survived(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        big in any::<bool>(),
    ) {
        let (mut data, mut ext, records) = object(if big { Endian::Big } else { Endian::Little });
        let good = Btf::parse(BtfData::from(data.clone())).unwrap();
        for (place, byte) in changes {
            let at = place.index(data.len() + ext.len());
            *data.iter_mut().chain(&mut ext).nth(at).unwrap() = byte;
        }
        exercise(&data, &ext, &records, &good);
        let _ = BtfExt::parse(&ext, &good);
    }
}
