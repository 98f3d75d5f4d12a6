//! A BPF loader in Rust: clang-built ELF objects in, running programs out, on raw `bpf(2)`.
//!
//! No libbpf, no libelf, nothing of C; and no output: values and [`Error`]s are returned, never printed.
//! The semantics are libbpf's, because clang and the kernel's documents assume them; the shape is a pipeline
//! whose every state is a type, so that no step can be left out or done twice:
//!
//! ```text
//! ELF bytes --parse--> ObjectSpec --link--> LinkedProgram --relocate--> RelocatedProgram      pure: no fd
//!                          |                                                  |
//!                          '--create--> Object (maps, BTF) --load_program--> Program          kernel: owns fds
//!                                         |                                   |
//!                                    Map, RingBuffer                   attach --> Link
//! ```
//!
//! Everything left of the kernel is deterministic: the same bytes give the same spec on any machine, in
//! either byte order. What has no fd is called a Spec; what has one closes it on drop.
//!
//! # Example
//!
//! Reads what a tracer's object sends, from a tracepoint that needs BTF:
//!
//! ```no_run
//! use loader::load::{LoadOptions, Object};
//! use loader::spec::ObjectSpec;
//! use loader::{Result, RingBuffer, attach};
//!
//! fn main() -> Result<()> {
//!     let bytes = std::fs::read("execsnoop.bpf.o").map_err(|error| loader::Error::io("read", error))?;
//!     let mut spec = ObjectSpec::parse(&bytes)?;
//!     spec.set_global("filter_tgid", 42_u32)?;
//!     let mut object = Object::create(spec, LoadOptions::default())?;
//!     let program = object.load_program("exec")?;
//!     let _link = attach::attach(&program)?;
//!     let mut ring = RingBuffer::new(object.map("events")?)?;
//!     while let Some(record) = ring.next()? {
//!         println!("{} bytes", record.len());
//!     }
//!     Ok(())
//! }
//! ```

// The pure half: no fd, no /sys, no clock. The same bytes in give the same spec out, on any machine.
pub mod btf;
pub mod bytes;
pub mod core_reloc;
mod elf;
mod error;
pub mod insn;
pub mod linker;
mod order;
pub mod section;
pub mod spec;

// The kernel half.
pub mod attach;
pub mod hooks;
pub mod kernel;
pub mod load;
pub mod map;
mod pinned;
pub mod plan;
pub mod program;
pub mod ringbuf;
pub mod sys;
mod verifier_log;

pub use attach::Link;
pub use bytes::Endian;
pub use error::{ENOTSUPP, Error, ErrorKind, Result, ResultExt, errno_text};
pub use map::{Access, Map, MapConfig, MapInfo, UpdateMode};
pub use program::Program;
pub use ringbuf::{Record, RingBuffer};
