//! Which ways of opening are seen: the same on each hook.

use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};

use crate::common::assembly::{Abi, Arg, Call, PAGES, STORE, program, program_with, text};
use crate::common::run::{run, run_ok};
use crate::common::sandbox::Sandbox;
use crate::common::skip::{Skip, or_skip, skip};
use crate::{drain, events_of, hooks, opensnoop};

const AT_FDCWD: Arg = Arg::Number(0xffff_ffff_ffff_ff9c);
const O_CREAT_WRONLY: u64 = 0o101;

/// `struct open_how`.
fn how(flags: u64, mode: u64, resolve: u64) -> Arg {
    Arg::Bytes([flags, mode, resolve].iter().flat_map(|word| word.to_le_bytes()).collect())
}

/// What matters of an event, with the name without its directory.
fn summary(events: &[Value], dir: &str) -> Vec<Value> {
    let name = |event: &Value| event["name"].as_str().unwrap().strip_prefix(dir).unwrap().to_owned();
    let row = |e: &Value| json!([name(e), e["errno"], e["flags"], e["mode"], e["fd"].as_i64().unwrap() >= 0]);
    events.iter().map(row).collect()
}

/// Whether an `opener` made this event: that of this test, which opens files in its own directory.
fn is_of(dir: &str, event: &Value) -> bool {
    event["comm"] == "opener" && event["name"].as_str().is_none_or(|name| name.starts_with(dir))
}

/// Checks the names of the system calls. Behind fexit, kernels before 5.15 do not tell.
#[track_caller]
fn check_calls(events: &[Value], hook: &str, expected: &[&str]) {
    let calls: Vec<&Value> = events.iter().map(|event| &event["syscall"]).collect();
    let untold = hook == "fexit" && calls.iter().all(|call| call.is_null());
    assert!(untold || calls == *expected, "{hook}: {calls:?}");
}

fn dir(sandbox: &Sandbox) -> String {
    sandbox.path("").display().to_string()
}

#[test]
fn all_four_calls_are_seen_on_each_hook_with_the_same_values() {
    if !cfg!(target_arch = "x86_64") {
        return skip(&Skip::NoIa32);
    }
    let sandbox = or_skip!(Sandbox::new());
    let dir = dir(&sandbox);
    let path = |name: &str| text(&format!("{dir}{name}"));
    for hook in hooks(&sandbox) {
        let calls = [
            Call(2, vec![path("open"), Arg::Number(O_CREAT_WRONLY), Arg::Number(0o640)]),
            Call(85, vec![path("creat"), Arg::Number(0o604)]),
            Call(257, vec![AT_FDCWD, path("openat"), Arg::Number(O_CREAT_WRONLY), Arg::Number(0o600)]),
            Call(437, vec![AT_FDCWD, path("openat2"), how(O_CREAT_WRONLY, 0o400, 0), Arg::Number(24)]),
            // O_LARGEFILE, which nobody needs to say, and a mode that means nothing without O_CREAT.
            Call(2, vec![path("open"), Arg::Number(0o100000), Arg::Number(0o777)]),
            Call(2, vec![path("missing"), Arg::Number(0)]),
            Call(257, vec![AT_FDCWD, path("missing/too"), Arg::Number(0o2)]),
            Call(437, vec![AT_FDCWD, path("."), how(0o200000, 0, 8), Arg::Number(24)]),
            // An absolute name is not beneath the directory.
            Call(437, vec![AT_FDCWD, path("open"), how(0, 0, 8), Arg::Number(24)]),
        ];
        let opener = sandbox.executable("opener", &program(Abi::X86_64, &calls));
        let mut events = events_of(&sandbox, &["--hook", hook], || run_ok(&mut Command::new(&opener)));
        events.retain(|event| event["name"].as_str().is_some_and(|name| name.starts_with(&dir)));
        events.retain(|event| is_of(&dir, event));
        let expected = [
            json!(["open", 0, 0o101, 0o640, true]),
            json!(["creat", 0, 0o1101, 0o604, true]),
            json!(["openat", 0, 0o101, 0o600, true]),
            json!(["openat2", 0, 0o101, 0o400, true]),
            json!(["open", 0, 0, null, true]),
            json!(["missing", 2, 0, null, false]),
            json!(["missing/too", 2, 2, null, false]),
            json!([".", 18, 0o200000, null, false]),
            json!(["open", 18, 0, null, false]),
        ];
        assert_eq!(summary(&events, &dir), expected, "{hook}");
        let calls = ["open", "creat", "openat", "openat2", "open", "open", "openat", "openat2", "openat2"];
        check_calls(&events, hook, &calls);
        assert_eq!(events[8]["resolve"], 8);
        assert_eq!(events[8]["error"], "EXDEV");
        assert!(events.iter().all(|event| event["io_uring"] == false && event["dirfd"] == -100));
    }
}

