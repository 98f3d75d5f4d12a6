//! The command line, declared once: parsing, help, the man page and completions come from here.
//!
//! To add a sub-command: a variant of [`Command`] here, a file in `commands/`, an arm in `commands::run`.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use nsmap::identity::PID_MAX;
use nsmap::identity::mntns::FIRST_INODE;
use nsmap::identity::process::parse_ns_link;
use nsmap::set::{DEFAULT_ENTRIES, Kind};

mod examples;

const ABOUT: &str = "Make, fill and show the sets that tracers filter by";

const LONG_ABOUT: &str = "Make, fill and show the sets that tracers filter by.

A set is a pinned BPF hash map of cgroup ids or of mount namespaces. Tracers that were started with \
--cgroupmap PATH or --mntnsmap PATH show only tasks that are in the set, and follow every change at once. \
Sets made by bpftool or by BCC's tools are sets as well.

Without --map, the set is the one that NSMAP_MNTNS_SET or NSMAP_CGROUP_SET names, or else \
/sys/fs/bpf/mnt_ns_set or /sys/fs/bpf/cgroup_set.";

/// For commands that refuse to choose.
const ONE_SET: &str = "The set [default: the one of the default sets that exists]";

#[derive(Debug, Parser)]
#[command(
    name = "nsmap",
    version,
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_help = examples::ALL,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// Answer in JSON, with an object on each line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a set, or find that it exists
    #[command(after_help = examples::CREATE)]
    Create(Create),
    /// Add cgroups, by path or id
    #[command(after_help = examples::ADD_CGROUP)]
    AddCgroup(AddCgroup),
    /// Add the cgroup of this process
    #[command(after_help = examples::ADD_SELF_CGROUP)]
    AddSelfCgroup(AddSelfCgroup),
    /// Add mount namespaces, by process, namespace file or inode number
    #[command(after_help = examples::ADD_MNTNS)]
    AddMntns(MntnsItems),
    /// Add the mount namespace of this process, which is that of the calling shell
    #[command(after_help = examples::ADD_SELF_MNTNS)]
    AddSelfMntns(TheSet),
    /// Add what processes are in: to the mount namespace set, the cgroup set, or both, as far as they exist
    #[command(after_help = examples::ADD_PID)]
    AddPid(AddPid),
    /// Add running containers, by name or id, to the sets that exist
    #[command(after_help = examples::CONTAINER)]
    AddContainer(ContainerItems),
    /// Add the containers of Kubernetes pods, to the sets that exist
    #[command(after_help = examples::POD)]
    AddPod(PodItems),
    /// Show the containers that run on this host
    #[command(after_help = examples::CONTAINERS)]
    Containers,
    /// Remove cgroups, by path or id
    #[command(after_help = examples::REMOVE_CGROUP)]
    RemoveCgroup(CgroupItems),
    /// Remove the cgroup of this process
    #[command(after_help = examples::REMOVE_SELF_CGROUP)]
    RemoveSelfCgroup(TheSet),
    /// Remove mount namespaces, by process, namespace file or inode number
    #[command(after_help = examples::REMOVE_MNTNS)]
    RemoveMntns(MntnsItems),
    /// Remove the mount namespace of this process
    #[command(after_help = examples::REMOVE_SELF_MNTNS)]
    RemoveSelfMntns(TheSet),
    /// Remove what processes are in, from the sets that exist
    #[command(after_help = examples::REMOVE_PID)]
    RemovePid(PidItems),
    /// Show the members of sets
    #[command(after_help = examples::LIST)]
    List(WhichSet),
    /// Remove all members of a set
    #[command(after_help = examples::CLEAR, mut_arg("path", |arg| arg.help(ONE_SET)))]
    Clear(WhichSet),
    /// Remove the pin of a set; tracers that use it keep the map until they end
    #[command(after_help = examples::DELETE, mut_arg("path", |arg| arg.help(ONE_SET)))]
    Delete(WhichSet),
    /// Print the id of a cgroup
    #[command(after_help = examples::CGROUPID)]
    Cgroupid(CgroupId),
    /// Print the number of a mount namespace
    #[command(after_help = examples::MNTNSID)]
    Mntnsid(MntnsId),
    /// Put the members of a listing into a set, or in the place of what it holds
    #[command(after_help = examples::APPLY)]
    Apply(Apply),
    /// Write a set as a listing, for `apply`
    #[command(after_help = examples::EXPORT, mut_arg("path", |arg| arg.help(ONE_SET)))]
    Export(Export),
    /// Show what differs between two sets or listings
    #[command(after_help = examples::DIFF)]
    Diff(Diff),
    /// Make room for more members, or give room back
    #[command(after_help = examples::RESIZE, mut_arg("path", |arg| arg.help(ONE_SET)))]
    Resize(Resize),
    /// Remove members that are dead, or whose number went to another namespace
    #[command(after_help = examples::GC)]
    Gc(Gc),
    /// Tell whether the sets let a process through, by which member, or why not
    #[command(after_help = examples::TEST)]
    Test(Test),
    /// Tell what a cgroup id or the number of a mount namespace stands for
    #[command(after_help = examples::RESOLVE)]
    Resolve(Resolve),
    /// Keep the sets equal to what matches, as containers come and go
    #[command(after_help = examples::FOLLOW)]
    Follow(Follow),
    /// Show the sets as they change
    #[command(after_help = examples::WATCH)]
    Watch(Watch),
    /// Tell what works on this host, what does not, and what to do about it
    #[command(after_help = examples::DOCTOR)]
    Doctor,
    /// The commands of `bpftool map`, word for word
    #[command(after_help = examples::MAP)]
    Map(Words),
    /// The `map` commands of a file, as `bpftool batch`
    #[command(after_help = examples::BATCH)]
    Batch(Words),
    /// Write the man page or shell completions
    #[command(hide = true)]
    Generate(Generate),
}

