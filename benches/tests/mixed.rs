//! Calls beside neighbours, briefly and beside few: every process does what it must, and what is said of it
//! adds up.

use std::time::Duration;

use switchboard_benches::kind::Kind;
use switchboard_benches::load::Shape;
use switchboard_benches::mixed::{self, Beside, Mixed, Plan};
use switchboard_benches::neighbour::Neighbour;
use switchboard_benches::server::guests_dir;

const ROUNDS: usize = 2;
const MEASURED: Duration = Duration::from_millis(100);
const RATE: u32 = 200;

fn measured(neighbour: Neighbour, kinds: &[Kind]) -> Mixed {
    let plan = Plan {
        program: env!("CARGO_BIN_EXE_switchboard-bench").into(),
        guests: guests_dir(),
        rounds: ROUNDS,
        warm: Duration::from_millis(20),
        measured: MEASURED,
        calls: Shape::Open {
            connections: 2,
            rate: RATE,
            bytes: 64,
        },
    };
    let beside = Beside {
        name: "beside".to_owned(),
        neighbour,
        kinds: kinds.to_vec(),
    };
    let mut said = Vec::new();
    let mixed = plan.measure(&[beside], |what| said.push(what.to_owned()));
    let mixed = mixed.unwrap_or_else(|error| panic!("{neighbour:?}: {error:#}"));
    assert_eq!(said.len(), ROUNDS * kinds.len(), "{said:?}");
    let served: Vec<_> = mixed.lines.iter().map(|line| line.kind).collect();
    assert_eq!(served, kinds);
    for line in &mixed.lines {
        for calls in [line.without, line.with] {
            let percentiles = [calls.p50_us, calls.p90_us, calls.p99_us, calls.p999_us];
            assert!(percentiles[0].low > 0.0, "{line:?}");
            assert!(
                percentiles.is_sorted_by_key(|spread| spread.median),
                "{line:?}"
            );
            // All calls that were due were answered and counted, however late. The first and the last may lie
            // on either side of the clock's edges, and the time that is waited is at least what was asked for.
            let due = f64::from(RATE) * MEASURED.as_secs_f64();
            let edge = 2.0 / due;
            assert!(
                (calls.per_second.median / f64::from(RATE) - 1.0).abs() <= edge,
                "{line:?}"
            );
        }
        assert!(line.p99_ratio.median > 0.0, "{line:?}");
    }
    mixed
}

#[test]
fn calls_are_measured_beside_a_plugin_that_computes() {
    let mixed = measured(Neighbour::Spin { calls: 4 }, &[Kind::Reuse]);
    let line = &mixed.lines[0];
    let cores = [line.without, line.with].map(|calls| calls.server_cores.median);
    assert!(cores[0] < cores[1], "nothing computes: {line:?}");
    // It never answers: an answer would have ended it with an error.
    assert!(
        line.neighbour_per_second.high < f64::MIN_POSITIVE,
        "{line:?}"
    );
}

#[test]
fn calls_are_measured_beside_open_streams() {
    let kinds = [Kind::Reuse, Kind::Stock];
    for line in measured(Neighbour::Streams { count: 150 }, &kinds).lines {
        assert!(line.neighbour_per_second.low > 0.0, "{line:?}");
    }
}

#[test]
fn what_was_measured_beside_big_messages_is_written_and_shown() {
    let neighbour = Neighbour::Big {
        rate: 20,
        bytes: 1 << 20,
    };
    let mixed = measured(neighbour, &[Kind::Stock, Kind::Reuse]);
    assert!(
        mixed
            .lines
            .iter()
            .all(|line| line.neighbour_per_second.low > 0.0),
        "{mixed:?}"
    );
    let text = serde_json::to_string(&mixed).expect("it is numbers");
    let read: Mixed = serde_json::from_str(&text).expect("what was written");
    assert_eq!(read, mixed);
    let table = mixed::markdown(&mixed);
    assert_eq!(table.lines().count(), 2 + mixed.lines.len(), "{table}");
    assert!(table.contains("| beside | stock |"), "{table}");
}
