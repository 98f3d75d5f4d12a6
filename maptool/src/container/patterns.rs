//! The table of cgroup names that container engines give, and the parser that goes through it.
//!
//! To teach it an engine: add a line to [`SCOPES`] if the engine writes `PREFIX-ID.scope`, else a rule to
//! [`of_component`], and a line to the test table.
//!
//! In: a cgroup path, of any bytes. Out: [`Container`]. The innermost container wins (an engine
//! within a container); monitor processes (`conmon`, `lxc.monitor`) are not in the container.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Who made a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// Docker, and cri-dockerd.
    Docker,
    /// containerd.
    Containerd,
    /// nerdctl.
    Nerdctl,
    /// CRI-O.
    Crio,
    /// Podman.
    Podman,
    /// runc, used without an engine.
    Runc,
    /// LXC, Incus.
    Lxc,
    /// systemd-nspawn, or another machine that systemd-machined knows.
    Machine,
    /// A pod's container, by an engine that the path does not tell.
    Kubernetes,
}

impl Engine {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Docker,
        Self::Containerd,
        Self::Nerdctl,
        Self::Crio,
        Self::Podman,
        Self::Runc,
        Self::Lxc,
        Self::Machine,
        Self::Kubernetes,
    ];

    /// One lower-case word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::Nerdctl => "nerdctl",
            Self::Crio => "crio",
            Self::Podman => "podman",
            Self::Runc => "runc",
            Self::Lxc => "lxc",
            Self::Machine => "machine",
            Self::Kubernetes => "k8s",
        }
    }
}

/// The Kubernetes pod that a container is part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The pod's uid, in the API's form with hyphens.
    pub uid: String,
}

/// A container, as far as a cgroup path tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Who made it.
    pub engine: Engine,
    /// The id of 64 hexadecimal digits; a name for LXC, runc and machines.
    pub id: String,
    /// Its pod.
    pub pod: Option<Pod>,
}

impl Container {
    /// `docker:0123456789ab`: the engine and the id, hexadecimal ones cut to twelve digits.
    pub fn label(&self) -> String {
        let id = if is_id(&self.id) { self.id.get(..12).unwrap_or(&self.id) } else { &self.id };
        format!("{}:{}", self.engine.name(), crate::text::safe(id.as_ref()))
    }
}

/// Names of the form `PREFIX-ID`, with `.scope` behind under the systemd driver. Longer prefixes first;
/// `None`: a monitor, which is not in the container.
const SCOPES: &[(&str, Option<Engine>)] = &[
    ("docker-", Some(Engine::Docker)),
    ("cri-containerd-", Some(Engine::Containerd)),
    ("nerdctl-", Some(Engine::Nerdctl)),
    ("crio-conmon-", None),
    ("crio-", Some(Engine::Crio)),
    ("libpod-conmon-", None),
    ("libpod-payload-", Some(Engine::Podman)),
    ("libpod-", Some(Engine::Podman)),
];

/// Prefixes of the names of containers, each with the engine that gives them.
pub(crate) fn scopes() -> impl Iterator<Item = (&'static str, Engine)> {
    SCOPES.iter().filter_map(|(prefix, engine)| Some((*prefix, (*engine)?)))
}

enum Verdict {
    /// A container, by this component.
    Found(Engine, String),
    /// Not in a container, whatever stands above.
    Monitor,
    /// Says nothing.
    Nothing,
}

/// The innermost container whose cgroup is `path` or is above it.
pub fn from_cgroup_path(path: &Path) -> Option<Container> {
    let text = std::str::from_utf8(path.as_os_str().as_bytes()).ok()?;
    let components: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    for (index, component) in components.iter().enumerate().rev() {
        let above = components.get(..index).unwrap_or_default();
        match of_component(component, above) {
            Verdict::Found(engine, id) => {
                let pod = components.get(..=index)?.iter().rev().find_map(|part| pod_of(part));
                return Some(Container { engine, id, pod });
            }
            Verdict::Monitor => return None,
            Verdict::Nothing => {}
        }
    }
    None
}

fn of_component(component: &str, above: &[&str]) -> Verdict {
    let parent = above.last().copied().unwrap_or_default();
    let name = component.strip_suffix(".scope").unwrap_or(component);
    let prefixed = SCOPES.iter().find_map(|(prefix, engine)| Some((name.strip_prefix(prefix)?, engine)));
    if let Some((id, engine)) = prefixed.filter(|(id, _)| is_id(id)) {
        return engine.map_or(Verdict::Monitor, |engine| Verdict::Found(engine, id.to_owned()));
    }
    if is_id(component) {
        return Verdict::Found(engine_of_bare_id(parent, above), component.to_owned());
    }
    // containerd without its systemd driver under a kubelet with it: `SLICE:cri-containerd:ID`.
    if let Some((_, id)) = component.split_once(":cri-containerd:").filter(|(_, id)| is_id(id)) {
        return Verdict::Found(Engine::Containerd, id.to_owned());
    }
    if let Some(id) = component.strip_prefix("runc-").and_then(|rest| rest.strip_suffix(".scope")) {
        return Verdict::Found(Engine::Runc, id.to_owned());
    }
    of_machine(component, parent)
}

