//! Which folders of files the port serves to browsers, and what they may take.
//!
//! Read by `listener::files` when the host is built; checked by
//! [`HostConfig::check`](super::HostConfig::check). Files are read once and kept in memory: a request
//! never waits for a disk, and what is served does not change under its reader.

use std::path::PathBuf;

use super::TunnelConfig;

/// What pages served here may do, unless configured otherwise: run their own scripts and WebAssembly,
/// talk to the server they came from, and nothing else. Source: CSP level 3; `'self'` stands for the
/// WebSocket scheme of the same host too.
const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; \
                      img-src 'self'; font-src 'self'; connect-src 'self'; manifest-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A folder whose files are served under a path, to HTTP/1.1 and HTTP/2 alike.
#[derive(Clone, Debug)]
pub struct FilesConfig {
    /// Where they are: begins and ends with `/`, as in `/demo/`.
    pub path: String,
    /// The folder. Files and folders in it whose name begins with a dot are left out, and so are
    /// symbolic links.
    pub folder: PathBuf,
    /// The files' bytes in all, with their `.gz` siblings. Default 64 MiB. That much memory is held for
    /// as long as the host serves. More, and the host does not start.
    pub bytes_max: u64,
    /// Files in all. Count; default 1000. More, and the host does not start.
    pub files_max: usize,
    /// The `Content-Security-Policy` of every answer. Default: scripts, styles, images, WebAssembly and
    /// connections of this server only, nothing inline, no frames.
    pub policy: String,
}

impl FilesConfig {
    /// The files of `folder` under `path`, with the default limits.
    #[must_use]
    pub fn new(path: impl Into<String>, folder: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            folder: folder.into(),
            bytes_max: 64 << 20,
            files_max: 1000,
            policy: POLICY.to_owned(),
        }
    }

    /// What [`HostConfig::check`](super::HostConfig::check) finds wrong in all of them.
    pub(super) fn faults(all: &[Self], tunnel: Option<&TunnelConfig>) -> Vec<String> {
        let mut faults = Vec::new();
        for (at, one) in all.iter().enumerate() {
            let path = &one.path;
            if !is_folder_path(path) {
                faults.push(format!(
                    "files path {path:?} must begin and end with /, and have only letters, digits \
                     and any of . - _ ~ between"
                ));
            }
            if all[..at].iter().any(|other| other.path == *path) {
                faults.push(format!("files path {path} is given twice"));
            }
            if tunnel.is_some_and(|tunnel| tunnel.path == *path) {
                faults.push(format!("files path {path} is the tunnel's"));
            }
            if one.bytes_max == 0 || one.files_max == 0 {
                faults.push(format!("files limits of {path} must be above zero"));
            }
            if http::HeaderValue::from_str(&one.policy).is_err() {
                faults.push(format!("files policy of {path} is no header value"));
            }
        }
        faults
    }
}

/// Whether the path is that of a folder, in the one spelling that every browser sends it in: it needs
/// no percent-encoding and nothing in it is resolved away.
fn is_folder_path(path: &str) -> bool {
    let is_name = |name: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~".contains(&byte);
        !name.is_empty() && name != "." && name != ".." && name.bytes().all(allowed)
    };
    path == "/"
        || path
            .strip_prefix('/')
            .and_then(|rest| rest.strip_suffix('/'))
            .is_some_and(|names| names.split('/').all(is_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_folders() {
        for (path, good) in [
            ("/", true),
            ("/demo/", true),
            ("/a/b-1.2_~/", true),
            ("", false),
            ("demo/", false),
            ("/demo", false),
            ("//", false),
            ("/a//b/", false),
            ("/../", false),
            ("/./", false),
            ("/a b/", false),
            ("/a%20b/", false),
            ("/a?b/", false),
        ] {
            assert_eq!(is_folder_path(path), good, "{path:?}");
        }
    }

    #[test]
    fn every_fault_is_named() {
        let good = FilesConfig::new("/demo/", "page");
        let tunnel = TunnelConfig::default();
        let faults = |all: &[FilesConfig]| FilesConfig::faults(all, Some(&tunnel));
        assert_eq!(faults(std::slice::from_ref(&good)), [""; 0]);
        assert_eq!(faults(&[good.clone(), good.clone()]).len(), 1);
        assert_eq!(faults(&[FilesConfig::new("/demo", "page")]).len(), 1);
        for edit in [
            (|config| config.bytes_max = 0) as fn(&mut FilesConfig),
            |config| config.files_max = 0,
            |config| config.policy = "default-src\n'none'".to_owned(),
        ] {
            let mut config = good.clone();
            edit(&mut config);
            let found = faults(&[config]);
            assert_eq!(found.len(), 1, "{found:?}");
        }
    }
}
