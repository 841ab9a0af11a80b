//! gRPC-Web: what it changes in a call. Pure.
//!
//! Used by `grpc::call`, `grpc::outgoing` and `grpc::page`; the text encoding is `grpc::text`'s. Source:
//! grpc/doc/PROTOCOL-WEB.md. A call is the same as any other but for its content type, base64 if it was
//! asked for, trailers as the last frame of the body, and headers that let a page of another origin read
//! the answer. Invariant: what comes to [`Dialect::of`] has passed [`answer`], so its origin is allowed.
//!
//! Knows no rule about origins: [`Origins`] is for who does. `-bin` trailers stay base64 in text mode too:
//! the specification would have them raw, but no client and no server is known that does it.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};

use super::content_type;
use super::text::{self, TextDecoder};
use crate::imports::call::Outbound;
use crate::peer::Peer;

/// First byte of the frame with trailers. Source: "8th (MSB) bit of the 1st gRPC frame byte".
const TRAILERS_FLAG: u8 = 0x80;

/// What every content type of gRPC-Web begins with.
const WEB: &[u8] = b"application/grpc-web";

/// Longest subtype (`+proto`) that an answer repeats, in bytes; a longer one is left out.
const SUBTYPE_BYTES_MAX: usize = 32;

/// What a page may always read of an answer, besides what this answer has: the status.
const EXPOSED: [&str; 3] = ["grpc-status", "grpc-message", "grpc-status-details-bin"];

/// Headers that say what a page may do. A plugin must not set them: that is the operator's to say.
const CORS: [HeaderName; 3] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
];

/// Whose pages may call, as whoever knows the configuration says.
pub(crate) trait Origins: std::fmt::Debug + Send + Sync {
    /// The answer to a request that goes no further: to what a browser asks beforehand, or to a call of
    /// a page that may not. None: it may go on.
    fn answer(&self, head: &Head<'_>) -> Option<Response<Bytes>>;

    /// Whether a browser may send cookies and certificates along.
    fn credentials(&self) -> bool;
}

/// What [`Origins`] looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub method: &'a Method,
    pub uri: &'a http::Uri,
    pub headers: &'a HeaderMap,
    pub peer: &'a Peer,
}

/// The answer to a request of gRPC-Web that goes no further; none if it may, or is none of gRPC-Web's.
pub(crate) fn answer<B>(
    origins: &dyn Origins,
    request: &Request<B>,
    peer: &Peer,
) -> Option<Response<Bytes>> {
    let (method, headers) = (request.method(), request.headers());
    // Plain gRPC is none of this: a proxy that translates for browsers passes their origin on.
    if *method != Method::OPTIONS && !is_web(headers) {
        return None;
    }
    origins.answer(&Head {
        method,
        uri: request.uri(),
        headers,
        peer,
    })
}

/// Whether a request is a call of gRPC-Web.
pub(crate) fn is_web(headers: &HeaderMap) -> bool {
    kind_of(headers).is_some()
}

/// Whether a request of gRPC-Web is text, and its subtype with the plus sign; none if it is none of these.
fn kind_of(headers: &HeaderMap) -> Option<(bool, Vec<u8>)> {
    let value = headers.get(header::CONTENT_TYPE)?.as_bytes();
    let name = value.get(..WEB.len())?;
    if !name.eq_ignore_ascii_case(WEB) {
        return None;
    }
    let media_type = value.split(|byte| *byte == b';').next()?.trim_ascii();
    // Media types know no case, as for plain gRPC.
    let rest = media_type[WEB.len()..].to_ascii_lowercase();
    let (text, subtype) = match rest.strip_prefix(b"-text") {
        None => (false, &rest[..]),
        Some(rest) => (true, rest.strip_prefix(b"-base64").unwrap_or(rest)),
    };
    matches!(subtype, [] | [b'+', ..]).then(|| (text, subtype.to_vec()))
}

/// Which way of speaking gRPC a call has. Small for the one that matters.
#[derive(Debug)]
pub(crate) struct Dialect {
    /// Of the answer.
    content_type: HeaderValue,
    /// None: plain gRPC.
    web: Option<Box<Web>>,
}

#[derive(Debug)]
struct Web {
    /// Whether the request is base64.
    text_in: bool,
    /// Whether the response is.
    text_out: bool,
    /// The page's origin; none if a program calls.
    origin: Option<HeaderValue>,
    credentials: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            content_type: content_type::PLAIN,
            web: None,
        }
    }
}

