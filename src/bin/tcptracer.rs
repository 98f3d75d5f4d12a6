//! tcptracer: connect, accept and close of TCP connections, each once, with whose connection it is.
//!
//! In: records of `bpf-src/tcptracer.bpf.c`. Out: a row or a JSON line per event. What the tcp tools have in common is in
//! `tracers::tcp`, how a tracer runs in the library.

use std::process::ExitCode;

use loader::Result;
use loader::spec::ObjectSpec;
use tracers::cli;
use tracers::field::{Field, Value};
use tracers::output::table::Align::Left;
use tracers::tcp::{self, Ends, Seen, Tcp, Tool, kind};
use tracers::tracer::{Hook, set_table_size};

fn main() -> ExitCode {
    tracers::tracer::main::<Tcp<Tcptracer>>()
}

#[derive(clap::Args, Clone, Debug)]
struct Tcptracer {
    #[command(flatten)]
    ends: Ends,
    /// How many connections are kept at a time; more are counted as lost, and closed like ones that are older than the tool
    #[arg(long, value_name = "N", value_parser = cli::table_size, default_value = "32768", help_heading = "Run")]
    table_size: u32,
}

impl Tool for Tcptracer {
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
";
    const MISSES: &'static str = include_str!(concat!(env!("OUT_DIR"), "/tcptracer.misses"));
    const OBJECT: &'static [u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tcptracer.bpf.o"));
    const KINDS: &'static [u32] = &[kind::CONNECT, kind::ACCEPT, kind::CLOSE];

    fn hooks(&self) -> Vec<Hook> {
        // Accepts first: of what is established from then on, nothing is taken for older than it is.
        vec![tcp::ACCEPTS, tcp::STATES]
    }

    fn ends(&self) -> &Ends {
        &self.ends
    }

    fn configure(&self, spec: &mut ObjectSpec) -> Result<()> {
        set_table_size(spec, "owners", self.table_size)
    }

    fn fields() -> &'static [Field<Tcp<Self>>] {
        FIELDS
    }
}

fn letter<'a>(event: &'a Seen<'_>) -> Value<'a> {
    Value::Word(match event.tcp.header.kind {
        kind::CONNECT => "C",
        kind::ACCEPT => "A",
        _ => "X",
    })
}

type F = Field<Tcp<Tcptracer>>;

#[rustfmt::skip] // a table
static FIELDS: &[F] = &[
    F::time(),
    F::boot_ns(),
    F::new("t", "C connect, A accept, X close", letter)
        .column("T", 2, Left, |tool| !tool.common.verbose),
    F::new("event", "the same in a word", |event| Value::Word(event.tcp.word()))
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

#[cfg(test)]
#[path = "../tcp/aligned.rs"]
mod aligned;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_with_every_combination_of_options() {
        aligned::with_every_combination::<Tcptracer>(
            &[&["-T"], &["-t"], &["-U"], &["-v"], &["-N", "4026531840"], &["--containers"]],
            Tcptracer::KINDS,
        );
    }
}
