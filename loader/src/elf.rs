//! ELF: the container that clang writes.
//!
//! In: the bytes of a relocatable BPF object (ELF64, `ET_REL`, `EM_BPF` or `EM_NONE`, either byte order).
//! Out: [`ElfObject`]: sections, symbols and relocations as plain values that borrow from those bytes.
//! What they mean to BPF is decided elsewhere, in [`crate::spec`].
//!
//! The `object` crate reads the raw headers; everything that later code indexes with is checked here once:
//! section and symbol numbers are in range, and the sections together are no larger than the file, so
//! that nothing made from them can grow beyond a small multiple of the input.

use object::Endianness;
use object::elf::{self, FileHeader64, SectionHeader64, Sym64};
use object::read::elf::{FileHeader as _, Rel as _, SectionHeader as _, Sym as _};

use crate::bytes::Endian;
use crate::error::{Error, Result, ResultExt as _};

/// Longest accepted name, in bytes; the kernel's own limit for symbols and BTF names is 512 with the NUL.
const MAX_NAME: usize = 511;
/// Zero bytes that all NOBITS sections of one object may ask for together.
const MAX_NOBITS: u64 = 256 << 20;

/// Number of a section in the section header table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SectionIndex(pub usize);

/// Number of a symbol in the symbol table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SymbolIndex(pub usize);

/// A parsed object.
#[derive(Debug)]
pub(crate) struct ElfObject<'data> {
    pub(crate) endian: Endian,
    /// By section number.
    pub(crate) sections: Vec<Section<'data>>,
    /// By symbol number.
    pub(crate) symbols: Vec<Symbol<'data>>,
}

#[derive(Debug)]
pub(crate) struct Section<'data> {
    pub(crate) index: SectionIndex,
    pub(crate) name: &'data str,
    pub(crate) kind: SectionKind,
    /// Size in bytes; that of `data`, except for NOBITS, which has no data.
    pub(crate) size: usize,
    pub(crate) data: &'data [u8],
    /// The sections with the relocations that apply here.
    relocations: Vec<&'data [elf::Rel64<Endianness>]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SectionKind {
    /// PROGBITS with the executable flag.
    Code,
    /// Other PROGBITS.
    Data,
    /// NOBITS: zeros.
    Zeros,
    /// Tables of the container itself.
    Other,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Symbol<'data> {
    pub(crate) index: SymbolIndex,
    pub(crate) name: &'data str,
    pub(crate) place: Place,
    /// Byte offset in the section.
    pub(crate) value: u64,
    /// Size in bytes.
    pub(crate) size: u64,
    pub(crate) kind: SymbolKind,
    pub(crate) binding: Binding,
    /// Hidden or internal visibility: global to the compiler, but not outside of the object.
    pub(crate) hidden: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Undefined,
    Section(SectionIndex),
    /// Absolute or common.
    Elsewhere,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SymbolKind {
    NoType,
    Function,
    Object,
    Section,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binding {
    Local,
    Global,
    Weak,
}

/// One `SHT_REL` entry: the addend is in the patched bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawRelocation {
    /// Byte offset in the section that is patched.
    pub(crate) offset: u64,
    pub(crate) symbol: SymbolIndex,
    /// One of the `R_BPF_*` numbers.
    pub(crate) kind: u32,
}

/// `R_BPF_*`: how a place is computed from a symbol.
pub(crate) mod reloc {
    /// Nothing to do.
    pub(crate) const NONE: u32 = 0;
    /// `ld_imm64`: symbol plus the instruction's immediate.
    pub(crate) const R64_64: u32 = 1;
    /// Eight bytes of data: symbol plus the bytes there.
    pub(crate) const R64_ABS64: u32 = 2;
    /// `call`: the callee's slot, relative to the next instruction.
    pub(crate) const R64_32: u32 = 10;

    /// Refuses what does not stand for an address in eight bytes of data. clang before 13 had no other type for it than
    /// that of `ld_imm64`.
    pub(crate) fn check_address(kind: u32) -> crate::error::Result<()> {
        match kind {
            R64_ABS64 | R64_64 => Ok(()),
            _ => Err(crate::error::Error::invalid(format!("relocation type {kind}, expected {R64_ABS64}"))),
        }
    }
}

type Header = FileHeader64<Endianness>;
type SymbolTable<'data> = object::read::elf::SymbolTable<'data, Header>;

impl<'data> ElfObject<'data> {
    /// Parses the container; every number in the result is in range.
    pub(crate) fn parse(data: &'data [u8]) -> Result<Self> {
        let header = Header::parse(data).map_err(from_object).context("read the ELF header")?;
        let order = header.endian().map_err(from_object)?;
        check_header(header, order)?;
        let headers = header.section_headers(order, data).map_err(from_object)?;
        check_sizes(headers, order, data)?;
        let mut sections = read_sections(header, headers, order, data)?;
        let (table, number) = find_symbol_table(headers, order, data)?;
        let symbols = read_symbols(&table, headers, order, data, sections.len())?;
        attach_relocations(&mut sections, headers, order, data, number)?;
        let endian = if order == Endianness::Big { Endian::Big } else { Endian::Little };
        Ok(Self { endian, sections, symbols })
    }

