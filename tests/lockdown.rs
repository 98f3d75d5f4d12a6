//! Kernel lockdown: what works under it, and what is said of the rest.
//!
//! Lockdown cannot be taken back, so this only runs on a kernel that is thrown away afterwards, as the last of all test
//! programs: in the guests of `make test-kernels`, which sets `TEST_KERNEL`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets something unexpected must fail"
)]

mod common;

use std::fs;

use common::run::run;
use common::sandbox::Sandbox;
use common::skip::{Skip, or_skip, skip};
use common::tracer::Tracer;

const TRACERS: [&str; 5] = ["execsnoop", "opensnoop", "tcpconnect", "tcpaccept", "tcptracer"];
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

fn lock(mode: &str) {
    fs::write(LOCKDOWN, mode).unwrap_or_else(|error| panic!("{LOCKDOWN}: {error}"));
}

/// One test, as the second mode can only follow the first.
#[test]
fn integrity_lockdown_changes_nothing_and_confidentiality_lockdown_is_named_as_the_reason() {
    if std::env::var_os("TEST_KERNEL").is_none() {
        return skip(&Skip::NotInGuest);
    }
    let sandbox = or_skip!(Sandbox::new());
    lock("integrity");
    for tracer in TRACERS {
        Tracer::start(sandbox.command(tracer, [""; 0])).stop().quiet();
    }
    Tracer::start(sandbox.command("execsnoop", ["-x"])).stop().quiet();
    lock("confidentiality");
    for tracer in TRACERS {
        let output = run(&mut sandbox.command(tracer, [""; 0]));
        let line = output.refused(1, tracer);
        assert!(line.contains("lockdown") && line.contains("confidentiality"), "{line}");
    }
    // Sets go on working.
    sandbox.create_set("mntns");
    sandbox.nsmap_ok(["add-self-mntns"]);
}
