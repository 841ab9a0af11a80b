//! Who waits for room for replies, and what gives way to whom: with time as it is told.

use std::task::Waker;

use futures_util::FutureExt;

use super::*;

const KIB: usize = 1024;

fn reply(len: usize) -> Bytes {
    Bytes::from(vec![7; len])
}

fn expected(len: usize) -> Expected {
    let expected = Expected::default();
    expected.learn(len);
    expected
}

#[tokio::test(start_paused = true)]
async fn a_connection_waits_at_its_limit_until_the_last_piece_is_gone() {
    let unsent = Unsent::new(1000 * KIB);
    let share = Share::new(unsent, 100 * KIB);
    let mut held = share.count(reply(100 * KIB));
    let mut room = Box::pin(share.room());
    assert!(room.as_mut().now_or_never().is_none(), "at its limit");
    let piece = held.split_to(KIB);
    drop(held);
    assert!(room.as_mut().now_or_never().is_none(), "a piece is left");
    drop(piece);
    room.await;
    drop(share.count(reply(COUNTED_BYTES_MIN - 1)));
    assert_eq!(share.bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn under_pressure_a_connection_that_holds_little_goes_on() {
    let unsent = Unsent::new(1000 * KIB);
    let [much, little, none] = [(); 3].map(|()| Share::new(Arc::clone(&unsent), 900 * KIB));
    let held = [much.count(reply(400 * KIB)), little.count(reply(20 * KIB))];
    assert!(much.has_room(), "no pressure yet");
    let more = much.count(reply(100 * KIB));
    assert!(!much.has_room() && little.has_room() && none.has_room());
    let all = much.count(reply(500 * KIB));
    assert!(!little.has_room() && none.has_room());
    drop((held, more, all));
    assert!(much.has_room());
}

#[tokio::test(start_paused = true)]
async fn calls_wait_for_room_for_their_replies_in_order_and_small_ones_do_not() {
    let unsent = Unsent::new(100 * KIB);
    let share = Share::new(Arc::clone(&unsent), 1000 * KIB);
    let first = share.expect(&expected(60 * KIB)).await.expect("room");
    let large = expected(60 * KIB);
    let mut second = Box::pin(share.expect(&large));
    assert!(second.as_mut().now_or_never().is_none(), "no room");
    let little = expected(COUNTED_BYTES_MIN);
    let mut third = Box::pin(share.expect(&little));
    assert!(third.as_mut().now_or_never().is_none(), "its turn is later");
    drop(
        share
            .expect(&expected(COUNTED_BYTES_MIN - 1))
            .await
            .expect("none needed"),
    );
    // The reply came and has left.
    drop((share.count(reply(60 * KIB)), first));
    let second = second.await.expect("room");
    drop((third.await.expect("room"), second));
    let huge = share
        .expect(&expected(1000 * KIB))
        .await
        .expect("all of it");
    let refused = share.expect(&large).await;
    assert!(matches!(refused, Err(CallError::Untaken { .. })));
    drop(huge);
    assert_eq!(unsent.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_moves_is_waited_for_and_what_does_not_is_given_up() {
    let unsent = Unsent::new(2000 * KIB);
    let share = Share::new(Arc::clone(&unsent), 4000 * KIB);
    let large = expected(1200 * KIB);
    let held = share.count(reply(1200 * KIB));
    let mut moving = share.wait(1200 * KIB, Weak::new()).expect("it is counted");
    let mut next = Box::pin(share.expect(&large));
    for left in (56..60).rev() {
        assert!(timeout(STALLED_AFTER / 2, &mut next).await.is_err());
        assert_eq!(unsent.lock().leaving, 0, "it moves");
        moving.has_left(left * KIB);
    }
    let stalled = STALLED_AFTER + LOOK_EVERY * 2;
    assert!(timeout(stalled, &mut next).await.is_err());
    assert_eq!(unsent.lock().leaving, 1200 * KIB, "it has stalled");
    drop((held, moving));
    drop(next.await.expect("room"));
    assert_eq!((unsent.held(), unsent.lock().leaving), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_byte_now_and_then_is_not_enough() {
    let unsent = Unsent::new(64 * KIB);
    let share = Share::new(Arc::clone(&unsent), 1000 * KIB);
    let held = share.count(reply(64 * KIB));
    let mut slow = share.wait(64 * KIB, Weak::new()).expect("it is counted");
    let large = expected(64 * KIB);
    let mut next = Box::pin(share.expect(&large));
    // A second for its size, and those that all have.
    for left in 0..5 {
        assert_eq!(unsent.lock().leaving, 0);
        assert!(timeout(STALLED_AFTER / 4, &mut next).await.is_err());
        slow.has_left(left);
    }
    assert!(timeout(STALLED_AFTER / 4, &mut next).await.is_err());
    assert_eq!(unsent.lock().leaving, 64 * KIB);
    drop((held, slow, next));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_takes_nothing_ends_when_others_wait() {
    let unsent = Unsent::new(100 * KIB);
    let shares = [(); 2].map(|()| Share::new(Arc::clone(&unsent), 1000 * KIB));
    let held = shares.each_ref().map(|share| share.count(reply(50 * KIB)));
    let cx = Context::from_waker(Waker::noop());
    for share in &shares {
        share.block(0, false, &cx);
    }
    let large = expected(50 * KIB);
    let third = Share::new(Arc::clone(&unsent), 1000 * KIB);
    let mut next = Box::pin(third.expect(&large));
    assert!(timeout(STALLED_AFTER / 2, &mut next).await.is_err());
    shares[0].block(0, true, &cx);
    assert!(timeout(STALLED_AFTER * 3 / 4, &mut next).await.is_err());
    assert!(!shares[0].has_ended() && shares[1].has_ended());
    let [first, second] = held;
    drop(second);
    drop(next.await.expect("room"));
    shares[0].unblock();
    drop((first, shares, third));
    assert_eq!(unsent.held(), 0);
    assert!(unsent.lock().connections.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_expected_is_given_up_once_it_has_stalled_and_only_as_much_as_needed() {
    let unsent = Unsent::new(100 * KIB);
    let share = Share::new(Arc::clone(&unsent), 1000 * KIB);
    let mut held: Vec<_> = (0..4)
        .map(|_| {
            let waiting = share.wait(50 * KIB, Weak::new());
            (
                share.count(reply(50 * KIB)),
                waiting.expect("it is counted"),
            )
        })
        .collect();
    let mut watching = [(); 2].map(|()| Box::pin(WaitingReply::relieve(Arc::clone(&share))));
    let mut watch = Box::pin(futures_util::future::join_all(&mut watching));
    assert!(timeout(STALLED_AFTER * 9 / 10, &mut watch).await.is_err());
    assert_eq!(unsent.lock().leaving, 0, "not yet");
    held[0].1.has_left(1);
    assert!(timeout(LOOK_EVERY * 5, &mut watch).await.is_err());
    assert_eq!(unsent.lock().leaving, 100 * KIB, "200 of 100 KiB");
    assert!(
        unsent.lock().replies.contains_key(&held[0].1.number),
        "it moves"
    );
    held.drain(1..3);
    assert!(timeout(STALLED_AFTER * 3, &mut watch).await.is_err());
    assert_eq!(unsent.lock().leaving, 0, "100 of 100 KiB");
    drop(held);
    assert_eq!(unsent.held(), 0);
    assert!(unsent.lock().replies.is_empty());
}

#[test]
fn a_method_is_expected_to_reply_as_much_as_it_did() {
    let expected = Expected::default();
    expected.learn(100 * KIB);
    expected.learn(0);
    let after_one = expected.0.load(Ordering::Relaxed);
    assert!((90 * KIB..100 * KIB).contains(&after_one), "{after_one}");
    (0..200).for_each(|_| expected.learn(0));
    assert!(expected.0.load(Ordering::Relaxed) < COUNTED_BYTES_MIN);
}

#[tokio::test(start_paused = true)]
async fn so_many_wait_for_room_and_no_more() {
    let unsent = Unsent::new(100 * KIB);
    let share = Share::new(Arc::clone(&unsent), 1000 * KIB);
    let large = expected(100 * KIB);
    let held = share.expect(&large).await.expect("all of it");
    let mut waiting: Vec<_> = (0..WAITING_MAX)
        .map(|_| Box::pin(share.expect(&large)))
        .collect();
    for next in &mut waiting {
        assert!(next.as_mut().now_or_never().is_none(), "it waits");
    }
    let refused = share.expect(&large).now_or_never().expect("at once");
    assert!(matches!(refused, Err(CallError::Untaken { .. })));
    drop(waiting);
    let mut next = Box::pin(share.expect(&large));
    assert!(next.as_mut().now_or_never().is_none(), "it waits again");
    drop(held);
    drop(next.await.expect("room"));
    assert_eq!(unsent.held(), 0);
}
