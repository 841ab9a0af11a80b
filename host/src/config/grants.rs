//! What a plugin may do beside computing: nothing, unless it is granted here, each plugin for itself.
//!
//! A leaf. `guest::state` gives a plugin what WASI has for it, `imports::network` and `imports::http` hold it to
//! the rest. Invariant: by default everything is empty; nothing here lets a plugin listen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::destination::Destination;

/// Most entries of each kind. Count; far above what anybody reads through.
const ENTRIES_MAX: usize = 1000;

/// Longest time for HTTP that can be asked for: a day.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// What one plugin is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantsConfig {
    /// Environment variables and their values. The host's own environment is never passed on.
    pub env: BTreeMap<String, String>,
    /// Arguments, after the plugin's name.
    pub args: Vec<String>,
    /// Folders, each under a path of its own.
    pub folders: Vec<FolderGrant>,
    /// Where it may connect to over TCP. Names in here and in `udp` are what it may look up.
    pub tcp: Vec<Destination>,
    /// Where it may send datagrams to, and get them from.
    pub udp: Vec<Destination>,
    /// Where it may send HTTP requests to. Without any, a plugin that imports `wasi:http` is refused.
    pub http: Vec<Destination>,
    /// TCP and UDP sockets that one instance may hold. Count; default 16, 1024 at most. At the limit the plugin
    /// is told `new-socket-limit`. All instances of the plugin: times `stores_max` and `streams_max` together.
    pub sockets_max: usize,
    /// HTTP requests under way at once, over all instances of the plugin, until their responses are read or
    /// dropped. Count; default 64, 10 000 at most. At the limit the plugin is told `connection-limit-reached`.
    pub http_requests_max: usize,
    /// How long each may take to be connected, to get its response's head, and between two pieces of a
    /// body. Default 30 s, a day at most; a plugin may ask for less. At the limit the plugin is told which it was.
    pub http_timeout: Duration,
    /// A PEM file of certificates that its requests over TLS trust, beside the system's. Read at the first of
    /// them, which fails if it cannot be used; the log says why.
    pub http_ca: Option<PathBuf>,
    /// Files, sockets, streams and what else WASI gives handles for, that one instance may hold once it is
    /// granted folders or network, each of which may cost the host a file descriptor. Count; default 256, 16 to
    /// 10 000. More is a trap.
    pub handles_max: usize,
}

impl Default for GrantsConfig {
    fn default() -> Self {
        Self {
            env: BTreeMap::new(),
            args: Vec::new(),
            folders: Vec::new(),
            tcp: Vec::new(),
            udp: Vec::new(),
            http: Vec::new(),
            sockets_max: 16,
            http_requests_max: 64,
            http_timeout: Duration::from_secs(30),
            http_ca: None,
            handles_max: 256,
        }
    }
}

/// A folder of the host's that a plugin sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderGrant {
    /// The folder. It must be there when the host starts; nothing outside of it is reached from within, also not
    /// through symbolic links. Leave no pipes and devices in it: reading one holds a thread for as long as it takes.
    pub host: PathBuf,
    /// Where the plugin finds it: begins with `/`, as in `/data`.
    pub guest: String,
    /// Whether it may change what is in it. How much it writes is for the file system to limit.
    pub writable: bool,
}

impl FolderGrant {
    /// For reading only.
    #[must_use]
    pub fn read_only(host: impl Into<PathBuf>, guest: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            guest: guest.into(),
            writable: false,
        }
    }

    /// For reading and writing.
    #[must_use]
    pub fn read_write(host: impl Into<PathBuf>, guest: impl Into<String>) -> Self {
        Self {
            writable: true,
            ..Self::read_only(host, guest)
        }
    }
}

impl GrantsConfig {
    /// Whether it lets a plugin have handles that cost the host more than memory.
    pub(crate) fn gives_handles(&self) -> bool {
        let folders = !self.folders.is_empty();
        folders || !self.tcp.is_empty() || !self.udp.is_empty() || !self.http.is_empty()
    }

