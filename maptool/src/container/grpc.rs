//! One unary gRPC call: as much of HTTP/2 (RFC 9113) as one question and one answer on a connection of their own need.
//!
//! In: a connection, a method, an encoded message. Out: the encoded answer, or what was wrong with it, for people.
//!
//! Headers of the answer are not decoded: a message is there or it is not. Nothing needs flow control, because the window
//! that the other side gets is larger than any answer that is taken. It may be anybody: every frame, all frames together,
//! and the time are bounded.

use std::io::{Read, Write};

use super::connection::{BODY_LIMIT, Problem, too_large};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes before each frame: a length of 24 bits, type, flags, stream.
const FRAME_HEADER: usize = 9;
/// What a frame may hold unless a larger one is asked for (section 4.2).
const FRAME_LIMIT: usize = 1 << 14;
/// Frames of one answer, of which those without data (pings, settings) bring an answer no nearer to its end.
const FRAMES_LIMIT: usize = 1 << 14;
/// Bytes before a message: whether it is compressed, and its length.
const MESSAGE_HEADER: usize = 5;
/// What the other side may send unasked, bytes; more than [`BODY_LIMIT`].
const WINDOW: u32 = 1 << 30;
/// The only stream that is opened.
const STREAM: u32 = 1;

/// Types of frames (section 6).
mod frame {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const WINDOW_UPDATE: u8 = 8;
}

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

const ENABLE_PUSH: u16 = 2;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// Calls `method`, `/package.Service/Method`.
///
/// # Errors
/// What stopped it, in words; `NobodyThere` for a server that refuses the call.
pub(super) fn call(
    connection: &mut (impl Read + Write),
    method: &str,
    message: &[u8],
) -> Result<Vec<u8>, Problem> {
    connection
        .write_all(&question(method, message))
        .map_err(|error| Problem::of("send a question", &error))?;
    let body = answer(connection)?;
    match body.split_at_checked(MESSAGE_HEADER) {
        None if body.is_empty() => Err(Problem::NobodyThere("it refuses the question".to_owned())),
        Some(([0, length @ ..], message)) if big_endian(length) == message.len() => Ok(message.to_vec()),
        _ => Err(Problem::wrong("answers something that is no gRPC message")),
    }
}

fn question(method: &str, message: &[u8]) -> Vec<u8> {
    let mut settings = Vec::new();
    for (name, value) in [(ENABLE_PUSH, 0), (INITIAL_WINDOW_SIZE, WINDOW)] {
        settings.extend(name.to_be_bytes());
        settings.extend(value.to_be_bytes());
    }
    // From the table that both sides know (RFC 7541, appendix A): POST, http; then names by their number there.
    let mut headers = vec![0x83, 0x86];
    for (name, value) in [
        (&[0x04][..], method),
        (&[0x01], "localhost"),
        (&[0x0f, 0x10], "application/grpc"),
        (b"\0\x02te", "trailers"),
    ] {
        headers.extend(name);
        // Values are shorter than the 127 bytes that a length of one byte has room for.
        headers.push(u8::try_from(value.len()).unwrap_or(0x7f));
        headers.extend(value.as_bytes());
    }
    let mut data = vec![0];
    data.extend(u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    data.extend(message);
    let mut out = PREFACE.to_vec();
    push_frame(&mut out, frame::SETTINGS, 0, 0, &settings);
    push_frame(&mut out, frame::WINDOW_UPDATE, 0, 0, &WINDOW.to_be_bytes());
    push_frame(&mut out, frame::HEADERS, END_HEADERS, STREAM, &headers);
    push_frame(&mut out, frame::DATA, END_STREAM, STREAM, &data);
    out
}

fn push_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.extend(length.iter().skip(1));
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
}

/// A number of up to 8 bytes.
fn big_endian(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, &byte| number << 8 | usize::from(byte))
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: usize,
    payload: Vec<u8>,
}

