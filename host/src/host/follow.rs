//! Follows the plugin files while the host serves: sees that they change, loads them, puts them in force.
//!
//! Run by `host` as one task. Looking is the truth; being told by the system only makes it sooner, because
//! some file systems tell nothing. What is to be done is `host::watch`'s to say, what becomes of it
//! `host::catalogue`'s. Invariant: whatever goes wrong here, what is served goes on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use notify::{RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::catalogue::{Catalogue, Held};
use super::watch::{Fate, Todo, Watch};
use crate::config::WatchConfig;
use crate::error::PluginError;
use crate::guest::COMPILE_AT_ONCE;
use crate::plugin::{Look, Roots};

/// How often it is said how far loading is, if it takes long.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// How long after being told of a change the files are looked at: who writes a file causes many events.
const GATHER: Duration = Duration::from_millis(20);

/// The files of a host, and who looks at them.
pub(super) struct Follow {
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) roots: Arc<Roots>,
    /// What is known of them since the start.
    pub(super) watch: Watch,
    /// None: only when asked.
    pub(super) config: Option<WatchConfig>,
    /// Rung when the files are to be looked at.
    pub(super) bell: Arc<Notify>,
}

impl Follow {
    /// Goes on until it is dropped.
    ///
    /// # Cancel safety
    /// Dropping the future drops what is being loaded; what is served stays.
    pub(super) async fn run(self) {
        let Self {
            catalogue,
            roots,
            mut watch,
            config,
            bell,
        } = self;
        let _told = config.is_some().then(|| tell(&roots, &bell)).flatten();
        let interval = config.map(|config| config.interval);
        let mut unread = Vec::new();
        loop {
            watch.changed(catalogue.changes(), Instant::now());
            let due = watch.next();
            tokio::select! {
                () = bell.notified() => sleep(GATHER).await,
                () = wait_until(due) => {}
                () = wait_for(interval) => {}
            }
            let _turn = catalogue.turn().await;
            let look = look(&roots).await;
            say_unread(&look, &mut unread);
            let todo = watch.look(look, Instant::now());
            if !todo.is_empty() {
                act(&catalogue, &mut watch, todo).await;
            }
        }
    }
}

/// Loads everything that is there. In the order of the files whatever compiles first:
/// who owns a service that two offer must not depend on chance.
pub(super) async fn start(
    catalogue: &Arc<Catalogue>,
    roots: &Arc<Roots>,
    config: Option<&WatchConfig>,
) -> Watch {
    let settle = config.cloned().unwrap_or_default().settle;
    let mut watch = Watch::new(settle);
    let look = look(roots).await;
    let todo = watch.first(look, Instant::now());
    act(catalogue, &mut watch, todo).await;
    watch.began(catalogue.changes());
    watch
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

async fn wait_for(interval: Option<Duration>) {
    match interval {
        Some(interval) => sleep(interval).await,
        None => std::future::pending().await,
    }
}

/// Looks beside the threads that serve.
async fn look(roots: &Arc<Roots>) -> Look {
    let roots = Arc::clone(roots);
    let looked = tokio::task::spawn_blocking(move || roots.look()).await;
    looked.unwrap_or_else(|panic| Look {
        unread: vec![(PathBuf::new(), std::io::Error::other(panic))],
        ..Look::default()
    })
}

/// Has the system ring the bell when something happens in the folders; where it cannot, looking now and then
/// has to do.
fn tell(roots: &Roots, bell: &Arc<Notify>) -> Option<notify::RecommendedWatcher> {
    let bell = Arc::clone(bell);
    let ring = move |event: notify::Result<notify::Event>| {
        // What is only read, by us for example, does not change.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            bell.notify_one();
        }
    };
    let watcher = notify::recommended_watcher(ring);
    let mut watcher = watcher
        .inspect_err(|error| tracing::debug!(%error, "the system does not tell of changed files"))
        .ok()?;
    for folder in roots.folders() {
        if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
            let folder = folder.display();
            tracing::debug!(%folder, %error, "the system does not tell of changes in the folder");
        }
    }
    Some(watcher)
}

/// Says once that a folder cannot be read, and forgets it when it can.
fn say_unread(look: &Look, said: &mut Vec<PathBuf>) {
    said.retain(|folder| look.unread.iter().any(|(unread, _)| unread == folder));
    for (folder, error) in &look.unread {
        if !said.contains(folder) {
            let path = folder.display();
            tracing::warn!(folder = %path, %error, "cannot look for plugins: those that are served go on");
            said.push(folder.clone());
        }
    }
}

/// Loads and removes.
async fn act(catalogue: &Arc<Catalogue>, watch: &mut Watch, mut todo: Todo) {
    todo.load.retain(|path| {
        let name = crate::plugin::name(path);
        let held = catalogue.holds(&name);
        if held {
            let path_shown = path.display();
            tracing::info!(plugin = &*name, path = %path_shown, "a file changed whose plugin stays out of service");
            watch.note(path, Fate::Done, Instant::now());
        }
        !held
    });
    let loading = todo.load.into_iter().map(|path| async {
        let config = catalogue.config_of(&crate::plugin::name(&path));
        let outcome = catalogue.load_changed(&path, &config).await;
        (path, config, outcome)
    });
    let of = loading.len();
    let mut loading = std::pin::pin!(stream::iter(loading).buffered(COMPILE_AT_ONCE));
    let (mut done, mut said) = (0, Instant::now());
    let mut ready = Vec::new();
    let mut failed = Vec::new();
    while let Some((path, config, outcome)) = loading.next().await {
        done += 1;
        if said.elapsed() >= PROGRESS_INTERVAL && done < of {
            tracing::info!(done, of, "loading plugins");
            said = Instant::now();
        }
        match outcome {
            Ok(Some(loaded)) => ready.push((loaded, config)),
            Ok(None) => {
                catalogue.accept(&path);
                watch.note(&path, Fate::Done, Instant::now());
            }
            Err(error) => failed.push((path, error)),
        }
    }
    let outcomes = catalogue.change(&todo.gone, ready, Held::Stays);
    for path in &todo.gone {
        watch.note(path, Fate::Done, Instant::now());
    }
    for (path, outcome) in outcomes {
        match outcome {
            Ok(()) => watch.note(&path, Fate::Done, Instant::now()),
            Err(error) => failed.push((path, error)),
        }
    }
    for (path, error) in failed {
        watch.note(&path, fate(&error), Instant::now());
        if matches!(error, PluginError::Changed) {
            tracing::debug!(path = %path.display(), "{error}");
        } else {
            catalogue.refuse(path, error);
        }
    }
}

/// Whether trying again without another file has a chance.
fn fate(error: &PluginError) -> Fate {
    match error {
        PluginError::Changed
        | PluginError::Read(_)
        | PluginError::NoRoom
        | PluginError::CompilersBusy
        | PluginError::NoThread(_)
        | PluginError::DescribeTimeout(_) => Fate::Later,
        PluginError::Clash { .. } | PluginError::SameName(_) => Fate::Blocked,
        PluginError::TooLarge { .. }
        | PluginError::NotWasm
        | PluginError::CoreModule
        | PluginError::Invalid(_)
        | PluginError::MemoryMin(_)
        | PluginError::TooComplex(_)
        | PluginError::CompileTimeout(_)
        | PluginError::NotAPlugin { .. }
        | PluginError::AbiVersion { .. }
        | PluginError::Imports(_)
        | PluginError::Ungranted { .. }
        | PluginError::DescribeTrap(_)
        | PluginError::Description(_)
        | PluginError::BuiltIn { .. }
        | PluginError::Incompatible(_) => Fate::Refused,
    }
}
