//! The same command line to the real bpftool and to nsmap in its place, and what they print compared.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Lacking, Ran, Sandbox, arg, skip};

/// Runs it with these words, in which `@` stands for a directory and `%` for a name, and with `input` on its standard input.
fn run(mut program: Command, words: &str, directory: &Path, input: &str) -> Ran {
    let name = format!("name_{}", std::process::id());
    let words = words.split(' ').map(|word| word.replace('@', arg(directory)).replace('%', &name));
    let pipes = program.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    // One that refuses its words reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input.replace('@', arg(directory)).as_bytes());
    Ran::from(child.wait_with_output().unwrap())
}

/// Ids differ from map to map.
fn without_ids(text: &str, directory: &Path) -> String {
    let mut out = String::new();
    let text = text.replace(arg(directory), "@");
    for line in text.split_inclusive('\n') {
        let (head, tail) = line.split_once(": ").unwrap_or(("", line));
        let is_id = !head.is_empty() && head.bytes().all(|byte| byte.is_ascii_digit());
        let mut line = if is_id { format!("N: {tail}") } else { line.to_owned() };
        for key in ["\"id\":", "btf_id ", "\"btf_id\":"] {
            let mut from = 0;
            while let Some(at) = line[from..].find(key) {
                let start = from + at + key.len();
                let start = start + usize::from(line[start..].starts_with(' '));
                let digits = line[start..].bytes().take_while(u8::is_ascii_digit).count();
                line.replace_range(start..start + digits, "N");
                from = start;
            }
        }
        out.push_str(&line);
    }
    out
}

/// nsmap under the name of bpftool.
pub(crate) fn link(sandbox: &Sandbox) -> PathBuf {
    let link = sandbox.plain("bpftool");
    if !link.exists() {
        symlink(env!("CARGO_BIN_EXE_nsmap"), &link).unwrap();
    }
    link
}

/// The error of an answer that is one: bpftool has it on standard output, and escapes more than JSON knows.
fn error_of(text: &str) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_str(&text.replace("\\'", "'")).ok()?;
    Some(answer.get("error")?.as_str()?.to_owned())
}

/// A difference names the command line. `theirs` and `ours` are what `@` stands for.
#[track_caller]
pub(crate) fn compare(sandbox: &Sandbox, words: &str, theirs: &Path, ours: &Path) {
    compare_reading(sandbox, words, "", theirs, ours);
}

/// As [`compare`], with something to read on standard input.
#[track_caller]
pub(crate) fn compare_reading(sandbox: &Sandbox, words: &str, input: &str, theirs: &Path, ours: &Path) {
    let real = run(Command::new("bpftool"), words, theirs, input);
    let mine = run(Command::new(link(sandbox)), words, ours, input);
    let words = format!("{words} {input}");
    if let Some(done) = done_before_stale_error(&real) {
        assert!(
            without_ids(&mine.out, ours).starts_with(&without_ids(done, theirs)),
            "{words}: {mine:?} {real:?}"
        );
        return assert_eq!((mine.code, mine.err.as_str()), (0, ""), "{words}");
    }
    if let Some(error) = error_of(&real.out) {
        // Errors have their own stream with us, and may have a hint in brackets.
        assert_eq!(mine.out, "", "{words}");
        let found = error_of(&mine.err).map(|found| found.replace(arg(ours), "@")).unwrap_or_default();
        return assert!(
            found.starts_with(&error.replace(arg(theirs), "@")) && mine.code != 0,
            "{words}: {mine:?} {real:?}"
        );
    }
    if real.code != 0 && real.out == "null\n" && mine.out.is_empty() {
        return assert!(mine.err.starts_with("Usage") && mine.code == 2, "{words}: {mine:?} {real:?}");
    }
    assert_eq!(without_ids(&mine.out, ours), without_ids(&real.out, theirs), "{words}");
    assert_eq!(mine.code == 0, real.code == 0, "{words}: {mine:?} {real:?}");
    let error = |ran: &Ran, directory| without_ids(&ran.err, directory).lines().next().map(str::to_owned);
    if real.code == 0 || real.err.starts_with("Usage") {
        assert_eq!(mine.err.is_empty(), real.err.is_empty(), "{words}: {mine:?}");
    } else {
        let (real, mine) = (error(&real, theirs).unwrap_or_default(), error(&mine, ours).unwrap_or_default());
        assert!(mine.starts_with(&real), "{words}:\n{mine}\n{real}");
    }
}

/// What bpftool printed before it failed for no reason, if it did: at the end of a batch it looks at `errno`, where a dump that
/// worked has left a number on arm64 and s390x (7.1).
pub(crate) fn done_before_stale_error(real: &Ran) -> Option<&str> {
    const STALE: &str = "reading batch file failed: Bad file descriptor";
    let printed = match real.out.find(STALE) {
        // An element of its own, after the others.
        Some(at) => real.out.get(..at)?.rsplit_once(',')?.0,
        None if real.err.contains(STALE) => &real.out,
        None => return None,
    };
    Some(printed.trim_end())
}

/// Whether there is something to compare with; `false` after a [`skip`].
pub(crate) fn has_bpftool() -> bool {
    let found = Command::new("bpftool").arg("version").output().is_ok_and(|output| output.status.success());
    if !found {
        skip(&Lacking::Peer("bpftool"));
    }
    found
}
