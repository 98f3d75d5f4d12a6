//! The options of bpftool, which may stand anywhere among the words, as getopt_long(3) has it.
//!
//! In: all words. Out: [`Options`], and the words without them.

use std::ffi::OsString;

use crate::failure::{Code, Failure};

/// What was asked for by options.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    pub(crate) json: bool,
    pub(crate) pretty: bool,
    /// Show the pins of maps.
    pub(crate) pins: bool,
    /// Never mount a bpffs.
    pub(crate) nomount: bool,
    pub(super) asked: Option<Asked>,
}

/// Options that are the whole command.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    Help,
    Version,
}

const LONG: &[(&str, char)] = &[
    ("json", 'j'),
    ("help", 'h'),
    ("pretty", 'p'),
    ("version", 'V'),
    ("bpffs", 'f'),
    ("mapcompat", 'm'),
    ("nomount", 'n'),
    ("debug", 'd'),
    ("use-loader", 'L'),
    ("legacy", 'l'),
];

/// Splits options from words; after `--` everything is a word. A refusal has the shape that the options before it asked for.
pub(super) fn parse(words: &[OsString]) -> (Options, Result<Vec<OsString>, Failure>) {
    let mut options = Options::default();
    let rest = split(words, &mut options);
    (options, rest)
}

fn split(words: &[OsString], options: &mut Options) -> Result<Vec<OsString>, Failure> {
    let mut rest = Vec::new();
    let mut words = words.iter();
    for word in words.by_ref() {
        match word.to_str() {
            Some("--") => break,
            Some(long) if long.starts_with("--") => apply(long_option(long)?, long, options)?,
            Some(short) if short.starts_with('-') && short.len() > 1 => {
                for letter in short.chars().skip(1) {
                    apply(letter, &format!("-{letter}"), options)?;
                }
            }
            _ => rest.push(word.clone()),
        }
    }
    rest.extend(words.cloned());
    Ok(rest)
}

/// The letter of a long option, which may be shortened as far as it stays unambiguous.
fn long_option(word: &str) -> Result<char, Failure> {
    let name = word.trim_start_matches('-');
    let mut fitting = LONG.iter().filter(|(long, _)| long.starts_with(name));
    match (LONG.iter().find(|(long, _)| *long == name), fitting.next(), fitting.next()) {
        (Some((_, letter)), ..) | (None, Some((_, letter)), None) => Ok(*letter),
        _ => Err(unknown(word)),
    }
}

fn unknown(word: &str) -> Failure {
    Failure::new(Code::Usage, format!("unrecognized option '{word}'"))
}

fn apply(letter: char, word: &str, options: &mut Options) -> Result<(), Failure> {
    match letter {
        'j' => options.json = true,
        'p' => (options.json, options.pretty) = (true, true),
        'f' => options.pins = true,
        'n' => options.nomount = true,
        'h' => options.asked = options.asked.or(Some(Asked::Help)),
        'V' => options.asked = options.asked.or(Some(Asked::Version)),
        // How bpftool loads programs, and how much libbpf says: nothing here depends on it.
        'm' | 'd' | 'L' | 'l' => {}
        _ => return Err(unknown(word)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> (Options, Result<Vec<OsString>, Failure>) {
        parse(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_taken_from_anywhere_and_in_one_word() {
        let (options, words) = parsed(&["map", "-jf", "show", "--nom", "--", "-p"]);
        assert!(options.json && options.pins && options.nomount && !options.pretty);
        assert_eq!(words.unwrap(), ["map", "show", "-p"]);
    }

    #[test]
    fn unknown_and_ambiguous_options_are_refused() {
        for bad in ["-Q", "--frob", "--n0", "-jQ"] {
            assert!(parsed(&[bad]).1.is_err(), "{bad}");
        }
        assert!(parsed(&["-j", "-Q"]).0.json && !parsed(&["-Q", "-j"]).0.json);
    }
}
