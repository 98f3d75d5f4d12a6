//! What becomes of a connect: each way to fail, to wait, to be given up.

use std::net::TcpStream;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::common::role::played;
use crate::common::skip::{Skip, or_skip, skip};
use crate::tcp::{
    self, BlackHole, Scene, closed_port, ip, listen, loopback, mapped, own_address, pair_with_two_paths,
    socket, values, wait_until,
};

#[test]
fn a_refused_connect_is_shown_for_each_kind_of_address() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let tracer = scene.start_json([""; 0]);
    let port = closed_port();
    for address in [([127, 0, 0, 1], port).into(), (tcp::IPV6_LOOPBACK, port).into(), mapped(port)] {
        let error = TcpStream::connect::<std::net::SocketAddr>(address).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
    }
    let events = scene.events(tracer);
    assert_eq!(values(&events, "result"), [&json!("ECONNREFUSED"); 3]);
    assert_eq!(values(&events, "errno"), [&json!(libc::ECONNREFUSED); 3]);
    assert_eq!(values(&events, "ip"), [&json!(4), &json!(6), &json!(4)]);
    assert!(events.iter().all(|event| event["latency_ns"].as_u64().unwrap() > 0), "{events:#?}");
}

#[test]
fn a_connect_that_has_no_way_out_is_shown_with_its_error() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    or_skip!(ip("route add unreachable 198.51.100.0/25"));
    or_skip!(ip("route add prohibit 198.51.100.128/25"));
    or_skip!(ip("route add blackhole 192.0.2.0/24"));
    let tracer = scene.start_json([""; 0]);
    let targets = [
        ("203.0.113.9:11", "ENETUNREACH"),
        ("198.51.100.1:12", "EHOSTUNREACH"),
        ("198.51.100.129:13", "EACCES"),
        ("192.0.2.1:14", "EINVAL"),
        ("[2001:db8::1]:15", "ENETUNREACH"),
        ("[::ffff:203.0.113.9]:16", "ENETUNREACH"),
    ];
    for (target, _) in targets {
        TcpStream::connect(target).unwrap_err();
    }
    let events = scene.events(tracer);
    let shown: Vec<(String, &Value)> = events
        .iter()
        .map(|event| {
            (
                format!("{}:{}", event["remote_address"].as_str().unwrap(), event["remote_port"]),
                &event["result"],
            )
        })
        .collect();
    let plain = [
        "203.0.113.9:11",
        "198.51.100.1:12",
        "198.51.100.129:13",
        "192.0.2.1:14",
        "2001:db8::1:15",
        "203.0.113.9:16",
    ];
    let results: Vec<Value> = targets.iter().map(|(_, result)| json!(result)).collect();
    assert_eq!(shown, plain.into_iter().map(str::to_owned).zip(&results).collect::<Vec<_>>());
    assert!(events.iter().all(|event| event["latency_ns"].is_null()), "{events:#?}");
}

#[test]
fn each_hook_shows_the_same() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    for hook in scene.hooks(&[], &["fexit", "kretprobe", "tracepoint"]) {
        let tracer = scene.start_json(["--hook", hook]);
        let listener = listen("127.0.0.1");
        drop(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        TcpStream::connect(("127.0.0.1", closed_port())).unwrap_err();
        for target in ["203.0.113.9:11", "[2001:db8::1]:12", "[::ffff:203.0.113.9]:13"] {
            TcpStream::connect(target).unwrap_err();
        }
        let events = scene.events(tracer);
        let results =
            ["ok", "ECONNREFUSED", "ENETUNREACH", "ENETUNREACH", "ENETUNREACH"].map(|result| json!(result));
        assert_eq!(values(&events, "result"), results.iter().collect::<Vec<_>>(), "{hook}");
        let addresses = ["203.0.113.9", "2001:db8::1", "203.0.113.9"].map(|address| json!(address));
        assert_eq!(values(&events[2..], "remote_address"), addresses.iter().collect::<Vec<_>>(), "{hook}");
        assert_eq!(values(&events[2..], "remote_port"), [&json!(11), &json!(12), &json!(13)], "{hook}");
    }
}

#[test]
fn a_connect_for_which_no_port_is_left_fails_once() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40001").unwrap();
    let listener = tcp::socket(Domain::IPV4);
    listener.bind(&loopback(30_000)).unwrap();
    listener.listen(16).unwrap();
    let tracer = scene.start_json([""; 0]);
    let mut connected = Vec::new();
    let error = loop {
        let socket = socket(Domain::IPV4);
        match socket.connect(&loopback(30_000)) {
            Ok(()) => connected.push(socket),
            Err(error) => break error,
        }
    };
    assert_eq!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL));
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 50000").unwrap();
    let events = scene.events(tracer);
    assert_eq!(events.len(), connected.len() + 1);
    assert_eq!(events.last().unwrap()["result"], "EADDRNOTAVAIL");
}

