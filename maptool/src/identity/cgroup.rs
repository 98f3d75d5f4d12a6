//! The cgroup v2 id of a directory or task, and the way back from an id to a path.
//!
//! The id is the 64-bit kernfs id of the directory, the number that `bpf_get_current_cgroup_id()` gives
//! (4.18). It is the same in every cgroup namespace, and never given twice in practice: the low half
//! counts through all 2^32 values, the high half counts the wraps (5.5).
//!
//! In: paths, `/proc/PID/cgroup`, mountinfo. Out: ids and paths. cgroup v1 hierarchies count their own ids,
//! which collide with the v2 ones: a v1 path is always refused.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::DirEntryExt;
use std::path::{Component, Path, PathBuf};

use loader::sys::fs::{FileHandle, file_handle, open_by_handle};
use loader::sys::uapi::FILEID_KERNFS;
use loader::{Error, Result, ResultExt};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{AccessFlags, faccessat};

use super::mounts::{self, Mount};
use super::{proc_path, process, read_bounded};
use crate::filesystem::{self, magic};
use crate::text;

/// The id of the root of the v2 hierarchy since Linux 5.5.
pub const ROOT_ID: u64 = 1;

/// At most this many directories are looked at when ids cannot be opened directly.
const WALK_LIMIT: usize = 1 << 20;

/// Four million pids of seven digits.
const PROCS_LIMIT: u64 = 32 << 20;

/// The id of the cgroup v2 directory at `path`; symbolic links are followed.
///
/// One object is opened and then only that is asked, so no other directory can slip in between.
///
/// # Errors
/// `NotFound`: nothing there. `Incompatible`: a file, a cgroup v1 directory, or a directory of
/// another file system. `Permission`.
pub fn id_of_path(path: &Path) -> Result<u64> {
    open_directory(path)
        .and_then(|directory| id_of_directory(directory.as_fd()))
        .with_context(|| format!("cgroup `{}`", text::path(path)))
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|errno| match errno as i32 {
        libc::ENOENT if path.is_symlink() => Error::not_found("a symbolic link to nothing"),
        libc::ENOENT => Error::not_found("not found"),
        libc::ENOTDIR if path.exists() => Error::incompatible("found a file, expected a cgroup v2 directory"),
        libc::ENOTDIR => Error::not_found("not found: a part of the path is a file"),
        other => Error::os("", other),
    })
}

fn id_of_directory(directory: BorrowedFd<'_>) -> Result<u64> {
    match filesystem::of_fd(directory)? {
        magic::CGROUP2 => {}
        other => {
            let found = filesystem::name(other);
            return Err(Error::incompatible(format!(
                "found a directory on {found}, expected one on cgroup2"
            )));
        }
    }
    // One that was removed while it is open, or is somebody's working directory, still has its id.
    if let Err(Errno::ENOENT | Errno::ENODEV | Errno::ESTALE) =
        faccessat(directory, "cgroup.procs", AccessFlags::F_OK, AtFlags::empty())
    {
        return Err(Error::not_found("it was removed"));
    }
    let handle = file_handle(directory).map_err(Error::from)?;
    match <[u8; 8]>::try_from(handle.payload.as_slice()) {
        Ok(id) => Ok(u64::from_ne_bytes(id)),
        Err(_) => Err(Error::invalid(format!(
            "the kernel gave a file handle of type {:#x} with {} bytes, expected 8 bytes",
            handle.handle_type,
            handle.payload.len()
        ))),
    }
}

/// The directory under which this process sees the v2 hierarchy.
#[derive(Clone, Debug)]
pub struct Hierarchy {
    mount: Mount,
}

impl Hierarchy {
    /// Finds the cgroup2 mount; one of the whole hierarchy is preferred to one of a part.
    ///
    /// # Errors
    /// `NotSupported`: none is mounted.
    pub fn find() -> Result<Self> {
        let candidates = mounts::own()?.into_iter().filter(|mount| mount.fs_type == "cgroup2");
        let (whole, parts): (Vec<Mount>, _) = candidates.partition(|mount| mount.root == Path::new("/"));
        whole
            .into_iter()
            .chain(parts)
            // Another mount may lie on top of it.
            .find(|mount| id_of_path(&mount.mount_point).is_ok())
            .map(|mount| Self { mount })
            .ok_or_else(|| Error::not_supported("mounted cgroup v2 hierarchy", ""))
    }

