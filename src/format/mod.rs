//! Values to text: pure functions that append to a byte buffer, which the caller reuses.
//!
//! Nothing here knows a tracer, a column or the kernel. What a value means is in [`crate::field`], where it goes
//! in [`crate::output`].

pub mod address;
pub mod args;
pub mod escape;
pub mod number;
pub mod path;
pub mod time;
pub mod width;
