//! Compiled plugins on disk, so that a plugin that was compiled once starts within milliseconds.
//!
//! Called by `plugin::load`. An entry is named by what it was compiled from and for: the content of the file,
//! the settings of the engine, the version of this host. Compiled code is trusted, unlike plugins, so an entry
//! counts only if it carries a mark that nobody can make who does not have the folder's key: HMAC-SHA256 over
//! all of that and the code. Invariants: what is not ours is compiled anew, never run; whatever goes wrong
//! with the folder costs time and no plugin.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ring::hmac;
use rustix::fs::OFlags;

use super::load::Digest;
use crate::config::CacheConfig;
use crate::error::BuildError;
use crate::guest::GuestEngine;

/// The file with the key, and its length in bytes: that of the digest, as RFC 2104 has it.
const KEY: &str = "key";
const KEY_BYTES: usize = 32;

/// Length of a mark, in bytes.
const MARK_BYTES: usize = 32;

/// The ending of an entry's name, and of what is being written.
const EXTENSION: &str = "compiled";
const PART: &str = "part";

/// What is marked begins so: another layout would have another number.
const LAYOUT: &[u8] = b"switchboard compiled plugin 1\0";

/// Longest entry that is read, in bytes. Nothing that is compiled from the largest file comes near.
const ENTRY_BYTES_MAX: u64 = 4 << 30;

/// How old a file is that nobody writes any more: what a host that was killed left behind. The largest entry is
/// written in seconds.
const ABANDONED: Duration = Duration::from_secs(3600);

/// The compiled plugins of one folder, for one engine.
pub(crate) struct Cache {
    folder: PathBuf,
    bytes_max: u64,
    key: hmac::Key,
    /// What code is compiled for.
    engine: [u8; 32],
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Cache {
    /// Opens the folder, or makes it. Blocks.
    ///
    /// # Errors
    /// [`BuildError::Cache`] for a folder or key that others may write or that cannot be used.
    pub(crate) fn open(config: &CacheConfig, engine: &GuestEngine) -> Result<Self, BuildError> {
        let folder = config.folder.clone();
        let key = make(&folder)
            .and_then(|()| ours(&folder.metadata()?, 0o022, "folder"))
            .and_then(|()| key(&folder));
        let key = key.map_err(|source| BuildError::Cache {
            folder: folder.clone(),
            source,
        })?;
        Ok(Self {
            folder,
            bytes_max: config.bytes_max,
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            engine: engine.compiles_for(),
        })
    }

    /// What was compiled from this content, if it is there and ours.
    pub(crate) fn get(&self, content: &Digest) -> Option<Vec<u8>> {
        let path = self.path(content);
        let read = || {
            let file = OpenOptions::new()
                .read(true)
                // A pipe, too, is no reason to wait.
                .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
                .open(&path)?;
            let mut entry = Vec::new();
            (&file).take(ENTRY_BYTES_MAX).read_to_end(&mut entry)?;
            // Those that were used last stay the longest.
            drop(file.set_modified(SystemTime::now()));
            Ok::<_, io::Error>(entry)
        };
        let mut entry = match read() {
            Ok(entry) => entry,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a compiled plugin cannot be read");
                return None;
            }
        };
        let code = entry.split_off(MARK_BYTES.min(entry.len()));
        if hmac::verify(&self.key, &self.marked(content, &code), &entry).is_err() {
            let path = path.display();
            tracing::warn!(%path, "a compiled plugin does not carry this host's mark: compiled anew");
            return None;
        }
        Some(code)
    }

    /// Keeps what was compiled from this content.
    pub(crate) fn put(&self, content: &Digest, code: &[u8]) {
        let mark = hmac::sign(&self.key, &self.marked(content, code));
        let path = self.path(content);
        let kept = self.make_room(code.len() + MARK_BYTES).and_then(|fits| {
            if fits {
                write(&self.folder, &path, &[mark.as_ref(), code])?;
            }
            Ok(())
        });
        if let Err(error) = kept {
            let path = path.display();
            tracing::warn!(%path, %error, "a compiled plugin cannot be kept: it is compiled at each start");
        }
    }

    fn path(&self, content: &Digest) -> PathBuf {
        let mut both = self.engine.to_vec();
        both.extend_from_slice(content.bytes());
        let name = Digest::of(&both).hex();
        self.folder.join(name).with_extension(EXTENSION)
    }

