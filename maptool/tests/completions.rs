//! Completions that know what there is now, in the shell that every test machine has.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::process::{Command, Stdio};

use common::{Cgroup, Lacking, Sandbox, arg, skip};

/// What bash offers for the last word, sorted.
fn offered(sandbox: &Sandbox, words: &[&str]) -> Option<Vec<String>> {
    let script = sandbox.plain("completion.bash");
    fs::write(&script, sandbox.run(["generate", "completions", "bash"]).ok()).unwrap();
    let test = r#"
        source "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        _nsmap_now "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = Command::new("bash");
    bash.args(["-c", test, "bash", arg(&script), env!("CARGO_BIN_EXE_nsmap")]).args(words);
    bash.env("NSMAP_MNTNS_SET", sandbox.pin("mnt_ns_set"));
    bash.env("NSMAP_CGROUP_SET", sandbox.pin("cgroup_set"));
    bash.env("NSMAP_HOST_ROOT", sandbox.plain("host")).stdin(Stdio::null());
    let Ok(output) = bash.output() else {
        skip(&Lacking::Peer("bash"));
        return None;
    };
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let mut offered: Vec<String> =
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    offered.sort();
    Some(offered)
}

#[test]
fn pinned_sets_are_offered_and_other_pins_are_not() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create"]).ok();
    sandbox.run(["create", "--kind", "cgroup", arg(&sandbox.pin("mine"))]).ok();
    sandbox
        .run([
            "map",
            "create",
            arg(&sandbox.pin("array")),
            "type",
            "array",
            "key",
            "4",
            "value",
            "4",
            "entries",
            "1",
            "name",
            "x",
        ])
        .ok();
    let (first, second) = (sandbox.pin("mine"), sandbox.pin("mnt_ns_set"));
    let expected = vec![arg(&first).to_owned(), arg(&second).to_owned()];
    let directory = format!("{}/", arg(sandbox.pin("x").parent().unwrap()));
    for words in [
        ["list", &directory].as_slice(),
        &["apply", "x", "--map", &directory],
        &["add-mntns", "--map", &directory],
    ] {
        let Some(offered) = offered(&sandbox, words) else { return };
        assert_eq!(offered, expected, "{words:?}");
    }
    assert_eq!(offered(&sandbox, &["list", arg(&first)]).unwrap(), [arg(&first)]);
    // What clap knows is offered as before.
    assert!(offered(&sandbox, &["add-c"]).unwrap().contains(&"add-container".to_owned()));
    assert!(offered(&sandbox, &["list", "--"]).unwrap().contains(&"--kind".to_owned()));
}

#[test]
fn containers_are_offered_but_for_names_that_a_shell_would_run() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(own) = Cgroup::new() else { return };
    let mark = sandbox.plain("mark");
    for (digit, name) in
        [("1", "web-1"), ("2", "$(touch mark)"), ("3", "web 3"), ("4", "web-4;x"), ("5", "-web")]
    {
        let id = digit.repeat(64);
        fs::create_dir_all(own.path.join("docker").join(&id)).unwrap();
        let file = sandbox.plain("host/var/lib/docker/containers").join(&id).join("config.v2.json");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, format!(r#"{{"ID":"{id}","Name":"/{}"}}"#, name.replace("mark", arg(&mark))))
            .unwrap();
    }
    let found = offered(&sandbox, &["add-container", "web"]);
    let all = sandbox
        .nsmap()
        .env("NSMAP_HOST_ROOT", sandbox.plain("host"))
        .args(["generate", "words", "containers"])
        .output();
    for digit in 1..=5 {
        fs::remove_dir(own.path.join("docker").join(digit.to_string().repeat(64))).unwrap();
    }
    let Some(found) = found else { return };
    assert_eq!(found, ["web-1"]);
    let all = String::from_utf8(all.unwrap().stdout).unwrap();
    assert!(all.lines().all(|word| !word.contains(['$', ' ', ';']) && !word.starts_with('-')), "{all}");
    assert!(!mark.exists());
}

