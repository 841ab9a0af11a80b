//! `plot`: pictures of the newest results, into `docs/plots/`, and the section of `docs/benchmarks.md` that shows them.
//!
//! Called by `main`; `make bench` runs it last. Measures nothing.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use switchboard_benches::plot::{self, Inputs, SHELF};

use super::progress;

/// What `plot` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Plot {
    /// Folder of `benchmarks.md` and `plots/`.
    #[arg(long, default_value_os_t = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs"))]
    docs: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: &Plot) -> Result<()> {
    let plots = plot::all(&Inputs::newest()?)?;
    let folder = args.docs.join("plots");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    for plot in &plots {
        let path = folder.join(plot.file);
        fs::write(&path, &plot.svg).with_context(|| path.display().to_string())?;
        progress(&format!("wrote {}", path.display()));
    }
    let document = args.docs.join("benchmarks.md");
    let shown = || document.display().to_string();
    let text = fs::read_to_string(&document).with_context(shown)?;
    let text = SHELF
        .put(&text, &plot::section(&plots))
        .with_context(shown)?;
    fs::write(&document, text).with_context(shown)
}
