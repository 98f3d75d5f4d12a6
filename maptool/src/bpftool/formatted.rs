//! Entries as numbers, for maps that were made with types.
//!
//! In: a map's BTF, bytes of its keys and values. Out: JSON values, in bpftool's two styles. An entry that holds a kind of
//! type for which there is no shape (floating point numbers, functions) is shown as bytes.

use loader::Endian;
use loader::btf::{Array, Btf, IntInfo, Kind, Type, TypeId};
use loader::map::Map;

use super::data;
use super::json::Writer;

/// Deeper types are shown as bytes.
const MAX_DEPTH: u32 = 16;

/// How what JSON has no form for is written: as C has it, or as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// The numbers of plain text, which only look like JSON: `0x1f` is one.
    Plain,
    Json,
}

/// The types of a map.
pub(super) struct Types {
    btf: Btf,
    /// `void` for the maps of a program's variables, whose only key says nothing.
    key: TypeId,
    value: TypeId,
}

impl Types {
    /// `None` for a map without types, and where they may not be read.
    pub(super) fn of(map: &Map) -> Option<Self> {
        let (key, value) = (map.info().btf_key_type_id, map.info().btf_value_type_id);
        let btf = map.types().ok().flatten()?;
        (value != 0).then_some(Self { btf, key: TypeId(key), value: TypeId(value) })
    }

    /// Whether all of the entry can be shown.
    pub(super) fn can_show(&self, map: &Map, key: &[u8], value: &[u8]) -> bool {
        self.entry(&mut Writer::new(false), map, key, value, Style::Json).is_some()
    }

    /// `{"key": ..., "value": ...}`. `None`: it cannot be shown, and what was written is of no use.
    pub(super) fn entry(
        &self,
        json: &mut Writer,
        map: &Map,
        key: &[u8],
        value: &[u8],
        style: Style,
    ) -> Option<()> {
        let view = View { btf: &self.btf, style };
        json.open('{');
        if self.key != TypeId::VOID {
            json.name("key");
            view.show(json, self.key, key, 0, MAX_DEPTH)?;
        }
        data::write_values(json, map, value, |json, value| view.show(json, self.value, value, 0, MAX_DEPTH))?;
        json.close('}');
        Some(())
    }
}

/// Types, and the style in which their values are written.
#[derive(Clone, Copy)]
struct View<'a> {
    btf: &'a Btf,
    style: Style,
}

