//! Declared maps become kernel maps.
//!
//! In: [`MapSpec`]s. Out: [`Map`]s by name, with the contents of data sections stored and read-only ones frozen,
//! which lets the verifier take their values for constants and drop the branches they rule out.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use super::btf::ObjectTypes;
use super::{KernelTypes, pin, struct_ops};
use crate::error::{Error, Result, ResultExt};
use crate::insn::InsnOffset;
use crate::kernel::btf::BtfObject;
use crate::kernel::privilege::{Need, explain};
use crate::kernel::{cpu, probe};
use crate::map::{KernelValue, Map, MapBtf, MapConfig, UpdateMode};
use crate::spec::map::{MapSpec, map_flag, map_type};
use crate::spec::{InitialTarget, ObjectSpec, Pinning};

/// What became of the maps of an object.
pub(super) struct Created {
    /// By name, those that were given included.
    pub(super) maps: BTreeMap<String, Map>,
    /// Those that could not be created or filled, and why.
    pub(super) failed: BTreeMap<String, Error>,
}

/// What maps are created with.
pub(super) struct With<'a> {
    /// The object's types.
    pub(super) types: &'a ObjectTypes,
    /// Where maps are that are pinned by name.
    pub(super) root: &'a Path,
    /// What stands for the privilege.
    pub(super) token: Option<BorrowedFd<'a>>,
}

/// Creates every map of `spec` that is to be created and is not in `given`.
pub(super) fn create_all(
    spec: &ObjectSpec,
    given: BTreeMap<String, Map>,
    with: &With<'_>,
    types: &mut KernelTypes,
) -> Created {
    let mut created = Created { maps: given, failed: BTreeMap::new() };
    for (name, map) in created.maps.iter().filter(|(_, map)| map.info().map_type == map_type::ARENA) {
        if let Err(error) = map.memory() {
            created.failed.insert(name.clone(), error);
        }
    }
    for declared in &spec.maps {
        if declared.autocreate && !created.maps.contains_key(&declared.name) {
            let map = match declared.struct_ops {
                Some(_) => create_struct_ops(spec, declared, with, types),
                None => create_or_reuse(declared, with),
            };
            match map.with_context(|| format!("create map `{}`", declared.name)) {
                Ok(map) => _ = created.maps.insert(declared.name.clone(), map),
                Err(error) => _ = created.failed.insert(declared.name.clone(), error),
            }
        }
    }
    for declared in &spec.maps {
        let Some(outer) = created.maps.get(&declared.name) else { continue };
        let filled = fill(spec, declared, outer, &created.maps);
        if let Err(error) = filled.with_context(|| format!("fill map `{}`", declared.name)) {
            created.failed.insert(declared.name.clone(), error);
        }
    }
    created
}

fn create_or_reuse(declared: &MapSpec, with: &With<'_>) -> Result<Map> {
    match declared.pinning {
        // `config_of` refuses what has no meaning.
        Pinning::None | Pinning::Unknown(_) => create(declared, with),
        Pinning::ByName => {
            let path = super::pin_path(with.root, declared);
            pin::open_or_create(&path, &config_of(declared, None)?, || create(declared, with))
        }
    }
}

/// Its value is the kernel's, and is stored when all programs of it are loaded.
fn create_struct_ops(
    spec: &ObjectSpec,
    declared: &MapSpec,
    with: &With<'_>,
    types: &mut KernelTypes,
) -> Result<Map> {
    let fitted = struct_ops::fit(spec, declared, types)?;
    if let Some(refused) = &with.types.refused {
        return Err(Error::new(refused.kind(), format!("it needs the object's types ({refused})")));
    }
    let value_size = u32::try_from(fitted.bytes.len()).unwrap_or(u32::MAX);
    let mut config = MapConfig { value_size, token: with.token, ..config_of(declared, None)? };
    // The kernel wants the object's types here, too, and looks for none in them.
    config.btf =
        with.types.object.as_ref().map(|btf| MapBtf { fd: btf.as_fd(), key_type_id: 0, value_type_id: 0 });
    let module = types.module_object(fitted.value)?;
    config.kernel_value = Some(KernelValue { type_id: fitted.value.id.0, module });
    Map::create(&config).map_err(|error| explain(error, Need::Tracing))
}

