//! `export`: a set as a listing that `apply` reads; what each number stands for is a comment.

use std::fmt;

use loader::map::Access;
use nsmap::listing;
use serde::Serialize;

use super::explain::{Explainer, MemberReport};
use super::sets;
use crate::cli::Export;
use crate::failure::Failure;
use crate::output::{Name, Outcome};

#[derive(Serialize)]
struct Exported {
    map: Name,
    kind: &'static str,
    capacity: u32,
    members: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    /// As `apply` reads it.
    line: String,
    #[serde(flatten)]
    report: Option<MemberReport>,
}

impl fmt::Display for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = self.members.len();
        writeln!(f, "# {} set {}, {used} of {} used", self.kind, self.map, self.capacity)?;
        for Line { line, report } in &self.members {
            match report {
                Some(report) => writeln!(f, "{line:<30} # {}", report.comment())?,
                None => writeln!(f, "{line}")?,
            }
        }
        Ok(())
    }
}

pub(crate) fn run(args: &Export) -> Result<Outcome, Failure> {
    let named = sets::only_one(&args.set, Access::ReadOnly)?;
    let members = sets::members(&named)?;
    let mut reports = match args.bare {
        true => Vec::new(),
        false => Explainer::new(named.set.kind()).explain(&members),
    }
    .into_iter();
    let lines =
        members.iter().map(|member| Line { line: listing::line(member), report: reports.next() }).collect();
    Outcome::done(&Exported {
        map: Name::new(&named.path),
        kind: named.set.kind().name(),
        capacity: named.set.capacity(),
        members: lines,
    })
}
