//! A folder's files, read into memory.
//!
//! Called by `listener::files` once for each folder, when the host is built. Invariants: no symbolic
//! link below the folder is followed, not even one that takes a file's place while it is read; what is
//! read stays within its limits whatever the folder does meanwhile. Knows nothing of HTTP.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bytes::Bytes;
use rustix::fs::OFlags;

/// The files of `folder` and of the folders in it, by their path with `/` between names.
///
/// # Errors
/// What reading fails with, and an error that names the limit that was passed. The text names the file.
pub(super) fn read(
    folder: &Path,
    bytes_max: u64,
    files_max: usize,
) -> io::Result<BTreeMap<String, Bytes>> {
    let mut files = BTreeMap::new();
    let mut bytes_left = bytes_max;
    let mut folders = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        let entries = folder.read_dir().map_err(|error| of(&folder, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| of(&folder, error))?;
            let (path, name) = (entry.path(), entry.file_name());
            let kind = entry.file_type().map_err(|error| of(&path, error))?;
            let Some(name) = name.to_str() else {
                tracing::warn!(path = %path.display(), "not served: its name is not UTF-8");
                continue;
            };
            if name.starts_with('.') {
                continue;
            }
            let name = format!("{prefix}{name}");
            if kind.is_dir() {
                folders.push((path, name + "/"));
            } else if kind.is_file() {
                if files.len() >= files_max {
                    let text = format!("there are more than {files_max} files");
                    return Err(io::Error::other(text));
                }
                let bytes = read_file(&path, bytes_left).map_err(|error| of(&path, error))?;
                let Some(bytes) = bytes else {
                    let text = format!("its files have more than {bytes_max} bytes");
                    return Err(io::Error::other(text));
                };
                bytes_left -= u64::try_from(bytes.len()).unwrap_or(bytes_left);
                files.insert(name, bytes);
            } else {
                tracing::warn!(path = %path.display(), "not served: neither a file nor a folder");
            }
        }
    }
    Ok(files)
}

/// A file's bytes; none if there are more than `bytes_max`.
fn read_file(path: &Path, bytes_max: u64) -> io::Result<Option<Bytes>> {
    // Without the second flag, opening a pipe that took the file's place would wait for ever.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file any more"));
    }
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is larger.
    file.take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    let fits = u64::try_from(bytes.len()).is_ok_and(|count| count <= bytes_max);
    Ok(fits.then(|| Bytes::from(bytes)))
}

fn of(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn everything_but_what_is_hidden_or_a_link_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("sub/deep")).expect("folders");
        fs::create_dir(at(".git")).expect("a folder");
        for name in ["a.txt", "sub/b.txt", "sub/deep/c", ".hidden", ".git/config"] {
            fs::write(at(name), name).expect(name);
        }
        let secret = tempfile::NamedTempFile::new().expect("a file");
        symlink(secret.path(), at("link.txt")).expect("a link");
        symlink("/", at("root")).expect("a link");
        symlink(at("a.txt"), at("inner.txt")).expect("a link");
        let files = read(folder.path(), 1 << 20, 100).expect("readable");
        let names: Vec<_> = files.keys().map(String::as_str).collect();
        assert_eq!(names, ["a.txt", "sub/b.txt", "sub/deep/c"]);
        assert_eq!(files["sub/b.txt"], "sub/b.txt");
    }

    #[test]
    fn a_link_in_the_place_of_a_file_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let secret = tempfile::NamedTempFile::new().expect("a file");
        let link = folder.path().join("a.txt");
        symlink(secret.path(), &link).expect("a link");
        read_file(&link, 100).expect_err("a link");
    }

    #[test]
    fn the_limits_hold_to_the_byte_and_to_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["a", "b", "c"] {
            fs::write(folder.path().join(name), [0; 100]).expect(name);
        }
        let read = |bytes_max, files_max| read(folder.path(), bytes_max, files_max);
        assert_eq!(read(300, 3).expect("just fits").len(), 3);
        let error = read(299, 3).expect_err("a byte too many").to_string();
        assert!(error.contains("299 bytes"), "{error}");
        let error = read(300, 2).expect_err("a file too many").to_string();
        assert!(error.contains("2 files"), "{error}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = read(Path::new("no/such/folder"), 1, 1).expect_err("not there");
        assert!(error.to_string().contains("no/such/folder"), "{error}");
    }
}
