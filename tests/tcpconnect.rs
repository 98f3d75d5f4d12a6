//! tcpconnect as a user meets it: each test starts it in a network namespace of its own, connects, and looks at the rows.
//!
//! Needs root and BPF. Here: rows, filters, options. `outcomes`: what becomes of a connect. `dns`:
//! the name that led to it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets something unexpected must fail"
)]

mod common;
mod tcp;

#[path = "tcpconnect/dns.rs"]
mod dns;
#[path = "tcpconnect/outcomes.rs"]
mod outcomes;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Stdio, id};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use socket2::Domain;

use common::cgroup::Cgroup;
use common::emulated;
use common::namespace::MountNamespace;
use common::run::run;
use common::skip::or_skip;
use tcp::{
    BlackHole, Scene, close, closed_port, connected_to_itself, listen, loopback, mapped, pair, values,
    wait_until,
};

/// Other processes of these tests: see `common/role.rs`.
#[test]
fn plays_a_role() {
    tcp::role::play();
}

/// The events whose remote port this is.
fn to_port(events: &[Value], port: u16) -> Vec<&Value> {
    events.iter().filter(|event| event["remote_port"] == port).collect()
}

#[test]
fn a_connect_is_one_row_with_its_outcome() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let tracer = scene.start(["-L", "-U"]);
    let (client, server) = pair("127.0.0.1");
    let refused = closed_port();
    TcpStream::connect(("127.0.0.1", refused)).unwrap_err();
    let finished = scene.rows(tracer);
    let header = "UID    PID    COMM             IP SADDR            LPORT  DADDR            DPORT  RESULT          LAT(ms)";
    assert_eq!(finished.stdout[0], header);
    let [connected, failed] = finished.rows() else { panic!("{finished:#?}") };
    let words: Vec<&str> = connected.split_whitespace().collect();
    let (own, port) =
        (client.local_addr().unwrap().port().to_string(), server.local_addr().unwrap().port().to_string());
    assert_eq!(words[..2], ["0", &id().to_string()]);
    assert_eq!(words[3..9], ["4", "127.0.0.1", &own, "127.0.0.1", &port, "ok"]);
    assert!(words[9].parse::<f64>().unwrap() > 0.0);
    assert!(failed.contains(&format!(" {refused} ")) && failed.contains(" ECONNREFUSED "), "{failed}");
    assert_eq!(connected.find("ok"), header.find("RESULT"));
    close((client, server));
}

#[test]
fn two_ends_that_connect_to_each_other_are_connects() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let tracer = scene.start_json([""; 0]);
    let (_socket, port) = connected_to_itself();
    let events = scene.events(tracer);
    let [connect] = to_port(&events, port)[..] else { panic!("{events:#?}") };
    assert_eq!(connect["result"], "ok");
}

