//! A set on disk and in the kernel: a pinned hash map of a known geometry.
//!
//! In: the path of a pin, members. Out: a [`Set`] whose map may be handed to a BPF program. What the
//! numbers mean is in [`crate::identity`]; where a pin may lie is in [`crate::bpffs`].
//!
//! To add a kind of set: add a variant to [`Kind`] and follow the compiler.

use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use loader::map::{Access, Map, MapBtf, MapConfig, MapInfo, UpdateMode};
use loader::spec::map::map_type;
use loader::{Error, ErrorKind, Result, ResultExt};

use crate::{btf, text};

/// Bytes of a key in every kind of set.
pub const KEY_SIZE: u32 = 8;

/// Entries of a new set, unless said otherwise: 1.3 MB of kernel memory.
pub const DEFAULT_ENTRIES: u32 = 16_384;

/// Members that are handed to the kernel at a time: enough that the call does not count, few enough that keys and values
/// stay in a cache.
const BATCH: usize = 4096;

/// What the members of a set are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// cgroup ids: key 8 bytes, value 8 bytes.
    Cgroup,
    /// Mount namespace inode numbers: key 8 bytes, value 4 bytes.
    Mntns,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::Mntns, Self::Cgroup];

    /// `cgroup` or `mntns`, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Mntns => "mntns",
        }
    }

    /// Bytes of a value.
    pub fn value_size(self) -> u32 {
        match self {
            Self::Cgroup => 8,
            Self::Mntns => 4,
        }
    }

    /// The name of the map, as in BCC's documents.
    pub fn default_map_name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroupset",
            Self::Mntns => "mnt_ns_set",
        }
    }

    /// Where the set is pinned unless said otherwise.
    pub fn default_path(self) -> &'static str {
        match self {
            Self::Cgroup => "/sys/fs/bpf/cgroup_set",
            Self::Mntns => "/sys/fs/bpf/mnt_ns_set",
        }
    }

    /// The environment variable that names another place.
    pub fn path_variable(self) -> &'static str {
        match self {
            Self::Cgroup => "NSMAP_CGROUP_SET",
            Self::Mntns => "NSMAP_MNTNS_SET",
        }
    }

    /// The kind whose geometry a map has: a plain hash, key 8, value 8 or 4. Name and capacity do not matter:
    /// maps made by `bpftool` and by BCC's tools are sets too.
    ///
    /// # Errors
    /// `Incompatible`, with found and expected.
    pub fn of_map(info: &MapInfo) -> Result<Self> {
        let kind = Self::ALL.into_iter().find(|kind| kind.value_size() == info.value_size);
        match kind {
            Some(kind) if info.map_type == map_type::HASH && info.key_size == KEY_SIZE => Ok(kind),
            _ => Err(Error::incompatible(format!(
                "found {}, expected a hash with key 8 and value 4 (mntns) or 8 (cgroup)",
                describe_geometry(info)
            ))),
        }
    }

    fn geometry(self) -> String {
        format!("a hash with key {KEY_SIZE}, value {} ({})", self.value_size(), self.name())
    }
}

fn describe_geometry(info: &MapInfo) -> String {
    let sizes = format!("with key {}, value {}", info.key_size, info.value_size);
    let name = match info.map_type {
        map_type::HASH => "a hash",
        map_type::ARRAY => "an array",
        map_type::PERCPU_HASH => "a per-CPU hash",
        map_type::PERCPU_ARRAY => "a per-CPU array",
        map_type::LRU_HASH => "an LRU hash",
        map_type::RINGBUF => "a ring buffer",
        other => return format!("a map of type {other} {sizes}"),
    };
    format!("{name} {sizes}")
}

/// A cgroup in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupMember {
    /// The cgroup v2 id.
    pub id: u64,
    /// Bit 0 ([`CgroupMember::SUBTREE`]): the cgroups below it count too. The other bits are reserved.
    pub flags: u64,
}

impl CgroupMember {
    /// The flag of a member that stands for its whole subtree.
    pub const SUBTREE: u64 = 1;

