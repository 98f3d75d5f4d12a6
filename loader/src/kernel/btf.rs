//! BTF of the running kernel, and BTF objects in it.
//!
//! In: `/sys/kernel/btf/vmlinux`, a kernel image, or a file that the user names. Out: a [`Btf`] read in place, or an fd of a
//! BTF object that the kernel has accepted. Reading types is in [`crate::btf`].

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object::{Object as _, ObjectSection as _};

use crate::btf::{Btf, BtfData};
use crate::error::{Error, Result, ResultExt};
use crate::sys::{SysError, bpf, fs};

/// Where the kernel shows its own types, since 5.2 with `CONFIG_DEBUG_INFO_BTF`.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// No kernel's BTF comes near this; a larger file is something else.
const SIZE_LIMIT: u64 = 256 << 20;

/// Where distributions keep a kernel image with types, for kernels that do not show theirs; `*` is the release.
const IMAGES: [&str; 7] = [
    "/boot/vmlinux-*",
    "/lib/modules/*/vmlinux-*",
    "/lib/modules/*/build/vmlinux",
    "/usr/lib/modules/*/kernel/vmlinux",
    "/usr/lib/debug/boot/vmlinux-*",
    "/usr/lib/debug/boot/vmlinux-*.debug",
    "/usr/lib/debug/lib/modules/*/vmlinux",
];

/// Opens the BTF of the running kernel, or the file at `path`: raw BTF, an ELF file with a section `.BTF`, either of
/// them possibly packed with gzip.
///
/// The file is mapped where the kernel allows that for its BTF (6.16), so that its pages are shared and cost
/// this process nothing; otherwise it is read.
///
/// # Errors
/// `NotSupported` when the kernel has no BTF; `InvalidObject` when the file is not BTF.
pub fn open(path: Option<&Path>) -> Result<Btf> {
    match path {
        Some(path) => open_at(path),
        None if Path::new(VMLINUX).exists() => open_at(Path::new(VMLINUX)),
        None => open_image(),
    }
}

fn open_at(place: &Path) -> Result<Btf> {
    let data = read_place(place)?;
    Btf::parse_deferred(data).with_context(|| format!("BTF file `{}`", place.display()))
}

fn open_image() -> Result<Btf> {
    let names = nix::sys::utsname::uname().map_err(|errno| Error::os("uname", errno as i32))?;
    let release = names.release().to_string_lossy();
    let images = IMAGES.iter().map(|image| PathBuf::from(image.replace('*', &release)));
    let image = images.into_iter().find(|image| image.exists()).ok_or_else(no_btf)?;
    open_at(&image)
}

fn no_btf() -> Error {
    Error::not_supported(
        "type information: /sys/kernel/btf/vmlinux does not exist, CONFIG_DEBUG_INFO_BTF is off",
        "5.2",
    )
}

/// The BTF in a file.
pub(super) fn read_place(place: &Path) -> Result<BtfData> {
    let file = File::open(place).map_err(|error| Error::io("open", error));
    file.and_then(|file| read(&file)).with_context(|| format!("BTF file `{}`", place.display()))
}

fn read(file: &File) -> Result<BtfData> {
    // Only a sysfs file is known not to change under a mapping; anything else is copied.
    if is_sysfs(file)
        && let Ok(mapped) = fs::map_file(file)
    {
        return Ok(BtfData::from_shared(Arc::new(mapped)));
    }
    let bytes = super::config::unpack(file, SIZE_LIMIT)?;
    if bytes.is_empty() {
        return Err(Error::invalid("the file is empty"));
    }
    if is_elf(&bytes) {
        let types = section(&bytes, ".BTF")?.map(BtfData::from);
        return types.ok_or_else(|| Error::not_found("the ELF file has no section `.BTF`"));
    }
    Ok(BtfData::from(bytes))
}

fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

/// A section of a kernel image, a module or an object.
fn section(bytes: &[u8], name: &str) -> Result<Option<Vec<u8>>> {
    let file = object::read::elf::ElfFile64::<object::Endianness>::parse(bytes);
    let file = file.map_err(|error| Error::invalid(format!("not a 64-bit ELF file: {error}")))?;
    let Some(section) = file.section_by_name(name) else { return Ok(None) };
    let data = section.data().map_err(|error| Error::invalid(format!("section `{name}`: {error}")))?;
    Ok(Some(data.to_vec()))
}

/// Opens the BTF of a kernel module, on top of the types of `kernel`: a module file, raw BTF, either of them possibly packed
/// with gzip. A module that was built for another kernel brings a distilled base: the section `.BTF.base`, or for
/// raw BTF the file of the same name with `.base` after it.
///
/// # Errors
/// `InvalidObject` when the file is not BTF; `Incompatible` when the module does not fit `kernel`.
pub fn open_module(path: &Path, kernel: &Btf) -> Result<Btf> {
    let read = || -> Result<Btf> {
        let bytes = read_file(path)?;
        let (types, base) = match is_elf(&bytes) {
            true => (section(&bytes, ".BTF")?, section(&bytes, ".BTF.base")?),
            false => {
                let mut beside = path.as_os_str().to_owned();
                beside.push(".base");
                let beside = Path::new(&beside);
                (Some(bytes), beside.exists().then(|| read_file(beside)).transpose()?)
            }
        };
        let types = types.ok_or_else(|| Error::not_found("the ELF file has no section `.BTF`"))?;
        match base {
            Some(base) => Btf::parse_distilled(types.into(), base.into(), kernel),
            None => Btf::parse_split(types.into(), kernel),
        }
    };
    read().with_context(|| format!("BTF file `{}`", path.display()))
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(|error| Error::io("open", error))?;
    super::config::unpack(file, SIZE_LIMIT)
}

fn is_sysfs(file: &File) -> bool {
    const SYSFS_MAGIC: u32 = 0x6265_6572;
    fs::fs_magic(file) == Ok(SYSFS_MAGIC)
}

/// A BTF object in the kernel.
#[derive(Debug)]
pub struct BtfObject {
    fd: OwnedFd,
}

impl AsFd for BtfObject {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Hands `bytes` (host byte order) to the kernel. A token stands for the privilege (6.9).
///
/// # Errors
/// The kernel's errno, with the last line of its log when it wrote one.
pub fn load(bytes: &[u8], token: Option<BorrowedFd<'_>>) -> Result<BtfObject> {
    const LOG_SIZE: usize = 64 << 10;
    match bpf::btf_load(bytes, &mut [], token) {
        Ok(fd) => Ok(BtfObject { fd }),
        Err(first @ SysError { errno: libc::EPERM, .. }) => Err(first.into()),
        Err(first) => {
            let mut log = vec![0; LOG_SIZE];
            match bpf::btf_load(bytes, &mut log, token) {
                Ok(fd) => Ok(BtfObject { fd }),
                Err(_) => {
                    let text = crate::verifier_log::text(&log);
                    let last =
                        text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("").to_owned();
                    Err(Error::from(first).context(format!("the kernel refused the BTF: {last}")))
                }
            }
        }
    }
}
