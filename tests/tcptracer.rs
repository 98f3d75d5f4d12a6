//! tcptracer as a user meets it: each test starts it in a network namespace of its own, lets connections live and end, and
//! looks at the rows.
//!
//! Needs root and BPF. Here: what is shown and how. `owners`: whose connection it is, and who is shown.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets something unexpected must fail"
)]

mod common;
mod tcp;

#[path = "tcptracer/owners.rs"]
mod owners;

use std::net::TcpStream;
use std::process::id;
use std::time::Duration;

use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};

use common::skip::{Skip, or_skip, skip};
use tcp::{
    BlackHole, Scene, close, closed_port, connected_to_itself, ip, listen, loopback, mapped, pair,
    pair_with_two_paths, transfer, values,
};

/// Other processes of these tests: see `common/role.rs`.
#[test]
fn plays_a_role() {
    tcp::role::play();
}

/// How many events of each type there are: connect, accept, close.
fn counts(events: &[Value]) -> [usize; 3] {
    ["connect", "accept", "close"].map(|kind| events.iter().filter(|event| event["type"] == kind).count())
}

/// The event of this type at the end of a connection that has this port.
fn of<'a>(events: &'a [Value], kind: &str, own_port: u16) -> &'a Value {
    let mut found = events.iter().filter(|event| event["type"] == kind && event["local_port"] == own_port);
    let event = found.next().unwrap_or_else(|| panic!("no {kind} of {own_port}: {events:#?}"));
    assert!(found.next().is_none(), "two: {events:#?}");
    event
}

fn port_of(stream: &TcpStream) -> u16 {
    stream.local_addr().unwrap().port()
}

#[test]
fn a_connection_is_a_connect_an_accept_and_two_closes() {
    let scene = or_skip!(Scene::new("tcptracer"));
    let tracer = scene.start([""; 0]);
    let (client, server) = pair("127.0.0.1");
    let (own, port) = (port_of(&client).to_string(), port_of(&server).to_string());
    close((client, server));
    let finished = scene.rows(tracer);
    assert_eq!(
        finished.stdout[0],
        "T  PID    COMM             IP SADDR            DADDR            SPORT  DPORT"
    );
    let rows: Vec<Vec<&str>> = finished.rows().iter().map(|row| row.split_whitespace().collect()).collect();
    let pid = id().to_string();
    assert!(
        rows.iter().all(|row| row[1] == pid && row[3..6] == ["4", "127.0.0.1", "127.0.0.1"]),
        "{finished:#?}"
    );
    let mut ends: Vec<[&str; 3]> = rows.iter().map(|row| [row[0], row[6], row[7]]).collect();
    ends[2..].sort_unstable();
    let mut closes = [["X", &own, &port], ["X", &port, &own]];
    closes.sort_unstable();
    assert_eq!(ends[..2], [["C", &own, &port], ["A", &port, &own]]);
    assert_eq!(ends[2..], closes);
}

#[test]
fn a_close_tells_how_long_it_was_and_how_much_went_each_way() {
    let scene = or_skip!(Scene::new("tcptracer"));
    let tracer = scene.start_json([""; 0]);
    let (client, server) = pair("::1");
    transfer(&client, &server, 100_003);
    transfer(&server, &client, 17);
    std::thread::sleep(Duration::from_millis(30));
    let (own, port) = (port_of(&client), port_of(&server));
    close((client, server));
    let events = scene.events(tracer);
    assert_eq!(counts(&events), [1, 1, 2]);
    for (port, sent, received) in [(own, 100_003, 17), (port, 17, 100_003)] {
        let event = of(&events, "close", port);
        assert_eq!(
            (&event["bytes_sent"], &event["bytes_received"]),
            (&json!(sent), &json!(received)),
            "{events:#?}"
        );
        assert!(
            (30_000_000..30_000_000_000).contains(&event["duration_ns"].as_u64().unwrap()),
            "{events:#?}"
        );
        assert_eq!((&event["error"], &event["older"]), (&json!(null), &json!(false)));
    }
}

