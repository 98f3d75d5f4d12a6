//! Names of users and groups: name in, number out.
//!
//! A program that shares the host's C library asks that, which knows every source of names that the host has. A static one
//! cannot: glibc would load the modules for other sources than files into it, and crashes on hosts where one of
//! them is of another version or missing. It reads the files.

use std::io;

/// The id of a user of this host, or nothing if there is none of that name.
pub fn user_id(name: &str) -> io::Result<Option<u32>> {
    #[cfg(not(target_feature = "crt-static"))]
    return Ok(nix::unistd::User::from_name(name)?.map(|user| user.uid.as_raw()));
    #[cfg(target_feature = "crt-static")]
    return in_file("/etc/passwd", name);
}

/// The id of a group of this host, or nothing if there is none of that name.
pub fn group_id(name: &str) -> io::Result<Option<u32>> {
    #[cfg(not(target_feature = "crt-static"))]
    return Ok(nix::unistd::Group::from_name(name)?.map(|group| group.gid.as_raw()));
    #[cfg(target_feature = "crt-static")]
    return in_file("/etc/group", name);
}

#[cfg(target_feature = "crt-static")]
fn in_file(path: &str, name: &str) -> io::Result<Option<u32>> {
    match std::fs::read(path) {
        Ok(text) => Ok(find(&text, name)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The number in the line of a name: both files begin their lines with `NAME:PASSWORD:NUMBER:`.
#[cfg(any(test, target_feature = "crt-static"))]
fn find(file: &[u8], name: &str) -> Option<u32> {
    file.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        if fields.next()? != name.as_bytes() {
            return None;
        }
        std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_files_whole_and_damaged_lines_are_passed_over() {
        let file =
            b"root:x:0:0:root:/root:/bin/sh\nroo\nbad:x\nworse:x:-1:\n\xff:x:7:\n+::::::\nlast:x:4711:1";
        assert_eq!(find(file, "root"), Some(0));
        assert_eq!(find(file, "last"), Some(4711));
        for none in ["roo", "bad", "worse", "", "+", "nobody", "root:x"] {
            assert_eq!(find(file, none), None, "{none}");
        }
    }

    #[test]
    fn this_host_has_root_and_not_everybody() {
        assert_eq!(user_id("root").unwrap(), Some(0));
        assert_eq!(group_id("root").unwrap(), Some(0));
        assert_eq!(user_id("no-such-user-here").unwrap(), None);
        assert_eq!(group_id("no-such-group-here").unwrap(), None);
    }
}
