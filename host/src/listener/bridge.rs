//! gRPC-Web over HTTP/1.1: its calls go on in HTTP/2, inside the process, to the server of all other calls.
//!
//! Used by `listener::router` for a call ([`Bridge::call`]) and by `listener::http1`, whose task also drives what
//! is here ([`Carrying`]). So deadlines, limits, cancellation, the drain and the log have one implementation,
//! whatever a call came by. Made with the first call of a connection, and gone with it.
//!
//! Invariants: what is on its way here is bounded, by the pipe and by HTTP/2's windows; nothing here is a task
//! of its own, so whatever ends the connection ends its calls; a body that ends early ends the call, and the
//! other way round.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::uri::{Authority, PathAndQuery};
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header,
};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;

use super::cors::Cors;
use super::router::text;
use crate::config::ConnectionConfig;
use crate::grpc::{Connections, Server};
use crate::peer::Peer;

/// Bytes in the pipe, each way, and of an answer in HTTP/2 at the client's end of it: enough that one turn
/// of the task moves a few frames, and little beside what a stream may hold at the server's end.
const PIPE_BYTES: usize = 64 * 1024;
const WINDOW_BYTES: u32 = 64 * 1024;

/// Largest header block of an answer. No limit here: the call's own was kept when it was made.
const HEADER_LIST_BYTES_MAX: u32 = 16 << 20;

/// When to come back after a 503, in seconds: another host has taken over, most likely.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// Headers that are about the connection they came by, besides those that `Connection` names. Source: RFC
/// 9113, section 8.2.2. `Host` becomes the authority; what `Expect` asks for has been done.
const OF_THE_CONNECTION: [HeaderName; 8] = [
    header::CONNECTION,
    header::EXPECT,
    header::HOST,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What is to be driven.
enum Part {
    Server(Job),
    Client(Job),
}

/// gRPC-Web, as the router has it.
#[derive(Debug)]
pub(super) struct Web {
    /// Whose pages may call.
    pub cors: Arc<Cors>,
    /// Serves calls, within the limits of a connection that nobody pings.
    server: Server,
}

impl Web {
    /// `server` is that of all other connections.
    pub(super) fn new(cors: Arc<Cors>, server: &Server) -> Self {
        let connection = ConnectionConfig {
            // The other end is this process; how long its peer is waited for is HTTP/1.1's to say.
            keepalive_interval: std::time::Duration::MAX,
            first_request_timeout: None,
            idle_timeout: None,
            age_max: None,
            ..ConnectionConfig::clone(&server.connection)
        };
        Self {
            cors,
            server: Server {
                connection: Arc::new(connection),
                ..server.clone()
            },
        }
    }
}

/// One connection's way into HTTP/2.
#[derive(Default)]
pub(super) struct Bridge {
    parts: Arc<Mutex<Vec<Part>>>,
    requests: Mutex<Option<SendRequest<Sent>>>,
    /// Whether a call is under way.
    busy: AtomicBool,
    /// Whether all of its request is here.
    asked: AtomicBool,
}

impl std::fmt::Debug for Bridge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bridge").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bridge {
    /// Makes a call and answers with its headers; its messages follow. Needs [`Carrying`] to be polled.
    ///
    /// # Cancel safety
    /// Dropping the future, or the body, cancels the call.
    pub(super) async fn call(
        self: &Arc<Self>,
        web: &Web,
        request: Request<Incoming>,
        peer: Peer,
        until: &Connections,
    ) -> Result<Response<Carried>, Response<Bytes>> {
        let asked = request.headers().clone();
        let refuse = |status, line| {
            let mut refusal = text(status, line);
            if status == StatusCode::SERVICE_UNAVAILABLE {
                let headers = refusal.headers_mut();
                headers.insert(header::RETRY_AFTER, RETRY_AFTER);
            }
            web.cors.share(&asked, refusal.headers_mut());
            refusal
        };
        let draining = || {
            let line = "the host is shutting down, try again";
            refuse(StatusCode::SERVICE_UNAVAILABLE, line)
        };
        if until.drain.is_cancelled() {
            return Err(draining());
        }
        let Some(head) = into_http2(request.method(), request.uri(), request.headers()) else {
            let line = "a request names one host, and a path";
            return Err(refuse(StatusCode::BAD_REQUEST, line));
        };
        let call = UnderWay::begin(self);
        let body = Sent {
            body: request.into_body(),
            bridge: Arc::clone(self),
        };
        body.note();
        let answered = async {
            let mut requests = self.requests(web, peer.clone(), until).await?;
            requests.send_request(head.map(|()| body)).await
        };
        match answered.await {
            Ok(response) => {
                let (mut head, body) = response.into_parts();
                head.version = Version::HTTP_11;
                head.extensions.clear();
                let body = Carried { body, _call: call };
                Ok(Response::from_parts(head, body))
            }
            Err(_) if until.drain.is_cancelled() => Err(draining()),
            Err(error) => {
                tracing::debug!(%peer, %error, "a gRPC-Web call was not answered");
                let line = "the call was cut short";
                Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, line))
            }
        }
    }

    /// HTTP/2, made anew if there is none.
    async fn requests(
        &self,
        web: &Web,
        peer: Peer,
        until: &Connections,
    ) -> hyper::Result<SendRequest<Sent>> {
        if let Some(requests) = &*lock(&self.requests)
            && !requests.is_closed()
        {
            return Ok(requests.clone());
        }
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let serving = web.server.clone().serve(far, peer, until.clone());
        let serving = Box::pin(async move {
            // The calls have said what there is to say.
            let _why = serving.await;
        });
        lock(&self.parts).push(Part::Server(serving));
        let executor = Parts(Arc::downgrade(&self.parts));
        let (requests, connection) = http2::Builder::new(executor)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_send_buf_size(PIPE_BYTES)
            .max_header_list_size(HEADER_LIST_BYTES_MAX)
            .handshake(TokioIo::new(near))
            .await?;
        let connection = Box::pin(async move {
            // An error is its calls', which say so.
            drop(connection.await);
        });
        lock(&self.parts).push(Part::Client(connection));
        *lock(&self.requests) = Some(requests.clone());
        Ok(requests)
    }

    /// Whether a call is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// Whether the peer has asked all it asks and waits for us.
    pub(super) fn owes(&self) -> bool {
        self.is_busy() && self.asked.load(Ordering::Relaxed)
    }
}

