//! Where a formatted event goes: a table row or a JSON line, and from a buffer to standard output.

pub mod json;
pub mod sink;
pub mod table;