    fn marked(&self, content: &Digest, code: &[u8]) -> Vec<u8> {
        [LAYOUT, &self.engine, content.bytes(), code].concat()
    }

    /// Removes what was not used for the longest time until so many bytes fit; false if they never do.
    fn make_room(&self, len: usize) -> io::Result<bool> {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        if len > self.bytes_max {
            return Ok(false);
        }
        let mut entries = Vec::new();
        for entry in self.folder.read_dir()? {
            let path = entry?.path();
            // Another host on this folder may have removed it.
            let Ok(metadata) = path.symlink_metadata() else {
                continue;
            };
            let is = |ending: &str| path.extension().is_some_and(|own| own == ending);
            if is(EXTENSION) {
                entries.push((metadata.modified()?, metadata.len(), path));
            } else if is(PART)
                && metadata
                    .modified()?
                    .elapsed()
                    .is_ok_and(|age| age > ABANDONED)
            {
                // Whoever is quicker removes it.
                drop(fs::remove_file(path));
            }
        }
        entries.sort();
        let mut total: u64 = entries.iter().map(|(_, len, _)| len).sum();
        for (_, of, path) in entries {
            if total.saturating_add(len) <= self.bytes_max {
                break;
            }
            tracing::debug!(path = %path.display(), "a compiled plugin makes room");
            fs::remove_file(path)?;
            total -= of;
        }
        Ok(true)
    }
}

