//! The record of an open, and what can be said about it.
//!
//! In: a record as `bpf-src/include/open_record.h` lays it out, and the bytes behind it. Out: values for fields, and the
//! path from the root of the process.

use tracers::event::Header;
use tracers::field::Value;
use tracers::format::path::{PathText, push_components, push_name};
use tracers::record;

record! {
    /// The fixed part of a record: `struct open_event`. The name and the base follow it.
    pub(crate) struct OpenRecord {
        /// Who, when, where.
        header: Header,
        /// The descriptor, or a negative errno.
        ret: i32,
        /// See [`flag`].
        bits as "flags": u32,
        /// What the name is relative to.
        dirfd: i32,
        /// `O_*`.
        open_flags: u32,
        /// Mode of what is created.
        mode: u32,
        /// `RESOLVE_*`.
        resolve: u32,
        /// Bytes of the name.
        name_len: u32,
        /// Bytes of the base: components from the leaf to the root, each with its NUL.
        base_len: u32,
    }
}

/// Bits of `OpenRecord::bits`, as in `bpf-src/include/open_record.h`.
pub(crate) mod flag {
    pub(crate) const NAME_FAULT: u32 = 0x01;
    pub(crate) const NAME_CUT: u32 = 0x02;
    pub(crate) const HOW_FAULT: u32 = 0x04;
    pub(crate) const BASE_IS_FILE: u32 = 0x08;
    pub(crate) const BASE_CUT: u32 = 0x10;
    pub(crate) const IO_URING: u32 = 0x20;
    pub(crate) const FIXED_FILE: u32 = 0x40;
    pub(crate) const BASE_KNOWN: u32 = 0x80;
    /// Of these bits the value tells which system call it is.
    pub(crate) const SYSCALL: u32 = 0x700;
}

pub(crate) const KIND_OPEN: u32 = 1;

/// `struct open_how`'s `resolve`: the directory is taken for the root (linux/openat2.h).
const RESOLVE_IN_ROOT: u32 = 0x10;

/// Buffers that decoding reuses.
#[derive(Default)]
pub(crate) struct Scratch {
    path: Vec<u8>,
}

/// An open.
pub(crate) struct OpenEvent<'r> {
    pub(crate) record: OpenRecord,
    /// As given.
    name: &'r [u8],
    /// From the root of the process, as far as it is known; empty when it was not asked for or nothing is known.
    pub(crate) path: &'r [u8],
    /// `path` is that of the opened file.
    pub(crate) exact: bool,
    /// `path` lacks its beginning.
    pub(crate) front_cut: bool,
}

impl<'r> OpenEvent<'r> {
    /// `full`: whether paths were asked for, so that the record has what they are made of.
    pub(crate) fn new(
        record: OpenRecord,
        name: &'r [u8],
        base: &'r [u8],
        full: bool,
        scratch: &'r mut Scratch,
    ) -> Self {
        let mut event = Self { record, name, path: &[], exact: false, front_cut: false };
        if full {
            event.resolve(base, &mut scratch.path);
            event.path = &scratch.path;
        }
        event
    }

    fn resolve(&mut self, base: &[u8], path: &mut Vec<u8>) {
        path.clear();
        let cut = self.has(flag::BASE_CUT);
        // A file without a place in the tree, such as a pipe, may have no name at all.
        if self.has(flag::BASE_IS_FILE) && base.iter().any(|&byte| byte != 0) {
            self.exact = true;
            self.front_cut = cut;
            push_components(path, base, cut);
            return;
        }
        if self.has(flag::BASE_IS_FILE) && base.is_empty() {
            // The walk began where it ends: the root.
            self.exact = true;
            path.push(b'/');
            return;
        }
        if self.has(flag::NAME_FAULT) || self.name.is_empty() {
            return;
        }
        let in_root = self.record.resolve & RESOLVE_IN_ROOT != 0;
        if in_root || !self.name.starts_with(b"/") {
            push_components(path, base, cut);
            // The root is a base too, and without components.
            self.front_cut = cut || !self.has(flag::BASE_KNOWN);
        }
        let floor = if in_root { path.len() } else { 0 };
        push_name(path, floor, self.name);
        if self.front_cut {
            let relative = path.iter().position(|&byte| byte != b'/').unwrap_or(0);
            path.drain(..relative);
        }
        if path.is_empty() {
            path.push(b'/');
        }
    }

    pub(crate) fn has(&self, flag: u32) -> bool {
        self.record.bits & flag != 0
    }

    pub(crate) fn bit(&self, flag: u32) -> Value<'_> {
        Value::Bool(self.has(flag))
    }

    /// The system call, where the hook knows it.
    pub(crate) fn syscall(&self) -> Value<'_> {
        match self.record.bits & flag::SYSCALL {
            0x100 => Value::Word("open"),
            0x200 => Value::Word("openat"),
            0x300 => Value::Word("openat2"),
            0x400 => Value::Word("creat"),
            _ => Value::Unknown,
        }
    }

    pub(crate) fn fd(&self) -> Value<'_> {
        Value::Signed(self.record.ret.max(-1).into())
    }

    pub(crate) fn errno(&self) -> Value<'_> {
        Value::Unsigned(self.record.ret.min(0).unsigned_abs().into())
    }

    pub(crate) fn flags(&self) -> Value<'_> {
        Value::Octal((!self.has(flag::HOW_FAULT)).then_some(self.record.open_flags), 8)
    }

    pub(crate) fn mode(&self) -> Value<'_> {
        let creates = self.record.open_flags & (libc::O_CREAT | O_TMPFILE_BIT).cast_unsigned() != 0;
        Value::Octal(creates.then_some(self.record.mode), 4)
    }

    /// The name as given.
    pub(crate) fn given(&self) -> PathText<'_> {
        PathText {
            text: self.name,
            fault: self.has(flag::NAME_FAULT),
            end_cut: self.has(flag::NAME_CUT),
            ..PathText::default()
        }
    }

    /// What the column PATH has: the path if it was asked for and is known, else the name.
    pub(crate) fn shown(&self) -> PathText<'_> {
        let remark = if self.has(flag::IO_URING) { " [io_uring]" } else { "" };
        if self.path.is_empty() {
            return PathText { remark, stand_in: true, ..self.given() };
        }
        let end_cut = !self.exact && self.has(flag::NAME_CUT);
        PathText { text: self.path, front_cut: self.front_cut, end_cut, remark, ..PathText::default() }
    }
}

/// `O_TMPFILE` without the `O_DIRECTORY` that it contains.
const O_TMPFILE_BIT: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;
