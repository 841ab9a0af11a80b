//! Every load against every kind of server, briefly: what is measured must be answered right.

use std::time::Duration;

use switchboard_benches::client::Frame;
use switchboard_benches::kind::Kind;
use switchboard_benches::load::{self, Plan, Shape};
use switchboard_benches::local::Local;

const SHAPES: [Shape; 3] = [
    Shape::Unary {
        connections: 2,
        in_flight: 4,
        bytes: 1000,
    },
    Shape::Open {
        connections: 2,
        rate: 200,
        bytes: 16,
    },
    Shape::Stream {
        connections: 1,
        streams: 2,
        window: 4,
        bytes: 70_000,
    },
];

fn every_load_is_answered(kind: Kind) {
    let local = Local::start(kind).expect("the server starts");
    for shape in SHAPES {
        let plan = Plan {
            shape,
            warm: Duration::from_millis(20),
            measured: Duration::from_millis(100),
            server: std::process::id(),
        };
        let outcome = local.wait(load::run(local.target(), &plan));
        let outcome = outcome.unwrap_or_else(|error| panic!("{shape:?}: {error:#}"));
        assert!(outcome.count > 0, "{shape:?}: {outcome:?}");
        assert!(outcome.server_cpu_seconds > 0.0, "{shape:?}: {outcome:?}");
    }
}

#[test]
fn stock_tonic_answers_every_load() {
    every_load_is_answered(Kind::Stock);
}

#[test]
fn a_native_service_answers_every_load() {
    every_load_is_answered(Kind::Front);
}

#[test]
fn a_plugin_answers_every_load() {
    every_load_is_answered(Kind::Reuse);
}

#[test]
fn a_plugin_in_fresh_instances_answers_every_load() {
    every_load_is_answered(Kind::Fresh);
}

#[test]
fn a_plugin_behind_a_tunnel_answers_every_load() {
    every_load_is_answered(Kind::Tunnel);
}

#[test]
fn every_kind_serves_tls() {
    for kind in Kind::ALL {
        let local = Local::start_tls(kind).expect("the server starts");
        let frame = Frame::new(100_000);
        let batch = load::unary_batch(local.connection(), &frame, 2, 4);
        local
            .wait(batch)
            .unwrap_or_else(|error| panic!("{}: {error:#}", kind.name()));
    }
}
