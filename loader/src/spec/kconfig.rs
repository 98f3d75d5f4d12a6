//! `.kconfig`: configuration values of the kernel as variables of the program.
//!
//! In: the externs of the DATASEC `.kconfig`; later the text of a kernel configuration. Out: a data map that holds all
//! of them, and the bytes of each value. Reading the running kernel's configuration is in
//! [`crate::kernel::config`]. Layout and value rules are libbpf's.

use super::externs::{ExternKind, ExternSpec};
use super::map::{MapSpec, map_flag, map_type};
use crate::btf::encode::{DatasecFixup, VariableFixup};
use crate::btf::{Btf, IntInfo, Kind, TypeId};
use crate::bytes::Endian;
use crate::error::{Error, Result};

/// Name of the section and of the map made from it.
pub const SECTION: &str = ".kconfig";

/// No object asks for so many bytes of settings; one that does is damaged.
const SIZE_LIMIT: u32 = 1 << 20;

/// Gives every `.kconfig` extern its place: by alignment (largest first), then size, then name. The map that holds
/// them, and the fix-up for BTF; nothing if the object has no such extern.
pub(super) fn lay_out(
    externs: &mut [ExternSpec],
    btf: Option<&Btf>,
    datasec: Option<TypeId>,
) -> Result<Option<(MapSpec, DatasecFixup)>> {
    let Some(btf) = btf else { return Ok(None) };
    let mut order = Vec::new();
    for external in externs.iter_mut() {
        let ExternKind::Kconfig { type_id, size, .. } = external.kind else { continue };
        order.push((align_of(btf, type_id)?, size, external));
    }
    if order.is_empty() {
        return Ok(None);
    }
    order.sort_unstable_by(|a, b| (b.0, a.1, &a.2.name).cmp(&(a.0, b.1, &b.2.name)));
    let mut fixup = DatasecFixup::default();
    for (align, size, external) in order {
        let place = fixup.size.checked_next_multiple_of(align);
        let end = place.and_then(|place| place.checked_add(size)).filter(|end| *end <= SIZE_LIMIT);
        let (Some(place), Some(end)) = (place, end) else {
            return Err(Error::invalid(format!("the externs of `.kconfig` exceed {SIZE_LIMIT} bytes")));
        };
        if let ExternKind::Kconfig { offset, .. } = &mut external.kind {
            *offset = place;
        }
        fixup.variables.insert(external.name.clone(), VariableFixup { offset: place, hidden: false });
        fixup.size = end;
    }
    let mut map = MapSpec::new(SECTION, map_type::ARRAY, 4, fixup.size, 1);
    map.flags = map_flag::RDONLY_PROG | map_flag::MMAPABLE;
    map.freeze = true;
    map.value_type_id = datasec.unwrap_or_default();
    map.contents = Some(vec![0; usize::try_from(fixup.size).unwrap_or(0)]);
    Ok(Some((map, fixup)))
}

/// Bytes; 1 for what has no size of its own.
fn align_of(btf: &Btf, type_id: TypeId) -> Result<u32> {
    let mut ty = btf.strip(type_id)?;
    for _ in 0..crate::btf::MAX_DEPTH {
        let Some(array) = ty.array() else { break };
        ty = btf.strip(array.element)?;
    }
    Ok(ty.size().filter(|size| size.is_power_of_two() && *size <= 8).unwrap_or(1))
}

/// The text of a kernel configuration, as in `/proc/config.gz`: lines `CONFIG_NAME=value`.
#[derive(Clone, Debug, Default)]
pub struct KernelConfig(String);

impl KernelConfig {
    /// Takes the text as it is; lines that are no settings are never found.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text behind `NAME=`; the last one counts, so that overrides may follow.
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = |line: &'_ str| line.trim_end().strip_prefix(name)?.strip_prefix('=').map(str::len);
        let line = self.0.lines().rev().find(|line| value(line).is_some())?.trim_end();
        line.get(name.len() + 1..)
    }

    /// Adds settings that overrule those before.
    pub fn push(&mut self, text: &str) {
        self.0.push('\n');
        self.0.push_str(text);
    }
}

/// What a `.kconfig` variable can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Bool,
    Char { signed: bool },
    Int { signed: bool },
    Tristate,
    Text,
}

fn shape(btf: &Btf, type_id: TypeId) -> Result<Shape> {
    let ty = btf.strip(type_id)?;
    match (ty.kind(), ty.size(), ty.int(), ty.array()) {
        (Kind::Int, Some(1), Some(int), _) if int.encoding & IntInfo::BOOL != 0 => Ok(Shape::Bool),
        (Kind::Int, Some(1), Some(int), _) => Ok(Shape::Char { signed: int.is_signed() }),
        (Kind::Int, Some(2 | 4 | 8), Some(int), _) if int.encoding & IntInfo::BOOL == 0 => {
            Ok(Shape::Int { signed: int.is_signed() })
        }
        (Kind::Enum | Kind::Enum64, Some(4 | 8), ..) if ty.name()? == "libbpf_tristate" => {
            Ok(Shape::Tristate)
        }
        (Kind::Array, .., Some(array)) => match shape(btf, array.element) {
            Ok(Shape::Char { .. }) => Ok(Shape::Text),
            _ => Err(Error::invalid("an array in `.kconfig` must be of `char`")),
        },
        (kind, ..) => Err(Error::invalid(format!("a {} cannot hold a configuration value", kind.word()))),
    }
}

