//! Reading integers of either byte order from bytes that nobody vouches for.
//!
//! In: a byte slice and its [`Endian`]. Out: integers and sub-slices, or an [`Error`] that names the
//! offset. Nothing here can panic; every structure of the pure half is read through it.

use byteorder::{BigEndian, ByteOrder, LittleEndian};

use crate::error::{Error, Result};

/// Byte order of an object or of a BTF blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endian {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl Endian {
    /// The byte order of the machine that this code runs on.
    pub const NATIVE: Endian = if cfg!(target_endian = "big") { Endian::Big } else { Endian::Little };

    /// Decodes two bytes.
    pub fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Endian::Little => LittleEndian::read_u16(&bytes),
            Endian::Big => BigEndian::read_u16(&bytes),
        }
    }

    /// Decodes four bytes.
    pub fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Endian::Little => LittleEndian::read_u32(&bytes),
            Endian::Big => BigEndian::read_u32(&bytes),
        }
    }

    /// Decodes eight bytes.
    pub fn u64(self, bytes: [u8; 8]) -> u64 {
        match self {
            Endian::Little => LittleEndian::read_u64(&bytes),
            Endian::Big => BigEndian::read_u64(&bytes),
        }
    }

    /// Encodes two bytes.
    pub fn u16_bytes(self, value: u16) -> [u8; 2] {
        match self {
            Endian::Little => value.to_le_bytes(),
            Endian::Big => value.to_be_bytes(),
        }
    }

    /// Encodes four bytes.
    pub fn u32_bytes(self, value: u32) -> [u8; 4] {
        match self {
            Endian::Little => value.to_le_bytes(),
            Endian::Big => value.to_be_bytes(),
        }
    }

    /// Encodes eight bytes.
    pub fn u64_bytes(self, value: u64) -> [u8; 8] {
        match self {
            Endian::Little => value.to_le_bytes(),
            Endian::Big => value.to_be_bytes(),
        }
    }
}

/// The `N` bytes at `offset` (a byte offset), or an error that names the offset.
pub fn array_at<const N: usize>(data: &[u8], offset: usize) -> Result<[u8; N]> {
    offset
        .checked_add(N)
        .and_then(|end| data.get(offset..end))
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| out_of_range(data, offset, N))
}

/// The `len` bytes at `offset`, or an error that names the offset.
pub fn slice_at(data: &[u8], offset: usize, len: usize) -> Result<&[u8]> {
    offset
        .checked_add(len)
        .and_then(|end| data.get(offset..end))
        .ok_or_else(|| out_of_range(data, offset, len))
}

/// The `u32` at byte `offset`.
///
/// # Errors
/// `InvalidObject`, naming the offset, when that is not all inside.
pub fn u32_at(data: &[u8], offset: usize, endian: Endian) -> Result<u32> {
    array_at(data, offset).map(|bytes| endian.u32(bytes))
}

/// The `u64` at byte `offset`.
///
/// # Errors
/// `InvalidObject`, naming the offset, when that is not all inside.
pub fn u64_at(data: &[u8], offset: usize, endian: Endian) -> Result<u64> {
    array_at(data, offset).map(|bytes| endian.u64(bytes))
}

/// The bytes of the NUL-terminated string at byte `offset`, without the NUL.
///
/// # Errors
/// `InvalidObject` when it does not end inside of `data`.
pub fn c_str_at(data: &[u8], offset: usize) -> Result<&[u8]> {
    let rest = data.get(offset..).ok_or_else(|| out_of_range(data, offset, 1))?;
    match rest.iter().position(|&byte| byte == 0) {
        Some(len) => slice_at(rest, 0, len),
        None => Err(Error::invalid(format!("string at byte {offset} has no terminating NUL"))),
    }
}

#[cold]
fn out_of_range(data: &[u8], offset: usize, len: usize) -> Error {
    Error::invalid(format!("{len} bytes at offset {offset} are outside of {} bytes", data.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_byte_orders_read_the_same_number() {
        assert_eq!(u32_at(&[0, 1, 2, 3, 4], 1, Endian::Big).unwrap(), 0x0102_0304);
        assert_eq!(u32_at(&[0, 4, 3, 2, 1], 1, Endian::Little).unwrap(), 0x0102_0304);
    }

    #[test]
    fn reading_past_the_end_is_an_error_and_never_a_panic() {
        for offset in [1, 4, usize::MAX - 1, usize::MAX] {
            assert!(u32_at(&[0; 4], offset, Endian::Little).is_err());
            assert!(slice_at(&[0; 4], offset, usize::MAX).is_err());
        }
        assert!(c_str_at(b"abc", 0).is_err());
        assert_eq!(c_str_at(b"abc\0d", 1).unwrap(), b"bc");
    }
}
