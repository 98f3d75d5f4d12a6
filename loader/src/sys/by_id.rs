//! Maps and BTF objects by the ids that the kernel lists: `bpf(2)`, continued.
//!
//! What crosses: as in [`super::bpf`]: attribute structs by exclusive reference, and inside them the addresses of slices
//! that are borrowed for the whole call.

#![expect(unsafe_code, reason = "the system call itself")]

use std::os::fd::{BorrowedFd, OwnedFd};

use super::bpf::{bpf, fd_u32, len_u32, write_ptr};
use super::uapi::cmd;
use super::{SysResult, attr, own_fd};

/// `BPF_MAP_GET_NEXT_ID`: the id of the map after `id`; `ENOENT` at the end (4.13, CAP_SYS_ADMIN).
pub fn map_next_id(id: u32) -> SysResult<u32> {
    next_id("bpf(BPF_MAP_GET_NEXT_ID)", cmd::MAP_GET_NEXT_ID, id)
}

/// `BPF_MAP_GET_FD_BY_ID`; `open_flags` 0, or `RDONLY` of [`crate::spec::map::map_flag`] (4.13, CAP_SYS_ADMIN).
pub fn map_by_id(id: u32, open_flags: u32) -> SysResult<OwnedFd> {
    by_id("bpf(BPF_MAP_GET_FD_BY_ID)", cmd::MAP_GET_FD_BY_ID, id, open_flags)
}

/// `BPF_BTF_GET_NEXT_ID`: the id of the BTF object after `id`; `ENOENT` at the end (5.4, CAP_SYS_ADMIN).
pub fn btf_next_id(id: u32) -> SysResult<u32> {
    next_id("bpf(BPF_BTF_GET_NEXT_ID)", cmd::BTF_GET_NEXT_ID, id)
}

/// `BPF_BTF_GET_FD_BY_ID`; `ENOENT` when it is gone (4.18, CAP_SYS_ADMIN).
pub fn btf_by_id(id: u32) -> SysResult<OwnedFd> {
    by_id("bpf(BPF_BTF_GET_FD_BY_ID)", cmd::BTF_GET_FD_BY_ID, id, 0)
}

/// `BPF_PROG_GET_FD_BY_ID` (4.13, CAP_SYS_ADMIN).
pub fn prog_by_id(id: u32) -> SysResult<OwnedFd> {
    by_id("bpf(BPF_PROG_GET_FD_BY_ID)", cmd::PROG_GET_FD_BY_ID, id, 0)
}

/// The ids of the maps that a program uses; the kernel lets it have 64 at most.
pub fn prog_map_ids(program: BorrowedFd<'_>) -> SysResult<Vec<u32>> {
    const CALL: &str = "bpf(BPF_OBJ_GET_INFO_BY_FD)";
    const SIZE: usize = size_of::<attr::BpfProgInfo>();
    let mut ids = [0_u32; 64];
    let mut info = [attr::BpfProgInfo { nr_map_ids: 64, map_ids: write_ptr(&mut ids), ..Default::default() }];
    #[expect(clippy::cast_possible_truncation, reason = "a constant of some hundred")]
    let mut attr =
        attr::ObjInfo { bpf_fd: fd_u32(program), info_len: SIZE as u32, info: write_ptr(&mut info) };
    // SAFETY: the kernel reads and writes at most `info_len` bytes at `info`, which is that long, and writes at most
    // `nr_map_ids` numbers of 4 bytes at `map_ids`; both are exclusively borrowed. Its other pointers are 0.
    unsafe { bpf(CALL, cmd::OBJ_GET_INFO_BY_FD, &mut attr) }?;
    let [info] = info;
    Ok(ids.into_iter().take(info.nr_map_ids as usize).collect())
}

fn next_id(call: &'static str, command: u32, id: u32) -> SysResult<u32> {
    let mut attr = attr::GetId { id, ..Default::default() };
    // SAFETY: no pointers; the kernel writes `next_id` in `attr`.
    unsafe { bpf(call, command, &mut attr) }?;
    Ok(attr.next_id)
}

fn by_id(call: &'static str, command: u32, id: u32, open_flags: u32) -> SysResult<OwnedFd> {
    let mut attr = attr::GetId { id, open_flags, ..Default::default() };
    // SAFETY: no pointers.
    let ret = unsafe { bpf(call, command, &mut attr) }?;
    own_fd(call, ret)
}

/// `BPF_OBJ_GET_INFO_BY_FD` of a BTF object, with its name: that of the module for a module's.
pub fn btf_info_name(btf: BorrowedFd<'_>) -> SysResult<(attr::BpfBtfInfo, String)> {
    let mut name = [0_u8; 64];
    let info = btf_info(btf, &mut [], &mut name)?;
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    Ok((info, String::from_utf8_lossy(name.get(..end).unwrap_or_default()).into_owned()))
}

/// The bytes of a BTF object.
pub fn btf_bytes(btf: BorrowedFd<'_>) -> SysResult<Vec<u8>> {
    let size = btf_info(btf, &mut [], &mut [])?.btf_size;
    let mut bytes = vec![0; size as usize];
    btf_info(btf, &mut bytes, &mut [])?;
    Ok(bytes)
}

fn btf_info(btf: BorrowedFd<'_>, bytes: &mut [u8], name: &mut [u8]) -> SysResult<attr::BpfBtfInfo> {
    const CALL: &str = "bpf(BPF_OBJ_GET_INFO_BY_FD)";
    let mut info = [attr::BpfBtfInfo {
        btf_size: len_u32(CALL, bytes)?,
        btf: write_ptr(bytes),
        name_len: len_u32(CALL, name)?,
        name: write_ptr(name),
        ..Default::default()
    }];
    let mut attr = attr::ObjInfo { bpf_fd: fd_u32(btf), info_len: 32, info: write_ptr(&mut info) };
    const { assert!(size_of::<attr::BpfBtfInfo>() == 32) };
    // SAFETY: the kernel reads and writes 32 bytes at `info`, and writes at most btf_size bytes at `btf` and
    // name_len bytes at `name`, or nothing where they are 0; all are exclusively borrowed.
    unsafe { bpf(CALL, cmd::OBJ_GET_INFO_BY_FD, &mut attr) }?;
    let [info] = info;
    Ok(info)
}