    /// A fault for each grant that cannot be given. Looks whether folders are there, and into the file of certificates.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                faults.push(format!("grants: env {name:?} is no environment variable"));
            }
        }
        if self.args.iter().any(|arg| arg.contains('\0')) {
            faults.push("grants: an argument contains a zero byte".to_owned());
        }
        let mut paths: Vec<&str> = Vec::new();
        for folder in &self.folders {
            faults.extend(folder.fault());
            if paths.contains(&folder.guest.as_str()) {
                faults.push(format!("grants: two folders are given as {}", folder.guest));
            }
            paths.push(&folder.guest);
        }
        for (name, count) in [
            ("env", self.env.len()),
            ("args", self.args.len()),
            ("folders", self.folders.len()),
            ("tcp", self.tcp.len()),
            ("udp", self.udp.len()),
            ("http", self.http.len()),
        ] {
            if count > ENTRIES_MAX {
                faults.push(format!(
                    "grants: {name} must have {ENTRIES_MAX} entries at most"
                ));
            }
        }
        for (name, count, range) in [
            ("sockets_max", self.sockets_max, 1..=1024),
            ("http_requests_max", self.http_requests_max, 1..=10_000),
            ("handles_max", self.handles_max, 16..=10_000),
        ] {
            if !range.contains(&count) {
                let (first, last) = (range.start(), range.end());
                faults.push(format!(
                    "grants: {name} must be {first} to {last}, not {count}"
                ));
            }
        }
        let ca = self.http_ca.as_deref().and_then(crate::trust::fault);
        faults.extend(ca.map(|fault| format!("grants: http_ca {fault}")));
        if self.http_timeout.is_zero() || self.http_timeout > TIME_MAX {
            faults.push("grants: http_timeout must be above zero, and a day at most".to_owned());
        }
        faults
    }
}

impl FolderGrant {
    fn fault(&self) -> Option<String> {
        let shown = self.host.display();
        if !is_guest_path(&self.guest) {
            return Some(format!(
                "grants: folder {shown} is given as {:?}; write a whole path, as in /data",
                self.guest
            ));
        }
        match self.host.metadata() {
            Ok(metadata) if metadata.is_dir() => None,
            Ok(_) => Some(format!("grants: {shown} is not a folder")),
            Err(error) => Some(format!("grants: folder {shown} cannot be given: {error}")),
        }
    }
}

/// Whether it is a path from the root in its shortest spelling: two that differ are two folders.
fn is_guest_path(path: &str) -> bool {
    let plain =
        |name: &str| !name.is_empty() && name != "." && name != ".." && !name.contains('\0');
    let names = path
        .strip_prefix('/')
        .filter(|_| Path::new(path).is_absolute());
    path == "/" || names.is_some_and(|names| names.split('/').all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_granted_by_default() {
        let grants = GrantsConfig::default();
        assert!(!grants.gives_handles() && grants.env.is_empty() && grants.args.is_empty());
        assert_eq!(grants.faults(), [""; 0]);
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let mut grants = GrantsConfig::default();
        for name in ["", "A=B", "A\0"] {
            grants.env.insert(name.to_owned(), String::new());
        }
        grants.args.push("\0".to_owned());
        grants.folders = vec![
            FolderGrant::read_only("/", "/data"),
            FolderGrant::read_write("/", "/data"),
            FolderGrant::read_only("/", "data"),
            FolderGrant::read_only("/nowhere/at/all", "/a"),
            FolderGrant::read_only("/proc/self/status", "/b"),
        ];
        grants.sockets_max = 0;
        grants.handles_max = 1;
        grants.http_requests_max = 0;
        grants.http_timeout = Duration::ZERO;
        grants.http_ca = Some("/nowhere/ca.pem".into());
        let faults = grants.faults();
        assert!(
            faults.iter().any(|fault| fault.contains("/nowhere/ca.pem")),
            "{faults:#?}"
        );
        assert_eq!(faults.len(), 3 + 1 + 4 + 5, "{faults:#?}");
    }

    #[test]
    fn folders_have_paths_from_the_root() {
        for (path, good) in [
            ("/", true),
            ("/data", true),
            ("/a/b.c", true),
            ("", false),
            ("data", false),
            ("/data/", false),
            ("/a//b", false),
            ("/a/../b", false),
            ("/.", false),
        ] {
            assert_eq!(is_guest_path(path), good, "{path:?}");
        }
    }
}
