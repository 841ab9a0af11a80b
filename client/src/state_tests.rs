//! The state machine against its invariants: tables for what each input does, and random histories.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn policy() -> Policy {
    Policy {
        backoff: Backoff {
            initial: SECOND,
            factor: 1.6,
            max: 120 * SECOND,
            jitter: 0.2,
        },
        attempts_max: None,
        keep_connected: false,
    }
}

fn refused() -> ConnectError {
    ConnectError::Other("nobody there".to_owned())
}

fn busy(after: u64) -> ConnectError {
    ConnectError::Refused(crate::error::Refusal {
        status: http::StatusCode::SERVICE_UNAVAILABLE,
        line: None,
        retry_after: Some(Duration::from_secs(after)),
    })
}

/// Why a connection was of no use.
fn hung_up() -> Option<ConnectError> {
    let reason = crate::error::CloseReason::Lost("the server closed it".to_owned());
    Some(ConnectError::Fruitless(reason))
}

fn outputs(machine: &mut Machine) -> Vec<Output> {
    std::iter::from_fn(|| machine.poll_output()).collect()
}

fn connects(machine: &mut Machine) -> bool {
    outputs(machine).contains(&Output::Connect)
}

/// A machine whose first attempt, begun at zero for one waiting call, failed at `now`.
fn failed_at(now: Duration) -> Machine {
    let mut machine = Machine::new(policy());
    machine.handle_wait(Duration::ZERO);
    assert!(connects(&mut machine));
    machine.handle_failed(now, refused(), 0.5);
    machine
}

#[test]
fn nothing_happens_before_somebody_calls() {
    let mut machine = Machine::new(policy());
    assert_eq!(machine.poll_timeout(), None);
    assert_eq!(machine.poll_output(), None);
    assert_eq!(machine.state(), State::Idle);
}

#[test]
fn the_first_call_begins_the_only_attempt() {
    let mut machine = Machine::new(policy());
    machine.handle_wait(SECOND);
    let begun = [
        Output::Tell(Event::Connecting { attempt: 1 }),
        Output::Connect,
    ];
    assert_eq!(outputs(&mut machine), begun);
    machine.handle_wait(SECOND);
    assert_eq!(outputs(&mut machine), []);
    assert_eq!(machine.state(), State::Connecting { attempt: 1 });
    machine.handle_connected(SECOND);
    assert_eq!(machine.state(), State::Ready);
}

#[test]
fn the_time_between_attempts_grows_to_its_limit() {
    let mut machine = Machine::new(policy());
    machine.handle_wait(Duration::ZERO);
    let mut now = Duration::ZERO;
    let mut spacings = Vec::new();
    for _ in 0..14 {
        assert!(connects(&mut machine));
        machine.handle_failed(now, refused(), 0.5);
        let due = machine.poll_timeout().expect("a call waits");
        spacings.push((due - now).as_secs_f64());
        now = due;
        machine.handle_timer(now);
    }
    let expected = [1.0, 1.6, 2.56, 4.096];
    for (spacing, expected) in spacings.iter().zip(expected) {
        assert!((spacing - expected).abs() < 1e-6, "{spacings:?}");
    }
    assert!((spacings[13] - 120.0).abs() < 1e-6, "{spacings:?}");
}

#[test]
fn jitter_goes_both_ways() {
    for (chance, expected) in [(0.0, 0.8), (0.5, 1.0), (0.999_999, 1.2)] {
        let mut machine = Machine::new(policy());
        machine.handle_wait(Duration::ZERO);
        machine.handle_failed(Duration::ZERO, refused(), chance);
        let due = machine.poll_timeout().expect("backoff").as_secs_f64();
        assert!((due - expected).abs() < 1e-3, "{chance}: {due}");
    }
}

#[test]
fn the_spacing_counts_from_the_beginning_of_the_attempt() {
    let mut machine = failed_at(20 * SECOND);
    assert_eq!(machine.poll_timeout(), Some(20 * SECOND));
    machine.handle_timer(20 * SECOND);
    assert_eq!(machine.state(), State::Connecting { attempt: 2 });
}

#[test]
fn a_call_in_backoff_begins_nothing_before_it_is_over() {
    let mut machine = failed_at(Duration::ZERO);
    outputs(&mut machine);
    machine.handle_wait(SECOND / 2);
    assert_eq!(outputs(&mut machine), []);
    assert_eq!(machine.state(), State::Backoff { attempt: 1 });
    assert_eq!(machine.last_error(), Some(&refused()));
    machine.handle_wait(SECOND);
    assert!(connects(&mut machine));
}

