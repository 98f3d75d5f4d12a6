//! `clear`: removes every member that is there now.

use std::fmt;

use loader::map::Access;
use serde::Serialize;

use super::{edit, sets};
use crate::cli::WhichSet;
use crate::failure::Failure;
use crate::output::{Name, Outcome};

#[derive(Serialize)]
struct Cleared {
    map: Name,
    kind: &'static str,
    removed: usize,
}

impl fmt::Display for Cleared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.removed == 1 { "" } else { "s" };
        writeln!(f, "removed {} member{plural} from {}", self.removed, self.map)
    }
}

pub(crate) fn run(args: &WhichSet) -> Result<Outcome, Failure> {
    let named = sets::only_one(args, Access::ReadWrite)?;
    let removed = named.set.clear().map_err(|error| edit::refused(&named, error))?;
    Outcome::done(&Cleared { map: Name::new(&named.path), kind: named.set.kind().name(), removed })
}
