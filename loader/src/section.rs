//! Section names: what `SEC("...")` says about a program.
//!
//! In: the name of an ELF section. Out: [`ProgramKind`]: program type, attach type, the place to attach to.
//! To teach the loader another name, add a row to `table::ROWS` (the order is that of matching: longer
//! names before the shorter ones they start with) and, if it has a target of a new shape, a
//! `table::Shape`.
//!
//! The names are those of libbpf 1.x in strict mode, because clang-built objects are written for them.
//! Matching: `x` must be equal; `x+` is `x` alone or `x/...`. An unknown name is not an error here: the kind is
//! [`ProgramKind::UNKNOWN`], and only loading such a program fails.

mod table;

use crate::error::{Error, Result};
pub use table::{attach_type, program_type};

/// What the section name says about a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramKind {
    /// `BPF_PROG_TYPE_*`; 0 when the section name says nothing.
    pub program_type: u32,
    /// `BPF_*` expected attach type; 0 when the program type has none.
    pub attach_type: u32,
    /// The kernel may be too old to know `attach_type` for this program type, and loads the program
    /// without it just as well.
    pub attach_type_optional: bool,
    /// Loaded with `BPF_F_SLEEPABLE`.
    pub sleepable: bool,
    /// Loaded with `BPF_F_XDP_HAS_FRAGS`.
    pub xdp_frags: bool,
    /// Its arguments are a static probe's (USDT): it is loaded for one, and is handed the object's tables of arguments, also
    /// where `target` does not say which probe, for [`crate::attach::usdt::attach`] to say later.
    pub static_probe: bool,
    /// Where the program is attached.
    pub target: Target,
}

/// Where a program is attached, as far as its section name says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// Nothing to say, or to be said by the caller (a device, a cgroup, a socket).
    None,
    /// The name lacks its target, which must be set before the program is loaded.
    Missing,
    /// What the name says is no target. A label of the author's, such as `kprobe/skb-1`, whose programs are attached
    /// by name elsewhere: no reason to refuse the object, nor the program if only attaching asks for its target.
    Malformed {
        /// What is wrong with it, in one phrase.
        why: String,
    },
    /// A tracepoint of tracefs, attached through a perf event.
    Tracepoint {
        /// The directory below `events`.
        category: String,
        /// The tracepoint.
        name: String,
    },
    /// A tracepoint, with its raw arguments.
    RawTracepoint {
        /// The tracepoint, without its category.
        name: String,
    },
    /// A tracepoint whose arguments have types: the BTF typedef `btf_trace_NAME`.
    BtfTracepoint {
        /// The tracepoint, without its category.
        name: String,
    },
    /// A kernel function, by its BTF: fentry, fexit, `fmod_ret`, fsession.
    Function {
        /// The module that must have it; the kernel itself or any module when absent.
        module: Option<String>,
        /// The BTF FUNC.
        name: String,
    },
    /// Many kernel functions, by their BTF and a pattern with `*` and `?`.
    Functions {
        /// The module that must have them; the kernel itself when absent.
        module: Option<String>,
        /// The pattern.
        pattern: String,
    },
    /// A function of a loaded program, to be replaced.
    ProgramFunction {
        /// Name of the function in that program.
        name: String,
    },
    /// A security hook: the BTF FUNC `bpf_lsm_NAME`.
    Lsm {
        /// The hook.
        name: String,
    },
    /// A BPF iterator: the BTF FUNC `bpf_iter_NAME`.
    Iterator {
        /// What is iterated.
        name: String,
    },
    /// A kernel symbol, by name.
    Kprobe {
        /// The symbol.
        symbol: String,
        /// Bytes from the start of the symbol.
        offset: u64,
        /// At the return of the function.
        at_return: bool,
    },
    /// Kernel symbols by a pattern with `*` and `?`, attached in one go.
    KprobeMulti {
        /// The pattern.
        pattern: String,
        /// At the return of the functions.
        at_return: bool,
    },
    /// The kernel function of a system call, whatever this architecture calls it.
    Syscall {
        /// The system call, such as `openat`.
        name: String,
        /// At its return.
        at_return: bool,
    },
    /// A place in a user-space binary.
    Uprobe {
        /// The binary.
        path: String,
        /// A symbol of the binary; absent when `offset` counts from the start of the file.
        symbol: Option<String>,
        /// Bytes from the symbol or from the start of the file.
        offset: u64,
        /// At the return of the function.
        at_return: bool,
    },
    /// Functions of a user-space binary by a pattern.
    UprobeMulti {
        /// The binary.
        path: String,
        /// The pattern.
        pattern: String,
        /// At the return of the functions.
        at_return: bool,
    },
    /// A static probe of a user-space binary.
    Usdt {
        /// The binary.
        path: String,
        /// The provider.
        provider: String,
        /// The probe.
        name: String,
    },
    /// A member of a `struct_ops` type.
    StructOps {
        /// What follows the slash, for the reader only.
        name: String,
    },
}

