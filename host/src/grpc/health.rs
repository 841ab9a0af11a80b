//! `grpc.health.v1.Health`: whether the host serves, and each of its services.
//!
//! Made by `host`, which adds and removes services as plugins come and go, and says when it stops. Each
//! service follows its plugin's pool: not serving while that is in quarantine. The host as a whole (the
//! service without a name) serves until it is told to stop.
//!
//! Invariants: who watches is told the newest state only, however slowly it reads; watching takes no
//! plugin's place, and at most `watches_max` do it at once; none of them holds up a drain.
//!
//! Source: grpc/doc/health-checking.md and grpc/health/v1/health.proto. Knows no HTTP/2 and no wasm.

use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::built_in::{deliver, stops};
use super::protobuf::{Fields, Malformed, Message};
use super::route::{NativeFuture, NativeMethod, NativeService};
use crate::config::HealthConfig;
use crate::guest::MethodKind;
use crate::imports::call::{Exchange, Received};
use crate::status::{Code, Status};

/// The service's name.
pub(crate) const HEALTH: &str = "grpc.health.v1.Health";

/// Its methods, by their place.
const METHODS: [(&str, MethodKind); 3] = [
    ("Check", MethodKind::Unary),
    ("List", MethodKind::Unary),
    ("Watch", MethodKind::ServerStreaming),
];

/// Most services that `List` answers with. "The maximum number of services to return is 100; responses
/// exceeding this limit will result in a RESOURCE_EXHAUSTED error".
const LIST_MAX: usize = 100;

/// Largest request, in bytes: a name and what frames it, generously.
const REQUEST_BYTES_MAX: usize = 4 * 1024;

/// What is said of a service; the numbers are those of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serving {
    Yes = 1,
    No = 2,
    /// "Used only by the Watch method."
    Unknown = 3,
}

#[derive(Clone, Debug)]
struct Service {
    /// Who offers it.
    owner: Arc<str>,
    /// Whether that serves; none if it always does.
    serving: Option<watch::Receiver<bool>>,
}

/// What is known of the health of everything that a host serves.
#[derive(Debug)]
pub(crate) struct Health {
    services: Mutex<BTreeMap<String, Service>>,
    /// Told when services come and go, and when the host stops serving.
    changes: watch::Sender<()>,
    stopped: AtomicBool,
    drain: CancellationToken,
    watches: Arc<Semaphore>,
}

impl Health {
    /// Of a host that serves nothing yet; `drain` ends those who watch.
    #[must_use]
    pub(crate) fn new(config: &HealthConfig, drain: CancellationToken) -> Arc<Self> {
        let watches = usize::try_from(config.watches_max.get()).unwrap_or(usize::MAX);
        Arc::new(Self {
            services: Mutex::default(),
            changes: watch::Sender::new(()),
            stopped: AtomicBool::new(false),
            drain,
            watches: Arc::new(Semaphore::new(watches.min(Semaphore::MAX_PERMITS))),
        })
    }

