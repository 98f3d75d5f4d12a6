//! `generate`: the man page and shell completions, from the definition of the command line.

use std::io;
use std::path::Path;

use clap::CommandFactory;
use nsmap::{manual, text};

use super::completions;
use crate::cli::{Cli, Generate, Generated};
use crate::failure::{Code, Failure};
use crate::output::Outcome;

pub(crate) fn run(args: &Generate) -> Result<Outcome, Failure> {
    let mut command = Cli::command();
    let mut page = Vec::new();
    match &args.what {
        Generated::Man { out: Some(directory) } => {
            pages(command, directory).map_err(|error| {
                let at = format!("write man pages to `{}`", text::path(directory));
                Failure::from(loader::Error::io("", error).context(at))
            })?;
        }
        Generated::Man { out: None } => {
            page = manual_page(command, "nsmap")
                .map_err(|error| Failure::new(Code::Other, format!("write the man page: {error}")))?;
        }
        Generated::Completions { shell } => {
            clap_complete::generate(*shell, &mut command, "nsmap", &mut page);
            page = completions::script(*shell, &String::from_utf8_lossy(&page)).into_bytes();
        }
        Generated::Words { what } => page = completions::words(*what).into_bytes(),
    }
    let mut outcome = Outcome::done(&String::from_utf8_lossy(&page).into_owned())?;
    outcome.code = Code::Done;
    Ok(outcome)
}

fn manual_page(command: clap::Command, name: &str) -> io::Result<Vec<u8>> {
    manual::page(command, name, "1", concat!("nsmap ", env!("CARGO_PKG_VERSION")))
}

/// `nsmap.1`, and `nsmap-LIST.1` for each sub-command.
fn pages(mut command: clap::Command, directory: &Path) -> io::Result<()> {
    command.build();
    let shown: Vec<clap::Command> =
        command.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned().collect();
    let write = |command, name: &str| {
        std::fs::write(directory.join(format!("{name}.1")), manual_page(command, name)?)
    };
    write(command, "nsmap")?;
    shown.into_iter().try_for_each(|sub| {
        let name = format!("nsmap-{}", sub.get_name());
        write(sub, &name)
    })
}
