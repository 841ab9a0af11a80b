//! `grpc.testing.TestService`: the server side of gRPC's interoperability tests, for the test clients
//! that every gRPC implementation brings.
//!
//! Follows `doc/interop-test-descriptions.md` of gRPC: sizes, statuses and metadata come back as the
//! client asks. Two features are beyond version 0.1 of the ABI, which does not tell a plugin whether
//! a message was compressed: a request that claims to be is refused with INVALID_ARGUMENT, which is
//! how clients find out, and the wish for compressed responses is not heeded. `UnimplementedCall` and
//! `UnimplementedService` are left out in `build.rs`, because clients test that nobody serves them.

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
        let request = request.into_inner();
        refuse_compressed(request.expect_compressed)?;
        echo_status(request.response_status)?;
        // Nobody is authenticated and the plugin does not know the server: all else stays empty.
        Ok(Response::new(SimpleResponse {
            payload: Some(payload(request.response_type, request.response_size)?),
            ..SimpleResponse::default()
        }))
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
        answer(request.into_inner(), &replies)
    }

    fn streaming_input_call(
        &self,
        request: Request<Streaming<StreamingInputCallRequest>>,
    ) -> Result<Response<StreamingInputCallResponse>, Status> {
        echo_metadata(request.context())?;
        let mut size = 0_usize;
        for message in request.into_inner() {
            let message = message?;
            refuse_compressed(message.expect_compressed)?;
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

/// Refuses a message that claims to have been compressed: see the top of this file.
fn refuse_compressed(expect_compressed: Option<BoolValue>) -> Result<(), Status> {
    if expect_compressed.is_some_and(|expected| expected.value) {
        return Err(Status::invalid_argument(
            "the plugin cannot tell whether a message was compressed",
        ));
    }
    Ok(())
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