impl ProgramKind {
    /// A section name that says nothing; such a program must be given a type before it is loaded.
    pub const UNKNOWN: ProgramKind = ProgramKind {
        program_type: 0,
        attach_type: 0,
        attach_type_optional: false,
        sleepable: false,
        xdp_frags: false,
        static_probe: false,
        target: Target::None,
    };

    /// The kind that a section name stands for. The name has no leading `?` any more (see
    /// [`split_autoload`]). A known name with a malformed target is an error; an unknown name is
    /// [`ProgramKind::UNKNOWN`].
    pub fn from_section_name(name: &str) -> Result<Self> {
        match Self::of_section(name) {
            Self { target: Target::Malformed { why }, .. } => {
                Err(Error::invalid(why).context(format!("read section name `{name}`")))
            }
            kind => Ok(kind),
        }
    }

    /// As [`ProgramKind::from_section_name`], but a malformed target is kept as [`Target::Malformed`].
    pub fn of_section(name: &str) -> Self {
        let Some((row, rest)) = table::ROWS.iter().find_map(|row| Some((row, row.matches(name)?))) else {
            return Self::UNKNOWN;
        };
        let target =
            row.shape.parse(rest).unwrap_or_else(|error| Target::Malformed { why: error.to_string() });
        Self {
            program_type: row.program_type,
            attach_type: row.attach_type,
            attach_type_optional: row.flags & table::OPTIONAL != 0,
            sleepable: row.flags & table::SLEEPABLE != 0,
            xdp_frags: row.flags & table::FRAGS != 0,
            static_probe: matches!(row.shape, table::Shape::Usdt),
            target,
        }
    }

    /// As [`ProgramKind::from_section_name`], for a name that is unknown: what comes before its slash, if that is a name
    /// that takes no target. libbpf before 1.0 and cilium/ebpf read `socket/x` as `socket`; strict loaders do not.
    ///
    /// # Errors
    /// As for [`ProgramKind::from_section_name`].
    pub fn from_section_prefix(name: &str) -> Result<Self> {
        match Self::from_section_name(name)? {
            Self::UNKNOWN => match name.split_once('/') {
                Some((prefix, _)) => Self::from_section_name(prefix),
                None => Ok(Self::UNKNOWN),
            },
            known => Ok(known),
        }
    }

    /// Whether it is a program for a static probe, by its section name or by its target.
    pub(crate) fn is_for_static_probe(&self) -> bool {
        self.static_probe || matches!(self.target, Target::Usdt { .. })
    }

    /// The name of the BTF type that `attach_btf_id` refers to, for the kinds that have one in the
    /// kernel's own BTF.
    pub fn btf_target(&self) -> Option<String> {
        match &self.target {
            Target::BtfTracepoint { name } => Some(format!("btf_trace_{name}")),
            Target::Function { name, .. } => Some(name.clone()),
            Target::Lsm { name } => Some(format!("bpf_lsm_{name}")),
            Target::Iterator { name } => Some(format!("bpf_iter_{name}")),
            _ => None,
        }
    }
}

