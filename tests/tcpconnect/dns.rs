//! `--dns`: the test plays the name server on 127.0.0.1:53 of its own network namespace, and everybody who asks it.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::Command;

use serde_json::{Value, json};
use socket2::{MaybeUninitSlice, Socket};

use crate::common::assembly::{Abi, Arg, Call, PAGES, program_with};
use crate::common::namespace::MountNamespace;
use crate::common::run::wait_bounded;
use crate::common::skip::{Skip, or_skip, skip};
use crate::tcp::{Scene, listen, values};

/// A name server that answers what the test wants.
struct Server {
    datagrams: UdpSocket,
    streams: TcpListener,
}

const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 53);
const QUERY: &[u8] = b"a query; nobody reads it";

impl Server {
    fn new() -> Self {
        Self { datagrams: UdpSocket::bind(SERVER).unwrap(), streams: TcpListener::bind(SERVER).unwrap() }
    }

    /// Answers one datagram.
    fn answer(&self, message: &[u8]) {
        let (_, client) = self.datagrams.recv_from(&mut [0; 64]).unwrap();
        assert_eq!(self.datagrams.send_to(message, client).unwrap(), message.len());
    }

    /// Somebody asks and receives the answer as a process does that knows nothing better.
    fn ask(&self, message: &[u8]) {
        let client = asking();
        self.answer(message);
        assert_eq!(client.recv(&mut [0; 8192]).unwrap(), message.len());
    }

    /// A connection over which this message comes with its length before it; all of it has arrived.
    fn stream(&self, message: &[u8]) -> TcpStream {
        let client = TcpStream::connect(SERVER).unwrap();
        let (mut server, _) = self.streams.accept().unwrap();
        let length = u16::try_from(message.len()).unwrap().to_be_bytes();
        server.write_all(&[&length, message].concat()).unwrap();
        drop(server);
        let whole = 2 + message.len();
        crate::tcp::wait_until("all of the answer", || client.peek(&mut [0; 8192]).unwrap() == whole);
        client
    }
}

/// A connected socket that has asked.
fn asking() -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(SERVER).unwrap();
    client.send(QUERY).unwrap();
    client
}

/// One that is not connected.
fn asking_anybody() -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(QUERY, SERVER).unwrap();
    client
}

fn wire(name: &str) -> Vec<u8> {
    let labels =
        name.split('.').flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    [owner, &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 60], &length, data].concat()
}

const TO_QUESTION: &[u8] = &[0xc0, 12];

fn host(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => record(TO_QUESTION, 1, &address.octets()),
        IpAddr::V6(address) => record(TO_QUESTION, 28, &address.octets()),
    }
}

fn message(name: &str, records: &[Vec<u8>]) -> Vec<u8> {
    let count = u16::try_from(records.len()).unwrap().to_be_bytes();
    let header = [&[0x12, 0x34, 0x81, 0x80, 0, 1], &count[..], &[0, 0, 0, 0]].concat();
    [&header, &wire(name), &[0, 1, 0, 1][..], &records.concat()].concat()
}

/// The answer that says that `name` has this address, of those that nobody can reach.
fn says(name: &str, last: u8) -> Vec<u8> {
    message(name, &[host(address(last))])
}

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(203, 0, 113, last).into()
}

/// A connect that fails at once.
fn connect(address: IpAddr) {
    TcpStream::connect((address, 9)).unwrap_err();
}

/// The events of these connects: the test also connects to its server.
fn failed(mut events: Vec<Value>) -> Vec<Value> {
    events.retain(|event| event["result"] == "ENETUNREACH");
    events
}

/// A way to get this answer from the server, and to receive it.
type Receive = fn(&Server, &[u8]);

