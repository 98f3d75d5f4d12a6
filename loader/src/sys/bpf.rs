//! `bpf(2)`, one function per command.
//!
//! What crosses: an attribute struct by exclusive reference (the kernel reads it, and for some commands
//! writes answers into it), and inside it the addresses of slices. Each function makes those addresses
//! itself from slices it has borrowed for the whole call: shared ones where the kernel only reads,
//! exclusive ones where it writes, and it checks the length that the kernel will assume.

#![expect(unsafe_code, reason = "the system call itself")]

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::attr::{self, Attr};
use super::uapi::cmd;
use super::{SysError, SysResult, check, own_fd};
use crate::spec::map::map_flag;

/// Makes the call. Safe callers are only in this file: they guarantee that every address inside `attr` is
/// valid for the length the command implies, for reading or for writing.
///
/// # Safety
/// Every pointer field of `attr` that `command` uses must be 0 or point to memory that stays valid during
/// the call, is as long as the command and the map's sizes imply, and is exclusively borrowed when the
/// kernel writes through it.
pub(super) unsafe fn bpf<T: Attr>(call: &'static str, command: u32, attr: &mut T) -> SysResult<libc::c_long> {
    loop {
        // SAFETY: the kernel reads, and may write, at most `size_of::<T>()` bytes of `attr`, which is made
        // from `&mut` and whose every byte is an initialised integer (`Attr`). The pointers inside are
        // the caller's promise. The kernel keeps none of them after the call.
        let ret = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
        match check(call, ret) {
            Err(SysError { errno: libc::EINTR, .. }) => {}
            other => return other,
        }
    }
}

pub(super) fn read_ptr<T>(slice: &[T]) -> u64 {
    if slice.is_empty() { 0 } else { slice.as_ptr().addr() as u64 }
}

pub(super) fn write_ptr<T>(slice: &mut [T]) -> u64 {
    if slice.is_empty() { 0 } else { slice.as_mut_ptr().addr() as u64 }
}

pub(super) fn len_u32<T>(call: &'static str, slice: &[T]) -> SysResult<u32> {
    u32::try_from(slice.len()).map_err(|_| SysError { call, errno: libc::E2BIG })
}

/// The number of an fd as attribute fields hold it; an open fd is never negative.
pub fn fd_u32(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// `BPF_MAP_CREATE`.
pub fn map_create(mut attr: attr::MapCreate) -> SysResult<OwnedFd> {
    const CALL: &str = "bpf(BPF_MAP_CREATE)";
    // SAFETY: no pointers.
    let ret = unsafe { bpf(CALL, cmd::MAP_CREATE, &mut attr) }?;
    own_fd(CALL, ret)
}

/// As [`map_create`], with memory where the kernel may write why it refused (7.x). Older kernels know no such command, answer
/// `EINVAL` and write nothing.
pub fn map_create_logged(mut attr: attr::MapCreate, log: &mut [u8]) -> SysResult<OwnedFd> {
    const CALL: &str = "bpf(BPF_MAP_CREATE)";
    let mut common = attr::CommonAttr {
        log_buf: write_ptr(log),
        log_size: len_u32(CALL, log)?,
        log_level: 1,
        ..Default::default()
    };
    // SAFETY: the kernel reads, and may write, at most the sizes given of `attr` and `common`, both made from `&mut` and
    // plain integers (`Attr`); it writes at most log_size bytes at `log_buf`, which is exclusively borrowed and that long. It
    // keeps none of them after the call.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            cmd::MAP_CREATE | cmd::COMMON_ATTRS,
            std::ptr::from_mut(&mut attr),
            size_of::<attr::MapCreate>(),
            std::ptr::from_mut(&mut common),
            size_of::<attr::CommonAttr>(),
        )
    };
    own_fd(CALL, check(CALL, ret)?)
}

/// The geometry that decides how many bytes the kernel reads and writes for a key and a value.
#[derive(Clone, Copy, Debug)]
pub struct MapShape {
    /// Bytes of a key.
    pub key_size: usize,
    /// Bytes of a value as user space sees it: for per-CPU maps, 8-byte-rounded and times the possible CPUs.
    pub value_size: usize,
}