#[test]
fn each_of_127_connections_from_7_threads_is_shown_once() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let tracer = scene.start_json([""; 0]);
    let listener = listen("127.0.0.1");
    let address = listener.local_addr().unwrap();
    let threads: Vec<Vec<TcpStream>> = std::thread::scope(|scope| {
        let connect = |thread| {
            let count = if thread == 0 { 19 } else { 18 };
            scope.spawn(move || (0..count).map(|_| TcpStream::connect(address).unwrap()).collect())
        };
        let threads: Vec<_> = (0..7).map(connect).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let ports: BTreeSet<u64> =
        threads.iter().flatten().map(|s| s.local_addr().unwrap().port().into()).collect();
    let (events, lost) = scene.events_and_losses(tracer);
    assert!(events.len() <= 127 && events.len() + lost >= 127, "{} shown, {lost} told as lost", events.len());
    let shown: BTreeSet<u64> = events.iter().map(|event| event["local_port"].as_u64().unwrap()).collect();
    assert!(shown.is_subset(&ports) && shown.len() == events.len(), "{shown:?} of {ports:?}");
    assert!(events.iter().all(|event| event["result"] == "ok"));
    let tids: BTreeSet<u64> = events.iter().map(|event| event["tid"].as_u64().unwrap()).collect();
    assert!(tids.len() == 7 || lost > 0, "{tids:?}");
}

#[test]
fn mapped_addresses_are_ipv4_and_follow_its_filters() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let (v4, v6) = (listen("127.0.0.1"), listen("::1"));
    let (port4, port6) = (v4.local_addr().unwrap().port(), v6.local_addr().unwrap().port());
    for (option, versions) in [("", &[4, 6, 4][..]), ("-4", &[4, 4]), ("-6", &[6])] {
        let tracer = scene.start_json(Some(option).filter(|option| !option.is_empty()));
        TcpStream::connect(mapped(port4)).unwrap();
        TcpStream::connect(v6.local_addr().unwrap()).unwrap();
        let gone = closed_port();
        let last = if option == "-6" { SocketAddr::from((tcp::IPV6_LOOPBACK, port6)) } else { mapped(gone) };
        let _ = TcpStream::connect(last);
        let end = format!("\"remote_port\":{},", last.port());
        // The last goes where one went before, if it is IPv6.
        let (seen, wanted) = (Cell::new(0), if option == "-6" { 2 } else { 1 });
        tracer.wait_line("the last", |line| {
            seen.set(seen.get() + u32::from(line.contains(&end)));
            seen.get() == wanted
        });
        let mut events = tracer.stop().quiet().events();
        if option == "-6" {
            assert_eq!(events.pop().unwrap()["ip"], 6);
        }
        assert_eq!(events.iter().map(|event| event["ip"].as_u64().unwrap()).collect::<Vec<_>>(), versions);
        assert!(events.iter().all(|event| event["socket_family"] == "inet6"), "{events:#?}");
        for event in events.iter().filter(|event| event["ip"] == 4) {
            assert_eq!(
                (&event["local_address"], &event["remote_address"]),
                (&json!("127.0.0.1"), &json!("127.0.0.1"))
            );
        }
    }
}

#[test]
fn only_the_ports_that_are_asked_for_are_shown() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let listeners = [listen("127.0.0.1"), listen("127.0.0.1"), listen("::1")];
    let ports: Vec<u16> = listeners.iter().map(|l| l.local_addr().unwrap().port()).collect();
    let refused = closed_port();
    let tracer = scene.start_json(["-P", &format!("{},{},{refused}", ports[1], ports[2])]);
    for listener in &listeners {
        TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    }
    TcpStream::connect(("127.0.0.1", refused)).unwrap_err();
    tracer.wait_word("ECONNREFUSED");
    let events = tracer.stop().quiet().events();
    assert_eq!(values(&events, "remote_port"), [&json!(ports[1]), &json!(ports[2]), &json!(refused)]);
}

#[test]
fn failures_only_are_failures_only() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let tracer = scene.start_json(["-x"]);
    close(pair("127.0.0.1"));
    let refused = closed_port();
    TcpStream::connect(("127.0.0.1", refused)).unwrap_err();
    TcpStream::connect("203.0.113.9:1").unwrap_err();
    tracer.wait_word("ENETUNREACH");
    let events = tracer.stop().quiet().events();
    assert_eq!(values(&events, "result"), [&json!("ECONNREFUSED"), &json!("ENETUNREACH")]);
}

#[test]
fn an_immediate_row_comes_with_the_first_packet_and_tells_no_outcome() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let hole = BlackHole::new();
    let tracer = scene.start(["--immediate"]);
    let socket = hole.connecting();
    tracer.wait_word(&format!(" {}", hole.port));
    drop(socket);
    let finished = scene.rows(tracer);
    assert_eq!(finished.stdout[0], "PID    COMM             IP SADDR            DADDR            DPORT");
    assert_eq!(finished.rows().len(), 1, "{finished:#?}");
}

