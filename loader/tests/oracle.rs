//! The kernel's view of our programs against its view of bpftool's: the translated instructions must be the same.
//!
//! Objects: those that clang makes of `tests/bpf`, and all in the directories that `LOADER_ORACLE` names (separated by
//! `:`), such as the corpus of another loader. Only programs that both load are compared. Needs root, clang and bpftool.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::clang::compile;
use common::kernel::{Bpffs, NotRun, callbacks, may_use_bpf, not_run};
use loader::Endian;
use loader::load::{LoadOptions, Object};
use loader::section::ProgramKind;
use loader::spec::ObjectSpec;

/// What bpftool shows of a pinned program, with maps numbered by their first appearance instead of by id.
fn translated(path: &Path) -> String {
    let output =
        Command::new("bpftool").args(["prog", "dump", "xlated", "pinned"]).arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    number_ids(&String::from_utf8_lossy(&output.stdout))
}

fn number_ids(text: &str) -> String {
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    let mut parts = text.split("map[id:");
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        let (id, rest) = part.split_once(']').unwrap();
        let next = known.len();
        let number = *known.entry(id.to_owned()).or_insert(next);
        out += &format!("map[{number}]{rest}");
    }
    out
}

/// Name -> translated instructions of what bpftool can load; none if it refuses the object.
fn by_bpftool(object: &Path, bpffs: &Bpffs) -> BTreeMap<String, String> {
    let directory = bpffs.path("theirs");
    let load = |kind: &[&str]| {
        let mut command = Command::new("bpftool");
        command.args(["prog", "loadall"]).args([object, &directory]).args(kind).output().unwrap()
    };
    let mut run = load(&[]);
    if String::from_utf8_lossy(&run.stderr).contains("failed to guess program type") {
        run = load(&["type", "socket"]);
    }
    if !run.status.success() {
        let reason = String::from_utf8_lossy(&run.stderr);
        println!("{}: bpftool refuses it: {}", object.display(), reason.lines().next().unwrap_or_default());
        return BTreeMap::new();
    }
    if !directory.exists() {
        return BTreeMap::new();
    }
    let pins = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    let programs =
        pins.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), translated(&path)));
    let programs = programs.collect();
    std::fs::remove_dir_all(&directory).unwrap();
    programs
}

fn by_us(object: &[u8], name: &str, bpffs: &Bpffs) -> loader::Result<String> {
    let options = LoadOptions { pin_root: Some(bpffs.path("maps")), ..LoadOptions::default() };
    let mut spec = ObjectSpec::parse(object)?;
    for program in spec.programs.iter_mut().filter(|program| program.kind == ProgramKind::UNKNOWN) {
        program.kind = ProgramKind::from_section_name("socket")?;
    }
    let mut object = Object::create(spec, options)?;
    let program = object.load_program(name)?;
    let path = bpffs.path("ours");
    program.pin(&path)?;
    let text = translated(&path);
    std::fs::remove_file(&path).unwrap();
    Ok(text)
}

/// Compares all programs of one object that bpftool loads; how many there were.
fn compare(object: &Path, bpffs: &Bpffs) -> usize {
    let bytes = std::fs::read(object).unwrap();
    // libbpf finds that out with a kprobe, and so gets it wrong on kernels without kprobes.
    let spec = ObjectSpec::parse(&bytes);
    if spec.is_ok_and(|spec| spec.externs.iter().any(|it| it.name == "LINUX_HAS_SYSCALL_WRAPPER")) {
        return 0;
    }
    let theirs = by_bpftool(object, bpffs);
    for (name, expected) in &theirs {
        match by_us(&bytes, name, bpffs) {
            Ok(found) => assert_eq!(&found, expected, "program `{name}` of {}", object.display()),
            Err(error) => {
                panic!("bpftool loads program `{name}` of {}, we do not: {error:#}", object.display())
            }
        }
    }
    theirs.len()
}

/// Not `checks`, nor `functions`: bpftool resolves every extern of an object at once, and takes no static functions beside
/// programs.
fn own_objects(directory: &Path) -> Option<Vec<PathBuf>> {
    let names = ["oracle", "callbacks"];
    let here = names.into_iter().filter(|name| *name != "callbacks" || callbacks().is_some());
    let written = here.map(|name| {
        let path = directory.join(format!("{name}.o"));
        std::fs::write(&path, compile(name, Endian::NATIVE).ok()?).unwrap();
        Some(path)
    });
    written.collect()
}

fn corpus() -> Vec<PathBuf> {
    let directories = std::env::var("LOADER_ORACLE").unwrap_or_default();
    let places = directories.split(':').filter(|place| !place.is_empty());
    let mut objects: Vec<PathBuf> = places
        .flat_map(|place| std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()))
        .collect();
    objects.retain(|path| path.extension().is_some_and(|end| end == "o" || end == "elf"));
    objects.sort();
    objects
}

#[test]
fn the_kernel_sees_the_same_instructions_from_us_and_from_bpftool() {
    if may_use_bpf().is_err() {
        return;
    }
    if Command::new("bpftool").arg("version").output().is_err() {
        not_run(&NotRun::NoPeer("bpftool"));
        return;
    }
    let bpffs = Bpffs::mount();
    let directory = tempfile::tempdir().unwrap();
    let Some(own) = own_objects(directory.path()) else { return };
    for object in &own {
        assert_ne!(compare(object, &bpffs), 0, "bpftool loads {}", object.display());
    }
    for object in corpus() {
        println!("{}: {} programs compared", object.display(), compare(&object, &bpffs));
    }
}
