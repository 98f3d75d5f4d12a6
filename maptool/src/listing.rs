//! The text form of a set: one member on each line, made for `apply`, `export`, version control and people.
//!
//! In: bytes of any origin, or members. Out: members with their line numbers, or text.
//!
//! ```text
//! # what stands behind a number sign is passed over
//! 4026532178 check=4103          a mount namespace, checked
//! 5751 subtree                   a cgroup and what is below it
//! /system.slice/web.service      (cgroup sets) a path, absolute or below the cgroup2 mount
//! ```

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::identity::cgroup::{self, Hierarchy};
use crate::set::{CgroupMember, Kind, Member, MntnsMember};
use crate::text;

/// What a line says, or why it says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Counted from 1.
    pub number: usize,
    /// The member, or what is wrong.
    pub member: Result<Member, String>,
}

/// Reads a listing for a set of this kind; empty lines and comments give nothing.
pub fn parse(bytes: &[u8], kind: Kind) -> Vec<Line> {
    let mut lines = Vec::new();
    read(bytes, kind, |number, member, _| lines.push(Line { number, member }));
    lines
}

/// As [`parse`], without keeping anything: the number of each line, what it says, and how many bytes are read by then.
pub fn read(bytes: &[u8], kind: Kind, mut each: impl FnMut(usize, Result<Member, String>, usize)) {
    let mut hierarchy = None;
    let mut at = 0;
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        at += line.len() + 1;
        // Most lines of long listings are a number and nothing else.
        if let Some(member) = plain_number(line).and_then(|number| plain_member(kind, number)) {
            each(index + 1, Ok(member), at);
            continue;
        }
        let line = line.split(|&byte| byte == b'#').next().unwrap_or_default().trim_ascii();
        if !line.is_empty() {
            each(index + 1, parse_line(line, kind, &mut hierarchy), at);
        }
    }
}

/// A number of up to 19 digits, which cannot overflow.
fn plain_number(line: &[u8]) -> Option<u64> {
    if line.is_empty() || line.len() > 19 {
        return None;
    }
    line.iter().try_fold(0_u64, |number, byte| match byte {
        b'0'..=b'9' => Some(number.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'))),
        _ => None,
    })
}

fn plain_member(kind: Kind, number: u64) -> Option<Member> {
    match kind {
        Kind::Cgroup => Some(Member::Cgroup(CgroupMember::new(number, false))),
        Kind::Mntns if number > u64::from(u32::MAX) => None,
        Kind::Mntns => Some(Member::Mntns(MntnsMember { inode: number, check: 0 })),
    }
}

/// Where cgroups are; looked for once, if a line has a path.
type Found = Option<Option<Hierarchy>>;

fn parse_line(line: &[u8], kind: Kind, hierarchy: &mut Found) -> Result<Member, String> {
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8".to_owned())?;
    let mut words = line.split_ascii_whitespace();
    let target = words.next().unwrap_or_default();
    let key = match target.strip_prefix('/') {
        Some(_) if kind == Kind::Cgroup => id_of(target, hierarchy)?,
        _ => number(target)?,
    };
    match kind {
        Kind::Cgroup => cgroup_flags(key, words),
        Kind::Mntns => mntns_flags(key, words),
    }
}

fn number(text: &str) -> Result<u64, String> {
    let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = if all_digits { text.parse().ok() } else { None };
    parsed.ok_or_else(|| format!("`{}` is not a 64-bit number", text::safe(text.as_ref())))
}

fn id_of(path: &str, hierarchy: &mut Found) -> Result<u64, String> {
    let mut candidates = vec![PathBuf::from(path)];
    if let Some(found) = hierarchy.get_or_insert_with(|| Hierarchy::find().ok()) {
        candidates.push(found.mount_point().join(path.trim_start_matches('/')));
    }
    let mut last = String::new();
    for candidate in &candidates {
        match cgroup::id_of_path(candidate) {
            Ok(id) => return Ok(id),
            Err(error) if last.is_empty() => last = error.to_string(),
            Err(_) => {}
        }
    }
    Err(last)
}

fn cgroup_flags<'a>(id: u64, words: impl Iterator<Item = &'a str>) -> Result<Member, String> {
    let mut member = CgroupMember::new(id, false);
    for word in words {
        match (word, word.strip_prefix("flags=")) {
            ("subtree", _) => member.flags |= CgroupMember::SUBTREE,
            (_, Some(flags)) => member.flags = number(flags)?,
            _ => return Err(unknown(word, "`subtree` or `flags=N`")),
        }
    }
    Ok(Member::Cgroup(member))
}

