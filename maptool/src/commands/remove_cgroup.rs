//! `remove-cgroup`: by path, or by id when the cgroup itself is gone.

use loader::map::Access;
use nsmap::Kind;

use super::edit::{self, Action};
use super::{items, sets};
use crate::cli::CgroupItems;
use crate::failure::{Code, Failure};
use crate::output::Outcome;

pub(crate) fn run(args: &CgroupItems) -> Result<Outcome, Failure> {
    let named = sets::of_kind(&args.set, Kind::Cgroup, Access::ReadWrite)?;
    let mut members = items::cgroups(&args.items, false, items::Existence::NotNeeded);
    for item in &mut members {
        if let Err(failure) = &mut item.member
            && failure.code == Code::NotFound
        {
            *failure = failure.clone().hint("a cgroup that is gone is removed by its id, see: nsmap list");
        }
    }
    edit::run(Action::Remove, vec![(&named, members)])
}
