//! What all commands that measure have in common: results come from a run or a file, and go to a file and a document.
//!
//! Called by the commands but `compare`, whose results have a form of their own. Knows nothing of what is measured.

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;
use switchboard_benches::kept::{Kept, Shelf};

/// Where results come from and go to.
#[derive(Debug, clap::Args)]
pub(crate) struct Keep {
    /// Write results under this name and the commit.
    #[arg(long, value_name = "NAME")]
    write: Option<String>,
    /// Take results from this file instead of measuring.
    #[arg(long, value_name = "FILE")]
    show: Option<PathBuf>,
    /// Show what was written, or the file of `--show`, in this document.
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
}

impl Keep {
    /// Measures, unless there is a file to show; prints, writes and shows what came out.
    ///
    /// # Errors
    /// When measuring fails, or a file is not to be read or written.
    pub(crate) fn run<T: Serialize + DeserializeOwned>(
        &self,
        shelf: &Shelf,
        measure: impl FnOnce() -> Result<Kept<T>>,
        printed: impl FnOnce(&T) -> String,
        section: impl FnOnce(&Kept<T>, &str) -> String,
    ) -> Result<()> {
        let (kept, path) = match &self.show {
            Some(path) => (Kept::read(path)?, Some(path.clone())),
            None => {
                let kept = measure()?;
                let name = self.write.as_ref();
                let path = name.map(|name| kept.write(shelf, name)).transpose()?;
                (kept, path)
            }
        };
        super::print(&printed(&kept.measured));
        if let (Some(path), Some(document)) = (&path, &self.document) {
            kept.show(shelf, path, document, section)?;
        }
        Ok(())
    }
}
