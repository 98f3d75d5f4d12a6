//! Cgroups of which something is not known yet, and when they are looked at again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How soon a cgroup is looked at again; then twice as long each time, up to [`SLOWEST`].
const FIRST_LOOK: Duration = Duration::from_millis(2);
const SLOWEST: Duration = Duration::from_secs(1);
/// The same for one whose name is waited for.
const SLOWEST_NAME: Duration = Duration::from_millis(50);

/// A cgroup that is looked at again.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) id: u64,
    pub(super) directory: PathBuf,
    /// Whether it matches is not known; else only its namespace is not.
    pub(super) unnamed: bool,
    pub(super) since: Instant,
    pub(super) next: Instant,
    wait: Duration,
}

impl Pending {
    pub(super) fn new(id: u64, directory: PathBuf, unnamed: bool, now: Instant) -> Self {
        Self { id, directory, unnamed, since: now, next: now + FIRST_LOOK, wait: FIRST_LOOK }
    }

    /// To be looked at once more.
    pub(super) fn later(self, now: Instant) -> Self {
        let wait = (self.wait * 2).min(if self.unnamed { SLOWEST_NAME } else { SLOWEST });
        Self { next: now + wait, wait, ..self }
    }

    /// Whether it was looked at often enough for whatever happens at the start of a container.
    pub(super) fn is_slow(&self) -> bool {
        self.wait >= SLOWEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_become_seldom_and_those_for_a_namespace_end() {
        let start = Instant::now();
        let (mut pending, mut looks) = (Pending::new(7, PathBuf::new(), false, start), 1);
        while !pending.is_slow() {
            let now = pending.next;
            pending = pending.later(now);
            looks += 1;
        }
        assert_eq!((looks, pending.next - start), (10, Duration::from_millis(2022)));
        let mut unnamed = Pending::new(7, PathBuf::new(), true, start);
        for _ in 0..20 {
            let now = unnamed.next;
            unnamed = unnamed.later(now);
        }
        assert!(!unnamed.is_slow() && unnamed.wait == SLOWEST_NAME);
    }
}
