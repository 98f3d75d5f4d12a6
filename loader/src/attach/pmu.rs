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
        let format = fs::read_to_string(format!("{place}/format/retprobe")).unwrap_or_default();
        Ok(Self { event_type, return_bit: return_bit(&format).unwrap_or(1) })
    }
}

/// `config:0` is bit 0 of `config`.
fn return_bit(format: &str) -> Option<u64> {
    let bit: u32 = format.trim().strip_prefix("config:")?.parse().ok()?;
    1_u64.checked_shl(bit)
}

#[cfg(test)]
mod tests {
    use super::return_bit;

    #[test]
    fn the_bit_for_returns_is_read_from_its_description() {
        assert_eq!(return_bit("config:0\n"), Some(1));
        assert_eq!(return_bit("config:5"), Some(32));
        assert_eq!(return_bit("config1:0"), None);
        assert_eq!(return_bit("config:64"), None);
    }
}
