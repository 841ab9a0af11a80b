//! Imports that an embedder adds: a plugin's functions of the host that see the current call.
//!
//! `guests/testservice` draws the number of an instance from `wasi:random/insecure-seed`. Here an
//! embedder provides that interface itself, from the metadata of the call that is being served.

use std::num::NonZeroU32;

use prost::Message;
use switchboard_host::wasmtime::component::Linker;
use switchboard_host::wasmtime::{Result, StoreContextMut};
use switchboard_host::{BuildError, GuestState, HostBuilder, HostConfig, HostService, Mode, chain};
use switchboard_test_support::proto::testservice::{InstanceRequest, InstanceResponse};
use switchboard_test_support::{RawClient, Setup, TestHost, frame, guest, log};

/// Newer than what the host brings, so that it is the one an import of 0.2.x is given.
const SEED: &str = "wasi:random/insecure-seed@0.2.99";

/// What the service keeps in an instance.
#[derive(Default)]
struct Drawn(u64);

/// Draws seeds from the header `x-seed` of the call, and counts them.
struct Seeds;

impl HostService for Seeds {
    fn link(&self, linker: &mut Linker<GuestState>) -> Result<()> {
        linker.instance(SEED)?.func_wrap(
            "insecure-seed",
            |mut store: StoreContextMut<'_, GuestState>, (): ()| {
                let state = store.data_mut();
                let drawn = state.extension::<Drawn>();
                drawn.0 += 1;
                let drawn = drawn.0;
                let call = state.call().current();
                let seed = call.and_then(|call| call.value("x-seed"));
                let seed = String::from_utf8(seed.unwrap_or_default()).unwrap_or_default();
                tracing::info!(plugin = state.plugin(), drawn, "seed {seed:?} drawn");
                Ok(((seed.parse().unwrap_or(0_u64), 1_u64),))
            },
        )
    }
}

async fn instance(client: &RawClient, seed: &str) -> InstanceResponse {
    let head = RawClient::head("/testservice.Probe/Instance").header("x-seed", seed);
    let request = InstanceRequest {}.encode_to_vec();
    let answer = client.call(head, frame(&request)).await;
    assert_eq!(answer.code(), 0, "{}", answer.message());
    InstanceResponse::decode(answer.messages().remove(0)).expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_of_the_embedder_sees_the_call_that_is_being_served() {
    let mut setup = Setup {
        paths: vec![guest("testservice")],
        ..Setup::default()
    };
    setup.config.plugin.pool.mode = Mode::Fresh;
    setup.config.plugin.pool.warm_min = 0;
    let host = TestHost::build(setup, |builder| builder.host_service(Seeds)).await;
    let client = host.raw().await;
    let first = instance(&client, "4711").await;
    let other = instance(&client, "4712").await;
    let again = instance(&client, "4711").await;
    // Every call has an instance of its own, and what it drew came from its own metadata.
    assert_eq!([first.calls, other.calls, again.calls], [1; 3]);
    assert_eq!(first.instance_id, again.instance_id);
    assert_ne!(first.instance_id, other.instance_id);
    let line = log().wait_for(&["seed \"4712\" drawn"]).await;
    assert!(line.contains("testservice"), "{line}");
    assert!(line.contains("drawn=1"), "kept for one instance: {line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_that_define_one_import_are_an_error() {
    let mut config = HostConfig::default();
    config.engine.instances_max = NonZeroU32::MIN;
    let built = HostBuilder::new(config)
        .host_service(Seeds)
        .host_service(Seeds)
        .build(&[])
        .await;
    let error = built.expect_err("a clash");
    assert!(matches!(error, BuildError::Engine(_)), "{error:?}");
    let text = chain(&error);
    assert!(text.contains("insecure-seed"), "{text}");
}
