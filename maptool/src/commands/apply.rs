//! `apply`: the members of a listing into a set, or in the place of what it holds.

use std::path::Path;

use loader::ErrorKind;
use loader::map::Access;
use nsmap::plan::{Done, Plan};

use super::sets::NamedSet;
use super::{edit, sets, whole};
use crate::cli::Apply;
use crate::failure::{Code, Failure, combined};
use crate::output::{Outcome, Progress};

pub(crate) fn run(args: &Apply) -> Result<Outcome, Failure> {
    let access = if args.dry_run { Access::ReadOnly } else { Access::ReadWrite };
    let named = sets::one_of(&args.set, access)?;
    let path = Path::new(&args.file);
    let (wanted, failures) = whole::members(&whole::read(path)?, named.set.kind(), path);
    if args.replace && !failures.is_empty() {
        // A line that is not understood may have been meant to keep a member.
        return refused(&named, failures);
    }
    let present = sets::members(&named)?;
    let is_nothing = wanted.is_empty();
    let plan = Plan::new(&present, wanted, args.replace);
    let (done, failure) = carry_out(&named, &plan, args);
    let mut outcome = Outcome::done(&whole::Report::new(&named, &plan, done, args.dry_run))?;
    let mut codes: Vec<Code> = failures.iter().map(|failure| failure.code).collect();
    if done != Done::default() || plan.is_empty() && !is_nothing {
        codes.push(Code::Done);
    }
    codes.extend(failure.iter().map(|failure| failure.code));
    outcome.failures = failures;
    outcome.failures.extend(failure);
    outcome.code = combined(&codes);
    Ok(outcome)
}

fn refused(named: &NamedSet, failures: Vec<Failure>) -> Result<Outcome, Failure> {
    let plan = Plan { kept: sets::members(named)?.len(), ..Plan::default() };
    let mut outcome = Outcome::done(&whole::Report::new(named, &plan, Done::default(), false))?;
    outcome.failures = failures;
    outcome
        .failures
        .push(Failure::new(Code::Usage, "nothing was changed, since not every line was understood"));
    outcome.code = Code::Usage;
    Ok(outcome)
}

fn carry_out(named: &NamedSet, plan: &Plan, args: &Apply) -> (Done, Option<Failure>) {
    let whole = || Done { added: plan.add.len(), updated: plan.update.len(), removed: plan.remove.len() };
    if args.dry_run {
        let room = named.set.capacity() as usize;
        let full = plan.used_after() > room;
        let failure = full.then(|| full_failure(named, plan.used_after()));
        return (whole(), failure);
    }
    let mut progress = Progress::new("storing", plan.len());
    let told = &mut |done| progress.at(done);
    if args.replace {
        return match plan.carry_out_or_undo(&named.set, told) {
            Ok(done) => (done, None),
            Err(error) if error.kind() == ErrorKind::Limit => {
                (Done::default(), Some(full_failure(named, plan.used_after())))
            }
            Err(error) => (Done::default(), Some(edit::refused(named, error))),
        };
    }
    match plan.carry_out_told(&named.set, told) {
        (done, Ok(())) => (done, None),
        (done, Err(error)) => {
            let missed = plan.add.len() - done.added;
            let failure = edit::refused(named, error).context(&format!("{missed} members not added"));
            (done, Some(failure))
        }
    }
}

fn full_failure(named: &NamedSet, wanted: usize) -> Failure {
    let (path, capacity) = (nsmap::text::path(&named.path), named.set.capacity());
    Failure::new(
        Code::Full,
        format!("set `{path}`: {wanted} members do not fit, there is room for {capacity}"),
    )
    .hint(format!("nothing was changed; make it larger with: nsmap resize {wanted} {path}"))
}
