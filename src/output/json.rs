//! JSON, one object per line, written straight into a reused buffer.
//!
//! In: keys and raw values. Out: RFC 8259 objects in pure printable form: what could drive a terminal (C0, DEL, C1, bidi
//! and invisible characters) is a `\u` escape, which any JSON reader takes back. Text that is not UTF-8 holds U+FFFD
//! where the bytes were, and a sibling key `<key>_hex` holds all the bytes. The records are described in `docs/events.md`.

use crate::format::escape::is_unsafe;
use crate::format::number::{hex_digit, push_hex, push_i64, push_u64};

/// An object under construction. [`Object::end`] closes it.
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
    prepared: Option<&'a [u8]>,
}

/// The text of a key after others, for [`Object::prepared`].
pub fn prepare_key(key: &str) -> Box<[u8]> {
    format!(",\"{key}\":").into_bytes().into()
}

impl<'a> Object<'a> {
    /// Opens an object at the end of `out`.
    pub fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true, prepared: None }
    }

    /// Closes the object.
    pub fn end(self) {
        self.out.push(b'}');
    }

    /// Closes the object and the line.
    pub fn end_line(self) {
        self.out.extend_from_slice(b"}\n");
    }

    /// `"key":`; the caller appends exactly one value. Keys are our own identifiers: nothing in them needs an escape.
    pub fn key(&mut self, key: &str) -> &mut Vec<u8> {
        self.key_with(key, "")
    }

    /// Gives the text of the next key, which is not the first one: see [`prepare_key`]. A record has thirty keys.
    pub fn prepared(&mut self, key: &'a [u8]) {
        self.prepared = Some(key);
    }

    fn key_with(&mut self, key: &str, suffix: &str) -> &mut Vec<u8> {
        if let Some(prepared) = self.prepared.take() {
            self.out.extend_from_slice(prepared);
            return self.out;
        }
        self.out.extend_from_slice(if self.empty { b"\"" } else { b",\"" });
        self.empty = false;
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(suffix.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// A key whose value is not known.
    pub fn null(&mut self, key: &str) {
        self.key(key).extend_from_slice(b"null");
    }

    /// A truth value.
    pub fn bool(&mut self, key: &str, value: bool) {
        let text: &[u8] = if value { b"true" } else { b"false" };
        self.key(key).extend_from_slice(text);
    }

    /// A number, raw.
    pub fn u64(&mut self, key: &str, value: u64) {
        push_u64(self.key(key), value);
    }

    /// A signed number, raw.
    pub fn i64(&mut self, key: &str, value: i64) {
        push_i64(self.key(key), value);
    }

    /// Text of unknown encoding; a second key `<key>_hex` with all its bytes when it is not UTF-8.
    pub fn text(&mut self, key: &str, text: &[u8]) {
        if push_string(self.key(key), text) {
            return;
        }
        let out = self.key_with(key, "_hex");
        out.push(b'"');
        push_hex(out, text);
        out.push(b'"');
    }

    /// A list of texts of unknown encoding; when one is not UTF-8, a second key `<key>_hex` holds a list of the same
    /// length, with the bytes of such texts and null for the others.
    pub fn texts<'t>(&mut self, key: &str, texts: impl Iterator<Item = &'t [u8]> + Clone) {
        let mut valid = true;
        push_list(self.key(key), texts.clone(), |out, text| valid &= push_string(out, text));
        if valid {
            return;
        }
        push_list(self.key_with(key, "_hex"), texts, |out, text| {
            if std::str::from_utf8(text).is_ok() {
                out.extend_from_slice(b"null");
            } else {
                out.push(b'"');
                push_hex(out, text);
                out.push(b'"');
            }
        });
    }

    /// An object within this one.
    pub fn object(&mut self, key: &str, fill: impl FnOnce(&mut Object<'_>)) {
        let mut inner = Object::begin(self.key(key));
        fill(&mut inner);
        inner.end();
    }

    /// A list of objects, one for each item.
    pub fn objects<I>(
        &mut self,
        key: &str,
        items: impl Iterator<Item = I>,
        fill: impl Fn(&mut Object<'_>, I),
    ) {
        push_list(self.key(key), items, |out, item| {
            let mut inner = Object::begin(out);
            fill(&mut inner, item);
            inner.end();
        });
    }
}

fn push_list<I>(out: &mut Vec<u8>, items: impl Iterator<Item = I>, mut push: impl FnMut(&mut Vec<u8>, I)) {
    out.push(b'[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push(out, item);
    }
    out.push(b']');
}

/// Appends `text` as a JSON string. False when it was not UTF-8, so that the string does not tell all.
fn push_string(out: &mut Vec<u8>, text: &[u8]) -> bool {
    out.push(b'"');
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    if text.iter().all(|&byte| plain(byte)) {
        out.extend_from_slice(text);
        out.push(b'"');
        return true;
    }
    let mut valid = true;
    for chunk in text.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push_char(out, c));
        if !chunk.invalid().is_empty() {
            valid = false;
            push_char(out, char::REPLACEMENT_CHARACTER);
        }
    }
    out.push(b'"');
    valid
}

fn push_char(out: &mut Vec<u8>, c: char) {
    match c {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        _ if c.is_ascii_control() || is_unsafe(c) => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let [high, low] = unit.to_be_bytes();
                out.extend_from_slice(b"\\u");
                out.extend([high >> 4, high, low >> 4, low].map(hex_digit));
            }
        }
        _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parsed(fill: impl FnOnce(&mut Object<'_>)) -> Value {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        fill(&mut object);
        object.end_line();
        assert_eq!(out.iter().filter(|&&byte| byte == b'\n').count(), 1);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn an_independent_reader_gets_every_value_back() {
        let value = parsed(|o| {
            o.u64("u", u64::MAX);
            o.i64("i", -13);
            o.bool("b", true);
            o.null("n");
            o.text("t", b"plain");
            o.object("o", |o| o.u64("x", 1));
            o.objects("l", [1, 2].into_iter(), |o, n| o.u64("n", n));
        });
        let expected = json!({"u": u64::MAX, "i": -13, "b": true, "n": null, "t": "plain",
                              "o": {"x": 1}, "l": [{"n": 1}, {"n": 2}]});
        assert_eq!(value, expected);
    }

    #[test]
    fn all_characters_come_back_and_none_can_drive_a_terminal() {
        let all: String = (0..0x11_0000).filter_map(char::from_u32).collect();
        let mut out = Vec::new();
        assert!(push_string(&mut out, all.as_bytes()));
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), all);
        let shown = String::from_utf8(out).unwrap();
        assert!(!shown.chars().any(|c| c.is_control() || is_unsafe(c)));
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_all_in_the_hex_sibling() {
        let value = parsed(|o| o.text("comm", b"a\xff\n"));
        assert_eq!(value, json!({"comm": "a\u{fffd}\n", "comm_hex": "61ff0a"}));
    }

    #[test]
    fn a_list_has_hex_only_for_the_items_that_need_it() {
        let items = [&b"ok"[..], b"\xc3", b""];
        let value = parsed(|o| o.texts("args", items.into_iter()));
        assert_eq!(value, json!({"args": ["ok", "\u{fffd}", ""], "args_hex": [null, "c3", null]}));
        assert_eq!(parsed(|o| o.texts("args", [&b"x"[..]].into_iter())), json!({"args": ["x"]}));
    }
}
