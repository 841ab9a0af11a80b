//! Compressors and decompressors that wait for another message: making one costs as much as a small
//! message does (15 us each way with zstd).
//!
//! Used by `pack` and `unpack`, each with a static of its own for the whole process.

use std::sync::{Mutex, PoisonError};

/// Tools that one shelf keeps. Count; more than cores use at once on most machines. At the limit a tool
/// is dropped after its message.
const TOOLS_MAX: usize = 8;

/// Tools that nobody uses.
#[derive(Debug)]
pub(super) struct Shelf<T>(Mutex<Vec<T>>);

impl<T> Shelf<T> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// One that fits, if there is one.
    pub(super) fn take(&self, fits: impl Fn(&T) -> bool) -> Option<T> {
        let mut tools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = tools.iter().position(fits)?;
        Some(tools.swap_remove(at))
    }

    /// Keeps one that is clean, if there is room.
    pub(super) fn put(&self, tool: T) {
        let mut tools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tools.len() < TOOLS_MAX {
            tools.push(tool);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_so_many_and_no_more() {
        let shelf = Shelf::new();
        for tool in 0..TOOLS_MAX + 5 {
            shelf.put(tool);
        }
        assert_eq!(shelf.take(|tool| *tool == TOOLS_MAX), None);
        assert_eq!(shelf.take(|tool| *tool == 1), Some(1));
        assert_eq!(shelf.take(|tool| *tool == 1), None);
        let rest = std::iter::from_fn(|| shelf.take(|_| true)).count();
        assert_eq!(rest, TOOLS_MAX - 1);
    }
}
