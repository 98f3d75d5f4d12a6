//! Names of open flags, and rules made of them for the kernel side.
//!
//! In: names as open(2) has them. Out: pairs of a mask and the bits wanted under it, `struct flag_rule` in
//! `bpf-src/include/open_record.h`. The access modes are values of one field of two bits, so `O_RDONLY`, which has no bit, is a
//! rule too; of flags that contain others (`O_SYNC`, `O_TMPFILE`), all bits are wanted.

/// One flag to filter by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlagRule {
    /// As the user typed it.
    pub(crate) name: &'static str,
    mask: u32,
    bits: u32,
}

const fn flag(name: &'static str, bits: i32) -> FlagRule {
    FlagRule { name, mask: bits.cast_unsigned(), bits: bits.cast_unsigned() }
}

const fn access(name: &'static str, mode: i32) -> FlagRule {
    FlagRule { name, mask: libc::O_ACCMODE.cast_unsigned(), bits: mode.cast_unsigned() }
}

const FLAGS: &[FlagRule] = &[
    access("O_RDONLY", libc::O_RDONLY),
    access("O_WRONLY", libc::O_WRONLY),
    access("O_RDWR", libc::O_RDWR),
    flag("O_CREAT", libc::O_CREAT),
    flag("O_EXCL", libc::O_EXCL),
    flag("O_NOCTTY", libc::O_NOCTTY),
    flag("O_TRUNC", libc::O_TRUNC),
    flag("O_APPEND", libc::O_APPEND),
    flag("O_NONBLOCK", libc::O_NONBLOCK),
    flag("O_NDELAY", libc::O_NONBLOCK),
    flag("O_DSYNC", libc::O_DSYNC),
    flag("O_SYNC", libc::O_SYNC),
    flag("O_RSYNC", libc::O_RSYNC),
    flag("O_ASYNC", libc::O_ASYNC),
    flag("O_DIRECT", libc::O_DIRECT),
    flag("O_DIRECTORY", libc::O_DIRECTORY),
    flag("O_NOFOLLOW", libc::O_NOFOLLOW),
    flag("O_NOATIME", libc::O_NOATIME),
    flag("O_CLOEXEC", libc::O_CLOEXEC),
    flag("O_PATH", libc::O_PATH),
    flag("O_TMPFILE", libc::O_TMPFILE),
];

/// Finds a flag by name.
pub(crate) fn rule(name: &str) -> Result<FlagRule, String> {
    FLAGS.iter().find(|rule| rule.name == name).copied().ok_or_else(|| {
        let names: Vec<&str> = FLAGS.iter().map(|rule| rule.name).collect();
        format!("`{name}` is none of {}", names.join(" "))
    })
}

/// Size of the kernel side's table: `MAX_FLAG_RULES` rules of two integers.
const TABLE_SIZE: usize = 24 * 8;

/// The number of rules, and the table.
pub(crate) fn rules(wanted: &[FlagRule]) -> (u32, Vec<u8>) {
    let mut unique: Vec<FlagRule> = wanted.to_vec();
    unique.sort_unstable_by_key(|rule| (rule.mask, rule.bits));
    unique.dedup_by_key(|rule| (rule.mask, rule.bits));
    let mut table: Vec<u8> =
        unique.iter().flat_map(|rule| [rule.mask, rule.bits]).flat_map(u32::to_ne_bytes).collect();
    table.resize(TABLE_SIZE, 0);
    // Fewer than there are names, because they differ.
    (u32::try_from(unique.len()).unwrap_or(0), table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_found_by_its_exact_name_only() {
        assert_eq!(rule("O_CREAT").map(|rule| rule.bits), Ok(0o100));
        for bad in ["", "o_creat", "O_CREATE", "O_CREAT ", "CREAT", "64"] {
            assert!(rule(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn all_flags_together_fit_the_table_and_read_only_is_one_of_them() {
        let (count, table) = rules(FLAGS);
        assert_eq!(table.len(), TABLE_SIZE);
        assert!(usize::try_from(count).unwrap() * 8 <= TABLE_SIZE);
        let read_only = rule("O_RDONLY").unwrap();
        assert_eq!((read_only.mask, read_only.bits), (3, 0));
        // Two names for one thing are one rule.
        assert_eq!(rules(&[rule("O_NDELAY").unwrap(), rule("O_NONBLOCK").unwrap()]).0, 1);
    }
}