    /// Its mount point.
    pub fn mount_point(&self) -> &Path {
        &self.mount.mount_point
    }

    /// The directory of a cgroup that `/proc/PID/cgroup` calls `path`; both that and the mount's root are
    /// relative to this process's cgroup namespace. `None` if it lies outside of the mount.
    fn directory_of(&self, path: &Path) -> Option<PathBuf> {
        let below = path.strip_prefix(&self.mount.root).ok()?;
        below.components().all(|part| matches!(part, Component::Normal(_))).then(|| {
            if below.as_os_str().is_empty() {
                self.mount.mount_point.clone()
            } else {
                self.mount.mount_point.join(below)
            }
        })
    }

    /// The directory whose `cgroup.procs` names the process. Needed where the mount begins above this process's
    /// cgroup namespace: paths of one then do not lead to directories of the other.
    fn search(&self, pid: u32) -> Option<PathBuf> {
        if !self.mount.root.starts_with("/..") {
            return None;
        }
        let line = pid.to_string();
        let holds = |directory: &Path| {
            read_bounded(&directory.join("cgroup.procs"), PROCS_LIMIT)
                .is_ok_and(|procs| procs.split(|&byte| byte == b'\n').any(|pid| pid == line.as_bytes()))
        };
        Walk::new(&self.mount.mount_point).map(|(_, directory)| directory).find(|directory| holds(directory))
    }
}

/// How the host uses cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostMode {
    /// Only v2 is mounted.
    Unified,
    /// v1 controllers, and v2 beside them.
    Hybrid,
    /// Only v1.
    Legacy,
    /// No cgroup file system is mounted here.
    Unmounted,
}

/// The mode, from this process's mounts.
///
/// # Errors
/// `/proc` cannot be read.
pub fn host_mode() -> Result<HostMode> {
    Ok(mode_of(&mounts::own()?))
}

fn mode_of(mounts: &[Mount]) -> HostMode {
    let mounted = |fs_type: &str| mounts.iter().any(|mount| mount.fs_type == fs_type);
    match (mounted("cgroup2"), mounted("cgroup")) {
        (true, false) => HostMode::Unified,
        (true, true) => HostMode::Hybrid,
        (false, true) => HostMode::Legacy,
        (false, false) => HostMode::Unmounted,
    }
}

/// Why cgroup sets cannot tell tasks apart on this host, or `None` if they can: with v1 in use, tasks may all
/// sit in the root of v2, so that every task has the same id.
pub fn why_ids_are_useless() -> Option<String> {
    let mode = match host_mode() {
        Ok(HostMode::Hybrid) => "v1 and v2 side by side",
        Ok(HostMode::Legacy) => return Some("cgroup v2 is not mounted on this host, only v1".to_owned()),
        Ok(HostMode::Unified | HostMode::Unmounted) | Err(_) => return None,
    };
    let hierarchy = Hierarchy::find().ok()?;
    if any_child_has_tasks(hierarchy.mount_point()) {
        return None;
    }
    Some(format!(
        "this host has cgroup {mode}, and all tasks sit in the v2 root `{}`",
        text::path(hierarchy.mount_point())
    ))
}

/// `populated` in cgroup.events covers a cgroup's whole subtree, so one level is enough.
fn any_child_has_tasks(root: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(root) else { return true };
    entries.flatten().take(WALK_LIMIT).any(|entry| {
        read_bounded(&entry.path().join("cgroup.events"), 4096)
            .is_ok_and(|events| events.split(|&byte| byte == b'\n').any(|line| line == b"populated 1"))
    })
}

/// One line of `/proc/PID/cgroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// 0 for v2.
    pub hierarchy: u32,
    /// v1 controllers, or `name=...`; empty for v2.
    pub controllers: String,
    /// The cgroup, relative to the reader's cgroup namespace; begins with `/..` outside of it.
    pub path: PathBuf,
}