    /// The cgroup with this id, and what is below it if `subtree`.
    pub fn new(id: u64, subtree: bool) -> Self {
        Self { id, flags: if subtree { Self::SUBTREE } else { 0 } }
    }

    /// Whether the cgroups below it count too.
    pub fn is_subtree(&self) -> bool {
        self.flags & Self::SUBTREE != 0
    }
}

/// A mount namespace in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MntnsMember {
    /// The inode number. 32 bits in the kernel; a key that somebody else stored may hold more and then matches
    /// nothing.
    pub inode: u64,
    /// Low 32 bits of the namespace's never-reused id, which tracers compare; 0: not compared.
    pub check: u32,
}

/// An entry of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// Of a cgroup set.
    Cgroup(CgroupMember),
    /// Of a mount namespace set.
    Mntns(MntnsMember),
}

impl Member {
    /// The number that the kernel side looks up.
    pub fn key(&self) -> u64 {
        match self {
            Self::Cgroup(member) => member.id,
            Self::Mntns(member) => member.inode,
        }
    }

    /// The kind of set that it belongs into.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Cgroup(_) => Kind::Cgroup,
            Self::Mntns(_) => Kind::Mntns,
        }
    }

    /// The value as the map stores it, host byte order.
    fn value_bytes(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(8);
        self.push_value(&mut value);
        value
    }

    fn push_value(&self, values: &mut Vec<u8>) {
        match self {
            Self::Cgroup(member) => values.extend_from_slice(&member.flags.to_ne_bytes()),
            Self::Mntns(member) => values.extend_from_slice(&member.check.to_ne_bytes()),
        }
    }

    fn from_bytes(kind: Kind, key: &[u8], value: &[u8]) -> Result<Self> {
        let strange = |_| Error::invalid("the kernel gave an entry of another size than the map's");
        let key = u64::from_ne_bytes(key.try_into().map_err(strange)?);
        Ok(match kind {
            Kind::Cgroup => Self::Cgroup(CgroupMember {
                id: key,
                flags: u64::from_ne_bytes(value.try_into().map_err(strange)?),
            }),
            Kind::Mntns => Self::Mntns(MntnsMember {
                inode: key,
                check: u32::from_ne_bytes(value.try_into().map_err(strange)?),
            }),
        })
    }
}

/// What a new set shall be.
#[derive(Clone, Debug)]
pub struct NewSet<'a> {
    /// Its kind.
    pub kind: Kind,
    /// How many members fit.
    pub entries: u32,
    /// The name of the map: at most 15 bytes of `[A-Za-z0-9_.]`.
    pub name: &'a str,
    /// Permission bits of the pin. Who may write can add and remove members, without any capability.
    pub mode: u32,
}

/// An open set.
#[derive(Debug)]
pub struct Set {
    map: Map,
    kind: Kind,
}

impl Set {
    /// Opens a set of any kind.
    ///
    /// # Errors
    /// `NotFound`; `Permission`; `Incompatible` for anything that is not a set: a directory, an ordinary file,
    /// another pinned object, a map of another geometry.
    pub fn open(path: &Path, access: Access) -> Result<Self> {
        open_map(path, access)
            .and_then(|map| Kind::of_map(map.info()).map(|kind| Self { map, kind }))
            .with_context(|| format!("open set `{}`", text::path(path)))
    }

    /// Opens a set of this kind.
    ///
    /// # Errors
    /// As [`Set::open`]; `Incompatible` for a set of another kind.
    pub fn open_kind(path: &Path, kind: Kind, access: Access) -> Result<Self> {
        let set = Self::open(path, access)?;
        set.require(kind).with_context(|| format!("open set `{}`", text::path(path)))?;
        Ok(set)
    }

    /// Opens the set that a tracer filters by; never creates one. Reading is enough for it: the program only
    /// looks members up.
    ///
    /// # Errors
    /// As [`Set::open_kind`].
    pub fn open_for_tracer(path: &Path, kind: Kind) -> Result<Self> {
        Self::open_kind(path, kind, Access::ReadOnly)
    }