#[test]
fn counts_are_made_in_the_kernel_and_sorted_at_the_end() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let listeners = [listen("127.0.0.1"), listen("127.0.0.1"), listen("::1")];
    let ports = listeners.each_ref().map(|l| l.local_addr().unwrap().port());
    let tracer = scene.start_json(["-c"]);
    for (listener, count) in listeners.iter().zip([3, 11, 7]) {
        (0..count).for_each(|_| drop(TcpStream::connect(listener.local_addr().unwrap()).unwrap()));
    }
    let records = tracer.stop().quiet().records();
    let rows: Vec<_> = records[1..records.len() - 1]
        .iter()
        .map(|r| {
            (r["ip"].as_u64().unwrap(), r["remote_port"].as_u64().unwrap(), r["connects"].as_u64().unwrap())
        })
        .collect();
    let ports = ports.map(u64::from);
    assert_eq!(rows, [(4, ports[1], 11), (4, ports[0], 3), (6, ports[2], 7)]);
    assert_eq!(records.last().unwrap()["type"], "end");
}

#[test]
fn the_table_of_counts_is_that_of_bcc() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let listener = listen("127.0.0.1");
    let port = listener.local_addr().unwrap().port();
    let mut command =
        scene.sandbox.command("tcpconnect", ["-c", "--duration", "1", "-N", "/proc/self/ns/net"]);
    let connect = || {
        drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
        listener.accept().unwrap();
    };
    let output = std::thread::scope(|scope| {
        let tool = scope.spawn(|| run(&mut command));
        while !tool.is_finished() {
            connect();
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        tool.join().unwrap()
    });
    let lines: Vec<&str> = output.ok().lines().collect();
    assert_eq!(lines[0], "LADDR                     RADDR                     RPORT                CONNECTS");
    let [row] = lines[1..] else { panic!("{lines:#?}") };
    let begin = format!("{:<26}{:<26}{port:<21}", "127.0.0.1", "127.0.0.1");
    assert!(row.strip_prefix(&begin).unwrap().parse::<u64>().unwrap() > 1, "{row}");
}

#[test]
fn the_table_of_counts_is_as_wide_as_its_longest_address() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let long = "fd00:1111:2222:3333:4444:5555:6666:7777";
    or_skip!(tcp::own_address(&format!("{long}/128"), 0));
    let mut command = scene.sandbox.command("tcpconnect", ["-c", "-L", "-N", "/proc/self/ns/net"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut tool = command.spawn().unwrap();
    let mut out = BufReader::new(tool.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(out.next().unwrap().starts_with("LADDR "));
    let clients = ["127.0.0.1", long].map(|host| pair(host).0);
    kill(Pid::from_raw(tool.id().cast_signed()), Signal::SIGINT).unwrap();
    let rows: Vec<String> = out.collect();
    assert!(tool.wait().unwrap().success());
    // A terminal gets a second header; a pipe has one.
    let expected = clients.map(|client| {
        let (own, port) = (client.local_addr().unwrap(), client.peer_addr().unwrap().port());
        format!("{0:<40}{0:<40}{1:<21}{port:<21}1", own.ip().to_string(), own.port())
    });
    assert_eq!(rows, expected);
}

#[test]
fn only_members_of_the_set_are_shown_and_the_set_may_change() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let set = scene.sandbox.create_set("mntns");
    let shell = MountNamespace::new();
    let tracer = scene.start_json(["--mntnsmap".as_ref(), set.as_os_str()]);
    let refused = closed_port();
    let (inside, mut expected) = (|| shell.run(|| pair("127.0.0.1")), Vec::new());
    close(inside());
    scene.sandbox.nsmap_ok(["add-mntns", &shell.inode.to_string()]);
    for _ in 0..3 {
        let (client, server) = inside();
        expected.push(json!(client.local_addr().unwrap().port()));
        close((client, server));
        close(pair("127.0.0.1"));
        TcpStream::connect("203.0.113.9:1").unwrap_err();
    }
    scene.sandbox.nsmap_ok(["remove-mntns", &shell.inode.to_string()]);
    close(inside());
    shell.run(|| TcpStream::connect("203.0.113.9:1").unwrap_err());
    scene.sandbox.nsmap_ok(["add-mntns", &shell.inode.to_string()]);
    shell.run(|| TcpStream::connect("203.0.113.9:2").unwrap_err());
    shell.run(|| TcpStream::connect(("127.0.0.1", refused)).unwrap_err());
    tracer.wait_word("ECONNREFUSED");
    let events = tracer.stop().quiet().events();
    assert_eq!(values(&events[..3], "local_port"), expected.iter().collect::<Vec<_>>());
    assert_eq!(values(&events[3..], "result"), [&json!("ENETUNREACH"), &json!("ECONNREFUSED")]);
    assert!(events.iter().all(|event| event["mntns"] == shell.inode), "{events:#?}");
}

#[test]
fn a_container_is_shown_beside_the_host_while_it_is_in_both_sets() {
    tcp::container::is_shown_beside_the_host("tcpconnect", &["fexit", "kretprobe", "tracepoint"], 1);
}

#[test]
fn with_both_sets_a_task_must_be_in_both() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let group = or_skip!(Cgroup::new());
    let child = group.child("child");
    let (namespaces, groups) = (scene.sandbox.create_set("mntns"), scene.sandbox.create_set("cgroup"));
    let shell = MountNamespace::new();
    let tracer = scene.start_json([
        "--mntnsmap".as_ref(),
        namespaces.as_os_str(),
        "--cgroupmap".as_ref(),
        groups.as_os_str(),
    ]);
    let listener = listen("127.0.0.1");
    let port = listener.local_addr().unwrap().port();
    let connect = |group: &Cgroup| {
        let mut child = tcp::role::in_cgroup(group, "connect", &[&port.to_string()]).spawn().unwrap();
        assert!(child.wait().unwrap().success());
        child.id()
    };
    scene.sandbox.nsmap_ok(["add-cgroup".as_ref(), "--subtree".as_ref(), group.path.as_os_str()]);
    shell.run(|| connect(&child));
    scene.sandbox.nsmap_ok(["add-mntns", &shell.inode.to_string()]);
    connect(&child);
    close(shell.run(|| pair("127.0.0.1")));
    let expected = [shell.run(|| connect(&child)), shell.run(|| connect(&group))];
    tracer.wait_word(&format!("\"pid\":{},", expected[1]));
    let events = tracer.stop().events();
    assert_eq!(values(&events, "pid"), [&json!(expected[0]), &json!(expected[1])]);
    assert_eq!(values(&events, "cgroup_id"), [&json!(child.id()), &json!(group.id())]);
}

