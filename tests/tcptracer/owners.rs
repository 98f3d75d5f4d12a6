//! Whose connection it is, whoever closes it, and who is shown.

use std::net::TcpStream;
use std::process::id;

use serde_json::json;

use crate::common::cgroup::Cgroup;
use crate::common::namespace::MountNamespace;
use crate::common::skip::or_skip;
use crate::tcp::role::{holder, in_cgroup, release, send, spawn};
use crate::tcp::{Scene, close, listen, pair};
use crate::{counts, of, port_of, port_of_listener};

#[test]
fn a_close_in_another_process_is_that_of_the_owner() {
    let scene = or_skip!(Scene::new("tcptracer"));
    let tracer = scene.start_json([""; 0]);
    let (client, server) = pair("127.0.0.1");
    let (own, port) = (port_of(&client), port_of(&server));
    let (with_client, with_server) = (holder(&client), holder(&server));
    close((client, server));
    let closed_here = pair("127.0.0.1");
    let other = port_of(&closed_here.0);
    close(closed_here);
    tracer.wait_line("another close", |line| {
        line.contains("\"close\"") && line.contains(&format!(":{other},"))
    });
    release(with_client);
    release(with_server);
    let mut events = scene.events(tracer);
    events.retain(|event| [own, port].iter().any(|port| event["local_port"] == *port));
    assert_eq!(counts(&events), [1, 1, 2]);
    assert!(events.iter().all(|event| event["pid"] == id()), "{events:#?}");
    // Only when the last process let go.
    assert!(of(&events, "close", own)["duration_ns"].as_u64().unwrap() > 0);
}

#[test]
fn a_socket_that_was_sent_to_another_process_is_its_owners_until_that_one_closes_it() {
    let scene = or_skip!(Scene::new("tcptracer"));
    let tracer = scene.start_json([""; 0]);
    let (client, server) = pair("127.0.0.1");
    let (own, port) = (port_of(&client), port_of(&server));
    let paths = ["client", "server"].map(|name| scene.sandbox.path(name));
    let receivers = paths.each_ref().map(|path| spawn("receive and hold", &[path.to_str().unwrap()]));
    send(&paths[0], &client);
    send(&paths[1], &server);
    close((client, server));
    let closed_here = pair("127.0.0.1");
    let other = port_of(&closed_here.0);
    close(closed_here);
    tracer.wait_line("another close", |line| {
        line.contains("\"close\"") && line.contains(&format!(":{other},"))
    });
    receivers.into_iter().for_each(release);
    let mut events = scene.events(tracer);
    // The last ones: they came after those of the connection that was closed here.
    let closes: Vec<_> = events.iter().rev().take(2).map(|event| event["local_port"].clone()).collect();
    assert!(closes.contains(&json!(own)) && closes.contains(&json!(port)), "{events:#?}");
    events.retain(|event| [own, port].iter().any(|port| event["local_port"] == *port));
    assert_eq!(counts(&events), [1, 1, 2]);
    assert!(events.iter().all(|event| event["pid"] == id()), "{events:#?}");
}

#[test]
fn a_close_by_exit_is_shown_to_the_filter_that_the_task_has_left_already() {
    let scene = or_skip!(Scene::new("tcptracer"));
    let set = scene.sandbox.create_set("mntns");
    let shell = MountNamespace::new();
    scene.sandbox.nsmap_ok(["add-mntns", &shell.inode.to_string()]);
    let tracer = scene.start_json(["--mntnsmap".as_ref(), set.as_os_str()]);
    let listener = listen("127.0.0.1");
    let port = port_of_listener(&listener).to_string();
    for exits_first in [true, false] {
        let child = shell.run(|| spawn("connect and hold", &[&port]));
        let (server, peer) = listener.accept().unwrap();
        if exits_first {
            release(child);
            drop(server);
        } else {
            drop(server);
            release(child);
        }
        let own = peer.port();
        tracer
            .wait_line("the close", |line| line.contains("\"close\"") && line.contains(&format!(":{own},")));
    }
    let events = tracer.stop().quiet().events();
    assert_eq!(counts(&events), [2, 0, 2], "{events:#?}");
    assert!(events.iter().all(|event| event["mntns"] == shell.inode && event["pid"] != id()), "{events:#?}");
    assert_eq!((&events[0]["pid"], &events[2]["pid"]), (&events[1]["pid"], &events[3]["pid"]));
}

