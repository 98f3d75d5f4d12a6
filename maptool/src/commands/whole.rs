//! What the commands for whole sets share: reading a listing, and reporting what was done with it.

use std::fmt;
use std::io::Read;
use std::path::Path;

use loader::map::Access;
use nsmap::bpffs::{self, Pin};
use nsmap::listing;
use nsmap::plan::{Done, Plan};
use nsmap::{Kind, Member, text};
use serde::Serialize;

use super::sets;
use crate::failure::{Code, Failure};
use crate::output::{Name, Progress};

/// Larger listings are refused: more than two million members.
const LISTING_LIMIT: u64 = 64 << 20;

/// Bytes of a line, in most listings: a number of ten digits.
const USUAL_LINE: usize = 11;

/// Lines between two looks at the clock.
const CHECKED: usize = 64;

/// Lines of a listing that are complained about one by one.
const TOLD: usize = 100;

/// The bytes of a file, or of standard input for `-`.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let result = match path.to_str() {
        Some("-") => std::io::stdin().lock().take(LISTING_LIMIT).read_to_end(&mut bytes),
        _ => std::fs::File::open(path).and_then(|file| {
            let size = file.metadata().map_or(0, |meta| meta.len().min(LISTING_LIMIT));
            bytes.reserve_exact(usize::try_from(size).unwrap_or(0) + 1);
            file.take(LISTING_LIMIT).read_to_end(&mut bytes)
        }),
    };
    let at = format!("read listing `{}`", text::path(path));
    result.map_err(|error| Failure::from(loader::Error::io("", error).context(at.clone())))?;
    if bytes.len() as u64 >= LISTING_LIMIT {
        return Err(Failure::new(Code::Other, format!("{at}: larger than {LISTING_LIMIT} bytes")));
    }
    Ok(bytes)
}

/// Members of a listing, and what was wrong with the other lines.
pub(super) fn members(bytes: &[u8], kind: Kind, path: &Path) -> (Vec<Member>, Vec<Failure>) {
    let mut members = Vec::with_capacity(bytes.len() / USUAL_LINE);
    let mut failures = Vec::new();
    let mut unsaid = 0_usize;
    let mut progress = Progress::new("reading", bytes.len());
    listing::read(bytes, kind, |number, member, at| {
        match member {
            Ok(member) => members.push(member),
            Err(_) if failures.len() >= TOLD => unsaid += 1,
            Err(reason) => {
                let at = format!("`{}` line {number}", text::path(path));
                failures.push(Failure::new(Code::Usage, format!("{at}: {reason}")));
            }
        }
        if number % CHECKED == 0 {
            progress.at(at);
        }
    });
    if unsaid > 0 {
        failures.push(Failure::new(Code::Usage, format!("`{}`: {unsaid} more such lines", text::path(path))));
    }
    (members, failures)
}

/// The members of a pinned set, or of a listing; `kind` decides how a listing is read.
pub(super) fn of_set_or_listing(path: &Path, kind: Option<Kind>) -> Result<(Kind, Vec<Member>), Failure> {
    if path.to_str() != Some("-") && matches!(bpffs::look(path), Ok(Pin::Pinned)) {
        let named = sets::open(path, kind, Access::ReadOnly)?;
        return Ok((named.set.kind(), sets::members(&named)?));
    }
    let bytes = read(path)?;
    let kind = kind.or_else(|| kind_of_header(&bytes)).ok_or_else(|| {
        let message = format!("`{}`: cannot tell of which kind its members are", text::path(path));
        Failure::new(Code::Usage, message).hint("give --kind")
    })?;
    let (members, failures) = members(&bytes, kind, path);
    match failures.into_iter().next() {
        Some(failure) => Err(failure),
        None => Ok((kind, members)),
    }
}

/// The first line of an export: `# mntns set ...`.
fn kind_of_header(bytes: &[u8]) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| bytes.starts_with(format!("# {} set", kind.name()).as_bytes()))
}

/// What was, or would be, done.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) map: Name,
    pub(super) kind: &'static str,
    pub(super) dry_run: bool,
    pub(super) added: usize,
    pub(super) updated: usize,
    pub(super) removed: usize,
    pub(super) unchanged: usize,
    pub(super) used: usize,
    pub(super) capacity: u32,
    /// One line for each change, with `+`, `~` or `-` in front: of a dry run only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) changes: Vec<String>,
}

impl Report {
    pub(super) fn new(named: &sets::NamedSet, plan: &Plan, done: Done, dry_run: bool) -> Self {
        let used =
            plan.unchanged + plan.kept + plan.update.len() + plan.remove.len() + done.added - done.removed;
        Self {
            map: Name::new(&named.path),
            kind: named.set.kind().name(),
            dry_run,
            added: done.added,
            updated: done.updated,
            removed: done.removed,
            unchanged: plan.unchanged,
            used,
            capacity: named.set.capacity(),
            changes: if dry_run { changes(plan) } else { Vec::new() },
        }
    }
}

/// A plan as lines.
pub(super) fn changes(plan: &Plan) -> Vec<String> {
    let one = |sign: char| move |member: &Member| format!("{sign} {}", listing::line(member));
    let mut lines: Vec<String> = plan.remove.iter().map(one('-')).collect();
    lines.extend(plan.update.iter().map(|(_, new)| one('~')(new)));
    lines.extend(plan.add.iter().map(one('+')));
    lines
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.changes.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        let Self { map, added, updated, removed, unchanged, used, capacity, .. } = self;
        let would = if self.dry_run { "would change" } else { "changed" };
        writeln!(
            f,
            "{would} {map}: {added} added, {updated} updated, {removed} removed, {unchanged} unchanged ({used} of {capacity} used)"
        )
    }
}
