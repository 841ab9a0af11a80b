//! gRPC's own part of HTTP headers: metadata, status, timeouts. Pure.
//!
//! Called by `grpc::request` and `grpc::exchange`. Source of everything here: gRPC over HTTP/2
//! (grpc/doc/PROTOCOL-HTTP2.md), named rule by rule. The host never decodes a message.

use std::time::Duration;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_encode};

use crate::imports::call::MetadataError;
use crate::status::Status;

/// What HTTP/2 counts for each header besides its name and value, in bytes.
/// Source: RFC 9113, section 6.5.2, `SETTINGS_MAX_HEADER_LIST_SIZE`.
const HEADER_OVERHEAD_BYTES: usize = 32;

/// Longest status message, in bytes before it is encoded. Many clients take 8 KiB of headers in
/// all, and percent-encoding may triple a byte. A longer one is cut.
const STATUS_MESSAGE_BYTES_MAX: usize = 2 * 1024;

/// "Binary-Header ... implementations must accept both padded and un-padded values and should
/// emit un-padded values."
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// "Percent-Byte-Unencoded → %x20-%x24 / %x26-%x7E".
const MESSAGE_ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// Headers of a request that are the transport's and not metadata.
fn is_transport(name: &str) -> bool {
    matches!(
        name,
        "te" | "content-type"
            | "content-length"
            | "host"
            | "trailer"
            | "grpc-timeout"
            | "grpc-encoding"
            | "grpc-accept-encoding"
            | "grpc-message-type"
    )
}

/// Keys that a handler may not set: gRPC's own, and what HTTP/2 forbids or uses itself.
/// Source: RFC 9113, section 8.2.2, and "Header names starting with `grpc-` ... are reserved".
fn is_reserved(key: &str) -> bool {
    key.starts_with("grpc-")
        || is_transport(key)
        || matches!(
            key,
            "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade"
        )
}

/// Size of a header block as HTTP/2 counts it, in bytes.
pub(crate) fn block_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| entry_bytes(name.as_str(), value.as_bytes()))
        .sum()
}

fn entry_bytes(key: &str, value: &[u8]) -> usize {
    key.len() + value.len() + HEADER_OVERHEAD_BYTES
}

/// "Header-Name → 1*( %x30-39 / %x61-7A / "_" / "-" / "." )".
fn is_key(key: &str) -> bool {
    let allowed = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'_' | b'-' | b'.');
    !key.is_empty() && key.bytes().all(allowed)
}

/// "ASCII-Value → 1*( %x20-%x7E ) ... should not have leading or trailing whitespace. If it contains
/// leading or trailing whitespace, it may be stripped". HTTP/2 forbids it (RFC 9113, section 8.2.1).
fn ascii_value(value: &[u8]) -> Option<&[u8]> {
    let printable = value.iter().all(|byte| matches!(byte, b' '..=b'~'));
    printable.then(|| value.trim_ascii())
}

/// Values of one request header as a handler sees them. A `-bin` header may carry several, joined
/// by commas; one that is not base64 is left out, as no handler could use it. So is what HTTP allows and
/// gRPC does not ("they may throw the value away"): a handler may send back all that it is shown.
fn decoded<'a>(name: &'a str, value: &'a HeaderValue) -> impl Iterator<Item = Vec<u8>> + 'a {
    let binary = name.ends_with("-bin");
    let plain = (!binary).then(|| ascii_value(value.as_bytes()).map(<[u8]>::to_vec));
    let plain = plain.flatten();
    let parts = binary.then(|| value.as_bytes().split(|byte| *byte == b','));
    plain.into_iter().chain(
        parts
            .into_iter()
            .flatten()
            .filter_map(|part| BASE64.decode(part.trim_ascii()).ok()),
    )
}

/// The first value of `key`.
pub(crate) fn value(headers: &HeaderMap, key: &str) -> Option<Vec<u8>> {
    // A `HeaderMap` looks up without regard to case; with it, `Te` would be found and `X-BIN` would
    // not be decoded. Neither is a key.
    if is_transport(key) || !is_key(key) {
        return None;
    }
    headers
        .get_all(key)
        .iter()
        .flat_map(|value| decoded(key, value))
        .next()
}

/// All request metadata.
pub(crate) fn metadata(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers
        .iter()
        .filter(|(name, _)| !is_transport(name.as_str()) && is_key(name.as_str()))
        .flat_map(|(name, value)| {
            decoded(name.as_str(), value).map(|value| (name.as_str().to_owned(), value))
        })
        .collect()
}

