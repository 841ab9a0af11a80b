//! What a plugin costs, beside the same handler in native Rust.
//!
//! The program `switchboard-bench` and the ladder of criterion's benches stand on this crate. `serve` serves
//! `echo.Echo` in one of several ways ([`kind::Kind`]), `load` calls it from a process of its own and checks
//! every answer, `compare` runs both in turns over all ways, so that whatever else the machine does
//! falls on all of them, and writes `results/`. `ladder` gathers what each layer of a call costs, `guests` sets
//! the sample plugins side by side, `mixed` measures calls beside others, `scale` what one more of
//! anything costs. `docs/benchmarks.md` has the method.
//!
//! Nothing here is faster than it must be by knowing the server: the caller is plain `h2`.

pub mod child;
pub mod client;
pub mod compare;
pub mod copies;
pub mod guests;
pub mod kept;
pub mod kind;
pub mod ladder;
pub mod load;
pub mod local;
pub mod machine;
pub mod messages;
pub mod mixed;
pub mod neighbour;
pub mod nobody;
pub mod outcome;
pub mod peers;
pub mod plot;
pub mod plugin;
pub mod process;
pub mod ratio;
pub mod results;
pub mod scale;
pub mod scenario;
pub mod server;
pub mod table;
pub mod tls;
mod tunnel;
