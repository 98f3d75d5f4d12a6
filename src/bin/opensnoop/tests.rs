//! What opensnoop makes of its command line and of records, without a kernel.

use super::*;
use event::OpenEvent;
use serde_json::{Value as Json, json};
use tracers::cli::Parsed;
use tracers::format::time::Clock;
use tracers::stream::Stream;

/// One record, as the BPF program would send it.
#[derive(Clone, Copy, Default)]
struct Open {
    ret: i32,
    bits: u32,
    flags: u32,
    mode: u32,
    resolve: u32,
    name: &'static [u8],
    base: &'static [u8],
    comm: &'static str,
    /// Of the process, its thread and its user; 0: 1234, 1235 and 1000.
    ids: u32,
}

impl Open {
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for value in [5_123_456_789u64, 4242, 7] {
            out.extend(value.to_ne_bytes());
        }
        let [pid, tid, uid] = if self.ids == 0 { [1234, 1235, 1000] } else { [self.ids; 3] };
        for value in [4026531840u32, pid, tid, 17, uid, 100, 3, KIND_OPEN] {
            out.extend(value.to_ne_bytes());
        }
        let mut comm = if self.comm.is_empty() { "cat" } else { self.comm }.as_bytes().to_vec();
        comm.resize(16, 0);
        out.extend(comm);
        out.extend(self.ret.to_ne_bytes());
        out.extend(self.bits.to_ne_bytes());
        out.extend((-100i32).to_ne_bytes());
        let length = |part: &[u8]| u32::try_from(part.len()).unwrap();
        for value in [self.flags, self.mode, self.resolve, length(self.name), length(self.base)] {
            out.extend(value.to_ne_bytes());
        }
        [&out, self.name, self.base].concat()
    }
}

fn parse(args: &[&str]) -> Result<Opensnoop, Failure> {
    let args = ["opensnoop"].iter().chain(args).map(OsString::from);
    match cli::parse::<Opensnoop>(args)? {
        Parsed::Run(common, options) => Opensnoop::new(options, &common),
        Parsed::Done => panic!("nothing to run"),
    }
}

/// What `opensnoop ARGS` prints for a record, without the header.
fn printed(args: &[&str], open: Open) -> String {
    let tool = parse(args).unwrap();
    let common = tool.common().clone();
    let mut stream = Stream::new(tool, &common, Clock::fixed(4_000_000_000, 1_700_000_000_000_000_000, None));
    stream.record(&open.bytes()).unwrap();
    String::from_utf8(std::mem::take(stream.buffer())).unwrap()
}

fn json_of(args: &[&str], open: Open) -> Json {
    serde_json::from_str(&printed(&[args, &["--json"]].concat(), open)).unwrap()
}

const HOSTNAME: Open = Open {
    ret: 3,
    bits: 0,
    flags: 0,
    mode: 0,
    resolve: 0,
    name: b"./../etc/hostname",
    base: b"",
    comm: "cat",
    ids: 0,
};

#[test]
fn a_row_has_the_columns_of_its_header() {
    assert_eq!(printed(&[], HOSTNAME), "1234   cat                 3   0 ./../etc/hostname\n");
    let made = Open { flags: 0o101, mode: 0o640, ..HOSTNAME };
    assert_eq!(printed(&["-e"], made), "1234   cat                 3   0 00000101 0640 ./../etc/hostname\n");
    assert!(printed(&["-T"], HOSTNAME).starts_with("1.123456789   1234   cat "));
    let failed = Open { ret: -13, ..HOSTNAME };
    assert_eq!(
        printed(&["-e", "-t", "1235"], failed),
        "1235   cat                -1  13 00000000 n/a  ./../etc/hostname\n"
    );
}

#[test]
fn columns_are_aligned_with_every_combination_of_options() {
    let options: [&[&str]; 7] =
        [&["-T"], &["--time"], &["-U"], &["-e"], &["-F"], &["--containers"], &["-t", "7"]];
    let records = [
        HOSTNAME,
        Open { ret: -13, flags: 0o101, mode: 0o640, ..HOSTNAME },
        Open { ret: -133, flags: 0o37777777, mode: 0o7777, ..HOSTNAME },
        Open { ret: 9999, ..HOSTNAME },
        Open { comm: "fifteen-letters", ids: 4_194_304, ..HOSTNAME },
        Open { comm: "東京東京東", ..HOSTNAME },
        Open { ids: u32::MAX - 1, ..HOSTNAME },
        HOSTNAME,
    ];
    let longer = [Open { ret: 1_000_000, comm: "\u{1b}[31m\u{1b}[32m\u{1b}[33m", ..HOSTNAME }];
    let bytes = |opens: &[Open]| opens.iter().map(Open::bytes).collect::<Vec<_>>();
    aligned::with_every_combination::<Opensnoop>(&options, &bytes(&records), &bytes(&longer), 3);
}

