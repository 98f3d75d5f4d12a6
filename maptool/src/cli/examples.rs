//! Worked examples, at the end of each command's help. A paragraph is one line here: clap breaks it where a terminal ends.

pub(super) const ALL: &str = "\
Examples:
  nsmap create                                   a set of mount namespaces
  execsnoop --mntnsmap /sys/fs/bpf/mnt_ns_set    (elsewhere) trace its members
  nsmap add-self-mntns                           this shell becomes one
  nsmap add-mntns 1234 /proc/1235/ns/mnt mnt:[4026532178]
  nsmap create --kind cgroup /sys/fs/bpf/cgroup_set
  nsmap add-cgroup --subtree /sys/fs/cgroup/system.slice/docker.service
  nsmap list                                     what is in the sets
  nsmap remove-self-mntns
  nsmap cgroupid hex /sys/fs/cgroup/system.slice  the id of a cgroup, as bytes

Exit codes:
  0 done, or so already   1 other failure        2 wrong command line
  3 no such map or target 4 not permitted        5 the set is full
  6 wrong kind of thing   7 not on bpffs         8 some of the items failed";

pub(super) const MAP: &str = "\
Examples:
  nsmap map show
  nsmap map create /sys/fs/bpf/mnt_ns_set \\
      type hash key 8 value 4 entries 128 name mnt_ns_set
  nsmap map update pinned /sys/fs/bpf/mnt_ns_set \\
      key 0xf8 0xff 0xff 0xef 0 0 0 0 value 0 0 0 0 any
  nsmap map -p dump name mnt_ns_set
  nsmap map help                                 all commands
  ln -s nsmap bpftool                            a link of that name works too";

pub(super) const BATCH: &str = "\
Examples:
  nsmap batch file updates.txt
  echo map show id 7 | nsmap batch file -        a command on each line";

pub(super) const CONTAINER: &str = "\
Examples:
  nsmap add-container web
  nsmap add-container docker://3f2a9d0b4c5e
  nsmap create; nsmap create --kind cgroup; nsmap add-container web

With both sets, a tracer that is given both shows exactly the container.";

pub(super) const POD: &str = "\
Examples:
  nsmap add-pod default/web-7c5ddbdf54-x2x9z
  nsmap add-pod kube-system/coredns-0/coredns    one container of it";

pub(super) const FOLLOW: &str = "\
Examples:
  nsmap follow 'web-*'                           containers by name
  nsmap follow engine:docker,label:tier=db       Docker's, with this label
  nsmap follow '/system.slice/*.service' --once
  nsmap follow pod:default/web-* --for 10m --json
  nsmap follow container:web --map /sys/fs/bpf/cgroup_set

The sets belong to it: members that do not match are removed. It ends by INT, TERM or HUP; members stay, so that it \
can be started again, except with --for. What a path or an engine alone selects is in a cgroup set before anything \
runs there; names and labels are known some milliseconds later (docs/nsmap.md).";

/// The words of `follow`.
pub(super) const SELECTORS: &str = "\
What to follow; one of several must fit, all that are joined by commas

cgroup:GLOB or /GLOB     a path in the hierarchy; `*` ends at a slash,
                         `**` does not
unit:GLOB                a systemd service, scope or slice
engine:NAME              docker, containerd, nerdctl, crio, podman,
                         runc, lxc, machine (nspawn) or k8s
container:GLOB or GLOB   a name or id, as `nsmap containers` shows it
image:GLOB               what a container was made of
namespace:GLOB           a Kubernetes namespace
pod:NAMESPACE/GLOB       its pods
label:KEY=GLOB           a label of a container or its pod";

pub(super) const APPLY: &str = "\
Examples:
  nsmap apply members.txt --map /sys/fs/bpf/cgroup_set
  nsmap export | nsmap apply - --map /sys/fs/bpf/copy --replace
  nsmap apply members.txt --replace --dry-run    what would change

Exit codes: 8 some lines were not understood, 5 the set is full (how many were added is exact)";

pub(super) const EXPORT: &str = "\
Examples:
  nsmap export > members.txt
  nsmap export --bare --kind cgroup";

pub(super) const DIFF: &str = "\
Examples:
  nsmap diff /sys/fs/bpf/cgroup_set members.txt
  nsmap diff --exit-code a.txt b.txt --kind mntns

Lines begin with - (only in the first), + (only in the second) or ~ (in both, with other flags).";

pub(super) const RESIZE: &str = "\
Examples:
  nsmap resize 65536 /sys/fs/bpf/cgroup_set

The new map takes the place of the old one at once. Tracers that are running keep the old one until they are \
started again.";

