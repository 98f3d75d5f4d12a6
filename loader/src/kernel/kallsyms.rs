//! Addresses of kernel symbols, by name.
//!
//! In: `/proc/kallsyms`. Out: for each name asked for its [`Address`]. The table has more than a hundred thousand lines
//! and takes tens of milliseconds to read, so all names are looked up in one go, and only when a program needs one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};

use crate::error::{Error, Result};

const PLACE: &str = "/proc/kallsyms";

/// What the table says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// The only address of that name.
    Unique(u64),
    /// Several symbols of one name at different addresses.
    Ambiguous,
    /// The symbol exists, but the kernel hides addresses from this process (`kernel.kptr_restrict`).
    Hidden,
}

/// Looks up `names`; those that the kernel does not have are left out.
///
/// # Errors
/// `Io` when the table cannot be read.
pub fn find(names: &[&str]) -> Result<BTreeMap<String, Address>> {
    let file = File::open(PLACE).map_err(|error| Error::io("open", error).context(PLACE))?;
    find_in(BufReader::with_capacity(1 << 16, file), names)
}

/// Whether the kernel has a symbol of that name.
pub fn exists(name: &str) -> bool {
    find(&[name]).is_ok_and(|found| !found.is_empty())
}

/// Names of the kernel's functions (not those of modules with other names) that `wanted` picks.
///
/// # Errors
/// `Io` when the table cannot be read.
pub fn functions(wanted: impl Fn(&str) -> bool) -> Result<BTreeSet<String>> {
    let text = std::fs::read(PLACE).map_err(|error| Error::io("read", error).context(PLACE))?;
    let mut found = BTreeSet::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Some((_, b't' | b'T', name)) = parse_line(line) else { continue };
        if let Some(name) = std::str::from_utf8(name).ok().filter(|name| wanted(name)) {
            found.insert(name.to_owned());
        }
    }
    Ok(found)
}

fn find_in(mut table: impl BufRead, names: &[&str]) -> Result<BTreeMap<String, Address>> {
    let mut wanted = BTreeMap::new();
    wanted.extend(names.iter().map(|name| (name.as_bytes(), *name)));
    let mut found = BTreeMap::new();
    let mut line = Vec::new();
    // As many turns as the file has lines; the kernel's tables end.
    loop {
        line.clear();
        let len =
            table.read_until(b'\n', &mut line).map_err(|error| Error::io("read", error).context(PLACE))?;
        if len == 0 {
            return Ok(found);
        }
        let Some((address, kind, name)) = parse_line(&line) else { continue };
        let Some(&name) = wanted.get(source_name(kind, name)) else { continue };
        let merged = match found.get(name) {
            None if address == 0 => Address::Hidden,
            None => Address::Unique(address),
            Some(&Address::Unique(other)) if other == address => Address::Unique(address),
            Some(&Address::Hidden) if address == 0 => Address::Hidden,
            Some(_) => Address::Ambiguous,
        };
        found.insert(name.to_owned(), merged);
    }
}

/// `ffffffff81000000 T _text`, for modules followed by a tab and `[module]`: address, kind and name.
fn parse_line(line: &[u8]) -> Option<(u64, u8, &[u8])> {
    let mut parts = line.split(|byte| byte.is_ascii_whitespace());
    let address = u64::from_str_radix(std::str::from_utf8(parts.next()?).ok()?, 16).ok()?;
    let [kind] = parts.next()? else { return None };
    Some((address, *kind, parts.next()?))
}

/// The name in the source: a kernel that was optimised as a whole (`CONFIG_LTO_CLANG`) has static variables as
/// `NAME.llvm.HASH`. libbpf takes the suffix off these only, and so do we.
fn source_name(kind: u8, name: &[u8]) -> &[u8] {
    const SUFFIX: &[u8] = b".llvm.";
    let suffix = name.windows(SUFFIX.len()).position(|window| window == SUFFIX).filter(|_| kind == b'd');
    suffix.and_then(|at| name.get(..at)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"ffffffff81000000 T _text\nffffffff81000010 t twice\nffffffff81000020 t twice\n\
        ffffffffc0000000 t in_module\t[m]\n0000000000000000 D secret\nbroken\n";

    #[test]
    fn the_suffix_of_an_optimised_kernel_is_no_part_of_a_variables_name() {
        let table = &b"0000000000000001 d here.llvm.123\n0000000000000002 t there.llvm.4\n"[..];
        let found = find_in(table, &["here", "there"]).unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("here".to_owned(), Address::Unique(1))]);
    }

    #[test]
    fn names_are_found_once_and_doubtful_ones_are_told_apart() {
        let found = find_in(TABLE, &["_text", "twice", "in_module", "secret", "none"]).unwrap();
        assert_eq!(found.get("_text"), Some(&Address::Unique(0xffff_ffff_8100_0000)));
        assert_eq!(found.get("twice"), Some(&Address::Ambiguous));
        assert_eq!(found.get("in_module"), Some(&Address::Unique(0xffff_ffff_c000_0000)));
        assert_eq!(found.get("secret"), Some(&Address::Hidden));
        assert_eq!(found.get("none"), None);
    }
}
