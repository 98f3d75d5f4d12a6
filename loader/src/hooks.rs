//! Choosing a hook: a fallback chain as a value.
//!
//! In: an ordered list of [`Way`]s, best first, each a set of programs that observe the same thing together.
//! Out: [`Attached`], the first way whose programs all load and attach on this kernel, with the reason
//! why each better one was refused. A way that does not see everything on this kernel ([`Partial`]) comes after those that
//! do. The kernel is asked by trial; no version is compared, since
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
    /// Further places of programs that are on one perf tracepoint already, as far as this kernel has them.
    pub further: &'a [Further<'a>],
    /// What it does not see on some kernels. There it comes after all ways that see everything.
    pub partial: Option<Partial<'a>>,
}

impl Way<'_> {
    /// No programs: what a way is that says nothing of itself.
    pub const EMPTY: Self = Self { name: "", programs: &[], optional: &[], further: &[], partial: None };

    /// Why there may be something that this way does not see on the kernel for which `object` was made.
    fn unseen(&self, object: &Object) -> Option<Error> {
        let partial = self.partial.as_ref()?;
        let has = |name: &&str| object.kernel_has_function(name) == Some(true);
        let verb = match partial.functions.iter().any(has) {
            true => "has",
            // What the types do not tell is not a no.
            false if !partial.siblings.iter().any(has) => "may have",
            false => return None,
        };
        Some(Error::incompatible(format!("this kernel {verb} {}", partial.unseen)))
    }
}

/// The same program on more perf tracepoints: it is loaded once.
#[derive(Clone, Copy, Debug)]
pub struct Further<'a> {
    /// One of [`Way::programs`].
    pub program: &'a str,
    /// What the tracepoints are listed under in tracefs.
    pub category: &'a str,
    /// Their names.
    pub names: &'a [&'a str],
}

impl Further<'_> {
    /// Numbers of the tracepoints, of those that this kernel has.
    fn ids(&self) -> Vec<Result<u64>> {
        self.names.iter().map(|name| attach::tracepoint_id(self.category, name)).collect()
    }
}

/// What a way does not see on some kernels. They are known by functions, of which the object must be told beforehand:
/// see [`LoadOptions::functions`](crate::load::LoadOptions::functions).
#[derive(Clone, Copy, Debug)]
pub struct Partial<'a> {
    /// A kernel has some of these functions if and only if it has that.
    pub functions: &'a [&'a str],
    /// Other functions of the same kind, some of which every kernel has. In a kernel whose types name none of them,
    /// that none of the first is named means nothing.
    pub siblings: &'a [&'a str],
    /// What that is, as the rest of "this kernel has ".
    pub unseen: &'a str,
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
    let (mut refused, mut partial) = (Vec::new(), Vec::new());
    for way in ways {
        let attached = match way.unseen(object) {
            None => attach_way(object, way, attach),
            Some(reason) => {
                partial.push(way);
                Err(reason)
            }
        };
        match attached {
            Ok(attached) => return Ok(attached.after(refused)),
            Err(reason) => refused.push(Refusal { name: way.name.to_owned(), reason }),
        }
    }
    // Better in part than not at all. Then that they are partial is no longer what they were refused for.
    refused.retain(|refusal: &Refusal| !partial.iter().any(|way| way.name == refusal.name));
    for way in partial {
        match attach_way(object, way, attach) {
            Ok(attached) => return Ok(attached.after(refused)),
            Err(reason) => refused.push(Refusal { name: way.name.to_owned(), reason }),
        }
    }
    Err(all_refused(refused))
}

impl Attached {
    /// With the refusals of ways before it.
    fn after(mut self, mut refused: Vec<Refusal>) -> Self {
        refused.append(&mut self.refused);
        self.refused = refused;
        self
    }
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
    // Looked up before anything is attached, which might observe that.
    let further: Vec<_> = way.further.iter().map(|further| (further, further.ids())).collect();
    for program in &attached.programs {
        attached.links.push(attach(program)?);
    }
    for (further, ids) in further {
        attach_further(further, ids, &mut attached)?;
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

fn attach_further(further: &Further<'_>, ids: Vec<Result<u64>>, attached: &mut Attached) -> Result<()> {
    let program = attached.programs.iter().find(|program| program.name() == further.program);
    let program = program.ok_or_else(|| Error::not_found(format!("no program `{}`", further.program)))?;
    for (name, id) in further.names.iter().zip(ids) {
        match id.and_then(|id| attach::attach_to_tracepoint(program, id)) {
            Ok(link) => attached.links.push(link),
            Err(reason) => {
                let name = format!("tracepoint {}:{name}", further.category);
                attached.refused.push(Refusal { name, reason });
            }
        }
    }
    Ok(())
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
