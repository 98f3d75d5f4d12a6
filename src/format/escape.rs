//! Text of a traced process made safe for a terminal, without losing a byte.
//!
//! In: any bytes, chosen by whoever is traced. Out: valid UTF-8 on one line that a terminal shows as it is.
//! Escaped are: C0 controls, DEL and C1 controls (they drive the terminal), bytes that are not UTF-8, characters that
//! reorder or hide their neighbours (bidi controls, zero-width and invisible ones, line and paragraph separators), and
//! the backslash, so that the original can always be told: `\n \r \t \\`, `\xNN` for a byte, `\u{N}` for a character.

use super::number::{hex_digit, push_hex};

/// Appends `text`, escaped. With `quote`, as the inside of a double-quoted string: `"` becomes `\"`.
pub fn push_text(out: &mut Vec<u8>, text: &[u8], quote: bool) {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'\\' && !(quote && byte == b'"');
    if text.iter().all(|&byte| plain(byte)) {
        out.extend_from_slice(text);
        return;
    }
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            push_char(out, c, quote);
        }
        for &byte in chunk.invalid() {
            push_byte(out, byte);
        }
    }
}

fn push_char(out: &mut Vec<u8>, c: char, quote: bool) {
    match c {
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        '\\' => out.extend_from_slice(b"\\\\"),
        '"' if quote => out.extend_from_slice(b"\\\""),
        ' '..='~' => push_utf8(out, c),
        '\0'..='\x7f' => push_utf8_with(out, c, push_byte),
        _ if is_unsafe(c) => push_code_point(out, c),
        _ => push_utf8(out, c),
    }
}

fn push_utf8(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

fn push_utf8_with(out: &mut Vec<u8>, c: char, push: impl Fn(&mut Vec<u8>, u8)) {
    for &byte in c.encode_utf8(&mut [0; 4]).as_bytes() {
        push(out, byte);
    }
}

fn push_byte(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(b"\\x");
    push_hex(out, &[byte]);
}

fn push_code_point(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(b"\\u{");
    let bytes = u32::from(c).to_be_bytes();
    let digits = bytes.iter().flat_map(|&byte| [hex_digit(byte >> 4), hex_digit(byte)]);
    out.extend(digits.skip_while(|&digit| digit == b'0'));
    out.push(b'}');
}

/// Whether a character outside of ASCII drives a terminal, reorders its neighbours, or cannot be seen.
pub fn is_unsafe(c: char) -> bool {
    matches!(u32::from(c),
        0x80..=0x9f                         // C1 controls
        | 0x61c | 0x200e | 0x200f           // bidi marks
        | 0x202a..=0x202e | 0x2066..=0x2069 // bidi embeddings, overrides, isolates
        | 0x2028 | 0x2029                   // line and paragraph separators
        | 0xad | 0x34f | 0x180b..=0x180f    // soft hyphen, grapheme joiner, Mongolian selectors
        | 0x200b..=0x200d | 0x2060..=0x2065 | 0x206a..=0x206f | 0xfeff // zero width, invisible operators
        | 0x115f | 0x1160 | 0x3164 | 0xffa0 // invisible Hangul fillers
        | 0xfe00..=0xfe0f                   // variation selectors
        | 0xfff0..=0xfffb                   // annotation controls and their reserved neighbours
        | 0x1d173..=0x1d17a                 // invisible musical controls
        | 0xe0000..=0xe0fff                 // tags and more variation selectors
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &[u8]) -> String {
        let mut out = Vec::new();
        push_text(&mut out, text, false);
        String::from_utf8(out).unwrap()
    }

    /// The inverse, as a reader of the output would write it.
    fn unescaped(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c != '\\' {
                out.extend_from_slice(c.to_string().as_bytes());
                continue;
            }
            match chars.next().unwrap() {
                'n' => out.push(b'\n'),
                'r' => out.push(b'\r'),
                't' => out.push(b'\t'),
                'x' => {
                    let hex: String = chars.by_ref().take(2).collect();
                    out.push(u8::from_str_radix(&hex, 16).unwrap());
                }
                'u' => {
                    let hex: String = chars.by_ref().skip(1).take_while(|&c| c != '}').collect();
                    let c = char::from_u32(u32::from_str_radix(&hex, 16).unwrap()).unwrap();
                    out.extend_from_slice(c.to_string().as_bytes());
                }
                other => out.extend_from_slice(other.to_string().as_bytes()),
            }
        }
        out
    }

    #[test]
    fn what_a_hostile_argument_would_do_to_a_terminal_is_shown_instead() {
        assert_eq!(escaped(b"plain text, \"quoted\""), "plain text, \"quoted\"");
        assert_eq!(escaped(b"a\nb\tc\rd"), "a\\nb\\tc\\rd");
        assert_eq!(escaped(b"\x1b[31mred\x07\x7f\0"), "\\x1b[31mred\\x07\\x7f\\x00");
        assert_eq!(escaped("\u{9b}31m".as_bytes()), "\\u{9b}31m");
        assert_eq!(escaped("ab\u{202e}cd\u{2066}\u{200b}".as_bytes()), "ab\\u{202e}cd\\u{2066}\\u{200b}");
        assert_eq!(escaped(b"caf\xc3\xa9 \xff\xc3"), "café \\xff\\xc3");
        assert_eq!(escaped(br"C:\n"), r"C:\\n");
    }

    #[test]
    fn a_quote_is_escaped_only_inside_quotes() {
        let mut out = Vec::new();
        push_text(&mut out, b"say \"hi\"\\", true);
        assert_eq!(out, br#"say \"hi\"\\"#);
    }

    #[test]
    fn every_byte_and_every_character_comes_back_from_its_escape() {
        let mut all: Vec<u8> = (0..=255).collect();
        all.extend((0..0x11_0000).filter_map(char::from_u32).collect::<String>().into_bytes());
        let text = escaped(&all);
        assert!(!text.chars().any(|c| c.is_control() || is_unsafe(c)));
        assert_eq!(unescaped(&text), all);
    }
}
