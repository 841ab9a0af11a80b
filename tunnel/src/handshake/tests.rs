//! The upgrade, both halves: what RFC 6455 section 4 wants, and that no token is ever shown.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri, Version};

use super::{
    Agreed, HandshakeError, Offer, Token, check_connect, check_request, check_response, request,
    response,
};
use crate::SUBPROTOCOL;

/// The nonce of the example in RFC 6455 1.3, and the header it becomes.
const KEY: [u8; 16] = *b"the sample nonce";
const KEY_HEADER: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const TOKEN: &str = "bearer.c2VjcmV0LXRva2Vu";

fn uri() -> Uri {
    Uri::from_static("wss://grpc.example.org:8443/tunnel?x=1")
}

fn good() -> Request<()> {
    request(&uri(), &[SUBPROTOCOL, "other.v2"], KEY).unwrap()
}

/// A good request with one header set, or removed.
fn with(name: &'static str, value: Option<&'static str>) -> Result<Offer, HandshakeError> {
    let mut request = good();
    request.headers_mut().remove(name);
    if let Some(value) = value {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        let name = HeaderName::from_static(name);
        request.headers_mut().insert(name, value);
    }
    check_request(&request)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

#[test]
fn a_request_has_what_the_rfc_asks_for() {
    let request = good();
    assert_eq!(request.method(), Method::GET);
    assert_eq!(request.version(), Version::HTTP_11);
    assert_eq!(request.uri(), "/tunnel?x=1");
    let headers = request.headers();
    assert_eq!(header(headers, "host"), "grpc.example.org:8443");
    assert_eq!(header(headers, "upgrade"), "websocket");
    assert_eq!(header(headers, "connection"), "Upgrade");
    assert_eq!(header(headers, "sec-websocket-version"), "13");
    assert_eq!(header(headers, "sec-websocket-key"), KEY_HEADER);
    let offered = header(headers, "sec-websocket-protocol");
    assert_eq!(offered, "switchboard.v1, other.v2");
    assert_eq!(headers.len(), 6);
}

#[test]
fn a_request_without_subprotocols_offers_none() {
    let plain = request(&Uri::from_static("ws://host"), &[], KEY).unwrap();
    assert_eq!(plain.uri(), "/");
    assert!(!plain.headers().contains_key("sec-websocket-protocol"));
    let offer = check_request(&plain).unwrap();
    assert!(!offer.ours && offer.subprotocols.is_empty() && offer.token.is_none());
}

#[test]
fn an_address_must_be_one_of_a_websocket() {
    for bad in [
        "/tunnel",
        "host:1",
        "ftp://host/",
        "ws://user@host/",
        "ws://:80/",
    ] {
        let refused = bad.parse().map(|uri| request(&uri, &[], KEY).map(|_| ()));
        assert_eq!(
            refused.unwrap_or(Err(HandshakeError::Uri)),
            Err(HandshakeError::Uri),
            "{bad}"
        );
    }
    for good in ["ws://h", "wss://h/", "http://[::1]:80/t", "https://h:1"] {
        assert!(request(&good.parse().unwrap(), &[], KEY).is_ok(), "{good}");
    }
}

#[test]
fn a_subprotocol_must_be_a_word() {
    for bad in ["", "two words", "a,b", "ü", "x\r\nInjected: 1"] {
        let refused = request(&uri(), &[SUBPROTOCOL, bad], KEY).map(|_| ());
        assert_eq!(refused, Err(HandshakeError::Subprotocols), "{bad:?}");
    }
}

#[test]
fn both_halves_agree() {
    let offer = check_request(&good()).unwrap();
    assert!(offer.ours);
    assert_eq!(offer.subprotocols, [SUBPROTOCOL, "other.v2"]);
    let answer = response(&offer, Some(SUBPROTOCOL));
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(header(answer.headers(), "sec-websocket-accept"), ACCEPT);
    let agreed = check_response(&answer, &[SUBPROTOCOL, "other.v2"], KEY).unwrap();
    assert_eq!(
        agreed,
        Agreed {
            ours: true,
            subprotocol: Some(SUBPROTOCOL.to_owned())
        }
    );
    let answer = response(&offer, Some("other.v2"));
    assert!(!check_response(&answer, &["other.v2"], KEY).unwrap().ours);
    let answer = response(&offer, None);
    let agreed = check_response(&answer, &[SUBPROTOCOL], KEY).unwrap();
    assert_eq!((agreed.ours, agreed.subprotocol), (false, None));
}

#[test]
fn a_server_never_chooses_what_was_not_offered() {
    let mut request = good();
    let offered = HeaderValue::from_static(TOKEN);
    request
        .headers_mut()
        .insert("sec-websocket-protocol", offered);
    let offer = check_request(&request).unwrap();
    for chosen in [SUBPROTOCOL, TOKEN] {
        let answer = response(&offer, Some(chosen));
        assert!(!answer.headers().contains_key("sec-websocket-protocol"));
    }
}

#[test]
fn headers_are_matched_as_lists_without_case() {
    assert!(with("upgrade", Some("h2c, WebSocket")).is_ok());
    assert!(with("connection", Some("keep-alive,UPGRADE")).is_ok());
    assert!(with("connection", Some(" , upgrade ,")).is_ok());
    let mut request = good();
    let second = HeaderValue::from_static("third, fourth");
    request
        .headers_mut()
        .append("sec-websocket-protocol", second);
    let offer = check_request(&request).unwrap();
    assert_eq!(
        offer.subprotocols,
        [SUBPROTOCOL, "other.v2", "third", "fourth"]
    );
}

#[test]
fn each_fault_of_a_request_has_its_error_and_status() {
    let table = [
        ("upgrade", None, HandshakeError::NotAnUpgrade, 426),
        ("upgrade", Some("h2c"), HandshakeError::NotAnUpgrade, 426),
        ("connection", None, HandshakeError::NoConnectionUpgrade, 400),
        (
            "connection",
            Some("keep-alive"),
            HandshakeError::NoConnectionUpgrade,
            400,
        ),
        (
            "sec-websocket-version",
            None,
            HandshakeError::WebSocketVersion,
            426,
        ),
        (
            "sec-websocket-version",
            Some("8"),
            HandshakeError::WebSocketVersion,
            426,
        ),
        ("host", None, HandshakeError::Host, 400),
        ("sec-websocket-key", None, HandshakeError::Key, 400),
        ("sec-websocket-key", Some(""), HandshakeError::Key, 400),
        (
            "sec-websocket-key",
            Some("c2hvcnQ="),
            HandshakeError::Key,
            400,
        ),
        (
            "sec-websocket-key",
            Some("not base64 at all!!!!!!!"),
            HandshakeError::Key,
            400,
        ),
        (
            "sec-websocket-protocol",
            Some("a b"),
            HandshakeError::Subprotocols,
            400,
        ),
        (
            "sec-websocket-protocol",
            Some("a,a"),
            HandshakeError::Subprotocols,
            400,
        ),
        (
            "sec-websocket-protocol",
            Some("\u{fc}"),
            HandshakeError::Subprotocols,
            400,
        ),
        (
            "sec-websocket-protocol",
            Some("bearer."),
            HandshakeError::TokenMalformed,
            400,
        ),
        (
            "sec-websocket-protocol",
            Some("bearer.a b"),
            HandshakeError::TokenMalformed,
            400,
        ),
        (
            "sec-websocket-protocol",
            Some("bearer.c2VjcmV0LXRva2Vu="),
            HandshakeError::TokenMalformed,
            400,
        ),
        (
            "sec-websocket-protocol",
            Some("bearer.YQ, bearer.Yg"),
            HandshakeError::TokenRepeated,
            400,
        ),
    ];
    for (name, value, error, status) in table {
        let found = with(name, value).map(|_| ());
        assert_eq!(found, Err(error), "{name}: {value:?}");
        assert_eq!(error.status().as_u16(), status, "{error}");
    }
}

#[test]
fn a_repeated_key_or_host_is_refused() {
    for (name, error) in [
        ("sec-websocket-key", HandshakeError::Key),
        ("host", HandshakeError::Host),
    ] {
        let mut request = good();
        let again = request.headers()[name].clone();
        request.headers_mut().append(name, again);
        assert_eq!(check_request(&request).map(|_| ()), Err(error));
    }
}

#[test]
fn method_and_version_are_checked_first() {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_10;
    let error = check_request(&request).map(|_| ()).unwrap_err();
    assert_eq!(
        (error, error.status().as_u16()),
        (HandshakeError::Method, 405)
    );
    assert_eq!(header(error.to_response().headers(), "allow"), "GET");
    *request.method_mut() = Method::GET;
    for version in [Version::HTTP_10, Version::HTTP_2] {
        *request.version_mut() = version;
        let error = check_request(&request).map(|_| ()).unwrap_err();
        assert_eq!(
            (error, error.status().as_u16()),
            (HandshakeError::HttpVersion, 505)
        );
    }
}

#[test]
fn a_refusal_says_how_to_ask() {
    for error in [
        HandshakeError::NotAnUpgrade,
        HandshakeError::WebSocketVersion,
    ] {
        let answer = error.to_response();
        assert_eq!(answer.status(), StatusCode::UPGRADE_REQUIRED);
        assert_eq!(header(answer.headers(), "upgrade"), "websocket");
        assert_eq!(header(answer.headers(), "connection"), "Upgrade");
        assert_eq!(header(answer.headers(), "sec-websocket-version"), "13");
        assert_eq!(answer.body(), &format!("{error}\n"));
    }
}

#[test]
fn over_http2_a_connect_is_answered_with_200() {
    let mut connect = Request::new(());
    *connect.version_mut() = Version::HTTP_2;
    let error = check_connect(&connect).map(|_| ());
    assert_eq!(error, Err(HandshakeError::Method));
    *connect.method_mut() = Method::CONNECT;
    let error = check_connect(&connect).map(|_| ());
    assert_eq!(error, Err(HandshakeError::WebSocketVersion));
    let headers = connect.headers_mut();
    headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
    headers.insert(
        "sec-websocket-protocol",
        HeaderValue::from_static("switchboard.v1, bearer.YQ"),
    );
    let offer = check_connect(&connect).unwrap();
    assert!(
        offer.ours
            && offer
                .token
                .as_ref()
                .is_some_and(|token| token.matches(b"a"))
    );
    let answer = response(&offer, Some(SUBPROTOCOL));
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(
        header(answer.headers(), "sec-websocket-protocol"),
        SUBPROTOCOL
    );
    assert_eq!(answer.headers().len(), 1, "nothing that HTTP/2 forbids");
}

#[test]
fn a_token_is_read_and_shown_to_nobody() {
    let token = Token::new(*b"secret-token");
    assert_eq!(token.to_subprotocol(), TOKEN);
    let words = [SUBPROTOCOL, TOKEN];
    let request = request(&uri(), &words, KEY).unwrap();
    let offer = check_request(&request).unwrap();
    assert_eq!(offer.subprotocols, [SUBPROTOCOL]);
    assert_eq!(
        offer.token.as_ref().map(Token::as_bytes),
        Some(&b"secret-token"[..])
    );
    let shown = format!(
        "{request:?} {offer:?} {token:?} {:?}",
        response(&offer, Some(TOKEN))
    );
    assert!(
        !shown.contains("secret") && !shown.contains("c2VjcmV0"),
        "{shown}"
    );
}

#[test]
fn a_token_with_bytes_that_base64_writes_differently_survives() {
    let token = Token::new([0xFB, 0xEF, 0xFF, 0x00]);
    assert_eq!(token.to_subprotocol(), "bearer.--__AA");
    let request = request(&uri(), &["bearer.--__AA"], KEY).unwrap();
    let read = check_request(&request).unwrap().token.unwrap();
    assert!(read.matches(&[0xFB, 0xEF, 0xFF, 0x00]));
}

#[test]
fn a_token_matches_itself_and_nothing_else() {
    let token = Token::new(*b"abc");
    assert!(token.matches(b"abc"));
    for other in [&b""[..], b"ab", b"abcd", b"abx", b"xbc"] {
        assert!(!token.matches(other), "{other:?}");
    }
}

#[test]
fn each_fault_of_an_answer_has_its_error() {
    let offer = check_request(&good()).unwrap();
    let table = [
        ("upgrade", None, HandshakeError::NotAWebSocket),
        ("upgrade", Some("h2c"), HandshakeError::NotAWebSocket),
        ("connection", None, HandshakeError::NotAWebSocket),
        ("sec-websocket-accept", None, HandshakeError::Accept),
        (
            "sec-websocket-accept",
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOO="),
            HandshakeError::Accept,
        ),
        (
            "sec-websocket-extensions",
            Some("permessage-deflate"),
            HandshakeError::Extension,
        ),
        (
            "sec-websocket-protocol",
            Some("chat"),
            HandshakeError::SubprotocolNotOffered,
        ),
        (
            "sec-websocket-protocol",
            Some("switchboard.v1, chat"),
            HandshakeError::SubprotocolNotOffered,
        ),
        (
            "sec-websocket-protocol",
            Some(TOKEN),
            HandshakeError::SubprotocolNotOffered,
        ),
    ];
    for (name, value, error) in table {
        let mut answer = response(&offer, Some(SUBPROTOCOL));
        answer.headers_mut().remove(name);
        if let Some(value) = value {
            let value = HeaderValue::from_static(value);
            answer.headers_mut().insert(name, value);
        }
        let found = check_response(&answer, &[SUBPROTOCOL, TOKEN], KEY);
        assert_eq!(found, Err(error), "{name}: {value:?}");
        assert_eq!(error.status(), StatusCode::BAD_GATEWAY);
    }
}

#[test]
fn a_refusal_keeps_its_status_and_when_to_come_back() {
    let mut answer = Response::new(());
    for status in [200, 301, 401, 403, 404, 426, 429, 500, 503] {
        let status = StatusCode::from_u16(status).unwrap();
        *answer.status_mut() = status;
        let expected = HandshakeError::Refused {
            status,
            retry_after_s: None,
        };
        assert_eq!(check_response(&answer, &[], KEY), Err(expected));
        assert!(expected.to_string().contains(status.as_str()), "{expected}");
    }
    for (value, retry_after_s) in [("7", Some(7)), ("Fri, 31 Dec 1999 23:59:59 GMT", None)] {
        answer
            .headers_mut()
            .insert("retry-after", HeaderValue::from_static(value));
        let expected = HandshakeError::Refused {
            status: StatusCode::SERVICE_UNAVAILABLE,
            retry_after_s,
        };
        assert_eq!(check_response(&answer, &[], KEY), Err(expected));
    }
}
