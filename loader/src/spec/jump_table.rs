//! `.jumptables`: where `switch` statements jump to (clang 22).
//!
//! In: that section and its symbols, one for each table. Out: [`JumpTables`]. An entry counts bytes from the start of the section
//! of the code that uses the table; [`crate::linker`] turns it into a place in the program, and the kernel (6.19) wants
//! them in a map of its own.

use std::collections::BTreeMap;
use std::ops::Range;

use super::relocation::Places;
use crate::bytes::u64_at;
use crate::elf::{ElfObject, Place, SymbolKind};
use crate::error::{Error, Result, ResultExt as _};

/// Name of the section.
const SECTION: &str = ".jumptables";
/// Bytes of an entry.
const ENTRY: usize = 8;

/// All jump tables of an object.
#[derive(Clone, Debug, Default)]
pub struct JumpTables {
    entries: Vec<u64>,
    /// Tables may overlap: the linker has each only once.
    tables: Vec<Range<usize>>,
}

impl JumpTables {
    /// The entries of a table: bytes from the start of the section of the code that uses it.
    pub fn get(&self, index: usize) -> Option<&[u64]> {
        self.entries.get(self.tables.get(index)?.clone())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.tables.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }
}

/// Reads all tables, and notes their places.
pub(super) fn read(elf: &ElfObject<'_>, places: &mut Places) -> Result<JumpTables> {
    let Some(section) = elf.section_by_name(SECTION) else { return Ok(JumpTables::default()) };
    let context = || format!("read section `{SECTION}`");
    let whole = section.data.len() / ENTRY;
    let entries = (0..whole).map(|entry| u64_at(section.data, entry * ENTRY, elf.endian));
    let entries = entries.collect::<Result<Vec<u64>>>().with_context(context)?;
    let mut tables = Vec::new();
    let mut known = BTreeMap::new();
    let symbols = elf.symbols.iter().filter(|symbol| symbol.place == Place::Section(section.index));
    for symbol in symbols.filter(|symbol| symbol.kind != SymbolKind::Section) {
        let range = range(symbol.value, symbol.size, entries.len())
            .with_context(|| format!("read jump table `{}`", symbol.name))
            .with_context(context)?;
        let index = *known.entry((range.start, range.end)).or_insert(tables.len());
        if index == tables.len() {
            tables.push(range);
        }
        places.jump_tables.insert(symbol.index, index);
    }
    Ok(JumpTables { entries, tables })
}

/// The entries that a symbol of `size` bytes at byte `value` stands for, of `count` that there are.
fn range(value: u64, size: u64, count: usize) -> Result<Range<usize>> {
    let entry = |bytes: u64| usize::try_from(bytes).ok().filter(|bytes| bytes.is_multiple_of(ENTRY));
    let (start, len) = (entry(value).map(|at| at / ENTRY), entry(size).map(|len| len / ENTRY));
    let end = start.and_then(|start| start.checked_add(len?)).filter(|end| *end <= count);
    match (start, end) {
        (Some(start), Some(end)) if start < end => Ok(start..end),
        _ => Err(Error::invalid(format!("{size} bytes at {value} are no entries of {ENTRY} bytes in it"))),
    }
}
