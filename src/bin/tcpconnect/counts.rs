//! `tcpconnect --count`: what is printed in the place of rows.
//!
//! In: the entries of the map `counts` of `bpf-src/tcpconnect.bpf.c`. Out: BCC's table, or JSON lines.

use std::cmp::Ordering;

use loader::Result;
use loader::map::Entry;
use loader::spec::ObjectSpec;
use tracers::event::Wire;
use tracers::field::Context;
use tracers::format::address::Address;
use tracers::format::number::push_u64;
use tracers::output::json::Object;
use tracers::output::table::Align::Left;
use tracers::output::table::Line;
use tracers::record;
use tracers::tcp::Tcp;
use tracers::tracer::{Summary, check_record};

use crate::Tcpconnect;

type Tool = Tcp<Tcpconnect>;

/// Name of the map.
pub(crate) const MAP: &str = "counts";

/// What to print at the end.
pub(crate) const SUMMARY: Summary<Tool> = Summary { map: MAP, push_header, push_rows };

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

/// Compares the key with that of the object.
pub(crate) fn check_key(spec: &ObjectSpec) -> Result<()> {
    check_record::<CountKey>(spec, "count_key")
}

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

    fn address_width(&self) -> usize {
        text(&self.local).len().max(text(&self.remote).len())
    }

    /// IPv4 first, the most frequent first, and the same order each time.
    #[inline(never)]
    fn order(&self, other: &Self) -> Ordering {
        let key =
            |c: &Self| (c.version, u64::MAX - c.connects, c.remote, c.remote_port, c.local, c.local_port);
        key(self).cmp(&key(other))
    }
}

/// Widths of BCC's table.
const ADDRESS_WIDTH: usize = 25;
const PORT_WIDTH: usize = 20;

fn push_header(tool: &Tool, out: &mut Vec<u8>) {
    push_header_of(tool, ADDRESS_WIDTH, out);
}

fn push_header_of(tool: &Tool, address_width: usize, out: &mut Vec<u8>) {
    let mut line = Line::begin(out);
    let mut cell = |width, text: &str| {
        line.cell(width, Left, |out| out.extend_from_slice(text.as_bytes()));
    };
    cell(address_width, "LADDR");
    cell(address_width, "RADDR");
    if tool.options.lport {
        cell(PORT_WIDTH, "LPORT");
    }
    cell(PORT_WIDTH, "RPORT");
    cell(0, "CONNECTS");
    line.end();
}

fn push_rows(tool: &Tool, entries: Vec<Entry>, context: &Context, out: &mut Vec<u8>) {
    let mut counts: Vec<Count> = entries.into_iter().filter_map(Count::read).collect();
    counts.sort_unstable_by(Count::order);
    if tool.common.json {
        counts.iter().for_each(|count| push_json(tool, count, out));
        return;
    }
    // The header is out since the start. Where addresses are too long for it, a person gets another one before the rows.
    let width = counts.iter().map(Count::address_width).max().unwrap_or(0).max(ADDRESS_WIDTH);
    if width > ADDRESS_WIDTH && context.repeat_header {
        push_header_of(tool, width, out);
    }
    counts.iter().for_each(|count| push_row(tool, count, width, out));
}

fn push_row(tool: &Tool, count: &Count, address_width: usize, out: &mut Vec<u8>) {
    let mut line = Line::begin(out);
    line.cell(address_width, Left, |out| count.local.push(out));
    line.cell(address_width, Left, |out| count.remote.push(out));
    if tool.options.lport {
        line.cell(PORT_WIDTH, Left, |out| push_u64(out, count.local_port.into()));
    }
    line.cell(PORT_WIDTH, Left, |out| push_u64(out, count.remote_port.into()));
    line.cell(0, Left, |out| push_u64(out, count.connects));
    line.end();
}

fn text(address: &Address) -> Vec<u8> {
    let mut text = Vec::new();
    address.push(&mut text);
    text
}

fn push_json(tool: &Tool, count: &Count, out: &mut Vec<u8>) {
    let mut object = Object::begin(out);
    object.text("type", b"connects");
    object.u64("ip", count.version.into());
    object.text("local_address", &text(&count.local));
    if tool.options.lport {
        object.u64("local_port", count.local_port.into());
    }
    object.text("remote_address", &text(&count.remote));
    object.u64("remote_port", count.remote_port.into());
    object.u64("connects", count.connects);
    object.end_line();
}
