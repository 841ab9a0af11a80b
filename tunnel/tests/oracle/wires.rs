//! The same bytes read by both: what one takes the other takes, with listed exceptions.

use std::io::{self, Cursor, Read, Write};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use switchboard_tunnel::{Codec, Config, Ending, Role, TunnelError};
use tokio_tungstenite::tungstenite::protocol::{Role as TheirRole, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

/// They make room for a frame when they see its header, so no frame may be of any length.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// A wire to read, and nowhere to write.
struct Wire(Cursor<Vec<u8>>);

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buf)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What they made of a wire.
#[derive(Debug)]
enum Verdict {
    Open,
    Closed(Option<(u16, String)>),
    Refused(#[expect(dead_code, reason = "shown when a comparison fails")] String),
}

fn theirs(reader: Role, wire: &[u8]) -> (Vec<u8>, bool, Verdict) {
    let role = match reader {
        Role::Client => TheirRole::Client,
        Role::Server => TheirRole::Server,
    };
    let config = WebSocketConfig::default()
        .max_frame_size(Some(FRAME_BYTES_MAX))
        .max_message_size(None);
    let wire = Wire(Cursor::new(wire.to_vec()));
    let mut socket = WebSocket::from_raw_socket(wire, role, Some(config));
    let (mut stream, mut text) = (Vec::new(), false);
    loop {
        match socket.read() {
            Ok(Message::Binary(bytes)) => stream.extend_from_slice(&bytes),
            Ok(Message::Text(_)) => text = true,
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            Ok(Message::Close(frame)) => {
                let said = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                return (stream, text, Verdict::Closed(said));
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return (stream, text, Verdict::Open);
            }
            Err(error) => return (stream, text, Verdict::Refused(error.to_string())),
        }
    }
}

fn ours(reader: Role, wire: &[u8]) -> (Vec<u8>, Option<Ending>) {
    let config = Config {
        frame_bytes_max: FRAME_BYTES_MAX as u64,
        control_frames_max: u32::MAX,
        ..Config::default()
    };
    let mut codec = match reader {
        Role::Client => Codec::client(&config, || Some([0; 4])),
        Role::Server => Codec::server(&config),
    };
    let mut bytes = wire.to_vec();
    let kept = codec.handle_input(Duration::ZERO, &mut bytes);
    bytes.truncate(kept);
    (bytes, codec.ending().cloned())
}

/// Fails where the two differ and should not.
fn compare(reader: Role, wire: &[u8]) -> Result<(), TestCaseError> {
    let (our_stream, ending) = ours(reader, wire);
    let (their_stream, text, verdict) = theirs(reader, wire);
    match (&ending, &verdict) {
        // Half a message is a stream to us and nothing yet to them.
        (None, Verdict::Open) => prop_assert!(our_stream.starts_with(&their_stream)),
        // 1014 was registered later than the RFC; they do not know it.
        (Some(Ending::ClosedByPeer(close)), Verdict::Closed(Some((1002, _))))
            if close.code.get() == 1014 => {}
        (Some(Ending::ClosedByPeer(close)), Verdict::Closed(said)) => {
            let (code, reason) = said.clone().unwrap_or((1005, String::new()));
            prop_assert_eq!(close.code.get(), code);
            prop_assert_eq!(&close.reason, &reason);
        }
        (Some(Ending::Failed(_)), Verdict::Refused(_)) => {
            prop_assert!(our_stream.starts_with(&their_stream));
        }
        // We take no text at all; they take it, or wait for the rest of it.
        (Some(Ending::Failed(TunnelError::Text)), _) => {}
        // RFC 6455 5.2 wants the shortest form; they do not insist.
        (Some(Ending::Failed(TunnelError::Length)), _) => {}
        // We refuse a header as soon as it is wrong, they when it is whole.
        (Some(Ending::Failed(_)), Verdict::Open) => {}
        // 1015 and the like: they give these back as a close with a code of their own choice.
        (Some(Ending::Failed(TunnelError::CloseInvalid)), Verdict::Closed(_)) => {}
        _ => prop_assert!(false, "we: {ending:?}, they: {verdict:?} (text: {text})"),
    }
    Ok(())
}

/// A frame with a header of chance: mostly of a kind that goes on, sometimes not.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => prop_oneof![Just(0x82_u8), Just(0x02), Just(0x80), Just(0x00), Just(0x89), Just(0x8A)],
        1 => Just(0x88),
        1 => any::<u8>(),
    ];
    let second = prop_oneof![8 => Just(None), 1 => any::<u8>().prop_map(Some)];
    let payload = prop_oneof![
        6 => vec(any::<u8>(), 0..20),
        1 => vec(any::<u8>(), 120..130),
        1 => vec(any::<u8>(), 65_530..65_540),
        // As of a close frame.
        2 => (990..5010_u16, "[a-zé]{0,5}").prop_map(|(code, reason)| {
            [&code.to_be_bytes(), reason.as_bytes()].concat()
        }),
    ];
    (first, second, payload, any::<Option<[u8; 4]>>()).prop_map(|(first, second, payload, key)| {
        let masked = if key.is_some() { 0x80 } else { 0 };
        let mut bytes = vec![first];
        match payload.len() {
            short @ 0..=125 => bytes.push(masked | short as u8),
            medium @ 126..=65_535 => {
                bytes.push(masked | 126);
                bytes.extend((medium as u16).to_be_bytes());
            }
            long => {
                bytes.push(masked | 127);
                bytes.extend((long as u64).to_be_bytes());
            }
        }
        if let Some(second) = second {
            bytes[1] = second;
        }
        bytes.extend(key.into_iter().flatten());
        let keys = key.unwrap_or_default();
        bytes.extend(
            payload
                .iter()
                .zip(keys.iter().cycle())
                .map(|(byte, key)| byte ^ key),
        );
        bytes
    })
}

#[test]
fn both_read_the_same_from_every_close_code() {
    for code in 0..=u16::MAX {
        let wire = [&[0x88, 2][..], &code.to_be_bytes()].concat();
        if let Err(difference) = compare(Role::Client, &wire) {
            panic!("code {code}: {difference}");
        }
    }
}

proptest! {
    #[test]
    fn both_read_the_same_from_any_wire(
        reader in prop_oneof![Just(Role::Client), Just(Role::Server)],
        frames in vec(frame(), 0..8),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        // Frames masked as this reader wants them, or the conversation ends at the first.
        let masked = reader == Role::Server;
        let right = |frame: &Vec<u8>| (frame[1] & 0x80 != 0) == masked;
        let wire = frames.into_iter().filter(right).collect::<Vec<_>>().concat();
        let end = if whole { wire.len() } else { cut.index(wire.len() + 1) };
        compare(reader, &wire[..end])?;
    }

    #[test]
    fn both_read_the_same_from_any_bytes(
        reader in prop_oneof![Just(Role::Client), Just(Role::Server)],
        bytes in vec(any::<u8>(), 0..100),
    ) {
        compare(reader, &bytes)?;
    }
}
