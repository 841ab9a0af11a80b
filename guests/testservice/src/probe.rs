//! `testservice.Probe`: what a call sees, how it may end, and what an instance remembers.
//!
//! Called by the host's tests through `lib.rs`. State is in cells, because an instance serves one call
//! at a time; it lives as long as the instance, which is what `Instance` and `Grow` make visible.

use std::cell::{Cell, OnceCell, RefCell};
use std::hash::{BuildHasher as _, RandomState};
use std::hint::black_box;
use std::time::{Duration, Instant};

use prost::Message as _;
use switchboard_guest::{
    Code, MetadataError, Receive, Request, Response, Sender, Status, Streaming, log,
};

use crate::count;
use crate::testservice::probe_server::Probe;
use crate::testservice::tick_response::Event;
use crate::testservice::{
    Block, ContextRequest, ContextResponse, DecorateRequest, DecorateResponse, FailAfterRequest,
    Failure, FloodRequest, GrowRequest, InstanceRequest, InstanceResponse, Metadata, Number,
    SleepRequest, TickRequest, TickResponse, Total, TraceRequest, TraceResponse, WaitEvent,
    WaitEventKind,
};

/// Most messages and bytes that `Batches` takes at once; the host's own limit may be lower.
const BATCH_COUNT_MAX: u32 = 64;
const BATCH_BYTES_MAX: u32 = 64 * 1024;

/// Answers `testservice.Probe`, and is what an instance remembers.
#[derive(Debug, Default)]
pub struct Prober {
    id: OnceCell<u64>,
    calls: Cell<u64>,
    kept: RefCell<Vec<Vec<u8>>>,
}

impl Prober {
    /// Every method begins with this.
    fn begin(&self) {
        self.calls.set(self.calls.get() + 1);
    }

    fn instance(&self) -> Response<InstanceResponse> {
        // The keys of a standard hasher are the random numbers that need no dependency.
        let id = *self.id.get_or_init(|| RandomState::new().hash_one(()));
        let kept: usize = self.kept.borrow().iter().map(Vec::len).sum();
        Response::new(InstanceResponse {
            instance_id: id,
            calls: self.calls.get(),
            kept_bytes: kept as u64,
        })
    }
}

impl Probe for Prober {
    fn context(
        &self,
        request: Request<ContextRequest>,
    ) -> Result<Response<ContextResponse>, Status> {
        self.begin();
        let context = request.context();
        let look_up = |key: &String| {
            let value = context.get(key)?;
            Some(Metadata {
                key: key.clone(),
                value,
            })
        };
        let nanoseconds = |left: Duration| u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
        Ok(Response::new(ContextResponse {
            metadata: context
                .metadata()
                .into_iter()
                .map(|(key, value)| Metadata { key, value })
                .collect(),
            looked_up: request.get_ref().keys.iter().filter_map(look_up).collect(),
            peer: context.peer(),
            time_left_ns: context.time_left().map(nanoseconds),
            cancelled: context.cancelled().is_some(),
        }))
    }

    fn trace(&self, request: Request<TraceRequest>) -> Result<Response<TraceResponse>, Status> {
        self.begin();
        let (context, wanted) = request.into_parts();
        context.add_event(&wanted.event, &[(&wanted.key, &wanted.value)]);
        log::info!("traced: {}", wanted.event);
        let found = context.trace_context();
        let (traceparent, tracestate) = found
            .map(|found| (found.traceparent, found.tracestate))
            .unwrap_or_default();
        Ok(Response::new(TraceResponse {
            traceparent,
            tracestate,
        }))
    }

    fn decorate(
        &self,
        request: Request<DecorateRequest>,
    ) -> Result<Response<DecorateResponse>, Status> {
        self.begin();
        let (context, wanted) = request.into_parts();
        let mut refused = Vec::new();
        let mut note = |entry: &Metadata, outcome: Result<(), MetadataError>| {
            if let Err(error) = outcome {
                refused.push(format!("{}: {error}", entry.key));
            }
        };
        for entry in &wanted.headers {
            note(entry, context.set_header(&entry.key, &entry.value));
        }
        if wanted.send_headers_first {
            context.send_headers();
        }
        for entry in &wanted.trailers {
            note(entry, context.set_trailer(&entry.key, &entry.value));
        }
        for entry in &wanted.late_headers {
            note(entry, context.set_header(&entry.key, &entry.value));
        }
        match wanted.failure {
            Some(failure) => Err(status(failure)),
            None => Ok(Response::new(DecorateResponse { refused })),
        }
    }

    fn fail(&self, request: Request<Failure>) -> Result<Response<Number>, Status> {
        self.begin();
        Err(status(request.into_inner()))
    }

    fn fail_after(
        &self,
        request: Request<FailAfterRequest>,
        replies: Sender<Number>,
    ) -> Result<(), Status> {
        self.begin();
        let FailAfterRequest { count, failure } = request.into_inner();
        for value in 1..=i64::from(count) {
            replies.send(Number { value })?;
        }
        Err(status(failure.unwrap_or_default()))
    }

    fn sleep(&self, request: Request<SleepRequest>) -> Result<Response<InstanceResponse>, Status> {
        self.begin();
        pause(request.get_ref().duration_ms);
        Ok(self.instance())
    }

