//! Sizes that depend on the machine: how many values a per-CPU map entry has, how large a page is.
//!
//! In: `/sys/devices/system/cpu/possible`, a list such as `0-3,8-11`; `sysconf(3)`. Out: a count, a size. CPUs that
//! are possible but offline count too: the kernel copies a value for each of them.

use std::fs;
use std::sync::OnceLock;

use nix::unistd::{SysconfVar, sysconf};

use crate::error::{Error, Result, ResultExt};

/// The number of possible CPUs, read once per process.
///
/// # Errors
/// `Io` when sysfs cannot be read.
pub fn possible() -> Result<usize> {
    const PATH: &str = "/sys/devices/system/cpu/possible";
    static COUNT: OnceLock<usize> = OnceLock::new();
    if let Some(&count) = COUNT.get() {
        return Ok(count);
    }
    let text = fs::read_to_string(PATH).map_err(|error| Error::io("read", error)).context(PATH)?;
    let count = parse_count(text.trim()).ok_or_else(|| Error::invalid(format!("{PATH} holds `{text}`")))?;
    Ok(*COUNT.get_or_init(|| count))
}

/// The size of a page in bytes.
pub fn page_size() -> u32 {
    const SMALLEST: u32 = 4096;
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| u32::try_from(size).ok()).unwrap_or(SMALLEST)
}

/// CPUs are numbered from 0 and per-CPU values are laid out by number, so the count is the highest one plus 1.
fn parse_count(list: &str) -> Option<usize> {
    let highest = list.split(',').map(|range| range.rsplit('-').next()?.parse::<usize>().ok());
    highest.collect::<Option<Vec<_>>>()?.into_iter().max()?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::parse_count;

    #[test]
    fn lists_ranges_and_single_cpus_are_counted() {
        assert_eq!(parse_count("0"), Some(1));
        assert_eq!(parse_count("0-3"), Some(4));
        assert_eq!(parse_count("0-1,4,6-7"), Some(8));
        assert_eq!(parse_count(""), None);
        assert_eq!(parse_count("a-b"), None);
    }
}
