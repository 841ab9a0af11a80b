//! Counts the frames of a connection, and says when its peer sends too many that ask for nothing.
//!
//! Used by `grpc::outbox`, which shows it all bytes of HTTP/2 both ways; knows only the nine bytes that
//! begin each frame, and costs some nanoseconds for each. h2 has limits for empty DATA, for CONTINUATION
//! and for resets that it sends itself; here are those for all the rest, in one budget: a frame that asks
//! for nothing costs one, a frame of an answer earns some back, and time earns a few. What an honest
//! client sends is in proportion to its answers (window updates, pings that measure the line), or seldom.
//!
//! Pings have a policy of their own beside it, that of other gRPC servers: see [`PingConfig`].
//! Invariant: of what a peer is sent away for, nothing is counted that an answer of ours asked for.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::PingConfig;

/// Types of frames that are told apart. Source: RFC 9113, section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

/// ACK on PING, END_STREAM on DATA.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;

/// What a client's first frame follows. Source: RFC 9113, section 3.4.
const PREFACE_BYTES: usize = 24;

const HEAD_BYTES: usize = 9;

/// Frames that a peer may send for nothing in one go. Count; sixteen times the calls that it may have
/// open, so that one that cancels them all, and the next ones too, is not taken for an attacker. All of
/// them together, as the beginning and reset of a call each, cost less than a second of CPU.
const IDLE_FRAMES_MAX: u32 = 4096;

/// What a frame of an answer earns. Count; a client may open two windows for each, may ask how long the
/// line is, and may reset the stream that is answered.
const EARNED_BY_ANSWER: u32 = 4;

/// What a second earns. Count; for connections that last: at this rate a flood costs less than a thousandth
/// of a core.
const EARNED_BY_SECOND: u32 = 100;

/// Bytes of a request's trailers that count as a frame for nothing: gRPC has none there, and HTTP/2 holds them,
/// out of any window's reach, until their call is looked at. A peer's budget is 1 MiB of them.
const TRAILERS_BYTES: usize = 256;

/// Age from which a stream may be reset at no cost, twice that at the latest: its caller waited for an
/// answer, and who resets as many calls as may be open once a second is slow. Source: Envoy's
/// `premature_reset_min_stream_lifetime_seconds`.
const OLD_STREAM: Duration = Duration::from_secs(1);

/// Pings too early that are overlooked. Source: gRPC C-core and grpc-go, `maxPingStrikes`.
const PING_STRIKES_MAX: u8 = 2;

/// Least time between pings without calls where those are not allowed. Source: gRFC A8.
const PING_WITHOUT_CALLS_INTERVAL: Duration = Duration::from_secs(2 * 60 * 60);

/// What a peer did too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flood {
    /// Pings, faster than it may.
    Pings,
    /// Any frames that ask for nothing.
    IdleFrames,
}

impl Flood {
    /// What GOAWAY says of it. gRPC clients know the one of pings and ping less from then on (gRFC A8).
    pub(crate) fn debug_data(self) -> &'static str {
        match self {
            Self::Pings => "too_many_pings",
            Self::IdleFrames => "too_many_idle_frames",
        }
    }
}

/// What goes both ways on a connection.
#[derive(Debug)]
pub(crate) struct Watch {
    arriving: Frames,
    leaving: Frames,
    /// Frames that the peer may still send for nothing.
    left: u32,
    /// When time earned something last.
    earned: Instant,
    /// The peer's newest stream.
    last_stream: u32,
    /// Whether the headers that came last were those of an older one.
    in_trailers: bool,
    streams: Streams,
    pings: Pings,
    flood: Option<Flood>,
}

/// Which streams are old. Looked at only when one is reset, so it may take them for younger than they are.
#[derive(Debug)]
struct Streams {
    /// All up to this one are.
    old: u32,
    /// Up to this one they will be, [`OLD_STREAM`] after this time.
    next: (u32, Instant),
}

#[derive(Debug)]
struct Pings {
    policy: PingConfig,
    /// When the last one came.
    last: Option<Instant>,
    /// Whether anything of an answer has left since.
    answered: bool,
    strikes: u8,
    /// Whether there are calls.
    busy: bool,
}

impl Watch {
    /// For a connection of which nothing was read or written.
    pub(crate) fn new(policy: PingConfig) -> Self {
        let now = Instant::now();
        Self {
            arriving: Frames::after(PREFACE_BYTES),
            leaving: Frames::after(0),
            left: IDLE_FRAMES_MAX,
            earned: now,
            last_stream: 0,
            in_trailers: false,
            streams: Streams {
                old: 0,
                next: (0, now),
            },
            pings: Pings {
                policy,
                last: None,
                answered: false,
                strikes: 0,
                busy: false,
            },
            flood: None,
        }
    }

