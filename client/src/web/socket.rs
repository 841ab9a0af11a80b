//! The browser's WebSocket as a byte stream.
//!
//! Messages come as ArrayBuffers, which are four times cheaper than Blobs for small ones, and are
//! copied once, into HTTP/2's own buffer; what goes out is copied once, by the browser. Invariants: what is unread
//! is bounded, by HTTP/2's windows if the server keeps to them and by [`UNREAD_BYTES_MAX`] if not;
//! the socket's callbacks are gone before what they refer to is. JavaScript's objects stay inside the
//! connection's task.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use js_sys::{Array, ArrayBuffer, Uint8Array};
use switchboard_tunnel::handshake::Token;
use switchboard_tunnel::{Config, SUBPROTOCOL};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{BinaryType, CloseEvent, MessageEvent, WebSocket};

use super::global::function_of;
use super::{BoxFuture, Clock, Shared, Sleep};
use crate::channel::{TokenCell, TunnelOptions};
use crate::error::ConnectError;
use crate::target::{Scheme, Target};
use crate::transport::{Connected, Connector, Transport};

/// Bytes that the browser may hold for sending. HTTP/2's windows let no more than their size out,
/// so that this is a safety net only.
const UNSENT_BYTES_MAX: u32 = 1 << 20;

/// How soon to look again after the net caught something: no event tells.
const UNSENT_RECHECK: Duration = Duration::from_millis(10);

/// Bytes that may be unread. Far beyond any window; a server that sends more does not speak HTTP/2.
const UNREAD_BYTES_MAX: usize = 64 << 20;

/// Opens WebSockets.
pub(super) struct SocketConnector {
    url: String,
    transport: Transport,
    token: TokenCell,
    offer: bool,
}

impl SocketConnector {
    pub(super) fn new(target: &Target, options: &TunnelOptions) -> Self {
        Self {
            url: target.uri().to_string(),
            transport: match target.scheme() {
                Scheme::Wss => Transport::WebSocketTls,
                Scheme::Ws | Scheme::Http | Scheme::Https => Transport::WebSocket,
            },
            token: TokenCell::clone(&options.token),
            offer: options.offer,
        }
    }

    fn subprotocols(&self) -> Array {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = self.offer.then(|| SUBPROTOCOL.to_owned());
        let token = token.as_ref().map(Token::to_subprotocol);
        ours.into_iter().chain(token).map(JsValue::from).collect()
    }
}

impl Connector for SocketConnector {
    fn connect(&self) -> BoxFuture<Result<Connected, ConnectError>> {
        let opening = Socket::open(&self.url, &self.subprotocols());
        let transport = self.transport;
        Box::pin(async move {
            let mut socket = opening?;
            poll_fn(|cx| socket.poll_opened(cx)).await?;
            let chosen = socket.socket.protocol();
            let ours = chosen == SUBPROTOCOL;
            socket.message_bytes_max = Config::message_bytes_for(ours).get();
            let state = Rc::clone(&socket.state);
            Ok(Connected::new(socket, transport)
                .with_subprotocol((!chosen.is_empty()).then_some(chosen))
                .with_end_text(Box::new(move || state.borrow().end_text())))
        })
    }
}

struct Socket {
    socket: WebSocket,
    state: Shared<State>,
    /// Longest message that the server takes.
    message_bytes_max: usize,
    recheck: Option<Sleep>,
    closing: bool,
    _callbacks: Callbacks,
}

/// What the callbacks know.
#[derive(Default)]
struct State {
    opened: bool,
    unread: VecDeque<Uint8Array>,
    unread_bytes: usize,
    /// Bytes of the first of them that were read.
    offset: u32,
    closed: Option<Closed>,
    /// Why we gave it up.
    failed: Option<&'static str>,
    reader: Option<Waker>,
    /// Waits for the end of the socket.
    closer: Option<Waker>,
}

struct Closed {
    code: u16,
    reason: String,
}

/// Kept as long as JavaScript may call them.
struct Callbacks {
    opened: Closure<dyn FnMut()>,
    message: Closure<dyn FnMut(MessageEvent)>,
    closed: Closure<dyn FnMut(CloseEvent)>,
}

impl Socket {
    fn open(url: &str, subprotocols: &Array) -> Result<Self, ConnectError> {
        let socket = if subprotocols.length() == 0 {
            WebSocket::new(url)
        } else {
            WebSocket::new_with_str_sequence(url, subprotocols)
        };
        // Wrong addresses, and `ws` in a page that came over `https`.
        let socket = socket.map_err(|error| ConnectError::Unusable(describe(&error)))?;
        socket.set_binary_type(BinaryType::Arraybuffer);
        let state = Shared::<State>::default();
        let callbacks = Callbacks::new(&socket, &state);
        Ok(Self {
            socket,
            state,
            message_bytes_max: Config::message_bytes_for(false).get(),
            recheck: None,
            closing: false,
            _callbacks: callbacks,
        })
    }

