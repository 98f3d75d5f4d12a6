//! What the tests of the three tcp tools share: a network namespace of their own, sockets, and processes that use them.
//!
//! A test makes a [`Scene`]: a sandbox in a network namespace where nothing but the test sends packets, so that what a tool
//! prints with `-N` of that namespace is known to the last row.
#![allow(dead_code)] // each test program compiles all of this and uses its part

pub(crate) mod container;
pub(crate) mod role;

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::common::run::{run, run_ok};
use crate::common::sandbox::Sandbox;
use crate::common::skip::Skip;
use crate::common::tracer::{Finished, Tracer};

/// A sandbox whose thread (and what that starts) is alone in a network namespace with a working loopback.
pub(crate) struct Scene {
    pub(crate) sandbox: Sandbox,
    tool: &'static str,
    _alone: MutexGuard<'static, ()>,
}

/// One scene at a time: the tables of a tool hold the connections of all network namespaces, so that tests beside each
/// other would fill them for each other.
static ALONE: Mutex<()> = Mutex::new(());

impl Scene {
    pub(crate) fn new(tool: &'static str) -> Result<Self, Skip> {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let sandbox = Sandbox::new()?;
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| Skip::NoSandbox(format!("unshare: {errno}")))?;
        ip("link set lo up")?;
        Ok(Self { sandbox, tool, _alone: alone })
    }

    /// Starts the tool on this network namespace, and waits until it is attached.
    #[track_caller]
    pub(crate) fn start<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Tracer {
        let mut command = self.sandbox.command(self.tool, args);
        command.args(["-N", "/proc/self/ns/net"]);
        Tracer::start(command)
    }

    #[track_caller]
    pub(crate) fn start_json<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Tracer {
        let mut all = vec!["--json".into()];
        all.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self.start(all)
    }

    /// Those of the hooks that the tool has with these options and that this kernel takes; one of them at least.
    pub(crate) fn hooks(&self, options: &[&str], names: &[&'static str]) -> Vec<&'static str> {
        let works = |name: &&&str| {
            let options = ["--hook", name, "--duration", "0.01"].into_iter().chain(options.iter().copied());
            run(&mut self.sandbox.command(self.tool, options)).code() == 0
        };
        let hooks: Vec<_> = names.iter().filter(works).copied().collect();
        assert!(!hooks.is_empty());
        hooks
    }

    /// Connects, accepts and closes once more, waits until all of that is out (so is what was before), and ends the
    /// tool. Gives the events of the others.
    #[track_caller]
    pub(crate) fn events(&self, tracer: Tracer) -> Vec<Value> {
        self.events_and_losses(tracer).0
    }

    /// The same, and how many events the tracer itself told as lost: none, except where the machine is emulated.
    #[track_caller]
    pub(crate) fn events_and_losses(&self, tracer: Tracer) -> (Vec<Value>, usize) {
        let (server, client) = self.mark(&tracer);
        let finished = tracer.stop().quiet();
        let lost = finished.records().last().and_then(|end| end["lost"].as_u64()).unwrap();
        let mut events = finished.events();
        // Both ports: the kernel may give one of them to a connection of the test, too.
        events.retain(|event| {
            let (local, remote) = (&event["local_port"], &event["remote_port"]);
            let connects = *remote == server && (*local == client || local.is_null());
            !(connects || *local == server && *remote == client)
        });
        (events, usize::try_from(lost).unwrap())
    }

    /// The same for a table: the rows of the others.
    #[track_caller]
    pub(crate) fn rows(&self, tracer: Tracer) -> Finished {
        let port = self.mark(&tracer).0.to_string();
        let mut finished = tracer.stop().quiet();
        finished.stdout.retain(|row| !row.split_whitespace().any(|word| word == port));
        finished
    }

    #[track_caller]
    fn mark(&self, tracer: &Tracer) -> (u16, u16) {
        settle();
        let (client, server) = pair("127.0.0.1");
        let port = server.local_addr().unwrap().port();
        let other = client.local_addr().unwrap().port();
        drop(server);
        drop(client);
        let word = port.to_string();
        // In JSON only as a port: a clock may show the same digits.
        let key = format!("_port\":{word},");
        let has_port = |line: &str| line.contains(&key) || line.split_whitespace().any(|part| part == word);
        let is_last = |line: &str| match self.tool {
            "tcptracer" => has_port(line) && (line.contains("close") || line.starts_with('X')),
            _ => has_port(line),
        };
        // The two closes come in either order: both are there when there are two.
        let (seen, wanted) = (Cell::new(0), if self.tool == "tcptracer" { 2 } else { 1 });
        tracer.wait_line("marker", |line| {
            seen.set(seen.get() + u32::from(is_last(line)));
            seen.get() == wanted
        });
        (port, other)
    }
}

/// Waits until no connection of this network namespace is in the middle of a close that the kernel does on its own: packets
/// that wait for one processor are overtaken by those of a marker on another. An end that cannot finish, because the other
/// one does not answer, is left alone after a while.
fn settle() {
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline && ["tcp", "tcp6"].iter().any(|table| is_closing(table)) {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a socket without a process is in FIN_WAIT1, LAST_ACK or CLOSING, by `/proc/net` (proc(5): `st` and `inode`).
fn is_closing(table: &str) -> bool {
    let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
    text.lines().skip(1).any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        matches!(columns.get(3), Some(&("04" | "09" | "0B"))) && columns.get(9) == Some(&"0")
    })
}

/// Runs `ip` or the one in a busybox.
pub(crate) fn ip(args: &str) -> Result<(), Skip> {
    let mut command = if let Some(ip) = ["/sbin/ip", "/bin/ip"].iter().find(|path| Path::new(path).exists()) {
        Command::new(ip)
    } else if Path::new("/bin/busybox").exists() {
        let mut busybox = Command::new("/bin/busybox");
        busybox.arg("ip");
        busybox
    } else {
        return Err(Skip::NoPeer("ip"));
    };
    run_ok(command.args(args.split(' ')));
    Ok(())
}

/// Gives the loopback interface an address, as `ip addr add` takes it, and waits until it can be used. (A busybox cannot say
/// `nodad`: then the kernel looks for a moment whether somebody else has it.)
pub(crate) fn own_address(address: &str, scope: u32) -> Result<Ipv6Addr, Skip> {
    ip(&format!("addr add {address} dev lo"))?;
    let (address, _) = address.split_once('/').unwrap();
    let address: Ipv6Addr = address.parse().unwrap();
    let place = std::net::SocketAddrV6::new(address, 0, 0, scope);
    wait_until("the address can be used", || TcpListener::bind(place).is_ok());
    Ok(address)
}

/// Two ends of a multipath connection to which the kernel has added a second path.
pub(crate) fn pair_with_two_paths() -> Result<(TcpStream, TcpStream), Skip> {
    let make = || Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP));
    let listener = make().map_err(|_| Skip::NotInKernel("MPTCP"))?;
    ip("addr add 192.0.2.1/32 dev lo")?;
    ip("addr add 192.0.2.2/32 dev lo")?;
    let endpoint =
        Command::new("/sbin/ip").args(["mptcp", "endpoint", "add", "192.0.2.2", "subflow"]).output();
    if !endpoint.is_ok_and(|output| output.status.success()) {
        return Err(Skip::NoPeer("ip that knows mptcp"));
    }
    ip("mptcp limits set subflow 2")?;
    listener.bind(&SocketAddr::from(([192, 0, 2, 1], 0)).into()).unwrap();
    listener.listen(16).unwrap();
    let client = make().unwrap();
    client.connect(&listener.local_addr().unwrap()).unwrap();
    let (client, server) = (TcpStream::from(client), TcpStream::from(listener.accept().unwrap().0));
    wait_until("the second path is there", || {
        transfer(&client, &server, 1);
        transfer(&server, &client, 1);
        added_paths() == 1
    });
    Ok((client, server))
}

