//! `follow`: keeps the sets equal to what matches, until it is told to end.
//!
//! Out: a line for each change, at once; readiness for systemd. With `--for`, what it added is removed at the end.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use loader::map::Access;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nsmap::Kind;
use nsmap::follow::tree::Tree;
use nsmap::follow::{Entry, Event, Follower, Rival, Selector};
use nsmap::text;
use serde::Serialize;

use super::{holders, sets};
use crate::cli::Follow;
use crate::failure::{Capability, Code, Failure};
use crate::output::{self, Outcome};

pub(crate) fn run(args: &Follow, json: bool) -> Result<Outcome, Failure> {
    let selectors = args.selectors.iter().map(|word| Selector::parse(word)).collect::<Result<Vec<_>, _>>();
    let selectors = selectors.map_err(|reason| Failure::new(Code::Usage, reason))?;
    let named = sets::any(&args.set, Access::ReadWrite)?;
    let useless = named.iter().any(|named| named.set.kind() == Kind::Cgroup)
        && nsmap::identity::cgroup::why_ids_are_useless().is_some();
    let (paths, sets): (Vec<_>, Vec<_>) = named.into_iter().map(|named| (named.path, named.set)).unzip();
    let mut follower = Follower::new(selectors, sets)?;
    match follower.claim() {
        Ok(None) => {}
        Ok(Some(rival)) => return Err(refused(&paths, rival)),
        Err(error) => output::note(&error.to_string()),
    }
    let mut session = Session { follower, json, failed: 0 };
    if args.once {
        session.follower.synchronise()?;
        session.report();
        return session.end();
    }
    if useless {
        output::note("all tasks sit in the v2 root now; only what is moved below it can be followed");
    }
    session.follow(args)
}

/// Somebody else follows for one of the sets.
fn refused(paths: &[PathBuf], rival: Rival) -> Failure {
    let path = paths.get(rival.set).map(|path| text::path(path)).unwrap_or_default();
    // A listing of all maps has the claim open, too, for a moment; but not the set.
    let mut holders = holders::of_map(rival.claim);
    let of_set = holders::of_map(rival.set_id);
    holders.retain(|holder| of_set.iter().any(|other| other.pid == holder.pid));
    let by = match holders.first() {
        Some(holder) => format!("process {} ({})", holder.pid, holder.comm),
        None => "a process that is not seen from here".to_owned(),
    };
    Failure::new(Code::Other, format!("follow for set `{path}`: {by} does so already"))
        .hint("end that first, start it with all selectors, or create another set")
}

struct Session {
    follower: Follower,
    json: bool,
    failed: usize,
}

impl Session {
    fn follow(mut self, args: &Follow) -> Result<Outcome, Failure> {
        let watch = Tree::watch(self.follower.mount_point());
        // Before the first look, so that nothing falls in between.
        let mut tree = watch.map_err(|error| Failure::from(error).needs(Capability::SysAdmin))?;
        let signals = signals()?;
        if let Err(error) = self.follower.attach_early() {
            output::note(&format!("the first program of a new container may not be traced: {error}"));
        }
        self.follower.synchronise()?;
        let mut open = self.report();
        notify(&format!("READY=1\nSTATUS=following {} cgroups", self.follower.len()));
        let end = args.duration.map(|duration| Instant::now() + duration);
        while open && end.is_none_or(|end| Instant::now() < end) {
            let wake = self.follower.next_tick().into_iter().chain(end).min();
            if wait(&tree, self.follower.wakeups(), &signals, wake)? {
                break;
            }
            self.follower.take_in(tree.changes()?)?;
            self.follower.tick();
            open = self.report();
        }
        notify("STOPPING=1");
        if end.is_some() {
            self.follower.detach_early();
            self.follower.take_in(tree.changes()?)?;
            self.follower.give_up();
            self.report();
        }
        self.end()
    }

    /// Prints what happened; false when nobody reads any more.
    fn report(&mut self) -> bool {
        let mut open = true;
        for event in self.follower.take_events() {
            self.failed += usize::from(matches!(event, Event::Failed(..)));
            let line = Line::new(&event);
            open &= match self.json {
                true => serde_json::to_string(&line).map_or(true, |line| output::line(&line)),
                false => output::line(&line.to_string()),
            };
        }
        open
    }

    fn end(self) -> Result<Outcome, Failure> {
        let mut outcome = Outcome::nothing();
        if self.failed > 0 {
            outcome.code = Code::SomeFailed;
            outcome.failures.push(Failure::new(Code::SomeFailed, format!("{} changes failed", self.failed)));
        }
        Ok(outcome)
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn new(event: &'a Event) -> Self {
        let time = output::now();
        let of = |event, entry: &'a Entry, error| Self {
            time: time.clone(),
            event,
            kind: Some(entry.kind.name()),
            id: Some(entry.id),
            name: &entry.name,
            error,
        };
        match event {
            Event::Added(entry) => of("added", entry, None),
            Event::Removed(entry) => of("removed", entry, None),
            Event::Failed(entry, error) => of("failed", entry, Some(error.as_str())),
            Event::Overflow => Self { time, event: "overflow", kind: None, id: None, name: "", error: None },
            Event::Warning(why) => {
                Self { time, event: "warning", kind: None, id: None, name: "", error: Some(why) }
            }
        }
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.time, self.event)?;
        if let (Some(kind), Some(id)) = (self.kind, self.id) {
            write!(f, " {kind} {id}")?;
        }
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        match self.error {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

/// The signals that end it, as a file to wait for.
pub(super) fn signals() -> Result<SignalFd, Failure> {
    let mut set = SigSet::empty();
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().for_each(|signal| set.add(signal));
    set.thread_block()
        .and_then(|()| SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK))
        .map_err(|errno| Failure::from(loader::Error::os("signalfd", errno as i32)))
}

/// Waits for a change, a process in an empty cgroup, a signal, or the time; says whether it was a signal.
fn wait(
    tree: &Tree,
    populated: Option<BorrowedFd<'_>>,
    signals: &SignalFd,
    wake: Option<Instant>,
) -> Result<bool, Failure> {
    let timeout = match wake {
        // Rounded up: a wait that ends too soon would be followed by another of nothing.
        Some(wake) => {
            let left = wake.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
            PollTimeout::try_from(left.as_millis().min(60_000)).unwrap_or(PollTimeout::ZERO)
        }
        None => PollTimeout::NONE,
    };
    let waited = [Some(tree.as_fd()), populated, Some(signals.as_fd())];
    let mut fds: Vec<PollFd<'_>> =
        waited.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(Failure::from(loader::Error::os("poll", errno as i32))),
    }
    Ok(fds.last().and_then(PollFd::any).unwrap_or(false))
}

/// Tells systemd (sd_notify(3)); without `NOTIFY_SOCKET`, nobody.
fn notify(state: &str) {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let Some(path) = std::env::var_os("NOTIFY_SOCKET").map(PathBuf::from) else { return };
    let address = match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    if let (Ok(address), Ok(socket)) = (address, UnixDatagram::unbound()) {
        let _ = socket.send_to_addr(state.as_bytes(), &address);
    }
}
