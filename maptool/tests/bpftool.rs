//! The drop-in for `bpftool map`, against the real program: sessions are run by both, and what they print is
//! compared; where ours differs on purpose (`docs/bpftool-differences.md`), ours is tested by itself.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Lacking, Ran, Sandbox, arg, skip};

/// A session: commands, in which `@` stands for a directory on bpffs.
const SESSIONS: &[&[&str]] = &[
    &[
        "map create @/a type hash key 8 value 4 entries 4 name mnt_ns_set",
        "map dump pinned @/a",
        "-j map dump pinned @/a",
        "map getnext pinned @/a",
        "map update pinned @/a key 0xf8 0xff 0xff 0xef 0 0 0 0 value 0 0 0 0",
        "map update pinned @/a key hex f9 ff ff ef 0 0 0 0 value hex 0 0 0 ff noexist",
        "map update pinned @/a value 1 2 3 4 key 0371 255 255 239 0 0 0 0 exist",
        "map lookup pinned @/a key 0xf8 0xff 0xff 0xef 0 0 0 0",
        "-j map lookup pinned @/a key 0xf8 0xff 0xff 0xef 0 0 0 0",
        "-p map lookup pinned @/a key 0xf8 0xff 0xff 0xef 0 0 0 0",
        "map show pinned @/a",
        "-j map show pinned @/a",
        "map show pinned @/a -p",
        "-f map show pinned @/a",
        "-jf map show pinned @/a",
        "-pf map show pinned @/a",
        "map pin pinned @/a @/a2",
        "map delete pinned @/a2 key 0xf9 0xff 0xff 0xef 0 0 0 0",
        "map d pinned @/a",
        "-p map d pinned @/a",
        "m sh pinned @/a",
        "-j map getnext pinned @/a",
        "-p map getnext pinned @/a",
        "map getnext pinned @/a key 1 0 0 0 0 0 0 0",
        "map freeze pinned @/a",
        "map show pinned @/a",
        "-j map freeze pinned @/a2",
        "map update pinned @/a key 0 0 0 0 0 0 0 0 value 0 0 0 0",
    ],
    &[
        "map create @/q type queue key 0 value 4 entries 4 name q",
        "map push pinned @/q value 1 2 3 4",
        "map enqueue pinned @/q value 5 6 7 8",
        "map peek pinned @/q",
        "-j map peek pinned @/q",
        "map pop pinned @/q",
        "-j map dequeue pinned @/q",
        "map update pinned @/q key 1 value 1 2 3 4",
    ],
    &[
        "map create @/p type percpu_array key 4 value 4 entries 2 name p",
        "map update pinned @/p key 0 0 0 0 value 1 2 3 4",
        "map lookup pinned @/p key 0 0 0 0",
        "map dump pinned @/p",
        "-j map dump pinned @/p",
        "-p map dump pinned @/p",
        "map create @/wide type hash key 20 value 4 entries 2 name wide",
        "map update pinned @/wide key 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 value 1 2 3 4",
        "map dump pinned @/wide",
        "map create @/half type hash key 16 value 16 entries 2 name half",
        "map update pinned @/half key 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 value 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
        "map dump pinned @/half",
        "map create @/outer type hash_of_maps key 4 value 4 entries 2 name outer inner_map pinned @/p",
        "map update pinned @/outer key 1 0 0 0 value pinned @/p",
        "map create @/arr type array key 4 value 8 entries 3 name arr flags 0x400",
        "map dump pinned @/arr",
        "map show pinned @/arr",
        "map create @/lpm type lpm_trie key 8 value 4 entries 3 name lpm flags 1",
        "-j map show pinned @/lpm",
        "map create @/ring type ringbuf key 0 value 0 entries 4096 name ring",
        "map show pinned @/ring",
        "map create @/short ty hash k 8 v 8 e 4 n short_words",
        "map show pinned @/short",
    ],
    // Maps whose values cannot be read, or are not there; keys that are not there; indices that are too large.
    &[
        "map create @/perf type perf_event_array key 4 value 4 entries 2 name perf",
        "map dump pinned @/perf",
        "-j map dump pinned @/perf",
        "-p map dump pinned @/perf",
        "map lookup pinned @/perf key 0 0 0 0",
        "map update pinned @/perf key 0 0 0 0 value 9 0 0 0",
        "map create @/dev type devmap key 4 value 4 entries 3 name dev",
        "map update pinned @/dev key 1 0 0 0 value 1 0 0 0",
        "map dump pinned @/dev",
        "-j map dump pinned @/dev",
        "map create @/sock type sockmap key 4 value 4 entries 2 name sock",
        "map dump pinned @/sock",
        "-j map dump pinned @/sock",
        "map create @/port type reuseport_sockarray key 4 value 4 entries 2 name port",
        "-j map dump pinned @/port",
        "map create @/ring type ringbuf key 0 value 0 entries 4096 name ring",
        "map push pinned @/ring value",
        "map delete pinned @/ring",
        "map pop pinned @/ring",
        "map getnext pinned @/ring",
        "map create @/inner type array key 4 value 4 entries 1 name inner",
        "map create @/maps type array_of_maps key 4 value 4 entries 2 name maps inner_map pinned @/inner",
        "map dump pinned @/maps",
        "-j map dump pinned @/maps",
        "map create @/progs type prog_array key 4 value 4 entries 2 name progs",
        "map dump pinned @/progs",
        "map lookup pinned @/progs key 1 0 0 0",
        "map create @/arr type array key 4 value 4 entries 2 name arr",
        "map update pinned @/arr key 2 0 0 0 value 1 0 0 0",
        "map delete pinned @/arr key 1 0 0 0",
    ],
    // Refusals: nothing on standard output, the same line on standard error.
    &[
        "map create @/a type hash key 8 value 4 entries 4 name a",
        "map create",
        "map c @/x",
        "map create @/n type hash key 8 value 4 entries x name n",
        "map create @/n type hsh key 8 value 4 entries 4 name n",
        "map create @/n type hash key 8 value 4 entries 4 bogus 1",
        "map create @/n type hash key 8 value 4 entries 4 name",
        "map create @/n type hash key 8 key 8 value 4 entries 4",
        "map create @/n type array key 4 value 4 entries 4",
        "map show x y z",
        "map show pinned",
        "map show foo @/a",
        "map show id zz",
        "map show id 4294967295",
        "map dump pinned @/none",
        "map lookup pinned @/a",
        "map lookup pinned @/a key 1",
        "map lookup pinned @/a key 1 2 3 4 5 6 7 8 9",
        "map update pinned @/a key 0 1 value 0 0 0 0",
        "map update pinned @/a key 0 0 0 0 0 0 0 0 value 1 2",
        "map update pinned @/a key 0 0 0 0 0 0 0 0 value 1 2 3 4 5",
        "map update pinned @/a key 0 0 0 0 0 0 0 0 value 1 2 3 4 any exist",
        "map update pinned @/a key 0 0 0 0 0 0 0 0 value 1 2 3 4 bogus",
        "map update pinned @/a key 0 0 0 0 0 0 0 0",
        "map update pinned @/a key 0 0 0 0 0 0 0 0 value 1 2 3 4 exist",
        "map update pinned @/a key 1 2 3 4 5 6 7 8 key 1 2 3 4 5 6 7 8",
        "map delete pinned @/a",
        "map delete pinned @/a key 1 2 3 4 5 6 7 8",
        "map freeze pinned @/a extra",
        "map pin pinned @/a",
        "map pin pinned @/a @/a",
        "map lookup pinned @/a key 1 2 3 4 5 6 7 8",
        "-j map lookup pinned @/a key 1 2 3 4 5 6 7 8",
        "batch",
        "batch file @/none",
    ],
];

