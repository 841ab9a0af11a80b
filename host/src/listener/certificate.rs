//! What a certificate says: who its owner is, and until when it holds.
//!
//! Asked by `listener::tls` of a client's certificate that rustls has verified, and of the host's own.
//! Reads DER (X.690) as far as X.509 (RFC 5280) needs it, and looks at every length: a certificate that
//! is not sound says nothing, whatever it is. Invariants: what is kept of one is bounded by
//! [`NAMES_MAX`] and [`NAMES_BYTES_MAX`]; a name holds printable ASCII only, so none can pretend to be
//! another where it is cut at a zero byte or shown on a terminal.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::peer::Client;

/// Alternative names that are kept. Count: SPIFFE allows one, a server's certificate has a handful. The
/// others are left out: a plugin that looks for one of them does not find it, and refuses.
const NAMES_MAX: usize = 64;

/// Bytes of a subject and its names that are kept, for the same reason; at 10 000 connections 80 MiB.
const NAMES_BYTES_MAX: usize = 8 * 1024;

/// Tags. Source: X.690, section 8, and RFC 5280, sections 4.1 and 4.2.1.6.
const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;

/// id-ce-subjectAltName, 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// Attribute types with a short name. Source: RFC 4514, section 3.
const SHORT_NAMES: [(&[u8], &str); 9] = [
    (&[0x55, 0x04, 0x03], "CN"),
    (&[0x55, 0x04, 0x07], "L"),
    (&[0x55, 0x04, 0x08], "ST"),
    (&[0x55, 0x04, 0x0a], "O"),
    (&[0x55, 0x04, 0x0b], "OU"),
    (&[0x55, 0x04, 0x06], "C"),
    (&[0x55, 0x04, 0x09], "STREET"),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19],
        "DC",
    ),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01],
        "UID",
    ),
];

/// Whose certificate this is; none if it is not sound.
pub(super) fn client(der: &[u8]) -> Option<Client> {
    let parts = Parts::of(der)?;
    let mut client = Client::default();
    let mut left = NAMES_BYTES_MAX;
    let subject = distinguished_name(parts.subject)?;
    if !subject.is_empty() && subject.len() <= left {
        left -= subject.len();
        client.subject = Some(subject);
    }
    let mut count = 0;
    let mut names = Der(alternative_names(parts.extensions)?);
    while !names.is_empty() {
        let (tag, value) = names.next()?;
        let (kind, name) = match tag {
            EMAIL => (&mut client.email, printable(value)),
            DNS => (&mut client.dns, printable(value)),
            URI => (&mut client.uri, printable(value)),
            IP => (&mut client.ip, address(value)),
            // Kinds that nobody asks for, such as directory names.
            _ => continue,
        };
        let Some(name) = name else {
            continue;
        };
        if count == NAMES_MAX || name.len() > left {
            tracing::debug!("a certificate has more names than are kept");
            break;
        }
        count += 1;
        left -= name.len();
        kind.push(name);
    }
    Some(client)
}

/// When a certificate holds, in seconds since 1970 and in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub from: i64,
    pub until: i64,
    pub until_text: String,
}

/// When a certificate holds; none if it is not sound.
pub(super) fn validity(der: &[u8]) -> Option<Validity> {
    let mut times = Der(Parts::of(der)?.validity);
    let (from, _) = time(times.next()?)?;
    let (until, until_text) = time(times.next()?)?;
    Some(Validity {
        from,
        until,
        until_text,
    })
}

/// The parts of a certificate that are looked at.
struct Parts<'a> {
    validity: &'a [u8],
    subject: &'a [u8],
    /// Empty if there are none.
    extensions: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Source: RFC 5280, section 4.1.
    fn of(der: &'a [u8]) -> Option<Self> {
        let mut certificate = Der(Der(der).only(SEQUENCE)?);
        let mut fields = Der(certificate.expect(SEQUENCE)?);
        fields.skip(VERSION)?;
        fields.expect(INTEGER)?;
        // Signature algorithm and issuer.
        fields.expect(SEQUENCE)?;
        fields.expect(SEQUENCE)?;
        let validity = fields.expect(SEQUENCE)?;
        let subject = fields.expect(SEQUENCE)?;
        let mut extensions = &[][..];
        while !fields.is_empty() {
            let (tag, value) = fields.next()?;
            if tag == EXTENSIONS {
                extensions = Der(value).only(SEQUENCE)?;
            }
        }
        Some(Self {
            validity,
            subject,
            extensions,
        })
    }
}

/// The names in the extension that has them; none of them if it is not there.
fn alternative_names(extensions: &[u8]) -> Option<&[u8]> {
    let mut extensions = Der(extensions);
    while !extensions.is_empty() {
        let mut extension = Der(extensions.expect(SEQUENCE)?);
        let id = extension.expect(OID)?;
        extension.skip(BOOLEAN)?;
        let value = extension.expect(OCTET_STRING)?;
        if id == SUBJECT_ALT_NAME {
            return Der(value).only(SEQUENCE);
        }
    }
    Some(&[])
}

