//! Why the kernel said no: capabilities, user namespaces, lockdown, seccomp, security modules, the memlock limit.
//!
//! In: `/proc/self/{status,ns/user}`, `/sys/kernel/security/{lockdown,lsm}`. Out: one sentence for an error message. Nothing
//! here decides whether something is tried; the kernel is always asked first.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

use crate::error::{Error, ErrorKind};
use crate::spec::map::{map_flag, map_type};
use crate::sys::attr::MapCreate;
use crate::sys::bpf;

const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// What an operation needs besides being allowed by policy. `CAP_SYS_ADMIN` stands for either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Creating and opening maps.
    Maps,
    /// Loading and attaching tracing programs.
    Tracing,
}

/// Says why `error`, if it is one of permission, may have come; other errors pass unchanged.
#[must_use]
pub fn explain(error: Error, need: Need) -> Error {
    if error.kind() != ErrorKind::Permission || error.verifier_log().is_some() {
        return error;
    }
    let Some(status) = Status::read() else { return error };
    let reason = match missing(status.capabilities, need) {
        Some(missing) => format!("not permitted: this process lacks {missing}"),
        None if in_user_namespace() => {
            "not permitted: this process has its privileges in a user namespace only, and needs \
                                        them on the host (or a BPF token, from Linux 6.9 on)"
                .to_owned()
        }
        None => memlock(&status)
            .unwrap_or_else(|| format!("not permitted by this kernel's policy{}", suspects(&status))),
    };
    Error::new(ErrorKind::Permission, reason)
}

fn missing(held: u64, need: Need) -> Option<&'static str> {
    let has = |cap: u32| held & (1 << cap) != 0;
    if has(CAP_SYS_ADMIN) {
        return None;
    }
    match (need, has(CAP_BPF), has(CAP_PERFMON)) {
        (Need::Maps, true, _) | (Need::Tracing, true, true) => None,
        (Need::Maps, false, _) => Some("CAP_BPF (run it as root)"),
        (Need::Tracing, false, false) => Some("CAP_BPF and CAP_PERFMON (run it as root)"),
        (Need::Tracing, false, true) => Some("CAP_BPF"),
        (Need::Tracing, true, false) => Some("CAP_PERFMON"),
    }
}

/// What `/proc/self/status` says of this process.
#[derive(Clone, Copy, Debug, Default)]
struct Status {
    /// The effective ones, by number.
    capabilities: u64,
    /// Some system calls are filtered: containers forbid bpf(2) that way.
    seccomp: bool,
}

impl Status {
    fn read() -> Option<Self> {
        // In one piece: the length that the file tells is 0, so that reading it whole would begin with a few bytes.
        let file = BufReader::new(File::open("/proc/self/status").ok()?);
        Self::parse(file.lines().map_while(Result::ok))
    }

    /// None without a line of capabilities.
    fn parse(lines: impl Iterator<Item = String>) -> Option<Self> {
        let (mut capabilities, mut seccomp) = (None, false);
        for line in lines {
            match line.split_once(':') {
                Some(("CapEff", set)) => capabilities = u64::from_str_radix(set.trim(), 16).ok(),
                // 1 allows four calls, of which none is bpf(2); 2 is a filter.
                Some(("Seccomp", mode)) => seccomp = mode.trim() != "0",
                _ => {}
            }
        }
        Some(Self { capabilities: capabilities?, seccomp })
    }
}

/// Whether the capabilities of this process do not count for BPF, which is the host's.
fn in_user_namespace() -> bool {
    /// The inode number of the first user namespace (`PROC_USER_INIT_INO`).
    const HOST: &str = "user:[4026531837]";
    fs::read_link("/proc/self/ns/user").is_ok_and(|namespace| namespace.as_os_str() != HOST)
}

/// What the verifier's `log` means when lockdown is on: in the mode `confidentiality` the kernel withholds the helpers that
/// read its memory, and the verifier speaks of them as of helpers that do not exist.
pub(crate) fn withheld_helper(log: &str) -> Option<Error> {
    let missing = |line: &str| line.contains("unknown func") || line.contains("cannot use helper");
    let withheld = log.lines().any(|line| missing(line) && line.contains("bpf_probe_read"));
    let lockdown = if withheld { lockdown() } else { None };
    lockdown.map(|lockdown| {
        let reason = "programs may not read the kernel's memory";
        Error::new(
            ErrorKind::Permission,
            format!("not permitted by this kernel's policy ({lockdown}): {reason}"),
        )
    })
}

