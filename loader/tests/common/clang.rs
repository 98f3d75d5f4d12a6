//! Compiles the small C programs of `tests/bpf` with clang, for tests that want to see real objects.
//!
//! Where there is no compiler, `LOADER_TEST_OBJECTS` names a directory with objects made before: `NAME.bpfel.o` and
//! `NAME.bpfeb.o` (`make test-kernels` does that for its guests).

use std::path::Path;
use std::process::Command;

use loader::Endian;

/// Why a test did not run.
#[derive(Debug)]
pub struct Skipped(String);

/// The object that clang makes of `tests/bpf/NAME.c`, or a reason to skip the test when there is no
/// clang. `REQUIRE_BPF=1` turns that into a failure; a program that does not compile always is one.
pub fn compile(name: &str, endian: Endian) -> Result<Vec<u8>, Skipped> {
    let target = match endian {
        Endian::Little => "bpfel",
        Endian::Big => "bpfeb",
    };
    if let Some(directory) = std::env::var_os("LOADER_TEST_OBJECTS") {
        return Ok(std::fs::read(Path::new(&directory).join(format!("{name}.{target}.o"))).unwrap());
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bpf").join(format!("{name}.c"));
    let directory = tempfile::tempdir().unwrap();
    let object = directory.path().join("object.o");
    let clang = std::env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    let run = Command::new(&clang)
        .args(["-target", target, "-g", "-O2", "-Wall", "-Werror", "-c", "-o"])
        .arg(&object)
        .arg(&source)
        .output();
    let output = match run {
        Ok(output) => output,
        Err(error) => return Err(skip(format!("{}: {error}", clang.display()))),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(std::fs::read(object).unwrap())
}

/// Both byte orders, little endian first.
pub fn compile_both(name: &str) -> Result<[Vec<u8>; 2], Skipped> {
    Ok([compile(name, Endian::Little)?, compile(name, Endian::Big)?])
}

fn skip(reason: String) -> Skipped {
    super::kernel::not_run(&super::kernel::NotRun::NoCompiler(reason.clone()));
    Skipped(reason)
}
