//! Which plugin files are to be loaded, and which are gone, from what was found there over time. Pure: no
//! clock, no file.
//!
//! Called by `host::follow`. Invariants: a file is loaded only when it stayed as it is for `settle`, and once
//! for each state it was in; a plugin is removed only when its file stayed away for as long; a folder that
//! cannot be read removes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use crate::plugin::{Found, Look, Print};

/// First and longest time until a file that was refused for want of room or time is tried again.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// What is known of the files.
#[derive(Debug)]
pub(super) struct Watch {
    /// How long a file must stay as it is.
    settle: Duration,
    files: BTreeMap<PathBuf, Seen>,
    /// How often what is served had changed when that was last heard.
    changes: u64,
}

#[derive(Debug)]
struct Seen {
    now: State,
    since: Instant,
    /// What was acted upon.
    done: Option<State>,
    again: Again,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Gone,
    /// None for one that cannot be looked at.
    There(Option<Print>),
}

/// Whether a file is tried again although it is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Never,
    /// When another plugin changes, which stood in its way.
    AfterChange,
    /// At a time, after so long.
    At(Instant, Duration),
}

/// How a file that was acted upon fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is served as it is, or gone.
    Done,
    /// It will not do until it changes.
    Refused,
    /// What other plugins offer stands in its way.
    Blocked,
    /// What it lacks may come by itself: room, time, or the end of a write.
    Later,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Todo {
    pub(super) load: Vec<PathBuf>,
    pub(super) gone: Vec<PathBuf>,
}

impl Todo {
    pub(super) fn is_empty(&self) -> bool {
        self.load.is_empty() && self.gone.is_empty()
    }
}

impl Watch {
    /// Of no files yet.
    pub(super) fn new(settle: Duration) -> Self {
        Self {
            settle,
            files: BTreeMap::new(),
            changes: 0,
        }
    }

    /// Takes in what is there at the start, when nobody waits for anything to settle: all of it is to be
    /// loaded, in the order in which it was found.
    pub(super) fn first(&mut self, look: Look, now: Instant) -> Todo {
        let load = look.files.iter().map(|file| file.path.clone()).collect();
        self.look(look, now);
        Todo {
            load,
            ..Todo::default()
        }
    }

    /// Takes in what is there now; says what is to be done about it.
    pub(super) fn look(&mut self, look: Look, now: Instant) -> Todo {
        let mut missing: BTreeSet<PathBuf> = self.files.keys().cloned().collect();
        missing.retain(|path| look.knows(path));
        for Found { path, print } in look.files {
            missing.remove(&path);
            self.saw(path, State::There(print), now);
        }
        for path in missing {
            self.saw(path, State::Gone, now);
        }
        let mut todo = Todo::default();
        for (path, seen) in &self.files {
            if seen.due(self.settle).is_some_and(|due| due <= now) {
                match seen.now {
                    State::Gone => todo.gone.push(path.clone()),
                    State::There(_) => todo.load.push(path.clone()),
                }
            }
        }
        todo
    }

    fn saw(&mut self, path: PathBuf, state: State, now: Instant) {
        let seen = self.files.entry(path).or_insert(Seen {
            now: state,
            since: now,
            done: None,
            again: Again::Never,
        });
        if seen.now != state {
            seen.now = state;
            seen.since = now;
        }
    }

    /// Takes in how a file fared that was to be loaded or was gone.
    pub(super) fn note(&mut self, path: &PathBuf, fate: Fate, now: Instant) {
        let Some(seen) = self.files.get_mut(path) else {
            return;
        };
        seen.done = Some(seen.now);
        seen.again = match (fate, seen.again) {
            (Fate::Done | Fate::Refused, _) => Again::Never,
            (Fate::Blocked, _) => Again::AfterChange,
            (Fate::Later, Again::At(_, last)) => {
                let after = last.saturating_mul(2).min(RETRY_MAX);
                Again::At(now + after, after)
            }
            (Fate::Later, Again::Never | Again::AfterChange) => {
                Again::At(now + RETRY_MIN, RETRY_MIN)
            }
        };
        if seen.now == State::Gone {
            self.files.remove(path);
        }
    }

    /// All that was there at the start is loaded, and what is served has changed so often for it: who was blocked was
    /// so by what came before.
    pub(super) fn began(&mut self, changes: u64) {
        self.changes = changes;
    }

    /// Takes in how often what is served has changed, by whomever: by what was found here, by other settings, or
    /// because a plugin was taken out of service. Those that were blocked have another chance after a change.
    pub(super) fn changed(&mut self, changes: u64, now: Instant) {
        if std::mem::replace(&mut self.changes, changes) == changes {
            return;
        }
        for seen in self.files.values_mut() {
            if seen.again == Again::AfterChange {
                seen.again = Again::At(now, RETRY_MIN);
            }
        }
    }

