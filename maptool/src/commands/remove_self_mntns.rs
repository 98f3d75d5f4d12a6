//! `remove-self-mntns`: the mount namespace of this process.

use loader::map::Access;
use nsmap::Kind;

use super::edit::{self, Action};
use super::{items, sets};
use crate::cli::TheSet;
use crate::failure::Failure;
use crate::output::Outcome;

pub(crate) fn run(args: &TheSet) -> Result<Outcome, Failure> {
    let named = sets::of_kind(args, Kind::Mntns, Access::ReadWrite)?;
    edit::run(Action::Remove, vec![(&named, vec![items::own_mount_namespace()])])
}
