//! execsnoop: which programs are executed, with which arguments.
//!
//! In: records of `bpf-src/execsnoop.bpf.c`. Out: a row or a JSON line per exec. Here is what is execsnoop's own: its options, its
//! record, its fields. How a tracer runs is in the library.

use std::process::ExitCode;

use loader::spec::ObjectSpec;
use loader::{Error, Result};
use tracers::cli::{self, Common};
use tracers::event::{Header, Wire, take, until_nul};
use tracers::field::{Field, Value};
use tracers::filter::TaskFilter;
use tracers::format::args::{CommandLine, Style, leading};
use tracers::format::path::push_components;
use tracers::message::Failure;
use tracers::output::json::Object;
use tracers::output::table::Align::{Left, Right};
use tracers::pattern::Pattern;
use tracers::record;
use tracers::tracer::{Hook, Tracer, Way, set_table_size};

fn main() -> ExitCode {
    tracers::tracer::main::<Execsnoop>()
}

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Show failed execs too
    #[arg(short = 'x', long, help_heading = "Filters")]
    fails: bool,
    /// Only children of this process
    #[arg(short = 'P', long, value_name = "PID", value_parser = cli::id, help_heading = "Filters")]
    ppid: Option<u32>,
    /// Only commands whose name (PCOMM) matches this regular expression
    #[arg(short = 'n', long, value_name = "REGEX", value_parser = Pattern::parse, help_heading = "Filters")]
    name: Option<Pattern>,
    /// Only lines, program and arguments joined by one blank, that match this regular expression
    #[arg(short = 'l', long, value_name = "REGEX", value_parser = Pattern::parse, help_heading = "Filters")]
    line: Option<Pattern>,

    /// Show the name of the parent process
    #[arg(short = 'M', long, help_heading = "Columns")]
    print_pcomm: bool,
    /// Show the CPU
    #[arg(short = 'C', long, help_heading = "Columns")]
    print_cpu: bool,
    /// Put double quotes around each argument
    #[arg(short = 'q', long, help_heading = "Columns")]
    quote: bool,
    /// Show at most N items in ARGS, the program included; all by default
    #[arg(long, value_name = "N", value_parser = cli::count, help_heading = "Columns")]
    max_args: Option<u64>,

    /// Most bytes of arguments that are read, up to 256K; a cut is marked
    #[arg(long, value_name = "SIZE", value_parser = args_size, default_value = "32K", help_heading = "Run")]
    args_size: u32,
    /// How many calls there may be under way at a time, with --fails
    #[arg(long, value_name = "N", value_parser = cli::table_size, default_value = "1024", help_heading = "Run")]
    table_size: u32,
}

/// What the object's buffer is made for, and what its program can read.
const DEFAULT_ARGS: u32 = 32 << 10;
const MAX_ARGS: u32 = 256 << 10;

fn args_size(text: &str) -> Result<u32, String> {
    match cli::size(text)?.try_into() {
        Ok(bytes @ 1..=MAX_ARGS) => Ok(bytes),
        _ => Err(format!("`{text}` is not from 1 to 256K")),
    }
}

pub(crate) struct Execsnoop {
    options: Options,
    common: Common,
    style: Style,
}

record! {
    /// The fixed part of a record: `struct exec_event`. Filename, executable and arguments follow it.
    pub(crate) struct ExecRecord {
        /// Who, when, where.
        header: Header,
        /// 0, or a negative errno.
        ret: i32,
        /// See [`flag`].
        flags: u32,
        /// Bytes of the filename.
        filename_len: u32,
        /// Bytes of the executable's path: components from the leaf to the root, each with its NUL.
        exe_len: u32,
        /// Bytes of arguments that follow.
        args_len: u32,
        /// Number of arguments, `argv[0]` included; 0 when not known.
        argc: u32,
        /// Bytes of arguments that exist; 0 when not known.
        args_total: u64,
        /// Name of the parent, NUL padded.
        pcomm: [u8; 16],
    }
}

/// Bits of `ExecRecord::flags`, as in `bpf-src/execsnoop.bpf.c`.
mod flag {
    pub(super) const ARGS_CUT: u32 = 0x01;
    pub(super) const ARGS_FAULT: u32 = 0x02;
    pub(super) const INTERPRETED: u32 = 0x04;
    pub(super) const BY_FD: u32 = 0x08;
    pub(super) const EXE_CUT: u32 = 0x10;
    pub(super) const EXECVEAT: u32 = 0x20;
    pub(super) const FILENAME_FAULT: u32 = 0x40;
}

const KIND_EXEC: u32 = 1;

pub(crate) struct ExecEvent<'r> {
    record: ExecRecord,
    /// As given to the system call; `/dev/fd/N` for a file descriptor.
    filename: &'r [u8],
    /// Path of the file that runs (of a script: its interpreter); empty when not read.
    exe: &'r [u8],
    command: CommandLine<'r>,
}

