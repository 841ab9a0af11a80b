//! Why a call failed without a status of its server, and the code that its caller sees.
//!
//! Made by `call`, `lease` and the bodies; turned into a `tonic::Status` here and nowhere else.
//! Invariants: [`CallError::code`] has no wildcard arm over our own variants; a failure of the
//! connection is never UNKNOWN. A leaf.

use std::sync::Arc;
use std::time::Duration;

use h2::Reason;
use http::StatusCode;
use tonic::{Code, Status};

use super::{CloseReason, ConnectError};

/// Why a call has no status of its server. It is the `source()` of the status that the caller gets.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Operator: there is no connection, and the call does not wait for one.
    #[error("not connected: {error}; next attempt in {}.{} s", retry_in.as_secs(), retry_in.subsec_millis() / 100)]
    NotConnected {
        /// Why the last attempt failed.
        error: ConnectError,
        /// When the next one begins.
        retry_in: Duration,
    },
    /// Operator: the attempt that the call waited for failed, and it does not wait for another.
    #[error("not connected: {0}")]
    ConnectFailed(ConnectError),
    /// Operator: the channel has given up connecting.
    #[error("gave up connecting: {0}")]
    GaveUp(ConnectError),
    /// Caller: more calls wait for a connection than the channel allows.
    #[error("{0} calls wait for a connection already")]
    WaitingFull(usize),
    /// Caller: the channel was stopped.
    #[error("the channel is stopped")]
    Stopped,
    /// Caller: the channel is used where no tokio runtime is.
    #[error("a channel makes calls inside a tokio runtime only")]
    NoRuntime,
    /// Peer or network: the connection ended while the call was under way.
    #[error("{0}")]
    Lost(CloseReason),
    /// Peer: it reset the call's stream.
    #[error("the server reset the call ({})", reason_name(*.0))]
    Reset(Reason),
    /// Peer: it broke HTTP/2 on the call's stream.
    #[error("the server broke HTTP/2 ({})", reason_name(*.0))]
    Protocol(Reason),
    /// Caller: the deadline passed.
    #[error("deadline of {limit:?} exceeded{}", waited_for(waiting.as_ref()))]
    Deadline {
        /// From the beginning of the call.
        limit: Duration,
        /// Why there was no connection, if the call still waited for one.
        waiting: Option<Option<ConnectError>>,
    },
    /// Operator: an HTTP status, and no gRPC status: a proxy or web server answered.
    #[error("HTTP {status} instead of gRPC{}", of_type(content_type.as_deref()))]
    Http {
        /// The HTTP status.
        status: StatusCode,
        /// The answer's content type.
        content_type: Option<String>,
    },
    /// Operator: 200 with another content type than gRPC's.
    #[error("the answer is not gRPC{}", of_type(.0.as_deref()))]
    NotGrpc(Option<String>),
    /// Peer: the answer ended without `grpc-status`; a proxy may have cut it.
    #[error("the answer ended without a status")]
    NoStatus,
    /// Caller: the request cannot be sent over HTTP/2.
    #[error("the request cannot be sent: {0}")]
    Request(String),
    /// Caller: its stream of messages failed, with this code and text.
    #[error("{1}")]
    Messages(Code, String),
}

impl CallError {
    /// The code the caller sees. The only such mapping; the table is in `docs/clients.md`.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotConnected { error, .. } | Self::ConnectFailed(error) | Self::GaveUp(error) => {
                error.code()
            }
            Self::WaitingFull(_) => Code::ResourceExhausted,
            Self::Stopped | Self::Lost(_) => Code::Unavailable,
            Self::NoRuntime => Code::FailedPrecondition,
            Self::Reset(reason) => reset_code(*reason),
            Self::Protocol(_) | Self::NotGrpc(_) | Self::NoStatus | Self::Request(_) => {
                Code::Internal
            }
            Self::Deadline { .. } => Code::DeadlineExceeded,
            Self::Http { status, .. } => http_code(*status),
            Self::Messages(code, _) => *code,
        }
    }

    /// Whether the server has certainly not seen the call, so that making it again is harmless.
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        match self {
            Self::NotConnected { .. }
            | Self::ConnectFailed(_)
            | Self::GaveUp(_)
            | Self::WaitingFull(_)
            | Self::Stopped
            | Self::NoRuntime
            | Self::Request(_) => true,
            Self::Reset(reason) => *reason == Reason::REFUSED_STREAM,
            Self::Deadline { waiting, .. } => waiting.is_some(),
            Self::Lost(_)
            | Self::Protocol(_)
            | Self::Http { .. }
            | Self::NotGrpc(_)
            | Self::NoStatus
            | Self::Messages(..) => false,
        }
    }

    /// The failure as callers of generated clients see it.
    pub(crate) fn status(self) -> Status {
        let mut status = Status::new(self.code(), self.to_string());
        status.set_source(Arc::new(self));
        status
    }
}