/// A map and its geometry, for element commands. The geometry was read from the kernel
/// ([`map_info`]), so slices of these lengths are exactly what the kernel touches.
#[derive(Clone, Copy, Debug)]
pub struct MapRef<'fd> {
    /// The map.
    pub fd: BorrowedFd<'fd>,
    /// Its geometry.
    pub shape: MapShape,
}

fn exact(call: &'static str, len: usize, expected: usize) -> SysResult<()> {
    if len == expected { Ok(()) } else { Err(SysError { call, errno: libc::EINVAL }) }
}

/// `BPF_MAP_LOOKUP_ELEM`: copies the value of `key` into `value`.
pub fn map_lookup(map: MapRef<'_>, key: &[u8], value: &mut [u8]) -> SysResult<()> {
    const CALL: &str = "bpf(BPF_MAP_LOOKUP_ELEM)";
    exact(CALL, key.len(), map.shape.key_size)?;
    exact(CALL, value.len(), map.shape.value_size)?;
    let mut attr = attr::MapElem {
        map_fd: fd_u32(map.fd),
        key: read_ptr(key),
        value: write_ptr(value),
        ..Default::default()
    };
    // SAFETY: the kernel reads key_size bytes at `key` and writes value_size bytes at `value`; both lengths
    // were compared with the map's geometry, and both slices are borrowed until after the call.
    unsafe { bpf(CALL, cmd::MAP_LOOKUP_ELEM, &mut attr) }.map(drop)
}

/// `BPF_MAP_UPDATE_ELEM`; `flags` from [`super::uapi::update`].
pub fn map_update(map: MapRef<'_>, key: &[u8], value: &[u8], flags: u64) -> SysResult<()> {
    const CALL: &str = "bpf(BPF_MAP_UPDATE_ELEM)";
    exact(CALL, key.len(), map.shape.key_size)?;
    exact(CALL, value.len(), map.shape.value_size)?;
    let mut attr = attr::MapElem {
        map_fd: fd_u32(map.fd),
        key: read_ptr(key),
        value: read_ptr(value),
        flags,
        ..Default::default()
    };
    // SAFETY: the kernel only reads key_size and value_size bytes; lengths checked above.
    unsafe { bpf(CALL, cmd::MAP_UPDATE_ELEM, &mut attr) }.map(drop)
}

/// `BPF_MAP_DELETE_ELEM`.
pub fn map_delete(map: MapRef<'_>, key: &[u8]) -> SysResult<()> {
    const CALL: &str = "bpf(BPF_MAP_DELETE_ELEM)";
    exact(CALL, key.len(), map.shape.key_size)?;
    let mut attr = attr::MapElem { map_fd: fd_u32(map.fd), key: read_ptr(key), ..Default::default() };
    // SAFETY: the kernel only reads key_size bytes at `key`; length checked above.
    unsafe { bpf(CALL, cmd::MAP_DELETE_ELEM, &mut attr) }.map(drop)
}

/// `BPF_MAP_GET_NEXT_KEY`: the key after `key`, or the first; `ENOENT` at the end.
pub fn map_next_key(map: MapRef<'_>, key: Option<&[u8]>, next: &mut [u8]) -> SysResult<()> {
    const CALL: &str = "bpf(BPF_MAP_GET_NEXT_KEY)";
    exact(CALL, next.len(), map.shape.key_size)?;
    if let Some(key) = key {
        exact(CALL, key.len(), map.shape.key_size)?;
    }
    let mut attr = attr::MapElem {
        map_fd: fd_u32(map.fd),
        key: key.map_or(0, read_ptr),
        value: write_ptr(next),
        ..Default::default()
    };
    // SAFETY: the kernel reads key_size bytes at `key` (or nothing, if 0) and writes key_size bytes at `next`;
    // lengths checked above.
    unsafe { bpf(CALL, cmd::MAP_GET_NEXT_KEY, &mut attr) }.map(drop)
}

