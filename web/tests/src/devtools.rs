//! The browser's debugging protocol over two pipes: commands out, answers and events in.
//!
//! Called by `browser` and `page`. A thread reads, whoever commands writes; so nothing here depends
//! on a runtime, and tests with runtimes of their own share one browser. Invariants: every command
//! gets its answer or, when the browser ends, an error; an event of a session that nobody listens to
//! is dropped. Source: Chrome DevTools Protocol, version 1.3; messages end in a zero byte.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::oneshot;

/// What listens to the events of a session: their names and parameters.
pub(crate) type Listener = Arc<dyn Fn(&str, &Value) + Send + Sync>;

/// A command's result, or what the browser says against it.
pub(crate) type Answer = Result<Value, String>;

/// The connection to a browser.
#[derive(Clone)]
pub(crate) struct DevTools(Arc<Mutex<Inner>>);

struct Inner {
    /// None once the browser has ended.
    commands: Option<Box<dyn Write + Send>>,
    last_id: u64,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
    listeners: HashMap<String, Listener>,
}

impl DevTools {
    /// Talks over these pipes until `answers` ends, then drops `ended`.
    pub(crate) fn start(
        commands: impl Write + Send + 'static,
        answers: impl Read + Send + 'static,
        ended: impl Send + 'static,
    ) -> Self {
        let this = Self(Arc::new(Mutex::new(Inner {
            commands: Some(Box::new(commands)),
            last_id: 0,
            waiting: HashMap::new(),
            listeners: HashMap::new(),
        })));
        let reader = this.clone();
        std::thread::Builder::new()
            .name("devtools".to_owned())
            .spawn(move || {
                reader.read(answers);
                reader.hang_up();
                drop(ended);
            })
            .expect("a thread for the browser's answers");
        this
    }

    /// Sends a command, to a session or to the browser itself; the answer comes later.
    pub(crate) fn command(
        &self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        let mut inner = self.lock();
        inner.last_id += 1;
        let id = inner.last_id;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        inner.waiting.insert(id, answer);
        // The browser reads its commands at once; a write never waits for long.
        let written = inner
            .commands
            .as_mut()
            .is_some_and(|pipe| pipe.write_all(&bytes).and_then(|()| pipe.flush()).is_ok());
        if !written {
            inner.waiting.remove(&id);
        }
        receiver
    }

    /// Calls `listener` with the events of a session.
    pub(crate) fn listen(&self, session: &str, listener: Listener) {
        self.lock().listeners.insert(session.to_owned(), listener);
    }

    /// Calls nobody any more with the events of a session.
    pub(crate) fn forget(&self, session: &str) {
        self.lock().listeners.remove(session);
    }

    /// Whether the browser is there.
    pub(crate) fn is_alive(&self) -> bool {
        self.lock().commands.is_some()
    }

    /// Closes the pipe of commands, which ends the browser, and every wait for an answer.
    pub(crate) fn hang_up(&self) {
        let mut inner = self.lock();
        inner.commands = None;
        inner.waiting.clear();
        inner.listeners.clear();
    }

    fn read(&self, answers: impl Read) {
        let mut answers = BufReader::new(answers);
        let mut message = Vec::new();
        while let Ok(1..) = answers.read_until(0, &mut message) {
            if message.pop() == Some(0)
                && let Ok(value) = serde_json::from_slice(&message)
            {
                self.handle(&value);
            }
            message.clear();
        }
    }

    fn handle(&self, message: &Value) {
        if let Some(id) = message["id"].as_u64() {
            let waiting = self.lock().waiting.remove(&id);
            if let Some(waiting) = waiting {
                let answer = match message.get("error") {
                    Some(error) => Err(error["message"].as_str().unwrap_or("?").to_owned()),
                    None => Ok(message["result"].clone()),
                };
                // Whoever asked may have gone.
                drop(waiting.send(answer));
            }
        } else if let (Some(session), Some(method)) =
            (message["sessionId"].as_str(), message["method"].as_str())
        {
            let listener = self.lock().listeners.get(session).cloned();
            if let Some(listener) = listener {
                listener(method, &message["params"]);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
