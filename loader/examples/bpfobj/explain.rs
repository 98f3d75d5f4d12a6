//! `bpfobj explain`: what everything in the object would become. Loads nothing, needs no root.

use std::fmt::Write as _;

use loader::Result;
use loader::attach::usdt::Place;
use loader::load::TargetFiles;
use loader::map::MapConfig;
use loader::plan::{
    PlannedCode, PlannedExtern, PlannedHook, PlannedProgram, PlannedRelocation, Reference, plan,
};
use loader::spec::{ObjectSpec, RelocTarget};
use serde_json::{Value, json};

use crate::inspect::{endian, list, word};
use crate::names;
use crate::report::{Report, error_json};

/// The plan for `spec` on this kernel, or on that whose types are in `files`.
pub(crate) fn explain(spec: ObjectSpec, files: &TargetFiles) -> Result<Report> {
    let plan = plan(spec.clone(), files)?;
    let maps = spec.maps.iter().zip(&plan.maps);
    let externs = spec.externs.iter().zip(&plan.externs);
    let programs = spec.programs.iter().zip(&plan.programs);
    let ok = plan.maps.iter().all(Result::is_ok) && plan.programs.iter().all(is_ok);
    let json = json!({
        "endian": endian(&spec),
        "loadable_here": spec.endian == loader::Endian::NATIVE,
        "maps": maps.map(|(map, config)| result_json(&map.name, config, map_json)).collect::<Vec<_>>(),
        "externs": externs.map(|(e, planned)| result_json(&e.name, planned, extern_json)).collect::<Vec<_>>(),
        "programs": programs.map(|(program, planned)| program_json(&spec, &program.name, planned)).collect::<Vec<_>>(),
    });
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_text(&mut text, &json);
    Ok(Report { text, json, ok })
}

/// Poisoned instructions are no refusal: the program may never reach them.
fn is_ok(program: &PlannedProgram) -> bool {
    let externs = |code: &PlannedCode| code.references.iter().all(|reference| reference.refused.is_none());
    program.hook.is_ok() && program.code.as_ref().is_ok_and(externs)
}

fn result_json<T>(name: &str, result: &Result<T>, json: fn(&T) -> Value) -> Value {
    match result {
        Ok(value) => json!({"name": name, "becomes": json(value)}),
        Err(error) => json!({"name": name, "error": error_json(error)}),
    }
}

fn map_json(config: &MapConfig<'static>) -> Value {
    json!({
        "type": names::map(config.map_type),
        "key_size": config.key_size,
        "value_size": config.value_size,
        "max_entries": config.max_entries,
        "flags": config.map_flags,
    })
}

fn extern_json(planned: &PlannedExtern) -> Value {
    match planned {
        PlannedExtern::Value(bytes) => {
            json!({"bytes": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()})
        }
        PlannedExtern::Address(address) => json!({"address": format!("{address:#x}")}),
        PlannedExtern::Type { id, module } => json!({"btf_id": id, "module": module}),
        PlannedExtern::Absent => json!("absent"),
        PlannedExtern::Hidden => json!("hidden from this process"),
    }
}

fn program_json(spec: &ObjectSpec, name: &str, planned: &PlannedProgram) -> Value {
    let hook = match &planned.hook {
        Ok(hook) => hook_json(hook),
        Err(error) => json!({"error": error_json(error)}),
    };
    match &planned.code {
        Ok(code) => json!({
            "name": name,
            "hook": hook,
            "instructions": code.slots,
            "references": code.references.iter().map(|it| reference_json(spec, it)).collect::<Vec<_>>(),
            "core": code.core.iter().map(core_json).collect::<Vec<_>>(),
        }),
        Err(error) => json!({"name": name, "hook": hook, "error": error_json(error)}),
    }
}

fn hook_json(hook: &PlannedHook) -> Value {
    match hook {
        PlannedHook::Type { name, id, module } => json!({"name": name, "btf_id": id, "module": module}),
        PlannedHook::Tracepoint { id } => json!({"tracepoint_id": id}),
        PlannedHook::Symbol { name } => json!({"symbol": name}),
        PlannedHook::File { path, offset } => json!({"file": path, "offset": offset}),
        PlannedHook::Places { path, places } => {
            let place_json = |place: &Place| json!({"offset": place.offset, "semaphore": place.semaphore, "arguments": place.arguments});
            json!({"file": path, "places": places.iter().map(place_json).collect::<Vec<_>>()})
        }
        PlannedHook::Caller => json!("chosen by the caller"),
        PlannedHook::Unknown => json!("not known here"),
    }
}

