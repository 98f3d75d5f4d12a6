//! A declared struct_ops becomes the kernel's struct.
//!
//! In: the object's struct with its bytes and programs, and the kernel's types. Out: [`Fitted`]: the bytes of the kernel's
//! own struct, and where the fds of programs go in it. Members are matched by name, as CO-RE does: the kernel's struct may
//! have other offsets, members that the object does not know, and may lack members that the object leaves zero. The
//! value of the map is a `struct bpf_struct_ops_NAME` of the kernel, which has that struct in its member `data`.

use super::target::{KernelTypes, kernel_name};
use crate::btf::{Btf, Kind, Member, TypeId};
use crate::core_reloc::KernelType;
use crate::error::{Error, Result, ResultExt as _};
use crate::spec::{MapSpec, ObjectSpec, StructOps};

/// What the names of the kernel's value types start with.
const VALUE_PREFIX: &str = "bpf_struct_ops_";

/// A struct_ops as the kernel has it.
#[derive(Clone, Debug)]
pub(super) struct Fitted {
    /// The struct: what programs for it are loaded against.
    pub(super) ops: KernelType,
    /// The type of the map's value.
    pub(super) value: KernelType,
    /// The map's value; zero where programs go.
    pub(super) bytes: Vec<u8>,
    /// By function of the object.
    pub(super) functions: Vec<FittedFunction>,
}

/// A member that is a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FittedFunction {
    /// Index into [`ObjectSpec::programs`].
    pub(super) program: usize,
    /// Number of the member in the kernel's struct; a program's expected attach type.
    pub(super) member: u32,
    /// Bytes from the start of the map's value.
    pub(super) offset: usize,
}

/// The names of the kernel's types that a struct_ops asks for: the struct and the value.
pub(super) fn names(local: &Btf, ops: &StructOps) -> Option<[String; 2]> {
    let name = local.type_by_id(ops.type_id).and_then(|ty| ty.name()).ok()?;
    let name = kernel_name(name);
    Some([name.to_owned(), format!("{VALUE_PREFIX}{name}")])
}

/// Fits the struct_ops of `map` to the kernel.
///
/// # Errors
/// `NotFound` when the kernel has no such struct, or not as a struct_ops; `Incompatible` when a member that the object
/// uses is missing or another.
pub(super) fn fit(spec: &ObjectSpec, map: &MapSpec, types: &KernelTypes) -> Result<Fitted> {
    let missing = || Error::invalid("the map is no struct_ops");
    let (ops, local) = (map.struct_ops.as_ref().ok_or_else(missing)?, spec.btf.as_ref().ok_or_else(missing)?);
    let [name, value_name] = names(local, ops).ok_or_else(missing)?;
    let find = |name: &str| types.find_type(name, Kind::Struct);
    let kernel =
        find(&name).ok_or_else(|| Error::not_found(format!("this kernel has no `struct {name}`")))?;
    let value = find(&value_name).filter(|value| value.blob == kernel.blob);
    let value = value.ok_or_else(|| {
        Error::not_found(format!("this kernel does not let programs stand for a `struct {name}`"))
    })?;
    let btf = types.btf_of(kernel).ok_or_else(missing)?;
    let mut target = Target::new(local, btf, kernel.id, value.id)?;
    for (number, member) in (0..).zip(local.type_by_id(ops.type_id)?.members()) {
        let program = ops.functions.iter().find(|function| function.member == number);
        let field = local.string(member.name_off)?;
        target
            .copy(member, &ops.contents, program.map(|function| function.program))
            .with_context(|| format!("member `{field}` of `struct {name}`"))?;
    }
    let Target { bytes, functions, .. } = target;
    Ok(Fitted { ops: kernel, value, bytes, functions })
}

/// The kernel's struct that the program at `index` is for, and the number of its member there.
///
/// # Errors
/// `InvalidObject` when it is in no struct_ops, or in members that differ.
pub(super) fn of_program(spec: &ObjectSpec, index: usize, types: &KernelTypes) -> Result<(KernelType, u32)> {
    let mut found = None;
    let tables = || spec.maps.iter().filter(|map| map.struct_ops_member(index).is_some());
    // Tables that are not created need not fit, unless a program is in no other.
    let created = tables().any(|map| map.autocreate);
    for map in tables().filter(|map| map.autocreate || !created) {
        let fitted = fit(spec, map, types).with_context(|| format!("fit struct_ops `{}`", map.name))?;
        let function = fitted.functions.iter().find(|function| function.program == index);
        let place = function.map(|function| (fitted.ops, function.member));
        if found.is_some() && found != place {
            return Err(Error::invalid("it is in two members of struct_ops that differ"));
        }
        found = place;
    }
    found.ok_or_else(|| Error::invalid("it is in no struct_ops of the object"))
}

