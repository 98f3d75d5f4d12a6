//! `bpfobj` as people and programs use it: text, JSON, exit codes. Needs clang; root where something is loaded.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::path::PathBuf;
use std::process::{Command, Output};

use common::clang::compile;
use common::kernel::{Bpffs, NotRun, has_trampolines, may_use_bpf, not_run};
use loader::Endian;
use serde_json::Value;

/// An object on disk.
struct Compiled {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn compiled(name: &str, endian: Endian) -> Option<Compiled> {
    let bytes = compile(name, endian).ok()?;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(format!("{name}.o"));
    std::fs::write(&path, bytes).unwrap();
    Some(Compiled { _directory: directory, path })
}

/// Runs the example, which cargo builds beside the tests.
fn bpfobj(args: &[&str]) -> Output {
    Command::new(beside_tests()).args(args).output().unwrap()
}

fn beside_tests() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.parent().unwrap().parent().unwrap().join("examples/bpfobj")
}

fn json(args: &[&str]) -> (Value, i32) {
    let output = bpfobj(args);
    let value = serde_json::from_slice(&output.stdout);
    (value.unwrap_or_else(|error| panic!("{error}: {output:?}")), output.status.code().unwrap())
}

fn by_name<'a>(list: &'a Value, name: &str) -> &'a Value {
    list.as_array().unwrap().iter().find(|entry| entry["name"] == name).unwrap()
}

#[test]
fn inspect_says_the_same_of_both_byte_orders() {
    let orders = [Endian::Little, Endian::Big].map(|endian| {
        let object = compiled("checks", endian)?;
        let (mut report, code) = json(&["inspect", object.path.to_str().unwrap(), "--json"]);
        assert_eq!(code, 0);
        report["endian"] = Value::Null;
        Some(report)
    });
    let [Some(little), Some(big)] = orders else { return };
    assert_eq!(little, big);
    let types = by_name(&little["programs"], "types");
    assert_eq!(types["section"], "socket");
    assert_eq!(types["relocations"]["core"], types["core"].as_array().unwrap().len());
    assert_eq!(types["core"][0]["access"], "struct task_struct.pid (0:0)");
    assert_eq!(types["core"][0]["kind"], "field existence");
    let table = by_name(&little["maps"], "table");
    assert_eq!((&table["type"], &table["inner"]["value_size"]), (&"array_of_maps".into(), &8.into()));
    let tunable = by_name(&little["globals"], "tunable");
    assert_eq!(
        (&tunable["map"], &tunable["size"], &tunable["type"]),
        (&".rodata".into(), &4.into(), &"u32".into())
    );
    assert_eq!(by_name(&little["externs"], "CONFIG_HIGH_HOPES")["weak"], true);
}

#[test]
fn explain_names_what_this_kernel_lacks_without_loading_anything() {
    if may_use_bpf().is_err() {
        return;
    }
    for endian in [Endian::Little, Endian::Big] {
        let Some(object) = compiled("checks", endian) else { return };
        let (report, code) = json(&["explain", object.path.to_str().unwrap(), "--json"]);
        assert_eq!(code, 1, "needs_symbol and needs_setting would be refused");
        assert_eq!(report["loadable_here"], endian == Endian::NATIVE);
        assert_eq!(by_name(&report["externs"], "no_such_symbol")["becomes"], "absent");
        assert_eq!(by_name(&report["externs"], "never_heard_of")["error"]["kind"], "not_found");
        let types = by_name(&report["programs"], "types");
        assert_eq!(types["core"][0]["after"], 1, "task_struct.pid exists");
        let reaches = by_name(&report["programs"], "reaches_missing_field");
        let reason = reaches["core"][0]["poisoned"]["reason"].as_str().unwrap();
        assert_eq!(reason, "`struct task_struct` of the kernel has no member `never_had_this`");
    }
}

#[test]
fn load_tries_each_program_on_its_own() {
    if may_use_bpf().is_err() {
        return;
    }
    let Some(object) = compiled("checks", Endian::NATIVE) else { return };
    let path = object.path.to_str().unwrap();
    let (report, code) = json(&["load", path, "--json"]);
    assert_eq!(code, 1);
    assert_eq!(by_name(&report["programs"], "globals")["ok"], true);
    let rejected = &by_name(&report["programs"], "rejected")["error"];
    assert_eq!(rejected["kind"], "verifier");
    assert!(rejected["log"].as_str().unwrap().contains("processed"));

    let text = bpfobj(&["load", path, "--program", "globals", "--program", "tail"]);
    assert_eq!(String::from_utf8_lossy(&text.stdout), "globals: ok\ntail: ok\n");
    assert_eq!(text.status.code(), Some(0));
    let unknown = bpfobj(&["load", path, "--program", "nobody"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&unknown.stderr), "bpfobj: the object has no program `nobody`\n");
}

#[test]
fn load_puts_an_extension_on_the_program_it_is_told() {
    if may_use_bpf().is_err() {
        return;
    }
    let Some(object) = compiled("extension", Endian::NATIVE) else { return };
    let bpffs = Bpffs::mount();
    let (path, pins) = (object.path.to_str().unwrap(), bpffs.path("pins"));
    let pins = pins.to_str().unwrap();
    assert_eq!(bpfobj(&["load", path, "--program", "extended", "--pin", pins]).status.code(), Some(0));
    let pinned = format!("{pins}/extended");
    for program in ["extended", &pinned] {
        let (report, code) =
            json(&["load", path, "--program", "replaces_nothing", "--attach-to", program, "--json"]);
        let error = &by_name(&report["programs"], "replaces_nothing")["error"];
        assert_eq!((code, &error["kind"]), (1, &"not_found".into()), "its function is looked for: {report}");
        let (report, _) = json(&["load", path, "--program", "replacement", "--attach-to", program, "--json"]);
        let loaded = by_name(&report["programs"], "replacement");
        if loaded["ok"] != true {
            // EPERM; and without a JIT EINVAL, as only its programs can be replaced.
            let refused = loaded["error"]["kind"] == "permission" || cfg!(target_arch = "s390x");
            assert!(refused && !has_trampolines(), "{report}");
            not_run(&NotRun::KernelLacks("extensions of programs"));
            break;
        }
    }
    let nobody = bpfobj(&["load", path, "--attach-to", "/no/such/pin"]);
    let line = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(line.starts_with("bpfobj: open program `/no/such/pin` to attach to: "), "{line}");
}

