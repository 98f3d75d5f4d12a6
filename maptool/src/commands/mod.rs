//! One file per sub-command; each takes its arguments and returns an outcome.
//!
//! What several share: [`sets`] finds and opens the set that is meant, [`edit`] adds and removes members and
//! reports on each, [`items`] turns arguments into members.

use crate::cli::Command;
use crate::failure::{Code, Failure};
use crate::output::Outcome;

mod add_cgroup;
mod add_container;
mod add_mntns;
mod add_pid;
mod add_self_cgroup;
mod add_self_mntns;
mod apply;
mod cgroupid;
mod clear;
mod completions;
mod containers;
mod create;
mod delete;
mod diff;
mod doctor;
mod edit;
mod explain;
mod export;
mod follow;
mod gc;
mod generate;
mod holders;
mod items;
mod list;
mod mntnsid;
mod remove_cgroup;
mod remove_mntns;
mod remove_pid;
mod remove_self_cgroup;
mod remove_self_mntns;
mod resize;
mod resolve;
mod sets;
mod test;
mod watch;
mod whole;

pub(crate) use cgroupid::as_cgroupid;
pub(crate) use create::place;

/// Runs a sub-command.
pub(crate) fn run(command: &Command, json: bool) -> Result<Outcome, Failure> {
    match command {
        Command::Create(args) => create::run(args),
        Command::AddCgroup(args) => add_cgroup::run(args),
        Command::AddSelfCgroup(args) => add_self_cgroup::run(args),
        Command::AddMntns(args) => add_mntns::run(args),
        Command::AddSelfMntns(args) => add_self_mntns::run(args),
        Command::AddPid(args) => add_pid::run(args),
        Command::RemoveCgroup(args) => remove_cgroup::run(args),
        Command::RemoveSelfCgroup(args) => remove_self_cgroup::run(args),
        Command::RemoveMntns(args) => remove_mntns::run(args),
        Command::RemoveSelfMntns(args) => remove_self_mntns::run(args),
        Command::RemovePid(args) => remove_pid::run(args),
        Command::List(args) => list::run(args),
        Command::Clear(args) => clear::run(args),
        Command::Delete(args) => delete::run(args),
        Command::Cgroupid(args) => cgroupid::run(args),
        Command::Mntnsid(args) => mntnsid::run(args),
        Command::Apply(args) => apply::run(args),
        Command::Export(args) => export::run(args),
        Command::Diff(args) => diff::run(args),
        Command::Resize(args) => resize::run(args),
        Command::Gc(args) => gc::run(args),
        Command::Test(args) => test::run(args),
        Command::Resolve(args) => resolve::run(args),
        Command::AddContainer(args) => add_container::run(args),
        Command::AddPod(args) => add_container::run_pod(args),
        Command::Containers => containers::run(),
        Command::Follow(args) => follow::run(args, json),
        Command::Watch(args) => watch::run(args, json),
        Command::Doctor => doctor::run(),
        Command::Generate(args) => generate::run(args),
        // These have an output of their own and were taken out before.
        Command::Map(_) | Command::Batch(_) => Err(Failure::new(Code::Usage, "not a command of a set")),
    }
}