fn run(mut program: Command, words: &str, directory: &Path) -> Ran {
    let words = words.split(' ').map(|word| word.replace('@', arg(directory)));
    Ran::from(program.args(words).stdin(Stdio::null()).output().unwrap())
}

/// Ids differ from map to map.
fn without_ids(text: &str, directory: &Path) -> String {
    let mut out = String::new();
    let text = text.replace(arg(directory), "@");
    for line in text.split_inclusive('\n') {
        let (head, tail) = line.split_once(": ").unwrap_or(("", line));
        let is_id = !head.is_empty() && head.bytes().all(|byte| byte.is_ascii_digit());
        let mut line = if is_id { format!("N: {tail}") } else { line.to_owned() };
        for key in ["\"id\":", "btf_id ", "\"btf_id\":"] {
            if let Some(at) = line.find(key) {
                let start = at + key.len();
                let start = start + usize::from(line[start..].starts_with(' '));
                let digits = line[start..].bytes().take_while(u8::is_ascii_digit).count();
                line.replace_range(start..start + digits, "N");
            }
        }
        out.push_str(&line);
    }
    out
}

/// The same command line to both; a difference names it.
fn compare(sandbox: &Sandbox, words: &str, theirs: &Path, ours: &Path) {
    let real = run(Command::new("bpftool"), words, theirs);
    let link = sandbox.plain("bpftool");
    if !link.exists() {
        symlink(env!("CARGO_BIN_EXE_nsmap"), &link).unwrap();
    }
    let mine = run(Command::new(link), words, ours);
    if real.out.starts_with("{\"error\"") {
        // Errors have their own stream with us.
        assert_eq!(mine.out, "", "{words}");
        let start = real.out.trim_end().trim_end_matches(['"', '}']);
        return assert!(mine.err.starts_with(start), "{words}: {mine:?} {real:?}");
    }
    assert_eq!(without_ids(&mine.out, ours), without_ids(&real.out, theirs), "{words}");
    assert_eq!(mine.code == 0, real.code == 0, "{words}: {mine:?} {real:?}");
    let error = |ran: &Ran, directory| without_ids(&ran.err, directory).lines().next().map(str::to_owned);
    if real.code == 0 || real.err.starts_with("Usage") {
        assert_eq!(mine.err.is_empty(), real.err.is_empty(), "{words}: {mine:?}");
    } else {
        // Ours may add a hint in brackets.
        let (real, mine) = (error(&real, theirs).unwrap_or_default(), error(&mine, ours).unwrap_or_default());
        assert!(mine.starts_with(&real), "{words}:\n{mine}\n{real}");
    }
}

