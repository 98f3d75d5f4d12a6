//! Values of per-CPU maps: one for each possible CPU.
//!
//! In: a per-CPU [`Map`]. Out: its values by CPU. The kernel hands them over in one buffer, each rounded up to 8 bytes, in
//! the order of CPU numbers, those that are offline included.

use super::{Map, UpdateMode};
use crate::error::{Error, Result};
use crate::kernel::cpu;
use crate::spec::map::map_type;

/// Of which types the kernel copies one value for each possible CPU (`bpf_map_value_size`).
pub(super) fn has_a_value_per_cpu(map_type: u32) -> bool {
    matches!(
        map_type,
        map_type::PERCPU_HASH
            | map_type::PERCPU_ARRAY
            | map_type::LRU_PERCPU_HASH
            | map_type::PERCPU_CGROUP_STORAGE
    )
}

impl Map {
    /// Whether an entry has a value for each CPU.
    pub fn is_per_cpu(&self) -> bool {
        has_a_value_per_cpu(self.info().map_type)
    }

    /// The values of `key` by CPU number; `None` when it is not there.
    ///
    /// # Errors
    /// `Incompatible` when the map is not per CPU.
    pub fn lookup_per_cpu(&self, key: &[u8]) -> Result<Option<Vec<Vec<u8>>>> {
        let (size, slot) = self.per_cpu_sizes()?;
        let Some(values) = self.lookup(key)? else { return Ok(None) };
        let value = |slot: &[u8]| slot.get(..size).unwrap_or_default().to_vec();
        Ok(Some(values.chunks_exact(slot).map(value).collect()))
    }

    /// Stores one value for each possible CPU, by CPU number.
    ///
    /// # Errors
    /// `Incompatible` when the map is not per CPU, or for another number of values, or of another size.
    pub fn update_per_cpu(&self, key: &[u8], values: &[&[u8]], mode: UpdateMode) -> Result<()> {
        let (size, slot) = self.per_cpu_sizes()?;
        let cpus = cpu::possible()?;
        if values.len() != cpus {
            return Err(Error::incompatible(format!(
                "{} values, this machine has {cpus} possible CPUs",
                values.len()
            )));
        }
        let mut buffer = Vec::with_capacity(slot.saturating_mul(cpus));
        for value in values {
            if value.len() != size {
                return Err(Error::incompatible(format!(
                    "a value of {} bytes, the map has {size}",
                    value.len()
                )));
            }
            buffer.extend_from_slice(value);
            buffer.resize(buffer.len().next_multiple_of(slot), 0);
        }
        self.update(key, &buffer, mode)
    }

    /// The sum over all possible CPUs of the u64 at array index `index` of a per-CPU array of u64 values; the
    /// form in which our programs count lost events.
    ///
    /// # Errors
    /// As for [`Map::lookup`].
    pub fn sum_percpu_u64(&self, index: u32) -> Result<u64> {
        let value = self.lookup(&index.to_ne_bytes())?.unwrap_or_default();
        let counts = value.chunks_exact(8).filter_map(|bytes| bytes.try_into().ok());
        Ok(counts.map(u64::from_ne_bytes).fold(0, u64::wrapping_add))
    }

    /// Bytes of one value, and of its place in the buffer.
    fn per_cpu_sizes(&self) -> Result<(usize, usize)> {
        let info = self.info();
        if !self.is_per_cpu() {
            return Err(Error::incompatible(format!("map `{}` has one value for all CPUs", info.name)));
        }
        let size = info.value_size as usize;
        Ok((size, size.next_multiple_of(8).max(8)))
    }
}
