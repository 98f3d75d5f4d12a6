//! Where the arguments of a static probe are: `-4@%edi 8@16(%rsp)` becomes registers and memory.
//!
//! In: the text of a note, in the assembler's words for one architecture. Out: an [`Argument`] for each. The text comes with
//! the binary, so it is nobody's to trust; what is in floating-point registers cannot be read by BPF programs at all.
//!
//! To add an architecture: its registers in `Arch::register`, its operands in `Cursor::operand`.

use crate::error::{Error, Result, ResultExt as _};

/// An argument of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Bytes: 1, 2, 4 or 8.
    pub size: u8,
    /// Whether it is extended by its sign.
    pub signed: bool,
    /// Where it is.
    pub at: Location,
}

/// Where a value is. Registers are byte offsets in the context of the program (`struct pt_regs`, on arm64 and s390x the part of it
/// that user space knows).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// Nowhere: it is this number.
    Constant(i64),
    /// In a register.
    Register(u16),
    /// In memory at `base` + `offset`.
    Memory {
        /// A register.
        base: u16,
        /// Bytes.
        offset: i64,
    },
    /// In memory at `base` + (`index` << `shift`) + `offset`.
    Indexed {
        /// A register.
        base: u16,
        /// A register.
        index: u16,
        /// 0 to 3.
        shift: u8,
        /// Bytes.
        offset: i64,
    },
}

/// An architecture whose operands can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// x86-64.
    X86,
    /// 64-bit ARM.
    Arm64,
    /// s390x.
    S390x,
}

/// The integer registers of x86-64 by the names of their 8, 4, 2 and 1 bytes, in the order of `struct pt_regs`, each of 8 bytes.
const X86: [&[&str]; 20] = [
    &["r15", "r15d", "r15w", "r15b"],
    &["r14", "r14d", "r14w", "r14b"],
    &["r13", "r13d", "r13w", "r13b"],
    &["r12", "r12d", "r12w", "r12b"],
    &["rbp", "ebp", "bp", "bpl"],
    &["rbx", "ebx", "bx", "bl"],
    &["r11", "r11d", "r11w", "r11b"],
    &["r10", "r10d", "r10w", "r10b"],
    &["r9", "r9d", "r9w", "r9b"],
    &["r8", "r8d", "r8w", "r8b"],
    &["rax", "eax", "ax", "al"],
    &["rcx", "ecx", "cx", "cl"],
    &["rdx", "edx", "dx", "dl"],
    &["rsi", "esi", "si", "sil"],
    &["rdi", "edi", "di", "dil"],
    &[], // the number of a system call
    &["rip", "eip"],
    &[], // code segment
    &[], // flags
    &["rsp", "esp", "sp", "spl"],
];

impl Arch {
    /// That of the machine; none if it is not known here.
    pub fn native() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86),
            "aarch64" => Some(Self::Arm64),
            "s390x" => Some(Self::S390x),
            _ => None,
        }
    }

    fn register(self, name: &str) -> Option<u16> {
        let numbered = |prefix: &str, count: u16| {
            let number: u16 = name.strip_prefix(prefix)?.parse().ok()?;
            (number < count).then_some(number * 8)
        };
        match self {
            Self::X86 => {
                let at = X86.iter().position(|names| names.contains(&name))?;
                u16::try_from(at * 8).ok()
            }
            Self::Arm64 if name == "sp" => Some(31 * 8),
            Self::Arm64 => numbered("x", 31).or_else(|| numbered("w", 31)),
            // Behind an argument of 8 bytes and the program status word of 16.
            Self::S390x => Some(numbered("r", 16)? + 24),
        }
    }
}

/// The arguments of a probe.
///
/// # Errors
/// `InvalidObject`, naming the argument that cannot be read.
pub fn parse(text: &str, arch: Arch) -> Result<Vec<Argument>> {
    let mut cursor = Cursor { rest: text.trim_start(), arch };
    let mut arguments = Vec::new();
    while !cursor.rest.is_empty() {
        let from = cursor.rest;
        let argument = cursor.argument().with_context(|| {
            let shown: String = from.chars().take(40).collect();
            format!("argument {} of the probe, `{shown}`", arguments.len() + 1)
        })?;
        arguments.push(argument);
    }
    Ok(arguments)
}

