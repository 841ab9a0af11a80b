//! Largest messages of a plugin, a service or a method: what narrows or widens the limits of all calls.
//!
//! Used by `grpc::route` when it enters a method. Invariant: the nearest limit that is set counts: the
//! method's, else its service's, else the plugin's, else that of all calls (`CallConfig`). What a plugin
//! says of itself (`max-request-message`) can only lower it.

use std::collections::BTreeMap;

use super::{CallConfig, RESPONSE_BYTES_MAX};

/// Largest messages. What is not set is as it is for the next larger group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageLimits {
    /// Largest request message, in bytes. Default: [`CallConfig::request_bytes_max`]. Larger:
    /// `RESOURCE_EXHAUSTED`, before the plugin is entered.
    pub request_bytes_max: Option<usize>,
    /// Largest response message, in bytes, 127 MiB at most. Default: [`CallConfig::response_bytes_max`].
    /// Larger: `RESOURCE_EXHAUSTED`, or `too-large` for a plugin that streams.
    pub response_bytes_max: Option<usize>,
}

/// The limits of one plugin's methods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessagesConfig {
    /// Of all its methods.
    pub all: MessageLimits,
    /// Of one method (`/package.Service/Method`) or of all of a service (`/package.Service/*`).
    pub of: BTreeMap<String, MessageLimits>,
}

/// The limits of one method, found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageMax {
    /// Largest request message, in bytes.
    pub request_bytes: usize,
    /// Largest response message, in bytes.
    pub response_bytes: usize,
}

impl MessageMax {
    /// The limits of all calls.
    pub(crate) fn of_call(limits: &CallConfig) -> Self {
        Self {
            request_bytes: limits.request_bytes_max,
            response_bytes: limits.response_bytes_max,
        }
    }

    /// Puts in what is nearer.
    fn within(self, nearer: Option<&MessageLimits>) -> Self {
        let nearer = nearer.copied().unwrap_or_default();
        Self {
            request_bytes: nearer.request_bytes_max.unwrap_or(self.request_bytes),
            response_bytes: nearer.response_bytes_max.unwrap_or(self.response_bytes),
        }
    }
}

impl MessagesConfig {
    /// The limits of the method behind `/service/method`.
    pub(crate) fn max(&self, service: &str, method: &str, limits: &CallConfig) -> MessageMax {
        MessageMax::of_call(limits)
            .within(Some(&self.all))
            .within(self.of.get(&format!("/{service}/*")))
            .within(self.of.get(&format!("/{service}/{method}")))
    }

    /// A fault for each size that nothing works with.
    pub(super) fn faults(&self) -> Vec<String> {
        let named = self.of.iter().map(|(path, limits)| (path.as_str(), limits));
        let each = [("a plugin", &self.all)].into_iter().chain(named);
        let mut faults = Vec::new();
        for (of, limits) in each {
            let sizes = [
                (
                    "request_bytes_max",
                    limits.request_bytes_max,
                    u64::from(u32::MAX),
                ),
                (
                    "response_bytes_max",
                    limits.response_bytes_max,
                    RESPONSE_BYTES_MAX,
                ),
            ];
            for (name, size, max) in sizes {
                let size = size.map(|size| u64::try_from(size).unwrap_or(u64::MAX));
                if let Some(size) = size.filter(|size| *size == 0 || *size > max) {
                    faults.push(format!(
                        "messages {name} of {of} must be 1 to {max}, not {size}"
                    ));
                }
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(request: Option<usize>, response: Option<usize>) -> MessageLimits {
        MessageLimits {
            request_bytes_max: request,
            response_bytes_max: response,
        }
    }

    #[test]
    fn the_nearest_limit_counts() {
        let mut messages = MessagesConfig {
            all: limits(Some(50), None),
            ..MessagesConfig::default()
        };
        let service = limits(Some(7), Some(70));
        messages.of.insert("/a.B/*".to_owned(), service);
        messages
            .of
            .insert("/a.B/C".to_owned(), limits(Some(9), None));
        let call = CallConfig {
            request_bytes_max: 100,
            response_bytes_max: 200,
            ..CallConfig::default()
        };
        for (service, method, request, response) in [
            ("a.B", "C", 9, 70),
            ("a.B", "D", 7, 70),
            ("a.BB", "C", 50, 200),
        ] {
            let max = messages.max(service, method, &call);
            let found = (max.request_bytes, max.response_bytes);
            assert_eq!(found, (request, response), "/{service}/{method}");
        }
        let nothing = MessagesConfig::default();
        assert_eq!(nothing.max("a.B", "C", &call), MessageMax::of_call(&call));
    }

    #[test]
    fn sizes_that_nothing_works_with_are_faults() {
        let mut messages = MessagesConfig {
            all: limits(Some(0), Some(1)),
            ..MessagesConfig::default()
        };
        let large = limits(Some(1), Some(128 << 20));
        messages.of.insert("/a.B/C".to_owned(), large);
        assert_eq!(
            messages.faults(),
            [
                "messages request_bytes_max of a plugin must be 1 to 4294967295, not 0",
                "messages response_bytes_max of /a.B/C must be 1 to 133169152, not 134217728",
            ]
        );
    }
}