#[test]
fn a_full_table_is_reported_as_lost() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let hole = BlackHole::new();
    let tracer = scene.start_json(["--table-size", "2", "--wait", "100"]);
    let _waiting: Vec<_> = (0..7).map(|_| hole.connecting()).collect();
    tracer.wait_message("5 events lost, 5 in all (a table is full");
    let finished = tracer.stop();
    let records = finished.records();
    assert_eq!(records.last().unwrap()["lost"], 5);
}

#[test]
fn nothing_stays_in_the_table_when_a_connect_is_over() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let hole = BlackHole::new();
    let tracer = scene.start_json(["--table-size", "2"]);
    let refused = closed_port();
    for _ in 0..101 {
        close(pair("127.0.0.1"));
        TcpStream::connect(("127.0.0.1", refused)).unwrap_err();
        drop(hole.connecting());
        TcpStream::connect("203.0.113.9:9").unwrap_err();
    }
    assert_eq!(scene.events(tracer).len(), 404);
}

#[test]
fn a_process_and_a_user_can_be_chosen() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let listener = listen("127.0.0.1");
    let port = listener.local_addr().unwrap().port();
    let tracer = scene.start_json(["--uid", "3000017"]);
    drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
    let mut command = common::role::role("connect", [port.to_string()]);
    std::os::unix::process::CommandExt::uid(&mut command, 3_000_017);
    // The test program must be reachable for another user; where it is not, there is nothing to look at.
    if command.status().is_ok_and(|status| status.success()) {
        tracer.wait_word(&format!("\"remote_port\":{port},"));
        let events = tracer.stop().quiet().events();
        assert_eq!(values(&events, "uid"), [&json!(3_000_017)]);
    }
    let tracer = scene.start_json(["--pid", &id().to_string()]);
    common::role::played("connect", [port.to_string()]);
    drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
    tracer.wait_word(&format!("\"remote_port\":{port},"));
    let events = tracer.stop().quiet().events();
    assert_eq!(values(&events, "pid"), [&json!(id())]);
}