impl Dialect {
    /// The one that a request's headers ask for; none if it is not gRPC, or gRPC-Web without `origins`.
    pub(crate) fn of(headers: &HeaderMap, origins: Option<&dyn Origins>) -> Option<Self> {
        if let Some(content_type) = content_type::of_answer(headers) {
            return Some(Self {
                content_type,
                web: None,
            });
        }
        let origins = origins?;
        let (text_in, subtype) = kind_of(headers)?;
        let text_out = wants_text(headers).unwrap_or(text_in);
        Some(Self {
            content_type: answer_type(text_out, &subtype),
            web: Some(Box::new(Web {
                text_in,
                text_out,
                origin: headers.get(header::ORIGIN).cloned(),
                credentials: origins.credentials(),
            })),
        })
    }

    /// What turns a request's bytes into frames, if they are not that already.
    pub(super) fn decoder(&self) -> Option<TextDecoder> {
        let web = self.web.as_ref()?;
        web.text_in.then(TextDecoder::default)
    }

    /// Adds to the headers of a response what they need besides metadata. Once all others are there.
    pub(super) fn complete(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONTENT_TYPE, self.content_type.clone());
        if let Some(web) = &self.web {
            web.complete(headers);
        }
    }

    /// Makes of a framed message what the caller reads; answers whether that makes other bytes of it.
    pub(super) fn encode(&self, message: &mut Outbound) -> bool {
        let text = self.web.as_ref().is_some_and(|web| web.text_out);
        if text {
            *message = Outbound::framed(text::encode(&mut *message));
        }
        text
    }

    /// Trailers as the last frame of the body; none if they are HTTP's.
    pub(super) fn trailers(&self, trailers: &HeaderMap) -> Option<Outbound> {
        let web = self.web.as_ref()?;
        let mut block = BytesMut::new();
        for (name, value) in trailers {
            block.put(name.as_str().as_bytes());
            block.put(&b": "[..]);
            block.put(value.as_bytes());
            block.put(&b"\r\n"[..]);
        }
        let len = u32::try_from(block.len()).unwrap_or(u32::MAX);
        let mut frame = BytesMut::with_capacity(5 + block.len());
        frame.put_u8(TRAILERS_FLAG);
        frame.put_u32(len);
        frame.put(block);
        Some(Outbound::framed(if web.text_out {
            text::encode(frame)
        } else {
            frame.freeze()
        }))
    }
}

/// Whether a client wants text, if it says so.
fn wants_text(headers: &HeaderMap) -> Option<bool> {
    let values = headers.get_all(header::ACCEPT).iter();
    values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .find_map(|accepted| {
            let rest = accepted
                .trim_ascii()
                .strip_prefix(b"application/grpc-web")?;
            Some(rest.starts_with(b"-text"))
        })
}

/// The content type of an answer, with the subtype of its request.
fn answer_type(text: bool, subtype: &[u8]) -> HeaderValue {
    let (plain, proto) = if text {
        (
            "application/grpc-web-text",
            "application/grpc-web-text+proto",
        )
    } else {
        ("application/grpc-web", "application/grpc-web+proto")
    };
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._".contains(byte);
    let subtype = Some(subtype)
        .filter(|subtype| subtype.len() <= SUBTYPE_BYTES_MAX && subtype.iter().all(is_word));
    match subtype {
        None | Some([]) => HeaderValue::from_static(plain),
        Some(b"+proto") => HeaderValue::from_static(proto),
        Some(other) => HeaderValue::from_bytes(&[plain.as_bytes(), other].concat())
            .unwrap_or_else(|_| HeaderValue::from_static(plain)),
    }
}

