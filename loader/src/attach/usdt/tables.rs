//! Tables for `bpf_usdt_arg()` and its kin of libbpf's `bpf/usdt.bpf.h`: where the arguments of each place are.
//!
//! In: an object that uses that header, and [`Place`]s. Out: entries of its maps `__bpf_usdt_specs` (arguments and the caller's
//! cookie) and, before cookies (5.15), `__bpf_usdt_ip_to_spec_id`. The header's structs have changed over time, so each field
//! goes where the object's own types say.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::Place;
use super::arguments::{self, Arch, Argument, Location};
use crate::btf::{Btf, Kind, Member, Type};
use crate::error::{Error, ErrorKind, Result, ResultExt as _};
use crate::kernel::probe;
use crate::map::{Map, UpdateMode};
use crate::spec::ObjectSpec;

const SPECS: &str = "__bpf_usdt_specs";
const BY_ADDRESS: &str = "__bpf_usdt_ip_to_spec_id";

/// The tables of an object.
#[derive(Debug)]
pub(crate) struct Tables {
    specs: Map,
    by_address: Option<Map>,
    layout: Layout,
    /// What is in the table already: the same arguments with the same cookie are entered once. Nothing is taken out, since a
    /// program may still run for a moment after its link is gone.
    entered: Mutex<BTreeMap<(String, u64), u32>>,
}

impl Tables {
    /// The tables of an object; none if its programs ask for no arguments.
    ///
    /// # Errors
    /// `InvalidObject` when its types do not describe them.
    pub(crate) fn of(spec: &ObjectSpec, maps: &BTreeMap<String, Map>) -> Result<Option<Self>> {
        let Some(specs) = maps.get(SPECS) else { return Ok(None) };
        let read = || {
            let btf = spec.btf.as_ref().ok_or_else(|| Error::invalid("the object has no types"))?;
            Layout::read(btf, specs.value_len())
        };
        Ok(Some(Self {
            specs: specs.try_clone()?,
            by_address: maps.get(BY_ADDRESS).map(Map::try_clone).transpose()?,
            layout: read().with_context(|| format!("map `{SPECS}`"))?,
            entered: Mutex::default(),
        }))
    }

    /// Enters a place. The cookie to attach the program with.
    ///
    /// # Errors
    /// `InvalidObject` for arguments that no program can read; `Limit` when the table is full; `NotSupported` where the kernel
    /// has no cookies and the address is not known before the binary runs.
    pub(super) fn enter(&self, place: &Place, cookie: u64) -> Result<u64> {
        let mut entered = self.entered.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (place.arguments.clone(), cookie);
        let id = match entered.get(&key) {
            Some(id) => *id,
            None => {
                let id = u32::try_from(entered.len()).unwrap_or(u32::MAX);
                self.write(id, place, cookie)?;
                entered.insert(key, id);
                id
            }
        };
        if probe::perf_links(None)? {
            return Ok(u64::from(id));
        }
        let by_address =
            self.by_address.as_ref().ok_or_else(|| Error::not_supported("cookie for perf events", "5.15"))?;
        let address =
            place.address.ok_or_else(|| Error::not_supported("arguments of probes in libraries", "5.15"))?;
        by_address.update(&address.to_ne_bytes(), &id.to_ne_bytes(), UpdateMode::Any)?;
        Ok(0)
    }

    fn write(&self, id: u32, place: &Place, cookie: u64) -> Result<()> {
        let entries = self.specs.info().max_entries;
        if id >= entries {
            let full = format!("map `{SPECS}` is full: its {entries} entries are in use");
            return Err(Error::new(ErrorKind::Limit, full));
        }
        let arch =
            Arch::native().ok_or_else(|| Error::not_supported("arguments on this architecture", ""))?;
        let arguments = arguments::parse(&place.arguments, arch)?;
        let value = self.layout.encode(&arguments, cookie, self.specs.value_len())?;
        self.specs.update(&id.to_ne_bytes(), &value, UpdateMode::Any)
    }
}

/// A number in a struct: bits from its start, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    offset: usize,
    bits: usize,
}

/// Where things are in the object's `struct __bpf_usdt_spec`.
#[derive(Clone, Debug)]
struct Layout {
    cookie: Field,
    count: Field,
    /// Bits from the start to the first argument, and from one to the next.
    arguments: usize,
    step: usize,
    capacity: usize,
    value: Field,
    kind: Field,
    register: Field,
    signed: Field,
    shift: Field,
    /// Index register and scale; headers before libbpf 1.7 have none.
    index: Option<(Field, Field)>,
}