#[test]
fn a_connect_that_times_out_is_pending_after_a_second_and_then_timed_out() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let hole = BlackHole::new();
    let tracer = scene.start_json([""; 0]);
    let socket = socket(Domain::IPV4);
    socket.set_tcp_user_timeout(Some(Duration::from_millis(1500))).unwrap();
    let error = socket.connect(&loopback(hole.port)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ETIMEDOUT));
    // The kernel wakes the caller before it gives the socket up.
    tracer.wait_word("ETIMEDOUT");
    let events = scene.events(tracer);
    assert_eq!(values(&events, "result"), [&json!("pending"), &json!("ETIMEDOUT")], "{events:#?}");
    for event in &events {
        assert!(event["local_port"].as_u64().unwrap() > 0);
    }
    assert_eq!(events[0]["connect_ns"], events[1]["connect_ns"]);
    let millis = |event: &Value| event["latency_ns"].as_u64().unwrap() / 1_000_000;
    assert!((900..1400).contains(&millis(&events[0])), "{events:#?}");
}

#[test]
fn how_long_a_connect_may_wait_is_the_users_choice() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let hole = BlackHole::new();
    let tracer = scene.start_json(["--wait", "2.5"]);
    let socket = hole.connecting();
    // The second repetition comes at the latest three seconds after the first packet.
    tracer.wait_word("pending");
    drop(socket);
    let events = scene.events(tracer);
    assert_eq!(values(&events, "result"), [&json!("pending"), &json!("closed")]);
    assert!(events[0]["latency_ns"].as_u64().unwrap() > 2_000_000_000, "{events:#?}");
}

#[test]
fn a_connect_that_is_given_up_is_closed_in_the_name_of_who_began_it() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let hole = BlackHole::new();
    let tracer = scene.start_json(["--wait", "100"]);
    drop(hole.connecting());
    let mut killed = crate::tcp::role::spawn("connect", &[&hole.port.to_string()]);
    let pid = killed.id();
    wait_until("the other process connects", || crate::tcp::role::is_in(pid, libc::SYS_connect));
    // Interrupted and begun again by the kernel: still the same connect.
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGSTOP).unwrap();
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGCONT).unwrap();
    killed.kill().unwrap();
    killed.wait().unwrap();
    let events = scene.events(tracer);
    assert_eq!(values(&events, "result"), [&json!("closed"); 2], "{events:#?}");
    assert_eq!(values(&events, "pid"), [&json!(std::process::id()), &json!(pid)]);
}

#[test]
fn a_connect_that_is_interrupted_goes_on_and_has_one_outcome() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    for hook in scene.hooks(&[], &["fexit", "kretprobe", "tracepoint"]) {
        let hole = BlackHole::new();
        let tracer = scene.start_json(["--wait", "100", "--hook", hook]);
        let child = crate::tcp::role::spawn("connect with a timeout", &[&hole.port.to_string()]);
        let pid = child.id();
        wait_until("the other process connects", || crate::tcp::role::is_in(pid, libc::SYS_connect));
        // With a timeout of its own the call is not begun again, as with a handler that does not want that.
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGSTOP).unwrap();
        wait_until("it is stopped", || crate::tcp::role::is_stopped(pid));
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGCONT).unwrap();
        hole.answer();
        crate::tcp::role::release(child);
        let events = scene.events(tracer);
        let events: Vec<Value> = events.into_iter().filter(|event| event["pid"] == pid).collect();
        assert_eq!(values(&events, "result"), [&json!("ok")], "{hook}");
    }
}

#[test]
fn a_connect_of_a_task_that_exits_at_once_is_its_own() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let tracer = scene.start_json([""; 0]);
    let listener = listen("127.0.0.1");
    let port = listener.local_addr().unwrap().port();
    let pids: Vec<Value> = (0..5).map(|_| json!(played("connect and exit", [port.to_string()]))).collect();
    let events = scene.events(tracer);
    assert_eq!(values(&events, "pid"), pids.iter().collect::<Vec<_>>());
    assert_eq!(values(&events, "result"), [&json!("ok"); 5]);
}

#[test]
fn the_outcome_of_a_connect_is_that_of_who_began_it_when_another_process_has_the_socket() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let hole = BlackHole::new();
    let tracer = scene.start_json(["--wait", "100"]);
    let path = scene.sandbox.path("receiver");
    let receiver = crate::tcp::role::spawn("receive and hold", &[path.to_str().unwrap()]);
    let pid = played("connect, send and exit", [hole.port.to_string().as_ref(), path.as_os_str()]);
    hole.answer();
    tracer.wait_word("\"ok\"");
    crate::tcp::role::release(receiver);
    let events = scene.events(tracer);
    assert_eq!((values(&events, "pid"), values(&events, "result")), (vec![&json!(pid)], vec![&json!("ok")]));
}

