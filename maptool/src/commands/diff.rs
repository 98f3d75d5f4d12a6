//! `diff`: what would have to change to make one set, or listing, like another.

use std::fmt;

use nsmap::Kind;
use nsmap::plan::Plan;
use serde::Serialize;

use super::whole;
use crate::cli::Diff;
use crate::failure::{Code, Failure};
use crate::output::Outcome;

#[derive(Serialize)]
struct Difference {
    kind: &'static str,
    same: bool,
    added: usize,
    updated: usize,
    removed: usize,
    unchanged: usize,
    changes: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.changes.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

pub(crate) fn run(args: &Diff) -> Result<Outcome, Failure> {
    let asked = args.kind.map(Kind::from);
    // A listing without a header takes the kind of the other side.
    let first = whole::of_set_or_listing(&args.from, asked);
    let (kind, from, to) = match first {
        Ok((kind, from)) => (kind, from, whole::of_set_or_listing(&args.to, Some(kind))?.1),
        Err(failure) if failure.code == Code::Usage && asked.is_none() && args.from.as_os_str() != "-" => {
            let (kind, to) = whole::of_set_or_listing(&args.to, None).map_err(|_| failure)?;
            (kind, whole::of_set_or_listing(&args.from, Some(kind))?.1, to)
        }
        Err(failure) => return Err(failure),
    };
    let plan = Plan::new(&from, to, true);
    let mut outcome = Outcome::done(&Difference {
        kind: kind.name(),
        same: plan.is_empty(),
        added: plan.add.len(),
        updated: plan.update.len(),
        removed: plan.remove.len(),
        unchanged: plan.unchanged,
        changes: whole::changes(&plan),
    })?;
    if args.exit_code && !plan.is_empty() {
        outcome.code = Code::Other;
    }
    Ok(outcome)
}