impl Web {
    fn complete(&self, headers: &mut HeaderMap) {
        for name in CORS {
            headers.remove(name);
        }
        let Some(origin) = &self.origin else {
            return;
        };
        // "*" would not do: to a request with credentials it is a name like any other.
        let own = EXPOSED.iter().copied();
        let others = headers.keys().map(HeaderName::as_str);
        let others = others.filter(|name| !EXPOSED.contains(name));
        let exposed = own.chain(others).collect::<Vec<_>>().join(", ");
        // Names of headers are printable, so this is never empty.
        if let Ok(exposed) = HeaderValue::try_from(exposed) {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.credentials {
            let yes = HeaderValue::from_static("true");
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;

    use super::*;

    #[derive(Debug)]
    struct Anybody {
        credentials: bool,
    }

    impl Origins for Anybody {
        fn answer(&self, _head: &Head<'_>) -> Option<Response<Bytes>> {
            None
        }

        fn credentials(&self) -> bool {
            self.credentials
        }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect(value));
        }
        headers
    }

    fn dialect(pairs: &[(&'static str, &str)]) -> Option<Dialect> {
        Dialect::of(&headers(pairs), Some(&Anybody { credentials: false }))
    }

    #[test]
    fn the_content_type_says_which_and_the_answer_says_the_same() {
        for (sent, answered, text) in [
            ("application/grpc", "application/grpc", false),
            ("application/grpc+proto", "application/grpc+proto", false),
            ("application/grpc-web", "application/grpc-web", false),
            (
                "application/grpc-web+proto",
                "application/grpc-web+proto",
                false,
            ),
            (
                "application/grpc-web+json; charset=utf-8",
                "application/grpc-web+json",
                false,
            ),
            ("application/grpc-web+a/b", "application/grpc-web", false),
            (
                "application/grpc-web-text",
                "application/grpc-web-text",
                true,
            ),
            (
                "application/grpc-web-text+proto",
                "application/grpc-web-text+proto",
                true,
            ),
            (
                "application/grpc-web-text-base64",
                "application/grpc-web-text",
                true,
            ),
        ] {
            let dialect = dialect(&[("content-type", sent)]).expect(sent);
            let mut head = HeaderMap::new();
            dialect.complete(&mut head);
            assert_eq!(head["content-type"], answered, "{sent}");
            assert_eq!(head.len(), 1, "{sent}: nothing else without an origin");
            assert_eq!(dialect.decoder().is_some(), text, "{sent}");
        }
        for other in [
            "",
            "application/grpcx",
            "application/grpc-webb",
            "application/grpc-web-texts",
            "application/grpc-web.text",
            "application/json",
        ] {
            assert!(dialect(&[("content-type", other)]).is_none(), "{other}");
        }
        let web = headers(&[("content-type", "application/grpc-web")]);
        assert!(Dialect::of(&web, None).is_none(), "it is switched off");
    }

    #[test]
    fn accept_decides_about_the_answer_if_it_names_either() {
        let (web, text) = ("application/grpc-web+proto", "application/grpc-web-text");
        for (sent, accepted, is_text) in [
            (web, &[][..], false),
            (web, &["*/*"], false),
            (web, &["application/grpc-web-text"], true),
            (
                web,
                &["text/html, application/grpc-web-text+proto;q=0.9"],
                true,
            ),
            (text, &[], true),
            (text, &["*/*"], true),
            (text, &["application/grpc-web+proto"], false),
            (text, &["text/html", "application/grpc-web"], false),
        ] {
            let mut pairs = vec![("content-type", sent)];
            pairs.extend(accepted.iter().map(|value| ("accept", *value)));
            let dialect = dialect(&pairs).expect(sent);
            let mut message = Outbound::new(Bytes::from_static(b"abc"));
            assert_eq!(dialect.encode(&mut message), is_text);
            let message = message.copy_to_bytes(message.remaining());
            let expected = if is_text {
                &b"AAAAAANhYmM="[..]
            } else {
                b"\0\0\0\0\x03abc"
            };
            assert_eq!(message, expected, "{sent} {accepted:?}");
        }
    }

    #[test]
    fn trailers_are_a_block_of_lines() {
        let trailers = headers(&[("grpc-status", "5"), ("a", "b"), ("a", "c")]);
        let frame = |kind| {
            let dialect = dialect(&[("content-type", kind)]).expect(kind);
            let mut frame = dialect.trailers(&trailers)?;
            Some(frame.copy_to_bytes(frame.remaining()))
        };
        assert_eq!(frame("application/grpc"), None);
        let binary = frame("application/grpc-web").expect("a frame");
        assert_eq!(
            binary,
            &b"\x80\0\0\0\x1cgrpc-status: 5\r\na: b\r\na: c\r\n"[..]
        );
        let text = frame("application/grpc-web-text").expect("a frame");
        assert_eq!(
            TextDecoder::default().decode(&text).expect("base64"),
            binary
        );
    }

    #[test]
    fn a_page_may_read_what_the_answer_has() {
        let sent = headers(&[
            ("content-type", "application/grpc-web"),
            ("origin", "https://a.example"),
        ]);
        for credentials in [false, true] {
            let dialect = Dialect::of(&sent, Some(&Anybody { credentials })).expect("gRPC-Web");
            // What a plugin says of it does not count.
            let mut head = headers(&[
                ("x-own", "1"),
                ("grpc-status", "0"),
                ("access-control-allow-origin", "*"),
                ("access-control-allow-credentials", "true"),
            ]);
            dialect.complete(&mut head);
            assert_eq!(head["access-control-allow-origin"], "https://a.example");
            assert_eq!(head["vary"], "origin");
            assert_eq!(
                head["access-control-expose-headers"],
                "grpc-status, grpc-message, grpc-status-details-bin, x-own, content-type"
            );
            let allowed = head.contains_key("access-control-allow-credentials");
            assert_eq!(allowed, credentials);
        }
    }
}
