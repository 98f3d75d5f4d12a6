//! The socket of a container engine, played by a thread: answers as recorded from real ones, or hostile ones.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What a server does with one connection; the target is that of the request line.
pub(crate) type Answer = Box<dyn Fn(&mut UnixStream, &str) -> std::io::Result<()> + Send>;

/// A server that answers until the test ends.
pub(crate) struct Server {
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Listens at `path` and answers each request, of Docker's HTTP, by `answer`.
    pub(crate) fn start(path: &Path, answer: Answer) -> Self {
        Self::listen(path, request, answer)
    }

    /// The same for calls of gRPC, whose target is the method.
    pub(crate) fn start_grpc(path: &Path, answer: Answer) -> Self {
        Self::listen(path, call, answer)
    }

    fn listen(path: &Path, request: fn(&UnixStream) -> std::io::Result<String>, answer: Answer) -> Self {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // The tool may have gone away, which is its right.
                let _ = stream.and_then(|mut stream| {
                    let target = request(&stream)?;
                    log.lock().unwrap().push(target.clone());
                    answer(&mut stream, &target)
                });
            }
        });
        Self { asked }
    }

    /// The targets that were asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// The target of a request, after the whole of it was read and checked.
fn request(stream: &UnixStream) -> std::io::Result<String> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut host = false;
    for line in lines {
        let line = line?;
        host |= line.starts_with("Host: ");
        if line.is_empty() {
            break;
        }
    }
    let target = first.strip_prefix("GET ").and_then(|rest| rest.strip_suffix(" HTTP/1.1"));
    match target {
        Some(target) if host => Ok(target.to_owned()),
        _ => Ok(format!("not a request: {first}")),
    }
}

/// The method of a call, after the whole of it was read and checked: the preface, and frames up to the end of stream 1.
fn call(mut stream: &UnixStream) -> std::io::Result<String> {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface)?;
    assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let mut method = String::new();
    loop {
        let mut header = [0; 9];
        stream.read_exact(&mut header)?;
        let mut payload = vec![0; usize::from(header[1]) << 8 | usize::from(header[2])];
        stream.read_exact(&mut payload)?;
        match (header[3], header[4]) {
            // POST, http, and the path as it is.
            (1, 4) => {
                let path = payload.strip_prefix(b"\x83\x86\x04").unwrap();
                method = String::from_utf8(path[1..=usize::from(path[0])].to_vec()).unwrap();
            }
            (0, 1) => return Ok(method),
            _ => {}
        }
    }
}

/// A frame of HTTP/2.
pub(crate) fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// As gRPC servers answer a call: settings, a head, the message in frames, and that all went well.
pub(crate) fn grpc(stream: &mut UnixStream, message: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let body = [&[0], &length[..], message].concat();
    let mut out = [frame(4, 0, 0, &[0, 5, 0, 0, 0x40, 0]), frame(4, 1, 0, &[])].concat();
    out.extend(frame(1, 4, 1, b"\x88\x5f\x10application/grpc"));
    body.chunks(61).for_each(|part| out.extend(frame(0, 0, 1, part)));
    out.extend(frame(1, 5, 1, b"\0\x0bgrpc-status\x010"));
    stream.write_all(&out)
}

/// A call that the server has no service for.
pub(crate) fn grpc_refusal(stream: &mut UnixStream) -> std::io::Result<()> {
    let head = b"\x88\x5f\x10application/grpc\0\x0bgrpc-status\x0212";
    stream.write_all(&[frame(4, 0, 0, &[]), frame(1, 5, 1, head)].concat())
}

/// A field of a protocol buffer that holds bytes, up to 16 KB of them.
pub(crate) fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let (low, high) = (bytes.len() % 128, bytes.len() / 128);
    let mut out = vec![number << 3 | 2, u8::try_from(low).unwrap() | 0x80, u8::try_from(high).unwrap()];
    out.extend(bytes);
    out
}

/// The answer of `ListPodSandbox`: one pod, `shop/NAME`, with a label `app=web`.
pub(crate) fn cri_pods(id: &str, name: &str) -> Vec<u8> {
    let metadata =
        [field(1, name.as_bytes()), field(2, b"01234567-0123-0123-0123-0123456789ab"), field(3, b"shop")];
    let label = [field(1, b"app"), field(2, b"web")].concat();
    let pod = [field(1, id.as_bytes()), field(2, &metadata.concat()), vec![0x20, 7], field(5, &label)];
    field(1, &pod.concat())
}

/// The answer of `ListContainers`: one container of that pod.
pub(crate) fn cri_containers(id: &str, pod: &str) -> Vec<u8> {
    let container = [
        field(1, id.as_bytes()),
        field(2, pod.as_bytes()),
        field(3, &field(1, b"nginx")),
        field(4, &field(1, b"nginx:1")),
        field(5, b"sha256:0"),
        vec![0x30, 1],
    ];
    field(1, &container.concat())
}

/// The head of Docker's answers.
pub(crate) const DOCKER_HEAD: &str = "HTTP/1.1 200 OK\r\nApi-Version: 1.43\r\nContent-Type: application/json\r\n\
     Docker-Experimental: false\r\nOstype: linux\r\nServer: Docker/24.0.7 (linux)\r\n\
     Date: Tue, 14 Nov 2023 22:13:20 GMT\r\nConnection: close\r\n";

/// An element of Docker's `GET /containers/json`.
pub(crate) fn docker_summary(id: &str, name: &str, labels: &str) -> String {
    format!(
        r#"{{"Id":"{id}","Names":["/{name}","/app/db"],"Image":"nginx:1","ImageID":"sha256:{id}","Command":"/docker-entrypoint.sh nginx -g 'daemon off;'","Created":1700000000,"Ports":[{{"PrivatePort":80,"Type":"tcp"}}],"Labels":{{{labels}}},"State":"running","Status":"Up 2 minutes","HostConfig":{{"NetworkMode":"default"}},"NetworkSettings":{{"Networks":{{"bridge":{{"IPAMConfig":null,"Links":null,"Gateway":"172.17.0.1","IPPrefixLen":16}}}}}},"Mounts":[]}}"#
    )
}

/// As the Go server writes a body whose length it does not know: in chunks.
pub(crate) fn chunked(stream: &mut UnixStream, head: &str, body: &str) -> std::io::Result<()> {
    write!(stream, "{head}Transfer-Encoding: chunked\r\n\r\n")?;
    for chunk in body.as_bytes().chunks(97) {
        write!(stream, "{:x}\r\n", chunk.len())?;
        stream.write_all(chunk)?;
        stream.write_all(b"\r\n")?;
    }
    stream.write_all(b"0\r\n\r\n")
}

/// A body of known length.
pub(crate) fn plain(stream: &mut UnixStream, head: &str, body: &str) -> std::io::Result<()> {
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// Waits until the other side is gone.
pub(crate) fn hang(stream: &mut UnixStream) -> std::io::Result<()> {
    std::io::copy(stream, &mut std::io::sink()).map(drop)
}
