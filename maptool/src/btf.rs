//! The types of a set's key and value as BTF, so that any tool prints its entries as decimal numbers.
//!
//! Out: a BTF object of two unsigned integers, loaded into the kernel.

use std::os::fd::OwnedFd;

use loader::btf::TypeId;
use loader::btf::encode::BtfBuilder;
use loader::sys::bpf::btf_load;
use loader::{Endian, Error, Result};

/// The types in the kernel, and their ids.
pub(crate) struct SetTypes {
    pub(crate) fd: OwnedFd,
    pub(crate) key: TypeId,
    pub(crate) value: TypeId,
}

/// Loads the types for keys and values of these sizes in bytes.
pub(crate) fn load(key_size: u32, value_size: u32) -> Result<SetTypes> {
    let mut builder = BtfBuilder::new();
    let key = unsigned(&mut builder, "set_key", key_size)?;
    let value = unsigned(&mut builder, "set_value", value_size)?;
    let fd = btf_load(&builder.build(Endian::NATIVE), &mut [], None).map_err(Error::from)?;
    Ok(SetTypes { fd, key, value })
}

fn unsigned(builder: &mut BtfBuilder, name: &str, size: u32) -> Result<TypeId> {
    const UNSIGNED: u8 = 0;
    let size = u8::try_from(size).map_err(|_| Error::invalid(format!("an integer of {size} bytes")))?;
    Ok(builder.int(name, size, UNSIGNED))
}