/// Adds one piece of response metadata, within `bytes_max` for the block, of which `used` counts.
pub(crate) fn append(
    headers: &mut HeaderMap,
    used: &mut usize,
    bytes_max: usize,
    key: &str,
    value: &[u8],
) -> Result<(), MetadataError> {
    if !is_key(key) {
        return Err(MetadataError::InvalidKey);
    }
    if is_reserved(key) {
        return Err(MetadataError::ReservedKey);
    }
    append_unchecked(headers, used, bytes_max, key, value)
}

fn append_unchecked(
    headers: &mut HeaderMap,
    used: &mut usize,
    bytes_max: usize,
    key: &str,
    value: &[u8],
) -> Result<(), MetadataError> {
    let value = if key.ends_with("-bin") {
        HeaderValue::try_from(BASE64.encode(value)).map_err(|_| MetadataError::InvalidValue)?
    } else {
        let value = ascii_value(value).ok_or(MetadataError::InvalidValue)?;
        HeaderValue::from_bytes(value).map_err(|_| MetadataError::InvalidValue)?
    };
    let bytes = entry_bytes(key, value.as_bytes());
    if used.saturating_add(bytes) > bytes_max {
        return Err(MetadataError::TooLarge);
    }
    let key = HeaderName::from_bytes(key.as_bytes()).map_err(|_| MetadataError::InvalidKey)?;
    headers
        .try_append(key, value)
        .map_err(|_| MetadataError::TooLarge)?;
    *used += bytes;
    Ok(())
}

/// Writes a status into trailers (or the headers of a trailers-only response). What does not fit
/// or is not allowed is left out, and its name returned for the log: code and text always arrive.
pub(crate) fn write_status(
    trailers: &mut HeaderMap,
    bytes_max: usize,
    status: Option<&Status>,
) -> Vec<String> {
    let number = status.map_or(0, |status| status.code.number());
    trailers.insert("grpc-status", HeaderValue::from(u16::from(number)));
    let Some(status) = status else {
        return Vec::new();
    };
    if !status.message.is_empty() {
        trailers.insert("grpc-message", encoded_message(&status.message));
    }
    let mut used = block_bytes(trailers);
    let mut left_out = Vec::new();
    if !status.details.is_empty() {
        let key = "grpc-status-details-bin";
        if append_unchecked(trailers, &mut used, bytes_max, key, &status.details).is_err() {
            left_out.push(key.to_owned());
        }
    }
    for (key, value) in &status.trailers {
        let added = if key == "grpc-retry-pushback-ms" {
            append_unchecked(trailers, &mut used, bytes_max, key, value)
        } else {
            append(trailers, &mut used, bytes_max, key, value)
        };
        if added.is_err() {
            left_out.push(key.chars().take(64).collect());
        }
    }
    left_out
}

