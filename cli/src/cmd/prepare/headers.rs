//! The headers that a collector of traces is to get, from the file that the settings name and from the environment.
//!
//! Called by `cmd::observe`. They are keys, most often: no error holds what is behind a name.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result};

use crate::settings::{Fault, Faults, Names};

/// Where programs that send traces find headers. Source: OpenTelemetry specification, "OTLP exporter".
pub(in crate::cmd) const VARIABLE: &str = "OTEL_EXPORTER_OTLP_HEADERS";

/// Names and values.
type Headers = Vec<(String, String)>;

/// Those of the file, and those of the variable that are not in it.
///
/// # Errors
/// When the file cannot be read, and for each line that is no header.
pub(in crate::cmd) fn read(
    path: Option<&Path>,
    variable: Option<OsString>,
    names: &Names,
) -> Result<Headers> {
    let mut headers = Headers::new();
    let mut faults = Vec::new();
    if let Some(path) = path {
        let name = format!("{} {}", names.of("telemetry.otlp_headers"), path.display());
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {name}"))?;
        // The cause would hold a part of the file.
        let text = String::from_utf8(bytes);
        let text = text.map_err(|_| Faults::one(format!("{name} is not text")))?;
        let wrong = of_lines(&text, &mut headers);
        let said = |line| format!("{name}: line {line} is no header: write `NAME: VALUE`");
        faults.extend(wrong.into_iter().map(said));
    }
    if let Some(variable) = variable {
        match variable.to_str().and_then(of_pairs) {
            Some(pairs) => {
                let own = headers.len();
                for (name, value) in pairs {
                    let known = |(known, _): &(String, String)| known.eq_ignore_ascii_case(&name);
                    if !headers[..own].iter().any(known) {
                        headers.push((name, value));
                    }
                }
            }
            None => faults.push(format!(
                "{VARIABLE} holds no headers: write NAME=VALUE,NAME=VALUE with %2C for a comma in a value"
            )),
        }
    }
    if faults.is_empty() {
        Ok(headers)
    } else {
        let faults = faults.into_iter().map(|text| Fault::other(None, text));
        Err(Faults::new(faults.collect()).into())
    }
}

/// Adds a header for each line; the numbers of those that are none.
fn of_lines(text: &str, headers: &mut Headers) -> Vec<usize> {
    let mut wrong = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once(':') {
            Some((name, value)) => headers.push((name.trim().to_owned(), value.trim().to_owned())),
            None => wrong.push(at + 1),
        }
    }
    wrong
}

/// `NAME=VALUE` with commas between, values in percent-encoding; none if something in it is not.
fn of_pairs(text: &str) -> Option<Headers> {
    let pairs = text.split(',').map(str::trim);
    let pairs = pairs.filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=')?;
        Some((name.trim().to_owned(), decoded(value.trim())?))
    });
    pairs.collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            let digits = std::str::from_utf8(digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn lines_are_headers_and_the_others_are_named_by_their_number() {
        let mut headers = Headers::new();
        let text = "# keys\n\nAuthorization: Bearer a:b\r\n secret\nx-tenant:1\n";
        assert_eq!(of_lines(text, &mut headers), [4]);
        let expected = [pair("Authorization", "Bearer a:b"), pair("x-tenant", "1")];
        assert_eq!(headers, expected);
    }

    #[test]
    fn the_variable_is_read_as_other_programs_read_it() {
        let read = of_pairs("authorization=Basic%20YTpi=, tenant = a%2Cb ,").expect("sound");
        assert_eq!(
            read,
            [pair("authorization", "Basic YTpi="), pair("tenant", "a,b")]
        );
        for wrong in ["alone", "a=%", "a=%zz", "a=%ff"] {
            assert_eq!(of_pairs(wrong), None, "{wrong}");
        }
    }
}
