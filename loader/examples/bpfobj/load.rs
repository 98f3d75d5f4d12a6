//! `bpfobj load`: each program on its own.

use std::fmt::Write as _;
use std::path::Path;

use loader::load::{LoadOptions, Object, TargetFiles};
use loader::spec::{ObjectSpec, Pinning};
use loader::{Error, Program, Result, ResultExt as _};
use serde_json::{Value, json};

use crate::LoadArgs;
use crate::report::{Report, error_json};

/// Loads the named programs, or all that load by default.
pub(crate) fn load(
    spec: ObjectSpec,
    args: &LoadArgs,
    wanted: &[String],
    pin: Option<&Path>,
) -> Result<Report> {
    let names = wanted_names(&spec, wanted)?;
    let mut object = create(spec, args, pin)?;
    let mut report = Report { text: String::new(), json: Value::Null, ok: true };
    let mut maps = Vec::new();
    for (name, error) in object.failed_maps() {
        let _ = writeln!(report.text, "map {name}: {error}");
        maps.push(json!({"name": name, "error": error_json(error)}));
        report.ok = false;
    }
    let mut programs = Vec::new();
    let mut kept = Vec::new();
    for name in names {
        let loaded = object.load_program(&name).and_then(|program| {
            pin_program(&program, pin)?;
            Ok(program)
        });
        // Writing to a string cannot fail.
        let _ = match &loaded {
            Ok(_) => writeln!(report.text, "{name}: ok"),
            Err(error) => writeln!(report.text, "{name}: {error}"),
        };
        programs.push(match &loaded {
            Ok(program) => json!({"name": name, "ok": true, "id": program.info().map(|info| info.id).ok()}),
            Err(error) => json!({"name": name, "ok": false, "error": error_json(error)}),
        });
        report.ok &= loaded.is_ok();
        // Kept until all are loaded: an extension may replace a function of one of them.
        kept.extend(loaded.ok());
    }
    report.json = json!({"programs": programs, "failed_maps": maps});
    Ok(report)
}

/// The maps of the object. Without a directory to pin to, maps that ask to be pinned are not, so that trying an object
/// leaves nothing behind.
pub(crate) fn create(mut spec: ObjectSpec, args: &LoadArgs, pin: Option<&Path>) -> Result<Object> {
    if pin.is_none() {
        spec.maps.iter_mut().for_each(|map| map.pinning = Pinning::None);
    }
    let pin_root = pin.map(Path::to_path_buf);
    let TargetFiles { kernel: btf, modules: module_btf } = args.types.files();
    let options = LoadOptions { btf, module_btf, pin_root, skip_failed_maps: true, ..LoadOptions::default() };
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
