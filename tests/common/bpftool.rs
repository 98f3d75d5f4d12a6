//! Debian's bpftool, as a second opinion on maps, and as a maker of pins that are not sets.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::BOUND;
use super::run::run;
use super::skip::Skip;

/// Present, if this exists.
pub(crate) struct Bpftool {
    path: &'static str,
}

impl Bpftool {
    pub(crate) fn find() -> Result<Self, Skip> {
        ["/usr/sbin/bpftool", "/usr/bin/bpftool", "/sbin/bpftool", "/bin/bpftool"]
            .into_iter()
            .find(|path| Path::new(path).is_file())
            .map(|path| Self { path })
            .ok_or(Skip::NoPeer("bpftool"))
    }

    /// Runs it with the words of `line` as arguments; paths must be free of blanks.
    #[track_caller]
    pub(crate) fn run(&self, line: &str) -> String {
        run(Command::new(self.path).args(line.split_whitespace())).ok().to_owned()
    }

    /// All objects of a kind, as JSON. Asked again when one of them came or went meanwhile, which is an error for bpftool.
    #[track_caller]
    pub(crate) fn list(&self, kind: &str) -> String {
        let ask = || run(Command::new(self.path).args(["-j", kind, "show"]));
        let deadline = Instant::now() + BOUND;
        loop {
            let output = ask();
            if output.code() == 0 || Instant::now() > deadline {
                return output.ok().to_owned();
            }
        }
    }

    #[track_caller]
    pub(crate) fn create_map(&self, pin: &Path, kind: &str, key: u32, value: u32, entries: u32, name: &str) {
        let pin = pin.display();
        self.run(&format!(
            "map create {pin} type {kind} key {key} value {value} entries {entries} name {name}"
        ));
    }
}

/// Bytes as bpftool reads and prints them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}
