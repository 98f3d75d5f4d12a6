//! Every way of attaching that this kernel has, on a workload of this process. Needs root and clang.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::ops::ControlFlow;
use std::time::Duration;

use common::clang::compile;
use common::kernel::{NotRun, may_use_bpf, not_run};
use loader::attach::{AttachOptions, attach, attach_with, iterator};
use loader::load::{LoadOptions, Object};
use loader::section::Target;
use loader::spec::ObjectSpec;
use loader::{Endian, Error, ErrorKind, Link, RingBuffer};
use nix::unistd::getppid;

fn spec() -> Option<ObjectSpec> {
    may_use_bpf().ok()?;
    let mut spec = ObjectSpec::parse(&compile("attach", Endian::NATIVE).ok()?).unwrap();
    spec.set_global("tgid", std::process::id()).unwrap();
    spec.set_global("getppid_number", u64::try_from(nix::libc::SYS_getppid).unwrap()).unwrap();
    Some(spec)
}

fn number(object: &Object, name: &str) -> u64 {
    u64::from_ne_bytes(object.global(name).unwrap().try_into().unwrap())
}

/// Counts what `name` sees of a prime number of calls, with a cookie where there are cookies.
fn sees_all(name: &str, workload: impl Fn()) -> Result<Link, Error> {
    const TIMES: u64 = 17;
    let mut object = Object::create(spec().unwrap(), LoadOptions::default()).unwrap();
    let program = object.load_program(name)?;
    let link = attach_with(&program, AttachOptions { cookie: 0xfeed_5eed })?;
    for _ in 0..TIMES {
        workload();
    }
    assert_eq!(number(&object, "hits"), TIMES, "{name}");
    assert_eq!(number(&object, "cookie"), 0xfeed_5eed, "{name}");
    Ok(link)
}

fn call_getppid() {
    std::hint::black_box(getppid());
}

#[test]
fn a_tracepoint_is_seen_and_carries_its_cookie() {
    if spec().is_none() {
        return;
    }
    let link = sees_all("by_tracepoint", call_getppid).unwrap();
    assert!(link.is_slow());
    Link::detach_all([link]);
}

#[test]
fn kprobes_are_seen_or_the_kernel_has_none() {
    if spec().is_none() {
        return;
    }
    for name in ["by_kprobe", "by_kprobe_multi"] {
        match sees_all(name, call_getppid) {
            Ok(link) => link.detach(),
            Err(error) => match error.kind() {
                ErrorKind::NotSupported { feature, .. } => assert!(feature.contains("prob"), "{error}"),
                // tracefs without kprobe_events says it another way.
                ErrorKind::NotFound => assert!(error.to_string().contains("getppid"), "{error}"),
                _ => panic!("{error:#}"),
            },
        }
    }
}

/// Probed by the test below; never inlined, and of one instruction at least.
#[inline(never)]
fn loader_test_probed(value: u64) -> u64 {
    std::hint::black_box(value) + 1
}

/// What the linker calls that function.
fn probed_symbol(path: &str) -> String {
    let bytes = std::fs::read(path).unwrap();
    let elf = goblin::elf::Elf::parse(&bytes).unwrap();
    let mut names =
        elf.syms.iter().filter(|symbol| symbol.is_function()).map(|symbol| &elf.strtab[symbol.st_name]);
    names.find(|name| name.contains("loader_test_probed")).unwrap().to_owned()
}

#[test]
fn a_function_of_this_program_is_probed_at_entry_and_return() {
    let Some(mut spec) = spec() else { return };
    let path = std::env::current_exe().unwrap().display().to_string();
    for (name, at_return) in [("by_uprobe", false), ("by_uretprobe", true)] {
        let target =
            Target::Uprobe { path: path.clone(), symbol: Some(probed_symbol(&path)), offset: 0, at_return };
        spec.program_mut(name).unwrap().kind.target = target;
        let mut object = Object::create(spec.clone(), LoadOptions::default()).unwrap();
        let program = object.load_program(name).unwrap();
        let link = match attach(&program) {
            Ok(link) => link,
            Err(error) if matches!(error.kind(), ErrorKind::NotSupported { .. }) => {
                not_run(&NotRun::KernelLacks("uprobes"));
                return;
            }
            Err(error) => panic!("{error:#}"),
        };
        let sum: u64 =
            (0..13_u64).map(|value| std::hint::black_box(loader_test_probed as fn(u64) -> u64)(value)).sum();
        assert_eq!(sum, 91);
        assert_eq!(number(&object, "hits"), 13, "{name}");
        link.detach();
        std::hint::black_box(loader_test_probed(1));
        assert_eq!(number(&object, "hits"), 13, "detached programs see nothing");
    }
}

#[test]
fn a_missing_symbol_of_a_binary_is_named() {
    let Some(mut spec) = spec() else { return };
    let path = std::env::current_exe().unwrap().display().to_string();
    let symbol = Some("no_such_function".to_owned());
    spec.program_mut("by_uprobe").unwrap().kind.target =
        Target::Uprobe { path, symbol, offset: 0, at_return: false };
    let mut object = Object::create(spec, LoadOptions::default()).unwrap();
    let error = attach(&object.load_program("by_uprobe").unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().ends_with("has no function `no_such_function`"), "{error}");
}

#[test]
fn an_iterator_writes_a_line_for_every_task() {
    let Some(spec) = spec() else { return };
    let mut object = Object::create(spec, LoadOptions::default()).unwrap();
    let link = attach(&object.load_program("by_iterator").unwrap()).unwrap();
    let text = iterator::read_all(link.as_link().unwrap(), 1 << 20).unwrap();
    let lines = text.chunks(5).inspect(|line| assert_eq!(line, b"task\n")).count();
    assert!(lines >= 3, "this process, its parent and init at least: {lines}");
}

#[test]
fn records_are_consumed_in_batches_drained_and_counted_when_lost() {
    let Some(spec) = spec() else { return };
    let mut object = Object::create(spec, LoadOptions::default()).unwrap();
    let mut ring = RingBuffer::new(object.map("ring").unwrap()).unwrap();
    let link = attach(&object.load_program("fill").unwrap()).unwrap();
    let calls = |times: u32| (0..times).for_each(|_| call_getppid());

    calls(101);
    let mut seen = Vec::new();
    let mut take = |record: &[u8]| seen.push(u32::from_ne_bytes(record[..4].try_into().unwrap()));
    let first = ring.consume(7, |record| {
        take(record);
        ControlFlow::Continue(())
    });
    assert_eq!(first.unwrap(), 7);
    let stopped = ring.consume(100, |record| {
        take(record);
        ControlFlow::Break(())
    });
    assert_eq!(stopped.unwrap(), 1);
    link.detach();
    ring.drain(Duration::from_secs(2), &mut take).unwrap();
    let expected: Vec<u32> = (0..101).filter(|number| number % 5 != 4).collect();
    assert_eq!(seen, expected, "in order, without the discarded ones");
    assert_eq!((ring.pending(), object.lost().unwrap()), (0, Some(0)));

    let link = attach(&object.load_program("fill").unwrap()).unwrap();
    calls(400);
    link.detach();
    // 4096 bytes hold at most 170 records of 24 bytes.
    assert!(object.lost().unwrap().unwrap() >= 230);
    assert!(ring.drain(Duration::from_secs(2), |_| {}).unwrap() <= 170);
}
