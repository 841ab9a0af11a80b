//! What goes on in a server beside the calls that are measured: streams that are open, connections that are
//! idle, a plugin that computes for ever, big messages.
//!
//! Run by `cmd::hold` in a process of its own, which `child` starts. Invariant: a neighbour that was not
//! there, or was refused something, ends with an error, so that nobody measures calls beside nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::client::{Caller, Connection, Frame, Stream, Target};
use crate::load::{self, Timer};

/// The line that says that all of it is there.
pub const HELD: &str = "held";

/// Calls of one connection. Source: half of what stock tonic lets a connection have (hyper's default of
/// 200), and less than this project's 256.
const CALLS_OF_CONNECTION: usize = 100;

/// Bytes of what streams and connections are used for once before they are idle.
const SMALL_BYTES: usize = 16;

/// Big messages that may be unanswered before the server counts as unable to keep up: ten seconds of them
/// at the rates they are sent at.
const BIG_UNANSWERED_MAX: usize = 1_000;

/// The method of `guests/faulty` that never answers.
const SPIN: &str = "/faulty.Faulty/Spin";

/// What is beside; the subcommands of `hold`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::Subcommand)]
#[serde(rename_all = "kebab-case")]
pub enum Neighbour {
    /// Calls of a plugin that computes and never answers, each in an instance of its own.
    Spin {
        /// Calls.
        #[arg(long)]
        calls: usize,
    },
    /// Streams on which one message has gone back and forth, and nothing since.
    Streams {
        /// Streams, up to a hundred on a connection.
        #[arg(long)]
        count: usize,
    },
    /// Connections on which one call was made.
    Connections {
        /// Connections.
        #[arg(long)]
        count: usize,
    },
    /// Big messages back and forth, that begin at even intervals.
    Big {
        /// Messages a second.
        #[arg(long)]
        rate: u32,
        /// Size of each.
        #[arg(long)]
        bytes: usize,
    },
}

/// What a neighbour did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Answers it got, over its whole life.
    pub answers: u64,
    /// How long it was there, in seconds.
    pub seconds: f64,
}

impl Report {
    /// Answers a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        crate::outcome::count(self.answers) / self.seconds
    }
}

impl Neighbour {
    /// As `hold` wants it.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let (name, numbers) = match *self {
            Self::Spin { calls } => ("spin", vec![("--calls", calls)]),
            Self::Streams { count } => ("streams", vec![("--count", count)]),
            Self::Connections { count } => ("connections", vec![("--count", count)]),
            Self::Big { rate, bytes } => {
                let rate = usize::try_from(rate).unwrap_or(usize::MAX);
                ("big", vec![("--rate", rate), ("--bytes", bytes)])
            }
        };
        let numbers = numbers
            .into_iter()
            .flat_map(|(flag, number)| [flag.to_owned(), number.to_string()]);
        std::iter::once(name.to_owned()).chain(numbers).collect()
    }

    /// Is there until `leave` ends; calls `held` once all of it is there.
    ///
    /// # Errors
    /// When anything is answered otherwise than it must be.
    ///
    /// # Cancel safety
    /// Dropping the future drops its calls and connections.
    pub async fn stay(
        &self,
        target: &Target,
        held: impl FnOnce() -> Result<()>,
        leave: impl Future<Output = ()>,
    ) -> Result<Report> {
        let begun = Instant::now();
        let answers = match *self {
            Self::Spin { calls } => spin(target, calls, held, leave).await?,
            Self::Streams { count } => streams(target, count, held, leave).await?,
            Self::Connections { count } => connections(target, count, held, leave).await?,
            Self::Big { rate, bytes } => big(target, rate, bytes, held, leave).await?,
        };
        Ok(Report {
            answers,
            seconds: begun.elapsed().as_secs_f64(),
        })
    }
}

