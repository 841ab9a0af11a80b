//! Loads: callers that wait for each answer, callers that do not, and streams.
//!
//! Called by `cmd::load` and, for single batches, by the benches. Runs on one thread. A closed
//! loop says how much a server can do; an open one, with calls that begin on time whether or not
//! earlier ones were answered, says how long callers wait at a rate that is given: its latencies
//! count from when a call was due, so that a server that stalls cannot hide it (coordinated omission).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::client::{Caller, Connection, Frame, Target};
use crate::outcome::{Outcome, Recorder};
use crate::process::CpuTimes;

/// Calls of an open loop that may be unanswered before the server counts as unable to keep up.
const OUTSTANDING_MAX: usize = 20_000;

/// How long the last answers may take after the end.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// What is called, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Unary calls; each caller waits for its answer before it calls again.
    Unary {
        /// HTTP/2 connections.
        connections: usize,
        /// Callers on each.
        in_flight: usize,
        /// Size of a message.
        bytes: usize,
    },
    /// Unary calls that begin at even intervals, in turns over the connections.
    Open {
        /// HTTP/2 connections.
        connections: usize,
        /// Calls a second.
        rate: u32,
        /// Size of a message.
        bytes: usize,
    },
    /// Streams on which messages go back and forth; what is counted is messages.
    Stream {
        /// HTTP/2 connections.
        connections: usize,
        /// Streams on each.
        streams: usize,
        /// Messages on each stream that are not answered yet.
        window: usize,
        /// Size of a message.
        bytes: usize,
    },
    /// Nothing at all: what a server costs that nobody calls.
    Idle,
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What is called, and how.
    pub shape: Shape,
    /// How long before it is measured.
    pub warm: Duration,
    /// How long it is measured.
    pub measured: Duration,
    /// The server's process, for its CPU time.
    pub server: u32,
}

/// Runs a plan against a server.
///
/// # Errors
/// When any answer is wrong, or the server does not keep up with an open loop.
///
/// # Cancel safety
/// Dropping the future drops all calls and connections.
pub async fn run(target: &Target, plan: &Plan) -> Result<Outcome> {
    run_over(target, plan, &[]).await
}

/// The same; unary calls go to these paths in turns, if there are any.
///
/// # Errors
/// When any answer is wrong, or the server does not keep up with an open loop.
///
/// # Cancel safety
/// Dropping the future drops all calls and connections.
pub async fn run_over(target: &Target, plan: &Plan, paths: &[String]) -> Result<Outcome> {
    let recorder = Arc::new(Recorder::default());
    let mut callers = JoinSet::new();
    let connections = match plan.shape {
        Shape::Unary { connections, .. }
        | Shape::Open { connections, .. }
        | Shape::Stream { connections, .. } => connect(target, connections).await?,
        Shape::Idle => Vec::new(),
    };
    match plan.shape {
        Shape::Unary {
            in_flight, bytes, ..
        } => {
            let turns = match (&connections[..], paths) {
                ([], _) | (_, []) => None,
                ([first, ..], paths) => Some(first.caller().turns(paths)?),
            };
            for place in 0..connections.len() * in_flight {
                let mut caller = connections[place / in_flight].caller();
                if let Some(turns) = &turns {
                    caller = caller.in_turns(turns, place);
                }
                callers.spawn(call_again(caller, Frame::new(bytes), Arc::clone(&recorder)));
            }
        }
        Shape::Stream {
            streams,
            window,
            bytes,
            ..
        } => {
            for connection in &connections {
                for _ in 0..streams {
                    let (caller, recorder) = (connection.caller(), Arc::clone(&recorder));
                    callers.spawn(echo(caller, Frame::new(bytes), window, recorder));
                }
            }
        }
        Shape::Open { rate, bytes, .. } => {
            let all: Vec<_> = connections.iter().map(Connection::caller).collect();
            callers.spawn(arrivals(
                all,
                Frame::new(bytes),
                rate,
                Arc::clone(&recorder),
            ));
        }
        Shape::Idle => {}
    }
    sleep(plan.warm).await;
    let cpu = || -> Result<_> {
        let own = CpuTimes::of(std::process::id())?;
        Ok((CpuTimes::of(plan.server)?, own))
    };
    let (server_before, own_before) = cpu()?;
    recorder.begin();
    sleep(plan.measured).await;
    recorder.end();
    let (server_after, own_after) = cpu()?;
    timeout(LAST_ANSWERS, all_of(callers))
        .await
        .context("answers are missing")??;
    Ok(Outcome {
        server_cpu_seconds: server_after.since(&server_before).as_secs_f64(),
        client_cpu_seconds: own_after.since(&own_before).as_secs_f64(),
        ..recorder.outcome()
    })
}

/// Opens connections.
///
/// # Errors
/// When one is refused.
///
/// # Cancel safety
/// Dropping the future drops them.
pub async fn connect(target: &Target, count: usize) -> Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        connections.push(Connection::open(target).await?);
    }
    Ok(connections)
}

