//! Many members into a set at once, and many members with their names.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use loader::map::{Access, Map};

use crate::Bench;
use crate::report::{Row, Target, Unit};
use crate::sample::{Side, alternate};

const MEMBERS: u64 = 100_000;
/// Numbers of namespaces, as kernels give them.
const FIRST: u64 = 4_026_600_000;
/// Cgroups of which a listing is made.
const NAMED: usize = 1000;
/// Where Docker keeps what it knows of containers.
const DOCKER: &str = "var/lib/docker/containers";

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

/// Cgroups of containers with names in files of Docker's, removed with the value.
struct Named {
    top: PathBuf,
    host: PathBuf,
    pin: PathBuf,
}

impl Named {
    /// `None` without a cgroup v2 that cgroups can be made in.
    fn new(bench: &Bench) -> Option<Self> {
        let hierarchy = nsmap::identity::cgroup::Hierarchy::find().ok()?;
        let top = hierarchy.mount_point().join(format!("nsmap-bench-{}", std::process::id()));
        let named = Self { top, host: bench.work.join("host"), pin: bench.bpffs.join("named") };
        let mut add = Command::new(bench.bin.join("nsmap"));
        add.arg("add-cgroup").arg("--map").arg(&named.pin);
        for number in 0..NAMED {
            let id = format!("{number:064x}");
            let (cgroup, files) = (named.top.join("docker").join(&id), named.host.join(DOCKER).join(&id));
            fs::create_dir_all(&cgroup).ok()?;
            fs::create_dir_all(&files).ok()?;
            let text = format!(r#"{{"ID":"{id}","Name":"/web-{number}","Config":{{"Labels":{{"a":"b"}}}}}}"#);
            fs::write(files.join("config.v2.json"), text).ok()?;
            add.arg(cgroup);
        }
        let mut create = Command::new(bench.bin.join("nsmap"));
        let made =
            succeeds(create.args(["create", "--kind", "cgroup"]).arg(&named.pin)) && succeeds(&mut add);
        made.then_some(named)
    }

    /// Milliseconds of a listing; NaN when a name is missing.
    fn list(&self, bench: &Bench) -> f64 {
        let mut list = Command::new(bench.bin.join("nsmap"));
        list.arg("list").arg(&self.pin).env("NSMAP_HOST_ROOT", &self.host);
        let begun = Instant::now();
        let output = list.output();
        let took = begun.elapsed().as_secs_f64() * 1e3;
        let names = output
            .map_or(0, |output| String::from_utf8_lossy(&output.stdout).matches("[docker:web-").count());
        if names == NAMED { took } else { f64::NAN }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let directories: Vec<PathBuf> = nsmap::identity::cgroup::directories(&self.top).collect();
        for directory in directories.iter().rev() {
            let _ = fs::remove_dir(directory);
        }
        let _ = fs::remove_file(&self.pin);
    }
}

fn measure_list(bench: &mut Bench) {
    let what = "`list` of 1000 cgroups with names";
    let Some(named) = Named::new(bench) else {
        bench.report.add(&Row::missing(what, "no cgroups can be made here"));
        return;
    };
    let mut sides: Vec<Side<'_, f64>> = vec![Box::new(|| named.list(bench))];
    let mut found = alternate(bench.rounds.div_ceil(3), &mut sides).into_iter();
    drop(sides);
    bench.report.add(
        &Row::new(what, Unit::Milliseconds, found.next().unwrap_or_default().into_iter().collect())
            .target(Target::AtMost(100.0)),
    );
}

pub(crate) fn measure(bench: &mut Bench) {
    measure_list(bench);
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
