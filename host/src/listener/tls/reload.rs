//! Finds out when the files of TLS have changed, and makes something new of them.
//!
//! Used by `listener::tls`. By content, not by time: a file that was put back, touched, or replaced through
//! a symbolic link (as Kubernetes does it) is what it holds. Invariants: nothing is taken that changed
//! between two looks, so no half of a pair; the same fault is said once; whatever is wrong, what was there
//! before stays.
//!
//! Keeps no copy of the files, only a number that stands for them: with a key that nobody knows, so nobody
//! can make two contents of one number.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::material::{Made, Material};
use crate::config::TlsConfig;
use crate::error::{TlsError, chain};
use crate::telemetry::Telemetry;

/// Time between two looks at files that have just changed: whoever writes one after the other takes less.
const SETTLE: Duration = Duration::from_secs(1);

/// Files, and what they held last.
pub(super) struct Watched {
    pub config: TlsConfig,
    hasher: RandomState,
    seen: Mutex<u64>,
}

impl Watched {
    /// Begins with what the files hold now, and what that makes.
    pub(super) fn begin(
        config: TlsConfig,
        found: Result<Material, TlsError>,
    ) -> (Self, Result<Made, TlsError>) {
        let hasher = RandomState::new();
        let seen = mark(&hasher, &found);
        let made = found.and_then(|material| material.make(&config));
        let this = Self {
            config,
            hasher,
            seen: Mutex::new(seen),
        };
        (this, made)
    }

    /// Waits until the files have changed and stayed so, and something can be made of them.
    ///
    /// # Cancel safety
    /// A change that was not answered is found again.
    pub(super) async fn next(&self, telemetry: &Telemetry) -> Made {
        loop {
            sleep(self.config.reload_interval).await;
            let found = self.look().await;
            let number = mark(&self.hasher, &found);
            if number == self.seen() {
                continue;
            }
            let (found, number) = self.settled(number).await;
            if number == self.seen() {
                continue;
            }
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = number;
            match found.and_then(|material| material.make(&self.config)) {
                Ok(made) => {
                    telemetry.tls_reloaded("taken");
                    return made;
                }
                Err(error) => {
                    telemetry.tls_reloaded("refused");
                    tracing::error!(
                        "the TLS files have changed and cannot be used, what they held before stays: {}",
                        chain(&error)
                    );
                }
            }
        }
    }

    /// Looks until the files are twice the same.
    async fn settled(&self, mut number: u64) -> (Result<Material, TlsError>, u64) {
        loop {
            sleep(self.config.reload_interval.min(SETTLE)).await;
            let found = self.look().await;
            let again = mark(&self.hasher, &found);
            if again == number {
                return (found, number);
            }
            number = again;
        }
    }

    /// Reads the files, beside the threads that serve.
    async fn look(&self) -> Result<Material, TlsError> {
        let config = self.config.clone();
        let read = spawn_blocking(move || Material::read(&config)).await;
        // It does not panic; on a runtime that ends there is nothing to be read for.
        read.unwrap_or_else(|error| {
            Err(TlsError::Read {
                file: "the TLS files".to_owned(),
                source: std::io::Error::other(error),
            })
        })
    }

    fn seen(&self) -> u64 {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number that stands for what was found, be it files or what is wrong with them.
fn mark(hasher: &RandomState, found: &Result<Material, TlsError>) -> u64 {
    match found {
        Ok(material) => hasher.hash_one(material),
        Err(error) => hasher.hash_one(chain(error)),
    }
}
