//! What a request that is not gRPC gets, by its path.
//!
//! Called by `listener::http1` for each request. The one place where something new is put beside gRPC
//! and the tunnel: give it a path here and a file of its own. Answers are small and made at once; a body
//! that a request brings is never read.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use std::sync::Arc;

use super::files::Files;
use super::http1::From;
use super::tunnel::{Opening, Tunnels};
use crate::grpc::{Connections, Pages};

/// The body of an answer.
pub(super) type Body = Full<Bytes>;

/// What becomes of a request.
pub(super) enum Answer {
    /// This, and the connection goes on.
    Here(Response<Body>),
    /// This, and the connection becomes a tunnel.
    Tunnel(Response<Body>, Opening),
}

/// What is behind each path.
#[derive(Debug)]
pub(super) struct Router {
    /// Without it there is no tunnel.
    pub tunnels: Option<Arc<Tunnels>>,
    /// Whatever is not the tunnel's.
    pub files: Arc<Files>,
}

impl Router {
    /// Answers a request.
    ///
    /// # Cancel safety
    /// Dropping the future gives back whatever the request had taken.
    pub(super) async fn answer(
        &self,
        request: &Request<Incoming>,
        from: From,
        until: &Connections,
    ) -> Answer {
        match &self.tunnels {
            Some(tunnels) if request.uri().path() == tunnels.path() => {
                match tunnels.admit(request, from, until).await {
                    Ok((response, opening)) => Answer::Tunnel(response, opening),
                    Err(refusal) => Answer::Here(refusal),
                }
            }
            Some(_) | None => {
                let (method, uri, headers) = (request.method(), request.uri(), request.headers());
                let file = self.files.answer(method, uri, headers);
                let file = file.map(|answer| answer.map(Full::from));
                Answer::Here(file.unwrap_or_else(|| self.nothing_here()))
            }
        }
    }

    fn nothing_here(&self) -> Response<Body> {
        let mut line =
            "there is nothing here: this port serves gRPC, which needs HTTP/2".to_owned();
        if let Some(tunnels) = &self.tunnels {
            line += "; through a WebSocket it is at ";
            line += tunnels.path();
        }
        if let Some(index) = self.files.index() {
            line += "; a page to look at is ";
            line += index;
        }
        text(StatusCode::NOT_FOUND, &line)
    }
}

/// An answer of one line.
pub(super) fn text(status: StatusCode, line: &str) -> Response<Body> {
    let mut response = Response::new(Full::from(format!("{line}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