#[test]
fn a_backoff_that_nobody_waits_for_ends_in_idleness_and_keeps_its_count() {
    let mut machine = failed_at(Duration::ZERO);
    machine.handle_wait_over();
    outputs(&mut machine);
    machine.handle_timer(SECOND);
    assert_eq!(machine.state(), State::Idle);
    assert_eq!(machine.poll_timeout(), None);
    machine.handle_wait(9 * SECOND);
    let begun = Output::Tell(Event::Connecting { attempt: 2 });
    assert_eq!(machine.poll_output(), Some(begun));
}

/// The number of the attempt after a connection that came after a failed attempt, at 1 s, and was lost
/// at `lost`.
fn attempt_after(lost: Duration, fruitless: Option<ConnectError>) -> State {
    let mut machine = failed_at(Duration::ZERO);
    machine.handle_timer(SECOND);
    machine.handle_connected(SECOND);
    assert_eq!(machine.last_error(), None);
    machine.handle_wait_over();
    machine.handle_lost(lost, fruitless, 0.5);
    assert_eq!(machine.state(), State::Idle);
    machine.handle_wait(lost);
    machine.state()
}

#[test]
fn a_connection_of_use_resets_the_count() {
    let (anew, going_on) = (
        State::Connecting { attempt: 1 },
        State::Connecting { attempt: 2 },
    );
    assert_eq!(attempt_after(SECOND, None), anew, "it answered");
    assert_eq!(attempt_after(2 * SECOND, hung_up()), anew, "it lasted");
    let soon = SECOND * 19 / 10;
    assert_eq!(attempt_after(soon, hung_up()), going_on, "it hung up");
}

#[test]
fn a_server_that_hangs_up_again_and_again_is_called_less_and_less() {
    let mut machine = Machine::new(policy());
    machine.handle_wait(Duration::ZERO);
    let mut now = Duration::ZERO;
    let mut begun = Vec::new();
    for _ in 0..6 {
        assert!(connects(&mut machine), "{machine:?}");
        begun.push(now.as_secs_f64());
        machine.handle_connected(now);
        machine.handle_lost(now, hung_up(), 0.5);
        now = machine.poll_timeout().unwrap_or(now);
        machine.handle_timer(now);
    }
    for (at, expected) in begun.iter().zip([0.0, 0.0, 1.0, 2.6, 5.16, 9.256]) {
        assert!((at - expected).abs() < 1e-6, "{begun:?}");
    }
    // Once it is of use, it is called at once again.
    machine.handle_connected(now);
    machine.handle_lost(now, None, 0.5);
    assert_eq!(machine.state(), State::Connecting { attempt: 1 });
}

#[test]
fn a_call_in_the_pause_after_a_hang_up_begins_nothing() {
    let mut machine = Machine::new(policy());
    machine.handle_wait(Duration::ZERO);
    machine.handle_connected(Duration::ZERO);
    machine.handle_lost(Duration::ZERO, hung_up(), 0.5);
    machine.handle_connected(Duration::ZERO);
    outputs(&mut machine);
    machine.handle_lost(Duration::ZERO, hung_up(), 0.5);
    let Some(Output::Tell(Event::Backoff { attempt, delay, .. })) = machine.poll_output() else {
        panic!("{machine:?}");
    };
    assert_eq!((attempt, delay), (1, SECOND));
    machine.handle_wait(SECOND / 2);
    assert_eq!(outputs(&mut machine), []);
    assert_eq!(machine.last_error(), hung_up().as_ref());
    assert_eq!(machine.backoff_left(SECOND / 2), Some(SECOND / 2));
}

#[test]
fn hanging_up_counts_among_the_attempts_that_may_fail() {
    let mut machine = Machine::new(Policy {
        attempts_max: NonZeroU32::new(1),
        ..policy()
    });
    machine.handle_wait(Duration::ZERO);
    for _ in 0..2 {
        machine.handle_connected(Duration::ZERO);
        machine.handle_lost(Duration::ZERO, hung_up(), 0.5);
    }
    // The connection may still have calls, so this is not the end.
    assert_eq!(machine.state(), State::Stopping);
    assert_eq!(machine.gave_up(), hung_up().as_ref());
    machine.handle_stopped();
    assert_eq!(machine.state(), State::Stopped);
}

