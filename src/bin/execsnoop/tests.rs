//! What execsnoop makes of its command line and of records, without a kernel.

use super::*;
use serde_json::{Value as Json, json};
use tracers::cli::Parsed;
use tracers::format::time::Clock;
use tracers::stream::Stream;

/// One record, as the BPF program would send it.
#[derive(Clone, Default)]
struct Exec {
    pid: u32,
    ret: i32,
    flags: u32,
    comm: &'static [u8],
    filename: &'static [u8],
    exe: &'static [u8],
    args: &'static [u8],
    unread: u64,
}

impl Exec {
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let argc = tracers::format::args::items(self.args).count();
        let comm = |name: &[u8]| [name, &[0; 16][name.len()..]].concat();
        for value in [5_123_456_789u64, 4242, 7] {
            out.extend(value.to_ne_bytes());
        }
        for value in [4026531840u32, self.pid, self.pid + 1, 17, 1000, 100, 3, KIND_EXEC] {
            out.extend(value.to_ne_bytes());
        }
        out.extend(comm(self.comm));
        out.extend(self.ret.to_ne_bytes());
        for part in [self.flags as usize, self.filename.len(), self.exe.len(), self.args.len(), argc] {
            out.extend(u32::try_from(part).unwrap().to_ne_bytes());
        }
        out.extend((self.args.len() as u64 + self.unread).to_ne_bytes());
        out.extend(comm(b"bash"));
        [&out, self.filename, self.exe, self.args].concat()
    }
}

fn echo() -> Exec {
    let (filename, exe, args) = (&b"/bin/echo"[..], &b"echo\0bin\0usr\0"[..], &b"echo\0one\0two\0"[..]);
    Exec { pid: 1234, comm: b"echo", filename, exe, args, ..Exec::default() }
}

fn parse(args: &[&str]) -> Result<Execsnoop, Failure> {
    let argv = ["execsnoop"].iter().chain(args).map(Into::into);
    match cli::parse::<Execsnoop>(argv)? {
        Parsed::Run(common, options) => Execsnoop::new(options, &common),
        Parsed::Done => panic!("nothing to run"),
    }
}

/// The header or start record, and what the records become in a file.
fn lines(args: &[&str], records: &[Exec]) -> Vec<String> {
    lines_for(args, records, |_| {})
}