#[test]
fn opens_of_32_bit_callers_are_seen_where_the_hook_can() {
    if !cfg!(target_arch = "x86_64") {
        return skip(&Skip::NoIa32);
    }
    let sandbox = or_skip!(Sandbox::new());
    let dir = dir(&sandbox);
    let path = |name: &str| text(&format!("{dir}{name}"));
    let calls = [
        Call(5, vec![path("open"), Arg::Number(O_CREAT_WRONLY), Arg::Number(0o640)]),
        Call(8, vec![path("creat"), Arg::Number(0o604)]),
        Call(
            295,
            vec![Arg::Number(0xffff_ff9c), path("openat"), Arg::Number(O_CREAT_WRONLY), Arg::Number(0o600)],
        ),
        Call(
            437,
            vec![Arg::Number(0xffff_ff9c), path("openat2"), how(O_CREAT_WRONLY, 0o400, 0), Arg::Number(24)],
        ),
    ];
    for abi in [Abi::I386, Abi::I386In64] {
        let opener = sandbox.executable("opener", &program(abi, &calls));
        // Without 32-bit support a 32-bit program does not start, and a 64-bit one dies.
        if Command::new(&opener).status().map_or(true, |status| !status.success()) {
            return skip(&Skip::NoIa32);
        }
        for hook in hooks(&sandbox) {
            let mut events = events_of(&sandbox, &["--hook", hook], || run_ok(&mut Command::new(&opener)));
            events.retain(|event| is_of(&dir, event));
            if hook.starts_with("tracepoint") {
                assert!(events.is_empty(), "{hook} {abi:?}: {events:#?}");
                continue;
            }
            let expected = [
                json!(["open", 0, 0o101, 0o640, true]),
                json!(["creat", 0, 0o1101, 0o604, true]),
                json!(["openat", 0, 0o101, 0o600, true]),
                json!(["openat2", 0, 0o101, 0o400, true]),
            ];
            assert_eq!(summary(&events, &dir), expected, "{hook} {abi:?}");
            check_calls(&events, hook, &["open", "creat", "openat", "openat2"]);
        }
    }
}

#[test]
fn a_name_that_cannot_be_read_says_so_and_none_is_ever_blank() {
    if !cfg!(target_arch = "x86_64") {
        return skip(&Skip::NoIa32);
    }
    let sandbox = or_skip!(Sandbox::new());
    let long = "/".to_owned() + &"x/".repeat(2047);
    assert_eq!(long.len(), 4095);
    let too_long = long.clone() + "y";
    let calls = [
        Call(2, vec![Arg::Number(8), Arg::Number(0)]),
        Call(2, vec![text(""), Arg::Number(0)]),
        Call(2, vec![text(&long), Arg::Number(0)]),
        Call(2, vec![text(&too_long), Arg::Number(0)]),
        Call(2, vec![text(&"much/too/long/".repeat(307)), Arg::Number(0)]),
        // openat2 with a third argument that is nowhere.
        Call(437, vec![AT_FDCWD, text("how"), Arg::Number(8), Arg::Number(24)]),
    ];
    let opener = sandbox.executable("misopener", &program(Abi::X86_64, &calls));
    for hook in hooks(&sandbox) {
        let mut events = events_of(&sandbox, &["--hook", hook], || run_ok(&mut Command::new(&opener)));
        events.retain(|event| event["comm"] == "misopener");
        // The kernel refuses a bad third argument before it gets to the function behind fexit.
        let last = if hook == "fexit" { None } else { Some(json!(["how", false, false, 14, null, null])) };
        let mut expected = vec![
            json!([null, true, false, 14, 0, null]),
            json!(["", false, false, 2, 0, null]),
            json!([long, false, false, 20, 0, null]),
            json!([too_long[..4096], false, true, 36, 0, null]),
            json!(["much/too/long/".repeat(307)[..4096], false, true, 36, 0, null]),
        ];
        // Nothing is there, so the long one ends at its first component.
        expected[2][3] = json!(2);
        expected.extend(last);
        let keys = ["name", "name_fault", "name_cut", "errno", "flags", "mode"];
        let seen: Vec<Value> =
            events.iter().map(|event| keys.iter().map(|key| event[key].clone()).collect()).collect();
        assert_eq!(seen, expected, "{hook}");
        let tracer = opensnoop(&sandbox, ["--hook", hook, "-n", "misopener"]);
        run_ok(&mut Command::new(&opener));
        tracer.wait_word("...[cut]");
        let finished = tracer.stop().quiet();
        let shown: Vec<&str> = finished.rows().iter().map(|row| row.rsplit(' ').next().unwrap()).collect();
        assert_eq!(shown[..3], ["[unreadable]", "[empty]", &long], "{hook}");
        assert_eq!(shown[3], format!("{}...[cut]", &too_long[..4096]), "{hook}");
    }
}