#[test]
fn verbose_rows_have_words_and_numbers_for_it() {
    let scene = or_skip!(Scene::new("tcptracer"));
    let mut command = scene.sandbox.command("tcptracer", ["-v"]);
    command.args(["--pid", &id().to_string()]);
    let tracer = common::tracer::Tracer::start(command);
    let (client, server) = pair("127.0.0.1");
    transfer(&client, &server, 12_345);
    let port = port_of(&client).to_string();
    drop(server);
    drop(client);
    tracer.wait_line("the close", |line| line.starts_with("close ") && line.contains(&format!(" {port} ")));
    let finished = tracer.stop();
    let header = &finished.stdout[0];
    assert!(header.starts_with("TYPE         PID    COMM ") && header.contains(" NETNS "), "{header}");
    let row = finished.rows().iter().find(|row| row.contains(" 12345 ")).unwrap();
    assert_eq!(header.split_whitespace().count(), row.split_whitespace().count());
    assert_eq!(row.len(), header.len());
}

#[test]
fn each_hook_shows_the_same() {
    let scene = or_skip!(Scene::new("tcptracer"));
    for hook in scene.hooks(&[], &["fentry", "fexit", "kprobe", "kretprobe", "tracepoint"]) {
        let tracer = scene.start_json(["--hook", hook]);
        let (client, server) = pair("::1");
        transfer(&server, &client, 19);
        let (own, port) = (port_of(&client), port_of(&server));
        close((client, server));
        let events = scene.events(tracer);
        assert_eq!(counts(&events), [1, 1, 2], "{hook}: {events:#?}");
        assert_eq!(
            (&of(&events, "accept", port)["pid"], &of(&events, "connect", own)["pid"]),
            (&json!(id()), &json!(id()))
        );
        assert_eq!(of(&events, "close", own)["bytes_received"], 19, "{hook}");
    }
}

#[test]
fn of_127_connections_from_7_threads_each_event_is_shown_once() {
    let scene = or_skip!(Scene::new("tcptracer"));
    let tracer = scene.start_json([""; 0]);
    let listener = listen("127.0.0.1");
    let address = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..7 {
            let count = if thread == 0 { 19 } else { 18 };
            scope.spawn(move || (0..count).for_each(|_| drop(TcpStream::connect(address).unwrap())));
        }
        (0..127).for_each(|_| drop(listener.accept().unwrap()));
    });
    let (events, lost) = scene.events_and_losses(tracer);
    // A connect that is lost takes its close with it.
    let [connects, accepts, closes] = counts(&events);
    assert!(connects <= 127 && accepts <= 127 && closes <= 254, "{connects} {accepts} {closes}");
    assert!(events.len() + 2 * lost >= 508, "{connects} {accepts} {closes}, {lost} told as lost");
    let mut ends: Vec<(String, String)> = events
        .iter()
        .map(|event| (event["type"].to_string(), format!("{}-{}", event["local_port"], event["remote_port"])))
        .collect();
    ends.sort_unstable();
    ends.dedup();
    assert_eq!(ends.len(), events.len());
}

#[test]
fn connects_that_fail_and_connections_that_nobody_accepts_have_no_events_of_their_own() {
    let scene = or_skip!(Scene::new("tcptracer"));
    let hole = BlackHole::new();
    let tracer = scene.start_json([""; 0]);
    TcpStream::connect(("127.0.0.1", closed_port())).unwrap_err();
    TcpStream::connect("203.0.113.9:9").unwrap_err();
    drop(hole.connecting());
    assert_eq!(counts(&scene.events(tracer)), [0, 0, 0]);

    let tracer = scene.start_json([""; 0]);
    let listener = listen("127.0.0.1");
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let port = port_of(&client);
    drop(listener);
    drop(client);
    let events = scene.events(tracer);
    assert_eq!(counts(&events), [1, 0, 1]);
    assert_eq!(of(&events, "close", port)["error"], "ECONNRESET");
}

