//! Faults of streaming methods: too few messages, too many, too large, and cancellation not heeded.
//!
//! Called by `Faulty`. Natively, where no host is there to stop them, those without an end stop after
//! a few steps.

use switchboard_guest::{Context, Incoming, Outgoing, Status, log};

use crate::calls::{STEPS_MAX, abort, compute_for_ever, sleep};
use crate::number;

const LARGE_BYTES: usize = 16 << 20;

pub(crate) fn ok_without_message(
    _context: &Context,
    incoming: &Incoming,
    _outgoing: &Outgoing,
) -> Result<(), Status> {
    while incoming.receive()?.is_some() {}
    Ok(())
}

/// Logs what the host says of the second message.
pub(crate) fn send_twice(
    _context: &Context,
    incoming: &Incoming,
    outgoing: &Outgoing,
) -> Result<(), Status> {
    while incoming.receive()?.is_some() {}
    outgoing.send("first")?;
    if let Err(status) = outgoing.send("second") {
        log::info!("second message: {status}");
    }
    Ok(())
}

/// Messages of the size in the request, without end.
pub(crate) fn flood(
    _context: &Context,
    incoming: &Incoming,
    outgoing: &Outgoing,
) -> Result<(), Status> {
    let request = incoming.receive()?.unwrap_or_default();
    let message = vec![0xa5; number(&request, 64 << 10)?];
    for _ in 0..STEPS_MAX {
        outgoing.send(&message)?;
    }
    Ok(())
}

/// A message that is too large, then what the host said of it.
pub(crate) fn send_too_large(
    _context: &Context,
    incoming: &Incoming,
    outgoing: &Outgoing,
) -> Result<(), Status> {
    let request = incoming.receive()?.unwrap_or_default();
    let refusal = outgoing.send(vec![0; number(&request, LARGE_BYTES)?]);
    outgoing.send(match refusal {
        Ok(()) => "accepted".to_owned(),
        Err(status) => status.to_string(),
    })
}

pub(crate) fn trap_mid_stream(
    _context: &Context,
    _incoming: &Incoming,
    outgoing: &Outgoing,
) -> Result<(), Status> {
    outgoing.send("last words")?;
    abort()
}

pub(crate) fn error_mid_stream(
    _context: &Context,
    _incoming: &Incoming,
    outgoing: &Outgoing,
) -> Result<(), Status> {
    outgoing.send("last words")?;
    Err(Status::failed_precondition("faulty: failed as asked").with_trailer("x-reason", "asked"))
}

/// Sends `ready`, waits to be cancelled, and then computes on without a pause.
pub(crate) fn ignore_cancel(
    _context: &Context,
    incoming: &Incoming,
    outgoing: &Outgoing,
) -> Result<(), Status> {
    outgoing.send("ready")?;
    while let Ok(Some(_)) = incoming.receive() {}
    compute_for_ever();
    Ok(())
}

/// Sends `ready`, and asks for messages for ever, whatever the host answers.
pub(crate) fn receive_for_ever(
    _context: &Context,
    incoming: &Incoming,
    outgoing: &Outgoing,
) -> Result<(), Status> {
    outgoing.send("ready")?;
    for _ in 0..STEPS_MAX {
        let _whatever = incoming.receive();
    }
    Ok(())
}

/// Sends `ready`, and then nothing: it reads no message and waits for no end.
pub(crate) fn never_receive(
    context: &Context,
    _incoming: &Incoming,
    outgoing: &Outgoing,
) -> Result<(), Status> {
    outgoing.send("ready")?;
    sleep(context, Vec::new()).map(|_| ())
}
