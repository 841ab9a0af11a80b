//! Sends spans to a collector: OTLP over HTTP, protobuf, from a thread of its own.
//!
//! Started by `Telemetry::trace`; fed by `Tracer` through a queue. Invariants: whoever ends a span never waits, and
//! what finds no room in the queue is dropped and counted; a batch that the collector cannot take now is tried again
//! a few times, while the queue fills; at the end what is left has [`END_TIMEOUT`] to leave.
//!
//! Where to, with which keys, and how to get there, is `collector`'s. Source: OTLP specification 1.x, "OTLP/HTTP".

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use tokio::sync::mpsc::{self, Receiver, Sender, error::TrySendError};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::super::Telemetry;
use super::super::metrics::{Collect, Counter, Metric, Samples};
use super::Tracer;
use super::collector::{Collector, TraceConfig};
use super::otlp::{self, Wire};
use crate::error::{BuildError, ConfigError};

/// Spans that may wait, spans that are sent at once, and the longest time that one waits for others. Count. Source:
/// OpenTelemetry specification, "Batching processor": the defaults of all its SDKs.
const QUEUE_MAX: usize = 2048;
const BATCH_MAX: usize = 512;
const BATCH_TIME: Duration = Duration::from_secs(5);

/// Time for a collector to answer. Source: OTLP exporter specification, default of `OTEL_EXPORTER_OTLP_TIMEOUT`.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Tries of a batch, and the time before the second one; twice that before the third. Longer and the queue is full
/// anyway.
const TRIES: u32 = 3;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long what is left at the end may take to leave.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Largest answer that is read, in bytes: it says next to nothing.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Numbers of the exporter.
#[derive(Debug, Default)]
struct Counts {
    exported: Counter,
    full: Counter,
    failed: Counter,
}

/// [`Counts`], where scrapers find them.
struct Counted(Arc<Counts>);

impl Collect for Counted {
    fn collect(&self, out: &mut Samples) {
        out.count(Metric::SpansExported, &[], self.0.exported.get());
        out.count(Metric::SpansDropped, &["queue_full"], self.0.full.get());
        out.count(Metric::SpansDropped, &["failed"], self.0.failed.get());
    }
}

/// Where spans wait.
#[derive(Debug)]
pub(super) struct Queue {
    spans: Sender<Vec<u8>>,
    counts: Arc<Counts>,
    told: AtomicBool,
}

impl Queue {
    /// Puts a span in line, if there is room.
    pub(super) fn push(&self, span: Vec<u8>) {
        match self.spans.try_send(span) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                self.counts.full.add_one();
                if !self.told.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        "spans are dropped: the collector takes fewer than there are; \
                         switchboard_spans_dropped_total counts them"
                    );
                }
            }
        }
    }
}

#[cfg(test)]
impl Queue {
    /// Another one that goes nowhere.
    pub(super) fn for_test(&self) -> Self {
        Self {
            spans: self.spans.clone(),
            counts: Arc::clone(&self.counts),
            told: AtomicBool::new(true),
        }
    }
}

/// Spans are sent as long as this lives. Dropping it sends what is left, within two seconds.
#[derive(Debug)]
pub struct Tracing {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Tracing {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic in it was printed where it happened.
            drop(thread.join());
        }
    }
}

/// Starts the thread that sends, and makes what feeds it.
pub(in super::super) fn start(
    config: &TraceConfig,
    telemetry: &Telemetry,
) -> Result<(Arc<Tracer>, Tracing), BuildError> {
    let collector = Collector::new(config).map_err(ConfigError)?;
    let (spans, queued) = mpsc::channel(QUEUE_MAX);
    let counts = Arc::<Counts>::default();
    telemetry.collect(Counted(Arc::clone(&counts)));
    let exporter = Exporter {
        collector,
        resource: otlp::resource(&[
            ("service.name", &config.service),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("telemetry.sdk.name", "switchboard"),
            ("telemetry.sdk.language", "rust"),
        ]),
        counts: Arc::clone(&counts),
        connection: None,
        failing: false,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BuildError::Thread)?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let thread = std::thread::Builder::new()
        .name("otlp".to_owned())
        .spawn(move || {
            runtime.block_on(exporter.run(queued, stopped));
            // A resolver that does not answer must not be waited for.
            runtime.shutdown_background();
        })
        .map_err(BuildError::Thread)?;
    let queue = Queue {
        spans,
        counts,
        told: AtomicBool::new(false),
    };
    let tracing = Tracing {
        stop,
        thread: Some(thread),
    };
    Ok((Arc::new(Tracer::new(config.sample, queue)), tracing))
}

/// What sends batches.
struct Exporter {
    collector: Collector,
    resource: Wire,
    counts: Arc<Counts>,
    connection: Option<SendRequest<Full<Bytes>>>,
    /// Whether it was said that spans do not arrive.
    failing: bool,
}

/// Why a batch did not arrive.
enum Failure {
    /// It may, a little later.
    Again(String),
    /// It never will.
    Never(String),
}

