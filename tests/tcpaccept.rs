//! tcpaccept as a user meets it: each test starts it in a network namespace of its own, accepts, and looks at the rows.
//!
//! Needs root and BPF.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets something unexpected must fail"
)]

mod common;
mod tcp;

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::id;

use serde_json::json;
use socket2::{Domain, Protocol, Socket, Type};

use common::cgroup::Cgroup;
use common::namespace::MountNamespace;
use common::skip::or_skip;
use tcp::{Scene, close, listen, loopback, mapped, pair, values, wait_until};

/// Other processes of these tests: see `common/role.rs`.
#[test]
fn plays_a_role() {
    tcp::role::play();
}

#[test]
fn an_accept_is_one_row_with_both_ends() {
    let scene = or_skip!(Scene::new("tcpaccept"));
    let tracer = scene.start(["-T"]);
    let (client, server) = pair("127.0.0.1");
    let (peer, own) = (client.local_addr().unwrap().port(), server.local_addr().unwrap().port());
    let finished = scene.rows(tracer);
    assert_eq!(
        finished.stdout[0],
        "TIME     PID    COMM             IP RADDR            RPORT LADDR            LPORT"
    );
    let [row] = finished.rows() else { panic!("{finished:#?}") };
    let words: Vec<&str> = row.split_whitespace().collect();
    let (pid, peer, own) = (id().to_string(), peer.to_string(), own.to_string());
    assert_eq!(words[1], pid);
    assert_eq!(words[3..], ["4", "127.0.0.1", &peer, "127.0.0.1", &own]);
}

#[test]
fn an_accept_that_was_waiting_before_the_tool_started_is_shown() {
    let scene = or_skip!(Scene::new("tcpaccept"));
    // Calls that wait do not return through fexit or kretprobe, which are for kernels without the better ones.
    for hook in scene.hooks(&[], &["fentry", "kprobe", "tracepoint"]) {
        let listener = listen("127.0.0.1");
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let server = tcp::role::spawn("accept", &[&port.to_string()]);
        wait_until("the server waits", || tcp::role::is_in(server.id(), libc::SYS_accept4));
        let tracer = scene.start_json(["--pid", &server.id().to_string(), "--hook", hook]);
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        tracer.wait_word(&format!("\"local_port\":{port}"));
        let pid = server.id();
        tcp::role::release(server);
        let events = tracer.stop().quiet().events();
        assert_eq!(values(&events, "pid"), [&json!(pid)], "{hook}");
        assert_eq!(values(&events, "remote_port"), [&json!(client.local_addr().unwrap().port())], "{hook}");
    }
}

#[test]
fn each_hook_shows_the_same() {
    let scene = or_skip!(Scene::new("tcpaccept"));
    for hook in scene.hooks(&[], &["fentry", "fexit", "kprobe", "kretprobe", "tracepoint"]) {
        let tracer = scene.start_json(["--hook", hook]);
        let pairs = [pair("127.0.0.1"), pair("::1")];
        let events = scene.events(tracer);
        assert_eq!(events.len(), 2, "{hook}: {events:#?}");
        for (event, (client, server)) in events.iter().zip(&pairs) {
            let (peer, own) = (client.local_addr().unwrap(), server.local_addr().unwrap());
            assert_eq!(event["pid"], id());
            assert_eq!(event["remote_address"], json!(peer.ip()), "{hook}");
            assert_eq!(event["local_address"], json!(own.ip()), "{hook}");
            assert_eq!(
                (&event["remote_port"], &event["local_port"]),
                (&json!(peer.port()), &json!(own.port()))
            );
        }
    }
}

#[test]
fn each_of_127_connections_from_7_threads_is_shown_once() {
    let scene = or_skip!(Scene::new("tcpaccept"));
    let tracer = scene.start_json([""; 0]);
    let listener = listen("127.0.0.1");
    let address = listener.local_addr().unwrap();
    let mut ports = BTreeSet::new();
    std::thread::scope(|scope| {
        for thread in 0..7 {
            let count = if thread == 0 { 19 } else { 18 };
            scope.spawn(move || (0..count).for_each(|_| drop(TcpStream::connect(address).unwrap())));
        }
        for _ in 0..127 {
            ports.insert(u64::from(listener.accept().unwrap().1.port()));
        }
    });
    let events = scene.events(tracer);
    assert_eq!(events.len(), 127);
    let shown: BTreeSet<u64> = events.iter().map(|event| event["remote_port"].as_u64().unwrap()).collect();
    assert_eq!(shown, ports);
}

