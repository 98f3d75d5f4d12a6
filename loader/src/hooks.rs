//! Choosing a hook: a fallback chain as a value.
//!
//! In: an ordered list of [`Way`]s, best first, each a set of programs that observe the same thing together.
//! Out: [`Attached`], the first way whose programs all load and attach on this kernel, with the reason
//! why each better one was refused. The kernel is asked by trial; no version is compared, since
//! distributions move features and policies forbid them (EPERM, ENOENT, 524, EINVAL, ENOMEM have all been seen
//! for "no fentry here").

use std::fmt;

use crate::attach::{self, Link};
use crate::error::{Error, ErrorKind, Result};
use crate::load::Object;
use crate::program::Program;

/// One way to observe something.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// What people call it: shown in messages and accepted where a hook can be chosen by name.
    pub name: &'a str,
    /// The programs that must all be attached.
    pub programs: &'a [&'a str],
    /// Programs that are attached where this kernel has their target, such as syscalls that came later.
    pub optional: &'a [&'a str],
}

/// A way, or an optional program of the way that is used, that could not be used.
#[derive(Debug)]
pub struct Refusal {
    /// Name of the way or of the program.
    pub name: String,
    /// Why.
    pub reason: Error,
}

/// A way at work.
#[derive(Debug)]
pub struct Attached {
    /// Name of the way.
    pub name: String,
    /// The programs, in the order attached.
    pub programs: Vec<Program>,
    /// Their links.
    pub links: Vec<Link>,
    /// Better ways that were refused, and optional programs that were left out.
    pub refused: Vec<Refusal>,
}

/// Attaches the first of `ways` that works.
///
/// # Errors
/// The refusal of the last way, in the context of all the others, when none works.
pub fn attach_first(object: &mut Object, ways: &[Way<'_>]) -> Result<Attached> {
    attach_first_by(object, ways, attach::attach)
}

/// As [`attach_first`], attached by `attach`, which may know fewer ways: see [`attach::attach_in_kernel`].
///
/// # Errors
/// As [`attach_first`].
pub fn attach_first_by(
    object: &mut Object,
    ways: &[Way<'_>],
    attach: impl Fn(&Program) -> Result<Link> + Copy,
) -> Result<Attached> {
    let mut refused = Vec::new();
    for way in ways {
        match attach_way(object, way, attach) {
            Ok(mut attached) => {
                refused.append(&mut attached.refused);
                attached.refused = refused;
                return Ok(attached);
            }
            Err(reason) => refused.push(Refusal { name: way.name.to_owned(), reason }),
        }
    }
    Err(all_refused(refused))
}

/// All programs of a way or, on an error, none: links detach when they are dropped.
fn attach_way(
    object: &mut Object,
    way: &Way<'_>,
    attach: impl Fn(&Program) -> Result<Link>,
) -> Result<Attached> {
    let mut attached =
        Attached { name: way.name.to_owned(), programs: Vec::new(), links: Vec::new(), refused: Vec::new() };
    for name in way.programs {
        possible(object, name)?;
    }
    // Load everything first: a program that does not load costs less to undo than one that is attached.
    for name in way.programs {
        attached.programs.push(object.load_program(name)?);
    }
    for program in &attached.programs {
        attached.links.push(attach(program)?);
    }
    for name in way.optional {
        let loaded = possible(object, name).and_then(|()| object.load_program(name));
        match loaded.and_then(|program| Ok((attach(&program)?, program))) {
            Ok((link, program)) => {
                attached.links.push(link);
                attached.programs.push(program);
            }
            Err(reason) => attached.refused.push(Refusal { name: (*name).to_owned(), reason }),
        }
    }
    Ok(attached)
}

/// Whether it is worth while to load the program `name`: loading takes a hundred times as long as to ask.
fn possible(object: &mut Object, name: &str) -> Result<()> {
    let found = object.spec().program(name);
    found.map_or(Ok(()), |program| attach::possible(&program.kind.target))?;
    object.may_trace(name)
}

fn all_refused(mut refused: Vec<Refusal>) -> Error {
    match refused.pop() {
        None => Error::new(ErrorKind::NotFound, "no way was named"),
        Some(last) if refused.is_empty() => last.reason.context(last.name),
        Some(last) => {
            let others: Vec<String> = refused.iter().map(ToString::to_string).collect();
            last.reason.context(format!("no way works on this kernel ({}); {}", others.join("; "), last.name))
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}
