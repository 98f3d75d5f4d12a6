//! Which ways of executing a program are seen: all of them, each exactly once, with all of their arguments.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::common::namespace::MountNamespace;
use crate::common::program::{find, run_true, true_path};
use crate::common::role::{played, role};
use crate::common::run::{run, run_ok, wait_bounded};
use crate::common::sandbox::Sandbox;
use crate::common::skip::{Skip, or_skip, skip};
use crate::common::{elf, emulated, tag};
use crate::{args_column, argv, drain, events_of, execsnoop, last_of, with_word};

/// Whether the event is a success of the program, whichever way the kernel names it.
#[track_caller]
fn expect_success(event: &Value, filename: &str, args: &[&str]) {
    assert_eq!(event["ret"], 0, "{event:#}");
    assert_eq!(event["filename"], filename, "{event:#}");
    assert_eq!(argv(event), args, "{event:#}");
}

#[test]
fn an_exec_is_one_event_with_what_the_caller_gave() {
    let word = tag("plain");
    let mut pid = 0;
    let Some(events) = events_of(&[], || pid = run_true([&word, "", "two words", "ü"])) else { return };
    let [event] = with_word(&events, &word)[..] else { panic!("{events:#?}") };
    let program = true_path();
    expect_success(event, &program, &[&program, &word, "", "two words", "ü"]);
    assert_eq!(event["pid"], pid);
    assert_eq!(event["tid"], pid);
    assert_eq!(event["ppid"], std::process::id());
    assert_eq!(event["comm"], "true");
}

#[test]
fn what_argv_0_claims_is_not_what_is_shown() {
    use std::os::unix::process::CommandExt;
    let sandbox = or_skip!(Sandbox::new());
    let tracer = execsnoop(&sandbox, [""; 0]);
    let word = tag("argv0");
    run(Command::new(find("sh")).arg0("innocent/sh").args(["-c", "exit 0", &word])).ok();
    tracer.wait_word(&word);
    let row = tracer.wait_line("row", |row| row.contains(&word));
    assert_eq!(args_column(&row), format!("{} -c exit 0 {word}", find("sh").display()));
    assert_eq!(row.split_whitespace().next(), Some("sh"));
    tracer.stop().quiet();
}

#[test]
fn execveat_with_a_path_in_a_directory_is_seen() {
    let word = tag("in-directory");
    let program = find("true");
    let dir = program.parent().unwrap().to_str().unwrap();
    let mut pid = 0;
    let Some(events) =
        events_of(&[], || pid = played("execveat in a directory", [dir, "true", "zero/true", &word]))
    else {
        return;
    };
    let event = last_of(&events, pid);
    assert_eq!(argv(event), ["zero/true", &word]);
    assert_eq!(with_word(&events, &word).len(), 1);
    // The kernel calls it /dev/fd/N/true; what was executed is known.
    assert!(event["filename"].as_str().unwrap().ends_with("/true"), "{event:#}");
    let real = std::fs::canonicalize(&program).unwrap();
    assert_eq!(event["exe"], real.to_str().unwrap(), "{event:#}");
}

#[test]
fn execveat_of_a_descriptor_shows_the_path_of_the_file() {
    let sandbox = or_skip!(Sandbox::new());
    let (word, table_word) = (tag("descriptor"), tag("descriptor"));
    let program = sandbox.install(&find("true"), "program-by-descriptor");
    let path = program.to_str().unwrap();
    let tracer = execsnoop(&sandbox, ["--json"]);
    // A busybox looks at argv[0] to know what it shall be.
    let pid = played("execveat of a descriptor", [path, "true", &word]);
    let events = drain(tracer).quiet().events();
    let event = last_of(&events, pid);
    assert_eq!(argv(event), ["true", &word]);
    assert_eq!(event["exe"], path, "{event:#}");
    assert_eq!(with_word(&events, &word).len(), 1);

    let tracer = execsnoop(&sandbox, [""; 0]);
    played("execveat of a descriptor", [path, "true", &table_word]);
    let row = tracer.wait_line("row", |row| row.contains(&table_word));
    assert_eq!(args_column(&row), format!("{path} {table_word}"));
    tracer.stop().quiet();
}

