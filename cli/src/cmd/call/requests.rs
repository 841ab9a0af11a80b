//! The messages of a call, from the command line or as stdin has them. Called by `cmd::call`.
//!
//! Invariant: nothing is sent of a message that is wrong, and the call ends with what is wrong about it.

use std::io::{BufReader, Read};

use anyhow::{Error, Result, anyhow, bail};
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor};
use serde_json::Deserializer;
use tokio::sync::{mpsc, oneshot};

/// Messages that were read and not sent. Count: what flow control holds back waits in the pipe.
const READ_AHEAD: usize = 16;

/// What is to be sent.
pub(super) struct Requests {
    messages: Option<mpsc::Receiver<DynamicMessage>>,
    fault: oneshot::Receiver<Error>,
}

impl Requests {
    /// Those on the command line; `-` is stdin.
    pub(super) fn of(typed: &[String], method: &MethodDescriptor) -> Result<Self> {
        let stream = method.is_client_streaming();
        let of = method.input();
        let stdin = typed == ["-"];
        let messages = match typed {
            [] if stream => Vec::new(),
            [] => vec![DynamicMessage::new(of.clone())],
            _ if stdin => Vec::new(),
            _ => {
                let mut all = Vec::new();
                for text in typed {
                    read_all(text.as_bytes(), &of, |message| {
                        all.push(message);
                        true
                    })?;
                }
                all
            }
        };
        if !stream && !stdin && messages.len() != 1 {
            bail!(
                "{} takes one message, not {}",
                method.full_name(),
                messages.len()
            );
        }
        let (send, receive) = mpsc::channel(READ_AHEAD.max(messages.len()));
        let (wrong, fault) = oneshot::channel();
        for message in messages {
            send.try_send(message)
                .map_err(|_full| anyhow!("there is room for all of them"))?;
        }
        if stdin {
            read_stdin(of, stream, send, wrong)?;
        }
        Ok(Self {
            messages: Some(receive),
            fault,
        })
    }

    /// The messages, as they come.
    pub(super) fn take(
        &mut self,
    ) -> impl futures_util::Stream<Item = DynamicMessage> + Send + 'static {
        let messages = self.messages.take();
        futures_util::stream::unfold(messages, |messages| async {
            let mut messages = messages?;
            let next = messages.recv().await?;
            Some((next, Some(messages)))
        })
    }

    /// What is wrong with a message, if there ever is something.
    pub(super) async fn fault(self) -> Error {
        match self.fault.await {
            Ok(fault) => fault,
            Err(_none) => std::future::pending().await,
        }
    }
}

/// Reads by a thread of its own, since stdin can only be waited for.
fn read_stdin(
    of: MessageDescriptor,
    stream: bool,
    send: mpsc::Sender<DynamicMessage>,
    wrong: oneshot::Sender<Error>,
) -> Result<()> {
    let reading = move || {
        let mut count = 0;
        let read = read_all(BufReader::new(std::io::stdin()), &of, |message| {
            count += 1;
            (stream || count == 1) && send.blocking_send(message).is_ok()
        });
        let fault = match read {
            Err(fault) => Some(fault),
            Ok(()) if !stream && count != 1 => {
                Some(anyhow!("the method takes one message, stdin has {count}"))
            }
            Ok(()) => None,
        };
        match fault {
            // Kept, or the call would take the end of the messages for the end of what it is sent.
            Some(fault) => {
                let told = wrong.send(fault);
                std::mem::forget(send);
                drop(told);
            }
            None => drop(send),
        }
    };
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(reading)?;
    Ok(())
}

/// Reads JSON values, one after the other, until there are no more or `take` wants no more.
fn read_all(
    from: impl Read,
    of: &MessageDescriptor,
    mut take: impl FnMut(DynamicMessage) -> bool,
) -> Result<()> {
    let mut json = Deserializer::from_reader(from);
    let mut count = 1;
    while json.end().is_err() {
        let message = DynamicMessage::deserialize(of.clone(), &mut json)
            .map_err(|error| anyhow!("message {count} is no {}: {error}", of.full_name()))?;
        if !take(message) {
            return Ok(());
        }
        count += 1;
    }
    Ok(())
}
