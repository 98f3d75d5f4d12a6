//! `.BTF.ext`: what the compiler says about single instructions.
//!
//! In: the section's bytes and the object's [`Btf`], which has its strings. Out: per ELF section the functions,
//! source lines and CO-RE relocations, with instruction slots where the file has byte offsets. Cutting them into
//! programs is the linker's work. Source: `Documentation/bpf/btf.rst`.

use std::collections::BTreeMap;

use super::{Btf, TypeId, parse};
use crate::bytes::{Endian, slice_at, u32_at};
use crate::error::{Error, Result, ResultExt};
use crate::insn::InsnOffset;

/// Bytes of the header with func_info and line_info only.
const HEADER_LEN: u32 = 24;
/// Bytes of the header that also places core_relo.
const HEADER_LEN_WITH_CORE: u32 = 32;
/// Smallest sizes of one record, in bytes, as of the first compilers; longer records are read by their start.
const FUNC_LEN: usize = 8;
const LINE_LEN: usize = 16;
const CORE_LEN: usize = 16;

/// A function starts at `offset`; `type_id` is its `BTF_KIND_FUNC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FuncInfo {
    /// Slots from the start of the section (in a spec) or of the program (once linked).
    pub offset: InsnOffset,
    /// The function's type in the object's BTF.
    pub type_id: TypeId,
}

/// The source line of the instruction at `offset` and of those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineInfo {
    /// Slots from the start of the section (in a spec) or of the program (once linked).
    pub offset: InsnOffset,
    /// File name: byte offset into the BTF string section.
    pub file_name_off: u32,
    /// Source line text: byte offset into the BTF string section.
    pub line_off: u32,
    /// Line number in the upper 22 bits, column in the lower 10, as the kernel takes it.
    pub line_col: u32,
}

/// One CO-RE relocation: the instruction at `offset` depends on the layout of `type_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreRecord {
    /// Slots from the start of the section (in a spec) or of the program (once linked).
    pub offset: InsnOffset,
    /// The local root type.
    pub type_id: TypeId,
    /// Access string such as `0:1:2`: byte offset into the BTF string section.
    pub access_off: u32,
    /// Kind, as written in the file; [`crate::core_reloc`] knows 0 to 12.
    pub kind: u32,
}

/// All records of one ELF section, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SectionExt {
    /// Where functions start.
    pub func_info: Vec<FuncInfo>,
    /// Source lines.
    pub line_info: Vec<LineInfo>,
    /// CO-RE relocations.
    pub core: Vec<CoreRecord>,
}

/// Reader of a `.BTF.ext` section.
#[derive(Debug)]
pub struct BtfExt;

impl BtfExt {
    /// All records, by the name of the ELF section whose instructions they describe. `data` is the content of
    /// `.BTF.ext`, in the byte order of `btf`. Type ids and offsets of file names, lines and access strings are
    /// not looked up here.
    ///
    /// # Errors
    /// `InvalidObject`, naming the part.
    pub fn parse(data: &[u8], btf: &Btf) -> Result<BTreeMap<String, SectionExt>> {
        Self::read(data, btf).context("parse .BTF.ext")
    }

    fn read(data: &[u8], btf: &Btf) -> Result<BTreeMap<String, SectionExt>> {
        let endian = parse::magic(data)?;
        if endian != btf.endian() {
            return Err(Error::invalid("byte order differs from that of .BTF"));
        }
        let header_len = u32_at(data, 4, endian)?;
        if header_len < HEADER_LEN {
            return Err(Error::invalid(format!(
                "header of {header_len} bytes, at least {HEADER_LEN} expected"
            )));
        }
        let mut out = BTreeMap::new();
        let info = |at| {
            parse::section(data, header_len, endian, at).map(|range| data.get(range).unwrap_or_default())
        };
        let mut reader = Reader { btf, endian, out: &mut out };
        info(8).and_then(|info| reader.read(info, FUNC_LEN, add_func)).context("func_info")?;
        info(16).and_then(|info| reader.read(info, LINE_LEN, add_line)).context("line_info")?;
        if header_len >= HEADER_LEN_WITH_CORE {
            info(24).and_then(|info| reader.read(info, CORE_LEN, add_core)).context("core_relo")?;
        }
        Ok(out)
    }
}

struct Reader<'a> {
    btf: &'a Btf,
    endian: Endian,
    out: &'a mut BTreeMap<String, SectionExt>,
}

impl Reader<'_> {
    /// One sub-section: a record size, then for each ELF section its name, a count, and that many records.
    fn read(
        &mut self,
        info: &[u8],
        min_len: usize,
        add: fn(&mut SectionExt, &Words<'_>) -> Result<()>,
    ) -> Result<()> {
        if info.is_empty() {
            return Ok(());
        }
        let record_len = self.word(info, 0)?;
        if record_len < min_len || !record_len.is_multiple_of(4) {
            return Err(Error::invalid(format!(
                "record size {record_len}, at least {min_len} in steps of 4 expected"
            )));
        }
        let mut at = 4;
        while at < info.len() {
            let name = self.btf.string(u32_at(info, at, self.endian)?)?;
            let count = self.word(info, at + 4)?;
            let len = record_len.checked_mul(count).filter(|len| *len != 0);
            let len = len.ok_or_else(|| Error::invalid(format!("{count} records for section `{name}`")))?;
            let records = slice_at(info, at + 8, len)?;
            let section = self.out.entry(name.to_owned()).or_default();
            for record in records.chunks_exact(record_len) {
                add(section, &Words { record, endian: self.endian })
                    .with_context(|| format!("section `{name}`"))?;
            }
            at += 8 + len;
        }
        Ok(())
    }

    fn word(&self, info: &[u8], at: usize) -> Result<usize> {
        usize::try_from(u32_at(info, at, self.endian)?).map_err(|_| Error::invalid("number does not fit"))
    }
}

/// One record.
struct Words<'a> {
    record: &'a [u8],
    endian: Endian,
}

impl Words<'_> {
    fn get(&self, index: usize) -> Result<u32> {
        u32_at(self.record, index * 4, self.endian)
    }

    /// The first word of every record: a byte offset in the ELF section.
    fn offset(&self) -> Result<InsnOffset> {
        InsnOffset::from_bytes(u64::from(self.get(0)?))
    }
}

fn add_func(section: &mut SectionExt, words: &Words<'_>) -> Result<()> {
    section.func_info.push(FuncInfo { offset: words.offset()?, type_id: TypeId(words.get(1)?) });
    Ok(())
}

fn add_line(section: &mut SectionExt, words: &Words<'_>) -> Result<()> {
    let (file_name_off, line_off, line_col) = (words.get(1)?, words.get(2)?, words.get(3)?);
    section.line_info.push(LineInfo { offset: words.offset()?, file_name_off, line_off, line_col });
    Ok(())
}

fn add_core(section: &mut SectionExt, words: &Words<'_>) -> Result<()> {
    let (type_id, access_off, kind) = (TypeId(words.get(1)?), words.get(2)?, words.get(3)?);
    section.core.push(CoreRecord { offset: words.offset()?, type_id, access_off, kind });
    Ok(())
}