#[test]
fn a_program_that_is_only_in_memory_is_seen_and_said_to_be() {
    let word = tag("memfd");
    let program = true_path();
    let mut pid = 0;
    let Some(events) = events_of(&[], || pid = played("execveat of a memfd", [&program, "true", &word]))
    else {
        return;
    };
    let event = last_of(&events, pid);
    assert_eq!(argv(event), ["true", &word]);
    assert!(event["exe"].as_str().unwrap().contains("memfd:from-memory"), "{event:#}");
}

#[test]
fn an_exec_by_a_thread_that_is_not_the_leader_is_seen_and_the_next_one_too() {
    let words = [tag("thread"), tag("thread")];
    let program = true_path();
    let mut pids = Vec::new();
    let Some(events) = events_of(&["-x"], || {
        pids = words.iter().map(|word| played("execve in a thread", [&program, "true", word])).collect();
    }) else {
        return;
    };
    for (word, pid) in words.iter().zip(pids) {
        let [event] = with_word(&events, word)[..] else { panic!("{events:#?}") };
        expect_success(event, &program, &["true", word]);
        // The thread became the leader.
        assert_eq!((&event["pid"], &event["tid"]), (&pid.into(), &pid.into()), "{event:#}");
    }
}

#[test]
fn an_exec_without_any_argument_is_seen() {
    let sandbox = or_skip!(Sandbox::new());
    let program = true_path();
    let json = execsnoop(&sandbox, ["--json"]);
    let table = execsnoop(&sandbox, [""; 0]);
    // A busybox knows from argv[0] what it shall be, so this may fail in the end; it was executed all the same.
    let mut child = role("execve", [&program]).stderr(Stdio::null()).spawn().unwrap();
    let pid = child.id();
    wait_bounded(&mut child).expect("it ends");
    let events = drain(json).quiet().events();
    let event = last_of(&events, pid);
    assert_eq!(event["filename"], program, "{event:#}");
    // Since 5.18 the kernel makes argv[0] the empty string.
    assert!(argv(event).is_empty() || argv(event) == [""], "{event:#}");
    let table = drain(table).quiet();
    let row =
        table.rows().iter().rfind(|row| row.split_whitespace().nth(1) == Some(&pid.to_string())).unwrap();
    assert_eq!(args_column(row), program);
}

#[test]
fn a_32_bit_program_is_seen() {
    let sandbox = or_skip!(Sandbox::new());
    let program = sandbox.executable("program-of-32-bits", &elf::exit_i386());
    let tracer = execsnoop(&sandbox, ["--json"]);
    let word = tag("ia32");
    let Ok(mut child) = Command::new(&program).arg(&word).spawn() else { return skip(&Skip::NoIa32) };
    let pid = child.id();
    assert!(wait_bounded(&mut child).unwrap().success());
    let events = drain(tracer).quiet().events();
    let path = program.to_str().unwrap();
    expect_success(last_of(&events, pid), path, &[path, &word]);
    assert_eq!(last_of(&events, pid)["comm"], "program-of-32-b");
}

