//! For the unit tests of the three tcp tools, which include this file: records, and the check of their tables.

use std::net::IpAddr;

use tracers::tcp::{Tcp, Tool};

#[path = "../output/aligned.rs"]
mod tables;

/// What differs from one record to the next.
#[derive(Clone, Copy)]
struct Made {
    kind: u32,
    address: &'static str,
    scope: u32,
    result: (u32, i32),
    comm: &'static str,
    /// Of the process, its thread and its user.
    ids: u32,
    /// From the begin to the event.
    span: u64,
}

/// A `struct tcp_event`, as a BPF program would send it, of a connection between an address and itself.
fn record(made: Made) -> Vec<u8> {
    let (version, mut octets): (u16, Vec<u8>) = match made.address.parse().unwrap() {
        IpAddr::V4(address) => (4, address.octets().to_vec()),
        IpAddr::V6(address) => (6, address.octets().to_vec()),
    };
    octets.resize(16, 0);
    let begin = 5_000_000_000u64;
    let mut out = Vec::new();
    for value in [begin + made.span, 4242, 7] {
        out.extend(value.to_ne_bytes());
    }
    for value in [4_026_531_840u32, made.ids, made.ids, 17, made.ids, 100, 3, made.kind] {
        out.extend(value.to_ne_bytes());
    }
    let mut comm = made.comm.as_bytes().to_vec();
    comm.resize(16, 0);
    out.extend(comm);
    out.extend([octets.clone(), octets].concat());
    for value in [65_535u16, 65_535, 10, version] {
        out.extend(value.to_ne_bytes());
    }
    [4_026_531_840u32, made.scope].iter().for_each(|value| out.extend(value.to_ne_bytes()));
    [begin, 123_456, 7_654_321].iter().for_each(|value| out.extend(value.to_ne_bytes()));
    out.extend(made.result.1.to_ne_bytes());
    [made.result.0, 0, 1].iter().for_each(|value| out.extend(value.to_ne_bytes()));
    out
}

/// Every combination of `options`, with events of these kinds.
pub(crate) fn with_every_combination<O: Tool>(options: &[&[&str]], kinds: &[u32]) {
    let results = [(1, 0), (2, 111), (2, 113), (3, 0), (4, 0)];
    let plain = Made {
        kind: 0,
        address: "127.0.0.1",
        scope: 0,
        result: (1, 0),
        comm: "curl",
        ids: 1234,
        span: 123_456_789,
    };
    let of = |made: Made| {
        kinds.iter().flat_map(move |&kind| results.map(|result| record(Made { kind, result, ..made })))
    };
    let records: Vec<Vec<u8>> = [
        plain,
        Made { address: "255.255.255.255", ..plain },
        Made { address: "::1", ..plain },
        Made { comm: "fifteen-letters", ids: 4_194_304, ..plain },
        // 10 terminal columns.
        Made { comm: "東京東京東", ..plain },
        // As long as a connect can take before the kernel gives it up, and longer.
        Made { span: 131_072_123_456, ..plain },
        Made { span: 99_999_999_999_999, ..plain },
        // From here on columns widen.
        Made { ids: u32::MAX - 1, ..plain },
        Made { address: "2001:db8:1::443", ..plain },
        Made { address: "fe80::1234:5678:9abc:def0", scope: 12, ..plain },
        Made { address: "fd00:1111:2222:3333:4444:5555:6666:7777", ..plain },
        plain,
    ]
    .into_iter()
    .flat_map(of)
    .collect();
    let longer = of(Made { comm: "\u{1b}[31m\u{1b}[32m\u{1b}[33m", ..plain }).collect::<Vec<_>>();
    tables::with_every_combination::<Tcp<O>>(options, &records, &longer, 7);
}
