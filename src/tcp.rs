//! What tcpconnect, tcpaccept and tcptracer share: the record, the options about connections, the fields.
//!
//! In: records of the three `bpf-src/tcp*.bpf.c`, which all are a `struct tcp_event` (`bpf-src/include/sock.h`). Out: fields for
//! their tables, settings for the kernel's filters. What each tool shows, and when, is in its own file.

use std::os::unix::fs::MetadataExt as _;

use loader::spec::ObjectSpec;
use loader::{Error, Result};

use crate::cli;
use crate::event::{Header, Wire, until_nul};
use crate::field::{Field, Value};
use crate::format::address::Address;
use crate::output::json::Object;
use crate::output::table::Align::{Left, Right};
use crate::record;
use crate::tracer::{Hook, Tracer, Way};

record! {
    /// `struct tcp_event`. Integers are in host byte order, addresses as in packets.
    pub struct TcpEvent {
        /// Whose connection it is; when and on which CPU the event was.
        header: Header,
        /// Own address; IPv4 in the first four bytes.
        local: [u8; 16],
        /// Address of the other end.
        remote: [u8; 16],
        /// Own port; 0 when not chosen yet.
        local_port: u16,
        /// Port of the other end.
        remote_port: u16,
        /// `AF_INET` or `AF_INET6`: of the socket.
        family: u16,
        /// 4 or 6: of the addresses.
        version: u16,
        /// Inode number of the network namespace.
        netns: u32,
        /// Number of the link that a link-local remote address is on; 0 none.
        scope: u32,
        /// Boot-clock nanoseconds of the begin of a connect, or of the establishment of what is closed; 0 not known.
        start_ns: u64,
        /// Bytes of payload sent, at close.
        sent: u64,
        /// Bytes of payload received, at close.
        received: u64,
        /// Errno of a failed connect, or of what broke the connection; 0 none.
        error: i32,
        /// See [`result`].
        result: u32,
        /// See [`flag`].
        flags: u32,
        /// State before the event; 0 not known.
        old_state: u32,
    }
}

/// Values of `TcpEvent::header.kind`.
pub mod kind {
    /// A connect, at one of its stages.
    pub const CONNECT: u32 = 1;
    /// A connection that was accepted.
    pub const ACCEPT: u32 = 2;
    /// The end of a connection.
    pub const CLOSE: u32 = 3;
}

/// Values of `TcpEvent::result`.
pub mod result {
    /// Connected.
    pub const OK: u32 = 1;
    /// Failed, see `TcpEvent::error`.
    pub const ERROR: u32 = 2;
    /// Given up by the process.
    pub const CLOSED: u32 = 3;
    /// No answer yet.
    pub const PENDING: u32 = 4;
    /// The first packet goes out.
    pub const SENT: u32 = 5;
}

/// Bits of `TcpEvent::flags`.
pub mod flag {
    /// Nobody knows whose connection it was.
    pub const OWNER_UNKNOWN: u32 = 0x01;
    /// It is older than the tool; the header tells who closed it.
    pub const OLDER: u32 = 0x02;
}

const AF_INET6: u16 = 10;

impl TcpEvent {
    /// Reads a record; its kind must be one of `kinds`.
    pub fn parse(bytes: &[u8], kinds: &[u32]) -> Result<Self> {
        let event = Self::read(bytes).ok_or_else(|| Error::invalid("too short for a tcp event"))?;
        if kinds.contains(&event.header.kind) {
            Ok(event)
        } else {
            Err(Error::invalid(format!("unknown kind {}", event.header.kind)))
        }
    }

    fn local(&self) -> Address {
        Address::new(self.version, self.local, 0)
    }

    fn remote(&self) -> Address {
        Address::new(self.version, self.remote, self.scope)
    }

    /// From the begin to this event; None when the begin is not known.
    fn span(&self) -> Value<'_> {
        match self.header.time_ns.checked_sub(self.start_ns) {
            Some(span) if self.start_ns != 0 => Value::Span(span),
            _ => Value::Unknown,
        }
    }

    /// For fields that only a close has.
    fn at_close<'a>(&'a self, value: Value<'a>) -> Value<'a> {
        if self.header.kind == kind::CLOSE { value } else { Value::Unknown }
    }

    fn owned<'a>(&'a self, value: Value<'a>) -> Value<'a> {
        if self.flags & flag::OWNER_UNKNOWN == 0 { value } else { Value::Unknown }
    }
}

