//! What a plugin may do beside computing: nothing, and with grants what they say and no more.

use std::collections::HashMap;
use std::net::SocketAddr;

use switchboard_host::{
    Destination, FolderGrant, GrantsConfig, HostBuilder, HostConfig, PluginConfig,
};
use switchboard_test_support::{RawAnswer, RawClient, TestHost, guest, log, patiently};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

const OK: u16 = 0;
const NOT_FOUND: u16 = 5;
const PERMISSION_DENIED: u16 = 7;
const RESOURCE_EXHAUSTED: u16 = 8;
const INTERNAL: u16 = 13;
const UNAVAILABLE: u16 = 14;

struct Granted {
    host: TestHost,
    client: RawClient,
}

impl Granted {
    async fn with(grants: GrantsConfig) -> Self {
        let host = TestHost::start_with("granted", |setup| {
            setup.config.plugin.grants = grants;
        })
        .await;
        let client = host.raw().await;
        Self { host, client }
    }

    async fn call(&self, method: &str, message: &str) -> RawAnswer {
        let path = format!("/granted.Granted/{method}");
        let call = self.client.unary(&path, message.as_bytes());
        patiently(method, call).await
    }

    /// What the plugin answers to a call that must go well.
    async fn text(&self, method: &str, message: &str) -> String {
        let answer = self.call(method, message).await;
        assert_eq!(
            answer.code(),
            OK,
            "{method} {message}: {}",
            answer.message()
        );
        String::from_utf8(answer.messages()[0].to_vec()).expect("text")
    }

    async fn fails(&self, method: &str, message: &str, codes: &[u16]) {
        let answer = self.call(method, message).await;
        let said = answer.message();
        assert!(
            codes.contains(&answer.code()),
            "{method} {message}: {} {said}",
            answer.code()
        );
    }
}

fn to(destinations: &[&str]) -> Vec<Destination> {
    let parsed = destinations.iter().map(|text| text.parse());
    parsed.collect::<Result<_, _>>().expect("destinations")
}

