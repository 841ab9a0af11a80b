//! Tokens that are written in the configuration, each with the name of who has it.
//!
//! An [`Authoriser`] for operators without one of their own. Reading the file is `cli`'s business.
//! Invariants: a token is compared with every one that is known, in a time that does not depend on how
//! much of it is right; no error, log line or `Debug` contains one.

use std::fmt;

use subtle::ConstantTimeEq;

use super::authorise::{AuthoriseFuture, Authoriser, Upgrade, Verdict};
use crate::error::ConfigError;

/// Shortest token, in bytes: what cannot be guessed through a network. 16 random characters of base64
/// are 96 bits.
const TOKEN_BYTES_MIN: usize = 16;

/// Longest token and longest name, in bytes: browsers and proxies take headers of a few KiB in all.
const BYTES_MAX: usize = 1024;

/// Lets in whoever has one of the known tokens.
pub struct StaticTokens {
    known: Vec<Known>,
}

struct Known {
    identity: String,
    token: Vec<u8>,
}

impl fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identities = self.known.iter().map(|known| &known.identity);
        f.debug_list().entries(identities).finish()
    }
}

impl StaticTokens {
    /// From lines of `IDENTITY TOKEN`. Empty lines and lines that begin with `#` are skipped. Several
    /// tokens may have one identity, so that one can be replaced while the other still works.
    ///
    /// # Errors
    /// [`ConfigError`] with all lines that are wrong, by their number, and never with their text; also
    /// when there is no token at all.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut faults = Vec::new();
        let mut known: Vec<Known> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match read(line, &known) {
                Ok(entry) => known.push(entry),
                Err(why) => faults.push(format!("tokens, line {}: {why}", at + 1)),
            }
        }
        if known.is_empty() && faults.is_empty() {
            faults.push("tokens: there is none, so nobody could open a tunnel".to_owned());
        }
        if faults.is_empty() {
            Ok(Self { known })
        } else {
            Err(ConfigError(faults))
        }
    }

    /// Whose token this is.
    fn find(&self, token: &[u8]) -> Option<&str> {
        // Goes through all of them: where the search ended would tell.
        self.known.iter().fold(None, |found, known| {
            let same = bool::from(known.token.ct_eq(token));
            if same { Some(&*known.identity) } else { found }
        })
    }
}

/// Reads one line.
fn read(line: &str, known: &[Known]) -> Result<Known, String> {
    let (identity, token) = line
        .split_once(char::is_whitespace)
        .ok_or("write the name of who has the token, a space, and the token")?;
    let token = token.trim();
    let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !visible(identity) || !visible(token) {
        return Err("name and token must be visible ASCII without spaces".to_owned());
    }
    if token.len() < TOKEN_BYTES_MIN {
        return Err(format!(
            "a token must have {TOKEN_BYTES_MIN} characters or more"
        ));
    }
    if token.len().max(identity.len()) > BYTES_MAX {
        return Err(format!(
            "name and token must have {BYTES_MAX} characters at most"
        ));
    }
    if known.iter().any(|known| known.token == token.as_bytes()) {
        return Err("the same token as on an earlier line".to_owned());
    }
    Ok(Known {
        identity: identity.to_owned(),
        token: token.into(),
    })
}

impl Authoriser for StaticTokens {
    fn authorise<'a>(&'a self, upgrade: &'a Upgrade<'a>) -> AuthoriseFuture<'a> {
        let verdict = match upgrade.token.map(|token| self.find(token)) {
            Some(Some(identity)) => Verdict::Allow {
                identity: Some(identity.to_owned()),
            },
            Some(None) => Verdict::Deny {
                reason: "the token is not valid".to_owned(),
            },
            None => Verdict::Deny {
                reason: "a token is needed".to_owned(),
            },
        };
        Box::pin(std::future::ready(Ok(verdict)))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    const TEXT: &str = "# who may\nalice 0123456789abcdef\n\n  bob\tfedcba9876543210  \n\
                        alice ABCDEFGHIJKLMNOPQRST\n";

    fn verdict(tokens: &StaticTokens, token: Option<&[u8]>) -> Verdict {
        let headers = HeaderMap::new();
        let mut upgrade = Upgrade::new("/tunnel", &headers);
        upgrade.token = token;
        let answer = tokens.authorise(&upgrade);
        let answer = futures_util::FutureExt::now_or_never(answer);
        answer.expect("at once").expect("decided")
    }

    #[test]
    fn who_has_a_token_is_known_by_name() {
        let tokens = StaticTokens::parse(TEXT).expect("sound");
        for (token, name) in [
            (&b"0123456789abcdef"[..], Some("alice")),
            (b"fedcba9876543210", Some("bob")),
            (b"ABCDEFGHIJKLMNOPQRST", Some("alice")),
            (b"0123456789abcdeF", None),
            (b"0123456789abcde", None),
            (b"0123456789abcdef0", None),
            (b"", None),
        ] {
            let identity = match verdict(&tokens, Some(token)) {
                Verdict::Allow { identity } => identity,
                Verdict::Deny { reason } => {
                    assert_eq!(reason, "the token is not valid");
                    None
                }
            };
            assert_eq!(identity.as_deref(), name, "{token:?}");
        }
        let reason = "a token is needed".to_owned();
        assert_eq!(verdict(&tokens, None), Verdict::Deny { reason });
    }

    #[test]
    fn all_faults_are_said_and_no_token_is() {
        let text = "alice\nbob short\ncarol 0123456789abcdef\ndave 0123456789abcdef\n\
                    eve secret\u{fc}secretsecret\n";
        let ConfigError(faults) = StaticTokens::parse(text).expect_err("four faults");
        let lines: Vec<_> = faults.iter().map(|fault| fault.split(':').next()).collect();
        let expected = [1, 2, 4, 5].map(|line| format!("tokens, line {line}"));
        assert_eq!(lines, expected.each_ref().map(|line| Some(&**line)));
        let said = faults.concat();
        assert!(!said.contains("0123") && !said.contains("secret"), "{said}");
        StaticTokens::parse("# nobody\n").expect_err("no token");
    }

    #[test]
    fn what_is_printed_holds_no_token() {
        let tokens = StaticTokens::parse(TEXT).expect("sound");
        assert_eq!(format!("{tokens:?}"), r#"["alice", "bob", "alice"]"#);
    }
}
