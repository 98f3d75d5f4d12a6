//! How many terminal columns a text takes: what keeps rows aligned when a name is not ASCII.
//!
//! In: text that is escaped already, so valid UTF-8 without control characters. An approximation by ranges of
//! the wide and the combining scripts; a full table would be larger than the rest of this library.

/// Columns that `text` takes on a terminal.
pub fn columns(text: &[u8]) -> usize {
    if text.is_ascii() {
        return text.len();
    }
    String::from_utf8_lossy(text).chars().map(char_columns).sum()
}

fn char_columns(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f | 0x483..=0x489 | 0x591..=0x5bd | 0x1ab0..=0x1aff | 0x1dc0..=0x1dff => 0,
        0x20d0..=0x20ff | 0xfe20..=0xfe2f => 0,
        0x1100..=0x115e | 0x2e80..=0x303e | 0x3041..=0x4dbf | 0x4e00..=0xa4cf | 0xac00..=0xd7a3 => 2,
        0xf900..=0xfaff | 0xfe30..=0xfe4f | 0xff01..=0xff60 | 0xffe0..=0xffe6 => 2,
        0x1f300..=0x1f64f | 0x1f680..=0x1f6ff | 0x1f900..=0x1f9ff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_narrow_and_combining_characters_are_counted_as_terminals_do() {
        assert_eq!(columns(b"kworker"), 7);
        assert_eq!(columns("köln".as_bytes()), 4);
        assert_eq!(columns("ko\u{308}ln".as_bytes()), 4);
        assert_eq!(columns("東京".as_bytes()), 4);
    }
}
