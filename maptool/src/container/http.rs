//! One question to an HTTP/1.1 server behind a Unix socket: as much of the protocol as container engines speak there.
//!
//! In: a socket, a target, a moment when patience ends. Out: the body of a `200` answer, or what was wrong with it, for
//! people. The other side may be anything: it may hang, send garbage, or never end; sizes and time are bounded, and
//! nothing that it says leads elsewhere (no redirects).

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::time::Instant;

use super::connection::{BODY_LIMIT, Problem, Timed, too_large};
use crate::text;

/// All lines before the body, together.
const HEADER_LIMIT: usize = 16 << 10;
/// A chunk's length with what may stand behind it.
const CHUNK_LINE_LIMIT: usize = 1 << 10;

/// Asks for `target`, which must be safe to stand in a request line.
///
/// # Errors
/// What stopped it, in words.
pub(super) fn get(path: &Path, target: &str, deadline: Instant) -> Result<Vec<u8>, Problem> {
    let mut stream = Timed::connect(path, deadline)?;
    // Nothing else is asked on this connection, so that its end is an end of the answer, too.
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(|error| Problem::of("send a question", &error))?;
    answer(BufReader::new(stream))
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Chunked,
    Known(usize),
    ToTheEnd,
}

fn answer(mut reader: impl BufRead) -> Result<Vec<u8>, Problem> {
    let mut room = HEADER_LIMIT;
    let first = line(&mut reader, &mut room)?;
    let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.split_once(' '));
    let Some((_, status)) = status else { return Err(Problem::wrong("answers something that is not HTTP")) };
    if !status.starts_with("200") {
        let status: String = status.chars().take(60).collect();
        return Err(Problem::wrong(format!("answers `{}`", text::safe(status.trim_end().as_ref()))));
    }
    let mut length = Length::ToTheEnd;
    loop {
        let line = line(&mut reader, &mut room)?;
        if line.is_empty() {
            break;
        }
        length = after_header(length, &line)?;
    }
    match length {
        Length::Chunked => chunks(reader),
        Length::Known(length) => exactly(&mut reader, length),
        Length::ToTheEnd => to_the_end(reader),
    }
}

fn after_header(length: Length, line: &str) -> Result<Length, Problem> {
    let Some((name, value)) = line.split_once(':') else {
        return Err(Problem::wrong("has a header line without a colon"));
    };
    let value = value.trim();
    if name.eq_ignore_ascii_case("transfer-encoding") {
        return match value.eq_ignore_ascii_case("chunked") {
            true => Ok(Length::Chunked),
            false => Err(Problem::wrong("sends its answer in an encoding that was not asked for")),
        };
    }
    // Chunks win over a length (RFC 9112 section 6.3).
    if name.eq_ignore_ascii_case("content-length") && length != Length::Chunked {
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        return match value.parse() {
            Ok(value) if digits && value <= BODY_LIMIT => Ok(Length::Known(value)),
            _ if digits => Err(too_large()),
            _ => Err(Problem::wrong("has a content length that is no number")),
        };
    }
    Ok(length)
}

