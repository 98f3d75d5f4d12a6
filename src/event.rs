//! Records of the ring buffer: bytes to typed structs, and the proof that both sides mean the same layout.
//!
//! In: bytes that a BPF program wrote, in host byte order. Out: a struct of Rust integers and the bytes that follow it. The C
//! struct in `bpf-src` is the truth: [`check_layout`] compares what is declared here by [`record!`](crate::record) with
//! the BTF of the object, before anything is loaded, and names the first field that differs.
//! C speaks kernel (`tgid`, `pid`); from here on the words are the user's (`pid`, `tid`).

use std::fmt;

use loader::{Error, Result};

/// A member of a C struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name; dotted for members of nested structs, as in `header.time_ns`.
    pub path: String,
    /// Bytes from the start of the struct.
    pub offset: usize,
    /// Its size in bytes.
    pub size: usize,
}

/// A type with a fixed number of bytes in a record.
pub trait Wire: Sized {
    /// Size in bytes, without padding.
    const SIZE: usize;
    /// Alignment in C, in bytes.
    const ALIGN: usize;
    /// Reads the value at the start of `bytes`; None when there are not enough.
    fn read(bytes: &[u8]) -> Option<Self>;
    /// Appends the members, for a nested struct; a plain value is one member.
    fn members(path: &str, offset: usize, into: &mut Vec<Member>) {
        into.push(Member { path: path.to_owned(), offset, size: Self::SIZE });
    }
}

macro_rules! wire_integer {
    ($($type:ty),*) => {$(
        impl Wire for $type {
            const SIZE: usize = size_of::<$type>();
            const ALIGN: usize = size_of::<$type>();
            fn read(bytes: &[u8]) -> Option<Self> {
                bytes.first_chunk().map(|bytes| <$type>::from_ne_bytes(*bytes))
            }
        }
    )*};
}
wire_integer!(u16, u32, u64, i32, i64);

impl<const N: usize> Wire for [u8; N] {
    const SIZE: usize = N;
    const ALIGN: usize = 1;
    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().copied()
    }
}

/// Declares a struct that mirrors a C struct member by member, in the same order. `name as "c_name"` where C has
/// another name. It implements [`Wire`]: offsets follow from the members, as in C.
#[macro_export]
macro_rules! record {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field:ident $(as $c_name:literal)? : $type:ty,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis struct $name { $($(#[$field_meta])* pub $field: $type,)* }

        impl $crate::event::Wire for $name {
            const SIZE: usize = {
                let mut end = 0;
                $(end = $crate::event::align(end, <$type as $crate::event::Wire>::ALIGN)
                    + <$type as $crate::event::Wire>::SIZE;)*
                $crate::event::align(end, <Self as $crate::event::Wire>::ALIGN)
            };
            const ALIGN: usize = {
                let mut most = 1;
                $(if <$type as $crate::event::Wire>::ALIGN > most {
                    most = <$type as $crate::event::Wire>::ALIGN;
                })*
                most
            };
            #[inline]
            fn read(bytes: &[u8]) -> Option<Self> {
                let bytes = bytes.get(..<Self as $crate::event::Wire>::SIZE)?;
                let mut end = 0;
                $(
                    let start = $crate::event::align(end, <$type as $crate::event::Wire>::ALIGN);
                    let $field = <$type as $crate::event::Wire>::read(bytes.get(start..)?)?;
                    end = start + <$type as $crate::event::Wire>::SIZE;
                )*
                let _ = end;
                Some(Self { $($field,)* })
            }
            fn members(path: &str, offset: usize, into: &mut Vec<$crate::event::Member>) {
                // As in BTF, a nested struct comes before its members.
                if !path.is_empty() {
                    let size = <Self as $crate::event::Wire>::SIZE;
                    into.push($crate::event::Member { path: path.to_owned(), offset, size });
                }
                let mut end = 0;
                $(
                    let start = $crate::event::align(end, <$type as $crate::event::Wire>::ALIGN);
                    let mut name = stringify!($field);
                    $(name = $c_name;)?
                    let dotted = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                    let _ = &mut name;
                    <$type as $crate::event::Wire>::members(&dotted, offset + start, into);
                    end = start + <$type as $crate::event::Wire>::SIZE;
                )*
                let _ = end;
            }
        }
    };
}

/// Rounds `offset` up to a multiple of `to`, a power of two.
pub const fn align(offset: usize, to: usize) -> usize {
    (offset + to - 1) & !(to - 1)
}

record! {
    /// What every record starts with: `struct event_header`.
    pub struct Header {
        /// When it happened: nanoseconds of `CLOCK_BOOTTIME`.
        time_ns: u64,
        /// Kernfs id of the cgroup in the v2 hierarchy.
        cgroup_id: u64,
        /// Never-reused id of the mount namespace; 0 when not known.
        mntns_seq: u64,
        /// Inode number of the mount namespace; 0 when not known.
        mntns: u32,
        /// Process, in the initial pid namespace.
        pid as "tgid": u32,
        /// Thread, in the initial pid namespace.
        tid as "pid": u32,
        /// Process id of the real parent.
        ppid: u32,
        /// Real user id in the initial user namespace.
        uid: u32,
        /// Real group id in the initial user namespace.
        gid: u32,
        /// The CPU it happened on.
        cpu: u32,
        /// Which event of the tool this is, from 1.
        kind: u32,
        /// The thread's name, NUL padded.
        comm: [u8; 16],
    }
}

/// A fixed-size C string without its padding.
pub fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Takes `len` bytes off the front of `rest`; an error that names `what` when the record is too short.
pub fn take<'r>(rest: &mut &'r [u8], len: u32, what: &str) -> Result<&'r [u8]> {
    let split = usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len));
    let (taken, left) = split.ok_or_else(|| {
        Error::invalid(format!("{what} of {len} bytes in a record that has {} more", rest.len()))
    })?;
    *rest = left;
    Ok(taken)
}

