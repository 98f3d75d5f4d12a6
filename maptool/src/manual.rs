//! Man pages of all our tools: clap's, with examples and tables that keep their lines.
//!
//! In: the definition of a command. Out: a page for man(1). What stands at the end of the long help is a paragraph each, and
//! where lines are indented, a block, under a heading if the line before them ends with a colon.

use std::io;

use clap_mangen::Man;

/// The page of a command; `name` is that of the page, `section` of the manual, as text ("1", "8"), and `source` the package
/// with its version.
///
/// # Errors
/// Of writing to memory: none.
pub fn page(command: clap::Command, name: &str, section: &str, source: &str) -> io::Result<Vec<u8>> {
    let behind = command.get_after_long_help().or(command.get_after_help());
    let behind = behind.map(ToString::to_string).unwrap_or_default();
    let has_subcommands = command.get_subcommands().any(|sub| !sub.is_hide_set());
    let man = Man::new(command).title(name).section(section).source(source).manual(if section == "8" {
        "System Administration"
    } else {
        "User Commands"
    });
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    let mut options = Vec::new();
    man.render_options_section(&mut options)?;
    page.extend_from_slice(with_columns(&String::from_utf8_lossy(&options)).as_bytes());
    if has_subcommands {
        man.render_subcommands_section(&mut page)?;
    }
    page.extend_from_slice(ending(&behind).as_bytes());
    Ok(page)
}

/// Lines that are a table, and would be filled up as a paragraph.
fn with_columns(text: &str) -> String {
    let is_table = |line: &str| line.contains("   ") && !line.starts_with('.');
    let mut out = String::new();
    let mut inside = false;
    for line in text.lines() {
        if is_table(line) != inside {
            out.push_str(if inside { ".fi\n" } else { ".nf\n" });
            inside = !inside;
        }
        out.push_str(line);
        out.push('\n');
    }
    out.push_str(if inside { ".fi\n" } else { "" });
    out
}

fn ending(text: &str) -> String {
    let mut out = String::new();
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        match paragraph.split_once(":\n  ") {
            Some((heading, lines)) => {
                let lines: Vec<String> = format!("  {lines}").lines().map(escaped).collect();
                let heading = escaped(&heading.to_uppercase());
                out.push_str(&format!(".SH \"{heading}\"\n.nf\n{}\n.fi\n", lines.join("\n")));
            }
            None if paragraph.starts_with("  ") => {
                let lines: Vec<String> = paragraph.lines().map(escaped).collect();
                out.push_str(&format!(".PP\n.nf\n{}\n.fi\n", lines.join("\n")));
            }
            None => {
                let lines: Vec<String> = paragraph.lines().map(escaped).collect();
                out.push_str(&format!(".PP\n{}\n", lines.join("\n")));
            }
        }
    }
    out
}

/// A line that roff(7) shows as it is. Two columns of indentation are the page's own.
fn escaped(line: &str) -> String {
    let line = line.strip_prefix("  ").unwrap_or(line);
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_keep_their_columns() {
        let text = ".TP   x\na text\nb     one\n      two\nend\nc   three\n";
        let expected = ".TP   x\na text\n.nf\nb     one\n      two\n.fi\nend\n.nf\nc   three\n.fi\n";
        assert_eq!(with_columns(text), expected);
    }

    #[test]
    fn indented_lines_are_a_block_and_the_rest_paragraphs() {
        let text = "Examples:\n  a-b   \\ x\n  .c\n\n  d\n\nA text of\n'two' lines.";
        let expected = ".SH \"EXAMPLES\"\n.nf\na\\-b   \\e x\n\\&.c\n.fi\n.PP\n.nf\nd\n.fi\n\
                        .PP\nA text of\n\\&'two' lines.\n";
        assert_eq!(ending(text), expected);
    }
}
