//! The drop-in for `bpftool map`, against the real program: sessions are run by both, and what they print is
//! compared; where ours differs on purpose (`docs/bpftool-differences.md`), ours is tested by itself.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use common::bpftool::{compare, compare_reading, done_before_stale_error, has_bpftool, link};
use common::{Lacking, Ran, Sandbox, arg, skip};
use loader::map::{Map, MapConfig};
use loader::spec::map::map_type;

/// A session: commands, in which `@` stands for a directory on bpffs, `%` for a name that no other map has.
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
        "map pop",
        "map push",
        "map create @/n type hash key 8 value 4 entries 4 flags",
        "map create @/n type hash key 8 value 4 entries 4294967295 name n",
        "map create @/n type hash key 8 value 4 entries 4 name n flags 0xffffffff",
        "map create @/n key 8 value 4 entries 4 name n",
        "map dump name sixteen_letters_",
        "map dump id -1",
        "-Q map show",
        "map --frob",
        "batch",
        "batch x y",
        "batch file",
        "batch file @/none x",
        "batch file @/none",
    ],
    // The same as JSON: errors in both layouts; usage texts, for which bpftool prints `null`; help, which says nothing.
    &[
        "map create @/a type hash key 8 value 4 entries 4 name a",
        "-j map dump pinned @/none",
        "-p map dump pinned @/none",
        "-j map show x y z",
        "-p map update pinned @/a key 1 value 1",
        "-p map delete pinned @/a key 1 2 3 4 5 6 7 8",
        "-j map update pinned @/a key 1 2 3 4 5 6 7 8 value 1 2 3 4 exist",
        "-j map create @/n type hsh key 8 value 4 entries 4 name n",
        "-p map create @/n type hash key 8 value 4 entries 0 name n",
        "-j -Q map show",
        "-p --frob",
        "-j batch file @/none",
        "-p batch",
        "-j map frob",
        "-p map frob",
        "-j frob",
        "-j map dump",
        "-p map lookup",
        "-j help",
        "-j map help",
        "-p map help",
        "map help",
        "help",
    ],
    // Other types of maps.
    &[
        "map create @/lru type lru_hash key 4 value 4 entries 2 name lru",
        "map update pinned @/lru key 1 0 0 0 value 1 2 3 4",
        "-p map dump pinned @/lru",
        "map create @/cpus type lru_percpu_hash key 4 value 20 entries 2 name cpus",
        "map update pinned @/cpus key 1 0 0 0 value 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20",
        "map dump pinned @/cpus",
        "-j map lookup pinned @/cpus key 1 0 0 0",
        "map create @/stack type stack key 0 value 2 entries 3 name stack",
        "map push pinned @/stack value 1 2",
        "map push pinned @/stack value 3 4",
        "-p map peek pinned @/stack",
        "map pop pinned @/stack",
        "map pop pinned @/stack",
        "map pop pinned @/stack",
        "-j map pop pinned @/stack",
        "map peek pinned @/stack",
        "map create @/trie type lpm_trie key 8 value 4 entries 3 name trie flags 1",
        "map update pinned @/trie key 16 0 0 0 10 1 0 0 value 1 0 0 0",
        "map lookup pinned @/trie key 32 0 0 0 10 1 2 3",
        "map dump pinned @/trie",
        "map create @/per type percpu_cgroup_storage key 8 value 4 entries 0 name per",
        "map update pinned @/per key 1 0 0 0 0 0 0 0 value 1 2 3 4",
        "map lookup pinned @/per key 1 0 0 0 0 0 0 0",
        "map dump pinned @/per",
        "map create @/groups type cgroup_array key 4 value 4 entries 2 name groups",
        "map dump pinned @/groups",
        "map create @/traces type stack_trace key 4 value 8 entries 2 name traces",
        "-j map dump pinned @/traces",
    ],
    // Maps of one name.
    &[
        "map create @/one type hash key 4 value 4 entries 2 name %",
        "map create @/two type array key 4 value 2 entries 1 name %",
        "map show name %",
        "-j map show name %",
        "-p map dump name %",
        "map dump name %",
        "map lookup name % key 0 0 0 0",
        "-j map update name % key 0 0 0 0 value 1 0",
        "-jf map show pinned @/one",
    ],
];

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

