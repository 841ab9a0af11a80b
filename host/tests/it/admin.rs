//! The admin listener: probes and metrics over HTTP/1.1 and HTTP/2, and the gRPC service that lists and closes.

use std::net::TcpListener;

use http::StatusCode;
use switchboard_host::{Admin, Telemetry};
use switchboard_test_support::proto::admin::admin_client::AdminClient;
use switchboard_test_support::proto::admin::plugin::State;
use switchboard_test_support::proto::admin::{
    CloseTunnelRequest, DrainPluginRequest, ListConnectionsRequest, ListPluginsRequest,
    ListTunnelsRequest, Plugin, ReloadPluginRequest,
};
use switchboard_test_support::{
    HttpAnswer, RawClient, Setup, TestHost, eventually, guest, http1, patiently,
};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

fn start(telemetry: &Telemetry) -> Admin {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    Admin::start(listener, telemetry).expect("it starts")
}

async fn get(admin: &Admin, path: &str, more: &str) -> HttpAnswer<TcpStream> {
    let stream = TcpStream::connect(admin.local_addr())
        .await
        .expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\n{more}\r\n");
    patiently(path, http1(stream, request.as_bytes())).await
}

fn client(admin: &Admin) -> AdminClient<Channel> {
    let uri = format!("http://{}", admin.local_addr());
    AdminClient::new(Endpoint::from_shared(uri).expect("a URI").connect_lazy())
}

