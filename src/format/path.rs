//! Paths: from what the kernel side hands over to what a user reads.
//!
//! In: components from the leaf to the root (see `bpf-src/include/path.h`), names as given to system calls. Out: absolute
//! paths; and text with a mark wherever something is not known.

use super::escape::push_text;

/// Turns components from the leaf to the root, each with its NUL, into a path that starts with `/`; without its beginning
/// (`cut`) it stays relative.
pub fn push_components(out: &mut Vec<u8>, components: &[u8], cut: bool) {
    let start = out.len();
    if components.is_empty() {
        return;
    }
    let body = components.strip_suffix(&[0]).unwrap_or(components);
    for component in body.rsplit(|&byte| byte == 0) {
        if !(cut && out.len() == start) {
            out.push(b'/');
        }
        out.extend_from_slice(component);
    }
}

/// Appends `name` to the directory from `floor` on in `out`, resolving `.`, `..` and empty components by text alone: nothing is
/// looked up, so a symbolic link before a `..` is taken for a directory. `..` does not lead above the floor.
pub fn push_name(out: &mut Vec<u8>, floor: usize, name: &[u8]) {
    for component in name.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                let kept = out.get(floor..).and_then(|path| path.iter().rposition(|&byte| byte == b'/'));
                out.truncate(floor + kept.unwrap_or(0));
            }
            _ => {
                out.push(b'/');
                out.extend_from_slice(component);
            }
        }
    }
}

/// A path as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct PathText<'r> {
    /// What is known of it.
    pub text: &'r [u8],
    /// It could not be read at all.
    pub fault: bool,
    /// Something is missing before it.
    pub front_cut: bool,
    /// Something is missing after it.
    pub end_cut: bool,
    /// It stands in for a path that is not known: something to show, but not the value.
    pub stand_in: bool,
    /// A remark for after it.
    pub remark: &'static str,
}

impl PathText<'_> {
    /// Appends the text for a cell.
    pub fn push(&self, out: &mut Vec<u8>) {
        if self.fault {
            out.extend_from_slice(b"[unreadable]");
        } else if self.text.is_empty() {
            out.extend_from_slice(b"[empty]");
        } else {
            if self.front_cut {
                out.extend_from_slice(b"[...]/");
            }
            push_text(out, self.text, false);
        }
        if self.end_cut {
            out.extend_from_slice(b"...[cut]");
        }
        out.extend_from_slice(self.remark.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn components(components: &[u8], cut: bool) -> String {
        let mut out = b"kept".to_vec();
        push_components(&mut out, components, cut);
        String::from_utf8(out).unwrap().strip_prefix("kept").unwrap().to_owned()
    }

    #[test]
    fn components_are_read_from_the_root_down() {
        assert_eq!(components(b"true\0bin\0usr\0", false), "/usr/bin/true");
        assert_eq!(components(b"true\0bin\0usr\0", true), "usr/bin/true");
        assert_eq!(components(b"", false), "");
        assert_eq!(components(b"\0", false), "/");
    }

    fn joined(base: &str, floor: usize, name: &str) -> String {
        let mut out = base.as_bytes().to_vec();
        push_name(&mut out, floor, name.as_bytes());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_name_is_resolved_below_its_directory() {
        assert_eq!(joined("/srv/par", 0, "hostname"), "/srv/par/hostname");
        assert_eq!(joined("/srv/par", 0, "./../x/../../etc//passwd/."), "/etc/passwd");
        assert_eq!(joined("", 0, "/../../a"), "/a");
        assert_eq!(joined("", 0, "/"), "");
        assert_eq!(joined("/container", 10, "../../a/b"), "/container/a/b");
    }

    fn shown(path: PathText<'_>) -> String {
        let mut out = Vec::new();
        path.push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn whatever_is_missing_is_marked_and_nothing_is_ever_blank() {
        let path = PathText { text: b"a\n", ..PathText::default() };
        assert_eq!(shown(path), "a\\n");
        assert_eq!(shown(PathText { front_cut: true, ..path }), "[...]/a\\n");
        assert_eq!(shown(PathText { end_cut: true, remark: " [x]", ..path }), "a\\n...[cut] [x]");
        assert_eq!(shown(PathText { fault: true, ..path }), "[unreadable]");
        assert_eq!(shown(PathText::default()), "[empty]");
    }
}
