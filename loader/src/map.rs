//! Maps: an fd with a known geometry.
//!
//! In: a [`MapConfig`], or the path of a pin. Out: a [`Map`], which owns its fd and closes it on drop.
//! Keys and values are bytes in the map's own layout (host byte order for integers); lengths are checked
//! against the geometry that the kernel reported. What maps an object declares is in [`crate::spec`]; in
//! which order they are made is in [`crate::load`].

mod late;
mod memory;
mod percpu;
mod pin;

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::kernel::cpu;
use crate::kernel::privilege::{self, Need};
use crate::spec::map::{map_flag, map_type};
use crate::sys::bpf::{self, MapRef, MapShape};
use crate::sys::shared::SharedMemory;
use crate::sys::uapi::{self, update};
use crate::sys::{SysError, attr};
use crate::{pinned, verifier_log};

mod by_id;

pub use by_id::{ids, ids_used_by};

/// What `BPF_MAP_CREATE` is asked for. All numbers are as the kernel takes them: sizes are already rounded,
/// entry counts already known.
#[derive(Clone, Debug, Default)]
pub struct MapConfig<'a> {
    /// At most 15 bytes of `[A-Za-z0-9_.]`.
    pub name: String,
    /// One of [`crate::spec::map::map_type`].
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries, or bytes for ring buffers.
    pub max_entries: u32,
    /// Bits of [`crate::spec::map::map_flag`].
    pub map_flags: u32,
    /// Meaning depends on the type; 0 for most (5.16).
    pub map_extra: u64,
    /// NUMA node, used with the flag `BPF_F_NUMA_NODE`.
    pub numa_node: u32,
    /// BTF object and the ids in it of the key and value types, so that other tools can print entries.
    pub btf: Option<MapBtf<'a>>,
    /// Template of the inner maps, for maps of maps.
    pub inner: Option<BorrowedFd<'a>>,
    /// For struct_ops: the type of the value, which is the kernel's or a module's.
    pub kernel_value: Option<KernelValue<'a>>,
    /// A token that stands for the privilege (6.9).
    pub token: Option<BorrowedFd<'a>>,
}

/// A type of the kernel as the value of a map.
#[derive(Clone, Copy, Debug)]
pub struct KernelValue<'a> {
    /// Its id.
    pub type_id: u32,
    /// The BTF object of the module that has it; none for the kernel itself.
    pub module: Option<BorrowedFd<'a>>,
}

/// Types of a map's key and value.
#[derive(Clone, Copy, Debug)]
pub struct MapBtf<'a> {
    /// A BTF object, as [`crate::kernel::btf::load`] returns.
    pub fd: BorrowedFd<'a>,
    /// Id of the key's type in it.
    pub key_type_id: u32,
    /// Id of the value's type in it.
    pub value_type_id: u32,
}

/// What the kernel says of a map (`struct bpf_map_info`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapInfo {
    /// Id, unique while the map exists.
    pub id: u32,
    /// One of [`crate::spec::map::map_type`].
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries, or bytes for ring buffers.
    pub max_entries: u32,
    /// Bits of [`crate::spec::map::map_flag`].
    pub map_flags: u32,
    /// At most 15 bytes; the kernel allows `[A-Za-z0-9_.]` only.
    pub name: String,
    /// Id of the BTF object that describes key and value; 0 if none.
    pub btf_id: u32,
    /// Id in that object of the key's type; 0 if none.
    pub btf_key_type_id: u32,
    /// Id in that object of the value's type; 0 if none.
    pub btf_value_type_id: u32,
    /// Meaning depends on the type.
    pub map_extra: u64,
}

/// How a pin is opened. The mode bits of the pin decide who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Needs read and write permission on the pin.
    ReadWrite,
    /// Needs read permission; the map refuses updates through this fd.
    ReadOnly,
}

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// What an update does when the key is there or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateMode {
    /// Create or overwrite.
    Any,
    /// Only create; [`ErrorKind::Exists`] otherwise.
    NoExist,
    /// Only overwrite; [`ErrorKind::NotFound`] otherwise.
    Exist,
}

