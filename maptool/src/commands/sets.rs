//! Which set a command means, and opening it with errors that say what to do.
//!
//! In: `--map`, the environment, the default paths. Out: open sets with their paths.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use loader::map::Access;
use nsmap::bpffs::{self, Pin};
use nsmap::{Kind, Member, Set, text};

use crate::cli::{AnySet, TheSet, WhichSet};
use crate::failure::{Capability, Code, Failure};

/// An open set and where it is pinned.
pub(crate) struct NamedSet {
    pub(crate) path: PathBuf,
    pub(crate) set: Set,
}

/// Where the set of this kind is when nothing is said: the environment, then the usual path.
pub(crate) fn default_path(kind: Kind) -> PathBuf {
    match std::env::var_os(kind.path_variable()) {
        Some(path) if !path.is_empty() => path.into(),
        _ => kind.default_path().into(),
    }
}

/// The set of a command that knows its kind.
pub(crate) fn of_kind(args: &TheSet, kind: Kind, access: Access) -> Result<NamedSet, Failure> {
    let path = args.map.clone().unwrap_or_else(|| default_path(kind));
    open(&path, Some(kind), access)
}

/// The set that `--map` names, or those of the default sets that exist.
pub(crate) fn any(args: &TheSet, access: Access) -> Result<Vec<NamedSet>, Failure> {
    existing(args.map.as_deref(), None, access)
}

/// As [`any`], for commands that take a path or a kind too.
pub(crate) fn which(args: &WhichSet, access: Access) -> Result<Vec<NamedSet>, Failure> {
    existing(args.path.as_deref().or(args.map.as_deref()), args.kind.map(Kind::from), access)
}

/// As [`which`], for commands that would do harm to a set that was not meant.
pub(crate) fn only_one(args: &WhichSet, access: Access) -> Result<NamedSet, Failure> {
    let mut sets = which(args, access)?;
    match (sets.pop(), sets.pop()) {
        (Some(one), None) => Ok(one),
        (Some(second), Some(first)) => {
            let (first, second) = (text::path(&first.path), text::path(&second.path));
            let message = format!("both `{first}` and `{second}` exist, expected one set");
            Err(Failure::new(Code::Usage, message).hint("name one, or give --kind"))
        }
        (None, _) => Err(Failure::new(Code::NotFound, "no set")),
    }
}

/// As [`only_one`], for commands that have other words of their own.
pub(crate) fn one_of(args: &AnySet, access: Access) -> Result<NamedSet, Failure> {
    let which = WhichSet { path: None, map: args.map.clone(), kind: args.kind };
    only_one(&which, access)
}

/// The members of a set, ascending by number.
pub(crate) fn members(named: &NamedSet) -> Result<Vec<Member>, Failure> {
    let at = format!("read set `{}`", text::path(&named.path));
    named.set.members().map_err(|error| Failure::from(error).context(&at))
}

fn existing(path: Option<&Path>, kind: Option<Kind>, access: Access) -> Result<Vec<NamedSet>, Failure> {
    if let Some(path) = path {
        return open(path, kind, access).map(|set| vec![set]);
    }
    if let Some(kind) = kind {
        return open(&default_path(kind), Some(kind), access).map(|set| vec![set]);
    }
    let mut found = Vec::new();
    for kind in Kind::ALL {
        let path = default_path(kind);
        if !matches!(bpffs::look(&path), Ok(Pin::Missing)) {
            found.push(open(&path, Some(kind), access)?);
        }
    }
    if found.is_empty() {
        let paths = Kind::ALL.map(|kind| format!("`{}`", text::path(&default_path(kind))));
        return Err(Failure::new(Code::NotFound, format!("no set at {}: not found", paths.join(" or ")))
            .hint("create one with: nsmap create, or name it with --map"));
    }
    Ok(found)
}

/// Opens the set at `path`.
pub(crate) fn open(path: &Path, kind: Option<Kind>, access: Access) -> Result<NamedSet, Failure> {
    let at = format!("open set `{}`", text::path(path));
    match bpffs::look(path) {
        Ok(Pin::Missing) if path.is_symlink() => {
            return Err(Failure::new(Code::NotFound, format!("{at}: a symbolic link to nothing")));
        }
        Ok(Pin::Missing) => {
            let kind = if kind == Some(Kind::Cgroup) { "--kind cgroup " } else { "" };
            let hint = format!("create it with: nsmap create {kind}{}", text::path(path));
            return Err(Failure::new(Code::NotFound, format!("{at}: not found")).hint(hint));
        }
        Ok(Pin::Elsewhere(found)) => {
            let message = format!("{at}: found a file on {found}, expected a map pinned on bpffs");
            return Err(Failure::new(Code::NotBpffs, message));
        }
        Err(error) => return Err(Failure::from(error).context(&at).needs(Capability::DacOverride)),
        Ok(Pin::Pinned | Pin::Directory) => {}
    }
    let set = match kind {
        Some(kind) => Set::open_kind(path, kind, access),
        None => Set::open(path, access),
    };
    match set {
        Ok(set) => Ok(NamedSet { path: path.to_owned(), set }),
        Err(error) => Err(refused_open(path, access, &error)),
    }
}

/// `EPERM` is bpf(2) being closed to this process; `EACCES` is the permission bits of the pin.
fn refused_open(path: &Path, access: Access, error: &loader::Error) -> Failure {
    let failure = Failure::new(Code::of(error), error.to_string());
    if error.errno() == Some(libc::EPERM) {
        return failure.needs(Capability::Bpf);
    }
    let bits = std::fs::metadata(path).map(|meta| (meta.mode() & 0o777, meta.uid()));
    match bits {
        Ok((mode, uid)) if failure.code == Code::Permission => {
            let wanted = if access == Access::ReadOnly { "reading" } else { "reading and writing" };
            failure.hint(format!(
                "the pin has mode {mode:04o} and belongs to uid {uid}; {wanted} it needs CAP_DAC_OVERRIDE, run as root"
            ))
        }
        _ => failure,
    }
}