/// Ways to receive a datagram and a stream, by what a test calls them.
const WAYS: [(&str, Receive); 9] = [
    ("recvfrom", Server::ask),
    ("recvfrom-anybody", |server, message| {
        let client = asking_anybody();
        server.answer(message);
        client.recv_from(&mut [0; 8192]).unwrap();
    }),
    ("exact-room", |server, message| {
        let client = asking();
        server.answer(message);
        assert_eq!(client.recv(&mut vec![0; message.len()]).unwrap(), message.len());
    }),
    ("read", |server, message| {
        let client = asking();
        server.answer(message);
        let mut client = File::from(OwnedFd::from(client));
        assert_eq!(client.read(&mut [0; 8192]).unwrap(), message.len());
    }),
    ("recvmsg", |server, message| {
        let client = Socket::from(asking());
        server.answer(message);
        let mut room = [MaybeUninit::uninit(); 8192];
        client.recv_vectored(&mut [MaybeUninitSlice::new(&mut room)]).unwrap();
    }),
    ("recvmsg-anybody", |server, message| {
        let client = Socket::from(asking_anybody());
        server.answer(message);
        let mut room = [MaybeUninit::uninit(); 8192];
        client.recv_from_vectored(&mut [MaybeUninitSlice::new(&mut room)]).unwrap();
    }),
    ("stream", |server, message| {
        let whole = server.stream(message).read(&mut [0; 8192]).unwrap();
        assert_eq!(whole, 2 + message.len());
    }),
    ("stream-in-two", |server, message| {
        let mut client = server.stream(message);
        client.read_exact(&mut [0; 2]).unwrap();
        assert_eq!(client.read(&mut [0; 8192]).unwrap(), message.len());
    }),
    ("stream-readv", |server, message| {
        let (mut length, mut room) = ([0; 2], [0; 8192]);
        let pieces = &mut [IoSliceMut::new(&mut length), IoSliceMut::new(&mut room)];
        let whole = server.stream(message).read_vectored(pieces).unwrap();
        assert_eq!(whole, 2 + message.len());
    }),
];

#[test]
fn an_answer_is_seen_however_it_is_received_and_through_each_hook() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let server = Server::new();
    for hook in scene.hooks(&["-d"], &["fexit", "tp_btf/sys_exit"]) {
        let tracer = scene.start_json(["-d", "--hook", hook]);
        for (last, (name, receive)) in (1..).zip(WAYS) {
            receive(&server, &says(&format!("{name}.Example"), last));
            connect(address(last));
        }
        connect(address(200));
        let events = failed(scene.events(tracer));
        let mut expected: Vec<Value> =
            WAYS.iter().map(|(name, _)| json!(format!("{name}.example"))).collect();
        expected.push(json!(null));
        assert_eq!(values(&events, "dns_query"), expected.iter().collect::<Vec<_>>(), "{hook}");
        for event in &events[..WAYS.len()] {
            assert_eq!(event["dns_asked_by"], "process", "{hook}: {event:#}");
            assert_eq!(event["dns_cut"], false, "{hook}: {event:#}");
            assert!(event["dns_age_ns"].as_u64().is_some(), "{hook}: {event:#}");
        }
        assert!(events[WAYS.len()]["dns_asked_by"].is_null());
    }
}

/// A program that asks twice, takes both answers by one recvmmsg (which no library call of ours makes), and connects to both
/// addresses.
fn taker(addresses: [IpAddr; 2]) -> Vec<u8> {
    let number = |number: u64| Arg::Number(number);
    let sockaddr = |address: IpAddr, port: u16| {
        let IpAddr::V4(address) = address else { panic!("{address}") };
        let family = u16::try_from(libc::AF_INET).unwrap().to_ne_bytes();
        Arg::Bytes([&family[..], &port.to_be_bytes(), &address.octets(), &[0; 8]].concat())
    };
    // Two struct mmsghdr of 64 bytes; each has one struct iovec, for 1024 bytes.
    let base = u64::from(PAGES);
    let header = |index: u64| [0, 0, base + 128 + 16 * index, 1, 0, 0, 0, 0];
    let piece = |index: u64| [base + 1024 * (1 + index), 1024];
    let words = [header(0), header(1)].concat().into_iter().chain([piece(0), piece(1)].concat());
    let mut pages: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
    pages.resize(4096, 0);
    let (socket, connect, write) = (41, 42, 1);
    let ask = || Call(write, vec![number(3), Arg::Bytes(QUERY.to_vec()), number(QUERY.len() as u64)]);
    let mut calls = vec![
        Call(socket, vec![number(2), number(2), number(0)]),
        Call(connect, vec![number(3), sockaddr(SERVER.0.into(), SERVER.1), number(16)]),
        ask(),
        ask(),
        Call(299, vec![number(3), number(base), number(2), number(0)]),
    ];
    for (descriptor, address) in (4..).zip(addresses) {
        calls.push(Call(socket, vec![number(2), number(1), number(0)]));
        calls.push(Call(connect, vec![number(descriptor), sockaddr(address, 9), number(16)]));
    }
    program_with(Abi::X86_64, &calls, &pages)
}

