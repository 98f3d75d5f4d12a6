//! What the kernel can decide by itself about a cgroup that is made: selectors as patterns with two ends.
//!
//! In: [`Selector`]s, directories of the tree. Out: [`Rule`]s as `bpf-src/nsmap/follow.bpf.c` reads them. A rule never says
//! yes where the selector says no, but for the digits of an id, which are only counted. A selector that cannot be said like
//! this (several stars in a name, a question mark, conditions joined by commas, what an engine has to tell) gives no rule.

use std::path::Path;

use super::selector::{Selector, Term, fits_path};
use crate::container::patterns::{self, Engine};

/// Bytes of `head` and `tail`, as in the C file.
const HEAD: usize = 128;
const TAIL: usize = 64;
/// Bytes of `struct rule`.
pub(super) const SIZE: usize = 2 * HEAD + 2 * TAIL + 16;
/// Digits of an id.
const ID: usize = 64;
/// Engines that give bare ids to what they make in a directory of this name.
const BARE: [(&str, Engine); 2] = [("docker", Engine::Docker), ("actions_job", Engine::Docker)];

/// A name, or a path, with these two ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    head: String,
    tail: String,
    /// Bytes of the whole, at least and at most.
    length: (usize, usize),
    /// 0 for a name; else for a path with so many components.
    level: usize,
}

impl Rule {
    fn new(head: String, tail: &str, length: (usize, usize), level: usize) -> Option<Self> {
        let fits = head.len() <= HEAD && tail.len() <= TAIL && head.len() + tail.len() <= length.1;
        fits.then(|| Self { head, tail: tail.to_owned(), length, level })
    }

    /// `struct rule`, in host byte order.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SIZE);
        for (text, room) in [(&self.head, HEAD), (&self.tail, TAIL)] {
            let padding = room.saturating_sub(text.len());
            bytes.extend(text.as_bytes());
            bytes.extend(std::iter::repeat_n(0, padding));
            bytes.extend(std::iter::repeat_n(0xff, text.len()));
            bytes.extend(std::iter::repeat_n(0, padding));
        }
        for number in [self.tail.len(), self.length.0, self.length.1, self.level] {
            bytes.extend(u32::try_from(number).unwrap_or(u32::MAX).to_ne_bytes());
        }
        bytes
    }
}

/// The text before the only star and behind it, and the lengths that fit; of a text without wildcards all of it.
fn ends(glob: &str) -> Option<(&str, &str, (usize, usize))> {
    let (head, tail) = match glob.split_once('*') {
        None => (glob, None),
        // Within a component two stars are as good as one.
        Some((head, tail)) => (head, Some(tail.strip_prefix('*').unwrap_or(tail))),
    };
    let is_plain = |text: &str| !text.contains(['*', '?']);
    let rest = tail.unwrap_or_default();
    let least = head.len() + rest.len();
    (is_plain(head) && is_plain(rest)).then_some(())?;
    Some((head, rest, (least, if tail.is_some() { usize::MAX } else { least })))
}

/// Rules that hold wherever a cgroup is made. `is_whole`: paths begin at the root of the hierarchy, as the kernel's do.
pub(super) fn everywhere(selectors: &[Selector], is_whole: bool) -> Vec<Rule> {
    let mut rules = Vec::new();
    for term in selectors.iter().filter_map(Selector::only_term) {
        match term {
            Term::Cgroup(glob) if is_whole => rules.extend(of_path(glob)),
            Term::Unit(glob) => rules.extend(of_unit(glob)),
            Term::Engine(name) => rules.extend(
                patterns::scopes().filter(|(_, engine)| engine.name() == name).flat_map(|(prefix, _)| {
                    [".scope", ""].into_iter().filter_map(move |end| of_id(prefix, "", "", end))
                }),
            ),
            Term::Container(glob) => rules.extend(of_container(glob)),
            _ => {}
        }
    }
    rules
}

/// Rules for what is made in the directory with this path in the hierarchy.
pub(super) fn inside(selectors: &[Selector], path: &Path, is_whole: bool) -> Vec<Rule> {
    let of_name = |name: &str| {
        let (head, tail, length) = ends(name)?;
        Rule::new(head.to_owned(), tail, length, 0)
    };
    let of_term = |term: &Term| match term {
        Term::Cgroup(glob) if !(is_whole && of_path(glob).is_some()) => {
            let (directory, name) = glob.rsplit_once('/')?;
            let directory = if directory.is_empty() { "/" } else { directory };
            fits_path(directory, path).then(|| of_name(name)).flatten()
        }
        Term::Engine(name) => {
            let last = path.file_name()?;
            let is_own = |(directory, engine): &(&str, Engine)| last == *directory && engine.name() == name;
            BARE.iter().any(is_own).then(|| of_id("", "", "", "")).flatten()
        }
        _ => None,
    };
    selectors.iter().filter_map(Selector::only_term).filter_map(of_term).collect()
}

/// A path whose wildcard is in its last component.
fn of_path(glob: &str) -> Option<Rule> {
    let (directory, name) = glob.rsplit_once('/')?;
    if directory.contains(['*', '?']) {
        return None;
    }
    let (head, tail, (least, most)) = ends(name)?;
    let above = directory.len() + 1;
    let head = format!("{directory}/{head}");
    Rule::new(head, tail, (least + above, most.saturating_add(above)), directory.matches('/').count() + 1)
}

