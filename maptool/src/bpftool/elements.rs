//! `dump`, `lookup`, `peek`, `getnext`, `update`, `push`, `delete`, `pop`: what is in a map.
//!
//! In: MAP and DATA. Out: entries as bytes, or as numbers where the map has types.

use std::fmt::Write as _;

use loader::ErrorKind;
use loader::map::{Access, Map, UpdateMode};
use loader::spec::map::map_type;

use super::args::Words;
use super::data::{self, Wanted, hex, values_of_cpus};
use super::formatted::{Style, Types};
use super::json::Writer;
use super::select::{self, failed};
use super::{Screen, show, usage};
use crate::failure::{Code, Failure};

const KEY_ONLY: Wanted = Wanted { key: true, value: false, mode: false };

/// Queues and stacks take no key, ring buffers no value either.
fn wanted(map: &Map, wanted: Wanted) -> Wanted {
    let info = map.info();
    Wanted { key: wanted.key && info.key_size > 0, value: wanted.value && info.value_size > 0, ..wanted }
}

pub(super) fn update(screen: &mut Screen, mut words: Words<'_>) -> Result<(), Failure> {
    if words.len() < 2 {
        return Err(usage::wrong(screen));
    }
    let map = select::one(&mut words, Access::ReadWrite)?;
    let element = data::parse(&mut words, &map, wanted(&map, Wanted { key: true, value: true, mode: true }))?;
    let key = element.key.unwrap_or_default();
    let value = element.value.unwrap_or_default();
    map.update(&key, &value, element.mode.unwrap_or(UpdateMode::Any))
        .map_err(|error| update_failed(&map, &error))?;
    screen.nothing();
    Ok(())
}

/// The kernel says `E2BIG` for a full map and for an index that an array has not, and `EPERM` for a map that is frozen or
/// opened read-only.
fn update_failed(map: &Map, error: &loader::Error) -> Failure {
    match error.errno() {
        Some(libc::E2BIG) if is_array(map) => failed("update failed", error)
            .hint(format!("its indices end at {}", map.info().max_entries.saturating_sub(1))),
        Some(libc::E2BIG) => {
            let room = map.info().max_entries;
            let used = map.entries().map_or(room as usize, |entries| entries.len());
            Failure::new(Code::Full, format!("update failed: the map is full: {used} of {room}"))
        }
        Some(libc::EPERM) => failed("update failed", error).hint("the map is frozen or read-only"),
        Some(libc::EEXIST) => Failure::new(Code::Other, failed("update failed", error).to_string()),
        _ => failed("update failed", error),
    }
}

/// Whether keys are indices. Nothing but an index that is too large is too much for one.
fn is_array(map: &Map) -> bool {
    let shape = map.info();
    shape.key_size == 4
        && !matches!(
            shape.map_type,
            map_type::HASH
                | map_type::PERCPU_HASH
                | map_type::LRU_HASH
                | map_type::LRU_PERCPU_HASH
                | map_type::HASH_OF_MAPS
                | map_type::SOCKHASH
                | map_type::DEVMAP_HASH
                | map_type::STACK_TRACE
        )
}

pub(super) fn delete(screen: &mut Screen, mut words: Words<'_>) -> Result<(), Failure> {
    if words.len() < 2 {
        return Err(usage::wrong(screen));
    }
    let map = select::one(&mut words, Access::ReadWrite)?;
    let element = data::parse(&mut words, &map, KEY_ONLY)?;
    let removed =
        map.delete(&element.key.unwrap_or_default()).map_err(|error| failed("delete failed", &error))?;
    if !removed {
        return Err(Failure::new(Code::NotFound, "delete failed: No such file or directory"));
    }
    screen.nothing();
    Ok(())
}

pub(super) fn lookup(screen: &mut Screen, mut words: Words<'_>) -> Result<(), Failure> {
    if words.len() < 2 {
        return Err(usage::wrong(screen));
    }
    let map = select::one(&mut words, Access::ReadOnly)?;
    let element = data::parse(&mut words, &map, wanted(&map, KEY_ONLY))?;
    let key = element.key.unwrap_or_default();
    if map.info().map_type == map_type::BLOOM_FILTER {
        let message = "lookup failed: a Bloom filter is asked with a value, which this command has not";
        return Err(Failure::new(Code::Wrong, message));
    }
    match map.lookup(&key).map_err(|error| failed("lookup failed", &error))? {
        Some(value) => print_one(screen, &map, &key, &value),
        None => {
            screen.code = Code::NotFound;
            screen.nothing();
            if !screen.options.json {
                let _ = write!(screen.plain, "key:\n{}\n\nNot found\n", hex(&key));
            }
        }
    }
    Ok(())
}

