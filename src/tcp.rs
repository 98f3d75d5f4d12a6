//! What tcpconnect, tcpaccept and tcptracer share: the record, the options about connections, the fields, and how all of
//! that becomes a tracer.
//!
//! In: records of the three `bpf-src/tcp*.bpf.c`, which all are a `struct tcp_event` (`bpf-src/include/sock.h`). Out: fields for
//! their tables, settings for the kernel's filters. What each tool shows, and when, is in its own file: its options, which
//! implement [`Tool`].

mod fields;
mod names;
mod options;

use loader::spec::ObjectSpec;
use loader::{Error, Result};

pub use names::{AnswerRecord, AskedBy, Likely, Names};
pub use options::{Ends, Ports};

use crate::cli::Common;
use crate::event::{Header, Wire};
use crate::field::{Field, Value};
use crate::format::address::Address;
use crate::message::Failure;
use crate::output::json::Object;
use crate::record;
use crate::tracer::{Hook, Summary, Tracer, Way};

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
    /// No event: a DNS answer, see [`super::Names`].
    pub const ANSWER: u32 = 4;
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

    /// What it is, in a word.
    pub fn word(&self) -> &'static str {
        match self.header.kind {
            kind::CONNECT => "connect",
            kind::ACCEPT => "accept",
            _ => "close",
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

// ---- the tracer -----------------------------------------------------------------------------------------------------

/// What one of the tools has of its own: its options, and what follows from them.
pub trait Tool: clap::Args + Sized + 'static {
    /// As [`Tracer::NAME`].
    const NAME: &'static str;
    /// As [`Tracer::ABOUT`].
    const ABOUT: &'static str;
    /// As [`Tracer::EXAMPLES`].
    const EXAMPLES: &'static str;
    /// As [`Tracer::MISSES`].
    const MISSES: &'static str;
    /// As [`Tracer::OBJECT`].
    const OBJECT: &'static [u8];
    /// Which [`kind`]s of events it has.
    const KINDS: &'static [u32];

    /// What to attach.
    fn hooks(&self) -> Vec<Hook>;
    /// Restrictions on the connection.
    fn ends(&self) -> &Ends;
    /// Restrictions on the port that the tool is about.
    fn ports(&self) -> Option<&Ports> {
        None
    }
    /// Edits the object before it is loaded; ends and ports are set already.
    fn configure(&self, _: &mut ObjectSpec) -> Result<()> {
        Ok(())
    }
    /// Adds further filters to the JSON `start` record.
    fn describe(&self, _: &mut Object<'_>) {}
    /// The fields, in the order of columns and keys.
    fn fields() -> &'static [Field<Tcp<Self>>];
    /// As [`Tracer::summary`].
    fn summary(&self) -> Option<Summary<Tcp<Self>>> {
        None
    }
}

/// A tracer of TCP connections.
pub struct Tcp<O> {
    /// The tool's own options.
    pub options: O,
    /// The uniform options.
    pub common: Common,
}

/// An event as it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'n> {
    /// As it came from the kernel.
    pub tcp: TcpEvent,
    /// The name that the remote address was likely taken from.
    pub likely: Option<Likely<'n>>,
}

impl<O: Tool> Tracer for Tcp<O> {
    const NAME: &'static str = O::NAME;
    const ABOUT: &'static str = O::ABOUT;
    const EXAMPLES: &'static str = O::EXAMPLES;
    const MISSES: &'static str = O::MISSES;
    const SHORTS: &'static [(&'static str, char)] = &[
        ("time", 'T'),
        ("timestamp", 't'),
        ("uid", 'u'),
        ("print_uid", 'U'),
        ("pid", 'p'),
        ("cgroupmap", 'C'),
        ("mntnsmap", 'M'),
        ("verbose", 'v'),
    ];
    const OBJECT: &'static [u8] = O::OBJECT;
    const RECORD: &'static str = "tcp_event";
    type Record = TcpEvent;
    type Options = O;
    const SMALLEST: usize = AnswerRecord::SIZE;
    type Scratch = Names;
    type Event<'r> = Seen<'r>;

    fn new(options: O, common: &Common) -> Result<Self, Failure> {
        Ok(Self { options, common: common.clone() })
    }

    fn hooks(&self) -> Vec<Hook> {
        self.options.hooks()
    }

    fn configure(&self, spec: &mut ObjectSpec) -> Result<()> {
        self.options.ends().configure(spec)?;
        Ports::configure(self.options.ports(), spec)?;
        self.options.configure(spec)
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn header<'a>(event: &'a Seen<'_>) -> &'a Header {
        &event.tcp.header
    }

    fn fields() -> &'static [Field<Self>] {
        O::fields()
    }

    fn record_type(event: &Seen<'_>) -> &'static str {
        event.tcp.word()
    }

    fn decode<'r>(&'r self, names: &'r mut Names, bytes: &'r [u8]) -> Result<Option<Seen<'r>>> {
        if O::KINDS.contains(&kind::ANSWER) && names::is_answer(bytes) {
            return names.learn(bytes).map(|()| None);
        }
        let tcp = TcpEvent::parse(bytes, O::KINDS)?;
        Ok(Some(Seen { tcp, likely: names.likely(&tcp) }))
    }

    fn describe(&self, filters: &mut Object<'_>) {
        self.options.ends().describe(filters);
        Ports::describe(self.options.ports(), filters);
        self.options.describe(filters);
    }

    fn summary(&self) -> Option<Summary<Self>> {
        self.options.summary()
    }
}

// ---- hooks ----------------------------------------------------------------------------------------------------------

/// The life of a socket.
pub const STATES: Hook = Hook {
    observes: "connections",
    ways: &[Way {
        name: "tp_btf/inet_sock_set_state",
        programs: &["set_state", "set_state_2"],
        ..Way::EMPTY
    }],
};

/// Entries of the map `answers`: one for each program of [`ANSWERS`].
pub const ANSWER_SLOTS: u32 = 3;

/// DNS answers: see `bpf-src/include/dns.h`.
pub const ANSWERS: Hook = Hook {
    observes: "DNS answers",
    ways: &[
        Way {
            name: "fexit/inet_recvmsg, inet6_recvmsg",
            programs: &["exit_recv_inet"],
            // A kernel may be without IPv6.
            optional: &["exit_recv_inet6"],
            ..Way::EMPTY
        },
        Way { name: "tp_btf/sys_exit", programs: &["exit_receiving"], ..Way::EMPTY },
    ],
};

/// Accepts: see `bpf-src/include/accept.h`.
pub const ACCEPTS: Hook = Hook {
    observes: "accepts",
    ways: &[
        Way { name: "fentry/security_sock_graft", programs: &["enter_graft_2", "enter_graft"], ..Way::EMPTY },
        Way { name: "fexit/inet_csk_accept", programs: &["exit_csk_accept"], ..Way::EMPTY },
        Way { name: "kprobe/security_sock_graft", programs: &["call_graft"], ..Way::EMPTY },
        Way { name: "kretprobe/inet_csk_accept", programs: &["ret_csk_accept"], ..Way::EMPTY },
        Way {
            name: "tracepoint/sys_exit_accept, sys_exit_accept4",
            programs: &["exit_accept4"],
            // Not every architecture has the older call, and few make all calls on sockets through one.
            optional: &["exit_accept", "accept_sockcall"],
            ..Way::EMPTY
        },
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

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