struct Cursor<'a> {
    rest: &'a str,
    arch: Arch,
}

impl Cursor<'_> {
    fn argument(&mut self) -> Result<Argument> {
        let size = self.number().ok_or_else(|| Error::invalid("it has no size"))?;
        if self.takes('f') {
            return Err(Error::invalid("floating-point arguments cannot be read"));
        }
        let bytes = u8::try_from(size.unsigned_abs()).ok().filter(|bytes| matches!(bytes, 1 | 2 | 4 | 8));
        let bytes = bytes.ok_or_else(|| Error::invalid(format!("a size of {size} bytes")))?;
        self.expect('@')?;
        let at = self.operand()?;
        if !self.rest.is_empty() && !self.rest.starts_with(char::is_whitespace) {
            return Err(Error::invalid(format!("what is behind it is not understood: `{}`", self.rest)));
        }
        self.rest = self.rest.trim_start();
        Ok(Argument { size: bytes, signed: size < 0, at })
    }

    fn operand(&mut self) -> Result<Location> {
        match self.arch {
            Arch::X86 => self.operand_x86(),
            Arch::Arm64 => self.operand_arm64(),
            Arch::S390x => self.operand_s390x(),
        }
    }

    /// `$5`, `%rax`, `-8(%rbp)`, `(%rax,%rcx,8)`.
    fn operand_x86(&mut self) -> Result<Location> {
        if self.takes('$') {
            return self
                .number()
                .map(Location::Constant)
                .ok_or_else(|| Error::invalid("no number after `$`"));
        }
        if self.takes('%') {
            return self.register().map(Location::Register);
        }
        let offset = self.number().unwrap_or(0);
        self.expect('(')?;
        self.expect('%')?;
        let base = self.register()?;
        if self.takes(')') {
            return Ok(Location::Memory { base, offset });
        }
        self.expect(',')?;
        self.expect('%')?;
        let index = self.register()?;
        let scale = if self.takes(',') { self.number() } else { Some(1) };
        self.expect(')')?;
        let shift = match scale {
            Some(1) => 0,
            Some(2) => 1,
            Some(4) => 2,
            Some(8) => 3,
            _ => return Err(Error::invalid("an index is scaled by 1, 2, 4 or 8")),
        };
        Ok(Location::Indexed { base, index, shift, offset })
    }

    /// `5`, `x0`, `[sp]`, `[x29, -16]`.
    fn operand_arm64(&mut self) -> Result<Location> {
        if self.takes('[') {
            let base = self.register()?;
            let offset = if self.takes(',') { self.number() } else { Some(0) };
            self.expect(']')?;
            let offset = offset.ok_or_else(|| Error::invalid("no number after `,`"))?;
            return Ok(Location::Memory { base, offset });
        }
        match self.number() {
            Some(number) => Ok(Location::Constant(number)),
            None => self.register().map(Location::Register),
        }
    }

    /// `5`, `%r2`, `160(%r15)`.
    fn operand_s390x(&mut self) -> Result<Location> {
        if self.takes('%') {
            return self.register().map(Location::Register);
        }
        let number = self.number().ok_or_else(|| Error::invalid("neither a register nor a number"))?;
        if !self.takes('(') {
            return Ok(Location::Constant(number));
        }
        self.expect('%')?;
        let base = self.register()?;
        self.expect(')')?;
        Ok(Location::Memory { base, offset: number })
    }

    fn register(&mut self) -> Result<u16> {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.arch.register(name).ok_or_else(|| Error::invalid(format!("no register is called `{name}`")))
    }

    /// A decimal number, if one is next.
    fn number(&mut self) -> Option<i64> {
        let text = self.rest.trim_start();
        let digits = text.strip_prefix('-').unwrap_or(text);
        let len = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let (number, rest) = text.split_at(text.len() - digits.len() + len);
        let number = number.parse().ok()?;
        self.rest = rest;
        Some(number)
    }

    fn takes(&mut self, wanted: char) -> bool {
        let rest = self.rest.trim_start().strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, wanted: char) -> Result<()> {
        match self.takes(wanted) {
            true => Ok(()),
            false => Err(Error::invalid(format!("no `{wanted}` before `{}`", self.rest))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Arch, Argument, Location, parse};

    fn argument(size: i8, at: Location) -> Argument {
        Argument { size: size.unsigned_abs(), signed: size < 0, at }
    }

    #[test]
    fn operands_of_x86_are_read() {
        let text =
            " -4@%edi 8@%rsp 1@$-5 -2@8(%rbp)  4@(%rax) 8@-96(%rbp,%rax,8) 1@(%r8,%r15) 2@(%rax,%rbx,2)";
        let expected = [
            argument(-4, Location::Register(112)),
            argument(8, Location::Register(152)),
            argument(1, Location::Constant(-5)),
            argument(-2, Location::Memory { base: 32, offset: 8 }),
            argument(4, Location::Memory { base: 80, offset: 0 }),
            argument(8, Location::Indexed { base: 32, index: 80, shift: 3, offset: -96 }),
            argument(1, Location::Indexed { base: 72, index: 0, shift: 0, offset: 0 }),
            argument(2, Location::Indexed { base: 80, index: 40, shift: 1, offset: 0 }),
        ];
        assert_eq!(parse(text, Arch::X86).unwrap(), expected);
        assert_eq!(parse("", Arch::X86).unwrap(), []);
    }

    #[test]
    fn operands_of_arm64_and_s390x_are_read() {
        let expected = [
            argument(-4, Location::Register(8)),
            argument(8, Location::Memory { base: 248, offset: 0 }),
            argument(8, Location::Memory { base: 232, offset: -16 }),
            argument(4, Location::Constant(7)),
            argument(4, Location::Register(0)),
        ];
        assert_eq!(parse("-4@x1 8@[sp] 8@[x29, -16] 4@7 4@w0", Arch::Arm64).unwrap(), expected);
        let expected = [
            argument(8, Location::Register(24 + 16)),
            argument(-4, Location::Memory { base: 24 + 120, offset: 160 }),
            argument(1, Location::Constant(-1)),
        ];
        assert_eq!(parse("8@%r2 -4@160(%r15) 1@-1", Arch::S390x).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_number_and_text() {
        let message = |text| parse(text, Arch::X86).unwrap_err().to_string();
        assert_eq!(
            message("8@%rax 8f@%xmm0"),
            "argument 2 of the probe, `8f@%xmm0`: floating-point arguments cannot be read"
        );
        assert_eq!(message("3@%rax"), "argument 1 of the probe, `3@%rax`: a size of 3 bytes");
        assert!(message("8@%xmm0").ends_with("no register is called `xmm0`"));
        assert!(message("8@counter(%rip)").ends_with("no `(` before `counter(%rip)`"));
        assert!(message("8@(%rax,%rbx,3)").ends_with("scaled by 1, 2, 4 or 8"));
        assert!(message("8@%rax+1").ends_with("not understood: `+1`"));
        for text in [
            "8",
            "8@",
            "@",
            "-",
            "8@$",
            "8@5",
            "8@(",
            "8@(%rax",
            "8@(%rax,",
            "99999999999999999999@%rax",
            "8@%é",
        ] {
            assert!(parse(text, Arch::X86).is_err(), "{text}");
        }
        for text in ["8@[", "8@[x1", "8@[x1,]", "8@x31", "8@"] {
            assert!(parse(text, Arch::Arm64).is_err(), "{text}");
        }
        for text in ["8@%r16", "8@5(", "8@5(%r1", "8@%"] {
            assert!(parse(text, Arch::S390x).is_err(), "{text}");
        }
    }
}
