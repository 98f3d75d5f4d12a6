//! Parts of our own code, measured one by one: `cargo bench`, or `cargo bench -- decode` for some of them.
//!
//! In: our objects, the types of the running kernel, listings made here, and records that the kernel wrote (those need
//! root; without it they are left out, and it says so). Out: criterion's report, which compares with its last run. What
//! is measured beside a peer, or has a target, is in `measure.rs`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "what cannot be measured must stop it"
)]
#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "as in `measure.rs`, whose files these are"
)]

#[allow(dead_code, reason = "more than what is done here")]
mod capture;
#[allow(dead_code, reason = "more than what is done here")]
mod work;

// The tracers are programs; what they do with a record is reached through their source, which is built as for their tests.
#[allow(
    dead_code,
    unused_imports,
    clippy::duplicate_mod,
    reason = "their `main`, and tests that nobody runs here"
)]
#[path = "../../src/bin/execsnoop.rs"]
mod execsnoop;
#[allow(
    dead_code,
    unused_imports,
    clippy::duplicate_mod,
    reason = "their `main`, and tests that nobody runs here"
)]
#[path = "../../src/bin/opensnoop.rs"]
mod opensnoop;

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use loader::kernel;
use loader::linker;
use loader::load::{KernelTypes, TargetFiles};
use loader::spec::ObjectSpec;
use nsmap::container::{Namer, from_cgroup_path};
use nsmap::identity::cgroup;
use nsmap::plan::Plan;
use nsmap::set::Kind;
use tracers::format::time::Clock;
use tracers::stream::Stream;
use tracers::tracer::Tracer;

use execsnoop::Execsnoop;
use opensnoop::Opensnoop;

macro_rules! object {
    ($name:literal) => {
        ($name, include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".bpf.o")).as_slice())
    };
}

const OBJECTS: [(&str, &[u8]); 5] = [
    object!("execsnoop"),
    object!("opensnoop"),
    object!("tcpconnect"),
    object!("tcpaccept"),
    object!("tcptracer"),
];

/// From the bytes of an object to programs that fit this kernel: everything before the first system call for BPF.
fn objects(criterion: &mut Criterion) {
    for (name, bytes) in OBJECTS {
        let spec = ObjectSpec::parse(bytes).unwrap();
        let types = || KernelTypes::find(&spec, &TargetFiles::default()).unwrap();
        criterion.bench_function(&format!("parse/{name}"), |b| b.iter(|| ObjectSpec::parse(bytes).unwrap()));
        if kernel::btf::open(None).is_err() {
            eprintln!("components: this kernel has no types; `types` and `core` are left out");
            continue;
        }
        criterion.bench_function(&format!("types/{name}"), |b| b.iter(types));
        criterion.bench_function(&format!("core/{name}"), |b| {
            b.iter_batched(
                || {
                    (
                        types(),
                        spec.programs.iter().map(|p| linker::link(&spec, p).unwrap()).collect::<Vec<_>>(),
                    )
                },
                |(mut types, programs)| {
                    let resolver = types.resolver().unwrap();
                    programs
                        .into_iter()
                        .map(|program| program.relocate(resolver).unwrap())
                        .collect::<Vec<_>>()
                },
                BatchSize::SmallInput,
            );
        });
    }
}

/// From a record to a row and to JSON.
fn decode(criterion: &mut Criterion) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("components: records are the kernel's, which needs root; `decode` is left out");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (files, program) =
        (work::Files::create(&dir.path().join("opened"), 10), work::Program::create(dir.path()));
    decode_of::<Execsnoop>(criterion, &files, &program);
    decode_of::<Opensnoop>(criterion, &files, &program);
}

fn decode_of<T: Tracer>(criterion: &mut Criterion, files: &work::Files, program: &work::Program) {
    let record = capture::capture::<T>(files, program).unwrap();
    let mut group = criterion.benchmark_group(format!("decode/{}", T::NAME));
    group.throughput(Throughput::Elements(1));
    for (name, args) in [("table", &[][..]), ("json", &["--json"])] {
        let (tracer, common) = capture::parse::<T>(args).unwrap();
        let mut stream = Stream::new(tracer, &common, Clock::start(true));
        group.bench_function(name, |b| {
            b.iter(|| {
                stream.record(&record).unwrap();
                black_box(stream.buffer()).clear();
            });
        });
    }
    group.finish();
}

/// From a cgroup to the container in it: by its path, and as the tracers do it, which remember.
fn containers(criterion: &mut Criterion) {
    let pod = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice";
    let paths = [
        ("docker", format!("/system.slice/docker-{}.scope", "5a".repeat(32))),
        ("kubernetes", format!("{pod}/cri-containerd-{}.scope", "c0".repeat(32))),
        ("none", "/user.slice/user-1000.slice/user@1000.service/app.slice/app-editor.scope".to_owned()),
    ];
    for (name, path) in &paths {
        criterion.bench_function(&format!("container/path/{name}"), |b| {
            b.iter(|| from_cgroup_path(black_box(Path::new(path))));
        });
    }
    let pid = std::process::id();
    let Ok(own) = cgroup::of_process(pid) else {
        eprintln!("components: no cgroup v2; `container/known` is left out");
        return;
    };
    let mut namer = Namer::new();
    criterion.bench_function("container/known", |b| b.iter(|| namer.describe(black_box(own.id), pid)));
}

/// From the text of a listing to what has to change in a set.
fn apply(criterion: &mut Criterion) {
    const MEMBERS: u64 = 100_000;
    let mut text = String::new();
    (0..MEMBERS).for_each(|number| writeln!(text, "{}", 4_026_600_000 + number).unwrap());
    let members =
        || nsmap::listing::parse(text.as_bytes(), Kind::Mntns).into_iter().map(|line| line.member.unwrap());
    let mut group = criterion.benchmark_group("apply");
    group.throughput(Throughput::Elements(MEMBERS)).sample_size(20);
    group.bench_function("read", |b| b.iter(|| members().count()));
    let wanted: Vec<_> = members().collect();
    let (half, _) = wanted.split_at(wanted.len() / 2);
    group.bench_function("plan", |b| {
        b.iter_batched(|| wanted.clone(), |wanted| Plan::new(half, wanted, false), BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(components, objects, decode, containers, apply);
criterion_main!(components);
