//! `watch`: the sets as they change. On a terminal the list is drawn anew at each change; else each change is a line.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

use super::{follow, list};
use crate::cli::Watch;
use crate::failure::Failure;
use crate::output::{self, Name, Outcome};

/// Cursor to the upper left, and everything below it erased.
const CLEAR: &str = "\x1b[H\x1b[J";

/// A member of a set on one line, by set and number.
type Snapshot = BTreeMap<(String, u64), String>;

#[derive(Serialize)]
struct Change<'a> {
    time: String,
    event: &'static str,
    map: Name,
    id: u64,
    /// Its state, and what it stands for.
    what: &'a str,
}

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {} {}", self.time, self.event, self.map, self.id, self.what)
    }
}

pub(crate) fn run(args: &Watch, json: bool) -> Result<Outcome, Failure> {
    let drawing = !json && output::on_terminal();
    let signals = follow::signals()?;
    let end = args.duration.map(|duration| Instant::now() + duration);
    let mut before: Option<Snapshot> = None;
    loop {
        let report = list::report(&args.set)?;
        let now = report.snapshot();
        let open = match &before {
            Some(before) if *before == now => true,
            _ if drawing => output::line(&format!("{CLEAR}{report}")),
            before => print(before.as_ref().unwrap_or(&Snapshot::new()), &now, json),
        };
        before = Some(now);
        let over = end.is_some_and(|end| Instant::now() >= end);
        if !open || over || pause(&signals, args.interval)? {
            return Ok(Outcome::nothing());
        }
    }
}

/// Waits; says whether it was told to end.
fn pause(signals: &impl AsFd, interval: Duration) -> Result<bool, Failure> {
    let timeout = PollTimeout::try_from(interval.as_millis().min(60_000)).unwrap_or(PollTimeout::ZERO);
    let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, timeout) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(Failure::from(loader::Error::os("poll", errno as i32))),
    }
}

/// The differences, one line each; false when nobody reads any more.
fn print(before: &Snapshot, now: &Snapshot, json: bool) -> bool {
    let time = output::now();
    let gone =
        before.iter().filter(|(key, _)| !now.contains_key(*key)).map(|(key, what)| ("removed", key, what));
    let other = now.iter().filter_map(|(key, what)| match before.get(key) {
        None => Some(("added", key, what)),
        Some(old) if old != what => Some(("changed", key, what)),
        Some(_) => None,
    });
    gone.chain(other).all(|(event, (map, id), what)| {
        let change = Change { time: time.clone(), event, map: Name::new(map), id: *id, what };
        match json {
            true => serde_json::to_string(&change).map_or(true, |line| output::line(&line)),
            false => output::line(&change.to_string()),
        }
    })
}