// ---- options --------------------------------------------------------------------------------------------------------

/// Restrictions on the connection, which all tcp tools have.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Ends {
    /// Only IPv4 (also on IPv6 sockets, where it is mapped)
    #[arg(short = '4', long, conflicts_with = "ipv6", help_heading = "Filters")]
    pub ipv4: bool,
    /// Only IPv6
    #[arg(short = '6', long, help_heading = "Filters")]
    pub ipv6: bool,
    /// Only this network namespace: its inode number, or a path such as /proc/PID/ns/net
    #[arg(short = 'N', long, value_name = "NETNS", value_parser = netns, help_heading = "Filters")]
    pub netns: Option<u32>,
}

impl Ends {
    /// Sets the filters of the object.
    pub fn configure(&self, spec: &mut ObjectSpec) -> Result<()> {
        let version = match (self.ipv4, self.ipv6) {
            (true, _) => 4u32,
            (_, true) => 6,
            _ => 0,
        };
        spec.set_global("filter_version", version)?;
        spec.set_global("filter_netns", self.netns.unwrap_or(0))
    }

    /// Adds the filters in force to the `start` record.
    pub fn describe(&self, filters: &mut Object<'_>) {
        for (key, on) in [("ipv4", self.ipv4), ("ipv6", self.ipv6)] {
            if on {
                filters.bool(key, true);
            }
        }
        if let Some(netns) = self.netns {
            filters.u64("netns", netns.into());
        }
    }
}

fn netns(text: &str) -> Result<u32, String> {
    let inode = if text.starts_with(|c: char| c.is_ascii_digit()) {
        cli::number(text)?
    } else {
        std::fs::metadata(text).map_err(|error| format!("`{text}`: {error}"))?.ino()
    };
    match u32::try_from(inode) {
        Ok(inode @ 1..) => Ok(inode),
        _ => Err(format!("`{text}` is no network namespace")),
    }
}

/// Ports that the user chose: `80`, or `80,443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(Vec<u16>);

impl Ports {
    /// Reads a list.
    pub fn parse(text: &str) -> Result<Self, String> {
        let port = |item: &str| match cli::number(item)?.try_into() {
            Ok(port @ 1u16..) => Ok(port),
            _ => Err(format!("`{item}` is not a port, from 1 to 65535")),
        };
        text.split(',').map(port).collect::<Result<_, _>>().map(Self)
    }

    /// Sets the filter of the object: one bit for each port.
    pub fn configure(ports: Option<&Self>, spec: &mut ObjectSpec) -> Result<()> {
        let Some(Self(ports)) = ports else { return Ok(()) };
        let mut bits = vec![0u8; (usize::from(u16::MAX) + 1) / 8];
        for port in ports {
            if let Some(byte) = bits.get_mut(usize::from(port / 8)) {
                *byte |= 1 << (port % 8);
            }
        }
        spec.set_global("filter_ports_on", true)?;
        spec.set_global("filter_ports", &bits[..])
    }

    /// Adds the filter to the `start` record.
    pub fn describe(ports: Option<&Self>, filters: &mut Object<'_>) {
        if let Some(Self(ports)) = ports {
            let text: Vec<String> = ports.iter().map(u16::to_string).collect();
            filters.text("ports", text.join(",").as_bytes());
        }
    }
}

/// A number of connections that the kernel keeps at a time.
pub fn table_size(text: &str) -> Result<u32, String> {
    match cli::count(text)?.try_into() {
        Ok(size @ 1..=0x40_0000) => Ok(size),
        _ => Err(format!("`{text}` is too large: 4194304 is the most")),
    }
}

/// Sets how many entries a map of the object has.
pub fn set_table_size(spec: &mut ObjectSpec, map: &str, entries: u32) -> Result<()> {
    let map = spec.map_mut(map).ok_or_else(|| Error::invalid(format!("the object has no map `{map}`")))?;
    map.max_entries = entries;
    Ok(())
}

// ---- hooks ----------------------------------------------------------------------------------------------------------

/// The life of a socket.
pub const STATES: Hook = Hook {
    observes: "connections",
    ways: &[Way { name: "tp_btf/inet_sock_set_state", programs: &["set_state"], optional: &[] }],
};