/// DER that is read from its beginning.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next value with its tag.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk()?;
        // Tags of more than one byte do not occur in certificates.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let mut len = usize::from(first);
        if first >= 0x80 {
            let count = usize::from(first & 0x7f);
            // No certificate has a length of more than four bytes, and DER no indefinite one.
            if !(1..=4).contains(&count) {
                return None;
            }
            let (bytes, after) = rest.split_at_checked(count)?;
            len = bytes
                .iter()
                .fold(0, |len, byte| len << 8 | usize::from(*byte));
            rest = after;
        }
        let (value, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, value))
    }

    /// The next value, which must have this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, value) = self.next()?;
        (found == tag).then_some(value)
    }

    /// Leaves out the next value if it has this tag.
    fn skip(&mut self, tag: u8) -> Option<()> {
        if self.0.first() == Some(&tag) {
            self.next()?;
        }
        Some(())
    }

    /// The value that is all there is.
    fn only(mut self, tag: u8) -> Option<&'a [u8]> {
        let value = self.expect(tag)?;
        self.is_empty().then_some(value)
    }
}

fn printable(value: &[u8]) -> Option<String> {
    let sound = !value.is_empty() && value.iter().all(u8::is_ascii_graphic);
    sound.then(|| String::from_utf8_lossy(value).into_owned())
}

fn address(value: &[u8]) -> Option<String> {
    let v4 = value
        .try_into()
        .map(|bytes: [u8; 4]| Ipv4Addr::from(bytes).to_string());
    let v6 = || {
        value
            .try_into()
            .map(|bytes: [u8; 16]| Ipv6Addr::from(bytes).to_string())
    };
    v4.or_else(|_| v6()).ok()
}

/// A subject as text. Source: RFC 4514, section 2.
fn distinguished_name(name: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    let mut name = Der(name);
    while !name.is_empty() {
        let mut attributes = Der(name.expect(SET)?);
        let mut part = String::new();
        while !attributes.is_empty() {
            let mut attribute = Der(attributes.expect(SEQUENCE)?);
            let id = attribute.expect(OID)?;
            let whole = attribute.0;
            let (tag, value) = attribute.next()?;
            if !part.is_empty() {
                part.push('+');
            }
            attribute_into(&mut part, id, tag, value, whole)?;
        }
        parts.push(part);
    }
    // The most special comes first in text, and last in the certificate.
    parts.reverse();
    Some(parts.join(","))
}

fn attribute_into(out: &mut String, id: &[u8], tag: u8, value: &[u8], whole: &[u8]) -> Option<()> {
    let short = SHORT_NAMES.iter().find(|(known, _)| *known == id);
    let text = std::str::from_utf8(value).ok();
    let is_text = [UTF8_STRING, PRINTABLE_STRING, IA5_STRING].contains(&tag);
    match (short, text.filter(|_| is_text)) {
        (Some((_, short)), Some(text)) => {
            out.push_str(short);
            out.push('=');
            escaped_into(out, text);
        }
        (short, _) => {
            match short {
                Some((_, short)) => out.push_str(short),
                None => dotted_into(out, id)?,
            }
            out.push_str("=#");
            for byte in whole {
                write!(out, "{byte:02x}").ok()?;
            }
        }
    }
    Some(())
}

/// Source: RFC 4514, section 2.4. What is not printable ASCII is written as hexadecimal digits.
fn escaped_into(out: &mut String, text: &str) {
    let last = text.len().saturating_sub(1);
    for (at, byte) in text.bytes().enumerate() {
        let at_an_edge = byte == b' ' && (at == 0 || at == last) || byte == b'#' && at == 0;
        if b"\"+,;<>\\".contains(&byte) || at_an_edge {
            out.push('\\');
            out.push(char::from(byte));
        } else if byte.is_ascii_graphic() || byte == b' ' {
            out.push(char::from(byte));
        } else {
            // Writing into a string does not fail.
            let _written = write!(out, "\\{byte:02X}");
        }
    }
}

/// An object identifier as numbers. Source: X.690, section 8.19.
fn dotted_into(out: &mut String, id: &[u8]) -> Option<()> {
    let mut number: u64 = 0;
    let mut first = true;
    let (last, _) = id.split_last()?;
    if last & 0x80 != 0 {
        return None;
    }
    for byte in id {
        number = number.checked_mul(128)? + u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if first {
            let root = (number / 40).min(2);
            write!(out, "{root}.{}", number - 40 * root).ok()?;
            first = false;
        } else {
            write!(out, ".{number}").ok()?;
        }
        number = 0;
    }
    Some(())
}

/// A time in seconds since 1970, and as text. Source: RFC 5280, section 4.1.2.5: both kinds end in
/// seconds and `Z`, and a year of two digits is one from 1950 to 2049.
fn time((tag, value): (u8, &[u8])) -> Option<(i64, String)> {
    let digits = value.strip_suffix(b"Z")?;
    let digits: Vec<i64> = digits
        .iter()
        .map(|digit| digit.is_ascii_digit().then(|| i64::from(digit - b'0')))
        .collect::<Option<_>>()?;
    let number = |digits: &[i64]| digits.iter().fold(0, |number, digit| number * 10 + digit);
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year = number(&digits[..2]);
            (
                if year < 50 { 2000 + year } else { 1900 + year },
                &digits[2..],
            )
        }
        (GENERALIZED_TIME, 14) => (number(&digits[..4]), &digits[4..]),
        _ => return None,
    };
    let [month, day, hour, minute, second] = std::array::from_fn(|at| number(&rest[2 * at..][..2]));
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let text = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC");
    Some((seconds, text))
}

/// Days from 1970-01-01 in the Gregorian calendar, by counting years that begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let since_march = (month + 9) % 12;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let day_of_year = (153 * since_march + 2) / 5 + day - 1;
    // 719 468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + leap_days + day_of_year - 719_468
}

#[cfg(test)]
mod tests;
