//! Serves a folder over HTTP/1.1, as a page of another origin than the host's.
//!
//! Called by tests; calls nobody. Pages are cross-origin isolated, which gives them clocks of 5 us
//! and lets tests measure memory. Knows no tunnel: pages reach the host, or any peer, by its own port.
//! Invariants: nothing outside the folder is served; connections end with their owner.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A page that `make` has built: `tests` by `make web-tests-page`, `demo` by `make web`.
///
/// # Panics
/// If it was not built.
#[must_use]
pub fn built(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let root = root.expect("this crate lies two folders deep");
    let folder = root.join("target/web").join(name);
    let target = if name == "tests" {
        "web-tests-page"
    } else {
        "web"
    };
    assert!(
        folder.join("index.html").is_file(),
        "{} is not there: run `make {target}` first",
        folder.display()
    );
    folder
}

/// A web server for the files of one folder.
#[derive(Debug)]
pub struct Files {
    addr: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Files {
    /// Serves `folder` on a free port.
    pub async fn serve(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let folder: Arc<Path> = folder.into();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let folder = Arc::clone(&folder);
                connections.spawn(async move {
                    let answer = service_fn(move |request| {
                        let answer = answer(&folder, &request);
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), answer);
                    // A browser that closes early has what it wanted.
                    drop(connection.await);
                });
            }
        });
        Self {
            addr,
            _tasks: tasks,
        }
    }

    /// The page's address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/", self.origin())
    }

    /// The page's origin.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.addr)
    }
}

fn answer(folder: &Path, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let name = match request.uri().path() {
        "/" => "index.html",
        path => path.trim_start_matches('/'),
    };
    let (status, content_type, body) = match read(folder, name) {
        Some(bytes) => (StatusCode::OK, content_type(name), bytes),
        None => (StatusCode::NOT_FOUND, "text/plain", Vec::new()),
    };
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, content_type)
        .header(header::CACHE_CONTROL, "no-store")
        .header("cross-origin-opener-policy", "same-origin")
        .header("cross-origin-embedder-policy", "require-corp")
        .header("cross-origin-resource-policy", "same-origin")
        .body(Full::from(body))
        .expect("these headers are valid")
}

/// The file of this name; names have no folders.
fn read(folder: &Path, name: &str) -> Option<Vec<u8>> {
    if name.contains(['/', '\\']) {
        return None;
    }
    std::fs::read(folder.join(name)).ok()
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}
