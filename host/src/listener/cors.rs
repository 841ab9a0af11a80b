//! gRPC-Web's door: which pages may call, and what browsers are told before and after. Pure but for its log.
//!
//! Asked by `grpc` through the trait [`Origins`], and by `listener::router` for HTTP/1.1. Who may is decided by
//! `origin`, on what is known of the way by `proxies`, as for tunnels. Source: the Fetch standard, section
//! 3.3, "CORS protocol"; grpc/doc/PROTOCOL-WEB.md, "CORS preflight".
//!
//! Invariant: what a page of a foreign origin asks for is refused before anything else is looked at. That a
//! browser would not show it the answer is not enough: the call would have been made.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

use super::origin::{self, Foreign};
use super::proxies::Way;
use super::router::text;
use super::seldom::Seldom;
use crate::config::{Network, WebConfig};
use crate::grpc::web::{Head, Origins};
use crate::peer::Peer;

/// What the answer to a browser's question depends on, for caches on the way.
const VARY: HeaderValue = HeaderValue::from_static(
    "origin, access-control-request-method, access-control-request-headers",
);

/// Most that a browser may ask for in one header, in bytes; more is not granted. Pages name a dozen at worst.
const ASKED_BYTES_MAX: usize = 4 * 1024;

/// Decides about pages.
#[derive(Debug)]
pub(super) struct Cors {
    config: WebConfig,
    trusted_proxies: Vec<Network>,
    /// Whether connections are encrypted.
    tls: bool,
    foreign: Seldom,
}

impl Cors {
    pub(super) fn new(config: WebConfig, trusted_proxies: Vec<Network>, tls: bool) -> Self {
        Self {
            config,
            trusted_proxies,
            tls,
            foreign: Seldom::default(),
        }
    }

    /// The answer to a page that may not ask anything here; none for others.
    fn refusal(&self, head: &Head<'_>) -> Option<Response<Bytes>> {
        let (addr, trusted) = match head.peer {
            Peer::Tcp(addr) => (*addr, &self.trusted_proxies[..]),
            // Whatever says so in there is no proxy of ours.
            Peer::Tunnel(tunnel) => (tunnel.addr, &[][..]),
        };
        let way = Way::new(trusted, addr, self.tls, head.uri, head.headers);
        let checked = origin::check(&self.config.origins, head.headers, way.own.as_ref());
        let Foreign(sent) = checked.err()?;
        if let Some(left_out) = self.foreign.now() {
            let (peer, own) = (way.client, way.own.map(|own| own.to_string()));
            tracing::info!(%peer, origin = sent, own, left_out, "a page of a foreign origin was refused gRPC-Web");
        }
        let line = "pages of this origin may not call here; whoever runs this host may allow it with --web-origin";
        let mut refusal = text(StatusCode::FORBIDDEN, line);
        refusal.headers_mut().insert(header::VARY, VARY);
        Some(refusal)
    }

    /// The answer to what a browser asks before a page's call.
    fn preflight(&self, headers: &HeaderMap) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let answer = response.headers_mut();
        let post = HeaderValue::from_static("POST");
        answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, post);
        if let Some(asked) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS)
            && is_list_of_names(asked)
        {
            answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        let age = HeaderValue::from(self.config.preflight_age.as_secs());
        answer.insert(header::ACCESS_CONTROL_MAX_AGE, age);
        self.share(headers, answer);
        answer.insert(header::VARY, VARY);
        response
    }

    /// Lets the page that asked read the answer. Only for a request that was let through.
    pub(super) fn share(&self, asked: &HeaderMap, answer: &mut HeaderMap) {
        let Some(origin) = asked.get(header::ORIGIN) else {
            return;
        };
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answer.insert(header::VARY, HeaderValue::from_static("origin"));
        if self.config.credentials {
            let yes = HeaderValue::from_static("true");
            answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
    }
}

impl Origins for Cors {
    fn answer(&self, head: &Head<'_>) -> Option<Response<Bytes>> {
        if *head.method != Method::OPTIONS {
            return self.refusal(head);
        }
        // Anything else is nothing that a browser asks before a call.
        let method = head.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
        if method != "POST" || !head.headers.contains_key(header::ORIGIN) {
            return None;
        }
        self.refusal(head)
            .or_else(|| Some(self.preflight(head.headers)))
    }

    fn credentials(&self) -> bool {
        self.config.credentials
    }
}

/// Whether this may be repeated as a list of names of headers.
fn is_list_of_names(value: &HeaderValue) -> bool {
    let is_name = |name: &[u8]| HeaderName::from_bytes(name.trim_ascii()).is_ok();
    let bytes = value.as_bytes();
    bytes.len() <= ASKED_BYTES_MAX && bytes.split(|byte| *byte == b',').all(is_name)
}