/// Words that another grammar reads.
#[derive(Debug, Args)]
pub(crate) struct Words {
    /// As bpftool takes them; options too
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD")]
    pub(crate) words: Vec<OsString>,
}

/// The kinds, as clap's values.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum KindArg {
    /// Mount namespaces: key 8 bytes, value 4
    Mntns,
    /// cgroups: key 8 bytes, value 8
    Cgroup,
}

impl From<KindArg> for Kind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Mntns => Self::Mntns,
            KindArg::Cgroup => Self::Cgroup,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Where to pin it, on a bpffs [default: as without --map]
    pub(crate) path: Option<PathBuf>,
    /// Same as PATH
    #[arg(long, value_name = "PATH", conflicts_with = "path")]
    pub(crate) map: Option<PathBuf>,
    /// What its members are
    #[arg(long, value_enum, default_value_t = KindArg::Mntns)]
    pub(crate) kind: KindArg,
    /// How many members fit
    #[arg(long, value_name = "N", default_value_t = DEFAULT_ENTRIES, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) entries: u32,
    /// Name of the map: up to 15 of A-Z a-z 0-9 _ . [default: mnt_ns_set or cgroupset]
    #[arg(long, value_parser = map_name)]
    pub(crate) name: Option<String>,
    /// Permissions of the pin, in octal; who may write may edit the set without being root
    #[arg(long, default_value = "0600", value_parser = octal_mode)]
    pub(crate) mode: u32,
    /// Group of the pin, by name or number, for the group's part of --mode
    #[arg(long)]
    pub(crate) group: Option<String>,
}

/// The one set that a command works on, whose kind the command knows.
#[derive(Debug, Args)]
pub(crate) struct TheSet {
    /// The set, instead of the default one
    #[arg(long, value_name = "PATH")]
    pub(crate) map: Option<PathBuf>,
}

/// A set of either kind.
#[derive(Debug, Args)]
pub(crate) struct WhichSet {
    /// The set [default: those of the default sets that exist]
    pub(crate) path: Option<PathBuf>,
    /// Same as PATH
    #[arg(long, value_name = "PATH", conflicts_with = "path")]
    pub(crate) map: Option<PathBuf>,
    /// Only a set of this kind
    #[arg(long, value_enum)]
    pub(crate) kind: Option<KindArg>,
}

/// A set of either kind, by options alone.
#[derive(Debug, Args)]
pub(crate) struct AnySet {
    /// The set [default: the one of the default sets that exists]
    #[arg(long, value_name = "PATH")]
    pub(crate) map: Option<PathBuf>,
    /// Only a set of this kind
    #[arg(long, value_enum)]
    pub(crate) kind: Option<KindArg>,
}