impl Layout {
    fn read(btf: &Btf, value_len: usize) -> Result<Self> {
        let id = btf.find("__bpf_usdt_spec", Kind::Struct)?;
        let id = id.ok_or_else(|| Error::invalid("no `struct __bpf_usdt_spec`"))?;
        if btf.size_of(id)? != value_len as u64 {
            return Err(Error::invalid("its value is no `struct __bpf_usdt_spec`"));
        }
        let spec = btf.type_by_id(id)?;
        let args = member(btf, spec, "args")?;
        let array = btf.strip(args.type_id)?.array().ok_or_else(|| Error::invalid("`args` is no array"))?;
        let argument = btf.strip(array.element)?;
        let field_of = |ty, name| field(btf, member(btf, ty, name)?);
        let field = |name| field_of(argument, name);
        Ok(Self {
            cookie: field_of(spec, "usdt_cookie")?,
            count: field_of(spec, "arg_cnt")?,
            arguments: args.bit_offset as usize,
            step: usize::try_from(btf.size_of(argument.id())?.saturating_mul(8)).unwrap_or(usize::MAX),
            capacity: array.len as usize,
            value: field("val_off")?,
            kind: field("arg_type")?,
            register: field("reg_off")?,
            signed: field("arg_signed")?,
            shift: field("arg_bitshift")?,
            index: field("idx_reg_off").and_then(|index| Ok((index, field("scale_bitshift")?))).ok(),
        })
    }

    fn encode(&self, arguments: &[Argument], cookie: u64, len: usize) -> Result<Vec<u8>> {
        if arguments.len() > self.capacity {
            let many = format!("the probe has {} arguments, at most {} fit", arguments.len(), self.capacity);
            return Err(Error::new(ErrorKind::Limit, many));
        }
        let mut bytes = vec![0; len];
        put(&mut bytes, 0, self.cookie, cookie)?;
        put(&mut bytes, 0, self.count, arguments.len() as u64)?;
        for (number, argument) in arguments.iter().enumerate() {
            let base = number.saturating_mul(self.step).saturating_add(self.arguments);
            self.encode_one(&mut bytes, base, argument)?;
        }
        Ok(bytes)
    }

    fn encode_one(&self, bytes: &mut [u8], base: usize, argument: &Argument) -> Result<()> {
        let (kind, value, register) = match argument.at {
            Location::Constant(number) => (0, number, 0),
            Location::Register(register) => (1, 0, register),
            Location::Memory { base, offset } => (2, offset, base),
            Location::Indexed { base: register, index, shift, offset } => {
                let (index_field, scale_field) = self.index.ok_or_else(|| {
                    let why = "the object was built with a header (libbpf's before 1.7) that knows no indexed arguments";
                    Error::incompatible(why)
                })?;
                put(bytes, base, index_field, u64::from(index))?;
                put(bytes, base, scale_field, u64::from(shift))?;
                (3, offset, register)
            }
        };
        put(bytes, base, self.kind, kind)?;
        put(bytes, base, self.value, value.cast_unsigned())?;
        put(bytes, base, self.register, u64::from(register))?;
        put(bytes, base, self.signed, u64::from(argument.signed))?;
        put(bytes, base, self.shift, u64::from(64 - argument.size * 8))
    }
}

fn member(btf: &Btf, ty: Type<'_>, name: &str) -> Result<Member> {
    let mut members = ty.members();
    let found =
        members.find(|member| btf.string_bytes(member.name_off).is_ok_and(|it| it == name.as_bytes()));
    found.ok_or_else(|| Error::invalid(format!("a struct of it has no member `{name}`")))
}

fn field(btf: &Btf, member: Member) -> Result<Field> {
    let bits = match member.bit_size {
        0 => btf.size_of(member.type_id)?.saturating_mul(8),
        bits => u64::from(bits),
    };
    match usize::try_from(bits) {
        Ok(bits @ 1..=64) => Ok(Field { offset: member.bit_offset as usize, bits }),
        _ => Err(Error::invalid(format!("a number of {bits} bits"))),
    }
}

/// Stores the low bits of `value`. Bits count from the least significant on little-endian machines, from the most significant
/// on big-endian ones.
fn put(bytes: &mut [u8], base: usize, field: Field, value: u64) -> Result<()> {
    for bit in 0..field.bits {
        let place = if cfg!(target_endian = "big") { field.bits - 1 - bit } else { bit };
        let at = base.saturating_add(field.offset).saturating_add(place);
        let mask = if cfg!(target_endian = "big") { 0x80 >> (at % 8) } else { 1 << (at % 8) };
        let byte = bytes.get_mut(at / 8).ok_or_else(|| Error::invalid("a field outside of its struct"))?;
        if value >> bit & 1 != 0 {
            *byte |= mask;
        }
    }
    Ok(())
}
