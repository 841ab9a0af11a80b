//! One tab of the browser: loads a page, runs what the page exports, remembers what went wrong in it.
//!
//! Made by `browser`. A page of tests has a function `run(NAME, ARGUMENTS)` for each scenario of the
//! page crate; see `page/files/page.js`. Invariants: every page has a browser context of its own, gone
//! with it; whatever the page throws, logs as an error or fails to load is kept, and
//! [`Page::assert_no_errors`] shows it.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

use crate::browser::Process;
use crate::devtools::Answer;
use crate::patiently;

/// An exception that nobody in the page caught, as the browser shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thrown(pub String);

/// A page in a tab of its own; the tab closes with it.
pub struct Page {
    process: Arc<Process>,
    context: String,
    session: String,
    seen: Arc<Seen>,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Page")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// What the browser tells of a page.
struct Seen {
    loads: watch::Sender<u64>,
    errors: Mutex<Vec<String>>,
}

impl Seen {
    fn handle(&self, event: &str, params: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        let error = match event {
            "Page.loadEventFired" => return self.loads.send_modify(|loads| *loads += 1),
            "Runtime.exceptionThrown" => described(&params["exceptionDetails"]),
            "Runtime.consoleAPICalled" if params["type"] == "error" => {
                let parts = params["args"].as_array().into_iter().flatten();
                parts.map(shown).collect::<Vec<_>>().join(" ")
            }
            // What the browser itself has to say: a policy that was broken, a file that is not there.
            "Log.entryAdded" if params["entry"]["level"] == "error" => {
                let entry = &params["entry"];
                format!("{} ({})", text(&entry["text"]), text(&entry["url"]))
            }
            "Inspector.targetCrashed" => "the page crashed".to_owned(),
            _ => return,
        };
        self.errors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(error);
    }

    fn errors(&self) -> Vec<String> {
        let errors = self.errors.lock();
        errors.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Page {
    pub(crate) async fn open(process: Arc<Process>, url: &str) -> Self {
        let context = process.command(None, "Target.createBrowserContext", json!({}));
        let context = text(&context.await["browserContextId"]);
        let blank = json!({ "url": "about:blank", "browserContextId": context });
        let target = process.command(None, "Target.createTarget", blank).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = process.command(None, "Target.attachToTarget", attach).await;
        let page = Self {
            context,
            session: text(&session["sessionId"]),
            seen: Arc::new(Seen {
                loads: watch::Sender::new(0),
                errors: Mutex::default(),
            }),
            process,
        };
        let seen = Arc::clone(&page.seen);
        let listener = Arc::new(move |event: &str, params: &Value| seen.handle(event, params));
        page.process.devtools().listen(&page.session, listener);
        // Not `Network`: the browser would tell us of each message of a WebSocket, which takes it longer
        // than the message.
        for domain in ["Page", "Runtime", "Log"] {
            page.command(&format!("{domain}.enable"), json!({})).await;
        }
        page.go(url).await;
        page
    }

    /// Loads another page into the tab.
    pub async fn go(&self, url: &str) {
        let mut loads = self.seen.loads.subscribe();
        loads.mark_unchanged();
        let gone = self.command("Page.navigate", json!({ "url": url })).await;
        if let Some(error) = gone["errorText"].as_str() {
            panic!("{url}: {error}");
        }
        let loaded = patiently(&format!("{url} is loaded"), loads.changed()).await;
        loaded.expect("the page lives");
    }

    /// Evaluates JavaScript in the page; a promise is waited for.
    pub async fn evaluate(&self, expression: &str) -> Result<Value, Thrown> {
        self.begin_expression(expression).outcome().await
    }

    /// Waits until this expression holds, looking at it whenever the document changes.
    ///
    /// # Panics
    /// If it throws.
    pub async fn wait_until(&self, condition: &str) {
        let watched = format!(
            "new Promise((resolve, reject) => {{
              const look = () => {{
                try {{
                  if ({condition}) {{ observer.disconnect(); resolve(true); }}
                }} catch (error) {{ observer.disconnect(); reject(error); }}
              }};
              const observer = new MutationObserver(look);
              observer.observe(document, {{
                attributes: true, characterData: true, childList: true, subtree: true,
              }});
              look();
            }})"
        );
        let mut running = self.begin_expression(&watched);
        running.name = condition.to_owned();
        running.finish().await;
    }