    /// The section with this number.
    pub(crate) fn section(&self, index: SectionIndex) -> Result<&Section<'data>> {
        self.sections
            .get(index.0)
            .ok_or_else(|| Error::invalid(format!("there is no section number {}", index.0)))
    }

    /// The symbol with this number.
    pub(crate) fn symbol(&self, index: SymbolIndex) -> Result<&Symbol<'data>> {
        self.symbols
            .get(index.0)
            .ok_or_else(|| Error::invalid(format!("there is no symbol number {}", index.0)))
    }

    /// The first section of that name.
    pub(crate) fn section_by_name(&self, name: &str) -> Option<&Section<'data>> {
        self.sections.iter().find(|section| section.name == name && section.kind != SectionKind::Other)
    }

    /// The relocations that apply to a section, in the order of the file.
    pub(crate) fn relocations<'a>(
        &'a self,
        section: &'a Section<'data>,
    ) -> impl Iterator<Item = RawRelocation> + 'a {
        let order = match self.endian {
            Endian::Little => Endianness::Little,
            Endian::Big => Endianness::Big,
        };
        section.relocations.iter().copied().flatten().map(move |entry| RawRelocation {
            offset: entry.r_offset(order),
            symbol: SymbolIndex(entry.r_sym(order).try_into().unwrap_or(usize::MAX)),
            kind: entry.r_type(order).0,
        })
    }
}

impl Section<'_> {
    /// The contents; zeros for NOBITS.
    pub(crate) fn contents(&self) -> Vec<u8> {
        match self.kind {
            SectionKind::Zeros => vec![0; self.size],
            _ => self.data.to_vec(),
        }
    }
}

fn check_header(header: &Header, order: Endianness) -> Result<()> {
    let kind = header.e_type(order);
    if kind != elf::ET_REL {
        return Err(Error::invalid(format!("ELF type {} is not a relocatable object", kind.0)));
    }
    let machine = header.e_machine(order);
    if machine != elf::EM_BPF && machine != elf::EM_NONE {
        return Err(Error::invalid(format!("machine {} is not BPF ({})", machine.0, elf::EM_BPF.0)));
    }
    Ok(())
}

/// Sections of a real object do not overlap, so their sizes add up to less than the file.
fn check_sizes(headers: &[SectionHeader64<Endianness>], order: Endianness, data: &[u8]) -> Result<()> {
    let (mut stored, mut zeros) = (0_u64, 0_u64);
    for header in headers {
        let size: u64 = header.sh_size(order);
        match header.sh_type(order) {
            elf::SHT_NULL => {}
            elf::SHT_NOBITS => zeros = zeros.saturating_add(size),
            _ => stored = stored.saturating_add(size),
        }
    }
    if usize::try_from(stored).map_or(true, |stored| stored > data.len()) {
        return Err(Error::invalid(format!("sections of {stored} bytes in a file of {}", data.len())));
    }
    if zeros > MAX_NOBITS {
        return Err(Error::invalid(format!("{zeros} bytes of zeroed data are more than {MAX_NOBITS}")));
    }
    Ok(())
}

fn read_sections<'data>(
    header: &Header,
    headers: &'data [SectionHeader64<Endianness>],
    order: Endianness,
    data: &'data [u8],
) -> Result<Vec<Section<'data>>> {
    let names = match headers.is_empty() {
        true => &[][..],
        false => {
            let number = header.shstrndx(order, data).map_err(from_object)?;
            string_table(headers, usize::try_from(number).unwrap_or(usize::MAX), order, data)?
        }
    };
    let read = |(number, header): (usize, &'data SectionHeader64<Endianness>)| {
        read_section(number, header, names, order, data)
            .with_context(|| format!("read section number {number}"))
    };
    headers.iter().enumerate().map(read).collect()
}

fn read_section<'data>(
    number: usize,
    header: &'data SectionHeader64<Endianness>,
    names: &'data [u8],
    order: Endianness,
    data: &'data [u8],
) -> Result<Section<'data>> {
    let executable = header.sh_flags(order).0 & elf::SHF_EXECINSTR.0 != 0;
    let kind = match header.sh_type(order) {
        elf::SHT_PROGBITS if executable => SectionKind::Code,
        elf::SHT_PROGBITS => SectionKind::Data,
        elf::SHT_NOBITS => SectionKind::Zeros,
        _ => SectionKind::Other,
    };
    let name = if number == 0 { "" } else { name_at(names, header.sh_name(order))? };
    let contents = header.data(order, data).map_err(from_object)?;
    let size = match kind {
        SectionKind::Zeros => usize::try_from(header.sh_size(order))
            .map_err(|_| Error::invalid("size does not fit into memory"))?,
        _ => contents.len(),
    };
    Ok(Section { index: SectionIndex(number), name, kind, size, data: contents, relocations: Vec::new() })
}