/// Whether `fd` is a map at all: asks for a next key without giving memory for it. Anything but a map
/// answers `EINVAL`; a map answers `EFAULT`, `ENOENT`, `EPERM` (write-only fd) or 524 (no iteration).
pub fn is_map(fd: BorrowedFd<'_>) -> bool {
    let mut attr = attr::MapElem { map_fd: fd_u32(fd), ..Default::default() };
    // SAFETY: both pointers are null; the kernel answers EFAULT rather than write there.
    let result = unsafe { bpf("bpf(BPF_MAP_GET_NEXT_KEY)", cmd::MAP_GET_NEXT_KEY, &mut attr) };
    !matches!(result, Err(SysError { errno: libc::EINVAL | libc::EBADF, .. }))
}

/// `BPF_MAP_FREEZE`: no more writes from user space.
pub fn map_freeze(map: BorrowedFd<'_>) -> SysResult<()> {
    let mut attr = attr::MapFd { map_fd: fd_u32(map) };
    // SAFETY: no pointers.
    unsafe { bpf("bpf(BPF_MAP_FREEZE)", cmd::MAP_FREEZE, &mut attr) }.map(drop)
}

/// How far a batch came: the elements that were really processed, and how it ended.
#[derive(Clone, Copy, Debug)]
pub struct BatchResult {
    /// Elements processed, from the start of the slices.
    pub count: usize,
    /// `Ok` when all that was asked was done.
    pub result: SysResult<()>,
}

fn batch_len(call: &'static str, slice: usize, element: usize) -> SysResult<u32> {
    if element == 0 || !slice.is_multiple_of(element) {
        return Err(SysError { call, errno: libc::EINVAL });
    }
    u32::try_from(slice / element).map_err(|_| SysError { call, errno: libc::E2BIG })
}

fn run_batch(call: &'static str, command: u32, mut attr: attr::MapBatch) -> BatchResult {
    let asked = attr.count;
    // SAFETY: the three callers below checked the lengths of what `attr` points to, and borrow it during the
    // call.
    let result = unsafe { bpf(call, command, &mut attr) }.map(drop);
    // A call that was refused before it began leaves `count` as it was asked.
    let refused =
        matches!(result, Err(SysError { errno: libc::EINVAL | libc::EPERM | crate::error::ENOTSUPP, .. }));
    let count = if refused { 0 } else { attr.count.min(asked) };
    BatchResult { count: count as usize, result }
}

/// `BPF_MAP_UPDATE_BATCH`: stores `keys[i] -> values[i]`. Stops at the first failure, such as `E2BIG` for a
/// full map, and reports the exact count. `EINVAL` or 524 with count 0: this map cannot do batches.
pub fn map_update_batch(map: MapRef<'_>, keys: &[u8], values: &[u8]) -> SysResult<BatchResult> {
    const CALL: &str = "bpf(BPF_MAP_UPDATE_BATCH)";
    let count = batch_len(CALL, keys.len(), map.shape.key_size)?;
    exact(CALL, values.len(), (count as usize).saturating_mul(map.shape.value_size))?;
    let attr = attr::MapBatch {
        keys: read_ptr(keys),
        values: read_ptr(values),
        count,
        map_fd: fd_u32(map.fd),
        ..Default::default()
    };
    Ok(run_batch(CALL, cmd::MAP_UPDATE_BATCH, attr))
}

/// `BPF_MAP_DELETE_BATCH`: stops at the first key that is not there (`ENOENT`).
pub fn map_delete_batch(map: MapRef<'_>, keys: &[u8]) -> SysResult<BatchResult> {
    const CALL: &str = "bpf(BPF_MAP_DELETE_BATCH)";
    let count = batch_len(CALL, keys.len(), map.shape.key_size)?;
    let attr = attr::MapBatch { keys: read_ptr(keys), count, map_fd: fd_u32(map.fd), ..Default::default() };
    Ok(run_batch(CALL, cmd::MAP_DELETE_BATCH, attr))
}

