//! For the unit tests of the three tcp tools, which include this file: records, and the check of their tables.

use std::net::IpAddr;

use tracers::tcp::{Tcp, Tool};

#[path = "../output/aligned.rs"]
mod tables;

/// A `struct tcp_event`, as a BPF program would send it, of a connection between an address and itself.
fn record(kind: u32, address: &str, scope: u32, (result, error): (u32, i32)) -> Vec<u8> {
    let (version, mut octets): (u16, Vec<u8>) = match address.parse().unwrap() {
        IpAddr::V4(address) => (4, address.octets().to_vec()),
        IpAddr::V6(address) => (6, address.octets().to_vec()),
    };
    octets.resize(16, 0);
    let mut out = Vec::new();
    for value in [5_123_456_789u64, 4242, 7] {
        out.extend(value.to_ne_bytes());
    }
    for value in [4_026_531_840u32, 1234, 1235, 17, 1000, 100, 3, kind] {
        out.extend(value.to_ne_bytes());
    }
    out.extend(b"curl\0\0\0\0\0\0\0\0\0\0\0\0");
    out.extend([octets.clone(), octets].concat());
    for value in [40_000u16, 65_535, 10, version] {
        out.extend(value.to_ne_bytes());
    }
    [4_026_531_840u32, scope].iter().for_each(|value| out.extend(value.to_ne_bytes()));
    [5_000_000_000u64, 123_456, 7_654_321].iter().for_each(|value| out.extend(value.to_ne_bytes()));
    out.extend(error.to_ne_bytes());
    [result, 0, 1].iter().for_each(|value| out.extend(value.to_ne_bytes()));
    out
}

/// Every combination of `options`, with events of these kinds.
pub(crate) fn with_every_combination<O: Tool>(options: &[&[&str]], kinds: &[u32]) {
    let results = [(1, 0), (2, 111), (2, 110), (3, 0), (4, 0)];
    let of = |address: &'static str, scope| {
        kinds.iter().flat_map(move |&kind| results.map(|result| record(kind, address, scope, result)))
    };
    let fitting: Vec<Vec<u8>> =
        of("127.0.0.1", 0).chain(of("255.255.255.255", 0)).chain(of("::1", 0)).collect();
    let wide: Vec<Vec<u8>> =
        of("fd00:1111:2222:3333:4444:5555:6666:7777", 0).chain(of("fe80::1", 1)).collect();
    tables::with_every_combination::<Tcp<O>>(options, &fitting, &wide);
}
