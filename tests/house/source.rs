//! The tree as the house rules see it: every text file that is ours, and the code of a Rust file without what is not code.
//!
//! In: the folder of the workspace. Out: [`Source`]s, whose paths are relative to it.

use std::path::Path;

/// Files and folders of the workspace that are ours to keep in order.
const OURS: [&str; 10] =
    [".ci", "Cargo.toml", "Makefile", "bpf-src", "docs", "loader", "maptool", "src", "tests", "CHANGELOG.md"];

/// Extensions of the files whose text is looked at; files without one are scripts.
const TEXT: [&str; 10] = ["rs", "c", "h", "sh", "awk", "md", "toml", "py", "json", ""];

/// One file.
pub(crate) struct Source {
    /// Path from the top of the workspace, `/` between its parts.
    pub(crate) path: String,
    /// The whole text.
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub(crate) fn is_bpf_c(&self) -> bool {
        self.path.starts_with("bpf-src/") && (self.path.ends_with(".c") || self.path.ends_with(".h"))
    }

    /// Whether the whole file is test code.
    pub(crate) fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "benches")
            || self.path.ends_with("/tests.rs")
    }

    /// The code of a Rust file: comments and the contents of strings are blank, line breaks stay where they were.
    pub(crate) fn code(&self) -> String {
        blank(&self.text)
    }

    /// [`Self::code`] up to the unit tests, which by custom are the last item of a file.
    pub(crate) fn product_code(&self) -> String {
        let code = self.code();
        let tests = code.match_indices("#[cfg(test)]").find(|(at, attribute)| {
            let rest = code[at + attribute.len()..].trim_start();
            rest.starts_with("mod ") || rest.starts_with("#[")
        });
        tests.map_or_else(|| code.clone(), |(at, _)| code[..at].to_owned())
    }
}

/// Every text file of ours, sorted by path.
pub(crate) fn tree() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for name in OURS {
        collect(root, name, &mut sources);
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn collect(root: &Path, path: &str, sources: &mut Vec<Source>) {
    let full = root.join(path);
    if full.is_dir() {
        for entry in std::fs::read_dir(&full).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name != "target" && !name.starts_with('.') {
                collect(root, &format!("{path}/{name}"), sources);
            }
        }
    } else if full.is_file() && TEXT.contains(&full.extension().map_or("", |e| e.to_str().unwrap())) {
        let text = std::fs::read_to_string(&full).unwrap_or_else(|e| panic!("{path}: {e}"));
        sources.push(Source::new(path, &text));
    }
}

/// Blanks comments and the insides of strings and character literals.
fn blank(text: &str) -> String {
    let mut rest = text;
    let mut code = String::with_capacity(text.len());
    while let Some(first) = rest.chars().next() {
        let length = token_to_blank(rest);
        let (token, after) = rest.split_at(length.unwrap_or(first.len_utf8()));
        if length.is_some() {
            // Quotes are kept, so that a string is still seen to be one.
            code.extend(token.chars().map(|c| if c == '\n' || c == '"' { c } else { ' ' }));
        } else {
            code.push_str(token);
        }
        rest = after;
    }
    code
}

/// The length of the comment or literal that `rest` starts with, if it starts with one.
fn token_to_blank(rest: &str) -> Option<usize> {
    let line = || rest.find('\n').unwrap_or(rest.len());
    match rest.as_bytes() {
        [b'/', b'/', ..] => Some(line()),
        [b'/', b'*', ..] => Some(block_comment(rest)),
        [b'"', ..] => Some(1 + quoted(&rest[1..], '"')),
        [b'r', b'"' | b'#', ..] => raw_string(rest),
        // A lifetime has no closing quote after its first character.
        [b'\'', b'\\', ..] => Some(1 + quoted(&rest[1..], '\'')),
        [b'\'', ..] => {
            let mut chars = rest.char_indices().skip(2);
            chars.next().filter(|(_, c)| *c == '\'').map(|(at, _)| at + 1)
        }
        _ => None,
    }
}

/// Block comments nest in Rust.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    for (at, pair) in rest.as_bytes().windows(2).enumerate() {
        match pair {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 2;
        }
    }
    rest.len()
}

/// Length up to and with the closing quote, which a backslash hides.
fn quoted(rest: &str, quote: char) -> usize {
    let mut hidden = false;
    for (at, c) in rest.char_indices() {
        if c == quote && !hidden {
            return at + 1;
        }
        hidden = c == '\\' && !hidden;
    }
    rest.len()
}

/// `r"..."`, `r#"..."#`; not `r#type`, which is a name.
fn raw_string(rest: &str) -> Option<usize> {
    let hashes = rest[1..].bytes().take_while(|b| *b == b'#').count();
    let start = 1 + hashes;
    rest[start..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = rest[start + 1..].find(&end).map(|at| start + 1 + at + end.len());
    Some(length.unwrap_or(rest.len()))
}

#[test]
fn comments_and_strings_are_not_taken_for_code() {
    let text =
        "a /* unsafe /* x */ */ \"unsafe \\\" b\" r#\"unsafe\" \"# 'u' '\\'' &'life c // unsafe\nd r#type";
    let code = blank(text);
    assert!(!code.contains("unsafe"), "{code}");
    for kept in ["a ", "&'life c", "\nd r#type"] {
        assert!(code.contains(kept), "{kept:?} is not in {code:?}");
    }
}

#[test]
fn unit_tests_at_the_end_of_a_file_are_not_product_code() {
    let source =
        Source::new("src/x.rs", "#[cfg(test)]\nuse a;\nfn b() {}\n#[cfg(test)]\nmod tests { fn c() {} }\n");
    let code = source.product_code();
    assert!(code.contains("fn b") && !code.contains("fn c"), "{code}");
}
