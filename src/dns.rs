//! What a DNS answer says: the name that was asked for, and the addresses that it has.
//!
//! In: bytes that a process received from port 53, chosen by whoever sent them. Out: an [`Answer`], or nothing. Whatever the
//! bytes are, the work is bounded by their number: lengths are checked, names have 255 bytes at the most (RFC 1035),
//! and a compression pointer only leads backward, before everything that its name has used so far, so that no name has a
//! loop. Nothing is looked up and nothing is remembered here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of a name with the lengths of its labels, without the root.
const MAX_NAME: usize = 254;
/// Pointers that one name may follow: more labels do not fit in a name.
const MAX_POINTERS: u32 = 127;
/// Steps from the name that was asked for to the one that has addresses.
const MAX_ALIASES: usize = 16;
/// Bytes of the header.
const HEADER: usize = 12;

/// Bits of the header's flags.
const RESPONSE: u16 = 0x8000;
const OPCODE_AND_ERROR: u16 = 0x780f;
const TRUNCATED: u16 = 0x0200;

/// Types and classes of records.
const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;

/// An answer that has addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The name that was asked for, in lower case, as zone files have it: printable ASCII only, where `\.` is a dot
    /// inside a label, `\\` a backslash and `\032` a byte by its number.
    pub name: String,
    /// Its addresses, in the order of the answer. IPv4 that is mapped into IPv6 is IPv4.
    pub addresses: Vec<IpAddr>,
    /// Whether that is all of the answer.
    pub whole: bool,
}

/// Reads one message. `cut`: there may be more of it than these bytes.
pub fn parse(message: &[u8], cut: bool) -> Option<Answer> {
    let mut reader = Reader { message, at: 2 };
    let flags = reader.u16()?;
    let (questions, records) = (reader.u16()?, reader.u16()?);
    if flags & RESPONSE == 0 || flags & OPCODE_AND_ERROR != 0 || questions != 1 {
        return None;
    }
    reader.at = HEADER;
    let question = reader.name()?;
    let (_type, class) = (reader.u16()?, reader.u16()?);
    if class != CLASS_IN {
        return None;
    }
    let may_end = cut || flags & TRUNCATED != 0;
    let found = Records::read(&mut reader, records, may_end)?;
    let addresses = found.addresses_of(&question);
    (!addresses.is_empty()).then(|| Answer {
        name: question.text(),
        addresses,
        whole: found.whole && flags & TRUNCATED == 0,
    })
}

/// Reads what came by TCP in one piece: messages that each have their length before them, or one whose length came in the
/// piece before. A piece may end in the middle of a message.
pub fn parse_stream(bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length));
        let (message, left) = after.split_at(length.min(after.len()));
        answers.extend(parse(message, length > message.len()));
        rest = left;
    }
    if answers.is_empty() { parse(bytes, true).into_iter().collect() } else { answers }
}

/// A name: its labels in lower case, each after its length.
#[derive(Debug, PartialEq, Eq)]
struct Name(Vec<u8>);

impl Name {
    fn text(&self) -> String {
        let mut text = String::new();
        let mut rest = self.0.as_slice();
        while let Some((&length, after)) = rest.split_first() {
            let (label, left) = after.split_at(usize::from(length).min(after.len()));
            if !text.is_empty() {
                text.push('.');
            }
            label.iter().for_each(|&byte| push_byte(&mut text, byte));
            rest = left;
        }
        if text.is_empty() { ".".to_owned() } else { text }
    }
}

fn push_byte(text: &mut String, byte: u8) {
    match byte {
        b'.' | b'\\' => {
            text.push('\\');
            text.push(char::from(byte));
        }
        b'!'..=b'~' => text.push(char::from(byte)),
        _ => {
            let digit = |value: u8| char::from(b'0' + value % 10);
            text.push('\\');
            text.extend([digit(byte / 100), digit(byte / 10), digit(byte)]);
        }
    }
}

/// Of the answer's records those that matter.
#[derive(Default)]
struct Records {
    hosts: Vec<(Name, IpAddr)>,
    aliases: Vec<(Name, Name)>,
    whole: bool,
}

impl Records {
    /// Reads `count` records; fewer only if the message may end before.
    fn read(reader: &mut Reader<'_>, count: u16, may_end: bool) -> Option<Self> {
        let mut records = Self { whole: true, ..Self::default() };
        for _ in 0..count {
            match records.read_one(reader) {
                Some(()) => {}
                None if may_end => {
                    records.whole = false;
                    break;
                }
                None => return None,
            }
        }
        Some(records)
    }

    fn read_one(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let owner = reader.name()?;
        let (kind, class) = (reader.u16()?, reader.u16()?);
        let _ttl = reader.bytes(4)?;
        let length = usize::from(reader.u16()?);
        let start = reader.at;
        let data = reader.bytes(length)?;
        match (kind, class) {
            (TYPE_A, CLASS_IN) => {
                let bytes: [u8; 4] = data.try_into().ok()?;
                self.hosts.push((owner, Ipv4Addr::from(bytes).into()));
            }
            (TYPE_AAAA, CLASS_IN) => {
                let bytes: [u8; 16] = data.try_into().ok()?;
                self.hosts.push((owner, IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()));
            }
            (TYPE_CNAME, CLASS_IN) => {
                let mut inside = Reader { message: reader.message, at: start };
                let target = inside.name()?;
                if inside.at != reader.at {
                    return None;
                }
                self.aliases.push((owner, target));
            }
            _ => {}
        }
        Some(())
    }

    /// The addresses of a name, and of what it is an alias of.
    fn addresses_of(&self, name: &Name) -> Vec<IpAddr> {
        let mut chain = vec![name];
        while let Some(last) = chain.last()
            && chain.len() <= MAX_ALIASES
            && let Some((_, target)) = self.aliases.iter().find(|(owner, _)| owner == *last)
            && !chain.contains(&target)
        {
            chain.push(target);
        }
        self.hosts.iter().filter(|(owner, _)| chain.contains(&owner)).map(|(_, address)| *address).collect()
    }
}

/// A place in a message.
struct Reader<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> Reader<'m> {
    fn bytes(&mut self, count: usize) -> Option<&'m [u8]> {
        let end = self.at.checked_add(count)?;
        let bytes = self.message.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.bytes(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        self.bytes(2)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
    }

    /// A name, which may go on elsewhere; the place after it is that after its first part.
    fn name(&mut self) -> Option<Name> {
        let mut name = Vec::new();
        let mut part = Reader { message: self.message, at: self.at };
        let mut after = None;
        let mut floor = self.at;
        let mut pointers = 0;
        loop {
            let length = part.u8()?;
            match length >> 6 {
                0 if length == 0 => break,
                0 => {
                    let label = part.bytes(length.into())?;
                    name.push(length);
                    name.extend(label.iter().map(u8::to_ascii_lowercase));
                    if name.len() > MAX_NAME {
                        return None;
                    }
                }
                3 => {
                    let target = usize::from(u16::from_be_bytes([length & 0x3f, part.u8()?]));
                    after.get_or_insert(part.at);
                    pointers += 1;
                    if target >= floor || pointers > MAX_POINTERS {
                        return None;
                    }
                    floor = target;
                    part.at = target;
                }
                _ => return None,
            }
        }
        self.at = after.unwrap_or(part.at);
        Some(Name(name))
    }
}

#[cfg(test)]
#[path = "dns/tests.rs"]
mod tests;
