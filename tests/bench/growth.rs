//! What must stay flat: the cost of an open while something else grows.
//!
//! Each row compares the same work with much and with little of a thing; the peer's columns show the latter. The cost is the
//! kernel's own count of the time in BPF programs, so that it holds nothing of what the machine does beside.

use std::fs;
use std::path::{Path, PathBuf};

use loader::map::{Access, Map};
use nsmap::identity::cgroup::Hierarchy;
use nsmap::set::{Kind, Member, NewSet, Set};

use crate::Bench;
use crate::cost::{self, Round, Work};
use crate::report::{Row, Target, Unit};
use crate::sample::{Side, alternate};
use crate::tools::Tool;

/// What may be paid with much of a thing, over what is paid with little of it.
const FLAT: Target = Target::Ratio(1.3);

/// A thing of which there is much on one side and little on the other.
struct Growth {
    what: &'static str,
    little: &'static str,
}

type Measured = Result<[Vec<Round>; 2], String>;

fn in_turn(bench: &Bench, much: impl FnMut() -> Round, little: impl FnMut() -> Round) -> Measured {
    let mut sides: [Side<'_, Round>; 2] = [Box::new(much), Box::new(little)];
    let found = alternate(bench.rounds.div_ceil(2), &mut sides);
    found.try_into().map_err(|_| "not two sides".to_owned())
}

fn report(bench: &mut Bench, growth: &Growth, measured: Measured) {
    let programs = |rounds: &[Round]| cost::column(rounds, |found| found.programs);
    let samples = measured.and_then(|[much, little]| Ok((programs(&much)?, programs(&little)?)));
    let what = format!("{}: time in BPF programs", growth.what);
    bench.report.add(&match samples {
        Ok((much, little)) => {
            Row::new(what, Unit::Nanoseconds, much).theirs(growth.little, Ok(little)).target(FLAT)
        }
        Err(why) => Row::missing(what, why),
    });
}

fn opensnoop(bench: &Bench, args: &[&str]) -> Tool {
    Tool::ours(&bench.bin, "opensnoop").with(args)
}

fn new_set(pin: &Path, kind: Kind, entries: u32) -> Result<Set, String> {
    let _ = fs::remove_file(pin);
    let new = NewSet { kind, entries, name: kind.default_map_name(), mode: 0o600 };
    Set::create(pin, &new).map_err(|error| error.to_string())
}

/// A set with so many members that no task has: numbers of namespaces that kernels do not give.
fn strangers(pin: &Path, count: u32) -> Result<(), String> {
    const FIRST: u64 = 4_100_000_000;
    drop(new_set(pin, Kind::Mntns, count.max(16))?);
    let keys: Vec<u8> = (FIRST..FIRST + u64::from(count)).flat_map(u64::to_ne_bytes).collect();
    let stored = Map::open_pinned(pin, Access::ReadWrite)
        .and_then(|map| map.update_many(&keys, &vec![0; keys.len() / 2]).1);
    stored.map_err(|error| error.to_string())
}

fn members(bench: &Bench) -> Measured {
    let pins: [PathBuf; 2] = ["many", "few"].map(|name| bench.bpffs.join(name));
    strangers(&pins[0], 100_000)?;
    strangers(&pins[1], 1)?;
    let [many, few] =
        pins.each_ref().map(|pin| opensnoop(bench, &["--mntnsmap", &pin.display().to_string()]));
    let run = |tool: &Tool| cost::round(bench, tool, Work::Opens);
    let measured = in_turn(bench, || run(&many), || run(&few));
    pins.iter().for_each(|pin| drop(fs::remove_file(pin)));
    measured
}

/// cgroups inside each other, and the way back of this process, which enters them.
struct Chain {
    /// From the outermost; removed from the other end.
    paths: Vec<PathBuf>,
    home: PathBuf,
}

impl Chain {
    fn new(depth: usize) -> Result<Self, String> {
        let text = |error: loader::Error| error.to_string();
        let mount = Hierarchy::find().map_err(text)?.mount_point().to_owned();
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let mut chain = Self { paths: Vec::new(), home: mount.join(own) };
        let mut path = mount.join(format!("tracers-bench-{}", std::process::id()));
        for _ in 0..depth {
            fs::create_dir(&path).map_err(|error| format!("make {}: {error}", path.display()))?;
            chain.paths.push(path.clone());
            path.push("inner");
        }
        Ok(chain)
    }
}

fn enter(cgroup: &Path) -> Result<(), String> {
    fs::write(cgroup.join("cgroup.procs"), "0")
        .map_err(|error| format!("enter {}: {error}", cgroup.display()))
}

impl Drop for Chain {
    fn drop(&mut self) {
        let _ = enter(&self.home);
        self.paths.iter().rev().for_each(|path| drop(fs::remove_dir(path)));
    }
}

/// Where the member of the set is, seen from the task.
#[derive(Clone, Copy)]
enum Subtree {
    /// The outermost cgroup of the chain: found by the first question.
    Above,
    /// Another one: all levels are asked about in vain.
    Elsewhere,
}

fn depth(bench: &Bench, subtree: Subtree) -> Measured {
    const DEPTH: usize = 32;
    let chain = Chain::new(DEPTH)?;
    let pin = bench.bpffs.join("subtree");
    let (Some(top), Some(leaf)) = (chain.paths.first(), chain.paths.last()) else {
        return Err("no cgroup".to_owned());
    };
    let id = match subtree {
        Subtree::Above => nsmap::identity::cgroup::id_of_path(top).map_err(|error| error.to_string())?,
        Subtree::Elsewhere => u64::MAX,
    };
    let set = new_set(&pin, Kind::Cgroup, 16)?;
    let member = nsmap::set::CgroupMember::new(id, true);
    set.insert(&Member::Cgroup(member)).map_err(|error| error.to_string())?;
    let tool = opensnoop(bench, &["--cgroupmap", &pin.display().to_string()]);
    let run = |cgroup: &Path| enter(cgroup).and_then(|()| cost::round(bench, &tool, Work::Opens));
    let measured = in_turn(bench, || run(leaf), || run(top));
    drop(fs::remove_file(&pin));
    measured
}

fn ring(bench: &Bench) -> Measured {
    let [large, small] = ["64M", "1M"].map(|size| opensnoop(bench, &["--buffer-size", size]));
    let run = |tool: &Tool| cost::round(bench, tool, Work::Opens);
    in_turn(bench, || run(&large), || run(&small))
}

/// The same opens, by one thread and by many that come and go. The threads come and go on both sides: what a hook on
/// all system calls pays for their starts and ends is not the price of an open.
fn threads(bench: &Bench) -> Measured {
    let tool = opensnoop(bench, &[]);
    let run = |work| cost::round(bench, &tool, work);
    in_turn(bench, || run(Work::OpensOfThreads), || run(Work::OpensBesideThreads))
}

pub(crate) fn measure(bench: &mut Bench) {
    let grown = members(bench);
    report(
        bench,
        &Growth { what: "open, filtered out by a set of 100,000 members", little: "1 member" },
        grown,
    );
    let grown = depth(bench, Subtree::Above);
    report(
        bench,
        &Growth { what: "open, matched by a subtree 32 cgroups above", little: "the cgroup itself" },
        grown,
    );
    let grown = depth(bench, Subtree::Elsewhere);
    report(bench, &Growth { what: "open, not wanted, 32 cgroups deep", little: "1 deep" }, grown);
    let grown = ring(bench);
    report(bench, &Growth { what: "open, matched, buffer of 64 MiB", little: "1 MiB" }, grown);
    let grown = threads(bench);
    let little = "1 thread beside them";
    report(bench, &Growth { what: "open, matched, by 10,000 threads", little }, grown);
}
