//! A writer of relocatable BPF objects in either byte order, well-formed unless told otherwise.

use loader::Endian;
use loader::insn::Insn;

pub const PROGBITS: u32 = 1;
pub const SYMTAB: u32 = 2;
pub const STRTAB: u32 = 3;
pub const NOBITS: u32 = 8;
pub const REL: u32 = 9;

/// Symbol types.
pub const NOTYPE: u8 = 0;
pub const OBJECT: u8 = 1;
pub const FUNC: u8 = 2;
pub const SECTION: u8 = 3;

/// Symbol bindings.
pub const LOCAL: u8 = 0;
pub const GLOBAL: u8 = 1;
pub const WEAK: u8 = 2;

/// Relocation types.
pub const R64_64: u32 = 1;
pub const ABS64: u32 = 2;
pub const R64_32: u32 = 10;

struct Section {
    name: String,
    kind: u32,
    flags: u64,
    data: Vec<u8>,
    /// Differs from the length of `data` for NOBITS.
    size: u64,
    relocations: Vec<(u64, usize, u32)>,
}

/// A symbol; section 0 is "undefined".
#[derive(Clone, Copy)]
pub struct Symbol<'a> {
    pub name: &'a str,
    pub section: usize,
    pub value: u64,
    pub size: u64,
    pub kind: u8,
    pub binding: u8,
    pub hidden: bool,
}

impl<'a> Symbol<'a> {
    pub fn function(name: &'a str, section: usize, slot: u64, slots: u64) -> Self {
        Self { name, section, value: slot * 8, size: slots * 8, kind: FUNC, binding: GLOBAL, hidden: false }
    }

    pub fn object(name: &'a str, section: usize, value: u64, size: u64) -> Self {
        Self { name, section, value, size, kind: OBJECT, binding: GLOBAL, hidden: false }
    }

    pub fn undefined(name: &'a str) -> Self {
        Self { name, section: 0, value: 0, size: 0, kind: NOTYPE, binding: GLOBAL, hidden: false }
    }

    pub fn section(section: usize) -> Self {
        Self { name: "", section, value: 0, size: 0, kind: SECTION, binding: LOCAL, hidden: false }
    }

    pub fn bound(self, binding: u8) -> Self {
        Self { binding, ..self }
    }

    pub fn hide(self) -> Self {
        Self { hidden: true, ..self }
    }
}

/// Collects sections, symbols and relocations.
pub struct ObjectBuilder {
    pub endian: Endian,
    pub machine: u16,
    pub elf_type: u16,
    pub with_symbols: bool,
    sections: Vec<Section>,
    symbols: Vec<u8>,
    symbol_count: usize,
    names: Vec<u8>,
}

impl ObjectBuilder {
    pub fn new(endian: Endian) -> Self {
        let (symbols, names) = (vec![0; 24], vec![0]);
        Self {
            endian,
            machine: 247,
            elf_type: 1,
            with_symbols: true,
            sections: Vec::new(),
            symbols,
            symbol_count: 1,
            names,
        }
    }

    /// Adds a section; its number.
    pub fn section(&mut self, name: &str, kind: u32, flags: u64, data: Vec<u8>) -> usize {
        let size = data.len() as u64;
        self.sections.push(Section { name: name.into(), kind, flags, data, size, relocations: Vec::new() });
        self.sections.len()
    }

    pub fn code(&mut self, name: &str, insns: &[Insn]) -> usize {
        let data = insns.iter().flat_map(|insn| insn.encode(self.endian)).collect();
        self.section(name, PROGBITS, 6, data)
    }

    pub fn data(&mut self, name: &str, data: &[u8]) -> usize {
        self.section(name, PROGBITS, 3, data.to_vec())
    }

    pub fn zeros(&mut self, name: &str, size: u64) -> usize {
        let number = self.section(name, NOBITS, 3, Vec::new());
        self.sections[number - 1].size = size;
        number
    }

    /// Adds a symbol; its number.
    pub fn symbol(&mut self, symbol: Symbol<'_>) -> usize {
        let endian = self.endian;
        let name = u32::try_from(self.names.len()).unwrap();
        self.names.extend_from_slice(symbol.name.as_bytes());
        self.names.push(0);
        let name = if symbol.name.is_empty() { 0 } else { name };
        self.symbols.extend(endian.u32_bytes(name));
        self.symbols.extend([symbol.binding << 4 | symbol.kind, if symbol.hidden { 2 } else { 0 }]);
        self.symbols.extend(endian.u16_bytes(symbol.section.try_into().unwrap()));
        self.symbols.extend(endian.u64_bytes(symbol.value));
        self.symbols.extend(endian.u64_bytes(symbol.size));
        self.symbol_count += 1;
        self.symbol_count - 1
    }

