//! Any bytes as a script for two ends of ours: whatever they do and however slowly it arrives, each
//! reads a beginning of what the other wrote, and neither breaks the protocol.
//!
//! Run by the fuzz target of this name, and by `tests/fuzz.rs` on every change.

use std::num::NonZeroUsize;
use std::time::Duration;

use switchboard_tunnel::{Close, CloseCode, Codec, Config, Ending, TunnelError};

/// One end, what it has written and read, and what is on its way to it.
struct End {
    codec: Codec,
    written: Vec<u8>,
    read: Vec<u8>,
    arriving: Vec<u8>,
}

impl End {
    fn new(codec: Codec) -> Self {
        Self {
            codec,
            written: Vec::new(),
            read: Vec::new(),
            arriving: Vec::new(),
        }
    }

    fn deliver(&mut self, now: Duration, count: usize) {
        let behind = self.arriving.split_off(count.min(self.arriving.len()));
        let mut piece = std::mem::replace(&mut self.arriving, behind);
        let kept = self.codec.handle_input(now, &mut piece);
        self.read.extend_from_slice(&piece[..kept]);
    }
}

/// The first two bytes choose the limits; each pair after them is one act of one end.
pub(crate) fn exercise(data: &[u8]) {
    let Some(([message_bytes_max, control_frames_max], script)) = data.split_first_chunk::<2>()
    else {
        return;
    };
    let config = Config {
        message_bytes_max: NonZeroUsize::MIN.saturating_add(usize::from(*message_bytes_max) * 3),
        control_frames_max: u32::from(*control_frames_max) + 1000,
        ping_interval: Some(Duration::from_secs(3)),
        ping_timeout: Duration::from_secs(2),
        close_timeout: Duration::from_secs(4),
        ..Config::default()
    };
    let mut keys = 0_u32;
    let keys = move || {
        keys = keys.wrapping_mul(0x9E37_79B1).wrapping_add(1);
        Some(keys.to_be_bytes())
    };
    let mut ends = [
        End::new(Codec::client(&config, keys)),
        End::new(Codec::server(&config)),
    ];
    let mut now = Duration::ZERO;
    for act in script.chunks_exact(2) {
        run(&mut ends, &mut now, act[0], usize::from(act[1]));
    }
    for _ in 0..3 {
        for own in [0, 1] {
            run(&mut ends, &mut now, 0x40 | own, 0);
            run(&mut ends, &mut now, own, usize::MAX);
        }
    }
    for [own, other] in [[0, 1], [1, 0]] {
        assert!(ends[other].written.starts_with(&ends[own].read));
        match ends[own].codec.ending() {
            None => assert_eq!(ends[other].written, ends[own].read),
            Some(
                Ending::ClosedByPeer(_)
                | Ending::ClosedByUs(_)
                | Ending::Failed(TunnelError::Silent(_) | TunnelError::CloseUnanswered(_)),
            ) => {}
            Some(ending @ Ending::Failed(_)) => panic!("{ending:?}"),
        }
    }
}

fn run(ends: &mut [End; 2], now: &mut Duration, act: u8, amount: usize) {
    let own = usize::from(act & 1);
    match act >> 5 {
        0 | 1 => ends[own].deliver(*now, amount),
        2 => {
            let mut said = Vec::new();
            ends[own].codec.poll_output(&mut said);
            ends[1 - own].arriving.extend(said);
        }
        3 | 4 => write(ends, own, &vec![act; amount * usize::from(act & 0x1F)]),
        5 | 6 => {
            *now += Duration::from_millis(amount as u64 * 4);
            for end in ends {
                end.codec.handle_timeout(*now);
            }
        }
        _ => {
            let code = CloseCode::new(3000 + amount as u16).unwrap_or(CloseCode::NORMAL);
            ends[own]
                .codec
                .close(*now, Close::new(code, "é".repeat(amount)));
        }
    }
}

fn write(ends: &mut [End; 2], own: usize, payload: &[u8]) {
    let Ok(header) = ends[own].codec.message_header(payload.len()) else {
        return;
    };
    let payload = &payload[..header.payload_bytes()];
    let mut masked = payload.to_vec();
    if let Some(mut mask) = header.mask() {
        mask.apply(&mut masked);
    }
    ends[own].written.extend_from_slice(payload);
    ends[1 - own].arriving.extend(header.as_slice());
    ends[1 - own].arriving.extend(masked);
}