#[test]
fn a_script_is_shown_as_typed_also_when_its_interpreter_is_a_script() {
    let sandbox = or_skip!(Sandbox::new());
    let sh = find("sh").display().to_string();
    let plain = sandbox.executable("plain.sh", format!("#!{sh}\nexit 0\n").as_bytes());
    let option = sandbox.executable("option.sh", format!("#!{sh} -e\nexit 0\n").as_bytes());
    let runner = sandbox.executable("runner.sh", format!("#!{sh}\nexit 0\n").as_bytes());
    let nested = sandbox.executable("nested.sh", format!("#!{} first\n", runner.display()).as_bytes());
    let tracer = execsnoop(&sandbox, [""; 0]);
    let json = execsnoop(&sandbox, ["--json"]);
    let words = [tag("script"), tag("script"), tag("script")];
    for (script, word) in [plain, option, nested].iter().zip(&words) {
        run(Command::new(script).args([word, "two words", ""])).ok();
        let row = tracer.wait_line("row", |row| row.contains(word));
        assert_eq!(args_column(&row), format!("{} {word} two words", script.display()));
        assert_eq!(row.split_whitespace().next(), script.file_name().unwrap().to_str());
        let line = json.wait_line("event", |line| line.contains(word));
        let event: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["filename"], script.to_str().unwrap());
        let real = std::fs::canonicalize(&sh).unwrap();
        assert_eq!(event["exe"], real.to_str().unwrap(), "{event:#}");
    }
    let (table, events) = (tracer.stop().quiet(), json.stop().quiet().events());
    for word in &words {
        assert_eq!(table.rows().iter().filter(|row| row.contains(word.as_str())).count(), 1);
        assert_eq!(with_word(&events, word).len(), 1);
    }
}

#[test]
fn a_script_that_is_called_by_a_relative_path_is_shown_as_typed() {
    let sandbox = or_skip!(Sandbox::new());
    let script =
        sandbox.executable("dir/relative.sh", format!("#!{}\nexit 0\n", find("sh").display()).as_bytes());
    let tracer = execsnoop(&sandbox, [""; 0]);
    let word = tag("relative");
    // An argument that equals the script's name is an argument.
    run(Command::new("./relative.sh").args(["./relative.sh", &word]).current_dir(script.parent().unwrap()))
        .ok();
    let row = tracer.wait_line("row", |row| row.contains(&word));
    assert_eq!(args_column(&row), format!("./relative.sh ./relative.sh {word}"));
    tracer.stop().quiet();
}

#[test]
fn strings_that_nobody_had_in_memory_are_complete() {
    if !std::path::Path::new("/bin/true").exists() {
        return skip(&Skip::NoPeer("/bin/true"));
    }
    let mut pids = Vec::new();
    let Some(events) = events_of(&[], || {
        pids = (0..11).map(|_| played("execve of untouched memory", [""; 0])).collect();
    }) else {
        return;
    };
    for pid in pids {
        expect_success(
            last_of(&events, pid),
            "/bin/true",
            &["never/read/before/true", "never/read/before/true"],
        );
    }
}

/// Bursts from several processes at once, in a namespace of their own. The sum is a prime number.
const BURSTS: [u32; 4] = [251, 257, 263, 238];

#[test]
fn each_of_1009_execs_in_a_burst_is_shown_once_and_in_order() {
    let sandbox = or_skip!(Sandbox::new());
    assert_eq!(BURSTS.iter().sum::<u32>(), 1009);
    let set = sandbox.create_set("mntns");
    let shell = MountNamespace::new();
    let tracer = execsnoop(&sandbox, ["--json".as_ref(), "--mntnsmap".as_ref(), set.as_os_str()]);
    let words = BURSTS.map(|count| tag(&format!("burst{count}")));
    shell.run(|| {
        sandbox.nsmap_ok(["add-self-mntns"]);
        let children =
            BURSTS.iter().zip(&words).map(|(count, word)| role("burst", [&count.to_string(), word]).spawn());
        let children: Vec<_> = children.collect();
        children.into_iter().for_each(|child| assert!(wait_bounded(&mut child.unwrap()).unwrap().success()));
        run_true(["end-of-burst"]);
    });
    tracer.wait_word("end-of-burst");
    let finished = tracer.stop();
    let (events, end) = (finished.events(), finished.records().pop().unwrap());
    let lost = end["lost"].as_u64().unwrap();
    // Where a program takes as long as a time slice, tasks may get between both of a pair (`bpf-src/include/twin.h`).
    assert!(lost == 0 || emulated(), "{:?}", finished.stderr);
    for (count, word) in BURSTS.iter().zip(&words) {
        let seen: Vec<String> =
            with_word(&events, word).iter().map(|event| argv(event)[2].to_owned()).collect();
        let mut expected: Vec<String> = (0..*count).map(|number| number.to_string()).collect();
        expected.retain(|number| seen.contains(number));
        assert_eq!(seen, expected);
    }
    // The four processes that made the bursts, and the one that says that it is over.
    let all = 1009 + 4 + 1;
    assert!(
        events.len() <= all && all - events.len() <= usize::try_from(lost).unwrap(),
        "{} of {all}, {lost} told as lost",
        events.len()
    );
    assert_eq!((&end["type"], &end["events"]), (&"end".into(), &events.len().into()));
}

