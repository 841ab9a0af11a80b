//! The repository's own rules, as tests: each fails with every place that breaks it.
//!
//! Owns nothing but the rules; run by `make test` like any other test. Each module keeps a family of
//! rules with its detectors, and proves on inline samples that each detector finds what it is for.
//! Invariant: a rule looks at files, never at cargo's or git's state, so that it answers the same in
//! a clone, an archive and a half-finished checkout. What needs cargo is in `make deps`.

#[path = "tidy/behaviours.rs"]
mod behaviours;
#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/manifests.rs"]
mod manifests;
#[path = "tidy/mirrors.rs"]
mod mirrors;
#[path = "tidy/repository.rs"]
mod repository;
#[path = "tidy/rust_text.rs"]
mod rust_text;
#[path = "tidy/sources.rs"]
mod sources;
#[path = "tidy/telemetry.rs"]
mod telemetry;