/// A server that sends back what it gets, in capitals.
async fn tcp_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    #[expect(clippy::disallowed_methods, reason = "a test's own task")]
    tokio::spawn(async move {
        let mut streams = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut text = String::new();
            let read = tokio::time::timeout(
                std::time::Duration::from_millis(200),
                stream.read_to_string(&mut text),
            );
            if read.await.is_ok() {
                let answer = text.to_uppercase();
                drop(stream.write_all(answer.as_bytes()).await);
            } else {
                streams.push(stream);
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn without_grants_there_is_nothing() {
    let plugin = Granted::with(GrantsConfig::default()).await;
    let server = tcp_server().await;
    assert_eq!(plugin.text("Env", "").await, "");
    assert_eq!(plugin.text("Args", "").await, "");
    plugin.fails("Env", "PATH", &[NOT_FOUND]).await;
    let nowhere = [NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE];
    for path in ["/", ".", "/etc", "/proc/self"] {
        plugin.fails("List", path, &nowhere).await;
    }
    plugin.fails("Read", "/etc/passwd", &nowhere).await;
    plugin
        .fails("Write", "/written\nby a plugin", &nowhere)
        .await;
    plugin.fails("LookUp", "localhost", &nowhere).await;
    let denied = [PERMISSION_DENIED];
    plugin
        .fails("Tcp", &format!("{server}\nhello"), &denied)
        .await;
    plugin
        .fails("Udp", &format!("{server}\nhello"), &denied)
        .await;
    plugin.fails("Listen", "127.0.0.1:0", &denied).await;
    assert_eq!(
        plugin.host.stats("granted").faults,
        0,
        "none of it is a trap"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn environment_and_arguments_are_those_that_are_granted() {
    let grants = GrantsConfig {
        env: [("MODE", "test"), ("EMPTY", "")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        args: vec!["--verbose".to_owned(), "two words".to_owned()],
        ..GrantsConfig::default()
    };
    let plugin = Granted::with(grants).await;
    assert_eq!(plugin.text("Env", "").await, "EMPTY=\nMODE=test\n");
    assert_eq!(plugin.text("Env", "MODE").await, "test");
    assert_eq!(
        plugin.text("Args", "").await,
        "granted\n--verbose\ntwo words"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_are_as_granted_and_nothing_is_reached_through_them() {
    let outside = TempDir::new().expect("a folder");
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "secret").expect("written");
    let [read, write] = [(); 2].map(|()| TempDir::new().expect("a folder"));
    for folder in [&read, &write] {
        std::fs::write(folder.path().join("file"), "content").expect("written");
        std::os::unix::fs::symlink(&secret, folder.path().join("absolute")).expect("a link");
        let name = outside.path().file_name().expect("a name").display();
        let relative = format!("../{name}/secret");
        std::os::unix::fs::symlink(relative, folder.path().join("relative")).expect("a link");
        std::os::unix::fs::symlink(outside.path(), folder.path().join("folder")).expect("a link");
        std::os::unix::fs::symlink("file", folder.path().join("inside")).expect("a link");
    }
    let grants = GrantsConfig {
        folders: vec![
            FolderGrant::read_only(read.path(), "/in"),
            FolderGrant::read_write(write.path(), "/out"),
        ],
        ..GrantsConfig::default()
    };
    let plugin = Granted::with(grants).await;
    assert_eq!(plugin.text("Read", "/in/file").await, "content");
    assert_eq!(plugin.text("Read", "/in/inside").await, "content");
    assert!(plugin.text("List", "/in").await.contains("file\n"));
    let denied = [NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE];
    for folder in ["/in", "/out"] {
        for way in ["absolute", "relative", "folder/secret", "../secret"] {
            plugin
                .fails("Read", &format!("{folder}/{way}"), &denied)
                .await;
        }
    }
    plugin
        .fails("Read", secret.to_str().expect("text"), &denied)
        .await;
    for path in ["/in/file", "/in/new", "/out/absolute", "/out/folder/new"] {
        plugin
            .fails("Write", &format!("{path}\nchanged"), &denied)
            .await;
    }
    plugin.fails("Remove", "/in/file", &denied).await;
    assert_eq!(plugin.text("Write", "/out/new\nwritten").await, "");
    assert_eq!(plugin.text("Remove", "/out/file").await, "");
    let written = std::fs::read_to_string(write.path().join("new"));
    assert_eq!(written.expect("a file"), "written");
    assert!(!write.path().join("file").exists());
    assert_eq!(
        std::fs::read_to_string(&secret).expect("still there"),
        "secret"
    );
    let left = std::fs::read_to_string(read.path().join("file"));
    assert_eq!(left.expect("still there"), "content");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_go_where_they_are_granted() {
    let server = tcp_server().await;
    let port = server.port();
    let other = tcp_server().await;
    let grants = GrantsConfig {
        tcp: to(&[&format!("127.0.0.1:{port}")]),
        ..GrantsConfig::default()
    };
    let plugin = Granted::with(grants).await;
    assert_eq!(
        plugin.text("Tcp", &format!("{server}\nhello")).await,
        "HELLO"
    );
    let denied = [PERMISSION_DENIED];
    plugin
        .fails("Tcp", &format!("{other}\nhello"), &denied)
        .await;
    plugin
        .fails("Tcp", &format!("127.0.0.2:{port}\nhello"), &denied)
        .await;
    plugin
        .fails("Tcp", "169.254.169.254:80\nhello", &denied)
        .await;
    plugin
        .fails("Udp", &format!("{server}\nhello"), &denied)
        .await;
    for address in ["127.0.0.1:0", "0.0.0.0:0", &format!("127.0.0.1:{port}")] {
        plugin.fails("Listen", address, &denied).await;
    }
    log()
        .wait_for(&[
            "plugin=\"granted\"",
            "what it is not granted",
            "grant=\"tcp\"",
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_looked_up_and_reached_where_they_are_granted() {
    let server = tcp_server().await;
    let port = server.port();
    let grants = GrantsConfig {
        tcp: to(&[&format!("localhost:{port}")]),
        ..GrantsConfig::default()
    };
    let plugin = Granted::with(grants).await;
    assert!(
        plugin
            .text("LookUp", "localhost")
            .await
            .contains("127.0.0.1\n")
    );
    assert_eq!(
        plugin
            .text("Tcp", &format!("localhost:{port}\nhello"))
            .await,
        "HELLO"
    );
    let unknown = [NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE];
    plugin.fails("LookUp", "example.com", &unknown).await;
    // The address belongs to the name; another one does not.
    assert_eq!(
        plugin.text("Tcp", &format!("{server}\nhello")).await,
        "HELLO"
    );
    let denied = [PERMISSION_DENIED];
    plugin
        .fails("Tcp", &format!("127.0.0.9:{port}\nhello"), &denied)
        .await;
    let unknown = [NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE];
    plugin.fails("LookUp", "example.com", &unknown).await;
    log()
        .wait_for(&["grant=\"name\"", "wanted=\"example.com\""])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_go_and_come_where_they_are_granted() {
    let server = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let stranger = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let address = server.local_addr().expect("bound");
    #[expect(clippy::disallowed_methods, reason = "a test's own task")]
    tokio::spawn(async move {
        let mut datagram = [0; 100];
        while let Ok((len, from)) = server.recv_from(&mut datagram).await {
            // Of two answers the plugin may see one.
            let strange = stranger.send_to(b"from a stranger", from).await;
            strange.expect("sent");
            let answer = datagram[..len].to_ascii_uppercase();
            server.send_to(&answer, from).await.expect("sent");
        }
    });
    let grants = GrantsConfig {
        udp: to(&[&address.to_string()]),
        ..GrantsConfig::default()
    };
    let plugin = Granted::with(grants).await;
    let answer = plugin.text("Udp", &format!("{address}\nhello")).await;
    assert_eq!(answer, format!("{address}\nHELLO"));
    let denied = [PERMISSION_DENIED];
    plugin.fails("Udp", "127.0.0.1:9\nhello", &denied).await;
    plugin
        .fails("Tcp", &format!("{address}\nhello"), &denied)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_end_at_their_limits() {
    let server = tcp_server().await;
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("file"), "").expect("written");
    let grants = GrantsConfig {
        tcp: to(&["127.0.0.0/8:1-65535"]),
        folders: vec![FolderGrant::read_only(folder.path(), "/in")],
        sockets_max: 5,
        handles_max: 64,
        ..GrantsConfig::default()
    };
    let plugin = Granted::with(grants).await;
    let said = plugin.text("TcpMany", &server.to_string()).await;
    assert!(said.starts_with("5\n"), "{said}");
    let answer = plugin.call("OpenMany", "/in/file").await;
    assert_eq!(answer.code(), RESOURCE_EXHAUSTED, "{}", answer.message());
    assert_eq!(answer.message(), "the plugin used up its handles");
    let said = plugin.text("TcpMany", &server.to_string()).await;
    assert!(
        said.starts_with("5\n"),
        "an instance that is new has none: {said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_change_while_the_host_serves() {
    let plugin = Granted::with(GrantsConfig::default()).await;
    assert_eq!(plugin.text("Env", "").await, "");
    let mut config = HostConfig {
        watch: None,
        ..HostConfig::default()
    };
    let grants = &mut config.plugin.grants;
    grants.env.insert("NEW".to_owned(), "granted".to_owned());
    let reload = |config: &HostConfig| {
        let config = config.clone();
        let handle = plugin.host.handle().clone();
        async move { handle.reload(&config, HashMap::new()).await }
    };
    let names = reload(&config).await.expect("sound");
    assert_eq!(names.len(), 1, "its instances are new");
    assert_eq!(plugin.text("Env", "").await, "NEW=granted\n");
    let gone = FolderGrant::read_only("/nowhere/at/all", "/in");
    config.plugin.grants.folders.push(gone);
    let error = reload(&config)
        .await
        .expect_err("no such folder")
        .to_string();
    assert!(error.contains("/nowhere/at/all"), "{error}");
    assert_eq!(plugin.text("Env", "").await, "NEW=granted\n");
    config.plugin.grants = GrantsConfig::default();
    reload(&config).await.expect("sound");
    assert_eq!(plugin.text("Env", "").await, "");
}

#[tokio::test]
async fn wrong_grants_are_all_said_before_anything_starts() {
    let wrong = |guest_path: &str| PluginConfig {
        grants: GrantsConfig {
            folders: vec![FolderGrant::read_only("/nowhere", guest_path)],
            ..GrantsConfig::default()
        },
        ..PluginConfig::default()
    };
    let built = HostBuilder::new(HostConfig {
        plugin: wrong("relative"),
        ..HostConfig::default()
    });
    let built = built.plugin("granted", wrong("/data"));
    let error = built.build(&[guest("granted")]).await.expect_err("wrong");
    let said = error.to_string();
    assert!(said.contains("\"relative\""), "{said}");
    assert!(
        said.contains("plugin granted: grants: folder /nowhere"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_gone_ends_calls_and_says_why() {
    let folder = TempDir::new().expect("a folder");
    let grants = GrantsConfig {
        folders: vec![FolderGrant::read_only(folder.path(), "/in")],
        ..GrantsConfig::default()
    };
    let host = TestHost::start_with("granted", |setup| {
        setup.config.plugin.grants = grants;
        setup.config.plugin.pool.mode = switchboard_host::Mode::Fresh;
        setup.config.plugin.pool.warm_min = 0;
    })
    .await;
    let path = folder.path().display().to_string();
    drop(folder);
    let client = host.raw().await;
    let answer = client.unary("/granted.Granted/Args", b"").await;
    assert_eq!(answer.code(), INTERNAL, "{}", answer.message());
    assert!(!answer.message().contains(&path));
    log().wait_for(&["that it is granted", &path]).await;
}
