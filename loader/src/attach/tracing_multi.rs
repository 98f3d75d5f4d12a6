//! Many kernel functions at once, with typed arguments: `fentry.multi/GLOB`, `fexit.multi/GLOB`, `fsession.multi/GLOB` (7.x).
//!
//! In: a program and a pattern of names. Out: one link. The kernel wants the BTF ids of the functions and takes all of them
//! or none, so those that it would refuse are left out first: by their types (which a trampoline cannot hand over),
//! and by tracefs' list of what can be traced, where that can be read.

use std::os::fd::AsFd as _;

use super::{AttachOptions, Link, glob, kprobe_multi};
use crate::btf::{Btf, Kind, Type, TypeId};
use crate::error::{ENOTSUPP, Error, Result};
use crate::kernel::{self, modules};
use crate::program::Program;
use crate::sys::{SysError, link};

/// A trampoline hands over no more arguments than these.
const MAX_ARGUMENTS: u32 = 12;
/// Nor a larger one, in bytes.
const MAX_ARGUMENT_SIZE: u64 = 16;

/// Attaches to all functions of the kernel, or of `module`, that match `pattern`.
///
/// # Errors
/// `NotFound` when none matches; `NotSupported` on kernels without such links.
pub fn attach(
    program: &Program,
    module: Option<&str>,
    pattern: &str,
    options: AttachOptions,
) -> Result<Link> {
    let kernel = kernel::btf::open(None)?;
    let ids = match module.filter(|module| *module != "vmlinux") {
        Some(module) => functions(&modules::open(module, &kernel)?, pattern)?,
        None => functions(&kernel, pattern)?,
    };
    if ids.is_empty() {
        return Err(Error::not_found(format!("there is no function `{pattern}` that can be traced")));
    }
    let ids: Vec<u32> = ids.into_iter().map(|id| id.0).collect();
    match link::link_create_tracing_multi(program.as_fd(), program.kind().attach_type, &ids, options.cookie) {
        Ok(link) => Ok(Link::from_link(link)),
        Err(SysError { errno: libc::EOPNOTSUPP | ENOTSUPP, .. }) => {
            Err(Error::not_supported("tracing of many functions by one program", "7.2"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Ids of the functions in `btf`, its base left out, that match and can be traced.
fn functions(btf: &Btf, pattern: &str) -> Result<Vec<TypeId>> {
    let traceable = kprobe_multi::traceable(pattern).ok();
    let mut ids = Vec::new();
    for ty in btf.own_types() {
        let ty = ty?;
        if ty.kind() != Kind::Func {
            continue;
        }
        let Ok(name) = ty.name() else { continue };
        let possible = traceable.as_ref().is_none_or(|names| names.contains(name));
        if glob::matches(pattern, name) && possible && fits_trampoline(btf, ty).unwrap_or(false) {
            ids.push(ty.id());
        }
    }
    Ok(ids)
}

/// Arguments of known size that fit into registers, and no struct as the result.
fn fits_trampoline(btf: &Btf, function: Type<'_>) -> Result<bool> {
    let prototype = btf.type_by_id(function.target().unwrap_or_default())?;
    let result = btf.strip(prototype.target().unwrap_or_default())?;
    let fits = |id: TypeId| btf.size_of(id).is_ok_and(|size| size > 0 && size <= MAX_ARGUMENT_SIZE);
    Ok(prototype.kind() == Kind::FuncProto
        && prototype.vlen() <= MAX_ARGUMENTS
        && !result.kind().is_composite()
        && prototype.params().all(|param| fits(param.type_id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Endian;
    use crate::btf::encode::BtfBuilder;
    use crate::btf::{BtfData, IntInfo, Linkage};

    #[test]
    fn functions_that_a_trampoline_cannot_call_are_left_out() {
        let mut b = BtfBuilder::new();
        let int = b.int("int", 4, IntInfo::SIGNED);
        let pointer = b.ptr(int);
        let large = b.structure("large", 24, &[]);
        let pair = b.structure("pair", 16, &[]);
        let many: Vec<_> = (0..13).map(|_| ("a", int)).collect();
        let kinds = [
            ("no_zz_arguments", vec![], TypeId::VOID),
            ("no_zz_pointer", vec![("p", pointer), ("pair", pair)], int),
            ("no_zz_large", vec![("l", large)], int),
            ("no_zz_result", vec![], pair),
            ("no_zz_many", many, int),
            ("no_zz_varargs", vec![("p", pointer), ("", TypeId::VOID)], int),
            ("other", vec![], int),
        ];
        for (name, params, result) in kinds {
            let proto = b.func_proto(&params, result);
            b.func(name, proto, Linkage::Static);
        }
        let btf = Btf::parse(BtfData::from(b.build(Endian::NATIVE))).unwrap();
        let fitting = btf
            .own_types()
            .map(Result::unwrap)
            .filter(|ty| ty.kind() == Kind::Func && fits_trampoline(&btf, *ty).unwrap_or(false));
        let names: Vec<&str> = fitting.map(|ty| ty.name().unwrap()).collect();
        assert_eq!(names, ["no_zz_arguments", "no_zz_pointer", "other"]);
    }
}
