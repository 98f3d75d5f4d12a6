//! Small programs to observe and to work with. Only what a busybox has too: `sh`, `true`, `cp`; and always with an
//! `argv[0]` that ends in their name, from which a busybox knows what it shall be.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::cgroup::Cgroup;
use super::run::run_ok;

/// The path of a program that every machine has.
pub(crate) fn find(name: &str) -> PathBuf {
    ["/bin", "/usr/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("`{name}` is neither in /bin nor in /usr/bin"))
}

/// `true`, which may be given any arguments. By its full path, as a busybox shell executes bare names as itself.
pub(crate) fn true_path() -> String {
    find("true").into_os_string().into_string().unwrap()
}

/// Executes `true` with these arguments, to its end; the one event that most tests look for. Gives its pid.
#[track_caller]
pub(crate) fn run_true<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> u32 {
    let mut command = Command::new(true_path());
    command.args(args).stdin(Stdio::null());
    let mut child = command.spawn().unwrap();
    let pid = child.id();
    assert!(child.wait().unwrap().success());
    pid
}

/// Executes `true` with these arguments in a cgroup. (The shell that moves there before is executed outside of it.)
#[track_caller]
pub(crate) fn run_true_in(cgroup: &Cgroup, args: &[&str]) {
    let mut command = in_cgroup(cgroup, &true_path());
    run_ok(command.args(args));
}

/// A command that executes `program` in a cgroup.
pub(crate) fn in_cgroup(cgroup: &Cgroup, program: &str) -> Command {
    let mut command = Command::new(find("sh"));
    command.args(["-c", r#"echo 0 > "$0" && exec "$@""#]).arg(cgroup.procs()).arg(program);
    command
}
