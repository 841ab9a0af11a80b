//! The methods, natively: what the host's tests rely on.

use prost::Message;
use std::time::Duration;
use switchboard_guest::testing::{Answer, Call};
use switchboard_guest::{CancelReason, Code, Status};

use crate::testservice::probe_server::ProbeServer;
use crate::testservice::test_service_server::TestServiceServer;
use crate::testservice::tick_response::Event;
use crate::testservice::*;
use crate::{Arithmetic, Prober};

const ARITHMETIC: TestServiceServer<Arithmetic> = TestServiceServer::new(Arithmetic);

fn probe() -> ProbeServer<Prober> {
    ProbeServer::new(Prober::default())
}

fn number(value: i64) -> Vec<u8> {
    Number { value }.encode_to_vec()
}

fn decoded<M: Message + Default>(answer: &Answer) -> Vec<M> {
    answer
        .messages
        .iter()
        .map(|bytes| M::decode(bytes.as_slice()).expect("a message of the .proto"))
        .collect()
}

fn one<M: Message + Default>(answer: &Answer) -> M {
    M::decode(answer.message()).expect("a message of the .proto")
}

fn total(count: u64, total: i64) -> Total {
    Total { count, total }
}

#[test]
fn adds() {
    let add = |a, b| {
        Call::to(&ARITHMETIC, "Add")
            .message(AddRequest { a, b }.encode_to_vec())
            .run()
    };
    assert_eq!(one::<Number>(&add(40, 2)).value, 42);
    assert_eq!(one::<Number>(&add(i64::MIN, i64::MAX)).value, -1);
    assert_eq!(add(i64::MAX, 1).code(), Code::OutOfRange);
}

#[test]
fn adds_an_event_to_a_call_that_is_traced() {
    let request = TraceRequest {
        event: "seen".to_owned(),
        key: "k".to_owned(),
        value: "v".to_owned(),
    };
    let probe = probe();
    let call = || Call::to(&probe, "Trace").message(request.encode_to_vec());
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = call().traced(traceparent).run();
    assert_eq!(one::<TraceResponse>(&answer).traceparent, traceparent);
    let [event] = &answer.trace_events[..] else {
        panic!("one event: {answer:?}");
    };
    assert_eq!(event.name, "seen");
    assert_eq!(event.attributes, [("k".to_owned(), "v".to_owned())]);
    let answer = call().run();
    assert_eq!(one::<TraceResponse>(&answer), TraceResponse::default());
    assert!(answer.trace_events.is_empty());
}

#[test]
fn sums_what_came() {
    let sum = |values: &[i64]| {
        Call::to(&ARITHMETIC, "Sum")
            .messages(values.iter().copied().map(number))
            .run()
    };
    assert_eq!(one::<Total>(&sum(&[1, 2, -4])), total(3, -1));
    assert_eq!(one::<Total>(&sum(&[])), total(0, 0));
    assert_eq!(sum(&[i64::MIN, -1]).code(), Code::OutOfRange);
}

#[test]
fn counts_up() {
    let count = |from, to| {
        let request = CountRequest {
            from,
            to,
            pause_ms: 0,
        };
        let answer = Call::to(&ARITHMETIC, "Count")
            .message(request.encode_to_vec())
            .run();
        assert_eq!(answer.status, Ok(()));
        decoded::<Number>(&answer)
            .iter()
            .map(|number| number.value)
            .collect::<Vec<_>>()
    };
    assert_eq!(count(-1, 2), [-1, 0, 1, 2]);
    assert_eq!(count(i64::MAX, i64::MAX), [i64::MAX]);
    assert_eq!(count(2, 1), [0; 0]);
}

#[test]
fn tells_the_running_total() {
    let answer = Call::to(&ARITHMETIC, "Running")
        .messages([5, 0, -7].map(number))
        .run();
    assert_eq!(answer.status, Ok(()));
    assert_eq!(
        decoded::<Total>(&answer),
        [total(1, 5), total(2, 5), total(3, -2)]
    );
}

#[test]
fn shows_the_call() {
    let probe = probe();
    let request = ContextRequest {
        keys: vec!["b-bin".to_owned(), "absent".to_owned()],
    };
    let call = Call::to(&probe, "Context")
        .metadata("a", "1")
        .metadata("b-bin", [0, 255])
        .peer("192.0.2.7:4444")
        .time_left(Duration::from_nanos(5))
        .message(request.encode_to_vec());
    let seen: ContextResponse = one(&call.run());
    let entry = |key: &str, value: &[u8]| Metadata {
        key: key.to_owned(),
        value: value.to_vec(),
    };
    assert_eq!(seen.metadata, [entry("a", b"1"), entry("b-bin", &[0, 255])]);
    assert_eq!(seen.looked_up, [entry("b-bin", &[0, 255])]);
    assert_eq!(seen.peer, "192.0.2.7:4444");
    assert_eq!(seen.time_left_ns, Some(5));
    assert!(!seen.cancelled);
}

#[test]
fn decorates_and_reports_refusals() {
    let entry = |key: &str, value: &str| Metadata {
        key: key.to_owned(),
        value: value.into(),
    };
    let request = DecorateRequest {
        headers: vec![entry("h", "1"), entry("grpc-status", "0")],
        trailers: vec![entry("t", "2")],
        send_headers_first: true,
        late_headers: vec![entry("late", "3")],
        failure: None,
    };
    let answer = Call::to(&probe(), "Decorate")
        .message(request.encode_to_vec())
        .run();
    assert_eq!(answer.headers.get_str("h"), Some("1"));
    assert_eq!(answer.trailers.get_str("t"), Some("2"));
    let refused = one::<DecorateResponse>(&answer).refused;
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused[0].starts_with("grpc-status: "), "{refused:?}");
    assert!(refused[1].starts_with("late: "), "{refused:?}");
}

