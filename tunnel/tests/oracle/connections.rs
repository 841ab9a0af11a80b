//! One end is ours, the other tungstenite's.

use std::io;

use futures_util::{SinkExt, StreamExt};
use switchboard_tunnel::{Close, CloseCode, Config, Ending, Role, TunnelError, TunnelStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role as TheirRole;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{
    CloseCode as TheirCode, Data, OpCode,
};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::{Error, Message};

const ROLES: [Role; 2] = [Role::Client, Role::Server];
const CAPACITIES: [usize; 4] = [1, 7, 1000, 1 << 20];
/// Around every change of the form of a length.
const LENGTHS: [usize; 10] = [1, 2, 125, 126, 127, 4096, 65_534, 65_535, 65_536, 200_000];

type Theirs = WebSocketStream<DuplexStream>;

/// Our end in `role`, and tungstenite's in the other.
async fn pair(role: Role, capacity: usize) -> (TunnelStream<DuplexStream>, Theirs) {
    let (near, far) = duplex(capacity);
    let ours = TunnelStream::new(near, role, Default::default(), &Config::default());
    let their_role = match role {
        Role::Client => TheirRole::Server,
        Role::Server => TheirRole::Client,
    };
    let theirs = WebSocketStream::from_raw_socket(far, their_role, None).await;
    (ours, theirs)
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n / 3) as u8).collect()
}

/// The lengths worth their time: one byte at a time, long messages take long.
fn lengths(capacity: usize) -> impl Iterator<Item = usize> {
    let most = if capacity < 1000 { 200 } else { usize::MAX };
    LENGTHS.into_iter().filter(move |length| *length <= most)
}

#[tokio::test]
async fn they_read_what_we_write() {
    for role in ROLES {
        for capacity in CAPACITIES {
            let (mut ours, mut theirs) = pair(role, capacity).await;
            let sent: Vec<Vec<u8>> = lengths(capacity).map(bytes).collect();
            let total = sent.concat();
            let write = async {
                for part in &sent {
                    ours.write_all(part).await.unwrap();
                }
                ours.flush().await.unwrap();
            };
            let read = async {
                let mut received = Vec::new();
                while received.len() < total.len() {
                    let Message::Binary(message) = theirs.next().await.unwrap().unwrap() else {
                        panic!("not a binary message");
                    };
                    assert!(message.len() <= 65_536);
                    received.extend_from_slice(&message);
                }
                received
            };
            let ((), received) = tokio::join!(write, read);
            assert!(received == total, "{role:?}, capacity {capacity}");
        }
    }
}

#[tokio::test]
async fn we_read_what_they_write_in_fragments_and_between_pings() {
    for role in ROLES {
        for capacity in CAPACITIES {
            let (mut ours, mut theirs) = pair(role, capacity).await;
            let total: Vec<u8> = lengths(capacity).flat_map(bytes).collect();
            let write = async {
                for (at, length) in lengths(capacity).enumerate() {
                    let payload = bytes(length);
                    if at % 2 == 0 {
                        theirs.send(Message::binary(payload)).await.unwrap();
                        continue;
                    }
                    let (first, second) = payload.split_at(length / 2);
                    let fragment = |part: &[u8], data, last| {
                        let frame = Frame::message(part.to_vec(), OpCode::Data(data), last);
                        Message::Frame(frame)
                    };
                    theirs
                        .send(fragment(first, Data::Binary, false))
                        .await
                        .unwrap();
                    theirs
                        .send(Message::Ping(vec![at as u8].into()))
                        .await
                        .unwrap();
                    theirs
                        .send(fragment(second, Data::Continue, true))
                        .await
                        .unwrap();
                }
                // The pong to the last ping at least has to come.
                let mut pongs = Vec::new();
                let last_ping = lengths(capacity)
                    .enumerate()
                    .filter(|(at, _)| at % 2 == 1)
                    .count()
                    * 2
                    - 1;
                while pongs.last() != Some(&vec![last_ping as u8]) {
                    if let Message::Pong(payload) = theirs.next().await.unwrap().unwrap() {
                        pongs.push(payload.to_vec());
                    }
                }
                theirs.close(None).await.unwrap();
                // Our end is held back until they have taken the answer.
                while !matches!(theirs.next().await, Some(Ok(Message::Close(_)))) {}
            };
            let read = async {
                let mut received = Vec::new();
                ours.read_to_end(&mut received).await.unwrap();
                received
            };
            let ((), received) = tokio::join!(write, read);
            assert!(received == total, "{role:?}, capacity {capacity}");
        }
    }
}

