//! The services, as a test wants them, and counts of what they saw.
//!
//! Served by `server`. [`Counts`] are watched, so that a test waits for what it needs and never
//! sleeps. Invariant: a call that is dropped before it answered is counted as dropped.

use std::pin::Pin;

use futures_util::{Stream, StreamExt, stream};
use tokio::sync::watch;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::peer::peer_server::Peer;
use crate::peer::{Answer, Ask};
use crate::testservice::test_service_server::TestService;
use crate::testservice::{AddRequest, CountRequest, Number, Total};

/// What the services saw so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that reached a handler.
    pub begun: usize,
    /// Calls that were told to hang and were dropped.
    pub dropped: usize,
    /// Messages that streams have produced.
    pub produced: usize,
}

/// Implements the services.
#[derive(Clone, Debug)]
pub struct Services {
    counts: watch::Sender<Counts>,
}

impl Default for Services {
    fn default() -> Self {
        Self {
            counts: watch::Sender::new(Counts::default()),
        }
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<Answer, Status>> + Send>>;
type Totals = Pin<Box<dyn Stream<Item = Result<Total, Status>> + Send>>;
type Numbers = Pin<Box<dyn Stream<Item = Result<Number, Status>> + Send>>;

impl Services {
    /// The counts, to look at and to wait for.
    #[must_use]
    pub fn counts(&self) -> watch::Receiver<Counts> {
        self.counts.subscribe()
    }

    fn begin(&self) {
        self.counts.send_modify(|counts| counts.begun += 1);
    }

    fn count_drop(&self) -> CountDrop {
        CountDrop(self.counts.clone())
    }
}

/// Counts its drop.
struct CountDrop(watch::Sender<Counts>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.send_modify(|counts| counts.dropped += 1);
    }
}

fn status(ask: &Ask) -> Option<Status> {
    let code = i32::try_from(ask.code).unwrap_or_default();
    (code != 0).then(|| {
        let (message, details) = (ask.message.clone(), ask.details.clone());
        Status::with_details(Code::from_i32(code), message, details.into())
    })
}

fn answer(ask: Ask) -> Answer {
    let mut payload = ask.payload;
    payload.resize(payload.len() + ask.size_bytes as usize, 0);
    Answer {
        payload,
        ..Answer::default()
    }
}

#[tonic::async_trait]
impl Peer for Services {
    async fn unary(&self, request: Request<Ask>) -> Result<Response<Answer>, Status> {
        self.begin();
        let header = |name: &str| {
            let value = request.metadata().get(name);
            value
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        let timeout = header("grpc-timeout").unwrap_or_default();
        let authorization = header("authorization").unwrap_or_default();
        let ask = request.into_inner();
        if ask.hang {
            let _dropped = self.count_drop();
            std::future::pending::<()>().await;
        }
        if let Some(status) = status(&ask) {
            return Err(status);
        }
        let answer = answer(ask);
        Ok(Response::new(Answer {
            timeout,
            authorization,
            ..answer
        }))
    }

    async fn collect(&self, request: Request<Streaming<Ask>>) -> Result<Response<Answer>, Status> {
        self.begin();
        let mut asks = request.into_inner();
        let mut total = Answer::default();
        while let Some(ask) = asks.message().await? {
            total.count += 1;
            total.payload_bytes += ask.payload.len() as u64;
            if let Some(status) = status(&ask) {
                return Err(status);
            }
        }
        Ok(Response::new(total))
    }

    type ProduceStream = Answers;

    async fn produce(&self, request: Request<Ask>) -> Result<Response<Answers>, Status> {
        self.begin();
        let ask = request.into_inner();
        let count = ask.count as usize;
        let last = status(&ask);
        let counts = self.counts.clone();
        let answers = stream::repeat_with(move || {
            counts.send_modify(|counts| counts.produced += 1);
            Ok(answer(ask.clone()))
        });
        let answers = answers.take(count).chain(stream::iter(last.map(Err)));
        Ok(Response::new(Box::pin(answers)))
    }

    type ConverseStream = Answers;

    async fn converse(
        &self,
        request: Request<Streaming<Ask>>,
    ) -> Result<Response<Answers>, Status> {
        self.begin();
        let counts = self.clone();
        let answers = request.into_inner().then(move |ask| {
            let counts = counts.clone();
            async move {
                let ask = ask?;
                if ask.hang {
                    let _dropped = counts.count_drop();
                    std::future::pending::<()>().await;
                }
                match status(&ask) {
                    Some(status) => Err(status),
                    None => Ok(answer(ask)),
                }
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

#[tonic::async_trait]
impl TestService for Services {
    async fn add(&self, request: Request<AddRequest>) -> Result<Response<Number>, Status> {
        let AddRequest { a, b } = request.into_inner();
        match a.checked_add(b) {
            Some(value) => Ok(Response::new(Number { value })),
            None => Err(Status::out_of_range("zu groß für 64 Bit")),
        }
    }

    async fn sum(&self, request: Request<Streaming<Number>>) -> Result<Response<Total>, Status> {
        let mut numbers = request.into_inner();
        let mut total = Total::default();
        while let Some(number) = numbers.message().await? {
            total.count += 1;
            total.total += number.value;
        }
        Ok(Response::new(total))
    }

    type CountStream = Numbers;

    async fn count(&self, request: Request<CountRequest>) -> Result<Response<Numbers>, Status> {
        let CountRequest { from, to, .. } = request.into_inner();
        let numbers = (from..=to).map(|value| Ok(Number { value }));
        Ok(Response::new(Box::pin(stream::iter(numbers))))
    }

    type RunningStream = Totals;

    async fn running(
        &self,
        request: Request<Streaming<Number>>,
    ) -> Result<Response<Totals>, Status> {
        let totals = request
            .into_inner()
            .scan(Total::default(), |so_far, number| {
                let total = number.map(|number| {
                    so_far.count += 1;
                    so_far.total += number.value;
                    *so_far
                });
                std::future::ready(Some(total))
            });
        Ok(Response::new(Box::pin(totals)))
    }
}
