//! New and removed cgroups as a BPF program tells of them, `bpf-src/nsmap/tree.bpf.c`: where fanotify does not.
//!
//! In: nothing but the kernel. Out: [`Change`]s in order, all of them with ids.

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;

use loader::attach::{AttachOptions, Link, raw_tracepoint};
use loader::load::{LoadOptions, Object};
use loader::map::Map;
use loader::ringbuf::RingBuffer;
use loader::spec::ObjectSpec;
use loader::{Error, Result, ResultExt};

use super::tree::Change;

const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tree.bpf.o"));
/// Changes that are taken in at a time.
const BATCH: usize = 1024;
/// Bytes of `struct change`, and where its name is.
const SIZE: usize = 280;
const NAME: usize = 24;
/// `kind` in the C file.
const MADE: u32 = 1;
const REMOVED: u32 = 2;

/// Attached programs.
#[derive(Debug)]
pub(super) struct Traced {
    ring: RingBuffer,
    missed: Map,
    /// How many of the missed ones have been told.
    told: u64,
    _links: [Link; 2],
}

impl AsFd for Traced {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl Traced {
    /// # Errors
    /// `Permission`: CAP_BPF and CAP_PERFMON are needed. Those of the loader.
    pub(super) fn attach() -> Result<Self> {
        let spec = ObjectSpec::parse(OBJECT).context("read the built-in BPF object")?;
        let layout = spec.btf.as_ref().map(|btf| btf.struct_layout("change")).transpose()?;
        if layout.is_none_or(|layout| layout.size != SIZE as u64) {
            return Err(Error::invalid("the built-in BPF object has changes of another size"));
        }
        let mut object = Object::create(spec, LoadOptions::default())?;
        let ring = RingBuffer::new(object.map("changes")?)?;
        let missed = object.map("missed")?.try_clone()?;
        let mut attach = |program: &str, tracepoint: &str| {
            let program = object.load_program(program)?;
            raw_tracepoint::attach(&program, tracepoint, AttachOptions::default())
        };
        let links = [attach("tree_mkdir", "cgroup_mkdir")?, attach("tree_rmdir", "cgroup_rmdir")?];
        Ok(Self { ring, missed, told: 0, _links: links })
    }

    /// What has happened since the last call, or a part of it.
    pub(super) fn changes(&mut self) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        self.ring.consume(BATCH, |record| {
            changes.extend(parse(record));
            ControlFlow::Continue(())
        })?;
        let missed = self.missed.lookup(&0_u32.to_ne_bytes())?.and_then(|count| count.try_into().ok());
        let missed = missed.map_or(0, u64::from_ne_bytes);
        if missed > self.told {
            self.told = missed;
            changes.push(Change::Overflow);
        }
        Ok(changes)
    }
}

/// `struct change`.
fn parse(record: &[u8]) -> Option<Change> {
    let number = |at: usize| Some(u64::from_ne_bytes(record.get(at..at + 8)?.try_into().ok()?));
    let short = |at: usize| Some(u32::from_ne_bytes(record.get(at..at + 4)?.try_into().ok()?));
    let (id, parent, kind) = (Some(number(0)?), number(8)?, short(16)?);
    let length = usize::try_from(short(20)?).ok()?;
    let name = record.get(NAME..)?.get(..length).filter(|name| !name.is_empty())?;
    let name = OsString::from_vec(name.to_vec());
    match kind {
        MADE => Some(Change::Created { parent, name, id }),
        REMOVED => Some(Change::Removed { parent, name, id }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_the_kernel_side_writes_it() {
        let mut record = [44_u64.to_ne_bytes(), 25_u64.to_ne_bytes()].concat();
        record.extend(MADE.to_ne_bytes());
        record.extend(3_u32.to_ne_bytes());
        record.extend(b"web");
        record.resize(SIZE, 0);
        let created = Change::Created { parent: 25, name: "web".into(), id: Some(44) };
        assert_eq!(parse(&record), Some(created));
        record[16] = 3;
        assert_eq!(parse(&record), None, "of another kind");
        record[16..20].copy_from_slice(&REMOVED.to_ne_bytes());
        record[20..24].copy_from_slice(&256_u32.to_ne_bytes());
        assert!(parse(&record).is_some());
        record[20..24].copy_from_slice(&257_u32.to_ne_bytes());
        assert_eq!(parse(&record), None, "longer than it is");
        for length in 0..SIZE {
            assert_eq!(parse(&record[..length]), None, "{length}");
        }
    }
}
