//! The head of a request: is it gRPC, does it fit, when is its deadline. Pure.
//!
//! Called by `grpc::call` before anything is allocated for the call. What is refused here never
//! reaches a plugin.

use std::time::Duration;

use http::request::Parts;
use http::{Method, StatusCode};

use super::{compression, wire};
use crate::config::{CallConfig, Encoding};
use crate::error::CallError;

/// Why a request is not served.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Not gRPC at all: a plain HTTP answer.
    Http(StatusCode),
    /// gRPC, answered with a status.
    Grpc(CallError),
}

/// What a request's head says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The time that the call may take, if that is limited.
    pub time: Option<Duration>,
    /// What its messages may be compressed with.
    pub encoding: Option<Encoding>,
}

/// Checks a request's head, whose content type is gRPC's or is not.
///
/// # Errors
/// [`Refusal`].
pub(crate) fn check(parts: &Parts, config: &CallConfig, is_grpc: bool) -> Result<Head, Refusal> {
    if parts.method != Method::POST {
        return Err(Refusal::Http(StatusCode::METHOD_NOT_ALLOWED));
    }
    if !is_grpc {
        // "If Content-Type does not begin with "application/grpc", gRPC servers SHOULD respond
        // with HTTP status of 415".
        return Err(Refusal::Http(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let len = wire::block_bytes(&parts.headers);
    if len > config.metadata_bytes_max {
        let max = config.metadata_bytes_max;
        return Err(Refusal::Grpc(CallError::MetadataTooLarge { len, max }));
    }
    let encoding = compression::of_request(&parts.headers).map_err(Refusal::Grpc)?;
    let timeout = match parts.headers.get("grpc-timeout") {
        None => None,
        Some(value) => Some(
            wire::timeout(value)
                .map_err(|()| Refusal::Grpc(CallError::Malformed("bad grpc-timeout")))?,
        ),
    };
    let time = match (timeout, config.timeout_max) {
        (Some(timeout), Some(max)) => Some(timeout.min(max)),
        (timeout, max) => timeout.or(max),
    };
    Ok(Head { time, encoding })
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(edit: impl FnOnce(http::request::Builder) -> http::request::Builder) -> Parts {
        let builder = Request::post("/a.B/C").header("te", "trailers");
        edit(builder).body(()).expect("a request").into_parts().0
    }

    fn grpc(name: &str, value: &str) -> Parts {
        parts(|builder| {
            builder
                .header("content-type", "application/grpc")
                .header(name, value)
        })
    }

    #[test]
    fn what_is_not_grpc_is_answered_as_http_has_it() {
        let json = parts(|builder| builder.header("content-type", "application/json"));
        let refusal = check(&json, &CallConfig::default(), false).expect_err("JSON");
        let expected = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        assert!(matches!(refusal, Refusal::Http(status) if status == expected));
    }

    #[test]
    fn what_is_refused_says_why() {
        let config = CallConfig::default();
        let get = Request::get("/a.B/C")
            .body(())
            .expect("a request")
            .into_parts()
            .0;
        let refusal = check(&get, &config, true).expect_err("GET");
        assert!(matches!(
            refusal,
            Refusal::Http(StatusCode::METHOD_NOT_ALLOWED)
        ));
        let refusal = check(&grpc("grpc-encoding", "br"), &config, true).expect_err("br");
        assert!(matches!(refusal, Refusal::Grpc(CallError::UnknownEncoding(name)) if name == "br"));
        let head = check(&grpc("grpc-encoding", "gzip"), &config, true).expect("gzip is known");
        assert_eq!(head.encoding, Some(Encoding::Gzip));
        let refusal = check(&grpc("grpc-timeout", "soon"), &config, true).expect_err("soon");
        assert!(matches!(refusal, Refusal::Grpc(CallError::Malformed(_))));
        let refusal =
            check(&grpc("x-big", &"a".repeat(17 << 10)), &config, true).expect_err("17 KiB");
        assert!(matches!(
            refusal,
            Refusal::Grpc(CallError::MetadataTooLarge { .. })
        ));
    }

    #[test]
    fn the_sooner_of_two_timeouts_wins() {
        let mut config = CallConfig::default();
        let second = Duration::from_secs(1);
        let none = parts(|builder| builder.header("content-type", "application/grpc"));
        assert_eq!(check(&none, &config, true).expect("fine").time, None);
        assert_eq!(
            check(&grpc("grpc-timeout", "1S"), &config, true)
                .expect("fine")
                .time,
            Some(second)
        );
        config.timeout_max = Some(second / 2);
        assert_eq!(
            check(&grpc("grpc-timeout", "1S"), &config, true)
                .expect("fine")
                .time,
            Some(second / 2)
        );
        assert_eq!(
            check(&none, &config, true).expect("fine").time,
            Some(second / 2)
        );
    }
}