fn encoded_message(message: &str) -> HeaderValue {
    let mut end = message.len().min(STATUS_MESSAGE_BYTES_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let message = &message.as_bytes()[..end];
    let inner = message.trim_ascii();
    // A value of HTTP/2 must not begin or end with a space, and here a space is part of the text.
    let begins = message.len() - message.trim_ascii_start().len();
    let parts = [
        (&message[..begins], NON_ALPHANUMERIC),
        (inner, MESSAGE_ESCAPED),
        (&message[begins + inner.len()..], NON_ALPHANUMERIC),
    ];
    let parts = parts.into_iter();
    let encoded: String = parts
        .flat_map(|(part, set)| percent_encode(part, set))
        .collect();
    // Percent-encoding leaves printable ASCII only, which every header may carry.
    HeaderValue::try_from(encoded).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Reads `grpc-timeout`. "Timeout → TimeoutValue TimeoutUnit; TimeoutValue → {positive integer as
/// ASCII string of at most 8 digits}".
///
/// # Errors
/// When the value is not of that form.
pub(crate) fn timeout(value: &HeaderValue) -> Result<Duration, ()> {
    let bytes = value.as_bytes();
    let (digits, unit) = bytes
        .split_at_checked(bytes.len().wrapping_sub(1))
        .ok_or(())?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(());
    }
    let count = digits
        .iter()
        .fold(0_u64, |count, digit| count * 10 + u64::from(digit - b'0'));
    match unit {
        b"H" => Ok(Duration::from_secs(count * 3600)),
        b"M" => Ok(Duration::from_secs(count * 60)),
        b"S" => Ok(Duration::from_secs(count)),
        b"m" => Ok(Duration::from_millis(count)),
        b"u" => Ok(Duration::from_micros(count)),
        b"n" => Ok(Duration::from_nanos(count)),
        _ => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::status::Code;

    const ROOM: usize = 16 << 10;

    fn sent(status: &Status) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        assert_eq!(
            write_status(&mut trailers, ROOM, Some(status)),
            Vec::<String>::new()
        );
        trailers
    }

    #[test]
    fn timeouts_in_every_unit() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("4m", Some(Duration::from_millis(4))),
            ("5u", Some(Duration::from_micros(5))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("0S", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("+1S", None),
            (" 1S", None),
            ("1.5S", None),
            ("123456789S", None),
        ] {
            let value = HeaderValue::from_static(text);
            assert_eq!(timeout(&value).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        let trailers = sent(&Status::new(Code::NotFound, "50% of \u{fc}\u{1f600}\n"));
        assert_eq!(trailers["grpc-status"], "5");
        assert_eq!(trailers["grpc-message"], "50%25 of %C3%BC%F0%9F%98%80%0A");
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let trailers = sent(&Status::new(
            Code::Unknown,
            "\u{20ac}".repeat(STATUS_MESSAGE_BYTES_MAX),
        ));
        let text = trailers["grpc-message"].to_str().expect("ASCII");
        let decoded = percent_encoding::percent_decode_str(text)
            .decode_utf8()
            .expect("whole");
        assert!(decoded.len() <= STATUS_MESSAGE_BYTES_MAX && decoded.len() > 2000);
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_the_code_arrives() {
        let mut status = Status::new(Code::Aborted, "kept");
        status.details = vec![1; ROOM];
        status
            .trailers
            .push(("x-small".to_owned(), b"kept".to_vec()));
        status
            .trailers
            .push(("grpc-status".to_owned(), b"0".to_vec()));
        let mut trailers = HeaderMap::new();
        let left_out = write_status(&mut trailers, ROOM, Some(&status));
        assert_eq!(left_out, ["grpc-status-details-bin", "grpc-status"]);
        assert_eq!(trailers["grpc-status"], "10");
        assert_eq!(trailers["grpc-message"], "kept");
        assert_eq!(trailers["x-small"], "kept");
    }

    #[test]
    fn binary_metadata_is_read_padded_and_not() {
        let mut headers = HeaderMap::new();
        headers.append("a-bin", HeaderValue::from_static("AAE="));
        headers.append("a-bin", HeaderValue::from_static("AAEC, AAE"));
        headers.append("b-bin", HeaderValue::from_static("***"));
        headers.append("te", HeaderValue::from_static("trailers"));
        assert_eq!(value(&headers, "a-bin"), Some(vec![0, 1]));
        assert_eq!(value(&headers, "b-bin"), None);
        for absent in ["te", "Te", "A-bin", "a-BIN"] {
            assert_eq!(value(&headers, absent), None, "{absent}");
        }
        let all = metadata(&headers);
        let expected: Vec<(String, Vec<u8>)> = [vec![0, 1], vec![0, 1, 2], vec![0, 1]]
            .map(|value| ("a-bin".to_owned(), value))
            .into();
        assert_eq!(all, expected);
    }

    #[test]
    fn bad_metadata_is_refused_with_its_reason() {
        let mut headers = HeaderMap::new();
        let mut used = 0;
        for (key, value, expected) in [
            ("", &b""[..], Err(MetadataError::InvalidKey)),
            ("Upper", b"", Err(MetadataError::InvalidKey)),
            ("sp ace", b"", Err(MetadataError::InvalidKey)),
            (":path", b"", Err(MetadataError::InvalidKey)),
            ("grpc-status", b"0", Err(MetadataError::ReservedKey)),
            ("connection", b"close", Err(MetadataError::ReservedKey)),
            (
                "content-type",
                b"text/html",
                Err(MetadataError::ReservedKey),
            ),
            ("x-text", b"\xff", Err(MetadataError::InvalidValue)),
            ("x-text", b"line\nbreak", Err(MetadataError::InvalidValue)),
            ("x-text", &[b'a'; ROOM], Err(MetadataError::TooLarge)),
            ("x-text", b"fine", Ok(())),
            ("x-any-bin", b"\xff\0", Ok(())),
        ] {
            assert_eq!(
                append(&mut headers, &mut used, ROOM, key, value),
                expected,
                "{key:?}"
            );
        }
        assert_eq!(used, block_bytes(&headers));
    }

    proptest! {
        #[test]
        fn binary_values_survive_both_ways(value in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut headers = HeaderMap::new();
            append(&mut headers, &mut 0, ROOM, "x-bin", &value).expect("it fits");
            prop_assert_eq!(super::value(&headers, "x-bin"), Some(value));
        }

        #[test]
        fn any_timeout_is_read_or_refused(text in "[0-9HMSmunx ]{0,10}") {
            let value = HeaderValue::try_from(text).expect("printable");
            let _ = timeout(&value);
        }
    }
}
