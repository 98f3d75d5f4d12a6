//! Which answer is taken for which connect, and that no number of answers is too many.

use super::*;

/// An answer record: `name` has these addresses.
fn record(pid: u32, netns: u32, time_ns: u64, name: &str, addresses: &[[u8; 4]]) -> Vec<u8> {
    let mut message = vec![0, 0, 0x81, 0x80, 0, 1, 0, u8::try_from(addresses.len()).unwrap(), 0, 0, 0, 0];
    message.push(u8::try_from(name.len()).unwrap());
    message.extend(name.as_bytes());
    message.extend([0, 0, 1, 0, 1]);
    for address in addresses {
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        message.extend(address);
    }
    framed(pid, netns, time_ns, &message, message.len())
}

fn framed(pid: u32, netns: u32, time_ns: u64, message: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = vec![0; AnswerRecord::SIZE];
    bytes[..8].copy_from_slice(&time_ns.to_ne_bytes());
    bytes[28..32].copy_from_slice(&pid.to_ne_bytes());
    bytes[52..56].copy_from_slice(&kind::ANSWER.to_ne_bytes());
    bytes[72..76].copy_from_slice(&netns.to_ne_bytes());
    bytes[76..80].copy_from_slice(&u32::try_from(size).unwrap().to_ne_bytes());
    bytes[80..84].copy_from_slice(&u32::try_from(message.len()).unwrap().to_ne_bytes());
    bytes.extend(message);
    bytes
}

/// A connect to this address.
fn connect(pid: u32, netns: u32, start_ns: u64, address: [u8; 4]) -> TcpEvent {
    let mut event = TcpEvent::read(&[0; 160]).unwrap();
    event.header.pid = pid;
    event.header.time_ns = start_ns + 1000;
    event.start_ns = start_ns;
    event.netns = netns;
    event.version = 4;
    event.remote[..4].copy_from_slice(&address);
    event
}

const HOST: [u8; 4] = [192, 0, 2, 1];

fn named(names: &Names, event: &TcpEvent) -> Option<(String, AskedBy, u64)> {
    names.likely(event).map(|likely| (likely.name.to_owned(), likely.asked_by, likely.age_ns))
}

#[test]
fn the_answer_of_the_process_comes_before_that_of_its_neighbours_and_of_strangers() {
    let mut names = Names::default();
    names.learn(&record(7, 1, 100, "own", &[HOST])).unwrap();
    names.learn(&record(8, 1, 200, "neighbour", &[HOST])).unwrap();
    names.learn(&record(9, 2, 300, "stranger", &[HOST])).unwrap();
    let expect = |event: &TcpEvent, name: &str, by, age| {
        assert_eq!(named(&names, event), Some((name.to_owned(), by, age)));
    };
    expect(&connect(7, 1, 1000, HOST), "own", AskedBy::Process, 900);
    expect(&connect(70, 1, 1000, HOST), "neighbour", AskedBy::Netns, 800);
    expect(&connect(70, 3, 1000, HOST), "stranger", AskedBy::Host, 700);
    assert_eq!(named(&names, &connect(7, 1, 1000, [192, 0, 2, 2])), None);
}

#[test]
fn an_answer_that_came_after_the_connect_has_not_led_to_it() {
    let mut names = Names::default();
    for (time, name) in [(100, "first"), (300, "second")] {
        names.learn(&record(7, 1, time, name, &[HOST])).unwrap();
    }
    let name = |at| named(&names, &connect(7, 1, at, HOST)).map(|(name, ..)| name);
    assert_eq!(name(99), None);
    assert_eq!(name(299).as_deref(), Some("first"));
    assert_eq!(name(300).as_deref(), Some("second"));
    // A failure before the first packet has no begin but happens at once.
    let mut early = connect(7, 1, 0, HOST);
    early.header.time_ns = 299;
    assert_eq!(names.likely(&early).unwrap().name, "first");
}

#[test]
fn answers_are_forgotten_oldest_first_and_the_tables_stay_bounded() {
    let mut names = Names::default();
    let address = |n: u32| n.to_be_bytes();
    for n in 0..30_011 {
        names.learn(&record(7, 1, n.into(), "a", &[address(n), HOST])).unwrap();
        assert!(names.order.len() <= MOST && names.by_address.len() <= MOST);
    }
    let total: usize = names.by_address.values().map(VecDeque::len).sum();
    assert!(total <= MOST && names.by_address.values().all(|answers| answers.len() <= MOST_EACH));
    assert!(named(&names, &connect(7, 1, 1 << 40, address(30_010))).is_some());
    assert!(named(&names, &connect(7, 1, 1 << 40, address(0))).is_none());
    assert!(named(&names, &connect(7, 1, 1 << 40, HOST)).is_some());
}

#[test]
fn a_process_that_asks_again_and_again_does_not_push_out_the_others() {
    let mut names = Names::default();
    names.learn(&record(7, 1, 1, "quiet", &[HOST])).unwrap();
    (2..103).for_each(|at| names.learn(&record(8, 1, at, "loud", &[HOST])).unwrap());
    assert_eq!(names.likely(&connect(7, 1, 1000, HOST)).unwrap().name, "quiet");
}

#[test]
fn a_damaged_record_is_an_error_and_a_damaged_answer_is_not() {
    let good = record(7, 1, 100, "a", &[HOST, HOST]);
    let mut names = Names::default();
    for len in 0..good.len() {
        assert!(names.learn(&good[..len]).is_err(), "{len}");
    }
    assert!(names.by_address.is_empty());
    let message = &good[AnswerRecord::SIZE..];
    names.learn(&framed(7, 1, 100, &message[..message.len() - 1], message.len() - 1)).unwrap();
    names.learn(&framed(7, 1, 100, &[0xff; 997], 997)).unwrap();
    assert!(names.by_address.is_empty());
    // Longer than the record holds: what is there counts, and is marked.
    names.learn(&framed(7, 1, 100, &message[..message.len() - 1], message.len())).unwrap();
    let likely = names.likely(&connect(7, 1, 1000, HOST)).unwrap();
    assert_eq!((likely.name, likely.cut), ("a", true));
}
