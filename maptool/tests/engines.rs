//! Engines that are asked: their sockets, played by a small server with answers of the real form and with hostile ones.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::cell::Cell;
use std::fs;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};

use common::Ran;
use common::engine::{Answer, DOCKER_HEAD, Server, chunked, docker_summary, hang, plain};
use common::following::can_watch;
use common::host::{Host, of};
use nsmap::identity::cgroup::id_of_path;

#[test]
fn docker_is_asked_for_what_its_files_do_not_tell() {
    let Some(mut host) = Host::new() else { return };
    let id = "3f".repeat(32);
    let pid = host.task(&format!("docker/{id}"));
    let body = format!("[{}]", docker_summary(&id, "web", r#""tier":"db","empty":"","n":7"#));
    let server = Server::start(
        &host.socket("run/docker.sock"),
        Box::new(move |stream, _| chunked(stream, DOCKER_HEAD, &body)),
    );
    host.run(&["create", "--kind", "cgroup"]).ok();
    let ran = host.run(&["--json", "containers"]);
    let shown = ran.json();
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let one = of(&shown, &id);
    assert_eq!((&one["name"], &one["image"]), (&"web".into(), &"nginx:1".into()));
    assert_eq!((&one["engine"], &one["pid"]), (&"docker".into(), &pid.into()));
    assert_eq!(one["labels"], serde_json::json!({ "tier": "db", "empty": "" }));
    host.run(&["add-container", "docker://web"]).ok();
    assert!(host.run(&["list"]).ok().contains("[docker:web]"));
    host.run(&["follow", "label:tier=d?", "--once"]).ok();
    assert!(host.run(&["list"]).ok().contains("[docker:web]"));
    host.run(&["follow", "label:tier=web", "--once"]).ok();
    assert!(!host.run(&["list"]).ok().contains("[docker:web]"));
    assert!(server.asked().iter().all(|target| target == "/containers/json"), "{:?}", server.asked());
    assert!(host.run(&["doctor"]).out.contains("tells of 1 running containers"));
}

#[test]
fn docker_is_left_in_peace_when_its_files_tell_all() {
    let Some(mut host) = Host::new() else { return };
    let id = "3e".repeat(32);
    let pid = host.task(&format!("docker/{id}"));
    let file = host.socket(&format!("var/lib/docker/containers/{id}/config.v2.json"));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let config =
        format!(r#"{{"ID":"{id}","Name":"/web","State":{{"Pid":{pid}}},"Config":{{"Labels":{{}}}}}}"#);
    fs::write(file, config).unwrap();
    let server = Server::start(&host.socket("run/docker.sock"), Box::new(|stream, _| hang(stream)));
    // Other tests' containers may be seen, and asked for; a set is about its own members only.
    host.run(&["create", "--kind", "cgroup"]).ok();
    let own = host.own.path.join(format!("docker/{id}"));
    host.run(&["add-cgroup", common::arg(&own)]).ok();
    assert!(host.run(&["list"]).ok().contains("[docker:web]"));
    assert_eq!(server.asked(), Vec::<String>::new());
}

#[test]
fn podman_tells_labels_that_its_files_have_not() {
    let Some(mut host) = Host::new() else { return };
    let id = "5d".repeat(32);
    host.task(&format!("libpod_parent/libpod-{id}"));
    let list = host.socket("var/lib/containers/storage/overlay-containers/containers.json");
    fs::create_dir_all(list.parent().unwrap()).unwrap();
    fs::write(list, format!(r#"[{{"id":"{id}","names":["db"]}}]"#)).unwrap();
    let summary = format!(
        r#"[{{"Id":"{id}","Names":["/db"],"Image":"docker.io/library/postgres:16","ImageID":"sha256:{id}","Command":"postgres","Created":1700000000,"Ports":[],"Labels":{{"io.buildah.version":"1.28.0","tier":"db"}},"State":"running","Status":"Up 5 seconds","NetworkSettings":{{"Networks":{{}}}},"Mounts":null,"Name":"","Config":null,"NetworkingConfig":null,"Platform":null,"AdjustCPUShares":false}}]"#
    );
    // The user's own one.
    let _server = Server::start(
        &host.socket("run/user/7/podman/podman.sock"),
        Box::new(move |stream, _| {
            plain(stream, "HTTP/1.1 200 OK\r\nLibpod-Api-Version: 4.3.1\r\n", &summary)
        }),
    );
    host.run(&["create", "--kind", "cgroup"]).ok();
    let follow = |xdg: &str| {
        let words = ["follow", "label:tier=db,engine:podman", "--once"];
        Ran::from(host.command().env("XDG_RUNTIME_DIR", xdg).args(words).output().unwrap()).ok()
    };
    assert_eq!(follow(""), "");
    assert!(follow("/run/user/7").contains("podman:db"));
}

#[test]
fn docker_host_names_another_socket_and_inspection_finds_the_process() {
    let Some(mut host) = Host::new() else { return };
    let id = "7c".repeat(32);
    // A path that no pattern knows: only the engine can say that this process is the container's.
    let pid = host.task(&format!("elsewhere-{id}-x"));
    let place = host.sandbox.plain("my.sock");
    let list = format!("[{}]", docker_summary(&id, "web", ""));
    let told = format!(
        r#"{{"Id":"{id}","Created":"2023-11-14T22:13:20.0Z","Path":"nginx","State":{{"Status":"running","Running":true,"Pid":{pid},"ExitCode":0}},"Name":"/web"}}"#
    );
    let server = Server::start(
        &place,
        Box::new(move |stream, target| match target {
            "/containers/json" => chunked(stream, DOCKER_HEAD, &list),
            _ => plain(stream, DOCKER_HEAD, &told),
        }),
    );
    let run = |value: String| {
        let ran = host.command().env("DOCKER_HOST", value).args(["--json", "containers"]).output().unwrap();
        Ran::from(ran).json()
    };
    let shown = run(format!("unix://{}", place.display()));
    assert_eq!((&of(&shown, &id)["name"], &of(&shown, &id)["pid"]), (&"web".into(), &pid.into()));
    assert_eq!(server.asked(), ["/containers/json".to_owned(), format!("/containers/{id}/json")]);
    for other in ["tcp://127.0.0.1:1", "ssh://host", "unix://", "unix:///no/such"] {
        let shown = run(other.to_owned());
        assert!(shown["containers"].as_array().unwrap().iter().all(|one| one["id"] != *id), "{other}");
    }
}

/// Sends the same bytes as long as somebody reads them.
fn for_ever(stream: &mut UnixStream, bytes: &[u8]) -> std::io::Result<()> {
    loop {
        stream.write_all(bytes)?;
    }
}

/// What a socket does, and a part of the warning.
fn hostile() -> Vec<(&'static str, Answer)> {
    let text = |text: String| -> Answer { Box::new(move |stream, _| stream.write_all(text.as_bytes())) };
    let body = |text: &'static str| -> Answer { Box::new(move |stream, _| plain(stream, DOCKER_HEAD, text)) };
    vec![
        ("does not answer in time", Box::new(|stream, _| hang(stream))),
        ("too soon", Box::new(|_, _| Ok(()))),
        ("not HTTP", text("220 mail.example ESMTP\r\n".to_owned())),
        ("not HTTP", Box::new(|stream, _| for_ever(stream, &[0xff, b'\n']))),
        ("header that is too long", Box::new(|stream, _| for_ever(stream, b"HTTP/1.1 200 OK\r\n  : "))),
        (
            "in time",
            // A byte now and then.
            Box::new(|stream, _| {
                stream.write_all(DOCKER_HEAD.as_bytes())?;
                loop {
                    stream.write_all(b"X")?;
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
            }),
        ),
        (
            "answers `301 Moved Permanently`",
            text("HTTP/1.1 301 Moved Permanently\r\nLocation: /x\r\n\r\n".into()),
        ),
        ("answers `$'500 ", text("HTTP/1.1 500 \u{1b}[31m\r\n\r\n".into())),
        ("more than 8 MB", text(format!("{DOCKER_HEAD}Content-Length: 1152921504606846976\r\n\r\n"))),
        (
            "more than 8 MB",
            Box::new(|stream, _| {
                write!(stream, "{DOCKER_HEAD}\r\n")?;
                for_ever(stream, &[b' '; 4096])
            }),
        ),
        (
            "more than 8 MB",
            Box::new(|stream, _| {
                write!(stream, "{DOCKER_HEAD}Transfer-Encoding: chunked\r\n\r\n")?;
                for_ever(stream, format!("10000\r\n{}\r\n", "[".repeat(0x10000)).as_bytes())
            }),
        ),
        ("no list of containers", body("{\"message\":\"no\"}")),
        ("no list of containers", body("[{\"Id\":")),
        ("no list of containers", text(format!("{DOCKER_HEAD}\r\n{}", "[".repeat(100_000)))),
    ]
}

#[test]
fn a_hostile_socket_is_warned_of_and_everything_else_is_done() {
    let Some(mut host) = Host::new() else { return };
    let (docker, podman) = ("4a".repeat(32), "4b".repeat(32));
    host.task(&format!("docker/{docker}"));
    host.task(&format!("libpod_parent/libpod-{podman}"));
    let good = format!("[{}]", docker_summary(&podman, "db", "").replace("docker", "podman"));
    let _good = Server::start(
        &host.socket("run/podman/podman.sock"),
        Box::new(move |stream, _| plain(stream, DOCKER_HEAD, &good)),
    );
    host.run(&["create", "--kind", "cgroup"]).ok();
    for (part, answer) in hostile() {
        let socket = host.socket("run/docker.sock");
        let _server = Server::start(&socket, answer);
        let words = ["--json", "containers"];
        let ran = if part.contains("in time") { host.run_briefly(&words) } else { host.run(&words) };
        assert_eq!((ran.code, ran.err.matches('\n').count()), (0, 1), "`{part}`: {ran:?}");
        assert!(
            ran.err.starts_with("nsmap: note: docker at `") && ran.err.contains(part),
            "`{part}`: {ran:?}"
        );
        assert!(!ran.err.contains('\u{1b}'), "{ran:?}");
        let shown = ran.json();
        assert_eq!(
            (&of(&shown, &podman)["name"], &of(&shown, &docker)["name"]),
            (&"db".into(), &"4a4a4a4a4a4a".into())
        );
        if part.contains("in time") {
            continue;
        }
        let ran = host.run(&["add-container", "4a4a"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let ran = host.run(&["list"]);
        assert!(ran.out.contains("[docker:4a4a4a4a4a4a]") && ran.err.contains(part), "{ran:?}");
    }
    let doctor = host.run(&["doctor"]);
    assert!(doctor.out.contains("warning  engine sockets: docker at `"), "{doctor:?}");
}

#[test]
fn a_socket_that_takes_nobody_in_is_given_up_and_one_without_a_server_is_none() {
    let Some(mut host) = Host::new() else { return };
    let id = "6b".repeat(32);
    host.task(&format!("docker/{id}"));
    let socket = host.socket("run/docker.sock");
    fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let listener = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    listener.bind(&socket2::SockAddr::unix(&socket).unwrap()).unwrap();
    listener.listen(0).unwrap();
    // Its queue is full with this one.
    let waiting = UnixStream::connect(&socket).unwrap();
    let ran = host.run_briefly(&["containers"]);
    assert!(ran.code == 0 && ran.err.contains("does not answer in time"), "{ran:?}");
    drop((listener, waiting));
    assert_eq!(host.run(&["containers"]).err, "", "refused: nobody is there");
    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "").unwrap();
    assert_eq!(host.run(&["containers"]).err, "", "a file");
    fs::remove_file(&socket).unwrap();
    let _closed = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut nobody = host.sandbox.command_as_nobody();
    nobody.env("NSMAP_HOST_ROOT", host.sandbox.plain("host"));
    let ran = Ran::from(nobody.arg("containers").output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "not for us");
}

#[test]
fn names_that_draw_and_ids_that_ask_for_more_do_no_harm() {
    let Some(mut host) = Host::new() else { return };
    let id = "9a".repeat(32);
    host.task(&format!("docker/{id}"));
    let list = format!(
        r#"[{},{{"Id":"x HTTP/1.1\r\nHost: y\r\n\r\nDELETE /","Names":["/evil"]}},{{"Id":"{}","Names":[7,null,"/"]}},{{"Id":7}},7,null]"#,
        docker_summary(&id, "\\u001b[31mred\\nline\\u202e", ""),
        "../".repeat(22)
    );
    let server = Server::start(
        &host.socket("run/docker.sock"),
        Box::new(move |stream, target| match target {
            "/containers/json" => chunked(stream, DOCKER_HEAD, &list),
            _ => stream.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n"),
        }),
    );
    let shown = host.run(&["containers"]).ok();
    assert!(
        shown.contains("$'\\033[31mred\\nline\\342\\200\\256'") && !shown.contains('\u{1b}'),
        "{shown:?}"
    );
    assert!(!shown.contains("evil"), "{shown}");
    assert_eq!(server.asked(), ["/containers/json"]);
}

#[test]
fn following_goes_on_while_an_engine_hangs() {
    let Some(mut host) = Host::new() else { return };
    if !can_watch() {
        return;
    }
    let id = "8d".repeat(32);
    let _server = Server::start(&host.socket("run/docker.sock"), Box::new(|stream, _| hang(stream)));
    host.run(&["create", "--kind", "cgroup"]).ok();
    let glob = format!("/{}/*", host.own.path.file_name().unwrap().to_str().unwrap());
    let mut command = host.command();
    command
        .env("NSMAP_ENGINE_TIMEOUT_MS", "500")
        .args(["--json", "follow", "label:tier=db", &glob, "--for", "60s"])
        .stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut until = |wanted: &dyn Fn(&serde_json::Value) -> bool| {
        let found =
            (0..1000).any(|_| wanted(&serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap()));
        assert!(found);
    };
    // The directory `docker` matches by its path, the container in it might by its labels. Whether it is seen at the
    // start or as it comes, its engine is asked, and warned of, in the one order or the other.
    host.task(&format!("docker/{id}"));
    let expected = id_of_path(&host.own.path.join("docker")).unwrap();
    let (added, warned) = (Cell::new(false), Cell::new(false));
    until(&|line| {
        added.set(added.get() || line["event"] == "added" && line["id"] == expected);
        let late = line["error"].as_str().is_some_and(|why| why.contains("does not answer in time"));
        warned.set(warned.get() || line["event"] == "warning" && late);
        added.get() && warned.get()
    });
    // It is there all the same when the next one comes.
    host.task("second");
    let expected = id_of_path(&host.own.path.join("second")).unwrap();
    until(&|line| line["event"] == "added" && line["id"] == expected);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_label_that_the_engine_tells_late_is_followed() {
    let Some(mut host) = Host::new() else { return };
    if !can_watch() {
        return;
    }
    let id = "8e".repeat(32);
    let started = host.sandbox.plain("started");
    let (flag, summary) = (started.clone(), docker_summary(&id, "web", r#""tier":"db""#));
    let server = Server::start(
        &host.socket("run/docker.sock"),
        Box::new(move |stream, _| {
            let body = if flag.exists() { format!("[{summary}]") } else { "[]".to_owned() };
            chunked(stream, DOCKER_HEAD, &body)
        }),
    );
    host.run(&["create", "--kind", "cgroup"]).ok();
    host.task(&format!("docker/{id}"));
    let mut command = host.command();
    command.args(["--json", "follow", "label:tier=db", "--for", "60s"]).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let before = (0..10_000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(1));
        server.asked().len() > 1
    });
    assert!(before, "it was there before, and is asked for again");
    fs::write(started, "").unwrap();
    let mut line = String::new();
    let out = child.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
    let added: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&added["event"], &added["name"]), (&"added".into(), &"docker:web".into()));
    child.kill().unwrap();
    child.wait().unwrap();
}
