//! Giving memory back that only starting up needed.
//!
//! What crosses: addresses of this process's own read-only code mappings, read from `/proc/self/maps`.

#![expect(unsafe_code, reason = "madvise(2)")]

use std::fs::File;
use std::io::{self, Read, Seek};
use std::sync::OnceLock;

/// Drops the pages of this process's code, which the kernel maps again from the page cache when they are next
/// executed. Each page fault maps 64 KiB around it, so that after a while all code that ever ran counts as
/// resident; what only start-up needed need not.
///
/// Does nothing where `/proc` cannot be read. Of several calls only the first opens a file.
pub fn drop_code_pages() {
    let maps = mappings().unwrap_or_default();
    for (start, len) in maps.lines().filter_map(code_mapping) {
        let address = std::ptr::with_exposed_provenance_mut::<libc::c_void>(start);
        // SAFETY: the range is a private mapping of a file, readable and executable but not writable (`r-xp`), so
        // its pages are what the file holds, and dropping them changes no byte that anybody can read: the next
        // access brings the same bytes back. The file cannot change: it is being executed.
        let _ = unsafe { libc::madvise(address, len, libc::MADV_DONTNEED) };
    }
}

/// `/proc/self/maps` as it is now.
fn mappings() -> io::Result<String> {
    // A tracer of opens calls this when it is attached already, and would see itself.
    static MAPS: OnceLock<File> = OnceLock::new();
    let mut maps = match MAPS.get() {
        Some(maps) => maps,
        None => {
            let opened = File::open("/proc/self/maps")?;
            MAPS.get_or_init(|| opened)
        }
    };
    maps.rewind()?;
    let mut text = String::new();
    maps.read_to_string(&mut text)?;
    Ok(text)
}

/// Start and length of a line of `/proc/self/maps`, if it is file-backed code.
fn code_mapping(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (range, mode, path) = (words.next()?, words.next()?, words.nth(3)?);
    let (start, end) = range.split_once('-')?;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    (mode == "r-xp" && path.starts_with('/')).then_some((start, end.checked_sub(start)?))
}
