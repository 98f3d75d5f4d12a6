//! Programs that do nothing, on the hooks of the tracers.

use std::path::Path;

use loader::attach::{self, Link};
use loader::load::{LoadOptions, Object};
use loader::program::Program;
use loader::spec::ObjectSpec;

/// A loaded program of `empty.bpf.c`.
pub(crate) struct Empty(Program);

impl Empty {
    pub(crate) fn load(object: &Path, name: &str) -> Result<Self, String> {
        let load = || {
            let bytes = std::fs::read(object).map_err(|error| loader::Error::io("read", error))?;
            let mut object = Object::create(ObjectSpec::parse(&bytes)?, LoadOptions::default())?;
            object.load_program(name)
        };
        load().map(Self).map_err(|error: loader::Error| error.to_string())
    }

    pub(crate) fn attach(&self) -> Result<Link, String> {
        attach::attach(&self.0).map_err(|error| error.to_string())
    }
}
