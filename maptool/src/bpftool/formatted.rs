//! Entries as numbers, for maps that were made with types.
//!
//! In: a map's BTF, bytes of its keys and values. Out: JSON values. Integers, truth values, enumerations, pointers,
//! structs, unions and arrays; an entry with anything else is shown as bytes.

use loader::Endian;
use loader::btf::{Btf, IntInfo, Kind, Type, TypeId};
use loader::map::Map;

use super::data::is_per_cpu;
use super::json::Writer;

/// Deeper types are shown as bytes.
const MAX_DEPTH: u32 = 16;

/// The types of a map.
pub(super) struct Types {
    btf: Btf,
    key: TypeId,
    value: TypeId,
}

impl Types {
    /// `None` for a map without types, and where they may not be read.
    pub(super) fn of(map: &Map) -> Option<Self> {
        let (key, value) = (map.info().btf_key_type_id, map.info().btf_value_type_id);
        let btf = map.types().ok().flatten()?;
        (key != 0 && value != 0).then_some(Self { btf, key: TypeId(key), value: TypeId(value) })
    }

    /// Whether all of the entry can be shown.
    pub(super) fn can_show(&self, map: &Map, key: &[u8], value: &[u8]) -> bool {
        let mut scratch = Writer::new(false);
        !is_per_cpu(map)
            && self.show(&mut scratch, self.key, key, MAX_DEPTH).is_some()
            && self.show(&mut scratch, self.value, value, MAX_DEPTH).is_some()
    }

    /// `{"key": ..., "value": ...}`, of an entry that can be shown.
    pub(super) fn entry(&self, json: &mut Writer, key: &[u8], value: &[u8]) {
        json.open('{');
        json.name("key");
        let _ = self.show(json, self.key, key, MAX_DEPTH);
        json.name("value");
        let _ = self.show(json, self.value, value, MAX_DEPTH);
        json.close('}');
    }

    fn show(&self, json: &mut Writer, id: TypeId, bytes: &[u8], depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        let found = self.btf.strip(id).ok()?;
        let size = usize::try_from(self.btf.size_of(found.id()).ok()?).ok()?;
        let bytes = bytes.get(..size)?;
        match found.kind() {
            Kind::Int => integer(json, found.int()?, bytes),
            Kind::Ptr => {
                json.raw(&format!("\"{:#x}\"", unsigned(bytes)?));
                Some(())
            }
            Kind::Enum => {
                json.raw(&signed(bytes)?.to_string());
                Some(())
            }
            Kind::Struct | Kind::Union => self.members(json, found, bytes, depth),
            Kind::Array => self.array(json, found, bytes, depth),
            _ => None,
        }
    }

    fn members(&self, json: &mut Writer, composite: Type<'_>, bytes: &[u8], depth: u32) -> Option<()> {
        json.open('{');
        for member in composite.members() {
            // A bit-field.
            if member.bit_size != 0 || member.bit_offset % 8 != 0 || member.name_off == 0 {
                return None;
            }
            json.name(self.btf.string(member.name_off).ok()?);
            self.show(json, member.type_id, bytes.get(member.bit_offset as usize / 8..)?, depth)?;
        }
        json.close('}');
        Some(())
    }

    fn array(&self, json: &mut Writer, array: Type<'_>, bytes: &[u8], depth: u32) -> Option<()> {
        let array = array.array()?;
        let size = usize::try_from(self.btf.size_of(array.element).ok()?).ok()?;
        json.open('[');
        for element in bytes.chunks_exact(size.max(1)) {
            self.show(json, array.element, element, depth)?;
        }
        json.close(']');
        Some(())
    }
}

fn integer(json: &mut Writer, info: IntInfo, bytes: &[u8]) -> Option<()> {
    let plain = usize::from(info.bits) == bytes.len() * 8 && info.bit_offset == 0;
    let number = match () {
        () if !plain || info.encoding & IntInfo::CHAR != 0 => return None,
        () if info.encoding & IntInfo::BOOL != 0 => (unsigned(bytes)? != 0).to_string(),
        () if info.is_signed() => signed(bytes)?.to_string(),
        () => unsigned(bytes)?.to_string(),
    };
    json.raw(&number);
    Some(())
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
}
