//! Instructions, and an object that has one of everything.

use loader::Endian;
use loader::btf::encode::{BtfBuilder, Field, ext_blob};
use loader::btf::ext::{CoreRecord, FuncInfo, LineInfo, SectionExt};
use loader::btf::{IntInfo, Linkage, TypeId};
use loader::insn::{Insn, InsnOffset, OP_CALL, OP_EXIT, OP_LD_IMM64};

use super::elf::{ABS64, GLOBAL, LOCAL, ObjectBuilder, PROGBITS, R64_32, R64_64, Symbol, WEAK};

/// `call` of a function, `distance` slots from the next instruction.
pub fn call(distance: i32) -> Insn {
    Insn { code: OP_CALL, src: 1, imm: distance, ..Insn::default() }
}

/// Both slots of `ld_imm64`.
pub fn load(imm: i32) -> [Insn; 2] {
    [Insn { code: OP_LD_IMM64, dst: 1, imm, ..Insn::default() }, Insn::default()]
}

/// `r0 = imm`.
pub fn set(imm: i32) -> Insn {
    Insn { code: 0xb7, imm, ..Insn::default() }
}

pub fn exit() -> Insn {
    Insn { code: OP_EXIT, ..Insn::default() }
}

/// Records for functions at these slots, with a line at each and one CO-RE record at the first.
pub fn records(functions: &[(usize, TypeId)], line_off: u32) -> SectionExt {
    let at = |&(slot, _): &(usize, TypeId)| InsnOffset(slot);
    SectionExt {
        func_info: functions.iter().map(|f| FuncInfo { offset: at(f), type_id: f.1 }).collect(),
        line_info: functions
            .iter()
            .map(|f| LineInfo { offset: at(f), file_name_off: line_off, line_off, line_col: 7 << 10 | 1 })
            .collect(),
        core: functions
            .iter()
            .take(1)
            .map(|f| CoreRecord { offset: at(f), type_id: TypeId(1), access_off: line_off, kind: 8 })
            .collect(),
    }
}

/// The types of attributes in a `.maps` definition.
pub struct MapTypes<'a> {
    pub btf: &'a mut BtfBuilder,
    pub int: TypeId,
}

impl MapTypes<'_> {
    /// `__uint`.
    pub fn uint(&mut self, number: u32) -> TypeId {
        let array = self.btf.array(self.int, self.int, number);
        self.btf.ptr(array)
    }

    /// `__type`.
    pub fn of(&mut self, id: TypeId) -> TypeId {
        self.btf.ptr(id)
    }

    /// A definition: a struct with these members, 8 bytes each. Its size in bytes, too.
    pub fn definition(&mut self, members: &[(&str, TypeId)]) -> (TypeId, u32) {
        let fields: Vec<Field<'_>> =
            members.iter().zip(0..).map(|(&(name, id), n)| Field::new(name, id, n * 8)).collect();
        let size = u32::try_from(members.len() * 8).unwrap();
        (self.btf.structure("", size, &fields), size)
    }
}

/// The BTF of the sample: the blob, `.BTF.ext`, and name and size in bytes of each map's definition.
struct Types {
    btf: Vec<u8>,
    ext: Vec<u8>,
    maps: Vec<(&'static str, u64)>,
}

fn types(endian: Endian) -> Types {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, IntInfo::SIGNED);
    let long = b.int("unsigned long", 8, 0);
    let proto = b.func_proto(&[("ctx", long)], int);
    let main = b.func("main_prog", proto, Linkage::Global);
    let helper = b.func("helper", proto, Linkage::Static);
    let callback = b.func("callback", proto, Linkage::Static);
    let maps = map_types(&mut b, int, long);
    let bool_ = b.int("_Bool", 1, IntInfo::BOOL);
    let pair = b.array(int, int, 2);
    let flag = b.var("flag", bool_, Linkage::Global);
    let limit = b.var("limit", long, Linkage::Global);
    let table = b.var("table", pair, Linkage::Global);
    let count = b.var("count", long, Linkage::Static);
    b.datasec(".rodata", 0, &[(flag, 0, 1), (limit, 0, 8)]);
    b.datasec(".data", 0, &[(table, 0, 8)]);
    b.datasec(".bss", 0, &[(count, 8, 8)]);
    let version = b.var("LINUX_KERNEL_VERSION", int, Linkage::Extern);
    let kfunc = b.func("bpf_rcu_read_lock", proto, Linkage::Extern);
    b.datasec(".kconfig", 0, &[(version, 0, 4)]);
    b.datasec(".ksyms", 0, &[(kfunc, 0, 0)]);

    let line = b.string("0:1");
    let (section, text) = (b.string("tp_btf/sched_process_exec"), b.string(".text"));
    let own = records(&[(0, main)], line);
    let others = records(&[(0, helper), (4, callback)], line);
    let ext = ext_blob(&[(section, &own), (text, &others)], endian);
    Types { btf: b.build(endian), ext, maps }
}

