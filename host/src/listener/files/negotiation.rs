//! What a request says about the forms of a file it takes, and those it has already.
//!
//! Used by `listener::files`. Pure. Source: RFC 9110, sections 12.5.3 (`Accept-Encoding`) and 13.1.2
//! (`If-None-Match`).

use http::{HeaderMap, HeaderValue, header};

/// Whether gzip may be sent.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let weight_of = |wanted: &[&str]| {
        list(headers, &header::ACCEPT_ENCODING)
            .map(|item| item.split_once(';').unwrap_or((item, "")))
            .find(|(coding, _)| {
                let coding = coding.trim();
                wanted.iter().any(|name| name.eq_ignore_ascii_case(coding))
            })
            .map(|(_, parameters)| !is_zero(parameters))
    };
    // What is said of gzip by name goes before what is said of all.
    weight_of(&["gzip", "x-gzip"])
        .or_else(|| weight_of(&["*"]))
        .unwrap_or(false)
}

/// Whether the parameters of a coding are the weight that means "not acceptable".
fn is_zero(parameters: &str) -> bool {
    let Some((name, weight)) = parameters.split_once('=') else {
        return false;
    };
    let zero = |byte: u8| b"0.".contains(&byte);
    name.trim().eq_ignore_ascii_case("q") && weight.trim().bytes().all(zero)
}

/// Whether the request says that this form of the file is there already. Weak comparison, as GET has it.
pub(super) fn has(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    list(headers, &header::IF_NONE_MATCH).any(|item| {
        let opaque = item.strip_prefix("W/").unwrap_or(item);
        item == "*" || opaque.as_bytes() == etag.as_bytes()
    })
}

/// The items of a list header, whatever number of lines it comes in. Our ETags have no commas, so an
/// ETag of somebody else's that is cut in two matches none of them.
fn list<'a>(
    headers: &'a HeaderMap,
    name: &'a header::HeaderName,
) -> impl Iterator<Item = &'a str> + 'a {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, values: &[&str]) -> HeaderMap {
        let pair = |value: &&str| (name.clone(), value.parse().expect(value));
        values.iter().map(pair).collect()
    }

    #[test]
    fn gzip_is_sent_to_who_takes_it() {
        for (values, accepted) in [
            (&[][..], false),
            (&[""], false),
            (&["gzip"], true),
            (&["GZip"], true),
            (&["x-gzip"], true),
            (&["gzip, deflate, br"], true),
            (&["br,gzip;q=0.5"], true),
            (&["br", "gzip"], true),
            (&["gzip;q=0"], false),
            (&["gzip; Q=0.000"], false),
            (&["gzip;q=0.001"], true),
            (&["identity"], false),
            (&["gzippy"], false),
            (&["*"], true),
            (&["*;q=0"], false),
            (&["*;q=0, gzip"], true),
            (&["*, gzip;q=0"], false),
        ] {
            let headers = headers(header::ACCEPT_ENCODING, values);
            assert_eq!(accepts_gzip(&headers), accepted, "{values:?}");
        }
    }

    #[test]
    fn what_is_there_already_is_known_by_its_tag() {
        let etag = HeaderValue::from_static("\"abc\"");
        for (values, there) in [
            (&[][..], false),
            (&["\"abc\""], true),
            (&["W/\"abc\""], true),
            (&["*"], true),
            (&["\"x\", \"abc\""], true),
            (&["\"x\"", "\"abc\""], true),
            (&["abc"], false),
            (&["\"abcd\""], false),
            (&["w/\"abc\""], false),
        ] {
            let headers = headers(header::IF_NONE_MATCH, values);
            assert_eq!(has(&headers, &etag), there, "{values:?}");
        }
    }
}
