//! Header fields that are lists of words: `Connection`, `Upgrade`, `Sec-WebSocket-Protocol`.
//!
//! Used by both checks. A list may be spread over several fields of one name and may have empty
//! elements: RFC 9110 5.6.1. Knows no particular header.

use http::header::{HeaderMap, HeaderName};

/// Whether `word` is in the list, in any case.
pub(super) fn contains(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    words(headers, name).any(|found| found.is_some_and(|found| found.eq_ignore_ascii_case(word)))
}

/// The words of the list; `None` for one that is not ASCII.
pub(super) fn words<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = Option<&'a str>> {
    let fields = headers.get_all(name).into_iter();
    fields.flat_map(|field| {
        let text = field.to_str().ok();
        let words = text.unwrap_or_default().split(',').map(str::trim);
        let unreadable = text.is_none().then_some(None);
        words
            .filter(|word| !word.is_empty())
            .map(Some)
            .chain(unreadable)
    })
}

/// Whether these characters may stand in a list unquoted. Source: RFC 9110 5.6.2.
pub(super) fn is_token(word: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !word.is_empty() && word.bytes().all(allowed)
}
