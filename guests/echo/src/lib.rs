//! The smallest plugin: `echo.Echo` sends the bytes of each message back as they came.
//!
//! It has no `std` on wasm, which is what makes it small, and no `.proto`: to it, messages are
//! bytes. A unary message is not copied on its way through. Its size is printed by `make guests`.

#![cfg_attr(target_arch = "wasm32", no_std)]

use switchboard_guest::{ByteService, Method};

/// `echo.Echo`, with one method of the simplest kind and one of the hardest.
pub static ECHO: ByteService = ByteService::new(
    "echo.Echo",
    &[
        Method::unary("Unary", |_context, request| Ok(request)).idempotent(),
        Method::bidi("Bidi", |_context, incoming, outgoing| {
            while let Some(message) = incoming.receive()? {
                outgoing.send(message)?;
            }
            Ok(())
        }),
    ],
);

switchboard_guest::export_no_std!(ECHO);

#[cfg(test)]
mod tests {
    use switchboard_guest::testing::Call;
    use switchboard_guest::{CancelReason, Code};

    use super::ECHO;

    #[test]
    fn unary_returns_the_bytes() {
        for message in [&b""[..], b"\0\xff", &[7; 100_000]] {
            assert_eq!(
                Call::to(&ECHO, "Unary").message(message).run().message(),
                message
            );
        }
    }

    #[test]
    fn bidi_returns_each_message_in_order() {
        let answer = Call::to(&ECHO, "Bidi").messages(["a", "", "bc"]).run();
        assert_eq!(answer.status, Ok(()));
        assert_eq!(answer.messages, [&b"a"[..], b"", b"bc"]);
    }

    #[test]
    fn bidi_ends_when_cancelled() {
        let call = Call::to(&ECHO, "Bidi")
            .message("a")
            .cancel(CancelReason::ClientGone);
        let answer = call.message("never").run();
        assert_eq!(
            (answer.code(), answer.messages),
            (Code::Cancelled, vec![b"a".to_vec()])
        );
    }
}
