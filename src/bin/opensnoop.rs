//! opensnoop: which files are opened, by whom, with which result.
//!
//! In: records of `bpf-src/opensnoop.bpf.c`. Out: a row or a JSON line per open. Here is what is opensnoop's own: its options,
//! its record, its fields. What an event makes of a record is in `opensnoop/event.rs`, names of flags in
//! `opensnoop/flags.rs`. How a tracer runs is in the library.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use loader::spec::ObjectSpec;
use loader::{Error, Result};
use tracers::cli::{self, Common};
use tracers::event::{Header, Wire, take};
use tracers::field::{Field, Value, WIDEST_PID};
use tracers::filter::TaskFilter;
use tracers::message::Failure;
use tracers::output::json::Object;
use tracers::output::table::Align::{Left, Right};
use tracers::tracer::{Further, Hook, Partial, Tracer, Way, set_table_size};

#[path = "opensnoop/event.rs"]
mod event;
#[path = "opensnoop/flags.rs"]
mod flags;

use event::{KIND_OPEN, OpenEvent, OpenRecord, Scratch, flag};
use flags::FlagRule;

fn main() -> ExitCode {
    tracers::tracer::main::<Opensnoop>()
}

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Show flags and mode, in octal
    #[arg(short = 'e', long, alias = "extended_fields", help_heading = "Columns")]
    extended_fields: bool,
    /// Show the path from the root of the process, without `.` and `..`: of a file that was opened its own, else the name
    /// joined to the directory it is relative to
    #[arg(short = 'F', long, help_heading = "Columns")]
    full_path: bool,

    /// Only failed opens
    #[arg(short = 'x', long, help_heading = "Filters")]
    failed: bool,
    /// Only this thread; the column PID becomes TID
    #[arg(short = 't', long, value_name = "TID", value_parser = cli::id, help_heading = "Filters")]
    tid: Option<u32>,
    /// Only threads whose name (COMM) contains this
    #[arg(short = 'n', long, value_name = "NAME", value_parser = name, help_heading = "Filters")]
    name: Option<String>,
    /// Only opens with this flag, such as O_WRONLY; may be given more than once, then one of them is enough
    #[arg(short = 'f', long = "flag-filter", alias = "flag_filter", value_name = "O_FLAG",
        value_parser = flags::rule, help_heading = "Filters")]
    flags: Vec<FlagRule>,
    /// Only names that begin with this, as they are given to the call; with --full-path only paths that do, which are then
    /// compared outside of the kernel: each open costs as much as one that is shown, but for the row
    #[arg(long, value_name = "PREFIX", help_heading = "Filters")]
    path_prefix: Option<OsString>,
    /// Run a command, the rest of the line; only it and its descendants, from its first instruction until it ends. With
    /// --json its standard output goes to standard error
    #[arg(long, value_name = "CMD", num_args = 1.., allow_hyphen_values = true, conflicts_with_all = ["pid", "tid"],
        help_heading = "Filters")]
    exec: Option<Vec<OsString>>,

    /// Size of the buffer between kernel and tool, in pages; rounded up to a power of two
    #[arg(short = 'b', long, value_name = "PAGES", value_parser = cli::count, conflicts_with = "buffer_size",
        help_heading = "Run")]
    buffer_pages: Option<u64>,
    /// How many there may be at a time of the processes of --exec, and of calls under way with hook tracepoint
    #[arg(long, value_name = "N", value_parser = cli::table_size, default_value = "4096", help_heading = "Run")]
    table_size: u32,
}

/// Longest name of a thread, bytes.
const MAX_NAME: usize = 15;
/// Longest prefix, bytes: 32 words of 8 in `bpf-src/include/open_record.h`.
const MAX_PREFIX: usize = 256;

fn name(text: &str) -> Result<String, String> {
    match text.len() {
        0 => Err("an empty name is in every name".to_owned()),
        1..=MAX_NAME => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is longer than the {MAX_NAME} bytes that the name of a thread has")),
    }
}

pub(crate) struct Opensnoop {
    options: Options,
    common: Common,
}

