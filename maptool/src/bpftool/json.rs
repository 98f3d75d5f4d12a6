//! JSON in bpftool's two layouts: one line, or its own way of breaking lines.
//!
//! In: values in the order of the document. Out: text. bpftool breaks a line before each name and before a
//! closing bracket that follows something, and nowhere else.

use std::fmt::Write as _;

/// Builds one document.
#[derive(Debug)]
pub(crate) struct Writer {
    text: String,
    pretty: bool,
    depth: usize,
    /// Whether something stands in front, inside the innermost bracket.
    follows: bool,
}

impl Writer {
    pub(super) fn new(pretty: bool) -> Self {
        Self { text: String::new(), pretty, depth: 0, follows: false }
    }

    /// Whether every bracket is closed and there is a value.
    pub(super) fn is_complete(&self) -> bool {
        self.depth == 0 && !self.text.is_empty()
    }

    /// The document, with a line feed behind it.
    pub(super) fn finish(mut self) -> String {
        self.text.push('\n');
        self.text
    }

    fn separate(&mut self) {
        if self.follows {
            self.text.push(',');
        }
    }

    fn line(&mut self) {
        if self.pretty {
            self.text.push('\n');
            self.text.extend(std::iter::repeat_n("    ", self.depth));
        }
    }

    /// `{` or `[`.
    pub(super) fn open(&mut self, bracket: char) {
        self.separate();
        self.text.push(bracket);
        self.depth += 1;
        self.follows = false;
    }

    /// `}` or `]`.
    pub(super) fn close(&mut self, bracket: char) {
        self.depth = self.depth.saturating_sub(1);
        if self.follows {
            self.line();
        }
        self.text.push(bracket);
        self.follows = true;
    }

    pub(super) fn name(&mut self, name: &str) {
        self.separate();
        self.line();
        self.follows = false;
        self.text.push_str(&quoted(name));
        self.text.push_str(if self.pretty { ": " } else { ":" });
    }

    /// A value that is JSON already: a number, a word, or quoted text without anything to escape.
    pub(super) fn raw(&mut self, value: &str) {
        self.separate();
        self.text.push_str(value);
        self.follows = true;
    }

    pub(super) fn null(&mut self) {
        self.raw("null");
    }

    pub(super) fn number(&mut self, number: u64) {
        self.raw(&number.to_string());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.raw(&quoted(text));
    }

    pub(super) fn number_field(&mut self, name: &str, number: u64) {
        self.name(name);
        self.number(number);
    }

    pub(super) fn text_field(&mut self, name: &str, text: &str) {
        self.name(name);
        self.text(text);
    }

    /// An array of texts such as `"0x1f"`, one for each byte.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.open('[');
        for byte in bytes {
            let mut item = String::new();
            let _ = write!(item, "\"0x{byte:02x}\"");
            self.raw(&item);
        }
        self.close(']');
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(pretty: bool) -> String {
        let mut json = Writer::new(pretty);
        json.open('[');
        for number in [1, 2] {
            json.open('{');
            json.name("key");
            json.bytes(&[0xf8, number]);
            json.name("none");
            json.open('[');
            json.close(']');
            json.number_field("n", u64::from(number));
            json.close('}');
        }
        json.close(']');
        json.finish()
    }

    #[test]
    fn one_line_has_no_blanks() {
        assert_eq!(
            sample(false),
            "[{\"key\":[\"0xf8\",\"0x01\"],\"none\":[],\"n\":1},{\"key\":[\"0xf8\",\"0x02\"],\"none\":[],\"n\":2}]\n"
        );
    }

    #[test]
    fn lines_break_where_bpftool_breaks_them() {
        let expected = "[{\n        \"key\": [\"0xf8\",\"0x01\"\n        ],\n        \"none\": [],\n        \"n\": 1\n    },{\n";
        assert!(sample(true).starts_with(expected), "{}", sample(true));
        assert!(sample(true).ends_with("\"n\": 2\n    }\n]\n"));
    }

    #[test]
    fn an_open_bracket_is_no_document() {
        let mut json = Writer::new(false);
        assert!(!json.is_complete());
        json.open('[');
        assert!(!json.is_complete());
        json.close(']');
        assert!(json.is_complete());
    }
}
