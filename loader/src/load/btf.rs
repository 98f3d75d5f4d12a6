//! The object's own types are handed to the kernel.
//!
//! In: the object's BTF and its data sections. Out: a BTF object, or nothing: a program runs without it, only
//! its verifier log and its listing by other tools are poorer.

use std::os::fd::BorrowedFd;

use crate::btf::encode::{BtfFeatures, for_kernel};
use crate::error::Error;
use crate::kernel::btf::BtfObject;
use crate::kernel::{self, probe};
use crate::spec::ObjectSpec;

/// The object's types in the kernel.
#[derive(Debug, Default)]
pub(super) struct ObjectTypes {
    /// None if the object has none, or if they were refused.
    pub(super) object: Option<BtfObject>,
    /// What the kernel has against them. Most programs do without, so that this is told only when something fails.
    pub(super) refused: Option<Error>,
}

/// Loads the BTF of `spec`: as it is, and when the kernel refuses it, cut down to what this kernel knows.
pub(super) fn load(spec: &ObjectSpec, token: Option<BorrowedFd<'_>>) -> ObjectTypes {
    let Some(local) = spec.btf.as_ref() else { return ObjectTypes::default() };
    let attempt = |features: &BtfFeatures| {
        let bytes = for_kernel(local, &spec.btf_fixups, features)?;
        kernel::btf::load(&bytes, token)
    };
    match attempt(&BtfFeatures::ALL).or_else(|_| attempt(&probe::btf_features(token))) {
        Ok(object) => ObjectTypes { object: Some(object), refused: None },
        Err(error) => ObjectTypes { object: None, refused: Some(error) },
    }
}