    /// Makes a map and pins it at `path`, whose directory must be on bpffs.
    ///
    /// # Errors
    /// `Exists`: something is at `path`. `Permission`.
    pub fn create(path: &Path, new: &NewSet<'_>) -> Result<Self> {
        let set = Self::create_unpinned(new)?;
        set.pin(path, new.mode)?;
        Ok(set)
    }

    /// Makes a map without a name in the file system: it ends with this value unless it is pinned.
    ///
    /// # Errors
    /// `Permission`: CAP_BPF is needed.
    pub fn create_unpinned(new: &NewSet<'_>) -> Result<Self> {
        let value_size = new.kind.value_size();
        // Types only make other tools' output nicer.
        let types = btf::load(KEY_SIZE, value_size).ok();
        let config = MapConfig {
            name: new.name.to_owned(),
            map_type: map_type::HASH,
            key_size: KEY_SIZE,
            value_size,
            max_entries: new.entries,
            btf: types.as_ref().map(|types| MapBtf {
                fd: types.fd.as_fd(),
                key_type_id: types.key.0,
                value_type_id: types.value.0,
            }),
            ..MapConfig::default()
        };
        let map = Map::create(&config).with_context(|| format!("create map `{}`", new.name))?;
        Ok(Self { map, kind: new.kind })
    }

    /// Pins a set that has no name yet.
    ///
    /// # Errors
    /// As [`Set::create`].
    pub fn pin(&self, path: &Path, mode: u32) -> Result<()> {
        self.map.pin(path).with_context(|| format!("pin set `{}`", text::path(path)))?;
        // The kernel pins with 0600 less the umask.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(|error| {
            // A pin with other permissions than asked for is worse than none.
            let _ = std::fs::remove_file(path);
            Error::io("chmod", error).context(format!("set `{}`", text::path(path)))
        })
    }

    fn require(&self, kind: Kind) -> Result<()> {
        if self.kind == kind {
            return Ok(());
        }
        let found = self.kind.geometry();
        Err(Error::incompatible(format!("found {found}, expected {}", kind.geometry())))
    }

    /// The map, for reuse by a BPF object.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// What the members are.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Bytes of a value.
    pub fn value_size(&self) -> u32 {
        self.kind.value_size()
    }

    /// How many members fit.
    pub fn capacity(&self) -> u32 {
        self.map.info().max_entries
    }

    /// All members, by ascending number.
    ///
    /// # Errors
    /// `Permission` for a set opened only for writing.
    pub fn members(&self) -> Result<Vec<Member>> {
        let (keys, values) = self.map.entries_flat()?;
        let keys = keys.chunks_exact(KEY_SIZE as usize);
        let mut members = keys
            .zip(values.chunks_exact(self.value_size() as usize))
            .map(|(key, value)| Member::from_bytes(self.kind, key, value))
            .collect::<Result<Vec<_>>>()?;
        members.sort_unstable_by_key(Member::key);
        members.dedup_by_key(|member| member.key());
        Ok(members)
    }

    /// The member with this number.
    ///
    /// # Errors
    /// As [`Set::members`].
    pub fn get(&self, key: u64) -> Result<Option<Member>> {
        let key = key.to_ne_bytes();
        match self.map.lookup(&key)? {
            Some(value) => Member::from_bytes(self.kind, &key, &value).map(Some),
            None => Ok(None),
        }
    }

    /// Stores a member, in place of one with the same number.
    ///
    /// # Errors
    /// `Incompatible`: of another kind. `Limit`: the set is full. `Permission`.
    pub fn insert(&self, member: &Member) -> Result<()> {
        self.require(member.kind())?;
        self.map.update(&member.key().to_ne_bytes(), &member.value_bytes(), UpdateMode::Any)
    }

    /// Removes the member with this number; says whether it was there.
    ///
    /// # Errors
    /// `Permission`.
    pub fn remove(&self, key: u64) -> Result<bool> {
        self.map.delete(&key.to_ne_bytes())
    }

    /// Stores many members, with few system calls where the kernel has batches (5.6). Says how many were stored, and
    /// what stopped it.
    pub fn insert_many(&self, members: &[Member]) -> (usize, Result<()>) {
        self.insert_many_told(members, &mut |_| {})
    }

    /// As [`Set::insert_many`]; `told` hears after each system call how many are stored.
    pub fn insert_many_told(&self, members: &[Member], told: &mut dyn FnMut(usize)) -> (usize, Result<()>) {
        if let Some(error) = members.iter().find_map(|member| self.require(member.kind()).err()) {
            return (0, Err(error));
        }
        let mut done = 0;
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for some in members.chunks(BATCH) {
            keys.clear();
            values.clear();
            for member in some {
                keys.extend_from_slice(&member.key().to_ne_bytes());
                member.push_value(&mut values);
            }
            let (stored, result) = self.map.update_many(&keys, &values);
            done += stored;
            if result.is_err() {
                return (done, result);
            }
            told(done);
        }
        (done, Ok(()))
    }

    /// Removes many members by number; those that are not there are passed over. Says how many were.
    ///
    /// # Errors
    /// `Permission`.
    pub fn remove_many(&self, keys: &[u64]) -> Result<usize> {
        let keys: Vec<u8> = keys.iter().flat_map(|key| key.to_ne_bytes()).collect();
        self.map.delete_many(&keys)
    }

    /// Removes all members that are there now; says how many.
    ///
    /// # Errors
    /// `Permission`.
    pub fn clear(&self) -> Result<usize> {
        let (keys, _) = self.map.entries_flat()?;
        self.map.delete_many(&keys)
    }
}