/// `BPF_MAP_LOOKUP_BATCH`: fills `keys` and `values`, continuing after the position `token` (`None` to
/// start), which is updated. `ENOENT` with a count: these were the last. `ENOSPC`: a bucket holds more
/// than fits, call again with more room.
pub fn map_lookup_batch(
    map: MapRef<'_>,
    token: &mut Option<u64>,
    keys: &mut [u8],
    values: &mut [u8],
) -> SysResult<BatchResult> {
    const CALL: &str = "bpf(BPF_MAP_LOOKUP_BATCH)";
    // A hash writes a u32 bucket number, an array a key of 4 bytes.
    let count = batch_len(CALL, keys.len(), map.shape.key_size)?;
    exact(CALL, values.len(), (count as usize).saturating_mul(map.shape.value_size))?;
    let start = token.map(u64::to_ne_bytes);
    let mut next = [0_u8; 8];
    let attr = attr::MapBatch {
        in_batch: start.as_ref().map_or(0, |bytes| read_ptr(bytes)),
        out_batch: write_ptr(&mut next),
        keys: write_ptr(keys),
        values: write_ptr(values),
        count,
        map_fd: fd_u32(map.fd),
        ..Default::default()
    };
    let outcome = run_batch(CALL, cmd::MAP_LOOKUP_BATCH, attr);
    *token = Some(u64::from_ne_bytes(next));
    Ok(outcome)
}

/// `BPF_OBJ_PIN`: gives `object` a name in a bpffs.
pub fn obj_pin(object: BorrowedFd<'_>, path: &CStr) -> SysResult<()> {
    let mut attr =
        attr::Obj { pathname: read_ptr(path.to_bytes_with_nul()), bpf_fd: fd_u32(object), file_flags: 0 };
    // SAFETY: the kernel reads the path up to its NUL, which `CStr` guarantees.
    unsafe { bpf("bpf(BPF_OBJ_PIN)", cmd::OBJ_PIN, &mut attr) }.map(drop)
}

/// `BPF_OBJ_GET`: opens a pinned object; `file_flags` 0, or `RDONLY` / `WRONLY` of
/// [`crate::spec::map::map_flag`].
pub fn obj_get(path: &CStr, file_flags: u32) -> SysResult<OwnedFd> {
    const CALL: &str = "bpf(BPF_OBJ_GET)";
    debug_assert!(file_flags & !(map_flag::RDONLY | map_flag::WRONLY) == 0);
    let mut attr = attr::Obj { pathname: read_ptr(path.to_bytes_with_nul()), bpf_fd: 0, file_flags };
    // SAFETY: the kernel reads the path up to its NUL, which `CStr` guarantees.
    let ret = unsafe { bpf(CALL, cmd::OBJ_GET, &mut attr) }?;
    own_fd(CALL, ret)
}

fn obj_info<T: Attr>(fd: BorrowedFd<'_>) -> SysResult<T> {
    const CALL: &str = "bpf(BPF_OBJ_GET_INFO_BY_FD)";
    let mut info = [T::default()];
    let size = size_of::<T>();
    let mut attr = attr::ObjInfo {
        bpf_fd: fd_u32(fd),
        info_len: u32::try_from(size).map_err(|_| SysError { call: CALL, errno: libc::E2BIG })?,
        info: write_ptr(&mut info),
    };
    // SAFETY: the kernel reads and writes at most `info_len` bytes at `info`, which is that long, exclusively
    // borrowed, and of a type for which every bit pattern is valid (`Attr`). Pointer fields inside are 0.
    unsafe { bpf(CALL, cmd::OBJ_GET_INFO_BY_FD, &mut attr) }?;
    let [info] = info;
    Ok(info)
}

/// `BPF_OBJ_GET_INFO_BY_FD` of a map. Fields that the kernel does not know stay 0.
pub fn map_info(map: BorrowedFd<'_>) -> SysResult<attr::BpfMapInfo> {
    obj_info(map)
}

/// `BPF_OBJ_GET_INFO_BY_FD` of a program. Fields that the kernel does not know stay 0.
pub fn prog_info(program: BorrowedFd<'_>) -> SysResult<attr::BpfProgInfo> {
    obj_info(program)
}

/// What `BPF_PROG_LOAD` takes besides numbers.
#[derive(Debug)]
pub struct ProgLoadBuffers<'a> {
    /// Instructions in host byte order, 8 bytes each.
    pub insns: &'a [u8],
    /// The licence.
    pub license: &'a CStr,
    /// `bpf_func_info` records of 8 bytes.
    pub func_info: &'a [u8],
    /// `bpf_line_info` records of 16 bytes.
    pub line_info: &'a [u8],
    /// BTF fds of modules that kfunc calls refer to; index 0 is unused.
    pub fd_array: &'a [i32],
    /// Where the verifier writes its log; level, size and buffer go together, so an empty one means none.
    pub log: &'a mut [u8],
}