impl Target {
    /// What is wrong with it, if the section name was to say where and does not.
    pub(crate) fn unusable(&self) -> Option<Error> {
        let missing = "its section name does not say where";
        match self {
            Target::Missing => Some(Error::invalid(missing)),
            Target::Malformed { why } => Some(Error::invalid(format!("{missing}: {why}"))),
            _ => None,
        }
    }
}

/// Splits the `?` off that turns autoload off: the rest of the name, and whether to load by default.
pub fn split_autoload(name: &str) -> (&str, bool) {
    match name.strip_prefix('?') {
        Some(rest) => (rest, false),
        None => (name, true),
    }
}

impl table::Shape {
    /// Reads what follows the slash; an absent or empty target is [`Target::Missing`].
    fn parse(self, rest: Option<&str>) -> Result<Target> {
        use table::Shape;
        let rest = match (self, rest) {
            (Shape::None, _) => return Ok(Target::None),
            (Shape::StructOps, rest) => {
                return Ok(Target::StructOps { name: rest.unwrap_or_default().to_owned() });
            }
            (_, None | Some("")) => return Ok(Target::Missing),
            (_, Some(rest)) => rest,
        };
        let name = rest.to_owned();
        match self {
            Shape::None | Shape::StructOps => Ok(Target::None),
            Shape::Tracepoint => parse_tracepoint(rest),
            Shape::RawTracepoint => Ok(Target::RawTracepoint { name }),
            Shape::BtfTracepoint => Ok(Target::BtfTracepoint { name }),
            Shape::Function => parse_function(rest),
            Shape::Functions => parse_functions(rest),
            Shape::ProgramFunction => Ok(Target::ProgramFunction { name }),
            Shape::Lsm => Ok(Target::Lsm { name }),
            Shape::Iterator => Ok(Target::Iterator { name }),
            Shape::Kprobe { at_return } => parse_kprobe(rest, at_return),
            Shape::KprobeMulti { at_return } => parse_kprobe_multi(rest, at_return),
            Shape::Syscall { at_return } => Ok(Target::Syscall { name, at_return }),
            Shape::Uprobe { at_return } => parse_uprobe(rest, at_return),
            Shape::UprobeMulti { at_return } => parse_uprobe_multi(rest, at_return),
            Shape::Usdt => parse_usdt(rest),
        }
    }
}

fn parse_tracepoint(rest: &str) -> Result<Target> {
    match rest.split_once('/') {
        Some((category, name)) if !category.is_empty() && !name.is_empty() => {
            Ok(Target::Tracepoint { category: category.to_owned(), name: name.to_owned() })
        }
        _ => Err(Error::invalid(format!("`{rest}` is not `CATEGORY/NAME`"))),
    }
}

fn parse_function(rest: &str) -> Result<Target> {
    let (module, name) = split_module(rest)?;
    Ok(Target::Function { module, name: name.to_owned() })
}

fn parse_functions(rest: &str) -> Result<Target> {
    let (module, pattern) = split_module(rest)?;
    check_pattern(pattern)?;
    Ok(Target::Functions { module, pattern: pattern.to_owned() })
}

fn split_module(rest: &str) -> Result<(Option<String>, &str)> {
    let (module, name) = match rest.split_once(':') {
        Some((module, name)) => (Some(module.to_owned()), name),
        None => (None, rest),
    };
    if name.is_empty() || module.as_deref() == Some("") {
        return Err(Error::invalid(format!("`{rest}` is not `FUNCTION` or `MODULE:FUNCTION`")));
    }
    Ok((module, name))
}

fn parse_kprobe(rest: &str, at_return: bool) -> Result<Target> {
    let (symbol, offset) = split_offset(rest)?;
    if symbol.is_empty() || !symbol.bytes().all(is_symbol_byte) {
        return Err(Error::invalid(format!("`{symbol}` is not the name of a kernel symbol")));
    }
    if at_return && offset != 0 {
        return Err(Error::invalid("a probe at the return of a function takes no offset"));
    }
    Ok(Target::Kprobe { symbol: symbol.to_owned(), offset, at_return })
}