/// The kernel's struct while it is filled.
struct Target<'a> {
    local: &'a Btf,
    kernel: &'a Btf,
    ops: TypeId,
    /// Bytes from the start of the value to the struct.
    start: u64,
    bytes: Vec<u8>,
    functions: Vec<FittedFunction>,
}

impl<'a> Target<'a> {
    fn new(local: &'a Btf, kernel: &'a Btf, ops: TypeId, value: TypeId) -> Result<Self> {
        /// The largest struct of the kernel is far smaller.
        const LIMIT: u64 = 1 << 20;
        let mut members = kernel.type_by_id(value)?.members();
        let data = members.find(|member| kernel.strip(member.type_id).is_ok_and(|ty| ty.id() == ops));
        let data = data.ok_or_else(|| Error::incompatible("its value type does not hold it"))?;
        let size = kernel.size_of(value)?;
        let len = usize::try_from(size).ok().filter(|_| size <= LIMIT);
        let len = len.ok_or_else(|| Error::invalid(format!("a struct of {size} bytes")))?;
        let start = u64::from(data.bit_offset / 8);
        Ok(Self { local, kernel, ops, start, bytes: vec![0; len], functions: Vec::new() })
    }

    fn copy(&mut self, member: Member, contents: &[u8], program: Option<usize>) -> Result<()> {
        let size = self.local.size_of(member.type_id)?;
        let from = slice(contents, u64::from(member.bit_offset / 8), size);
        let from = from.ok_or_else(|| Error::invalid("it leaves its struct"))?;
        let name = self.local.string_bytes(member.name_off)?;
        let members = (0_u32..).zip(self.kernel.type_by_id(self.ops)?.members());
        let mut named = members
            .filter(|(_, theirs)| self.kernel.string_bytes(theirs.name_off).is_ok_and(|their| their == name));
        let Some((number, theirs)) = named.next() else {
            return match program.is_none() && from.iter().all(|byte| *byte == 0) {
                true => Ok(()),
                false => Err(Error::incompatible("the kernel has no such member")),
            };
        };
        if member.bit_size != 0 || theirs.bit_size != 0 {
            return Err(Error::not_supported("bit-field in a struct_ops", ""));
        }
        self.check_like(member, theirs, size)?;
        let offset = self.start + u64::from(theirs.bit_offset / 8);
        if let Some(program) = program {
            let offset = usize::try_from(offset).unwrap_or(usize::MAX);
            self.functions.push(FittedFunction { program, member: number, offset });
            return Ok(());
        }
        let into =
            usize::try_from(offset).ok().and_then(|at| self.bytes.get_mut(at..at.checked_add(from.len())?));
        into.ok_or_else(|| Error::invalid("it leaves the kernel's struct"))?.copy_from_slice(from);
        Ok(())
    }

    fn check_like(&self, ours: Member, theirs: Member, size: u64) -> Result<()> {
        let (our, their) = (self.local.strip(ours.type_id)?, self.kernel.strip(theirs.type_id)?);
        let their_size = self.kernel.size_of(theirs.type_id)?;
        let same_kind = our.kind() == their.kind() || (our.kind().is_enum() && their.kind().is_enum());
        if !same_kind || size != their_size {
            return Err(Error::incompatible(format!(
                "it is a {} of {size} bytes, in the kernel a {} of {their_size}",
                our.kind().word(),
                their.kind().word()
            )));
        }
        Ok(())
    }
}

impl Fitted {
    /// The value with the programs in it; `fd` gives the fd of a program that is loaded. Members whose program is not
    /// stay empty, which the kernel may refuse.
    pub(super) fn value(&self, mut fd: impl FnMut(usize) -> Option<u32>) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for function in &self.functions {
            let slot = bytes.get_mut(function.offset..).and_then(<[u8]>::first_chunk_mut::<8>);
            if let (Some(slot), Some(fd)) = (slot, fd(function.program)) {
                *slot = u64::from(fd).to_ne_bytes();
            }
        }
        bytes
    }
}

fn slice(bytes: &[u8], start: u64, len: u64) -> Option<&[u8]> {
    let (start, len) = (usize::try_from(start).ok()?, usize::try_from(len).ok()?);
    bytes.get(start..start.checked_add(len)?)
}
