//! The command line: what is read, what is refused, and that help helps.

use super::*;
use clap::CommandFactory;

fn mntns(text: &str) -> Result<MntnsItem, String> {
    mntns_item(OsStr::new(text))
}

fn cgroup(text: &str) -> Result<CgroupItem, String> {
    cgroup_item(OsStr::new(text))
}

#[test]
fn the_help_of_every_command_ends_with_examples() {
    for command in Cli::command().get_subcommands_mut().filter(|command| !command.is_hide_set()) {
        let help = command.render_long_help().to_string();
        let example = format!("nsmap {}", command.get_name());
        let (_, examples) = help.split_once("Examples:").unwrap_or_else(|| panic!("{example} has none"));
        assert!(examples.contains(&example), "{example} is not among its own examples");
    }
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn small_numbers_are_pids_and_large_ones_namespaces() {
    assert_eq!(mntns("1"), Ok(MntnsItem::Pid(1)));
    assert_eq!(mntns("4194304"), Ok(MntnsItem::Pid(4_194_304)));
    // The initial namespace since 6.18, which lies below the dynamic numbers.
    assert_eq!(mntns("4026531832"), Ok(MntnsItem::Inode(4_026_531_832)));
    assert_eq!(mntns("mnt:[4026532178]"), Ok(MntnsItem::Inode(4_026_532_178)));
    assert_eq!(mntns("/proc/1/ns/mnt"), Ok(MntnsItem::File("/proc/1/ns/mnt".into())));
    for bad in ["0", "4194305", "4294967296", "99999999999999999999999", ""] {
        assert!(mntns(bad).is_err(), "{bad}");
    }
}

#[test]
fn bare_numbers_are_cgroup_ids() {
    assert_eq!(cgroup("25"), Ok(CgroupItem::Id(25)));
    assert_eq!(cgroup("./25"), Ok(CgroupItem::Path("./25".into())));
    assert!(cgroup("18446744073709551616").is_err());
}

#[test]
fn names_and_modes_are_read_strictly() {
    assert!(map_name("mnt_ns_set").is_ok());
    for bad in ["", "a-b", "sixteen_letters_", "ü"] {
        assert!(map_name(bad).is_err(), "{bad}");
    }
    assert_eq!(octal_mode("0640"), Ok(0o640));
    for bad in ["", "8", "1000", "+600", "-1", "0x1"] {
        assert!(octal_mode(bad).is_err(), "{bad}");
    }
}

#[test]
fn times_have_units() {
    assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
    assert_eq!((duration("7"), duration("7s")), (Ok(Duration::from_secs(7)), Ok(Duration::from_secs(7))));
    for bad in ["", "0", "m", "1d", "-1s", "1.5h", "99999999999999999999h"] {
        assert!(duration(bad).is_err(), "{bad}");
    }
}

#[test]
fn counts_must_be_positive() {
    let parse = |args: &[&str]| Cli::try_parse_from(args).is_ok();
    assert!(parse(&["nsmap", "create", "--entries", "1"]));
    assert!(!parse(&["nsmap", "create", "--entries", "0"]));
    assert!(!parse(&["nsmap", "create", "--entries", "4294967296"]));
    assert!(!parse(&["nsmap", "add-pid", "0"]));
    assert!(!parse(&["nsmap", "add-pid"]));
    assert!(!parse(&["nsmap", "cgroupid", "print-hex", "/x"]));
}
