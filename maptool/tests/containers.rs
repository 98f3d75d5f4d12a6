//! Containers by name: real ones started by runc and crun, and the files of engines that cannot run here, also
//! forged ones.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use common::{Cgroup, Ran, Sandbox, arg};
use loader::map::Access;
use nsmap::Kind;
use nsmap::container::state::read_all;
use nsmap::set::{CgroupMember, Set};
use nsmap::{Member, identity};

const POD: &[(&str, &str)] = &[
    ("io.kubernetes.cri.container-name", "nginx"),
    ("io.kubernetes.cri.container-type", "container"),
    ("io.kubernetes.cri.sandbox-name", "web-0"),
    ("io.kubernetes.cri.sandbox-namespace", "shop"),
    ("io.kubernetes.cri.image-name", "nginx:1"),
];

fn added_by_name_and_named(runtime: &'static str) {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(oci) = sandbox.oci(runtime) else { return };
    let run = |words: &[&str]| Ran::from(sandbox.nsmap_for(&oci).args(words).output().unwrap());
    run(&["create"]).ok();
    run(&["create", "--kind", "cgroup"]).ok();
    oci.start("plain", &[]);
    oci.start("pod-1", POD);

    let shown = run(&["--json", "containers"]).json();
    let shown = shown["containers"].as_array().unwrap();
    let of = |id: &str| shown.iter().find(|one| one["id"] == id).unwrap_or_else(|| panic!("{id}: {shown:?}"));
    assert_eq!(of("pod-1")["name"], "shop/web-0/nginx");
    assert_eq!(
        (&of("pod-1")["pod"]["namespace"], &of("pod-1")["image"]),
        (&"shop".into(), &"nginx:1".into())
    );
    assert_eq!(of("plain")["name"], "plain");
    let pid = u32::try_from(of("plain")["pid"].as_u64().unwrap()).unwrap();

    // Both sets exist: the precise pair.
    run(&["add-container", "plain"]).ok();
    run(&["add-pod", "shop/web-0/nginx"]).ok();
    // As it is shown, as well.
    assert_eq!(run(&["add-container", "shop/web-0/nginx"]).ok().matches("already there").count(), 2);
    let cgroups = Set::open_kind(&sandbox.pin("cgroup_set"), Kind::Cgroup, Access::ReadOnly).unwrap();
    let id = of("plain")["cgroup"].as_u64().unwrap();
    assert_eq!(cgroups.get(id).unwrap(), Some(Member::Cgroup(CgroupMember::new(id, true))));
    assert!(run(&["test", "--pid", &pid.to_string()]).ok().contains("is shown by a tracer"));
    assert_eq!(run(&["test", "--pid", &std::process::id().to_string()]).code, 1);
    let list = run(&["--json", "list"]).json();
    for set in list["sets"].as_array().unwrap() {
        let names: Vec<&str> = set["members"]
            .as_array()
            .unwrap()
            .iter()
            .map(|member| member["container"].as_str().unwrap())
            .collect();
        assert_eq!(names.len(), 2);
        assert!(names.contains(&"plain") && names.contains(&"shop/web-0/nginx"), "{list}");
    }

    // The container moves into a cgroup that it makes itself, as crun's systemd driver does.
    let path = of("plain")["path"].as_str().unwrap();
    let inner = Path::new(path).join("container");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("cgroup.procs"), pid.to_string()).unwrap();
    assert!(run(&["test", "--pid", &pid.to_string()]).ok().contains("a member with its subtree"));

    run(&["add-container", "nothing-of-the-kind"])
        .refused(3, &["no container `nothing-of-the-kind` runs here"]);
    run(&["add-pod", "shop/other"]).refused(3, &["no container of pod `shop/other` runs here"]);
    run(&["add-pod", "shop"]).refused(3, &["is not NAMESPACE/POD"]);
    oci.remove("plain");
    run(&["add-container", "plain"]).refused(3, &["no container `plain` runs here"]);
    let report = run(&["--json", "gc"]).json();
    for set in report["sets"].as_array().unwrap() {
        assert_eq!(set["removed"].as_array().unwrap().len(), 1, "{report}");
    }
}

#[test]
fn containers_of_runc_are_added_by_name_and_named_by_list() {
    added_by_name_and_named("runc");
}

#[test]
fn containers_of_crun_are_added_by_name_and_named_by_list() {
    added_by_name_and_named("crun");
}

/// A host's root directory with the files of engines.
struct Host {
    sandbox: Sandbox,
}