async fn host_of(telemetry: &Telemetry) -> TestHost {
    let setup = Setup {
        paths: vec![guest("echo")],
        ..Setup::default()
    };
    let given = telemetry.clone();
    TestHost::build(setup, |builder| builder.telemetry(given)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_follow_the_host_from_before_its_start_to_its_stop() {
    let telemetry = Telemetry::new();
    let admin = start(&telemetry);
    assert_eq!(get(&admin, "/livez", "").await.status, StatusCode::OK);
    let answer = get(&admin, "/readyz", "").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.body, "not ready: plugins are being loaded\n");
    let host = host_of(&telemetry).await;
    eventually("the host is ready", || {
        telemetry.readiness().why_not().is_none()
    })
    .await;
    assert_eq!(get(&admin, "/readyz", "").await.status, StatusCode::OK);
    let client = host.raw().await;
    let _open = client.begin(RawClient::head("/echo.Echo/Bidi")).await;
    // It holds the drain up, once it is there.
    let calls = || {
        telemetry
            .open_connections()
            .iter()
            .map(|one| one.calls)
            .sum::<u32>()
    };
    eventually("the call is seen", || calls() == 1).await;
    host.drain();
    eventually("the host drains", || {
        telemetry.readiness().why_not().is_some()
    })
    .await;
    let answer = get(&admin, "/readyz", "").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.body.contains("drain"), "{}", answer.body);
    assert_eq!(get(&admin, "/livez", "").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_come_in_the_form_that_is_asked_for() {
    let telemetry = Telemetry::new();
    let admin = start(&telemetry);
    let host = host_of(&telemetry).await;
    host.raw().await.unary("/echo.Echo/Unary", b"x").await;
    let ours = "grpc_server_started_total{grpc_type=\"unary\",grpc_service=\"echo.Echo\",grpc_method=\"Unary\"} 1";
    let plain = get(&admin, "/metrics", "").await;
    assert_eq!(
        plain.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert!(
        plain.body.lines().any(|line| line == ours),
        "{}",
        plain.body
    );
    let open = get(
        &admin,
        "/metrics",
        "accept: application/openmetrics-text;version=1.0.0\r\n",
    )
    .await;
    assert!(
        open.header("content-type")
            .starts_with("application/openmetrics-text")
    );
    assert!(open.body.ends_with("# EOF\n"), "{}", open.body);
    // The same over HTTP/2, without a second parser of answers: by its status and its bytes.
    let client = RawClient::connect(admin.local_addr()).await;
    let head = http::Request::get("http://admin/metrics");
    let answer = patiently("metrics", client.call(head, "")).await;
    assert_eq!(answer.status, StatusCode::OK);
    let text = String::from_utf8(answer.body.to_vec()).expect("UTF-8");
    assert!(text.lines().any(|line| line == ours), "{text}");
    // What the admin listener is asked is not what the host serves.
    assert!(!text.contains("switchboard.admin"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_says_what_there_is() {
    let admin = start(&Telemetry::new());
    let answer = get(&admin, "/nothing", "").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    for path in ["/livez", "/readyz", "/metrics"] {
        assert!(answer.body.contains(path), "{}", answer.body);
    }
    let addr = admin.local_addr();
    drop(admin);
    let gone = TcpStream::connect(addr).await;
    assert!(gone.is_err(), "nobody listens any more");
}

/// From an address of this machine that nobody else uses, silent.
async fn silent(admin: &Admin) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    let from = "127.0.0.7:0".parse().expect("an address");
    socket.bind(from).expect("all of 127.0.0.0/8 is ours");
    let connected = socket.connect(admin.local_addr()).await;
    connected.expect("it listens")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_opens_connections_and_says_nothing_keeps_no_probe_out() {
    let admin = start(&Telemetry::new());
    let mut open = Vec::new();
    for _ in 0..32 {
        open.push(silent(&admin).await);
    }
    let mut one_more = silent(&admin).await;
    let mut byte = [0];
    let closed = tokio::io::AsyncReadExt::read(&mut one_more, &mut byte);
    let closed = patiently("it is closed at once", closed).await;
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    // Nothing was said to the others yet.
    let is_open = |stream: &TcpStream| {
        let read = stream.try_read(&mut [0]);
        read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    assert!(open.iter().all(is_open));
    for _ in 0..64 {
        drop(silent(&admin).await);
    }
    assert_eq!(get(&admin, "/livez", "").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_are_listed_and_closed() {
    let telemetry = Telemetry::new();
    let admin = start(&telemetry);
    let host = host_of(&telemetry).await;
    let mut client = client(&admin);
    let (tunnel, handle) = host.raw_tunnel().await;
    let mut call = tunnel.begin(RawClient::head("/echo.Echo/Bidi")).await;
    call.send(b"x");
    eventually("the call is seen", || {
        telemetry
            .open_tunnels()
            .iter()
            .any(|tunnel| tunnel.calls == 1)
    })
    .await;
    let listed = client
        .list_tunnels(ListTunnelsRequest {})
        .await
        .expect("OK");
    let [listed] = &listed.get_ref().tunnels[..] else {
        panic!("one tunnel: {listed:?}");
    };
    assert_eq!((listed.calls, listed.id.len()), (1, 32));
    assert!(
        listed.received_bytes > 0 && listed.sent_bytes > 0,
        "{listed:?}"
    );
    let connections = client.list_connections(ListConnectionsRequest {}).await;
    let connections = connections.expect("OK").into_inner().connections;
    let inside = connections.iter().find(|one| one.tunnel == listed.id);
    assert_eq!(inside.map(|one| one.calls), Some(1), "{connections:?}");
    let close = |id: &str, now| CloseTunnelRequest {
        id: id.to_owned(),
        now,
    };
    let unknown = client.close_tunnel(close("no such id", true)).await;
    assert_eq!(unknown.expect_err("there is none").code(), Code::NotFound);
    client
        .close_tunnel(close(&listed.id, true))
        .await
        .expect("OK");
    eventually("it is closed", || handle.ending().is_some()).await;
    let ending = handle.ending().expect("closed").to_string();
    assert!(
        ending.contains("1001") && ending.contains("operator"),
        "{ending}"
    );
    eventually("it is gone", || telemetry.open_tunnels().is_empty()).await;
    drop(call);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_that_is_closed_in_order_lets_its_calls_end() {
    let telemetry = Telemetry::new();
    let admin = start(&telemetry);
    let host = host_of(&telemetry).await;
    let (tunnel, handle) = host.raw_tunnel().await;
    let mut call = tunnel.begin(RawClient::head("/echo.Echo/Bidi")).await;
    eventually("the call is seen", || {
        telemetry
            .open_tunnels()
            .iter()
            .any(|tunnel| tunnel.calls == 1)
    })
    .await;
    let id = telemetry.open_tunnels()[0].id.clone();
    let request = CloseTunnelRequest { id, now: false };
    client(&admin).close_tunnel(request).await.expect("OK");
    call.send(b"last");
    call.end();
    let answer = call.answer().await.expect("no reset");
    assert_eq!(answer.messages(), ["last"]);
    drop(tunnel);
    eventually("it is closed", || handle.ending().is_some()).await;
    let other = host.raw().await.unary("/echo.Echo/Unary", b"y").await;
    assert_eq!(other.messages(), ["y"], "others are served on");
}

async fn plugins(client: &mut AdminClient<Channel>) -> Vec<Plugin> {
    let listed = client.list_plugins(ListPluginsRequest {}).await;
    listed.expect("OK").into_inner().plugins
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_are_listed_loaded_anew_and_taken_out_of_service() {
    let telemetry = Telemetry::new();
    let admin = start(&telemetry);
    let mut client = client(&admin);
    let early = client.list_plugins(ListPluginsRequest {}).await;
    assert_eq!(
        early.expect_err("nothing is served yet").code(),
        Code::Unavailable
    );
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().join("echo.wasm");
    std::fs::copy(guest("echo"), &path).expect("a copy");
    std::fs::write(folder.path().join("bad.wasm"), "text").expect("a file");
    let setup = Setup {
        paths: vec![folder.path().to_owned()],
        ..Setup::default()
    };
    let given = telemetry.clone();
    let host = TestHost::build(setup, |builder| builder.telemetry(given)).await;
    eventually("it serves", || telemetry.readiness().why_not().is_none()).await;
    let listed = plugins(&mut client).await;
    let [echo, bad] = &listed[..] else {
        panic!("two files: {listed:?}");
    };
    assert_eq!((&*echo.name, echo.state()), ("echo", State::Serving));
    let digest = echo.digest.strip_prefix("sha256:").map(str::len);
    assert_eq!(digest, Some(64), "{}", echo.digest);
    assert_eq!(echo.services, ["echo.Echo"]);
    assert_eq!((&*bad.name, bad.state()), ("bad", State::Refused));
    assert!(
        bad.fault.contains("not a WebAssembly component"),
        "{}",
        bad.fault
    );
    let reload = |name: &str| ReloadPluginRequest {
        name: name.to_owned(),
    };
    client.reload_plugin(reload("echo")).await.expect("OK");
    let again = plugins(&mut client).await;
    assert_eq!(
        (&again[0].digest, again[0].state()),
        (&echo.digest, State::Serving)
    );
    std::fs::write(&path, "text").expect("a file");
    let refused = client
        .reload_plugin(reload("echo"))
        .await
        .expect_err("refused");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused.message().contains("not a WebAssembly component"),
        "{refused}"
    );
    let raw = host.raw().await;
    assert_eq!(
        raw.unary("/echo.Echo/Unary", b"x").await.messages(),
        ["x"],
        "it goes on"
    );
    let drain = |name: &str| DrainPluginRequest {
        name: name.to_owned(),
    };
    let unknown = client
        .drain_plugin(drain("nobody"))
        .await
        .expect_err("none");
    assert_eq!(unknown.code(), Code::NotFound);
    client.drain_plugin(drain("echo")).await.expect("OK");
    assert_eq!(
        raw.unary("/echo.Echo/Unary", b"x").await.code(),
        12,
        "UNIMPLEMENTED"
    );
    let state = |listed: &[Plugin]| {
        listed
            .iter()
            .find(|one| one.name == "echo")
            .map(Plugin::state)
    };
    assert_eq!(state(&plugins(&mut client).await), Some(State::Drained));
    client.drain_plugin(drain("echo")).await.expect("it is");
    std::fs::copy(guest("echo"), &path).expect("a copy");
    client.reload_plugin(reload("echo")).await.expect("OK");
    assert_eq!(state(&plugins(&mut client).await), Some(State::Serving));
    assert_eq!(raw.unary("/echo.Echo/Unary", b"x").await.messages(), ["x"]);
    let text = get(&admin, "/metrics", "").await.body;
    for (outcome, count) in [("swapped", 1), ("removed", 1), ("added", 1)] {
        let line = format!("switchboard_plugin_swaps_total{{outcome=\"{outcome}\"}} {count}");
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
}