/// `BPF_OBJ_GET`, with the few answers that say something else than they mean.
fn open_map(path: &Path, access: Access) -> Result<Map> {
    Map::open_pinned(path, access).map_err(|error| match (error.kind(), error.errno()) {
        (ErrorKind::NotFound, _) => Error::not_found("not found"),
        // A pinned link cannot be opened for reading only.
        (_, Some(libc::EINVAL)) => Error::incompatible("this is a pinned link, not a map"),
        // A component of the path is a file.
        (_, Some(libc::ENOTDIR)) => Error::not_found("not found: a part of the path is a file"),
        _ => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(map_type: u32, key_size: u32, value_size: u32) -> MapInfo {
        MapInfo {
            id: 1,
            map_type,
            key_size,
            value_size,
            max_entries: 1024,
            map_flags: 0,
            name: "anything".into(),
            btf_id: 0,
            btf_key_type_id: 0,
            btf_value_type_id: 0,
            map_extra: 0,
        }
    }

    #[test]
    fn the_kind_follows_from_the_geometry_alone() {
        assert_eq!(Kind::of_map(&info(map_type::HASH, 8, 8)).unwrap(), Kind::Cgroup);
        assert_eq!(Kind::of_map(&info(map_type::HASH, 8, 4)).unwrap(), Kind::Mntns);
    }

    #[test]
    fn other_geometries_are_refused_with_found_and_expected() {
        for (map_type, key, value) in [
            (map_type::ARRAY, 4, 8),
            (map_type::HASH, 4, 4),
            (map_type::HASH, 8, 1),
            (map_type::LRU_HASH, 8, 8),
            (map_type::PERCPU_HASH, 8, 8),
        ] {
            let error = Kind::of_map(&info(map_type, key, value)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Incompatible);
            let text = error.to_string();
            assert!(text.contains(&format!("key {key}, value {value}")), "{text}");
            assert!(text.contains("expected a hash with key 8"), "{text}");
        }
    }

    #[test]
    fn members_survive_the_way_through_bytes() {
        for member in [
            Member::Cgroup(CgroupMember::new(0x1_0000_1677, true)),
            Member::Cgroup(CgroupMember { id: 1, flags: 6 }),
            Member::Mntns(MntnsMember { inode: 4_026_531_832, check: 7 }),
        ] {
            let bytes = (member.key().to_ne_bytes(), member.value_bytes());
            assert_eq!(u32::try_from(bytes.1.len()).unwrap(), member.kind().value_size());
            assert_eq!(Member::from_bytes(member.kind(), &bytes.0, &bytes.1).unwrap(), member);
        }
        assert!(Member::from_bytes(Kind::Mntns, &[0; 8], &[0; 8]).is_err());
    }
}
