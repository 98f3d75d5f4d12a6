//! nsmap as a tool of the tests: every step of the tutorial is one call.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::run::{Output, run};
use super::sandbox::Sandbox;

impl Sandbox {
    /// Runs nsmap to its end.
    #[track_caller]
    pub(crate) fn nsmap<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Output {
        run(&mut self.command("nsmap", args))
    }

    /// Runs nsmap, which must succeed.
    #[track_caller]
    pub(crate) fn nsmap_ok<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> String {
        self.nsmap(args).ok().to_owned()
    }

    /// Makes the default set of a kind.
    #[track_caller]
    pub(crate) fn create_set(&self, kind: &str) -> std::path::PathBuf {
        let pin = self.pin(if kind == "mntns" { "mnt_ns_set" } else { "cgroup_set" });
        self.nsmap_ok([OsStr::new("create"), OsStr::new("--kind"), OsStr::new(kind), pin.as_os_str()]);
        pin
    }

    /// The members of a set as nsmap lists them.
    #[track_caller]
    pub(crate) fn list(&self, set: &Path) -> Value {
        let text =
            self.nsmap_ok([OsStr::new("--json"), OsStr::new("list"), OsStr::new("--map"), set.as_os_str()]);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

/// A command with its standard streams closed, not merely empty: each descriptor that the tool opens may become 0, 1 or 2.
pub(crate) fn with_closed(streams: &[u8], command: &Command) -> Command {
    let close: String =
        streams.iter().map(|fd| if *fd == 0 { " <&-".into() } else { format!(" {fd}>&-") }).collect();
    let mut shell = Command::new(super::program::find("sh"));
    shell
        .arg("-c")
        .arg(format!(r#"exec "$0" "$@"{close}"#))
        .arg(command.get_program())
        .args(command.get_args());
    for (key, value) in command.get_envs() {
        shell.env(key, value.unwrap_or_default());
    }
    shell
}
