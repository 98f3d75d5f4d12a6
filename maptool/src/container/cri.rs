//! Kubernetes' interface of container runtimes (CRI), as containerd, CRI-O and cri-dockerd speak it: which pods and
//! containers run, and their labels.
//!
//! In: the socket of a runtime. Out: [`Record`]s. The messages are those of `k8s.io/cri-api`'s `api.proto`, of which the
//! few fields that are used have had the same numbers since v1alpha2.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use super::connection::{Problem, Timed};
use super::grpc;
use super::patterns::Engine;
use super::state::{self, Record};

/// Versions of the service, the newest first: containerd 1.5 and CRI-O 1.22 have only the older one.
const SERVICES: [&str; 2] = ["/runtime.v1.RuntimeService", "/runtime.v1alpha2.RuntimeService"];

/// The containers and sandboxes that run. Both questions together end at `deadline`.
///
/// # Errors
/// `NobodyThere` for a runtime whose CRI is turned off, as Docker's containerd has it.
pub(super) fn list(path: &Path, engine: Engine, deadline: Instant) -> Result<Vec<Record>, Problem> {
    let ask = |service: &str, method: &str, message: &[u8]| {
        let mut connection = Timed::connect(path, deadline)?;
        grpc::call(&mut connection, &format!("{service}/{method}"), message)
    };
    let strange = || Problem::wrong("answers something that is no list of pods and containers");
    let mut refused = Problem::NobodyThere("it does not speak CRI".to_owned());
    for service in SERVICES {
        // `filter.state.state` of sandboxes: ready, which is 0 and left out; of containers: running.
        let pods = match ask(service, "ListPodSandbox", &[0x0a, 2, 0x12, 0]) {
            Err(problem @ Problem::NobodyThere(_)) => {
                refused = problem;
                continue;
            }
            pods => pods?,
        };
        let containers = ask(service, "ListContainers", &[0x0a, 4, 0x12, 2, 0x08, 1])?;
        return records(&pods, &containers, engine).ok_or_else(strange);
    }
    Err(refused)
}

/// `None`: the messages are damaged.
fn records(pods: &[u8], containers: &[u8], engine: Engine) -> Option<Vec<Record>> {
    let mut sandboxes = HashMap::new();
    for message in messages(pods, 1)? {
        let sandbox = sandbox(message, engine)?;
        sandboxes.insert(sandbox.id.clone(), sandbox);
    }
    let mut records = Vec::new();
    for message in messages(containers, 1)? {
        records.push(container(message, engine, &sandboxes)?);
    }
    // The containers first: they are what is looked for if there are too many of both.
    records.extend(sandboxes.into_values());
    records.retain(|record| !record.id.is_empty());
    Some(records)
}

/// `PodSandbox`.
fn sandbox(message: &[u8], engine: Engine) -> Option<Record> {
    let mut record = Record { engine: Some(engine), is_all: true, ..Record::default() };
    record.pod.is_sandbox = true;
    for field in fields(message) {
        match field? {
            (1, Value::Bytes(id)) => record.id = text(id)?,
            (2, Value::Bytes(metadata)) => {
                for field in fields(metadata) {
                    match field? {
                        (1, Value::Bytes(name)) => record.pod.name = text(name)?,
                        (3, Value::Bytes(namespace)) => record.pod.namespace = text(namespace)?,
                        _ => {}
                    }
                }
            }
            (5, Value::Bytes(entry)) => record.labels.extend(label(entry)),
            _ => {}
        }
    }
    Some(record)
}