impl Opensnoop {
    fn ring_size(options: &Options) -> Result<Option<u32>, Failure> {
        let Some(pages) = options.buffer_pages else { return Ok(None) };
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
        let bytes = pages.saturating_mul(u64::try_from(page).unwrap_or(4096));
        let size = cli::buffer_size(&bytes.to_string());
        size.map(Some).map_err(|_| Failure::usage(format!("{pages} pages are too many: 1G is the most")))
    }

    fn prefix(&self) -> Option<&[u8]> {
        self.options.path_prefix.as_ref().map(|prefix| prefix.as_bytes())
    }

    /// Paths are compared here. One whose beginning is not known has no `/` there, and does not match.
    fn wants(&self, event: &OpenEvent<'_>) -> bool {
        !self.options.full_path || self.prefix().is_none_or(|prefix| event.path.starts_with(prefix))
    }
}

/// Sets `NAME_on`, `NAME` and `NAME_mask`: the bytes that are wanted at the start, and which ones.
fn set_wanted<const N: usize>(spec: &mut ObjectSpec, name: &str, wanted: &[u8]) -> Result<()> {
    let (mut bytes, mut mask) = ([0u8; N], [0u8; N]);
    for ((byte, mask), wanted) in bytes.iter_mut().zip(&mut mask).zip(wanted) {
        *byte = *wanted;
        *mask = 0xff;
    }
    spec.set_global(&format!("{name}_on"), true)?;
    spec.set_global(name, bytes)?;
    spec.set_global(&format!("{name}_mask"), mask)
}

/// The tracepoints of the system calls: kernels know the number of a 32-bit call for another one, and report none. The
/// functions are one call, under the names that architectures give it for programs of 32 and of 64 bits.
const ONLY_64_BITS: Option<Partial> = Some(Partial {
    functions: &[
        "__ia32_compat_sys_openat",
        "__x64_compat_sys_openat", // x32
        "__arm64_compat_sys_openat",
        "__s390_compat_sys_openat",
    ],
    siblings: &["__x64_sys_openat", "__arm64_sys_openat", "__s390x_sys_openat"],
    unseen: "32-bit system calls, which it does not report to their tracepoints",
});
const FEXIT: Way = Way {
    name: "fexit do_sys_openat2",
    programs: &["exit_openat2_2", "exit_openat2"],
    // The exit first: an entry that is seen leaves something for its exit to take away.
    optional: &["ring_exit", "ring_enter"],
    ..Way::EMPTY
};
const EXITS: Way = Way {
    name: "tracepoint exits",
    programs: &["exit_open"],
    further: &[Further {
        program: "exit_open",
        category: "syscalls",
        names: &["sys_exit_open", "sys_exit_openat2", "sys_exit_creat"],
    }],
    partial: ONLY_64_BITS,
    ..Way::EMPTY
};
const SYS_EXIT: Way = Way { name: "tp_btf sys_exit", programs: &["exit_syscall"], ..Way::EMPTY };
const TRACEPOINTS: Way = Way {
    name: "tracepoint syscalls",
    programs: &["leave_openat", "enter_openat"],
    optional: &["leave_open", "enter_open", "leave_openat2", "enter_openat2", "leave_creat", "enter_creat"],
    partial: ONLY_64_BITS,
    ..Way::EMPTY
};
const TREE: Way =
    Way { name: "tp_btf sched_process_fork", programs: &["tree_fork", "tree_exit"], ..Way::EMPTY };

impl Tracer for Opensnoop {
    const NAME: &'static str = "opensnoop";
    const ABOUT: &'static str = "Trace opened files, of chosen containers if wanted";
    const EXAMPLES: &'static str = "
  opensnoop                                   every open on this host
  opensnoop -x -T                             failed ones only, with the time
  opensnoop -F --path-prefix /etc/            what is opened below /etc, by whatever name
  opensnoop -n nginx -f O_WRONLY -f O_RDWR    for writing, by threads called nginx...
  opensnoop --exec ls -l                      all that `ls -l` and its children open

