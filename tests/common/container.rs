//! A container as the filters see one: a mount namespace and a cgroup of its own, each in a set or not.

use std::process::{Child, Command, Stdio};

use super::cgroup::Cgroup;
use super::namespace::MountNamespace;
use super::program::in_cgroup;
use super::sandbox::Sandbox;
use super::skip::Skip;

pub(crate) struct Container {
    pub(crate) namespace: MountNamespace,
    pub(crate) cgroup: Cgroup,
}

impl Container {
    pub(crate) fn new() -> Result<Self, Skip> {
        Ok(Self { cgroup: Cgroup::new()?, namespace: MountNamespace::new() })
    }

    /// Starts a command inside.
    #[track_caller]
    pub(crate) fn spawn(&self, command: &Command) -> Child {
        self.namespace.run(|| self.spawn_in_cgroup(command))
    }

    /// Starts a command in its cgroup only, in the caller's mount namespace.
    #[track_caller]
    pub(crate) fn spawn_in_cgroup(&self, command: &Command) -> Child {
        let mut inside = in_cgroup(&self.cgroup, command.get_program().to_str().unwrap());
        inside.args(command.get_args()).stdin(Stdio::null()).stdout(Stdio::null());
        for (key, value) in command.get_envs() {
            inside.env(key, value.unwrap());
        }
        inside.spawn().unwrap()
    }

    /// Adds its mount namespace to the default set, or takes it out.
    #[track_caller]
    pub(crate) fn mntns(&self, sandbox: &Sandbox, verb: &str) {
        sandbox.nsmap_ok([&format!("{verb}-mntns"), &self.namespace.inode.to_string()]);
    }

    /// Adds its cgroup to the default set, or takes it out.
    #[track_caller]
    pub(crate) fn cgroup(&self, sandbox: &Sandbox, verb: &str) {
        sandbox.nsmap_ok([format!("{verb}-cgroup").as_ref(), self.cgroup.path.as_os_str()]);
    }

    /// Lets `work` happen in each state of both sets, and tells it whether all that the container does is to be shown then,
    /// or nothing of it. The sets are empty before and after. Gives what `work` gave where it is shown.
    pub(crate) fn come_and_go<T>(&self, sandbox: &Sandbox, work: impl Fn(bool) -> T) -> Vec<T> {
        work(false);
        self.mntns(sandbox, "add");
        work(false);
        self.cgroup(sandbox, "add");
        let mut shown = vec![work(true)];
        self.mntns(sandbox, "remove");
        work(false);
        self.mntns(sandbox, "add");
        shown.push(work(true));
        self.cgroup(sandbox, "remove");
        work(false);
        self.cgroup(sandbox, "add");
        shown.push(work(true));
        self.cgroup(sandbox, "remove");
        self.mntns(sandbox, "remove");
        shown
    }
}
