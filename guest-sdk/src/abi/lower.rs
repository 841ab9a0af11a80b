//! Answers of a plugin, laid out for the host to read.
//!
//! Called by `entry`. Each type here owns the Rust value and the layout that points into it, so
//! the host may read until the value is dropped, which is what post-return does: nothing is leaked
//! and taken back. Invariant: a value is not changed after its layout was made (all fields are
//! private); moving it moves no heap memory that the layout points to.

use alloc::string::String;
use alloc::vec::Vec;

use super::raw;
use crate::{Metadata, MethodDescription, MethodKind, Plugin};

fn slice<T>(items: &[T]) -> raw::Slice {
    raw::Slice {
        pointer: items.as_ptr().cast(),
        length: items.len(),
    }
}

const NOTHING: raw::Slice = raw::Slice {
    pointer: core::ptr::without_provenance(align_of::<u64>()),
    length: 0,
};

/// What `handler.unary` or `handler.stream` returns.
#[derive(Debug)]
pub(super) struct Outcome {
    raw: RawOutcome,
    _message: Vec<u8>,
    _failure: Option<Failure>,
}

/// A status, and its trailers in the layout of `metadata`.
#[derive(Debug)]
struct Failure {
    _status: crate::Status,
    _trailers: Vec<raw::Entry>,
}

struct RawOutcome(raw::Outcome);

impl core::fmt::Debug for RawOutcome {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Outcome")
            .field("tag", &self.0.tag)
            .finish_non_exhaustive()
    }
}

impl Outcome {
    /// Before the first call, and between calls.
    #[cfg(target_arch = "wasm32")]
    pub(super) const NONE: Self = Self {
        raw: RawOutcome(raw::Outcome {
            tag: 0,
            payload: raw::OutcomePayload { ok: NOTHING },
        }),
        _message: Vec::new(),
        _failure: None,
    };

    /// `result<list<u8>, status>`; `result<_, status>` reads the same without the message.
    pub(super) fn new(outcome: Result<Vec<u8>, crate::Status>) -> Self {
        match outcome {
            Ok(message) => {
                let payload = raw::OutcomePayload {
                    ok: slice(&message),
                };
                let raw = RawOutcome(raw::Outcome { tag: 0, payload });
                Self {
                    raw,
                    _message: message,
                    _failure: None,
                }
            }
            Err(status) => {
                let trailers = entries(status.trailers());
                let err = raw::Status {
                    code: status.code().as_u32(),
                    message: slice(status.message().as_bytes()),
                    details: slice(status.details()),
                    trailers: slice(&trailers),
                };
                let payload = raw::OutcomePayload { err };
                Self {
                    raw: RawOutcome(raw::Outcome { tag: 1, payload }),
                    _message: Vec::new(),
                    _failure: Some(Failure {
                        _status: status,
                        _trailers: trailers,
                    }),
                }
            }
        }
    }

    /// What the host reads.
    pub(super) fn raw(&self) -> &raw::Outcome {
        &self.raw.0
    }
}

fn entries(metadata: &Metadata) -> Vec<raw::Entry> {
    let entry = |(key, value): (&str, &[u8])| raw::Entry {
        key: slice(key.as_bytes()),
        value: slice(value),
    };
    metadata.iter().map(entry).collect()
}

/// What `handler.describe` returns.
#[derive(Debug)]
pub(super) struct Description {
    raw: raw::Description,
    _services: Vec<raw::Service>,
    _methods: Vec<Vec<raw::Method>>,
    _names: Vec<String>,
    _file_descriptor_set: Option<Vec<u8>>,
}

impl Description {
    /// Asks each service once and numbers the methods in the order in which
    /// [`Plugin`] finds them again.
    ///
    /// # Panics
    /// With more methods than ids, 2^32.
    pub(super) fn new(plugin: &Plugin) -> Self {
        let mut ids = 0_u32..;
        let mut services = Vec::with_capacity(plugin.services().len());
        let mut all_methods = Vec::with_capacity(services.capacity());
        let mut names = Vec::with_capacity(services.capacity());
        for service in plugin.services() {
            let methods: Vec<raw::Method> = service
                .methods()
                .iter()
                .zip(&mut ids)
                .map(|(method, id)| lower(method, id))
                .collect();
            // A service may make its name up anew each time it is asked, so the bytes are kept.
            let name = String::from(service.name());
            services.push(raw::Service {
                name: slice(name.as_bytes()),
                methods: slice(&methods),
            });
            names.push(name);
            all_methods.push(methods);
        }
        let file_descriptor_set = plugin.file_descriptor_set();
        let some = file_descriptor_set.as_deref().map_or(NOTHING, slice);
        Self {
            raw: raw::Description {
                services: slice(&services),
                file_descriptor_set: raw::OptionSlice {
                    tag: u8::from(file_descriptor_set.is_some()),
                    some,
                },
                max_request_message: plugin.request_bytes_max(),
            },
            _services: services,
            _methods: all_methods,
            _names: names,
            _file_descriptor_set: file_descriptor_set,
        }
    }

    /// What the host reads.
    pub(super) fn raw(&self) -> &raw::Description {
        &self.raw
    }
}

fn lower(method: &MethodDescription, id: u32) -> raw::Method {
    raw::Method {
        id,
        name: slice(method.name.as_bytes()),
        kind: match method.kind {
            MethodKind::Unary => 0,
            MethodKind::ClientStreaming => 1,
            MethodKind::ServerStreaming => 2,
            MethodKind::BidiStreaming => 3,
        },
        idempotent: u8::from(method.idempotent),
    }
}

#[cfg(test)]
mod tests;
