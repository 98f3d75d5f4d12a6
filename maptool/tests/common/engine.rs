//! The socket of a container engine, played by a thread: answers as recorded from real ones, or hostile ones.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
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
    /// Listens at `path` and answers each request by `answer`.
    pub(crate) fn start(path: &Path, answer: Answer) -> Self {
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