    /// When something will be due if nothing happens.
    pub(super) fn next(&self) -> Option<Instant> {
        let due = self.files.values().filter_map(|seen| seen.due(self.settle));
        due.min()
    }
}

impl Seen {
    fn due(&self, settle: Duration) -> Option<Instant> {
        if self.done != Some(self.now) {
            return Some(self.since + settle);
        }
        match self.again {
            Again::At(at, _) => Some(at),
            Again::Never | Again::AfterChange => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: Duration = Duration::from_millis(300);

    fn print(text: &str) -> Print {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f");
        std::fs::write(&path, text).expect("written");
        Print::of(&path.metadata().expect("there"))
    }

    fn files(files: &[(&str, Print)]) -> Look {
        let found = files.iter().map(|(path, print)| Found {
            path: (*path).into(),
            print: Some(*print),
        });
        Look {
            files: found.collect(),
            ..Look::default()
        }
    }

    fn load(paths: &[&str]) -> Todo {
        Todo {
            load: paths.iter().map(PathBuf::from).collect(),
            ..Todo::default()
        }
    }

    #[test]
    fn a_file_is_loaded_once_it_stays_as_it_is_and_once_only() {
        let start = Instant::now();
        let mut watch = Watch::new(SETTLE);
        let [half, whole] = ["half", "whole file"].map(print);
        assert!(watch.look(files(&[("a", half)]), start).is_empty());
        let grown = start + SETTLE - Duration::from_millis(1);
        assert!(watch.look(files(&[("a", whole)]), grown).is_empty());
        assert_eq!(watch.next(), Some(grown + SETTLE));
        let due = grown + SETTLE;
        assert_eq!(watch.look(files(&[("a", whole)]), due), load(&["a"]));
        watch.note(&"a".into(), Fate::Refused, due);
        assert!(watch.look(files(&[("a", whole)]), due + SETTLE).is_empty());
        assert_eq!(watch.next(), None);
    }

    #[test]
    fn a_plugin_goes_when_its_file_stays_away_and_its_folder_can_be_read() {
        let start = Instant::now();
        let there = print("there");
        let mut watch = Watch::new(SETTLE);
        let first = watch.first(files(&[("in/a", there)]), start);
        assert_eq!(first, load(&["in/a"]));
        watch.note(&"in/a".into(), Fate::Done, start);
        let unread = || Look {
            unread: vec![("in".into(), std::io::ErrorKind::NotFound.into())],
            ..Look::default()
        };
        for times in 0..10 {
            assert!(watch.look(unread(), start + SETTLE * times).is_empty());
        }
        let now = start + SETTLE * 10;
        assert!(watch.look(Look::default(), now).is_empty());
        let back = watch.look(files(&[("in/a", there)]), now + SETTLE / 2);
        assert!(back.is_empty(), "the same file is back");
        let now = now + SETTLE;
        assert!(watch.look(Look::default(), now).is_empty());
        let gone = watch.look(Look::default(), now + SETTLE).gone;
        assert_eq!(gone, [PathBuf::from("in/a")]);
        watch.note(&gone[0], Fate::Done, now + SETTLE);
        assert!(watch.look(Look::default(), now + SETTLE * 2).is_empty());
    }

    #[test]
    fn what_may_come_by_itself_is_tried_again_ever_later_and_what_was_blocked_after_a_change() {
        let mut now = Instant::now();
        let there = files(&[("a", print("a")), ("b", print("b"))]).files;
        let mut watch = Watch::new(SETTLE);
        let look = || Look {
            files: there.clone(),
            ..Look::default()
        };
        assert_eq!(watch.first(look(), now), load(&["a", "b"]));
        watch.note(&"b".into(), Fate::Blocked, now);
        let mut after = RETRY_MIN;
        for _ in 0..8 {
            watch.note(&"a".into(), Fate::Later, now);
            assert_eq!(watch.next(), Some(now + after));
            now += after;
            assert_eq!(watch.look(look(), now), load(&["a"]));
            after = (after * 2).min(RETRY_MAX);
        }
        watch.note(&"a".into(), Fate::Done, now);
        assert!(watch.look(look(), now).is_empty());
        watch.changed(0, now);
        assert!(watch.look(look(), now).is_empty(), "nothing has changed");
        watch.changed(1, now);
        assert_eq!(watch.look(look(), now), load(&["b"]));
    }
}