  nsmap create /sys/fs/bpf/mnt_ns_set         a set of mount namespaces, and
  opensnoop --mntnsmap /sys/fs/bpf/mnt_ns_set only opens in its members, which
  nsmap add-self-mntns                        may come and go while it runs
";
    const SHORTS: &'static [(&'static str, char)] = &[
        ("timestamp", 'T'),
        ("uid", 'u'),
        ("print_uid", 'U'),
        ("pid", 'p'),
        ("cgroup", 'c'),
        ("duration", 'd'),
        ("verbose", 'v'),
    ];
    const MISSES: &'static str = include_str!(concat!(env!("OUT_DIR"), "/opensnoop.misses"));
    const TIMESTAMP: (usize, usize) = (13, 9);
    const OBJECT: &'static [u8] = include_bytes!(concat!(env!("OUT_DIR"), "/opensnoop.bpf.o"));
    const RECORD: &'static str = "open_event";
    type Record = OpenRecord;
    type Options = Options;
    type Scratch = Scratch;
    type Event<'r> = OpenEvent<'r>;

    fn new(options: Options, common: &Common) -> Result<Self, Failure> {
        let mut common = common.clone();
        common.buffer_size = common.buffer_size.or(Self::ring_size(&options)?);
        let tool = Self { options, common };
        match tool.prefix() {
            Some(b"") => Err(Failure::usage("`--path-prefix`: every name begins with nothing")),
            Some(prefix) if prefix.len() > MAX_PREFIX => {
                let length = prefix.len();
                Err(Failure::usage(format!("`--path-prefix` of {length} bytes: {MAX_PREFIX} are the most")))
            }
            Some(prefix) if tool.options.full_path && !prefix.starts_with(b"/") => {
                Err(Failure::usage("`--path-prefix`: with `--full-path` every path begins with `/`"))
            }
            _ => Ok(tool),
        }
    }

    fn hooks(&self) -> Vec<Hook> {
        let open = Hook { observes: "open", ways: &[FEXIT, EXITS, SYS_EXIT, TRACEPOINTS] };
        match self.options.exec {
            Some(_) => vec![Hook { observes: "fork", ways: &[TREE] }, open],
            None => vec![open],
        }
    }

    fn restrict(&self, filter: &mut TaskFilter) {
        filter.tid = self.options.tid;
    }

    fn configure(&self, spec: &mut ObjectSpec) -> Result<()> {
        let options = &self.options;
        spec.set_global("resolve_paths", options.full_path)?;
        spec.set_global("filter_failed", options.failed)?;
        spec.set_global("filter_tree", options.exec.is_some())?;
        set_table_size(spec, "calls", options.table_size)?;
        if options.exec.is_some() {
            set_table_size(spec, "tree", options.table_size)?;
        }
        if !options.flags.is_empty() {
            let (count, rules) = flags::rules(&options.flags);
            spec.set_global("filter_flag_count", count)?;
            spec.set_global("filter_flags", rules.as_slice())?;
        }
        if let Some(name) = &options.name {
            set_wanted::<16>(spec, "filter_comm", name.as_bytes())?;
        }
        // The name as given says little about the path: of paths all are taken, and compared in `wants`.
        if let Some(prefix) = self.prefix().filter(|_| !options.full_path) {
            set_wanted::<MAX_PREFIX>(spec, "filter_prefix", prefix)?;
        }
        Ok(())
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn header<'a>(event: &'a OpenEvent<'_>) -> &'a Header {
        &event.record.header
    }

    fn fields() -> &'static [Field<Self>] {
        FIELDS
    }

    fn record_type(_: &OpenEvent<'_>) -> &'static str {
        "open"
    }

    fn decode<'r>(&'r self, scratch: &'r mut Scratch, bytes: &'r [u8]) -> Result<Option<OpenEvent<'r>>> {
        let record = OpenRecord::read(bytes).ok_or_else(|| Error::invalid("too short for an open"))?;
        if record.header.kind != KIND_OPEN {
            return Err(Error::invalid(format!("unknown kind {}", record.header.kind)));
        }
        let mut rest = bytes.get(OpenRecord::SIZE..).unwrap_or_default();
        let name = take(&mut rest, record.name_len, "name")?;
        let base = take(&mut rest, record.base_len, "base")?;
        let event = OpenEvent::new(record, name, base, self.options.full_path, scratch);
        Ok(self.wants(&event).then_some(event))
    }

    fn describe(&self, filters: &mut Object<'_>) {
        let options = &self.options;
        filters.bool("failed", options.failed);
        if let Some(tid) = options.tid {
            filters.u64("tid", tid.into());
        }
        if let Some(name) = &options.name {
            filters.text("name", name.as_bytes());
        }
        if !options.flags.is_empty() {
            filters.texts("flags", options.flags.iter().map(|rule| rule.name.as_bytes()));
        }
        if let Some(prefix) = self.prefix() {
            filters.text("path_prefix", prefix);
        }
        if let Some(line) = &options.exec {
            filters.texts("exec", line.iter().map(|word| word.as_bytes()));
        }
    }

    fn command(&self) -> Option<&[OsString]> {
        self.options.exec.as_deref()
    }
}

