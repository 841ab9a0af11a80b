//! Close codes and reasons: what may stand in a close frame, and what it means.
//!
//! Used by the codec for both directions and by whoever closes a tunnel. Invariant: a [`CloseCode`]
//! is one that RFC 6455 allows in a frame, or 1005 for a frame without a code, which is never
//! written. A leaf: knows no frames.

use std::fmt;

/// Longest reason that fits a control frame beside its code. Source: RFC 6455 5.5, 5.5.1.
pub(crate) const REASON_BYTES_MAX: usize = 123;

/// Why a WebSocket is closed, as a number. Source: RFC 6455 7.4 and the IANA registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// The purpose is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The endpoint goes away: a server shuts down, a page is left.
    pub const GOING_AWAY: Self = Self(1001);
    /// The other end broke the protocol.
    pub const PROTOCOL: Self = Self(1002);
    /// A kind of data that this end does not take: text, here.
    pub const UNSUPPORTED: Self = Self(1003);
    /// The close frame named no code, as a browser's `close()` does. Never sent.
    pub const NO_STATUS: Self = Self(1005);
    /// Bytes that are not what their type promises: a reason that is no UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// A rule of this end was broken for which there is no other code.
    pub const POLICY: Self = Self(1008);
    /// A message or frame is larger than this end takes.
    pub const TOO_BIG: Self = Self(1009);
    /// This end failed by itself.
    pub const INTERNAL: Self = Self(1011);
    /// The service restarts: reconnect, after a random delay.
    pub const RESTART: Self = Self(1012);
    /// The service is overloaded: reconnect later, or elsewhere.
    pub const TRY_AGAIN: Self = Self(1013);

    /// The code of this number, when a close frame may carry it. Source: RFC 6455 7.4.2.
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether a tunnel closed with this code ended as it should: a reader sees its end, no error.
    pub const fn is_clean(self) -> bool {
        matches!(
            self,
            Self::NORMAL | Self::GOING_AWAY | Self::NO_STATUS | Self::RESTART
        )
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a close frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The code.
    pub code: CloseCode,
    /// Text for people, empty when there is none. Beyond 123 bytes it is cut, between characters,
    /// when it is sent.
    pub reason: String,
}

impl Close {
    /// A close of this code and reason.
    pub fn new(code: CloseCode, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }

    /// The longest beginning of the reason that a frame holds.
    pub(crate) fn sendable_reason(&self) -> &str {
        let end = self.reason.floor_char_boundary(REASON_BYTES_MAX);
        &self.reason[..end]
    }
}

impl From<CloseCode> for Close {
    fn from(code: CloseCode) -> Self {
        Self::new(code, "")
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reason.is_empty() {
            self.code.fmt(f)
        } else {
            write!(f, "{} ({})", self.code, self.reason.escape_debug())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Close, CloseCode};

    #[test]
    fn only_codes_that_a_frame_may_carry_exist() {
        let valid = (0..=u16::MAX).filter(|code| CloseCode::new(*code).is_some());
        let expected = (1000..=1003).chain(1007..=1014).chain(3000..=4999);
        assert!(valid.eq(expected));
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let close = |reason: &str| Close::new(CloseCode::NORMAL, reason);
        assert_eq!(close(&"a".repeat(123)).sendable_reason().len(), 123);
        assert_eq!(close(&"a".repeat(124)).sendable_reason().len(), 123);
        // Two bytes each: the 62nd would end at 124.
        assert_eq!(close(&"é".repeat(100)).sendable_reason(), "é".repeat(61));
    }

    #[test]
    fn a_close_prints_its_reason_without_control_characters() {
        let code = CloseCode::RESTART;
        assert_eq!(Close::from(code).to_string(), "1012");
        assert_eq!(
            Close::new(code, "new\nversion").to_string(),
            "1012 (new\\nversion)"
        );
    }
}