impl ExecEvent<'_> {
    fn has(&self, flag: u32) -> bool {
        self.record.flags & flag != 0
    }

    fn bit(&self, flag: u32) -> Value<'_> {
        Value::Bool(self.has(flag))
    }
}

#[derive(Default)]
pub(crate) struct Scratch {
    exe: Vec<u8>,
    line: Vec<u8>,
}

impl Execsnoop {
    /// What ARGS starts with: the filename as given, but for a bare descriptor the file behind it, if that is known.
    /// Of a script behind a descriptor only the interpreter is known.
    fn command<'r>(
        &self,
        record: &ExecRecord,
        filename: &'r [u8],
        exe: &'r [u8],
        area: &'r [u8],
    ) -> CommandLine<'r> {
        let has = |flag: u32| record.flags & flag != 0;
        let by_file = has(flag::BY_FD) && !has(flag::INTERPRETED) && !exe.is_empty();
        CommandLine {
            program: if by_file { exe } else { filename },
            area,
            skip: leading(area, has(flag::INTERPRETED).then_some(filename)),
            count: record.argc.into(),
            cut: has(flag::ARGS_CUT),
            missing: record.args_total.saturating_sub(record.args_len.into()),
            args_fault: has(flag::ARGS_FAULT),
            program_fault: has(flag::FILENAME_FAULT) && !by_file,
            style: self.style,
        }
    }

    fn wants(&self, event: &ExecEvent<'_>, line: &mut Vec<u8>) -> bool {
        let comm = until_nul(&event.record.header.comm);
        if self.options.name.as_ref().is_some_and(|name| !name.is_match(comm)) {
            return false;
        }
        self.options.line.as_ref().is_none_or(|pattern| {
            line.clear();
            event.command.push_raw(line);
            pattern.is_match(line)
        })
    }
}

impl Tracer for Execsnoop {
    const NAME: &'static str = "execsnoop";
    const ABOUT: &'static str = "Trace executed programs, of chosen containers if wanted";
    const EXAMPLES: &'static str = "
  execsnoop                                   every exec on this host
  execsnoop -x -T                             failed ones too, with the time
  execsnoop -u 1000 -l 'config|secret'        of one user, by arguments
  execsnoop -P 4242 --json                    children of one process, for programs

  nsmap create /sys/fs/bpf/mnt_ns_set         a set of mount namespaces, and
  execsnoop --mntnsmap /sys/fs/bpf/mnt_ns_set only execs in its members, which
  nsmap add-self-mntns                        may come and go while it runs

  execsnoop -c /sys/fs/cgroup/system.slice    one cgroup and all below it
";
    const SHORTS: &'static [(&'static str, char)] = &[
        ("time", 'T'),
        ("timestamp", 't'),
        ("uid", 'u'),
        ("print_uid", 'U'),
        ("pid", 'p'),
        ("cgroup", 'c'),
        ("duration", 'd'),
        ("verbose", 'v'),
    ];
    const MISSES: &'static str = include_str!(concat!(env!("OUT_DIR"), "/execsnoop.misses"));
    const OBJECT: &'static [u8] = include_bytes!(concat!(env!("OUT_DIR"), "/execsnoop.bpf.o"));
    const RECORD: &'static str = "exec_event";
    type Record = ExecRecord;
    type Options = Options;
    type Scratch = Scratch;
    type Event<'r> = ExecEvent<'r>;

    fn new(options: Options, common: &Common) -> Result<Self, Failure> {
        let max_items = options.max_args.map(|max| usize::try_from(max).unwrap_or(usize::MAX));
        let style = Style { quote: options.quote, max_items };
        Ok(Self { options, common: common.clone(), style })
    }

    fn hooks(&self) -> Vec<Hook> {
        let mut hooks = vec![Hook {
            observes: "exec",
            ways: &[Way {
                name: "tp_btf/sched_process_exec",
                programs: &["process_exec", "process_exec_2"],
                ..Way::EMPTY
            }],
        }];
        if self.options.fails {
            hooks.push(Hook {
                observes: "failed exec",
                ways: &[Way {
                    name: "tracepoints of execve and execveat",
                    // Exits first: an entry that is seen leaves something for its exit to take away.
                    programs: &["exit_execve", "exit_execveat", "enter_execve", "enter_execveat"],
                    ..Way::EMPTY
                }],
            });
        }
        hooks
    }

    fn restrict(&self, filter: &mut TaskFilter) {
        filter.ppid = self.options.ppid;
    }

    fn configure(&self, spec: &mut ObjectSpec) -> Result<()> {
        let size = self.options.args_size;
        spec.set_global("args_budget", size)?;
        spec.set_global("fails_seen", self.options.fails)?;
        if self.options.fails {
            set_table_size(spec, "calls", self.options.table_size)?;
        }
        let cpus = u32::try_from(loader::kernel::cpu::possible()?).unwrap_or(u32::MAX);
        let scratch =
            spec.map_mut("scratch").ok_or_else(|| Error::invalid("the object has no map `scratch`"))?;
        // Two for each: see `bpf-src/include/twin.h`.
        scratch.max_entries = cpus.saturating_mul(2);
        // The rest of the value is for what surrounds the arguments.
        scratch.value_size = scratch.value_size.saturating_sub(DEFAULT_ARGS).saturating_add(size);
        Ok(())
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn header<'a>(event: &'a ExecEvent<'_>) -> &'a Header {
        &event.record.header
    }

    fn fields() -> &'static [Field<Self>] {
        FIELDS
    }

    fn record_type(_: &ExecEvent<'_>) -> &'static str {
        "exec"
    }

    fn decode<'r>(&'r self, scratch: &'r mut Scratch, bytes: &'r [u8]) -> Result<Option<ExecEvent<'r>>> {
        let record = ExecRecord::read(bytes).ok_or_else(|| Error::invalid("too short for an exec"))?;
        if record.header.kind != KIND_EXEC {
            return Err(Error::invalid(format!("unknown kind {}", record.header.kind)));
        }
        let mut rest = bytes.get(ExecRecord::SIZE..).unwrap_or_default();
        let filename = take(&mut rest, record.filename_len, "filename")?;
        let components = take(&mut rest, record.exe_len, "executable")?;
        let area = take(&mut rest, record.args_len, "arguments")?;
        let Scratch { exe, line } = scratch;
        exe.clear();
        push_components(exe, components, record.flags & flag::EXE_CUT != 0);
        let event = ExecEvent { record, filename, exe, command: self.command(&record, filename, exe, area) };
        Ok(self.wants(&event, line).then_some(event))
    }

    fn describe(&self, filters: &mut Object<'_>) {
        filters.bool("fails", self.options.fails);
        if let Some(ppid) = self.options.ppid {
            filters.u64("ppid", ppid.into());
        }
        for (key, pattern) in [("name", &self.options.name), ("line", &self.options.line)] {
            if let Some(pattern) = pattern {
                filters.text(key, pattern.as_str().as_bytes());
            }
        }
    }
}