#[derive(Debug, Args)]
pub(crate) struct ContainerItems {
    /// A name, the beginning of an id, or ENGINE://ID
    #[arg(required = true, value_name = "NAME")]
    pub(crate) items: Vec<String>,
    #[command(flatten)]
    pub(crate) set: TheSet,
}

#[derive(Debug, Args)]
pub(crate) struct PodItems {
    /// NAMESPACE/POD for all its containers, NAMESPACE/POD/CONTAINER for one
    #[arg(required = true, value_name = "POD")]
    pub(crate) items: Vec<String>,
    #[command(flatten)]
    pub(crate) set: TheSet,
}

#[derive(Debug, Args)]
pub(crate) struct Follow {
    /// What to follow; one of several must fit, all that are joined by commas
    #[arg(long_help = examples::SELECTORS, required = true, value_name = "SELECTOR")]
    pub(crate) selectors: Vec<String>,
    #[command(flatten)]
    pub(crate) set: TheSet,
    /// Make the sets equal once, and end
    #[arg(long)]
    pub(crate) once: bool,
    /// End after this time, and remove what was added: 30s, 10m, 2h
    #[arg(long = "for", value_name = "TIME", value_parser = duration, conflicts_with = "once")]
    pub(crate) duration: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    pub(crate) set: WhichSet,
    /// How often to look
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1s")]
    pub(crate) interval: Duration,
    /// End after this time
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// A listing as `export` writes it, `-` for standard input: on each line a number, then `subtree` or `check=N`
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) set: AnySet,
    /// Remove what is not in the listing; all of it is done, or nothing
    #[arg(long)]
    pub(crate) replace: bool,
    /// Only tell what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) set: WhichSet,
    /// Without comments on what each member stands for
    #[arg(long)]
    pub(crate) bare: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// A pinned set, a listing, or `-`
    pub(crate) from: PathBuf,
    /// What it is compared with
    pub(crate) to: PathBuf,
    /// The kind of listings that do not say it
    #[arg(long, value_enum)]
    pub(crate) kind: Option<KindArg>,
    /// Exit with 1 if they differ
    #[arg(long)]
    pub(crate) exit_code: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Resize {
    /// How many members shall fit
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) entries: u32,
    #[command(flatten)]
    pub(crate) set: WhichSet,
}

#[derive(Debug, Args)]
pub(crate) struct Gc {
    #[command(flatten)]
    pub(crate) set: WhichSet,
    /// Only tell what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Test {
    #[command(flatten)]
    pub(crate) set: WhichSet,
    /// The process [default: this one]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    pub(crate) pid: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Resolve {
    /// A cgroup id, or the inode number of a mount namespace
    pub(crate) id: u64,
    /// Only as a number of this kind
    #[arg(long, value_enum)]
    pub(crate) kind: Option<KindArg>,
}

#[derive(Debug, Args)]
pub(crate) struct CgroupItems {
    /// cgroup v2 directories; a bare number is an id (write ./7 for a directory of that name)
    #[arg(required = true, value_name = "CGROUP", value_parser = items(cgroup_item))]
    pub(crate) items: Vec<CgroupItem>,
    #[command(flatten)]
    pub(crate) set: TheSet,
}

