//! Many calls, large calls, cancelled calls: what a connection has to bear.

use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt, stream};
use switchboard_client_peer::peer::Ask;
use switchboard_client_peer::server::Limits;

use crate::support::{Over, Rig, call, client, counted, echo, hang, patiently};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn sixty_four_calls_at_once_get_their_own_answers() {
    for over in [Over::Tcp, Over::Tunnel, Over::Bridge] {
        let rig = Rig::start(over).await;
        for _ in 0..4 {
            let calls = (0..64_u8).map(|number| {
                let mut client = rig.client();
                async move {
                    let payload = vec![number; usize::from(number) * 300];
                    let answer = client.unary(echo(&payload)).await.expect("an answer");
                    assert!(answer.into_inner().payload == payload);
                }
            });
            patiently(join_all(calls)).await;
        }
    }
}

#[tokio::test]
async fn a_server_with_few_slots_gets_no_more_calls_than_it_wants() {
    let limits = Limits {
        streams_max: Some(4),
    };
    let rig = Rig::start_with(Over::Memory, limits, |_| {}).await;
    let calls = (0..64).map(|_| call(&rig.channel));
    for answer in patiently(join_all(calls)).await {
        answer.expect("an answer");
    }
}

#[tokio::test]
async fn sixteen_mebibytes_come_down_and_go_up() {
    for over in [Over::Tcp, Over::Tunnel, Over::Bridge] {
        let rig = Rig::start(over).await;
        let ask = Ask {
            count: 256,
            size_bytes: 64 * 1024,
            ..Ask::default()
        };
        let answers = patiently(rig.client().produce(ask))
            .await
            .expect("a stream");
        let mut answers = answers.into_inner();
        let mut bytes = 0;
        while let Some(answer) = patiently(answers.message()).await.expect("no error") {
            bytes += answer.payload.len();
        }
        assert_eq!(bytes, 16 * MIB);
        let asks = stream::repeat_with(|| echo(&[7; 64 * 1024])).take(256);
        let total = patiently(rig.client().collect(asks)).await;
        let total = total.expect("a total").into_inner();
        assert_eq!((total.count, total.payload_bytes), (256, 16 * MIB as u64));
    }
}

#[tokio::test]
async fn a_storm_of_cancelled_calls_costs_no_connection() {
    const UNARY: usize = 500;
    const STREAMS: usize = 2000;
    let rig = Rig::start(Over::Tunnel).await;
    let mut events = rig.channel.events();
    let mut counts = rig.counts();
    call(&rig.channel).await.expect("an answer");
    for number in 0..UNARY {
        let mut client = rig.client();
        let mut hanging = Box::pin(client.unary(hang()));
        assert!((&mut hanging).now_or_never().is_none());
        let begun = counted(&mut counts, |counts| counts.begun > number + 1);
        tokio::select! {
            _ = &mut hanging => panic!("it hangs"),
            () = begun => {}
        }
    }
    counted(&mut counts, |counts| counts.dropped == UNARY).await;
    // Streams that are dropped while the server sends as fast as it may: what it has sent by then
    // belongs to nobody.
    let ask = Ask {
        count: 1000,
        size_bytes: 16 * 1024,
        ..Ask::default()
    };
    for _ in 0..STREAMS / 50 {
        let streams = (0..50).map(|_| {
            let (mut client, ask) = (rig.client(), ask.clone());
            async move {
                let answers = client.produce(ask).await.expect("a stream");
                answers
                    .into_inner()
                    .message()
                    .await
                    .expect("no error")
                    .expect("one");
            }
        });
        patiently(join_all(streams)).await;
    }
    call(&rig.channel)
        .await
        .expect("the connection is as before");
    let opened = crate::support::events_so_far(&mut events);
    assert_eq!(opened.len(), 2, "one attempt, one connection: {opened:?}");
}

#[tokio::test]
async fn small_messages_that_nobody_reads_cost_no_connection() {
    let rig = Rig::start(Over::Memory).await;
    let ask = Ask {
        count: 50_000,
        payload: vec![1; 3],
        ..Ask::default()
    };
    let answers = patiently(rig.client().produce(ask))
        .await
        .expect("a stream");
    let mut answers = answers.into_inner();
    let mut counts = rig.counts();
    // All of them fit the window, so the server can send them before anybody looks.
    counted(&mut counts, |counts| counts.produced == 50_000).await;
    call(&rig.channel).await.expect("an answer beside it");
    let mut received = 0;
    while patiently(answers.message())
        .await
        .expect("no error")
        .is_some()
    {
        received += 1;
    }
    assert_eq!(received, 50_000);
}

#[tokio::test]
async fn a_caller_that_does_not_read_can_send_all_the_same() {
    let rig = Rig::start(Over::Tunnel).await;
    let (send, sent) = tokio::sync::mpsc::channel(1);
    let sent = tokio_stream::wrappers::ReceiverStream::new(sent);
    let mut client = client(&rig.channel);
    let answers = patiently(client.converse(sent)).await.expect("a stream");
    for _ in 0..100 {
        patiently(send.send(echo(b"unread"))).await.expect("wanted");
    }
    drop(send);
    let answers: Vec<_> = patiently(answers.into_inner().collect()).await;
    assert_eq!(answers.len(), 100);
}
