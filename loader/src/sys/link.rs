//! `BPF_LINK_CREATE`: one function for each kind of attachment, and whether the kernel knows the kind.
//!
//! What crosses: an attribute struct by exclusive reference, and inside it the addresses of slices that are borrowed for the
//! whole call and only read. As in [`super::bpf`], which makes the call.

#![expect(unsafe_code, reason = "the system call itself")]

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::bpf::{bpf, fd_u32, len_u32, read_ptr};
use super::uapi::cmd;
use super::{SysError, SysResult, attr, own_fd};
use crate::section::attach_type;

/// `BPF_LINK_CREATE` of a struct_ops map that was made with the flag `BPF_F_LINK` (6.4).
pub fn link_create_struct_ops(map: BorrowedFd<'_>) -> SysResult<OwnedFd> {
    const CALL: &str = "bpf(BPF_LINK_CREATE)";
    let mut attr = attr::LinkCreateMap {
        map_fd: fd_u32(map),
        attach_type: attach_type::STRUCT_OPS,
        ..Default::default()
    };
    // SAFETY: no pointers.
    let ret = unsafe { bpf(CALL, cmd::LINK_CREATE, &mut attr) }?;
    own_fd(CALL, ret)
}

/// `BPF_LINK_CREATE` of a tracing program (5.5 for some types, 5.18 for all), with a cookie (5.19) or 0.
pub fn link_create_tracing(program: BorrowedFd<'_>, attach_type: u32, cookie: u64) -> SysResult<OwnedFd> {
    const CALL: &str = "bpf(BPF_LINK_CREATE)";
    let mut attr = attr::LinkCreate { prog_fd: fd_u32(program), attach_type, cookie, ..Default::default() };
    // SAFETY: no pointers.
    let ret = unsafe { bpf(CALL, cmd::LINK_CREATE, &mut attr) }?;
    own_fd(CALL, ret)
}

/// `BPF_LINK_CREATE` of an iterator (5.8). `info` is a `union bpf_iter_link_info`: zeros for everything there is; what else it
/// may hold, the caller knows. A kernel whose union is shorter answers `E2BIG` if what it does not know is not zero.
pub fn link_create_iter(program: BorrowedFd<'_>, info: [u32; 4]) -> SysResult<OwnedFd> {
    const CALL: &str = "bpf(BPF_LINK_CREATE)";
    let everything = info == [0; 4];
    let mut attr = attr::LinkCreateIter {
        prog_fd: fd_u32(program),
        attach_type: attach_type::TRACE_ITER,
        iter_info: if everything { 0 } else { read_ptr(&info) },
        iter_info_len: if everything { 0 } else { 16 },
        ..Default::default()
    };
    const { assert!(size_of::<[u32; 4]>() == 16) };
    // SAFETY: the kernel reads 16 bytes at `iter_info` unless it is 0; they outlive the call.
    let ret = unsafe { bpf(CALL, cmd::LINK_CREATE, &mut attr) }?;
    own_fd(CALL, ret)
}

/// `BPF_LINK_CREATE` of one program on many kernel functions, by name (5.18, `CONFIG_FPROBE`). `attach_type` is that of
/// the program; one cookie for all, or none if it is 0.
pub fn link_create_kprobe_multi(
    program: BorrowedFd<'_>,
    attach_type: u32,
    symbols: &[&CStr],
    flags: u32,
    cookie: u64,
) -> SysResult<OwnedFd> {
    const CALL: &str = "bpf(BPF_LINK_CREATE)";
    let names: Vec<u64> = symbols.iter().map(|symbol| read_ptr(symbol.to_bytes_with_nul())).collect();
    let cookies = vec![cookie; if cookie == 0 { 0 } else { names.len() }];
    let mut attr = attr::LinkCreateKprobeMulti {
        prog_fd: fd_u32(program),
        attach_type,
        flags,
        cnt: len_u32(CALL, &names)?,
        syms: read_ptr(&names),
        cookies: read_ptr(&cookies),
        ..Default::default()
    };
    // SAFETY: the kernel reads cnt addresses at `syms` and each name up to its NUL, and cnt u64 at `cookies` unless it
    // is 0; all of them outlive the call.
    let ret = unsafe { bpf(CALL, cmd::LINK_CREATE, &mut attr) }?;
    own_fd(CALL, ret)
}

/// Many places of a file for one program.
#[derive(Clone, Copy, Debug)]
pub struct UprobeMulti<'a> {
    /// The file.
    pub path: &'a CStr,
    /// Bytes from the start of the file, by place.
    pub offsets: &'a [u64],
    /// By place, bytes from the start of the file to the 16-bit number that counts who listens, 0 for none; empty if no
    /// place has one.
    pub semaphores: &'a [u64],
    /// By place; empty for none.
    pub cookies: &'a [u64],
    /// `F_UPROBE_MULTI_*` of [`super::uapi`].
    pub flags: u32,
}

