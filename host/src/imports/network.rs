//! What a plugin reaches over the network: the gate in front of WASI's sockets and names.
//!
//! WASI's own sockets ask [`Reach::check`] before they connect, send or take a datagram; looking up names and
//! making sockets are replaced here, because WASI has no gate for them. Invariants: without a grant there is
//! neither socket nor name; listening is never granted; an address that was granted by name counts only while
//! the host itself finds it under that name.
//!
//! Knows no call. What is denied is a line in the log, at most one a second for each plugin.

mod answer;
mod names;

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily, Network};
use wasmtime_wasi::p2::bindings::sockets::{tcp_create_socket, udp_create_socket};
use wasmtime_wasi::p2::{TcpSocket, UdpSocket, subscribe};
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSocketsCtxView, WasiSocketsView};

use self::answer::Answer;
pub(crate) use self::names::Names;
use crate::config::{Destination, GrantsConfig};

/// WASI's interfaces that are replaced, in the version that `wasmtime-wasi` links: the tests of grants fail if
/// it links another.
const NAMES: &str = "wasi:sockets/ip-name-lookup@0.2.12";
const TCP: &str = "wasi:sockets/tcp-create-socket@0.2.12";
const UDP: &str = "wasi:sockets/udp-create-socket@0.2.12";

/// What is checked for an address.
pub(crate) type Checked = Pin<Box<dyn Future<Output = bool> + Send + Sync>>;

/// What a plugin reaches, for all its instances.
pub(crate) struct Reach {
    plugin: Arc<str>,
    tcp: Vec<Destination>,
    udp: Vec<Destination>,
    pub(super) http: Vec<Destination>,
    pub(super) names: Names,
    sockets_max: usize,
    denied: Mutex<Denied>,
}

/// What was denied since the log said so last.
#[derive(Default)]
struct Denied {
    said: Option<Instant>,
    unsaid: u64,
}

impl std::fmt::Debug for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reach")
            .field("tcp", &self.tcp)
            .field("udp", &self.udp)
            .field("http", &self.http)
            .finish_non_exhaustive()
    }
}

impl Reach {
    /// As granted to this plugin.
    #[must_use]
    pub(crate) fn new(plugin: Arc<str>, grants: &GrantsConfig) -> Self {
        let all = [&grants.tcp, &grants.udp, &grants.http]
            .into_iter()
            .flatten();
        Self {
            plugin,
            tcp: grants.tcp.clone(),
            udp: grants.udp.clone(),
            http: grants.http.clone(),
            names: Names::new(all.filter_map(Destination::name)),
            sockets_max: grants.sockets_max,
            denied: Mutex::default(),
        }
    }

    /// Whether it may have TCP sockets at all.
    #[must_use]
    pub(crate) fn has_tcp(&self) -> bool {
        !self.tcp.is_empty()
    }

    /// Whether it may have UDP sockets at all.
    #[must_use]
    pub(crate) fn has_udp(&self) -> bool {
        !self.udp.is_empty()
    }

    /// Whether a socket may use this address so.
    pub(crate) fn check(self: &Arc<Self>, address: SocketAddr, used: SocketAddrUse) -> Checked {
        // A port that the system chooses, as whoever connects has one: nothing can be reached by it.
        let unbound = address.ip().is_unspecified() && address.port() == 0;
        let this = Arc::clone(self);
        Box::pin(async move {
            let (rules, what) = match used {
                SocketAddrUse::TcpBind => return this.has_tcp() && unbound,
                SocketAddrUse::UdpBind => return this.has_udp() && unbound,
                SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => return false,
                SocketAddrUse::TcpConnect => (&this.tcp, "tcp"),
                SocketAddrUse::UdpSend | SocketAddrUse::UdpReceive => (&this.udp, "udp"),
            };
            let admitted = this.admits(rules, address).await;
            // What others send is not the plugin's doing.
            if !admitted && !matches!(used, SocketAddrUse::UdpReceive) {
                this.deny(what, &address);
            }
            admitted
        })
    }

    async fn admits(&self, rules: &[Destination], address: SocketAddr) -> bool {
        let (ip, port) = (address.ip(), address.port());
        let meant = || {
            rules
                .iter()
                .filter(|rule| rule.has_port(port) && rule.reaches(ip))
        };
        if meant().any(|rule| rule.name().is_none()) {
            return true;
        }
        for name in meant().filter_map(Destination::name) {
            if self.names.has(name, ip).await {
                return true;
            }
        }
        false
    }

    /// Whether the plugin may know which addresses a name has.
    fn may_look_up(&self, name: &str) -> bool {
        let mut rules = self.tcp.iter().chain(&self.udp);
        rules.any(|rule| rule.is_named(name))
    }