#[test]
fn a_socket_that_connects_again_is_shown_again() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let tracer = scene.start_json([""; 0]);
    let listener = listen("127.0.0.1");
    let socket = socket(Domain::IPV4);
    socket.connect(&loopback(closed_port())).unwrap_err();
    socket.connect(&listener.local_addr().unwrap().into()).unwrap();
    let events = scene.events(tracer);
    assert_eq!(values(&events, "result"), [&json!("ECONNREFUSED"), &json!("ok")]);
}

#[test]
fn sockets_that_are_not_tcp_are_not_shown() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let tracer = scene.start_json([""; 0]);
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    datagrams.connect("127.0.0.1:9").unwrap();
    datagrams.connect("203.0.113.9:9").unwrap_err();
    std::os::unix::net::UnixStream::connect("/nothing/here").unwrap_err();
    assert_eq!(scene.events(tracer), [json!(null); 0]);
}

#[test]
fn a_scoped_address_is_shown_with_its_link() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let own = or_skip!(own_address("fe80::1/64", 1));
    let address = std::net::SocketAddrV6::new(own, 0, 0, 1);
    let listener = std::net::TcpListener::bind(address).unwrap();
    let tracer = scene.start([""; 0]);
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let finished = scene.rows(tracer);
    let words: Vec<&str> = finished.rows()[0].split_whitespace().collect();
    assert_eq!(words[2..5], ["6", "fe80::1", "fe80::1%1"], "{finished:#?}");
}

#[test]
fn fast_open_is_one_connect() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let allowed = std::fs::write("/proc/sys/net/ipv4/tcp_fastopen", "1");
    if allowed.is_err() {
        return skip(&Skip::NotInKernel("TCP fast open"));
    }
    let tracer = scene.start_json([""; 0]);
    let listener = listen("127.0.0.1");
    let address: SockAddr = listener.local_addr().unwrap().into();
    let port = listener.local_addr().unwrap().port();
    for _ in 0..2 {
        let client = socket(Domain::IPV4);
        assert_eq!(client.send_to_with_flags(b"hello", &address, libc::MSG_FASTOPEN).unwrap(), 5);
        listener.accept().unwrap();
    }
    let events = scene.events(tracer);
    assert_eq!(values(&events, "result"), [&json!("ok"); 2]);
    assert_eq!(values(&events, "remote_port"), [&json!(port); 2]);
}

#[test]
fn fast_open_is_one_connect_when_the_first_data_brings_it_about() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    for hook in scene.hooks(&[], &["fexit", "kretprobe", "tracepoint"]) {
        let tracer = scene.start_json(["--hook", hook]);
        let (client, _server) = or_skip!(tcp::fast_open_pair());
        // connect(2) has nothing to do but remember where to; the cookie is there, or not needed.
        let listener = listen("127.0.0.1");
        let deferred = socket(Domain::IPV4);
        nix::sys::socket::setsockopt(&deferred, nix::sys::socket::sockopt::TcpFastOpenConnect, &true)
            .unwrap();
        deferred.connect(&listener.local_addr().unwrap().into()).unwrap();
        deferred.send(b"hello").unwrap();
        listener.accept().unwrap();
        // Nobody is there.
        let refused = socket(Domain::IPV4);
        let nobody = closed_port();
        let _ = refused.send_to_with_flags(b"hello", &loopback(nobody), libc::MSG_FASTOPEN);
        tracer.wait_word("ECONNREFUSED");
        let events = scene.events(tracer);
        let ports = [client.peer_addr().unwrap().port(), listener.local_addr().unwrap().port(), nobody];
        assert_eq!(values(&events, "remote_port"), ports.map(|port| json!(port)).each_ref(), "{hook}");
        let results = ["ok", "ok", "ECONNREFUSED"].map(|result| json!(result));
        assert_eq!(values(&events, "result"), results.each_ref(), "{hook}: {events:#?}");
    }
}

#[test]
fn a_multipath_connect_is_its_first_path() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let make = || Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP));
    let Ok(client) = make() else {
        return skip(&Skip::NotInKernel("MPTCP"));
    };
    let tracer = scene.start_json([""; 0]);
    let listener = listen("127.0.0.1");
    client.connect(&listener.local_addr().unwrap().into()).unwrap();
    let refused = closed_port();
    make().unwrap().connect(&loopback(refused)).unwrap_err();
    make().unwrap().connect(&"203.0.113.9:9".parse::<std::net::SocketAddr>().unwrap().into()).unwrap_err();
    let events = scene.events(tracer);
    assert_eq!(values(&events, "result"), [&json!("ok"), &json!("ECONNREFUSED"), &json!("ENETUNREACH")]);
}

#[test]
fn a_path_that_the_kernel_adds_is_no_connect() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let tracer = scene.start_json([""; 0]);
    let (client, _server) = or_skip!(pair_with_two_paths());
    let events = scene.events(tracer);
    assert_eq!(values(&events, "local_port"), [&json!(client.local_addr().unwrap().port())]);
    assert_eq!(values(&events, "pid"), [&json!(std::process::id())]);
}