fn make(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        // Another host was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Whether only this user and root can have changed it, going by the permissions in `mask`.
fn ours(metadata: &fs::Metadata, mask: u32, what: &str) -> io::Result<()> {
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user && metadata.uid() != 0 {
        let owner = metadata.uid();
        return Err(io::Error::other(format!(
            "the {what} belongs to user {owner}, not to this one ({user}): whoever owns it could have its \
             code run"
        )));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & mask != 0 {
        return Err(io::Error::other(format!(
            "the {what} has mode {mode:o}, so others could have their code run: chmod it to {:o}",
            mode & !mask
        )));
    }
    Ok(())
}

/// The folder's key: read, or made for whoever comes later.
fn key(folder: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let path = folder.join(KEY);
    if !path.exists() {
        let mut key = [0; KEY_BYTES];
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut key)
            .map_err(|_unspecified| io::Error::other("the system gives no random numbers"))?;
        let beside = beside(folder);
        write_new(&beside, &[&key]).inspect_err(|_full| drop(fs::remove_file(&beside)))?;
        // Whoever links first has made it.
        let linked = fs::hard_link(&beside, &path);
        fs::remove_file(&beside)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(&path)?;
    // A group may be let in to read it, for an image that is made by one user and run by another.
    ours(&file.metadata()?, 0o037, "key")?;
    let mut key = Vec::new();
    file.take(KEY_BYTES as u64 + 1).read_to_end(&mut key)?;
    key.try_into().map_err(|_| {
        io::Error::other(format!(
            "{} is no key of {KEY_BYTES} bytes: remove it, and what is beside it",
            path.display()
        ))
    })
}

fn beside(folder: &Path) -> PathBuf {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    folder.join(format!(".{}-{count}.{PART}", std::process::id()))
}

/// Writes a file that is either whole or not there.
fn write(folder: &Path, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let beside = beside(folder);
    let written = write_new(&beside, parts).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        drop(fs::remove_file(&beside));
    }
    written
}

fn write_new(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    // What a process of the same number left behind.
    drop(fs::remove_file(path));
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    parts.iter().try_for_each(|part| file.write_all(part))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Kept(tempfile::TempDir);

    impl Kept {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"))
        }

        fn folder(&self) -> PathBuf {
            self.0.path().join("cache")
        }

        fn open(&self) -> Cache {
            self.for_engine(1, 1 << 20).expect("a cache")
        }

        fn for_engine(&self, engine: u8, bytes_max: u64) -> io::Result<Cache> {
            let folder = self.folder();
            make(&folder)?;
            ours(&folder.metadata()?, 0o022, "folder")?;
            Ok(Cache {
                key: hmac::Key::new(hmac::HMAC_SHA256, &key(&folder)?),
                folder,
                bytes_max,
                engine: [engine; 32],
            })
        }

        fn chmod(&self, name: &str, mode: u32) {
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(self.folder().join(name), permissions).expect("ours");
        }
    }

    const CODE: &[u8] = b"code that is trusted";

    fn content(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    #[test]
    fn what_was_kept_is_there_for_the_same_content_and_engine_only() {
        let kept = Kept::new();
        kept.open().put(&content("a"), CODE);
        assert_eq!(kept.open().get(&content("a")).as_deref(), Some(CODE));
        assert_eq!(kept.open().get(&content("b")), None);
        let other = kept.for_engine(2, 1 << 20).expect("a cache");
        assert_eq!(other.get(&content("a")), None);
    }

    #[test]
    fn what_somebody_changed_or_put_there_does_not_count() {
        let kept = Kept::new();
        let cache = kept.open();
        cache.put(&content("a"), CODE);
        let path = cache.path(&content("a"));
        let whole = fs::read(&path).expect("there");
        for at in [0, MARK_BYTES, whole.len() - 1] {
            let mut entry = whole.clone();
            entry[at] ^= 1;
            fs::write(&path, entry).expect("written");
            assert_eq!(cache.get(&content("a")), None, "byte {at}");
        }
        for len in [0, MARK_BYTES - 1, MARK_BYTES, whole.len() - 1] {
            fs::write(&path, &whole[..len]).expect("written");
            assert_eq!(cache.get(&content("a")), None, "{len} bytes");
        }
        fs::write(cache.path(&content("b")), &whole).expect("written");
        assert_eq!(cache.get(&content("b")), None, "the code of another");
        let pipe = cache.path(&content("pipe"));
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).expect("made");
        assert_eq!(cache.get(&content("pipe")), None, "nobody writes to it");
        let elsewhere = Kept::new();
        elsewhere.open().put(&content("a"), b"theirs");
        fs::copy(elsewhere.open().path(&content("a")), &path).expect("copied");
        assert_eq!(cache.get(&content("a")), None, "another key");
        cache.put(&content("a"), CODE);
        assert_eq!(cache.get(&content("a")).as_deref(), Some(CODE));
    }

    #[test]
    fn what_others_may_write_is_not_used() {
        let kept = Kept::new();
        drop(kept.open());
        let mode = |path: &Path| path.metadata().expect("there").mode() & 0o777;
        assert_eq!(
            (mode(&kept.folder()), mode(&kept.folder().join(KEY))),
            (0o700, 0o600)
        );
        let refused = || kept.for_engine(1, 1).expect_err("not safe").to_string();
        kept.chmod(".", 0o770);
        assert!(refused().contains("chmod it to 750"), "{}", refused());
        kept.chmod(".", 0o700);
        kept.chmod(KEY, 0o604);
        assert!(refused().contains("the key has mode 604"), "{}", refused());
        kept.chmod(KEY, 0o600);
        fs::write(kept.folder().join(KEY), "short").expect("written");
        assert!(refused().contains("no key of 32 bytes"), "{}", refused());
    }

    #[test]
    fn what_a_host_that_was_killed_left_behind_is_removed() {
        let kept = Kept::new();
        let cache = kept.open();
        let part = |name: &str, seconds: u64| {
            let path = kept.folder().join(name);
            let file = File::create(&path).expect("ours");
            let then = SystemTime::now() - Duration::from_secs(seconds);
            file.set_modified(then).expect("ours");
            path
        };
        let (left, fresh) = (part(".1-0.part", 7200), part(".2-0.part", 60));
        cache.put(&content("a"), CODE);
        assert!(!left.exists() && fresh.exists());
    }

    #[test]
    fn what_was_not_used_for_long_makes_room_and_what_never_fits_is_not_kept() {
        let kept = Kept::new();
        let room = 2 * (CODE.len() + MARK_BYTES) as u64;
        let cache = kept.for_engine(1, room).expect("a cache");
        let age = |text: &str, seconds: u64| {
            let path = cache.path(&content(text));
            let file = File::options().write(true).open(path).expect("there");
            let then = SystemTime::now() - Duration::from_secs(seconds);
            file.set_modified(then).expect("ours");
        };
        for text in ["a", "b"] {
            cache.put(&content(text), CODE);
        }
        age("a", 10);
        age("b", 20);
        assert!(cache.get(&content("b")).is_some(), "used now");
        cache.put(&content("c"), CODE);
        let there = ["a", "b", "c"].map(|text| cache.get(&content(text)).is_some());
        assert_eq!(there, [false, true, true]);
        let large = vec![0; usize::try_from(room).expect("small")];
        cache.put(&content("large"), &large);
        assert_eq!(cache.get(&content("large")), None);
        assert!(
            cache.get(&content("c")).is_some(),
            "nothing made room for it"
        );
    }
}