impl Exporter {
    async fn run(mut self, mut queued: Receiver<Vec<u8>>, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while gather(&mut queued, &mut batch, &stop).await {
            let sent = self.send(&batch);
            tokio::select! {
                () = sent => {}
                () = async { stop.cancelled().await; sleep(END_TIMEOUT).await } => {
                    return self.left(batch.len() + queued.len());
                }
            }
            batch.clear();
        }
        let end = Instant::now() + END_TIMEOUT;
        queued.close();
        while queued.recv_many(&mut batch, BATCH_MAX).await > 0 {
            if timeout_at(end, self.send(&batch)).await.is_err() {
                return self.left(batch.len() + queued.len());
            }
            batch.clear();
        }
    }

    /// Says how many spans the end of the host came too soon for.
    fn left(&self, spans: usize) {
        self.counts
            .failed
            .add(u64::try_from(spans).unwrap_or(u64::MAX));
        let collector = self.collector.name();
        tracing::warn!(
            collector,
            spans,
            "spans are lost: the collector did not take them before the end"
        );
    }

    /// Sends one batch, or counts it as lost.
    async fn send(&mut self, batch: &[Vec<u8>]) {
        let body = Bytes::from(otlp::request(&self.resource, batch));
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let mut pause = RETRY_AFTER;
        for tried in 1..=TRIES {
            let why = match timeout(ANSWER_TIMEOUT, self.post(body.clone())).await {
                Ok(Ok(())) => {
                    if std::mem::take(&mut self.failing) {
                        tracing::info!("the collector takes spans again");
                    }
                    return self.counts.exported.add(count);
                }
                Ok(Err(Failure::Again(why))) if tried < TRIES => why,
                Ok(Err(Failure::Again(why) | Failure::Never(why))) => {
                    self.lost(count, &why);
                    return;
                }
                Err(_elapsed) if tried < TRIES => "no answer".to_owned(),
                Err(_elapsed) => {
                    self.lost(count, "no answer");
                    return;
                }
            };
            tracing::debug!(why, "spans did not arrive, trying again");
            // Whatever was wrong with it, the next try has a connection of its own.
            self.connection = None;
            sleep(pause).await;
            pause *= 2;
        }
    }

    fn lost(&mut self, count: u64, why: &str) {
        self.connection = None;
        self.counts.failed.add(count);
        if !std::mem::replace(&mut self.failing, true) {
            let collector = self.collector.name();
            tracing::warn!(
                collector,
                "spans are lost, the collector does not take them: {why}"
            );
        }
    }

    async fn post(&mut self, body: Bytes) -> Result<(), Failure> {
        let again = |error: hyper::Error| Failure::Again(error.to_string());
        let connection = match &mut self.connection {
            Some(connection) if !connection.is_closed() => connection,
            gone => gone.insert(self.collector.connect().await.map_err(Failure::Again)?),
        };
        connection.ready().await.map_err(again)?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.collector.path())
            .header(header::HOST, self.collector.name())
            .header(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/x-protobuf"),
            )
            .header(
                header::USER_AGENT,
                HeaderValue::from_static(concat!("switchboard-otlp/", env!("CARGO_PKG_VERSION"))),
            )
            .body(Full::new(body))
            .map_err(|error| Failure::Never(error.to_string()))?;
        request.headers_mut().extend(self.collector.headers());
        let response = connection.send_request(request).await.map_err(again)?;
        let status = response.status();
        // To its end, so that the connection can be used again.
        let answer = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        match status {
            _ if status.is_success() => Ok(()),
            // "The requests that receive a response status code listed in following table SHOULD be retried."
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Err(Failure::Again(status.to_string())),
            _ => {
                // What it says may be the only hint at what is wrong; it is no protobuf that we would show.
                let text = answer.map(|answer| answer.to_bytes()).unwrap_or_default();
                let text = String::from_utf8_lossy(&text[..text.len().min(200)]);
                let text = text.escape_debug();
                Err(Failure::Never(format!("{status} {text}")))
            }
        }
    }
}

/// Waits for a batch: until it is whole, or as old as it may be. Answers whether there is more to come.
async fn gather(
    queued: &mut Receiver<Vec<u8>>,
    batch: &mut Vec<Vec<u8>>,
    stop: &CancellationToken,
) -> bool {
    let first = tokio::select! {
        biased;
        // Each batch would have the time of the end anew.
        () = stop.cancelled() => None,
        first = queued.recv() => first,
    };
    let Some(first) = first else {
        return false;
    };
    batch.push(first);
    let due = Instant::now() + BATCH_TIME;
    while batch.len() < BATCH_MAX {
        let room = BATCH_MAX - batch.len();
        let more = tokio::select! {
            more = timeout_at(due, queued.recv_many(batch, room)) => more,
            // What there is leaves at once; the rest is the end's to send.
            () = stop.cancelled() => return true,
        };
        if !matches!(more, Ok(1..)) {
            break;
        }
    }
    true
}