fn failure() -> Failure {
    Failure {
        code: 9,
        message: "nö".to_owned(),
        details: vec![1, 2],
        trailers: vec![Metadata {
            key: "t-bin".to_owned(),
            value: vec![0],
        }],
    }
}

fn failed() -> Status {
    Status::failed_precondition("nö")
        .with_details([1, 2])
        .with_trailer("t-bin", [0])
}

#[test]
fn fails_as_asked() {
    let answer = Call::to(&probe(), "Fail")
        .message(failure().encode_to_vec())
        .run();
    assert_eq!(answer.status, Err(failed()));
    assert_eq!(answer.trailers.get("t-bin"), Some([0].as_slice()));
}

#[test]
fn fails_after_some_messages() {
    let request = FailAfterRequest {
        count: 2,
        failure: Some(failure()),
    };
    let answer = Call::to(&probe(), "FailAfter")
        .message(request.encode_to_vec())
        .run();
    assert_eq!(answer.messages, [number(1), number(2)]);
    assert_eq!(answer.status, Err(failed()));
}

#[test]
fn waiting_ends_with_the_caller_or_the_call() {
    let kinds = |answer: &Answer| {
        decoded::<WaitEvent>(answer)
            .iter()
            .map(|event| event.kind())
            .collect::<Vec<_>>()
    };
    use WaitEventKind::{End, Message, Waiting};

    let answer = Call::to(&probe(), "Wait").message(number(1)).run();
    assert_eq!(answer.status, Ok(()));
    assert_eq!(kinds(&answer), [Waiting, Message, End]);
    assert!(answer.log.is_empty());

    let answer = Call::to(&probe(), "Wait")
        .cancel(CancelReason::ClientGone)
        .run();
    assert_eq!(answer.code(), Code::Cancelled);
    assert_eq!(kinds(&answer), [Waiting]);
    assert_eq!(answer.log[0].1, "wait: cancelled: the caller is gone");
}

#[test]
fn ends_early() {
    let answer = Call::to(&probe(), "Early")
        .messages([1, 2, 3].map(number))
        .run();
    assert_eq!(answer.status, Ok(()));
    assert_eq!(answer.messages, [number(1)]);
}

#[test]
fn batches_add_up() {
    let answer = Call::to(&probe(), "Batches")
        .messages([1, 2, 3].map(number))
        .run();
    assert_eq!(answer.status, Ok(()));
    let batches = decoded::<Total>(&answer);
    let all = batches.iter().fold((0, 0), |(count, total), batch| {
        (count + batch.count, total + batch.total)
    });
    assert_eq!(all, (3, 6));
}

#[test]
fn ticks_in_silence() {
    let message = |value| {
        TickRequest {
            value,
            pause_ms: 10,
        }
        .encode_to_vec()
    };
    let answer = Call::to(&probe(), "Ticks")
        .message(message(1))
        .silence()
        .silence()
        .message(message(2))
        .run();
    assert_eq!(answer.status, Ok(()));
    let events: Vec<_> = decoded::<TickResponse>(&answer)
        .iter()
        .map(|tick| tick.event.expect("an event"))
        .collect();
    use Event::{Silences, Value};
    assert_eq!(events, [Value(1), Silences(1), Silences(2), Value(2)]);
}

#[test]
fn an_instance_remembers() {
    let probe = probe();
    let sleep = SleepRequest { duration_ms: 0 };
    let first: InstanceResponse = one(&Call::to(&probe, "Instance").run());
    one::<InstanceResponse>(
        &Call::to(&probe, "Sleep")
            .message(sleep.encode_to_vec())
            .run(),
    );
    one::<InstanceResponse>(
        &Call::to(&probe, "Burn")
            .message(sleep.encode_to_vec())
            .run(),
    );
    let grow = GrowRequest { size_bytes: 1000 };
    let last: InstanceResponse = one(&Call::to(&probe, "Grow").message(grow.encode_to_vec()).run());
    assert_eq!((first.calls, first.kept_bytes), (1, 0));
    assert_eq!((last.calls, last.kept_bytes), (4, 1000));
    assert_eq!(first.instance_id, last.instance_id);

    let other: InstanceResponse = one(&Call::to(&self::probe(), "Instance").run());
    assert_ne!(other.instance_id, first.instance_id);
}

#[test]
fn growing_beyond_what_there_is_is_refused() {
    let grow = GrowRequest {
        size_bytes: u64::MAX,
    };
    let answer = Call::to(&probe(), "Grow")
        .message(grow.encode_to_vec())
        .run();
    assert_eq!(answer.code(), Code::ResourceExhausted);
}

#[test]
fn floods_and_swallows() {
    let flood = FloodRequest {
        count: 300,
        size_bytes: 3,
    };
    let answer = Call::to(&probe(), "Flood")
        .message(flood.encode_to_vec())
        .run();
    let blocks = decoded::<Block>(&answer);
    assert_eq!(blocks.len(), 300);
    assert_eq!(
        (blocks[257].index, blocks[257].data.as_slice()),
        (257, &[1; 3][..])
    );

    let answer = Call::to(&probe(), "Swallow")
        .messages(answer.messages)
        .run();
    assert_eq!(one::<Total>(&answer), total(300, 900));
}