/// Batches on standard input, after each of which the map has the same entry again.
const BATCHES: &[&str] = &[
    "",
    "# only words\n",
    "\n \t \n\n",
    "# a comment\nmap update pinned @/b key 1 0 0 0 \\\n value 9 0 0 0\n\nmap dump pinned @/b # all\n",
    "map lookup pinned '@/b' key hex 1 0 0 0",
    "map lookup pinned @/b key 0x1 00 0 0",
    "map upd\\\nate pinned @/b key 2 0 0 0 value 2 2 2 2\nmap delete pinned @/b key 2 0 0 0\n",
    "   map \t show   pinned \"@/b\"   # words\r\n",
    "map show pinned @/b #\\\nmap show pinned @/b\n",
    "map dump pinned @/b\nmap dump pinned @/b\nmap getnext pinned @/b\n",
];

#[test]
fn batches_print_what_bpftool_prints() {
    let Some(sandbox) = Sandbox::new() else { return };
    if !has_bpftool() {
        return;
    }
    let (theirs, ours) = (sandbox.pin("theirs"), sandbox.pin("ours"));
    fs::create_dir(&theirs).unwrap();
    fs::create_dir(&ours).unwrap();
    compare(&sandbox, "map create @/b type hash key 4 value 4 entries 9 name b", &theirs, &ours);
    for batch in BATCHES {
        compare(&sandbox, "map update pinned @/b key 1 0 0 0 value 1 1 1 1", &theirs, &ours);
        for words in ["batch file -", "-j batch file -", "-p batch file -"] {
            compare_reading(&sandbox, words, batch, &theirs, &ours);
        }
    }
    for (name, directory) in [("t", &theirs), ("o", &ours)] {
        let text = format!("map show pinned {}/b\n", arg(directory));
        fs::write(sandbox.plain(name), text).unwrap();
    }
    // From a file it is the same.
    let answer = |program: &Path, file: &str| {
        let mut command = Command::new(program);
        Ran::from(command.args(["batch", "file"]).arg(sandbox.plain(file)).output().unwrap())
    };
    let lines = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    let (mine, real) = (lines(&answer(&link(&sandbox), "o").ok()), answer("bpftool".as_ref(), "t"));
    match done_before_stale_error(&real) {
        Some(done) => assert!(mine.starts_with(&lines(done)), "{mine:?} {real:?}"),
        None => assert_eq!(mine, lines(&real.ok())),
    }
}