    /// What the peer did too much of, once it did.
    pub(crate) fn flood(&self) -> Option<Flood> {
        self.flood
    }

    /// Says whether there are calls.
    pub(crate) fn set_busy(&mut self, busy: bool) {
        self.pings.busy = busy;
    }

    /// Counts what has arrived.
    pub(crate) fn arrived(&mut self, mut bytes: &[u8]) {
        while let Some(head) = self.arriving.next(&mut bytes) {
            match (head.kind, head.flags) {
                (HEADERS, _) => {
                    self.in_trailers = head.stream <= self.last_stream;
                    if self.in_trailers {
                        self.spend_on_trailers(head.len);
                    } else {
                        self.last_stream = head.stream;
                    }
                    self.pings.busy = true;
                }
                (CONTINUATION, _) if self.in_trailers => self.spend_on_trailers(head.len),
                (DATA, flags) if head.len > 0 || flags & END_STREAM != 0 => {}
                (RST_STREAM, _) if self.streams.is_old(head.stream, self.last_stream) => {}
                (kind, flags) => {
                    if kind == PING && flags & ACK == 0 && self.pings.came() {
                        self.flood.get_or_insert(Flood::Pings);
                    }
                    self.spend(1);
                }
            }
        }
    }

    fn spend_on_trailers(&mut self, bytes: usize) {
        let frames = 1 + bytes / TRAILERS_BYTES;
        self.spend(u32::try_from(frames).unwrap_or(u32::MAX));
    }

    /// Counts what leaves.
    pub(crate) fn leaves(&mut self, mut bytes: &[u8]) {
        while let Some(head) = self.leaving.next(&mut bytes) {
            if matches!(head.kind, DATA | HEADERS) {
                self.left = (self.left + EARNED_BY_ANSWER).min(IDLE_FRAMES_MAX);
                self.pings.answered = true;
            }
        }
    }

    /// The frame that tells the peer to go, if one may be written here: not within another one.
    pub(crate) fn goodbye(&self, flood: Flood) -> Option<Vec<u8>> {
        let reason: u32 = h2::Reason::ENHANCE_YOUR_CALM.into();
        let why = flood.debug_data().as_bytes();
        let len = u32::try_from(8 + why.len()).ok()?;
        let mut frame = Vec::with_capacity(HEAD_BYTES + 8 + why.len());
        frame.extend_from_slice(&len.to_be_bytes()[1..]);
        frame.extend_from_slice(&[GOAWAY, 0, 0, 0, 0, 0]);
        frame.extend_from_slice(&self.last_stream.to_be_bytes());
        frame.extend_from_slice(&reason.to_be_bytes());
        frame.extend_from_slice(why);
        self.leaving.is_between().then_some(frame)
    }

    /// Takes frames off the budget. The clock is asked only when too little is left.
    fn spend(&mut self, frames: u32) {
        if self.left < frames {
            let now = Instant::now();
            let time = now.saturating_duration_since(self.earned).as_millis();
            let earned = time * u128::from(EARNED_BY_SECOND) / 1000;
            let earned = earned.min(u128::from(IDLE_FRAMES_MAX));
            let earned = u32::try_from(earned).unwrap_or(IDLE_FRAMES_MAX);
            if earned > 0 {
                self.left = (self.left + earned).min(IDLE_FRAMES_MAX);
                self.earned = now;
            }
            if self.left < frames {
                self.flood.get_or_insert(Flood::IdleFrames);
                return;
            }
        }
        self.left -= frames;
    }
}

impl Streams {
    /// Whether a stream that is reset now is old; `last` is the newest there is.
    fn is_old(&mut self, stream: u32, last: u32) -> bool {
        if stream > self.old {
            let now = Instant::now();
            let (next, since) = self.next;
            if now.saturating_duration_since(since) >= OLD_STREAM {
                self.old = next;
                self.next = (last, now);
            }
        }
        stream <= self.old
    }
}

impl Pings {
    /// Counts one that came; answers whether it was one too many.
    fn came(&mut self) -> bool {
        let now = Instant::now();
        let last = self.last.replace(now);
        if std::mem::take(&mut self.answered) {
            self.strikes = 0;
            return false;
        }
        let least = if self.busy || self.policy.without_calls {
            self.policy.interval_min
        } else {
            PING_WITHOUT_CALLS_INTERVAL
        };
        let early = last.is_some_and(|last| now.saturating_duration_since(last) < least);
        self.strikes = self.strikes.saturating_add(u8::from(early));
        self.strikes > PING_STRIKES_MAX
    }
}