#[test]
fn wrong_options_are_refused() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    for args in [
        &["-4", "-6"][..],
        &["-P", "0"],
        &["-P", "80,"],
        &["--port", "http"],
        &["-N", "0"],
        &["-N", "/nothing"],
        &["--wait", "0"],
        &["--immediate", "-c"],
        &["-d", "-c"],
        &["--hook", "nothing"],
        &["--table-size", "0"],
        &["-u", "12x"],
    ] {
        run(&mut scene.sandbox.command("tcpconnect", args)).refused(2, "tcpconnect");
    }
}

#[test]
fn each_combination_of_columns_keeps_its_rows_aligned() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    // What a column looks like is not the kernel's doing: where each start takes half a second, all of them alone and
    // together are enough.
    let enough = |set: &u32| !emulated() || set.count_ones() <= 1 || *set == 31;
    for set in (0..32).filter(enough) {
        let options: Vec<&str> = ["-T", "-t", "-U", "-L", "-d"]
            .into_iter()
            .enumerate()
            .filter_map(|(bit, option)| (set >> bit & 1 == 1).then_some(option))
            .collect();
        let tracer = scene.start(&options);
        let (client, server) = pair("127.0.0.1");
        let finished = scene.rows(tracer);
        let (header, [row]) = (&finished.stdout[0], finished.rows()) else { panic!("{finished:#?}") };
        assert_eq!(header.split_whitespace().count(), row.split_whitespace().count(), "{finished:#?}");
        let port = server.local_addr().unwrap().port().to_string();
        assert_eq!(row.find(&format!(" {port} ")).map(|at| at + 1), header.find("DPORT"), "{finished:#?}");
        let without_query = |line: &str, query| line.strip_suffix(query).map_or(line.len(), str::len);
        let (row, header) = (without_query(row, "localhost"), without_query(header, "QUERY"));
        assert_eq!(row, header, "{finished:#?}");
        close((client, server));
    }
}

/// Sockets that connect without waiting.
fn nonblocking(domain: Domain) -> socket2::Socket {
    let socket = tcp::socket(domain);
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Waits until a socket that was connecting has an outcome, and gives its error.
fn outcome(socket: &socket2::Socket) -> Option<i32> {
    wait_until("an outcome", || {
        let mut fds =
            [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(socket), nix::poll::PollFlags::POLLOUT)];
        nix::poll::poll(&mut fds, nix::poll::PollTimeout::ZERO).unwrap() > 0
    });
    socket.take_error().unwrap().and_then(|error| error.raw_os_error())
}

#[test]
fn a_connect_without_waiting_is_one_row_however_often_the_outcome_is_asked_for() {
    let scene = or_skip!(Scene::new("tcpconnect"));
    let tracer = scene.start_json([""; 0]);
    let listener = listen("127.0.0.1");
    let (good, bad) = (listener.local_addr().unwrap().port(), closed_port());
    let connected = nonblocking(Domain::IPV4);
    assert_eq!(connected.connect(&loopback(good)).unwrap_err().raw_os_error(), Some(libc::EINPROGRESS));
    assert_eq!(outcome(&connected), None);
    connected.connect(&loopback(good)).unwrap();
    assert_eq!(connected.connect(&loopback(good)).unwrap_err().raw_os_error(), Some(libc::EISCONN));
    let refused = nonblocking(Domain::IPV4);
    refused.connect(&loopback(bad)).unwrap_err();
    assert_eq!(refused.connect(&loopback(bad)).unwrap_err().raw_os_error(), Some(libc::ECONNREFUSED));
    let events = scene.events(tracer);
    assert_eq!(
        values(&to_port(&events, good).into_iter().cloned().collect::<Vec<_>>(), "result"),
        [&json!("ok")]
    );
    assert_eq!(
        values(&to_port(&events, bad).into_iter().cloned().collect::<Vec<_>>(), "result"),
        [&json!("ECONNREFUSED")]
    );
}