#[test]
fn a_batch_that_cannot_be_read_to_its_end_is_refused_before_anything_is_done() {
    let Some(sandbox) = Sandbox::new() else { return };
    let pin = sandbox.pin("b");
    let create = format!("map create {} type hash key 4 value 4 entries 9 name b\n", arg(&pin));
    let file = sandbox.plain("batch");
    for (last, why) in [
        ("map show pinned \"x\n", "line 2: a quote is not closed"),
        ("map show \\\n", "line 2: missing continuation line"),
    ] {
        fs::write(&file, format!("{create}{last}")).unwrap();
        let ran = sandbox.run(["batch", "file", arg(&file)]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
        assert!(ran.err.starts_with(&format!("Error: {why}")), "{ran:?}");
        assert!(!pin.exists());
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
    // What the kernel takes out of a map with keys is the entry with the key that it is given.
    error(map("pop pinned @"), 6, &["this map has keys"]);
    assert_eq!(map("dump pinned @").ok().lines().last(), Some("Found 2 elements"));
    error(map("pop pinned @ extra"), 2, &["what is 'extra'?"]);
    // Why the kernel says `Invalid argument`.
    error(map("create @2 type hash key 8 value 4 entries 0 name x"), 1, &["entries is 0"]);
    error(map("create @2 type hash key 8 value 4 entries 1 name a-b"), 2, &["other characters"]);
    assert!(!sandbox.pin("set2").exists());
}

#[test]
fn a_map_without_pins_has_an_empty_list_of_them_where_others_have_some() {
    let Some(sandbox) = Sandbox::new() else { return };
    if !has_bpftool() {
        return;
    }
    let config = MapConfig {
        name: "unpinned".into(),
        map_type: map_type::HASH,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        ..MapConfig::default()
    };
    let map = Map::create(&config).unwrap();
    let (id, directory) = (map.info().id, sandbox.pin(""));
    for words in ["-jf", "-pf", "-f"] {
        compare(&sandbox, &format!("{words} map show id {id}"), &directory, &directory);
    }
    sandbox.run(["create"]).ok();
    for words in ["-jf", "-pf", "-f"] {
        compare(&sandbox, &format!("{words} map show id {id}"), &directory, &directory);
    }
    let shown = sandbox.run(["map", "show", "id", &id.to_string(), "-jf"]).json();
    assert_eq!(shown["pinned"], serde_json::json!([]));
}

/// The kernel's answer depends on a value that the command has not.
#[test]
fn a_bloom_filter_is_not_looked_into() {
    let Some(sandbox) = Sandbox::new() else { return };
    let config = MapConfig {
        name: "bloom".into(),
        map_type: map_type::BLOOM_FILTER,
        value_size: 4,
        max_entries: 7,
        ..MapConfig::default()
    };
    let Ok(map) = Map::create(&config) else {
        return skip(&Lacking::Kernel("Bloom filters (5.16)"));
    };
    let id = map.info().id.to_string();
    sandbox.run(["map", "push", "id", &id, "value", "0", "0", "0", "0"]).ok();
    for command in ["peek", "lookup"] {
        let ran = sandbox.run(["map", command, "id", &id]);
        assert_eq!((ran.code, ran.out.as_str()), (6, ""), "{ran:?}");
        assert!(ran.err.starts_with("Error: lookup failed: a Bloom filter"), "{ran:?}");
    }
}

#[test]
fn every_refusal_of_the_grammar_has_a_line_and_the_usage_code() {
    let Some(sandbox) = Sandbox::new() else { return };
    for (words, part) in [
        (&["map", "event_pipe", "id", "1"][..], "is not done here"),
        (&["map", "create", "/x", "type", "hash", "name", "x", "dev", "lo"], "devices are not done here"),
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
    if let Err(errno) =
        nix::mount::mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), nix::mount::MsFlags::empty(), None::<&str>)
    {
        return skip(&Lacking::Privilege(format!("mount on /sys/fs/bpf: {errno}")));
    }
    // The lines of BCC's special_filtering.md, but for the place of the cgroup; its example of an id is another member.
    let script = r#"
set -eu
bpftool map create /sys/fs/bpf/test01 type hash key 8 value 8 entries 128 \
        name cgroupset flags 0
FILE=/sys/fs/bpf/test01
CGROUPID_HEX="77 16 00 00 01 00 00 00"
bpftool map update pinned $FILE key hex $CGROUPID_HEX value hex 00 00 00 00 00 00 00 00 any
CGROUPID_HEX="$(cgroupid hex $CGROUP)"
bpftool map update pinned $FILE key hex $CGROUPID_HEX value hex 00 00 00 00 00 00 00 00 any
bpftool map create /sys/fs/bpf/mnt_ns_set type hash key 8 value 4 entries 128 \
        name mnt_ns_set flags 0
FILE=/sys/fs/bpf/mnt_ns_set
if [ $(printf '\1' | od -dAn) -eq 1 ]; then
 HOST_ENDIAN_CMD=tac
else
  HOST_ENDIAN_CMD=cat
fi

NS_ID_HEX="$(printf '%016x' $(stat -Lc '%i' /proc/self/ns/mnt) | sed 's/.\{2\}/&\n/g' | $HOST_ENDIAN_CMD)"
bpftool map update pinned $FILE key hex $NS_ID_HEX value hex 00 00 00 00 any
bpftool map dump pinned $FILE
"#;
    let path = format!("{}:{}", arg(&sandbox.plain("")), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-c", script])
        .env("PATH", path)
        .env("CGROUP", &cgroup.path)
        .output()
        .unwrap();
    let out = Ran::from(output).ok();
    assert!(out.starts_with("key: ") && out.ends_with("Found 1 element\n"), "{out}");
    let members = |set: &str| sandbox.run(["--json", "list", set]).json()["sets"][0]["members"].clone();
    let own = sandbox.run(["mntnsid", "number"]).ok();
    assert_eq!(members("/sys/fs/bpf/mnt_ns_set")[0]["id"].to_string(), own.trim());
    let cgroups = members("/sys/fs/bpf/test01");
    let example = u64::from_ne_bytes([0x77, 0x16, 0, 0, 1, 0, 0, 0]);
    let of = |key: &str, value: serde_json::Value| {
        cgroups.as_array().unwrap().iter().filter(|member| member[key] == value).count()
    };
    assert_eq!((of("path", arg(&cgroup.path).into()), of("id", example.into())), (1, 1), "{cgroups}");
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
