//! The kernel's dynamic probes as perf event types.
//!
//! In: `/sys/bus/event_source/devices/{kprobe,uprobe}` (4.17). Out: the numbers that `perf_event_open(2)` wants.

use std::fs;

use crate::error::{Error, Result};

/// The numbers of one kind of probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pmu {
    pub(super) event_type: u32,
    /// The bit of `config` that asks for the return of the function.
    pub(super) return_bit: u64,
    /// The lowest bit of `config` for the offset of a counter of listeners; none before 4.20.
    counter_bit: Option<u32>,
}

impl Pmu {
    /// `name` is `kprobe` or `uprobe`.
    pub(super) fn read(name: &'static str) -> Result<Self> {
        let place = format!("/sys/bus/event_source/devices/{name}");
        let Ok(text) = fs::read_to_string(format!("{place}/type")) else {
            let feature =
                if name == "kprobe" { "kprobes (CONFIG_KPROBES)" } else { "uprobes (CONFIG_UPROBES)" };
            return Err(Error::not_supported(feature, ""));
        };
        let event_type = text.trim().parse();
        let event_type =
            event_type.map_err(|_| Error::invalid(format!("{place}/type holds `{}`", text.trim())))?;
        let format = |field: &str| {
            let text = fs::read_to_string(format!("{place}/format/{field}")).ok()?;
            lowest_bit(&text)
        };
        let return_bit = 1 << format("retprobe").unwrap_or(0);
        Ok(Self { event_type, return_bit, counter_bit: format("ref_ctr_offset") })
    }

    /// What `config` has for a counter at that many bytes from the start of the file; 0 is no counter.
    pub(super) fn counter(self, offset: u64) -> Result<u64> {
        if offset == 0 {
            return Ok(0);
        }
        let bit = self.counter_bit.ok_or_else(|| Error::not_supported("probe with a semaphore", "4.20"))?;
        let shifted = offset << bit;
        match shifted >> bit == offset {
            true => Ok(shifted),
            false => Err(Error::invalid(format!("the semaphore at byte {offset:#x} is too far in the file"))),
        }
    }
}

/// The first bit of a field of `config`: 32 of `config:32-63`.
fn lowest_bit(format: &str) -> Option<u32> {
    let bits = format.trim().strip_prefix("config:")?;
    let lowest = bits.split('-').next().unwrap_or_default().parse().ok()?;
    (lowest < u64::BITS).then_some(lowest)
}

#[cfg(test)]
mod tests {
    use super::{Pmu, lowest_bit};

    #[test]
    fn the_bits_of_a_field_are_read_from_its_description() {
        assert_eq!(lowest_bit("config:0\n"), Some(0));
        assert_eq!(lowest_bit("config:32-63"), Some(32));
        assert_eq!(lowest_bit("config1:0"), None);
        assert_eq!(lowest_bit("config:64"), None);
    }

    #[test]
    fn a_counter_goes_where_the_kernel_says_or_is_refused() {
        let pmu = |counter_bit| Pmu { event_type: 7, return_bit: 1, counter_bit };
        assert_eq!(pmu(Some(32)).counter(0x1234).unwrap(), 0x1234 << 32);
        assert_eq!(pmu(None).counter(0).unwrap(), 0);
        assert!(pmu(None).counter(8).unwrap_err().to_string().contains("4.20"));
        assert!(pmu(Some(32)).counter(1 << 32).is_err());
    }
}