#[tokio::test]
async fn they_answer_our_close() {
    for role in ROLES {
        let (mut ours, mut theirs) = pair(role, 1).await;
        let close = async {
            ours.write_all(b"last").await?;
            ours.shutdown().await?;
            Ok::<_, io::Error>(ours.handle().closed().await)
        };
        let read = async {
            let last = theirs.next().await.unwrap().unwrap();
            let close = theirs.next().await.unwrap().unwrap();
            // Lets the answer out, and finds the end.
            let end = theirs.next().await;
            drop(theirs);
            (last, close, end)
        };
        let (ending, (last, close, end)) = tokio::join!(close, read);
        assert_eq!(
            ending.unwrap(),
            Ending::ClosedByUs(CloseCode::NORMAL.into())
        );
        assert_eq!(last, Message::binary(&b"last"[..]));
        let Message::Close(Some(close)) = close else {
            panic!("no close frame but {close:?}");
        };
        assert_eq!(u16::from(close.code), 1000);
        assert!(end.is_none(), "{end:?}");
    }
}

#[tokio::test]
async fn we_answer_their_close() {
    for role in ROLES {
        for (code, reason) in [(1000, "bye"), (1012, "später"), (4321, "")] {
            let (mut ours, mut theirs) = pair(role, 1).await;
            let frame = CloseFrame {
                code: TheirCode::from(code),
                reason: reason.into(),
            };
            let close = async {
                theirs.close(Some(frame)).await.unwrap();
                let answer = theirs.next().await.unwrap().unwrap();
                let Message::Close(Some(answer)) = answer else {
                    panic!("no close frame but {answer:?}");
                };
                assert_eq!(u16::from(answer.code), code);
                drop(theirs);
            };
            let read = async {
                let mut nothing = Vec::new();
                ours.read_to_end(&mut nothing).await.map(|_| nothing)
            };
            let ((), read) = tokio::join!(close, read);
            let theirs = Close::new(CloseCode::new(code).unwrap(), reason);
            match read {
                Ok(nothing) => assert!(theirs.code.is_clean() && nothing.is_empty()),
                Err(error) => {
                    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
                    assert_eq!(inner, Some(&TunnelError::ClosedByPeer(theirs.clone())));
                }
            }
            let ending = Some(Ending::ClosedByPeer(theirs));
            assert_eq!(ours.handle().ending(), ending);
        }
    }
}

#[tokio::test]
async fn they_hear_why_we_refuse() {
    for role in ROLES {
        let (mut ours, mut theirs) = pair(role, 1000).await;
        theirs.send(Message::text("hello")).await.unwrap();
        let mut nothing = [0];
        let error = ours.read(&mut nothing).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let Message::Close(Some(close)) = theirs.next().await.unwrap().unwrap() else {
            panic!("no close frame");
        };
        assert_eq!(u16::from(close.code), 1003);
        assert_eq!(close.reason.as_str(), TunnelError::Text.to_string());
    }
}

#[tokio::test]
async fn we_refuse_frames_longer_than_allowed_and_they_hear_it() {
    for role in ROLES {
        let (near, far) = duplex(1 << 20);
        let config = Config {
            frame_bytes_max: 1000,
            ..Config::default()
        };
        let mut ours = TunnelStream::new(near, role, Default::default(), &config);
        let their_role = match role {
            Role::Client => TheirRole::Server,
            Role::Server => TheirRole::Client,
        };
        let mut theirs = WebSocketStream::from_raw_socket(far, their_role, None).await;
        theirs.send(Message::binary(bytes(1000))).await.unwrap();
        theirs.send(Message::binary(bytes(1001))).await.unwrap();
        let mut received = vec![0; 1000];
        ours.read_exact(&mut received).await.unwrap();
        assert!(ours.read(&mut received).await.is_err());
        let Message::Close(Some(close)) = theirs.next().await.unwrap().unwrap() else {
            panic!("no close frame");
        };
        assert_eq!(u16::from(close.code), 1009);
    }
}

#[tokio::test]
async fn our_pings_are_answered_by_them() {
    for role in ROLES {
        tokio::time::pause();
        let (near, far) = duplex(1000);
        let mut ours = TunnelStream::new(near, role, Default::default(), &Config::default());
        let their_role = match role {
            Role::Client => TheirRole::Server,
            Role::Server => TheirRole::Client,
        };
        let mut theirs = WebSocketStream::from_raw_socket(far, their_role, None).await;
        // An hour of nothing but heartbeats; paused time goes on when both ends wait.
        let mut pings = 0;
        let hour = tokio::time::timeout(std::time::Duration::from_secs(3600), async {
            let mut nothing = [0];
            tokio::select! {
                read = ours.read(&mut nothing) => panic!("{read:?}"),
                () = async {
                    while let Some(message) = theirs.next().await {
                        assert!(matches!(message, Ok(Message::Ping(_))), "{message:?}");
                        pings += 1;
                    }
                } => panic!("they left"),
            }
        });
        assert!(hour.await.is_err());
        assert!((118..=120).contains(&pings), "{pings} pings");
        let gone = theirs.send(Message::binary(&b"still here"[..])).await;
        assert!(gone.is_ok(), "{gone:?}");
        let _: Result<(), Error> = theirs.flush().await;
        let mut bytes = [0; 10];
        ours.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"still here");
        tokio::time::resume();
    }
}