pub(super) fn pop(screen: &mut Screen, mut words: Words<'_>) -> Result<(), Failure> {
    if words.len() < 2 {
        return Err(usage::wrong(screen));
    }
    let map = select::one(&mut words, Access::ReadWrite)?;
    words.end()?;
    // The kernel takes an entry out of other maps, too: the one with the key that it is given.
    if map.info().key_size > 0 {
        return Err(Failure::new(
            Code::Wrong,
            "pop failed: this map has keys, which queues and stacks have not",
        ));
    }
    match map.pop().map_err(|error| failed("pop failed", &error))? {
        Some(value) => print_one(screen, &map, &[], &value),
        None => {
            screen.code = Code::NotFound;
            if screen.options.json { screen.json.null() } else { screen.plain.push_str("Error: empty map\n") }
        }
    }
    Ok(())
}

pub(super) fn getnext(screen: &mut Screen, mut words: Words<'_>) -> Result<(), Failure> {
    if words.len() < 2 {
        return Err(usage::wrong(screen));
    }
    let map = select::one(&mut words, Access::ReadOnly)?;
    let key = match words.peek() {
        Some(_) => data::parse(&mut words, &map, wanted(&map, KEY_ONLY))?.key,
        None => None,
    };
    let next = map.next_key(key.as_deref()).map_err(|error| failed("can't get next key", &error))?;
    let Some(next) = next else {
        return Err(Failure::new(Code::NotFound, "can't get next key: No such file or directory"));
    };
    if screen.options.json {
        let json = &mut screen.json;
        json.open('{');
        json.name("key");
        match &key {
            Some(key) => json.bytes(key),
            None => json.null(),
        }
        screen.json.name("next_key");
        screen.json.bytes(&next);
        screen.json.close('}');
        return Ok(());
    }
    match &key {
        Some(key) => {
            let _ = writeln!(screen.plain, "key:\n{}", hex(key));
        }
        None => screen.plain.push_str("key: None\n"),
    }
    let _ = writeln!(screen.plain, "next key:\n{}", hex(&next));
    Ok(())
}

/// An entry alone, in the shape that was asked for.
fn print_one(screen: &mut Screen, map: &Map, key: &[u8], value: &[u8]) {
    let types = Types::of(map);
    if screen.options.json {
        json_entry(&mut screen.json, map, key, value, types.as_ref());
    } else if let Some(types) = types.filter(|types| types.can_show(map, key, value)) {
        let mut json = Writer::new(true);
        let _ = types.entry(&mut json, map, key, value, Style::Plain);
        screen.plain.push_str(&json.finish());
    } else {
        plain_entry(&mut screen.plain, map, key, value);
    }
}

pub(super) fn dump(screen: &mut Screen, mut words: Words<'_>) -> Result<(), Failure> {
    if words.len() != 2 {
        return Err(usage::wrong(screen));
    }
    let maps = select::all(&mut words, Access::ReadOnly)?;
    let types: Vec<Option<Types>> = maps.iter().map(Types::of).collect();
    let several = maps.len() > 1;
    // Numbers in plain text only if all of them have types, as one document is made of them.
    let numbers = !screen.options.json && types.iter().all(Option::is_some);
    if numbers {
        screen.json = Writer::new(true);
    }
    let in_json = numbers || screen.options.json;
    if in_json && several {
        screen.json.open('[');
    }
    for (index, (map, types)) in maps.iter().zip(&types).enumerate() {
        warn_of_sockets(map, screen);
        let entries = entries(map).map_err(|error| failed("can't read the map", &error))?;
        if in_json {
            json_dump(&mut screen.json, map, &entries, (types.as_ref(), numbers, several));
        } else {
            if several {
                screen.plain.push_str(&show::header(map));
            }
            plain_dump(&mut screen.plain, map, &entries);
            if index + 1 < maps.len() {
                screen.plain.push('\n');
            }
        }
    }
    if in_json && several {
        screen.json.close(']');
    }
    if numbers {
        let json = std::mem::replace(&mut screen.json, Writer::new(false));
        screen.plain.push_str(&json.finish());
    }
    Ok(())
}

fn warn_of_sockets(map: &Map, screen: &mut Screen) {
    let shape = map.info();
    let unreadable = shape.map_type == map_type::REUSEPORT_SOCKARRAY && shape.value_size != 8;
    if unreadable && !screen.options.json {
        let warning = "Warning: cannot read values from reuseport_sockarray map with value_size != 8\n";
        screen.err.push_str(warning);
    }
}

/// A key, and its value or why it cannot be read.
type Entry = (Vec<u8>, Result<Vec<u8>, i32>);

