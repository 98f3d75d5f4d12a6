//! Looks at, explains, loads and runs any BPF object: the loader's own face.
//!
//! In: an object and a command. Out: a report on stdout, as text or as one JSON object (keys in `loader/README.md`);
//! what went wrong as a whole, in one line on stderr. Exit codes: 0 all as asked, 1 something was refused, 2 usage.
//! One file for each command: a function from the parsed object to a report and whether all went well.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

#[path = "bpfobj/explain.rs"]
mod explain;
#[path = "bpfobj/inspect.rs"]
mod inspect;
#[path = "bpfobj/load.rs"]
mod load;
#[path = "bpfobj/names.rs"]
mod names;
#[path = "bpfobj/report.rs"]
mod report;
#[path = "bpfobj/run.rs"]
mod run;
#[path = "bpfobj/values.rs"]
mod values;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use loader::Result;
use loader::load::TargetFiles;
use loader::section::{ProgramKind, split_autoload};
use loader::spec::ObjectSpec;
use report::Report;

#[derive(Parser)]
#[command(name = "bpfobj", version, about = "Inspect, explain, load or run a BPF object")]
#[command(after_help = "Examples:
  bpfobj inspect execsnoop.bpf.o
  bpfobj explain execsnoop.bpf.o --btf vmlinux-5.10.btf.gz
  bpfobj load execsnoop.bpf.o --program exec --set filter_tgid=42
  bpfobj run checks.bpf.o check_fields --json

Exit codes: 0 all as asked, 1 something was refused, 2 usage")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what the object is: programs, maps, variables, externs, CO-RE relocations
    Inspect {
        /// The object
        object: PathBuf,
        /// One JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Show what each relocation, extern, map and hook would become; loads nothing, needs no root
    Explain {
        /// The object
        object: PathBuf,
        #[command(flatten)]
        types: TypesArgs,
        /// One JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Load each program on its own; print ok, or the reason
    Load {
        #[command(flatten)]
        common: LoadArgs,
        #[command(flatten)]
        which: WhichArgs,
    },
    /// Load one program, run it once with BPF_PROG_TEST_RUN, print its return value
    Run {
        #[command(flatten)]
        common: LoadArgs,
        /// The program
        program: String,
        /// Input in hexadecimal: a packet, or the context of programs that take no packet
        #[arg(long, value_name = "BYTES", value_parser = values::parse_hex)]
        data_in: Option<values::Bytes>,
    },
}

/// Where types come from, if not from the running kernel.
#[derive(Args)]
struct TypesArgs {
    /// Types to take for the kernel's: raw BTF, ELF, or gzip of them
    #[arg(long, value_name = "FILE")]
    btf: Option<PathBuf>,
    /// Types of a module, instead of those that are loaded: NAME.ko, or raw BTF (repeatable)
    #[arg(long, value_name = "FILE")]
    module_btf: Vec<PathBuf>,
}

impl TypesArgs {
    fn files(&self) -> TargetFiles {
        TargetFiles { kernel: self.btf.clone(), modules: self.module_btf.clone() }
    }
}

/// What loading takes.
#[derive(Args)]
struct LoadArgs {
    /// The object
    object: PathBuf,
    #[command(flatten)]
    types: TypesArgs,
    /// Use the token of this bpffs in the place of privileges
    #[arg(long, value_name = "DIR")]
    token: Option<PathBuf>,
    /// Set a global variable (repeatable): a number, true/false, "text", or hex:BYTES
    #[arg(long, value_name = "VAR=VALUE", value_parser = values::parse_assignment)]
    set: Vec<values::Assignment>,
    /// With a refusal, all of the verifier's log
    #[arg(long, conflicts_with = "json")]
    verbose: bool,
    /// One JSON object instead of text; refusals have the verifier's log
    #[arg(long)]
    json: bool,
}

/// What is loaded, on what, and what stays of it.
#[derive(Args)]
struct WhichArgs {
    /// Only this program (repeatable)
    #[arg(long, value_name = "NAME")]
    program: Vec<String>,
    /// The program that freplace, fentry and fexit programs go on: a pin (a path), an id, or the name of another program of
    /// the object
    #[arg(long, value_name = "PROGRAM")]
    attach_to: Option<String>,
    /// Pin the programs, and the maps that ask for it, in this directory of a bpffs
    #[arg(long, value_name = "DIR")]
    pin: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let verbose =
        matches!(&cli.command, Command::Load { common, .. } | Command::Run { common, .. } if common.verbose);
    let (result, json) = match &cli.command {
        Command::Inspect { object, json } => (open(object).map(|spec| inspect::inspect(&spec)), *json),
        Command::Explain { object, types, json } => {
            (open(object).and_then(|spec| explain::explain(spec, &types.files())), *json)
        }
        Command::Load { common, which } => {
            (prepare(common).and_then(|spec| load::load(spec, common, which)), common.json)
        }
        Command::Run { common, program, data_in } => {
            let data = data_in.as_ref().map(|data| data.0.as_slice());
            (prepare(common).and_then(|spec| run::run(spec, common, program, data)), common.json)
        }
    };
    match result {
        Ok(report) => print(&report, json),
        Err(error) => {
            eprintln!("bpfobj: {}", report::refusal(&error, verbose));
            ExitCode::from(1)
        }
    }
}

fn print(report: &Report, json: bool) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let written = if json { writeln!(out, "{}", report.json) } else { out.write_all(report.text.as_bytes()) };
    // Nobody reads any more: nothing is wrong with the object.
    drop(written);
    ExitCode::from(u8::from(!report.ok))
}

fn open(path: &Path) -> Result<ObjectSpec> {
    let read = || -> Result<ObjectSpec> {
        let bytes = std::fs::read(path).map_err(|error| loader::Error::io("read", error))?;
        let mut spec = ObjectSpec::parse(&bytes)?;
        // Objects for other loaders name sections more freely than libbpf reads them.
        for program in spec.programs.iter_mut().filter(|program| program.kind == ProgramKind::UNKNOWN) {
            let name = split_autoload(&program.section_name).0;
            program.kind = ProgramKind::from_section_prefix(name)?;
        }
        Ok(spec)
    };
    read().map_err(|error| error.context(format!("object `{}`", path.display())))
}

fn prepare(args: &LoadArgs) -> Result<ObjectSpec> {
    let mut spec = open(&args.object)?;
    for assignment in &args.set {
        assignment.apply(&mut spec)?;
    }
    Ok(spec)
}