/// Compares the members of `R` with those of the C struct `name` (`size` bytes), both in the order of their offsets.
/// Neither may have one that the other lacks; a flexible array at the end of C's has no size and does not count.
pub fn check_layout<R: Wire>(
    name: &str,
    size: usize,
    theirs: impl IntoIterator<Item = Member>,
) -> Result<()> {
    let mut ours = Vec::new();
    R::members("", 0, &mut ours);
    let mut ours = ours.into_iter();
    let mut theirs = theirs.into_iter().filter(|member| member.size > 0);
    let differ = |what: String| Err(Error::incompatible(format!("`struct {name}` of the object: {what}")));
    loop {
        match (theirs.next(), ours.next()) {
            (None, None) => break,
            (Some(c), Some(rust)) if c == rust => {}
            (Some(c), Some(rust)) => return differ(format!("found {c}, this program reads {rust}")),
            (Some(c), None) => return differ(format!("found {c}, which this program does not read")),
            (None, Some(rust)) => return differ(format!("no {rust}")),
        }
    }
    if size != R::SIZE {
        return differ(format!("found {size} bytes, this program reads {}", R::SIZE));
    }
    Ok(())
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` at byte {} ({} bytes)", self.path, self.offset, self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    record! {
        struct Padded {
            a: u16,
            b as "bee": u64,
            c: [u8; 3],
        }
    }

    fn members<R: Wire>() -> Vec<(String, usize, usize)> {
        let mut members = Vec::new();
        R::members("", 0, &mut members);
        members.into_iter().map(|m| (m.path, m.offset, m.size)).collect()
    }

    #[test]
    fn offsets_follow_the_alignment_rules_of_c() {
        let expected = [("a", 0, 2), ("bee", 8, 8), ("c", 16, 3)].map(|(n, o, s)| (n.to_owned(), o, s));
        assert_eq!(members::<Padded>(), expected);
        assert_eq!((Padded::SIZE, Padded::ALIGN), (24, 8));
        assert_eq!(Header::SIZE, 72);
    }

    fn c_layout(edit: impl FnOnce(&mut Vec<Member>)) -> Result<()> {
        let mut theirs = Vec::new();
        Padded::members("", 0, &mut theirs);
        theirs.push(Member { path: "data".to_owned(), offset: 24, size: 0 });
        edit(&mut theirs);
        check_layout::<Padded>("padded", 24, theirs)
    }

    #[test]
    fn a_layout_that_differs_is_refused_by_the_name_of_the_member() {
        c_layout(|_| ()).unwrap();
        let moved = c_layout(|c| c[1].offset = 2).unwrap_err().to_string();
        let expected = "found `bee` at byte 2 (8 bytes), this program reads `bee` at byte 8 (8 bytes)";
        assert_eq!(moved, format!("`struct padded` of the object: {expected}"));
        assert!(c_layout(|c| c[0].path = "z".into()).unwrap_err().to_string().contains("found `z`"));
        assert!(c_layout(|c| drop(c.remove(2))).unwrap_err().to_string().contains("no `c`"));
        assert!(c_layout(|c| c[3].size = 1).unwrap_err().to_string().contains("`data`"));
        assert!(
            check_layout::<Padded>("padded", 32, {
                let mut m = Vec::new();
                Padded::members("", 0, &mut m);
                m
            })
            .is_err()
        );
    }

    #[test]
    fn a_record_is_read_in_host_byte_order_and_a_short_one_is_not_read() {
        let mut bytes = vec![0; 24];
        bytes[..2].copy_from_slice(&7u16.to_ne_bytes());
        bytes[8..16].copy_from_slice(&u64::MAX.to_ne_bytes());
        bytes[16..19].copy_from_slice(b"xyz");
        assert_eq!(Padded::read(&bytes), Some(Padded { a: 7, b: u64::MAX, c: *b"xyz" }));
        for len in 0..24 {
            assert_eq!(Padded::read(&bytes[..len]), None);
        }
    }

    #[test]
    fn a_length_that_exceeds_the_record_is_an_error_that_names_the_part() {
        let mut rest = &b"abcdef"[..];
        assert_eq!(take(&mut rest, 2, "filename").unwrap(), b"ab");
        let error = take(&mut rest, u32::MAX, "arguments").unwrap_err().to_string();
        assert_eq!(error, "arguments of 4294967295 bytes in a record that has 4 more");
        assert_eq!(rest, b"cdef");
    }

    #[test]
    fn a_comm_ends_at_its_first_nul() {
        assert_eq!(until_nul(b"sh\0garbage"), b"sh");
        assert_eq!(until_nul(b"exactly-sixteen!"), b"exactly-sixteen!");
    }
}
