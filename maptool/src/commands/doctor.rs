//! `doctor`: what works on this host, what does not, and what to do about it.

use std::fmt;
use std::path::Path;

use nsmap::bpffs::{self, MOUNT_POINT, Place};
use nsmap::identity::cgroup::{self, Hierarchy, HostMode, Location, Resolver};
use nsmap::identity::mntns;
use nsmap::identity::process::has_capability;
use nsmap::set::{NewSet, Set};
use nsmap::{Kind, text};
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::output::Outcome;

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    Ok,
    /// Something is worse than it could be.
    Warning,
    /// Something will not work.
    Problem,
}

#[derive(Serialize)]
struct Check {
    check: &'static str,
    status: Status,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Serialize)]
struct Diagnosis {
    checks: Vec<Check>,
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Check { check, status, detail, hint } in &self.checks {
            let word = match status {
                Status::Ok => "ok",
                Status::Warning => "warning",
                Status::Problem => "problem",
            };
            write!(f, "{word:<8} {check}: {detail}")?;
            match hint {
                Some(hint) => writeln!(f, " ({hint})")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}

fn ok(check: &'static str, detail: impl Into<String>) -> Check {
    Check { check, status: Status::Ok, detail: detail.into(), hint: None }
}

fn bad(check: &'static str, status: Status, detail: impl Into<String>, hint: impl Into<String>) -> Check {
    Check { check, status, detail: detail.into(), hint: Some(hint.into()) }
}

pub(crate) fn run() -> Result<Outcome, Failure> {
    let checks = vec![
        maps(),
        bpffs_mounted(),
        kernel_types(),
        capabilities(),
        cgroup_mode(),
        cgroup_paths(),
        namespace_ids(),
        namespace_list(),
        follow(),
        engines(),
        engine_sockets(),
    ];
    let problem = checks.iter().any(|check| check.status == Status::Problem);
    let mut outcome = Outcome::done(&Diagnosis { checks })?;
    outcome.code = if problem { Code::Other } else { Code::Done };
    Ok(outcome)
}

/// As many as a line can take.
const PLACES_SHOWN: usize = 8;

fn maps() -> Check {
    let new = NewSet { kind: Kind::Cgroup, entries: 1, name: "nsmap_doctor", mode: 0o600 };
    match Set::create_unpinned(&new) {
        Ok(_) => ok("maps", "sets can be created"),
        // The error says which capability it is.
        Err(error) => {
            bad("maps", Status::Problem, error.to_string(), "without it sets can only be used, not made")
        }
    }
}

fn bpffs_mounted() -> Check {
    match bpffs::place_of(Path::new("/sys/fs/bpf/set")) {
        Ok(Place::Ready) => ok("bpffs", format!("mounted on `{MOUNT_POINT}`")),
        Ok(Place::Mountable) => {
            bad("bpffs", Status::Warning, format!("not mounted on `{MOUNT_POINT}`"), "nsmap create mounts it")
        }
        Ok(Place::NoDirectory(_)) => bad(
            "bpffs",
            Status::Problem,
            format!("`{MOUNT_POINT}` does not exist"),
            "mount sysfs, or use --map",
        ),
        Ok(Place::NotBpffs { found, .. }) => bad(
            "bpffs",
            Status::Problem,
            format!("`{MOUNT_POINT}` is on {found} and has files"),
            "mount -t bpf bpf on another directory, and use --map",
        ),
        Err(error) => bad("bpffs", Status::Warning, error.to_string(), "run as root to look closer"),
    }
}

fn kernel_types() -> Check {
    match std::fs::metadata("/sys/kernel/btf/vmlinux") {
        Ok(_) => ok("kernel types", "BTF is there, tracers can adapt to this kernel"),
        Err(_) => bad(
            "kernel types",
            Status::Problem,
            "no `/sys/kernel/btf/vmlinux`",
            "tracers need a kernel with CONFIG_DEBUG_INFO_BTF",
        ),
    }
}

/// By their numbers in `linux/capability.h`.
const CAPABILITIES: [(u32, &str, &str); 5] = [
    (39, "CAP_BPF", "creating sets"),
    (38, "CAP_PERFMON", "tracing"),
    (2, "CAP_DAC_READ_SEARCH", "turning cgroup ids into paths at once"),
    (19, "CAP_SYS_PTRACE", "looking at other users' processes"),
    (21, "CAP_SYS_ADMIN", "listing namespaces, and `follow`"),
];

fn capabilities() -> Check {
    let lacking: Vec<String> = CAPABILITIES
        .iter()
        .filter(|(number, ..)| !has_capability(*number))
        .map(|(_, name, use_of)| format!("{name} ({use_of})"))
        .collect();
    match lacking.is_empty() {
        true => ok("capabilities", "all that is used is there"),
        false => {
            bad("capabilities", Status::Warning, format!("lacking {}", lacking.join(", ")), "run as root")
        }
    }
}

fn cgroup_mode() -> Check {
    let name = match cgroup::host_mode() {
        Ok(HostMode::Unified) => "only v2 is mounted",
        Ok(HostMode::Hybrid) => "v1 and v2 are mounted side by side",
        Ok(HostMode::Legacy) => "only v1 is mounted",
        Ok(HostMode::Unmounted) | Err(_) => "no cgroup file system is mounted here",
    };
    match (cgroup::why_ids_are_useless(), Hierarchy::find()) {
        (Some(why), _) => bad(
            "cgroup sets",
            Status::Warning,
            format!("{why}: a cgroup set matches nothing of use"),
            "use a mount namespace set",
        ),
        (None, Ok(found)) => {
            ok("cgroup sets", format!("{name}; v2 is at `{}`", text::path(found.mount_point())))
        }
        (None, Err(_)) => bad(
            "cgroup sets",
            Status::Problem,
            name,
            "mount -t cgroup2 none DIRECTORY, or use a mount namespace set",
        ),
    }
}

fn cgroup_paths() -> Check {
    let Ok(mut resolver) = Resolver::new() else {
        return bad("cgroup paths", Status::Warning, "no cgroup v2 hierarchy", "ids cannot be named");
    };
    let root = resolver.root_id();
    match (resolver.locate(root), resolver.walks()) {
        (Location::Directory(_), false) => ok("cgroup paths", "ids become paths in one step"),
        (_, _) => bad(
            "cgroup paths",
            Status::Warning,
            "ids become paths by a walk of the whole tree",
            "CAP_DAC_READ_SEARCH in the initial user namespace makes it one step",
        ),
    }
}

fn namespace_ids() -> Check {
    match mntns::own() {
        Ok(own) if own.unique_id.is_some() => ok(
            "namespace ids",
            "the kernel has never-reused ids: members of mntns sets cannot go stale unseen",
        ),
        Ok(_) => bad(
            "namespace ids",
            Status::Warning,
            "the kernel does not tell the never-reused ids of mount namespaces (Linux 6.11 and newer do)",
            "members are unchecked; run nsmap gc, or nsmap follow, so that none goes stale",
        ),
        Err(error) => bad("namespace ids", Status::Problem, error.to_string(), "mount /proc"),
    }
}

fn namespace_list() -> Check {
    match mntns::every() {
        Some(all) => {
            ok("namespace list", format!("{} mount namespaces, dead members are told for sure", all.len()))
        }
        None => bad(
            "namespace list",
            Status::Warning,
            "the kernel does not list mount namespaces to this process (Linux 6.12 and CAP_SYS_ADMIN)",
            "a namespace without processes is shown as such, not as dead",
        ),
    }
}

fn follow() -> Check {
    let watched = Hierarchy::find().and_then(|found| nsmap::follow::tree::Tree::watch(found.mount_point()));
    match watched {
        Ok(tree) => ok("follow", format!("the kernel reports new and removed cgroups, by {}", tree.way())),
        Err(error) => bad(
            "follow",
            Status::Warning,
            error.to_string(),
            "needs a v2 hierarchy, and Linux 6.7 and CAP_SYS_ADMIN, or BTF, CAP_BPF and CAP_PERFMON; nsmap follow --once works without",
        ),
    }
}

fn engines() -> Check {
    let found = nsmap::container::sources::present();
    match found.is_empty() {
        true => bad(
            "containers",
            Status::Warning,
            "no container engine keeps its state in a place that is known",
            "containers are named by their ids only",
        ),
        false => {
            let (count, few) = (found.len(), found.get(..PLACES_SHOWN).unwrap_or(&found));
            let more =
                if count > few.len() { format!(" and {} more", count - few.len()) } else { String::new() };
            ok("containers", format!("names come from {}{more}", few.join(", ")))
        }
    }
}

fn engine_sockets() -> Check {
    let found = nsmap::container::sockets::find(&nsmap::container::inventory::host_root());
    let answers: Vec<_> = found.iter().map(nsmap::container::sockets::check).collect();
    let join = |lines: Vec<&String>| lines.into_iter().map(String::as_str).collect::<Vec<_>>().join("; ");
    let wrong: Vec<&String> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    let fine: Vec<&String> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
    match (wrong.is_empty(), fine.is_empty()) {
        (false, _) => bad(
            "engine sockets",
            Status::Warning,
            join(wrong),
            "names and labels that its files do not tell are missing",
        ),
        (true, true) => ok("engine sockets", "none is there, names come from files"),
        (true, false) => ok("engine sockets", join(fine)),
    }
}
