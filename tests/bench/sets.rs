//! Many members into a set at once.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use loader::map::{Access, Map};

use crate::Bench;
use crate::report::{Row, Target, Unit};
use crate::sample::{Side, alternate};

const MEMBERS: u64 = 100_000;
/// Numbers of namespaces, as kernels give them.
const FIRST: u64 = 4_026_600_000;

fn succeeds(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Milliseconds of a command on a new set; NaN when it fails, or does less than it should.
fn fill(bench: &Bench, work: impl FnOnce(&Path) -> bool) -> f64 {
    let pin = bench.bpffs.join("many");
    let _ = fs::remove_file(&pin);
    let mut create = Command::new(bench.bin.join("nsmap"));
    create.arg("create").arg("--entries").arg((MEMBERS * 2).to_string()).arg(&pin);
    if !succeeds(&mut create) {
        return f64::NAN;
    }
    let begun = Instant::now();
    let worked = work(&pin);
    let took = begun.elapsed().as_secs_f64() * 1e3;
    let full = Map::open_pinned(&pin, Access::ReadOnly).and_then(|map| map.entries());
    let complete = full.is_ok_and(|entries| entries.len() as u64 == MEMBERS);
    let _ = fs::remove_file(&pin);
    if worked && complete { took } else { f64::NAN }
}

/// A listing for nsmap, and a batch file for bpftool.
fn files(bench: &Bench, pin: &Path) -> [std::path::PathBuf; 2] {
    let (mut listing, mut batch) = (String::new(), String::new());
    for number in FIRST..FIRST + MEMBERS {
        let _ = writeln!(listing, "{number}");
        let bytes = number.to_ne_bytes().map(|byte| byte.to_string()).join(" ");
        let _ = writeln!(batch, "map update pinned {} key {bytes} value 0 0 0 0", pin.display());
    }
    [("listing", listing), ("batch", batch)].map(|(name, text)| {
        let path = bench.work.join(name);
        fs::write(&path, text).unwrap();
        path
    })
}

fn raw(pin: &Path) -> bool {
    let keys: Vec<u8> = (FIRST..FIRST + MEMBERS).flat_map(u64::to_ne_bytes).collect();
    let values = vec![0; keys.len() / 2];
    let map = Map::open_pinned(pin, Access::ReadWrite).unwrap();
    map.update_many(&keys, &values).1.is_ok()
}

pub(crate) fn measure(bench: &mut Bench) {
    let what = "100,000 members into a set";
    let nsmap = bench.bin.join("nsmap");
    if !succeeds(Command::new(&nsmap).args(["apply", "--help"])) {
        bench.report.add(&Row::missing(what, "this nsmap has no `apply`"));
        return;
    }
    let [listing, batch] = files(bench, &bench.bpffs.join("many"));
    let ours = |pin: &Path| succeeds(Command::new(&nsmap).arg("apply").arg(&listing).arg("--map").arg(pin));
    let theirs = |_: &Path| succeeds(Command::new("/usr/sbin/bpftool").args(["batch", "file"]).arg(&batch));
    let mut sides: Vec<Side<'_, f64>> =
        vec![Box::new(|| fill(bench, ours)), Box::new(|| fill(bench, theirs)), Box::new(|| fill(bench, raw))];
    let mut found = alternate(bench.rounds.div_ceil(3), &mut sides).into_iter();
    drop(sides);
    let mut next = || found.next().unwrap_or_default().into_iter().collect();
    let row = Row::new(what, Unit::Milliseconds, next()).target(Target::AtMost(60.0));
    let row = row.theirs("bpftool batch file", Ok(next()));
    bench.report.add(&row.limit("one batch call", &next()));
}
