//! Compiles the kernel side: every `bpf-src/NAME.bpf.c` becomes `$OUT_DIR/NAME.bpf.o`, which the tracer NAME embeds with
//! `include_bytes!(concat!(env!("OUT_DIR"), "/NAME.bpf.o"))`. What it misses, as the comment at its top says, becomes
//! `$OUT_DIR/NAME.misses`, which its help shows. A new program file needs no change here. It is also the build
//! script of the package `nsmap`, whose program files are in `bpf-src/nsmap`.
//!
//! In: the C files and headers beside this file, the target's architecture and byte order from cargo, and the
//! environment variables CLANG and LLVM_STRIP. Out: one object for each program file, and one text for each tracer.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SUFFIX: &str = ".bpf.c";

fn main() {
    if let Err(error) = build() {
        // Cargo shows what a build script panics with; a line on stderr would drown in its environment dump.
        println!("cargo::error={error}");
        std::process::exit(1);
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    let own = env::var("CARGO_PKG_NAME")? == "nsmap";
    let source_dir = Path::new(if own { "../bpf-src/nsmap" } else { "bpf-src" });
    let include_dir = if own { "../include" } else { "include" };
    // Directories: cargo then watches every file below them.
    println!("cargo::rerun-if-changed={}", source_dir.display());
    println!("cargo::rerun-if-changed={}", source_dir.join(include_dir).display());
    println!("cargo::rerun-if-env-changed=CLANG");
    println!("cargo::rerun-if-env-changed=LLVM_STRIP");
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let strip_tool = env::var("LLVM_STRIP").unwrap_or_else(|_| strip_beside(&clang));
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    for name in program_files(source_dir)? {
        let object = out_dir.join(format!("{}.o", name.trim_end_matches(".c")));
        compile(&clang, source_dir, include_dir, &name, &object)?;
        strip(&strip_tool, &object);
        if !own {
            let text = fs::read_to_string(source_dir.join(&name))?;
            let misses =
                misses(&text).ok_or_else(|| format!("bpf-src/{name} does not say what it misses"))?;
            fs::write(out_dir.join(name.replace(SUFFIX, ".misses")), misses)?;
        }
    }
    Ok(())
}

/// The list under `Misses` in the comment at the top of a program file.
fn misses(source: &str) -> Option<String> {
    let (_, list) = source.split_once("\n * Misses\n")?;
    let lines = list.lines().map_while(|line| line.strip_prefix(" * "));
    Some(lines.map(|line| format!("{line}\n")).collect())
}

/// The names of the program files, sorted: the same tree builds in the same order.
fn program_files(source_dir: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(source_dir)? {
        let name = entry?.file_name();
        if let Some(name) = name.to_str().filter(|name| name.ends_with(SUFFIX)) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn compile(
    clang: &str,
    source_dir: &Path,
    include_dir: &str,
    source: &str,
    object: &Path,
) -> Result<(), Box<dyn Error>> {
    let status = Command::new(clang)
        // Relative names: the line information in the object then names no directory of this machine.
        .current_dir(source_dir)
        .args(["-target", bpf_target()?, bpf_arch()?.as_str()])
        // -g: BTF. v3 adds 32-bit ALU and jump instructions: less code, and ranges the verifier can follow. Kernels
        // have had both since 5.1. It also lets clang use atomics of 5.12, so those may not be written in the C files.
        .args(["-g", "-O2", "-mcpu=v3", "-std=gnu11"])
        .args(["-Wall", "-Wextra", "-Werror", "-fno-stack-protector", "-fdebug-compilation-dir=."])
        .args(["-I", include_dir, "-c", source, "-o"])
        .arg(object)
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{clang}` could not compile {}/{source} ({status})", source_dir.display()).into()),
        Err(error) => Err(format!(
            "`{clang}` cannot be run ({error}): install it (Debian, Ubuntu: apt-get install clang; Fedora: dnf install \
             clang), or name another one in the environment variable CLANG"
        )
        .into()),
    }
}

/// Byte order of the kernel that will run the object, which is the target's.
fn bpf_target() -> Result<&'static str, Box<dyn Error>> {
    match env::var("CARGO_CFG_TARGET_ENDIAN")?.as_str() {
        "big" => Ok("bpfeb"),
        _ => Ok("bpfel"),
    }
}

/// The name the kernel's own BPF sources use for the architecture.
fn bpf_arch() -> Result<String, Box<dyn Error>> {
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let name = match arch.as_str() {
        "x86_64" => "x86",
        "aarch64" => "arm64",
        "s390x" => "s390",
        "powerpc64" => "powerpc",
        "riscv64" => "riscv",
        "loongarch64" => "loongarch",
        other => return Err(format!("no BPF target known for the architecture `{other}`").into()),
    };
    Ok(format!("-D__TARGET_ARCH_{name}"))
}

/// `clang-16` comes with `llvm-strip-16`, `/opt/llvm/bin/clang` with `/opt/llvm/bin/llvm-strip`.
fn strip_beside(clang: &str) -> String {
    let (directory, file) = clang.rsplit_once('/').map_or(("", clang), |(dir, file)| (dir, file));
    let strip = file.replace("clang", "llvm-strip");
    if directory.is_empty() { strip } else { format!("{directory}/{strip}") }
}

/// What of an object nobody reads who loads it: relocations of types (everything they point at is where it says), a table
/// for linkers, the labels of jumps.
const UNREAD: [&str; 9] = ["-R", ".rel.BTF", "-R", ".rel.BTF.ext", "-R", ".llvm_addrsig", "-w", "-N", "LBB*"];

/// Drops that and the DWARF sections, and keeps BTF: half of the object is left. Without the
/// tool it is only larger.
fn strip(tool: &str, object: &Path) {
    let stripped = object.with_extension("stripped");
    let done = Command::new(tool).arg("-g").args(UNREAD).arg("-o").arg(&stripped).arg(object).output();
    if done.is_ok_and(|output| output.status.success()) {
        // A failed rename leaves the unstripped object, which is as good.
        let _ = fs::rename(&stripped, object);
    }
}