/// In the order in which the kernel keeps them, which is the order that bpftool prints.
fn entries(map: &Map) -> loader::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut key = None;
    for _ in 0..(map.info().max_entries as usize).saturating_mul(2) {
        let Some(next) = map.next_key(key.as_deref())? else { break };
        match map.lookup(&next) {
            Ok(Some(value)) => entries.push((next.clone(), Ok(value))),
            Ok(None) if has_empty_slots(map) => entries.push((next.clone(), Err(libc::ENOENT))),
            // Deleted meanwhile, or a slot without a map or program.
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::Permission => return Err(error),
            Err(error) => entries.push((next.clone(), Err(error.errno().unwrap_or(0)))),
        }
        key = Some(next);
    }
    Ok(entries)
}

/// Whether keys without a value are listed: arrays of devices, processors and sockets.
fn has_empty_slots(map: &Map) -> bool {
    matches!(
        map.info().map_type,
        map_type::DEVMAP
            | map_type::CPUMAP
            | map_type::XSKMAP
            | map_type::SOCKMAP
            | map_type::REUSEPORT_SOCKARRAY
    )
}

fn plain_dump(out: &mut String, map: &Map, entries: &[Entry]) {
    for (key, value) in entries {
        match value {
            Ok(value) => plain_entry(out, map, key, value),
            Err(errno) => {
                let text = why_unreadable(map, *errno);
                plain_pair(out, key, text.len(), &text);
            }
        }
    }
    let count = entries.iter().filter(|(_, value)| value.is_ok()).count();
    let plural = if count == 1 { "" } else { "s" };
    let _ = writeln!(out, "Found {count} element{plural}");
}

fn why_unreadable(map: &Map, errno: i32) -> String {
    match (errno, map.info().map_type) {
        (libc::ENOENT, _) => "<no entry>".to_owned(),
        (libc::ENOSPC, map_type::REUSEPORT_SOCKARRAY) => "<cannot read>".to_owned(),
        _ => select::reason(errno),
    }
}

fn json_dump(
    json: &mut Writer,
    map: &Map,
    entries: &[Entry],
    (types, numbers, several): (Option<&Types>, bool, bool),
) {
    if several {
        json.open('{');
        show::header_fields(json, map);
        json.name("elements");
    }
    json.open('[');
    for (key, value) in entries {
        let value = match value {
            Ok(value) => value,
            Err(errno) => {
                json_unreadable(json, key, *errno);
                continue;
            }
        };
        match types.filter(|types| numbers && types.can_show(map, key, value)) {
            Some(types) => {
                let _ = types.entry(json, map, key, value, Style::Plain);
            }
            None => json_entry(json, map, key, value, types),
        }
    }
    json.close(']');
    if several {
        json.close('}');
    }
}

fn json_unreadable(json: &mut Writer, key: &[u8], errno: i32) {
    json.open('{');
    json.name("key");
    json.bytes(key);
    json.name("value");
    json.open('{');
    json.text_field("error", &select::reason(errno));
    json.close('}');
    json.close('}');
}

fn json_entry(json: &mut Writer, map: &Map, key: &[u8], value: &[u8], types: Option<&Types>) {
    json.open('{');
    json.name("key");
    json.bytes(key);
    // Bytes can always be shown.
    let _ = data::write_values(json, map, value, |json, value| {
        json.bytes(value);
        Some(())
    });
    if let Some(types) = types.filter(|types| types.can_show(map, key, value)) {
        json.name("formatted");
        let _ = types.entry(json, map, key, value, Style::Json);
    }
    json.close('}');
}

fn plain_entry(out: &mut String, map: &Map, key: &[u8], value: &[u8]) {
    if map.is_per_cpu() {
        let _ = writeln!(out, "key:\n{}", hex(key));
        for (cpu, value) in values_of_cpus(map, value).enumerate() {
            let gap = if value.len() > 16 { '\n' } else { ' ' };
            let _ = writeln!(out, "value (CPU {cpu:02}):{gap}{}", hex(value));
        }
        return;
    }
    plain_pair(out, key, value.len(), &hex(value));
}

/// On one line if both are short; `length` is what the value counts for.
fn plain_pair(out: &mut String, key: &[u8], length: usize, value: &str) {
    let long = key.len() > 16 || length > 16;
    let gap = if long { '\n' } else { ' ' };
    if !key.is_empty() {
        let one_line = key.len() + length <= 24 && !long;
        let _ = write!(out, "key:{gap}{}{}", hex(key), if one_line { "  " } else { "\n" });
    }
    if length > 0 {
        let _ = write!(out, "value:{gap}{value}");
    }
    out.push('\n');
}
