//! How a call ended: the seventeen codes of gRPC and what travels with them.
//!
//! A leaf: everything else may use it, it uses nothing. How a status is written on the wire is
//! `grpc::wire`'s; which failure gets which code is `error`'s.

use std::fmt;

/// The status codes of gRPC. Source: grpc/doc/statuscodes.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    /// Success.
    Ok = 0,
    /// The caller gave up.
    Cancelled = 1,
    /// An error nobody classified.
    Unknown = 2,
    /// The request is wrong whatever state the server is in.
    InvalidArgument = 3,
    /// The deadline passed first.
    DeadlineExceeded = 4,
    /// What was asked for does not exist.
    NotFound = 5,
    /// What was to be created exists.
    AlreadyExists = 6,
    /// The caller may not do this.
    PermissionDenied = 7,
    /// A limit or quota was reached.
    ResourceExhausted = 8,
    /// The system is not in the state that the request needs.
    FailedPrecondition = 9,
    /// A conflict; the caller may start over.
    Aborted = 10,
    /// Past the valid range.
    OutOfRange = 11,
    /// No such method here.
    Unimplemented = 12,
    /// An invariant of the server broke.
    Internal = 13,
    /// For the moment; the caller may try again.
    Unavailable = 14,
    /// Data is lost or corrupt.
    DataLoss = 15,
    /// Who the caller is was not proven.
    Unauthenticated = 16,
}

impl Code {
    /// All codes, in the order of their numbers.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The code of an *error* that a guest named by number: 0 and unknown numbers are UNKNOWN.
    #[must_use]
    pub fn of_guest_error(number: u32) -> Self {
        match usize::try_from(number)
            .ok()
            .and_then(|number| Self::ALL.get(number))
        {
            None | Some(Self::Ok) => Self::Unknown,
            Some(code) => *code,
        }
    }

    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The name, as in `NOT_FOUND`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a call ended when it did not end with OK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What kind of failure.
    pub code: Code,
    /// Text for the caller, any UTF-8.
    pub message: String,
    /// A serialized `google.rpc.Status`, or empty.
    pub details: Vec<u8>,
    /// Trailers that go with the status; `-bin` values are raw bytes.
    pub trailers: Vec<(String, Vec<u8>)>,
}

impl Status {
    /// A status without details and trailers.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: Vec::new(),
            trailers: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_at_their_numbers() {
        for (number, code) in Code::ALL.iter().enumerate() {
            assert_eq!(usize::from(code.number()), number);
        }
    }

    #[test]
    fn an_error_of_a_guest_is_never_ok() {
        assert_eq!(Code::of_guest_error(0), Code::Unknown);
        assert_eq!(Code::of_guest_error(5), Code::NotFound);
        assert_eq!(Code::of_guest_error(17), Code::Unknown);
        assert_eq!(Code::of_guest_error(u32::MAX), Code::Unknown);
    }
}