type F = Field<Execsnoop>;

#[rustfmt::skip] // a table
static FIELDS: &[F] = &[
    F::time(),
    F::boot_ns(),
    F::uid(),
    F::gid(),
    // The tutorial's header; it is the process's own name.
    F::comm("PCOMM", "name of the process: after the exec, or the caller's if it failed"),
    F::pid(),
    F::tid(),
    F::new("parent_comm", "name of the parent", |event| Value::Text(until_nul(&event.record.pcomm)))
        .column("PARENT", 16, Left, |tool| tool.options.print_pcomm),
    F::ppid(),
    F::cpu(|tool| tool.options.print_cpu),
    F::cgroup_id(),
    F::mntns(),
    F::mntns_id(),
    F::new("ret", "0, or the negative error number of a failed exec", |event| Value::Signed(event.record.ret.into()))
        .column("RET", 3, Right, |_| true),
    F::new("error", "name of that error", |event| Value::ErrorName(event.record.ret)),
    F::new("syscall", "execve or execveat, where it is known", syscall),
    F::container(),
    F::new("filename", "what was to be executed, as given", |event| Value::Text(event.filename)),
    F::new("filename_fault", "whether the filename could not be read", |event| event.bit(flag::FILENAME_FAULT)),
    F::new("exe", "path of the file that runs; of a script: its interpreter", exe),
    F::new("exe_cut", "whether the beginning of that path is missing", |event| event.bit(flag::EXE_CUT)),
    F::new("by_fd", "whether a file descriptor named the file or its directory", |event| event.bit(flag::BY_FD)),
    F::new("script", "whether an interpreter runs it", |event| event.bit(flag::INTERPRETED)),
    F::new("argc", "number of arguments from argv[0] on", |event| Value::Known(event.record.argc.into())),
    F::new("args_bytes", "bytes of all arguments, read or not", |event| Value::Known(event.record.args_total)),
    F::new("args_cut", "whether --args-size cut the arguments", |event| event.bit(flag::ARGS_CUT)),
    F::new("args_fault", "whether some arguments could not be read", |event| event.bit(flag::ARGS_FAULT)),
    F::new("args", "all from argv[0] on; in the column program and arguments as typed", |event| Value::Command(&event.command))
        .column("ARGS", 0, Left, |_| true),
];

fn syscall<'a>(event: &'a ExecEvent<'_>) -> Value<'a> {
    match (event.has(flag::EXECVEAT), event.record.ret < 0) {
        (true, _) => Value::Word("execveat"),
        (false, true) => Value::Word("execve"),
        (false, false) => Value::Unknown,
    }
}

fn exe<'a>(event: &'a ExecEvent<'_>) -> Value<'a> {
    if event.exe.is_empty() { Value::Unknown } else { Value::Text(event.exe) }
}

#[cfg(test)]
#[path = "../output/aligned.rs"]
mod aligned;
#[cfg(test)]
#[path = "execsnoop/tests.rs"]
mod tests;