/// A ring buffer, a pinned hash, an array, and an array of such arrays.
fn map_types(b: &mut BtfBuilder, int: TypeId, long: TypeId) -> Vec<(&'static str, u64)> {
    let word = b.int("unsigned int", 4, 0);
    let event = b.structure("event", 16, &[Field::new("time", long, 0), Field::new("pid", word, 8)]);
    let mut t = MapTypes { btf: b, int };
    let [hash, array, array_of_maps, ring, many] = [1, 2, 12, 27, 4096].map(|number| t.uint(number));
    let (record, key, value) = (t.of(event), t.of(word), t.of(long));
    let events = t.definition(&[("type", ring), ("max_entries", many), ("value", record)]);
    let attributes =
        [("type", hash), ("max_entries", many), ("key", key), ("value", value), ("pinning", hash)];
    let set = t.definition(&attributes);
    let slot = t.definition(&[("type", array), ("max_entries", array), ("key", key), ("value", value)]);
    let pointer = t.btf.ptr(slot.0);
    let values = t.btf.array(pointer, int, 0);
    let attributes = [("type", array_of_maps), ("max_entries", array), ("key", key), ("values", values)];
    let outer = t.definition(&attributes);
    let maps = [("events", events), ("set", set), ("slot", slot), ("outer", outer)];
    let vars = maps.map(|(name, (id, size))| (b.var(name, id, Linkage::Global), 0, size));
    b.datasec(".maps", 0, &vars);
    maps.iter().map(|&(name, (_, size))| (name, u64::from(size))).collect()
}

/// An object with a program, subprograms, maps, data of all kinds, externs and all records.
pub fn object(endian: Endian) -> Vec<u8> {
    let types = types(endian);
    let mut o = ObjectBuilder::new(endian);
    let section = o.code("tp_btf/sched_process_exec", &main_code());
    let text = o.code(".text", &[&load(8)[..], &[set(1), exit(), set(2), exit()]].concat());
    // `outer` has two slots of 8 bytes, which its type does not count.
    let size: u64 = types.maps.iter().map(|map| map.1).sum::<u64>() + 16;
    let maps = o.data(".maps", &vec![0; size.try_into().unwrap()]);
    let rodata = o.data(".rodata", &[0; 16]);
    let data = o.data(".data", &[endian.u32_bytes(7), endian.u32_bytes(9)].concat());
    let bss = o.zeros(".bss", 16);
    o.data("license", b"GPL\0");
    o.data(".BTF", &types.btf);
    o.data(".BTF.ext", &types.ext);

    let text_symbol = o.symbol(Symbol::section(text));
    let bss_symbol = o.symbol(Symbol::section(bss));
    o.symbol(Symbol::function("helper", text, 0, 4).bound(LOCAL));
    o.symbol(Symbol::function("callback", text, 4, 2).bound(LOCAL));
    o.symbol(Symbol::object("count", bss, 8, 8).bound(LOCAL));
    o.symbol(Symbol::function("main_prog", section, 0, 11).bound(GLOBAL));
    let mut map_symbols = Vec::new();
    let mut at = 0;
    for (name, size) in types.maps {
        let size = if name == "outer" { size + 16 } else { size };
        map_symbols.push((o.symbol(Symbol::object(name, maps, at, size)), at));
        at += size;
    }
    let flag = o.symbol(Symbol::object("flag", rodata, 0, 1));
    o.symbol(Symbol::object("limit", rodata, 8, 8));
    o.symbol(Symbol::object("table", data, 0, 8));
    let version = o.symbol(Symbol::undefined("LINUX_KERNEL_VERSION"));
    let kfunc = o.symbol(Symbol::undefined("bpf_rcu_read_lock").bound(WEAK));

    let main = [map_symbols[0].0, flag, text_symbol, version];
    for (symbol, offset) in main.into_iter().zip([0, 16, 32, 48]) {
        o.relocate(section, offset, symbol, R64_64);
    }
    o.relocate(section, 64, kfunc, R64_32);
    o.relocate(section, 72, text_symbol, R64_32);
    o.relocate(text, 0, bss_symbol, R64_64);
    // The second slot of `outer`, whose `values` are its fourth member.
    o.relocate(maps, map_symbols[3].1 + 24 + 8, map_symbols[2].0, ABS64);
    o.build()
}

/// A map, a constant, the address of `callback`, an extern variable, an extern function, `helper`.
fn main_code() -> Vec<Insn> {
    let callback = 4 * 8;
    [&load(0)[..], &load(0), &load(callback), &load(0), &[call(-1), call(-1), exit()]].concat()
}

/// `switch` as clang 22 compiles it: the place to jump to is looked up in a table, and `gotox` jumps there.
pub fn switching(endian: Endian, first_target: u64) -> ObjectBuilder {
    let table = Insn { code: 0x18, dst: 1, ..Insn::default() };
    let gotox = Insn { code: 0x0d, dst: 1, ..Insn::default() };
    let mut builder = ObjectBuilder::new(endian);
    let code = builder.code("socket", &[call(-1), exit()]);
    // A function in front, so that places in the section are not places in the program.
    let body = [table, Insn::default(), gotox, set(7), exit(), set(8), exit()];
    let text = builder.code(".text", &[&[set(0), exit()][..], &body].concat());
    let targets = [first_target, 7 * 8];
    let data = targets.map(|target| endian.u64_bytes(target)).concat();
    let tables = builder.section(".jumptables", PROGBITS, 2, data);
    builder.symbol(Symbol::function("main", code, 0, 2));
    builder.symbol(Symbol::function("front", text, 0, 2).bound(LOCAL));
    let callee = builder.symbol(Symbol::function("switching", text, 2, 7).bound(LOCAL));
    let table = builder.symbol(Symbol::object("BPF.JT.0.0", tables, 0, 16).bound(LOCAL));
    builder.relocate(code, 0, callee, R64_32);
    builder.relocate(text, 16, table, R64_64);
    builder
}
