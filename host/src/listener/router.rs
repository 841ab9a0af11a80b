//! What a request over HTTP/1.1 gets: by its path, and calls of gRPC-Web by what they say they are.
//!
//! Called by `listener::http1` for each request. The one place where something new is put beside gRPC
//! and the tunnel: give it a path here and a file of its own. Answers are small and made at once; a body
//! that a request brings is read only by a call.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::body::{Body as _, Incoming};
use switchboard_tunnel::handshake;

use super::bridge::{Bridge, Carried, Web};
use super::http1::Sender;
use super::tunnel::{Opening, Tunnels};
use crate::grpc::{Connections, Pages, web};

/// What some path here may be asked with.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS, POST");

/// The body of an answer.
pub(super) type Body = Either<Full<Bytes>, Carried>;

/// What becomes of a request.
pub(super) enum Answer {
    /// This, and the connection goes on.
    Here(Response<Body>),
    /// This, and the connection becomes a tunnel.
    Tunnel(Response<Body>, Opening),
}

impl Answer {
    fn here(response: Response<Bytes>) -> Self {
        Self::Here(response.map(|body| Either::Left(body.into())))
    }
}

/// What is behind each path.
#[derive(Debug)]
pub(super) struct Router {
    /// Without it there is no tunnel.
    pub tunnels: Option<Arc<Tunnels>>,
    /// Without it there is no gRPC-Web.
    pub web: Option<Web>,
    /// Whatever is nobody else's.
    pub files: Arc<dyn Pages>,
}

impl Router {
    /// Answers a request.
    ///
    /// # Cancel safety
    /// Dropping the future gives back whatever the request had taken.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        sender: Sender,
        bridge: &Arc<Bridge>,
        until: &Connections,
    ) -> Answer {
        match &self.tunnels {
            Some(tunnels) if request.uri().path() == tunnels.path() => {
                if !request.body().is_end_stream() {
                    let line = "a request that opens a tunnel has no body";
                    return Answer::here(text(StatusCode::BAD_REQUEST, line));
                }
                let offer = handshake::check_request(&request);
                match tunnels.admit(&request, offer, sender, until).await {
                    Ok((response, opening)) => {
                        Answer::Tunnel(response.map(|()| Either::Left(Full::default())), opening)
                    }
                    Err(refusal) => Answer::here(refusal),
                }
            }
            Some(_) | None => {
                if let Some(web) = &self.web {
                    let peer = sender.peer;
                    if let Some(answer) = web::answer(&*web.cors, &request, &peer) {
                        return Answer::here(answer);
                    }
                    if request.method() == Method::POST && web::is_web(request.headers()) {
                        return match bridge.call(web, request, peer, until).await {
                            Ok(response) => Answer::Here(response.map(Either::Right)),
                            Err(refusal) => Answer::here(refusal),
                        };
                    }
                }
                let (method, uri, headers) = (request.method(), request.uri(), request.headers());
                let file = self.files.answer(method, uri, headers);
                Answer::here(file.unwrap_or_else(|| self.nothing_here(&request)))
            }
        }
    }

    fn nothing_here(&self, request: &Request<Incoming>) -> Response<Bytes> {
        if *request.method() == Method::OPTIONS && request.uri().path() == "*" {
            // About the server as a whole. Source: RFC 9110, section 9.3.7.
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response.headers_mut().insert(header::ALLOW, METHODS);
            return response;
        }
        if [Method::CONNECT, Method::TRACE].contains(request.method()) {
            let line = "this is neither a proxy nor an echo";
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, line);
            response.headers_mut().insert(header::ALLOW, METHODS);
            return response;
        }
        let (status, line) = if is_grpc(request.headers()) {
            (
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "gRPC needs HTTP/2, and this came over HTTP/1.1: let the client, or the proxy before this \
                 port, speak HTTP/2",
            )
        } else {
            (
                StatusCode::NOT_FOUND,
                "there is nothing here: this port serves gRPC, which needs HTTP/2",
            )
        };
        let mut line = line.to_owned();
        if let Some(tunnels) = &self.tunnels {
            line += "; through a WebSocket it is at ";
            line += tunnels.path();
        }
        if let Some(index) = self.files.index() {
            line += "; a page to look at is ";
            line += index;
        }
        text(status, &line)
    }
}

/// Whether a client took this for a port that speaks gRPC over HTTP/1.1. `application/grpc-web` is not meant.
fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    let rest = content_type.and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest, [] | [b'+' | b';' | b' ', ..]))
}

/// An answer of one line.
pub(super) fn text(status: StatusCode, line: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!("{line}\n")));
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