#[test]
fn answers_that_one_recvmmsg_takes_are_each_seen() {
    if !cfg!(target_arch = "x86_64") {
        return skip(&Skip::NoIa32);
    }
    let scene = or_skip!(Scene::new("tcpconnect"));
    let server = Server::new();
    let program = scene.sandbox.executable("taker", &taker([address(1), address(2)]));
    for hook in scene.hooks(&["-d"], &["fexit", "tp_btf/sys_exit"]) {
        let tracer = scene.start_json(["-d", "--hook", hook]);
        let mut child = Command::new(&program).spawn().unwrap();
        server.answer(&says("first.example", 1));
        server.answer(&says("second.example", 2));
        assert!(wait_bounded(&mut child).expect("it takes both").success());
        let events = failed(scene.events(tracer));
        assert_eq!(values(&events, "dns_query"), ["first.example", "second.example"], "{hook}");
        assert_eq!(values(&events, "dns_asked_by"), ["process", "process"], "{hook}");
    }
}

#[test]
fn the_answer_of_another_process_will_do_if_there_is_none_of_its_own() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let server = Server::new();
    let tracer = scene.start_json(["-d"]);
    let other = |name: &str| {
        let child = crate::tcp::role::spawn("receive from", &["53"]);
        server.answer(&says(name, 1));
        crate::tcp::role::release(child);
    };
    other("theirs.example");
    connect(address(1));
    server.ask(&says("ours.example", 1));
    other("theirs.again.example");
    connect(address(1));
    let events = failed(scene.events(tracer));
    assert_eq!(values(&events, "dns_query"), [&json!("theirs.example"), &json!("ours.example")]);
    assert_eq!(values(&events, "dns_asked_by"), [&json!("netns"), &json!("process")]);
}

#[test]
fn both_families_aliases_and_mapped_addresses_lead_to_the_name_that_was_asked_for() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let server = Server::new();
    let listener = listen("::1");
    let port = listener.local_addr().unwrap().port();
    let tracer = scene.start_json(["-d"]);
    server.ask(&message("six.example", &[host(Ipv6Addr::LOCALHOST.into())]));
    drop(TcpStream::connect(("::1", port)).unwrap());
    let mapped = Ipv4Addr::new(203, 0, 113, 2).to_ipv6_mapped();
    server.ask(&message("mapped.example", &[host(mapped.into())]));
    connect(address(2));
    let alias = [
        record(TO_QUESTION, 5, &wire("cdn.example")),
        record(&wire("cdn.example"), 1, &[203, 0, 113, 3]),
        record(&wire("unasked.example"), 1, &[203, 0, 113, 4]),
    ];
    server.ask(&message("www.example", &alias));
    connect(Ipv4Addr::new(203, 0, 113, 3).to_ipv6_mapped().into());
    connect(address(4));
    let events = scene.events(tracer);
    let expected = ["six.example", "mapped.example", "www.example"].map(|name| json!(name));
    assert_eq!(values(&events[..3], "dns_query"), expected.iter().collect::<Vec<_>>());
    assert_eq!(values(&events, "ip"), [&json!(6), &json!(4), &json!(4), &json!(4)]);
    assert!(events[3]["dns_query"].is_null(), "{events:#?}");
}

#[test]
fn an_answer_of_4096_bytes_is_read_to_its_end_and_what_is_longer_is_marked() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let server = Server::new();
    // Padding in records of a type that nobody knows: a name server may add any.
    let answer = |name: &str, size: usize, last: u8| {
        let bare =
            message(name, &[host(address(last)), record(TO_QUESTION, 99, &[]), host(address(last + 1))]);
        let padding = record(TO_QUESTION, 99, &vec![0; size - bare.len()]);
        let whole = message(name, &[host(address(last)), padding, host(address(last + 1))]);
        assert_eq!(whole.len(), size);
        whole
    };
    for hook in scene.hooks(&["-d"], &["fexit", "tp_btf/sys_exit"]) {
        let tracer = scene.start_json(["-d", "--hook", hook]);
        server.ask(&answer("edns.example", 4096, 1));
        connect(address(1));
        connect(address(2));
        server.ask(&answer("longer.example", 4097, 3));
        connect(address(3));
        connect(address(4));
        let events = failed(scene.events(tracer));
        let names = [json!("edns.example"), json!("edns.example"), json!("longer.example"), json!(null)];
        assert_eq!(values(&events, "dns_query"), names.iter().collect::<Vec<_>>(), "{hook}");
        let cut = [json!(false), json!(false), json!(true), json!(null)];
        assert_eq!(values(&events, "dns_cut"), cut.iter().collect::<Vec<_>>(), "{hook}");
    }
}