#[derive(Debug, Args)]
pub(crate) struct AddCgroup {
    #[command(flatten)]
    pub(crate) items: CgroupItems,
    /// Let the cgroups below them count too (our tracers only; BCC's match the cgroup itself)
    #[arg(long)]
    pub(crate) subtree: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AddSelfCgroup {
    #[command(flatten)]
    pub(crate) set: TheSet,
    /// Let the cgroups below it count too
    #[arg(long)]
    pub(crate) subtree: bool,
    /// Add it even if it is the root cgroup
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MntnsItems {
    /// A pid, a namespace file such as /proc/PID/ns/mnt, or an inode number (also as mnt:[N])
    ///
    /// A number up to 4194304, the largest pid there can be, is a pid; one from 4026531824 on is an inode
    /// number.
    #[arg(required = true, value_name = "PID|NSFILE|ID", value_parser = items(mntns_item))]
    pub(crate) items: Vec<MntnsItem>,
    #[command(flatten)]
    pub(crate) set: TheSet,
}

#[derive(Debug, Args)]
pub(crate) struct PidItems {
    /// Process ids, as this pid namespace numbers them
    #[arg(required = true, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    pub(crate) pids: Vec<u32>,
    #[command(flatten)]
    pub(crate) set: TheSet,
}

#[derive(Debug, Args)]
pub(crate) struct AddPid {
    #[command(flatten)]
    pub(crate) items: PidItems,
    /// Add a process's cgroup even if it is the root cgroup
    #[arg(long)]
    pub(crate) force: bool,
}

/// How a number is printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// Decimal
    Number,
    /// The eight bytes of the key in host byte order
    Hex,
}

#[derive(Debug, Args)]
pub(crate) struct CgroupId {
    /// How to print it
    #[arg(value_enum)]
    pub(crate) format: Format,
    /// A cgroup v2 directory
    pub(crate) path: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct MntnsId {
    /// How to print it
    #[arg(value_enum)]
    pub(crate) format: Format,
    /// A process [default: this one]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    pub(crate) pid: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Generate {
    #[command(subcommand)]
    pub(crate) what: Generated,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Generated {
    /// The man page on standard output, or pages for all sub-commands into a directory
    Man {
        /// An existing directory
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Completions for a shell, on standard output
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// What there is now, a word on each line, for those completions
    Words {
        #[arg(value_enum)]
        what: Now,
    },
}

/// What completions ask for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Now {
    Sets,
    Containers,
    Pods,
}

/// A cgroup on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CgroupItem {
    Id(u64),
    Path(PathBuf),
}

/// A mount namespace on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MntnsItem {
    Pid(u32),
    Inode(u32),
    File(PathBuf),
}

/// Items may be paths, which need not be UTF-8.
fn items<T: Clone + Send + Sync + 'static>(
    parse: fn(&OsStr) -> Result<T, String>,
) -> impl TypedValueParser<Value = T> {
    OsStringValueParser::new().try_map(move |text| parse(&text))
}

/// The text of an argument that is made of digits only.
fn number_text(text: &OsStr) -> Option<&str> {
    text.to_str().filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
}

fn path_item(text: &OsStr) -> Result<PathBuf, String> {
    if text.is_empty() { Err("an empty path".to_owned()) } else { Ok(text.into()) }
}

fn cgroup_item(text: &OsStr) -> Result<CgroupItem, String> {
    match number_text(text) {
        Some(number) => number.parse().map(CgroupItem::Id).map_err(|_| "not a 64-bit number".to_owned()),
        None => path_item(text).map(CgroupItem::Path),
    }
}

fn mntns_item(text: &OsStr) -> Result<MntnsItem, String> {
    if let Some(inode) = parse_ns_link(text.as_encoded_bytes()) {
        return Ok(MntnsItem::Inode(inode));
    }
    match number_text(text) {
        Some(number) => mntns_number(number),
        None => path_item(text).map(MntnsItem::File),
    }
}

fn mntns_number(text: &str) -> Result<MntnsItem, String> {
    let neither = || {
        format!(
            "neither a pid (1 to {PID_MAX}) nor the inode number of a namespace ({FIRST_INODE} to {})",
            u32::MAX
        )
    };
    let number: u64 = text.parse().map_err(|_| neither())?;
    let narrow = u32::try_from(number).map_err(|_| neither())?;
    match number {
        1..=PID_MAX => Ok(MntnsItem::Pid(narrow)),
        FIRST_INODE.. => Ok(MntnsItem::Inode(narrow)),
        _ => Err(neither()),
    }
}

/// What the kernel takes as the name of a map; it would answer only "invalid argument".
fn map_name(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
    if text.is_empty() || text.len() > 15 || !text.bytes().all(allowed) {
        return Err("expected 1 to 15 characters of A-Z a-z 0-9 _ .".to_owned());
    }
    Ok(text.to_owned())
}

/// A number of seconds, or with `ms`, `s`, `m`, `h` behind it.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let milliseconds = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let total = number.parse::<u64>().ok().and_then(|number| number.checked_mul(milliseconds));
    total
        .filter(|&total| total > 0)
        .map(Duration::from_millis)
        .ok_or_else(|| "expected a time such as 30s, 10m or 2h".to_owned())
}

fn octal_mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|&mode| mode <= 0o777 && !text.starts_with('+'))
        .ok_or_else(|| "expected octal permissions, 0 to 777".to_owned())
}

#[cfg(test)]
mod tests;