/// A line without its end; `room` is what all lines together may still take.
fn line(reader: &mut impl BufRead, room: &mut usize) -> Result<String, Problem> {
    let mut line = Vec::new();
    let limit = u64::try_from(*room).unwrap_or(0);
    reader.take(limit).read_until(b'\n', &mut line).map_err(|error| Problem::of("read", &error))?;
    *room = room.saturating_sub(line.len());
    if line.pop() != Some(b'\n') {
        return Err(match *room {
            0 => Problem::wrong("has a header that is too long"),
            _ => Problem::wrong("ends its answer too soon"),
        });
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(|_| Problem::wrong("answers something that is not HTTP"))
}

fn exactly(reader: &mut impl BufRead, length: usize) -> Result<Vec<u8>, Problem> {
    let mut body = Vec::new();
    let limit = u64::try_from(length).unwrap_or(0);
    reader.take(limit).read_to_end(&mut body).map_err(|error| Problem::of("read", &error))?;
    if body.len() == length { Ok(body) } else { Err(Problem::wrong("ends its answer too soon")) }
}

fn to_the_end(reader: impl BufRead) -> Result<Vec<u8>, Problem> {
    let mut body = Vec::new();
    let limit = u64::try_from(BODY_LIMIT).unwrap_or(0) + 1;
    reader.take(limit).read_to_end(&mut body).map_err(|error| Problem::of("read", &error))?;
    if body.len() <= BODY_LIMIT { Ok(body) } else { Err(too_large()) }
}

/// Each chunk has a byte at least, so that the limit of the body is one of their number, too.
fn chunks(mut reader: impl BufRead) -> Result<Vec<u8>, Problem> {
    let mut body = Vec::new();
    loop {
        let head = line(&mut reader, &mut { CHUNK_LINE_LIMIT })?;
        let digits = head.split(';').next().unwrap_or_default().trim();
        let size = match digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            true => usize::from_str_radix(digits, 16).ok(),
            false => None,
        };
        let size = size.ok_or_else(|| Problem::wrong("has a chunk whose length is no number"))?;
        if size == 0 {
            // What may follow are more headers, of no use to us.
            return Ok(body);
        }
        if size > BODY_LIMIT - body.len() {
            return Err(too_large());
        }
        body.extend(exactly(&mut reader, size)?);
        if !line(&mut reader, &mut { CHUNK_LINE_LIMIT })?.is_empty() {
            return Err(Problem::wrong("has a chunk that is longer than it says"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<String, String> {
        match answer(bytes) {
            Ok(body) => Ok(String::from_utf8(body).unwrap()),
            Err(Problem::Wrong(problem) | Problem::NobodyThere(problem)) => Err(problem),
        }
    }

    #[test]
    fn a_body_ends_by_its_length_its_chunks_or_with_the_connection() {
        let whole = Ok("hello".to_owned());
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, more"), whole);
        assert_eq!(read(b"HTTP/1.0 200 OK\r\n\r\nhello"), whole);
        let chunked = "HTTP/1.1 200 OK\r\nAPI-Version: 1.43\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\
                       transfer-encoding: Chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nTrailer: x\r\n\r\n";
        assert_eq!(read(chunked.as_bytes()), whole);
        assert_eq!(read(b"HTTP/1.1 200 OK\n\nhello"), whole, "bare line feeds");
    }

    #[test]
    fn every_cut_of_an_answer_is_told_as_such() {
        for whole in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        ] {
            for length in 0..whole.len() {
                assert!(read(&whole.as_bytes()[..length]).is_err(), "{length} of {whole:?}");
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_told_in_one_line() {
        let head = "HTTP/1.1 200 OK\r\n";
        let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
        for (answer, part) in [
            ("SSH-2.0-OpenSSH\r\n".to_owned(), "not HTTP"),
            ("\u{1b}[31m\r\n\r\n".to_owned(), "not HTTP"),
            ("HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\n\r\n".to_owned(), "answers `302 Found`"),
            ("HTTP/1.1 500 \u{1b}[31m\r\n\r\n".to_owned(), "answers `$'500 \\033[31m'`"),
            (format!("{head}no colon\r\n\r\n"), "without a colon"),
            (format!("{head}Content-Length: -1\r\n\r\n"), "content length that is no number"),
            (format!("{head}Content-Length: 99999999999999999999999\r\n\r\n"), "more than 8 MB"),
            (format!("{head}Content-Length: 8388609\r\n\r\n"), "more than 8 MB"),
            (format!("{head}Transfer-Encoding: gzip\r\n\r\n"), "encoding"),
            (format!("{head}{}", "X: y\r\n".repeat(4000)), "header that is too long"),
            (format!("{head}X: {}", "y".repeat(20_000)), "header that is too long"),
            (format!("{chunked}ffffffffffffffffff\r\n"), "length is no number"),
            (format!("{chunked}-1\r\n"), "length is no number"),
            (format!("{chunked}800001\r\n"), "more than 8 MB"),
            (format!("{chunked}1\r\nab\r\n"), "longer than it says"),
            (format!("{head}\r\n{}", " ".repeat(BODY_LIMIT + 1)), "more than 8 MB"),
        ] {
            let found = read(answer.as_bytes()).unwrap_err();
            assert!(found.contains(part) && !found.contains('\u{1b}'), "{found:?} for `{part}`");
        }
        assert!(read(b"\xff\xfe\r\n").is_err());
    }
}