impl Host {
    fn new() -> Option<Self> {
        let sandbox = Sandbox::new()?;
        fs::create_dir(sandbox.plain("host")).unwrap();
        Some(Self { sandbox })
    }

    fn file(&self, path: &str, contents: impl AsRef<[u8]>) {
        let path = self.sandbox.plain("host").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    fn run(&self, words: &[&str]) -> Ran {
        let mut command = self.sandbox.nsmap();
        Ran::from(command.env("NSMAP_HOST_ROOT", self.sandbox.plain("host")).args(words).output().unwrap())
    }
}

/// A sleeping process in a cgroup with this path below the test's own.
fn task_in(own: &Cgroup, below: &str) -> Child {
    let directory = own.path.join(below);
    fs::create_dir_all(&directory).unwrap();
    let task = Command::new("sleep").arg("60").spawn().unwrap();
    fs::write(directory.join("cgroup.procs"), task.id().to_string()).unwrap();
    task
}

fn end(mut task: Child, own: &Cgroup, below: &[&str]) {
    task.kill().unwrap();
    task.wait().unwrap();
    for path in below {
        fs::remove_dir(own.path.join(path)).unwrap();
    }
}

#[test]
fn dockers_names_come_from_its_own_files() {
    let Some(host) = Host::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    let (id, other) = ("3f".repeat(32), "3e".repeat(32));
    let below = format!("docker/{id}");
    let task = task_in(&own, &below);
    let config = |id: &str, name: &str, pid: u32| {
        format!(
            r#"{{"ID":"{id}","Name":"/{name}","State":{{"Pid":{pid}}},"Config":{{"Image":"nginx:1","Labels":{{"tier":"db"}}}}}}"#
        )
    };
    host.file(&format!("var/lib/docker/containers/{id}/config.v2.json"), config(&id, "web", task.id()));
    // One that has ended, whose pid is another process by now.
    host.file(
        &format!("var/lib/docker/containers/{other}/config.v2.json"),
        config(&other, "old", std::process::id()),
    );
    host.run(&["create", "--kind", "cgroup"]).ok();
    let shown = host.run(&["containers"]).ok();
    assert!(shown.contains("docker     3f3f3f3f3f3f") && shown.contains(" web\n"), "{shown}");
    // As `list` shows it.
    host.run(&["add-container", "docker:web"]).ok();
    assert!(host.run(&["list"]).ok().contains("[docker:web]"));
    host.run(&["clear"]).ok();
    assert!(!shown.contains("old"), "{shown}");
    for word in ["web", "3f3f3f", "docker://3f3f"] {
        host.run(&["add-container", word]).ok();
    }
    assert!(host.run(&["list"]).ok().contains("[docker:web]"));
    host.run(&["add-container", "podman://web"]).refused(3, &["no container `podman://web`"]);
    host.run(&["add-container", ""]).refused(3, &["no container ``"]);
    end(task, &own, &[&below, "docker"]);
}

#[test]
fn an_id_that_fits_several_names_them() {
    let Some(host) = Host::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    let (a, b) = (format!("docker/77{}", "a".repeat(62)), format!("docker/77{}", "b".repeat(62)));
    let (first, second) = (task_in(&own, &a), task_in(&own, &b));
    host.run(&["create", "--kind", "cgroup"]).ok();
    host.run(&["add-container", "77"])
        .refused(6, &["`77` means 2 containers", "docker:77aaaaaaaaaa", "77bbbb"]);
    host.run(&["add-container", "77a"]).ok();
    end(first, &own, &[&a]);
    end(second, &own, &[&b, "docker"]);
}

#[test]
fn podman_machined_and_containerd_write_names_down_too() {
    let Some(host) = Host::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    let id = "5d".repeat(32);
    let podman = format!("libpod_parent/libpod-{id}");
    let task = task_in(&own, &podman);
    host.file(
        "var/lib/containers/storage/overlay-containers/volatile-containers.json",
        format!(r#"[{{"id":"{id}","names":["db"],"metadata":"{{\"image-name\":\"postgres\"}}"}}]"#),
    );
    let machine = task_in(&own, "machine.slice");
    host.file("run/systemd/machines/box", format!("NAME=box\nCLASS=container\nLEADER={}\n", machine.id()));
    host.file("run/systemd/machines/vm", format!("NAME=vm\nCLASS=vm\nLEADER={}\n", machine.id()));
    let task_id = "6c".repeat(32);
    let containerd = format!("k8s.io/{task_id}");
    let third = task_in(&own, &containerd);
    let bundle = format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{task_id}");
    host.file(&format!("{bundle}/init.pid"), third.id().to_string());
    host.file(
        &format!("{bundle}/config.json"),
        r#"{"annotations":{"io.kubernetes.cri.sandbox-namespace":"ns","io.kubernetes.cri.sandbox-name":"pod","io.kubernetes.cri.container-name":"c"}}"#,
    );
    let shown = host.run(&["--json", "containers"]).json();
    let names: Vec<&str> =
        shown["containers"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    for name in ["db", "box", "ns/pod/c"] {
        assert!(names.contains(&name), "{name}: {shown}");
    }
    assert!(!names.contains(&"vm"));
    end(task, &own, &[&podman, "libpod_parent"]);
    end(machine, &own, &["machine.slice"]);
    end(third, &own, &[&containerd, "k8s.io"]);
}

#[test]
fn forged_and_huge_state_files_harm_nobody() {
    let Some(host) = Host::new() else { return };
    let own_pid = std::process::id();
    let start = identity::process::start_ticks(own_pid).unwrap();
    for (at, contents) in [
        "",
        "{",
        "[]",
        "null",
        "7",
        r#"{"id":7}"#,
        r#"{"id":""}"#,
        "{\"id\":\"\u{0}\"}",
        r#"{"id":"x","init_process_pid":-1}"#,
        r#"{"id":"y","init_process_pid":1,"init_process_start":1}"#,
        r#"{"id":"z","init_process_pid":99999999999999999999}"#,
        r#"{"id":"w","config":{"labels":["novalue",7,null]},"cgroup_paths":{"":"/../../etc"}}"#,
    ]
    .iter()
    .enumerate()
    {
        host.file(&format!("run/runc/{at}/state.json"), contents);
        host.file(&format!("run/crun/{at}/status"), contents);
        host.file(&format!("var/lib/docker/containers/{at}/config.v2.json"), contents);
    }
    host.file("run/runc/deep/state.json", "[".repeat(100_000));
    host.file("run/runc/huge/state.json", vec![b' '; 9 << 20]);
    host.file("run/runc/bytes/state.json", b"{\"id\":\"\xff\"}");
    // A name that would draw on the terminal, of a process that exists.
    let hostile = format!(
        r#"{{"id":"\u001b[31mred\nline","init_process_pid":{own_pid},"init_process_start":{start}}}"#
    );
    host.file("run/runc/hostile/state.json", hostile);
    let place = host.sandbox.plain("host/run/runc/fifo");
    fs::create_dir_all(&place).unwrap();
    nix::unistd::mkfifo(&place.join("state.json"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink("/dev/zero", place.join("status")).unwrap();

    let shown = host.run(&["containers"]).ok();
    assert!(!shown.contains('\u{1b}') && shown.contains("$'\\033[31mred\\nline'"), "{shown:?}");
    let json = host.run(&["--json", "containers"]).json();
    // Other tests' cgroups are seen, too; they have no such ids.
    let forged =
        json["containers"].as_array().unwrap().iter().filter(|one| one["id"].as_str().unwrap().len() < 64);
    assert_eq!(forged.map(|one| &one["pid"]).collect::<Vec<_>>(), [own_pid], "{json}");
    host.run(&["create"]).ok();
    let ran = host.run(&["add-container", "\u{1b}[31mno"]);
    assert!(!ran.err.contains('\u{1b}') && ran.code == 3, "{ran:?}");
    assert!(read_all(&host.sandbox.plain("host")).iter().all(|record| !record.id.is_empty()));
}

#[test]
fn a_container_in_the_root_cgroup_is_refused_for_a_cgroup_set_only() {
    let Some(host) = Host::new() else { return };
    let mut task = common::unshared();
    let start = identity::process::start_ticks(task.id()).unwrap();
    let state = format!(r#"{{"id":"lost","init_process_pid":{},"init_process_start":{start}}}"#, task.id());
    host.file("run/runc/lost/state.json", state);
    if !identity::cgroup::of_process(task.id()).unwrap().is_root() {
        task.kill().unwrap();
        task.wait().unwrap();
        return;
    }
    host.run(&["create"]).ok();
    host.run(&["create", "--kind", "cgroup"]).ok();
    let ran = host.run(&["add-container", "lost"]);
    assert_eq!(ran.code, 8, "{ran:?}");
    assert!(ran.out.contains("added mntns") && ran.err.contains("the root cgroup"), "{ran:?}");
    assert!(host.run(&["list", arg(&host.sandbox.pin("mnt_ns_set"))]).ok().contains("[lost]"));
    task.kill().unwrap();
    task.wait().unwrap();
}
