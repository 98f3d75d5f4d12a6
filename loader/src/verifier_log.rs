//! What the verifier's log says, in one line.
//!
//! In: the log buffer. Out: its text, and the last line that tells something. The log ends with counters
//! ("processed 57 insns ...") after the complaint; lines that begin with `;` are source lines (from the
//! program's line info), and the last of them before the complaint says where. Since 7.3 a report of many lines
//! follows the complaint: the same once more, with its cause and what to do.

/// The text of a log buffer: up to its NUL, with bad UTF-8 replaced.
pub(crate) fn text(log: &[u8]) -> String {
    let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
    String::from_utf8_lossy(log.get(..end).unwrap_or_default()).into_owned()
}

/// How the report of 7.3 begins.
const REPORT: &str = "Verification failed: ";

/// The complaint, with the source line it is about.
pub(crate) fn summary(log: &str) -> String {
    let before = log.lines().map(str::trim).take_while(|line| !line.starts_with(REPORT));
    let mut lines: Vec<&str> = before.filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        lines.extend(log.lines().find(|line| line.starts_with(REPORT)));
    }
    let telling = |line: &&&str| !line.starts_with("processed ") && !line.starts_with("verification time");
    let complaint =
        lines.iter().rev().filter(|line| !is_statistic(line)).find(telling).copied().unwrap_or("");
    format!("{complaint}{}", at_source(log))
}

/// `; at` with the source line that the log ends in; empty if it has none.
pub(crate) fn at_source(log: &str) -> String {
    let source = log.lines().rev().find_map(|line| line.trim().strip_prefix(';')).map(str::trim);
    source.filter(|source| !source.is_empty()).map(|source| format!("; at `{source}`")).unwrap_or_default()
}

/// A call of a helper that does not exist, as the log shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnknownCall {
    /// The instruction, in slots from the start of the program.
    pub(crate) at: usize,
    /// The helper's number.
    pub(crate) helper: i32,
}

/// The calls of helpers that do not exist: how instructions without an answer on this kernel are marked.
pub(crate) fn unknown_calls(log: &str) -> Vec<UnknownCall> {
    let calls = log.lines().filter_map(|line| {
        let (slot, rest) = line.trim().split_once(": ")?;
        let (_, number) = rest.split_once("call unknown#")?;
        Some(UnknownCall { at: slot.parse().ok()?, helper: number.trim().parse().ok()? })
    });
    calls.collect()
}

/// Counters that follow the complaint.
fn is_statistic(line: &str) -> bool {
    ["stack depth ", "peak_states ", "max_states_per_insn "].iter().any(|start| line.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_complaint_and_its_source_line_are_found() {
        let log = "0: R1=ctx() R10=fp0\n; x = *p; @ a.bpf.c:12\n0: (61) r1 = *(u32 *)(r2 +0)\n\
                   R2 !read_ok\nprocessed 1 insns (limit 1000000) max_states_per_insn 0\n";
        assert_eq!(summary(log), "R2 !read_ok; at `x = *p; @ a.bpf.c:12`");
    }

    #[test]
    fn the_report_behind_the_complaint_is_left_out() {
        let report = "Verification failed: Register Type Safety: Invalid dereference\n\nReason:\n  R1 has offset 8 here.\n\n\
                      Suggestion:\n  Preserve the pointer\n  before dereferencing it.\n\nprocessed 2 insns\n";
        let log =
            format!("; x = *p; @ a.bpf.c:12\n1: (61) r0 = *(u32 *)(r1 +0)\nR1 off=8 disallowed\n\n{report}");
        assert_eq!(summary(&log), "R1 off=8 disallowed; at `x = *p; @ a.bpf.c:12`");
        assert_eq!(summary(report), "Verification failed: Register Type Safety: Invalid dereference");
    }

    #[test]
    fn calls_of_helpers_that_do_not_exist_are_found_by_instruction() {
        let log = "; a\n12: (85) call unknown#195896080\ninvalid func unknown#195896080\n";
        assert_eq!(unknown_calls(log), [UnknownCall { at: 12, helper: 195_896_080 }]);
        assert_eq!(unknown_calls("call unknown#1"), []);
    }

    #[test]
    fn an_empty_or_strange_log_is_no_panic() {
        assert_eq!(summary(""), "");
        assert_eq!(summary("processed 0 insns"), "");
        assert_eq!(text(b"ab\xff\0cd"), "ab\u{fffd}");
    }
}
