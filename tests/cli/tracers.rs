//! Options that all tracers have in common, and those that they share with their namesakes.

use crate::common::run::run;
use crate::{command, misused};

/// Options of the tools of the same name in BCC 0.37 and libbpf-tools, but for the few that `docs/bcc-differences.md` explains.
const PEERS: [(&str, &[&[&str]]); 5] = [
    (
        "execsnoop",
        &[
            &["-T", "-t", "-x", "-u", "root", "-q", "-n", "sh", "-l", "x", "-U", "-P", "1", "-C", "-M"],
            &["--time", "--timestamp", "--fails", "--uid", "0", "--quote", "--name", "sh", "--line", "x"],
            &["--print-uid", "--max-args", "7", "--ppid", "1", "--print-cpu", "--print-pcomm"],
            &["-c", "/nope/nope", "-v"],
            &["--cgroup", "/nope/nope", "--verbose"],
        ],
    ),
    (
        "opensnoop",
        &[
            &["-T", "-U", "-x", "-p", "1", "-t", "1", "-u", "0", "-d", "10", "-n", "main", "-e", "-F", "-v"],
            &["-f", "O_WRONLY", "-f", "O_RDWR", "-b", "64"],
            &["--timestamp", "--print-uid", "--failed", "--pid", "1", "--tid", "1", "--uid", "0"],
            &["--duration", "10", "--name", "main", "--extended_fields", "--flag_filter", "O_WRONLY"],
            &["--extended-fields", "--full-path", "--buffer-pages", "64", "--verbose"],
        ],
    ),
    (
        "tcpconnect",
        &[
            &["-t", "-p", "181", "-P", "80,81", "-4", "-L", "-U", "-u", "1000", "-d", "-v"],
            &["-6", "-c", "-s"],
            &["--timestamp", "--pid", "1", "--port", "80", "--ipv4", "--lport", "--print-uid", "--uid", "0"],
            &["--ipv6", "--count", "--source-port", "--verbose"],
            &["--dns"],
        ],
    ),
    (
        "tcpaccept",
        &[
            &["-T", "-t", "-p", "1", "-P", "80,81", "-4"],
            &["--time", "--timestamp", "--pid", "1", "--port", "80", "--ipv6"],
        ],
    ),
    (
        "tcptracer",
        &[
            &["-t", "-p", "1", "-N", "4026531833", "-4", "-v", "-U", "-u", "0"],
            &[
                "--timestamp",
                "--pid",
                "1",
                "--netns",
                "1",
                "--ipv6",
                "--verbose",
                "--print-uid",
                "--uid",
                "0",
            ],
        ],
    ),
];

#[test]
fn options_of_the_peers_are_understood() {
    for (name, lines) in PEERS {
        let maps: &[[&str; 2]] = if name.starts_with("tcp") {
            &[["--cgroupmap", "--mntnsmap"], ["-C", "-M"]]
        } else {
            &[["--cgroupmap", "--mntnsmap"]]
        };
        for (options, [cgroup, mntns]) in
            lines.iter().flat_map(|line| maps.iter().map(move |map| (line, map)))
        {
            // A missing set is found when the options have been understood, and before anything else.
            let args = [*options, &[cgroup, "/nope/cgroup", mntns, "/nope/mntns"]].concat();
            let output = run(&mut command(name, &args));
            assert!(output.refused(1, name).contains("/nope/cgroup"), "{args:?}");
        }
    }
}

/// What no tracer takes, whatever it is.
const WRONG: [&[&str]; 33] = [
    &["--nope"],
    &["-Z"],
    &["word"],
    &["--", "word"],
    &["--pid", "abc"],
    &["--pid", "0"],
    &["--pid", "-1"],
    &["--pid", "+1"],
    &["--pid", "1.5"],
    &["--pid", "0x10"],
    &["--pid", "4294967296"],
    &["--pid", "99999999999"],
    &["--pid="],
    &["--pid"],
    &["--pid", "1", "--pid", "2"],
    &["--uid", "-1"],
    &["--uid", "12x"],
    &["--uid", "4294967295"],
    &["--uid", "no-such-user-here"],
    &["--duration", "0"],
    &["--duration", "-1"],
    &["--duration", "1e3"],
    &["--duration", "nan"],
    &["--duration", ""],
    &["--max-events", "0"],
    &["--max-events", "many"],
    &["--buffer-size", "0"],
    &["--buffer-size", "3G"],
    &["--hook", "nope"],
    &["--errno"],
    &["--json", "--json"],
    &["--cgroupmap"],
    &["--container", "x", "--cgroup", "/x"],
];

#[test]
fn all_tracers_are_equally_strict() {
    // A hook is chosen when the sets are open and the kernel's types are read, for which one has to be root.
    let can_choose =
        nix::unistd::geteuid().is_root() && std::path::Path::new("/sys/kernel/btf/vmlinux").exists();
    for (name, _) in PEERS {
        for args in WRONG.iter().filter(|args| can_choose || args[0] != "--hook") {
            misused(name, args);
        }
    }
    for name in ["tcpconnect", "tcpaccept", "tcptracer"] {
        for args in
            [&["-4", "-6"][..], &["-N", ""], &["-N", "0"], &["-N", "/proc/self/ns/mnt"], &["-N", "/etc"]]
        {
            misused(name, args);
        }
    }
    for name in ["tcpconnect", "tcpaccept"] {
        for ports in ["", "0", "65536", "80,", "80-90", "http"] {
            misused(name, &["-P", ports]);
        }
    }
    for name in ["execsnoop", "opensnoop", "tcpconnect", "tcptracer"] {
        for size in ["0", "x", "4194305"] {
            misused(name, &["--table-size", size]);
        }
    }
}
