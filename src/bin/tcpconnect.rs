//! tcpconnect: who opens TCP connections to where, and what becomes of each.
//!
//! In: records of `bpf-src/tcpconnect.bpf.c`. Out: a row or a JSON line per connect, or counts at the end. What the tcp
//! tools have in common is in `tracers::tcp`, how a tracer runs in the library.

use std::process::ExitCode;
use std::time::Duration;

use loader::Result;
use loader::map::Entry;
use loader::spec::ObjectSpec;
use tracers::cli::{self, Common};
use tracers::event::{Header, Wire};
use tracers::field::Field;
use tracers::filter::TaskFilter;
use tracers::format::address::Address;
use tracers::format::number::push_u64;
use tracers::message::Failure;
use tracers::output::json::Object;
use tracers::output::table::Align::Left;
use tracers::output::table::Line;
use tracers::record;
use tracers::tcp::{self, Ends, Ports, Tcp, TcpEvent, kind};
use tracers::tracer::{Hook, Summary, Tracer, Way};

fn main() -> ExitCode {
    tracers::tracer::main::<Tcpconnect>()
}

#[derive(clap::Args, Clone, Debug)]
struct Options {
    #[command(flatten)]
    ends: Ends,
    /// Only to these ports of the other end, such as 80,443
    #[arg(short = 'P', long = "port", value_name = "PORTS", value_parser = Ports::parse, help_heading = "Filters")]
    ports: Option<Ports>,
    /// Only connects that fail or are given up
    #[arg(short = 'x', long, conflicts_with = "immediate", help_heading = "Filters")]
    fails: bool,

    /// Show the own port
    #[arg(
        short = 'L',
        long,
        visible_alias = "source-port",
        visible_short_alias = 's',
        help_heading = "Columns"
    )]
    lport: bool,
    /// Print no rows but, at the end, how many connects there were between which addresses and ports
    #[arg(short = 'c', long, conflicts_with_all = ["max_events", "immediate"], help_heading = "Columns")]
    count: bool,

    /// Print a connect as pending when it has no outcome after this many seconds, looked at when the kernel repeats the
    /// first packet: after 1, 3, 7... seconds
    #[arg(long, value_name = "SECONDS", value_parser = cli::seconds, default_value = "1", conflicts_with = "immediate", help_heading = "Run")]
    wait: Duration,
    /// Print a connect when its first packet goes out, and not its outcome
    #[arg(long, help_heading = "Run")]
    immediate: bool,
    /// How many connects without an outcome, and with --count different rows, there may be at a time
    #[arg(long, value_name = "N", value_parser = tcp::table_size, default_value = "16384", help_heading = "Run")]
    table_size: u32,
}

struct Tcpconnect {
    options: Options,
    common: Common,
}

record! {
    /// The key of a count: `struct count_key`.
    struct CountKey {
        /// Own address.
        local: [u8; 16],
        /// Address of the other end.
        remote: [u8; 16],
        /// Own port; 0 unless asked for.
        local_port: u16,
        /// Port of the other end.
        remote_port: u16,
        /// 4 or 6.
        version: u16,
        /// Zero.
        pad: u16,
    }
}

/// Failures before the first packet: a connect that has no route never changes its state.
const EARLY_FAILURES: Hook = Hook {
    observes: "connects that fail at once",
    ways: &[
        Way {
            name: "fexit/tcp_v4_connect, tcp_v6_connect",
            programs: &["exit_v4_connect", "exit_v6_connect"],
            optional: &[],
        },
        Way {
            name: "tracepoint/sys_enter_connect, sys_exit_connect",
            // The exit first: an entry that is seen leaves something for its exit to take away.
            programs: &["exit_connect", "enter_connect"],
            optional: &["exit_sockcall", "enter_sockcall"],
        },
    ],
};

const REPEATS: Hook = Hook {
    observes: "connects without an answer",
    ways: &[Way { name: "tp_btf/tcp_retransmit_skb", programs: &["retransmit"], optional: &[] }],
};

impl Tracer for Tcpconnect {
    const NAME: &'static str = "tcpconnect";
    const ABOUT: &'static str = "Trace TCP connects and their outcome, of chosen containers if wanted";
    const EXAMPLES: &'static str = "
  tcpconnect                              every connect on this host, with its outcome
  tcpconnect -x                           failed ones only: refused, timed out, no route
  tcpconnect -P 80,443 -L -T              to these ports, with the own port and the time
  tcpconnect -c                           how many to where, when Ctrl-C is pressed
  tcpconnect -p 4242 --json               of one process, for programs

