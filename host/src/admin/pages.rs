//! What the admin listener answers to plain HTTP: `/livez`, `/readyz`, `/metrics`, and at `/` what there is.
//!
//! Asked by `listener` and `grpc` through [`Pages`], over HTTP/1.1 and HTTP/2 alike. Answers are made at once and
//! kept by nobody. Invariant: nothing here waits for the host.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};

use crate::grpc::Pages;
use crate::telemetry::{MetricsFormat, Telemetry};

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD");

const INDEX: &str = "/livez    200 as long as the process answers\n\
    /readyz   200 while calls are served, else 503 and why\n\
    /metrics  for Prometheus, in its text form or as OpenMetrics\n\
    gRPC: switchboard.admin.v1.Admin, with reflection\n";

/// The pages.
#[derive(Debug)]
pub(super) struct AdminPages {
    telemetry: Telemetry,
}

impl AdminPages {
    pub(super) fn new(telemetry: Telemetry) -> Self {
        Self { telemetry }
    }

    fn page(&self, path: &str, headers: &HeaderMap) -> Option<(StatusCode, &'static str, String)> {
        const TEXT: &str = "text/plain; charset=utf-8";
        let ok = StatusCode::OK;
        Some(match path {
            "/" => (ok, TEXT, INDEX.to_owned()),
            "/livez" => (ok, TEXT, "ok\n".to_owned()),
            "/readyz" => match self.telemetry.readiness().why_not() {
                None => (ok, TEXT, "ok\n".to_owned()),
                Some(why) => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    TEXT,
                    format!("not ready: {why}\n"),
                ),
            },
            "/metrics" => {
                let accept = headers.get_all(header::ACCEPT).iter();
                let accept = accept.filter_map(|value| value.to_str().ok());
                let format = MetricsFormat::of_accept(&accept.collect::<Vec<_>>().join(","));
                (ok, format.content_type(), self.telemetry.metrics(format))
            }
            _ => return None,
        })
    }
}

impl Pages for AdminPages {
    fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Response<Bytes>> {
        if ![Method::GET, Method::HEAD].contains(method) {
            let mut response = Response::new(Bytes::from_static(b"ask with GET\n"));
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(header::ALLOW, METHODS);
            return Some(response);
        }
        let (status, content_type, text) = self.page(uri.path(), headers).unwrap_or_else(|| {
            let text = format!("there is nothing here; there is:\n{INDEX}");
            (StatusCode::NOT_FOUND, "text/plain; charset=utf-8", text)
        });
        let len = HeaderValue::from(text.len());
        let has_body = *method != Method::HEAD;
        let body = if has_body { text.into() } else { Bytes::new() };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        for (name, value) in [
            (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
            (
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            ),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            // The form of the metrics is the one that was asked for.
            (header::VARY, HeaderValue::from_static("accept")),
            (header::CONTENT_LENGTH, len),
        ] {
            response.headers_mut().insert(name, value);
        }
        Some(response)
    }
}
