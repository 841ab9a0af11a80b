//! Attacks on the real binary, by clients that write bytes by hand over real sockets.
//!
//! Each test is one attack: `siege` starts `switchboard serve`, makes calls beside the attack, attacks
//! twice and looks at the memory of the process. Not one of the tests in `it`, so that nothing else runs
//! while memory is looked at; the attacks wait for each other for the same reason.
//!
//! What the host does against each is in docs/operations.md, "Under attack".

#[path = "../it/serving.rs"]
#[allow(dead_code, reason = "the tests in `it` use more of it")]
mod serving;

mod answers;
mod attacker;
mod bombs;
mod floods;
mod headers;
mod resets;
mod siege;
mod silent;
mod unfinished;
mod wire;