  tcpconnect --mntnsmap /sys/fs/bpf/mnt_ns_set    only of the set's members (see nsmap)

A connect that has no answer after --wait is printed as `pending`, and once more with
its outcome. Not seen: what began before tcpconnect did; without fexit hooks also
failures before the first packet of io_uring, of sendto(2) and of 32-bit programs.
";
    const SHORTS: &'static [(&'static str, char)] = &[
        ("time", 'T'),
        ("timestamp", 't'),
        ("uid", 'u'),
        ("print_uid", 'U'),
        ("pid", 'p'),
        ("verbose", 'v'),
    ];
    const OBJECT: &'static [u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tcpconnect.bpf.o"));
    const RECORD: &'static str = "tcp_event";
    type Record = TcpEvent;
    type Options = Options;
    type Scratch = ();
    type Event<'r> = TcpEvent;

    fn new(options: Options, common: &Common) -> Result<Self, Failure> {
        Ok(Self { options, common: common.clone() })
    }

    fn hooks(&self) -> Vec<Hook> {
        let mut hooks = vec![tcp::STATES];
        if !self.options.immediate {
            hooks.push(REPEATS);
        }
        if !self.options.immediate && !self.options.count {
            hooks.push(EARLY_FAILURES);
        }
        hooks
    }

    fn restrict(&self, _: &mut TaskFilter) {}

    fn configure(&self, spec: &mut ObjectSpec) -> Result<()> {
        let options = &self.options;
        options.ends.configure(spec)?;
        Ports::configure(options.ports.as_ref(), spec)?;
        let wait = u64::try_from(options.wait.as_nanos()).unwrap_or(u64::MAX);
        spec.set_global("pending_ns", wait)?;
        spec.set_global("report_sent", options.immediate)?;
        spec.set_global("only_failures", options.fails)?;
        spec.set_global("count_only", options.count)?;
        spec.set_global("count_local_port", options.lport)?;
        tcp::set_table_size(spec, "owners", options.table_size)?;
        if options.count {
            tcp::set_table_size(spec, "counts", options.table_size)?;
        }
        Ok(())
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
        "connect"
    }

    fn decode<'r>(&'r self, (): &'r mut (), bytes: &'r [u8]) -> Result<Option<TcpEvent>> {
        TcpEvent::parse(bytes, &[kind::CONNECT]).map(Some)
    }

    fn describe(&self, filters: &mut Object<'_>) {
        self.options.ends.describe(filters);
        Ports::describe(self.options.ports.as_ref(), filters);
        filters.bool("fails", self.options.fails);
    }

    fn summary(&self) -> Option<Summary<Self>> {
        let summary = Summary { map: "counts", push_header: Self::push_header, push_rows: Self::push_counts };
        self.options.count.then_some(summary)
    }
}

impl Tcp for Tcpconnect {
    fn tcp(event: &TcpEvent) -> &TcpEvent {
        event
    }
}

type F = Field<Tcpconnect>;

#[rustfmt::skip] // a table
static FIELDS: &[F] = &[
    F::time(),
    F::boot_ns(),
    F::owner_uid(),
    F::owner_gid(),
    F::owner_pid(),
    F::owner_tid(),
    F::owner_ppid(),
    F::owner_comm("name of the thread that connected"),
    F::cpu(|_| false),
    F::cgroup_id(),
    F::mntns(),
    F::mntns_id(),
    F::netns(|_| false),
    F::ip(),
    F::family(),
    F::local_address("SADDR"),
    F::local_port("LPORT", 6, |tool| tool.options.lport),
    F::remote_address("DADDR"),
    F::remote_port("DPORT", 6),
    F::scope(),
    F::result(|tool| !tool.options.immediate),
    F::errno(),
    F::connect_ns(),
    F::latency(|tool| !tool.options.immediate),
    F::container(),
];

/// A row of `--count`.
struct Count {
    connects: u64,
    version: u16,
    local: Address,
    local_port: u16,
    remote: Address,
    remote_port: u16,
}

impl Count {
    fn read((key, value): Entry) -> Option<Self> {
        let key = CountKey::read(&key)?;
        Some(Self {
            connects: u64::read(&value)?,
            version: key.version,
            local: Address::new(key.version, key.local, 0),
            local_port: key.local_port,
            remote: Address::new(key.version, key.remote, 0),
            remote_port: key.remote_port,
        })
    }
}

/// Widths of BCC's table.
const ADDRESS_WIDTH: usize = 25;
const PORT_WIDTH: usize = 20;

/// `--count`: what is printed in the place of rows.
impl Tcpconnect {
    fn push_header(&self, out: &mut Vec<u8>) {
        let mut line = Line::begin(out);
        let mut cell =
            |width, text: &str| line.cell(width, Left, |out| out.extend_from_slice(text.as_bytes()));
        cell(ADDRESS_WIDTH, "LADDR");
        cell(ADDRESS_WIDTH, "RADDR");
        if self.options.lport {
            cell(PORT_WIDTH, "LPORT");
        }
        cell(PORT_WIDTH, "RPORT");
        cell(0, "CONNECTS");
        line.end();
    }

    /// IPv4 first, the most frequent first, and the same order each time.
    fn push_counts(&self, entries: Vec<Entry>, out: &mut Vec<u8>) {
        let mut counts: Vec<Count> = entries.into_iter().filter_map(Count::read).collect();
        counts.sort_by(|a, b| {
            let order = |c: &Count| {
                (c.version, u64::MAX - c.connects, c.remote, c.remote_port, c.local, c.local_port)
            };
            order(a).cmp(&order(b))
        });
        for count in &counts {
            if self.common.json { self.push_json(count, out) } else { self.push_row(count, out) }
        }
    }

    fn push_row(&self, count: &Count, out: &mut Vec<u8>) {
        let mut line = Line::begin(out);
        line.cell(ADDRESS_WIDTH, Left, |out| count.local.push(out));
        line.cell(ADDRESS_WIDTH, Left, |out| count.remote.push(out));
        if self.options.lport {
            line.cell(PORT_WIDTH, Left, |out| push_u64(out, count.local_port.into()));
        }
        line.cell(PORT_WIDTH, Left, |out| push_u64(out, count.remote_port.into()));
        line.cell(0, Left, |out| push_u64(out, count.connects));
        line.end();
    }

    fn push_json(&self, count: &Count, out: &mut Vec<u8>) {
        let text = |address: &Address| {
            let mut text = Vec::new();
            address.push(&mut text);
            text
        };
        let mut object = Object::begin(out);
        object.text("type", b"connects");
        object.u64("ip", count.version.into());
        object.text("local_address", &text(&count.local));
        if self.options.lport {
            object.u64("local_port", count.local_port.into());
        }
        object.text("remote_address", &text(&count.remote));
        object.u64("remote_port", count.remote_port.into());
        object.u64("connects", count.connects);
        object.end_line();
    }
}
