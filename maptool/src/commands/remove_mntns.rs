//! `remove-mntns`: mount namespaces by process, namespace file or inode number.

use loader::map::Access;
use nsmap::Kind;

use super::edit::{self, Action};
use super::{items, sets};
use crate::cli::MntnsItems;
use crate::failure::Failure;
use crate::output::Outcome;

pub(crate) fn run(args: &MntnsItems) -> Result<Outcome, Failure> {
    let named = sets::of_kind(&args.set, Kind::Mntns, Access::ReadWrite)?;
    edit::run(Action::Remove, vec![(&named, items::mount_namespaces(&args.items))])
}
