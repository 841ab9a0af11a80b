//! Which requests are gRPC by their `content-type`, and the one of their answers. Pure.
//!
//! Used by `grpc::request`, which refuses others, and wherever the headers of a response are made.
//! Source: gRPC over HTTP/2, "Content-Type → "content-type" "application/grpc" [("+proto" / "+json" /
//! {custom})]". What a message is encoded with is a matter between caller and plugin, so the answer names the
//! same as the request: a caller that asked in JSON must not be told that protobuf came.

use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

const GRPC: &[u8] = b"application/grpc";
/// Of an answer whose request says nothing more.
pub(super) const PLAIN: HeaderValue = HeaderValue::from_static("application/grpc");
const PROTO: HeaderValue = HeaderValue::from_static("application/grpc+proto");

/// The `content-type` of the answer to a request; none if the request is not gRPC. Parameters are left out;
/// `application/grpc-web` is another protocol.
pub(super) fn of_answer(request: &HeaderMap) -> Option<HeaderValue> {
    let value = request.get(CONTENT_TYPE)?.as_bytes();
    if value == GRPC {
        return Some(PLAIN);
    }
    let media_type = value.split(|byte| *byte == b';').next()?.trim_ascii();
    let (grpc, subtype) = media_type.split_at_checked(GRPC.len())?;
    // Media types know no case. Source: RFC 9110, section 8.3.1.
    if !grpc.eq_ignore_ascii_case(GRPC) {
        return None;
    }
    match subtype {
        [] | b"+" => Some(PLAIN),
        b"+proto" => Some(PROTO),
        [b'+', name @ ..] if name.iter().copied().all(is_token) => {
            HeaderValue::from_bytes(&media_type.to_ascii_lowercase()).ok()
        }
        _ => None,
    }
}

/// Source: RFC 9110, section 5.6.2, "tchar".
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer_to(value: &'static str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
        let answer = of_answer(&headers)?;
        Some(answer.to_str().expect("ASCII").to_owned())
    }

    #[test]
    fn the_answer_names_what_the_request_names() {
        for (request, answer) in [
            ("application/grpc", "application/grpc"),
            ("application/grpc+", "application/grpc"),
            ("application/grpc;charset=utf-8", "application/grpc"),
            ("application/grpc ; a=b", "application/grpc"),
            ("Application/GRPC", "application/grpc"),
            ("application/grpc+proto", "application/grpc+proto"),
            ("application/grpc+json; a=b", "application/grpc+json"),
            ("application/grpc+JSON", "application/grpc+json"),
            ("application/grpc+x.y-z", "application/grpc+x.y-z"),
        ] {
            assert_eq!(answer_to(request).as_deref(), Some(answer), "{request}");
        }
    }

    #[test]
    fn what_is_not_grpc_has_no_answer() {
        for request in [
            "",
            "application",
            "application/json",
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpcx",
            "application/grpc+a b",
            "application/grpc+a,application/grpc",
            "text/plain; application/grpc",
        ] {
            assert_eq!(answer_to(request), None, "{request}");
        }
        assert_eq!(of_answer(&HeaderMap::new()), None);
    }
}