pub(super) const GC: &str = "\
Examples:
  nsmap gc                                       in the default sets
  nsmap gc --dry-run /sys/fs/bpf/mnt_ns_set";

pub(super) const TEST: &str = "\
Examples:
  nsmap test                                     this shell
  nsmap test --pid 1234 /sys/fs/bpf/cgroup_set

Exit codes: 0 it matches all of the sets, 1 it does not";

pub(super) const RESOLVE: &str = "\
Examples:
  nsmap resolve 5751
  nsmap resolve --kind mntns 4026532178";

pub(super) const CREATE: &str = "\
Examples:
  nsmap create                                   a set on the usual path
  nsmap create --kind cgroup --entries 65536 /sys/fs/bpf/cgroup_set
  nsmap create --mode 0660 --group operators     a group may edit it";

pub(super) const ADD_CGROUP: &str = "\
Examples:
  nsmap add-cgroup /sys/fs/cgroup/system.slice/nginx.service
  nsmap add-cgroup --subtree /sys/fs/cgroup/kubepods.slice
  nsmap add-cgroup 5751                          by id";

pub(super) const ADD_SELF_CGROUP: &str = "\
Examples:
  nsmap add-self-cgroup
  nsmap add-self-cgroup --subtree --map /sys/fs/bpf/mine";

pub(super) const ADD_MNTNS: &str = "\
Examples:
  nsmap add-mntns 1234                           that of process 1234
  nsmap add-mntns /proc/1235/ns/mnt mnt:[4026532178]";

pub(super) const ADD_SELF_MNTNS: &str = "\
Examples:
  nsmap add-self-mntns                           this shell and what it starts";

pub(super) const ADD_PID: &str = "\
Examples:
  nsmap add-pid $(pidof nginx)";

pub(super) const REMOVE_CGROUP: &str = "\
Examples:
  nsmap remove-cgroup /sys/fs/cgroup/system.slice/nginx.service
  nsmap remove-cgroup 5751                       by id, also when it is gone";

pub(super) const REMOVE_SELF_CGROUP: &str = "\
Examples:
  nsmap remove-self-cgroup";

pub(super) const REMOVE_MNTNS: &str = "\
Examples:
  nsmap remove-mntns 1234 mnt:[4026532178]";

pub(super) const REMOVE_SELF_MNTNS: &str = "\
Examples:
  nsmap remove-self-mntns";

pub(super) const REMOVE_PID: &str = "\
Examples:
  nsmap remove-pid 1234";

pub(super) const LIST: &str = "\
Examples:
  nsmap list                                     both of the usual sets
  nsmap list --json /sys/fs/bpf/cgroup_set";

pub(super) const CLEAR: &str = "\
Examples:
  nsmap clear --kind mntns
  nsmap clear /sys/fs/bpf/mine";

pub(super) const DELETE: &str = "\
Examples:
  nsmap delete --kind cgroup
  nsmap delete /sys/fs/bpf/mine";

pub(super) const CGROUPID: &str = "\
Examples:
  nsmap cgroupid number /sys/fs/cgroup/system.slice
  nsmap cgroupid hex /sys/fs/cgroup/system.slice  as bpftool takes a key";

pub(super) const MNTNSID: &str = "\
Examples:
  nsmap mntnsid number                           that of this shell
  nsmap mntnsid hex 1234";

pub(super) const CONTAINERS: &str = "\
Examples:
  nsmap containers
  nsmap containers --json                        with images, labels, pods
  DOCKER_HOST=unix:///srv/docker.sock nsmap containers

Names come from the files of engines and runtimes; Docker, Podman and what speaks CRI (containerd, CRI-O, \
cri-dockerd) are asked for what those do not tell.";

pub(super) const DOCTOR: &str = "\
Examples:
  nsmap doctor";

pub(super) const WATCH: &str = "\
Examples:
  nsmap watch                                    both of the usual sets
  nsmap watch --json --for 10m /sys/fs/bpf/cgroup_set

On a terminal the sets are drawn anew with each change; elsewhere each change is a line.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    /// What is left as it is on the narrowest usual terminal.
    const WIDTH: usize = 80;

    #[test]
    fn no_example_is_broken_into_lines() {
        let command = crate::cli::Cli::command();
        let mut seen = 0;
        let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
        for command in std::iter::once(&command).chain(shown) {
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let name = command.get_name();
            assert!(text.starts_with("Examples:\n"), "{name}: {text}");
            for line in text.lines().filter(|line| line.starts_with("  ")) {
                assert!(line.chars().count() <= WIDTH, "{name}: {line}");
                seen += 1;
            }
        }
        assert!(seen > 60, "{seen}");
        // These are indented.
        assert!(super::SELECTORS.lines().all(|line| line.chars().count() + 10 <= WIDTH));
    }
}
