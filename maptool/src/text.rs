//! Bytes from outside (paths, process names) as one safe line of terminal text, without loss.
//!
//! In: any bytes. Out: the same text if it is printable UTF-8, else the shell's `$'...'` form, which a shell
//! reads back to the same bytes. Numbers as the hex bytes that `bpftool` and BCC's `cgroupid` print are
//! here too.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The path as [`safe`] text.
pub fn path(path: &Path) -> String {
    safe(path.as_os_str())
}

/// `text` unchanged if nothing in it could confuse a terminal or a reader, else quoted as `$'...'`.
///
/// Control characters (escape sequences, newlines), bidirectional and other invisible format characters,
/// and bytes that are not UTF-8 count as confusing.
pub fn safe(text: &OsStr) -> String {
    let bytes = text.as_bytes();
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.starts_with("$'") && !text.chars().any(is_confusing) => text.to_owned(),
        _ => quoted(bytes),
    }
}

fn quoted(bytes: &[u8]) -> String {
    let mut out = String::from("$'");
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                '\\' => out.push_str("\\\\"),
                '\'' => out.push_str("\\'"),
                other if is_confusing(other) => {
                    let mut buffer = [0; 4];
                    push_hex(&mut out, other.encode_utf8(&mut buffer).as_bytes());
                }
                other => out.push(other),
            }
        }
        push_hex(&mut out, chunk.invalid());
    }
    out.push('\'');
    out
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Three octal digits end by themselves; after `\xNN` a shell would also take a following digit.
        let _ = write!(out, "\\{byte:03o}");
    }
}

/// Characters that move the cursor, change colours, reorder or hide what stands beside them.
pub fn is_confusing(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The eight bytes of a key in host byte order, lower case, separated by blanks: what
/// `bpftool map update ... key hex` takes.
pub fn hex_bytes(key: u64) -> String {
    let mut out = String::with_capacity(23);
    for (index, byte) in key.to_ne_bytes().iter().enumerate() {
        let gap = if index == 0 { "" } else { " " };
        let _ = write!(out, "{gap}{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn safe_bytes(bytes: &[u8]) -> String {
        safe(OsStr::from_bytes(bytes))
    }

    #[test]
    fn ordinary_names_stay_as_they_are() {
        for name in ["/sys/fs/bpf/mnt_ns_set", "/a b/machine-lxc\\x2d1.scope", "/ü/日本"] {
            assert_eq!(safe_bytes(name.as_bytes()), name);
        }
    }

    #[test]
    fn what_could_fool_a_terminal_is_quoted_without_loss() {
        assert_eq!(safe_bytes(b"/a\nb"), "$'/a\\nb'");
        assert_eq!(safe_bytes(b"/\x1b[31m1"), "$'/\\033[31m1'");
        assert_eq!(safe_bytes(b"/\xff'\\"), "$'/\\377\\'\\\\'");
        assert_eq!(safe_bytes("/\u{202e}x".as_bytes()), "$'/\\342\\200\\256x'");
        assert_eq!(safe_bytes(b"$'x"), "$'$\\'x'");
    }

    #[test]
    fn hex_is_in_host_byte_order() {
        let expected = if cfg!(target_endian = "little") {
            "77 16 00 00 01 00 00 00"
        } else {
            "00 00 00 01 00 00 16 77"
        };
        assert_eq!(hex_bytes(0x1_0000_1677), expected);
    }
}
