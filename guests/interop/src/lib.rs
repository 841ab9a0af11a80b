//! `grpc.testing.TestService`: the server side of gRPC's interoperability tests, for the test clients
//! that every gRPC implementation brings.
//!
//! Follows `doc/interop-test-descriptions.md` of gRPC: sizes, statuses, metadata and compression come
//! back as the client asks. `UnimplementedCall` and `UnimplementedService` are left out in `build.rs`,
//! because clients test that nobody serves them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use switchboard_guest::{Code, Context, Request, Response, Sender, Status, Streaming};

/// Messages and service of `proto/grpc/testing/test.proto`.
pub mod testing {
    switchboard_guest::include_proto!("grpc.testing");
}

use testing::test_service_server::{TestService, TestServiceServer};
use testing::{
    BoolValue, EchoStatus, Empty, Payload, PayloadType, SimpleRequest, SimpleResponse,
    StreamingInputCallRequest, StreamingInputCallResponse, StreamingOutputCallRequest,
    StreamingOutputCallResponse,
};

/// Comes back as a response header.
const ECHO_INITIAL: &str = "x-grpc-test-echo-initial";
/// Comes back as a trailer.
const ECHO_TRAILING: &str = "x-grpc-test-echo-trailing-bin";

/// Answers as the test clients ask.
#[derive(Debug)]
pub struct Interop;

impl TestService for Interop {
    fn empty_call(&self, request: Request<Empty>) -> Result<Response<Empty>, Status> {
        echo_metadata(request.context())?;
        Ok(Response::new(Empty {}))
    }

    fn unary_call(
        &self,
        request: Request<SimpleRequest>,
    ) -> Result<Response<SimpleResponse>, Status> {
        echo_metadata(request.context())?;
        let compressed = request.received_compressed();
        let request = request.into_inner();
        check_compressed(request.expect_compressed, compressed)?;
        echo_status(request.response_status)?;
        // Nobody is authenticated and the plugin does not know the server: all else stays empty.
        let response = Response::new(SimpleResponse {
            payload: Some(payload(request.response_type, request.response_size)?),
            ..SimpleResponse::default()
        });
        Ok(match request.response_compressed {
            Some(wanted) => response.compressed(wanted.value),
            None => response,
        })
    }

    fn cacheable_unary_call(
        &self,
        request: Request<SimpleRequest>,
    ) -> Result<Response<SimpleResponse>, Status> {
        echo_metadata(request.context())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanoseconds = now.unwrap_or_default().as_nanos().to_string();
        let mut response = Response::new(SimpleResponse {
            payload: Some(Payload {
                r#type: PayloadType::Compressable.into(),
                body: nanoseconds.into_bytes(),
            }),
            ..SimpleResponse::default()
        });
        let headers = response.metadata_mut();
        headers.append("cache-control", "max-age=60, public");
        Ok(response)
    }

    fn streaming_output_call(
        &self,
        request: Request<StreamingOutputCallRequest>,
        replies: Sender<StreamingOutputCallResponse>,
    ) -> Result<(), Status> {
        echo_metadata(request.context())?;
        let request = request.into_inner();
        if wants_compressed(&request) {
            announce_compression(&replies);
        }
        answer(request, &replies)
    }

    fn streaming_input_call(
        &self,
        request: Request<Streaming<StreamingInputCallRequest>>,
    ) -> Result<Response<StreamingInputCallResponse>, Status> {
        echo_metadata(request.context())?;
        let mut size = 0_usize;
        let messages = request.into_inner();
        while let Some(message) = messages.message()? {
            check_compressed(message.expect_compressed, messages.received_compressed())?;
            size += message.payload.map_or(0, |payload| payload.body.len());
        }
        let aggregated_payload_size = i32::try_from(size)
            .map_err(|_| Status::out_of_range("more payload than the answer can count"))?;
        Ok(Response::new(StreamingInputCallResponse {
            aggregated_payload_size,
        }))
    }

    fn full_duplex_call(
        &self,
        request: Request<Streaming<StreamingOutputCallRequest>>,
        replies: Sender<StreamingOutputCallResponse>,
    ) -> Result<(), Status> {
        echo_metadata(request.context())?;
        // The first receive sends the headers, before anybody knows what will be asked for.
        announce_compression(&replies);
        for message in request.into_inner() {
            answer(message?, &replies)?;
        }
        Ok(())
    }