/// Units are known by the ends of their names; a pattern that leaves the end open means all of them.
fn of_unit(glob: &str) -> Vec<Rule> {
    const UNITS: [&str; 3] = [".service", ".scope", ".slice"];
    let Some((head, tail, (_, most))) = ends(glob) else { return Vec::new() };
    let has_end = |text: &str| UNITS.iter().any(|unit| text.ends_with(unit));
    let rule = |tail: &str| {
        let least = head.len() + tail.len();
        Rule::new(head.to_owned(), tail, (least, most.max(least)), 0)
    };
    match (most == usize::MAX, tail) {
        (true, "") => UNITS.iter().filter_map(|unit| rule(unit)).collect(),
        (true, tail) if has_end(tail) => rule(tail).into_iter().collect(),
        (false, _) if has_end(head) => rule("").into_iter().collect(),
        _ => Vec::new(),
    }
}

/// `PREFIX` and an id that begins and ends with these digits.
fn of_id(prefix: &str, first: &str, last: &str, end: &str) -> Option<Rule> {
    let length = prefix.len() + ID + end.len();
    (first.len() + last.len() <= ID).then_some(())?;
    Rule::new(format!("{prefix}{first}"), &format!("{last}{end}"), (length, length), 0)
}

/// Ids, and the names that are ids, of which a path tells.
fn of_container(glob: &str) -> Vec<Rule> {
    let Some((head, tail, (least, most))) = ends(glob) else { return Vec::new() };
    let named = |prefix: &str, end: &str| {
        let more = prefix.len() + end.len();
        let length = (least.max(1) + more, most.saturating_add(more));
        Rule::new(format!("{prefix}{head}"), &format!("{tail}{end}"), length, 0)
    };
    let mut rules: Vec<Rule> =
        [named("lxc.payload.", ""), named("runc-", ".scope")].into_iter().flatten().collect();
    let is_open = most == usize::MAX;
    let are_digits = head.bytes().chain(tail.bytes()).all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if are_digits && (is_open || least == ID) {
        rules.extend(patterns::scopes().filter_map(|(prefix, _)| of_id(prefix, head, tail, ".scope")));
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel side decides.
    fn says_yes(rule: &Rule, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap();
        let (text, level) = if rule.level == 0 { (name, 0) } else { (path, path.matches('/').count()) };
        level == rule.level
            && (rule.length.0..=rule.length.1).contains(&text.len())
            && text.starts_with(&rule.head)
            && text.ends_with(&rule.tail)
    }

    fn decides(selector: &str, path: &str) -> bool {
        let selectors = [Selector::parse(selector).unwrap()];
        let above = Path::new(path).parent().unwrap();
        let rules = [everywhere(&selectors, true), inside(&selectors, above, true)].concat();
        rules.iter().any(|rule| says_yes(rule, path))
    }

    #[test]
    fn what_has_two_ends_is_decided_by_the_kernel() {
        let id = "3f".repeat(32);
        for (selector, path) in [
            ("/demo/*", "/demo/web"),
            ("/demo/**", "/demo/web"),
            ("/demo/web-*.x", "/demo/web-1.x"),
            ("/demo", "/demo"),
            ("/*", "/x"),
            ("/*/web-*", "/demo/web-1"),
            ("unit:web*", "/a.slice/web-1.service"),
            ("unit:*.scope", "/x.scope"),
            ("unit:web.service", "/system.slice/web.service"),
            ("engine:docker", &format!("/system.slice/docker-{id}.scope")),
            ("engine:docker", &format!("/x/docker/{id}")),
            ("engine:podman", &format!("/machine.slice/libpod-{id}.scope")),
            ("container:3f3f*", &format!("/system.slice/crio-{id}.scope")),
            ("web*", "/lxc.payload.web-1"),
            ("web", "/system.slice/runc-web.scope"),
        ] {
            assert!(decides(selector, path), "{selector} {path}");
        }
    }

    #[test]
    fn what_a_selector_refuses_no_rule_allows() {
        let id = "3f".repeat(32);
        for (selector, path) in [
            ("/demo/*", "/demo/web/inner"),
            ("/demo/*", "/demo2/web"),
            ("/demo/*", "/demo"),
            ("/demo", "/demo2"),
            ("/demo/a*a", "/demo/a"),
            ("/*/web-*", "/demo/x/web-1"),
            ("/demo/a*b*c", "/demo/abc"),
            ("/demo/?", "/demo/a"),
            ("unit:web*", "/a/web"),
            ("unit:web*.x", "/a/web.x"),
            ("unit:*service", "/a/xservice"),
            ("engine:crio", &format!("/machine.slice/crio-conmon-{id}.scope")),
            ("engine:podman", &format!("/system.slice/docker-{id}.scope")),
            ("engine:docker", &format!("/kubepods/{id}")),
            ("engine:docker,container:web", &format!("/system.slice/docker-{id}.scope")),
            ("container:4*", &format!("/system.slice/crio-{id}.scope")),
            ("label:a=b", "/a"),
            ("*", "/lxc.payload."),
        ] {
            assert!(!decides(selector, path), "{selector} {path}");
        }
        assert_eq!(everywhere(&[Selector::parse(&format!("/{}*", "x".repeat(HEAD))).unwrap()], true), []);
    }

    #[test]
    fn a_rule_is_as_long_as_the_kernel_side_reads() {
        let rule = of_path("/demo/web-*.x").unwrap();
        let bytes = rule.to_bytes();
        assert_eq!((bytes.len(), SIZE), (SIZE, 400));
        assert_eq!(
            (&bytes[..10], bytes[10], bytes[HEAD + 9], bytes[HEAD + 10]),
            (&b"/demo/web-"[..], 0, 0xff, 0)
        );
        assert_eq!(bytes[SIZE - 16..], [2_u32, 12, u32::MAX, 2].map(u32::to_ne_bytes).concat());
    }
}