/// The only symbol table, and its section number.
fn find_symbol_table<'data>(
    headers: &'data [SectionHeader64<Endianness>],
    order: Endianness,
    data: &'data [u8],
) -> Result<(SymbolTable<'data>, usize)> {
    let mut tables = headers.iter().enumerate().filter(|(_, h)| h.sh_type(order) == elf::SHT_SYMTAB);
    let Some((number, header)) = tables.next() else {
        return Err(Error::invalid("no symbol table (a stripped object cannot be loaded)"));
    };
    if tables.next().is_some() {
        return Err(Error::invalid("more than one symbol table"));
    }
    let sections = object::read::elf::SectionTable::new(headers, object::StringTable::default());
    let index = object::SectionIndex(number);
    let table = SymbolTable::parse(order, data, &sections, index, header)
        .map_err(from_object)
        .context("read the symbol table")?;
    Ok((table, number))
}

fn read_symbols<'data>(
    table: &SymbolTable<'data>,
    headers: &'data [SectionHeader64<Endianness>],
    order: Endianness,
    data: &'data [u8],
    section_count: usize,
) -> Result<Vec<Symbol<'data>>> {
    let names = string_table(headers, table.string_section().0, order, data)?;
    let read = |(index, symbol): (object::SymbolIndex, &'data Sym64<Endianness>)| {
        read_symbol(table, index, symbol, names, order, section_count)
            .with_context(|| format!("read symbol number {}", index.0))
    };
    table.enumerate().map(read).collect()
}

fn read_symbol<'data>(
    table: &SymbolTable<'data>,
    index: object::SymbolIndex,
    symbol: &'data Sym64<Endianness>,
    names: &'data [u8],
    order: Endianness,
    section_count: usize,
) -> Result<Symbol<'data>> {
    let place = match table.symbol_section(order, symbol, index).map_err(from_object)? {
        Some(section) if section.0 < section_count => Place::Section(SectionIndex(section.0)),
        Some(section) => return Err(Error::invalid(format!("there is no section number {}", section.0))),
        None if symbol.is_undefined(order) => Place::Undefined,
        None => Place::Elsewhere,
    };
    let kind = match symbol.st_type() {
        elf::STT_NOTYPE => SymbolKind::NoType,
        elf::STT_FUNC => SymbolKind::Function,
        elf::STT_OBJECT => SymbolKind::Object,
        elf::STT_SECTION => SymbolKind::Section,
        _ => SymbolKind::Other,
    };
    let binding = match symbol.st_bind() {
        elf::STB_LOCAL => Binding::Local,
        elf::STB_WEAK => Binding::Weak,
        _ => Binding::Global,
    };
    let hidden = matches!(symbol.st_visibility(), elf::STV_HIDDEN | elf::STV_INTERNAL);
    Ok(Symbol {
        index: SymbolIndex(index.0),
        name: name_at(names, symbol.st_name(order))?,
        place,
        value: symbol.st_value(order),
        size: symbol.st_size(order),
        kind,
        binding,
        hidden,
    })
}

/// Hands each `SHT_REL` section to the section that it patches.
fn attach_relocations<'data>(
    sections: &mut [Section<'data>],
    headers: &'data [SectionHeader64<Endianness>],
    order: Endianness,
    data: &'data [u8],
    symbol_table: usize,
) -> Result<()> {
    for (number, header) in headers.iter().enumerate() {
        if header.sh_type(order) == elf::SHT_RELA {
            return Err(Error::invalid(format!(
                "section number {number} is SHT_RELA, which BPF does not use"
            )));
        }
        let Some((entries, link)) = header.rel(order, data).map_err(from_object)? else { continue };
        let target = header.info_link(order).0;
        if link.0 != symbol_table {
            return Err(Error::invalid(format!("relocation section number {number} names no symbol table")));
        }
        let target = sections.get_mut(target).ok_or_else(|| {
            Error::invalid(format!("relocation section number {number} patches no section ({target})"))
        })?;
        target.relocations.push(entries);
    }
    Ok(())
}

fn string_table<'data>(
    headers: &'data [SectionHeader64<Endianness>],
    number: usize,
    order: Endianness,
    data: &'data [u8],
) -> Result<&'data [u8]> {
    let header = headers
        .get(number)
        .filter(|header| header.sh_type(order) == elf::SHT_STRTAB)
        .ok_or_else(|| Error::invalid(format!("section number {number} is no string table")))?;
    header.data(order, data).map_err(from_object)
}

/// A name from a string table. Names may overlap there, so their length is limited: otherwise a small
/// file could make us look at its square in bytes.
fn name_at(strings: &[u8], offset: u32) -> Result<&str> {
    let rest = usize::try_from(offset)
        .ok()
        .and_then(|offset| strings.get(offset..))
        .ok_or_else(|| Error::invalid(format!("name at byte {offset} is outside of the string table")))?;
    let len =
        rest.iter().take(MAX_NAME + 1).position(|&byte| byte == 0).ok_or_else(|| {
            Error::invalid(format!("name at byte {offset} does not end in {MAX_NAME} bytes"))
        })?;
    let name = rest.get(..len).unwrap_or_default();
    std::str::from_utf8(name).map_err(|_| Error::invalid(format!("name at byte {offset} is not UTF-8")))
}

fn from_object(error: object::Error) -> Error {
    Error::invalid(error.to_string())
}