#[cfg(test)]
mod tests {
    use http::Uri;

    use super::*;

    const OWN: &str = "http://a.example";
    const OTHER: &str = "https://b.example";

    /// The answer to a request of a page; none if it goes on.
    fn answer(
        edit: impl FnOnce(&mut WebConfig),
        method: Method,
        pairs: &[(&'static str, &str)],
    ) -> Option<Response<Bytes>> {
        let mut config = WebConfig::default();
        edit(&mut config);
        let cors = Cors::new(config, Vec::new(), false);
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("a.example"));
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect(value));
        }
        cors.answer(&Head {
            method: &method,
            uri: &Uri::from_static("/a.B/C"),
            headers: &headers,
            peer: &Peer::Tcp("192.0.2.1:1".parse().expect("an address")),
        })
    }

    fn allow_other(config: &mut WebConfig) {
        config.origins = vec![OTHER.parse().expect("an origin")];
    }

    fn status(answer: Option<Response<Bytes>>) -> u16 {
        answer.map_or(0, |answer| answer.status().as_u16())
    }

    #[test]
    fn a_call_goes_on_or_is_refused() {
        let post =
            |edit: fn(&mut WebConfig), pairs: &[_]| status(answer(edit, Method::POST, pairs));
        let any: fn(&mut WebConfig) = |config| config.origins = vec!["*".parse().expect("a rule")];
        let nobody: fn(&mut WebConfig) = |config| config.origins.clear();
        let same: fn(&mut WebConfig) = |_| {};
        for (edit, origin, refused) in [
            (same, OWN, 0),
            (same, OTHER, 403),
            (same, "null", 403),
            (allow_other, OTHER, 0),
            (allow_other, OWN, 403),
            (any, OTHER, 0),
            (any, "null", 0),
            (nobody, OWN, 403),
        ] {
            assert_eq!(post(edit, &[("origin", origin)]), refused, "{origin}");
        }
        assert_eq!(post(nobody, &[]), 0, "a program");
        assert_eq!(post(same, &[("origin", OWN), ("origin", OWN)]), 403);
        let refusal = answer(same, Method::POST, &[("origin", OTHER)]).expect("a refusal");
        let line = String::from_utf8_lossy(refusal.body()).into_owned();
        assert!(line.contains("--web-origin"), "{line}");
        assert!(
            refusal
                .headers()
                .get("access-control-allow-origin")
                .is_none()
        );
    }

    #[test]
    fn a_browser_is_told_what_a_page_may_send() {
        let asked = [
            ("origin", OTHER),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "content-type,x-grpc-web, X-Own",
            ),
        ];
        let told = answer(allow_other, Method::OPTIONS, &asked).expect("an answer");
        assert_eq!(told.status(), 204);
        for (name, value) in [
            ("access-control-allow-origin", OTHER),
            ("access-control-allow-methods", "POST"),
            (
                "access-control-allow-headers",
                "content-type,x-grpc-web, X-Own",
            ),
            ("access-control-max-age", "7200"),
        ] {
            assert_eq!(told.headers()[name], value, "{name}");
        }
        assert_eq!(told.headers()["vary"], VARY);
        assert_eq!(told.headers().len(), 5, "{:?}", told.headers());
        let with_credentials = |config: &mut WebConfig| {
            allow_other(config);
            config.credentials = true;
        };
        let told = answer(with_credentials, Method::OPTIONS, &asked).expect("an answer");
        assert_eq!(told.headers()["access-control-allow-credentials"], "true");
        let told = answer(|_| {}, Method::OPTIONS, &asked);
        assert_eq!(status(told), 403, "not allowed");
    }

    #[test]
    fn what_is_no_question_before_a_call_is_not_answered_here() {
        for pairs in [
            &[("origin", OTHER)][..],
            &[("access-control-request-method", "POST")],
            &[("origin", OTHER), ("access-control-request-method", "GET")],
        ] {
            let answer = answer(allow_other, Method::OPTIONS, pairs);
            assert!(answer.is_none(), "{pairs:?}");
        }
    }

    #[test]
    fn names_that_are_none_are_not_granted() {
        for names in ["a b", "a,,b", "a:b", &"a".repeat(ASKED_BYTES_MAX + 1)] {
            let asked = [
                ("origin", OTHER),
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", names),
            ];
            let told = answer(allow_other, Method::OPTIONS, &asked).expect("an answer");
            let granted = told.headers().get("access-control-allow-headers");
            assert!(granted.is_none(), "{granted:?}");
        }
    }
}
