//! Completions for shells that also know what there is now: pinned sets, running containers and pods.
//!
//! In: the script that clap writes. Out: the same, asking `nsmap generate words WHAT` where a set, a container or a pod is
//! meant. Words that a shell could take for more than a word are left out: others choose the names of containers.

use std::path::{Path, PathBuf};

use clap_complete::Shell;
use loader::map::Access;
use nsmap::bpffs::MOUNT_POINT;
use nsmap::container::inventory::Inventory;
use nsmap::{Kind, Set};

use super::sets;
use crate::cli::Now;

/// Directories of a bpffs that are looked into, one in the other, and names in all of them.
const DEPTH: usize = 4;
const NAMES: usize = 1 << 12;

/// What may be meant, a word on each line.
pub(super) fn words(what: Now) -> String {
    let mut words = match what {
        Now::Sets => pinned_sets(),
        Now::Containers => containers(),
        Now::Pods => pods(),
    };
    words.retain(|word| is_plain(word));
    words.sort();
    words.dedup();
    words.iter().map(|word| format!("{word}\n")).collect()
}

/// No blank, no quote, nothing that a shell expands, no option.
fn is_plain(word: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./:@-+".contains(&byte);
    !word.is_empty() && !word.starts_with('-') && word.bytes().all(plain)
}

/// On the usual bpffs, and beside the default sets.
fn pinned_sets() -> Vec<String> {
    let beside = Kind::ALL.map(sets::default_path);
    let mut places: Vec<&Path> = beside.iter().filter_map(|path| path.parent()).collect();
    places.push(Path::new(MOUNT_POINT));
    places.sort_unstable();
    places.dedup();
    let mut found = Vec::new();
    let mut left = NAMES;
    places.into_iter().for_each(|place| look_for_sets(place, DEPTH, &mut left, &mut found));
    found.into_iter().filter_map(|path| path.to_str().map(str::to_owned)).collect()
}

fn look_for_sets(directory: &Path, depth: usize, left: &mut usize, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 1 => look_for_sets(&path, depth - 1, left, found),
            Ok(kind) if kind.is_file() && Set::open(&path, Access::ReadOnly).is_ok() => found.push(path),
            _ => {}
        }
    }
}

fn containers() -> Vec<String> {
    let inventory = Inventory::take();
    let shown = inventory.running.iter().filter(|running| !running.pod.is_sandbox);
    let names = |running: &nsmap::container::inventory::Running| match running.names.is_empty() {
        true => vec![running.short_id().to_owned()],
        false => running.names.clone(),
    };
    shown.flat_map(names).collect()
}

fn pods() -> Vec<String> {
    let inventory = Inventory::take();
    let pods = inventory.running.iter().map(|running| &running.pod).filter(|pod| !pod.name.is_empty());
    pods.map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect()
}

/// The script of clap, taught to ask.
pub(super) fn script(shell: Shell, written: &str) -> String {
    match shell {
        Shell::Bash => format!("{written}{BASH}"),
        Shell::Fish => format!("{written}{FISH}"),
        Shell::Zsh => zsh(written),
        _ => written.to_owned(),
    }
}

const BASH: &str = r#"
# Asks nsmap for what there is now; else as above.
_nsmap_now() {
    local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}" command="" what="" word
    # bash takes --map=PATH for three words.
    [[ "$current" != "=" ]] || current=""
    [[ "$previous" != "=" ]] || previous="${COMP_WORDS[COMP_CWORD-2]}"
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "$word" in
            -*) ;;
            *) command="$word"; break ;;
        esac
    done
    case "$command" in
        add-container) what=containers ;;
        add-pod) what=pods ;;
        list|clear|delete|export|diff|gc|test|watch) what=sets ;;
        # The first word is a number.
        resize) [[ ! "$previous" =~ ^[0-9]+$ ]] || what=sets ;;
    esac
    case "$previous" in
        --map) what=sets ;;
        -*) what="" ;;
    esac
    COMPREPLY=()
    if [[ -n "$what" && "$current" != -* ]]; then
        while IFS= read -r word; do
            [[ "$word" == "$current"* ]] && COMPREPLY+=("$word")
        done < <("${COMP_WORDS[0]}" generate words "$what" 2>/dev/null)
    fi
    [[ ${#COMPREPLY[@]} -gt 0 ]] || _nsmap "$@"
}

complete -F _nsmap_now -o bashdefault -o default nsmap
"#;

const FISH: &str = "
# Asks nsmap for what there is now.
complete -c nsmap -n \"__fish_seen_subcommand_from add-container\" -f -a \"(nsmap generate words containers 2>/dev/null)\"
complete -c nsmap -n \"__fish_seen_subcommand_from add-pod\" -f -a \"(nsmap generate words pods 2>/dev/null)\"
complete -c nsmap -n \"__fish_seen_subcommand_from list clear delete export diff gc test watch\" -a \"(nsmap generate words sets 2>/dev/null)\"
complete -c nsmap -n \"__fish_seen_subcommand_from resize; and string match -qr '^[0-9]+\\$' -- (commandline -opc)[-1]\" -a \"(nsmap generate words sets 2>/dev/null)\"
complete -c nsmap -l map -r -a \"(nsmap generate words sets 2>/dev/null)\"
";

const ZSH: &str = r#"
# Asks nsmap for what there is now.
_nsmap_words() {
    local -a words
    words=("${(@f)$(nsmap generate words $1 2>/dev/null)}")
    compadd -a words
}
_nsmap_sets() { _nsmap_words sets; _files }
_nsmap_containers() { _nsmap_words containers }
_nsmap_pods() { _nsmap_words pods }
"#;

/// How clap writes arguments that are sets.
const SET_ARGUMENTS: [&str; 3] = ["'::path -- The set ", "':from -- ", "':to -- "];

/// Each sub-command is a block of its own, after its name in brackets.
fn zsh(written: &str) -> String {
    let mut script = String::with_capacity(written.len() + ZSH.len());
    let mut items = None;
    for (at, line) in written.lines().enumerate() {
        if let Some(name) = line.trim().strip_prefix('(').and_then(|line| line.strip_suffix(')')) {
            items = match name {
                "add-container" => Some(":_nsmap_containers'"),
                "add-pod" => Some(":_nsmap_pods'"),
                _ => None,
            };
        }
        let is_set = SET_ARGUMENTS.iter().any(|argument| line.trim_start().starts_with(argument));
        let line = match is_set {
            true => line.replace(":_files'", ":_nsmap_sets'"),
            false => line.replace(":PATH:_files'", ":PATH:_nsmap_sets'"),
        };
        let line = match items {
            Some(of) if line.contains("*::items") => line.replace(":_default'", of),
            _ => line,
        };
        script.push_str(&line);
        script.push('\n');
        // Behind `#compdef`, which has to be the first line.
        if at == 0 {
            script.push_str(ZSH);
        }
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_gets_nothing_that_it_would_expand() {
        for good in ["web", "shop/web-0", "/sys/fs/bpf/mnt_ns_set", "a.b:c@d+e"] {
            assert!(is_plain(good), "{good}");
        }
        for bad in ["", "-x", "--map", "$(reboot)", "a b", "a;b", "a`b`", "a\nb", "~", "*", "ü", "'", "\\"] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