    /// Runs a scenario of the page crate to its end.
    ///
    /// # Panics
    /// If it throws, with what it threw.
    pub async fn run(&self, name: &str, arguments: Value) -> Value {
        self.begin(name, arguments).finish().await
    }

    /// Begins a scenario and returns at once.
    pub fn begin(&self, name: &str, arguments: Value) -> Running {
        let mut running = self.begin_expression(&format!("run({}, {arguments})", json!(name)));
        running.name = name.to_owned();
        running
    }

    fn begin_expression(&self, expression: &str) -> Running {
        let params =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let devtools = self.process.devtools();
        Running {
            name: expression.to_owned(),
            answer: devtools.command(Some(&self.session), "Runtime.evaluate", params),
            process: Arc::clone(&self.process),
            seen: Arc::clone(&self.seen),
        }
    }

    /// Lets the browser tell the page that there is no network, or that it is back. Connections that
    /// are open stay so.
    pub async fn tell_network(&self, online: bool) {
        let conditions = json!({
            "offline": !online,
            "latency": 0,
            "downloadThroughput": -1,
            "uploadThroughput": -1,
        });
        self.command("Network.enable", json!({})).await;
        self.command("Network.emulateNetworkConditions", conditions)
            .await;
    }

    /// Takes certificates that nobody has signed, from now on.
    pub async fn trust_any_certificate(&self) {
        self.command(
            "Security.setIgnoreCertificateErrors",
            json!({ "ignore": true }),
        )
        .await;
    }

    /// Makes the page as large as a window of this size, in CSS pixels.
    pub async fn resize(&self, width: u32, height: u32) {
        let metrics = json!({
            "width": width,
            "height": height,
            "deviceScaleFactor": 1,
            "mobile": width < 600,
        });
        self.command("Emulation.setDeviceMetricsOverride", metrics)
            .await;
    }

    /// What went wrong in the page so far: exceptions, errors on the console, files not loaded,
    /// policies broken.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        self.seen.errors()
    }

    /// Fails the test if anything went wrong in the page.
    #[track_caller]
    pub fn assert_no_errors(&self) {
        let errors = self.errors();
        assert!(errors.is_empty(), "errors in the page: {errors:#?}");
    }

    async fn command(&self, method: &str, params: Value) -> Value {
        self.process
            .command(Some(&self.session), method, params)
            .await
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let devtools = self.process.devtools();
        devtools.forget(&self.session);
        let params = json!({ "browserContextId": self.context });
        // Nobody waits: the browser goes on with other pages, or ends.
        drop(devtools.command(None, "Target.disposeBrowserContext", params));
    }
}

/// A scenario that was begun. Dropping it does not end the scenario; closing the page does.
pub struct Running {
    name: String,
    answer: oneshot::Receiver<Answer>,
    process: Arc<Process>,
    seen: Arc<Seen>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Running {
    /// Waits for its end and returns what it returned.
    ///
    /// # Panics
    /// If it threw, with what it threw and what the page's console says.
    pub async fn finish(self) -> Value {
        let (name, seen) = (self.name.clone(), Arc::clone(&self.seen));
        match self.outcome().await {
            Ok(value) => value,
            Err(Thrown(error)) => panic!("{name}: {error}\nconsole: {:#?}", seen.errors()),
        }
    }

    /// Waits for its end.
    pub async fn outcome(self) -> Result<Value, Thrown> {
        match patiently(&self.name, self.answer).await {
            Ok(Ok(result)) => match result.get("exceptionDetails") {
                Some(exception) => Err(Thrown(described(exception))),
                None => Ok(result["result"]["value"].clone()),
            },
            Ok(Err(refusal)) => panic!("{}: {refusal}", self.name),
            Err(_gone) => panic!("{}: {}", self.name, self.process.obituary()),
        }
    }
}

/// An exception as a console shows it.
fn described(exception: &Value) -> String {
    let thrown = shown(&exception["exception"]);
    if thrown.is_empty() {
        text(&exception["text"])
    } else {
        thrown
    }
}

/// A value of the page as a console shows it.
fn shown(value: &Value) -> String {
    match (&value["description"], &value["value"]) {
        (Value::String(description), _) => description.clone(),
        (_, Value::String(text)) => text.clone(),
        (_, Value::Null) => String::new(),
        (_, other) => other.to_string(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