/// A listener on `::` that takes IPv4, too.
fn dual_stack() -> TcpListener {
    let socket = tcp::socket(Domain::IPV6);
    socket.set_only_v6(false).unwrap();
    socket.bind(&"[::]:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(16).unwrap();
    socket.into()
}

#[test]
fn a_mapped_peer_is_ipv4_and_json_tells_the_family_of_the_socket() {
    let scene = or_skip!(Scene::new("tcpaccept"));
    for (option, versions) in [("", &[4, 6][..]), ("-4", &[4]), ("-6", &[6])] {
        let tracer = scene.start_json(Some(option).filter(|option| !option.is_empty()));
        let listener = dual_stack();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "::1"] {
            let _client = TcpStream::connect((host, port)).unwrap();
            listener.accept().unwrap();
        }
        // The marker is IPv4.
        let events = if option == "-6" {
            tracer.wait_word(&format!("\"local_port\":{port}"));
            tracer.stop().quiet().events()
        } else {
            scene.events(tracer)
        };
        assert_eq!(
            values(&events, "ip"),
            versions.iter().map(|v| json!(v)).collect::<Vec<_>>().iter().collect::<Vec<_>>()
        );
        assert!(events.iter().all(|event| event["socket_family"] == "inet6"), "{events:#?}");
        if versions.contains(&4) {
            assert_eq!(events[0]["remote_address"], "127.0.0.1");
            assert_eq!(events[0]["local_address"], "127.0.0.1");
        }
    }
    // A client may use the mapped address as well.
    let listener = listen("127.0.0.1");
    drop(TcpStream::connect(mapped(listener.local_addr().unwrap().port())).unwrap());
}

#[test]
fn columns_widen_for_ipv6_addresses_and_a_file_has_one_header() {
    let scene = or_skip!(Scene::new("tcpaccept"));
    let long = "fd00:1111:2222:3333:4444:5555:6666:7777";
    or_skip!(tcp::own_address(&format!("{long}/128"), 0));
    let tracer = scene.start([""; 0]);
    let pairs = [pair("::1"), pair(long), pair("::1")];
    let finished = scene.rows(tracer);
    let [header, short, row, last] = &finished.stdout[..] else { panic!("{finished:#?}") };
    // Where the values of a row are: the peer's address and port, and our own.
    let places = |row: &str, (client, server): &(TcpStream, TcpStream)| {
        let (peer, own) = (client.local_addr().unwrap(), server.local_addr().unwrap());
        let values =
            [peer.ip().to_string(), peer.port().to_string(), own.ip().to_string(), own.port().to_string()];
        let mut at = 0;
        values.map(|value| {
            at += row[at..].find(&format!(" {value}")).unwrap_or_else(|| panic!("no {value} in {row}")) + 1;
            at
        })
    };
    let columns = ["RADDR", "RPORT", "LADDR", "LPORT"].map(|column| header.find(column).unwrap());
    assert_eq!(places(short, &pairs[0]), columns, "{finished:#?}");
    // From the first long address on there is room for any.
    let [address, ..] = columns;
    let wide = [address, address + 40, address + 46, address + 86];
    assert_eq!((places(row, &pairs[1]), places(last, &pairs[2])), (wide, wide), "{finished:#?}");
}

#[test]
fn only_the_own_ports_that_are_asked_for_are_shown() {
    let scene = or_skip!(Scene::new("tcpaccept"));
    let listeners = [listen("127.0.0.1"), listen("127.0.0.1"), listen("::1")];
    let ports: Vec<String> = listeners.iter().map(|l| l.local_addr().unwrap().port().to_string()).collect();
    let tracer = scene.start_json(["-P", &format!("{},{},1", ports[1], ports[2])]);
    for listener in &listeners {
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.accept().unwrap();
    }
    tracer.wait_word(&format!("\"local_port\":{}", ports[2]));
    let events = tracer.stop().quiet().events();
    let shown: Vec<String> = events.iter().map(|event| event["local_port"].to_string()).collect();
    assert_eq!(shown, ports[1..]);
}

#[test]
fn sockets_that_are_not_tcp_are_not_shown() {
    let scene = or_skip!(Scene::new("tcpaccept"));
    let tracer = scene.start_json([""; 0]);
    let path = scene.sandbox.path("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let _client = UnixStream::connect(&path).unwrap();
    listener.accept().unwrap();
    assert_eq!(scene.events(tracer), [json!(null); 0]);
}

#[test]
fn a_multipath_connection_is_its_first_path() {
    let scene = or_skip!(Scene::new("tcpaccept"));
    let make = || Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP));
    let Ok(listener) = make() else {
        return common::skip::skip(&common::skip::Skip::NotInKernel("MPTCP"));
    };
    listener.bind(&loopback(0)).unwrap();
    listener.listen(16).unwrap();
    let address = listener.local_addr().unwrap();
    let tracer = scene.start_json([""; 0]);
    let client = make().unwrap();
    client.connect(&address).unwrap();
    let _server = listener.accept().unwrap();
    let events = scene.events(tracer);
    let port = client.local_addr().unwrap().as_socket().unwrap().port();
    assert_eq!(values(&events, "remote_port"), [&json!(port)]);
}

