//! tcpaccept: who accepts TCP connections from where.
//!
//! In: records of `bpf-src/tcpaccept.bpf.c`. Out: a row or a JSON line per accept. What the tcp tools have in common is in
//! `tracers::tcp`, how a tracer runs in the library.

use std::process::ExitCode;

use tracers::field::Field;
use tracers::tcp::{self, Ends, Ports, Tcp, Tool, kind};
use tracers::tracer::Hook;

fn main() -> ExitCode {
    tracers::tracer::main::<Tcp<Tcpaccept>>()
}

#[derive(clap::Args, Clone, Debug)]
struct Tcpaccept {
    #[command(flatten)]
    ends: Ends,
    /// Only on these own ports, such as 80,443
    #[arg(short = 'P', long = "port", value_name = "PORTS", value_parser = Ports::parse, help_heading = "Filters")]
    ports: Option<Ports>,
}

impl Tool for Tcpaccept {
    const NAME: &'static str = "tcpaccept";
    const ABOUT: &'static str = "Trace accepted TCP connections, of chosen containers if wanted";
    const EXAMPLES: &'static str = "
  tcpaccept                               every accept on this host
  tcpaccept -P 80,443 -T                  on these ports, with the time
  tcpaccept -p 4242 --json                of one process, for programs

  tcpaccept --mntnsmap /sys/fs/bpf/mnt_ns_set     only of the set's members (see nsmap)
";
    const MISSES: &'static str = include_str!(concat!(env!("OUT_DIR"), "/tcpaccept.misses"));
    const OBJECT: &'static [u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tcpaccept.bpf.o"));
    const KINDS: &'static [u32] = &[kind::ACCEPT];

    fn hooks(&self) -> Vec<Hook> {
        vec![tcp::ACCEPTS]
    }

    fn ends(&self) -> &Ends {
        &self.ends
    }

    fn ports(&self) -> Option<&Ports> {
        self.ports.as_ref()
    }

    fn fields() -> &'static [Field<Tcp<Self>>] {
        FIELDS
    }
}

type F = Field<Tcp<Tcpaccept>>;

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

#[cfg(test)]
#[path = "../tcp/aligned.rs"]
mod aligned;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_with_every_combination_of_options() {
        aligned::with_every_combination::<Tcpaccept>(
            &[&["-T"], &["-t"], &["-U"], &["--containers"]],
            &[kind::ACCEPT],
        );
    }
}