#[test]
fn a_name_that_is_too_long_for_the_callers_own_memory_is_marked_as_cut() {
    if !cfg!(target_arch = "x86_64") {
        return skip(&Skip::NoIa32);
    }
    let sandbox = or_skip!(Sandbox::new());
    // The last page of the program, to its last byte: what follows is not there.
    let calls = [Call(2, vec![Arg::Number(PAGES.into()), Arg::Number(0)])];
    let opener = sandbox.executable("edgeopener", &program_with(Abi::X86_64, &calls, &[b'y'; 4096]));
    for hook in hooks(&sandbox) {
        let mut events = events_of(&sandbox, &["--hook", hook], || run_ok(&mut Command::new(&opener)));
        events.retain(|event| event["comm"] == "edgeopener");
        let [event] = &events[..] else { panic!("{hook}: {events:#?}") };
        assert_eq!(event["error"], "ENAMETOOLONG", "{hook}");
        assert_eq!((&event["name_fault"], &event["name_cut"]), (&json!(false), &json!(true)), "{hook}");
        assert_eq!(event["name"], "y".repeat(4095), "{hook}");
    }
}

/// A program that opens `path` by io_uring, through rings in memory of its own (6.6), in two pages: requests and rings. io_uring
/// gets descriptor 3.
fn ring_opener(path: &str, flags: u32, asynchronous: bool) -> Vec<u8> {
    const OPENAT: u8 = 18;
    const ASYNC: u8 = 1 << 4;
    const NO_MMAP_NO_ARRAY: u32 = 1 << 14 | 1 << 16;
    let name_at = u64::from(PAGES) + 8192;
    // struct io_uring_sqe: opcode, flags, priority, fd, offset, address, mode, open flags.
    let mut pages = vec![OPENAT, if asynchronous { ASYNC } else { 0 }, 0, 0];
    pages.extend((-100i32).to_le_bytes());
    pages.extend(0u64.to_le_bytes());
    pages.extend(name_at.to_le_bytes());
    pages.extend(0o600u32.to_le_bytes());
    pages.extend(flags.to_le_bytes());
    pages.resize(8192, 0);
    pages.extend([path.as_bytes(), b"\0"].concat());
    // struct io_uring_params, with the addresses of requests and rings.
    let mut params = vec![0u8; 120];
    params[8..12].copy_from_slice(&NO_MMAP_NO_ARRAY.to_le_bytes());
    params[72..80].copy_from_slice(&u64::from(PAGES).to_le_bytes());
    params[112..120].copy_from_slice(&u64::from(PAGES + 4096).to_le_bytes());
    let calls = [
        Call(425, vec![Arg::Number(1), Arg::Bytes(params)]),
        // The tail of the requests is one or the other, by kernel; what else is there does not mind.
        Call(STORE, vec![Arg::Number(u64::from(PAGES) + 4096 + 4), Arg::Number(1)]),
        Call(STORE, vec![Arg::Number(u64::from(PAGES) + 4096 + 64), Arg::Number(1)]),
        Call(426, vec![Arg::Number(3), Arg::Number(1), Arg::Number(1), Arg::Number(1)]),
    ];
    program_with(Abi::X86_64, &calls, &pages)
}

fn kernel_has_such_rings() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(6))
}

