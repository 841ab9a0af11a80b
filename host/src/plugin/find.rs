//! Which plugin files there are, and whether one is still what it was.
//!
//! Called by `host` at start and whenever something may have changed. Reads folders and what the system says
//! of files, never the files themselves. Invariants: a folder that cannot be read says nothing about the files
//! in it; a file that is there twice counts once.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::BuildError;

/// The ending of a plugin's file name.
const EXTENSION: &str = "wasm";

/// What tells a file from another, and from itself at another time. What is behind links counts: Kubernetes
/// changes mounted files by pointing a link elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Print {
    device: u64,
    inode: u64,
    len: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// The same; no program can set it.
    changed: (i64, i64),
}

impl Print {
    /// Of a file that is open, or behind a path.
    pub(crate) fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A plugin file as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where.
    pub path: PathBuf,
    /// None for one that cannot be looked at, such as a link to nowhere: it is refused when it is read. Left
    /// out, nobody would learn why a plugin is missing.
    pub print: Option<Print>,
}

/// What was found at one time.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// In the order of the paths, and by name within a folder.
    pub files: Vec<Found>,
    /// Folders that could not be read, and why.
    pub unread: Vec<(PathBuf, io::Error)>,
}

impl Look {
    /// Whether a file that was not found is known to be gone.
    pub(crate) fn knows(&self, path: &Path) -> bool {
        !self
            .unread
            .iter()
            .any(|(folder, _)| path.parent() == Some(folder))
    }
}

/// Where plugins come from: files, and folders of them.
#[derive(Clone, Debug)]
pub(crate) struct Roots(Vec<Root>);

#[derive(Clone, Debug)]
struct Root {
    path: PathBuf,
    /// What it was at the start, which counts when it is not there any more.
    folder: bool,
}

impl Roots {
    /// The files and folders behind `paths`: a file is itself, a folder all files in it that end in
    /// `.wasm`; hidden files are left out, since many tools write those and rename.
    ///
    /// # Errors
    /// [`BuildError::Path`] for a path that does not exist or cannot be listed.
    pub(crate) fn open(paths: &[PathBuf]) -> Result<Self, BuildError> {
        let open = |path: &PathBuf| {
            let folder = path.metadata().map(|metadata| metadata.is_dir());
            let folder = folder.and_then(|folder| {
                if folder {
                    list(path)?;
                }
                Ok(folder)
            });
            let path = path.clone();
            match folder {
                Ok(folder) => Ok(Root { path, folder }),
                Err(source) => Err(BuildError::Path { path, source }),
            }
        };
        let roots = Self(paths.iter().map(open).collect::<Result<_, _>>()?);
        for path in roots.look_at_all().1 {
            tracing::info!(path = %path.display(), "a file that is given twice is loaded once");
        }
        Ok(roots)
    }

    /// Looks at all of them. Blocks for as long as the file system takes.
    pub(crate) fn look(&self) -> Look {
        self.look_at_all().0
    }

    /// What there is, and the paths that lead to something that is there already.
    fn look_at_all(&self) -> (Look, Vec<PathBuf>) {
        let mut look = Look::default();
        for Root { path, folder } in &self.0 {
            let folder = path
                .metadata()
                .map_or(*folder, |metadata| metadata.is_dir());
            if folder {
                match list(path) {
                    Ok(files) => look.files.extend(files),
                    Err(error) => look.unread.push((path.clone(), error)),
                }
            } else {
                match path.metadata() {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    found => look.files.push(Found {
                        path: path.clone(),
                        print: found.ok().as_ref().map(Print::of),
                    }),
                }
            }
        }
        let (mut seen, mut again) = (HashSet::new(), Vec::new());
        look.files.retain(|file| {
            let new = seen.insert(place(&file.path));
            if !new {
                again.push(file.path.clone());
            }
            new
        });
        (look, again)
    }

