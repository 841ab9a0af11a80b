//! Where compiled plugins are kept. A leaf; `plugin::cache` goes by it.

use std::path::{Path, PathBuf};

use super::grants::GrantsConfig;

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

impl CacheConfig {
    /// A fault for each folder with the cache in it that plugins may write to: compiled code is run as it is, so one
    /// of them could have the host run anything. Looks where links lead.
    pub(super) fn faults(&self, grants: &GrantsConfig) -> Vec<String> {
        let own = real(&self.folder);
        let folders = grants.folders.iter().filter(|folder| folder.writable);
        let holds = folders.filter(|folder| own.starts_with(real(&folder.host)));
        let said = holds.map(|folder| {
            let (shown, cache) = (folder.host.display(), self.folder.display());
            format!(
                "grants: folder {shown} holds the cache {cache}, and a plugin that may write there could have its own \
                 code run by the host: grant another folder"
            )
        });
        said.collect()
    }
}

/// Where a path leads, also if its last parts are not there yet.
fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute
        .canonicalize()
        .unwrap_or_else(|_| match (absolute.parent(), absolute.file_name()) {
            (Some(parent), Some(name)) => real(parent).join(name),
            _ => absolute.clone(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FolderGrant;

    #[test]
    fn no_plugin_may_write_to_the_folder_of_compiled_code() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["state", "state/data"] {
            std::fs::create_dir(at(name)).expect("made");
        }
        std::os::unix::fs::symlink("state", at("link")).expect("linked");
        // It is not there yet, and is given through a link.
        let cache = CacheConfig::new(at("link/below/cache"));
        let faults = |of: FolderGrant| {
            cache.faults(&GrantsConfig {
                folders: vec![of],
                ..GrantsConfig::default()
            })
        };
        let faulty = faults(FolderGrant::read_write(at("state"), "/state"));
        assert!(
            faulty.len() == 1 && faulty[0].contains("holds the cache"),
            "{faulty:?}"
        );
        assert_eq!(
            faults(FolderGrant::read_write(folder.path(), "/all")).len(),
            1
        );
        assert_eq!(
            faults(FolderGrant::read_write(at("state/data"), "/data")),
            [""; 0]
        );
        assert_eq!(
            faults(FolderGrant::read_only(at("state"), "/state")),
            [""; 0]
        );
    }
}
