//! `add-pid`: what processes are in, to every set that exists (or the one that is named).

use loader::map::Access;

use super::edit::{self, Action};
use super::{items, sets};
use crate::cli::AddPid;
use crate::failure::Failure;
use crate::output::Outcome;

pub(crate) fn run(args: &AddPid) -> Result<Outcome, Failure> {
    let sets = sets::any(&args.items.set, Access::ReadWrite)?;
    let of = |kind| args.items.pids.iter().map(|&pid| items::of_process(pid, kind, args.force)).collect();
    edit::run(Action::Add, sets.iter().map(|named| (named, of(named.set.kind()))).collect())
}