/// `BPF_LINK_CREATE` of one program on many places of a file (6.6).
pub fn link_create_uprobe_multi(
    program: BorrowedFd<'_>,
    attach_type: u32,
    places: UprobeMulti<'_>,
) -> SysResult<OwnedFd> {
    const CALL: &str = "bpf(BPF_LINK_CREATE)";
    let UprobeMulti { path, offsets, semaphores, cookies, flags } = places;
    if [semaphores, cookies].iter().any(|list| !list.is_empty() && list.len() != offsets.len()) {
        return Err(SysError { call: CALL, errno: libc::EINVAL });
    }
    let mut attr = attr::LinkCreateUprobeMulti {
        prog_fd: fd_u32(program),
        attach_type,
        path: read_ptr(path.to_bytes_with_nul()),
        offsets: read_ptr(offsets),
        ref_ctr_offsets: read_ptr(semaphores),
        cookies: read_ptr(cookies),
        cnt: len_u32(CALL, offsets)?,
        flags,
        ..Default::default()
    };
    // SAFETY: the kernel reads the path up to its NUL, cnt u64 at `offsets`, and as many at `ref_ctr_offsets` and `cookies`
    // unless these are 0; the lengths were compared above.
    let ret = unsafe { bpf(CALL, cmd::LINK_CREATE, &mut attr) }?;
    own_fd(CALL, ret)
}

/// `BPF_LINK_CREATE` of one program on many kernel functions, by their BTF ids (7.x), in the BTF that the program was loaded
/// for. One cookie for all, or none if it is 0.
pub fn link_create_tracing_multi(
    program: BorrowedFd<'_>,
    attach_type: u32,
    ids: &[u32],
    cookie: u64,
) -> SysResult<OwnedFd> {
    const CALL: &str = "bpf(BPF_LINK_CREATE)";
    let cookies = vec![cookie; if cookie == 0 { 0 } else { ids.len() }];
    let mut attr = attr::LinkCreateTracingMulti {
        prog_fd: fd_u32(program),
        attach_type,
        ids: read_ptr(ids),
        cookies: read_ptr(&cookies),
        cnt: len_u32(CALL, ids)?,
        ..Default::default()
    };
    // SAFETY: the kernel reads cnt u32 at `ids`, and cnt u64 at `cookies` unless it is 0; both outlive the call.
    let ret = unsafe { bpf(CALL, cmd::LINK_CREATE, &mut attr) }?;
    own_fd(CALL, ret)
}

/// Whether `BPF_LINK_CREATE` knows kprobe.multi (5.18), asked with the address of an array that cannot be read: a kernel that
/// knows answers `EFAULT`, one that does not `EINVAL`. `attach_type` is that of the program.
pub fn has_kprobe_multi(program: BorrowedFd<'_>, attach_type: u32) -> bool {
    let mut attr = attr::LinkCreateKprobeMulti {
        prog_fd: fd_u32(program),
        attach_type,
        cnt: 1,
        addrs: 1,
        ..Default::default()
    };
    // SAFETY: the kernel tries to read 8 bytes at `addrs`, where nothing is mapped, and answers `EFAULT`.
    let result = unsafe { bpf("bpf(BPF_LINK_CREATE)", cmd::LINK_CREATE, &mut attr) };
    !matches!(result, Err(SysError { errno: libc::EINVAL, .. }))
}

/// Whether `BPF_LINK_CREATE` knows uprobe.multi (6.6), asked with a directory in place of a binary: a kernel that knows
/// answers `EBADF`, one that does not `EINVAL`.
pub fn has_uprobe_multi(program: BorrowedFd<'_>, attach_type: u32) -> bool {
    let offset = [0];
    let mut attr = attr::LinkCreateUprobeMulti {
        prog_fd: fd_u32(program),
        attach_type,
        path: read_ptr(c"/".to_bytes_with_nul()),
        offsets: read_ptr(&offset),
        cnt: 1,
        ..Default::default()
    };
    // SAFETY: the kernel reads the path up to its NUL and one u64 at `offsets`.
    let result = unsafe { bpf("bpf(BPF_LINK_CREATE)", cmd::LINK_CREATE, &mut attr) };
    matches!(result, Err(SysError { errno: libc::EBADF, .. }))
}

/// Whether `BPF_LINK_CREATE` knows perf events (5.15), asked with a tracepoint program and no event: a kernel that knows
/// answers `EBADF`, one that does not `EINVAL`.
pub fn has_perf_links(tracepoint_program: BorrowedFd<'_>) -> bool {
    let mut attr = attr::LinkCreatePerf {
        prog_fd: fd_u32(tracepoint_program),
        target_fd: u32::MAX,
        attach_type: attach_type::PERF_EVENT,
        ..Default::default()
    };
    // SAFETY: no pointers.
    let result = unsafe { bpf("bpf(BPF_LINK_CREATE)", cmd::LINK_CREATE, &mut attr) };
    matches!(result, Err(SysError { errno: libc::EBADF, .. }))
}

/// `BPF_LINK_CREATE` of a program on a perf event (5.15).
pub fn link_create_perf(program: BorrowedFd<'_>, event: BorrowedFd<'_>, cookie: u64) -> SysResult<OwnedFd> {
    const CALL: &str = "bpf(BPF_LINK_CREATE)";
    let mut attr = attr::LinkCreatePerf {
        prog_fd: fd_u32(program),
        target_fd: fd_u32(event),
        attach_type: attach_type::PERF_EVENT,
        flags: 0,
        cookie,
    };
    // SAFETY: no pointers.
    let ret = unsafe { bpf(CALL, cmd::LINK_CREATE, &mut attr) }?;
    own_fd(CALL, ret)
}
