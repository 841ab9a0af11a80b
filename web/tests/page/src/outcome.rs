//! What scenarios return: JSON text, and statuses in it.

use serde_json::{Value, json};
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::{Code, Status};

/// The text of a scenario's outcome.
pub(crate) fn text(outcome: &Value) -> String {
    outcome.to_string()
}

/// How a call ended: its code by name, its text, its details as text, its metadata.
pub(crate) fn ended(status: &Status) -> Value {
    json!({
        "code": code(status.code()),
        "message": status.message(),
        "details": String::from_utf8_lossy(status.details()),
        "metadata": metadata(status.metadata()),
    })
}

/// How a call ended that may have ended well.
pub(crate) fn ended_with<T>(result: &Result<T, Status>) -> Value {
    match result {
        Ok(_) => json!({ "code": "OK" }),
        Err(status) => ended(status),
    }
}

/// A code as the specification writes it.
fn code(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Metadata whose keys begin with `x-`, in order: texts as they are, bytes as arrays of numbers.
pub(crate) fn metadata(metadata: &MetadataMap) -> Value {
    let entries = metadata.iter().filter_map(|entry| match entry {
        KeyAndValueRef::Ascii(key, value) => {
            let value = value.to_str().ok()?;
            Some((key.as_str(), json!(value)))
        }
        KeyAndValueRef::Binary(key, value) => {
            let bytes = value.to_bytes().ok()?;
            Some((key.as_str(), json!(bytes.to_vec())))
        }
    });
    let ours = entries.filter(|(key, _)| key.starts_with("x-"));
    Value::Array(ours.map(|(key, value)| json!([key, value])).collect())
}