fn has_bpftool() -> bool {
    let found = Command::new("bpftool").arg("version").output().is_ok_and(|output| output.status.success());
    if !found {
        skip(&Lacking::Peer("bpftool"));
    }
    found
}

#[test]
fn sessions_print_what_bpftool_prints() {
    let Some(sandbox) = Sandbox::new() else { return };
    if !has_bpftool() {
        return;
    }
    for (number, session) in SESSIONS.iter().enumerate() {
        let (theirs, ours) = (sandbox.pin(&format!("t{number}")), sandbox.pin(&format!("o{number}")));
        fs::create_dir(&theirs).unwrap();
        fs::create_dir(&ours).unwrap();
        for words in *session {
            compare(&sandbox, words, &theirs, &ours);
        }
    }
}

#[test]
fn a_map_with_types_is_dumped_as_bpftool_dumps_it() {
    let Some(sandbox) = Sandbox::new() else { return };
    if !has_bpftool() {
        return;
    }
    sandbox.run(["create"]).ok();
    sandbox.run(["add-mntns", "4026532901", "4026532902"]).ok();
    let directory = sandbox.pin("");
    let directory = Path::new(arg(&directory).trim_end_matches('/')).to_owned();
    for words in [
        "map dump pinned @/mnt_ns_set",
        "-j map dump pinned @/mnt_ns_set",
        "-p map dump pinned @/mnt_ns_set",
        "map lookup pinned @/mnt_ns_set key hex 25 04 00 f0 00 00 00 00",
        "-j map lookup pinned @/mnt_ns_set key hex 25 04 00 f0 00 00 00 00",
        "map show pinned @/mnt_ns_set",
        "-j map show pinned @/mnt_ns_set",
    ] {
        compare(&sandbox, words, &directory, &directory);
    }
}

#[test]
fn batches_print_what_bpftool_prints() {
    let Some(sandbox) = Sandbox::new() else { return };
    if !has_bpftool() {
        return;
    }
    sandbox
        .run([
            "map",
            "create",
            arg(&sandbox.pin("b")),
            "type",
            "hash",
            "key",
            "4",
            "value",
            "4",
            "entries",
            "9",
            "name",
            "b",
        ])
        .ok();
    let file = sandbox.plain("batch");
    let pin = sandbox.pin("b");
    let lines = format!(
        "# a comment\nmap update pinned {0} key 1 0 0 0 \\\n value 1 0 0 0\n\nmap dump pinned {0} # all\nmap lookup pinned '{0}' key hex 1 0 0 0\n",
        arg(&pin)
    );
    fs::write(&file, lines).unwrap();
    let directory = file.parent().unwrap();
    for words in ["batch file @/batch", "-j batch file @/batch", "-p batch file @/batch"] {
        compare(&sandbox, words, directory, directory);
    }
}

