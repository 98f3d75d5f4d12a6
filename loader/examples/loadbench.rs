//! How long the steps of loading an object take, next to `bpftool prog loadall` of the same object.
//!
//! In: an object, and one of its programs if not all. Out: the median (and the best) of each step over many rounds, in microseconds. Build with `--release`. bpftool is a
//! process of its own; its start is measured by itself (`bpftool version`) and shown, so that it can be subtracted. Needs
//! root; pins bpftool's programs for a moment in a bpffs that only this process sees.

#![allow(clippy::print_stdout, reason = "a program for people")]

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use loader::load::{KernelTypes, LoadOptions, Object, TargetFiles};
use loader::spec::{ObjectSpec, Pinning};
use loader::{Error, Result};
use nix::mount::{MsFlags, mount};

const ROUNDS: usize = 51;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        println!("usage: loadbench OBJECT [PROGRAM]");
        return ExitCode::from(2);
    };
    let program = std::env::args().nth(2);
    match bench(Path::new(&path), program.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("loadbench: {error}");
            ExitCode::from(1)
        }
    }
}

fn bench(path: &Path, program: Option<&str>) -> Result<()> {
    let bytes = std::fs::read(path).map_err(|error| Error::io("read", error))?;
    let parse = || -> Result<ObjectSpec> {
        let mut spec = ObjectSpec::parse(&bytes)?;
        spec.maps.iter_mut().for_each(|map| map.pinning = Pinning::None);
        Ok(spec)
    };
    let spec = parse()?;
    report("parse", || parse().map(drop))?;
    report("search the kernel's types", || KernelTypes::find(&spec, &TargetFiles::default()).map(drop))?;
    report("create maps and BTF, search included", || create(&spec).map(drop))?;
    let Some(program) = program else {
        report("all: parse, create, load every program that loads", || load_all(&parse()?))?;
        return theirs(path);
    };
    report("all: parse, create, load the program", || create(&parse()?)?.load_program(program).map(drop))
}

fn create(spec: &ObjectSpec) -> Result<Object> {
    Object::create(spec.clone(), LoadOptions::default())
}

fn load_all(spec: &ObjectSpec) -> Result<()> {
    let mut object = create(spec)?;
    let names = spec.programs.iter().filter(|program| program.autoload).map(|program| &program.name);
    let _programs: Vec<_> = names.filter_map(|name| object.load_program(name).ok()).collect();
    Ok(())
}

fn theirs(path: &Path) -> Result<()> {
    let directory = private_bpffs()?;
    let pins = directory.join("loadbench");
    report("bpftool: start and exit alone", || run(Command::new("bpftool").arg("version")))?;
    let what = "bpftool: prog loadall, start and unpinning included";
    let all = report(what, || {
        run(Command::new("bpftool").args(["prog", "loadall"]).args([path, &pins]))?;
        std::fs::remove_dir_all(&pins).map_err(|error| Error::io("unpin", error))
    });
    // What bpftool refuses is no failure of ours.
    if let Err(error) = all {
        println!("                              {error}");
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().map_err(|error| Error::io("bpftool", error))?;
    let reason = String::from_utf8_lossy(&output.stderr);
    let reason = reason.lines().next().unwrap_or_default().to_owned();
    if output.status.success() { Ok(()) } else { Err(Error::incompatible(format!("bpftool: {reason}"))) }
}

/// A bpffs over `/mnt` that nobody else sees.
fn private_bpffs() -> Result<std::path::PathBuf> {
    let os = |call| move |errno: nix::Error| Error::os(call, errno as i32);
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).map_err(os("unshare"))?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(os("mount"))?;
    mount(Some("bpf"), "/mnt", Some("bpf"), MsFlags::empty(), none).map_err(os("mount"))?;
    Ok("/mnt".into())
}

fn report(what: &str, mut step: impl FnMut() -> Result<()>) -> Result<()> {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        step().map_err(|error| error.context(what.to_owned()))?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let median = times.get(ROUNDS / 2).copied().unwrap_or(Duration::ZERO);
    let best = times.first().copied().unwrap_or(Duration::ZERO);
    println!("{:8} us ({:6} at best)  {what}", median.as_micros(), best.as_micros());
    Ok(())
}
