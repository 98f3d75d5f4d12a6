//! Internet addresses to text.
//!
//! In: bytes in network order, as they are in packets and in our records. Out: `192.0.2.1`, or IPv6 as RFC 5952 wants it.
//! Nothing is looked up: names would need the network, and the network namespace, of the traced process.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::format::number::push_u64;

/// An address, and the link it is on where the address alone does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    ip: IpAddr,
    scope: u32,
}

impl Address {
    /// The address in `bytes`: version 4 in the first four of them, any other in all. `scope` is the number of a link, 0 none.
    pub fn new(version: u16, bytes: [u8; 16], scope: u32) -> Self {
        let ip = match (version, bytes) {
            (4, [a, b, c, d, ..]) => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            _ => IpAddr::V6(Ipv6Addr::from(bytes)),
        };
        Self { ip, scope }
    }

    /// Whether it is an address of nobody: `0.0.0.0`, `::`.
    pub fn is_unspecified(&self) -> bool {
        self.ip.is_unspecified()
    }

    /// The address without its link.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Appends the address.
    pub fn push(&self, out: &mut Vec<u8>) {
        // Writing to memory cannot fail.
        let _ = write!(out, "{}", self.ip);
    }

    /// Appends the address, and `%2` if it is on link 2.
    pub fn push_with_scope(&self, out: &mut Vec<u8>) {
        self.push(out);
        if self.scope != 0 {
            out.push(b'%');
            push_u64(out, self.scope.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(version: u16, bytes: [u8; 16], scope: u32) -> String {
        let mut out = Vec::new();
        Address::new(version, bytes, scope).push_with_scope(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_version_says_how_many_bytes_count() {
        let mut bytes = [0xee; 16];
        bytes[..4].copy_from_slice(&[192, 0, 2, 1]);
        assert_eq!(text(4, bytes, 0), "192.0.2.1");
        assert_eq!(text(6, [0; 16], 0), "::");
        let longest = [0xfd; 16];
        assert_eq!(text(6, longest, 0), "fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd");
    }

    #[test]
    fn a_link_is_shown_with_the_address_that_needs_it() {
        let mut bytes = [0; 16];
        (bytes[0], bytes[1], bytes[15]) = (0xfe, 0x80, 1);
        assert_eq!(text(6, bytes, 2), "fe80::1%2");
        let mut plain = Vec::new();
        Address::new(6, bytes, 2).push(&mut plain);
        assert_eq!(plain, b"fe80::1");
    }
}