/// `Container`; the labels of its pod are its own, too.
fn container(message: &[u8], engine: Engine, sandboxes: &HashMap<String, Record>) -> Option<Record> {
    let mut record = Record { engine: Some(engine), is_all: true, ..Record::default() };
    let (mut sandbox, mut name) = (String::new(), String::new());
    for field in fields(message) {
        match field? {
            (1, Value::Bytes(id)) => record.id = text(id)?,
            (2, Value::Bytes(id)) => sandbox = text(id)?,
            (3, Value::Bytes(metadata)) => name = first_text(metadata)?,
            // A name as the user gave it, or a digest, which is no name.
            (4, Value::Bytes(image)) => {
                record.image =
                    Some(first_text(image)?).filter(|name| !name.is_empty() && !name.starts_with("sha256:"));
            }
            (8, Value::Bytes(entry)) => record.labels.extend(label(entry)),
            _ => {}
        }
    }
    state::from_annotations(&mut record);
    if let Some(sandbox) = sandboxes.get(&sandbox) {
        record.pod = sandbox.pod.clone();
        for (key, value) in &sandbox.labels {
            record.labels.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    record.pod.is_sandbox = false;
    if !name.is_empty() {
        record.pod.container = name;
    }
    Some(record)
}

// ---- protocol buffers ---------------------------------------------------------------------------------------------------

/// What a field holds; numbers of fixed size are of no use here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value<'a> {
    Number,
    Bytes(&'a [u8]),
}

/// The fields of a message with their numbers, in order; `None` where it is damaged, and then the end.
fn fields(message: &[u8]) -> impl Iterator<Item = Option<(u64, Value<'_>)>> {
    let mut rest = Some(message);
    std::iter::from_fn(move || {
        let message = rest.filter(|rest| !rest.is_empty())?;
        let field = field(message);
        rest = field.map(|(_, rest)| rest);
        Some(field.map(|(field, _)| field))
    })
}

type Field<'a> = (u64, Value<'a>);

/// The first field, and what is behind it.
fn field(message: &[u8]) -> Option<(Field<'_>, &[u8])> {
    let (tag, rest) = varint(message)?;
    let (value, rest) = match tag & 7 {
        0 => (Value::Number, varint(rest)?.1),
        1 => (Value::Number, rest.get(8..)?),
        2 => {
            let (length, rest) = varint(rest)?;
            let (bytes, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            (Value::Bytes(bytes), rest)
        }
        5 => (Value::Number, rest.get(4..)?),
        _ => return None,
    };
    Some(((tag >> 3, value), rest))
}

/// Seven bits in each byte, the lowest first; the eighth says that there are more.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let length = bytes.iter().take(10).position(|byte| byte & 0x80 == 0)? + 1;
    let (own, rest) = bytes.split_at_checked(length)?;
    let number = own.iter().rev().try_fold(0_u64, |number, byte| {
        number.checked_mul(128).map(|number| number | u64::from(byte & 0x7f))
    });
    Some((number?, rest))
}

/// The messages in a repeated field.
fn messages(message: &[u8], number: u64) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    for field in fields(message) {
        if let (own, Value::Bytes(bytes)) = field?
            && own == number
        {
            found.push(bytes);
        }
    }
    Some(found)
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

/// Field 1 of a message, a text; empty if it is not there.
fn first_text(message: &[u8]) -> Option<String> {
    messages(message, 1)?.last().map_or(Some(String::new()), |bytes| text(bytes))
}

/// An entry of a map of texts: key and value.
fn label(entry: &[u8]) -> Option<(String, String)> {
    let part = |number| messages(entry, number)?.last().map_or(Some(String::new()), |bytes| text(bytes));
    Some((part(1)?, part(2)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of bytes.
    fn f(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        out.extend(bytes);
        out
    }

    fn pod() -> Vec<u8> {
        let metadata = [f(1, b"web-0"), f(2, b"uid"), f(3, b"shop"), vec![0x20, 3]].concat();
        let label = [f(1, b"app"), f(2, b"web")].concat();
        // Also the time of its creation, and a field of a later version.
        let rest = [vec![0x20, 0x80, 1], vec![0x99, 1], vec![0; 8], vec![0x95, 1], vec![0; 4]].concat();
        f(1, &[f(1, b"sandbox"), f(2, &metadata), f(5, &label), rest].concat())
    }

    fn container() -> Vec<u8> {
        let name = [f(1, b"nginx"), vec![0x10, 1]].concat();
        let label = [f(1, b"tier"), f(2, b"")].concat();
        f(1, &[f(1, b"id"), f(2, b"sandbox"), f(3, &name), f(4, &f(1, b"nginx:1")), f(8, &label)].concat())
    }

    #[test]
    fn pods_and_containers_are_read_with_the_labels_of_both() {
        let records = records(&pod(), &container(), Engine::Containerd).unwrap();
        let [container, sandbox] = records.as_slice() else { unreachable!("{records:?}") };
        assert_eq!((sandbox.id.as_str(), sandbox.pod.is_sandbox), ("sandbox", true));
        assert_eq!((container.id.as_str(), container.image.as_deref()), ("id", Some("nginx:1")));
        let pod = &container.pod;
        assert_eq!(
            (pod.namespace.as_str(), pod.name.as_str(), pod.container.as_str(), pod.is_sandbox),
            ("shop", "web-0", "nginx", false)
        );
        assert_eq!(container.labels["app"], "web");
        assert_eq!(container.labels["tier"], "");
    }

    #[test]
    fn damaged_messages_are_refused_and_never_misread() {
        let (pods, containers) = (pod(), container());
        for length in 1..pods.len() {
            assert_eq!(records(&pods[..length], &containers, Engine::Crio), None, "{length}");
        }
        for at in 0..pods.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut damaged = pods.clone();
                damaged[at] = value;
                // Whatever comes out, it comes to an end.
                let _ = records(&damaged, &containers, Engine::Crio);
            }
        }
        assert_eq!(varint(&[0xff; 10]), None);
        assert_eq!(varint(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]), None, "70 bits");
        assert_eq!(varint(&[0xac, 0x02, 9]), Some((300, &[9][..])));
        assert!(records(&f(1, &f(1, b"\xff")), &[], Engine::Crio).is_none(), "no UTF-8");
    }
}