/// The bytes of a variable of type `type_id` and `size` bytes for the setting `text`, in byte order `endian`. Kind
/// `Incompatible` for a value that the type cannot hold.
pub fn encode(btf: &Btf, type_id: TypeId, size: u32, text: &str, endian: Endian) -> Result<Vec<u8>> {
    let size = usize::try_from(size).unwrap_or(0);
    let shape = shape(btf, type_id)?;
    let misfit = || Error::incompatible(format!("the value `{text}` does not fit the variable's type"));
    let number = match (text, shape) {
        ("y", Shape::Bool | Shape::Tristate) | ("1", Shape::Bool) => 1,
        ("n", Shape::Bool | Shape::Tristate) | ("0", Shape::Bool) => 0,
        ("m", Shape::Tristate) => 2,
        ("y" | "n" | "m", Shape::Char { .. }) => i128::from(text.as_bytes().first().copied().unwrap_or(0)),
        (_, Shape::Text) => return quoted(text, size).ok_or_else(misfit),
        (_, Shape::Int { signed } | Shape::Char { signed }) => {
            let number = parse_number(text).ok_or_else(misfit)?;
            fits(number, size, signed).then_some(number).ok_or_else(misfit)?
        }
        _ => return Err(misfit()),
    };
    Ok(number_bytes(number, size, endian))
}

/// The low `size` bytes of a number.
pub(crate) fn number_bytes(number: i128, size: usize, endian: Endian) -> Vec<u8> {
    let mut bytes: Vec<u8> = number.to_le_bytes().into_iter().take(size).collect();
    if endian == Endian::Big {
        bytes.reverse();
    }
    bytes
}

fn parse_number(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let number = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse::<u64>(),
    };
    let number = i128::from(number.ok()?);
    Some(if negative { -number } else { number })
}

fn fits(number: i128, size: usize, signed: bool) -> bool {
    let bits = u32::try_from(size.saturating_mul(8)).unwrap_or(u32::MAX).min(64);
    match signed {
        // A hexadecimal setting may use all bits of a signed variable.
        true => number >= -(1_i128 << (bits - 1)) && number < 1_i128 << (bits - 1),
        false => number >= 0 && number < 1_i128 << bits,
    }
}

/// Text between quotes, cut to leave room for a NUL, and padded with NULs. An array of one is no text: it gets the
/// first character (libbpf leaves only the NUL, cilium/ebpf does the same as this).
fn quoted(text: &str, size: usize) -> Option<Vec<u8>> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut bytes: Vec<u8> = inner.bytes().take(size.checked_sub(1)?.max(1)).collect();
    bytes.resize(size, 0);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::BtfData;
    use crate::btf::encode::BtfBuilder;

    #[test]
    fn the_last_setting_of_a_name_counts_and_longer_names_are_others() {
        let mut config = KernelConfig::new("# CONFIG_A is not set\nCONFIG_AB=y\nCONFIG_A=m\r\n");
        assert_eq!(config.get("CONFIG_A"), Some("m"));
        config.push("CONFIG_A=7");
        assert_eq!(config.get("CONFIG_A"), Some("7"));
        assert_eq!(config.get("CONFIG_"), None);
    }

    /// A flipped bit made an int one of two gigabytes, which were then allocated: a machine with less was out of memory.
    #[test]
    fn settings_of_absurd_size_are_refused_before_they_are_allocated() {
        let mut b = BtfBuilder::new();
        let type_id = b.int("int", 4, 0);
        let btf = Btf::parse(BtfData::from(b.build(Endian::Little))).unwrap();
        let setting = |size| ExternSpec {
            name: "CONFIG_A".to_owned(),
            kind: ExternKind::Kconfig { type_id, size, offset: 0 },
            weak: false,
        };
        let (map, _) = lay_out(&mut [setting(4)], Some(&btf), None).unwrap().unwrap();
        assert_eq!(map.contents, Some(vec![0; 4]));
        for size in [SIZE_LIMIT + 1, 1 << 31, u32::MAX] {
            let error = lay_out(&mut [setting(size)], Some(&btf), None).unwrap_err();
            assert!(error.to_string().contains("1048576"), "{error}");
        }
    }

    #[test]
    fn values_are_encoded_by_the_type_of_their_variable() {
        let mut b = BtfBuilder::new();
        let (boolean, character) = (b.int("_Bool", 1, IntInfo::BOOL), b.int("char", 1, IntInfo::SIGNED));
        let (short, long) = (b.int("short", 2, IntInfo::SIGNED), b.int("long", 8, 0));
        let tristate = b.enumeration("libbpf_tristate", 4, false, &[("TRI_NO", 0)]);
        let text = b.array(character, long, 4);
        let btf = Btf::parse(BtfData::from(b.build(Endian::Little))).unwrap();
        let value = |id, size, text| encode(&btf, id, size, text, Endian::Little).ok();
        assert_eq!(value(boolean, 1, "y"), Some(vec![1]));
        assert_eq!(value(boolean, 1, "1"), Some(vec![1]), "the loader's own are numbers");
        assert_eq!(value(boolean, 1, "m"), None);
        assert_eq!(value(tristate, 4, "m"), Some(vec![2, 0, 0, 0]));
        assert_eq!(value(character, 1, "m"), Some(vec![b'm']));
        assert_eq!(value(short, 2, "-2"), Some(vec![0xfe, 0xff]));
        assert_eq!(value(short, 2, "40000"), None);
        assert_eq!(value(long, 8, "-1"), None);
        assert_eq!(value(long, 8, "0xffffffffffffffff"), Some(vec![0xff; 8]));
        assert_eq!(value(text, 4, "\"abcdef\""), Some(b"abc\0".to_vec()));
        assert_eq!(value(text, 4, "abc"), None);
        assert_eq!(encode(&btf, short, 2, "258", Endian::Big).unwrap(), [1, 2]);
    }
}
