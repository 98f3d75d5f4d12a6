//! DATA: keys and values as bytes on the command line, and as lines of hexadecimal.
//!
//! In: `key [hex] BYTE...`, `value ...`, `any | exist | noexist`. Out: [`Element`]; text.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::fd::AsFd;

use loader::map::{Access, Map, UpdateMode};
use loader::spec::map::map_type;
use nsmap::text;

use super::args::{Words, digits_of, is_prefix, number, usage};
use super::json::Writer;
use super::select;
use crate::failure::{Code, Failure};

/// What the words gave.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) mode: Option<UpdateMode>,
    /// Keeps the map open whose fd the value is.
    _inner: Option<Map>,
}

/// What a command wants besides its map.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// Also false for queues and stacks, which have no keys.
    pub(super) key: bool,
    pub(super) value: bool,
    pub(super) mode: bool,
}

/// Reads all words that are left.
pub(super) fn parse(words: &mut Words<'_>, map: &Map, wanted: Wanted) -> Result<Element, Failure> {
    let mut element = Element::default();
    while let Some(word) = words.next() {
        let is = |keyword: &str| is_prefix(word, keyword);
        if is("key") {
            refuse_second("key", element.key.is_some(), wanted.key)?;
            element.key = Some(bytes(words, "key", map.info().key_size)?);
        } else if is("value") {
            refuse_second("value", element.value.is_some(), wanted.value)?;
            value(words, map, &mut element)?;
        } else if is("any") || is("noexist") || is("exist") {
            mode(word, wanted, &mut element)?;
        } else {
            return Err(expected(word));
        }
    }
    let missing = |what: &str| usage(format!("did not find {what}"));
    match (wanted.key && element.key.is_none(), wanted.value && element.value.is_none()) {
        (true, _) => Err(missing("key")),
        (_, true) => Err(missing("value")),
        _ => Ok(element),
    }
}

fn expected(word: &OsStr) -> Failure {
    usage(format!("expected key or value, got: {}", text::safe(word)))
}

fn refuse_second(what: &str, present: bool, wanted: bool) -> Result<(), Failure> {
    match (present, wanted) {
        (true, _) => Err(usage(format!("duplicate {what}"))),
        (_, false) => Err(usage(format!("unnecessary {what}"))),
        _ => Ok(()),
    }
}

fn mode(word: &OsStr, wanted: Wanted, element: &mut Element) -> Result<(), Failure> {
    if element.mode.is_some() || !wanted.mode {
        return Err(usage(format!("flags specified multiple times: {}", text::safe(word))));
    }
    element.mode = Some(match () {
        () if is_prefix(word, "any") => UpdateMode::Any,
        () if is_prefix(word, "noexist") => UpdateMode::NoExist,
        () => UpdateMode::Exist,
    });
    Ok(())
}

fn bytes(words: &mut Words<'_>, what: &str, size: u32) -> Result<Vec<u8>, Failure> {
    let hex = words.takes("hex");
    let size = size as usize;
    let mut bytes = Vec::with_capacity(size.min(4096));
    while bytes.len() < size {
        let Some(word) = words.next() else {
            return Err(usage(format!("{what} expected {size} bytes got {}", bytes.len())));
        };
        bytes.push(byte(word, hex)?);
    }
    Ok(bytes)
}

fn byte(word: &OsStr, hex: bool) -> Result<u8, Failure> {
    let bad = || usage(format!("error parsing byte: {}", text::safe(word)));
    let found = match (hex, word.to_str()) {
        (true, Some(word)) => {
            let digits = word.strip_prefix("0x").unwrap_or(word);
            if digits.is_empty() { None } else { digits_of(digits, 16) }
        }
        _ => number(word),
    };
    let found = found.ok_or_else(bad)?;
    u8::try_from(found).map_err(|_| bad().hint("a byte is at most 255, one word for each"))
}

fn value(words: &mut Words<'_>, map: &Map, element: &mut Element) -> Result<(), Failure> {
    match map.info().map_type {
        map_type::ARRAY_OF_MAPS | map_type::HASH_OF_MAPS => {
            if words.len() < 2 {
                return Err(usage("not enough value arguments for map in map".to_owned()));
            }
            let inner = select::one(words, Access::ReadWrite)?;
            element.value = Some(loader::sys::bpf::fd_u32(inner.as_fd()).to_ne_bytes().to_vec());
            element._inner = Some(inner);
        }
        map_type::PROG_ARRAY => {
            return Err(Failure::new(Code::Usage, "values that are programs are not done here"));
        }
        _ => {
            let one = bytes(words, "value", map.info().value_size)?;
            element.value = Some(for_every_cpu(map, one));
        }
    }
    Ok(())
}

/// Per-CPU maps take a value for each CPU, each rounded up to 8 bytes; the command line gives one for all.
fn for_every_cpu(map: &Map, value: Vec<u8>) -> Vec<u8> {
    let step = value.len().next_multiple_of(8);
    match map.value_len() {
        total if map.is_per_cpu() && step > 0 => {
            let mut padded = value;
            padded.resize(step, 0);
            padded.repeat(total / step)
        }
        _ => value,
    }
}

/// `"value": ...`, or for maps with a value for each CPU `"values": [{"cpu": 0, "value": ...}, ...]`; `write` writes the bytes
/// of one. `None` as soon as it gives that.
pub(super) fn write_values(
    json: &mut Writer,
    map: &Map,
    value: &[u8],
    mut write: impl FnMut(&mut Writer, &[u8]) -> Option<()>,
) -> Option<()> {
    if !map.is_per_cpu() {
        json.name("value");
        return write(json, value);
    }
    json.name("values");
    json.open('[');
    for (cpu, value) in values_of_cpus(map, value).enumerate() {
        json.open('{');
        json.number_field("cpu", cpu as u64);
        json.name("value");
        write(json, value)?;
        json.close('}');
    }
    json.close(']');
    Some(())
}

/// The value of each CPU without the padding to 8 bytes.
pub(super) fn values_of_cpus<'a>(map: &Map, value: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let size = map.info().value_size as usize;
    value.chunks(size.next_multiple_of(8).max(1)).map(move |chunk| chunk.get(..size).unwrap_or(chunk))
}

/// `f8 ff ff ef 00 00 00 00`: groups of 8, lines of 16.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().saturating_mul(3));
    for (index, byte) in bytes.iter().enumerate() {
        let before = match index {
            0 => "",
            index if index % 16 == 0 => "\n",
            index if index % 8 == 0 => "  ",
            _ => " ",
        };
        let _ = write!(out, "{before}{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_refused_rather_than_cut() {
        let read = |word: &str, hex| byte(OsStr::new(word), hex).ok();
        assert_eq!(
            (read("255", false), read("0xff", false), read("017", false)),
            (Some(255), Some(255), Some(15))
        );
        assert_eq!(
            (read("ff", true), read("0xff", true), read("17", true)),
            (Some(255), Some(255), Some(0x17))
        );
        for (bad, hex) in [
            ("256", false),
            ("300", false),
            ("-1", false),
            ("", false),
            ("", true),
            ("100", true),
            ("fg", true),
        ] {
            assert_eq!(read(bad, hex), None, "{bad}");
        }
    }

    #[test]
    fn hexadecimal_is_grouped_by_eight_and_sixteen() {
        let bytes: Vec<u8> = (0..18).collect();
        assert_eq!(hex(&bytes), "00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f\n10 11");
        assert_eq!(hex(&[]), "");
    }
}
