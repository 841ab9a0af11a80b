//! Files for browsers, beside gRPC on the same port: a demo page, say.
//!
//! Read when the host is built ([`Files::read`]); asked by `listener::router` for requests over HTTP/1.1
//! and by `grpc` for those over HTTP/2 that are not gRPC. Invariants: a request is answered from memory
//! alone and never names a place on the disk, so no spelling of a path leads out of the folder; every
//! answer, also a refusal, carries the headers that keep a page apart from others (`Common`); a
//! representation has its own ETag, so no cache mixes a compressed file with a plain one.
//!
//! Knows no connection. What is compressed has been so before: a file beside its `.gz` sibling.

mod folder;
mod negotiation;

use std::collections::HashMap;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use percent_encoding::percent_decode_str;
use sha1::{Digest, Sha1};

use crate::config::FilesConfig;
use crate::error::BuildError;
use crate::grpc::Pages;

/// The file that stands for its folder.
const INDEX: &str = "index.html";

/// The ending of a file that is the gzip-compressed form of the one without it.
const GZIP_ENDING: &str = ".gz";

/// Content types by file name ending. Source: the IANA registry; HTML standard for `text/javascript`.
/// Browsers compile WebAssembly while it arrives only if it is called what it is.
const TYPES: [(&str, &str); 17] = [
    ("css", "text/css; charset=utf-8"),
    ("gif", "image/gif"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("map", "application/json"),
    ("md", "text/markdown; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("txt", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("webmanifest", "application/manifest+json"),
    ("webp", "image/webp"),
    ("woff2", "font/woff2"),
];

/// Content type of a file whose ending is not among [`TYPES`]; with `nosniff` a browser stores it.
const TYPE_UNKNOWN: &str = "application/octet-stream";

/// Headers of every answer but the policy, which is configured. Together they isolate the page from
/// other origins, for which browsers give it clocks of 5 us instead of 100.
const COMMON: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    // Asked again each time; an unchanged file costs one short answer.
    (header::CACHE_CONTROL, "no-cache"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-embedder-policy"),
        "require-corp",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Methods that files have.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD");

/// All folders that are served.
#[derive(Debug, Default)]
pub(crate) struct Files {
    sites: Vec<Site>,
}

/// One folder.
#[derive(Debug)]
struct Site {
    /// Begins and ends with `/`.
    path: String,
    policy: HeaderValue,
    /// By path below `path`; a folder with an index ends with `/`, or is empty.
    files: HashMap<String, File>,
}

/// One file, in the forms in which it is sent.
#[derive(Debug)]
struct File {
    content_type: &'static str,
    plain: Form,
    gzip: Option<Form>,
}

/// Bytes of a file, and what caches know them by.
#[derive(Clone, Debug)]
struct Form {
    bytes: Bytes,
    etag: HeaderValue,
}

impl Files {
    /// Reads every folder into memory. Blocks.
    ///
    /// # Errors
    /// [`BuildError::Files`] for a folder that cannot be read or passes a limit.
    pub(crate) fn read(configs: &[FilesConfig]) -> Result<Self, BuildError> {
        let site = |config: &FilesConfig| {
            Site::read(config).map_err(|source| BuildError::Files {
                folder: config.folder.clone(),
                source,
            })
        };
        let mut sites: Vec<_> = configs.iter().map(site).collect::<Result<_, _>>()?;
        // The longer path first, so that a site inside another's path is found.
        sites.sort_by_key(|site| std::cmp::Reverse(site.path.len()));
        Ok(Self { sites })
    }
}

impl Pages for Files {
    fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Response<Bytes>> {
        let path = uri.path();
        for site in &self.sites {
            if let Some(below) = path.strip_prefix(&*site.path) {
                return Some(site.answer(method, uri, below, headers));
            }
            // The folder without its slash: a page's relative links would lead elsewhere.
            if site.path.strip_suffix('/') == Some(path) && !path.is_empty() {
                return Some(site.redirect(uri));
            }
        }
        None
    }

    fn index(&self) -> Option<&str> {
        let has_index = |site: &&Site| site.files.contains_key("");
        self.sites.iter().find(has_index).map(|site| &*site.path)
    }
}

impl Site {
    fn read(config: &FilesConfig) -> io::Result<Self> {
        let mut read = folder::read(&config.folder, config.bytes_max, config.files_max)?;
        let mut files = HashMap::new();
        let count = read.len();
        let names: Vec<_> = read.keys().cloned().collect();
        for name in names {
            let is_sibling = name
                .strip_suffix(GZIP_ENDING)
                .is_some_and(|plain| files.contains_key(plain) || read.contains_key(plain));
            if is_sibling {
                continue;
            }
            let Some(plain) = read.remove(&name) else {
                continue;
            };
            let gzip = read.get(&format!("{name}{GZIP_ENDING}"));
            let file = || File {
                content_type: content_type(&name),
                plain: Form::new(plain.clone()),
                gzip: gzip.cloned().map(Form::new),
            };
            if let Some(folder) = name.strip_suffix(INDEX)
                && (folder.is_empty() || folder.ends_with('/'))
            {
                files.insert(folder.to_owned(), file());
            }
            files.insert(name.clone(), file());
        }
        let policy = HeaderValue::from_str(&config.policy).map_err(io::Error::other)?;
        tracing::info!(path = config.path, folder = %config.folder.display(), files = count, "files are served");
        Ok(Self {
            path: config.path.clone(),
            policy,
            files,
        })
    }

    fn answer(
        &self,
        method: &Method,
        uri: &Uri,
        below: &str,
        headers: &HeaderMap,
    ) -> Response<Bytes> {
        if ![Method::GET, Method::HEAD].contains(method) {
            let mut refusal = self.text(StatusCode::METHOD_NOT_ALLOWED, "files are only read");
            refusal.headers_mut().insert(header::ALLOW, METHODS);
            return refusal;
        }
        let decoded = percent_decode_str(below).decode_utf8();
        let found = decoded.ok().and_then(|name| match self.files.get(&*name) {
            Some(file) => Some(self.file(file, headers)),
            None if self.files.contains_key(&format!("{name}/")) => Some(self.redirect(uri)),
            None => None,
        });
        let mut response =
            found.unwrap_or_else(|| self.text(StatusCode::NOT_FOUND, "there is no such file here"));
        if *method == Method::HEAD {
            // Everything is as for GET, the length too, but there is no body.
            response.body_mut().clear();
        }
        response
    }

    fn file(&self, file: &File, headers: &HeaderMap) -> Response<Bytes> {
        let gzip = file.gzip.as_ref();
        let gzip = gzip.filter(|_| negotiation::accepts_gzip(headers));
        let form = gzip.unwrap_or(&file.plain);
        let mut response = self.response(StatusCode::OK, form.bytes.clone());
        let added = response.headers_mut();
        added.insert(header::ETAG, form.etag.clone());
        if file.gzip.is_some() {
            // For caches on the way, with either form.
            let encoding = HeaderValue::from_static("accept-encoding");
            added.insert(header::VARY, encoding);
        }
        if negotiation::has(headers, &form.etag) {
            added.remove(header::CONTENT_LENGTH);
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response.body_mut().clear();
            return response;
        }
        let content_type = HeaderValue::from_static(file.content_type);
        added.insert(header::CONTENT_TYPE, content_type);
        if gzip.is_some() {
            added.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

    /// To the same path with a slash at its end. For now only: a folder may be a file tomorrow.
    fn redirect(&self, uri: &Uri) -> Response<Bytes> {
        let mut location = format!("{}/", uri.path());
        if let Some(query) = uri.query() {
            location.push('?');
            location.push_str(query);
        }
        let Ok(location) = HeaderValue::try_from(location) else {
            return self.text(StatusCode::BAD_REQUEST, "this address is malformed");
        };
        let mut response = self.text(StatusCode::TEMPORARY_REDIRECT, "it is one slash further");
        response.headers_mut().insert(header::LOCATION, location);
        response
    }

    fn text(&self, status: StatusCode, line: &str) -> Response<Bytes> {
        let mut response = self.response(status, Bytes::from(format!("{line}\n")));
        let plain = HeaderValue::from_static(content_type("a.txt"));
        response.headers_mut().insert(header::CONTENT_TYPE, plain);
        response
    }

    /// A response with what every response has.
    fn response(&self, status: StatusCode, body: Bytes) -> Response<Bytes> {
        let length = HeaderValue::from(body.len());
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, length);
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        for (name, value) in COMMON {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

impl Form {
    fn new(bytes: Bytes) -> Self {
        let hash = URL_SAFE_NO_PAD.encode(Sha1::digest(&bytes));
        let etag = HeaderValue::try_from(format!("\"{hash}\""));
        Self {
            bytes,
            etag: etag.expect("base64 and quotes are printable"),
        }
    }
}

fn content_type(name: &str) -> &'static str {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    TYPES
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(ending))
        .map_or(TYPE_UNKNOWN, |(_, content_type)| content_type)
}

#[cfg(test)]
mod tests;
