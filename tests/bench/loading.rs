//! From an object's bytes to programs in the kernel, and the part of it that reads the kernel's types.

use std::fs;
use std::hint::black_box;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use loader::btf::WantedSet;
use loader::load::{LoadOptions, Object};
use loader::program::Program;
use loader::spec::ObjectSpec;
use loader::{Result, kernel};

use crate::Bench;
use crate::report::{Row, Target, Unit};
use crate::sample::{Sample, Side, alternate};
use crate::work::timed;

/// CPU time of this thread and of the children that it waits for: the kernel does its part of a load in the calling thread.
fn milliseconds<T>(work: impl FnOnce() -> T) -> f64 {
    let mut kept = None;
    let took = timed(1, || kept = Some(black_box(work())));
    // Only now: giving back is not part of it.
    drop(kept);
    took.cpu / 1e6
}

/// The programs that load unless told otherwise, as bpftool does it.
fn load(bytes: &[u8]) -> Result<(Object, Vec<Program>)> {
    let mut object = Object::create(ObjectSpec::parse(bytes)?, LoadOptions::default())?;
    let default = object.spec().programs.iter().filter(|program| program.autoload);
    let names: Vec<String> = default.map(|program| program.name.clone()).collect();
    let programs = names.iter().map(|name| object.load_program(name)).collect::<Result<_>>()?;
    Ok((object, programs))
}

/// The one program that is the main part of a start.
fn load_one(bytes: &[u8], name: &str) -> Result<(Object, Program)> {
    let mut object = Object::create(ObjectSpec::parse(bytes)?, LoadOptions::default())?;
    let program = object.load_program(name)?;
    Ok((object, program))
}

/// The role of a process that loads an object and ends: the counterpart of `bpftool prog load`.
pub(crate) fn role(object: &Path) -> bool {
    fs::read(object).is_ok_and(|bytes| load(&bytes).is_ok())
}

fn process(mut command: Command) -> f64 {
    milliseconds(|| {
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    })
}

/// Names of all types of the object: more than any loader has to look for.
pub(crate) fn names(bytes: &[u8]) -> WantedSet {
    let spec = ObjectSpec::parse(bytes).unwrap();
    let mut wanted = WantedSet::new();
    if let Some(btf) = &spec.btf {
        for found in btf.types().filter_map(Result::ok) {
            match btf.string_bytes(found.name_off()) {
                Ok(name) if !name.is_empty() => wanted.insert_bytes(name),
                _ => {}
            }
        }
    }
    wanted
}

/// The pass over the kernel's types that a start makes: open, map, walk.
pub(crate) fn btf(bench: &mut Bench, object: &[u8]) {
    let Ok(types) = kernel::btf::open(None) else {
        bench.report.add(&Row::missing("types of the kernel", "this kernel has no BTF"));
        return;
    };
    let what = format!(
        "types of the kernel, one pass ({:.1} MB, {} types), CPU time",
        types.raw().len() as f64 / 1e6,
        types.type_count()
    );
    drop(types);
    let wanted = names(object);
    let mut buffer = vec![0; 64 << 10];
    let mut sides: Vec<Side<'_, f64>> = vec![
        Box::new(|| milliseconds(|| kernel::btf::open(None).unwrap().wanted(&wanted).unwrap())),
        Box::new(|| {
            milliseconds(|| {
                let mut file = fs::File::open(kernel::btf::VMLINUX).unwrap();
                while file.read(&mut buffer).unwrap() > 0 {}
            })
        }),
    ];
    let found = alternate(bench.rounds * 5, &mut sides);
    drop(sides);
    let [ours, copied] = found.map_samples();
    let row = Row::new(what, Unit::Milliseconds, ours).target(Target::AtMost(1.5));
    bench.report.add(&row.limit("reading the file once", &copied));
}

/// With each of `programs`, which are for different kernels.
pub(crate) fn objects(bench: &mut Bench, tracer: &str, bytes: &[u8], programs: &[&str]) {
    for program in programs.iter().filter(|program| load_one(bytes, program).is_ok()) {
        let what = format!("{tracer}: load the object with its program `{program}`, CPU time");
        let one: Sample =
            (0..bench.rounds * 3).map(|_| milliseconds(|| load_one(bytes, program).unwrap())).collect();
        bench.report.add(&Row::new(what, Unit::Milliseconds, one).target(Target::AtMost(3.0)));
    }
    against_bpftool(bench, tracer);
}

/// `run` has compiled the object in a form that both take.
fn against_bpftool(bench: &mut Bench, tracer: &str) {
    let what = format!("{tracer}: load the object by a process that ends, CPU time");
    let object = bench.work.join(format!("{tracer}.bpf.o"));
    let ours = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("load").arg(&object);
        process(command)
    };
    let pin = bench.bpffs.join("program");
    let theirs = || {
        let mut command = Command::new("/usr/sbin/bpftool");
        command.args(["prog", "load"]).arg(&object).arg(&pin);
        let took = process(command);
        // No pin means that it failed.
        if fs::remove_file(&pin).is_ok() { took } else { f64::NAN }
    };
    if theirs().is_nan() {
        let sample: Sample = (0..bench.rounds).map(|_| ours()).collect();
        let why = "bpftool is not installed, or cannot load it".to_owned();
        bench.report.add(&Row::new(what, Unit::Milliseconds, sample).theirs("bpftool prog load", Err(why)));
        return;
    }
    let mut sides: Vec<Side<'_, f64>> = vec![Box::new(ours), Box::new(theirs)];
    let found = alternate(bench.rounds, &mut sides);
    drop(sides);
    let [ours, theirs] = found.map_samples();
    let row = Row::new(what, Unit::Milliseconds, ours).target(Target::Ratio(1.0));
    bench.report.add(&row.theirs("bpftool prog load", Ok(theirs)));
}

/// Two sides, as samples.
trait Two {
    fn map_samples(self) -> [Sample; 2];
}

impl Two for Vec<Vec<f64>> {
    fn map_samples(self) -> [Sample; 2] {
        let mut sides = self.into_iter().map(|values| values.into_iter().collect());
        [sides.next().unwrap_or_default(), sides.next().unwrap_or_default()]
    }
}
