//! `batch file FILE`: a command on each line.
//!
//! In: a file, or `-` for standard input. Out: what the commands print; it stops at the first that fails, and
//! what was done before it stays done.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nsmap::text;

use super::args::{Words, usage};
use super::{Screen, object, select};
use crate::failure::{Code, Failure};

/// More than any script; what is beyond is refused, not cut off.
const LIMIT: u64 = 256 << 20;

pub(super) fn run(screen: &mut Screen, mut words: Words<'_>) -> Result<(), Failure> {
    match words.len() {
        0 | 1 => return Err(usage("too few parameters for batch".to_owned())),
        2 => {}
        _ => return Err(usage("too many parameters for batch".to_owned())),
    }
    if !words.takes("file") {
        let found = text::safe(words.next().unwrap_or_default());
        return Err(usage(format!("expected 'file', got: {found}")));
    }
    let path = Path::new(words.next().unwrap_or_default());
    let lines = lines(&read(path)?)?;
    let json = screen.options.json;
    if json {
        screen.json.open('[');
    }
    let count = lines.len();
    for (number, line) in lines {
        if let Err(failure) = command(screen, &line) {
            return Err(stopped(screen, failure, number));
        }
    }
    if json {
        screen.json.close(']');
    } else {
        screen.plain.push_str(&format!("processed {count} commands\n"));
    }
    Ok(())
}

/// Closes the document, so that what was done can be read.
fn stopped(screen: &mut Screen, failure: Failure, line: usize) -> Failure {
    // The usage text of a command that is none has been printed.
    let failure = match failure.to_string().is_empty() {
        true => Failure::new(failure.code, format!("line {line}: not a command")),
        false => failure.context(&format!("line {line}")),
    };
    if screen.options.json {
        screen.json.open('{');
        screen.json.text_field("error", &failure.to_string());
        screen.json.close('}');
        screen.json.close('}');
        screen.json.close(']');
    }
    failure
}

fn command(screen: &mut Screen, words: &[OsString]) -> Result<(), Failure> {
    let words_of_line = Words::new(words, "batch");
    if !screen.options.json {
        object(screen, words_of_line, false)?;
        return miss(screen);
    }
    screen.json.open('{');
    screen.json.name("command");
    screen.json.open('[');
    words.iter().for_each(|word| screen.json.text(&text::safe(word)));
    screen.json.close(']');
    screen.json.name("output");
    object(screen, words_of_line, false)?;
    screen.json.close('}');
    match screen.code {
        Code::Done => Ok(()),
        code => {
            screen.json.open('{');
            screen.json.name("output");
            Err(Failure::new(code, "not found"))
        }
    }
}

/// A lookup that found nothing stops a batch, as any failure.
fn miss(screen: &Screen) -> Result<(), Failure> {
    match screen.code {
        Code::Done => Ok(()),
        code => Err(Failure::new(code, "not found")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let result = match path.to_str() {
        Some("-") => std::io::stdin().lock().take(LIMIT).read_to_end(&mut bytes),
        _ => std::fs::File::open(path).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes)),
    };
    let place = text::path(path);
    match result {
        Ok(_) if bytes.len() as u64 >= LIMIT => {
            Err(usage(format!("the batch file ({place}) is larger than {LIMIT} bytes")))
        }
        Ok(_) => Ok(bytes),
        Err(error) => {
            let reason = error.raw_os_error().map_or_else(|| error.to_string(), select::reason);
            Err(Failure::new(
                Code::of(&loader::Error::io("", error)),
                format!("Can't open file ({place}): {reason}"),
            ))
        }
    }
}

/// The commands, each with the number of its first line. A line that ends with `\` goes on in the next.
fn lines(bytes: &[u8]) -> Result<Vec<(usize, Vec<OsString>)>, Failure> {
    let mut commands = Vec::new();
    let mut joined: Vec<u8> = Vec::new();
    let (mut first, mut goes_on) = (1, false);
    for (index, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        if !goes_on {
            first = index + 1;
        }
        let line = line.split(|&byte| byte == b'#').next().unwrap_or_default();
        goes_on = line.ends_with(b"\\\n");
        joined.extend_from_slice(line.strip_suffix(b"\\\n").unwrap_or(line));
        if goes_on {
            continue;
        }
        let words = split(&joined).ok_or_else(|| usage(format!("line {first}: a quote is not closed")))?;
        joined.clear();
        if !words.is_empty() {
            commands.push((first, words));
        }
    }
    match goes_on {
        true => Err(usage(format!("line {first}: missing continuation line"))),
        false => Ok(commands),
    }
}

/// Splits at blanks; a word that begins with a quote ends with the next one of its kind. `None`: there is none.
fn split(line: &[u8]) -> Option<Vec<OsString>> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let mut words = Vec::new();
    let mut rest = line;
    while let Some(start) = rest.iter().position(|byte| !is_blank(byte)) {
        rest = rest.get(start..)?;
        let (word, behind) = match rest.split_first()? {
            (quote @ (b'\'' | b'"'), inside) => {
                let end = inside.iter().position(|byte| byte == quote)?;
                (inside.get(..end)?, inside.get(end + 1..)?)
            }
            _ => rest.split_at(rest.iter().position(is_blank).unwrap_or(rest.len())),
        };
        words.push(OsString::from_vec(word.to_vec()));
        rest = behind;
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_joined_and_numbered() {
        let read = lines(b"# x\nmap show # y\n\nmap d\\\nump 'a b' \"\" c\"d e\"\t'f'g").unwrap();
        let words = |index: usize| read[index].1.iter().map(|w| w.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].0, words(0)), (2, vec!["map", "show"]));
        assert_eq!((read[1].0, words(1)), (4, vec!["map", "dump", "a b", "", "c\"d", "e\"", "f", "g"]));
    }

    #[test]
    fn an_open_quote_and_a_line_that_goes_on_into_nothing_are_refused() {
        assert!(lines(b"map 'show\n").is_err());
        assert!(lines(b"map show \\\n").is_err());
        // Without a line feed it is a word.
        assert_eq!(lines(b"map \\").unwrap()[0].1.len(), 2);
    }
}
