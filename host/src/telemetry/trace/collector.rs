//! The collector of traces: where it is, with which keys, whose certificates it may have, and a connection to it.
//!
//! Used by `telemetry::trace::export`, which sends what it has through the connection. Knows no spans. Invariant: the
//! values of headers are keys more often than not, so they are in no error, no line of the log and no `Debug`.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::ConfigError;
use crate::{task, trust};

/// Where spans go by OTLP/HTTP if the endpoint names no path.
const PATH: &str = "/v1/traces";

/// Ports if the endpoint names none: that of OTLP/HTTP, and that of whoever offers it to strangers.
const PORT: u16 = 4318;
const PORT_SECURE: u16 = 443;

/// Headers that are sent along. Count; services ask for one or two.
const HEADERS_MAX: usize = 32;

/// Headers that the host sets, or that would change what its requests are.
const OWN: [HeaderName; 7] = [
    header::HOST,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
];

/// Which calls are traced, and where their spans go.
#[derive(Clone)]
#[non_exhaustive]
pub struct TraceConfig {
    /// The collector, as `http://127.0.0.1:4318` or `https://otlp.example`; without a path, spans go to `/v1/traces`.
    pub endpoint: String,
    /// Headers that are sent with the spans, by their names, such as `authorization`: 32 at most, and none that the
    /// host sets itself. Their values are shown nowhere. Default none.
    pub headers: Vec<(String, String)>,
    /// PEM certificates to trust beside the system's, of a collector at `https://`. Read once. Default none.
    pub ca: Option<PathBuf>,
    /// Of the calls whose callers say nothing about it, the part that is traced: 0 to 1. Default 0: only those whose
    /// callers ask for it, since the collector pays for each. Callers who ask always have their span.
    pub sample: f64,
    /// What the host is called in traces. Default `switchboard`.
    pub service: String,
}

impl fmt::Debug for TraceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("TraceConfig")
            .field("endpoint", &self.endpoint)
            .field("headers", &names)
            .field("ca", &self.ca)
            .field("sample", &self.sample)
            .field("service", &self.service)
            .finish()
    }
}

impl TraceConfig {
    /// To this collector, with all else by default.
    #[must_use]
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            headers: Vec::new(),
            ca: None,
            sample: 0.0,
            service: "switchboard".to_owned(),
        }
    }

    /// All of it, checked. Looks into the file of certificates.
    ///
    /// # Errors
    /// [`ConfigError`] with all that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        Collector::new(self).map(drop).map_err(ConfigError)
    }
}

/// A collector, as configured.
pub(super) struct Collector {
    /// Host and port.
    authority: String,
    /// For its certificate.
    host: String,
    path: String,
    headers: HeaderMap,
    /// None without TLS.
    tls: Option<Arc<ClientConfig>>,
}

impl Collector {
    /// # Errors
    /// All that is wrong with the configuration.
    pub(super) fn new(config: &TraceConfig) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        if !(0.0..=1.0).contains(&config.sample) {
            let sample = config.sample;
            faults.push(format!("the sample of traces is 0 to 1, not {sample}"));
        }
        let headers = headers(&config.headers, &mut faults);
        let target = target(&config.endpoint).map_err(|fault| faults.push(fault));
        let (uri, host, secure) = target.unwrap_or_default();
        let mut tls = None;
        if secure {
            let client = trust::client(config.ca.as_deref());
            let client = client.map_err(|fault| faults.push(format!("the OTLP CA: {fault}")));
            tls = client.ok();
        } else if config.ca.is_some() && faults.is_empty() {
            faults.push(
                "the OTLP CA has nothing to do without https:// in the OTLP endpoint".to_owned(),
            );
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let port = uri
            .port_u16()
            .unwrap_or(if secure { PORT_SECURE } else { PORT });
        let shown = if host.parse::<Ipv6Addr>().is_ok() {
            format!("[{host}]")
        } else {
            host.clone()
        };
        let path = match uri.path() {
            "" | "/" => PATH,
            path => path,
        };
        Ok(Self {
            authority: format!("{shown}:{port}"),
            host,
            path: path.to_owned(),
            headers,
            tls,
        })
    }