/// Stores the maps that a map of maps is declared with. Programs follow as they are loaded.
fn fill(spec: &ObjectSpec, declared: &MapSpec, outer: &Map, maps: &BTreeMap<String, Map>) -> Result<()> {
    for value in &declared.initial_values {
        let InitialTarget::Map { index } = value.target else { continue };
        let name = spec.maps.get(index).map(|inner| &inner.name);
        let inner = name.and_then(|name| maps.get(name));
        let inner = inner
            .ok_or_else(|| Error::invalid(format!("slot {} holds a map that was not created", value.slot)))?;
        super::store_fd(outer, value.slot, inner.as_fd()).with_context(|| format!("slot {}", value.slot))?;
    }
    Ok(())
}

fn create(declared: &MapSpec, with: &With<'_>) -> Result<Map> {
    if !declared.extra.is_empty() {
        let len = declared.extra.len();
        return Err(Error::incompatible(format!("its definition has {len} bytes more, of unknown meaning")));
    }
    // The template says what the maps inside look like; it is not needed any more once the outer map exists.
    let template = declared.inner.as_deref().map(|inner| create(inner, with)).transpose();
    let template = template.context("create the template of the maps inside")?;
    if holds_copies(declared) && !probe::per_cpu_variables(with.token).unwrap_or(true) {
        return Err(Error::not_supported("variables per CPU", "7.3"));
    }
    let mut config = MapConfig { token: with.token, ..config_of(declared, with.types.object.as_ref())? };
    config.inner = template.as_ref().map(Map::as_fd);
    let map = match Map::create(&config) {
        // Some types take no key and value types, and which do has changed over the years.
        Err(error) if config.btf.is_some() => {
            config.btf = None;
            Map::create(&config).map_err(|_| error)
        }
        other => other,
    };
    // What is missing for the programs is named now, not in a second attempt.
    let map = map.map_err(|error| explain(error, Need::Tracing))?;
    match &declared.contents {
        _ if declared.map_type == map_type::ARENA => fill_arena(declared, &map, with)?,
        Some(contents) if holds_copies(declared) => {
            let copies = vec![contents.as_slice(); cpu::possible()?];
            let stored = map.update_per_cpu(&0_u32.to_ne_bytes(), &copies, UpdateMode::Any);
            stored.context("store its contents")?;
        }
        Some(contents) => {
            map.update(&0_u32.to_ne_bytes(), contents, UpdateMode::Any).context("store its contents")?;
        }
        None => {}
    }
    if declared.freeze {
        map.freeze().context("freeze it")?;
    }
    Ok(map)
}

/// Whether a map holds variables of which each CPU has its own. Unless the kernel lets programs refer to those, which only a
/// program could find out, there is nothing to be had from the map.
fn holds_copies(declared: &MapSpec) -> bool {
    declared.map_type == map_type::PERCPU_ARRAY && declared.contents.is_some()
}

/// Stores the variables of an arena. The kernel learns from the mapping at which address the arena is for us, without which it
/// loads no program that uses it.
fn fill_arena(declared: &MapSpec, map: &Map, with: &With<'_>) -> Result<()> {
    let memory = map.memory()?;
    let Some(contents) = &declared.contents else { return Ok(()) };
    let start = arena_variables(declared, with.token);
    match memory.write(start, contents) {
        true => Ok(()),
        false => {
            let (size, len) = (memory.len(), contents.len());
            Err(Error::invalid(format!("its variables have {len} bytes, the arena has {size}")))
        }
    }
}

/// Where the variables of an arena begin, in bytes from its start: in the last pages where the kernel lets programs refer to
/// these, so that what is allocated begins at the start (as libbpf has it since 1.8); else in the first.
pub(super) fn arena_variables(declared: &MapSpec, token: probe::Token<'_>) -> usize {
    let len = declared.contents.as_ref().map_or(0, Vec::len);
    if len == 0 || !probe::far_offsets(token).unwrap_or(false) {
        return 0;
    }
    let page = cpu::page_size() as usize;
    let whole = (declared.max_entries as usize).saturating_mul(page);
    whole.saturating_sub(len.checked_next_multiple_of(page).unwrap_or(0))
}