/// The head of a request as HTTP/2 has it; none if it does not say whom it asks for what.
fn into_http2(method: &http::Method, uri: &Uri, headers: &HeaderMap) -> Option<Request<()>> {
    let authority = match uri.authority() {
        Some(authority) => authority.clone(),
        None => {
            let mut hosts = headers.get_all(header::HOST).iter();
            let host = Authority::try_from(hosts.next()?.as_bytes()).ok()?;
            if hosts.next().is_some() {
                return None;
            }
            host
        }
    };
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let uri = Uri::builder().scheme("http").authority(authority);
    let mut request = Request::new(());
    *request.uri_mut() = uri.path_and_query(path).build().ok()?;
    *request.method_mut() = method.clone();
    *request.version_mut() = Version::HTTP_2;
    let mut kept = headers.clone();
    let named = headers.get_all(header::CONNECTION).iter();
    for name in named.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')) {
        if let Ok(name) = HeaderName::from_bytes(name.trim_ascii()) {
            kept.remove(name);
        }
    }
    for name in OF_THE_CONNECTION {
        kept.remove(name);
    }
    *request.headers_mut() = kept;
    Some(request)
}

/// Takes what HTTP/2 wants to have driven.
#[derive(Clone)]
struct Parts(Weak<Mutex<Vec<Part>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Parts {
    fn execute(&self, job: F) {
        // Gone: then so is the connection, and what it wants does not matter.
        if let Some(parts) = self.0.upgrade() {
            lock(&parts).push(Part::Client(Box::pin(job)));
        }
    }
}

/// Drives one connection's bridge; part of its task.
pub(super) struct Carrying {
    parts: Arc<Mutex<Vec<Part>>>,
    server: Option<Job>,
    client: FuturesUnordered<Job>,
}

impl Carrying {
    pub(super) fn new(bridge: &Bridge) -> Self {
        Self {
            parts: Arc::clone(&bridge.parts),
            server: None,
            client: FuturesUnordered::new(),
        }
    }

    /// Goes on with both ends, as far as they can.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        loop {
            let new = std::mem::take(&mut *lock(&self.parts));
            for part in new {
                match part {
                    Part::Server(job) => self.server = Some(job),
                    Part::Client(job) => self.client.push(job),
                }
            }
            if let Some(server) = &mut self.server
                && server.as_mut().poll(cx).is_ready()
            {
                self.server = None;
            }
            while let Poll::Ready(Some(())) = self.client.poll_next_unpin(cx) {}
            if lock(&self.parts).is_empty() {
                return;
            }
        }
    }

    /// Ends it: the server learns that its client is gone, and its calls have the grace of any others.
    ///
    /// # Cancel safety
    /// Dropping the future drops the calls.
    pub(super) async fn end(mut self, until: &Connections) {
        self.hang_up();
        if let Some(server) = self.server.take() {
            tokio::select! {
                () = server => {}
                () = until.cut.cancelled() => {}
            }
        }
    }
}

