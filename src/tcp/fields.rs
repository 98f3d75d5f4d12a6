//! The fields of the tcp tools; which of them a tool has, in which order and with which headers, is in its own table.

use super::{AF_INET6, Tcp, Tool, flag, result};
use crate::event::until_nul;
use crate::field::{Field, Value, WIDEST_ID, WIDEST_PID};
use crate::output::table::Align::{Left, Right};

/// Terminal columns of the longest IPv6 address; those with a link are shorter.
const WIDEST_ADDRESS: usize = 39;

/// The fields of the tcp tools. Columns are the caller's to add where the tools differ.
impl<O: Tool> Field<Tcp<O>> {
    /// Process.
    pub const fn owner_pid() -> Self {
        Self::new("pid", "process id of the owner of the connection", |event| {
            event.tcp.owned(Value::Unsigned(event.tcp.header.pid.into()))
        })
        .column("PID", 6, Left, |_| true)
        .widening(WIDEST_PID)
    }

    /// Thread.
    pub const fn owner_tid() -> Self {
        Self::new("tid", "thread id", |event| event.tcp.owned(Value::Unsigned(event.tcp.header.tid.into())))
    }

    /// Parent process.
    pub const fn owner_ppid() -> Self {
        Self::new("ppid", "process id of the parent", |event| {
            event.tcp.owned(Value::Unsigned(event.tcp.header.ppid.into()))
        })
    }

    /// User.
    pub const fn owner_uid() -> Self {
        Self::new("uid", "real user id", |event| {
            event.tcp.owned(Value::Unsigned(event.tcp.header.uid.into()))
        })
        .column("UID", 6, Left, |tool| tool.common.print_uid)
        .widening(WIDEST_ID)
    }

    /// Group.
    pub const fn owner_gid() -> Self {
        Self::new("gid", "real group id", |event| {
            event.tcp.owned(Value::Unsigned(event.tcp.header.gid.into()))
        })
    }

    /// Name of the thread.
    pub const fn owner_comm(help: &'static str) -> Self {
        Self::new("comm", help, |event| event.tcp.owned(Value::Text(until_nul(&event.tcp.header.comm))))
            .column("COMM", 16, Left, |_| true)
    }

    /// IP version.
    pub const fn ip() -> Self {
        let help = "4 or 6; IPv4 addresses that are mapped into IPv6 are 4";
        Self::new("ip", help, |event| Value::Unsigned(event.tcp.version.into()))
            .column("IP", 2, Left, |_| true)
    }

    /// Family of the socket.
    pub const fn family() -> Self {
        Self::new("socket_family", "inet or inet6: what kind of socket it is", |event| {
            Value::Word(if event.tcp.family == AF_INET6 { "inet6" } else { "inet" })
        })
    }

    /// Own address.
    pub const fn local_address(header: &'static str) -> Self {
        Self::new("local_address", "address of this end", |event| Value::Address(event.tcp.local()))
            .column(header, 16, Left, |_| true)
            .widening(WIDEST_ADDRESS)
    }

    /// Own port.
    pub const fn local_port(header: &'static str, width: usize, shown: fn(&Tcp<O>) -> bool) -> Self {
        Self::new("local_port", "port of this end", |event| match event.tcp.local_port {
            0 => Value::Unknown,
            port => Value::Unsigned(port.into()),
        })
        .column(header, width, Left, shown)
    }

    /// Address of the other end.
    pub const fn remote_address(header: &'static str) -> Self {
        Self::new("remote_address", "address of the other end", |event| Value::Address(event.tcp.remote()))
            .column(header, 16, Left, |_| true)
            .widening(WIDEST_ADDRESS)
    }

    /// Port of the other end.
    pub const fn remote_port(header: &'static str, width: usize) -> Self {
        Self::new("remote_port", "port of the other end", |event| {
            Value::Unsigned(event.tcp.remote_port.into())
        })
        .column(header, width, Left, |_| true)
    }

    /// Link of a link-local remote address.
    pub const fn scope() -> Self {
        let help = "number of the link that a link-local remote address is on";
        Self::new("scope_id", help, |event| Value::Known(event.tcp.scope.into()))
    }

    /// Network namespace.
    pub const fn netns(shown: fn(&Tcp<O>) -> bool) -> Self {
        Self::new("netns", "inode number of the network namespace", |event| {
            Value::Known(event.tcp.netns.into())
        })
        .column("NETNS", 10, Left, shown)
    }

