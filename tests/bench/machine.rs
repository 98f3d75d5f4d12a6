//! Where it was measured: a figure without its machine says little.

use std::fs;
use std::path::Path;
use std::process::Command;

fn first_line(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line[key.len()..].trim_start_matches([':', ' ', '\t', '=']).trim_matches('"').to_owned())
}

/// The 1-minute load.
pub(crate) fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

/// The version of a Debian package.
pub(crate) fn package(name: &str) -> Option<String> {
    let output = Command::new("dpkg-query").args(["-W", "-f=${Version}", name]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// A few lines of Markdown.
pub(crate) fn describe(bin: &Path) -> String {
    let cpu = first_line("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let system = first_line("/etc/os-release", "PRETTY_NAME").unwrap_or_default();
    let ours = Command::new(bin.join("nsmap")).arg("--version").output();
    let ours =
        ours.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    let peers = ["libbpf-tools", "bpftrace", "bpftool", "bpfcc-tools"]
        .map(|name| format!("{name} {}", package(name).unwrap_or_else(|| "not installed".to_owned())));
    format!(
        "- {cpus} x {cpu}, {system}, Linux {}\n- {ours}; {}\n- load at the start {:.1}: with more than about 1, \
         believe ratios and not figures\n",
        kernel.trim(),
        peers.join(", "),
        load()
    )
}
