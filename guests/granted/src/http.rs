//! HTTP, as `wasi:http` has it: `std` has none. Only in the component `http`.
//!
//! Only on wasm, where there is somebody to send it.

use std::io::{Read, Write};

use switchboard_guest::{Code, Status};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingResponse, Method,
    OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
};

/// How much of a body is written at once.
const PIECE_BYTES: usize = 4096;

/// Sends a body to a URL by POST, or asks for it by GET if there is none, and answers with the response's status, a line,
/// and its body.
pub(crate) fn fetch((url, body): (&str, &str)) -> Result<Vec<u8>, Status> {
    let response = begin(url, body.as_bytes())?;
    let response = wait(&response)?;
    let mut answer = format!("{}\n", response.status()).into_bytes();
    let incoming = response
        .consume()
        .map_err(|()| Status::internal("no body"))?;
    {
        let mut stream = incoming
            .stream()
            .map_err(|()| Status::internal("no stream"))?;
        let read = stream.read_to_end(&mut answer);
        read.map_err(|error| Status::unavailable(format!("body: {error}")))?;
    }
    drop(IncomingBody::finish(incoming));
    Ok(answer)
}

/// Asks for a URL until that is refused, reads none of the answers, and says how often it went well and what
/// was said then.
pub(crate) fn fetch_many(url: &str) -> Result<Vec<u8>, Status> {
    let mut responses = Vec::new();
    let status = loop {
        let response = begin(url, b"").and_then(|response| wait(&response));
        match response {
            Ok(response) => responses.push(response),
            Err(status) => break status,
        }
        if responses.len() > 1000 {
            return Err(Status::internal("there is no limit"));
        }
    };
    Ok(format!("{}\n{}", responses.len(), status.message()).into_bytes())
}

fn begin(url: &str, body: &[u8]) -> Result<FutureIncomingResponse, Status> {
    let wrong = || Status::invalid_argument("no URL");
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let request = OutgoingRequest::new(Fields::new());
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let method = if body.is_empty() {
        Method::Get
    } else {
        Method::Post
    };
    let set = request
        .set_method(&method)
        .and_then(|()| request.set_scheme(Some(&scheme)))
        .and_then(|()| request.set_authority(Some(authority)))
        .and_then(|()| request.set_path_with_query(Some(&format!("/{path}"))));
    set.map_err(|()| wrong())?;
    let outgoing = request.body().map_err(|()| Status::internal("no body"))?;
    let options = RequestOptions::new();
    let response = outgoing_handler::handle(request, Some(options)).map_err(failed)?;
    {
        let mut stream = outgoing
            .write()
            .map_err(|()| Status::internal("no stream"))?;
        for piece in body.chunks(PIECE_BYTES) {
            let written = stream
                .write_all(piece)
                .and_then(|()| Write::flush(&mut stream));
            if written.is_err() {
                // The response says why.
                return Ok(response);
            }
        }
    }
    // As it does here.
    drop(OutgoingBody::finish(outgoing, None));
    Ok(response)
}

fn wait(response: &FutureIncomingResponse) -> Result<IncomingResponse, Status> {
    loop {
        match response.get() {
            Some(Ok(response)) => return response.map_err(failed),
            Some(Err(())) => return Err(Status::internal("taken twice")),
            None => response.subscribe().block(),
        }
    }
}

fn failed(error: ErrorCode) -> Status {
    let code = match error {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => Code::PermissionDenied,
        ErrorCode::ConnectionLimitReached => Code::ResourceExhausted,
        _ => Code::Unavailable,
    };
    Status::new(code, format!("{error:?}"))
}
