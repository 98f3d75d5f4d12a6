//! `bpfobj load`: each program on its own.

use std::fmt::Write as _;
use std::path::Path;

use loader::load::{LoadOptions, Object, TargetFiles};
use loader::section::Target;
use loader::spec::{ObjectSpec, Pinning};
use loader::{Error, Program, Result, ResultExt as _};
use serde_json::{Value, json};

use crate::report::{Report, error_json, refusal};
use crate::{LoadArgs, WhichArgs};

/// Loads the named programs, or all that load by default.
pub(crate) fn load(spec: ObjectSpec, args: &LoadArgs, which: &WhichArgs) -> Result<Report> {
    let names = wanted_names(&spec, &which.program)?;
    let pin = which.pin.as_deref();
    let mut object = create(spec, args, pin)?;
    let extended =
        which.attach_to.as_deref().map(|extended| open_program(&mut object, extended)).transpose()?;
    let mut report = Report { text: String::new(), json: Value::Null, ok: true };
    let mut maps = Vec::new();
    for (name, error) in object.failed_maps() {
        let _ = writeln!(report.text, "map {name}: {error}");
        maps.push(json!({"name": name, "error": error_json(error)}));
        report.ok = false;
    }
    let mut programs = Vec::new();
    for name in names {
        let loaded = load_one(&mut object, &name, extended.as_ref()).and_then(|program| {
            pin_program(&program, pin)?;
            Ok(program)
        });
        // Writing to a string cannot fail.
        let _ = match &loaded {
            Ok(_) => writeln!(report.text, "{name}: ok"),
            Err(error) => writeln!(report.text, "{name}: {}", refusal(error, args.verbose)),
        };
        programs.push(match &loaded {
            Ok(program) => json!({"name": name, "ok": true, "id": program.info().map(|info| info.id).ok()}),
            Err(error) => json!({"name": name, "ok": false, "error": error_json(error)}),
        });
        report.ok &= loaded.is_ok();
    }
    report.json = json!({"programs": programs, "failed_maps": maps});
    Ok(report)
}

/// A program that is loaded already, or that of the object with that name.
fn open_program(object: &mut Object, which: &str) -> Result<Program> {
    let opened = if which.contains('/') {
        Program::open_pinned(Path::new(which))
    } else if let Ok(id) = which.parse() {
        Program::open_id(id)
    } else {
        object.load_program(which)
    };
    opened.with_context(|| format!("open program `{which}` to attach to"))
}

fn load_one(object: &mut Object, name: &str, extended: Option<&Program>) -> Result<Program> {
    let on_program = |target: &Target| {
        matches!(target, Target::ProgramFunction { .. } | Target::Function { module: None, .. })
    };
    let goes_on = object.spec().program(name).is_some_and(|program| on_program(&program.kind.target));
    match extended.filter(|_| goes_on) {
        Some(extended) => object.load_program_on(name, extended),
        None => object.load_program(name),
    }
}

/// The maps of the object. Without a directory to pin to, maps that ask to be pinned are not, so that trying an object
/// leaves nothing behind.
pub(crate) fn create(mut spec: ObjectSpec, args: &LoadArgs, pin: Option<&Path>) -> Result<Object> {
    if pin.is_none() {
        let pinned = spec.maps.iter_mut().filter(|map| map.pinning == Pinning::ByName);
        pinned.for_each(|map| map.pinning = Pinning::None);
    }
    let pin_root = pin.map(Path::to_path_buf);
    let TargetFiles { kernel: btf, modules: module_btf } = args.types.files();
    let token = args.token.clone();
    let options =
        LoadOptions { btf, module_btf, pin_root, token, skip_failed_maps: true, ..LoadOptions::default() };
    Object::create(spec, options).with_context(|| format!("object `{}`", args.object.display()))
}

fn wanted_names(spec: &ObjectSpec, wanted: &[String]) -> Result<Vec<String>> {
    if wanted.is_empty() {
        let default = spec.programs.iter().filter(|program| program.autoload);
        return Ok(default.map(|program| program.name.clone()).collect());
    }
    match wanted.iter().find(|name| spec.program(name).is_none()) {
        Some(name) => Err(Error::not_found(format!("the object has no program `{name}`"))),
        None => Ok(wanted.to_vec()),
    }
}

fn pin_program(program: &Program, pin: Option<&Path>) -> Result<()> {
    let Some(directory) = pin else { return Ok(()) };
    std::fs::create_dir_all(directory).map_err(|error| Error::io("mkdir", error))?;
    let path = directory.join(program.name());
    program.pin(&path).with_context(|| format!("pin program to `{}`", path.display()))
}
