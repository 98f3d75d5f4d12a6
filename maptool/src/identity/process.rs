//! Processes as `/proc` shows them: which exist, their names, and the mount namespace each is in.
//!
//! In: `/proc`. Out: pids of this process's pid namespace. Processes that come and go during a walk are
//! passed over, as are those whose namespace may not be read (that needs ptrace rights over them).

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::{proc_path, read_bounded};

/// A process and its short name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The process id (the kernel's tgid).
    pub pid: u32,
    /// The name of its main thread: at most 15 bytes, chosen by the process, any bytes.
    pub comm: OsString,
}

/// All pids of `/proc`, in ascending order; empty if it is not mounted.
pub fn pids() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut pids: Vec<u32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

/// The short name of a process, if it still exists.
pub fn comm(pid: u32) -> Option<OsString> {
    let mut bytes = read_bounded(&proc_path(pid, "comm"), 64).ok()?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Some(OsString::from_vec(bytes))
}

/// Whether a process (not merely a thread) with this id exists.
pub fn exists(pid: u32) -> bool {
    proc_path(pid, "stat").exists()
}

/// The process that a thread belongs to, if it still exists; 0 stays 0.
pub fn of_thread(tid: u32) -> Option<u32> {
    if tid == 0 {
        return Some(0);
    }
    let status = read_bounded(&proc_path(tid, "status"), 1 << 16).ok()?;
    let line = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"Tgid:"))?;
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

/// At most `limit` of these processes, with their names.
pub fn named(pids: &[u32], limit: usize) -> Vec<Process> {
    pids.iter().filter_map(|&pid| comm(pid).map(|comm| Process { pid, comm })).take(limit).collect()
}

/// When a process started, in clock ticks since boot: with the pid it is one process for ever.
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = read_bounded(&proc_path(pid, "stat"), 4096).ok()?;
    // The name may hold anything; behind its last bracket come the third field and so on.
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// The inode number of a process's mount namespace, from the text of its `/proc/PID/ns/mnt` link: cheaper
/// than opening it. `None` if the process is gone, is exiting, or may not be looked at.
pub fn mntns_inode(pid: u32) -> Option<u32> {
    let link = std::fs::read_link(proc_path(pid, "ns/mnt")).ok()?;
    parse_ns_link(link.as_os_str().as_bytes())
}

/// `mnt:[4026531832]` -> 4026531832.
pub fn parse_ns_link(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(b"mnt:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Every process by mount namespace, in one walk of `/proc`.
#[derive(Debug, Default)]
pub struct ByMountNamespace {
    members: HashMap<u32, Vec<u32>>,
}

impl ByMountNamespace {
    /// Walks `/proc`. Threads that left their process's namespace are not seen.
    pub fn scan() -> Self {
        let mut members: HashMap<u32, Vec<u32>> = HashMap::new();
        for pid in pids() {
            if let Some(inode) = mntns_inode(pid) {
                members.entry(inode).or_default().push(pid);
            }
        }
        Self { members }
    }

    /// Leaves a process out, as a tool that shows processes does with its own.
    pub fn forget(&mut self, pid: u32) {
        for pids in self.members.values_mut() {
            pids.retain(|&member| member != pid);
        }
    }

    /// The pids in the namespace with this inode number, ascending.
    pub fn pids(&self, inode: u32) -> &[u32] {
        self.members.get(&inode).map_or(&[], Vec::as_slice)
    }

    /// At most `limit` of the processes in the namespace, with their names.
    pub fn processes(&self, inode: u32, limit: usize) -> Vec<Process> {
        named(self.pids(inode), limit)
    }
}

/// Whether this process has an effective capability, by its number in `linux/capability.h`.
pub fn has_capability(number: u32) -> bool {
    let Ok(status) = read_bounded(Path::new("/proc/self/status"), 1 << 16) else { return false };
    effective_capabilities(&status)
        .is_some_and(|mask| mask.checked_shr(number).is_some_and(|bit| bit & 1 == 1))
}

fn effective_capabilities(status: &[u8]) -> Option<u64> {
    let line = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"CapEff:"))?;
    u64::from_str_radix(std::str::from_utf8(line).ok()?.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_links_are_read_strictly() {
        assert_eq!(parse_ns_link(b"mnt:[4026531832]"), Some(4_026_531_832));
        for bad in
            [&b"net:[4026531832]"[..], b"mnt:[]", b"mnt:[4294967296]", b"mnt:[-1]", b"mnt:[1] (deleted)"]
        {
            assert_eq!(parse_ns_link(bad), None);
        }
    }

    #[test]
    fn own_process_is_found_in_its_own_namespace() {
        let own = std::process::id();
        let inode = mntns_inode(own).unwrap();
        let found = ByMountNamespace::scan();
        assert!(found.pids(inode).contains(&own));
        assert!(found.processes(inode, 3).len() <= 3);
        assert!(exists(own));
    }

    #[test]
    fn capabilities_are_read_as_hexadecimal() {
        let status = b"Name:\tx\nCapEff:\t0000008000000004\n";
        assert_eq!(effective_capabilities(status), Some((1 << 39) | (1 << 2)));
    }
}
