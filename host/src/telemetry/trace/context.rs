//! W3C Trace Context: `traceparent` and `tracestate`, read from a caller and written for whoever is called next.
//!
//! Used by `telemetry::trace` for the parent of a span, and by `grpc::exchange` for what a plugin passes on. Pure.
//! What does not follow the rules is as if it were not there; a `tracestate` never makes a `traceparent` wrong.
//!
//! Source: W3C Trace Context, level 1, sections 3.2 and 3.3, named rule by rule.

use http::{HeaderMap, HeaderName};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Longest `tracestate` that is passed on, in bytes. "Vendors SHOULD propagate at least 512 characters of a combined
/// header"; a longer one is left out as a whole, which is allowed, and no half of it can mislead anybody.
const STATE_BYTES_MAX: usize = 512;

/// "There can be a maximum of 32 list-members in a list."
const STATE_MEMBERS_MAX: usize = 32;

/// Where a call stands in a trace, as the headers of W3C Trace Context say it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceContext {
    /// `00-`, the trace's id, the span's, and `01` if it is sampled, else `00`.
    pub traceparent: String,
    /// What tracing systems pass on beside it; often empty.
    pub tracestate: String,
}

/// Whether a span is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sampled {
    Yes,
    No,
}

/// What a `traceparent` says. Neither id is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ids {
    pub trace_id: u128,
    pub span_id: u64,
    pub sampled: Sampled,
}

impl Ids {
    fn text(self) -> String {
        let flags = u8::from(self.sampled == Sampled::Yes);
        format!(
            "00-{:032x}-{:016x}-{flags:02x}",
            self.trace_id, self.span_id
        )
    }

    /// As the headers say it.
    pub(super) fn context(self, state: String) -> TraceContext {
        TraceContext {
            traceparent: self.text(),
            tracestate: state,
        }
    }
}

/// Whose span the caller's is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub ids: Ids,
    pub state: String,
}

/// The caller's context, if it sent a sound one.
pub(super) fn parent(headers: &HeaderMap) -> Option<Parent> {
    let mut sent = headers.get_all(&TRACEPARENT).iter();
    let (Some(only), None) = (sent.next(), sent.next()) else {
        return None;
    };
    let ids = ids(only.as_bytes())?;
    let state = state(headers).unwrap_or_default();
    Some(Parent { ids, state })
}

/// What is passed on where the host has no span of its own: the caller's context.
pub(crate) fn passed_on(headers: &HeaderMap) -> Option<TraceContext> {
    let Parent { ids, state } = parent(headers)?;
    Some(ids.context(state))
}

/// "traceparent: version "-" trace-id "-" parent-id "-" trace-flags", all in lower-case hexadecimal digits.
fn ids(value: &[u8]) -> Option<Ids> {
    let (known, rest) = value.split_at_checked(55)?;
    let version = hex(&known[..2])?;
    let dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
    // "Version ff is invalid"; "if a higher version is detected ... the trace-flags [must be] at the end of the
    // string or followed by a dash".
    let ended = rest.is_empty() || version > 0 && rest[0] == b'-';
    if version == 0xff || !dashes || !ended {
        return None;
    }
    let (trace_id, span_id) = (hex(&known[3..35])?, hex(&known[36..52])?);
    let flags = hex(&known[53..])?;
    // "All bytes as zero ... is considered an invalid value", of both.
    (trace_id != 0 && span_id != 0).then_some(Ids {
        trace_id,
        span_id: u64::try_from(span_id).ok()?,
        sampled: if flags & 1 == 1 {
            Sampled::Yes
        } else {
            Sampled::No
        },
    })
}

fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

/// The members of all `tracestate` headers, in their order; none if one of them breaks the rules.
fn state(headers: &HeaderMap) -> Option<String> {
    let mut members = Vec::new();
    for value in headers.get_all(&TRACESTATE) {
        let text = value.to_str().ok()?;
        // "Empty list members are allowed".
        members.extend(
            text.split(',')
                .map(str::trim)
                .filter(|member| !member.is_empty()),
        );
    }
    let len = members.iter().map(|member| member.len() + 1).sum::<usize>();
    let fits = members.len() <= STATE_MEMBERS_MAX && len <= STATE_BYTES_MAX + 1;
    (fits && members.iter().all(|member| is_member(member))).then(|| members.join(","))
}