#[test]
fn a_reset_is_the_close_of_the_owner_with_its_error() {
    let scene = or_skip!(Scene::new("tcptracer"));
    let tracer = scene.start_json([""; 0]);
    let (client, server) = pair("127.0.0.1");
    let (own, port) = (port_of(&client), port_of(&server));
    Socket::from(server).set_linger(Some(Duration::ZERO)).unwrap();
    let events = scene.events(tracer);
    assert_eq!(counts(&events), [1, 1, 2], "{events:#?}");
    assert_eq!(
        (&of(&events, "close", own)["error"], &of(&events, "close", own)["pid"]),
        (&json!("ECONNRESET"), &json!(id()))
    );
    assert_eq!(of(&events, "close", port)["error"], json!(null));
    drop(client);
}

#[test]
fn a_timeout_is_the_close_of_the_owner_with_an_error() {
    let scene = or_skip!(Scene::new("tcptracer"));
    let tracer = scene.start_json([""; 0]);
    let (client, server) = pair("127.0.0.1");
    let own = port_of(&client);
    let client = Socket::from(client);
    client.set_tcp_user_timeout(Some(Duration::from_millis(300))).unwrap();
    or_skip!(ip("link set lo down"));
    client.send(b"lost").unwrap();
    client.recv(&mut [std::mem::MaybeUninit::uninit()]).unwrap_err();
    or_skip!(ip("link set lo up"));
    let events = scene.events(tracer);
    // The other end may learn of it, or not.
    assert_eq!(counts(&events)[..2], [1, 1]);
    let event = of(&events, "close", own);
    assert_eq!((&event["pid"], event["error"].is_string()), (&json!(id()), true), "{event:#?}");
    drop(server);
}

#[test]
fn a_connection_that_is_older_than_the_tool_is_shown_at_its_close() {
    let scene = or_skip!(Scene::new("tcptracer"));
    let (closed, reset) = (pair("127.0.0.1"), pair("::1"));
    let (own, port) = (port_of(&closed.0), port_of(&closed.1));
    let (own6, port6) = (port_of(&reset.0), port_of(&reset.1));
    let tracer = scene.start_json([""; 0]);
    transfer(&closed.0, &closed.1, 11);
    close(closed);
    Socket::from(reset.1).set_linger(Some(Duration::ZERO)).unwrap();
    let events = scene.events(tracer);
    assert_eq!(counts(&events), [0, 0, 4], "{events:#?}");
    assert!(
        events.iter().all(|event| event["older"] == true && event["duration_ns"].is_null()),
        "{events:#?}"
    );
    for port in [own, port, port6] {
        assert_eq!(of(&events, "close", port)["pid"], id());
    }
    assert_eq!(of(&events, "close", own)["bytes_sent"], 11);
    // Nobody closes this one: the other end's reset does.
    for key in ["pid", "tid", "ppid", "uid", "gid", "comm", "mntns", "cgroup_id"] {
        assert_eq!(of(&events, "close", own6)[key], json!(null), "{key}");
    }
    drop(reset.0);
}

#[test]
fn a_connection_that_waited_for_its_accept_when_the_tool_started_is_accepted_and_closed() {
    let scene = or_skip!(Scene::new("tcptracer"));
    let listener = listen("127.0.0.1");
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let tracer = scene.start_json([""; 0]);
    let (server, _) = listener.accept().unwrap();
    let (own, port) = (port_of(&client), port_of(&server));
    close((client, server));
    let events = scene.events(tracer);
    assert_eq!(counts(&events), [0, 1, 2]);
    assert_eq!(
        (&of(&events, "close", port)["older"], &of(&events, "close", own)["older"]),
        (&json!(false), &json!(true))
    );
}

