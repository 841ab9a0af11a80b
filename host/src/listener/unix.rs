//! Unix sockets: a file in a folder, for clients on the same machine.
//!
//! Made by whoever starts the host; `listener::sockets` accepts from it. Who may connect is decided by the
//! file's mode, which is set before anybody can. Invariants: a socket that somebody listens on is never
//! taken away, neither from another server nor by two that start at once (the folder is locked meanwhile);
//! the file goes with the host, and only if it is still the host's own.

use std::fs::{self, File, Metadata, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{UnixSocket, UnixStream};
use tokio::time::{Instant, sleep};

use crate::error::UnixSocketError;

/// Connections that the kernel holds for us until they are accepted. Count; Linux caps it at
/// `net.core.somaxconn`, 4096 by default.
const BACKLOG: u32 = 4096;

/// How long the folder's lock is waited for, and how often it is asked for. Another server holds it for as
/// long as it takes to make a socket.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A Unix socket that is listened on. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct UnixListener {
    listener: tokio::net::UnixListener,
    /// None once it was removed, or if it is somebody else's.
    file: Option<SocketFile>,
}

impl UnixListener {
    /// Listens at `path`, with permissions `mode` (as in 0o600) for the file. A socket that a server left
    /// behind when it was killed is replaced.
    ///
    /// # Errors
    /// [`UnixSocketError`]: somebody listens there, or the file cannot be made.
    ///
    /// # Cancel safety
    /// Dropping the future leaves no file.
    pub async fn bind(path: impl Into<PathBuf>, mode: u32) -> Result<Self, UnixSocketError> {
        let path = path.into();
        let _lock = lock(folder_of(&path)).await?;
        let socket = UnixSocket::new_stream().map_err(UnixSocketError::System)?;
        match socket.bind(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_left_behind(&path).await?;
                socket.bind(&path).map_err(UnixSocketError::System)?;
            }
            Err(error) => return Err(UnixSocketError::System(error)),
        }
        let listen = || {
            let file = SocketFile::of(path)?;
            // Nobody can connect before somebody listens, so nobody finds other permissions than these.
            fs::set_permissions(&file.path, Permissions::from_mode(mode))?;
            let listener = socket.listen(BACKLOG)?;
            Ok(Self {
                listener,
                file: Some(file),
            })
        };
        listen().map_err(UnixSocketError::System)
    }

    /// One that somebody else made and listens on already, such as a service manager; its file is theirs and
    /// stays.
    ///
    /// # Errors
    /// When the system does not let it be waited for.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn inherited(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener: tokio::net::UnixListener::from_std(listener)?,
            file: None,
        })
    }

    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        let accepted = self.listener.poll_accept(cx);
        // The address of a client has no name.
        accepted.map_ok(|(socket, _)| socket)
    }

    /// Removes the file.
    pub(super) fn hide(&mut self) {
        self.file = None;
    }
}

/// The file of a socket; removed when this is dropped.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Which file it is, whatever its name: device and number.
    id: (u64, u64),
}

impl SocketFile {
    fn of(path: PathBuf) -> io::Result<Self> {
        let id = id(&fs::symlink_metadata(&path)?);
        Ok(Self { path, id })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It is listened on to this moment, so no other server has taken its place and none will before it
        // is gone. Somebody may have moved it away by hand, and put something else there.
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|found| id(&found) == self.id);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            let path = self.path.display();
            tracing::warn!(%path, %error, "the socket's file could not be removed");
        }
    }
}

fn id(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    }
}

/// Locks a folder against other servers, for as long as the file lives. Nothing is left behind: it is the
/// folder itself that is locked.
async fn lock(folder: &Path) -> Result<File, UnixSocketError> {
    let file = File::open(folder).map_err(UnixSocketError::Folder)?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_TIMEOUT => {
                sleep(LOCK_PAUSE).await;
            }
            Err(TryLockError::WouldBlock) => return Err(UnixSocketError::Locked),
            Err(TryLockError::Error(error)) => return Err(UnixSocketError::Folder(error)),
        }
    }
}

/// Removes a socket that nobody listens on.
async fn remove_left_behind(path: &Path) -> Result<(), UnixSocketError> {
    let found = fs::symlink_metadata(path).map_err(UnixSocketError::System)?;
    if !found.file_type().is_socket() {
        return Err(UnixSocketError::NotASocket);
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "removing a socket that nobody listens on");
            fs::remove_file(path).map_err(UnixSocketError::System)
        }
        // Whatever the answer, there is somebody to give it: also "too many wait" and "you may not".
        Ok(_) | Err(_) => Err(UnixSocketError::Taken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        let found = fs::metadata(path).expect("a file");
        found.permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn the_file_has_its_mode_and_goes_with_its_listener() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let path = folder.path().join("socket");
        for wanted in [0o600, 0o666] {
            let listener = UnixListener::bind(&path, wanted).await.expect("free");
            assert_eq!(mode(&path), wanted);
            drop(listener);
            assert!(!path.exists());
        }
    }

    #[tokio::test]
    async fn what_was_left_behind_is_replaced_and_nothing_else() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let path = folder.path().join("socket");
        // As by a server that was killed: the file stays when its socket is closed.
        drop(std::os::unix::net::UnixListener::bind(&path).expect("free"));
        let living = UnixListener::bind(&path, 0o600)
            .await
            .expect("nobody listens");
        let taken = UnixListener::bind(&path, 0o600).await;
        assert!(matches!(taken, Err(UnixSocketError::Taken)), "{taken:?}");
        UnixStream::connect(&path).await.expect("it still listens");
        drop(living);
        fs::write(&path, "text").expect("a file");
        let file = UnixListener::bind(&path, 0o600).await;
        assert!(matches!(file, Err(UnixSocketError::NotASocket)), "{file:?}");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "text");
    }

    #[tokio::test]
    async fn of_many_that_start_at_once_one_listens() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let path = folder.path().join("socket");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("free"));
        let starting = (0..20).map(|_| UnixListener::bind(&path, 0o600));
        let started = futures_util::future::join_all(starting).await;
        let living: Vec<_> = started.iter().flatten().collect();
        assert_eq!(living.len(), 1, "{started:?}");
        UnixStream::connect(&path).await.expect("it listens");
    }

    #[tokio::test]
    async fn a_file_that_is_not_ours_any_more_stays() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path, 0o600).await.expect("free");
        fs::rename(&path, folder.path().join("moved")).expect("moved");
        fs::write(&path, "text").expect("a file");
        drop(listener);
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "text");
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_named_as_the_reason() {
        let missing = UnixListener::bind("no/such/folder/socket", 0o600).await;
        assert!(
            matches!(missing, Err(UnixSocketError::Folder(_))),
            "{missing:?}"
        );
        let long = UnixListener::bind("a".repeat(200), 0o600).await;
        assert!(matches!(long, Err(UnixSocketError::System(_))), "{long:?}");
    }
}