/// A map in the kernel.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    info: MapInfo,
    shape: MapShape,
    /// Its memory in this process, once somebody asked for it.
    memory: OnceLock<Arc<SharedMemory>>,
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Map {
    /// Makes a new map.
    ///
    /// # Errors
    /// `Permission` (CAP_BPF, or the memlock limit before 5.11), `Limit`, `NotSupported` for a type that the kernel is too old
    /// for, or `Io` with `EINVAL` for numbers that it does not accept.
    pub fn create(config: &MapConfig<'_>) -> Result<Self> {
        let module = config.kernel_value.and_then(|value| value.module);
        let flags =
            module.map_or(0, |_| map_flag::VTYPE_BTF_OBJ_FD) | config.token.map_or(0, |_| map_flag::TOKEN_FD);
        let attr = attr::MapCreate {
            map_type: config.map_type,
            key_size: config.key_size,
            value_size: config.value_size,
            max_entries: config.max_entries,
            map_flags: config.map_flags | flags,
            inner_map_fd: config.inner.map_or(0, bpf::fd_u32),
            numa_node: config.numa_node,
            map_name: object_name(&config.name),
            btf_fd: config.btf.map_or(0, |btf| bpf::fd_u32(btf.fd)),
            btf_key_type_id: config.btf.map_or(0, |btf| btf.key_type_id),
            btf_value_type_id: config.btf.map_or(0, |btf| btf.value_type_id),
            map_extra: config.map_extra,
            btf_vmlinux_value_type_id: config.kernel_value.map_or(0, |value| value.type_id),
            value_type_btf_obj_fd: module.map_or(0, bpf::fd_u32),
            map_token_fd: config.token.map_or(0, bpf::fd_u32),
            ..Default::default()
        };
        let mut created = bpf::map_create(attr);
        // Before 5.11 maps count as locked memory; some types (devmap) say of too much of it that it is invalid.
        if matches!(created, Err(SysError { errno: libc::EPERM | libc::EINVAL, .. }))
            && privilege::raise_memlock()
        {
            created = bpf::map_create(attr);
        }
        let linked = config.map_type == map_type::STRUCT_OPS && config.map_flags & map_flag::LINK != 0;
        Self::from_fd(created.map_err(|error| match error.errno {
            libc::EINVAL if linked => Error::not_supported("struct_ops with links", "6.4"),
            libc::EINVAL => late::lacking(config).unwrap_or_else(|| invalid(error, attr, config)),
            _ => privilege::explain(error.into(), Need::Maps),
        })?)
    }

    /// Opens a pinned map.
    ///
    /// # Errors
    /// `NotFound`; `Permission`; `Incompatible` when the path is not a pinned map (a directory, an ordinary file,
    /// a pinned program).
    pub fn open_pinned(path: &Path, access: Access) -> Result<Self> {
        let flags = match access {
            Access::ReadWrite => 0,
            Access::ReadOnly => map_flag::RDONLY,
        };
        Self::from_fd(pinned::open(path, flags, pinned::MAP)?)
    }

    /// Takes over an fd that is a map.
    ///
    /// # Errors
    /// `Io` when it is none.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        let info = read_info(fd.as_fd())?;
        let shape = shape_of(&info)?;
        Ok(Self { fd, info, shape, memory: OnceLock::new() })
    }

    /// What the kernel said of this map when it was created or opened.
    pub fn info(&self) -> &MapInfo {
        &self.info
    }

    /// Bytes of a value as [`Map::lookup`] gives it: for per-CPU maps, those of all possible CPUs together.
    pub fn value_len(&self) -> usize {
        self.shape.value_size
    }

    /// The value of `key`, or `None` when it is not there. For per-CPU maps the value holds one value per
    /// possible CPU, each rounded up to 8 bytes.
    ///
    /// # Errors
    /// `Incompatible` for a key of another size; `NotSupported` for maps that have no values, such as ring buffers.
    pub fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut value = vec![0; self.shape.value_size];
        let found = self.lookup_into(key, &mut value)?;
        Ok(found.then_some(value))
    }

    /// As [`Map::lookup`], into `value`; says whether the key was there.
    ///
    /// # Errors
    /// As for [`Map::lookup`]; `Incompatible` also for a value of another size.
    pub fn lookup_into(&self, key: &[u8], value: &mut [u8]) -> Result<bool> {
        self.check_len("key", key.len(), self.shape.key_size)?;
        self.check_len("value", value.len(), self.shape.value_size)?;
        match bpf::map_lookup(self.raw(), key, value) {
            Ok(()) => Ok(true),
            Err(SysError { errno: libc::ENOENT, .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Stores `value` under `key`.
    ///
    /// # Errors
    /// `Limit` (`E2BIG`) when the map is full; `Exists` and `NotFound` according to `mode`.
    pub fn update(&self, key: &[u8], value: &[u8], mode: UpdateMode) -> Result<()> {
        self.check_len("key", key.len(), self.shape.key_size)?;
        self.check_len("value", value.len(), self.shape.value_size)?;
        let flags = match mode {
            UpdateMode::Any => update::ANY,
            UpdateMode::NoExist => update::NOEXIST,
            UpdateMode::Exist => update::EXIST,
        };
        Ok(bpf::map_update(self.raw(), key, value, flags)?)
    }

    /// Removes `key`; says whether it was there.
    ///
    /// # Errors
    /// `Incompatible` for a key of another size; `Io` with `EINVAL` for arrays, whose entries stay.
    pub fn delete(&self, key: &[u8]) -> Result<bool> {
        self.check_len("key", key.len(), self.shape.key_size)?;
        match bpf::map_delete(self.raw(), key) {
            Ok(()) => Ok(true),
            Err(SysError { errno: libc::ENOENT, .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The key after `key`, or the first one; `None` at the end. A hash that is edited meanwhile may start over
    /// when `key` has gone, so bound the number of steps.
    ///
    /// # Errors
    /// `Incompatible` for a key of another size; `NotSupported` for maps without keys.
    pub fn next_key(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
        if let Some(key) = key {
            self.check_len("key", key.len(), self.shape.key_size)?;
        }
        let mut next = vec![0; self.shape.key_size];
        match bpf::map_next_key(self.raw(), key, &mut next) {
            Ok(()) => Ok(Some(next)),
            Err(SysError { errno: libc::ENOENT, .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// All entries as they are now, in no order; by batches where the kernel has them (5.6), else key by key.
    /// Edits that happen meanwhile may or may not be seen; no key appears twice.
    ///
    /// # Errors
    /// `NotSupported` for maps that have no values to read; `Limit` when memory is short.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let (keys, values) = self.entries_flat()?;
        let keys = keys.chunks_exact(self.shape.key_size.max(1));
        let values = values.chunks_exact(self.shape.value_size.max(1));
        let mut entries: Vec<Entry> = keys.zip(values).map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
        entries.sort_unstable();
        entries.dedup_by(|next, kept| next.0 == kept.0);
        Ok(entries)
    }

    /// As [`Map::entries`], as the concatenation of all keys and that of all values, without a memory block for each;
    /// a key may appear twice if the map was edited meanwhile.
    ///
    /// # Errors
    /// As for [`Map::entries`].
    pub fn entries_flat(&self) -> Result<(Vec<u8>, Vec<u8>)> {
        match self.entries_by_batch() {
            Err(error) if batch_unsupported(error) => self.entries_by_key(),
            other => Ok(other?),
        }
    }

    fn entries_by_batch(&self) -> Result<(Vec<u8>, Vec<u8>), SysError> {
        const FIRST_ROOM: usize = 4096;
        let (key_size, value_size) = (self.shape.key_size, self.shape.value_size);
        let mut room = (self.info.max_entries as usize).clamp(1, FIRST_ROOM);
        let (mut all_keys, mut all_values) = (Vec::new(), Vec::new());
        let mut token = None;
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        // Each turn returns entries or doubles the room; a map cannot have more turns than entries, twice over
        // for those that are added meanwhile.
        for _ in 0..(self.info.max_entries as usize).saturating_mul(2).saturating_add(64) {
            keys.resize(room.saturating_mul(key_size), 0);
            values.resize(room.saturating_mul(value_size), 0);
            let before = token;
            let batch = bpf::map_lookup_batch(self.raw(), &mut token, &mut keys, &mut values)?;
            let last = match batch.result {
                Ok(()) => false,
                Err(SysError { errno: libc::ENOENT, .. }) => true,
                Err(SysError { errno: libc::ENOSPC, .. }) => {
                    // A bucket did not fit; what did fit before it was not handed out.
                    token = before;
                    room = room.saturating_mul(2);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let full = |bytes: usize| batch.count.saturating_mul(bytes);
            all_keys.extend_from_slice(keys.get(..full(key_size)).unwrap_or_default());
            all_values.extend_from_slice(values.get(..full(value_size)).unwrap_or_default());
            if last {
                break;
            }
        }
        Ok((all_keys, all_values))
    }

    fn entries_by_key(&self) -> Result<(Vec<u8>, Vec<u8>)> {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let mut key = None;
        for _ in 0..(self.info.max_entries as usize).saturating_mul(2) {
            let Some(next) = self.next_key(key.as_deref())? else { break };
            if let Some(value) = self.lookup(&next)? {
                keys.extend_from_slice(&next);
                values.extend_from_slice(&value);
            }
            key = Some(next);
        }
        Ok((keys, values))
    }

    /// Stores many entries, `keys` and `values` being the concatenation of theirs; one system call where the
    /// kernel has batches. Returns how many were stored, with the error that stopped it.
    pub fn update_many(&self, keys: &[u8], values: &[u8]) -> (usize, Result<()>) {
        match bpf::map_update_batch(self.raw(), keys, values) {
            Ok(batch) => match batch.result {
                Err(error) if batch.count == 0 && batch_unsupported(error) => self.update_each(keys, values),
                result => (batch.count, result.map_err(Error::from)),
            },
            Err(error) => (0, Err(error.into())),
        }
    }

    fn update_each(&self, keys: &[u8], values: &[u8]) -> (usize, Result<()>) {
        let (key_size, value_size) = (self.shape.key_size.max(1), self.shape.value_size.max(1));
        let pairs = keys.chunks_exact(key_size).zip(values.chunks_exact(value_size));
        for (done, (key, value)) in pairs.enumerate() {
            if let Err(error) = self.update(key, value, UpdateMode::Any) {
                return (done, Err(error));
            }
        }
        (keys.len() / key_size, Ok(()))
    }

    /// Removes many keys; those that are not there are skipped. Returns how many were removed.
    ///
    /// # Errors
    /// `Incompatible` for bytes that are no keys; else those of [`Map::delete`].
    pub fn delete_many(&self, keys: &[u8]) -> Result<usize> {
        let key_size = self.shape.key_size.max(1);
        let mut rest = keys;
        let mut removed = 0_usize;
        // Each turn removes or skips at least one key.
        while !rest.is_empty() {
            let batch = bpf::map_delete_batch(self.raw(), rest)?;
            removed += batch.count;
            let done = match batch.result {
                Ok(()) => rest.len(),
                Err(SysError { errno: libc::ENOENT, .. }) => (batch.count + 1) * key_size,
                Err(error) if batch.count == 0 && batch_unsupported(error) => {
                    return self.delete_each(rest).map(|more| removed + more);
                }
                Err(error) => return Err(error.into()),
            };
            rest = rest.get(done..).unwrap_or_default();
        }
        Ok(removed)
    }

    fn delete_each(&self, keys: &[u8]) -> Result<usize> {
        let mut removed = 0;
        for key in keys.chunks_exact(self.shape.key_size.max(1)) {
            removed += usize::from(self.delete(key)?);
        }
        Ok(removed)
    }

    /// No more writes from user space, for good; the verifier may then treat a read-only map's values as
    /// constants.
    ///
    /// # Errors
    /// `Io` with `EBUSY` for a map that somebody can write in memory, or that is frozen already.
    pub fn freeze(&self) -> Result<()> {
        Ok(bpf::map_freeze(self.fd.as_fd())?)
    }

    /// A second owner of the same map.
    ///
    /// # Errors
    /// `Limit` when there are too many files open.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self.fd.try_clone().map_err(|error| Error::io("dup", error))?;
        Ok(Self { fd, info: self.info.clone(), shape: self.shape, memory: self.memory.clone() })
    }

    fn raw(&self) -> MapRef<'_> {
        MapRef { fd: self.fd.as_fd(), shape: self.shape }
    }

    fn check_len(&self, what: &str, found: usize, expected: usize) -> Result<()> {
        if found == expected {
            return Ok(());
        }
        let name = &self.info.name;
        Err(Error::incompatible(format!("{what} of {found} bytes for map `{name}`, which takes {expected}")))
    }
}

fn batch_unsupported(error: SysError) -> bool {
    matches!(error.errno, libc::EINVAL | libc::EOPNOTSUPP | crate::error::ENOTSUPP)
}

/// The kernel's form of an object name: at most 15 bytes, a NUL, and only `[A-Za-z0-9_.]`; anything else
/// becomes `_`.
pub(crate) fn object_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (slot, byte) in bytes.iter_mut().take(uapi::OBJ_NAME_LEN).zip(name.bytes()) {
        *slot = if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.' { byte } else { b'_' };
    }
    bytes
}

pub(crate) fn name_of(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

fn read_info(fd: BorrowedFd<'_>) -> Result<MapInfo> {
    let info = bpf::map_info(fd)?;
    Ok(MapInfo {
        id: info.id,
        map_type: info.map_type,
        key_size: info.key_size,
        value_size: info.value_size,
        max_entries: info.max_entries,
        map_flags: info.map_flags,
        name: name_of(&info.name),
        btf_id: info.btf_id,
        btf_key_type_id: info.btf_key_type_id,
        btf_value_type_id: info.btf_value_type_id,
        map_extra: info.map_extra,
    })
}

/// How many bytes the kernel copies for a key and a value of this map.
fn shape_of(info: &MapInfo) -> Result<MapShape> {
    let value = info.value_size as usize;
    let fd_value = matches!(
        info.map_type,
        map_type::PROG_ARRAY | map_type::PERF_EVENT_ARRAY | map_type::ARRAY_OF_MAPS | map_type::HASH_OF_MAPS
    );
    let value_size = if percpu::has_a_value_per_cpu(info.map_type) {
        let cpus = cpu::possible().context("read the number of possible CPUs")?;
        value.next_multiple_of(8).saturating_mul(cpus)
    } else if fd_value {
        4
    } else {
        value
    };
    Ok(MapShape { key_size: info.key_size as usize, value_size })
}

pub(crate) fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::new(ErrorKind::InvalidObject, "the path holds a NUL byte"))
}

/// What was asked for may show why it is invalid, if the kernel does not say (7.x does).
fn invalid(error: SysError, attr: attr::MapCreate, config: &MapConfig<'_>) -> Error {
    let mut log = [0; 256];
    // If it works now, what was wrong with it is not known.
    bpf::map_create_logged(attr, &mut log).ok();
    let why = verifier_log::text(&log).trim().replace('\n', "; ");
    let error = Error::from(error);
    let error = if why.is_empty() { error } else { error.context(why) };
    error.context(asked(config))
}

/// The numbers of a map, for messages.
fn asked(config: &MapConfig<'_>) -> String {
    let MapConfig { map_type: number, key_size, value_size, max_entries, map_flags, .. } = config;
    let name = map_type::ALL.iter().find(|(_, known)| known == number);
    let name = name.map_or_else(|| format!("type {number}"), |(name, _)| name.to_lowercase());
    let lazily = [
        map_type::LPM_TRIE,
        map_type::SK_STORAGE,
        map_type::INODE_STORAGE,
        map_type::TASK_STORAGE,
        map_type::CGRP_STORAGE,
    ];
    let hint = match lazily.contains(number) && map_flags & map_flag::NO_PREALLOC == 0 {
        true => ", where this type needs BPF_F_NO_PREALLOC",
        false => "",
    };
    format!(
        "{name} of {max_entries} entries, key {key_size} value {value_size} bytes, flags {map_flags:#x}{hint}"
    )
}