/// The data of the stream, until that ends.
fn answer(connection: &mut (impl Read + Write)) -> Result<Vec<u8>, Problem> {
    let mut body = Vec::new();
    for number in 0..FRAMES_LIMIT {
        let frame = read_frame(connection)?;
        let is_ours = frame.stream == STREAM as usize;
        // A server begins with its settings; what begins otherwise speaks something else.
        if number == 0 && frame.kind != frame::SETTINGS {
            return Err(not_http2());
        }
        match frame.kind {
            frame::SETTINGS if frame.flags & ACK == 0 => reply(connection, frame::SETTINGS, &[]),
            frame::PING if frame.flags & ACK == 0 => reply(connection, frame::PING, &frame.payload),
            frame::DATA if is_ours => body.extend(data(&frame)?),
            frame::RST_STREAM if is_ours => return Err(Problem::wrong("breaks its answer off")),
            // The last stream that it will still answer.
            frame::GOAWAY if frame.payload.get(..4).is_none_or(|last| big_endian(last) == 0) => {
                return Err(Problem::wrong("closes the connection"));
            }
            _ => {}
        }
        if body.len() > BODY_LIMIT {
            return Err(too_large());
        }
        let may_end = matches!(frame.kind, frame::DATA | frame::HEADERS);
        if is_ours && may_end && frame.flags & END_STREAM != 0 {
            return Ok(body);
        }
    }
    Err(Problem::wrong("does not come to an end"))
}

fn not_http2() -> Problem {
    Problem::wrong("answers something that is not HTTP/2")
}

/// A server that has said all may have closed its side; whether it has is told by what is read.
fn reply(connection: &mut impl Write, kind: u8, payload: &[u8]) {
    let mut out = Vec::new();
    push_frame(&mut out, kind, ACK, 0, payload);
    let _ = connection.write_all(&out);
}

fn read_frame(connection: &mut impl Read) -> Result<Frame, Problem> {
    let mut header = [0; FRAME_HEADER];
    let read_failed = |error| Problem::of("read", &error);
    connection.read_exact(&mut header).map_err(read_failed)?;
    let [a, b, c, kind, flags, stream @ ..] = header;
    let length = big_endian(&[a, b, c]);
    if length > FRAME_LIMIT {
        return Err(not_http2());
    }
    let mut payload = vec![0; length];
    connection.read_exact(&mut payload).map_err(read_failed)?;
    // The highest bit is reserved.
    Ok(Frame { kind, flags, stream: big_endian(&stream) & 0x7fff_ffff, payload })
}

/// The payload without its padding, whose length is the first byte.
fn data(frame: &Frame) -> Result<&[u8], Problem> {
    if frame.flags & PADDED == 0 {
        return Ok(&frame.payload);
    }
    let unpadded = frame.payload.split_first().and_then(|(&padding, rest)| {
        let length = rest.len().checked_sub(usize::from(padding))?;
        rest.get(..length)
    });
    unpadded.ok_or_else(|| Problem::wrong("has a frame of padding only"))
}

#[cfg(test)]
mod tests {
    use std::io::{self, Cursor};

    use super::*;

    /// The other side: what it says is written down before.
    struct Peer {
        says: Cursor<Vec<u8>>,
        heard: Vec<u8>,
    }

