//! The files of the repository, read once for each rule, and how a rule reports.
//!
//! Every rule module starts here. Paths are relative to the root and written with `/`. Knows no rule:
//! what is skipped (build output, version control, environments) is nobody's source.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

const SKIPPED: [&str; 5] = [".git", "target", ".venv", "node_modules", "__pycache__"];

/// A text file: where it is, and what it says.
#[derive(Debug)]
pub(crate) struct TextFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Places that break a rule.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<String>);

impl Findings {
    pub(crate) fn add(&mut self, path: &str, line: usize, what: impl Display) {
        self.0.push(format!("{path}:{line}: {what}"));
    }

    pub(crate) fn add_file(&mut self, path: &str, what: impl Display) {
        self.0.push(format!("{path}: {what}"));
    }

    /// Fails the test when there are any, with all of them and what to do.
    #[track_caller]
    pub(crate) fn assert_none(self, what_to_do: &str) {
        let Self(found) = self;
        assert!(
            found.is_empty(),
            "{what_to_do}\n  {}\n{} in all",
            found.join("\n  "),
            found.len()
        );
    }
}

/// Where the workspace begins.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies inside the workspace")
        .to_path_buf()
}

/// Whether a file or folder of that name exists.
pub(crate) fn exists(path: &str) -> bool {
    root().join(path).exists()
}

/// The text of a file that a rule cannot do without.
#[track_caller]
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every text file whose path the filter takes, in order of path.
pub(crate) fn files(wanted: impl Fn(&str) -> bool) -> Vec<TextFile> {
    let mut paths = Vec::new();
    walk(&root(), "", &mut paths);
    paths.sort();
    paths
        .into_iter()
        .filter(|path| wanted(path))
        .map(|path| TextFile {
            text: read(&path),
            path,
        })
        .collect()
}

/// Every Rust file. Never empty, so that no rule passes for want of something to look at.
pub(crate) fn rust_files() -> Vec<TextFile> {
    let found = files(|path| path.ends_with(".rs"));
    assert!(
        found.len() > 10,
        "only {} Rust files found: a broken walk",
        found.len()
    );
    found
}

/// The names of the folders directly inside `folder`, in order.
pub(crate) fn folders_in(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap_or_else(|e| panic!("{folder}: {e}"));
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap_or_else(|e| panic!("{folder}: {e}")))
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn walk(folder: &Path, prefix: &str, paths: &mut Vec<String>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let entry = entry.unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if entry.path().is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                walk(&entry.path(), &format!("{path}/"), paths);
            }
        } else {
            paths.push(path);
        }
    }
}

#[test]
fn the_walk_sees_this_file_and_no_build_output() {
    let own = "test-support/tests/tidy/repository.rs";
    let seen = files(|path| path.ends_with(".rs"));
    assert!(seen.iter().any(|file| file.path == own));
    assert!(seen.iter().all(|file| !file.path.starts_with("target/")));
}

#[test]
#[should_panic(expected = "a.rs:3: too long")]
fn findings_fail_the_test_and_name_the_place() {
    let mut findings = Findings::default();
    findings.add("a.rs", 3, "too long");
    findings.assert_none("split it");
}