    /// Outcome of a connect.
    pub const fn result(shown: fn(&Tcp<O>) -> bool) -> Self {
        let help = "ok, the error, closed (given up by the process), pending (no answer yet) or sent";
        Self::new("result", help, |event| match event.tcp.result {
            result::OK => Value::Word("ok"),
            result::ERROR => Value::ErrorName(event.tcp.error.saturating_neg()),
            result::CLOSED => Value::Word("closed"),
            result::PENDING => Value::Word("pending"),
            result::SENT => Value::Word("sent"),
            _ => Value::Unknown,
        })
        .column("RESULT", 12, Left, shown)
    }

    /// Number of the error.
    pub const fn errno() -> Self {
        Self::new("errno", "number of the error", |event| match event.tcp.error {
            0 => Value::Unknown,
            error => Value::Signed(error.into()),
        })
    }

    /// When the connect began.
    pub const fn connect_ns() -> Self {
        let help =
            "when the first packet went out, in nanoseconds since boot; the same in all records of a connect";
        Self::new("connect_ns", help, |event| Value::Known(event.tcp.start_ns))
    }

    /// How long the connect took.
    pub const fn latency(shown: fn(&Tcp<O>) -> bool) -> Self {
        let help = "from the first packet to this event; in the column milliseconds";
        Self::new("latency_ns", help, |event| event.tcp.span())
            .column("LAT(ms)", 10, Right, shown)
            .widening(12)
    }

    /// How long the connection lasted.
    pub const fn duration(shown: fn(&Tcp<O>) -> bool) -> Self {
        let help = "how long the connection was established; in the column milliseconds";
        Self::new("duration_ns", help, |event| event.tcp.at_close(event.tcp.span()))
            .column("DURATION(ms)", 12, Right, shown)
            .widening(16)
    }

    /// Bytes sent.
    pub const fn sent(shown: fn(&Tcp<O>) -> bool) -> Self {
        Self::new("bytes_sent", "bytes of payload sent, retransmissions not counted", |event| {
            event.tcp.at_close(Value::Unsigned(event.tcp.sent))
        })
        .column("TX", 10, Right, shown)
        .widening(16)
    }

    /// Bytes received.
    pub const fn received(shown: fn(&Tcp<O>) -> bool) -> Self {
        Self::new("bytes_received", "bytes of payload received", |event| {
            event.tcp.at_close(Value::Unsigned(event.tcp.received))
        })
        .column("RX", 10, Right, shown)
        .widening(16)
    }

    /// What broke a connection.
    pub const fn error() -> Self {
        Self::new("error", "name of the error that ended the connection", |event| {
            Value::ErrorName(event.tcp.error.saturating_neg())
        })
    }

    /// Whether the connection is older than the tool.
    pub const fn older() -> Self {
        let help = "whether the connection is older than the tool: pid is then who closed it, if anybody did";
        Self::new("older", help, |event| {
            Value::Bool(event.tcp.flags & (flag::OLDER | flag::OWNER_UNKNOWN) != 0)
        })
    }

    /// Name that the remote address was taken from.
    pub const fn dns_query(shown: fn(&Tcp<O>) -> bool) -> Self {
        let help = "with --dns the name whose DNS answer likely led here; in the column with its age, if over 100 ms";
        Self::new("dns_query", help, |event| match event.likely {
            Some(likely) => Value::Name(likely.name, likely.age_ns),
            None if event.tcp.remote().ip().is_loopback() => Value::Remark("localhost"),
            None => Value::Remark("No DNS Query"),
        })
        .column("QUERY", 0, Left, shown)
    }

    /// Whose answer that was.
    pub const fn dns_asked_by() -> Self {
        let help = "who got that answer: this process, one in its netns, or another on this host";
        Self::new("dns_asked_by", help, |event| {
            event.likely.map_or(Value::Unknown, |likely| Value::Word(likely.asked_by.word()))
        })
    }

    /// How old it was.
    pub const fn dns_age() -> Self {
        Self::new("dns_age_ns", "from that answer to the connect", |event| {
            event.likely.map_or(Value::Unknown, |likely| Value::Unsigned(likely.age_ns))
        })
    }

    /// Whether it was cut.
    pub const fn dns_cut() -> Self {
        Self::new("dns_cut", "whether that answer was longer than what was looked at", |event| {
            event.likely.map_or(Value::Unknown, |likely| Value::Bool(likely.cut))
        })
    }
}
