//! The kernel's names for its numbers, in lower case.

use loader::section::{ProgramKind, Target, attach_type, program_type};
use loader::spec::map::map_type;

fn find(all: &[(&str, u32)], number: u32) -> String {
    let found = all.iter().find(|(_, known)| *known == number);
    found.map_or_else(|| format!("type {number}"), |(name, _)| name.to_lowercase())
}

/// `xdp`, `tracing`...
pub(crate) fn program(kind: &ProgramKind) -> String {
    find(program_type::ALL, kind.program_type)
}

/// `trace_fentry`...; nothing for kinds that have none.
pub(crate) fn attach(kind: &ProgramKind) -> Option<String> {
    let zero_counts = kind.program_type == program_type::CGROUP_SKB && !matches!(kind.target, Target::None);
    (kind.attach_type != 0 || zero_counts).then(|| find(attach_type::ALL, kind.attach_type))
}

/// `hash`, `ringbuf`...
pub(crate) fn map(number: u32) -> String {
    find(map_type::ALL, number)
}

/// The target in the words of a section name.
pub(crate) fn target(target: &Target) -> Option<String> {
    let text = match target {
        Target::None => return None,
        Target::Missing => "(to be set)".to_owned(),
        Target::Malformed { why } => format!("({why})"),
        Target::Tracepoint { category, name } => format!("{category}/{name}"),
        Target::RawTracepoint { name }
        | Target::BtfTracepoint { name }
        | Target::ProgramFunction { name }
        | Target::Lsm { name }
        | Target::Iterator { name }
        | Target::StructOps { name }
        | Target::Syscall { name, .. } => name.clone(),
        Target::Function { module: Some(module), name } => format!("{module}:{name}"),
        Target::Function { module: None, name } => name.clone(),
        Target::Functions { module: Some(module), pattern } => format!("{module}:{pattern}"),
        Target::Functions { pattern, .. } | Target::KprobeMulti { pattern, .. } => pattern.clone(),
        Target::Kprobe { symbol, offset: 0, .. } => symbol.clone(),
        Target::Kprobe { symbol, offset, .. } => format!("{symbol}+{offset:#x}"),
        Target::Uprobe { path, symbol, offset, .. } => match (symbol, offset) {
            (Some(symbol), 0) => format!("{path}:{symbol}"),
            (Some(symbol), offset) => format!("{path}:{symbol}+{offset:#x}"),
            (None, offset) => format!("{path}:{offset:#x}"),
        },
        Target::UprobeMulti { path, pattern, .. } => format!("{path}:{pattern}"),
        Target::Usdt { path, provider, name } => format!("{path}:{provider}:{name}"),
        _ => "(unknown)".to_owned(),
    };
    Some(text).filter(|text| !text.is_empty())
}