fn lines_for(args: &[&str], records: &[Exec], choose: fn(&mut Stream<Execsnoop>)) -> Vec<String> {
    let tool = parse(args).unwrap();
    let common = tool.common().clone();
    let mut stream = Stream::new(tool, &common, Clock::fixed(4_000_000_000, 1_700_000_000_000_000_000, None));
    choose(&mut stream);
    stream.start(&common, &[]);
    records.iter().for_each(|record| stream.record(&record.bytes()).unwrap());
    let text = String::from_utf8(stream.buffer().clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn row(args: &[&str], record: &Exec) -> String {
    lines(args, std::slice::from_ref(record)).pop().unwrap()
}

fn json(record: &Exec) -> Json {
    serde_json::from_str(&row(&["--json"], record)).unwrap()
}

#[test]
fn the_default_table_is_that_of_the_tutorial() {
    let lines = lines(&[], &[echo()]);
    assert_eq!(lines[0], "PCOMM            PID    PPID   RET ARGS");
    assert_eq!(lines[1], "echo             1234   17       0 /bin/echo one two");
}

#[test]
fn columns_are_aligned_with_every_combination_of_options() {
    let options: [&[&str]; 7] = [&["-T"], &["-t"], &["-U"], &["-M"], &["-C"], &["-q"], &["--containers"]];
    let records = [echo(), Exec { ret: -13, ..echo() }].map(|exec| exec.bytes());
    let long = Exec { pid: 4_000_000_000, args: b"", ..echo() };
    aligned::with_every_combination::<Execsnoop>(&options, &records, &[long.bytes()], 1);
    let widening = [echo(), Exec { pid: 4_194_304, ..echo() }, echo()].map(|exec| exec.bytes());
    aligned::with_every_combination::<Execsnoop>(&options, &widening, &[], 2);
}

#[test]
fn a_pid_that_does_not_fit_widens_its_column_and_on_a_terminal_the_header_comes_again() {
    let long = Exec { pid: 4_194_304, ..echo() };
    let expected = [
        "PCOMM            PID    PPID   RET ARGS",
        "echo             1234   17       0 /bin/echo one two",
        "PCOMM            PID     PPID   RET ARGS",
        "echo             4194304 17       0 /bin/echo one two",
        "echo             1234    17     -13 /bin/echo one two",
    ];
    let records = [echo(), long, Exec { ret: -13, ..echo() }];
    assert_eq!(lines_for(&[], &records, Stream::repeat_header), expected);
    let one_header = [0, 1, 3, 4].map(|line| expected[line]);
    assert_eq!(lines(&[], &records), one_header);
}

#[test]
fn one_event_is_one_line_whatever_its_arguments() {
    let hostile = Exec { args: b"x\0n\nl\0\x1b[31m\0\xe2\x80\xae\0\xff\0 \0", ..echo() };
    assert_eq!(&row(&[], &hostile)[35..], r"/bin/echo n\nl \x1b[31m \u{202e} \xff");
}

#[test]
fn scripts_and_descriptors_show_what_was_run() {
    let script =
        Exec { filename: b"./s.sh", args: b"/bin/sh\0-e\0./s.sh\0a b\0", flags: flag::INTERPRETED, ..echo() };
    assert!(row(&[], &script).ends_with(" ./s.sh a b"));
    let by_fd = Exec { filename: b"/dev/fd/3", flags: flag::BY_FD, ..echo() };
    assert!(row(&[], &by_fd).ends_with(" /usr/bin/echo one two"));
    assert!(row(&[], &Exec { exe: b"", ..by_fd.clone() }).ends_with(" /dev/fd/3 one two"));
    let both = Exec { flags: flag::BY_FD | flag::INTERPRETED, args: b"sh\0/dev/fd/3\0x\0", ..by_fd };
    assert!(row(&[], &both).ends_with(" /dev/fd/3 x"));
}

#[test]
fn cuts_and_faults_are_said() {
    let cut = Exec { flags: flag::ARGS_CUT, unread: 4567, ..echo() };
    assert!(row(&[], &cut).ends_with(" /bin/echo one two ...[+4567 bytes]"));
    assert!(row(&["--max-args", "2"], &echo()).ends_with(" /bin/echo one ...[+1 args]"));
    assert!(row(&["--max-args", "3"], &echo()).ends_with(" /bin/echo one two"));
    let fault =
        Exec { flags: flag::FILENAME_FAULT | flag::ARGS_FAULT, filename: b"", args: b"", ret: -14, ..echo() };
    assert!(row(&[], &fault).ends_with(" -14 [unreadable] ...[memory fault]"));
}

#[test]
fn json_has_raw_numbers_all_ids_and_the_arguments_as_they_were() {
    let value = json(&Exec { ret: -2, ..echo() });
    let expected = json!({"type": "exec", "time": "2023-11-14T22:13:25.123456789Z", "boot_ns": 5_123_456_789u64,
        "uid": 1000, "gid": 100, "comm": "echo", "pid": 1234, "tid": 1235, "parent_comm": "bash", "ppid": 17, "cpu": 3,
        "cgroup_id": 4242, "mntns": 4026531840u32, "mntns_id": 7, "ret": -2, "error": "ENOENT", "syscall": "execve",
        "container": null, "filename": "/bin/echo", "filename_fault": false, "exe": "/usr/bin/echo", "exe_cut": false,
        "by_fd": false, "script": false, "argc": 3, "args_bytes": 13, "args_cut": false, "args_fault": false,
        "args": ["echo", "one", "two"]});
    assert_eq!(value, expected);
    let bad = json(&Exec { args: b"x\0\xff\0", exe: b"", flags: flag::EXE_CUT, ..echo() });
    assert_eq!((&bad["args"], &bad["args_hex"]), (&json!(["x", "\u{fffd}"]), &json!([null, "ff"])));
    assert_eq!((&bad["exe"], &bad["error"], &bad["syscall"]), (&Json::Null, &Json::Null, &Json::Null));
}

#[test]
fn the_start_record_names_the_filters() {
    let start = &lines(&["--json", "-u", "0", "-P", "7", "-n", "^x", "--mntnsmap", "/a"], &[])[0];
    let start: Json = serde_json::from_str(start).unwrap();
    let filters = json!({"uid": 0, "mntnsmap": "/a", "fails": false, "ppid": 7, "name": "^x"});
    assert_eq!(
        (&start["type"], &start["tool"], &start["filters"]),
        (&json!("start"), &json!("execsnoop"), &filters)
    );
}

#[test]
fn patterns_choose_by_name_and_by_line() {
    let other = Exec { comm: b"ls", filename: b"/bin/ls", args: b"ls\0/from here\0", ..echo() };
    for (args, expected) in [
        (&["-n", "^ec"][..], 1),
        (&["-n", "echo one"], 0),
        (&["-l", "^/bin/echo one two$"], 1),
        (&["-l", "from here"], 1),
        (&["-n", "l", "-l", "nothing"], 0),
    ] {
        assert_eq!(lines(args, &[echo(), other.clone()]).len() - 1, expected, "{args:?}");
    }
}

#[test]
fn a_record_that_is_cut_anywhere_is_an_error_and_never_a_panic() {
    let whole = echo().bytes();
    let tool = parse(&[]).unwrap();
    for len in 0..whole.len() {
        assert!(tool.decode(&mut Scratch::default(), &whole[..len]).is_err(), "{len}");
    }
    assert!(tool.decode(&mut Scratch::default(), &whole).is_ok());
    let mut unknown = whole;
    unknown[52..56].copy_from_slice(&99u32.to_ne_bytes());
    let error = tool.decode(&mut Scratch::default(), &unknown).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "unknown kind 99");
}

#[test]
fn every_option_finds_its_setting_in_the_object() {
    let tool = parse(&["-x", "-P", "5", "--args-size", "256K", "--buffer-size", "64K"]).unwrap();
    let all = TaskFilter { pid: Some(1), tid: Some(2), ppid: Some(3), uid: Some(0), subtree: Some(4) };
    let spec = tracers::tracer::prepare(&tool, &all).unwrap();
    assert_eq!(spec.map("events").unwrap().max_entries, 64 << 10);
    let plain = tracers::tracer::prepare(&parse(&[]).unwrap(), &TaskFilter::default()).unwrap();
    let grown = spec.map("scratch").unwrap().value_size - plain.map("scratch").unwrap().value_size;
    assert_eq!(grown, (256 - 32) << 10);
    for program in tool.hooks().iter().flat_map(|hook| hook.ways).flat_map(|way| way.programs) {
        assert!(spec.program(program).is_some(), "{program}");
    }
}

#[test]
fn wrong_usage_is_refused() {
    for args in [
        &["-u", "12x"][..],
        &["-p", "0"],
        &["-P", "+1"],
        &["-n", "("],
        &["--max-args", "0"],
        &["--args-size", "257K"],
        &["--duration", "-1"],
        &["extra"],
    ] {
        assert!(parse(args).is_err(), "{args:?}");
    }
    assert!(
        parse(&["-Ttxq", "-UMC", "-u", "root", "-n", "a", "-l", "b", "-P1", "-p1", "-c/", "-v", "-d1"])
            .is_ok()
    );
}
