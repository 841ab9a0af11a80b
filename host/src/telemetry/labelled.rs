//! Counters that differ in one label, whose values are few and known.
//!
//! Used inside `telemetry` for causes, reasons and outcomes. A word that is not in the list is a mistake in the
//! code: tests find it, and in production it counts as the last one.

use super::metrics::{Counter, Metric, Samples};

/// One counter for each word.
#[derive(Debug)]
pub(super) struct Labelled {
    words: &'static [&'static str],
    counts: Box<[Counter]>,
}

impl Labelled {
    pub(super) fn new(words: &'static [&'static str]) -> Self {
        Self {
            words,
            counts: words.iter().map(|_| Counter::default()).collect(),
        }
    }

    /// One more of this word.
    pub(super) fn add(&self, word: &str) {
        let at = self.words.iter().position(|known| *known == word);
        debug_assert!(at.is_some(), "{word:?} is none of {:?}", self.words);
        if let Some(counter) = self.counts.get(at.unwrap_or(self.words.len() - 1)) {
            counter.add_one();
        }
    }

    /// Writes all of them, those that are 0 too: so that the first one shows as a change.
    pub(super) fn write(&self, metric: Metric, out: &mut Samples) {
        for (word, counter) in self.words.iter().zip(&self.counts) {
            out.count(metric, &[word], counter.get());
        }
    }
}