/// Accepts: see `bpf-src/include/accept.h`.
pub const ACCEPTS: Hook = Hook {
    observes: "accepts",
    ways: &[
        Way { name: "fexit/inet_csk_accept", programs: &["exit_csk_accept"], optional: &[] },
        Way {
            name: "tracepoint/sys_exit_accept, sys_exit_accept4",
            programs: &["exit_accept4"],
            // Not every architecture has the older call, and few make all calls on sockets through one.
            optional: &["exit_accept", "accept_sockcall"],
        },
    ],
};

// ---- fields ---------------------------------------------------------------------------------------------------------

/// A tracer of TCP connections.
pub trait Tcp: Tracer {
    /// The event as it came from the kernel.
    fn tcp<'a>(event: &'a Self::Event<'_>) -> &'a TcpEvent;
}

/// The fields of the tcp tools. Columns are the caller's to add where the tools differ.
impl<T: Tcp> Field<T> {
    /// Process.
    pub const fn owner_pid() -> Self {
        Self::new("pid", "process id of the owner of the connection", |event| {
            T::tcp(event).owned(Value::Unsigned(T::tcp(event).header.pid.into()))
        })
        .column("PID", 6, Left, |_| true)
    }

    /// Thread.
    pub const fn owner_tid() -> Self {
        Self::new("tid", "thread id", |event| {
            T::tcp(event).owned(Value::Unsigned(T::tcp(event).header.tid.into()))
        })
    }

    /// Parent process.
    pub const fn owner_ppid() -> Self {
        Self::new("ppid", "process id of the parent", |event| {
            T::tcp(event).owned(Value::Unsigned(T::tcp(event).header.ppid.into()))
        })
    }

    /// User.
    pub const fn owner_uid() -> Self {
        Self::new("uid", "real user id", |event| {
            T::tcp(event).owned(Value::Unsigned(T::tcp(event).header.uid.into()))
        })
        .column("UID", 6, Left, |tool| tool.common().print_uid)
    }

    /// Group.
    pub const fn owner_gid() -> Self {
        Self::new("gid", "real group id", |event| {
            T::tcp(event).owned(Value::Unsigned(T::tcp(event).header.gid.into()))
        })
    }

    /// Name of the thread.
    pub const fn owner_comm(help: &'static str) -> Self {
        Self::new("comm", help, |event| {
            T::tcp(event).owned(Value::Text(until_nul(&T::tcp(event).header.comm)))
        })
        .column("COMM", 16, Left, |_| true)
    }

    /// IP version.
    pub const fn ip() -> Self {
        let help = "4 or 6; IPv4 addresses that are mapped into IPv6 are 4";
        Self::new("ip", help, |event| Value::Unsigned(T::tcp(event).version.into())).column(
            "IP",
            2,
            Left,
            |_| true,
        )
    }

    /// Family of the socket.
    pub const fn family() -> Self {
        Self::new("socket_family", "inet or inet6: what kind of socket it is", |event| {
            Value::Word(if T::tcp(event).family == AF_INET6 { "inet6" } else { "inet" })
        })
    }

    /// Own address.
    pub const fn local_address(header: &'static str) -> Self {
        Self::new("local_address", "address of this end", |event| Value::Address(T::tcp(event).local()))
            .column(header, 16, Left, |_| true)
    }

    /// Own port.
    pub const fn local_port(header: &'static str, width: usize, shown: fn(&T) -> bool) -> Self {
        Self::new("local_port", "port of this end", |event| match T::tcp(event).local_port {
            0 => Value::Unknown,
            port => Value::Unsigned(port.into()),
        })
        .column(header, width, Left, shown)
    }

    /// Address of the other end.
    pub const fn remote_address(header: &'static str) -> Self {
        Self::new("remote_address", "address of the other end", |event| {
            Value::Address(T::tcp(event).remote())
        })
        .column(header, 16, Left, |_| true)
    }

    /// Port of the other end.
    pub const fn remote_port(header: &'static str, width: usize) -> Self {
        Self::new("remote_port", "port of the other end", |event| {
            Value::Unsigned(T::tcp(event).remote_port.into())
        })
        .column(header, width, Left, |_| true)
    }

    /// Link of a link-local remote address.
    pub const fn scope() -> Self {
        let help = "number of the link that a link-local remote address is on";
        Self::new("scope_id", help, |event| Value::Known(T::tcp(event).scope.into()))
    }

    /// Network namespace.
    pub const fn netns(shown: fn(&T) -> bool) -> Self {
        Self::new("netns", "inode number of the network namespace", |event| {
            Value::Known(T::tcp(event).netns.into())
        })
        .column("NETNS", 10, Left, shown)
    }

