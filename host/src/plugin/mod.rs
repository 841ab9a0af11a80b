//! From paths on disk to plugins that are ready to be served: find files, read and load each, refuse what
//! is wrong, compare a version with the one before it, keep what was compiled.
//!
//! Called by `host` at start and when files change; calls `guest` and `pool`. Invariant: a file that is
//! refused changes nothing for the others.

mod cache;
mod compatible;
mod find;
mod inspect;
mod load;

pub(crate) use cache::Cache;
pub(crate) use compatible::changes;
pub(crate) use find::{Found, Look, Print, Roots, name};
pub use inspect::{Inspection, inspect};
pub use load::Digest;
pub(crate) use load::{Content, Loaded, load, read};
