//! Members that the kernel adds by itself, inside mkdir(2): before anything can run in the new cgroup.
//!
//! In: a cgroup set, [`Rule`]s. Out: an attached program, `bpf-src/nsmap/follow.bpf.c`, as long as the value lives. What it
//! adds is looked at again by the follower, when it hears of the new cgroup.

use std::collections::BTreeMap;

use loader::attach::{AttachOptions, Link, raw_tracepoint};
use loader::load::{LoadOptions, Object};
use loader::map::{Map, UpdateMode};
use loader::spec::ObjectSpec;
use loader::{Error, Result, ResultExt};

use super::rule::{self, Rule};
use crate::set::Set;

const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/follow.bpf.o"));
/// Rules for one parent, as in the C file.
const PER_PARENT: usize = 32;

/// An attached program.
#[derive(Debug)]
pub(super) struct Early {
    rules: Map,
    /// How many rules each parent has.
    held: BTreeMap<u64, usize>,
    _link: Link,
}

impl Early {
    /// # Errors
    /// `Permission`: CAP_BPF and CAP_PERFMON are needed. Those of the loader.
    pub(super) fn attach(set: &Set) -> Result<Self> {
        Self::try_attach(set).context("add new cgroups in the kernel")
    }

    fn try_attach(set: &Set) -> Result<Self> {
        let spec = ObjectSpec::parse(OBJECT).context("read the built-in BPF object")?;
        let maps = BTreeMap::from([("cgroup_set".to_owned(), set.map().try_clone()?)]);
        let mut object = Object::create(spec, LoadOptions { maps, ..LoadOptions::default() })?;
        let program = object.load_program("follow_mkdir")?;
        let rules = object.map("rules")?.try_clone()?;
        if rules.value_len() != rule::SIZE {
            return Err(Error::invalid("the built-in BPF object has rules of another size"));
        }
        // Not by the general way, which brings every other kind of hook into this program.
        let link = raw_tracepoint::attach(&program, "cgroup_mkdir", AttachOptions::default())?;
        Ok(Self { rules, held: BTreeMap::new(), _link: link })
    }

    /// The rules for what is made in the cgroup with this id, instead of those that were; 0: anywhere.
    pub(super) fn set_rules(&mut self, parent: u64, rules: &[Rule]) -> Result<()> {
        let rules = rules.get(..PER_PARENT).unwrap_or(rules);
        for (number, rule) in rules.iter().enumerate() {
            self.rules.update(&key(parent, number), &rule.to_bytes(), UpdateMode::Any)?;
        }
        for number in rules.len()..self.held.remove(&parent).unwrap_or(0) {
            self.rules.delete(&key(parent, number))?;
        }
        if !rules.is_empty() {
            self.held.insert(parent, rules.len());
        }
        Ok(())
    }

    /// Keeps the rules of these parents only, as far as they are for a parent.
    pub(super) fn retain(&mut self, keep: impl Fn(u64) -> bool) -> Result<()> {
        let gone: Vec<u64> =
            self.held.keys().copied().filter(|&parent| parent != 0 && !keep(parent)).collect();
        gone.into_iter().try_for_each(|parent| self.set_rules(parent, &[]))
    }
}

/// `struct rule_key`.
fn key(parent: u64, number: usize) -> [u8; 16] {
    let mut key = [0; 16];
    let (first, second) = key.split_at_mut(8);
    first.copy_from_slice(&parent.to_ne_bytes());
    second.copy_from_slice(&u64::try_from(number).unwrap_or(u64::MAX).to_ne_bytes());
    key
}
