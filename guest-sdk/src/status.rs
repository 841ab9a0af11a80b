//! How a call ends when it does not end well: a gRPC code, a text, details and trailers.
//!
//! Handlers return `Err(Status)`; the SDK makes one itself when a call was cancelled, a message
//! does not decode or metadata is refused, so that `?` answers the caller with the right code.
//! Knows nothing of the ABI. Source of the codes: gRPC `statuscodes.md`; of the rules for a
//! status that leaves a plugin: `wit/types.wit`.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::Metadata;

/// The 17 gRPC status codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Code {
    /// The call succeeded. Never use it in a [`Status`]: an error with this code reaches the
    /// caller as `UNKNOWN`.
    Ok = 0,
    /// The caller cancelled.
    Cancelled = 1,
    /// An error nobody can say more about.
    Unknown = 2,
    /// The caller sent something that is wrong whatever the state of the system.
    InvalidArgument = 3,
    /// The deadline passed.
    DeadlineExceeded = 4,
    /// What was asked for does not exist.
    NotFound = 5,
    /// What was to be created exists.
    AlreadyExists = 6,
    /// The caller is known, and may not do this.
    PermissionDenied = 7,
    /// A quota or a limit is used up.
    ResourceExhausted = 8,
    /// The system is not in the state the operation needs; do not retry before that is mended.
    FailedPrecondition = 9,
    /// A conflict with something at the same time; retry from the beginning.
    Aborted = 10,
    /// Past the end of what can be read or sought.
    OutOfRange = 11,
    /// The method does not exist or does nothing yet.
    Unimplemented = 12,
    /// Something that must never break is broken.
    Internal = 13,
    /// Not now; a retry may succeed.
    Unavailable = 14,
    /// Data are lost or damaged for good.
    DataLoss = 15,
    /// The caller did not say who it is, or not convincingly.
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

    /// The code with this number, if there is one.
    pub fn from_u32(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// The number that goes over the wire.
    pub const fn as_u32(self) -> u32 {
        self as u32
    }

    /// The name as the gRPC documents write it, as in `NOT_FOUND`.
    pub const fn name(self) -> &'static str {
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

/// The outcome of a call that did not succeed.
///
/// ```
/// use switchboard_guest::{Code, Status};
///
/// let status = Status::not_found("no such user").with_trailer("user-id", "42");
/// assert_eq!(status.code(), Code::NotFound);
/// assert_eq!(status.to_string(), "NOT_FOUND: no such user");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    code: Code,
    message: String,
    details: Vec<u8>,
    trailers: Metadata,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $code:ident,)*) => {$(
        $(#[$doc])*
        pub fn $name(message: impl Into<String>) -> Self {
            Self::new(Code::$code, message)
        }
    )*};
}

impl Status {
    /// A status with a code and a text for the caller, without details or trailers.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: Vec::new(),
            trailers: Metadata::new(),
        }
    }

    constructors! {
        /// `CANCELLED`: see [`Code::Cancelled`].
        cancelled => Cancelled,
        /// `UNKNOWN`: see [`Code::Unknown`].
        unknown => Unknown,
        /// `INVALID_ARGUMENT`: see [`Code::InvalidArgument`].
        invalid_argument => InvalidArgument,
        /// `DEADLINE_EXCEEDED`: see [`Code::DeadlineExceeded`].
        deadline_exceeded => DeadlineExceeded,
        /// `NOT_FOUND`: see [`Code::NotFound`].
        not_found => NotFound,
        /// `ALREADY_EXISTS`: see [`Code::AlreadyExists`].
        already_exists => AlreadyExists,
        /// `PERMISSION_DENIED`: see [`Code::PermissionDenied`].
        permission_denied => PermissionDenied,
        /// `RESOURCE_EXHAUSTED`: see [`Code::ResourceExhausted`].
        resource_exhausted => ResourceExhausted,
        /// `FAILED_PRECONDITION`: see [`Code::FailedPrecondition`].
        failed_precondition => FailedPrecondition,
        /// `ABORTED`: see [`Code::Aborted`].
        aborted => Aborted,
        /// `OUT_OF_RANGE`: see [`Code::OutOfRange`].
        out_of_range => OutOfRange,
        /// `UNIMPLEMENTED`: see [`Code::Unimplemented`].
        unimplemented => Unimplemented,
        /// `INTERNAL`: see [`Code::Internal`].
        internal => Internal,
        /// `UNAVAILABLE`: see [`Code::Unavailable`].
        unavailable => Unavailable,
        /// `DATA_LOSS`: see [`Code::DataLoss`].
        data_loss => DataLoss,
        /// `UNAUTHENTICATED`: see [`Code::Unauthenticated`].
        unauthenticated => Unauthenticated,
    }

    /// The same status with details: a serialized `google.rpc.Status`, which the host sends as
    /// `grpc-status-details-bin`.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<Vec<u8>>) -> Self {
        self.details = details.into();
        self
    }

    /// The same status with one more trailer. The host checks the key and the value; a pair it
    /// refuses is left out of the trailers.
    #[must_use]
    pub fn with_trailer(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.trailers.append(key, value);
        self
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The text for the caller.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The serialized `google.rpc.Status`, or nothing.
    pub fn details(&self) -> &[u8] {
        &self.details
    }

    /// The trailers that leave with this status.
    pub fn trailers(&self) -> &Metadata {
        &self.trailers
    }

    /// The trailers that leave with this status, to change them.
    pub fn trailers_mut(&mut self) -> &mut Metadata {
        &mut self.trailers
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.name())?;
        if self.message.is_empty() {
            return Ok(());
        }
        f.write_str(": ")?;
        f.write_str(&self.message)
    }
}

impl core::error::Error for Status {}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    #[test]
    fn codes_have_the_numbers_of_grpc() {
        for (number, code) in (0_u32..).zip(Code::ALL) {
            assert_eq!(code.as_u32(), number);
            assert_eq!(Code::from_u32(number), Some(code));
        }
        assert_eq!(Code::from_u32(17), None);
        assert_eq!(Code::Unauthenticated.as_u32(), 16);
    }

    #[test]
    fn display_has_code_and_message() {
        assert_eq!(Status::aborted("twice").to_string(), "ABORTED: twice");
        assert_eq!(Status::data_loss("").to_string(), "DATA_LOSS");
    }

    #[test]
    fn each_constructor_has_its_code() {
        let made = [
            Status::cancelled(""),
            Status::unknown(""),
            Status::invalid_argument(""),
            Status::deadline_exceeded(""),
            Status::not_found(""),
            Status::already_exists(""),
            Status::permission_denied(""),
            Status::resource_exhausted(""),
            Status::failed_precondition(""),
            Status::aborted(""),
            Status::out_of_range(""),
            Status::unimplemented(""),
            Status::internal(""),
            Status::unavailable(""),
            Status::data_loss(""),
            Status::unauthenticated(""),
        ];
        let codes: Vec<Code> = made.iter().map(Status::code).collect();
        assert_eq!(codes, &Code::ALL[1..]);
    }
}