#[test]
fn hostile_answers_name_nothing_break_nothing_and_drive_no_terminal() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let server = Server::new();
    let good = says("good.example", 1);
    let owner = good.len() - 16;
    let with = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bad = good.clone();
        edit(&mut bad);
        bad
    };
    let hostile = [
        Vec::new(),
        vec![0xff; 12],
        vec![0xc0; 512],
        good[..good.len() - 1].to_vec(),
        with(&|bad| bad[owner..owner + 2].copy_from_slice(&[0xc0, u8::try_from(owner).unwrap()])),
        with(&|bad| bad[owner..owner + 2].copy_from_slice(&[0xff, 0xff])),
        with(&|bad| bad[12] = 0x7f),
        with(&|bad| bad[6] = 0xff),
        with(&|bad| bad[owner + 10..owner + 12].copy_from_slice(&[0xff, 0xff])),
        with(&|bad| bad[2] = 0x01),
    ];
    let tracer = scene.start(["-d"]);
    for bad in &hostile {
        server.ask(bad);
    }
    server.stream(&hostile[2]).read_to_end(&mut Vec::new()).unwrap();
    connect(address(1));
    server.ask(&says("e\u{1b}[31mvil name", 2));
    connect(address(2));
    let finished = scene.rows(tracer);
    let rows: Vec<_> = finished.rows().iter().filter(|row| row.contains("ENETUNREACH")).collect();
    let [nothing, named] = rows[..] else { panic!("{finished:#?}") };
    assert!(nothing.ends_with(" No DNS Query"), "{nothing}");
    assert!(named.contains(r" e\027[31mvil\032name"), "{named}");
}

#[test]
fn the_column_is_the_last_and_says_what_is_not_known() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let server = Server::new();
    let tracer = scene.start(["-d", "--containers"]);
    server.ask(&says("some.example", 1));
    connect(address(1));
    connect(address(2));
    let listener = listen("127.0.0.1");
    drop(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    let finished = scene.rows(tracer);
    let at = finished.stdout[0].find("QUERY").unwrap();
    let [named, unnamed, local] = finished.rows() else { panic!("{finished:#?}") };
    // With its age, if this machine is slow.
    assert!(named[at..].starts_with("some.example"), "{finished:#?}");
    assert_eq!((&unnamed[at..], &local[at..]), ("No DNS Query", "localhost"), "{finished:#?}");
}

#[test]
fn answers_of_tasks_that_the_filters_do_not_want_are_not_looked_at() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let server = Server::new();
    let set = scene.sandbox.create_set("mntns");
    let inside = MountNamespace::new();
    scene.sandbox.nsmap_ok(["add-mntns", &inside.inode.to_string()]);
    let tracer = scene.start_json(["-d".as_ref(), "--mntnsmap".as_ref(), set.as_os_str()]);
    server.ask(&says("outside.example", 1));
    inside.run(|| connect(address(1)));
    inside.run(|| server.ask(&says("inside.example", 1)));
    inside.run(|| connect(address(1)));
    inside.run(|| connect(address(7)));
    tracer.wait_word("203.0.113.7");
    let events = tracer.stop().quiet().events();
    assert_eq!(values(&events, "dns_query"), [&json!(null), &json!("inside.example"), &json!(null)]);
}

#[test]
fn what_comes_from_another_port_is_no_answer() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let other = UdpSocket::bind("127.0.0.1:5353").unwrap();
    let tracer = scene.start_json(["-d"]);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    other.send_to(&says("other.example", 1), client.local_addr().unwrap()).unwrap();
    client.recv_from(&mut [0; 512]).unwrap();
    connect(address(1));
    let events = scene.events(tracer);
    assert_eq!(values(&events, "dns_query"), [&json!(null)]);
}
