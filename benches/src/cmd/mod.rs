//! The commands of `switchboard-bench`, one file each.
//!
//! Called by `main`; the work is in the library.

pub(crate) mod cold;
pub(crate) mod compare;
pub(crate) mod guests;
pub(crate) mod hold;
mod keep;
pub(crate) mod ladder;
pub(crate) mod load;
pub(crate) mod mixed;
pub(crate) mod plot;
pub(crate) mod scale;
pub(crate) mod serve;

#[expect(clippy::print_stdout, reason = "the result")]
fn print(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "it takes minutes: somebody watches")]
fn progress(what: &str) {
    eprintln!("{what}");
}
