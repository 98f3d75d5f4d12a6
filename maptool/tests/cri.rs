//! Kubernetes' runtime interface, played by a small server: answers of the real form, and hostile ones.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::Write;
use std::os::unix::net::UnixStream;

use common::Ran;
use common::engine::{Answer, Server, cri_containers, cri_pods, frame, grpc, grpc_refusal, hang};
use common::host::{Host, of};

const PODS: &str = "/runtime.v1.RuntimeService/ListPodSandbox";
const CONTAINERS: &str = "/runtime.v1.RuntimeService/ListContainers";
const SOCKET: &str = "run/containerd/containerd.sock";

/// The path of a pod's container under the cgroupfs driver, which does not tell the engine.
fn cgroup_of(id: &str) -> String {
    format!("kubepods/burstable/pod01234567-0123-0123-0123-0123456789ab/{id}")
}

/// A runtime that has one pod, by this version of the service only.
fn runtime(id: &str, pod: &str, version: &'static str) -> Answer {
    let (pods, containers) = (cri_pods(pod, "web-0"), cri_containers(id, pod));
    Box::new(move |stream, method| match method.strip_prefix(version) {
        Some("/ListPodSandbox") => grpc(stream, &pods),
        Some("/ListContainers") => grpc(stream, &containers),
        _ => grpc_refusal(stream),
    })
}