/// `BPF_PROG_LOAD`. `numbers` gives the fields that are no pointers or counts. `EAGAIN` (a signal came
/// while the verifier ran) is the caller's to retry.
pub fn prog_load(numbers: attr::ProgLoad, buffers: ProgLoadBuffers<'_>) -> SysResult<OwnedFd> {
    const CALL: &str = "bpf(BPF_PROG_LOAD)";
    const FUNC_INFO: usize = 8;
    const LINE_INFO: usize = 16;
    let mut attr = attr::ProgLoad {
        insn_cnt: batch_len(CALL, buffers.insns.len(), crate::insn::INSN_SIZE)?,
        insns: read_ptr(buffers.insns),
        license: read_ptr(buffers.license.to_bytes_with_nul()),
        log_level: if buffers.log.is_empty() { 0 } else { numbers.log_level.max(1) },
        log_size: len_u32(CALL, buffers.log)?,
        log_buf: write_ptr(buffers.log),
        func_info_rec_size: 8,
        func_info: read_ptr(buffers.func_info),
        func_info_cnt: batch_len(CALL, buffers.func_info.len(), FUNC_INFO)?,
        line_info_rec_size: 16,
        line_info: read_ptr(buffers.line_info),
        line_info_cnt: batch_len(CALL, buffers.line_info.len(), LINE_INFO)?,
        fd_array: read_ptr(buffers.fd_array),
        ..numbers
    };
    // SAFETY: the kernel reads insn_cnt * 8 bytes at `insns`, func_info_cnt * 8 and line_info_cnt * 16 bytes,
    // the NUL-terminated licence, and the fds that the instructions index in `fd_array` (the verifier
    // copies entry by entry and answers EFAULT outside of mapped memory); it writes at most log_size bytes
    // at `log_buf`, which is exclusively borrowed. All outlive the call.
    let ret = unsafe { bpf(CALL, cmd::PROG_LOAD, &mut attr) }?;
    own_fd(CALL, ret)
}

/// `BPF_BTF_LOAD`; an empty `log` asks for none. A token stands for the privilege (6.9).
pub fn btf_load(btf: &[u8], log: &mut [u8], token: Option<BorrowedFd<'_>>) -> SysResult<OwnedFd> {
    const CALL: &str = "bpf(BPF_BTF_LOAD)";
    let mut attr = attr::BtfLoad {
        btf: read_ptr(btf),
        btf_size: len_u32(CALL, btf)?,
        btf_log_level: u32::from(!log.is_empty()),
        btf_log_size: len_u32(CALL, log)?,
        btf_log_buf: write_ptr(log),
        btf_log_true_size: 0,
        btf_flags: token.map_or(0, |_| super::uapi::F_TOKEN_FD),
        btf_token_fd: token.map_or(0, fd_u32),
    };
    // SAFETY: the kernel reads btf_size bytes at `btf` and writes at most btf_log_size bytes at `log`.
    let ret = unsafe { bpf(CALL, cmd::BTF_LOAD, &mut attr) }?;
    own_fd(CALL, ret)
}

/// `BPF_TOKEN_CREATE` (6.9): a token of the bpffs whose root directory is `bpffs`.
pub fn token_create(bpffs: BorrowedFd<'_>) -> SysResult<OwnedFd> {
    const CALL: &str = "bpf(BPF_TOKEN_CREATE)";
    let mut attr = attr::TokenCreate { flags: 0, bpffs_fd: fd_u32(bpffs) };
    // SAFETY: no pointers.
    let ret = unsafe { bpf(CALL, cmd::TOKEN_CREATE, &mut attr) }?;
    own_fd(CALL, ret)
}

