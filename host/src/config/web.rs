//! gRPC-Web: whose pages may call, and what browsers are told about it.
//!
//! Read by `listener::cors`; checked by [`HostConfig::check`](super::HostConfig::check). Everything else about
//! such a call is as for any other: see [`CallConfig`](super::CallConfig).

use std::time::Duration;

use super::OriginRule;

/// gRPC-Web on the port that serves gRPC, over HTTP/1.1 and HTTP/2.
#[derive(Clone, Debug)]
pub struct WebConfig {
    /// Whose pages may call; a page must satisfy one of the rules. Default: pages of the same origin only.
    /// Others are answered with 403 before a plugin is entered. A client that names no origin is no
    /// browser, and is not asked for one.
    pub origins: Vec<OriginRule>,
    /// Whether a browser may send its cookies and certificates along with calls of other origins' pages,
    /// and let those pages read the answers. Default: no. Metadata that the page sets itself, such as
    /// `authorization`, needs no such leave. Not together with [`OriginRule::Any`].
    pub credentials: bool,
    /// How long a browser may keep the answer to what it asks before a call of another origin's page.
    /// Default 2 h, which is the longest that Chromium takes; a page that may not call any more is
    /// refused at once all the same. Whole seconds count. At the limit the browser asks again.
    pub preflight_age: Duration,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self {
            origins: vec![OriginRule::Same],
            credentials: false,
            preflight_age: Duration::from_secs(7200),
        }
    }
}

impl WebConfig {
    /// What [`HostConfig::check`](super::HostConfig::check) finds wrong here.
    pub(super) fn faults(&self) -> Option<String> {
        // A page of anybody could call in the name of whoever looks at it.
        let wrong = self.credentials && self.origins.contains(&OriginRule::Any);
        wrong.then(|| {
            "web credentials must not come with web origins '*', which lets in pages of any origin"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_for_pages_of_anybody() {
        let mut config = WebConfig::default();
        assert_eq!(config.faults(), None);
        config.credentials = true;
        assert_eq!(config.faults(), None);
        config.origins.push(OriginRule::Any);
        let fault = config.faults().expect("a fault");
        assert!(fault.contains("web credentials"), "{fault}");
    }
}
