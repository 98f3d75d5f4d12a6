//! The object's own types are handed to the kernel.
//!
//! In: the object's BTF and its data sections. Out: a BTF object, or nothing: a program runs without it, only
//! its verifier log and its listing by other tools are poorer.

use std::os::fd::BorrowedFd;

use crate::btf::encode::{BtfFeatures, for_kernel};
use crate::kernel::btf::BtfObject;
use crate::kernel::{self, probe};
use crate::spec::ObjectSpec;

/// Loads the BTF of `spec`: as it is, and when the kernel refuses it, cut down to what this kernel knows.
pub(super) fn load(spec: &ObjectSpec, token: Option<BorrowedFd<'_>>) -> Option<BtfObject> {
    let local = spec.btf.as_ref()?;
    let attempt = |features: &BtfFeatures| {
        let bytes = for_kernel(local, &spec.btf_fixups, features).ok()?;
        kernel::btf::load(&bytes, token).ok()
    };
    attempt(&BtfFeatures::ALL).or_else(|| attempt(&probe::btf_features(token)))
}
