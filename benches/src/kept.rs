//! Results in files, with where and from what they were measured, and the sections of documents that show them.
//!
//! Called by `cmd::ladder`, `cmd::guests` and by the test that keeps `docs/benchmarks.md` true. What `compare` keeps
//! has a form of its own, `results`. Knows nothing of what was measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::machine::{Machine, Source};

/// What was measured, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept<T> {
    /// Of what.
    pub source: Source,
    /// When it ended, UTC.
    pub date: String,
    /// What was typed.
    pub command: String,
    /// Where.
    pub machine: Machine,
    /// What came out.
    #[serde(flatten)]
    pub measured: T,
}

/// Where a kind of results is kept and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shelf {
    /// Name of its folder under `results/`, and of its section in a document.
    pub name: &'static str,
    /// Where that folder is.
    root: &'static str,
}

impl Shelf {
    /// The shelf of this name in the repository.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            root: concat!(env!("CARGO_MANIFEST_DIR"), "/results"),
        }
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        Path::new(self.root).join(self.name)
    }

    /// The newest results of a commit, with their file; none if there are none yet.
    ///
    /// # Errors
    /// When a file is of another form.
    pub fn newest<T: DeserializeOwned>(&self) -> Result<Option<(PathBuf, Kept<T>)>> {
        let mut newest: Option<(PathBuf, Kept<T>)> = None;
        let Ok(files) = fs::read_dir(self.folder()) else {
            return Ok(None);
        };
        for file in files {
            let path = file?.path();
            let name = path.to_string_lossy();
            if !name.ends_with(".json") || name.ends_with("-dirty.json") {
                continue;
            }
            let kept = Kept::read(&path)?;
            if newest.as_ref().is_none_or(|(_, one)| one.date < kept.date) {
                newest = Some((path, kept));
            }
        }
        Ok(newest)
    }

    /// Puts text between the marks of this shelf's section in a document.
    ///
    /// # Errors
    /// When the document has no such marks.
    pub fn put(&self, document: &str, text: &str) -> Result<String> {
        let begin = format!("<!-- {}: written by make bench -->\n", self.name);
        let end = format!("<!-- end of {} -->\n", self.name);
        let (before, rest) = document
            .split_once(&begin)
            .with_context(|| format!("no line {begin:?}"))?;
        let (_, after) = rest
            .split_once(&end)
            .with_context(|| format!("no line {end:?}"))?;
        Ok(format!("{before}{begin}{text}{end}{after}"))
    }
}

impl<T> Kept<T> {
    /// What was measured by this program, as it was called.
    #[must_use]
    pub fn new(source: Source, machine: Machine, measured: T) -> Self {
        let typed = std::env::args().skip(1);
        let command = std::iter::once("switchboard-bench".to_owned()).chain(typed);
        Self {
            source,
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            command: command.collect::<Vec<_>>().join(" "),
            machine,
            measured,
        }
    }

    /// One paragraph that says where numbers are from, for the section of a document.
    #[must_use]
    pub fn origin(&self, shelf: &Shelf, file: &str) -> String {
        let Self {
            source,
            date,
            command,
            machine,
            ..
        } = self;
        format!(
            "[{file}](../benches/results/{}/{file}): commit `{}`, {date}, `{command}`. {}, {} cores, {} GiB, {}, \
             {}; niceness {}; load average before it began: {:.1}.\n",
            shelf.name,
            source.commit,
            machine.processor,
            machine.cores,
            machine.memory_bytes >> 30,
            machine.kernel,
            source.rustc,
            machine.niceness,
            machine.load_before,
        )
    }
}

impl<T: Serialize> Kept<T> {
    /// Writes it on its shelf, named after `name` and the commit; answers where.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, shelf: &Shelf, name: &str) -> Result<PathBuf> {
        let folder = shelf.folder();
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let dirty = if self.source.dirty { "-dirty" } else { "" };
        let path = folder.join(format!("{name}-{}{dirty}.json", self.source.commit));
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// Shows what was written to `path` in a document. Not what was measured of a tree that no commit has.
    ///
    /// # Errors
    /// When it is of no commit, or the document has no place for it.
    pub fn show(
        &self,
        shelf: &Shelf,
        path: &Path,
        document: &Path,
        section: impl FnOnce(&Self, &str) -> String,
    ) -> Result<()> {
        ensure!(
            !self.source.dirty,
            "measured on what no commit has: commit first"
        );
        let file = path.file_name().context("results have a name")?;
        let section = section(self, &file.to_string_lossy());
        let shown = || document.display().to_string();
        let text = fs::read_to_string(document).with_context(shown)?;
        let text = shelf.put(&text, &section).with_context(shown)?;
        fs::write(document, text).with_context(shown)
    }
}

impl<T: DeserializeOwned> Kept<T> {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is not there or of another form.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_replaces_the_one_before_and_no_other() {
        let shelf = Shelf::new("ladder");
        let marks = |name: &str, text: &str| {
            format!("<!-- {name}: written by make bench -->\n{text}<!-- end of {name} -->\n")
        };
        let document = format!("a\n{}b\n{}", marks("guests", "1\n"), marks("ladder", "2\n"));
        let put = shelf.put(&document, "3\n").expect("it has marks");
        let expected = format!("a\n{}b\n{}", marks("guests", "1\n"), marks("ladder", "3\n"));
        assert_eq!(put, expected);
        shelf.put("no marks", "3").expect_err("nowhere to put it");
    }

    #[test]
    fn what_was_written_can_be_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = Source {
            commit: "0123".to_owned(),
            dirty: false,
            rustc: "rustc".to_owned(),
        };
        let kept = Kept::new(source, Machine::this(), crate::ladder::Ladder::default());
        let shelf = Shelf {
            name: "ladder",
            root: folder.path().to_string_lossy().into_owned().leak(),
        };
        assert_eq!(shelf.newest::<crate::ladder::Ladder>().expect("none"), None);
        let path = kept.write(&shelf, "ladder").expect("the folder is there");
        let newest = shelf.newest().expect("it is of this form");
        assert_eq!(newest, Some((path, kept)));
    }
}