fn is_symbol_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.'
}

fn parse_kprobe_multi(rest: &str, at_return: bool) -> Result<Target> {
    check_pattern(rest)?;
    Ok(Target::KprobeMulti { pattern: rest.to_owned(), at_return })
}

fn check_pattern(pattern: &str) -> Result<()> {
    match pattern.bytes().all(|byte| is_symbol_byte(byte) || byte == b'*' || byte == b'?') {
        true => Ok(()),
        false => Err(Error::invalid(format!("`{pattern}` is not a pattern of kernel symbols"))),
    }
}

fn parse_uprobe(rest: &str, at_return: bool) -> Result<Target> {
    // From the right: a path may have a colon, a symbol does not.
    let (path, place) = rest.rsplit_once(':').unwrap_or((rest, ""));
    if place.is_empty() {
        return Ok(Target::Missing);
    }
    let (path, place) = (path.to_owned(), place.trim());
    if place.starts_with(|first: char| first.is_ascii_digit()) {
        let offset = parse_number(place)?;
        return Ok(Target::Uprobe { path, symbol: None, offset, at_return });
    }
    let (symbol, offset) = split_offset(place)?;
    if at_return && offset != 0 {
        return Err(Error::invalid("a probe at the return of a function takes no offset"));
    }
    Ok(Target::Uprobe { path, symbol: Some(symbol.to_owned()), offset, at_return })
}

fn parse_uprobe_multi(rest: &str, at_return: bool) -> Result<Target> {
    match rest.rsplit_once(':') {
        Some((path, pattern)) if !path.is_empty() && !pattern.is_empty() => {
            Ok(Target::UprobeMulti { path: path.to_owned(), pattern: pattern.to_owned(), at_return })
        }
        _ => Ok(Target::Missing),
    }
}

fn parse_usdt(rest: &str) -> Result<Target> {
    let mut parts = rest.rsplitn(3, ':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), Some(provider), Some(path))
            if !name.is_empty() && !provider.is_empty() && !path.is_empty() =>
        {
            Ok(Target::Usdt { path: path.to_owned(), provider: provider.to_owned(), name: name.to_owned() })
        }
        _ => Err(Error::invalid(format!("`{rest}` is not `PATH:PROVIDER:NAME`"))),
    }
}

/// `symbol+offset`, the offset in bytes, decimal or with `0x`.
fn split_offset(text: &str) -> Result<(&str, u64)> {
    match text.split_once('+') {
        None => Ok((text, 0)),
        Some((symbol, offset)) => Ok((symbol, parse_number(offset)?)),
    }
}

