//! Whether an answer is gRPC, and what of it must not reach the library that reads it.
//!
//! Used by `call` for heads and by `incoming` for trailers. Pure. Invariant: after it, the status headers are
//! such that tonic can read them: it panics on `grpc-status-details-bin` that is not base64, and
//! loses the code of a status whose text is not UTF-8.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use h2::RecvStream;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};

use super::incoming::Incoming;
use crate::error::CallError;

const STATUS: &str = "grpc-status";
const MESSAGE: &str = "grpc-message";
const DETAILS: &str = "grpc-status-details-bin";

/// What stands encoded in `grpc-message`. Source: PROTOCOL-HTTP2.md of gRPC, "Responses".
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// With or without padding, as gRPC has it. Takes no more than tonic's own does.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Takes the head of an answer, if it is gRPC's.
///
/// # Errors
/// [`CallError::Http`], [`CallError::NotGrpc`] and [`CallError::NoStatus`].
pub(super) fn check(
    response: Response<RecvStream>,
    incoming: impl FnOnce(RecvStream) -> Incoming,
) -> Result<Response<Incoming>, CallError> {
    let (mut head, body) = response.into_parts();
    let has_status = head.headers.contains_key(STATUS);
    check_head(head.status, &head.headers, body.is_end_stream())?;
    tidy(&mut head.headers);
    let incoming = incoming(body);
    let incoming = if has_status {
        incoming.with_status_in_head()
    } else {
        incoming
    };
    Ok(Response::from_parts(head, incoming))
}

fn check_head(status: StatusCode, headers: &HeaderMap, ended: bool) -> Result<(), CallError> {
    if headers.contains_key(STATUS) {
        return Ok(());
    }
    let content_type = headers
        .get(CONTENT_TYPE)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    if status != StatusCode::OK {
        return Err(CallError::Http {
            status,
            content_type,
        });
    }
    let is_grpc = |content_type: &String| {
        let content_type = content_type.to_ascii_lowercase();
        let rest = content_type.strip_prefix("application/grpc");
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';', ' ']))
    };
    if !content_type.as_ref().is_some_and(is_grpc) {
        return Err(CallError::NotGrpc(content_type));
    }
    if ended {
        return Err(CallError::NoStatus);
    }
    Ok(())
}

/// Trailers that hold a status.
pub(super) fn tidy_trailers(mut trailers: HeaderMap) -> Option<HeaderMap> {
    if !trailers.contains_key(STATUS) {
        return None;
    }
    tidy(&mut trailers);
    Some(trailers)
}

fn tidy(headers: &mut HeaderMap) {
    let readable = |value: &HeaderValue| BASE64.decode(value.as_bytes()).is_ok();
    if headers.get(DETAILS).is_some_and(|value| !readable(value)) {
        headers.remove(DETAILS);
    }
    let Some(message) = headers.get_mut(MESSAGE) else {
        return;
    };
    let decoded = percent_decode(message.as_bytes());
    if decoded.clone().decode_utf8().is_err() {
        let text = decoded.decode_utf8_lossy();
        let encoded = utf8_percent_encode(&text, ENCODED).to_string();
        // All of it is ASCII without control characters.
        *message = HeaderValue::try_from(encoded).unwrap_or(HeaderValue::from_static(""));
    }
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};

    use super::*;

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &[u8])| {
            let value = HeaderValue::from_bytes(value).expect("a header value");
            (http::HeaderName::from_static(name), value)
        };
        pairs.iter().map(pair).collect()
    }

    fn status(pairs: &[(&'static str, &[u8])]) -> Status {
        let trailers = tidy_trailers(headers(pairs)).expect("a status");
        Status::from_header_map(&trailers).expect("a status")
    }

    #[test]
    fn details_that_are_no_base64_are_left_out() {
        let read = status(&[(STATUS, b"3"), (DETAILS, b"!!")]);
        assert_eq!(
            (read.code(), read.details()),
            (Code::InvalidArgument, &[][..])
        );
        for encoded in [&b"AQID"[..], b"AQI=", b"AQI"] {
            let read = status(&[(STATUS, b"3"), (DETAILS, encoded)]);
            assert!(!read.details().is_empty(), "{encoded:?}");
        }
    }

    #[test]
    fn a_text_that_is_not_utf8_keeps_its_code() {
        let read = status(&[(STATUS, b"5"), (MESSAGE, b"gr%FCn 100%25 \xe9")]);
        assert_eq!(read.code(), Code::NotFound);
        assert_eq!(read.message(), "gr\u{fffd}n 100% \u{fffd}");
        let read = status(&[(STATUS, b"5"), (MESSAGE, "gr%C3%BC%C3%9Fe".as_bytes())]);
        assert_eq!(read.message(), "grüße");
    }

    #[test]
    fn trailers_without_a_status_are_none() {
        assert_eq!(tidy_trailers(headers(&[("x", b"y")])), None);
    }

    #[test]
    fn heads_are_checked() {
        let grpc: &[(&'static str, &[u8])] = &[("content-type", b"application/grpc+proto")];
        let check = |status: u16, pairs: &[(&'static str, &[u8])], ended| {
            let status = StatusCode::from_u16(status).expect("a status");
            check_head(status, &headers(pairs), ended).map_err(|error| error.code())
        };
        assert_eq!(check(200, grpc, false), Ok(()));
        assert_eq!(check(200, grpc, true), Err(Code::Internal));
        assert_eq!(check(503, grpc, false), Err(Code::Unavailable));
        assert_eq!(check(503, &[(STATUS, b"5")], true), Ok(()));
        for other in [
            &b"text/html"[..],
            b"application/grpc-web",
            b"application/grpcx",
        ] {
            let pairs: &[(&'static str, &[u8])] = &[("content-type", other)];
            assert_eq!(check(200, pairs, false), Err(Code::Internal), "{other:?}");
        }
        assert_eq!(check(200, &[], false), Err(Code::Internal));
    }

    proptest::proptest! {
        #[test]
        fn no_trailers_make_tonic_panic(details: Vec<u8>, message: Vec<u8>) {
            let value = |bytes: &[u8]| HeaderValue::from_bytes(bytes);
            let (Ok(details), Ok(message)) = (value(&details), value(&message)) else {
                return Ok(());
            };
            let mut trailers = headers(&[(STATUS, b"7")]);
            trailers.insert(DETAILS, details);
            trailers.insert(MESSAGE, message);
            let trailers = tidy_trailers(trailers).expect("a status");
            let status = Status::from_header_map(&trailers).expect("a status");
            proptest::prop_assert_eq!(status.code(), Code::PermissionDenied);
        }
    }
}