/// Parses `/proc/PID/cgroup`; lines of another form are passed over.
pub fn parse_memberships(text: &[u8]) -> Vec<Membership> {
    text.split(|&byte| byte == b'\n')
        .filter_map(|line| {
            let mut fields = line.splitn(3, |&byte| byte == b':');
            let hierarchy = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
            let controllers = String::from_utf8_lossy(fields.next()?).into_owned();
            let path = PathBuf::from(std::ffi::OsString::from_vec(fields.next()?.to_vec()));
            Some(Membership { hierarchy, controllers, path })
        })
        .collect()
}

/// The cgroups of a process, in all hierarchies: that of v2 first.
///
/// # Errors
/// `NotFound`: no such process.
pub fn memberships(pid: u32) -> Result<Vec<Membership>> {
    match read_bounded(&proc_path(pid, "cgroup"), 1 << 20) {
        Ok(text) => {
            let mut found = parse_memberships(&text);
            found.sort_by_cached_key(|membership| u64::from(membership.hierarchy));
            Ok(found)
        }
        Err(_) if !process::exists(pid) => Err(Error::not_found(format!("no process {pid}"))),
        Err(error) => Err(error.context(format!("cgroup of process {pid}"))),
    }
}

/// The v2 cgroup of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskCgroup {
    /// Its id.
    pub id: u64,
    /// Its directory.
    pub directory: PathBuf,
}

impl TaskCgroup {
    /// Whether it is the root of the v2 hierarchy, where a host that uses v1 leaves every task.
    pub fn is_root(&self) -> bool {
        self.id == ROOT_ID
    }
}

/// The v2 cgroup that a process is in.
///
/// # Errors
/// `NotFound`: no such process, its cgroup was removed, or lies outside of what this process sees.
/// `NotSupported`: no v2 hierarchy.
pub fn of_process(pid: u32) -> Result<TaskCgroup> {
    let memberships = memberships(pid)?;
    let hierarchy = Hierarchy::find()?;
    let directory = directory_of_task(&hierarchy, pid, &memberships)?;
    let id = id_of_path(&directory).with_context(|| format!("process {pid}"))?;
    Ok(TaskCgroup { id, directory })
}

/// The directory of a process's v2 cgroup.
///
/// # Errors
/// `NotFound`: it lies outside of what this process sees. `NotSupported`: the process has no v2 cgroup.
pub fn directory_of_task(hierarchy: &Hierarchy, pid: u32, memberships: &[Membership]) -> Result<PathBuf> {
    let path = memberships
        .iter()
        .find(|membership| membership.hierarchy == 0)
        .map(|membership| membership.path.as_path())
        .ok_or_else(|| Error::not_supported("cgroup v2", "4.5"))?;
    hierarchy.directory_of(path).or_else(|| hierarchy.search(pid)).ok_or_else(|| {
        Error::not_found(format!(
            "cgroup `{}` of process {pid} lies outside of `{}`, the part of the hierarchy seen from here",
            text::path(path),
            text::path(hierarchy.mount_point())
        ))
    })
}

/// What an id stands for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A cgroup at this path.
    Directory(PathBuf),
    /// No cgroup has this id: it was removed, or never was.
    Gone,
    /// It may exist, but not under the cgroup2 mount of this process.
    OutsideView,
}

/// Turns ids into paths.
#[derive(Debug)]
pub struct Resolver {
    hierarchy: Hierarchy,
    /// The mount's own directory, opened for reading: what `open_by_handle_at` wants.
    root: File,
    root_id: u64,
    /// Filled when the kernel does not let this process open by id.
    walked: Option<HashMap<u64, PathBuf>>,
}

impl Resolver {
    /// Opens the v2 hierarchy.
    ///
    /// # Errors
    /// As [`Hierarchy::find`]; `Permission`.
    pub fn new() -> Result<Self> {
        let hierarchy = Hierarchy::find()?;
        let root_id = id_of_path(hierarchy.mount_point())?;
        let root = File::open(hierarchy.mount_point()).map_err(|error| {
            Error::io("open", error).context(format!("cgroup `{}`", text::path(hierarchy.mount_point())))
        })?;
        Ok(Self { hierarchy, root, root_id, walked: None })
    }

    /// The id of the top of what this process sees.
    pub fn root_id(&self) -> u64 {
        self.root_id
    }

