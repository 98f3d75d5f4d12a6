//! The command line of an exec, as text and as a list.
//!
//! In: the argument area of a process as it is in memory (`argv[0]\0argv[1]\0...`), possibly cut, and how much there was.
//! Out: what a user typed, on one line, with a mark that says how much is missing only if something is. `argv[0]` is not
//! shown: it is what the caller claims, the program is what the kernel ran.

use super::escape::push_text;
use super::number::push_u64;

/// A command line.
#[derive(Clone, Copy, Debug)]
pub struct CommandLine<'r> {
    /// The program, shown first.
    pub program: &'r [u8],
    /// All arguments from `argv[0]` on, each with its NUL; the last one may be cut short.
    pub area: &'r [u8],
    /// Number of leading items of `area` that are not shown: `argv[0]`, or for a script what the kernel put in front.
    pub skip: usize,
    /// How many arguments there are, `argv[0]` included; 0 when not known.
    pub count: u64,
    /// `area` does not hold all of the arguments.
    pub cut: bool,
    /// Bytes of arguments that exist but are not in `area`; 0 when not known.
    pub missing: u64,
    /// Not all of the arguments could be read.
    pub args_fault: bool,
    /// The program's name could not be read, or not all of it.
    pub program_fault: bool,
    /// How to show it.
    pub style: Style,
}

/// The user's choices.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Double quotes around each item.
    pub quote: bool,
    /// Show this many items at most, the program included.
    pub max_items: Option<usize>,
}

impl<'r> CommandLine<'r> {
    /// All arguments in memory, from `argv[0]` on.
    pub fn all(&self) -> impl Iterator<Item = &'r [u8]> + Clone + use<'r> {
        items(self.area)
    }

    /// The arguments that are shown.
    pub fn shown(&self) -> impl Iterator<Item = &'r [u8]> + Clone + use<'r> {
        items(self.area).skip(self.skip)
    }

    /// Appends program and arguments joined by one blank, raw: what a line pattern is matched with.
    pub fn push_raw(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.program);
        for arg in self.shown() {
            out.push(b' ');
            out.extend_from_slice(arg);
        }
    }

    /// Appends the text for a row.
    pub fn push_row(&self, out: &mut Vec<u8>) {
        if self.program_fault && self.program.is_empty() {
            out.extend_from_slice(b"[unreadable]");
        } else {
            self.push_item(out, self.program);
            if self.program_fault {
                out.extend_from_slice(b"...[memory fault]");
            }
        }
        let limit = self.style.max_items.map_or(usize::MAX, |items| items.saturating_sub(1));
        let mut args = self.shown();
        for arg in args.by_ref().take(limit) {
            out.push(b' ');
            self.push_item(out, arg);
        }
        self.push_mark(out, limit, args.count());
    }

    fn push_item(&self, out: &mut Vec<u8>, text: &[u8]) {
        if self.style.quote {
            out.push(b'"');
        }
        push_text(out, text, self.style.quote);
        if self.style.quote {
            out.push(b'"');
        }
    }

    /// `left`: items in memory that the limit kept from being shown.
    fn push_mark(&self, out: &mut Vec<u8>, limit: usize, left: usize) {
        if left > 0 {
            let shown = u64::try_from(self.skip.saturating_add(limit)).unwrap_or(u64::MAX);
            let in_memory = u64::try_from(left).unwrap_or(u64::MAX);
            out.extend_from_slice(b" ...[+");
            push_u64(out, self.count.saturating_sub(shown).max(in_memory));
            out.extend_from_slice(b" args]");
        } else if self.args_fault {
            out.extend_from_slice(b" ...[memory fault]");
        } else if self.cut && self.missing > 0 {
            out.extend_from_slice(b" ...[+");
            push_u64(out, self.missing);
            out.extend_from_slice(b" bytes]");
        } else if self.cut {
            out.extend_from_slice(b" ...");
        }
    }
}

/// The items of an argument area. A NUL ends an item, so an area that ends in one has no empty item after it.
pub fn items(area: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    let body = area.strip_suffix(&[0]).unwrap_or(area);
    let count = if area.is_empty() { 0 } else { usize::MAX };
    body.split(|&byte| byte == 0).take(count)
}