    fn half_duplex_call(
        &self,
        request: Request<Streaming<StreamingOutputCallRequest>>,
        replies: Sender<StreamingOutputCallResponse>,
    ) -> Result<(), Status> {
        echo_metadata(request.context())?;
        announce_compression(&replies);
        let messages: Vec<_> = request.into_inner().collect::<Result<_, _>>()?;
        messages
            .into_iter()
            .try_for_each(|message| answer(message, &replies))
    }
}

/// One streaming request: the status it wants, else the responses it wants.
fn answer(
    request: StreamingOutputCallRequest,
    replies: &Sender<StreamingOutputCallResponse>,
) -> Result<(), Status> {
    echo_status(request.response_status)?;
    for wanted in request.response_parameters {
        pause(wanted.interval_us);
        if let Some(compressed) = wanted.compressed {
            replies.set_compression(compressed.value);
        }
        replies.send(StreamingOutputCallResponse {
            payload: Some(payload(request.response_type, wanted.size)?),
        })?;
    }
    Ok(())
}

/// Sends the two well-known keys back, with whatever status the call ends.
fn echo_metadata(context: &Context) -> Result<(), Status> {
    if let Some(value) = context.get(ECHO_INITIAL) {
        context.set_header(ECHO_INITIAL, value)?;
    }
    if let Some(value) = context.get(ECHO_TRAILING) {
        context.set_trailer(ECHO_TRAILING, value)?;
    }
    Ok(())
}

/// Fails with the status the client asked for. Code 0 asks for success.
fn echo_status(wanted: Option<EchoStatus>) -> Result<(), Status> {
    let Some(wanted) = wanted.filter(|wanted| wanted.code != 0) else {
        return Ok(());
    };
    let code = u32::try_from(wanted.code).ok().and_then(Code::from_u32);
    Err(Status::new(code.unwrap_or(Code::Unknown), wanted.message))
}

/// Refuses a message that came otherwise than it says.
fn check_compressed(expected: Option<BoolValue>, compressed: bool) -> Result<(), Status> {
    match expected {
        Some(expected) if expected.value != compressed => Err(Status::invalid_argument(format!(
            "the message says that it is{} compressed, and it came{} so",
            if expected.value { "" } else { " not" },
            if compressed { "" } else { " not" },
        ))),
        Some(_) | None => Ok(()),
    }
}

fn wants_compressed(request: &StreamingOutputCallRequest) -> bool {
    let mut wanted = request.response_parameters.iter();
    wanted.any(|wanted| wanted.compressed.is_some_and(|wanted| wanted.value))
}

/// Lets the headers name an encoding; single messages are compressed as they are asked for.
fn announce_compression<T>(replies: &Sender<T>) {
    if replies.set_compression(true) {
        replies.set_compression(false);
    }
}

/// That many zeros.
fn payload(kind: i32, size: i32) -> Result<Payload, Status> {
    if PayloadType::try_from(kind).is_err() {
        return Err(Status::invalid_argument(format!(
            "no payload of type {kind}"
        )));
    }
    let bytes = usize::try_from(size)
        .map_err(|_| Status::invalid_argument(format!("no payload of {size} bytes")))?;
    let mut body = Vec::new();
    body.try_reserve_exact(bytes)
        .map_err(|_| Status::resource_exhausted(format!("no room for {size} bytes")))?;
    body.resize(bytes, 0);
    Ok(Payload { r#type: kind, body })
}

/// Waits that many microseconds; the host serves other instances meanwhile.
#[expect(
    clippy::disallowed_methods,
    reason = "an instance has a thread to itself, and blocking is how it waits"
)]
fn pause(interval_us: i32) {
    match u64::try_from(interval_us) {
        Ok(0) | Err(_) => {}
        Ok(microseconds) => std::thread::sleep(Duration::from_micros(microseconds)),
    }
}

switchboard_guest::export!(TestServiceServer::new(Interop));

#[cfg(test)]
mod tests;
