//! Our half of the handshake with tungstenite's other half.

use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use switchboard_tunnel::SUBPROTOCOL;
use switchboard_tunnel::handshake::{check_request, check_response, request, response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, duplex};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{
    Request as TheirRequest, Response as TheirResponse,
};
use tokio_tungstenite::{accept_hdr_async, client_async};

const KEY: [u8; 16] = *b"0123456789abcdef";

/// Everything up to the empty line, one string a line.
async fn head(io: &mut (impl AsyncRead + Unpin)) -> Vec<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(io.read_u8().await.expect("a head"));
    }
    let text = String::from_utf8(bytes).expect("ASCII");
    text.trim_end().split("\r\n").map(str::to_owned).collect()
}

fn headers(lines: &[String]) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    lines.iter().map(|line| {
        let (name, value) = line.split_once(':').expect("a colon");
        let name = name.parse().expect("a header's name");
        (name, value.trim().parse().expect("a header's value"))
    })
}

fn text(headers: &http::HeaderMap) -> String {
    let lines = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}\r\n", value.to_str().expect("ASCII")));
    lines.collect::<String>() + "\r\n"
}

#[tokio::test]
async fn their_server_takes_our_request_and_we_their_answer() {
    for subprotocols in [&[SUBPROTOCOL, "bearer.c2VjcmV0"][..], &[]] {
        let (mut near, far) = duplex(4096);
        let uri = "ws://example.org/tunnel".parse().unwrap();
        let ours = request(&uri, subprotocols, KEY).unwrap();
        let wire = format!("GET {} HTTP/1.1\r\n{}", ours.uri(), text(ours.headers()));
        let client = async {
            near.write_all(wire.as_bytes()).await.unwrap();
            let lines = head(&mut near).await;
            let mut answer = Response::new(());
            assert!(lines[0].starts_with("HTTP/1.1 101 "), "{}", lines[0]);
            *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            answer.headers_mut().extend(headers(&lines[1..]));
            check_response(&answer, subprotocols, KEY).unwrap()
        };
        #[expect(clippy::result_large_err, reason = "the oracle's interface")]
        let choose = |request: &TheirRequest, mut response: TheirResponse| {
            if request.headers().contains_key("sec-websocket-protocol") {
                let chosen = HeaderValue::from_static(SUBPROTOCOL);
                response
                    .headers_mut()
                    .insert("sec-websocket-protocol", chosen);
            }
            Ok(response)
        };
        let (agreed, served) = tokio::join!(client, accept_hdr_async(far, choose));
        served.unwrap();
        assert_eq!(agreed.ours, !subprotocols.is_empty());
    }
}

#[tokio::test]
async fn their_client_takes_our_answer_and_we_their_request() {
    for subprotocols in [Some("switchboard.v1, bearer.c2VjcmV0"), None] {
        let (near, mut far) = duplex(4096);
        let mut theirs = "ws://example.org/tunnel".into_client_request().unwrap();
        if let Some(list) = subprotocols {
            let list = HeaderValue::from_static(list);
            theirs.headers_mut().insert("sec-websocket-protocol", list);
        }
        let server = async {
            let lines = head(&mut far).await;
            assert_eq!(lines[0], "GET /tunnel HTTP/1.1");
            let mut asked = Request::new(());
            *asked.version_mut() = Version::HTTP_11;
            asked.headers_mut().extend(headers(&lines[1..]));
            let offer = check_request(&asked).unwrap();
            let answer = response(&offer, offer.ours.then_some(SUBPROTOCOL));
            let wire = format!(
                "HTTP/1.1 101 Switching Protocols\r\n{}",
                text(answer.headers())
            );
            far.write_all(wire.as_bytes()).await.unwrap();
            offer
        };
        let (connected, offer) = tokio::join!(client_async(theirs, near), server);
        let (_, answer) = connected.unwrap();
        let chosen = answer.headers().get("sec-websocket-protocol");
        assert_eq!(chosen.is_some(), subprotocols.is_some());
        let token = offer.token.is_some_and(|token| token.matches(b"secret"));
        assert_eq!(
            (offer.ours, token),
            (subprotocols.is_some(), subprotocols.is_some())
        );
    }
}