    /// Adds a relocation of the byte at `offset` of a section.
    pub fn relocate(&mut self, section: usize, offset: u64, symbol: usize, kind: u32) {
        self.sections[section - 1].relocations.push((offset, symbol, kind));
    }

    pub fn build(&self) -> Vec<u8> {
        let count = self.sections.len();
        let relocated: Vec<usize> =
            (0..count).filter(|&n| !self.sections[n].relocations.is_empty()).collect();
        let symbol_table = count + relocated.len() + 1;
        let mut file = File { endian: self.endian, out: vec![0; 64], headers: vec![0; 64], names: vec![0] };
        for section in &self.sections {
            file.add(&section.name, (section.kind, section.flags), &section.data, section.size, (0, 0));
        }
        for &number in &relocated {
            let section = &self.sections[number];
            let data = self.relocation_bytes(section);
            let name = format!(".rel{}", section.name);
            file.add(&name, (REL, 0x40), &data, data.len() as u64, (symbol_table, number + 1));
        }
        let kind = if self.with_symbols { SYMTAB } else { PROGBITS };
        file.add(".symtab", (kind, 0), &self.symbols, self.symbols.len() as u64, (symbol_table + 1, 1));
        file.add(".strtab", (STRTAB, 0), &self.names, self.names.len() as u64, (0, 0));
        let names = [&file.names[..], b".shstrtab\0"].concat();
        file.add(".shstrtab", (STRTAB, 0), &names, names.len() as u64, (0, 0));
        let (table, total) = (file.out.len(), file.headers.len() / 64);
        file.out.extend_from_slice(&file.headers);
        file.out[..64].copy_from_slice(&self.header(table, total));
        file.out
    }

    fn relocation_bytes(&self, section: &Section) -> Vec<u8> {
        let mut data = Vec::new();
        for &(offset, symbol, kind) in &section.relocations {
            data.extend(self.endian.u64_bytes(offset));
            data.extend(self.endian.u64_bytes((symbol as u64) << 32 | u64::from(kind)));
        }
        data
    }

    fn header(&self, table: usize, total: usize) -> Vec<u8> {
        let endian = self.endian;
        let order = if endian == Endian::Big { 2 } else { 1 };
        let mut header = vec![0x7f, b'E', b'L', b'F', 2, order, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        header.extend(endian.u16_bytes(self.elf_type));
        header.extend(endian.u16_bytes(self.machine));
        header.extend(endian.u32_bytes(1));
        for value in [0, 0, table as u64] {
            header.extend(endian.u64_bytes(value));
        }
        header.extend(endian.u32_bytes(0));
        for value in [64, 0, 0, 64, total, total - 1] {
            header.extend(endian.u16_bytes(value.try_into().unwrap()));
        }
        header
    }
}

/// What is written so far: the contents, the section headers, the sections' names.
struct File {
    endian: Endian,
    out: Vec<u8>,
    headers: Vec<u8>,
    names: Vec<u8>,
}

impl File {
    fn add(
        &mut self,
        name: &str,
        (kind, flags): (u32, u64),
        data: &[u8],
        size: u64,
        (link, info): (usize, usize),
    ) {
        let endian = self.endian;
        let word = |value: usize| endian.u32_bytes(value.try_into().unwrap());
        let entry = match kind {
            SYMTAB => 24,
            REL => 16,
            _ => 0,
        };
        self.headers.extend(word(self.names.len()));
        self.headers.extend(endian.u32_bytes(kind));
        for value in [flags, 0, self.out.len() as u64, size] {
            self.headers.extend(endian.u64_bytes(value));
        }
        self.headers.extend(word(link));
        self.headers.extend(word(info));
        self.headers.extend(endian.u64_bytes(8));
        self.headers.extend(endian.u64_bytes(entry));
        self.names.extend_from_slice(name.as_bytes());
        self.names.push(0);
        self.out.extend_from_slice(data);
        self.out.resize(self.out.len().next_multiple_of(8), 0);
    }
}
