//! The browser's clock, and one timer for everybody who waits.
//!
//! Setting and clearing a timer of JavaScript for each call would be most of what a small call costs, so
//! there is one, set for the earliest time anybody waits for, and left alone when that one is gone.
//! Invariants: a sleep is plain data, so that bodies of answers may be `Send`; whoever polled last is
//! woken; a sleep that is dropped leaves nothing behind. A hidden page's timers may be a second late,
//! after five minutes a minute.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use wasm_bindgen::JsValue;
use wasm_bindgen::closure::Closure;

use super::global::{clear_timeout, function_of, performance_now, set_timeout};

/// Timers of JavaScript have 32 bits of milliseconds; a longer sleep takes several.
const DELAY_MS_MAX: f64 = 2_147_483_647.0;

/// Browsers round their clocks, so that a timer may seem to go off early.
const ROUNDING: Duration = Duration::from_millis(1);

/// Time since the page or worker began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock;

impl Clock {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn now(&self) -> Duration {
        Duration::try_from_secs_f64(performance_now() / 1000.0).unwrap_or_default()
    }

    pub(crate) fn sleep_until(&self, due: Duration) -> Sleep {
        Sleep { due, id: None }
    }
}

/// Ends when its time has come.
#[derive(Debug)]
pub(crate) struct Sleep {
    due: Duration,
    /// Its number among those that wait; none before it was polled.
    id: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let Some(id) = self.id else {
            let now = Clock.now();
            if self.due <= now {
                return Poll::Ready(());
            }
            self.id = Some(TIMERS.with_borrow_mut(|timers| timers.wait(self.due, waker, now)));
            return Poll::Pending;
        };
        // Outside the borrow: a waker may be all that keeps a task alive, and a task may sleep.
        let unused = TIMERS.with_borrow_mut(|timers| {
            let waiting = timers.waiting.get_mut(&(self.due, id))?;
            Some(std::mem::replace(waiting, waker))
        });
        if unused.is_some() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            // Not when the thread itself ends, and its state with it.
            drop(TIMERS.try_with(|timers| timers.borrow_mut().waiting.remove(&(self.due, id))));
        }
    }
}

thread_local! {
    static TIMERS: RefCell<Timers> = RefCell::new(Timers::new());
}

/// Everybody who waits on this thread.
struct Timers {
    waiting: BTreeMap<(Duration, u64), Waker>,
    ids: u64,
    /// The timer that is set, and for when.
    armed: Option<(Duration, JsValue)>,
    gone_off: Closure<dyn FnMut()>,
}

impl Timers {
    fn new() -> Self {
        Self {
            waiting: BTreeMap::new(),
            ids: 0,
            armed: None,
            gone_off: Closure::new(go_off),
        }
    }

    /// Begins a sleep: its number.
    fn wait(&mut self, due: Duration, waker: Waker, now: Duration) -> u64 {
        self.ids += 1;
        self.waiting.insert((due, self.ids), waker);
        self.arm(now);
        self.ids
    }

    /// Sets the timer for the earliest time, unless it goes off before anyway.
    fn arm(&mut self, now: Duration) {
        let Some((earliest, _)) = self.waiting.keys().next().copied() else {
            return;
        };
        match &self.armed {
            Some((due, _)) if *due <= earliest => return,
            Some((_, timer)) => clear_timeout(timer),
            None => {}
        }
        let delay_ms = earliest.saturating_sub(now).as_secs_f64() * 1000.0;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a float that was clamped to i32"
        )]
        let delay_ms = delay_ms.ceil().min(DELAY_MS_MAX) as i32;
        let timer = set_timeout(function_of(&self.gone_off), delay_ms);
        self.armed = Some((earliest, timer));
    }
}

/// The timer has gone off.
fn go_off() {
    let now = Clock.now();
    let due = TIMERS.with_borrow_mut(|timers| {
        timers.armed = None;
        let later = timers.waiting.split_off(&(now + ROUNDING, 0));
        let due = std::mem::replace(&mut timers.waiting, later);
        timers.arm(now);
        due
    });
    // Outside the borrow: whoever is woken may look at the clock.
    due.into_values().for_each(Waker::wake);
}