#[test]
fn what_is_accepted_before_it_is_established_is_one_accept() {
    let scene = or_skip!(Scene::new("tcpaccept"));
    for hook in scene.hooks(&[], &["fentry", "fexit", "kprobe", "kretprobe", "tracepoint"]) {
        let tracer = scene.start_json(["--hook", hook]);
        let (client, _server) = or_skip!(tcp::fast_open_pair());
        let events = scene.events(tracer);
        let port = client.local_addr().unwrap().port();
        assert_eq!(values(&events, "remote_port"), [&json!(port)], "{hook}");
        assert_eq!(values(&events, "pid"), [&json!(id())], "{hook}");
    }
}

#[test]
fn a_scoped_peer_is_shown_with_its_link() {
    let scene = or_skip!(Scene::new("tcpaccept"));
    let own = or_skip!(tcp::own_address("fe80::1/64", 1));
    let listener = TcpListener::bind(std::net::SocketAddrV6::new(own, 0, 0, 1)).unwrap();
    for (option, shown) in [("-T", "fe80::1%1"), ("--json", "\"scope_id\":1,")] {
        let tracer = scene.start([option]);
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.accept().unwrap();
        let row = tracer.wait_line("the accept", |line| line.contains("fe80::1"));
        assert!(row.contains(shown), "{row}");
        tracer.stop().quiet();
    }
}

#[test]
fn only_members_of_the_set_are_shown_and_the_set_may_change() {
    let scene = or_skip!(Scene::new("tcpaccept"));
    let set = scene.sandbox.create_set("mntns");
    let shell = MountNamespace::new();
    let tracer = scene.start_json(["--mntnsmap".as_ref(), set.as_os_str()]);
    let mut expected = Vec::new();
    let accept_inside = || shell.run(|| pair("127.0.0.1"));
    let outside = pair("127.0.0.1");
    close(accept_inside());
    scene.sandbox.nsmap_ok(["add-mntns", &shell.inode.to_string()]);
    for _ in 0..3 {
        let (client, server) = accept_inside();
        expected.push(json!(client.local_addr().unwrap().port()));
        close((client, server));
        close(pair("127.0.0.1"));
    }
    scene.sandbox.nsmap_ok(["remove-mntns", &shell.inode.to_string()]);
    close(accept_inside());
    scene.sandbox.nsmap_ok(["add-mntns", &shell.inode.to_string()]);
    let (client, _server) = accept_inside();
    let last = client.local_addr().unwrap().port();
    expected.push(json!(last));
    tracer.wait_word(&format!("\"remote_port\":{last}"));
    let events = tracer.stop().quiet().events();
    assert_eq!(values(&events, "remote_port"), expected.iter().collect::<Vec<_>>());
    assert!(events.iter().all(|event| event["mntns"] == shell.inode), "{events:#?}");
    close(outside);
}

#[test]
fn a_container_is_shown_beside_the_host_while_it_is_in_both_sets() {
    let hooks = ["fentry", "fexit", "kprobe", "kretprobe", "tracepoint"];
    tcp::container::is_shown_beside_the_host("tcpaccept", &hooks, 1);
}

#[test]
fn a_server_in_a_cgroup_of_the_set_is_shown() {
    let scene = or_skip!(Scene::new("tcpaccept"));
    let group = or_skip!(Cgroup::new());
    let set = scene.sandbox.create_set("cgroup");
    scene.sandbox.nsmap_ok(["add-cgroup".as_ref(), group.path.as_os_str()]);
    let tracer = scene.start_json(["--cgroupmap".as_ref(), set.as_os_str()]);
    close(pair("127.0.0.1"));
    let port = listen("127.0.0.1").local_addr().unwrap().port();
    let server = tcp::role::in_cgroup(&group, "accept", &[&port.to_string()]).spawn().unwrap();
    let mut client = None;
    wait_until("the server listens", || {
        client = TcpStream::connect(("127.0.0.1", port)).ok();
        client.is_some()
    });
    tracer.wait_word(&format!("\"local_port\":{port}"));
    let pid = server.id();
    tcp::role::release(server);
    let events = tracer.stop().events();
    assert_eq!(values(&events, "pid"), [&json!(pid)]);
    assert_eq!(values(&events, "cgroup_id"), [&json!(group.id())]);
}
