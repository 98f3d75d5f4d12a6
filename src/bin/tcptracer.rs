//! tcptracer: connect, accept and close of TCP connections, each once, with whose connection it is.
//!
//! In: records of `bpf-src/tcptracer.bpf.c`. Out: a row or a JSON line per event. What the tcp tools have in common is in
//! `tracers::tcp`, how a tracer runs in the library.

use std::process::ExitCode;

use loader::Result;
use loader::spec::ObjectSpec;
use tracers::cli::Common;
use tracers::event::Header;
use tracers::field::{Field, Value};
use tracers::filter::TaskFilter;
use tracers::message::Failure;
use tracers::output::json::Object;
use tracers::output::table::Align::Left;
use tracers::tcp::{self, Ends, Tcp, TcpEvent, kind};
use tracers::tracer::{Hook, Tracer};

fn main() -> ExitCode {
    tracers::tracer::main::<Tcptracer>()
}

#[derive(clap::Args, Clone, Debug)]
struct Options {
    #[command(flatten)]
    ends: Ends,
    /// How many connections are kept at a time; more are counted as lost, and closed like ones that are older than the tool
    #[arg(long, value_name = "N", value_parser = tcp::table_size, default_value = "32768", help_heading = "Run")]
    table_size: u32,
}

struct Tcptracer {
    options: Options,
    common: Common,
}

impl Tracer for Tcptracer {
    const NAME: &'static str = "tcptracer";
    const ABOUT: &'static str =
        "Trace connect, accept and close of TCP connections, of chosen containers if wanted";
    const EXAMPLES: &'static str = "
  tcptracer                               every connection on this host: Connect, Accept, X close
  tcptracer -v                            with network namespace, duration and bytes
  tcptracer -p 4242 --json                of one process, for programs
  tcptracer -N /proc/4242/ns/net          in the network namespace of a process

  tcptracer --mntnsmap /sys/fs/bpf/mnt_ns_set     only of the set's members (see nsmap)

A connection belongs to the task that connected or accepted, whoever closes it;
one that is older than tcptracer, to the task that closes it.
Not seen: connects that fail (see tcpconnect); connections that no process accepts;
without fexit hooks also accepts of io_uring and of 32-bit programs.
";
    const SHORTS: &'static [(&'static str, char)] = &[
        ("time", 'T'),
        ("timestamp", 't'),
        ("uid", 'u'),
        ("print_uid", 'U'),
        ("pid", 'p'),
        ("verbose", 'v'),
    ];
    const OBJECT: &'static [u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tcptracer.bpf.o"));
    const RECORD: &'static str = "tcp_event";
    type Record = TcpEvent;
    type Options = Options;
    type Scratch = ();
    type Event<'r> = TcpEvent;

    fn new(options: Options, common: &Common) -> Result<Self, Failure> {
        Ok(Self { options, common: common.clone() })
    }

    fn hooks(&self) -> Vec<Hook> {
        // Accepts first: of what is established from then on, nothing is taken for older than it is.
        vec![tcp::ACCEPTS, tcp::STATES]
    }

    fn restrict(&self, _: &mut TaskFilter) {}

    fn configure(&self, spec: &mut ObjectSpec) -> Result<()> {
        self.options.ends.configure(spec)?;
        tcp::set_table_size(spec, "owners", self.options.table_size)
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn header(event: &TcpEvent) -> &Header {
        &event.header
    }

    fn fields() -> &'static [Field<Self>] {
        FIELDS
    }

    fn record_type(event: &TcpEvent) -> &'static str {
        match event.header.kind {
            kind::CONNECT => "connect",
            kind::ACCEPT => "accept",
            _ => "close",
        }
    }

    fn decode<'r>(&'r self, (): &'r mut (), bytes: &'r [u8]) -> Result<Option<TcpEvent>> {
        TcpEvent::parse(bytes, &[kind::CONNECT, kind::ACCEPT, kind::CLOSE]).map(Some)
    }

    fn describe(&self, filters: &mut Object<'_>) {
        self.options.ends.describe(filters);
    }
}

impl Tcp for Tcptracer {
    fn tcp(event: &TcpEvent) -> &TcpEvent {
        event
    }
}

fn letter(event: &TcpEvent) -> Value<'_> {
    Value::Word(match event.header.kind {
        kind::CONNECT => "C",
        kind::ACCEPT => "A",
        _ => "X",
    })
}

type F = Field<Tcptracer>;

#[rustfmt::skip] // a table
static FIELDS: &[F] = &[
    F::time(),
    F::boot_ns(),
    F::new("t", "C connect, A accept, X close", letter)
        .column("T", 2, Left, |tool| !tool.common.verbose),
    F::new("event", "the same in a word", |event| Value::Word(Tcptracer::record_type(event)))
        .column("TYPE", 12, Left, |tool| tool.common.verbose),
    F::owner_uid(),
    F::owner_gid(),
    F::owner_pid(),
    F::owner_tid(),
    F::owner_ppid(),
    F::owner_comm("name of the thread that connected or accepted"),
    F::cpu(|_| false),
    F::cgroup_id(),
    F::mntns(),
    F::mntns_id(),
    F::ip(),
    F::family(),
    F::local_address("SADDR"),
    F::remote_address("DADDR"),
    F::local_port("SPORT", 6, |_| true),
    F::remote_port("DPORT", 6),
    F::netns(|tool| tool.common.verbose && tool.options.ends.netns.is_none()),
    F::scope(),
    F::duration(|tool| tool.common.verbose),
    F::sent(|tool| tool.common.verbose),
    F::received(|tool| tool.common.verbose),
    F::error(),
    F::older(),
    F::container(),
];