/// LXC and systemd's machines, whose names are chosen by people.
fn of_machine(component: &str, parent: &str) -> Verdict {
    let named = |engine, name: &str| match name {
        "" => Verdict::Nothing,
        name => Verdict::Found(engine, unescape_unit(name)),
    };
    if component.starts_with("lxc.monitor") {
        return Verdict::Monitor;
    }
    if let Some(name) = component.strip_prefix("lxc.payload.") {
        return named(Engine::Lxc, name);
    }
    if matches!(parent, "lxc" | "lxc.payload") {
        return named(Engine::Lxc, component);
    }
    if let Some(name) = component.strip_suffix(".libvirt-lxc") {
        return named(Engine::Lxc, name);
    }
    let nspawn = component.strip_prefix("systemd-nspawn@").and_then(|rest| rest.strip_suffix(".service"));
    if let Some(name) = nspawn {
        return named(Engine::Machine, name);
    }
    match component.strip_prefix("machine-").and_then(|rest| rest.strip_suffix(".scope")) {
        // A virtual machine is no container.
        Some(name) if name.starts_with("qemu\\x2d") => Verdict::Nothing,
        Some(name) => match name.strip_prefix("lxc\\x2d").and_then(|rest| rest.split_once("\\x2d")) {
            Some((_number, name)) => named(Engine::Lxc, name),
            None => named(Engine::Machine, name),
        },
        None => Verdict::Nothing,
    }
}

/// A component that is only an id: the cgroupfs driver. What stands above tells the engine.
fn engine_of_bare_id(parent: &str, above: &[&str]) -> Engine {
    if above.iter().any(|part| pod_of(part).is_some()) {
        return Engine::Kubernetes;
    }
    match parent {
        "libpod_parent" => Engine::Podman,
        "docker" | "actions_job" => Engine::Docker,
        // containerd and nerdctl use the containerd namespace.
        "default" | "moby" | "k8s.io" => Engine::Containerd,
        _ => Engine::Docker,
    }
}

/// `kubepods-burstable-pod<uid with _>.slice`, also with `kubelet-` in front, or `pod<uid>`.
fn pod_of(component: &str) -> Option<Pod> {
    let component = component.split(':').next()?;
    let name = match component.strip_suffix(".slice") {
        Some(slice) => slice.strip_prefix("kubelet-").unwrap_or(slice).strip_prefix("kubepods-")?,
        None => component,
    };
    let name = ["burstable-", "besteffort-"].iter().find_map(|qos| name.strip_prefix(qos)).unwrap_or(name);
    let uid = name.strip_prefix("pod")?.replace('_', "-");
    is_pod_uid(&uid).then_some(Pod { uid })
}

/// A UUID, or the hash of 32 digits that static pods have.
fn is_pod_uid(uid: &str) -> bool {
    let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
    let hyphens = uid.bytes().filter(|&byte| byte == b'-').count();
    digits == 32 && digits + hyphens == uid.len() && matches!(hyphens, 0 | 4)
}

/// The ids of all engines: 64 hexadecimal digits.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Undoes systemd's `\x2d`; other escapes, which are rare in machine names, are kept.
fn unescape_unit(name: &str) -> String {
    name.replace("\\x2d", "-")
}

