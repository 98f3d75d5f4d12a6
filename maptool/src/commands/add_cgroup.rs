//! `add-cgroup`: cgroups by path or id, each alone or with its subtree.

use loader::map::Access;
use nsmap::Kind;

use super::edit::{self, Action};
use super::{items, sets};
use crate::cli::AddCgroup;
use crate::failure::Failure;
use crate::output::Outcome;

pub(crate) fn run(args: &AddCgroup) -> Result<Outcome, Failure> {
    let named = sets::of_kind(&args.items.set, Kind::Cgroup, Access::ReadWrite)?;
    let members = items::cgroups(&args.items.items, args.subtree, items::Existence::Required);
    let mut outcome = edit::run(Action::Add, vec![(&named, members)])?;
    edit::note_useless_ids(&mut outcome, Kind::Cgroup);
    Ok(outcome)
}
