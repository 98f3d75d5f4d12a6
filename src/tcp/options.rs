//! The options about connections, as the tcp tools have them: from text to settings for the kernel's filters.

use std::path::Path;

use loader::spec::ObjectSpec;
use loader::{ErrorKind, Result};
use nsmap::identity::netns;

use crate::cli;
use crate::output::json::Object;

/// Restrictions on the connection, which all tcp tools have.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Ends {
    /// Only IPv4 (also on IPv6 sockets, where it is mapped)
    #[arg(short = '4', long, conflicts_with = "ipv6", help_heading = "Filters")]
    pub ipv4: bool,
    /// Only IPv6
    #[arg(short = '6', long, help_heading = "Filters")]
    pub ipv6: bool,
    /// Only this network namespace: its inode number, or a path such as /proc/PID/ns/net or /run/netns/NAME
    #[arg(short = 'N', long, value_name = "NETNS", value_parser = netns, help_heading = "Filters")]
    pub netns: Option<u32>,
}

impl Ends {
    /// Sets the filters of the object.
    pub fn configure(&self, spec: &mut ObjectSpec) -> Result<()> {
        let version = match (self.ipv4, self.ipv6) {
            (true, _) => 4u32,
            (_, true) => 6,
            _ => 0,
        };
        spec.set_global("filter_version", version)?;
        spec.set_global("filter_netns", self.netns.unwrap_or(0))
    }

    /// Adds the filters in force to the `start` record.
    pub fn describe(&self, filters: &mut Object<'_>) {
        for (key, on) in [("ipv4", self.ipv4), ("ipv6", self.ipv6)] {
            if on {
                filters.bool(key, true);
            }
        }
        if let Some(netns) = self.netns {
            filters.u64("netns", netns.into());
        }
    }
}

fn netns(text: &str) -> Result<u32, String> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return match u32::try_from(cli::number(text)?) {
            Ok(inode @ 1..) => Ok(inode),
            _ => Err(format!("`{text}` is no inode number of a namespace")),
        };
    }
    netns::of_file(Path::new(text)).map_err(|error| match error.kind() {
        // As ip-netns(8) names it.
        ErrorKind::NotFound if !text.is_empty() && !text.contains('/') => {
            format!("{error} (those of `ip netns` are /run/netns/NAME)")
        }
        _ => error.to_string(),
    })
}

/// Ports that the user chose: `80`, or `80,443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(Vec<u16>);

impl Ports {
    /// Reads a list.
    pub fn parse(text: &str) -> Result<Self, String> {
        let port = |item: &str| match cli::number(item)?.try_into() {
            Ok(port @ 1u16..) => Ok(port),
            _ => Err(format!("`{item}` is not a port, from 1 to 65535")),
        };
        text.split(',').map(port).collect::<Result<_, _>>().map(Self)
    }

    /// Sets the filter of the object: one bit for each port.
    pub fn configure(ports: Option<&Self>, spec: &mut ObjectSpec) -> Result<()> {
        let Some(Self(ports)) = ports else { return Ok(()) };
        let mut bits = vec![0u8; (usize::from(u16::MAX) + 1) / 8];
        for port in ports {
            if let Some(byte) = bits.get_mut(usize::from(port / 8)) {
                *byte |= 1 << (port % 8);
            }
        }
        spec.set_global("filter_ports_on", true)?;
        spec.set_global("filter_ports", &bits[..])
    }

    /// Adds the filter to the `start` record.
    pub fn describe(ports: Option<&Self>, filters: &mut Object<'_>) {
        if let Some(Self(ports)) = ports {
            let text: Vec<String> = ports.iter().map(u16::to_string).collect();
            filters.text("ports", text.join(",").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_a_list_of_numbers_without_zero() {
        assert_eq!(Ports::parse("80,443,65535"), Ok(Ports(vec![80, 443, 65535])));
        for bad in ["", "0", "65536", "80,", ",80", "80 ,81", "http", "-1", "80-90"] {
            assert!(Ports::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_network_namespace_is_a_number_or_a_path() {
        assert_eq!(netns("4026531840"), Ok(4_026_531_840));
        assert!(netns("0").is_err() && netns("12x").is_err() && netns("4294967296").is_err());
        assert!(netns("/proc/self/ns/net").is_ok());
        for (bad, word) in [
            ("", "not found"),
            ("/nothing/here", "`/nothing/here`: not found"),
            ("blue", "/run/netns/NAME"),
            ("/proc/self/ns/mnt", "`mnt`"),
            ("/proc/self/stat", "proc"),
            ("/", "expected a network namespace"),
        ] {
            assert!(netns(bad).unwrap_err().contains(word), "{bad}: {:?}", netns(bad));
        }
    }
}