#[test]
fn a_batch_stops_at_the_first_failure_and_names_its_line() {
    let Some(sandbox) = Sandbox::new() else { return };
    let file = sandbox.plain("batch");
    fs::write(&file, format!("# one\nmap show\nmap dump pinned {}\nmap show\n", arg(&sandbox.pin("no"))))
        .unwrap();
    let ran = sandbox.run(["batch", "file", arg(&file)]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.err.starts_with("Error: line 3: bpf obj get ("), "{ran:?}");
    assert!(!ran.out.contains("processed"), "{ran:?}");
    let json = sandbox.run(["batch", "file", arg(&file), "-j"]);
    let answer = json.json();
    assert_eq!(answer.as_array().unwrap().len(), 2);
    assert!(answer[1]["output"]["error"].as_str().unwrap().contains("line 3"), "{json:?}");
}

#[test]
fn where_bpftool_is_wrong_ours_is_right() {
    let Some(sandbox) = Sandbox::new() else { return };
    let pin = sandbox.pin("set");
    let map = |words: &str| {
        let words = words.split(' ').map(|word| word.replace('@', arg(&pin)));
        Ran::from(sandbox.nsmap().arg("map").args(words).output().unwrap())
    };
    map("create @ type hash key 8 value 4 entries 2 name set").ok();
    let error = |ran: Ran, code: i32, parts: &[&str]| {
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{ran:?}");
        parts.iter().for_each(|part| assert!(ran.err.contains(part), "no `{part}` in {ran:?}"));
    };
    // A byte above 255.
    error(map("update pinned @ key 300 0 0 0 0 0 0 0 value 0 0 0 0"), 2, &["error parsing byte: 300", "255"]);
    assert_eq!(map("dump pinned @").ok(), "Found 0 elements\n");
    // A full map.
    map("update pinned @ key 1 0 0 0 0 0 0 0 value 0 0 0 0").ok();
    map("update pinned @ key 2 0 0 0 0 0 0 0 value 0 0 0 0").ok();
    error(map("update pinned @ key 3 0 0 0 0 0 0 0 value 0 0 0 0"), 5, &["full: 2 of 2"]);
    // JSON errors on standard error; the answer of a name that is not there.
    error(map("-j dump name nsmap_no_such"), 3, &["{\"error\":\"no map has the name nsmap_no_such\"}"]);
    error(map("dump name nsmap_no_such"), 3, &["Error: no map has the name"]);
    // Exit codes that tell.
    error(map("dump pinned @-no"), 3, &["No such file"]);
    assert_eq!(map("lookup pinned @ key 9 0 0 0 0 0 0 0").code, 3);
    error(map("delete pinned @ key 9 0 0 0 0 0 0 0"), 3, &["delete failed: No such file or directory"]);
    error(
        map("update pinned @ key 1 0 0 0 0 0 0 0 value 0 0 0 0 noexist"),
        1,
        &["update failed: File exists"],
    );
    error(map("create @ type hash key 8 value 4 entries 2 name set"), 1, &["File exists"]);
    // Nothing is hidden by a mount, and the file that is meant is named.
    let plain = sandbox.plain("x");
    fs::write(&plain, "kept").unwrap();
    let ran = Ran::from(sandbox.nsmap().args(["map", "dump", "pinned", arg(&plain)]).output().unwrap());
    error(ran, 7, &[arg(&plain), "not on bpffs"]);
    let ran = Ran::from(
        sandbox.nsmap().args(["map", "pin", "pinned", arg(&pin), arg(&sandbox.plain("y"))]).output().unwrap(),
    );
    error(ran, 7, &["expected bpffs"]);
    assert_eq!(fs::read_to_string(&plain).unwrap(), "kept");
    let ran =
        Ran::from(sandbox.nsmap().args(["map", "dump", "pinned", arg(&sandbox.pin(""))]).output().unwrap());
    error(ran, 6, &["this is a directory"]);
    // Why the kernel says `Invalid argument`.
    error(map("create @2 type hash key 8 value 4 entries 0 name x"), 1, &["entries is 0"]);
    error(map("create @2 type hash key 8 value 4 entries 1 name a-b"), 2, &["other characters"]);
    assert!(!sandbox.pin("set2").exists());
}