#[test]
fn the_owner_is_who_the_filter_asks_about_and_not_who_closes() {
    let scene = or_skip!(Scene::new("tcptracer"));
    let set = scene.sandbox.create_set("mntns");
    let shell = MountNamespace::new();
    scene.sandbox.nsmap_ok(["add-mntns", &shell.inode.to_string()]);
    let tracer = scene.start_json(["--mntnsmap".as_ref(), set.as_os_str()]);
    let listener = listen("127.0.0.1");
    let address = listener.local_addr().unwrap();
    // A member connects, somebody else closes.
    let inside = shell.run(|| TcpStream::connect(address).unwrap());
    let server = listener.accept().unwrap();
    let own = port_of(&inside);
    let outside_holder = holder(&inside);
    drop(inside);
    release(outside_holder);
    drop(server);
    tracer.wait_line("the close", |line| line.contains("\"close\"") && line.contains(&format!(":{own},")));
    // Somebody else connects, a member closes.
    let outside = TcpStream::connect(address).unwrap();
    let server = listener.accept().unwrap();
    let inside_holder = shell.run(|| holder(&outside));
    drop(outside);
    release(inside_holder);
    drop(server);
    let last = shell.run(|| TcpStream::connect(address).unwrap());
    tracer.wait_word(&format!("\"local_port\":{},", port_of(&last)));
    let mut events = tracer.stop().quiet().events();
    events.retain(|event| event["local_port"] != port_of(&last));
    assert_eq!(counts(&events), [1, 0, 1], "{events:#?}");
    assert_eq!(of(&events, "close", own)["mntns"], shell.inode);
}

#[test]
fn a_set_that_changes_between_connect_and_close_is_asked_at_each() {
    let scene = or_skip!(Scene::new("tcptracer"));
    let set = scene.sandbox.create_set("mntns");
    let shell = MountNamespace::new();
    let tracer = scene.start_json(["--mntnsmap".as_ref(), set.as_os_str()]);
    let inode = shell.inode.to_string();
    let inside = || shell.run(|| pair("127.0.0.1"));
    let before = inside();
    let (own, port) = (port_of(&before.0), port_of(&before.1));
    scene.sandbox.nsmap_ok(["add-mntns", &inode]);
    // Shown as what it is: its owner is a member now.
    close(before);
    let removed = inside();
    let removed_port = port_of(&removed.0);
    scene.sandbox.nsmap_ok(["remove-mntns", &inode]);
    close(removed);
    scene.sandbox.nsmap_ok(["add-mntns", &inode]);
    let last = inside();
    let last_port = port_of(&last.1);
    close(last);
    tracer.wait_line("the last close", |line| {
        line.contains("\"close\"") && line.contains(&format!("\"local_port\":{last_port},"))
    });
    let events = tracer.stop().quiet().events();
    let of_port = |port: u16| {
        let of_port: Vec<_> = events
            .iter()
            .filter(|event| event["local_port"] == port)
            .map(|event| event["type"].clone())
            .collect();
        of_port
    };
    assert_eq!((of_port(own), of_port(port)), (vec![json!("close")], vec![json!("close")]));
    assert_eq!(of_port(removed_port), [json!("connect")]);
    assert_eq!(of_port(last_port), [json!("accept"), json!("close")]);
    assert_eq!(of(&events, "close", own)["older"], false);
}

#[test]
fn a_container_is_shown_beside_the_host_while_it_is_in_both_sets() {
    let hooks = ["fentry", "fexit", "kprobe", "kretprobe", "tracepoint"];
    crate::tcp::container::is_shown_beside_the_host("tcptracer", &hooks, 4);
}

#[test]
fn a_subtree_of_cgroups_is_asked_about_after_the_owner_has_gone() {
    let scene = or_skip!(Scene::new("tcptracer"));
    let group = or_skip!(Cgroup::new());
    let child = group.child("child");
    let set = scene.sandbox.create_set("cgroup");
    scene.sandbox.nsmap_ok(["add-cgroup".as_ref(), "--subtree".as_ref(), group.path.as_os_str()]);
    let tracer = scene.start_json(["--cgroupmap".as_ref(), set.as_os_str()]);
    close(pair("127.0.0.1"));
    let listener = listen("127.0.0.1");
    let port = port_of_listener(&listener).to_string();
    let inside = in_cgroup(&child, "connect and hold", &[&port]).spawn().unwrap();
    let pid = inside.id();
    let (server, peer) = listener.accept().unwrap();
    release(inside);
    // The owner has exited; this end's close is what ends its connection.
    drop(server);
    tracer.wait_line("the close", |line| {
        line.contains("\"close\"") && line.contains(&format!(":{},", peer.port()))
    });
    let events = tracer.stop().events();
    assert_eq!(counts(&events), [1, 0, 1], "{events:#?}");
    assert!(
        events.iter().all(|event| event["pid"] == pid && event["cgroup_id"] == child.id()),
        "{events:#?}"
    );
}

#[test]
fn a_process_is_shown_with_its_connections_only() {
    let scene = or_skip!(Scene::new("tcptracer"));
    let listener = listen("127.0.0.1");
    let port = port_of_listener(&listener).to_string();
    let tracer = scene.start_json(["--pid", &id().to_string()]);
    let child = spawn("connect and hold", &[&port]);
    let (server, peer) = listener.accept().unwrap();
    release(child);
    drop(server);
    let events = scene.events(tracer);
    assert_eq!(counts(&events), [0, 1, 1], "{events:#?}");
    assert!(events.iter().all(|event| event["remote_port"] == peer.port()), "{events:#?}");
}
