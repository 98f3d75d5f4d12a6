//! From what a set holds to what it shall hold: the difference, and carrying it out with few system calls.
//!
//! In: members present and wanted. Out: a [`Plan`]; after [`Plan::carry_out`], exactly what was done. When a set
//! is replaced, it is all or nothing.

use std::collections::HashMap;

use loader::{Error, ErrorKind, Result};

use crate::set::{Member, Set};

/// What has to change. All lists are ascending by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Not there yet.
    pub add: Vec<Member>,
    /// There with another value: the old one, and the one it shall get.
    pub update: Vec<(Member, Member)>,
    /// There, and not wanted. Empty unless the set is replaced.
    pub remove: Vec<Member>,
    /// There as wanted.
    pub unchanged: usize,
    /// There, not wanted, and left alone.
    pub kept: usize,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Members that are new.
    pub added: usize,
    /// Members with a new value.
    pub updated: usize,
    /// Members that are gone.
    pub removed: usize,
}

impl Plan {
    /// The way from `present` to `wanted`; of several wanted members with one number the last counts. With
    /// `replace`, what is not wanted goes.
    pub fn new(present: &[Member], wanted: Vec<Member>, replace: bool) -> Self {
        let mut plan = Self::default();
        let last = settled(wanted);
        if present.is_empty() {
            plan.add = last;
            return plan;
        }
        let present = settled(present.to_vec());
        // Both are ascending: one walk through the two of them.
        let mut left = Vec::new();
        let mut present = present.into_iter().peekable();
        for member in last {
            while let Some(old) = present.next_if(|old| old.key() < member.key()) {
                left.push(old);
            }
            match present.next_if(|old| old.key() == member.key()) {
                None => plan.add.push(member),
                Some(old) if old == member => plan.unchanged += 1,
                Some(old) => plan.update.push((old, member)),
            }
        }
        left.extend(present);
        if replace {
            plan.remove = left;
        } else {
            plan.kept = left.len();
        }
        plan
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.add.len() + self.update.len() + self.remove.len()
    }

    /// Whether nothing has to be done.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.update.is_empty() && self.remove.is_empty()
    }

    /// How many members there are afterwards.
    pub fn used_after(&self) -> usize {
        self.add.len() + self.update.len() + self.unchanged + self.kept
    }

    /// Changes the set. What could be done before an error is reported exactly; `Limit` means that it is full.
    pub fn carry_out(&self, set: &Set) -> (Done, Result<()>) {
        self.carry_out_told(set, &mut |_| {})
    }

    /// As [`Plan::carry_out`]; `told` hears now and then how many changes are done, of [`Plan::len`].
    pub fn carry_out_told(&self, set: &Set, told: &mut dyn FnMut(usize)) -> (Done, Result<()>) {
        let mut done = Done::default();
        let result = self.steps(set, &mut done, told);
        (done, result)
    }

    /// What goes makes room only if it is needed: members that stay are never missing meanwhile.
    fn steps(&self, set: &Set, done: &mut Done, told: &mut dyn FnMut(usize)) -> Result<()> {
        let capacity = set.capacity() as usize;
        let room = capacity.saturating_sub(self.used_after() - self.add.len() + self.remove.len());
        if room < self.add.len() {
            done.removed = self.remove_all(set)?;
        }
        let updates: Vec<Member> = self.update.iter().map(|(_, new)| *new).collect();
        let before = done.removed;
        let (updated, result) = set.insert_many_told(&updates, &mut |some| told(before + some));
        done.updated = updated;
        result?;
        let before = before + updated;
        let (added, result) = set.insert_many_told(&self.add, &mut |some| told(before + some));
        done.added = added;
        result?;
        if room >= self.add.len() {
            done.removed = self.remove_all(set)?;
        }
        Ok(())
    }

    fn remove_all(&self, set: &Set) -> Result<usize> {
        let keys: Vec<u64> = self.remove.iter().map(Member::key).collect();
        if keys.is_empty() { Ok(0) } else { set.remove_many(&keys) }
    }

    /// As [`Plan::carry_out`], but after an error the set is as it was.
    ///
    /// # Errors
    /// `Limit` when it would not fit, before anything is changed; what stopped it; and if the way back fails too,
    /// that.
    pub fn carry_out_or_undo(&self, set: &Set, told: &mut dyn FnMut(usize)) -> Result<Done> {
        let capacity = set.capacity() as usize;
        if self.used_after() > capacity {
            let wanted = self.used_after();
            return Err(Error::new(
                ErrorKind::Limit,
                format!("{wanted} members do not fit, there is room for {capacity}"),
            ));
        }
        match self.carry_out_told(set, told) {
            (done, Ok(())) => Ok(done),
            (_, Err(error)) => match self.undo(set) {
                Ok(()) => Err(error.context("nothing was changed")),
                Err(second) => Err(error.context(format!("the set could not be restored ({second})"))),
            },
        }
    }

    /// Only what differs from what was: of a set that refuses every change, nothing does.
    fn undo(&self, set: &Set) -> Result<()> {
        let now: HashMap<u64, Member> =
            set.members()?.into_iter().map(|member| (member.key(), member)).collect();
        let added: Vec<u64> = self.add.iter().map(Member::key).filter(|key| now.contains_key(key)).collect();
        if !added.is_empty() {
            set.remove_many(&added)?;
        }
        let old = self.update.iter().map(|(old, _)| old).chain(&self.remove);
        let old: Vec<Member> = old.filter(|old| now.get(&old.key()) != Some(old)).copied().collect();
        set.insert_many(&old).1
    }
}

/// Ascending by number; of several with one number the last.
fn settled(mut members: Vec<Member>) -> Vec<Member> {
    if members.is_sorted_by(|one, next| one.key() < next.key()) {
        return members;
    }
    // Stable: the last of several stays behind the others.
    members.sort_by_key(Member::key);
    members.dedup_by(|next, kept| {
        let same = next.key() == kept.key();
        if same {
            *kept = *next;
        }
        same
    });
    members
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::set::CgroupMember;

    fn members(ids: &[(u64, bool)]) -> Vec<Member> {
        ids.iter().map(|&(id, subtree)| Member::Cgroup(CgroupMember::new(id, subtree))).collect()
    }

    #[test]
    fn the_difference_is_exact() {
        let present = members(&[(1, false), (2, false), (3, false)]);
        let wanted = members(&[(4, true), (2, false), (3, true), (4, false)]);
        let plan = Plan::new(&present, wanted.clone(), true);
        assert_eq!(plan.add, members(&[(4, false)]), "the last of two counts");
        assert_eq!(plan.update, [(members(&[(3, false)])[0], members(&[(3, true)])[0])]);
        assert_eq!(plan.remove, members(&[(1, false)]));
        assert_eq!((plan.unchanged, plan.used_after()), (1, 3));
        assert!(Plan::new(&present, wanted, false).remove.is_empty());
    }

    #[test]
    fn the_same_members_need_nothing() {
        let same = members(&[(1, false), (2, true)]);
        assert!(Plan::new(&same, same.clone(), true).is_empty());
    }
}
