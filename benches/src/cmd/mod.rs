//! The commands of `switchboard-bench`, one file each.
//!
//! Called by `main`; the work is in the library.

pub(crate) mod compare;
pub(crate) mod load;
pub(crate) mod serve;
