//! `add-mntns`: mount namespaces by process, namespace file or inode number.

use loader::map::Access;
use nsmap::{Kind, Member};

use super::edit::{self, Action};
use super::items::{self, Existence};
use super::sets;
use crate::cli::MntnsItems;
use crate::failure::Failure;
use crate::output::Outcome;

pub(crate) fn run(args: &MntnsItems) -> Result<Outcome, Failure> {
    let named = sets::of_kind(&args.set, Kind::Mntns, Access::ReadWrite)?;
    let (namespaces, nobodys) = items::mount_namespaces(&args.items, Existence::Required);
    let mut outcome = edit::run(Action::Add, vec![(&named, namespaces)])?;
    let is_unchecked = |inode: &u32| {
        let stored = named.set.get(u64::from(*inode));
        matches!(stored, Ok(Some(Member::Mntns(member))) if member.check == 0)
    };
    outcome.notes.extend(nobodys.into_iter().filter(is_unchecked).map(|inode| {
        format!("no mount namespace has the number {inode} now: any that gets it is let through")
    }));
    Ok(outcome)
}