#[test]
fn a_channel_that_keeps_connected_pauses_after_the_first_hang_up() {
    let mut machine = Machine::new(Policy {
        keep_connected: true,
        ..policy()
    });
    machine.handle_wait(Duration::ZERO);
    machine.handle_connected(Duration::ZERO);
    machine.handle_wait_over();
    outputs(&mut machine);
    machine.handle_lost(SECOND / 10, hung_up(), 0.5);
    assert_eq!(outputs(&mut machine), []);
    assert_eq!(machine.poll_timeout(), Some(SECOND));
    machine.handle_timer(SECOND);
    assert!(connects(&mut machine));
    machine.handle_connected(SECOND);
    machine.handle_lost(60 * SECOND, hung_up(), 0.5);
    assert!(
        connects(&mut machine),
        "one that stayed for a while is called at once"
    );
}

#[test]
fn the_longest_times_there_may_be_are_survived() {
    let far = 100 * 365 * 24 * 3600 * SECOND;
    let mut policy = policy();
    (policy.backoff.initial, policy.backoff.max) = (far, far);
    policy.backoff.factor = 100.0;
    let mut machine = Machine::new(policy);
    machine.handle_wait(Duration::ZERO);
    let mut now = Duration::ZERO;
    for _ in 0..2000 {
        machine.handle_failed(now, refused(), 0.999);
        now = machine.poll_timeout().expect("a call waits");
        machine.handle_timer(now);
    }
    assert!(now > far);
}

#[test]
fn retry_after_is_honoured_up_to_its_limit() {
    for (asked, waited) in [(0, 1), (7, 7), (601, 600), (u64::MAX, 600)] {
        let mut machine = Machine::new(policy());
        machine.handle_wait(Duration::ZERO);
        machine.handle_failed(Duration::ZERO, busy(asked), 0.5);
        assert_eq!(machine.poll_timeout(), Some(waited * SECOND), "{asked}");
    }
}

#[test]
fn news_of_the_network_ends_the_backoff() {
    let mut machine = failed_at(Duration::ZERO);
    outputs(&mut machine);
    machine.handle_network(SECOND / 2);
    assert_eq!(machine.state(), State::Connecting { attempt: 1 });

    let mut machine = failed_at(Duration::ZERO);
    machine.handle_wait_over();
    outputs(&mut machine);
    machine.handle_network(SECOND / 2);
    assert_eq!(machine.state(), State::Idle);
    assert_eq!(outputs(&mut machine), []);
}

#[test]
fn pauses_nest() {
    let mut machine = Machine::new(policy());
    machine.handle_wait(Duration::ZERO);
    machine.handle_connected(Duration::ZERO);
    outputs(&mut machine);
    machine.handle_pause();
    machine.handle_pause();
    machine.handle_resume();
    assert_eq!(machine.state(), State::Paused);
    machine.handle_resume();
    assert_eq!(machine.state(), State::Ready);
    let told = [Output::Tell(Event::Paused), Output::Tell(Event::Resumed)];
    assert_eq!(outputs(&mut machine), told);
}

#[test]
fn it_gives_up_after_as_many_attempts_as_allowed() {
    let mut machine = Machine::new(Policy {
        attempts_max: NonZeroU32::new(2),
        ..policy()
    });
    machine.handle_wait(Duration::ZERO);
    machine.handle_failed(Duration::ZERO, refused(), 0.5);
    machine.handle_timer(SECOND);
    machine.handle_failed(SECOND, refused(), 0.5);
    assert_eq!(machine.state(), State::Stopped);
    assert_eq!(
        outputs(&mut machine).last(),
        Some(&Output::Tell(Event::Stopped))
    );
    assert_eq!(machine.last_error(), Some(&refused()));
}

#[derive(Clone, Debug)]
enum Step {
    Wait,
    WaitOver,
    Connected,
    Failed(f64, u64),
    /// Whether it was of use.
    Lost(bool, f64),
    Unused,
    Timer,
    Network,
    Pause,
    Resume,
    Stop,
    Stopped,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Wait),
        6 => Just(Step::WaitOver),
        6 => Just(Step::Connected),
        6 => ((0.0..1.0), prop_oneof![9 => Just(0_u64), 1 => any::<u64>()]).prop_map(|(chance, after)| Step::Failed(chance, after)),
        4 => (any::<bool>(), 0.0..1.0).prop_map(|(of_use, chance)| Step::Lost(of_use, chance)),
        1 => Just(Step::Unused),
        8 => Just(Step::Timer),
        1 => Just(Step::Network),
        1 => Just(Step::Pause),
        1 => Just(Step::Resume),
        1 => Just(Step::Stop),
        1 => Just(Step::Stopped),
    ]
}

