//! `bpfobj inspect`: what the object is. Works on objects of either byte order.

use std::fmt::Write as _;

use loader::btf::ext::CoreRecord;
use loader::core_reloc::{describe, type_spelling};
use loader::linker::{LinkedProgram, link};
use loader::spec::{
    ExternKind, ExternSpec, Global, MapSpec, ObjectSpec, Pinning, ProgramSpec, RelocTarget, StructOps,
    StructOpsFunction,
};
use serde_json::{Value, json};

use crate::names;
use crate::report::{Report, error_json};

/// All that the object says.
pub(crate) fn inspect(spec: &ObjectSpec) -> Report {
    let programs: Vec<Value> = spec.programs.iter().map(|program| program_json(spec, program)).collect();
    let json = json!({
        "endian": endian(spec),
        "license": spec.license,
        "version": spec.kernel_version,
        "programs": programs,
        "maps": spec.maps.iter().map(|map| map_json(spec, map)).collect::<Vec<_>>(),
        "globals": spec.globals().iter().map(|global| global_json(spec, global)).collect::<Vec<_>>(),
        "externs": spec.externs.iter().map(|external| extern_json(spec, external)).collect::<Vec<_>>(),
    });
    Report { text: text(&json), json, ok: true }
}

/// `little` or `big`.
pub(crate) fn endian(spec: &ObjectSpec) -> &'static str {
    match spec.endian {
        loader::Endian::Little => "little",
        loader::Endian::Big => "big",
    }
}

fn program_json(spec: &ObjectSpec, program: &ProgramSpec) -> Value {
    let linked = link(spec, program);
    let mut json = json!({
        "name": program.name,
        "section": program.section_name,
        "type": names::program(&program.kind),
        "attach_type": names::attach(&program.kind),
        "target": names::target(&program.kind.target),
        "sleepable": program.kind.sleepable,
        "autoload": program.autoload,
    });
    let rest = match &linked {
        Ok(linked) => json!({
            "instructions": linked.insns.len(),
            "functions": linked.functions.iter().map(|(name, at)| json!({"name": name, "at": at.0})).collect::<Vec<_>>(),
            "relocations": relocation_counts(linked),
            "core": linked.core.iter().map(|record| core_json(linked, record)).collect::<Vec<_>>(),
        }),
        Err(error) => json!({"error": error_json(error)}),
    };
    merge(&mut json, rest);
    json
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

fn relocation_counts(linked: &LinkedProgram) -> Value {
    let count = |wanted: fn(&RelocTarget) -> bool| {
        linked.relocations.iter().filter(|relocation| wanted(&relocation.target)).count()
    };
    json!({
        "map": count(|target| matches!(target, RelocTarget::Map { .. })),
        "data": count(|target| matches!(target, RelocTarget::Data { .. })),
        "extern": count(|target| matches!(target, RelocTarget::Extern { .. })),
        "jump_table": linked.jump_tables.len(),
        "call": linked.functions.len().saturating_sub(1),
        "core": linked.core.len(),
    })
}

fn core_json(linked: &LinkedProgram, record: &CoreRecord) -> Value {
    let described = linked.btf.as_ref().map(|btf| describe(btf, record));
    let source = linked.source_line(record.offset);
    let mut json = json!({
        "at": record.offset.0,
        "file": source.as_ref().map(|line| line.file.clone()),
        "line": source.as_ref().map(|line| line.line),
    });
    merge(
        &mut json,
        match described {
            Some(Ok((kind, access))) => json!({"kind": kind.word(), "access": access}),
            Some(Err(error)) => json!({"error": error_json(&error)}),
            None => json!({}),
        },
    );
    json
}

fn map_json(spec: &ObjectSpec, map: &MapSpec) -> Value {
    let spelling = |id: loader::btf::TypeId| {
        spec.btf.as_ref().filter(|_| id != loader::btf::TypeId::VOID).map(|btf| type_spelling(btf, id))
    };
    json!({
        "name": map.name,
        "type": names::map(map.map_type),
        "key_size": map.key_size,
        "value_size": map.value_size,
        "max_entries": map.max_entries,
        "flags": map.flags,
        "map_extra": map.map_extra,
        "numa_node": map.numa_node,
        "pinning": match map.pinning {
            Pinning::ByName => "by name".to_owned(),
            Pinning::None => "none".to_owned(),
            Pinning::Unknown(number) => format!("unknown ({number})"),
        },
        "key_type": spelling(map.key_type_id),
        "value_type": spelling(map.value_type_id),
        "frozen": map.freeze,
        "initial_values": map.initial_values.len(),
        "struct_ops": map.struct_ops.as_ref().map(|ops| struct_ops_json(spec, ops)),
        "inner": map.inner.as_deref().map(|inner| map_json(spec, inner)),
    })
}

fn struct_ops_json(spec: &ObjectSpec, ops: &StructOps) -> Value {
    let local = spec.btf.as_ref().and_then(|btf| Some((btf, btf.type_by_id(ops.type_id).ok()?)));
    let member =
        |number| local.and_then(|(btf, ty)| Some(btf.string(ty.member(number)?.name_off).ok()?.to_owned()));
    let function = |function: &StructOpsFunction| {
        let program = spec.programs.get(function.program).map(|program| program.name.clone());
        json!({"member": member(function.member), "program": program})
    };
    json!({
        "type": local.map(|(btf, ty)| type_spelling(btf, ty.id())),
        "functions": ops.functions.iter().map(function).collect::<Vec<_>>(),
    })
}

fn global_json(spec: &ObjectSpec, global: &Global) -> Value {
    let ty = global.type_id.and_then(|id| Some(type_spelling(spec.btf.as_ref()?, id)));
    json!({
        "name": global.name,
        "map": spec.maps.get(global.map).map(|map| map.name.clone()),
        "offset": global.offset,
        "size": global.size,
        "type": ty,
    })
}

fn extern_json(spec: &ObjectSpec, external: &ExternSpec) -> Value {
    let spelling = |id| spec.btf.as_ref().map(|btf| type_spelling(btf, id));
    let (kind, ty) = match external.kind {
        ExternKind::Kconfig { type_id, .. } => ("kconfig", spelling(type_id)),
        ExternKind::Address => ("address", None),
        ExternKind::Variable { type_id } => ("variable", spelling(type_id)),
        ExternKind::Function { .. } => ("function", None),
        ExternKind::Undefined => ("undefined", None),
    };
    json!({"name": external.name, "kind": kind, "type": ty, "weak": external.weak})
}

/// The list under `key`.
pub(crate) fn list<'a>(json: &'a Value, key: &str) -> &'a [Value] {
    json.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A string or number under `key` as text; empty if there is none.
