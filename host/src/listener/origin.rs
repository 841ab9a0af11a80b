//! Whether the page that asks for something may have it: a tunnel, or a call by gRPC-Web.
//!
//! Used by `listener::tunnel` and `listener::cors`. Pure. A browser sends `Origin` with every upgrade and
//! every call, and no page can change it; without this check any page that a visitor opens could use the
//! host with the visitor's cookies and from the visitor's network. A client that sends none is no browser and proves nothing by it.

use http::{HeaderMap, header};

use crate::config::{Origin, OriginRule};

/// An origin that may not, as it was sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Foreign(pub String);

/// Checks the request's origin, and gives it in its one spelling; none if the client is no browser.
///
/// # Errors
/// [`Foreign`], also for an origin that is malformed or sent twice.
pub(super) fn check(
    rules: &[OriginRule],
    headers: &HeaderMap,
    own: Option<&Origin>,
) -> Result<Option<String>, Foreign> {
    let mut values = headers.get_all(header::ORIGIN).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let sent = String::from_utf8_lossy(value.as_bytes()).into_owned();
    let any = rules.contains(&OriginRule::Any);
    // Pages without an origin of their own: files, sandboxed frames.
    let nobody = sent == "null" && any;
    let origin = sent.parse::<Origin>().ok();
    let allowed = |origin: &Origin| {
        rules.iter().any(|rule| match rule {
            OriginRule::Same => own == Some(origin),
            OriginRule::Exactly(listed) => listed == origin,
            OriginRule::Any => true,
        })
    };
    match origin {
        _ if values.next().is_some() => Err(Foreign(sent)),
        None if nobody => Ok(Some(sent)),
        Some(origin) if allowed(&origin) => Ok(Some(origin.to_string())),
        Some(_) | None => Err(Foreign(sent)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(rules: &[&str], origins: &[&str], own: &str) -> Result<Option<String>, Foreign> {
        let rules: Vec<_> = rules.iter().map(|rule| rule.parse().expect(rule)).collect();
        let mut headers = HeaderMap::new();
        for origin in origins {
            headers.append(header::ORIGIN, origin.parse().expect(origin));
        }
        check(&rules, &headers, own.parse().ok().as_ref())
    }

    #[test]
    fn only_what_a_rule_names_may_enter() {
        let own = "http://a.example:8080";
        for (rules, origin, allowed) in [
            (&["same"][..], "http://a.example:8080", true),
            (&["same"], "http://A.example:8080", true),
            (&["same"], "https://a.example:8080", false),
            (&["same"], "http://a.example", false),
            (&["same"], "http://b.example:8080", false),
            (&["same"], "http://a.example:8080.evil.example", false),
            (&["same"], "null", false),
            (&["https://b.example"], "https://b.example", true),
            (&["https://b.example"], "http://b.example", false),
            (&["https://b.example"], "https://sub.b.example", false),
            (&["https://b.example"], "http://a.example:8080", false),
            (
                &["same", "https://b.example"],
                "http://a.example:8080",
                true,
            ),
            (&["*"], "https://anybody.example", true),
            (&["*"], "null", true),
            (&["*"], "not an origin", false),
            (&[], "http://a.example:8080", false),
        ] {
            let found = checked(rules, &[origin], own);
            assert_eq!(found.is_ok(), allowed, "{rules:?} {origin}: {found:?}");
        }
    }

    #[test]
    fn who_sends_none_is_not_asked_and_who_sends_two_is_refused() {
        assert_eq!(checked(&[], &[], "http://a"), Ok(None));
        let twice = checked(&["*"], &["http://a", "http://a"], "http://a");
        assert_eq!(twice, Err(Foreign("http://a".to_owned())));
    }

    #[test]
    fn without_a_host_nothing_is_the_same() {
        assert!(checked(&["same"], &["http://a"], "").is_err());
    }
}