/// `BPF_RAW_TRACEPOINT_OPEN`: attaches to the raw tracepoint `name`; with no name, a program that was
/// loaded with a BTF attach target. A cookie other than 0 needs 6.10.
pub fn raw_tracepoint_open(name: Option<&CStr>, program: BorrowedFd<'_>, cookie: u64) -> SysResult<OwnedFd> {
    const CALL: &str = "bpf(BPF_RAW_TRACEPOINT_OPEN)";
    let mut attr = attr::RawTracepointOpen {
        name: name.map_or(0, |name| read_ptr(name.to_bytes_with_nul())),
        prog_fd: fd_u32(program),
        cookie,
        ..Default::default()
    };
    // SAFETY: the kernel reads the name up to its NUL, or nothing when it is 0.
    let ret = unsafe { bpf(CALL, cmd::RAW_TRACEPOINT_OPEN, &mut attr) }?;
    own_fd(CALL, ret)
}

/// `BPF_ITER_CREATE`: a file that runs the iterator while it is read.
pub fn iter_create(link: BorrowedFd<'_>) -> SysResult<OwnedFd> {
    const CALL: &str = "bpf(BPF_ITER_CREATE)";
    let mut attr = attr::IterCreate { link_fd: fd_u32(link), flags: 0 };
    // SAFETY: no pointers.
    let ret = unsafe { bpf(CALL, cmd::ITER_CREATE, &mut attr) }?;
    own_fd(CALL, ret)
}

/// `BPF_PROG_BIND_MAP` (5.10): ties the lifetime of a map to a program that does not use it in code.
pub fn prog_bind_map(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> SysResult<()> {
    let mut attr = attr::ProgBindMap { prog_fd: fd_u32(program), map_fd: fd_u32(map), flags: 0 };
    // SAFETY: no pointers.
    unsafe { bpf("bpf(BPF_PROG_BIND_MAP)", cmd::PROG_BIND_MAP, &mut attr) }.map(drop)
}

/// What a test run returned.
#[derive(Clone, Copy, Debug)]
pub struct TestRunResult {
    /// The program's return value.
    pub retval: u32,
    /// Bytes of `data_out` that were written.
    pub data_len: usize,
}

/// `BPF_PROG_TEST_RUN`: runs a program once on `data_in` and `ctx_in`.
pub fn prog_test_run(
    program: BorrowedFd<'_>,
    data_in: &[u8],
    data_out: &mut [u8],
    ctx_in: &[u8],
) -> SysResult<TestRunResult> {
    const CALL: &str = "bpf(BPF_PROG_TEST_RUN)";
    let mut attr = attr::TestRun {
        prog_fd: fd_u32(program),
        data_size_in: len_u32(CALL, data_in)?,
        data_size_out: len_u32(CALL, data_out)?,
        data_in: read_ptr(data_in),
        data_out: write_ptr(data_out),
        ctx_size_in: len_u32(CALL, ctx_in)?,
        ctx_in: read_ptr(ctx_in),
        ..Default::default()
    };
    // SAFETY: the kernel reads the two inputs and writes at most data_size_out bytes at `data_out`.
    unsafe { bpf(CALL, cmd::PROG_TEST_RUN, &mut attr) }?;
    Ok(TestRunResult { retval: attr.retval, data_len: attr.data_size_out as usize })
}

/// `BPF_MAP_LOOKUP_AND_DELETE_ELEM` of a queue or stack, which has no keys: takes its next value out (4.20).
pub fn map_pop(map: MapRef<'_>, value: &mut [u8]) -> SysResult<()> {
    const CALL: &str = "bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM)";
    exact(CALL, map.shape.key_size, 0)?;
    exact(CALL, value.len(), map.shape.value_size)?;
    let mut attr = attr::MapElem { map_fd: fd_u32(map.fd), value: write_ptr(value), ..Default::default() };
    // SAFETY: a map without keys: the kernel reads nothing and writes value_size bytes at `value`, whose length
    // was compared with the map's geometry and which is borrowed exclusively until after the call.
    unsafe { bpf(CALL, cmd::MAP_LOOKUP_AND_DELETE_ELEM, &mut attr) }.map(drop)
}

/// The raw number of any fd owner, for attribute fields.
pub fn raw(fd: &impl AsFd) -> u32 {
    fd_u32(fd.as_fd())
}