fn reference_json(spec: &ObjectSpec, reference: &Reference) -> Value {
    let map = |index: usize| spec.maps.get(index).map(|map| map.name.clone());
    let mut json = match reference.target {
        RelocTarget::Map { index } => json!({"map": map(index)}),
        RelocTarget::Data { map: index, offset } => json!({"map": map(index), "offset": offset}),
        RelocTarget::Extern { index } => json!({"extern": spec.externs.get(index).map(|it| it.name.clone())}),
        RelocTarget::JumpTable { index } => json!({"jump_table": index}),
        RelocTarget::Function { .. } | RelocTarget::FunctionAddress { .. } => json!({}),
    };
    if let Some(object) = json.as_object_mut() {
        object.insert("at".to_owned(), reference.at.0.into());
        object.insert("refused".to_owned(), reference.refused.clone().into());
    }
    json
}

fn core_json(relocation: &PlannedRelocation) -> Value {
    let mut json = json!({
        "at": relocation.at.0,
        "kind": relocation.kind.word(),
        "access": relocation.access,
        "file": relocation.source.as_ref().map(|line| line.file.clone()),
        "line": relocation.source.as_ref().map(|line| line.line),
        "before": relocation.before,
    });
    if let Some(object) = json.as_object_mut() {
        match &relocation.after {
            Ok(after) => object.insert("after".to_owned(), (*after).into()),
            Err(failure) => object.insert(
                "poisoned".to_owned(),
                json!({"reason": failure.reason().to_string(), "nearest": failure.nearest()}),
            ),
        };
    }
    json
}

fn write_text(out: &mut String, json: &Value) -> std::fmt::Result {
    for (key, title) in [("maps", "maps"), ("externs", "externs")] {
        writeln!(out, "{title}")?;
        for entry in list(json, key) {
            writeln!(out, "  {}  {}", word(entry, "name"), outcome(entry, "becomes"))?;
        }
    }
    writeln!(out, "programs")?;
    for program in list(json, "programs") {
        writeln!(out, "  {}  hook: {}", word(program, "name"), outcome(program, "hook"))?;
        if let Some(error) = program.get("error") {
            writeln!(out, "    refused: {}", word(error, "message"))?;
        }
        for reference in list(program, "references").iter().filter(|it| !word(it, "refused").is_empty()) {
            writeln!(out, "    {}: refused: {}", word(reference, "at"), word(reference, "refused"))?;
        }
        for relocation in list(program, "core") {
            write_relocation(out, relocation)?;
        }
    }
    Ok(())
}

fn write_relocation(out: &mut String, relocation: &Value) -> std::fmt::Result {
    let (at, kind, access) = (word(relocation, "at"), word(relocation, "kind"), word(relocation, "access"));
    write!(out, "    {at}: {kind} of {access}: ")?;
    match relocation.get("poisoned") {
        Some(poisoned) => {
            let nearest: Vec<String> = list(poisoned, "nearest").iter().map(Value::to_string).collect();
            let nearest = if nearest.is_empty() {
                String::new()
            } else {
                format!(" (nearest: {})", nearest.join(", "))
            };
            writeln!(out, "poisoned: {}{nearest}", word(poisoned, "reason"))
        }
        None => writeln!(out, "{} -> {}", word(relocation, "before"), word(relocation, "after")),
    }
}

/// An entry's outcome in one phrase: its error's message, or the names and values of what it becomes.
fn outcome(entry: &Value, key: &str) -> String {
    let becomes = entry.get(key).unwrap_or(&Value::Null);
    if let Some(error) = entry.get("error").filter(|_| key != "hook").or(becomes.get("error")) {
        return format!("refused: {}", word(error, "message"));
    }
    match becomes {
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let shown = fields.iter().filter(|(_, value)| !value.is_null());
            shown
                .map(|(name, _)| format!("{} {}", name.replace('_', " "), word(becomes, name)))
                .collect::<Vec<_>>()
                .join("  ")
        }
        other => other.to_string(),
    }
}
