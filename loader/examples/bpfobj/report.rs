//! What a command answers: the same facts as text and as JSON.

use serde_json::{Value, json};

/// An answer.
pub(crate) struct Report {
    /// For people; ends with a newline.
    pub(crate) text: String,
    /// For programs.
    pub(crate) json: Value,
    /// Nothing was refused.
    pub(crate) ok: bool,
}

/// In one line, with how to see the rest; or all of it.
pub(crate) fn refusal(error: &loader::Error, verbose: bool) -> String {
    match error.verifier_log() {
        Some(_) if verbose => format!("{error:#}").trim_end().to_owned(),
        Some(_) => format!("{error}; see it with --verbose"),
        None => error.to_string(),
    }
}

/// `{"kind": ..., "message": ..., "log": ...}`.
pub(crate) fn error_json(error: &loader::Error) -> Value {
    let mut object = json!({"kind": kind_word(error.kind()), "message": error.to_string()});
    if let (Some(log), Some(object)) = (error.verifier_log(), object.as_object_mut()) {
        object.insert("log".to_owned(), Value::from(log));
    }
    object
}

fn kind_word(kind: loader::ErrorKind) -> &'static str {
    use loader::ErrorKind::*;
    match kind {
        InvalidObject => "invalid_object",
        NotFound => "not_found",
        NotSupported { .. } => "not_supported",
        Permission => "permission",
        Verifier => "verifier",
        Limit => "limit",
        Incompatible => "incompatible",
        Exists => "exists",
        _ => "io",
    }
}
