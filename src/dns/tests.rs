//! Answers as resolvers send them, and as nobody should.

use super::*;

/// A name on the wire, without compression.
fn wire(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// A pointer to the question's name.
const TO_QUESTION: [u8; 2] = [0xc0, 12];

fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = owner.to_vec();
    bytes.extend(kind.to_be_bytes());
    bytes.extend(CLASS_IN.to_be_bytes());
    bytes.extend(60u32.to_be_bytes());
    bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    bytes.extend(data);
    bytes
}

fn with_flags(flags: u16, question: &[u8], count: u16, records: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34];
    for number in [flags, 1, count, 0, 0] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend(question);
    bytes.extend(TYPE_A.to_be_bytes());
    bytes.extend(CLASS_IN.to_be_bytes());
    bytes.extend(records);
    bytes
}

fn message(question: &str, records: &[Vec<u8>]) -> Vec<u8> {
    with_flags(0x8180, &wire(question), records.len().try_into().unwrap(), &records.concat())
}

fn simple() -> Vec<u8> {
    message("example.org", &[record(&TO_QUESTION, TYPE_A, &[192, 0, 2, 1])])
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_name_has_the_addresses_of_both_families() {
    let v6 = "2001:db8::7".parse::<Ipv6Addr>().unwrap().octets();
    let bytes = message(
        "WWW.Example.ORG",
        &[record(&TO_QUESTION, TYPE_A, &[192, 0, 2, 1]), record(&wire("www.example.org"), TYPE_AAAA, &v6)],
    );
    let expected = Answer {
        name: "www.example.org".to_owned(),
        addresses: vec![ip("192.0.2.1"), ip("2001:db8::7")],
        whole: true,
    };
    assert_eq!(parse(&bytes, false), Some(expected));
}

#[test]
fn a_mapped_address_is_ipv4() {
    let mapped = Ipv4Addr::new(192, 0, 2, 9).to_ipv6_mapped().octets();
    let bytes = message("a", &[record(&TO_QUESTION, TYPE_AAAA, &mapped)]);
    assert_eq!(parse(&bytes, false).unwrap().addresses, [ip("192.0.2.9")]);
}

#[test]
fn aliases_lead_to_the_name_that_was_asked_for_in_whatever_order_they_come() {
    let mut records = vec![
        record(&TO_QUESTION, TYPE_CNAME, &wire("b.example")),
        record(&wire("B.example"), TYPE_CNAME, &wire("c.example")),
        record(&wire("c.example"), TYPE_A, &[192, 0, 2, 3]),
        record(&wire("other.example"), TYPE_A, &[192, 0, 2, 4]),
    ];
    for _ in 0..2 {
        let answer = parse(&message("a.example", &records), false).unwrap();
        assert_eq!((answer.name.as_str(), answer.addresses), ("a.example", vec![ip("192.0.2.3")]));
        records.reverse();
    }
}

#[test]
fn aliases_in_a_circle_and_endless_ones_come_to_an_end() {
    let circle = [
        record(&wire("a"), TYPE_CNAME, &wire("b")),
        record(&wire("b"), TYPE_CNAME, &wire("a")),
        record(&wire("b"), TYPE_A, &[192, 0, 2, 1]),
    ];
    assert_eq!(parse(&message("a", &circle), false).unwrap().addresses, [ip("192.0.2.1")]);
    let mut chain: Vec<_> =
        (0..23).map(|n| record(&wire(&format!("n{n}")), TYPE_CNAME, &wire(&format!("n{}", n + 1)))).collect();
    chain.push(record(&wire("n23"), TYPE_A, &[192, 0, 2, 1]));
    assert_eq!(parse(&message("n0", &chain), false), None);
    assert!(parse(&message("n11", &chain), false).is_some());
}

#[test]
fn whatever_is_no_printing_character_is_a_number() {
    let question = b"\x08a.b\\ \x1b[m\x02\xc3\xa9\0";
    let bytes = with_flags(0x8180, question, 1, &record(&TO_QUESTION, TYPE_A, &[192, 0, 2, 1]));
    assert_eq!(parse(&bytes, false).unwrap().name, r"a\.b\\\032\027[m.\195\169");
    let root = with_flags(0x8180, b"\0", 1, &record(b"\0", TYPE_A, &[192, 0, 2, 1]));
    assert_eq!(parse(&root, false).unwrap().name, ".");
}

#[test]
fn a_pointer_that_leads_forward_or_to_itself_is_refused() {
    let good = simple();
    let at = good.len() - 16;
    assert_eq!(good[at..at + 2], TO_QUESTION);
    for target in [at, at + 1, at + 2, at + 12, 0x3fff] {
        let mut bad = good.clone();
        let pointer = 0xc000 | u16::try_from(target).unwrap();
        bad[at..at + 2].copy_from_slice(&pointer.to_be_bytes());
        assert_eq!(parse(&bad, false), None, "{target}");
    }
    // The question, before which there is nothing but the header, whose zeros are a root.
    let question = [0xc0, 12];
    assert_eq!(parse(&with_flags(0x8180, &question, 1, &[]), false), None);
}

#[test]
fn pointers_to_pointers_are_followed_as_long_as_they_lead_back() {
    // Data of a record that is passed over: pointers, each to the one before it, the first one to the question.
    let build = |count: u16| {
        let first = 12 + 3 + 4 + 12; // header, question, what comes before the data
        let mut chain = TO_QUESTION.to_vec();
        for n in 1..count {
            chain.extend((0xc000 | (first + 2 * (n - 1))).to_be_bytes());
        }
        let last = 0xc000 | (first + 2 * (count - 1));
        let records =
            [record(&TO_QUESTION, 99, &chain), record(&last.to_be_bytes(), TYPE_A, &[192, 0, 2, 1])];
        message("a", &records)
    };
    assert!(parse(&build(101), false).is_some());
    assert_eq!(parse(&build(127), false), None);
}

#[test]
fn a_name_of_255_bytes_is_the_longest() {
    let label = "x".repeat(61);
    let longest = [label.as_str(); 4].join(".") + ".abcd";
    assert_eq!(wire(&longest).len(), 254);
    let answer = |name: &str| parse(&message(name, &[record(&TO_QUESTION, TYPE_A, &[1, 2, 3, 4])]), false);
    assert_eq!(answer(&longest).unwrap().name, longest);
    assert!(answer(&(longest.clone() + "e")).is_some());
    assert_eq!(wire(&(longest.clone() + "e")).len(), 255);
    assert_eq!(answer(&(longest + "ef")), None);
}

#[test]
fn queries_errors_and_answers_without_an_address_say_nothing() {
    let records = record(&TO_QUESTION, TYPE_A, &[192, 0, 2, 1]);
    for flags in [0x0100, 0x8183, 0x8182, 0x8980] {
        assert_eq!(parse(&with_flags(flags, &wire("a"), 1, &records), false), None, "{flags:#x}");
    }
    assert_eq!(parse(&message("a", &[]), false), None);
    assert_eq!(parse(&message("a", &[record(&wire("b"), TYPE_A, &[1, 2, 3, 4])]), false), None);
    assert_eq!(parse(&message("a", &[record(&TO_QUESTION, TYPE_A, &[1, 2, 3])]), false), None);
    assert_eq!(parse(&message("a", &[record(&TO_QUESTION, TYPE_AAAA, &[0; 15])]), false), None);
    let mut two_questions = simple();
    two_questions[5] = 2;
    assert_eq!(parse(&two_questions, false), None);
}

#[test]
fn a_cut_answer_has_what_came_before_the_cut() {
    let records: Vec<_> = (0..7).map(|n| record(&TO_QUESTION, TYPE_A, &[192, 0, 2, n])).collect();
    let bytes = message("a", &records);
    for len in 0..bytes.len() {
        assert_eq!(parse(&bytes[..len], false), None, "{len}");
        let seen = len.saturating_sub(12 + 3 + 4) / 16;
        match parse(&bytes[..len], true) {
            Some(answer) => assert_eq!((answer.addresses.len(), answer.whole), (seen, false), "{len}"),
            None => assert_eq!(seen, 0, "{len}"),
        }
    }
    // The server says so itself.
    let truncated = with_flags(0x8380, &wire("a"), 7, &records[..2].concat());
    let answer = parse(&truncated, false).unwrap();
    assert_eq!((answer.addresses.len(), answer.whole), (2, false));
}

#[test]
fn a_stream_has_messages_with_their_lengths_or_one_without() {
    let one = simple();
    let framed =
        |message: &[u8]| [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat();
    assert_eq!(parse_stream(&one).len(), 1);
    assert_eq!(parse_stream(&framed(&one)).len(), 1);
    let three = [framed(&one), framed(b"junk"), framed(&one)].concat();
    assert_eq!(parse_stream(&three).len(), 2);
    let cut = &three[..three.len() - 1];
    assert_eq!(parse_stream(cut).len(), 1);
    for bytes in [&b""[..], b"\0", b"\0\0", b"\0\0\0\0\0", &[0; 4096], &[255; 4096]] {
        assert_eq!(parse_stream(bytes), []);
    }
}

/// Not for secrets: the same numbers from the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }
}

/// Any answer that comes out is one that a terminal can show and a cache can hold.
fn check(bytes: &[u8]) {
    let answers = [parse(bytes, false), parse(bytes, true)].into_iter().flatten();
    for answer in answers.chain(parse_stream(bytes)) {
        assert!(answer.name.len() <= 4 * MAX_NAME);
        assert!(answer.name.bytes().all(|byte| byte.is_ascii_graphic()), "{:?}", answer.name);
        assert!(answer.name.bytes().all(|byte| !byte.is_ascii_uppercase()), "{:?}", answer.name);
        assert!(!answer.addresses.is_empty() && answer.addresses.len() <= bytes.len() / 15);
    }
}

#[test]
fn random_bytes_and_damaged_answers_neither_crash_nor_loop() {
    let v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let good = message(
        "www.example.org",
        &[
            record(&TO_QUESTION, TYPE_CNAME, b"\x04host\xc0\x10"),
            record(b"\x04host\xc0\x10", TYPE_A, &[192, 0, 2, 1]),
            record(&[0xc0, 16], TYPE_AAAA, &v6),
        ],
    );
    check(&good);
    assert_eq!(parse(&good, false).unwrap().addresses, [ip("192.0.2.1")]);
    for seed in 0..10_007 {
        let mut random = Random(seed);
        let length = random.below(600);
        let mut noise: Vec<u8> = (0..length).map(|_| random.next().to_le_bytes()[0]).collect();
        check(&noise);
        // Past the header, so that the rest is read, too.
        for (byte, header) in noise.iter_mut().zip(&good[..HEADER]) {
            *byte = *header;
        }
        check(&noise);
        let mut damaged = good.clone();
        for _ in 0..1 + random.below(5) {
            let at = random.below(damaged.len());
            damaged[at] = random.next().to_le_bytes()[0];
        }
        check(&damaged);
        check(&damaged[..random.below(damaged.len())]);
    }
}