/// The table of a `switch`, whose entries are instructions of the program that is to be loaded.
pub(super) fn jump_table(targets: &[InsnOffset], token: Option<BorrowedFd<'_>>) -> Result<Map> {
    /// Bytes of a `struct bpf_insn_array_value`: where the instruction is in the program, as it was given, rewritten, and
    /// translated, each in 32 bits; the kernel fills in the latter two.
    const VALUE: u32 = 16;
    let max_entries = u32::try_from(targets.len()).unwrap_or(u32::MAX);
    let shape = MapConfig { key_size: 4, value_size: VALUE, max_entries, ..MapConfig::default() };
    let config = MapConfig { name: ".jumptables".to_owned(), map_type: map_type::INSN_ARRAY, token, ..shape };
    let map = Map::create(&config)?;
    for (slot, target) in (0_u32..).zip(targets) {
        let mut value = [0; VALUE as usize];
        let target = u32::try_from(target.0).unwrap_or(u32::MAX).to_ne_bytes();
        value.iter_mut().zip(target).for_each(|(slot, byte)| *slot = byte);
        map.update(&slot.to_ne_bytes(), &value, UpdateMode::Any)?;
    }
    map.freeze()?;
    Ok(map)
}

/// The numbers that the kernel is asked for, as they are on this machine; with `btf`, the types of key and value.
///
/// # Errors
/// Those of reading the number of CPUs; `Incompatible` for a pinning of no known meaning.
pub fn config_of<'a>(declared: &MapSpec, btf: Option<&'a BtfObject>) -> Result<MapConfig<'a>> {
    if let Pinning::Unknown(other) = declared.pinning {
        return Err(Error::incompatible(format!("pinning {other} is not 0 (no) or 1 (by name)")));
    }
    let types = (declared.key_type_id.0, declared.value_type_id.0);
    Ok(MapConfig {
        name: declared.name.clone(),
        map_type: declared.map_type,
        key_size: declared.key_size,
        value_size: declared.value_size,
        max_entries: max_entries(declared)?,
        map_flags: declared.flags | declared.numa_node.map_or(0, |_| map_flag::NUMA_NODE),
        map_extra: declared.map_extra,
        numa_node: declared.numa_node.unwrap_or(0),
        btf: btf.filter(|_| types != (0, 0) && takes_btf(declared.map_type)).map(|btf| MapBtf {
            fd: btf.as_fd(),
            key_type_id: types.0,
            value_type_id: types.1,
        }),
        ..MapConfig::default()
    })
}

/// What depends on the machine: ring buffers are whole pages, a power of two of them; perf event arrays
/// have an entry per CPU unless the object says otherwise.
fn max_entries(declared: &MapSpec) -> Result<u32> {
    match declared.map_type {
        map_type::RINGBUF | map_type::USER_RINGBUF => {
            Ok(declared.max_entries.max(cpu::page_size()).checked_next_power_of_two().unwrap_or(1 << 31))
        }
        map_type::PERF_EVENT_ARRAY if declared.max_entries == 0 => {
            Ok(u32::try_from(cpu::possible()?).unwrap_or(u32::MAX))
        }
        _ => Ok(declared.max_entries),
    }
}

/// Types that refuse key and value types altogether.
fn takes_btf(map_type: u32) -> bool {
    !matches!(
        map_type,
        map_type::PERF_EVENT_ARRAY
            | map_type::CGROUP_ARRAY
            | map_type::STACK_TRACE
            | map_type::ARRAY_OF_MAPS
            | map_type::HASH_OF_MAPS
            | map_type::DEVMAP
            | map_type::DEVMAP_HASH
            | map_type::CPUMAP
            | map_type::XSKMAP
            | map_type::SOCKMAP
            | map_type::SOCKHASH
            | map_type::QUEUE
            | map_type::STACK
            | map_type::RINGBUF
            | map_type::USER_RINGBUF
            | map_type::ARENA
    )
}
