//! What one more costs, measured briefly and of few: all of it is there, and what is said of it adds up.

use std::collections::BTreeMap;
use std::time::Duration;

use switchboard_benches::kind::Kind;
use switchboard_benches::load::Shape;
use switchboard_benches::scale::{self, Counts, Memory, Plan, Scale};
use switchboard_benches::server::guests_dir;

const ROUNDS: usize = 2;
const MEASURED: Duration = Duration::from_millis(100);

fn measured() -> Scale {
    let plan = Plan {
        program: env!("CARGO_BIN_EXE_switchboard-bench").into(),
        guests: guests_dir(),
        rounds: ROUNDS,
        warm: Duration::from_millis(20),
        measured: MEASURED,
        calls: Shape::Unary {
            connections: 2,
            in_flight: 4,
            bytes: 16,
        },
        counts: Counts {
            held: vec![1, 120],
            connections: vec![1, 10],
            plugins: vec![1, 3],
            streams: vec![1, 20],
        },
        apart: false,
    };
    plan.measure(|_| {}).expect("everything is answered")
}

#[test]
fn everything_there_can_be_more_of_is_measured_and_adds_up() {
    let scale = measured();
    let of: Vec<_> = scale
        .memory
        .iter()
        .map(|one| (one.of.as_str(), one.kind))
        .collect();
    assert_eq!(
        of,
        [
            ("open stream", Kind::Stock),
            ("open stream", Kind::Front),
            ("open stream", Kind::Reuse),
            ("idle instance", Kind::Reuse),
            ("idle connection", Kind::Stock),
            ("idle connection", Kind::Reuse),
            ("idle tunnel", Kind::Tunnel),
            ("plugin", Kind::Reuse),
        ]
    );
    for memory in &scale.memory {
        assert!(
            memory.points.iter().all(|point| point.resident_bytes > 0),
            "{memory:?}"
        );
        let again = Memory::new(&memory.of, memory.kind, memory.points.clone());
        assert_eq!(&again, memory);
    }
    let mut counts = BTreeMap::new();
    for call in &scale.calls {
        assert!(
            call.server_cpu_us.low > 0.0 && call.per_second.low > 0.0,
            "{call:?}"
        );
        let beside = (call.beside.as_str(), call.kind);
        let of: &mut Vec<usize> = counts.entry(beside).or_default();
        if of.is_empty() {
            // The first is compared with itself.
            assert!(
                (call.cpu_ratio.median - 1.0).abs() < f64::EPSILON,
                "{call:?}"
            );
        }
        of.push(call.count);
    }
    let expected = [
        (("open streams", Kind::Stock), vec![1, 20]),
        (("open streams", Kind::Reuse), vec![1, 20]),
        (
            ("plugins, all are called in turns", Kind::Reuse),
            vec![1, 3],
        ),
        (("plugins, one is called", Kind::Reuse), vec![1, 3]),
    ];
    assert_eq!(counts, expected.into());
    let [fresh] = &scale.fresh[..] else {
        panic!("the server had no core of its own: {:?}", scale.fresh);
    };
    assert!(fresh.per_second.low > 0.0, "{fresh:?}");

    let text = serde_json::to_string(&scale).expect("it is numbers");
    let read: Scale = serde_json::from_str(&text).expect("what was written");
    assert_eq!(read, scale);
    let table = scale::markdown(&scale);
    for row in [
        "| idle tunnel | tunnel |",
        "| open streams | stock | 20 |",
        "| all cores",
    ] {
        assert!(table.contains(row), "{row}: {table}");
    }
}
