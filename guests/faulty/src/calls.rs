//! Faults of unary methods: those that end the instance, those that never end, and answers that break
//! a rule.
//!
//! Called by `Faulty`. Natively, where no host is there to stop them, those without an end stop by
//! themselves.

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::time::Duration;

use switchboard_guest::{Code, Context, MetadataError, Status, log};

use crate::number;

/// How much memory is asked for at a time.
const GROW_STEP_BYTES: usize = 1 << 20;
/// For ever, at a nanosecond a step.
#[cfg(target_arch = "wasm32")]
pub(crate) const STEPS_MAX: u64 = u64::MAX;
/// Where no host ends it: see the top of this file.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) const STEPS_MAX: u64 = 8;
/// A large answer, unless the request says how large.
const LARGE_BYTES: usize = 16 << 20;
/// A line far above what a log takes, unless the request says how long.
const LINE_BYTES: usize = 64 << 10;

thread_local! {
    /// Calls that this instance has begun.
    pub(crate) static CALLS: Cell<u64> = const { Cell::new(0) };
    static KEPT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static HELD: RefCell<Option<Context>> = const { RefCell::new(None) };
}

pub(crate) fn calls(_context: &Context, _request: Vec<u8>) -> Result<Vec<u8>, Status> {
    Ok(CALLS.get().to_string().into_bytes())
}

pub(crate) fn panic(_context: &Context, _request: Vec<u8>) -> Result<Vec<u8>, Status> {
    panic!("faulty: panicked as asked");
}

pub(crate) fn trap(_context: &Context, _request: Vec<u8>) -> Result<Vec<u8>, Status> {
    abort()
}

/// A trap without a word to the log.
pub(crate) fn abort() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    panic!("a trap, on wasm");
}

#[expect(clippy::exit, reason = "the fault that this method is about")]
pub(crate) fn exit(_context: &Context, request: Vec<u8>) -> Result<Vec<u8>, Status> {
    let code = number(&request, 0)?;
    std::process::exit(i32::from(code != 0));
}

pub(crate) fn spin(_context: &Context, _request: Vec<u8>) -> Result<Vec<u8>, Status> {
    compute_for_ever();
    Ok(Vec::new())
}

pub(crate) fn compute_for_ever() {
    for step in 0..STEPS_MAX {
        black_box(step);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the fault that this method is about: it waits for nothing that the host tells it"
)]
pub(crate) fn sleep(_context: &Context, _request: Vec<u8>) -> Result<Vec<u8>, Status> {
    std::thread::sleep(Duration::from_secs(3600));
    Ok(Vec::new())
}

pub(crate) fn recurse(_context: &Context, request: Vec<u8>) -> Result<Vec<u8>, Status> {
    let depth = deeper(number(&request, usize::MAX)?);
    Ok(depth.to_string().into_bytes())
}

/// Not a tail call, and not one that the compiler can make a loop of.
fn deeper(levels: usize) -> usize {
    let frame = black_box([levels; 16]);
    if levels == 0 {
        return 0;
    }
    1 + black_box(deeper(black_box(frame[0] - 1)))
}

pub(crate) fn grow(_context: &Context, _request: Vec<u8>) -> Result<Vec<u8>, Status> {
    take_all_memory();
    abort()
}

pub(crate) fn grow_quiet(_context: &Context, _request: Vec<u8>) -> Result<Vec<u8>, Status> {
    take_all_memory();
    let kept: usize = KEPT.with_borrow(|kept| kept.iter().map(Vec::len).sum());
    Ok(kept.to_string().into_bytes())
}

/// Takes memory and writes to it until there is none, and keeps it.
pub(crate) fn take_all_memory() {
    for _ in 0..STEPS_MAX {
        let mut block = Vec::new();
        if block.try_reserve_exact(GROW_STEP_BYTES).is_err() {
            break;
        }
        block.resize(GROW_STEP_BYTES, 0xa5);
        KEPT.with_borrow_mut(|kept| kept.push(block));
    }
    // Room for an answer.
    KEPT.with_borrow_mut(Vec::pop);
}

/// Asks for that many more elements of its table; traps if it gets none.
pub(crate) fn grow_table(_context: &Context, request: Vec<u8>) -> Result<Vec<u8>, Status> {
    match marked(number(&request, 1)?) {
        usize::MAX => abort(),
        before => Ok(before.to_string().into_bytes()),
    }
}

/// Rust has no word for growing a table: a test puts `table.grow` in the place of what is here, which it finds
/// by the number. It must stay a function of its own, with a body at least as long.
#[cfg(target_arch = "wasm32")]
#[inline(never)]
fn marked(count: usize) -> usize {
    core::arch::wasm32::memory_grow::<0>(count) ^ 0x5ab1_e5ed
}

