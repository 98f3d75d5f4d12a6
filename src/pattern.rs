//! Regular expressions that the user gives, matched in user space on what a traced process chose.
//!
//! Bytes, as BCC's patterns: no text encoding is assumed, `.` and classes match single bytes. The engine is a small one that
//! knows only text, so every byte goes to it as the character of the same number, on both sides.

use regex_lite::{Regex, RegexBuilder};

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl Pattern {
    /// Compiles what the user typed; an error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let built = RegexBuilder::new(&characters(text.as_bytes())).size_limit(1 << 20).build();
        let regex = built.map_err(|error| error.to_string())?;
        Ok(Self { text: text.to_owned(), regex })
    }

    /// As typed.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it matches anywhere in these bytes.
    pub fn is_match(&self, bytes: &[u8]) -> bool {
        match str::from_utf8(bytes) {
            Ok(text) if text.is_ascii() => self.regex.is_match(text),
            _ => self.regex.is_match(&characters(bytes)),
        }
    }
}

/// Each byte as the character U+0000 to U+00FF.
fn characters(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_bytes_and_not_only_text() {
        let matches = |pattern: &str, bytes: &[u8]| Pattern::parse(pattern).unwrap().is_match(bytes);
        assert!(matches("a.c$", b"xa\xffc"));
        assert!(matches("^caf\u{e9}", "café au lait".as_bytes()));
        assert!(!matches("^caf.$", "café".as_bytes()) && matches("^caf..$", "café".as_bytes()));
        assert!(!matches(r"^\w+$", "é".as_bytes()));
        assert!(matches(r"(?i)^LS\b.*-l{1,3}$", b"ls -a -ll"));
    }

    #[test]
    fn a_bad_pattern_says_what_is_wrong_on_one_line() {
        let error = Pattern::parse("a(").unwrap_err();
        assert!(error.contains("paren") || error.contains("group"), "{error}");
        assert!(!error.contains('\n'));
    }

    #[test]
    fn a_pattern_that_would_take_too_much_memory_is_refused() {
        assert!(Pattern::parse("((a{1000}){1000}){1000}").is_err());
    }
}
