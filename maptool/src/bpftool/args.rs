//! The words of a command, taken one by one.
//!
//! In: words. Out: keywords (any prefix serves), numbers in C's notations, and bpftool's messages about what
//! is wrong with them.

use std::ffi::{OsStr, OsString};

use nsmap::text;

use crate::failure::{Code, Failure};

/// The words that are left, and the one that was taken last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words<'a> {
    rest: &'a [OsString],
    last: &'a OsStr,
}

impl<'a> Words<'a> {
    pub(super) fn new(rest: &'a [OsString], program: &'a str) -> Self {
        Self { rest, last: OsStr::new(program) }
    }

    pub(super) fn next(&mut self) -> Option<&'a OsStr> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        self.last = first;
        Some(first)
    }

    pub(super) fn peek(&self) -> Option<&'a OsStr> {
        self.rest.first().map(OsString::as_os_str)
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// Takes the next word if it is a prefix of `keyword`.
    pub(super) fn takes(&mut self, keyword: &str) -> bool {
        let fits = self.peek().is_some_and(|word| is_prefix(word, keyword));
        if fits {
            self.next();
        }
        fits
    }

    /// Refuses unless `count` words are left.
    pub(super) fn need(&self, count: usize) -> Result<(), Failure> {
        if self.len() >= count {
            return Ok(());
        }
        let (last, found) = (text::safe(self.last), self.len());
        Err(usage(format!("'{last}' needs at least {count} arguments, {found} found")))
    }

    /// Refuses words that are left over.
    pub(super) fn end(&self) -> Result<(), Failure> {
        match self.peek() {
            None => Ok(()),
            Some(word) => Err(usage(format!("what is '{}'?", text::safe(word)))),
        }
    }
}

/// A command line that makes no sense.
pub(super) fn usage(message: String) -> Failure {
    Failure::new(Code::Usage, message)
}

/// Whether `word` is a prefix of `keyword`; the empty word is of none.
pub(super) fn is_prefix(word: &OsStr, keyword: &str) -> bool {
    word.to_str().is_some_and(|word| !word.is_empty() && keyword.starts_with(word))
}

/// A number as C writes it: decimal, `0x...`, or octal with a leading 0.
pub(super) fn number(word: &OsStr) -> Option<u64> {
    let word = word.to_str()?;
    match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(digits) => digits_of(digits, 16),
        None if word.len() > 1 && word.starts_with('0') => digits_of(word, 8),
        None => digits_of(word, 10),
    }
}

/// Digits only: `from_str_radix` would take a sign.
pub(super) fn digits_of(digits: &str, radix: u32) -> Option<u64> {
    let all = digits.chars().all(|digit| digit.is_digit(radix));
    if all { u64::from_str_radix(digits, radix).ok() } else { None }
}

/// A number of 32 bits; `what` as bpftool's messages name it.
pub(super) fn number_u32(word: &OsStr, what: &str) -> Result<u32, Failure> {
    let found = number(word).and_then(|number| u32::try_from(number).ok());
    found.ok_or_else(|| usage(format!("can't parse {} as {what}", text::safe(word))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_c_writes_them() {
        let read = |word: &str| number(OsStr::new(word));
        assert_eq!(read("10"), Some(10));
        assert_eq!(read("0x1F"), Some(31));
        assert_eq!(read("017"), Some(15));
        assert_eq!(read("0"), Some(0));
        for bad in ["", "x", "08", "-1", "+1", "0x", "1 ", "99999999999999999999"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_empty_word_is_no_keyword() {
        assert!(is_prefix(OsStr::new("k"), "key") && is_prefix(OsStr::new("key"), "key"));
        assert!(!is_prefix(OsStr::new(""), "key") && !is_prefix(OsStr::new("keys"), "key"));
    }
}