    /// Says in the log what the plugin wanted and was not granted.
    pub(super) fn deny(&self, what: &'static str, wanted: &dyn std::fmt::Display) {
        let left_out = {
            let mut denied = self.denied.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            if denied
                .said
                .is_some_and(|said| now.duration_since(said) < Duration::from_secs(1))
            {
                denied.unsaid += 1;
                return;
            }
            denied.said = Some(now);
            std::mem::take(&mut denied.unsaid)
        };
        // In quotes, and so with whatever is in it escaped: a plugin chose it.
        let wanted = wanted.to_string();
        tracing::warn!(
            plugin = &*self.plugin,
            grant = what,
            wanted,
            left_out,
            "the plugin wanted to reach what it is not granted"
        );
    }
}

/// What this needs of the Store's state.
pub(crate) trait NetworkView: WasiView {
    /// What the plugin reaches.
    fn reach(&self) -> &Arc<Reach>;
}

/// Puts the gates in the place of what WASI links.
///
/// # Errors
/// When the linker does not take them.
pub(crate) fn link<T: NetworkView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut tcp = linker.instance(TCP)?;
    tcp.func_wrap(
        "create-tcp-socket",
        |mut store, (family,): (IpAddressFamily,)| {
            let made = make(store.data_mut(), |view| {
                tcp_create_socket::Host::create_tcp_socket(view, family)
            });
            Ok((made?,))
        },
    )?;
    let mut udp = linker.instance(UDP)?;
    udp.func_wrap_async(
        "create-udp-socket",
        |mut store, (family,): (IpAddressFamily,)| {
            Box::new(async move {
                let state = store.data_mut();
                if !has_room(state) {
                    return Ok((Err(ErrorCode::NewSocketLimit),));
                }
                let mut view = state.sockets();
                let made = udp_create_socket::Host::create_udp_socket(&mut view, family).await;
                Ok((made.map(Ok).or_else(|error| error.downcast().map(Err))?,))
            })
        },
    )?;
    link_names(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn make<T: NetworkView, R: 'static>(
    state: &mut T,
    make: impl FnOnce(&mut WasiSocketsCtxView<'_>) -> wasmtime_wasi::p2::SocketResult<Resource<R>>,
) -> wasmtime::Result<Result<Resource<R>, ErrorCode>> {
    if !has_room(state) {
        return Ok(Err(ErrorCode::NewSocketLimit));
    }
    let made = make(&mut state.sockets());
    made.map(Ok).or_else(|error| error.downcast().map(Err))
}

/// Whether one more socket fits. Looks through the table, which has few entries and is asked seldom.
fn has_room<T: NetworkView>(state: &mut T) -> bool {
    let most = state.reach().sockets_max;
    let table = state.ctx().table;
    let sockets = table
        .iter_mut()
        .filter(|entry| entry.is::<TcpSocket>() || entry.is::<UdpSocket>());
    sockets.count() < most
}

fn link_names<T: NetworkView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    let mut names = linker.instance(NAMES)?;
    names.resource(
        "resolve-address-stream",
        ResourceType::host::<Answer>(),
        |mut store, answer| {
            let table = store.data_mut().ctx().table;
            drop(table.delete(Resource::<Answer>::new_own(answer))?);
            Ok(())
        },
    )?;
    names.func_wrap(
        "resolve-addresses",
        |mut store, (_network, name): (Resource<Network>, String)| {
            let state = store.data_mut();
            let answer = match look_up(state.reach(), name) {
                Ok(answer) => answer,
                Err(error) => return Ok((Err(error),)),
            };
            Ok((Ok(state.ctx().table.push(answer)?),))
        },
    )?;
    names.func_wrap(
        "[method]resolve-address-stream.resolve-next-address",
        |mut store, (answer,): (Resource<Answer>,)| {
            Ok((store.data_mut().ctx().table.get_mut(&answer)?.next(),))
        },
    )?;
    names.func_wrap(
        "[method]resolve-address-stream.subscribe",
        |mut store, (answer,): (Resource<Answer>,)| {
            Ok((subscribe(store.data_mut().ctx().table, answer)?,))
        },
    )?;
    Ok(())
}

fn look_up(reach: &Arc<Reach>, name: String) -> Result<Answer, ErrorCode> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(Answer::known(vec![address]));
    }
    if !reach.may_look_up(&name) {
        reach.deny("name", &name);
        return Err(ErrorCode::AccessDenied);
    }
    let reach = Arc::clone(reach);
    Ok(Answer::awaited(async move {
        let found = reach.names.addresses(&name).await;
        found.map_err(|_unresolved| ErrorCode::NameUnresolvable)
    }))
}
