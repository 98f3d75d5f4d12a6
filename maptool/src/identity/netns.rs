//! Network namespaces, by the inode number that sockets show: that of `/proc/PID/ns/net`.
//!
//! In: a namespace file. Out: its number.

use std::path::Path;

use loader::{Result, ResultExt};

use super::nsfile::{self, Type};
use crate::text;

/// The inode number of the network namespace that a file stands for: a `/proc/PID/ns/net`, or a bind mount of one, such as
/// the `/run/netns/NAME` of ip-netns(8).
///
/// # Errors
/// `NotFound`; `Incompatible`: not a namespace file, or one of another type; `Permission`.
pub fn of_file(path: &Path) -> Result<u32> {
    nsfile::open_read(path)
        .and_then(|file| nsfile::inode(&file, Type::Network))
        .with_context(|| format!("namespace file `{}`", text::path(path)))
}

#[cfg(test)]
mod tests {
    use loader::ErrorKind;

    use super::*;

    #[test]
    fn a_namespace_file_has_the_number_that_its_link_shows() {
        let link = std::fs::read_link("/proc/self/ns/net").unwrap();
        let inode = of_file(Path::new("/proc/self/ns/net")).unwrap();
        assert_eq!(link.to_str(), Some(format!("net:[{inode}]").as_str()));
    }

    #[test]
    fn what_is_no_network_namespace_is_refused_with_what_it_is() {
        for (path, kind, word) in [
            ("/proc/self/ns/mnt", ErrorKind::Incompatible, "`mnt`, expected one of type `net`"),
            ("/proc/self/ns/pid", ErrorKind::Incompatible, "`pid`"),
            ("/proc/self/stat", ErrorKind::Incompatible, "a file on proc, expected a network namespace"),
            ("/no/such", ErrorKind::NotFound, "`/no/such`: not found"),
        ] {
            let error = of_file(Path::new(path)).unwrap_err();
            assert_eq!(error.kind(), kind, "{path}");
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
