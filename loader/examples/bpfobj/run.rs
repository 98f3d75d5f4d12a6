//! `bpfobj run`: one program, once, with `BPF_PROG_TEST_RUN`.

use loader::program::TestInput;
use loader::section::program_type;
use loader::spec::{InitialTarget, ObjectSpec};
use loader::{Result, ResultExt as _};
use serde_json::json;

use crate::LoadArgs;
use crate::load::create;
use crate::report::Report;

/// The smallest frame that all programs for packets accept.
const FRAME: [u8; 64] = [0; 64];

/// Runs `program` on `data`, or on a frame of zeros if it is for packets.
pub(crate) fn run(mut spec: ObjectSpec, args: &LoadArgs, name: &str, data: Option<&[u8]>) -> Result<Report> {
    // Only what the program needs: another program of the object may be for another kernel.
    spec.programs.iter_mut().for_each(|program| program.autoload = program.name == name);
    let mut object = create(spec, args, None)?;
    let program = object.load_program(name)?;
    // What it may jump to.
    let tails: Vec<_> = tail_calls(object.spec()).into_iter().filter(|tail| tail != name).collect();
    let _loaded: Vec<_> = tails.iter().filter_map(|tail| object.load_program(tail).ok()).collect();
    let takes_context = [
        program_type::SYSCALL,
        program_type::RAW_TRACEPOINT,
        program_type::RAW_TRACEPOINT_WRITABLE,
        program_type::TRACING,
    ];
    let input = match takes_context.contains(&program.kind().program_type) {
        true => TestInput { data: &[], context: data.unwrap_or_default() },
        false => TestInput { data: data.unwrap_or(&FRAME), context: &[] },
    };
    let value = program.test_run_with(input).with_context(|| format!("run program `{name}`"))?;
    let json = json!({"program": name, "return": value});
    Ok(Report { text: format!("{value}\n"), json, ok: true })
}

/// The programs in the program arrays of the object.
fn tail_calls(spec: &ObjectSpec) -> Vec<String> {
    let values = spec.maps.iter().flat_map(|map| &map.initial_values);
    let programs = values.filter_map(|value| match value.target {
        InitialTarget::Program { index } => spec.programs.get(index).map(|program| program.name.clone()),
        InitialTarget::Map { .. } => None,
    });
    programs.collect()
}
