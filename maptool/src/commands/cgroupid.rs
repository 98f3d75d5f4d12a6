//! `cgroupid`: the id of a cgroup directory, printed as BCC's example program of that name does.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use nsmap::identity::cgroup;
use nsmap::text;
use serde::Serialize;

use crate::bpftool::Answer;
use crate::cli::{CgroupId, Format};
use crate::failure::{Capability, Failure};
use crate::output::{Name, Outcome};

#[derive(Serialize)]
struct Id {
    path: Name,
    id: u64,
    hex: String,
    #[serde(skip)]
    format: Format,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.format {
            Format::Number => writeln!(f, "{}", self.id),
            Format::Hex => writeln!(f, "{}", self.hex),
        }
    }
}

pub(crate) fn run(args: &CgroupId) -> Result<Outcome, Failure> {
    let id = cgroup::id_of_path(&args.path)
        .map_err(|error| Failure::from(error).needs(Capability::DacOverride))?;
    Outcome::done(&Id { path: Name::new(&args.path), id, hex: text::hex_bytes(id), format: args.format })
}

/// The command line of BCC's example program, when started under its name. Its texts and its exit code 1 are
/// kept; a path that is no cgroup directory is refused where it printed another file's number.
pub(crate) fn as_cgroupid(words: &[OsString]) -> Answer {
    let usage = || Answer {
        err:
            "Usage: cgroupid FORMAT FILE\nPrint the cgroup id of a cgroup2 directory.\nExample: cgroupid hex \
              /sys/fs/cgroup/unified/system.slice/test.service\n"
                .to_owned(),
        code: 1,
        ..Answer::default()
    };
    let [format, path] = words else { return usage() };
    let path = Path::new(path);
    match (format.to_str(), cgroup::id_of_path(path)) {
        (Some("number"), Ok(id)) => Answer { out: format!("{id}\n"), ..Answer::default() },
        (Some("hex"), Ok(id)) => Answer { out: format!("{}\n", text::hex_bytes(id)), ..Answer::default() },
        (Some("number" | "hex"), Err(error)) => {
            Answer { err: format!("cgroupid: {error}\n"), code: 1, ..Answer::default() }
        }
        _ => usage(),
    }
}