#[test]
fn a_connection_that_is_over_before_it_is_accepted_is_accepted_and_closed() {
    let scene = or_skip!(Scene::new("tcptracer"));
    let tracer = scene.start_json([""; 0]);
    let listener = listen("127.0.0.1");
    let client = Socket::from(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    client.set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    drop(listener.accept().unwrap());
    let events = scene.events(tracer);
    assert_eq!(
        values(&events, "type"),
        [&json!("connect"), &json!("close"), &json!("accept"), &json!("close")]
    );
}

#[test]
fn mapped_connections_are_ipv4_from_connect_to_close() {
    let scene = or_skip!(Scene::new("tcptracer"));
    for option in ["-4", "--ipv4"] {
        let tracer = scene.start_json([option]);
        let listener = listen("127.0.0.1");
        let client = TcpStream::connect(mapped(port_of_listener(&listener))).unwrap();
        let (server, _) = listener.accept().unwrap();
        let own = port_of(&client);
        close(pair("::1"));
        close((client, server));
        let events = scene.events(tracer);
        assert_eq!(counts(&events), [1, 1, 2], "{events:#?}");
        for kind in ["connect", "close"] {
            let event = of(&events, kind, own);
            assert_eq!((&event["ip"], &event["socket_family"]), (&json!(4), &json!("inet6")));
            assert_eq!(
                (&event["local_address"], &event["remote_address"]),
                (&json!("127.0.0.1"), &json!("127.0.0.1"))
            );
        }
    }
}

fn port_of_listener(listener: &std::net::TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

#[test]
fn a_connection_by_fast_open_is_one_connection_with_all_its_bytes() {
    let scene = or_skip!(Scene::new("tcptracer"));
    for hook in scene.hooks(&[], &["fentry", "fexit", "kprobe", "kretprobe", "tracepoint"]) {
        let tracer = scene.start_json(["--hook", hook]);
        let (client, server) = or_skip!(tcp::fast_open_pair());
        let (own, port) = (port_of(&client), port_of(&server));
        transfer(&server, &client, 17);
        close((client, server));
        let events = scene.events(tracer);
        assert_eq!(counts(&events), [1, 1, 2], "{hook}: {events:#?}");
        assert!(events.iter().all(|event| event["pid"] == id() && event["older"] == false), "{hook}");
        for (port, sent, received) in [(own, 5, 17), (port, 17, 5)] {
            let event = of(&events, "close", port);
            let bytes = (&event["bytes_sent"], &event["bytes_received"]);
            assert_eq!(bytes, (&json!(sent), &json!(received)), "{hook}: {event:#?}");
        }
    }
}

#[test]
fn a_scoped_connection_is_shown_with_its_link_from_connect_to_close() {
    let scene = or_skip!(Scene::new("tcptracer"));
    let own = or_skip!(tcp::own_address("fe80::1/64", 1));
    let address = std::net::SocketAddrV6::new(own, 0, 0, 1);
    let listener = std::net::TcpListener::bind(address).unwrap();
    let tracer = scene.start_json([""; 0]);
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    close((client, server));
    let events = scene.events(tracer);
    assert_eq!(counts(&events), [1, 1, 2], "{events:#?}");
    assert_eq!(values(&events, "scope_id"), [&json!(1); 4], "{events:#?}");
}

#[test]
fn a_connect_without_waiting_is_connected_when_it_is_and_never_when_it_is_not() {
    let scene = or_skip!(Scene::new("tcptracer"));
    let hole = BlackHole::new();
    let tracer = scene.start_json([""; 0]);
    let (given_up, connected) = (hole.connecting(), hole.connecting());
    drop(given_up);
    // Closes the connection that was in its queue, too, which is older than the tool.
    hole.answer();
    let own = connected.local_addr().unwrap().as_socket().unwrap().port();
    tracer.wait_line("the connect", |line| line.contains(&format!("\"local_port\":{own},")));
    let mut events = scene.events(tracer);
    events.retain(|event| event["type"] == "connect");
    assert_eq!(values(&events, "local_port"), [&json!(own)]);
    assert_eq!(values(&events, "pid"), [&json!(id())]);
}

#[test]
fn a_multipath_connection_is_one_connection() {
    let scene = or_skip!(Scene::new("tcptracer"));
    let make = || Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP));
    let Ok(listener) = make() else {
        return skip(&Skip::NotInKernel("MPTCP"));
    };
    listener.bind(&loopback(0)).unwrap();
    listener.listen(16).unwrap();
    let tracer = scene.start_json([""; 0]);
    let client = make().unwrap();
    client.connect(&listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    drop(client);
    drop(server);
    let own_end = |event: &Value| event["type"] == "close";
    tracer.wait_line("a close", |line| own_end(&serde_json::from_str(line).unwrap()));
    let events = scene.events(tracer);
    assert_eq!(counts(&events), [1, 1, 2], "{events:#?}");
    assert!(events.iter().all(|event| event["pid"] == id()), "{events:#?}");
}

#[test]
fn paths_that_the_kernel_adds_to_a_multipath_connection_are_no_connections() {
    let scene = or_skip!(Scene::new("tcptracer"));
    let tracer = scene.start_json([""; 0]);
    let (client, server) = or_skip!(pair_with_two_paths());
    let (own, port) = (port_of(&client), port_of(&server));
    drop(client);
    drop(server);
    for port in [own, port] {
        let key = format!("\"local_port\":{port},");
        tracer.wait_line("close", |line| line.contains("\"close\"") && line.contains(&key));
    }
    let events = scene.events(tracer);
    assert_eq!(counts(&events), [1, 1, 2], "{events:#?}");
    for (kind, port) in [("connect", own), ("accept", port), ("close", own), ("close", port)] {
        assert_eq!(of(&events, kind, port)["pid"], id());
    }
}

#[test]
fn two_ends_that_connect_to_each_other_have_one_owner() {
    let scene = or_skip!(Scene::new("tcptracer"));
    let tracer = scene.start_json([""; 0]);
    let (socket, port) = connected_to_itself();
    drop(socket);
    let key = format!("\"local_port\":{port},");
    tracer.wait_line("its close", |line| line.contains("\"close\"") && line.contains(&key));
    let events = scene.events(tracer);
    assert_eq!(counts(&events), [1, 0, 1], "{events:#?}");
    assert!(["connect", "close"].iter().all(|kind| of(&events, kind, port)["pid"] == id()), "{events:#?}");
}

#[test]
fn a_full_table_is_reported_as_lost() {
    let scene = or_skip!(Scene::new("tcptracer"));
    let tracer = scene.start_json(["--table-size", "2"]);
    let pairs: Vec<_> = (0..3).map(|_| pair("127.0.0.1")).collect();
    let message = tracer.wait_message("events lost");
    assert!(message.contains("--table-size"), "{message}");
    drop(pairs);
    tracer.stop();
}

#[test]
fn nothing_stays_in_the_table_when_a_connection_is_gone() {
    let scene = or_skip!(Scene::new("tcptracer"));
    let hole = BlackHole::new();
    let tracer = scene.start_json(["--table-size", "8"]);
    for number in 0..101 {
        let (client, server) = pair("127.0.0.1");
        if number % 2 == 0 {
            Socket::from(server).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(client);
        TcpStream::connect(("127.0.0.1", closed_port())).unwrap_err();
        drop(hole.connecting());
        // Never accepted.
        let listener = listen("127.0.0.1");
        drop(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    }
    let (events, lost) = scene.events_and_losses(tracer);
    // Whose connect or accept was lost, told in emulated machines only, is not known at the close.
    let complete = |(seen, all): (usize, usize)| (all.saturating_sub(lost * 2)..=all).contains(&seen);
    let seen = counts(&events);
    assert!(seen.into_iter().zip([202, 101, 303]).all(complete), "{seen:?}, {lost} told as lost");
}
