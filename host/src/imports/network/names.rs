//! Which addresses the granted names have, as the host's own resolver says.
//!
//! Called by `imports::network` and `imports::http`; asks the system. Invariants: no name is asked for that was
//! not granted; each is asked for at most once in [`FRESH`], however often plugins want it; what is remembered
//! of a name has [`ADDRESSES_MAX`] addresses at most.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// How long an answer is taken for true, also that there is none. As short as the shortest times that names
/// are given in practice, and long enough that a plugin in a loop costs the resolver nothing.
const FRESH: Duration = Duration::from_secs(5);

/// How long an address counts after the last answer that had it: names of large services have others each
/// time, and whoever was given one may take a while to connect.
const REMEMBERED: Duration = Duration::from_secs(300);

/// Longest wait for the resolver. Its own default for one try, see resolv.conf(5).
const LOOK_UP_MAX: Duration = Duration::from_secs(5);

/// Addresses remembered of a name. Count; answers over UDP have some thirty at most.
const ADDRESSES_MAX: usize = 64;

/// The names that one plugin was granted.
#[derive(Debug)]
pub(crate) struct Names {
    /// Fixed when it is made. In lower case.
    names: HashMap<String, Mutex<Name>>,
}

#[derive(Debug, Default)]
struct Name {
    /// When it was asked for last.
    asked: Option<Instant>,
    /// What that gave; none if it was not found.
    latest: Vec<IpAddr>,
    /// What all answers gave, and when each did last.
    known: Vec<(IpAddr, Instant)>,
}

/// A name that has no address, or about which nobody answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unresolved;

impl Names {
    /// Nothing is asked for yet.
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let names = names.map(|name| (name.to_owned(), Mutex::default()));
        Self {
            names: names.collect(),
        }
    }

    /// The addresses that a name has now.
    ///
    /// # Errors
    /// [`Unresolved`], also for a name that is not among those granted.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Unresolved> {
        let name = self.ask(name).await.ok_or(Unresolved)?;
        let addresses = name.latest.clone();
        if addresses.is_empty() {
            Err(Unresolved)
        } else {
            Ok(addresses)
        }
    }

    /// Whether a name has this address, or had it a moment ago.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn has(&self, name: &str, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let name = self.ask(name).await;
        name.is_some_and(|name| name.known.iter().any(|(known, _)| *known == address))
    }

    /// The name, known as well as it has to be. Who comes while it is asked for waits for the same answer.
    async fn ask(&self, name: &str) -> Option<tokio::sync::MutexGuard<'_, Name>> {
        let key = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let mut entry = self.names.get(&key)?.lock().await;
        let now = Instant::now();
        if entry.asked.is_none_or(|asked| now - asked >= FRESH) {
            let asked = tokio::net::lookup_host((key.as_str(), 0));
            let found = match timeout(LOOK_UP_MAX, asked).await {
                Ok(Ok(found)) => found.map(|found| found.ip().to_canonical()).collect(),
                Ok(Err(error)) => {
                    tracing::debug!(name = key, %error, "a name is not found");
                    Vec::new()
                }
                Err(_elapsed) => {
                    tracing::debug!(name = key, "nobody answers for a name");
                    Vec::new()
                }
            };
            entry.learn(found, Instant::now());
        }
        Some(entry)
    }
}

impl Name {
    fn learn(&mut self, mut found: Vec<IpAddr>, now: Instant) {
        found.truncate(ADDRESSES_MAX);
        self.asked = Some(now);
        self.known.retain(|(known, seen)| {
            !found.contains(known) && now.duration_since(*seen) < REMEMBERED
        });
        // Those of the latest answer first: they are kept.
        let latest = found.iter().map(|address| (*address, now));
        self.known.splice(0..0, latest);
        self.known.truncate(ADDRESSES_MAX);
        self.latest = found;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[tokio::test]
    async fn only_granted_names_are_known() {
        let names = Names::new(["localhost"].into_iter());
        let found = names.addresses("LocalHost.").await.expect("this machine");
        assert!(found.iter().all(|found| found.is_loopback()), "{found:?}");
        assert!(names.has("localhost", found[0]).await);
        assert!(!names.has("localhost", address(1)).await);
        assert_eq!(names.addresses("other").await, Err(Unresolved));
        assert!(!names.has("other", found[0]).await);
    }

    #[test]
    fn addresses_are_forgotten_in_the_end_and_never_too_many() {
        let mut name = Name::default();
        let begin = Instant::now();
        let known = |name: &Name| {
            name.known
                .iter()
                .map(|(known, _)| *known)
                .collect::<Vec<_>>()
        };
        name.learn(vec![address(1)], begin);
        name.learn(vec![address(2)], begin + REMEMBERED / 2);
        assert_eq!(known(&name), [address(2), address(1)]);
        name.learn(Vec::new(), begin + REMEMBERED);
        assert_eq!(known(&name), [address(2)]);
        assert!(name.latest.is_empty());
        name.learn((0..200).map(address).collect(), begin + REMEMBERED);
        assert_eq!(known(&name).len(), ADDRESSES_MAX);
        assert_eq!(known(&name)[0], address(0));
    }
}