/// Makes `calls` unary calls, `in_flight` at a time, over one connection.
///
/// # Errors
/// When any answer is wrong.
///
/// # Cancel safety
/// Dropping the future drops the calls.
pub async fn unary_batch(
    connection: &Connection,
    frame: &Frame,
    in_flight: usize,
    calls: usize,
) -> Result<()> {
    let mut callers = JoinSet::new();
    for place in 0..in_flight {
        let (mut caller, frame) = (connection.caller(), frame.clone());
        let share = (calls + in_flight - 1 - place) / in_flight;
        callers.spawn(async move {
            for _ in 0..share {
                caller.unary(&frame).await?;
            }
            Ok(())
        });
    }
    all_of(callers).await
}

/// Sends `messages` messages over one stream, at most `window` of them unanswered.
///
/// # Errors
/// When any answer is wrong.
///
/// # Cancel safety
/// Dropping the future cancels the stream.
pub async fn stream_batch(
    connection: &Connection,
    frame: &Frame,
    window: usize,
    messages: usize,
) -> Result<()> {
    let mut stream = connection.caller().bidi(frame.clone()).await?;
    let (mut sent, mut received) = (0, 0);
    while received < messages {
        while sent < messages && sent - received < window {
            stream.send()?;
            sent += 1;
        }
        received += stream.receive().await?;
    }
    stream.finish().await
}

pub(crate) async fn all_of(mut callers: JoinSet<Result<()>>) -> Result<()> {
    while let Some(ended) = callers.join_next().await {
        ended.context("a caller panicked")??;
    }
    Ok(())
}

async fn call_again(mut caller: Caller, frame: Frame, recorder: Arc<Recorder>) -> Result<()> {
    let mut begun = Instant::now();
    while !recorder.is_over() {
        caller.unary(&frame).await?;
        let now = Instant::now();
        recorder.record(now - begun);
        begun = now;
    }
    Ok(())
}

async fn echo(
    mut caller: Caller,
    frame: Frame,
    window: usize,
    recorder: Arc<Recorder>,
) -> Result<()> {
    let mut stream = caller.bidi(frame).await?;
    let mut sent: VecDeque<Instant> = VecDeque::with_capacity(window);
    loop {
        while sent.len() < window && !recorder.is_over() {
            stream.send()?;
            sent.push_back(Instant::now());
        }
        if sent.is_empty() {
            return stream.finish().await;
        }
        let whole = stream.receive().await?;
        let now = Instant::now();
        ensure!(whole <= sent.len(), "more came than was sent");
        for begun in sent.drain(..whole) {
            recorder.record(now - begun);
        }
    }
}

async fn arrivals(
    mut callers: Vec<Caller>,
    frame: Frame,
    rate: u32,
    recorder: Arc<Recorder>,
) -> Result<()> {
    ensure!(rate > 0, "an open loop needs a rate");
    let interval = Duration::from_secs(1) / rate;
    let mut timer = Timer::every(interval)?;
    let mut due = Instant::now();
    let mut calls = JoinSet::new();
    let turns = callers.len();
    let mut turn = 0;
    while !recorder.is_over() {
        for _ in 0..timer.expired().await? {
            due += interval;
            turn = (turn + 1) % turns;
            let (caller, frame) = (callers[turn].clone(), frame.clone());
            let recorder = Arc::clone(&recorder);
            calls.spawn(call_once(caller, frame, due, recorder));
        }
        while let Some(ended) = calls.try_join_next() {
            ended.context("a caller panicked")??;
        }
        ensure!(
            calls.len() < OUTSTANDING_MAX,
            "the server does not keep up with {rate} calls a second"
        );
    }
    // Those that were due while this program had no time to begin them.
    while recorder.covers(due + interval) {
        due += interval;
        let recorder = Arc::clone(&recorder);
        calls.spawn(call_once(callers[0].clone(), frame.clone(), due, recorder));
    }
    callers.clear();
    all_of(calls).await
}

async fn call_once(
    mut caller: Caller,
    frame: Frame,
    due: Instant,
    recorder: Arc<Recorder>,
) -> Result<()> {
    caller.unary(&frame).await?;
    recorder.record_due(due);
    Ok(())
}

/// A timer that is as exact as the kernel's: tokio's own counts in milliseconds, in which calls
/// would begin in bursts. To tokio it looks like a pipe: readable, eight bytes at a time.
pub(crate) struct Timer(pipe::Receiver);

impl Timer {
    pub(crate) fn every(interval: Duration) -> Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).context("a timer")?;
        let interval = Timespec::try_from(interval).context("the interval")?;
        let times = Itimerspec {
            it_interval: interval,
            it_value: interval,
        };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times).context("setting a timer")?;
        Ok(Self(pipe::Receiver::from_owned_fd_unchecked(timer)?))
    }

    /// Waits for the next expiry; returns how many there were.
    pub(crate) async fn expired(&mut self) -> Result<u64> {
        let mut count = [0; 8];
        self.0
            .read_exact(&mut count)
            .await
            .context("reading a timer")?;
        Ok(u64::from_ne_bytes(count))
    }
}
