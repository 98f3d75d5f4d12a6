//! tcpconnect: who opens TCP connections to where, and what becomes of each.
//!
//! In: records of `bpf-src/tcpconnect.bpf.c`. Out: a row or a JSON line per connect, or counts at the end. What the tcp
//! tools have in common is in `tracers::tcp`, how a tracer runs in the library.

use std::process::ExitCode;
use std::time::Duration;

use loader::Result;
use loader::spec::ObjectSpec;
use tracers::cli;
use tracers::field::Field;
use tracers::output::json::Object;
use tracers::tcp::{self, Ends, Ports, Tcp, Tool, kind};
use tracers::tracer::{Hook, Summary, Way, check_record, set_table_size};

#[path = "tcpconnect/counts.rs"]
mod counts;

fn main() -> ExitCode {
    tracers::tracer::main::<Tcp<Tcpconnect>>()
}

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Tcpconnect {
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
    /// Show the name that likely led to this connect: the one whose DNS answer, from port 53 by UDP or TCP, had the address
    #[arg(short = 'd', long, conflicts_with = "count", help_heading = "Columns")]
    dns: bool,
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
    #[arg(long, value_name = "N", value_parser = cli::table_size, default_value = "16384", help_heading = "Run")]
    table_size: u32,
}

/// Failures before the first packet: a connect that has no route never changes its state.
const EARLY_FAILURES: Hook = Hook {
    observes: "connects that fail at once",
    ways: &[
        Way {
            name: "fexit/tcp_v4_connect, tcp_v6_connect",
            // Of a trampoline's programs the one attached first comes last: see `bpf-src/include/twin.h`.
            programs: &["fail_v4_2", "fail_v6_2", "fail_v4", "fail_v6"],
            ..Way::EMPTY
        },
        // Below, the exit first: an entry that is seen leaves something for its exit to take away.
        Way {
            name: "kretprobe/tcp_v4_connect, tcp_v6_connect",
            programs: &["ret_v4_connect", "ret_v6_connect", "call_v4_connect", "call_v6_connect"],
            ..Way::EMPTY
        },
        Way {
            name: "tracepoint/sys_enter_connect, sys_exit_connect",
            programs: &["exit_connect", "enter_connect"],
            optional: &["exit_sockcall", "enter_sockcall"],
            ..Way::EMPTY
        },
    ],
};

const REPEATS: Hook = Hook {
    observes: "connects without an answer",
    ways: &[Way { name: "tp_btf/tcp_retransmit_skb", programs: &["retransmit"], ..Way::EMPTY }],
};

impl Tool for Tcpconnect {
    const NAME: &'static str = "tcpconnect";
    const ABOUT: &'static str = "Trace TCP connects and their outcome, of chosen containers if wanted";
    const EXAMPLES: &'static str = "
  tcpconnect                              every connect on this host, with its outcome
  tcpconnect -x                           failed ones only: refused, timed out, no route
  tcpconnect -P 80,443 -L -T              to these ports, with the own port and the time
  tcpconnect -c                           how many to where, when Ctrl-C is pressed
  tcpconnect -d                           with the name that was looked up, likely
  tcpconnect -p 4242 --json               of one process, for programs

  tcpconnect --mntnsmap /sys/fs/bpf/mnt_ns_set    only of the set's members (see nsmap)

A connect that has no answer after --wait is printed as `pending`, and once more with
its outcome.

With --dns, a name is the likely one and no more: several names may have one address. It
is that of the latest DNS answer that this process has received before, else one in its
network namespace, else of anybody; only answers of tasks that the filters want count.
";
    const MISSES: &'static str = include_str!(concat!(env!("OUT_DIR"), "/tcpconnect.misses"));
    const OBJECT: &'static [u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tcpconnect.bpf.o"));
    const KINDS: &'static [u32] = &[kind::CONNECT, kind::ANSWER];

    fn hooks(&self) -> Vec<Hook> {
        let mut hooks = Vec::new();
        if self.dns {
            hooks.push(tcp::ANSWERS);
        }
        hooks.push(tcp::STATES);
        if !self.immediate {
            hooks.push(REPEATS);
        }
        if !self.immediate && !self.count {
            hooks.push(EARLY_FAILURES);
        }
        hooks
    }

    fn ends(&self) -> &Ends {
        &self.ends
    }

    fn ports(&self) -> Option<&Ports> {
        self.ports.as_ref()
    }

    fn configure(&self, spec: &mut ObjectSpec) -> Result<()> {
        let wait = u64::try_from(self.wait.as_nanos()).unwrap_or(u64::MAX);
        spec.set_global("pending_ns", wait)?;
        spec.set_global("report_sent", self.immediate)?;
        spec.set_global("only_failures", self.fails)?;
        spec.set_global("count_only", self.count)?;
        spec.set_global("count_local_port", self.lport)?;
        set_table_size(spec, "owners", self.table_size)?;
        if self.dns {
            check_record::<tcp::AnswerRecord>(spec, "dns_answer")?;
            set_table_size(spec, "answers", tcp::ANSWER_SLOTS)?;
        }
        if self.count {
            counts::check_key(spec)?;
            set_table_size(spec, counts::MAP, self.table_size)?;
        }
        Ok(())
    }

    fn describe(&self, filters: &mut Object<'_>) {
        filters.bool("fails", self.fails);
    }

    fn fields() -> &'static [Field<Tcp<Self>>] {
        FIELDS
    }

    fn summary(&self) -> Option<Summary<Tcp<Self>>> {
        self.count.then_some(counts::SUMMARY)
    }
}

type F = Field<Tcp<Tcpconnect>>;

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
    F::dns_query(|tool| tool.options.dns),
    F::dns_asked_by(),
    F::dns_age(),
    F::dns_cut(),
];

#[cfg(test)]
#[path = "../tcp/aligned.rs"]
mod aligned;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_with_every_combination_of_options() {
        aligned::with_every_combination::<Tcpconnect>(
            &[&["-T"], &["-t"], &["-U"], &["-L"], &["-d"], &["--immediate"], &["--containers"]],
            &[kind::CONNECT],
        );
    }
}