impl Carrying {
    /// Drops the client, also what of it was never polled: its bodies know the bridge, which knows them.
    fn hang_up(&mut self) {
        self.client.clear();
        let never_polled = std::mem::take(&mut *lock(&self.parts));
        drop(never_polled);
    }
}

impl Drop for Carrying {
    fn drop(&mut self) {
        self.hang_up();
    }
}

/// Says that a call is under way, until it is dropped.
#[derive(Debug)]
struct UnderWay(Arc<Bridge>);

impl UnderWay {
    fn begin(bridge: &Arc<Bridge>) -> Self {
        bridge.asked.store(false, Ordering::Relaxed);
        bridge.busy.store(true, Ordering::Relaxed);
        Self(Arc::clone(bridge))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Relaxed);
    }
}

/// The body of a request on its way into HTTP/2.
#[derive(Debug)]
struct Sent {
    body: Incoming,
    bridge: Arc<Bridge>,
}

impl Sent {
    fn note(&self) {
        if self.body.is_end_stream() {
            self.bridge.asked.store(true, Ordering::Relaxed);
        }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None)) {
            self.bridge.asked.store(true, Ordering::Relaxed);
        }
        self.note();
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer on its way back.
#[derive(Debug)]
pub(super) struct Carried {
    body: Incoming,
    _call: UnderWay,
}

impl Body for Carried {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(target: &str, pairs: &[(&'static str, &str)]) -> Option<Request<()>> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect(value));
        }
        into_http2(
            &http::Method::POST,
            &target.parse().expect(target),
            &headers,
        )
    }

    #[test]
    fn what_is_about_the_connection_stays_behind() {
        let pairs = [
            ("host", "a.example:8080"),
            ("connection", "keep-alive, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "gzip"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("origin", "https://a.example"),
            ("x-own-bin", "AAAA"),
        ];
        let request = carried("/a.B/C?d", &pairs).expect("a request");
        assert_eq!(request.uri(), "http://a.example:8080/a.B/C?d");
        let mut kept: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        kept.sort_unstable();
        assert_eq!(kept, ["origin", "x-own-bin"]);
    }

    #[test]
    fn whom_it_asks_is_said_once() {
        for (target, hosts, authority) in [
            ("/a.B/C", &["a.example"][..], Some("a.example")),
            ("http://b.example/a.B/C", &["a.example"], Some("b.example")),
            ("/a.B/C", &[], None),
            ("/a.B/C", &["a.example", "a.example"], None),
            ("/a.B/C", &["a b"], None),
            ("/a.B/C", &[""], None),
        ] {
            let hosts: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            let request = carried(target, &hosts);
            let found = request.as_ref().and_then(|request| request.uri().host());
            assert_eq!(found, authority, "{target} {hosts:?}");
        }
    }
}