#[test]
fn load_pins_programs_where_it_is_told() {
    if may_use_bpf().is_err() {
        return;
    }
    let Some(object) = compiled("checks", Endian::NATIVE) else { return };
    let bpffs = Bpffs::mount();
    let pins = bpffs.path("pins");
    let (path, pins) = (object.path.to_str().unwrap(), pins.to_str().unwrap());
    let output = bpfobj(&["load", path, "--program", "tail", "--pin", pins]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(std::path::Path::new(pins).join("tail").exists());
}

#[test]
fn run_prints_the_return_value() {
    if may_use_bpf().is_err() {
        return;
    }
    let Some(object) = compiled("checks", Endian::NATIVE) else { return };
    let path = object.path.to_str().unwrap();
    let output = bpfobj(&["run", path, "globals", "--set", "tunable=42"]);
    assert_eq!((output.stdout.as_slice(), output.status.code()), (&b"0\n"[..], Some(0)), "{output:?}");
    let (report, code) = json(&["run", path, "tail_calls", "--json", "--data-in", &"00".repeat(32)]);
    assert_eq!((&report["return"], code), (&4242.into(), 0), "the array's programs are loaded as well");
    let (report, _) = json(&["run", path, "globals", "--json"]);
    assert_ne!(report["return"], 0, "`tunable` is 7 unless it is set");
}

#[test]
fn wrong_usage_and_wrong_objects_have_their_own_exit_codes() {
    assert_eq!(bpfobj(&["inspect"]).status.code(), Some(2));
    assert_eq!(bpfobj(&["load", "x", "--set", "=1"]).status.code(), Some(2));
    let missing = bpfobj(&["inspect", "/nonexistent.o"]);
    assert_eq!(missing.status.code(), Some(1));
    let line = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert_eq!(line, "bpfobj: object `/nonexistent.o`: read: no such file or directory\n");
}

#[test]
fn explain_needs_no_root() {
    const NOBODY: u32 = 65534;
    if may_use_bpf().is_err() {
        return;
    }
    let Some(object) = compiled("attach", Endian::NATIVE) else { return };
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(object.path.parent().unwrap(), readable).unwrap();
    let program = object.path.with_file_name("bpfobj");
    std::fs::copy(beside_tests(), &program).unwrap();
    let mut command = Command::new(&program);
    std::os::unix::process::CommandExt::uid(&mut command, NOBODY);
    let output = command.args(["explain", object.path.to_str().unwrap(), "--json"]).output().unwrap();
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let iterator = by_name(&report["programs"], "by_iterator");
    assert_eq!(iterator["hook"]["name"], "bpf_iter_task");
    let tracepoint = &by_name(&report["programs"], "by_tracepoint")["hook"];
    assert!(*tracepoint == "not known here" || tracepoint["tracepoint_id"].is_u64(), "{tracepoint}");
}

/// What a refused map says after the name of the map, when `bpfobj` is run by another program that takes privileges away.
fn refused_by(wrapper: &[&str]) -> Option<String> {
    may_use_bpf().ok()?;
    let object = compiled("checks", Endian::NATIVE)?;
    let [program, args @ ..] = wrapper else { panic!("no program") };
    let mut command = Command::new(program);
    command.args(args).arg(beside_tests()).args(["load", object.path.to_str().unwrap(), "--program", "tail"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("map .bss: create map `.bss`: "));
    Some(line.unwrap_or_else(|| panic!("{text}")).to_owned())
}

#[test]
fn a_refusal_names_the_privilege_that_is_missing() {
    let drop_both = ["setpriv", "--bounding-set", "-sys_admin,-bpf,-perfmon"];
    let Some(both) = refused_by(&drop_both) else { return };
    assert_eq!(both, "not permitted: this process lacks CAP_BPF and CAP_PERFMON (run it as root)");
    let one = refused_by(&["setpriv", "--bounding-set", "-sys_admin,-bpf"]).unwrap();
    assert_eq!(one, "not permitted: this process lacks CAP_BPF");
}

#[test]
fn a_refusal_says_that_root_of_a_user_namespace_is_not_enough() {
    let Some(line) = refused_by(&["unshare", "-r"]) else { return };
    let expected = "not permitted: this process has its privileges in a user namespace only, and needs them on the host \
                    (or a BPF token, from Linux 6.9 on)";
    assert_eq!(line, expected);
}

#[test]
fn a_rejection_says_how_to_see_all_of_the_log() {
    if may_use_bpf().is_err() {
        return;
    }
    let Some(object) = compiled("checks", Endian::NATIVE) else { return };
    let path = object.path.to_str().unwrap();
    let text = |args: &[&str]| String::from_utf8(bpfobj(args).stdout).unwrap();
    let short = text(&["load", path, "--program", "rejected"]);
    assert!(short.ends_with(" lines); see it with --verbose\n") && short.lines().count() == 1, "{short}");
    let long = text(&["load", path, "--program", "rejected", "--verbose"]);
    assert!(long.contains("\nverifier log:\n") && long.contains("\nprocessed "), "{long}");
}
