//! Event times: from the kernel's boot clock to the three forms that users read.
//!
//! In: nanoseconds of `CLOCK_BOOTTIME`, as a record carries them, so every form shows when the event happened and not
//! when it was printed. Out: RFC 3339 in UTC with nanoseconds, local `HH:MM:SS`, seconds since the tracer started.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use nix::time::{ClockId, clock_gettime};

use super::number::{push_padded, push_u64};

const NANOS: i64 = 1_000_000_000;
/// A new reading of the two clocks that differs by less is jitter of the reading; to follow it would let times
/// of neighbouring events change places.
const JITTER_NANOS: i64 = 50_000;

/// Knows the distance from the boot clock to wall time, and formats. The date and the local time of a second are
/// computed once per second.
pub struct Clock {
    /// Wall time at boot-clock zero, in nanoseconds since 1970.
    offset: i64,
    /// Boot-clock nanoseconds at the start of the tracer.
    start: u64,
    zone: Option<TimeZone>,
    utc: Cached,
    local: Cached,
}

/// The text of one second.
#[derive(Default)]
struct Cached {
    second: Option<i64>,
    text: Vec<u8>,
}

impl Clock {
    /// A clock that starts now. With `local`, reads the time zone of the system.
    pub fn start(local: bool) -> Self {
        let zone = local.then(TimeZone::system);
        Self::fixed(boot_now(), read_offset(), zone)
    }

    /// A clock with a known start (boot clock) and distance to wall time, both in nanoseconds.
    pub fn fixed(start: u64, offset: i64, zone: Option<TimeZone>) -> Self {
        Self { offset, start, zone, utc: Cached::default(), local: Cached::default() }
    }

    /// Follows a step of the wall clock (a suspend does not need it: the boot clock counts on). Call now and then.
    pub fn adjust(&mut self) {
        let offset = read_offset();
        if offset.abs_diff(self.offset) > JITTER_NANOS.unsigned_abs() {
            self.offset = offset;
        }
    }

    /// Appends the event time as `2026-01-31T12:34:56.123456789Z`.
    pub fn push_rfc3339(&mut self, out: &mut Vec<u8>, boot_ns: u64) {
        let (second, nanos) = self.wall(boot_ns);
        self.utc.push(out, second, |text| {
            if let Ok(at) = Timestamp::from_second(second) {
                let at = TimeZone::UTC.to_datetime(at);
                push_date(text, at.date());
                text.push(b'T');
                push_time(text, at.time());
            }
        });
        out.push(b'.');
        push_padded(out, nanos, 9);
        out.push(b'Z');
    }

    /// Appends the event time as `HH:MM:SS` in the system's time zone.
    pub fn push_local(&mut self, out: &mut Vec<u8>, boot_ns: u64) {
        let (second, _) = self.wall(boot_ns);
        let zone = self.zone.as_ref().unwrap_or(const { &TimeZone::UTC });
        self.local.push(out, second, |text| {
            if let Ok(at) = Timestamp::from_second(second) {
                push_time(text, zone.to_datetime(at).time());
            }
        });
    }

    /// Appends the seconds from the start of the tracer to the event, with so many decimals (nine at most), rounded down.
    /// An event that was under way at the start counts as zero.
    pub fn push_since_start(&self, out: &mut Vec<u8>, boot_ns: u64, decimals: usize) {
        let nanos = boot_ns.saturating_sub(self.start);
        push_u64(out, nanos / 1_000_000_000);
        out.push(b'.');
        let from = out.len();
        push_padded(out, nanos % 1_000_000_000, 9);
        out.truncate(from + decimals.min(9));
    }

    /// Wall time in seconds since 1970, and nanoseconds within that second.
    fn wall(&self, boot_ns: u64) -> (i64, u64) {
        let wall = i64::try_from(boot_ns).unwrap_or(i64::MAX).saturating_add(self.offset);
        (wall.div_euclid(NANOS), wall.rem_euclid(NANOS).unsigned_abs())
    }
}

impl Cached {
    fn push(&mut self, out: &mut Vec<u8>, second: i64, render: impl FnOnce(&mut Vec<u8>)) {
        if self.second != Some(second) {
            self.text.clear();
            render(&mut self.text);
            self.second = Some(second);
        }
        out.extend_from_slice(&self.text);
    }
}

/// `2026-01-31`
fn push_date(out: &mut Vec<u8>, date: Date) {
    push_padded(out, date.year().unsigned_abs().into(), 4);
    for part in [date.month(), date.day()] {
        out.push(b'-');
        push_padded(out, part.unsigned_abs().into(), 2);
    }
}

/// `12:34:56`
fn push_time(out: &mut Vec<u8>, time: Time) {
    for (part, separator) in [(time.hour(), ""), (time.minute(), ":"), (time.second(), ":")] {
        out.extend_from_slice(separator.as_bytes());
        push_padded(out, part.unsigned_abs().into(), 2);
    }
}

/// The boot clock now, in nanoseconds.
pub fn boot_now() -> u64 {
    read(ClockId::CLOCK_BOOTTIME).unsigned_abs()
}

fn read(clock: ClockId) -> i64 {
    // Neither clock can fail on the kernels that can run a tracer.
    clock_gettime(clock).map_or(0, |time| time.tv_sec().saturating_mul(NANOS).saturating_add(time.tv_nsec()))
}

/// Wall time at boot-clock zero; the wall clock is read between two readings of the boot clock.
fn read_offset() -> i64 {
    let before = read(ClockId::CLOCK_BOOTTIME);
    let wall = read(ClockId::CLOCK_REALTIME);
    let after = read(ClockId::CLOCK_BOOTTIME);
    wall - before.midpoint(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_event_time_is_rfc_3339_with_all_nine_digits() {
        let mut clock = Clock::fixed(0, 1_700_000_000 * NANOS, None);
        assert_eq!(text(|out| clock.push_rfc3339(out, 1_000_000_007)), "2023-11-14T22:13:21.000000007Z");
        assert_eq!(text(|out| clock.push_rfc3339(out, 1_999_999_999)), "2023-11-14T22:13:21.999999999Z");
        assert_eq!(text(|out| clock.push_rfc3339(out, 2_000_000_000)), "2023-11-14T22:13:22.000000000Z");
    }

    #[test]
    fn local_time_follows_the_zone_and_the_second() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let mut clock = Clock::fixed(0, 1_700_000_000 * NANOS, Some(zone));
        assert_eq!(text(|out| clock.push_local(out, 0)), "00:13:20");
        assert_eq!(text(|out| clock.push_local(out, 61 * 1_000_000_000)), "00:14:21");
    }

    #[test]
    fn seconds_since_the_start_have_the_decimals_asked_for_and_never_underflow() {
        let clock = Clock::fixed(5_000_000_000, 0, None);
        assert_eq!(text(|out| clock.push_since_start(out, 17_045_999_999, 3)), "12.045");
        assert_eq!(text(|out| clock.push_since_start(out, 17_045_999_999, 9)), "12.045999999");
        assert_eq!(text(|out| clock.push_since_start(out, 1, 3)), "0.000");
    }

    #[test]
    fn the_running_clock_agrees_with_the_wall_clock() {
        let clock = Clock::start(false);
        let wall = clock_gettime(ClockId::CLOCK_REALTIME).unwrap().tv_sec();
        assert!((clock.wall(boot_now()).0 - wall).abs() <= 1);
    }
}