/// What a history must have been like, told step by step.
#[derive(Default)]
struct Witness {
    connecting: bool,
    connected: bool,
    paused: bool,
    stopped: bool,
    begun: Option<Duration>,
    /// Whether the next attempt may begin at once.
    excused: bool,
    told: usize,
}

impl Witness {
    fn see(&mut self, output: &Output, now: Duration) -> Result<(), TestCaseError> {
        prop_assert!(!self.stopped, "{output:?} after the end");
        match output {
            Output::Connect => {
                prop_assert!(!self.connecting && !self.connected, "two at a time");
                self.connecting = true;
                let excused = std::mem::take(&mut self.excused);
                let spaced = |begun| now - begun >= SECOND * 8 / 10;
                prop_assert!(excused || self.begun.is_none_or(spaced), "too soon");
                self.begun = Some(now);
            }
            Output::Tell(Event::Backoff { delay, error, .. }) => {
                let longest = if error.retry_after().is_some_and(|after| !after.is_zero()) {
                    crate::Refusal::RETRY_AFTER_MAX
                } else {
                    Duration::from_secs_f64(120.0 * 1.2)
                };
                prop_assert!(*delay <= longest, "{delay:?}");
            }
            Output::Tell(Event::Paused) => prop_assert!(!std::mem::replace(&mut self.paused, true)),
            Output::Tell(Event::Resumed) => {
                prop_assert!(std::mem::replace(&mut self.paused, false));
            }
            Output::Tell(Event::Stopped) => self.stopped = true,
            Output::Tell(_) => {}
        }
        self.told += 1;
        Ok(())
    }
}

fn apply(machine: &mut Machine, witness: &mut Witness, step: &Step, now: Duration) {
    match step {
        Step::Wait => machine.handle_wait(now),
        Step::WaitOver => machine.handle_wait_over(),
        Step::Connected if witness.connecting => {
            witness.connecting = false;
            witness.connected = !machine.has_ended();
            machine.handle_connected(now);
        }
        Step::Failed(chance, after) if witness.connecting => {
            witness.connecting = false;
            let error = if *after == 0 { refused() } else { busy(*after) };
            machine.handle_failed(now, error, *chance);
        }
        Step::Lost(of_use, chance) if witness.connected => {
            witness.connected = false;
            // The first one that was of no use is spared.
            witness.excused = *of_use || !machine.spared;
            let fruitless = hung_up().filter(|_| !of_use);
            machine.handle_lost(now, fruitless, *chance);
        }
        Step::Unused if witness.connected => {
            witness.connected = false;
            witness.excused = true;
            machine.handle_unused(now);
        }
        Step::Timer => machine.handle_timer(now),
        Step::Network => {
            witness.excused |= !witness.connecting && !witness.connected;
            machine.handle_network(now);
        }
        Step::Pause => machine.handle_pause(),
        Step::Resume if machine.pauses > 0 => machine.handle_resume(),
        Step::Stop => machine.handle_stop(),
        Step::Stopped => machine.handle_stopped(),
        // Not possible now.
        Step::Connected | Step::Failed(..) | Step::Lost(..) | Step::Unused | Step::Resume => {}
    }
}

proptest! {
    #[test]
    fn any_history_keeps_the_invariants(
        steps in prop::collection::vec((step(), 0_u64..5000), 1..200),
        keep_connected in any::<bool>(),
        attempts_max in prop::option::of(1_u32..6),
    ) {
        let attempts_max = attempts_max.and_then(NonZeroU32::new);
        let mut machine = Machine::new(Policy { keep_connected, attempts_max, ..policy() });
        let mut witness = Witness::default();
        let mut now = Duration::ZERO;
        for (step, passed_ms) in steps {
            now += Duration::from_millis(passed_ms);
            apply(&mut machine, &mut witness, &step, now);
            while let Some(output) = machine.poll_output() {
                witness.see(&output, now)?;
            }
            let timeout = machine.poll_timeout();
            if machine.waiting() > 0 && !machine.has_ended() {
                let served = witness.connecting || witness.connected;
                prop_assert!(served || timeout.is_some(), "forgotten: {machine:?}");
            }
            if matches!(step, Step::Timer) {
                prop_assert!(timeout.is_none_or(|due| due > now), "busy: {machine:?}");
            }
            if machine.has_ended() {
                prop_assert_eq!(timeout, None);
            }
        }
    }
}
