//! `resolve`: what a number stands for now, without any set.

use std::fmt;

use nsmap::identity::mntns::FIRST_INODE;
use nsmap::set::{CgroupMember, MntnsMember};
use nsmap::{Kind, Member};
use serde::Serialize;

use super::explain::{Explainer, MemberReport, State};
use crate::cli::Resolve;
use crate::failure::{Code, Failure};
use crate::output::Outcome;

#[derive(Serialize)]
struct Resolved {
    id: u64,
    found: Vec<Found>,
}

#[derive(Serialize)]
struct Found {
    kind: &'static str,
    #[serde(flatten)]
    report: MemberReport,
}

impl fmt::Display for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for found in &self.found {
            writeln!(f, "{} {}: {}", found.kind, self.id, found.report.comment())?;
        }
        Ok(())
    }
}

/// As a cgroup and as a mount namespace, whichever it can be.
pub(crate) fn run(args: &Resolve) -> Result<Outcome, Failure> {
    let id = args.id;
    let asked = args.kind.map(Kind::from);
    let mut found = Vec::new();
    for kind in Kind::ALL {
        let possible = kind == Kind::Cgroup || (FIRST_INODE..=u64::from(u32::MAX)).contains(&id);
        if asked.is_some_and(|asked| asked != kind) || !possible {
            continue;
        }
        let member = match kind {
            Kind::Cgroup => Member::Cgroup(CgroupMember::new(id, false)),
            Kind::Mntns => Member::Mntns(MntnsMember { inode: id, check: 0 }),
        };
        let reports = Explainer::new(kind).explain(&[member]);
        let exists = |report: &MemberReport| !matches!(report.state, State::Dead | State::Unknown);
        found.extend(reports.into_iter().filter(exists).map(|report| Found { kind: kind.name(), report }));
    }
    if found.is_empty() {
        let what = asked.map_or("cgroup or mount namespace", |kind| match kind {
            Kind::Cgroup => "cgroup",
            Kind::Mntns => "mount namespace",
        });
        return Err(Failure::new(Code::NotFound, format!("no {what} has the number {id}")));
    }
    Outcome::done(&Resolved { id, found })
}