    fn poll_opened(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        let mut state = self.state.borrow_mut();
        if let Some(closed) = &state.closed {
            let text = closed.to_string();
            return Poll::Ready(Err(ConnectError::Browser(text)));
        }
        if state.opened {
            return Poll::Ready(Ok(()));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Waits while the browser holds too much that it has not sent.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.socket.buffered_amount() > UNSENT_BYTES_MAX {
            let recheck = self
                .recheck
                .get_or_insert_with(|| Clock.sleep_until(Clock.now() + UNSENT_RECHECK));
            ready!(Pin::new(recheck).poll(cx));
            self.recheck = None;
        }
        Poll::Ready(())
    }

    fn close(&mut self) {
        if !std::mem::replace(&mut self.closing, true) {
            // Fails only for other codes. Before the socket is open, it gives it up.
            drop(self.socket.close_with_code(1000));
        }
    }
}

impl Callbacks {
    fn new(socket: &WebSocket, state: &Shared<State>) -> Self {
        let callbacks = Self {
            opened: {
                let state = Rc::clone(state);
                Closure::new(move || {
                    let mut state = state.borrow_mut();
                    state.opened = true;
                    wake(state.reader.take());
                })
            },
            message: {
                let (state, socket) = (Rc::clone(state), socket.clone());
                Closure::new(move |event: MessageEvent| {
                    let refused = state.borrow_mut().handle_message(&event.data());
                    if let Some(code) = refused {
                        drop(socket.close_with_code(code));
                    }
                })
            },
            closed: {
                let state = Rc::clone(state);
                Closure::new(move |event: CloseEvent| {
                    let mut state = state.borrow_mut();
                    state.closed = Some(Closed {
                        code: event.code(),
                        reason: event.reason(),
                    });
                    wake(state.reader.take());
                    wake(state.closer.take());
                })
            },
        };
        socket.set_onopen(Some(function_of(&callbacks.opened)));
        socket.set_onmessage(Some(function_of(&callbacks.message)));
        // An error is always followed by a close, and says nothing.
        socket.set_onclose(Some(function_of(&callbacks.closed)));
        callbacks
    }
}

impl State {
    /// Takes a message; if it cannot, says with which code the socket is to be closed. Browsers let
    /// pages use codes of 4000 and above only: these are RFC 6455's, plus 3000.
    fn handle_message(&mut self, data: &JsValue) -> Option<u16> {
        if self.failed.is_some() {
            return None;
        }
        let refused = match data.dyn_ref::<ArrayBuffer>() {
            None => Some((4003, "the server sent a text message")),
            Some(buffer) => {
                let bytes = Uint8Array::new(buffer);
                self.unread_bytes += bytes.length() as usize;
                if bytes.length() > 0 {
                    self.unread.push_back(bytes);
                }
                (self.unread_bytes > UNREAD_BYTES_MAX)
                    .then_some((4009, "the server sent more than HTTP/2 allows"))
            }
        };
        wake(self.reader.take());
        let (code, text) = refused?;
        self.failed = Some(text);
        self.unread.clear();
        Some(code)
    }

    /// Moves what fits.
    fn read(&mut self, buf: &mut ReadBuf<'_>) {
        while let Some(front) = self.unread.front() {
            let length = front.length();
            let room = u32::try_from(buf.remaining()).unwrap_or(u32::MAX);
            let count = room.min(length - self.offset);
            if count == 0 {
                return;
            }
            let end = self.offset + count;
            let into = buf.initialize_unfilled_to(count as usize);
            if count == length {
                front.copy_to(into);
            } else {
                front.subarray(self.offset, end).copy_to(into);
            }
            buf.advance(count as usize);
            self.unread_bytes -= count as usize;
            self.offset = end;
            if end == length {
                self.unread.pop_front();
                self.offset = 0;
            }
        }
    }

    fn ended(&self) -> io::Result<bool> {
        if let Some(text) = self.failed {
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        match &self.closed {
            None => Ok(false),
            Some(closed) if closed.is_clean() => Ok(true),
            Some(closed) => {
                let text = closed.to_string();
                Err(io::Error::new(io::ErrorKind::ConnectionReset, text))
            }
        }
    }

    fn end_text(&self) -> Option<String> {
        if let Some(text) = self.failed {
            return Some(text.to_owned());
        }
        let closed = self.closed.as_ref()?;
        Some(match closed.code {
            ABNORMAL => format!("the tunnel broke off without a close frame ({ABNORMAL})"),
            _ => format!("the tunnel was closed with {closed}"),
        })
    }
}

impl Closed {
    fn is_clean(&self) -> bool {
        switchboard_tunnel::CloseCode::new(self.code).is_none_or(|code| code.is_clean())
            && self.code != ABNORMAL
    }
}

/// What the browser says when there was no close frame.
const ABNORMAL: u16 = 1006;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.code)?;
        if !self.reason.is_empty() {
            write!(f, " ({})", self.reason.escape_debug())?;
        }
        Ok(())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.state.borrow_mut();
        if !state.unread.is_empty() {
            state.read(buf);
            return Poll::Ready(Ok(()));
        }
        if state.ended()? {
            return Poll::Ready(Ok(()));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.closing || self.state.borrow().ended()? {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(self.poll_room(cx));
        let count = buf.len().min(self.message_bytes_max);
        let sent = self.socket.send_with_u8_array(&buf[..count]);
        Poll::Ready(match sent {
            Ok(()) => Ok(count),
            Err(error) => Err(io::Error::other(describe(&error))),
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        let mut state = self.state.borrow_mut();
        if state.closed.is_some() {
            return Poll::Ready(Ok(()));
        }
        state.closer = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The callbacks are dropped with us, and calling one after that would throw.
        self.socket.set_onopen(None);
        self.socket.set_onmessage(None);
        self.socket.set_onclose(None);
        self.close();
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// What JavaScript's error says.
fn describe(error: &JsValue) -> String {
    match error.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => format!("{error:?}"),
    }
}
