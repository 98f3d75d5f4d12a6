//! Which engines keep state on this host.

/// Places of engines' state files that exist.
pub fn present() -> Vec<String> {
    super::state::present(&super::inventory::host_root())
}
