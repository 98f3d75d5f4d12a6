//! What the running kernel is: its types, its tracepoints, its limits.
//!
//! | file | question |
//! |---|---|
//! | [`btf`] | which types does this kernel have, and which BTF does it accept |
//! | [`tracefs`] | which id does a tracepoint have |
//! | [`modules`] | which types do its modules have |
//! | [`config`] | how was it built, and which version is it |
//! | [`kallsyms`] | where are its symbols |
//! | [`cpu`] | how many values has a per-CPU entry |
//! | [`probe`] | which features does it have, by trial |
//! | [`privilege`] | why was something refused |
//! | [`token`] | may a token stand for the privilege |

pub mod btf;
pub mod config;
pub mod cpu;
pub mod kallsyms;
pub mod modules;
pub mod privilege;
pub mod probe;
pub mod token;
pub mod tracefs;

use config::unpack;
