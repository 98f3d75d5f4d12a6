//! tcpaccept: who accepts TCP connections from where.
//!
//! In: records of `bpf-src/tcpaccept.bpf.c`. Out: a row or a JSON line per accept. What the tcp tools have in common is in
//! `tracers::tcp`, how a tracer runs in the library.

use std::process::ExitCode;

use loader::Result;
use loader::spec::ObjectSpec;
use tracers::cli::Common;
use tracers::event::Header;
use tracers::field::Field;
use tracers::filter::TaskFilter;
use tracers::message::Failure;
use tracers::output::json::Object;
use tracers::tcp::{self, Ends, Ports, Tcp, TcpEvent, kind};
use tracers::tracer::{Hook, Tracer};

fn main() -> ExitCode {
    tracers::tracer::main::<Tcpaccept>()
}

#[derive(clap::Args, Clone, Debug)]
struct Options {
    #[command(flatten)]
    ends: Ends,
    /// Only on these own ports, such as 80,443
    #[arg(short = 'P', long = "port", value_name = "PORTS", value_parser = Ports::parse, help_heading = "Filters")]
    ports: Option<Ports>,
}

struct Tcpaccept {
    options: Options,
    common: Common,
}

impl Tracer for Tcpaccept {
    const NAME: &'static str = "tcpaccept";
    const ABOUT: &'static str = "Trace accepted TCP connections, of chosen containers if wanted";
    const EXAMPLES: &'static str = "
  tcpaccept                               every accept on this host
  tcpaccept -P 80,443 -T                  on these ports, with the time
  tcpaccept -p 4242 --json                of one process, for programs

  tcpaccept --mntnsmap /sys/fs/bpf/mnt_ns_set     only of the set's members (see nsmap)

Not seen: connections that no process accepts; without fexit hooks also accepts of
io_uring and of 32-bit programs.
";
    const SHORTS: &'static [(&'static str, char)] = &[
        ("time", 'T'),
        ("timestamp", 't'),
        ("uid", 'u'),
        ("print_uid", 'U'),
        ("pid", 'p'),
        ("verbose", 'v'),
    ];
    const OBJECT: &'static [u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tcpaccept.bpf.o"));
    const RECORD: &'static str = "tcp_event";
    type Record = TcpEvent;
    type Options = Options;
    type Scratch = ();
    type Event<'r> = TcpEvent;

    fn new(options: Options, common: &Common) -> Result<Self, Failure> {
        Ok(Self { options, common: common.clone() })
    }

    fn hooks(&self) -> Vec<Hook> {
        vec![tcp::ACCEPTS]
    }

    fn restrict(&self, _: &mut TaskFilter) {}

    fn configure(&self, spec: &mut ObjectSpec) -> Result<()> {
        self.options.ends.configure(spec)?;
        Ports::configure(self.options.ports.as_ref(), spec)
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

    fn record_type(_: &TcpEvent) -> &'static str {
        "accept"
    }

    fn decode<'r>(&'r self, (): &'r mut (), bytes: &'r [u8]) -> Result<Option<TcpEvent>> {
        TcpEvent::parse(bytes, &[kind::ACCEPT]).map(Some)
    }

    fn describe(&self, filters: &mut Object<'_>) {
        self.options.ends.describe(filters);
        Ports::describe(self.options.ports.as_ref(), filters);
    }
}

impl Tcp for Tcpaccept {
    fn tcp(event: &TcpEvent) -> &TcpEvent {
        event
    }
}

type F = Field<Tcpaccept>;

#[rustfmt::skip] // a table
static FIELDS: &[F] = &[
    F::time(),
    F::boot_ns(),
    F::owner_uid(),
    F::owner_gid(),
    F::owner_pid(),
    F::owner_tid(),
    F::owner_ppid(),
    F::owner_comm("name of the thread that accepted"),
    F::cpu(|_| false),
    F::cgroup_id(),
    F::mntns(),
    F::mntns_id(),
    F::netns(|_| false),
    F::ip(),
    F::family(),
    F::remote_address("RADDR"),
    F::remote_port("RPORT", 5),
    F::local_address("LADDR"),
    F::local_port("LPORT", 5, |_| true),
    F::scope(),
    F::container(),
];
