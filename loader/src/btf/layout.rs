//! The layout of a struct, flattened: the C half of the event contract.
//!
//! In: a struct's name. Out: its size and, for each member at any depth, dotted path, offset and size in bytes.
//! A tracer compares this with what its Rust decoder expects and refuses to start when they differ.

use super::{Btf, Kind, MAX_DEPTH, Type, TypeId};
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// Most members a flattened struct may have; no event comes near it.
const MAX_FIELDS: usize = 4096;

/// A struct's size and members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StructLayout {
    /// Bytes.
    pub size: u64,
    /// In the order of the declaration; a member that is a struct or union is followed by its own members.
    pub fields: Vec<FieldLayout>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldLayout {
    /// Names from the outermost struct inwards, such as `header.comm`; nameless members add nothing.
    pub path: String,
    /// Bytes from the start of the outermost struct.
    pub offset: u64,
    /// Bytes: all elements of an array; 0 for a flexible array.
    pub size: u64,
}

impl StructLayout {
    /// The member with this dotted path.
    pub fn field(&self, path: &str) -> Option<&FieldLayout> {
        self.fields.iter().find(|field| field.path == path)
    }
}

impl Btf {
    /// The layout of struct `name`. Bit-fields have no byte layout: kind `Incompatible`.
    pub fn struct_layout(&self, name: &str) -> Result<StructLayout> {
        let id = self.find(name, Kind::Struct)?;
        let id = id.ok_or_else(|| Error::not_found(format!("no struct `{name}` in the BTF")))?;
        self.layout_of(id).with_context(|| format!("layout of struct `{name}`"))
    }

    /// As [`Btf::struct_layout`], for a struct or union, or a typedef of one, that is known by its id.
    pub fn layout_of(&self, id: TypeId) -> Result<StructLayout> {
        let mut flat = Flattener { btf: self, fields: Vec::new(), visited: 0 };
        flat.add_members(self.strip(id)?, "", 0, MAX_DEPTH)?;
        Ok(StructLayout { size: self.size_of(id)?, fields: flat.fields })
    }
}

struct Flattener<'a> {
    btf: &'a Btf,
    fields: Vec<FieldLayout>,
    /// Members looked at, nameless ones too: they could otherwise multiply without end in a hostile blob.
    visited: usize,
}

impl Flattener<'_> {
    fn add_members(&mut self, ty: Type<'_>, path: &str, base: u64, depth: u32) -> Result<()> {
        let depth = depth.checked_sub(1).ok_or_else(|| super::too_deep(ty.id()))?;
        for member in ty.members() {
            self.visited += 1;
            if self.visited > MAX_FIELDS {
                return Err(Error::new(ErrorKind::Limit, format!("more than {MAX_FIELDS} members")));
            }
            let name = self.btf.string(member.name_off)?;
            let path = match (path, name) {
                ("", _) => name.to_owned(),
                (_, "") => path.to_owned(),
                _ => format!("{path}.{name}"),
            };
            if member.bit_size != 0 || !member.bit_offset.is_multiple_of(8) {
                return Err(Error::incompatible(format!("`{path}` is a bit-field")));
            }
            // Offsets have 32 bits and there are at most 32 levels.
            let offset = base + u64::from(member.bit_offset / 8);
            let size = self.btf.size_of(member.type_id).with_context(|| format!("`{path}`"))?;
            if !name.is_empty() {
                self.fields.push(FieldLayout { path: path.clone(), offset, size });
            }
            self.add_members(self.btf.strip(member.type_id)?, &path, offset, depth)?;
        }
        Ok(())
    }
}
