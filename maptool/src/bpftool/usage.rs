//! The usage texts, on standard error as bpftool has them, and the version.

use super::Screen;
use super::args::Words;
use crate::failure::{Code, Failure};

/// What the whole program takes.
pub(super) const TOP: &str = "\
Usage: bpftool [OPTIONS] map { COMMAND | help }
       bpftool batch file FILE
       bpftool version

       OPTIONS := { {-j|--json} [{-p|--pretty}] | {-f|--bpffs} | {-n|--nomount} | {-V|--version} }
";

const MAP: &str = "\
Usage: bpftool map { show | list }   [MAP]
       bpftool map create     FILE type TYPE key KEY_SIZE value VALUE_SIZE \\
                                  entries MAX_ENTRIES name NAME [flags FLAGS] \\
                                  [inner_map MAP]
       bpftool map dump       MAP
       bpftool map update     MAP [key DATA] [value VALUE] [UPDATE_FLAGS]
       bpftool map lookup     MAP [key DATA]
       bpftool map getnext    MAP [key DATA]
       bpftool map delete     MAP  key DATA
       bpftool map pin        MAP  FILE
       bpftool map peek       MAP
       bpftool map push       MAP value VALUE
       bpftool map pop        MAP
       bpftool map enqueue    MAP value VALUE
       bpftool map dequeue    MAP
       bpftool map freeze     MAP
       bpftool map help

       MAP := { id MAP_ID | pinned FILE | name MAP_NAME }
       DATA := { [hex] BYTES }
       VALUE := { DATA | MAP }
       UPDATE_FLAGS := { any | exist | noexist }
       OPTIONS := { {-j|--json} [{-p|--pretty}] | {-f|--bpffs} | {-n|--nomount} }
";

pub(super) fn top_help(screen: &mut Screen, _: Words<'_>) -> Result<(), Failure> {
    help(screen, TOP)
}

pub(super) fn map_help(screen: &mut Screen, _: Words<'_>) -> Result<(), Failure> {
    help(screen, MAP)
}

/// With `-j` there is none.
fn help(screen: &mut Screen, text: &str) -> Result<(), Failure> {
    if !screen.options.json {
        screen.err.push_str(text);
    }
    screen.nothing();
    Ok(())
}

/// A command line that fits no command: the usage text is the message.
pub(super) fn wrong(screen: &mut Screen) -> Failure {
    screen.err.push_str(MAP);
    Failure::new(Code::Usage, "")
}

pub(super) fn version(screen: &mut Screen, _: Words<'_>) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if screen.options.json {
        screen.json.open('{');
        screen.json.text_field("version", version);
        screen.json.text_field("program", "nsmap");
        screen.json.close('}');
    } else {
        screen.plain.push_str(&format!("nsmap {version}, in place of bpftool for its `map` commands\n"));
    }
    Ok(())
}
