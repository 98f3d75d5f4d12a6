//! `remove-pid`: what processes are in, from every set that exists (or the one that is named).

use loader::map::Access;

use super::edit::{self, Action};
use super::{items, sets};
use crate::cli::PidItems;
use crate::failure::Failure;
use crate::output::Outcome;

pub(crate) fn run(args: &PidItems) -> Result<Outcome, Failure> {
    let sets = sets::any(&args.set, Access::ReadWrite)?;
    let of = |kind| args.pids.iter().map(|&pid| items::of_process(pid, kind, true)).collect();
    edit::run(Action::Remove, sets.iter().map(|named| (named, of(named.set.kind()))).collect())
}