    /// Whether ids had to be looked for in the whole tree.
    pub fn walks(&self) -> bool {
        self.walked.is_some()
    }

    /// Where the cgroup with this id is. One `open_by_handle_at` (needs CAP_DAC_READ_SEARCH); without the
    /// privilege, the tree is walked once and remembered.
    pub fn locate(&mut self, id: u64) -> Location {
        if let Some(walked) = &self.walked {
            return self.found_by_walk(walked.get(&id));
        }
        match open_by_handle(self.root.as_fd(), &kernfs_handle(id)) {
            Ok(fd) => self.location_of(id, &fd),
            Err(error) if matches!(error.errno, libc::ESTALE | libc::ENOENT) => Location::Gone,
            Err(_) => {
                let mut walked: HashMap<u64, PathBuf> = Walk::new(self.hierarchy.mount_point()).collect();
                walked.insert(self.root_id, self.hierarchy.mount_point().to_owned());
                let location = self.found_by_walk(walked.get(&id));
                self.walked = Some(walked);
                location
            }
        }
    }

    fn found_by_walk(&self, found: Option<&PathBuf>) -> Location {
        match found {
            Some(path) => Location::Directory(path.clone()),
            None if self.root_id == ROOT_ID => Location::Gone,
            None => Location::OutsideView,
        }
    }

    fn location_of(&self, id: u64, fd: &OwnedFd) -> Location {
        // The files in a cgroup have ids of the same series.
        let is_directory = fstat(fd).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR);
        if !is_directory {
            return Location::Gone;
        }
        let link = Path::new("/proc/self/fd").join(fd.as_raw_fd().to_string());
        let Ok(path) = std::fs::read_link(link) else { return Location::OutsideView };
        // A cgroup above the mount's root comes back as `/`: the path then leads to another id.
        match id_of_path(&path) {
            Ok(found) if found == id => Location::Directory(path),
            _ if path.as_os_str().as_bytes().ends_with(b" (deleted)") => Location::Gone,
            _ => Location::OutsideView,
        }
    }
}

fn kernfs_handle(id: u64) -> FileHandle {
    FileHandle { handle_type: FILEID_KERNFS, payload: id.to_ne_bytes().to_vec() }
}

/// The processes in a cgroup, or in its whole subtree, ascending; one of another pid namespace is 0. `None`: they may not be
/// read, or the cgroup is gone.
pub fn processes(directory: &Path, subtree: bool) -> Option<Vec<u32>> {
    if !subtree {
        return processes_in(directory);
    }
    // Most cgroups are empty, and one file tells that of a subtree; the root has no such file.
    if read_bounded(&directory.join("cgroup.events"), 4096)
        .is_ok_and(|events| events.split(|&byte| byte == b'\n').any(|line| line == b"populated 0"))
    {
        return Some(Vec::new());
    }
    let mut pids = processes_in(directory)?;
    pids.extend(directories(directory).skip(1).filter_map(|below| processes_in(&below)).flatten());
    pids.sort_unstable();
    // Threads of one process may be in several threaded cgroups.
    pids.dedup_by(|one, other| one == other && *one != 0);
    Some(pids)
}

fn processes_in(directory: &Path) -> Option<Vec<u32>> {
    let numbers = |file: &str| {
        let text = read_bounded(&directory.join(file), PROCS_LIMIT)?;
        let lines = text.split(|&byte| byte == b'\n');
        Ok(lines.filter_map(|line| std::str::from_utf8(line).ok()?.parse().ok()).collect::<Vec<u32>>())
    };
    let mut pids = numbers("cgroup.procs").or_else(|error: Error| match error.errno() {
        // A threaded cgroup has threads only.
        Some(libc::EOPNOTSUPP) => {
            numbers("cgroup.threads").map(|tids| tids.into_iter().filter_map(process::of_thread).collect())
        }
        _ => Err(error),
    });
    if let Ok(pids) = &mut pids {
        pids.sort_unstable();
        pids.dedup_by(|one, other| one == other && *one != 0);
    }
    pids.ok()
}

/// All cgroup directories at and below `top`, a bounded number of them.
pub fn directories(top: &Path) -> impl Iterator<Item = PathBuf> {
    Walk::new(top).map(|(_, directory)| directory)
}