#[test]
fn events_are_in_the_order_of_their_times_and_parents_come_before_children() {
    let word = tag("family");
    let program = true_path();
    let script = format!("{program} {word} 1; {program} {word} 2; exec {program} {word} 3");
    let Some(events) = events_of(&[], || run_ok(Command::new(find("sh")).args(["-c", &script]))) else {
        return;
    };
    let seen: Vec<&str> = with_word(&events, &word).iter().map(|event| argv(event)[2]).collect();
    assert_eq!(seen, ["1", "2", "3"]);
    let mut times = BTreeMap::new();
    for event in &events {
        times
            .entry(event["cpu"].as_u64().unwrap())
            .or_insert_with(Vec::new)
            .push(event["time"].as_str().unwrap());
    }
    assert!(times.values().all(|times| times.is_sorted()), "{times:#?}");
    let shell = events.iter().position(|event| argv(event).iter().any(|arg| *arg == script)).unwrap();
    let first = events.iter().position(|event| argv(event).contains(&word.as_str())).unwrap();
    assert!(shell < first);
    assert_eq!(events[first]["ppid"], events[shell]["pid"]);
}

#[test]
fn an_argument_of_100_kib_is_shown_to_the_budget_with_a_mark_of_what_is_missing() {
    let sandbox = or_skip!(Sandbox::new());
    let tracer = execsnoop(&sandbox, [""; 0]);
    let json = execsnoop(&sandbox, ["--json"]);
    let word = tag("long");
    let long: String = ('a'..='w').cycle().take(100 * 1024).collect();
    run_true([&word, &long, "after"]);
    let row = tracer.wait_line("row", |row| row.contains(&word));
    let program = true_path();
    let shown = args_column(&row).strip_prefix(&format!("{program} {word} ")).unwrap();
    let (text, mark) =
        shown.split_once(" ...[+").unwrap_or_else(|| panic!("no mark: {}", &shown[shown.len() - 99..]));
    let missing: usize = mark.strip_suffix(" bytes]").unwrap().parse().unwrap();
    assert!(long.starts_with(text));
    // All of the argument area: argv[0], word, long, after; each with its NUL.
    let area = program.len() + 1 + word.len() + 1 + long.len() + 1 + "after".len() + 1;
    let in_record = program.len() + 1 + word.len() + 1 + text.len();
    assert_eq!(in_record + missing, area);
    assert!(in_record >= 32 * 1024, "the default budget is 32 KiB, not {in_record}");
    let line = json.wait_line("event", |line| line.contains(&word));
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(argv(&event)[2], text);
    tracer.stop().quiet();
    json.stop().quiet();
}

#[test]
fn two_thousand_arguments_are_all_there() {
    let word = tag("many");
    let args: Vec<String> = (0..1999).map(|number| format!("{word}-{number}")).collect();
    let program = true_path();
    let mut pid = 0;
    let Some(events) = events_of(&[], || pid = run_true(&args[..997])) else { return };
    let event = last_of(&events, pid);
    assert_eq!(argv(event)[1..], args[..997]);

    // More than fit into the budget: those that do are there.
    let Some(events) = events_of(&[], || pid = run_true(&args)) else { return };
    let event = last_of(&events, pid);
    let shown = argv(event);
    assert_eq!(shown[0], program);
    assert_eq!(event["argc"], 2000, "{event:#}");
    let whole: usize = args.iter().map(|arg| arg.len() + 1).sum();
    if whole + program.len() < 32 * 1024 {
        assert_eq!(shown[1..], args);
    } else {
        let complete = shown.len() - 2;
        assert_eq!(shown[1..=complete], args[..complete]);
        assert!(args[complete].starts_with(shown[complete + 1]));
    }
}

