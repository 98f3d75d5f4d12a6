//! Numbers of the kernel's ABI that we use; names as in the headers, without the `BPF_` prefix where the
//! module says it. Map types and flags are in [`crate::spec::map`], program and attach types in
//! [`crate::section`], which need them without a kernel. No code. Sources: `include/uapi/linux/{bpf,perf_event,nsfs,magic}.h`.

/// Commands of `bpf(2)` (`enum bpf_cmd`).
pub mod cmd {
    #![allow(missing_docs, reason = "the names of enum bpf_cmd")]
    pub const MAP_CREATE: u32 = 0;
    pub const MAP_LOOKUP_ELEM: u32 = 1;
    pub const MAP_UPDATE_ELEM: u32 = 2;
    pub const MAP_DELETE_ELEM: u32 = 3;
    pub const MAP_GET_NEXT_KEY: u32 = 4;
    pub const PROG_LOAD: u32 = 5;
    pub const OBJ_PIN: u32 = 6;
    pub const OBJ_GET: u32 = 7;
    pub const PROG_TEST_RUN: u32 = 10;
    pub const MAP_GET_NEXT_ID: u32 = 12;
    pub const PROG_GET_FD_BY_ID: u32 = 13;
    pub const MAP_GET_FD_BY_ID: u32 = 14;
    pub const OBJ_GET_INFO_BY_FD: u32 = 15;
    pub const RAW_TRACEPOINT_OPEN: u32 = 17;
    pub const BTF_LOAD: u32 = 18;
    pub const BTF_GET_FD_BY_ID: u32 = 19;
    pub const MAP_LOOKUP_AND_DELETE_ELEM: u32 = 21;
    pub const MAP_FREEZE: u32 = 22;
    pub const BTF_GET_NEXT_ID: u32 = 23;
    pub const MAP_LOOKUP_BATCH: u32 = 24;
    pub const MAP_UPDATE_BATCH: u32 = 26;
    pub const MAP_DELETE_BATCH: u32 = 27;
    pub const LINK_CREATE: u32 = 28;
    pub const ITER_CREATE: u32 = 33;
    pub const PROG_BIND_MAP: u32 = 35;
    pub const TOKEN_CREATE: u32 = 36;
    /// Added to a command: a `struct bpf_common_attr` goes with it (7.x).
    pub const COMMON_ATTRS: u32 = 1 << 16;
}

/// `flags` of an update: `BPF_ANY`, `BPF_NOEXIST`, `BPF_EXIST`.
pub mod update {
    #![allow(missing_docs, reason = "the names of linux/bpf.h")]
    pub const ANY: u64 = 0;
    pub const NOEXIST: u64 = 1;
    pub const EXIST: u64 = 2;
}

/// `prog_flags`: the program may sleep.
pub const F_SLEEPABLE: u32 = 1 << 4;

/// `prog_flags`: the program handles multi-buffer XDP frames (5.18).
pub const F_XDP_HAS_FRAGS: u32 = 1 << 5;

/// `prog_flags` and `btf_flags`: a token stands for the privilege (6.9).
pub const F_TOKEN_FD: u32 = 1 << 16;

/// `kprobe_multi.flags`: at the return of the functions.
pub const F_KPROBE_MULTI_RETURN: u32 = 1;

/// `uprobe_multi.flags`: at the return of the functions.
pub const F_UPROBE_MULTI_RETURN: u32 = 1;

/// Longest object name, without the NUL.
pub const OBJ_NAME_LEN: usize = 15;

/// Ring buffer record header: the producer has not committed yet.
pub const RINGBUF_BUSY_BIT: u32 = 1 << 31;
/// Ring buffer record header: the producer gave the record up.
pub const RINGBUF_DISCARD_BIT: u32 = 1 << 30;
/// Size of the record header in bytes.
pub const RINGBUF_HDR_SIZE: usize = 8;

/// `perf_event_attr.type` of tracepoints.
pub const PERF_TYPE_TRACEPOINT: u32 = 2;

/// File system magic numbers (`linux/magic.h`).
pub mod magic {
    /// bpffs.
    pub const BPF_FS: u32 = 0xcafe_4a11;
    /// The v2 cgroup hierarchy.
    pub const CGROUP2: u32 = 0x6367_7270;
    /// A v1 cgroup hierarchy.
    pub const CGROUP: u32 = 0x0027_e0eb;
    /// tracefs.
    pub const TRACEFS: u32 = 0x7472_6163;
    /// Namespace files.
    pub const NSFS: u32 = 0x6e73_6673;
}

/// `FILEID_KERNFS`: the handle of a cgroup is its 64-bit kernfs id in host byte order (5.5).
pub const FILEID_KERNFS: i32 = 0xfe;

/// `NS_GET_NSTYPE`, `_IO(0xb7, 3)`: the flag of clone(2) that makes a namespace of this type (4.11).
pub const NS_GET_NSTYPE: u64 = 0xb703;
/// `NS_GET_MNTNS_ID`, `_IOR(0xb7, 5, __u64)`: the never-reused id of a mount namespace (6.11).
pub const NS_GET_MNTNS_ID: u64 = 0x8008_b705;

/// The mount namespace after this one, in the order of their ids: `_IOR(0xb7, 11, struct mnt_ns_info)` (6.12).
pub const NS_MNT_GET_NEXT: u64 = 0x8010_b70b;
/// The one before: `_IOR(0xb7, 12, struct mnt_ns_info)` (6.12).
pub const NS_MNT_GET_PREV: u64 = 0x8010_b70c;

/// `linux/fanotify.h`: what is asked of a group and of a mark.
pub mod fanotify {
    #![allow(missing_docs, reason = "the names of linux/fanotify.h")]
    pub const CLOEXEC: u32 = 0x1;
    pub const NONBLOCK: u32 = 0x2;
    pub const UNLIMITED_QUEUE: u32 = 0x10;
    /// Events name objects by file handle (5.1).
    pub const REPORT_FID: u32 = 0x200;
    /// Events name the directory by file handle (5.9).
    pub const REPORT_DIR_FID: u32 = 0x400;
    /// Events hold the name in the directory (5.9).
    pub const REPORT_NAME: u32 = 0x800;
    /// Events of a directory name the child by file handle, too (5.17).
    pub const REPORT_TARGET_FID: u32 = 0x1000;
    pub const MARK_ADD: u32 = 0x1;
    /// The whole file system (4.20).
    pub const MARK_FILESYSTEM: u32 = 0x100;
    pub const CREATE: u64 = 0x100;
    pub const DELETE: u64 = 0x200;
    pub const MOVED_FROM: u64 = 0x40;
    pub const MOVED_TO: u64 = 0x80;
    pub const Q_OVERFLOW: u64 = 0x4000;
    pub const ONDIR: u64 = 0x4000_0000;
    pub const METADATA_VERSION: u8 = 3;
    pub const INFO_FID: u8 = 1;
    pub const INFO_DFID_NAME: u8 = 2;
    pub const INFO_DFID: u8 = 3;
}
