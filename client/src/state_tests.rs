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
    machine.handle_connected();
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

#[test]
fn a_connection_resets_the_count() {
    let mut machine = failed_at(Duration::ZERO);
    machine.handle_timer(SECOND);
    machine.handle_connected();
    assert_eq!(machine.last_error(), None);
    machine.handle_wait_over();
    machine.handle_lost(5 * SECOND);
    assert_eq!(machine.state(), State::Idle);
    machine.handle_wait(5 * SECOND);
    assert_eq!(machine.state(), State::Connecting { attempt: 1 });
}

#[test]
fn a_server_that_hangs_up_at_once_is_not_called_without_a_pause() {
    let mut machine = Machine::new(Policy {
        keep_connected: true,
        ..policy()
    });
    machine.handle_wait(Duration::ZERO);
    machine.handle_connected();
    machine.handle_wait_over();
    outputs(&mut machine);
    machine.handle_lost(SECOND / 10);
    assert_eq!(outputs(&mut machine), []);
    assert_eq!(machine.poll_timeout(), Some(SECOND));
    machine.handle_timer(SECOND);
    assert!(connects(&mut machine));
    machine.handle_connected();
    machine.handle_lost(60 * SECOND);
    assert!(
        connects(&mut machine),
        "one that stayed for a while is called at once"
    );
}

#[test]
fn retry_after_is_honoured_up_to_its_limit() {
    for (asked, waited) in [(0, 1), (7, 7), (u64::MAX, 600)] {
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
    machine.handle_connected();
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
    Lost,
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
        4 => Just(Step::Lost),
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
    told: usize,
}

impl Witness {
    fn see(&mut self, output: &Output, now: Duration) -> Result<(), TestCaseError> {
        prop_assert!(!self.stopped, "{output:?} after the end");
        match output {
            Output::Connect => {
                prop_assert!(!self.connecting && !self.connected, "two at a time");
                self.connecting = true;
                self.begun = Some(now);
            }
            Output::Tell(Event::Backoff { delay, error, .. }) => {
                let longest = if error.retry_after().is_some_and(|after| !after.is_zero()) {
                    RETRY_AFTER_MAX
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
            machine.handle_connected();
        }
        Step::Failed(chance, after) if witness.connecting => {
            witness.connecting = false;
            let error = if *after == 0 { refused() } else { busy(*after) };
            machine.handle_failed(now, error, *chance);
        }
        Step::Lost if witness.connected => {
            witness.connected = false;
            machine.handle_lost(now);
        }
        Step::Unused if witness.connected => {
            witness.connected = false;
            machine.handle_unused(now);
        }
        Step::Timer => machine.handle_timer(now),
        Step::Network => machine.handle_network(now),
        Step::Pause => machine.handle_pause(),
        Step::Resume if machine.pauses > 0 => machine.handle_resume(),
        Step::Stop => machine.handle_stop(),
        Step::Stopped => machine.handle_stopped(),
        // Not possible now.
        Step::Connected | Step::Failed(..) | Step::Lost | Step::Unused | Step::Resume => {}
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