#[cfg(not(target_arch = "wasm32"))]
fn marked(_count: usize) -> usize {
    usize::MAX
}

pub(crate) fn ok_status(_context: &Context, _request: Vec<u8>) -> Result<Vec<u8>, Status> {
    Err(Status::new(Code::Ok, "an error that claims to be none"))
}

pub(crate) fn long_message(_context: &Context, request: Vec<u8>) -> Result<Vec<u8>, Status> {
    let bytes = number(&request, 1 << 20)?;
    Err(Status::internal("long ".repeat(bytes / 5)))
}

pub(crate) fn too_large(_context: &Context, request: Vec<u8>) -> Result<Vec<u8>, Status> {
    Ok(vec![0; number(&request, LARGE_BYTES)?])
}

/// Tries what is not allowed and answers, line by line, what the host said.
pub(crate) fn bad_metadata(context: &Context, _request: Vec<u8>) -> Result<Vec<u8>, Status> {
    let tries: [(&str, &[u8]); 11] = [
        ("", b"empty key"),
        ("Upper", b"upper-case key"),
        ("white space", b"key with a space"),
        ("grpc-status", b"0"),
        ("grpc-anything", b"reserved"),
        ("content-type", b"text/html"),
        (":status", b"200"),
        ("te", b"trailers"),
        ("x-line", b"two\r\nlines: 1"),
        ("x-control", b"\x07"),
        ("x-text", "ä".as_bytes()),
    ];
    let mut report = String::new();
    for (key, value) in tries {
        let header = verdict(context.set_header(key, value));
        let trailer = verdict(context.set_trailer(key, value));
        report.push_str(&format!("{key}: {header}, {trailer}\n"));
    }
    Ok(report.into_bytes())
}

fn verdict(outcome: Result<(), MetadataError>) -> String {
    match outcome {
        Ok(()) => "accepted".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

/// Sets headers and trailers of 1 KiB until the host has had enough, and answers how many it took.
pub(crate) fn much_metadata(context: &Context, request: Vec<u8>) -> Result<Vec<u8>, Status> {
    let most = number(&request, 1 << 20)?;
    let value = vec![b'x'; 1024];
    let headers = (0..most).take_while(|_| context.set_header("x-much", &value).is_ok());
    let headers = headers.count();
    let trailers = (0..most).take_while(|_| context.set_trailer("x-much", &value).is_ok());
    let trailers = trailers.count();
    Ok(format!("{headers} {trailers}").into_bytes())
}

pub(crate) fn bad_trailers(_context: &Context, _request: Vec<u8>) -> Result<Vec<u8>, Status> {
    Err(Status::aborted("with trailers")
        .with_trailer("grpc-status", "0")
        .with_trailer("Upper", "1")
        .with_trailer("x-line", "two\nlines")
        .with_trailer("x-good", "kept"))
}

pub(crate) fn flood_log(_context: &Context, _request: Vec<u8>) -> Result<Vec<u8>, Status> {
    for line in 0..STEPS_MAX {
        log::warn!("line {line} of a flood");
    }
    Ok(Vec::new())
}

#[expect(clippy::print_stderr, reason = "the fault that this method is about")]
pub(crate) fn flood_stderr(_context: &Context, _request: Vec<u8>) -> Result<Vec<u8>, Status> {
    for line in 0..STEPS_MAX {
        eprintln!("line {line} of a flood");
    }
    Ok(Vec::new())
}

/// One line that is too long, or as long as asked, each way that there is to write one.
#[expect(clippy::print_stderr, reason = "the fault that this method is about")]
pub(crate) fn long_line(_context: &Context, request: Vec<u8>) -> Result<Vec<u8>, Status> {
    let line = "long ".repeat(number(&request, LINE_BYTES)? / 5);
    log::warn!("{line}");
    eprintln!("{line}");
    Ok(Vec::new())
}

/// Keeps the call beyond its end.
pub(crate) fn hold_call(context: &Context, _request: Vec<u8>) -> Result<Vec<u8>, Status> {
    HELD.set(Some(context.clone()));
    Ok(Vec::new())
}

/// Uses the call that `HoldCall` kept. Fails when there is none, as in a fresh instance.
pub(crate) fn use_held_call(_context: &Context, _request: Vec<u8>) -> Result<Vec<u8>, Status> {
    let held = HELD.take();
    let held = held.ok_or_else(|| Status::failed_precondition("this instance holds no call"))?;
    Ok(held.peer().into_bytes())
}