/// Source: PROTOCOL-HTTP2.md, "Errors", of gRPC.
fn reset_code(reason: Reason) -> Code {
    match reason {
        Reason::REFUSED_STREAM => Code::Unavailable,
        Reason::CANCEL => Code::Cancelled,
        Reason::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
        Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
        _ => Code::Internal,
    }
}

/// Source: http-grpc-status-mapping.md of gRPC. The only place where UNKNOWN comes from: for a status
/// that says nothing about calls.
fn http_code(status: StatusCode) -> Code {
    match status {
        StatusCode::BAD_REQUEST => Code::Internal,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::Unimplemented,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// `NO_ERROR`, `CANCEL`, ... as the RFC writes them; the number for a code it does not know.
pub(crate) fn reason_name(reason: Reason) -> String {
    let name = match u32::from(reason) {
        0 => "NO_ERROR",
        1 => "PROTOCOL_ERROR",
        2 => "INTERNAL_ERROR",
        3 => "FLOW_CONTROL_ERROR",
        4 => "SETTINGS_TIMEOUT",
        5 => "STREAM_CLOSED",
        6 => "FRAME_SIZE_ERROR",
        7 => "REFUSED_STREAM",
        8 => "CANCEL",
        9 => "COMPRESSION_ERROR",
        10 => "CONNECT_ERROR",
        11 => "ENHANCE_YOUR_CALM",
        12 => "INADEQUATE_SECURITY",
        13 => "HTTP_1_1_REQUIRED",
        number => return format!("code {number}"),
    };
    name.to_owned()
}

fn waited_for(waiting: Option<&Option<ConnectError>>) -> String {
    match waiting {
        None => String::new(),
        Some(None) => " while waiting for a connection".to_owned(),
        Some(Some(error)) => format!(" while waiting for a connection: {error}"),
    }
}

fn of_type(content_type: Option<&str>) -> String {
    match content_type {
        Some(content_type) => format!(" (content type {content_type:?})"),
        None => " (no content type)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_have_the_codes_of_the_specification() {
        let table = [
            (Reason::REFUSED_STREAM, Code::Unavailable),
            (Reason::CANCEL, Code::Cancelled),
            (Reason::ENHANCE_YOUR_CALM, Code::ResourceExhausted),
            (Reason::INADEQUATE_SECURITY, Code::PermissionDenied),
            (Reason::NO_ERROR, Code::Internal),
            (Reason::PROTOCOL_ERROR, Code::Internal),
            (Reason::HTTP_1_1_REQUIRED, Code::Internal),
            (Reason::from(4711), Code::Internal),
        ];
        for (reason, code) in table {
            assert_eq!(CallError::Reset(reason).code(), code, "{reason:?}");
        }
        let text = CallError::Reset(Reason::CANCEL).to_string();
        assert_eq!(text, "the server reset the call (CANCEL)");
        let text = CallError::Reset(Reason::from(4711)).to_string();
        assert_eq!(text, "the server reset the call (code 4711)");
    }

    #[test]
    fn http_statuses_have_the_codes_of_the_specification() {
        let table = [
            (400, Code::Internal),
            (401, Code::Unauthenticated),
            (403, Code::PermissionDenied),
            (404, Code::Unimplemented),
            (429, Code::Unavailable),
            (502, Code::Unavailable),
            (503, Code::Unavailable),
            (504, Code::Unavailable),
            (418, Code::Unknown),
        ];
        for (status, code) in table {
            let error = CallError::Http {
                status: StatusCode::from_u16(status).expect("a status"),
                content_type: Some("text/html".to_owned()),
            };
            assert_eq!(error.code(), code, "{status}");
            assert!(error.to_string().contains("text/html"), "{error}");
        }
    }

    #[test]
    fn a_status_carries_the_error_as_its_source() {
        let status = CallError::WaitingFull(3).status();
        assert_eq!(status.code(), Code::ResourceExhausted);
        let source = std::error::Error::source(&status).expect("a source");
        let error = source.downcast_ref::<CallError>().expect("a call error");
        assert!(error.is_unsent());
    }
}