/// The lockdown mode, when it is on and can be read.
fn lockdown() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    let mode = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(mode, _)| mode)?;
    (mode != "none").then(|| format!("kernel lockdown is on: {mode}"))
}

/// The security modules that have a say about BPF, when they can be read.
fn security_modules() -> Option<String> {
    const ASKED: [&str; 5] = ["selinux", "apparmor", "smack", "tomoyo", "bpf"];
    let text = fs::read_to_string("/sys/kernel/security/lsm").ok()?;
    let asked: Vec<&str> = text.trim().split(',').filter(|name| ASKED.contains(name)).collect();
    (!asked.is_empty()).then(|| format!("security modules: {}", asked.join(", ")))
}

/// What may have said no, in brackets behind a space; empty if nothing is known that could.
fn suspects(status: &Status) -> String {
    let seccomp = status.seccomp.then(|| "a seccomp filter is on".to_owned());
    let known: Vec<String> = lockdown().into_iter().chain(seccomp).chain(security_modules()).collect();
    if known.is_empty() { String::new() } else { format!(" ({})", known.join("; ")) }
}

/// The limit on locked memory, when that may stand in the way: the smallest map is allowed, one that is larger than
/// the limit is not. Kernels from 5.11 on do not count maps, and allow both. Where not even the smallest is allowed, other
/// maps of the user may have used the limit up, or a policy forbids them all: it cannot be told from outside.
fn memlock(status: &Status) -> Option<String> {
    /// Larger limits are no obstacle to anybody.
    const LARGEST_TRIED: u64 = 64 << 20;
    const PAGE: u32 = 4096;
    let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    // Charged in full when it is made, where there is a charge; else next to nothing is allocated.
    let allowed = |value_size: u32, max_entries: u32| {
        let attr = MapCreate {
            map_type: map_type::HASH,
            key_size: 4,
            value_size,
            max_entries,
            map_flags: map_flag::NO_PREALLOC,
            ..Default::default()
        };
        bpf::map_create(attr).is_ok()
    };
    let above = u32::try_from(limit.min(LARGEST_TRIED) / u64::from(PAGE) + 1).ok()?;
    let kib = limit / 1024;
    if limit > LARGEST_TRIED || allowed(PAGE, above) {
        return None;
    }
    match allowed(8, 1) {
        true => Some(format!(
            "not permitted: this kernel counts maps as locked memory, of which this process may have {kib} KiB, and it \
             lacks CAP_SYS_RESOURCE to raise that (raise it before: ulimit -l unlimited)"
        )),
        false => Some(format!(
            "not permitted, by this kernel's policy{} or because before Linux 5.11 maps count as locked memory, of which \
             this user may have {kib} KiB (raise that: ulimit -l unlimited)",
            suspects(status)
        )),
    }
}

/// Raises `RLIMIT_MEMLOCK` to infinity. Kernels before 5.11 charge maps and programs to it and answer
/// `EPERM` at the default of 64 KiB. Returns whether there was something to raise and it worked.
pub fn raise_memlock() -> bool {
    match getrlimit(Resource::RLIMIT_MEMLOCK) {
        Ok((RLIM_INFINITY, _)) | Err(_) => false,
        Ok(_) => setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sys_admin_stands_for_everything_and_missing_ones_are_named() {
        assert_eq!(missing(1 << CAP_SYS_ADMIN, Need::Tracing), None);
        assert_eq!(missing(1 << CAP_BPF, Need::Maps), None);
        assert_eq!(missing(1 << CAP_BPF, Need::Tracing), Some("CAP_PERFMON"));
        assert!(missing(0, Need::Tracing).unwrap().contains("CAP_BPF and CAP_PERFMON"));
    }

    #[test]
    fn the_status_of_a_process_is_read() {
        let parse = |text: &str| Status::parse(text.lines().map(str::to_owned));
        let status =
            parse("Name:\tx\nCapEff:\t000001ffffffffff\nSeccomp:\t2\nSeccomp_filters:\t1\n").unwrap();
        assert_eq!((status.capabilities, status.seccomp), (0x1ff_ffff_ffff, true));
        assert!(!parse("CapEff:\t0\nSeccomp:\t0\n").unwrap().seccomp);
        assert!(parse("CapPrm:\t0\nCapEff:\tx\n").is_none());
    }

    #[test]
    fn other_errors_pass_unchanged() {
        let error = explain(Error::not_found("x"), Need::Maps);
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.to_string(), "x");
    }
}
