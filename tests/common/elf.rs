//! The smallest programs there are, made by hand: no compiler needed, and every byte is known.

/// A 32-bit program for i386 that ends with status 0.
///
/// `int 0x80` with eax = 1 (exit) and ebx = 0; 84 bytes of headers come first.
pub(crate) fn exit_i386() -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    const HEADERS: u32 = 52 + 32;
    let code = [0xb8, 1, 0, 0, 0, 0x31, 0xdb, 0xcd, 0x80];
    let size = HEADERS + u32::try_from(code.len()).unwrap();
    let mut elf = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    push16(&mut elf, &[2, 3]); // ET_EXEC, EM_386
    push32(&mut elf, &[1, BASE + HEADERS, 52, 0, 0]); // version, entry, program headers, no sections, flags
    push16(&mut elf, &[52, 32, 1, 0, 0, 0]);
    push32(&mut elf, &[1, 0, BASE, BASE, size, size, 5, 0x1000]); // one PT_LOAD, readable and executable
    elf.extend_from_slice(&code);
    elf
}

/// An ELF header for a machine that does not exist: the kernel answers ENOEXEC.
pub(crate) fn for_no_machine() -> Vec<u8> {
    let mut elf = exit_i386();
    elf[18..20].copy_from_slice(&0xfeed_u16.to_le_bytes());
    elf
}

fn push16(out: &mut Vec<u8>, values: &[u16]) {
    values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
}

fn push32(out: &mut Vec<u8>, values: &[u32]) {
    values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
}