    fn burn(&self, request: Request<SleepRequest>) -> Result<Response<InstanceResponse>, Status> {
        self.begin();
        let started = Instant::now();
        let wanted = Duration::from_millis(u64::from(request.get_ref().duration_ms));
        let mut work = 1_u64;
        while started.elapsed() < wanted {
            // Asking the clock is a call into the host: mostly the plugin's own work is wanted.
            for _ in 0..10_000 {
                work = black_box(work.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1));
            }
        }
        Ok(self.instance())
    }

    fn wait(
        &self,
        request: Request<Streaming<Number>>,
        replies: Sender<WaitEvent>,
    ) -> Result<(), Status> {
        self.begin();
        let (context, numbers) = request.into_parts();
        let tell = |kind: WaitEventKind| replies.send(WaitEvent { kind: kind.into() });
        tell(WaitEventKind::Waiting)?;
        loop {
            match numbers.message() {
                Ok(Some(_)) => tell(WaitEventKind::Message)?,
                Ok(None) => return tell(WaitEventKind::End),
                Err(status) => {
                    if let Some(reason) = context.cancelled() {
                        log::info!("wait: cancelled: {reason}");
                    }
                    return Err(status);
                }
            }
        }
    }

    fn early(
        &self,
        request: Request<Streaming<Number>>,
        replies: Sender<Number>,
    ) -> Result<(), Status> {
        self.begin();
        match request.into_inner().message()? {
            Some(number) => replies.send(number),
            None => Ok(()),
        }
    }

    fn batches(
        &self,
        request: Request<Streaming<Number>>,
        replies: Sender<Total>,
    ) -> Result<(), Status> {
        self.begin();
        let numbers = request.into_inner();
        loop {
            let batch = numbers
                .incoming()
                .receive_many(BATCH_COUNT_MAX, BATCH_BYTES_MAX)?;
            if batch.is_empty() {
                return Ok(());
            }
            let mut sum = Total::default();
            for message in batch {
                let number = Number::decode(message.as_slice())
                    .map_err(|error| Status::internal(error.to_string()))?;
                count(&mut sum, number.value)?;
            }
            replies.send(sum)?;
        }
    }

    fn ticks(
        &self,
        request: Request<Streaming<TickRequest>>,
        replies: Sender<TickResponse>,
    ) -> Result<(), Status> {
        self.begin();
        let tell = |event: Event| replies.send(TickResponse { event: Some(event) });
        let messages = request.into_inner();
        let Some(first) = messages.message()? else {
            return Ok(());
        };
        tell(Event::Value(first.value))?;
        let silence = match first.pause_ms {
            0 => Duration::MAX,
            pause => Duration::from_millis(u64::from(pause)),
        };
        let mut silences = 0;
        loop {
            match messages.message_timeout(silence)? {
                Receive::Message(message) => tell(Event::Value(message.value))?,
                Receive::End => return Ok(()),
                Receive::Timeout => {
                    silences += 1;
                    tell(Event::Silences(silences))?;
                }
            }
        }
    }

    fn instance(
        &self,
        _request: Request<InstanceRequest>,
    ) -> Result<Response<InstanceResponse>, Status> {
        self.begin();
        Ok(self.instance())
    }

    fn grow(&self, request: Request<GrowRequest>) -> Result<Response<InstanceResponse>, Status> {
        self.begin();
        let wanted = request.get_ref().size_bytes;
        let refused = || Status::resource_exhausted(format!("no room for {wanted} bytes more"));
        let bytes = usize::try_from(wanted).map_err(|_| refused())?;
        let mut block = Vec::new();
        block.try_reserve_exact(bytes).map_err(|_| refused())?;
        // Written to, because memory that is only reserved costs the host nothing.
        block.resize(bytes, 0xa5);
        self.kept.borrow_mut().push(block);
        Ok(self.instance())
    }

    fn flood(&self, request: Request<FloodRequest>, replies: Sender<Block>) -> Result<(), Status> {
        self.begin();
        let FloodRequest { count, size_bytes } = request.into_inner();
        for index in 0..count {
            replies.send(Block {
                index,
                data: vec![(index % 256) as u8; size_bytes as usize],
                pause_ms: 0,
            })?;
        }
        Ok(())
    }

    fn swallow(&self, request: Request<Streaming<Block>>) -> Result<Response<Total>, Status> {
        self.begin();
        let mut swallowed = Total::default();
        for block in request.into_inner() {
            let block = block?;
            pause(block.pause_ms);
            let bytes = i64::try_from(block.data.len()).unwrap_or(i64::MAX);
            count(&mut swallowed, bytes)?;
        }
        Ok(Response::new(swallowed))
    }
}

/// The status a caller asked for. A code that gRPC does not have becomes UNKNOWN.
fn status(failure: Failure) -> Status {
    let code = Code::from_u32(failure.code).unwrap_or(Code::Unknown);
    let mut status = Status::new(code, failure.message).with_details(failure.details);
    for entry in failure.trailers {
        status = status.with_trailer(entry.key, entry.value);
    }
    status
}

/// Sleeps that many milliseconds: the host serves other instances meanwhile.
#[expect(
    clippy::disallowed_methods,
    reason = "an instance has a thread to itself, and blocking is how it waits"
)]
pub(crate) fn pause(duration_ms: u32) {
    if duration_ms > 0 {
        std::thread::sleep(Duration::from_millis(u64::from(duration_ms)));
    }
}
