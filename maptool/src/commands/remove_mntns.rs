//! `remove-mntns`: mount namespaces by process, namespace file or inode number.

use loader::map::Access;
use nsmap::Kind;

use super::edit::{self, Action};
use super::items::{self, Existence};
use super::sets;
use crate::cli::MntnsItems;
use crate::failure::Failure;
use crate::output::Outcome;

pub(crate) fn run(args: &MntnsItems) -> Result<Outcome, Failure> {
    let named = sets::of_kind(&args.set, Kind::Mntns, Access::ReadWrite)?;
    let (namespaces, _) = items::mount_namespaces(&args.items, Existence::NotNeeded);
    edit::run(Action::Remove, vec![(&named, namespaces)])
}