#[test]
fn every_refusal_of_the_grammar_has_a_line_and_the_usage_code() {
    let Some(sandbox) = Sandbox::new() else { return };
    for (words, part) in [
        (&["map", "event_pipe", "id", "1"][..], "is not done here"),
        (&["map", "frob"], "Usage: bpftool map"),
        (&["map", "update"], "Usage: bpftool map"),
        (&["map", "-Q"], "unrecognized option '-Q'"),
        (&["map", "dump", "name", "sixteen_letters_"], "can't parse name"),
        (&["batch", "fil"], "too few parameters"),
        (&["batch", "x", "y"], "expected 'file'"),
        (&["batch", "file", "x", "y"], "too many parameters"),
    ] {
        let ran = sandbox.run(words);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{words:?} {ran:?}");
        assert!(ran.err.contains(part), "{words:?} {ran:?}");
    }
}

#[test]
fn the_tutorials_own_shell_text_runs_with_links_in_the_place_of_its_programs() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(cgroup) = common::Cgroup::new() else { return };
    for name in ["bpftool", "cgroupid"] {
        symlink(env!("CARGO_BIN_EXE_nsmap"), sandbox.plain(name)).unwrap();
    }
    // The lines of BCC's special_filtering.md, but for the place of bpffs and of the cgroup.
    let script = r#"
set -eu
FILE=$BPF/cgroup_set
bpftool map create $BPF/mnt_ns_set type hash key 8 value 4 entries 128 \
        name mnt_ns_set flags 0
NS_ID_HEX="$(printf '%016x' $(stat -Lc '%i' /proc/self/ns/mnt) | sed 's/.\{2\}/&\n/g' | tac | xargs)"
bpftool map update pinned $BPF/mnt_ns_set key hex $NS_ID_HEX value hex 00 00 00 00 any
bpftool map create $FILE type hash key 8 value 8 entries 128 \
        name cgroupset flags 0
CGROUPID=$(cgroupid hex $CGROUP)
bpftool map update pinned $FILE key hex $CGROUPID value hex 00 00 00 00 00 00 00 00 any
bpftool map dump pinned $FILE
"#;
    if cfg!(target_endian = "big") {
        return skip(&Lacking::Peer("a little-endian host, which the tutorial's shell text is for"));
    }
    let path = format!("{}:{}", arg(&sandbox.plain("")), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-c", script])
        .env("PATH", path)
        .env("BPF", sandbox.pin(""))
        .env("CGROUP", &cgroup.path)
        .output()
        .unwrap();
    let out = Ran::from(output).ok();
    assert!(out.starts_with("key: ") && out.ends_with("Found 1 element\n"), "{out}");
    let list = sandbox.run(["--json", "list"]).json();
    let own = sandbox.run(["mntnsid", "number"]).ok();
    assert_eq!(list["sets"][0]["members"][0]["id"].to_string(), own.trim());
    assert_eq!(list["sets"][1]["members"][0]["path"], arg(&cgroup.path));
}

#[test]
fn cgroupid_keeps_its_usage_and_refuses_what_is_no_cgroup() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(cgroup) = common::Cgroup::new() else { return };
    let link = sandbox.plain("cgroupid");
    symlink(env!("CARGO_BIN_EXE_nsmap"), &link).unwrap();
    let run = |words: &[&str]| Ran::from(Command::new(&link).args(words).output().unwrap());
    let number = run(&["number", arg(&cgroup.path)]).ok();
    assert_eq!(number, sandbox.run(["cgroupid", "number", arg(&cgroup.path)]).ok());
    assert_eq!(run(&["hex", arg(&cgroup.path)]).ok().len(), 24);
    let to_cgroup = sandbox.plain("link");
    symlink(&cgroup.path, &to_cgroup).unwrap();
    assert_eq!(run(&["number", arg(&to_cgroup)]).ok(), number, "BCC's printed the id of the link");
    for (words, part) in [
        (&["number", "/no/such"][..], "not found"),
        (&["hex", "/tmp"], "expected one on cgroup2"),
        (&["hex", arg(&cgroup.path.join("cgroup.procs"))], "found a file"),
        (&["print-hex", arg(&cgroup.path)], "Usage: cgroupid"),
        (&[], "Usage: cgroupid"),
    ] {
        let ran = run(words);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
        assert!(ran.err.contains(part), "{ran:?}");
    }
}