/// The innermost systemd service or scope that `path` lies in.
pub fn unit_of_cgroup_path(path: &Path) -> Option<String> {
    let text = std::str::from_utf8(path.as_os_str().as_bytes()).ok()?;
    let is_unit = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
    text.rsplit('/').find(is_unit).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f2a9d0b4c5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8";
    const OTHER: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const UID: &str = "12345678-9abc-def0-1234-56789abcdef0";

    fn found(path: &str) -> Option<(Engine, String, Option<String>)> {
        let path = path.replace("<id>", ID).replace("<other>", OTHER);
        let path = path.replace("<uid>", UID).replace("<uid_>", &UID.replace('-', "_"));
        from_cgroup_path(Path::new(&path))
            .map(|container| (container.engine, container.id, container.pod.map(|pod| pod.uid)))
    }

    #[test]
    fn every_engine_is_known_by_its_paths() {
        use Engine::*;
        for (path, engine) in [
            ("/system.slice/docker-<id>.scope", Docker),
            ("/docker/<id>", Docker),
            ("/actions_job/<id>", Docker),
            ("/user.slice/user-1.slice/user@1.service/user.slice/docker-<id>.scope", Docker),
            ("/docker/<id>/init.scope", Docker),
            ("/system.slice/nerdctl-<id>.scope", Nerdctl),
            ("/default/<id>", Containerd),
            ("/machine.slice/libpod-<id>.scope/container", Podman),
            ("/user.slice/user-1.slice/user@1.service/user.slice/libpod-<id>.scope/container", Podman),
            ("/libpod_parent/libpod-<id>", Podman),
            ("/system.slice/x.service/libpod-payload-<id>", Podman),
            ("/somewhere/crio-<id>", Crio),
        ] {
            assert_eq!(found(path), Some((engine, ID.to_owned(), None)), "{path}");
        }
    }

    #[test]
    fn the_pod_is_told_in_the_form_of_the_api() {
        use Engine::*;
        for (path, engine) in [
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid_>.slice/cri-containerd-<id>.scope",
                Containerd,
            ),
            ("/kubepods.slice/kubepods-pod<uid_>.slice/crio-<id>.scope/container", Crio),
            (
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod<uid_>.slice/docker-<id>.scope",
                Docker,
            ),
            ("/system.slice/kubepods-besteffort-pod<uid_>.slice:cri-containerd:<id>", Containerd),
            ("/kubepods/besteffort/pod<uid>/<id>", Kubernetes),
            ("/kubepods/pod<uid>/<id>", Kubernetes),
        ] {
            assert_eq!(found(path), Some((engine, ID.to_owned(), Some(UID.to_owned()))), "{path}");
        }
    }

    #[test]
    fn names_given_by_people_are_kept() {
        for (path, engine, name) in [
            ("/lxc.payload.web", Engine::Lxc, "web"),
            ("/lxc.payload/web/init.scope", Engine::Lxc, "web"),
            ("/lxc/web", Engine::Lxc, "web"),
            ("/machine.slice/machine-lxc\\x2d12\\x2dweb\\x2done.scope/libvirt", Engine::Lxc, "web-one"),
            ("/machine.slice/systemd-nspawn@web.service/payload", Engine::Machine, "web"),
            ("/machine.slice/machine-my\\x2dbox.scope", Engine::Machine, "my-box"),
            ("/system.slice/runc-demo.scope", Engine::Runc, "demo"),
        ] {
            assert_eq!(found(path), Some((engine, name.to_owned(), None)), "{path}");
        }
    }

    #[test]
    fn monitors_and_ordinary_services_are_not_containers() {
        for path in [
            "/",
            "/system.slice/nginx.service",
            "/machine.slice/libpod-conmon-<id>.scope",
            "/kubepods.slice/kubepods-pod<uid_>.slice/crio-conmon-<id>.scope",
            "/kubepods.slice/kubepods-pod<uid_>.slice",
            "/lxc.monitor.web",
            "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope",
            "/system.slice/docker-short.scope",
            "/user.slice/libpod-.scope",
        ] {
            assert_eq!(found(path), None, "{path}");
        }
    }

    #[test]
    fn the_innermost_container_wins() {
        let nested = "/system.slice/docker-<other>.scope/kubepods/pod<uid>/<id>";
        assert_eq!(found(nested), Some((Engine::Kubernetes, ID.to_owned(), Some(UID.to_owned()))));
        let outer = "/kubepods/pod<uid>/<id>/docker/<other>";
        assert_eq!(found(outer).map(|(_, id, _)| id), Some(OTHER.to_owned()));
    }

    #[test]
    fn labels_are_short_and_safe() {
        let docker = Container { engine: Engine::Docker, id: ID.into(), pod: None };
        assert_eq!(docker.label(), "docker:3f2a9d0b4c5e");
        let hostile = Container { engine: Engine::Lxc, id: "a\u{1b}[31m".into(), pod: None };
        assert_eq!(hostile.label(), "lxc:$'a\\033[31m'");
    }

    #[test]
    fn units_are_the_innermost_service_or_scope() {
        let unit = |path: &str| unit_of_cgroup_path(Path::new(path));
        assert_eq!(unit("/system.slice/nginx.service").as_deref(), Some("nginx.service"));
        assert_eq!(unit("/user.slice/user-1.slice/session-2.scope").as_deref(), Some("session-2.scope"));
        assert_eq!(unit("/a/b"), None);
    }
}
