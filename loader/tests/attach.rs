//! Every way of attaching that this kernel has, on a workload of this process. Needs root and clang.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use common::clang::compile;
use common::elf::{ObjectBuilder, Symbol};
use common::kernel::{Bpffs, NotRun, has_trampolines, may_use_bpf, not_run};
use common::sample::{exit, set};
use loader::attach::iterator::{self, Over};
use loader::attach::{AttachOptions, attach, attach_with};
use loader::btf::IntInfo;
use loader::btf::encode::{BtfBuilder, Field};
use loader::hooks::{Further, Partial, Way, attach_first};
use loader::load::{LoadOptions, Object};
use loader::map::MapConfig;
use loader::section::Target;
use loader::spec::ObjectSpec;
use loader::spec::map::map_type;
use loader::{Endian, Error, ErrorKind, Link, Map, RingBuffer};
use nix::mount::{MsFlags, mount};
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

/// How often a workload is done.
const TIMES: u64 = 17;

/// Attaches `name` and counts what it sees of a workload; with a cookie where this kernel has cookies for it.
fn sees_all(name: &str, workload: impl Fn()) -> Result<Link, Error> {
    sees_all_of(&spec().unwrap(), name, &workload)
}

fn sees_all_of(spec: &ObjectSpec, name: &str, workload: &impl Fn()) -> Result<Link, Error> {
    let lacks_cookies = |error: &Error| matches!(error.kind(), ErrorKind::NotSupported { feature, .. } if feature.contains("cookie"));
    match sees_with_cookie(spec, name, 0xfeed_5eed, workload) {
        Err(error) if lacks_cookies(&error) => sees_with_cookie(spec, name, 0, workload),
        other => other,
    }
}