/// "key = lcalpha 0*255( lcalpha / DIGIT / "_" / "-"/ "*" / "/" )", or two of these with an `@` between and a digit
/// at the beginning of the first; "value = 0*255(chr) nblk-chr", without `,` and `=`.
fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else {
        return false;
    };
    let of_key = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let of_value = |c: u8| matches!(c, b' '..=b'~') && c != b',' && c != b'=';
    let begins = key
        .bytes()
        .next()
        .is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    begins
        && key.len() <= 256
        && key.bytes().all(of_key)
        && key.matches('@').count() <= 1
        && (1..=256).contains(&value.len())
        && value.bytes().all(of_value)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |&(name, value): &(&'static str, &str)| {
            let value = HeaderValue::from_str(value).expect("ASCII");
            (HeaderName::from_static(name), value)
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_sound_context_is_passed_on_as_it_came() {
        for (flags, passed) in [("01", "01"), ("00", "00"), ("03", "01"), ("ff", "01")] {
            let sent = format!("00-{TRACE}-{SPAN}-{flags}");
            let found = passed_on(&headers(&[
                ("traceparent", &sent),
                ("tracestate", "a=1, b@c=2"),
            ]));
            let found = found.expect("sound");
            assert_eq!(found.traceparent, format!("00-{TRACE}-{SPAN}-{passed}"));
            assert_eq!(found.tracestate, "a=1,b@c=2");
        }
        let later = format!("cc-{TRACE}-{SPAN}-01-what-the-future-brings");
        assert!(passed_on(&headers(&[("traceparent", &later)])).is_some());
    }

    #[test]
    fn what_breaks_the_rules_is_as_if_it_were_not_there() {
        let (trace, span) = (TRACE, SPAN);
        let zeros = "0".repeat(32);
        for wrong in [
            String::new(),
            format!("00-{trace}-{span}"),
            format!("00-{trace}-{span}-0"),
            format!("00-{trace}-{span}-01-"),
            format!("00-{trace}-{span}-01-more"),
            format!("ff-{trace}-{span}-01"),
            format!("0x-{trace}-{span}-01"),
            format!("cc-{trace}-{span}-01.more"),
            format!("00-{zeros}-{span}-01"),
            format!("00-{trace}-{}-01", &zeros[..16]),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00_{trace}-{span}-01"),
        ] {
            let found = passed_on(&headers(&[("traceparent", &wrong)]));
            assert_eq!(found, None, "{wrong:?}");
        }
        let sound = format!("00-{trace}-{span}-01");
        let twice = headers(&[("traceparent", &sound), ("traceparent", &sound)]);
        assert_eq!(passed_on(&twice), None);
    }

    #[test]
    fn a_wrong_state_is_left_out_and_the_rest_stays() {
        let sound = format!("00-{TRACE}-{SPAN}-01");
        let state = |value: &str| {
            let sent = headers(&[("traceparent", &sound), ("tracestate", value)]);
            passed_on(&sent).expect("the parent is sound").tracestate
        };
        assert_eq!(state("a=1,,  ,b=2"), "a=1,b=2");
        for wrong in ["a", "A=1", "=1", "a=", "a=1=2", "a=1,b", "a@b@c=1", "_a=1"] {
            assert_eq!(state(wrong), "", "{wrong:?}");
        }
        let members = |count: usize| vec!["a=1"; count].join(",");
        assert_eq!(state(&members(32)), members(32));
        assert_eq!(state(&members(33)), "");
        let long = format!("a={}", "x".repeat(256));
        assert_eq!(state(&long), long);
        assert_eq!(state(&format!("{long},b={}", "x".repeat(256))), "");
    }
}