    /// What `owner` offers from now on, instead of what it offered before, and whom that follows; without
    /// anybody to follow it always serves. A plugin that is gone offers nothing.
    pub(crate) fn set<'a>(
        &self,
        owner: &Arc<str>,
        services: impl IntoIterator<Item = &'a str>,
        serving: Option<&watch::Receiver<bool>>,
    ) {
        let service = Service {
            owner: Arc::clone(owner),
            serving: serving.cloned(),
        };
        let mut known = self.lock();
        known.retain(|_, service| service.owner != *owner);
        known.extend(
            services
                .into_iter()
                .map(|name| (name.to_owned(), service.clone())),
        );
        drop(known);
        self.changes.send_replace(());
    }

    /// Nothing serves any more: the host is about to stop.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.changes.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Service>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, follows: Option<&watch::Receiver<bool>>) -> Serving {
        let stopped = self.stopped.load(Ordering::SeqCst);
        if stopped || follows.is_some_and(|serving| !*serving.borrow()) {
            Serving::No
        } else {
            Serving::Yes
        }
    }

    /// What is said of a service, and whom it follows.
    fn look(&self, service: &str) -> (Serving, Option<watch::Receiver<bool>>) {
        if service.is_empty() {
            return (self.of(None), None);
        }
        let Some(Service { mut serving, .. }) = self.lock().get(service).cloned() else {
            return (Serving::Unknown, None);
        };
        if let Some(serving) = &mut serving {
            serving.mark_unchanged();
        }
        (self.of(serving.as_ref()), serving)
    }

    fn check(&self, request: &[u8]) -> Result<Bytes, Status> {
        let service = name_in(request)?;
        match self.look(&service).0 {
            Serving::Unknown => {
                let text = format!("no service here is named {service:?}");
                Err(Status::new(Code::NotFound, text))
            }
            known @ (Serving::Yes | Serving::No) => Ok(response(known).into()),
        }
    }

    fn list(&self) -> Result<Bytes, Status> {
        let known = self.lock();
        if known.len() >= LIST_MAX {
            let text = format!(
                "{} services, more than the {LIST_MAX} that a list may have; ask for each",
                known.len() + 1
            );
            return Err(Status::new(Code::ResourceExhausted, text));
        }
        let each = known.iter();
        let each = each.map(|(name, service)| (name.as_str(), service.serving.as_ref()));
        let mut list = Message::default();
        for (name, follows) in std::iter::once(("", None)).chain(each) {
            // An entry of a map: key and value.
            let mut entry = Message::default();
            entry.bytes(1, name.as_bytes());
            entry.bytes(2, response(self.of(follows)).as_bytes());
            list.bytes(1, entry.as_bytes());
        }
        Ok(list.into())
    }

    async fn watch(&self, call: &dyn Exchange) -> Result<(), Status> {
        let request = match poll_fn(|cx| call.poll_receive(cx)).await {
            Received::Message(request) => request,
            Received::End | Received::Cancelled(_) => return Ok(()),
        };
        let service = name_in(&request)?;
        drop(request);
        let _place = self.watches.try_acquire().map_err(|_full| {
            let text = "as many watch as may: use Check, or raise --health-watches-max";
            Status::new(Code::ResourceExhausted, text)
        })?;
        let mut changes = self.changes.subscribe();
        let mut told = None;
        loop {
            changes.mark_unchanged();
            let draining = self.drain.is_cancelled();
            let (serving, follows) = self.look(&service);
            if told != Some(serving) {
                deliver(call, response(serving).into(), &self.drain).await?;
                told = Some(serving);
            }
            if draining {
                return Err(stops());
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = changed(follows) => {}
                () = self.drain.cancelled() => {}
                () = over(call) => return Ok(()),
            }
        }
    }
}

/// Waits for a change of what is followed. A pool that is gone changes no more: its services were removed.
async fn changed(follows: Option<watch::Receiver<bool>>) {
    if let Some(mut serving) = follows
        && serving.changed().await.is_ok()
    {
        return;
    }
    pending().await
}

/// Waits for the end of a call; its task is woken when that comes.
async fn over(call: &dyn Exchange) {
    poll_fn(|_| match call.cancelled() {
        Some(_) => Poll::Ready(()),
        None => Poll::Pending,
    })
    .await
}

/// The service in a `HealthCheckRequest`.
fn name_in(request: &[u8]) -> Result<String, Status> {
    let read = || {
        let mut name = "";
        for field in Fields::of(request) {
            if let (1, value) = field? {
                name = value.text()?;
            }
        }
        Ok(name.to_owned())
    };
    read().map_err(|Malformed| {
        Status::new(
            Code::InvalidArgument,
            "the message is no HealthCheckRequest",
        )
    })
}

/// A `HealthCheckResponse`.
fn response(serving: Serving) -> Message {
    let mut response = Message::default();
    response.varint(1, serving as u64);
    response
}

/// The service over what is known.
#[derive(Clone, Debug)]
pub(crate) struct HealthService(pub(crate) Arc<Health>);

impl NativeService for HealthService {
    fn name(&self) -> &str {
        HEALTH
    }

    fn methods(&self) -> Vec<NativeMethod> {
        METHODS
            .map(|(name, kind)| NativeMethod { name, kind })
            .into()
    }

    fn file_descriptor_set(&self) -> Option<&'static [u8]> {
        Some(include_bytes!("descriptors/health.bin"))
    }

    fn request_bytes_max(&self) -> Option<usize> {
        Some(REQUEST_BYTES_MAX)
    }

    fn unary(
        &self,
        method: usize,
        _call: Arc<dyn Exchange>,
        request: Bytes,
    ) -> NativeFuture<Bytes> {
        let answer = if method == 0 {
            self.0.check(&request)
        } else {
            self.0.list()
        };
        Box::pin(std::future::ready(answer))
    }

    fn stream(&self, _method: usize, call: Arc<dyn Exchange>) -> NativeFuture<()> {
        let health = Arc::clone(&self.0);
        Box::pin(async move { health.watch(&*call).await })
    }
}