#[test]
fn pods_and_their_labels_are_told_by_the_runtime() {
    let Some(mut host) = Host::new() else { return };
    let (id, pod) = ("1c".repeat(32), "1d".repeat(32));
    let pid = host.task(&cgroup_of(&id));
    let server = Server::start_grpc(&host.socket(SOCKET), runtime(&id, &pod, "/runtime.v1.RuntimeService"));
    host.run(&["create", "--kind", "cgroup"]).ok();
    let ran = host.run(&["--json", "containers"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let shown = ran.json();
    let one = of(&shown, &id);
    assert_eq!((&one["name"], &one["image"]), (&"shop/web-0/nginx".into(), &"nginx:1".into()));
    assert_eq!((&one["pid"], &one["labels"]), (&pid.into(), &serde_json::json!({ "app": "web" })));
    assert_eq!(server.asked(), [PODS, CONTAINERS]);
    host.run(&["add-pod", "shop/web-0"]).ok();
    assert!(host.run(&["list"]).ok().contains("[k8s:shop/web-0/nginx]"));
    for (selector, fits) in
        [("label:app=db", false), ("label:app=w*", true), ("pod:shop/web-?", true), ("namespace:x", false)]
    {
        host.run(&["follow", selector, "--once"]).ok();
        assert_eq!(host.run(&["list"]).ok().contains("web-0"), fits, "{selector}");
    }
    assert!(host.run(&["doctor"]).out.contains("tells of 1 running containers"));
}

#[test]
fn older_runtimes_and_other_places_are_asked_too() {
    let Some(mut host) = Host::new() else { return };
    let (id, pod) = ("2c".repeat(32), "2d".repeat(32));
    host.task(&cgroup_of(&id));
    let place = host.sandbox.plain("my-crio.sock");
    let older = "/runtime.v1alpha2.RuntimeService";
    let server = Server::start_grpc(&place, runtime(&id, &pod, older));
    let endpoint = format!("unix://{}", place.display());
    let mut command = host.command();
    command.env("CONTAINER_RUNTIME_ENDPOINT", endpoint).args(["--json", "containers"]);
    let ran = Ran::from(command.output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(of(&ran.json(), &id)["name"], "shop/web-0/nginx");
    assert_eq!(
        server.asked(),
        [PODS.to_owned(), format!("{older}/ListPodSandbox"), format!("{older}/ListContainers")]
    );
}

#[test]
fn a_runtime_whose_interface_is_turned_off_is_as_good_as_none() {
    let Some(mut host) = Host::new() else { return };
    let id = "3c".repeat(32);
    host.task(&cgroup_of(&id));
    let _server = Server::start_grpc(&host.socket(SOCKET), Box::new(|stream, _| grpc_refusal(stream)));
    let ran = host.run(&["--json", "containers"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(of(&ran.json(), &id)["name"], id[..12]);
    let doctor = host.run(&["doctor"]).out;
    assert!(doctor.contains("cannot be asked (it refuses the question)"), "{doctor}");
}

fn for_ever(stream: &mut UnixStream, bytes: &[u8]) -> std::io::Result<()> {
    loop {
        stream.write_all(bytes)?;
    }
}

/// What a socket does, and a part of the warning.
fn hostile() -> Vec<(&'static str, Answer)> {
    let say = |bytes: Vec<u8>| -> Answer { Box::new(move |stream, _| stream.write_all(&bytes)) };
    let greet = |more: Vec<u8>| say([frame(4, 0, 0, &[]), more].concat());
    let message = |bytes: &'static [u8]| -> Answer { Box::new(move |stream, _| grpc(stream, bytes)) };
    vec![
        ("does not answer in time", Box::new(|stream, _| hang(stream))),
        ("too soon", Box::new(|_, _| Ok(()))),
        ("not HTTP/2", say(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())),
        ("not HTTP/2", Box::new(|stream, _| for_ever(stream, &[0xff; 4096]))),
        ("not HTTP/2", Box::new(|stream, _| for_ever(stream, &frame(0, 0, 1, &[0; 4096])))),
        (
            "in time",
            // A byte now and then.
            Box::new(|stream, _| {
                for byte in frame(4, 0, 0, &[0; 6000]) {
                    stream.write_all(&[byte])?;
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                Ok(())
            }),
        ),
        ("too soon", greet(frame(0, 0, 1, b"\0\0\0\0\x05ab"))),
        ("breaks its answer off", greet(frame(3, 0, 1, &[0, 0, 0, 2]))),
        ("closes the connection", greet(frame(7, 0, 0, &[0; 8]))),
        ("no gRPC message", greet(frame(0, 1, 1, b"\x01\0\0\0\0"))),
        ("no gRPC message", greet(frame(0, 1, 1, b"\0\xff\xff\xff\xff"))),
        ("frame of padding", greet(frame(0, 9, 1, &[255, 0]))),
        (
            "does not come to an end",
            Box::new(|stream, _| {
                stream.write_all(&frame(4, 0, 0, &[]))?;
                // Answers to these are not read here, so that acknowledged ones are sent.
                for_ever(stream, &frame(6, 1, 0, &[0; 8]))
            }),
        ),
        (
            "more than 8 MB",
            Box::new(|stream, _| {
                stream.write_all(&frame(4, 0, 0, &[]))?;
                for_ever(stream, &frame(0, 0, 1, &[0; 16384]))
            }),
        ),
        ("no list of pods", message(b"\x0a\xff")),
        ("no list of pods", message(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")),
        ("no list of pods", message(b"\x0a\x03\x0a\x01\xff")),
        ("no list of pods", message(b"\x0b")),
    ]
}

#[test]
fn a_hostile_runtime_is_warned_of_and_everything_else_is_done() {
    let Some(mut host) = Host::new() else { return };
    let id = "4c".repeat(32);
    host.task(&cgroup_of(&id));
    host.run(&["create", "--kind", "cgroup"]).ok();
    for (number, (part, answer)) in hostile().into_iter().enumerate() {
        let _server = Server::start_grpc(&host.socket(SOCKET), answer);
        let words = ["--json", "containers"];
        let ran = if part.contains("in time") { host.run_briefly(&words) } else { host.run(&words) };
        assert_eq!((ran.code, ran.err.matches('\n').count()), (0, 1), "{number} `{part}`: {ran:?}");
        assert!(
            ran.err.starts_with("nsmap: note: containerd at `") && ran.err.contains(part),
            "{number} `{part}`: {ran:?}"
        );
        assert_eq!(of(&ran.json(), &id)["name"], id[..12], "{number}");
    }
    host.run(&["add-container", "4c4c"]).ok();
}

#[test]
fn names_of_a_runtime_do_not_draw_on_the_terminal() {
    let Some(mut host) = Host::new() else { return };
    let (id, pod) = ("5c".repeat(32), "5e".repeat(32));
    host.task(&cgroup_of(&id));
    let (pods, containers) = (cri_pods(&pod, "\u{1b}[31mred\nline\u{202e}"), cri_containers(&id, &pod));
    let _server = Server::start_grpc(
        &host.socket(SOCKET),
        Box::new(move |stream, method| grpc(stream, if method == PODS { &pods } else { &containers })),
    );
    let shown = host.run(&["containers"]).ok();
    assert!(!shown.contains(['\u{1b}', '\u{202e}']) && shown.contains("\\033[31mred\\nline"), "{shown:?}");
}