#[test]
fn opens_of_io_uring_are_shown_as_such_where_the_hook_can() {
    if !cfg!(target_arch = "x86_64") {
        return skip(&Skip::NoIa32);
    }
    let sandbox = or_skip!(Sandbox::new());
    let path = sandbox.path("by-ring").display().to_string();
    let steps = [(0o101, false, 0), (0, false, 0), (0, true, 0), (0, false, 2)];
    for hook in hooks(&sandbox) {
        for (flags, asynchronous, errno) in steps {
            let missing = path.clone() + "/missing";
            let (path, errno) = if errno == 0 { (&path, 0) } else { (&missing, 20) };
            let opener = sandbox.executable("ring-opener", &ring_opener(path, flags, asynchronous));
            let events = events_of(&sandbox, &["-F", "--hook", hook], || run_ok(&mut Command::new(&opener)));
            let seen: Vec<&Value> = events.iter().filter(|event| event["name"] == path.as_str()).collect();
            if !sandbox.path("by-ring").exists() {
                // Older kernels have no such rings, so that there is nothing to see.
                if kernel_has_such_rings() {
                    skip(&Skip::NoSandbox("io_uring is forbidden here".to_owned()));
                }
                return;
            }
            if hook != "fexit" {
                assert!(seen.is_empty(), "{seen:#?}");
                continue;
            }
            assert_eq!(seen.len(), 1, "{flags:o} {asynchronous} {events:#?}");
            assert!(seen[0]["syscall"].is_null(), "{seen:#?}");
            let keys = ["io_uring", "fixed_file", "errno", "flags", "path"];
            let values: Vec<&Value> = keys.iter().map(|key| &seen[0][*key]).collect();
            assert_eq!(json!(values), json!([true, false, errno, flags, path]));
            assert_eq!(seen[0]["path_exact"], errno == 0);
        }
    }
}

const TYPES: &str = "/sys/kernel/btf/vmlinux";

/// Where the types of this kernel name a system call of 32-bit programs.
fn call_of_32_bits(types: &[u8]) -> Option<usize> {
    let found = ["ia32", "arm64", "s390"].iter().find_map(|of| {
        let name = format!("\0__{of}_compat_sys_openat\0").into_bytes();
        types.windows(name.len()).position(|text| text == name)
    });
    found.map(|at| at + 1)
}

fn has_calls_of_32_bits() -> bool {
    call_of_32_bits(&std::fs::read(TYPES).unwrap()).is_some()
}

/// No kernel of Debian is without; so one is made that does not say so.
#[test]
fn where_there_are_no_32_bit_callers_the_exits_of_the_calls_are_enough() {
    let sandbox = or_skip!(Sandbox::new());
    let exits = hooks(&sandbox).contains(&"tracepoint exits");
    let chosen = || {
        // All but fexit.
        let tracer = opensnoop(&sandbox, ["--hook", "t", "--json"]);
        let start = drain(&sandbox, tracer).quiet().records().remove(0);
        start["hooks"][0].clone()
    };
    let mut types = std::fs::read(TYPES).unwrap();
    if let Some(at) = call_of_32_bits(&types) {
        let found = chosen();
        assert_eq!(found["hook"], "tp_btf sys_exit", "{found:#}");
        assert_eq!(found["refused"][0]["hook"], "tracepoint exits", "{found:#}");
        types[at] = b'X';
    }
    let other = sandbox.path("types");
    std::fs::write(&other, types).unwrap();
    mount(Some(&other), TYPES, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    let found = chosen();
    umount2(TYPES, MntFlags::MNT_DETACH).unwrap();
    // Before 5.15 they cannot be used.
    assert_eq!(found["hook"], if exits { "tracepoint exits" } else { "tp_btf sys_exit" }, "{found:#}");
    // Where a call does not exist (arm64 has no open), its exit is among them.
    let refused = found["refused"].as_array().unwrap();
    let absent =
        |better: &Value| better["reason"].as_str().unwrap().ends_with("this kernel has no such tracepoint");
    assert_eq!(refused.iter().all(absent), exits, "{found:#}");
}

#[test]
fn the_chain_falls_back_and_says_why() {
    let sandbox = or_skip!(Sandbox::new());
    let usable = hooks(&sandbox);
    let tracer = opensnoop(&sandbox, ["--verbose"]);
    let finished = drain(&sandbox, tracer);
    let said = finished.stderr.join("\n");
    let (best, exits) = (usable.contains(&"fexit"), usable.contains(&"tracepoint exits"));
    let expected = match (best, exits && !has_calls_of_32_bits()) {
        (true, _) => "fexit do_sys_openat2",
        (false, true) => "tracepoint exits",
        (false, false) => "tp_btf sys_exit",
    };
    assert!(said.contains(&format!("opensnoop: observing open through {expected}")), "{said}");
    assert_eq!(said.contains("not observing open through fexit do_sys_openat2: "), !best, "{said}");
    let passed_over = said.contains("not observing open through tracepoint exits: this kernel has 32-bit");
    assert_eq!(passed_over, !best && has_calls_of_32_bits(), "{said}");
    let unknown = run(&mut sandbox.command("opensnoop", ["--hook", "nope"]));
    assert!(unknown.refused(2, "opensnoop").contains("`tp_btf sys_exit`"));
}
