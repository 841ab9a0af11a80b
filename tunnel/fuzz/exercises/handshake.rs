//! Any bytes as the headers of an upgrade and of its answer: an error or an offer, never a panic, and
//! never a token in what may be logged.
//!
//! Run by the fuzz target of this name, and by `tests/fuzz.rs` on every change.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
};
use switchboard_tunnel::TOKEN_PREFIX;
use switchboard_tunnel::handshake::{
    check_connect, check_request, check_response, request, response,
};

const KEY: [u8; 16] = *b"the sample nonce";
const NAMES: [HeaderName; 7] = [
    HeaderName::from_static("host"),
    HeaderName::from_static("upgrade"),
    HeaderName::from_static("connection"),
    HeaderName::from_static("sec-websocket-key"),
    HeaderName::from_static("sec-websocket-version"),
    HeaderName::from_static("sec-websocket-protocol"),
    HeaderName::from_static("sec-websocket-accept"),
];

/// The first two bytes choose method, version and status; each line after them is a header, whose
/// name its first byte chooses.
pub(crate) fn exercise(data: &[u8]) {
    let Some(([kind, status], lines)) = data.split_first_chunk::<2>() else {
        return;
    };
    let mut headers = HeaderMap::new();
    let mut words = Vec::new();
    for line in lines.split(|byte| *byte == b'\n').take(20) {
        let [name, value @ ..] = line else {
            continue;
        };
        let name = &NAMES[usize::from(*name) % NAMES.len()];
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
        words.extend(
            std::str::from_utf8(value)
                .into_iter()
                .flat_map(|text| text.split(", ")),
        );
    }
    ask(*kind, &headers, &words);
    answer(*status, headers, &words);
    if let Some(uri) = words.first().and_then(|word| word.parse::<Uri>().ok())
        && let Ok(request) = request(&uri, &words, KEY)
    {
        assert!(check_request(&request).is_ok() || words.len() > 1);
    }
}

fn ask(kind: u8, headers: &HeaderMap, words: &[&str]) {
    let mut asked = Request::new(());
    *asked.headers_mut() = headers.clone();
    *asked.version_mut() = [Version::HTTP_11, Version::HTTP_10][usize::from(kind & 1)];
    *asked.method_mut() = [Method::GET, Method::POST][usize::from(kind >> 1 & 1)].clone();
    let upgraded = check_request(&asked);
    *asked.method_mut() = Method::CONNECT;
    let connected = check_connect(&asked);

    let mut shown = String::new();
    for outcome in [upgraded, connected] {
        shown += &format!("{outcome:?}");
        match outcome {
            Ok(offer) => {
                for word in words {
                    shown += &format!("{:?}", response(&offer, Some(word)));
                }
                let chosen = offer.subprotocols.first().map(String::as_str);
                let answer = response(&offer, chosen);
                // What proves that we read the key is no secret, and may look like any text.
                if let Some(accept) = answer.headers().get("sec-websocket-accept") {
                    shown = shown.replace(accept.to_str().expect("base64"), "");
                }
                let offered: Vec<&str> = offer.subprotocols.iter().map(String::as_str).collect();
                // Only the sample's nonce is answered by the sample's key; over HTTP/2 nothing is.
                if let Ok(agreed) = check_response(&answer, &offered, KEY) {
                    assert_eq!(agreed.subprotocol.as_deref(), chosen);
                }
            }
            Err(error) => {
                assert!(error.status().is_client_error() || error.status().is_server_error());
                shown += &format!("{error} {:?}", error.to_response());
            }
        }
    }
    let tokens = words
        .iter()
        .filter_map(|word| word.strip_prefix(TOKEN_PREFIX));
    // Shorter ones may stand in any text.
    for token in tokens.filter(|token| token.len() >= 12 && !shown_anyway(words, token)) {
        assert!(!shown.contains(token), "{token} in {shown}");
    }
}

/// Whether the text was also offered as an ordinary word, which is no secret.
fn shown_anyway(words: &[&str], token: &str) -> bool {
    let ordinary = |word: &&&str| !word.starts_with(TOKEN_PREFIX);
    words
        .iter()
        .filter(ordinary)
        .any(|word| word.contains(token))
}

fn answer(status: u8, headers: HeaderMap, words: &[&str]) {
    let mut answer = Response::new(());
    *answer.headers_mut() = headers;
    let status = match status {
        0..=127 => StatusCode::SWITCHING_PROTOCOLS,
        other => StatusCode::from_u16(u16::from(other) + 200).unwrap_or(StatusCode::OK),
    };
    *answer.status_mut() = status;
    if let Ok(agreed) = check_response(&answer, words, KEY) {
        let chosen = agreed.subprotocol.unwrap_or_default();
        assert!(!chosen.starts_with(TOKEN_PREFIX));
        assert!(chosen.is_empty() || words.contains(&chosen.as_str()));
    }
}