/// How many leading items are not what the user typed. For a script, the kernel put the interpreter and its argument in
/// front and the script's name in the place of `argv[0]`: what follows the first item equal to `script` was typed.
pub fn leading(area: &[u8], script: Option<&[u8]>) -> usize {
    let found = script.and_then(|script| items(area).skip(1).position(|item| item == script));
    found.map_or(1, |at| at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'r>(program: &'r [u8], area: &'r [u8]) -> CommandLine<'r> {
        CommandLine {
            program,
            area,
            skip: 1,
            count: items(area).count() as u64,
            cut: false,
            missing: 0,
            args_fault: false,
            program_fault: false,
            style: Style::default(),
        }
    }

    fn row(line: &CommandLine<'_>) -> String {
        let mut out = Vec::new();
        line.push_row(&mut out);
        String::from_utf8(out).unwrap()
    }

    const ECHO: &[u8] = b"echo\x001\x002\x003\0";

    #[test]
    fn the_program_and_then_the_arguments_without_argv_0() {
        assert_eq!(row(&line(b"/bin/echo", ECHO)), "/bin/echo 1 2 3");
        assert_eq!(row(&line(b"/bin/true", b"anything\0")), "/bin/true");
        assert_eq!(row(&line(b"/bin/true", b"")), "/bin/true");
    }

    #[test]
    fn empty_arguments_are_arguments() {
        assert_eq!(items(b"\0").count(), 1);
        assert_eq!(items(b"a\0\0\0").collect::<Vec<_>>(), [&b"a"[..], b"", b""]);
        let mut quoted = line(b"/bin/x", b"a\0\0\0b");
        quoted.style.quote = true;
        assert_eq!(row(&quoted), r#""/bin/x" "" "" "b""#);
    }

    #[test]
    fn quotes_and_hostile_bytes_are_escaped() {
        let mut echo = line(b"/bin/echo", b"echo\0say \"hi\"\0n\nl \x1b[31m\0");
        assert_eq!(row(&echo), r#"/bin/echo say "hi" n\nl \x1b[31m"#);
        echo.style.quote = true;
        assert_eq!(row(&echo), r#""/bin/echo" "say \"hi\"" "n\nl \x1b[31m""#);
    }

    #[test]
    fn max_args_counts_the_program_and_marks_only_a_real_cut() {
        let mut echo = line(b"/bin/echo", ECHO);
        for (max, expected) in [
            (5, "/bin/echo 1 2 3"),
            (4, "/bin/echo 1 2 3"),
            (3, "/bin/echo 1 2 ...[+1 args]"),
            (1, "/bin/echo ...[+3 args]"),
        ] {
            echo.style.max_items = Some(max);
            assert_eq!(row(&echo), expected);
        }
    }

    #[test]
    fn the_mark_counts_arguments_that_were_not_even_read() {
        let mut echo = line(b"/bin/echo", ECHO);
        (echo.count, echo.cut) = (2000, true);
        assert_eq!(row(&echo), "/bin/echo 1 2 3 ...");
        echo.missing = 7777;
        assert_eq!(row(&echo), "/bin/echo 1 2 3 ...[+7777 bytes]");
        echo.style.max_items = Some(3);
        assert_eq!(row(&echo), "/bin/echo 1 2 ...[+1997 args]");
    }

    #[test]
    fn a_memory_fault_is_said_and_never_an_empty_string() {
        let mut broken = line(b"", b"");
        broken.program_fault = true;
        assert_eq!(row(&broken), "[unreadable]");
        broken.program = b"/bin/ec";
        broken.args_fault = true;
        assert_eq!(row(&broken), "/bin/ec...[memory fault] ...[memory fault]");
    }

    #[test]
    fn a_script_shows_what_was_typed() {
        let plain = b"/bin/sh\0./s.sh\0a\0b\0";
        let nested = b"/bin/sh\0-e\0/opt/run\0./s.sh\0a\0b\0";
        for area in [&plain[..], nested] {
            let mut script = line(b"./s.sh", area);
            script.skip = leading(area, Some(b"./s.sh"));
            assert_eq!(row(&script), "./s.sh a b");
        }
        assert_eq!(leading(b"/bin/sh\0./s.sh\0", None), 1);
        assert_eq!(leading(b"/bin/sh\0other\0", Some(b"./s.sh")), 1);
    }

    #[test]
    fn the_raw_line_is_joined_by_one_blank() {
        let mut out = Vec::new();
        line(b"/bin/echo", b"echo\0a\nb\0\xff\0").push_raw(&mut out);
        assert_eq!(out, b"/bin/echo a\nb \xff");
    }
}
