//! From paths on disk to plugins that are served: find files, load each, refuse what is wrong.
//!
//! Called by `host` at start; calls `guest` and `pool`. Invariant: a file that is refused changes
//! nothing for the others, and every refusal names its file.

mod load;

pub(crate) use load::{Loaded, find, load, name};
