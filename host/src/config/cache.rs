//! Where compiled plugins are kept. A leaf; `plugin::cache` goes by it.

use std::path::PathBuf;

/// A folder of compiled plugins, so that they need not be compiled again at the next start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// The folder. Made if it is not there, for nobody else to read. Must belong to this user or root, and
    /// nobody else may write to it: what is in it is run as it is.
    pub folder: PathBuf,
    /// All that is kept, in bytes. Default 1 GiB: compiled plugins have some ten times the size of their
    /// files, so that is enough for hundreds. At the limit those that were not used for the longest time go.
    pub bytes_max: u64,
}

impl CacheConfig {
    /// With the default limit.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            bytes_max: 1 << 30,
        }
    }
}