#[test]
fn two_thousand_short_arguments_are_in_one_row_without_a_mark() {
    let sandbox = or_skip!(Sandbox::new());
    let tracer = execsnoop(&sandbox, [""; 0]);
    let word = tag("short");
    let mut args = vec![word.clone()];
    args.extend((0..1998).map(|number| number.to_string()));
    run_true(&args);
    let row = tracer.wait_line("row", |row| row.contains(&word));
    assert_eq!(args_column(&row), format!("{} {}", true_path(), args.join(" ")));
    tracer.stop().quiet();
}

#[test]
fn a_process_that_is_killed_while_in_exec_is_shown_whole_or_not_at_all() {
    let sandbox = or_skip!(Sandbox::new());
    let tracer = execsnoop(&sandbox, ["--json", "-x"]);
    let program = true_path();
    let word = tag("killed");
    // Much to copy, so that the exec takes a while.
    let long = "x".repeat(120_000);
    let mut pids = Vec::new();
    for round in 0..61_u64 {
        let args = [&program, "true", &word, &long, &long, &long, &long, &long, &long, &long, &long];
        let mut child =
            role("exec when told", args).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        pids.push(child.id());
        child.stdin.take().unwrap().write_all(b"!").unwrap();
        // Not to wait for anything: to hit different moments.
        std::thread::sleep(Duration::from_micros(20 * round));
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL).unwrap();
        wait_bounded(&mut child).expect("it is dead");
    }
    let events = drain(tracer).quiet().events();
    for pid in pids {
        let own: Vec<_> =
            events.iter().filter(|event| event["pid"] == pid && event["filename"] == program).collect();
        assert!(own.len() <= 1, "{own:#?}");
        for event in own {
            assert_eq!(argv(event)[..2], ["true", &word]);
            assert!(argv(event)[2].bytes().all(|byte| byte == b'x'));
        }
    }
}

#[test]
fn executing_again_and_again_in_one_process_is_an_event_each_time() {
    let word = tag("again");
    let program = true_path();
    let sh = find("sh").display().to_string();
    // Each shell executes the next one in its place: one pid, seven execs.
    let script = format!(
        r#"n=$1; if [ "$n" = 0 ]; then exec {program} {word}; fi; exec {sh} -c "$0" "$0" $((n - 1))"#
    );
    let mut pid = 0;
    let Some(events) = events_of(&[], || {
        let mut child = Command::new(&sh).args(["-c", &script, &script, "5"]).spawn().unwrap();
        pid = child.id();
        assert!(child.wait().unwrap().success());
    }) else {
        return;
    };
    let own: Vec<&Value> = events.iter().filter(|event| event["pid"] == pid).collect();
    let counts: Vec<&str> = own[..6].iter().map(|event| *argv(event).last().unwrap()).collect();
    assert_eq!((own.len(), &counts[..]), (7, &["5", "4", "3", "2", "1", "0"][..]));
    assert_eq!(argv(own[6]), [&program, &word]);
}

#[test]
fn a_deleted_program_is_seen_with_the_name_that_it_had() {
    let sandbox = or_skip!(Sandbox::new());
    let program = sandbox.install(&find("true"), "deleted-program");
    let tracer = execsnoop(&sandbox, ["--json"]);
    let word = tag("deleted");
    let held = File::open(&program).unwrap();
    std::fs::remove_file(&program).unwrap();
    let by_fd = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&held));
    let pid = played("execve", [by_fd.as_str(), "true", &word]);
    let events = drain(tracer).quiet().events();
    let event = last_of(&events, pid);
    expect_success(event, &by_fd, &["true", &word]);
    assert!(event["exe"].as_str().unwrap().starts_with(program.to_str().unwrap()), "{event:#}");
}
