//! Any bytes as the wire of a peer: one meaning however they are cut, and nothing said in turn that
//! a peer would refuse.
//!
//! Run by the fuzz target of this name, and by `tests/fuzz.rs` on every change.

use std::time::Duration;

use switchboard_tunnel::{Codec, Config, Ending, Role};

/// The first four bytes choose role, limits and cuts; the rest is the wire.
pub(crate) fn exercise(data: &[u8]) {
    let Some(([role, limits, first_cut, second_cut], wire)) = data.split_first_chunk::<4>() else {
        return;
    };
    let role = if role % 2 == 0 {
        Role::Client
    } else {
        Role::Server
    };
    let config = Config {
        frame_bytes_max: if limits % 2 == 0 { u64::MAX } else { 1000 },
        control_frames_max: if limits % 3 == 0 { 4 } else { u32::MAX },
        ..Config::default()
    };
    let whole = outcome(role, &config, &[wire]);
    assert!(whole.0.len() <= wire.len());
    assert_is_welcome(role, &whole.2);

    let cuts = [usize::from(*first_cut) + 1, usize::from(*second_cut) + 1];
    let mut pieces = Vec::new();
    let mut rest = wire;
    for cut in cuts.into_iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at(cut.min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    assert_eq!(outcome(role, &config, &pieces), whole);
    let bytes: Vec<&[u8]> = wire.chunks(1).collect();
    assert_eq!(outcome(role, &config, &bytes), whole);
}

fn codec(role: Role, config: &Config) -> Codec {
    match role {
        Role::Client => Codec::client(config, || Some([1, 2, 3, 4])),
        Role::Server => Codec::server(config),
    }
}

/// The stream, how it ended, and what is said in turn.
fn outcome(role: Role, config: &Config, pieces: &[&[u8]]) -> (Vec<u8>, Option<Ending>, Vec<u8>) {
    let mut codec = codec(role, config);
    let mut stream = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let ended = codec.ending().is_some();
        let kept = codec.handle_input(Duration::ZERO, &mut piece);
        assert!(kept == 0 || !ended, "bytes after the ending");
        stream.extend_from_slice(&piece[..kept]);
    }
    let mut said = Vec::new();
    codec.poll_output(&mut said);
    assert!(said.len() <= 268);
    (stream, codec.ending().cloned(), said)
}

/// Another end of ours finds nothing wrong with what was said.
fn assert_is_welcome(role: Role, said: &[u8]) {
    let other = match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    };
    let mut peer = codec(other, &Config::default());
    let stream_bytes = peer.handle_input(Duration::ZERO, &mut said.to_vec());
    assert_eq!(stream_bytes, 0);
    assert!(!matches!(peer.ending(), Some(Ending::Failed(_))));
}