async fn spin(
    target: &Target,
    calls: usize,
    held: impl FnOnce() -> Result<()>,
    leave: impl Future<Output = ()>,
) -> Result<u64> {
    let connections = load::connect(target, calls.div_ceil(CALLS_OF_CONNECTION)).await?;
    let mut spinning = JoinSet::new();
    for place in 0..calls {
        let mut caller = connections[place / CALLS_OF_CONNECTION].caller().of(SPIN)?;
        spinning.spawn(async move { caller.unary(&Frame::new(0)).await });
    }
    held()?;
    tokio::select! {
        () = leave => Ok(0),
        Some(ended) = spinning.join_next() => {
            ended.context("a caller panicked")?.context("a call that spins")?;
            bail!("a call that never ends was answered")
        }
    }
}

async fn streams(
    target: &Target,
    count: usize,
    held: impl FnOnce() -> Result<()>,
    leave: impl Future<Output = ()>,
) -> Result<u64> {
    let connections = load::connect(target, count.div_ceil(CALLS_OF_CONNECTION)).await?;
    let mut open = Vec::with_capacity(count);
    for place in 0..count {
        let caller = connections[place / CALLS_OF_CONNECTION].caller();
        open.push(used(caller).await?);
    }
    held()?;
    leave.await;
    for stream in open {
        stream.finish().await?;
    }
    Ok(u64::try_from(count)?)
}

/// A stream on which one message has gone back and forth.
async fn used(mut caller: Caller) -> Result<Stream> {
    let mut stream = caller.bidi(Frame::new(SMALL_BYTES)).await?;
    stream.send()?;
    ensure!(stream.receive().await? == 1, "more came than was sent");
    Ok(stream)
}

async fn connections(
    target: &Target,
    count: usize,
    held: impl FnOnce() -> Result<()>,
    leave: impl Future<Output = ()>,
) -> Result<u64> {
    let open = load::connect(target, count).await?;
    for connection in &open {
        connection.caller().unary(&Frame::new(SMALL_BYTES)).await?;
    }
    held()?;
    leave.await;
    // One more call on each says that they were there all the time.
    for connection in &open {
        connection.caller().unary(&Frame::new(SMALL_BYTES)).await?;
    }
    Ok(2 * u64::try_from(count)?)
}

async fn big(
    target: &Target,
    rate: u32,
    bytes: usize,
    held: impl FnOnce() -> Result<()>,
    leave: impl Future<Output = ()>,
) -> Result<u64> {
    ensure!(rate > 0, "big messages need a rate");
    let connection = Connection::open(target).await?;
    let frame = Frame::new(bytes);
    connection.caller().unary(&frame).await?;
    held()?;
    let mut timer = Timer::every(Duration::from_secs(1) / rate)?;
    let (mut calls, answers) = (JoinSet::new(), Arc::new(AtomicU64::new(1)));
    let mut leave = std::pin::pin!(leave);
    loop {
        let due = tokio::select! {
            due = timer.expired() => due?,
            () = &mut leave => break,
        };
        for _ in 0..due {
            let (mut caller, frame) = (connection.caller(), frame.clone());
            let answers = Arc::clone(&answers);
            calls.spawn(async move {
                caller.unary(&frame).await?;
                answers.fetch_add(1, Ordering::Relaxed);
                Ok(())
            });
        }
        while let Some(ended) = calls.try_join_next() {
            ended.context("a caller panicked")??;
        }
        let enough = calls.len() < BIG_UNANSWERED_MAX;
        ensure!(enough, "the server does not keep up with big messages");
    }
    load::all_of(calls).await?;
    Ok(answers.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(subcommand)]
        neighbour: Neighbour,
    }

    #[test]
    fn a_neighbour_is_what_its_flags_say() {
        for neighbour in [
            Neighbour::Spin { calls: 64 },
            Neighbour::Streams { count: 1000 },
            Neighbour::Connections { count: 10 },
            Neighbour::Big {
                rate: 100,
                bytes: 1 << 20,
            },
        ] {
            let typed = std::iter::once("hold".to_owned()).chain(neighbour.arguments());
            assert_eq!(Flags::parse_from(typed).neighbour, neighbour);
        }
    }
}