    /// The folders in which something happens when a plugin changes: those given, and those in which
    /// what is given lies, for it may be a link that is pointed elsewhere.
    pub(crate) fn folders(&self) -> HashSet<PathBuf> {
        let given = self.0.iter().filter(|root| root.folder);
        let given = given.map(|root| root.path.clone());
        let around = self.0.iter().filter_map(|root| folder_of(&root.path));
        given.chain(around.map(Path::to_owned)).collect()
    }
}

/// The folder in which a path lies; none for `/` and `..`.
fn folder_of(path: &Path) -> Option<&Path> {
    path.file_name()?;
    let folder = path.parent()?;
    let here = folder.as_os_str().is_empty();
    Some(if here { Path::new(".") } else { folder })
}

/// The file's name in its real folder. A link beside a file is another plugin: it has another name.
fn place(path: &Path) -> PathBuf {
    let real = || {
        let folder = folder_of(path)?;
        Some(folder.canonicalize().ok()?.join(path.file_name()?))
    };
    real().unwrap_or_else(|| path.to_owned())
}

fn list(folder: &Path) -> io::Result<Vec<Found>> {
    let mut files = Vec::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden || path.extension().is_none_or(|ext| ext != EXTENSION) {
            continue;
        }
        let metadata = path.metadata().ok();
        if metadata.as_ref().is_none_or(std::fs::Metadata::is_file) {
            let print = metadata.as_ref().map(Print::of);
            files.push(Found { path, print });
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

/// A plugin's name: its file's, without the ending.
#[must_use]
pub(crate) fn name(path: &Path) -> Arc<str> {
    path.file_stem()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn found(roots: &Roots) -> Vec<String> {
        let files = roots.look().files.into_iter();
        files.map(|file| name(&file.path).to_string()).collect()
    }

    #[test]
    fn a_plugin_is_named_by_its_file() {
        assert_eq!(&*name(Path::new("plugins/greeter.wasm")), "greeter");
        assert_eq!(&*name(Path::new("greeter.v2.wasm")), "greeter.v2");
    }

    #[test]
    fn a_path_that_is_not_there_is_named() {
        let error = Roots::open(&["no/such/folder".into()]).expect_err("not there");
        assert!(error.to_string().contains("no/such/folder"), "{error}");
    }

    #[test]
    fn a_folder_is_all_plugins_in_it_and_none_is_there_twice() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["b.wasm", "a.wasm", ".hidden.wasm", "notes.txt"] {
            fs::write(at(name), name).expect("written");
        }
        fs::create_dir(at("folder.wasm")).expect("made");
        std::os::unix::fs::symlink("nowhere", at("dangling.wasm")).expect("linked");
        let roots = Roots::open(&[folder.path().to_owned(), at("a.wasm")]).expect("there");
        assert_eq!(found(&roots), ["a", "b", "dangling"]);
        assert_eq!(roots.look().files[2].print, None);
        assert!(roots.folders().contains(folder.path()));
    }

    #[test]
    fn a_folder_that_is_gone_says_nothing_of_its_files_and_a_file_that_is_gone_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.wasm");
        fs::write(&file, "a").expect("written");
        let folders = Roots::open(&[folder.path().to_owned()]).expect("there");
        let files = Roots::open(std::slice::from_ref(&file)).expect("there");
        fs::remove_dir_all(folder.path()).expect("removed");
        assert!(!folders.look().knows(&file));
        assert!(files.look().knows(&file));
        assert!(found(&files).is_empty());
    }

    #[test]
    fn a_file_that_was_touched_pointed_elsewhere_or_written_is_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["one", "other"] {
            fs::create_dir(at(name)).expect("made");
            fs::write(at(name).join("a.wasm"), "same").expect("written");
        }
        std::os::unix::fs::symlink("one", at("now")).expect("linked");
        let roots = Roots::open(&[at("now")]).expect("there");
        let before = roots.look().files;
        assert_eq!(roots.look().files, before);
        std::os::unix::fs::symlink("other", at("next")).expect("linked");
        fs::rename(at("next"), at("now")).expect("flipped");
        assert_ne!(roots.look().files, before);
    }
}