/// Finds where frames begin in bytes that come in any portions.
#[derive(Debug)]
struct Frames {
    head: [u8; HEAD_BYTES],
    head_len: usize,
    /// Bytes that belong to a frame whose head was seen, or to the preface.
    skipped: usize,
}

/// What stands before a frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    len: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Frames {
    fn after(skipped: usize) -> Self {
        Self {
            head: [0; HEAD_BYTES],
            head_len: 0,
            skipped,
        }
    }

    /// Whether the bytes so far end with a frame.
    fn is_between(&self) -> bool {
        self.skipped == 0 && self.head_len == 0
    }

    /// The head of the next frame that begins in `bytes`, which is cut behind it; none at their end.
    fn next(&mut self, bytes: &mut &[u8]) -> Option<Head> {
        let skipped = self.skipped.min(bytes.len());
        self.skipped -= skipped;
        *bytes = &bytes[skipped..];
        let head = match bytes.split_first_chunk() {
            // Nearly always.
            Some((head, rest)) if self.head_len == 0 => {
                *bytes = rest;
                *head
            }
            Some(_) | None => self.gather(bytes)?,
        };
        let [a, b, c, kind, flags, s0, s1, s2, s3] = head;
        let len = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.skipped = len;
        Some(Head {
            len,
            kind,
            flags,
            // The first bit is reserved.
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        })
    }

    /// A head that comes in portions, once all of it is here.
    fn gather(&mut self, bytes: &mut &[u8]) -> Option<[u8; HEAD_BYTES]> {
        let taken = (HEAD_BYTES - self.head_len).min(bytes.len());
        let (part, rest) = bytes.split_at(taken);
        self.head[self.head_len..self.head_len + taken].copy_from_slice(part);
        self.head_len += taken;
        *bytes = rest;
        if self.head_len < HEAD_BYTES {
            return None;
        }
        self.head_len = 0;
        Some(self.head)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, len: usize) -> Vec<u8> {
        let size = u32::try_from(len).expect("short").to_be_bytes();
        let mut wire = size[1..].to_vec();
        wire.extend([kind, flags]);
        wire.extend(stream.to_be_bytes());
        wire.extend(std::iter::repeat_n(PING, len));
        wire
    }

    fn watch(policy: PingConfig) -> Watch {
        let mut watch = Watch::new(policy);
        watch.arrived(&[b'P'; PREFACE_BYTES]);
        watch
    }

    fn ping() -> Vec<u8> {
        frame(PING, 0, 0, 8)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn frames_for_nothing_are_allowed_in_one_go_and_some_each_second() {
        for (kind, flags) in [
            (2, 0),
            (3, 0),
            (4, 0),
            (4, 1),
            (6, 1),
            (7, 0),
            (8, 0),
            (9, 0),
            (66, 0),
        ] {
            let mut watch = watch(PingConfig::default());
            let one = frame(kind, flags, 1, 4);
            watch.arrived(&one.repeat(IDLE_FRAMES_MAX as usize));
            assert_eq!(watch.flood(), None, "{kind}");
            tokio::time::advance(SECOND).await;
            watch.arrived(&one.repeat(EARNED_BY_SECOND as usize));
            assert_eq!(watch.flood(), None, "{kind}");
            watch.arrived(&one);
            assert_eq!(watch.flood(), Some(Flood::IdleFrames), "{kind}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_and_their_bytes_cost_nothing() {
        let mut watch = watch(PingConfig::default());
        for call in 0..10 * IDLE_FRAMES_MAX {
            let stream = 2 * call + 1;
            let call = [
                frame(HEADERS, 4, stream, 30),
                frame(DATA, 0, stream, 1),
                frame(DATA, END_STREAM, stream, 0),
            ];
            watch.arrived(&call.concat());
        }
        assert_eq!((watch.flood(), watch.left), (None, IDLE_FRAMES_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_pay_for_windows_and_resets() {
        let mut watch = watch(PingConfig::default());
        let paid = [
            frame(8, 0, 0, 4),
            frame(8, 0, 1, 4),
            frame(RST_STREAM, 0, 1, 4),
            ping(),
        ];
        for _ in 0..10 * IDLE_FRAMES_MAX {
            watch.leaves(&frame(DATA, 0, 1, 100));
            watch.arrived(&paid.concat());
            assert_eq!(watch.flood(), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_to_pings_and_settings_pay_for_nothing() {
        let mut watch = watch(PingConfig::default());
        for _ in 0..=IDLE_FRAMES_MAX {
            watch.arrived(&frame(4, 0, 0, 6));
            watch.leaves(&frame(4, ACK, 0, 0));
            watch.leaves(&frame(PING, ACK, 0, 8));
        }
        assert_eq!(watch.flood(), Some(Flood::IdleFrames));
    }

    #[tokio::test(start_paused = true)]
    async fn old_calls_are_cancelled_at_no_cost() {
        let mut watch = watch(PingConfig::default());
        let calls = |second: u32| (0..200).map(move |at| (second * 200 + at) * 2 + 1);
        for second in 0..10 * IDLE_FRAMES_MAX / 200 {
            for call in calls(second) {
                watch.arrived(&frame(HEADERS, 4, call, 30));
            }
            for call in second.checked_sub(2).into_iter().flat_map(calls) {
                watch.arrived(&frame(RST_STREAM, 0, call, 4));
            }
            tokio::time::advance(OLD_STREAM).await;
        }
        assert_eq!(watch.flood(), None);
        // Those of the first time were not known to be old.
        assert!(watch.left >= IDLE_FRAMES_MAX - 200, "{}", watch.left);
    }

    #[tokio::test(start_paused = true)]
    async fn the_third_early_ping_is_one_too_many() {
        let mut watch = watch(PingConfig::default());
        let interval = PingConfig::default().interval_min;
        for _ in 0..10 {
            watch.arrived(&ping());
            tokio::time::advance(interval).await;
        }
        watch.arrived(&ping());
        for flood in [None, None, Some(Flood::Pings)] {
            watch.arrived(&ping());
            assert_eq!(watch.flood(), flood);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pings_that_follow_answers_are_no_flood() {
        let mut watch = watch(PingConfig::default());
        for _ in 0..1000 {
            watch.leaves(&frame(DATA, 0, 1, 10));
            watch.arrived(&ping());
            watch.arrived(&ping());
        }
        assert_eq!(watch.flood(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn without_calls_pings_may_be_forbidden() {
        for (without_calls, busy, flood) in [
            (false, false, Some(Flood::Pings)),
            (false, true, None),
            (true, false, None),
        ] {
            let mut watch = watch(PingConfig {
                without_calls,
                ..PingConfig::default()
            });
            watch.set_busy(busy);
            for _ in 0..4 {
                watch.arrived(&ping());
                tokio::time::advance(60 * SECOND).await;
            }
            assert_eq!(watch.flood(), flood, "{without_calls} {busy}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn goodbye_is_said_between_frames_only() {
        let mut watch = watch(PingConfig::default());
        watch.arrived(&frame(HEADERS, 4, 7, 30));
        let data = frame(DATA, 0, 7, 100);
        watch.leaves(&data[..50]);
        assert_eq!(watch.goodbye(Flood::Pings), None);
        watch.leaves(&data[50..]);
        let said = watch.goodbye(Flood::Pings).expect("the frame is whole");
        let mut expected = vec![0, 0, 22, GOAWAY, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 11];
        expected.extend(b"too_many_pings");
        assert_eq!(said, expected);
    }

    #[test]
    fn trailers_cost_by_their_bytes_and_heads_do_not() {
        let mut watch = Watch::new(PingConfig::default());
        watch.arrived(&[0; PREFACE_BYTES]);
        for stream in 0..200 {
            watch.arrived(&frame(HEADERS, 0, 2 * stream + 1, 16_000));
            watch.arrived(&frame(CONTINUATION, 0, 2 * stream + 1, 100));
        }
        assert_eq!(watch.flood(), None, "heads of requests");
        let trailers = || {
            let more = frame(CONTINUATION, 0, 1, 16_000);
            [frame(HEADERS, END_STREAM, 1, 16_000), more].concat()
        };
        for _ in 0..30 {
            watch.arrived(&trailers());
        }
        assert_eq!(watch.flood(), None, "960 kB");
        for _ in 0..10 {
            watch.arrived(&trailers());
        }
        assert_eq!(watch.flood(), Some(Flood::IdleFrames));
    }

    proptest! {
        #[test]
        fn frames_are_found_whatever_the_portions(
            lens in prop::collection::vec(0_usize..300, 1..20),
            portion in 1_usize..64,
        ) {
            let wire: Vec<u8> = lens.iter().flat_map(|len| frame(DATA, 0, 5, *len)).collect();
            let mut frames = Frames::after(0);
            let mut found = Vec::new();
            for mut part in wire.chunks(portion) {
                while let Some(head) = frames.next(&mut part) {
                    prop_assert_eq!((head.kind, head.stream), (DATA, 5));
                    found.push(head.len);
                }
            }
            prop_assert_eq!(found, lens);
            prop_assert!(frames.is_between());
        }
    }
}