pub(crate) fn word(json: &Value, key: &str) -> String {
    match json.get(key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn text(json: &Value) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_text(&mut out, json);
    out
}

fn write_text(out: &mut String, json: &Value) -> std::fmt::Result {
    writeln!(out, "byte order  {}\nlicence     {}", word(json, "endian"), word(json, "license"))?;
    writeln!(out, "programs")?;
    for program in list(json, "programs") {
        write_program(out, program)?;
    }
    writeln!(out, "maps")?;
    for map in list(json, "maps") {
        write_map(out, map, "  ")?;
    }
    writeln!(out, "variables")?;
    for global in list(json, "globals") {
        let (map, offset, size) = (word(global, "map"), word(global, "offset"), word(global, "size"));
        writeln!(out, "  {}  {map}+{offset}  {size} bytes  {}", word(global, "name"), word(global, "type"))?;
    }
    writeln!(out, "externs")?;
    for external in list(json, "externs") {
        let weak = if external.get("weak") == Some(&Value::Bool(true)) { "  weak" } else { "" };
        let (name, kind, ty) = (word(external, "name"), word(external, "kind"), word(external, "type"));
        writeln!(out, "  {name}  {kind}  {ty}{weak}")?;
    }
    Ok(())
}

fn write_program(out: &mut String, program: &Value) -> std::fmt::Result {
    write!(
        out,
        "  {}  section {}  {}",
        word(program, "name"),
        word(program, "section"),
        word(program, "type")
    )?;
    for key in ["attach_type", "target"] {
        let text = word(program, key);
        if !text.is_empty() {
            write!(out, " {text}")?;
        }
    }
    if let Some(error) = program.get("error") {
        return writeln!(out, "\n    cannot be linked: {}", word(error, "message"));
    }
    let count = |kind| program.get("relocations").map(|counts| word(counts, kind)).unwrap_or_default();
    writeln!(
        out,
        "  {} instructions\n    relocations: {} map, {} data, {} extern, {} functions, {} CO-RE",
        word(program, "instructions"),
        count("map"),
        count("data"),
        count("extern"),
        count("call"),
        count("core")
    )?;
    for record in list(program, "core") {
        let (at, kind, access) = (word(record, "at"), word(record, "kind"), word(record, "access"));
        writeln!(out, "    {at}: {kind} of {access}  {}:{}", word(record, "file"), word(record, "line"))?;
    }
    Ok(())
}

fn write_map(out: &mut String, map: &Value, indent: &str) -> std::fmt::Result {
    let sizes = (word(map, "key_size"), word(map, "value_size"), word(map, "max_entries"));
    write!(out, "{indent}{}  {}", word(map, "name"), word(map, "type"))?;
    write!(out, "  key {} value {} entries {} flags {:#x}", sizes.0, sizes.1, sizes.2, number(map, "flags"))?;
    for (key, label) in [("map_extra", "extra"), ("numa_node", "node"), ("initial_values", "initial values")]
    {
        if number(map, key) != 0 {
            write!(out, " {label} {}", number(map, key))?;
        }
    }
    if word(map, "pinning") != "none" {
        write!(out, " pinned {}", word(map, "pinning"))?;
    }
    if word(map, "frozen") == "true" {
        write!(out, " frozen")?;
    }
    for key in ["key_type", "value_type"] {
        let ty = word(map, key);
        if !ty.is_empty() {
            write!(out, "  {}: {ty}", key.replace('_', " "))?;
        }
    }
    writeln!(out)?;
    match map.get("inner") {
        Some(inner) if !inner.is_null() => write_map(out, inner, &format!("{indent}  ")),
        _ => Ok(()),
    }
}

fn number(json: &Value, key: &str) -> u64 {
    json.get(key).and_then(Value::as_u64).unwrap_or(0)
}