#[test]
fn a_path_is_the_files_own_or_made_of_names_or_marked() {
    let path = |open: Open| printed(&["-F"], open).trim_end().rsplit(' ').next().unwrap().to_owned();
    let own = Open { bits: flag::BASE_IS_FILE | flag::BASE_KNOWN, base: b"hostname\0etc\0", ..HOSTNAME };
    assert_eq!(path(own), "/etc/hostname");
    assert_eq!(path(Open { bits: own.bits | flag::BASE_CUT, ..own }), "[...]/etc/hostname");
    assert_eq!(path(Open { base: b"", ..own }), "/");
    let failed = Open { ret: -2, bits: flag::BASE_KNOWN, base: b"par\0srv\0", ..HOSTNAME };
    assert_eq!(path(failed), "/srv/etc/hostname");
    assert_eq!(path(Open { bits: 0, base: b"", ..failed }), "[...]/etc/hostname");
    assert_eq!(path(Open { resolve: 0x10, name: b"/../../x", ..failed }), "/srv/par/x");
    assert_eq!(path(Open { bits: flag::NAME_FAULT, name: b"", ..failed }), "[unreadable]");
    // A pipe that was opened again has a name, but an empty one.
    assert_eq!(path(Open { base: b"\0", name: b"/proc/self/fd/3", ..own }), "/proc/self/fd/3");
}

#[test]
fn with_paths_asked_for_the_prefix_is_that_of_the_path() {
    let relative = Open { ret: -2, bits: flag::BASE_KNOWN, base: b"par\0srv\0", ..HOSTNAME };
    let shown = |args: &[&str], open: Open| !printed(args, open).is_empty();
    assert!(shown(&["-F", "--path-prefix", "/srv/etc/"], relative));
    assert!(!shown(&["-F", "--path-prefix", "/srv/etc/x"], relative));
    let other_name =
        Open { ret: 3, bits: flag::BASE_IS_FILE | flag::BASE_KNOWN, base: b"x\0y\0", ..HOSTNAME };
    assert!(shown(&["-F", "--path-prefix", "/y/x"], other_name));
    // What is not known does not match.
    assert!(!shown(&["-F", "--path-prefix", "/"], Open { bits: 0, base: b"", ..relative }));
    let fault = Open { bits: flag::NAME_FAULT, name: b"", ..relative };
    assert!(!shown(&["-F", "--path-prefix", "/"], fault));
    assert!(parse(&["-F", "--path-prefix", "etc"]).is_err() && parse(&["--path-prefix", "etc"]).is_ok());
}

#[test]
fn json_says_what_is_known_and_null_for_the_rest() {
    let plain = json_of(&[], HOSTNAME);
    assert_eq!((&plain["path"], &plain["mode"], &plain["error"]), (&Json::Null, &Json::Null, &Json::Null));
    assert_eq!((&plain["name"], &plain["fd"]), (&json!("./../etc/hostname"), &json!(3)));
    let failed = json_of(&["-F"], Open { ret: -2, bits: flag::BASE_KNOWN, base: b"etc\0", ..HOSTNAME });
    assert_eq!(failed["path"], "/etc/hostname");
    assert_eq!(
        (&failed["error"], &failed["errno"], &failed["ret"]),
        (&json!("ENOENT"), &json!(2), &json!(-2))
    );
    let fault =
        json_of(&["-F"], Open { ret: -14, bits: flag::NAME_FAULT | flag::HOW_FAULT, name: b"", ..HOSTNAME });
    assert_eq!((&fault["name"], &fault["path"], &fault["flags"]), (&Json::Null, &Json::Null, &Json::Null));
}

#[test]
fn an_open_of_io_uring_is_shown_as_such() {
    let ring = Open { bits: flag::IO_URING, ..HOSTNAME };
    assert!(printed(&[], ring).ends_with(" ./../etc/hostname [io_uring]\n"));
    assert_eq!(json_of(&[], ring)["io_uring"], true);
}

#[test]
fn a_record_that_lies_about_its_lengths_is_an_error() {
    let tool = parse(&["-F"]).unwrap();
    let mut scratch = Scratch::default();
    let bytes = Open { base: b"etc\0", ..HOSTNAME }.bytes();
    for length in 0..bytes.len() {
        assert!(tool.decode(&mut scratch, &bytes[..length]).is_err(), "{length}");
    }
    let event: Option<OpenEvent<'_>> = tool.decode(&mut scratch, &bytes).unwrap();
    assert!(event.is_some());
}

#[test]
fn the_built_in_object_has_every_program_and_takes_every_option() {
    let args = [
        "-F",
        "-x",
        "-n",
        "fifteen-letters",
        "-f",
        "O_RDWR",
        "-f",
        "O_SYNC",
        "--path-prefix",
        "/etc",
        "-b",
        "8",
    ];
    let tool = parse(&args).unwrap();
    let filter = tool.common().task_filter();
    let spec = tracers::tracer::prepare(&tool, &filter).unwrap();
    let names = [FEXIT, SYS_EXIT, TRACEPOINTS, TREE];
    for name in names.iter().flat_map(|way| way.programs.iter().chain(way.optional)) {
        assert!(spec.program(name).is_some(), "{name}");
    }
    assert_eq!(spec.map("events").unwrap().max_entries, 8 * 4096);
    assert!(spec.global("filter_comm").unwrap().starts_with(b"fifteen-letters\0"));
}