/// Two ends of a connection whose first packet had five bytes of data, which were there for who accepted before the connection was
/// established.
pub(crate) fn fast_open_pair() -> Result<(TcpStream, TcpStream), Skip> {
    // Client and server, neither needs a cookie, every listener (Documentation/networking/ip-sysctl.rst).
    fs::write("/proc/sys/net/ipv4/tcp_fastopen", "1543").map_err(|_| Skip::NotInKernel("TCP fast open"))?;
    let listener = listen("127.0.0.1");
    let before = count_in_netstat("TcpExt:", "TCPFastOpenPassive");
    let client = socket(Domain::IPV4);
    let address: SockAddr = listener.local_addr().unwrap().into();
    assert_eq!(client.send_to_with_flags(b"hello", &address, libc::MSG_FASTOPEN).unwrap(), 5);
    let (mut server, _) = listener.accept().unwrap();
    server.read_exact(&mut [0; 5]).unwrap();
    assert_eq!(count_in_netstat("TcpExt:", "TCPFastOpenPassive"), before + 1);
    Ok((client.into(), server))
}

/// How many paths of others the kernel has taken in this network namespace.
fn added_paths() -> u64 {
    count_in_netstat("MPTcpExt:", "MPJoinAckRx")
}

/// A counter of this network namespace: two lines of a kind, of names and of numbers.
fn count_in_netstat(kind: &str, name: &str) -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/netstat").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with(kind));
    let (names, numbers) = (lines.next().unwrap(), lines.next().unwrap());
    let mut columns = names.split(' ').zip(numbers.split(' '));
    columns.find(|(column, _)| *column == name).unwrap().1.parse().unwrap()
}

