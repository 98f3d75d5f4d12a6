//! The configuration of the running kernel: what `.kconfig` externs ask for.
//!
//! In: `/boot/config-RELEASE` (plain or gzip) or `/proc/config.gz`; `uname(2)` and what distributions put beside it. Out:
//! [`KernelConfig`] and the version. What the values mean to a program is in [`crate::spec::kconfig`].

use std::fs::{self, File};
use std::io::Read;
use std::sync::OnceLock;

use nix::sys::utsname::uname;

use super::{kallsyms, probe};
use crate::error::{Error, Result};
use crate::spec::kconfig::KernelConfig;

/// No kernel's configuration comes near this, unpacked; a larger file is something else.
const SIZE_LIMIT: u64 = 16 << 20;

/// Reads the configuration.
///
/// # Errors
/// `NotFound` when this kernel shows none.
pub fn read() -> Result<KernelConfig> {
    let release = uname().map(|names| names.release().to_string_lossy().into_owned()).unwrap_or_default();
    let places = [format!("/boot/config-{release}"), "/proc/config.gz".to_owned()];
    for place in &places {
        if let Ok(file) = File::open(place) {
            return read_file(file).map_err(|error| error.context(format!("read {place}")));
        }
    }
    Err(Error::not_found(format!("this kernel shows no configuration ({})", places.join(", "))))
}

fn read_file(file: File) -> Result<KernelConfig> {
    let bytes = super::unpack(file, SIZE_LIMIT)?;
    Ok(KernelConfig::new(String::from_utf8_lossy(&bytes)))
}

/// One of the loader's own variables: `LINUX_*`. `None` if it has none of this name.
pub fn virtual_value(name: &str, token: probe::Token<'_>) -> Option<u64> {
    match name {
        "LINUX_KERNEL_VERSION" => Some(u64::from(version())),
        "LINUX_HAS_BPF_COOKIE" => Some(u64::from(probe::perf_links(token).unwrap_or(false))),
        "LINUX_HAS_SYSCALL_WRAPPER" => Some(u64::from(has_syscall_wrapper())),
        _ => None,
    }
}

/// Whether the functions of system calls carry a prefix of the architecture, as they do with
/// `CONFIG_ARCH_HAS_SYSCALL_WRAPPER`. Asked once per process.
pub fn has_syscall_wrapper() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| syscall_prefix().is_some_and(|prefix| kallsyms::exists(&format!("{prefix}bpf"))))
}

/// What the functions of system calls start with where they are wrapped.
pub fn syscall_prefix() -> Option<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Some("__x64_sys_"),
        "aarch64" => Some("__arm64_sys_"),
        "s390x" => Some("__s390x_sys_"),
        "riscv64" => Some("__riscv_sys_"),
        "powerpc64" => Some("__powerpc_sys_"),
        _ => None,
    }
}

/// The running kernel as `KERNEL_VERSION(a, b, c)`, the last part at most 255. Distributions that write their own into
/// the release are looked up where they put the real one.
pub fn version() -> u32 {
    let names = uname();
    let text = |get: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
        names.as_ref().map(|names| get(names).to_string_lossy().into_owned()).unwrap_or_default()
    };
    let ubuntu = fs::read_to_string("/proc/version_signature").unwrap_or_default();
    let candidates = [
        ubuntu.split_whitespace().last().unwrap_or_default().to_owned(),
        text(|names| names.version())
            .split_once("Debian ")
            .map(|(_, rest)| rest.to_owned())
            .unwrap_or_default(),
        text(|names| names.release()),
    ];
    candidates.iter().find_map(|text| parse_version(text)).unwrap_or(0)
}

fn parse_version(text: &str) -> Option<u32> {
    let mut numbers = text.splitn(3, '.').map(|part| {
        let digits = part.find(|c: char| !c.is_ascii_digit()).and_then(|end| part.get(..end)).unwrap_or(part);
        digits.parse::<u32>().ok()
    });
    let (major, minor) = (numbers.next()??, numbers.next()??);
    let patch = numbers.next().flatten().unwrap_or(0).min(255);
    Some((major.min(0xffff) << 16) | (minor.min(255) << 8) | patch)
}

/// Unpacks a stream that starts with gzip's magic, and takes any other as it is.
pub(super) fn unpack(file: impl Read, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(|error| Error::io("read", error))?;
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut plain = Vec::new();
    let unpacked = flate2::read::MultiGzDecoder::new(bytes.as_slice()).take(limit).read_to_end(&mut plain);
    unpacked.map_err(|error| Error::invalid(format!("not gzip: {error}")))?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_distributions_are_read() {
        assert_eq!(parse_version("6.18.44-fc-v657"), Some(0x06_12_2c));
        assert_eq!(parse_version("5.10.0"), Some(0x05_0a_00));
        assert_eq!(parse_version("4.19.300"), Some(0x04_13_ff));
        assert_eq!(parse_version("7.1-rc2"), Some(0x07_01_00));
        assert_eq!(parse_version("#1 SMP"), None);
    }

    #[test]
    fn gzip_is_unpacked_and_anything_else_is_left_alone() {
        use std::io::Write as _;
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(b"CONFIG_BPF=y\n").unwrap();
        let packed = packer.finish().unwrap();
        assert_eq!(unpack(packed.as_slice(), 1 << 20).unwrap(), b"CONFIG_BPF=y\n");
        assert_eq!(unpack(&b"CONFIG_BPF=y\n"[..], 1 << 20).unwrap(), b"CONFIG_BPF=y\n");
        assert!(unpack(&packed[..packed.len() - 6], 1 << 20).is_err());
    }
}