impl View<'_> {
    /// Writes the value that begins in `bytes`, for old bit-fields `bit` bits from there.
    fn show(self, json: &mut Writer, id: TypeId, bytes: &[u8], bit: u32, depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        let found = self.btf.strip(id).ok()?;
        if found.kind() == Kind::Var {
            json.open('{');
            json.name(found.name().ok()?);
            self.show(json, found.target()?, bytes, bit, depth)?;
            json.close('}');
            return Some(());
        }
        let size = usize::try_from(self.btf.size_of(found.id()).ok()?).ok()?;
        match found.kind() {
            Kind::Int => self.integer(json, found.int()?, bytes, bit)?,
            Kind::Ptr => self.pointer(json, unsigned(bytes.get(..size)?)?),
            Kind::Enum | Kind::Enum64 => self.enumeration(json, found, bytes.get(..size)?)?,
            Kind::Struct | Kind::Union => self.members(json, found, bytes.get(..size)?, depth)?,
            Kind::Array => self.array(json, found.array()?, bytes.get(..size)?, depth)?,
            Kind::Datasec => self.variables(json, found, bytes.get(..size)?, depth)?,
            _ => return None,
        }
        Some(())
    }

    fn members(self, json: &mut Writer, composite: Type<'_>, bytes: &[u8], depth: u32) -> Option<()> {
        json.open('{');
        for member in composite.members() {
            json.name(self.btf.string(member.name_off).ok()?);
            let (at, bit) = (member.bit_offset as usize / 8, member.bit_offset % 8);
            let bytes = bytes.get(at..)?;
            match member.bit_size {
                0 => self.show(json, member.type_id, bytes, bit, depth)?,
                width => self.number(json, bits(bytes, bit, width)?),
            }
        }
        json.close('}');
        Some(())
    }

    fn array(self, json: &mut Writer, array: Array, bytes: &[u8], depth: u32) -> Option<()> {
        if let Some(text) = self.text(array, bytes) {
            json.text(text);
            return Some(());
        }
        let size = usize::try_from(self.btf.size_of(array.element).ok()?).ok()?;
        json.open('[');
        for element in bytes.chunks_exact(size.max(1)) {
            self.show(json, array.element, element, 0, depth)?;
        }
        json.close(']');
        Some(())
    }

    /// Characters that end with a zero and can be printed. `char` must be what the elements are called: numbers of its size
    /// are none.
    fn text(self, array: Array, bytes: &[u8]) -> Option<&str> {
        let element = self.btf.strip(array.element).ok()?;
        let by_another_name = self.is_typedef(array.element);
        let info = element.int()?;
        let is_char = info.encoding == IntInfo::CHAR || element.name().is_ok_and(|name| name == "char");
        if by_another_name || !is_char || element.size() != Some(1) {
            return None;
        }
        let text = bytes.get(..bytes.iter().position(|&byte| byte == 0)?)?;
        let printable = text.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
        if printable { std::str::from_utf8(text).ok() } else { None }
    }

    fn is_typedef(self, id: TypeId) -> bool {
        let mut ty = self.btf.type_by_id(id).ok();
        for _ in 0..MAX_DEPTH {
            match ty {
                Some(found) if found.kind() == Kind::Typedef => return true,
                Some(found) if found.kind().is_modifier_or_typedef() => {
                    ty = found.target().and_then(|target| self.btf.type_by_id(target).ok());
                }
                _ => break,
            }
        }
        false
    }

    fn variables(self, json: &mut Writer, section: Type<'_>, bytes: &[u8], depth: u32) -> Option<()> {
        json.open('{');
        json.name(section.name().ok()?);
        json.open('[');
        for var in section.section_vars() {
            self.show(json, var.type_id, bytes.get(var.offset as usize..)?, 0, depth)?;
        }
        json.close(']');
        json.close('}');
        Some(())
    }

    /// By its name, or the number that has none.
    fn enumeration(self, json: &mut Writer, found: Type<'_>, bytes: &[u8]) -> Option<()> {
        let value = signed(bytes)?;
        match found.enumerators().find(|one| one.value.cast_signed() == value) {
            Some(known) => json.text(self.btf.string(known.name_off).ok()?),
            None => json.raw(&value.to_string()),
        }
        Some(())
    }

    fn pointer(self, json: &mut Writer, address: u64) {
        match (self.style, address) {
            (Style::Json, address) => json.number(address),
            (Style::Plain, 0) => json.text("(nil)"),
            (Style::Plain, address) => json.text(&format!("{address:#x}")),
        }
    }

    /// Bit-fields, and what is wider than JSON's numbers.
    fn number(self, json: &mut Writer, number: u128) {
        match self.style {
            Style::Plain => json.raw(&format!("{number:#x}")),
            Style::Json => json.text(&format!("{number:#x}")),
        }
    }

    fn integer(self, json: &mut Writer, info: IntInfo, bytes: &[u8], bit: u32) -> Option<()> {
        let (width, first) = (u32::from(info.bits), bit.checked_add(u32::from(info.bit_offset))?);
        if first != 0 || !matches!(width, 8 | 16 | 32 | 64) {
            let bytes = bytes.get(first as usize / 8..)?;
            self.number(json, bits(bytes, first % 8, width)?);
            return Some(());
        }
        let bytes = bytes.get(..width as usize / 8)?;
        match info.encoding {
            0 => json.number(unsigned(bytes)?),
            IntInfo::SIGNED => json.raw(&signed(bytes)?.to_string()),
            IntInfo::BOOL => json.raw(if unsigned(bytes)? == 0 { "false" } else { "true" }),
            IntInfo::CHAR => self.character(json, *bytes.first()?),
            _ => return None,
        }
        Some(())
    }

    fn character(self, json: &mut Writer, byte: u8) {
        match (self.style, byte) {
            (_, byte) if byte.is_ascii_graphic() || byte == b' ' => json.text(&char::from(byte).to_string()),
            (Style::Plain, byte) => json.raw(&format!("{byte:#x}")),
            (Style::Json, byte) => json.raw(&format!("\"\\u00{byte:02x}\"")),
        }
    }
}

/// `width` bits, of which `bit` others lie in front in the first byte.
fn bits(bytes: &[u8], bit: u32, width: u32) -> Option<u128> {
    let end = bit.checked_add(width).filter(|&end| width > 0 && end <= u128::BITS)?;
    let mut wide = [0; 16];
    let taken = bytes.get(..end.div_ceil(8) as usize)?;
    wide.get_mut(..taken.len())?.copy_from_slice(taken);
    let before = match Endian::NATIVE {
        Endian::Little => u128::BITS - end,
        Endian::Big => bit,
    };
    Some(u128::from_ne_bytes(wide) << before >> (u128::BITS - width))
}

/// A number of up to 8 bytes in host byte order.
fn unsigned(bytes: &[u8]) -> Option<u64> {
    let mut wide = [0; 8];
    if bytes.len() > wide.len() {
        return None;
    }
    let at = if Endian::NATIVE == Endian::Little { 0 } else { wide.len() - bytes.len() };
    wide.get_mut(at..at + bytes.len())?.copy_from_slice(bytes);
    Some(u64::from_ne_bytes(wide))
}

fn signed(bytes: &[u8]) -> Option<i64> {
    let unused = 64_u32.checked_sub(u32::try_from(bytes.len()).ok()?.checked_mul(8)?)?;
    if unused == 64 {
        return None;
    }
    Some((unsigned(bytes)? << unused).cast_signed() >> unused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_sign_and_width() {
        assert_eq!(signed(&(-2_i16).to_ne_bytes()), Some(-2));
        assert_eq!(unsigned(&0xfffe_u16.to_ne_bytes()), Some(0xfffe));
        assert_eq!(signed(&i64::MIN.to_ne_bytes()), Some(i64::MIN));
        assert_eq!((unsigned(&[0; 16]), signed(&[])), (None, None));
    }

    #[test]
    fn bits_are_cut_out_and_nothing_beyond_is_read() {
        let bytes = 0x1234_u16.to_ne_bytes();
        assert_eq!(bits(&bytes, 0, 16), Some(0x1234));
        assert_eq!(bits(&bytes, 4, 8), Some(0x23));
        assert_eq!(bits(&[0xff; 17], 3, 1), Some(1));
        assert_eq!((bits(&bytes, 0, 17), bits(&bytes, 0, 0), bits(&[0; 32], 1, 128)), (None, None, None));
    }
}