fn mntns_flags<'a>(inode: u64, words: impl Iterator<Item = &'a str>) -> Result<Member, String> {
    let mut member = MntnsMember { inode, check: 0 };
    for word in words {
        let check = word.strip_prefix("check=").ok_or_else(|| unknown(word, "`check=N`"))?;
        member.check = number(check)
            .and_then(|check| u32::try_from(check).map_err(|_| format!("`{check}` has more than 32 bits")))?;
    }
    if inode > u64::from(u32::MAX) {
        return Err(format!("`{inode}` is no namespace, whose numbers have 32 bits"));
    }
    Ok(Member::Mntns(member))
}

fn unknown(word: &str, expected: &str) -> String {
    format!("found `{}`, expected {expected}", text::safe(word.as_ref()))
}

/// The line of a member, without its end.
pub fn line(member: &Member) -> String {
    let mut line = member.key().to_string();
    let _ = match member {
        Member::Cgroup(member) if member.flags == CgroupMember::SUBTREE => write!(line, " subtree"),
        Member::Cgroup(member) if member.flags != 0 => write!(line, " flags={}", member.flags),
        Member::Mntns(member) if member.check != 0 => write!(line, " check={}", member.check),
        _ => Ok(()),
    };
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str, kind: Kind) -> Vec<Result<Member, String>> {
        parse(text.as_bytes(), kind).into_iter().map(|line| line.member).collect()
    }

    #[test]
    fn every_member_survives_the_way_through_text() {
        for member in [
            Member::Cgroup(CgroupMember::new(1 << 40, false)),
            Member::Cgroup(CgroupMember::new(7, true)),
            Member::Cgroup(CgroupMember { id: 8, flags: 6 }),
            Member::Mntns(MntnsMember { inode: 4_026_532_178, check: 0 }),
            Member::Mntns(MntnsMember { inode: 4_026_532_178, check: u32::MAX }),
        ] {
            assert_eq!(members(&line(&member), member.kind()), [Ok(member)]);
        }
    }

    #[test]
    fn comments_and_empty_lines_count_but_give_nothing() {
        let lines = parse(b"# set\n\n 5 # five\r\n\t6 subtree\n", Kind::Cgroup);
        assert_eq!(lines.iter().map(|line| line.number).collect::<Vec<_>>(), [3, 4]);
        assert!(lines.iter().all(|line| line.member.is_ok()));
    }

    #[test]
    fn what_is_no_member_is_refused_with_the_reason() {
        for (text, kind, part) in [
            ("x", Kind::Mntns, "not a 64-bit number"),
            ("-1", Kind::Mntns, "not a 64-bit number"),
            ("18446744073709551616", Kind::Cgroup, "not a 64-bit number"),
            ("4294967296", Kind::Mntns, "32 bits"),
            ("5 check=4294967296", Kind::Mntns, "more than 32 bits"),
            ("5 subtree", Kind::Mntns, "expected `check=N`"),
            ("5 check=1", Kind::Cgroup, "expected `subtree`"),
            ("/no/such/cgroup", Kind::Cgroup, "not found"),
        ] {
            let found = members(text, kind);
            assert!(found[0].as_ref().is_err_and(|reason| reason.contains(part)), "{text}: {found:?}");
        }
        assert!(
            members("\u{1b}[31m", Kind::Mntns)[0].as_ref().is_err_and(|reason| !reason.contains('\u{1b}'))
        );
        assert_eq!(parse(b"\xff", Kind::Mntns)[0].member, Err("not UTF-8".into()));
    }
}
