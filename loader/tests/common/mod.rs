//! What the loader's tests share: objects built in Rust, objects compiled with clang, and skips that are heard.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]
#![allow(clippy::indexing_slicing, reason = "helpers of tests")]
#![allow(unreachable_pub, reason = "a module of several test binaries")]

pub mod clang;
pub mod elf;
pub mod kernel;
pub mod sample;