/// The directories below `top`, each with its inode number, which is the id on 64-bit kernels since 5.5; at
/// most [`WALK_LIMIT`] of them. `top` itself comes first, with the number 0.
struct Walk {
    open: Vec<(u64, PathBuf)>,
    seen: usize,
}

impl Walk {
    fn new(top: &Path) -> Self {
        Self { open: vec![(0, top.to_owned())], seen: 1 }
    }
}

impl Iterator for Walk {
    type Item = (u64, PathBuf);

    fn next(&mut self) -> Option<Self::Item> {
        let (id, directory) = self.open.pop()?;
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            if self.seen < WALK_LIMIT && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.seen += 1;
                self.open.push((entry.ino(), entry.path()));
            }
        }
        Some((id, directory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hierarchy(root: &str, mount_point: &str) -> Hierarchy {
        Hierarchy {
            mount: Mount {
                root: root.into(),
                mount_point: mount_point.into(),
                fs_type: "cgroup2".into(),
                super_options: "rw".into(),
            },
        }
    }

    #[test]
    fn a_task_path_is_joined_to_the_mount_point() {
        let whole = hierarchy("/", "/sys/fs/cgroup");
        assert_eq!(whole.directory_of(Path::new("/a/b")).unwrap(), Path::new("/sys/fs/cgroup/a/b"));
        assert_eq!(whole.directory_of(Path::new("/")).unwrap(), Path::new("/sys/fs/cgroup"));
    }

    #[test]
    fn a_mount_of_a_part_takes_its_root_off() {
        let part = hierarchy("/docker/x", "/sys/fs/cgroup");
        assert_eq!(part.directory_of(Path::new("/docker/x/y")).unwrap(), Path::new("/sys/fs/cgroup/y"));
        assert_eq!(part.directory_of(Path::new("/docker/other")), None);
    }

    #[test]
    fn a_path_outside_of_the_cgroup_namespace_is_not_joined() {
        let whole = hierarchy("/", "/sys/fs/cgroup");
        assert_eq!(whole.directory_of(Path::new("/../..")), None);
        assert_eq!(whole.directory_of(Path::new("/a/../../b")), None);
        let above = hierarchy("/..", "/sys/fs/cgroup");
        assert_eq!(
            above.directory_of(Path::new("/../sibling")).unwrap(),
            Path::new("/sys/fs/cgroup/sibling")
        );
    }

    #[test]
    fn memberships_keep_colons_in_names_and_pass_over_garbage() {
        let text = b"9:name=systemd:/x\n4:cpu,cpuacct:/a:b\nnonsense\n0::/k.slice:cri-containerd:1\n";
        let parsed = parse_memberships(text);
        assert_eq!(parsed.len(), 3);
        assert_eq!(parsed[1].controllers, "cpu,cpuacct");
        assert_eq!(parsed[1].path, Path::new("/a:b"));
        assert_eq!(parsed[2].hierarchy, 0);
        assert_eq!(parsed[2].path, Path::new("/k.slice:cri-containerd:1"));
    }

    #[test]
    fn the_mode_follows_from_what_is_mounted() {
        let mount = |fs_type: &str| Mount { fs_type: fs_type.into(), ..hierarchy("/", "/x").mount };
        assert_eq!(mode_of(&[mount("cgroup2"), mount("ext4")]), HostMode::Unified);
        assert_eq!(mode_of(&[mount("cgroup2"), mount("cgroup")]), HostMode::Hybrid);
        assert_eq!(mode_of(&[mount("cgroup")]), HostMode::Legacy);
        assert_eq!(mode_of(&[mount("tmpfs")]), HostMode::Unmounted);
    }

    #[test]
    fn what_is_no_cgroup_has_no_id() {
        let kind = |path: &str| id_of_path(Path::new(path)).unwrap_err().kind();
        assert_eq!(kind("/etc"), loader::ErrorKind::Incompatible);
        assert_eq!(kind("/etc/passwd"), loader::ErrorKind::Incompatible);
        assert_eq!(kind("/etc/passwd/x"), loader::ErrorKind::NotFound);
        assert_eq!(kind("/no/such/path"), loader::ErrorKind::NotFound);
    }
}