    /// Its host and port.
    pub(super) fn name(&self) -> &str {
        &self.authority
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// What is sent along with each request.
    pub(super) fn headers(&self) -> HeaderMap {
        self.headers.clone()
    }

    /// A connection to it.
    ///
    /// # Errors
    /// Why there is none, in words.
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection.
    pub(super) async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let name = self.name();
        let stream = TcpStream::connect(name).await;
        let stream = stream.map_err(|error| format!("cannot connect to {name}: {error}"))?;
        let Some(tls) = &self.tls else {
            return http1(stream).await;
        };
        let server = ServerName::try_from(self.host.clone());
        let server = server.map_err(|error| format!("{}: {error}", self.host))?;
        let connector = TlsConnector::from(Arc::clone(tls));
        let stream = connector.connect(server, stream).await;
        http1(stream.map_err(|error| format!("no TLS with {name}: {error}"))?).await
    }
}

async fn http1<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connected = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = connected.map_err(|error| error.to_string())?;
    task::spawn("otlp", async {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to the collector failed");
        }
    });
    Ok(sender)
}

/// The endpoint, its host without brackets, and whether it is reached over TLS.
fn target(endpoint: &str) -> Result<(Uri, String, bool), String> {
    let wrong = |what: &str| {
        format!("the OTLP endpoint {endpoint:?} is none: {what}, as in http://127.0.0.1:4318")
    };
    let uri: Uri = endpoint.parse().map_err(|_| wrong("write a URL"))?;
    let secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        Some(_) | None => return Err(wrong("write a URL with http:// or https://")),
    };
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        // Not with what it is: a password, most likely.
        return Err("the OTLP endpoint holds a user: name keys as OTLP headers".to_owned());
    }
    let host = uri.host().unwrap_or_default();
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    if host.is_empty() {
        return Err(wrong("it names no host"));
    }
    Ok((uri, host, secure))
}

fn headers(given: &[(String, String)], faults: &mut Vec<String>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if given.len() > HEADERS_MAX {
        faults.push(format!("OTLP headers: {HEADERS_MAX} at most"));
    }
    for (name, value) in given {
        let (parsed, value) = (name.parse::<HeaderName>(), HeaderValue::from_str(value));
        match (parsed, value) {
            (Err(_), _) => faults.push(format!("OTLP headers: {name:?} is no name of a header")),
            (Ok(_), Err(_)) => faults.push(format!("OTLP headers: the value of {name} is none")),
            (Ok(own), Ok(_)) if OWN.contains(&own) => {
                faults.push(format!("OTLP headers: {name} is the host's own to set"));
            }
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(true);
                headers.append(name, value);
            }
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(endpoint: &str, headers: &[(&str, &str)]) -> TraceConfig {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        let mut config = TraceConfig::new(endpoint);
        config.headers = headers.iter().map(owned).collect();
        config
    }

    #[test]
    fn an_endpoint_has_the_port_and_path_of_otlp_unless_it_names_others() {
        for (endpoint, name, path, secure) in [
            ("http://collector", "collector:4318", "/v1/traces", false),
            ("http://[::1]:5/", "[::1]:5", "/v1/traces", false),
            (
                "https://otlp.example",
                "otlp.example:443",
                "/v1/traces",
                true,
            ),
            (
                "https://otlp.example:4318/in",
                "otlp.example:4318",
                "/in",
                true,
            ),
        ] {
            let ca = secure.then(|| {
                let folder = tempfile::tempdir().expect("a folder");
                let file = folder.path().join("ca.pem");
                let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
                std::fs::write(&file, issued.expect("one").cert.pem()).expect("written");
                (folder, file)
            });
            let mut config = config(endpoint, &[]);
            config.ca = ca.as_ref().map(|(_, file)| file.clone());
            let collector = Collector::new(&config).map_err(ConfigError).expect("sound");
            let found = (collector.name(), collector.path(), collector.tls.is_some());
            assert_eq!(found, (name, path, secure));
        }
    }

    #[test]
    fn faults_are_all_said_and_no_value_is() {
        const SECRET: &str = "secret\n";
        let given = [
            ("authorization", SECRET),
            ("no name", SECRET),
            ("Host", "a"),
        ];
        let mut wrong = config("ftp://collector", &given);
        wrong.sample = 2.0;
        assert!(!format!("{wrong:?}").contains("secret"));
        let ConfigError(faults) = wrong.check().expect_err("five faults");
        assert_eq!(faults.len(), 5, "{faults:#?}");
        assert!(!faults.concat().contains("secret"), "{faults:#?}");
        let user = config("http://user:secret@collector", &[]);
        let said = user.check().expect_err("a password").to_string();
        assert!(!said.contains("secret"), "{said}");
        let mut idle = config("http://collector", &[]);
        idle.ca = Some("/nowhere".into());
        assert!(idle.check().is_err(), "there is no TLS");
    }
}