fn parse_number(text: &str) -> Result<u64> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            u64::from_str_radix(digits, 16)
        }
        Some(_) => "".parse(),
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse(),
        None => "".parse(),
    };
    parsed.map_err(|_| Error::invalid(format!("`{text}` is not an offset in bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str) -> ProgramKind {
        ProgramKind::from_section_name(name).unwrap()
    }

    #[test]
    fn a_plus_pattern_takes_the_name_alone_or_with_a_slash_and_nothing_else() {
        assert_eq!(kind("kprobe").target, Target::Missing);
        assert_eq!(
            kind("kprobe/tcp_v4_connect+0x10").target,
            Target::Kprobe { symbol: "tcp_v4_connect".into(), offset: 16, at_return: false }
        );
        assert_eq!(kind("kprobes"), ProgramKind::UNKNOWN);
        assert_eq!(kind("kprobex/y"), ProgramKind::UNKNOWN);
    }

    #[test]
    fn many_functions_are_named_by_a_pattern_of_the_kernel_or_of_a_module() {
        let multi = kind("fsession.multi.s/bpf_testmod:test_*");
        assert_eq!((multi.attach_type, multi.sleepable), (attach_type::TRACE_FSESSION_MULTI, true));
        let (module, pattern) = (Some("bpf_testmod".into()), "test_*".into());
        assert_eq!(multi.target, Target::Functions { module, pattern });
        assert_eq!(
            kind("fentry.multi/tcp_?onnect").target,
            Target::Functions { module: None, pattern: "tcp_?onnect".into() }
        );
        assert_eq!(kind("fexit.multi").target, Target::Missing);
        assert!(ProgramKind::from_section_name("fexit.multi/tcp-*").is_err());
        assert!(ProgramKind::from_section_name("fexit.multi/m:").is_err());
    }

    #[test]
    fn a_plain_pattern_must_be_equal() {
        assert_eq!(kind("socket").program_type, program_type::SOCKET_FILTER);
        assert_eq!(kind("socket/foo"), ProgramKind::UNKNOWN);
        let lenient = ProgramKind::from_section_prefix("socket/foo").unwrap();
        assert_eq!(lenient.program_type, program_type::SOCKET_FILTER);
        assert_eq!(ProgramKind::from_section_prefix("other/foo").unwrap(), ProgramKind::UNKNOWN);
        assert_eq!(kind("xdp_drop"), ProgramKind::UNKNOWN);
    }

    #[test]
    fn no_row_hides_behind_an_earlier_one() {
        for (at, row) in table::ROWS.iter().enumerate() {
            let name = row.pattern.trim_end_matches('+');
            let first = table::ROWS.iter().position(|row| row.matches(name).is_some());
            assert_eq!(first, Some(at), "{}", row.pattern);
        }
    }

    #[test]
    fn tracing_programs_name_their_btf_type() {
        assert_eq!(kind("tp_btf/sched_process_exec").btf_target().unwrap(), "btf_trace_sched_process_exec");
        assert_eq!(kind("lsm.s/bprm_check_security").btf_target().unwrap(), "bpf_lsm_bprm_check_security");
        assert_eq!(kind("iter/task").btf_target().unwrap(), "bpf_iter_task");
        let fexit = kind("fexit.s/nf_conntrack:nf_confirm");
        assert!(fexit.sleepable);
        assert_eq!(fexit.attach_type, attach_type::TRACE_FEXIT);
        assert_eq!(
            fexit.target,
            Target::Function { module: Some("nf_conntrack".into()), name: "nf_confirm".into() }
        );
    }

    #[test]
    fn a_tracepoint_needs_both_its_parts() {
        let both = kind("tp/syscalls/sys_enter_execve");
        assert_eq!(both.program_type, program_type::TRACEPOINT);
        assert_eq!(
            both.target,
            Target::Tracepoint { category: "syscalls".into(), name: "sys_enter_execve".into() }
        );
        assert_eq!(kind("tracepoint").target, Target::Missing);
        for bad in ["tp/syscalls", "tp/syscalls/", "tp//x"] {
            assert!(ProgramKind::from_section_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn probes_of_user_space_name_a_path_and_a_place() {
        assert_eq!(
            kind("uprobe//usr/lib/libc.so.6:malloc+8").target,
            Target::Uprobe {
                path: "/usr/lib/libc.so.6".into(),
                symbol: Some("malloc".into()),
                offset: 8,
                at_return: false
            }
        );
        assert_eq!(
            kind("uretprobe.s//bin/bash:0x40").target,
            Target::Uprobe { path: "/bin/bash".into(), symbol: None, offset: 64, at_return: true }
        );
        assert_eq!(
            kind("usdt//bin/a:b:libc:setjmp").target,
            Target::Usdt { path: "/bin/a:b".into(), provider: "libc".into(), name: "setjmp".into() }
        );
        assert!(ProgramKind::from_section_name("kretprobe/f+1").is_err());
        assert!(ProgramKind::from_section_name("kprobe/f+-1").is_err());
    }

    #[test]
    fn a_question_mark_turns_autoload_off() {
        assert_eq!(split_autoload("?tp_btf/x"), ("tp_btf/x", false));
        assert_eq!(split_autoload("tp_btf/x"), ("tp_btf/x", true));
    }
}
