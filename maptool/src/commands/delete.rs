//! `delete`: removes the pin of a set. The map lives on while a tracer uses it.

use std::fmt;

use loader::Error;
use loader::map::Access;
use nsmap::text;
use serde::Serialize;

use super::sets;
use crate::cli::WhichSet;
use crate::failure::{Capability, Failure};
use crate::output::{Name, Outcome};

#[derive(Serialize)]
struct Deleted {
    map: Name,
    kind: &'static str,
    result: &'static str,
}

impl fmt::Display for Deleted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "deleted {} set {}", self.kind, self.map)
    }
}

pub(crate) fn run(args: &WhichSet) -> Result<Outcome, Failure> {
    // Opened first, so that only a set is ever deleted.
    let named = sets::only_one(args, Access::ReadOnly)?;
    let refused = |error| {
        let error = Error::io("", error).context(format!("delete set `{}`", text::path(&named.path)));
        Failure::from(error).needs(Capability::DacOverride)
    };
    // Through a symbolic link it is the pin all the same: a link that is gone would leave the set.
    let pin = named.path.canonicalize().map_err(refused)?;
    std::fs::remove_file(pin).map_err(refused)?;
    let map = Name::new(&named.path);
    let mut outcome = Outcome::done(&Deleted { map, kind: named.set.kind().name(), result: "deleted" })?;
    if named.path.is_symlink() {
        outcome.notes.push(format!("`{}` is a symbolic link to nothing now", text::path(&named.path)));
    }
    Ok(outcome)
}
