//! Iterators: `iter/T` (5.8). A program that runs once for each thing of a sort, while a file is read.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd};

use super::Link;
use crate::error::{Error, Result};
use crate::program::Program;
use crate::sys::{bpf, link};

/// Makes a link; nothing runs before [`open`].
pub fn attach(program: &Program) -> Result<Link> {
    Ok(Link::from_link(link::link_create_iter(program.as_fd())?))
}

/// A new run of the iterator behind `link`: what the program writes is what reading the file gives.
pub fn open(link: BorrowedFd<'_>) -> Result<File> {
    Ok(File::from(bpf::iter_create(link)?))
}

/// All that one run writes, at most `limit` bytes. The kernel may ask to be read again (`EAGAIN`).
pub fn read_all(link: BorrowedFd<'_>, limit: usize) -> Result<Vec<u8>> {
    const RETRIES: usize = 1000;
    let mut file = open(link)?;
    let (mut out, mut buffer, mut retries) = (Vec::new(), vec![0; 1 << 16], 0);
    while out.len() < limit {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => out.extend_from_slice(buffer.get(..len).unwrap_or_default()),
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && retries < RETRIES => retries += 1,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("read", error)),
        }
    }
    out.truncate(limit);
    Ok(out)
}