/// A listener on a port that the kernel chooses.
pub(crate) fn listen(host: &str) -> TcpListener {
    TcpListener::bind((host, 0)).unwrap()
}

/// Two ends of an established connection: who connected, who accepted.
pub(crate) fn pair(host: &str) -> (TcpStream, TcpStream) {
    let listener = listen(host);
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

/// Closes both ends, the client's last, which ends both connections for good.
pub(crate) fn close((client, server): (TcpStream, TcpStream)) {
    drop(server);
    drop(client);
}

/// A TCP socket.
pub(crate) fn socket(domain: Domain) -> Socket {
    Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).unwrap()
}

pub(crate) fn loopback(port: u16) -> SockAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()
}

/// A socket that is connected to itself, which is the end of two that connect to each other at the same time, and its port.
pub(crate) fn connected_to_itself() -> (Socket, u16) {
    let socket = socket(Domain::IPV4);
    socket.bind(&loopback(0)).unwrap();
    let own = socket.local_addr().unwrap();
    socket.connect(&own).unwrap();
    (socket, own.as_socket().unwrap().port())
}

/// 127.0.0.1 as IPv6 sockets know it.
pub(crate) fn mapped(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), port))
}

/// A port of 127.0.0.1 that nobody listens on.
pub(crate) fn closed_port() -> u16 {
    listen("127.0.0.1").local_addr().unwrap().port()
}

/// A listener that does not answer: its queue is full.
pub(crate) struct BlackHole {
    pub(crate) port: u16,
    listener: Socket,
    _queued: Socket,
}

impl BlackHole {
    /// To be made before the tool starts, unless a connect more does not matter.
    pub(crate) fn new() -> Self {
        let listener = socket(Domain::IPV4);
        listener.bind(&loopback(0)).unwrap();
        listener.listen(0).unwrap();
        let port = listener.local_addr().unwrap().as_socket().unwrap().port();
        let queued = socket(Domain::IPV4);
        queued.connect(&loopback(port)).unwrap();
        Self { port, listener, _queued: queued }
    }

    /// Makes room: whoever is connecting is answered when it asks the next time.
    pub(crate) fn answer(&self) {
        drop(self.listener.accept().unwrap());
    }

    /// A socket that is connecting to it.
    pub(crate) fn connecting(&self) -> Socket {
        let socket = socket(Domain::IPV4);
        socket.set_nonblocking(true).unwrap();
        let error = socket.connect(&loopback(self.port)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINPROGRESS));
        socket
    }
}

/// Sends bytes, all of which arrive.
pub(crate) fn transfer(mut from: &TcpStream, mut to: &TcpStream, bytes: usize) {
    let data = vec![b'x'; bytes];
    std::thread::scope(|scope| {
        scope.spawn(|| from.write_all(&data).unwrap());
        to.read_exact(&mut vec![0; bytes]).unwrap();
    });
}

/// The values of a key, in the order of the events.
pub(crate) fn values<'a>(events: &'a [Value], key: &str) -> Vec<&'a Value> {
    events.iter().map(|event| &event[key]).collect()
}

pub(crate) const IPV6_LOOPBACK: Ipv6Addr = Ipv6Addr::LOCALHOST;

/// Waits until a condition holds, which the kernel brings about.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + crate::common::BOUND;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within the bound");
        std::thread::sleep(Duration::from_millis(2));
    }
}