    impl Read for Peer {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.says.read(buffer)
        }
    }

    impl Write for Peer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.heard.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn frames(frames: &[(u8, u8, u32, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        frames.iter().for_each(|(kind, flags, stream, payload)| {
            push_frame(&mut out, *kind, *flags, *stream, payload);
        });
        out
    }

    fn told(says: Vec<u8>) -> (Result<Vec<u8>, Problem>, Vec<u8>) {
        let mut peer = Peer { says: Cursor::new(says), heard: Vec::new() };
        let answer = call(&mut peer, "/a.B/C", b"?");
        (answer, peer.heard.split_off(question("/a.B/C", b"?").len()))
    }

    fn wrong(says: Vec<u8>) -> String {
        match told(says).0 {
            Err(Problem::Wrong(what)) => what,
            other => format!("{other:?}"),
        }
    }

    const GREETING: (u8, u8, u32, &[u8]) = (frame::SETTINGS, 0, 0, &[]);

    #[test]
    fn an_answer_in_several_frames_is_put_together() {
        let (answer, replies) = told(frames(&[
            GREETING,
            (frame::SETTINGS, ACK, 0, &[]),
            (frame::WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]),
            (frame::PING, 0, 0, b"12345678"),
            (frame::HEADERS, END_HEADERS, 1, &[0x88]),
            (frame::DATA, 0, 1, &[0, 0, 0]),
            (frame::DATA, 0, 3, b"another stream"),
            (frame::DATA, PADDED, 1, &[2, 0, 3, b'a', 0, 0]),
            (0xbe, 0xff, 1, b"a type of the future"),
            (frame::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]),
            (frame::DATA, 0, 1, b"bc"),
            (frame::HEADERS, END_HEADERS | END_STREAM, 1, &[]),
        ]));
        assert_eq!(answer, Ok(b"abc".to_vec()));
        assert_eq!(replies, frames(&[(frame::SETTINGS, ACK, 0, &[]), (frame::PING, ACK, 0, b"12345678")]));
    }

    #[test]
    fn a_call_that_is_refused_is_told_from_an_empty_answer() {
        let refused = frames(&[GREETING, (frame::HEADERS, END_HEADERS | END_STREAM, 1, &[0x88])]);
        assert!(matches!(told(refused).0, Err(Problem::NobodyThere(_))));
        let empty = frames(&[GREETING, (frame::DATA, END_STREAM, 1, &[0; 5])]);
        assert_eq!(told(empty).0, Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_answer_is_told_in_words() {
        let with = |more: &[(u8, u8, u32, &[u8])]| frames(&[&[GREETING], more].concat());
        for (says, part) in [
            (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "not HTTP/2"),
            (frames(&[(frame::DATA, END_STREAM, 1, &[0; 5])]), "not HTTP/2"),
            (vec![0xff; 64], "not HTTP/2"),
            (with(&[]), "too soon"),
            (with(&[(frame::RST_STREAM, 0, 1, &[0, 0, 0, 7])]), "breaks"),
            (with(&[(frame::GOAWAY, 0, 0, &[0; 8])]), "closes"),
            (with(&[(frame::GOAWAY, 0, 0, &[])]), "closes"),
            (with(&[(frame::DATA, END_STREAM, 1, &[0, 0, 0, 0])]), "no gRPC message"),
            (with(&[(frame::DATA, END_STREAM, 1, &[1, 0, 0, 0, 0])]), "no gRPC message"),
            (with(&[(frame::DATA, END_STREAM, 1, &[0, 0, 0, 0, 2, 7])]), "no gRPC message"),
            (with(&[(frame::DATA, END_STREAM, 1, &[0, 0, 0, 0, 0, 7])]), "no gRPC message"),
            (with(&[(frame::DATA, END_STREAM, 1, &[0, 0xff, 0xff, 0xff, 0xff])]), "no gRPC message"),
            (with(&[(frame::DATA, END_STREAM | PADDED, 1, &[])]), "padding"),
            (with(&[(frame::DATA, END_STREAM | PADDED, 1, &[2, 0])]), "padding"),
            (frames(&vec![(frame::PING, 0, 0, &[0; 8][..]); FRAMES_LIMIT]), "not HTTP/2"),
            (with(&vec![(frame::PING, 0, 0, &[0; 8][..]); FRAMES_LIMIT]), "come to an end"),
            (with(&vec![(frame::DATA, 0, 1, &[0; FRAME_LIMIT][..]); BODY_LIMIT / FRAME_LIMIT + 1]), "8 MB"),
        ] {
            let found = wrong(says);
            assert!(found.contains(part), "{found:?} for `{part}`");
        }
    }

    #[test]
    fn every_cut_of_an_answer_is_told_as_such() {
        let whole = frames(&[GREETING, (frame::DATA, END_STREAM, 1, b"\0\0\0\0\x01x")]);
        assert_eq!(told(whole.clone()).0, Ok(b"x".to_vec()));
        for length in 0..whole.len() {
            assert!(wrong(whole[..length].to_vec()).contains("too soon"), "{length}");
        }
    }
}
