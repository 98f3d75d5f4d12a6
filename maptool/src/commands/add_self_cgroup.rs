//! `add-self-cgroup`: the cgroup of this process, which is that of the calling shell.

use loader::map::Access;
use nsmap::Kind;

use super::edit::{self, Action};
use super::{items, sets};
use crate::cli::AddSelfCgroup;
use crate::failure::Failure;
use crate::output::Outcome;

pub(crate) fn run(args: &AddSelfCgroup) -> Result<Outcome, Failure> {
    let named = sets::of_kind(&args.set, Kind::Cgroup, Access::ReadWrite)?;
    let own = items::own_cgroup(args.subtree, args.force);
    edit::run(Action::Add, vec![(&named, vec![own])])
}
