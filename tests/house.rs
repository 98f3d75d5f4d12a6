//! The mechanical rules of the house, as tests: what a reviewer should not have to look for.
//!
//! In: the source tree. Out: a failure that names each file and what is wrong with it. A rule is a function from one
//! [`Source`] to its complaints; [`hold`] first proves on a bad sample that the rule can fail, then applies it to the tree.
//! To add a rule, write a test here. Rules that need to understand code are clippy's (`Cargo.toml`, `clippy.toml`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)] // a test program

#[path = "house/source.rs"]
mod source;

use regex::Regex;
use source::{Source, tree};
use std::collections::BTreeSet;

/// Lines a file may have without a stated reason.
const MAX_LINES: usize = 600;

/// Applies a rule to the tree, after each of the bad samples has shown that it can fail.
fn hold(rule: impl Fn(&Source) -> Vec<String>, bad: &[(&str, &str)]) {
    for (path, text) in bad {
        assert!(
            !rule(&Source::new(path, text)).is_empty(),
            "the rule does not see what is wrong with {text:?}"
        );
    }
    let complaints: Vec<String> = tree()
        .iter()
        .flat_map(|source| rule(source).into_iter().map(|complaint| format!("{}: {complaint}", source.path)))
        .collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// A complaint for each match of `pattern`, with its line.
fn matches(text: &str, pattern: &Regex) -> Vec<String> {
    let line = |at: usize| text[..at].matches('\n').count() + 1;
    let found = |m: regex::Match<'_>| format!("line {}: `{}`", line(m.start()), m.as_str().trim());
    pattern.find_iter(text).map(found).collect()
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

/// The first part of a path below `loader/src`, without the extension.
fn loader_module(path: &str) -> Option<&str> {
    let below = path.strip_prefix("loader/src/")?;
    below.split('/').next()?.split('.').next()
}

/// The modules of the loader's pure half and of its kernel half, as its lib.rs lists them under these headings.
fn halves(lib: &str) -> (Vec<String>, Vec<String>) {
    let module = regex(r"(?m)^(?:pub )?mod (\w+);");
    let modules =
        |text: &str| module.captures_iter(text).map(|found| found[1].to_owned()).collect::<Vec<_>>();
    let (before, after) =
        lib.split_once("\n// The kernel half.").expect("lib.rs has a heading for the kernel half");
    let (above, pure) =
        before.split_once("\n// The pure half").expect("lib.rs has a heading for the pure half");
    assert!(modules(above).is_empty(), "lib.rs has a module above the headings of its halves");
    (modules(pure), modules(after))
}

/// The modules that `crate::` paths name, also in `use crate::{a, b::{c}}`.
fn crate_modules(code: &str) -> Vec<String> {
    let path = regex(r"\bcrate::(\w+|\{)");
    let mut modules = Vec::new();
    for found in path.captures_iter(code) {
        let first = found.get(1).unwrap();
        if first.as_str() != "{" {
            modules.push(first.as_str().to_owned());
            continue;
        }
        let (mut depth, mut top) = (0_usize, String::new());
        for c in code[first.start()..].chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ if depth == 1 => top.push(c),
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        modules.extend(
            top.split(',').filter_map(|item| item.split("::").next()).map(|name| name.trim().to_owned()),
        );
    }
    modules
}

#[test]
fn unsafe_code_is_only_in_the_sys_folder_of_the_loader() {
    let unsafety = regex(r"\bunsafe\b|(allow|expect)\([^)]*\bunsafe_code\b");
    let rule = |source: &Source| match source.path.starts_with("loader/src/sys/") || !source.is_rust() {
        true => Vec::new(),
        false => matches(&source.code(), &unsafety),
    };
    hold(rule, &[("src/x.rs", "fn f() { unsafe { g() } }"), ("loader/src/map.rs", "#![allow(unsafe_code)]")]);
}

#[test]
fn files_over_six_hundred_lines_state_their_reason() {
    let rule = |source: &Source| {
        let lines = source.text.lines().count();
        let reason = source.text.lines().take(40).any(|line| line.contains("over 600 lines because"));
        if lines > MAX_LINES && !reason {
            vec![format!("{lines} lines, and no `over 600 lines because ...` near its top")]
        } else {
            Vec::new()
        }
    };
    hold(rule, &[("src/x.rs", &"\n".repeat(MAX_LINES + 1))]);
}

#[test]
fn every_source_file_opens_with_what_it_is_for() {
    let rule = |source: &Source| {
        let mut lines = source.text.lines();
        let first = lines.next().unwrap_or_default();
        let good = match source.path.rsplit_once('.').map(|(_, extension)| extension) {
            Some("rs") => first.starts_with("//!"),
            Some("c" | "h") => {
                let second = lines.next().unwrap_or_default();
                first.contains("SPDX-License-Identifier")
                    && (second.starts_with("/*") || second.starts_with("//"))
            }
            Some("sh") => first.starts_with('#') && lines.next().unwrap_or_default().starts_with('#'),
            _ => true,
        };
        if good {
            Vec::new()
        } else {
            vec![format!("does not open with a comment on what it is for: `{first}`")]
        }
    };
    hold(
        rule,
        &[
            ("src/x.rs", "use a;"),
            ("bpf-src/x.bpf.c", "/* x */\nint a;"),
            ("tests/x.sh", "#!/bin/sh\nset -e\n"),
        ],
    );
}

#[test]
fn c_that_runs_in_the_kernel_names_its_licence() {
    let spdx = "SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause";
    let rule =
        |source: &Source| match source.is_bpf_c() && !source.text.lines().take(1).any(|l| l.contains(spdx)) {
            true => vec![format!("the first line does not say `{spdx}`")],
            false => Vec::new(),
        };
    hold(rule, &[("bpf-src/x.bpf.c", "int a;"), ("bpf-src/include/x.h", "/* x */")]);
}

/// The places that speak to the user. Everything else returns values and errors.
fn may_print(path: &str) -> bool {
    let places =
        ["src/bin/", "src/output/", "src/message.rs", "maptool/src/main.rs", "maptool/src/output.rs"];
    places.iter().any(|place| path.starts_with(place))
        || path.ends_with("build.rs")
        || path.contains("/examples/")
}

#[test]
fn only_the_tools_and_their_output_modules_print() {
    let printing = regex(r"\b(e?print(ln)?|dbg)!");
    let writing = regex(r"\b(e?print(ln)?|dbg)!|\bstd(out|err)\(\)");
    let rule = |source: &Source| match source.is_rust() && !source.is_test() && !may_print(&source.path) {
        // The loader is silent; the tools' shared code is handed a writer, or takes the standard one by name.
        true if source.path.starts_with("loader/") => matches(&source.product_code(), &writing),
        true => matches(&source.product_code(), &printing),
        false => Vec::new(),
    };
    hold(
        rule,
        &[
            ("loader/src/map.rs", "fn f() { println!() }"),
            ("src/cli.rs", "fn f() { eprint!() }"),
            ("loader/src/elf.rs", "io::stderr()"),
        ],
    );
}

#[test]
fn the_pure_half_of_the_loader_knows_no_kernel() {
    let lib = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/loader/src/lib.rs")).unwrap();
    let (pure, kernel) = halves(&lib);
    assert!(pure.iter().any(|name| name == "btf") && kernel.iter().any(|name| name == "sys"));
    let outside = regex(
        r"\bstd::(fs|env|process|net|os|thread)\b|\b(Instant|SystemTime|OwnedFd|BorrowedFd|RawFd)\b|\b(nix|libc|memmap2)::",
    );
    let rule = |source: &Source| {
        let module = loader_module(&source.path).filter(|name| pure.iter().any(|of_pure| of_pure == name));
        let Some(module) = module.filter(|_| !source.is_test()) else { return Vec::new() };
        let code = source.product_code();
        let imports = crate_modules(&code).into_iter().filter(|name| kernel.contains(name));
        let imports = imports.map(|name| format!("uses `crate::{name}` of the kernel half"));
        // Both halves speak of errors, and those of the kernel are errno values.
        let outside = if module == "error" { Vec::new() } else { matches(&code, &outside) };
        imports.chain(outside).collect()
    };
    let bad = [
        ("loader/src/linker.rs", "use crate::{spec::{map}, sys::bpf};"),
        ("loader/src/spec/mod.rs", "fn f() -> crate::map::Map {}"),
        ("loader/src/error.rs", "use crate::load::Object;"),
        ("loader/src/btf/parse.rs", "use std::fs::File;"),
    ];
    hold(rule, &bad);
}

#[test]
fn crates_depend_in_one_direction_and_on_no_other_bpf_library() {
    let above_loader = regex(r"(?m)^(nsmap|tracers)\b");
    let above_nsmap = regex(r"(?m)^tracers\b");
    let rule = |source: &Source| match source.path.as_str() {
        "loader/Cargo.toml" => matches(&source.text, &above_loader),
        "maptool/Cargo.toml" => matches(&source.text, &above_nsmap),
        _ => Vec::new(),
    };
    hold(rule, &[("loader/Cargo.toml", "[dependencies]\nnsmap.workspace = true\n")]);
    let foreign = regex(r#"name = "(libbpf|aya|redbpf|libelf|bpf-sys|bcc)[\w-]*""#);
    assert!(!matches("[[package]]\nname = \"libbpf-sys\"\n", &foreign).is_empty());
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap();
    assert_eq!(matches(&lock, &foreign), Vec::<String>::new());
}

#[test]
fn no_tool_runs_another_program() {
    // But the command that a user asks for with --exec.
    let product = |path: &str| {
        path != "src/command.rs"
            && ["src/", "loader/src/", "maptool/src/"].iter().any(|folder| path.starts_with(folder))
    };
    let running = regex(r"\bprocess::(\{[^}]*\b)?Command\b|\bexecv\w*\(");
    let rule = |source: &Source| match product(&source.path) && source.is_rust() && !source.is_test() {
        true => matches(&source.product_code(), &running),
        false => Vec::new(),
    };
    hold(
        rule,
        &[
            ("maptool/src/cli.rs", "use std::process::{ExitCode, Command};"),
            ("src/a.rs", "process::Command::new(x)"),
        ],
    );
}

/// The names of the programs and maps in a C file, and how many sections it has that should have given one.
fn bpf_names(text: &str) -> (Vec<String>, usize) {
    let comment = regex(r"(?s)/\*.*?\*/|//[^\n]*");
    let program = regex(r#"SEC\("[^"]*"\)\s*(?:\w+\s+)*?int\s+(?:BPF_\w+\(\s*)?(\w+)"#);
    let map = regex(r#"\}\s*(\w+)\s+SEC\("\.maps"\)"#);
    let section = regex(r#"SEC\("[^"]*"\)"#);
    let code = comment.replace_all(text, " ");
    let found = program.captures_iter(&code).chain(map.captures_iter(&code));
    let names = found.map(|captures| captures[1].to_owned()).collect();
    (names, section.find_iter(&code).filter(|found| !found.as_str().contains("license")).count())
}

#[test]
fn names_of_bpf_programs_and_maps_fit_what_the_kernel_keeps() {
    // BPF_OBJ_NAME_LEN is 16 with the NUL.
    let rule = |source: &Source| {
        if !source.is_bpf_c() {
            return Vec::new();
        }
        let (names, sections) = bpf_names(&source.text);
        let too_long =
            names.iter().filter(|name| name.len() > 15).map(|name| format!("`{name}` is over 15 characters"));
        let unseen =
            (names.len() != sections).then(|| format!("{sections} sections but {} names found", names.len()));
        too_long.chain(unseen).collect()
    };
    let bad = [
        ("bpf-src/x.bpf.c", "SEC(\"tp_btf/a\")\nint a_name_of_16_chr(u64 *ctx) {}"),
        ("bpf-src/x.bpf.c", "struct { int a; } a_name_of_16_chr SEC(\".maps\");"),
        ("bpf-src/x.bpf.c", "SEC(\"kprobe/a\") STRANGE_MACRO(a)"),
    ];
    hold(rule, &bad);
}

/// What is missing for each tracer, from the paths of the tree and the text of the README.
fn incomplete_tracers(paths: &[&str], readme: &str) -> Vec<String> {
    let named = |prefix: &str, suffix: &str| -> BTreeSet<String> {
        let inner = paths.iter().filter_map(|path| path.strip_prefix(prefix)?.strip_suffix(suffix));
        inner.filter(|name| !name.contains('/')).map(str::to_owned).collect()
    };
    let (programs, tools) = (named("bpf-src/", ".bpf.c"), named("src/bin/", ".rs"));
    let tests = named("tests/", ".rs");
    let mut missing = Vec::new();
    for tracer in programs.union(&tools) {
        let places = [
            (programs.contains(tracer), format!("bpf-src/{tracer}.bpf.c")),
            (tools.contains(tracer), format!("src/bin/{tracer}.rs")),
            (tests.contains(tracer), format!("tests/{tracer}.rs")),
            (readme.contains(&format!("`{tracer}`")), format!("a row for `{tracer}` in README.md")),
        ];
        missing.extend(
            places.into_iter().filter(|(there, _)| !there).map(|(_, what)| format!("{tracer}: no {what}")),
        );
    }
    missing
}

#[test]
fn a_tracer_is_one_c_file_one_rust_file_one_test_file_and_a_readme_row() {
    let bad = ["bpf-src/a.bpf.c", "src/bin/a.rs", "src/bin/b.rs", "tests/a.rs"];
    assert_eq!(incomplete_tracers(&bad, "`a` traces").len(), 3);
    let sources = tree();
    let paths: Vec<&str> = sources.iter().map(|source| source.path.as_str()).collect();
    let readme =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap_or_default();
    let missing = incomplete_tracers(&paths, &readme);
    assert!(missing.is_empty(), "\n{}\n", missing.join("\n"));
}

#[test]
fn names_of_tests_are_sentences() {
    let test = regex(r"#\[test\]\s*(?:#\[[^\]]*\]\s*)*(?:pub )?fn (\w+)");
    let rule = |source: &Source| {
        let code = if source.is_rust() { source.code() } else { String::new() };
        let names = test.captures_iter(&code).map(|found| found[1].to_owned());
        names
            .filter(|name| name.split('_').count() < 3)
            .map(|name| format!("`{name}` says too little"))
            .collect()
    };
    hold(
        rule,
        &[
            ("tests/x.rs", "#[test]\nfn parse() {}"),
            ("tests/x.rs", "#[test]\n#[should_panic]\nfn it_works() {}"),
        ],
    );
}

#[test]
fn no_test_is_ignored_since_a_skip_has_to_be_loud() {
    // What measures, and asserts only in a release build, is no test that could be skipped.
    let rule = |source: &Source| {
        let code = if source.is_rust() { source.code() } else { String::new() };
        let lines = code.lines().zip(source.text.lines()).filter(|(code, _)| code.contains("#[ignore"));
        let ignored = lines.map(|(_, text)| text).filter(|text| !text.contains("= \"a measurement\""));
        ignored.map(|text| format!("`{}`", text.trim())).collect()
    };
    hold(rule, &[("tests/x.rs", "#[test]\n#[ignore]\nfn a() {}"), ("tests/x.rs", "#[ignore = \"slow\"]")]);
}

#[test]
fn nothing_is_left_to_do_and_nobodys_machine_is_named() {
    // Written so that they do not match themselves.
    let unwanted = regex(r"\b(TO[D]O|FIX[M]E|XX[X])\b|/wor[k]/|/hom[e]/\w+");
    let rule = |source: &Source| matches(&source.text, &unwanted);
    let bad = [format!("// TO{} later", "DO"), format!("see /wor{}/x", "k"), format!("/hom{}/me", "e")];
    hold(rule, &bad.each_ref().map(|text| ("src/x.rs", text.as_str())));
}