    /// Outcome of a connect.
    pub const fn result(shown: fn(&T) -> bool) -> Self {
        let help = "ok, the error, closed (given up by the process), pending (no answer yet) or sent";
        Self::new("result", help, |event| match T::tcp(event).result {
            result::OK => Value::Word("ok"),
            result::ERROR => Value::ErrorName(T::tcp(event).error.saturating_neg()),
            result::CLOSED => Value::Word("closed"),
            result::PENDING => Value::Word("pending"),
            result::SENT => Value::Word("sent"),
            _ => Value::Unknown,
        })
        .column("RESULT", 12, Left, shown)
    }

    /// Number of the error.
    pub const fn errno() -> Self {
        Self::new("errno", "number of the error", |event| match T::tcp(event).error {
            0 => Value::Unknown,
            error => Value::Signed(error.into()),
        })
    }

    /// When the connect began.
    pub const fn connect_ns() -> Self {
        let help =
            "when the first packet went out, in nanoseconds since boot; the same in all records of a connect";
        Self::new("connect_ns", help, |event| Value::Known(T::tcp(event).start_ns))
    }

    /// How long the connect took.
    pub const fn latency(shown: fn(&T) -> bool) -> Self {
        let help = "from the first packet to this event; in the column milliseconds";
        Self::new("latency_ns", help, |event| T::tcp(event).span()).column("LAT(ms)", 9, Right, shown)
    }

    /// How long the connection lasted.
    pub const fn duration(shown: fn(&T) -> bool) -> Self {
        let help = "how long the connection was established; in the column milliseconds";
        Self::new("duration_ns", help, |event| T::tcp(event).at_close(T::tcp(event).span())).column(
            "DURATION(ms)",
            12,
            Right,
            shown,
        )
    }

    /// Bytes sent.
    pub const fn sent(shown: fn(&T) -> bool) -> Self {
        Self::new("bytes_sent", "bytes of payload sent, retransmissions not counted", |event| {
            T::tcp(event).at_close(Value::Unsigned(T::tcp(event).sent))
        })
        .column("TX", 10, Right, shown)
    }

    /// Bytes received.
    pub const fn received(shown: fn(&T) -> bool) -> Self {
        Self::new("bytes_received", "bytes of payload received", |event| {
            T::tcp(event).at_close(Value::Unsigned(T::tcp(event).received))
        })
        .column("RX", 10, Right, shown)
    }

    /// What broke a connection.
    pub const fn error() -> Self {
        Self::new("error", "name of the error that ended the connection", |event| {
            Value::ErrorName(T::tcp(event).error.saturating_neg())
        })
    }

    /// Whether the connection is older than the tool.
    pub const fn older() -> Self {
        let help = "whether the connection is older than the tool: pid is then who closed it, if anybody did";
        Self::new("older", help, |event| {
            Value::Bool(T::tcp(event).flags & (flag::OLDER | flag::OWNER_UNKNOWN) != 0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_a_list_of_numbers_without_zero() {
        assert_eq!(Ports::parse("80,443,65535"), Ok(Ports(vec![80, 443, 65535])));
        for bad in ["", "0", "65536", "80,", ",80", "80 ,81", "http", "-1", "80-90"] {
            assert!(Ports::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_network_namespace_is_a_number_or_a_path() {
        assert_eq!(netns("4026531840"), Ok(4_026_531_840));
        assert!(netns("0").is_err() && netns("12x").is_err() && netns("4294967296").is_err());
        assert!(netns("/proc/self/ns/net").is_ok());
        assert!(netns("/nothing/here").unwrap_err().starts_with("`/nothing/here`: "));
    }

    #[test]
    fn a_record_that_is_short_or_of_another_kind_is_refused() {
        let mut bytes = vec![0; TcpEvent::SIZE];
        assert_eq!(TcpEvent::SIZE, 160);
        bytes[52..56].copy_from_slice(&kind::CLOSE.to_ne_bytes());
        assert!(TcpEvent::parse(&bytes, &[kind::CLOSE]).is_ok());
        assert!(TcpEvent::parse(&bytes, &[kind::CONNECT, kind::ACCEPT]).is_err());
        assert!(TcpEvent::parse(&bytes[..159], &[kind::CLOSE]).is_err());
    }
}