type F = Field<Opensnoop>;

#[rustfmt::skip] // a table
static FIELDS: &[F] = &[
    F::time(),
    F::boot_ns(),
    F::uid(),
    F::gid(),
    F::new("pid", "process id", |event| Value::Unsigned(event.record.header.pid.into()))
        .column("PID", 6, Left, |tool| tool.options.tid.is_none())
        .widening(WIDEST_PID),
    F::new("tid", "thread id", |event| Value::Unsigned(event.record.header.tid.into()))
        .column("TID", 6, Left, |tool| tool.options.tid.is_some())
        .widening(WIDEST_PID),
    F::new("ppid", "process id of the parent", |event| Value::Unsigned(event.record.header.ppid.into())),
    F::comm("COMM", "name of the thread"),
    F::cpu(|_| false),
    F::cgroup_id(),
    F::mntns(),
    F::mntns_id(),
    F::new("ret", "the file descriptor, or the negative error number", |event| Value::Signed(event.record.ret.into())),
    F::new("fd", "the file descriptor; in the column -1 if the open failed", |event| event.fd())
        .column("FD", 4, Right, |_| true),
    F::new("errno", "the error number, 0 if there is none", |event| event.errno())
        .column("ERR", 3, Right, |_| true),
    F::new("error", "name of that error", |event| Value::ErrorName(event.record.ret)),
    F::new("flags", "O_* bits, as the kernel takes them; without O_LARGEFILE", |event| event.flags())
        .column("FLAGS", 8, Left, |tool| tool.options.extended_fields),
    F::new("mode", "mode bits, if something may be created", |event| event.mode())
        .column("MODE", 4, Left, |tool| tool.options.extended_fields),
    F::new("resolve", "RESOLVE_* bits of openat2", |event| Value::Unsigned(event.record.resolve.into())),
    F::new("how_fault", "whether flags, mode and resolve of openat2 could not be read", |event| event.bit(flag::HOW_FAULT)),
    F::new("syscall", "open, openat, openat2 or creat, where the hook knows it", |event| event.syscall()),
    F::new("io_uring", "whether the open was asked for through io_uring", |event| event.bit(flag::IO_URING)),
    F::new("fixed_file", "whether ret is a slot in io_uring's own table of files", |event| event.bit(flag::FIXED_FILE)),
    F::new("dirfd", "descriptor of the directory that the name is relative to; -100 is the current one", |event| Value::Signed(event.record.dirfd.into())),
    F::container(),
    F::new("name", "the name as given to the call", |event| Value::Path(event.given())),
    F::new("name_fault", "whether the name could not be read", |event| event.bit(flag::NAME_FAULT)),
    F::new("name_cut", "whether the name is longer than the kernel takes", |event| event.bit(flag::NAME_CUT)),
    F::new("path", "with --full-path the path from the root of the process; in the column else the name", |event| Value::Path(event.shown()))
        .column("PATH", 0, Left, |_| true),
    F::new("path_exact", "whether that is the path of the opened file itself", |event| Value::Bool(event.exact)),
    F::new("path_cut", "whether the beginning of that path is missing", |event| Value::Bool(event.front_cut)),
];

#[cfg(test)]
#[path = "../output/aligned.rs"]
mod aligned;
#[cfg(test)]
#[path = "opensnoop/tests.rs"]
mod tests;
