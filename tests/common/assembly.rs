//! Programs that make a list of system calls and end: for calls that no library makes any more. Made by hand, for x86.

/// An argument of a system call.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    Number(u64),
    /// The address of these bytes.
    Bytes(Vec<u8>),
}

/// A C string.
pub(crate) fn text(text: &str) -> Arg {
    Arg::Bytes([text.as_bytes(), b"\0"].concat())
}

/// A system call and its arguments, four at most (further ones are 0).
#[derive(Clone, Debug)]
pub(crate) struct Call(pub(crate) u32, pub(crate) Vec<Arg>);

/// Not a system call: writes a number of 32 bits to an address.
pub(crate) const STORE: u32 = u32::MAX;

/// Which calls the program makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Abi {
    /// `syscall`.
    X86_64,
    /// `int 0x80`, in a 32-bit program.
    I386,
    /// `int 0x80`, in a 64-bit program.
    I386In64,
}

const BASE: u32 = 0x0804_8000;
const EXIT_64: u32 = 60;
const EXIT_32: u32 = 1;
/// Room for the code; the bytes that arguments point to come after it.
const CODE_SIZE: u32 = 4096;
/// Where in the file the pages start that the caller may fill, and their address.
const PAGES_AT: u32 = 0x8000;
pub(crate) const PAGES: u32 = BASE + PAGES_AT;

/// An executable that makes `calls` and ends with status 0.
pub(crate) fn program(abi: Abi, calls: &[Call]) -> Vec<u8> {
    program_with(abi, calls, &[])
}

/// The same, with `pages` in its memory at [`PAGES`].
pub(crate) fn program_with(abi: Abi, calls: &[Call], pages: &[u8]) -> Vec<u8> {
    let header: u32 = if abi == Abi::I386 { 52 + 32 } else { 64 + 56 };
    let mut data = Vec::new();
    let mut code = Vec::new();
    for call in calls {
        let numbers: Vec<u64> =
            call.1.iter().map(|arg| address(arg, BASE + header + CODE_SIZE, &mut data)).collect();
        push_call(&mut code, abi, call.0, &numbers);
    }
    push_call(&mut code, abi, if abi == Abi::X86_64 { EXIT_64 } else { EXIT_32 }, &[0]);
    assert!(code.len() <= CODE_SIZE as usize);
    code.resize(CODE_SIZE as usize, 0x90);
    code.extend(data);
    assert!(header as usize + code.len() <= PAGES_AT as usize);
    code.resize((PAGES_AT - header) as usize, 0);
    code.extend(pages);
    let mut elf = elf_header(abi, header, u32::try_from(code.len()).unwrap() + header);
    elf.extend(code);
    elf
}

fn address(arg: &Arg, base: u32, data: &mut Vec<u8>) -> u64 {
    match arg {
        Arg::Number(number) => *number,
        Arg::Bytes(bytes) => {
            let at = u64::from(base) + u64::try_from(data.len()).unwrap();
            data.extend(bytes);
            at
        }
    }
}

fn push_call(code: &mut Vec<u8>, abi: Abi, number: u32, args: &[u64]) {
    if number == STORE {
        // mov dword [address], value
        code.extend([0xc7, 0x04, 0x25]);
        args.iter().for_each(|arg| code.extend(u32::try_from(*arg).unwrap().to_le_bytes()));
        return;
    }
    // mov eax, number
    code.push(0xb8);
    code.extend(number.to_le_bytes());
    for (index, arg) in args.iter().enumerate() {
        if abi == Abi::X86_64 {
            // movabs rdi, rsi, rdx, r10
            code.extend([[0x48, 0xbf], [0x48, 0xbe], [0x48, 0xba], [0x49, 0xba]][index]);
            code.extend(arg.to_le_bytes());
        } else {
            // mov ebx, ecx, edx, esi
            code.push([0xbb, 0xb9, 0xba, 0xbe][index]);
            code.extend(u32::try_from(*arg & 0xffff_ffff).unwrap().to_le_bytes());
        }
    }
    code.extend(if abi == Abi::X86_64 { [0x0f, 0x05] } else { [0xcd, 0x80] });
}

fn elf_header(abi: Abi, header: u32, size: u32) -> Vec<u8> {
    let mut elf = vec![0x7f, b'E', b'L', b'F', 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let words =
        |elf: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|value| elf.extend(value.to_le_bytes()));
    if abi == Abi::I386 {
        elf[4] = 1;
        words(&mut elf, &[2, 3]); // ET_EXEC, EM_386
        let ints = [1, BASE + header, 52, 0, 0]; // version, entry, program headers, no sections, flags
        ints.iter().for_each(|value: &u32| elf.extend(value.to_le_bytes()));
        words(&mut elf, &[52, 32, 1, 0, 0, 0]);
        let load = [1, 0, BASE, BASE, size, size, 7, 0x1000];
        load.iter().for_each(|value: &u32| elf.extend(value.to_le_bytes()));
        return elf;
    }
    elf[4] = 2;
    words(&mut elf, &[2, 62]); // ET_EXEC, EM_X86_64
    elf.extend(1u32.to_le_bytes());
    for value in [BASE + header, 64, 0] {
        elf.extend(u64::from(value).to_le_bytes());
    }
    elf.extend(0u32.to_le_bytes());
    words(&mut elf, &[64, 56, 1, 0, 0, 0]);
    elf.extend(1u32.to_le_bytes()); // one PT_LOAD: readable, writable, executable
    elf.extend(7u32.to_le_bytes());
    for value in [0, BASE, BASE, size, size, 0x1000] {
        elf.extend(u64::from(value).to_le_bytes());
    }
    elf
}