fn sees_with_cookie(spec: &ObjectSpec, name: &str, cookie: u64, workload: &impl Fn()) -> Result<Link, Error> {
    let mut object = Object::create(spec.clone(), LoadOptions::default()).unwrap();
    let program = object.load_program(name)?;
    let link = attach_with(&program, AttachOptions { cookie })?;
    for _ in 0..TIMES {
        workload();
    }
    assert_eq!(number(&object, "hits"), TIMES, "{name}");
    assert_eq!(number(&object, "cookie"), cookie, "{name}");
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

/// Expects that the link was made, or that the kernel has none of its kind, which is said.
#[track_caller]
fn made_or_lacking(made: Result<Link, Error>, what: &'static str) -> Option<Link> {
    let error = match made {
        Ok(link) => return Some(link),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::NotSupported { feature, .. } => assert!(feature.contains("prob"), "{error}"),
        // tracefs without kprobe_events says it another way.
        ErrorKind::NotFound => assert!(!Path::new(TRACING).join("kprobe_events").exists(), "{error:#}"),
        _ => panic!("{error:#}"),
    }
    not_run(&NotRun::KernelLacks(what));
    None
}

const TRACING: &str = "/sys/kernel/tracing";

#[test]
fn kprobes_are_seen_at_entry_and_return() {
    if spec().is_none() {
        return;
    }
    for name in ["by_kprobe", "by_kretprobe"] {
        let Some(link) = made_or_lacking(sees_all(name, call_getppid), "kprobes") else { return };
        link.detach();
    }
}

#[test]
fn many_functions_are_probed_by_one_pattern() {
    if spec().is_none() {
        return;
    }
    for name in ["by_kprobe_multi", "by_kretprobe_multi"] {
        let Some(link) = made_or_lacking(sees_all(name, call_getppid), "kprobe.multi") else { return };
        link.detach();
    }
}

/// Without the PMU, as before 4.17, a kprobe is a trace event, which is defined and taken out again.
#[test]
fn kprobes_go_through_tracefs_where_the_kernel_has_no_other_way() {
    if spec().is_none() {
        return;
    }
    let place = Path::new(TRACING);
    let Ok(before) = std::fs::read_to_string(place.join("kprobe_events")) else {
        return not_run(&NotRun::KernelLacks("kprobes, or tracefs is not mounted"));
    };
    let _own_mounts = Bpffs::mount();
    let none: Option<&str> = None;
    mount(Some("tmpfs"), "/sys/bus/event_source", Some("tmpfs"), MsFlags::empty(), none).unwrap();
    for name in ["by_kprobe", "by_kretprobe"] {
        let link = sees_all(name, call_getppid).unwrap();
        let defined = std::fs::read_to_string(place.join("kprobe_events")).unwrap();
        assert!(
            defined.contains("getppid") && defined.contains(&std::process::id().to_string()),
            "{defined}"
        );
        link.detach();
        assert_eq!(std::fs::read_to_string(place.join("kprobe_events")).unwrap(), before);
    }
}

/// The kernel has functions to be traced, and calls them when a program that traces them is run as a test.
#[test]
fn functions_are_seen_at_entry_and_exit_with_their_arguments() {
    for name in ["by_fentry", "by_fexit"] {
        let Some(spec) = spec() else { return };
        let mut object = Object::create(spec, LoadOptions::default()).unwrap();
        let attached = object.load_program(name).and_then(|program| Ok((attach(&program)?, program)));
        let (link, program) = match attached {
            Ok(attached) => attached,
            // Refused in many ways where there are no trampolines; where there are, the reference says which kernels.
            Err(error) => {
                assert!(!has_trampolines(), "{error:#}");
                return not_run(&NotRun::KernelLacks("fentry"));
            }
        };
        for _ in 0..TIMES {
            program.test_run(&[]).unwrap();
        }
        assert_eq!(number(&object, "hits"), TIMES, "{name}");
        link.detach();
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
fn functions_of_this_program_are_probed_by_one_pattern() {
    let Some(mut spec) = spec() else { return };
    let path = std::env::current_exe().unwrap().display().to_string();
    let symbol = probed_symbol(&path);
    let pattern = format!("{}?", symbol.strip_suffix(|_: char| true).unwrap());
    for (name, at_return) in [("by_uprobe_multi", false), ("by_uretprobe_multi", true)] {
        let target = Target::UprobeMulti { path: path.clone(), pattern: pattern.clone(), at_return };
        spec.program_mut(name).unwrap().kind.target = target;
        let call = || {
            std::hint::black_box(loader_test_probed(7));
        };
        let made = sees_all_of(&spec, name, &call);
        let Some(link) = made_or_lacking(made, "uprobe.multi") else { return };
        link.detach();
    }
}

/// Attaches a tracing program, if this kernel lets it, and counts its runs while each `bpf_fentry_test` function is called
/// [`TIMES`] times.
fn traced(name: &str, target: Target) -> Option<u64> {
    let mut spec = spec()?;
    spec.program_mut(name).unwrap().kind.target = target;
    let mut object = Object::create(spec, LoadOptions::default()).unwrap();
    // Test runs of this one call the functions; it is not attached itself.
    let attached = object.load_program("by_fentry").and_then(|caller| {
        let program = object.load_program(name)?;
        Ok((caller, attach(&program)?))
    });
    let (caller, link) = match attached {
        Ok(attached) => attached,
        Err(error) => {
            let expected = matches!(error.kind(), ErrorKind::NotSupported { .. }) || !has_trampolines();
            assert!(expected, "{error:#}");
            not_run(&NotRun::KernelLacks("fsession, fentry.multi"));
            return None;
        }
    };
    (0..TIMES).for_each(|_| _ = caller.test_run(&[]).unwrap());
    let runs = number(&object, "hits");
    link.detach();
    caller.test_run(&[]).unwrap();
    assert_eq!(number(&object, "hits"), runs, "{name}");
    Some(runs)
}

#[test]
fn a_session_runs_at_both_ends_of_a_kernel_function() {
    let target = Target::Function { module: None, name: "bpf_fentry_test1".to_owned() };
    let Some(runs) = traced("by_fsession", target) else { return };
    assert_eq!(runs, 2 * TIMES);
}

#[test]
fn many_kernel_functions_are_traced_by_one_program() {
    let matching = |pattern: &str| Target::Functions { module: None, pattern: pattern.to_owned() };
    for (name, runs_a_call) in [("by_fentry_multi", 1), ("by_fexit_multi", 1), ("by_fsession_multi", 2)] {
        let Some(runs) = traced(name, matching("bpf_fentry_tes?1")) else { return };
        assert_eq!(runs, runs_a_call * TIMES, "{name}");
        let runs = traced(name, matching("bpf_fentry_test?")).unwrap();
        // How many there are depends on the kernel.
        assert!(
            runs.is_multiple_of(runs_a_call * TIMES) && runs >= 5 * runs_a_call * TIMES,
            "{name}: {runs}"
        );
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

/// Built without `-g`, a program's hook is still a type of the kernel's, not of the object's; libbpf loads it too.
#[test]
fn an_iterator_of_an_object_without_types_is_loaded_and_attached() {
    if may_use_bpf().is_err() {
        return;
    }
    let mut builder = ObjectBuilder::new(Endian::NATIVE);
    let code = builder.code("iter/task", &[set(0), exit()]);
    builder.symbol(Symbol::function("silent", code, 0, 2));
    builder.data("license", b"GPL\0");
    let spec = ObjectSpec::parse(&builder.build()).unwrap();
    assert!(spec.btf.is_none());
    let mut object = Object::create(spec, LoadOptions::default()).unwrap();
    let link = attach(&object.load_program("silent").unwrap()).unwrap();
    assert_eq!(iterator::read_all(link.as_link().unwrap(), 1 << 20).unwrap(), b"");
}

/// The kernel's selftests of CO-RE have programs on hooks of the running kernel whose fields are in a file. Their hooks were
/// looked for in the file, too.
#[test]
fn a_program_whose_fields_are_in_a_file_goes_on_a_hook_of_the_running_kernel() {
    if may_use_bpf().is_err() {
        return;
    }
    let Ok(object) = compile("elsewhere", Endian::NATIVE) else { return };
    let spec = ObjectSpec::parse(&object).unwrap();
    let mut btf = BtfBuilder::new();
    let int = btf.int("int", 4, IntInfo::SIGNED);
    btf.structure("of_the_file", 4, &[Field::new("field", int, 0)]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), btf.build(Endian::NATIVE)).unwrap();
    let load = |btf| {
        let options = LoadOptions { btf, ..LoadOptions::default() };
        Object::create(spec.clone(), options).unwrap().load_program("fitted")
    };
    load(Some(file.path().to_owned())).unwrap();
    assert_eq!(load(None).unwrap_err().kind(), ErrorKind::Verifier, "this kernel has no such field");
}

const BY_TRACEPOINT: Way<'_> = Way { name: "tracepoint", programs: &["by_tracepoint"], ..Way::EMPTY };
const BY_RAW_TRACEPOINT: Way<'_> = Way { name: "raw", programs: &["by_raw_tracepoint"], ..Way::EMPTY };

#[test]
fn a_program_goes_on_further_tracepoints_as_far_as_there_are_such() {
    let Some(spec) = spec() else { return };
    let further = [Further {
        program: "by_tracepoint",
        category: "syscalls",
        names: &["sys_enter_nothing", "sys_exit_getppid"],
    }];
    let mut object = Object::create(spec, LoadOptions::default()).unwrap();
    let way = Way { further: &further, ..BY_TRACEPOINT };
    let attached = attach_first(&mut object, &[way]).unwrap();
    for _ in 0..TIMES {
        call_getppid();
    }
    assert_eq!(number(&object, "hits"), 2 * TIMES);
    assert_eq!((attached.programs.len(), attached.links.len()), (1, 2));
    let refused: Vec<&str> = attached.refused.iter().map(|refusal| refusal.name.as_str()).collect();
    assert_eq!(refused, ["tracepoint syscalls:sys_enter_nothing"]);
    Link::detach_all(attached.links);
}

/// Which of two ways is used, and what is said against others, when the first one does not see all on kernels with `function`.
fn chosen(ways: &[Way<'_>], function: &'static str, sibling: &'static str) -> (String, Vec<String>) {
    let functions = vec!["vfs_read", "loader_test_nothing"];
    let options = LoadOptions { functions, ..LoadOptions::default() };
    let mut object = Object::create(spec().unwrap(), options).unwrap();
    let (functions, siblings) = ([function], [sibling]);
    let partial = Partial { functions: &functions, siblings: &siblings, unseen: "calls of another kind" };
    let ways: Vec<_> =
        std::iter::once(Way { partial: Some(partial), ..ways[0] }).chain(ways[1..].iter().copied()).collect();
    let attached = attach_first(&mut object, &ways).unwrap();
    Link::detach_all(attached.links);
    (attached.name, attached.refused.iter().map(ToString::to_string).collect())
}

#[test]
fn a_way_that_does_not_see_all_on_this_kernel_comes_after_those_that_do() {
    if spec().is_none() {
        return;
    }
    let both = [BY_TRACEPOINT, BY_RAW_TRACEPOINT];
    let passed_over = |verb: &str| vec![format!("tracepoint: this kernel {verb} calls of another kind")];
    assert_eq!(chosen(&both, "vfs_read", "vfs_read"), ("raw".to_owned(), passed_over("has")));
    assert_eq!(chosen(&both, "loader_test_nothing", "vfs_read"), ("tracepoint".to_owned(), vec![]));
    // Nobody asked for the last one when the kernel's types were searched.
    for unknown in ["loader_test_nothing", "do_exit"] {
        let found = chosen(&both, "loader_test_nothing", unknown);
        assert_eq!(found, ("raw".to_owned(), passed_over("may have")), "{unknown}");
    }
    // Better in part than not at all.
    assert_eq!(chosen(&both[..1], "vfs_read", "vfs_read"), ("tracepoint".to_owned(), vec![]));
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
fn an_iterator_goes_through_the_part_that_it_is_told() {
    let Some(spec) = spec() else { return };
    let mut object = Object::create(spec, LoadOptions::default()).unwrap();
    let program = object.load_program("by_iterator").unwrap();
    let thread = Over::Thread(nix::unistd::gettid().as_raw().cast_unsigned());
    match iterator::attach_over(&program, thread) {
        Ok(link) => assert_eq!(iterator::read_all(link.as_link().unwrap(), 1 << 20).unwrap(), b"task\n"),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::NotSupported { since: "6.1", .. }), "{error:#}");
            not_run(&NotRun::KernelLacks("iterators over one thread"));
        }
    }
    let keys = [3_u32, 1, 4, 15, 9].map(u32::to_ne_bytes);
    let name = "entries".to_owned();
    let config = MapConfig {
        name,
        map_type: map_type::HASH,
        key_size: 4,
        value_size: 4,
        max_entries: 7,
        ..MapConfig::default()
    };
    let map = Map::create(&config).unwrap();
    assert_eq!(map.update_many(&keys.concat(), &[0; 20]).0, keys.len());
    let program = object.load_program("by_entry").unwrap();
    let link = iterator::attach_over(&program, Over::Map(&map)).unwrap();
    let read = iterator::read_all(link.as_link().unwrap(), 1 << 20).unwrap();
    let mut found: Vec<&[u8]> = read.chunks(4).collect();
    found.sort_unstable();
    let mut expected = keys.each_ref().map(<[u8; 4]>::as_slice);
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(attach(&program).unwrap_err().errno(), Some(nix::libc::EBADF), "without a map");
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