#[test]
fn every_shell_asks_for_sets_containers_and_pods() {
    let Some(sandbox) = Sandbox::new() else { return };
    for shell in ["bash", "zsh", "fish"] {
        let script = sandbox.run(["generate", "completions", shell]).ok();
        assert!(script.contains("generate words"), "{shell}");
        for what in ["sets", "containers", "pods"] {
            assert!(script.contains(what), "{shell} {what}");
        }
    }
    let script = sandbox.run(["generate", "completions", "zsh"]).ok();
    assert!(script.starts_with("#compdef nsmap\n"));
    assert_eq!(script.matches(":_nsmap_containers'").count(), 1);
    assert_eq!(script.matches(":_nsmap_pods'").count(), 1);
    let is_set = |line: &&str| {
        ["--map=[", "'::path -- The set ", "':from -- ", "':to -- "].iter().any(|part| line.contains(part))
    };
    let lines: Vec<&str> = script.lines().filter(is_set).collect();
    assert!(lines.len() > 30 && lines.iter().all(|line| line.contains(":_nsmap_sets'")), "{lines:#?}");
}

#[test]
fn the_scripts_are_such_in_their_shells() {
    let Some(sandbox) = Sandbox::new() else { return };
    for shell in ["bash", "zsh", "fish"] {
        let file = sandbox.plain(shell);
        fs::write(&file, sandbox.run(["generate", "completions", shell]).ok()).unwrap();
        match Command::new(shell).arg("-n").arg(&file).output() {
            Ok(output) => assert!(output.status.success() && output.stderr.is_empty(), "{shell}: {output:?}"),
            Err(_) => skip(&Lacking::Peer(shell)),
        }
    }
}

#[test]
fn an_option_and_its_path_in_one_word_and_the_set_behind_a_number_are_completed() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create"]).ok();
    let set = sandbox.pin("mnt_ns_set");
    for words in [
        ["export", "--map", "=", ""].as_slice(),
        &["export", "--map", "="],
        &["resize", "7", ""],
        &["resize", "--map", ""],
    ] {
        let Some(offered) = offered(&sandbox, words) else { return };
        assert_eq!(offered, [arg(&set)], "{words:?}");
    }
    assert!(!offered(&sandbox, &["resize", ""]).unwrap().contains(&arg(&set).to_owned()));
}

#[test]
fn fish_offers_what_there_is_now() {
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.run(["create"]).ok();
    let set = sandbox.pin("mnt_ns_set");
    let script = sandbox.plain("nsmap.fish");
    fs::write(&script, sandbox.run(["generate", "completions", "fish"]).ok()).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_nsmap"), sandbox.plain("nsmap")).unwrap();
    let path = format!("{}:{}", arg(&sandbox.plain("")), std::env::var("PATH").unwrap());
    let offered = |line: &str| {
        let mut fish = Command::new("fish");
        fish.args(["-N", "-c", "source $argv[1]; complete -C $argv[2]", arg(&script), line]);
        fish.env("PATH", &path).env("HOME", sandbox.plain("")).env("NSMAP_MNTNS_SET", &set);
        Some(String::from_utf8(fish.stdin(Stdio::null()).output().ok()?.stdout).unwrap())
    };
    for line in ["nsmap list ", "nsmap --json gc ", "nsmap add-mntns --map ", "nsmap resize 7 "] {
        let Some(offered) = offered(line) else { return skip(&Lacking::Peer("fish")) };
        assert!(offered.lines().any(|word| word == arg(&set)), "{line}: {offered}");
    }
    assert!(!offered("nsmap resize ").unwrap().contains(arg(&set)));
    assert!(offered("nsmap add-c").unwrap().starts_with("add-cgroup\t"));
}

#[test]
fn man_pages_of_all_commands_are_set_without_a_warning() {
    let Some(sandbox) = Sandbox::new() else { return };
    let directory = sandbox.plain("man");
    fs::create_dir(&directory).unwrap();
    sandbox.run(["generate", "man", "--out", arg(&directory)]).ok();
    let pages: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(pages.len() > 30 && pages.contains(&directory.join("nsmap-follow.1")), "{pages:?}");
    for page in &pages {
        let Ok(output) = Command::new("groff").args(["-ww", "-man", "-Tutf8"]).arg(page).output() else {
            return skip(&Lacking::Peer("groff"));
        };
        assert!(output.status.success() && output.stderr.is_empty(), "{page:?}: {output:?}");
        assert!(fs::read_to_string(page).unwrap().contains(".SH \"EXAMPLES\"\n.nf\nnsmap "), "{page:?}");
    }
}
