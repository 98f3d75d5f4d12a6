//! The containers that words on the command line mean.
//!
//! In: `NAME`, `ID-PREFIX`, `ENGINE://ID`; `NAMESPACE/POD[/CONTAINER]`. Out: containers, or why there is none.

use loader::{Error, Result};

use super::inventory::{Inventory, Running};
use crate::text;

/// The only container that `word` means: a name before an id, a whole id before the beginning of one.
///
/// # Errors
/// `NotFound`; `Incompatible` when several fit.
pub fn container<'a>(inventory: &'a Inventory, word: &str) -> Result<&'a Running> {
    let (engine, name) = match word.split_once("://") {
        Some((engine, id)) => (Some(engine), id),
        None => (None, word),
    };
    // Everything begins with nothing.
    let nobody = || Error::not_found(format!("no container `{}` runs here", text::safe(word.as_ref())));
    if name.is_empty() {
        return Err(nobody());
    }
    let of_engine: Vec<&Running> = inventory
        .running
        .iter()
        .filter(|running| engine.is_none_or(|engine| running.engine.is_some_and(|own| own.name() == engine)))
        .filter(|running| !running.pod.is_sandbox)
        .collect();
    let named: Vec<&Running> = of_engine.iter().copied().filter(|running| running.is_named(name)).collect();
    let by_prefix = || of_engine.iter().copied().filter(|running| running.id.starts_with(name)).collect();
    let found: Vec<&Running> = if named.is_empty() { by_prefix() } else { named };
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(nobody()),
        several => {
            let labels: Vec<String> = several
                .iter()
                .take(5)
                .map(|running| format!("{} ({})", running.label(), running.short_id()))
                .collect();
            let found = several.len();
            let word = text::safe(word.as_ref());
            Err(Error::incompatible(format!("`{word}` means {found} containers: {}", labels.join(", "))))
        }
    }
}

/// The containers of a pod, without the one that only holds its namespaces.
///
/// # Errors
/// `NotFound`.
pub fn pod<'a>(inventory: &'a Inventory, word: &str) -> Result<Vec<&'a Running>> {
    let mut parts = word.splitn(3, '/');
    let (namespace, name, container) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Err(Error::not_found(format!("`{}` is not NAMESPACE/POD", text::safe(word.as_ref()))));
    };
    let fits = |running: &&Running| {
        let pod = &running.pod;
        pod.namespace == namespace
            && pod.name == name
            && container.map_or(!pod.is_sandbox, |container| pod.container == container)
    };
    let found: Vec<&Running> = inventory.running.iter().filter(fits).collect();
    match found.is_empty() {
        true => {
            Err(Error::not_found(format!("no container of pod `{}` runs here", text::safe(word.as_ref()))))
        }
        false => Ok(found),
    }
}
