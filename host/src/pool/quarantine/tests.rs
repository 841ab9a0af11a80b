//! The rules of quarantine against a plain retelling of them, and what they promise to good plugins.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const CONFIG: QuarantineConfig = QuarantineConfig {
    faults_max: 3,
    window: Duration::from_secs(10),
    backoff_min: SECOND,
    backoff_max: Duration::from_secs(8),
};

/// A plugin, and a clock that moves only when told.
struct Plugin {
    quarantine: Quarantine,
    now: Instant,
}

impl Plugin {
    fn new(config: QuarantineConfig) -> Self {
        Self {
            quarantine: Quarantine::new(Some(config)),
            now: Instant::now(),
        }
    }

    fn wait(&mut self, time: Duration) -> Option<Change> {
        self.now += time;
        self.quarantine.pass_time(|| self.now)
    }

    fn begin(&mut self) -> Result<Pass, Duration> {
        self.quarantine.pass_time(|| self.now);
        self.quarantine.admit(|| self.now)
    }

    fn end(&mut self, pass: Pass, outcome: Outcome) -> Option<Change> {
        self.quarantine.ended(pass, outcome, || self.now)
    }

    /// A call that is let in and ends so.
    fn call(&mut self, outcome: Outcome) -> Option<Change> {
        let pass = self.begin().expect("let in");
        self.end(pass, outcome)
    }

    /// Fails until it is left alone, and has just been left alone for long enough.
    fn fail_and_rest(&mut self) {
        let backoff = self.fail();
        self.now += backoff;
    }

    /// Fails until it is left alone; says for how long.
    fn fail(&mut self) -> Duration {
        loop {
            if let Some(Change::Out(backoff)) = self.call(Outcome::Fault) {
                return backoff;
            }
        }
    }
}

#[test]
fn a_plugin_that_fails_every_call_is_left_alone_and_tried_again() {
    let mut plugin = Plugin::new(CONFIG);
    assert_eq!(plugin.call(Outcome::Fault), None);
    assert_eq!(plugin.call(Outcome::Fault), None);
    assert_eq!(plugin.call(Outcome::Fault), Some(Change::Out(SECOND)));
    assert!(!plugin.quarantine.is_serving());
    plugin.now += SECOND / 4;
    assert_eq!(plugin.begin(), Err(SECOND * 3 / 4), "the time that is left");
    assert_eq!(plugin.wait(SECOND * 3 / 4), Some(Change::OnTrial));
    assert!(plugin.quarantine.is_serving() && !plugin.quarantine.is_well());
    let trial = plugin.begin().expect("one is let in");
    assert_eq!(plugin.begin(), Err(TRIAL_TIME), "and no other beside it");
    assert_eq!(plugin.end(trial, Outcome::Good), Some(Change::Well));
    assert!(plugin.quarantine.is_well());
}

#[test]
fn each_failure_on_trial_doubles_the_time_up_to_its_longest() {
    let mut plugin = Plugin::new(CONFIG);
    let mut backoffs = vec![plugin.fail()];
    for _ in 0..5 {
        plugin.now += *backoffs.last().expect("one");
        let Some(Change::Out(backoff)) = plugin.call(Outcome::Fault) else {
            panic!("one failure is enough on trial");
        };
        backoffs.push(backoff);
    }
    assert_eq!(backoffs, [1, 2, 4, 8, 8, 8].map(|times| SECOND * times));
}

#[test]
fn a_plugin_that_falls_back_soon_goes_on_where_it_was_and_later_begins_anew() {
    let mut plugin = Plugin::new(CONFIG);
    assert_eq!(plugin.fail(), SECOND);
    plugin.now += SECOND;
    assert_eq!(plugin.call(Outcome::Good), Some(Change::Well));
    assert_eq!(plugin.fail(), SECOND * 2, "soon again");
    plugin.now += SECOND * 2;
    assert_eq!(plugin.call(Outcome::Good), Some(Change::Well));
    plugin.now += CONFIG.backoff_max;
    assert_eq!(plugin.fail(), SECOND, "long after");
}

#[test]
fn a_call_on_trial_that_says_nothing_leaves_its_place_to_the_next() {
    let mut plugin = Plugin::new(CONFIG);
    plugin.fail_and_rest();
    assert_eq!(plugin.call(Outcome::None), None, "cancelled");
    assert_eq!(plugin.call(Outcome::Good), Some(Change::Well));
}

#[test]
fn a_call_on_trial_that_runs_for_long_has_gone_well() {
    let mut plugin = Plugin::new(CONFIG);
    plugin.fail_and_rest();
    let stream = plugin.begin().expect("on trial");
    assert_eq!(plugin.wait(TRIAL_TIME - SECOND / 1000), None);
    assert_eq!(plugin.wait(SECOND / 1000), Some(Change::Well));
    assert_eq!(
        plugin.end(stream, Outcome::Fault),
        None,
        "one failure of a plugin that is well"
    );
}

#[test]
fn what_was_begun_before_says_nothing_after() {
    let mut plugin = Plugin::new(CONFIG);
    let before = [(); 4].map(|()| plugin.begin().expect("well"));
    plugin.fail_and_rest();
    assert_eq!(plugin.end(before[0], Outcome::Fault), None);
    let trial = plugin.begin().expect("on trial");
    assert_eq!(
        plugin.end(before[1], Outcome::Good),
        None,
        "not the one on trial"
    );
    assert_eq!(plugin.end(before[2], Outcome::Fault), None);
    assert_eq!(plugin.end(trial, Outcome::Good), Some(Change::Well));
    assert_eq!(plugin.end(before[3], Outcome::Fault), None);
    assert!(plugin.quarantine.faults.is_empty());
    // The same for a trial that was taken for good, and ends in the next one.
    plugin.fail_and_rest();
    let stream = plugin.begin().expect("on trial");
    plugin.wait(TRIAL_TIME);
    plugin.fail_and_rest();
    assert_eq!(plugin.wait(Duration::ZERO), Some(Change::OnTrial));
    assert_eq!(plugin.end(stream, Outcome::Fault), None);
}

#[test]
fn failures_that_lie_far_apart_do_not_add_up() {
    let mut plugin = Plugin::new(CONFIG);
    for _ in 0..100 {
        assert_eq!(plugin.call(Outcome::Fault), None);
        plugin.wait(CONFIG.window / 2 + SECOND / 1000);
    }
}

#[test]
fn without_a_configuration_nothing_is_counted() {
    let mut quarantine = Quarantine::new(None);
    for _ in 0..1000 {
        let pass = quarantine.admit(Instant::now).expect("let in");
        assert_eq!(quarantine.ended(pass, Outcome::Fault, Instant::now), None);
    }
    assert!(quarantine.faults.is_empty() && quarantine.is_well());
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::None),
        Just(Outcome::Good),
        Just(Outcome::Fault)
    ]
}

proptest! {
    /// A plugin that is well goes out exactly when the newest failures are many, recent, and not
    /// outnumbered by the calls that went well between them.
    #[test]
    fn it_goes_out_when_the_rule_says_so(
        calls in prop::collection::vec((outcome(), 0_u64..3000), 1..300),
    ) {
        let mut plugin = Plugin::new(CONFIG);
        let mut history: Vec<(Instant, Outcome)> = Vec::new();
        for (outcome, pause_ms) in calls {
            plugin.wait(Duration::from_millis(pause_ms));
            history.push((plugin.now, outcome));
            let newest: Vec<_> = (0..history.len())
                .filter(|at| history[*at].1 == Outcome::Fault)
                .rev()
                .take(CONFIG.faults_max as usize)
                .collect();
            let due = outcome == Outcome::Fault
                && newest.len() == CONFIG.faults_max as usize
                && newest.last().is_some_and(|oldest| {
                    let good = history[*oldest..].iter().filter(|call| call.1 == Outcome::Good);
                    plugin.now - history[*oldest].0 <= CONFIG.window && good.count() <= newest.len()
                });
            let change = plugin.call(outcome);
            prop_assert_eq!(matches!(change, Some(Change::Out(_))), due, "{:?}", history);
            if due {
                // What follows is told by other tests: a new plugin.
                plugin = Plugin::new(CONFIG);
                history.clear();
            }
        }
    }

    /// However its calls come, one failure in any two calls that went well never leads to it.
    #[test]
    fn a_plugin_that_mostly_works_is_never_out(
        good in prop::collection::vec(2_u64..2000, 1..100),
        faults_max in 3_u32..20,
    ) {
        let mut plugin = Plugin::new(QuarantineConfig { faults_max, ..CONFIG });
        for good in good {
            for _ in 0..good {
                prop_assert_eq!(plugin.call(Outcome::Good), None);
            }
            prop_assert_eq!(plugin.call(Outcome::Fault), None);
        }
    }

    /// Whatever happens: never out for longer than configured, one on trial at most, and a plugin that
    /// is mended serves again by itself.
    #[test]
    fn it_always_comes_back(
        steps in prop::collection::vec((outcome(), 0_u64..4000, any::<bool>()), 1..300),
    ) {
        let mut plugin = Plugin::new(CONFIG);
        let mut running: Vec<Pass> = Vec::new();
        for (outcome, pause_ms, hold) in steps {
            plugin.wait(Duration::from_millis(pause_ms));
            match plugin.begin() {
                Ok(pass) => {
                    running.push(pass);
                    if plugin.quarantine.is_well() {
                        prop_assert!(pass.trial.is_none());
                    } else {
                        prop_assert_eq!(plugin.begin(), Err(TRIAL_TIME));
                    }
                }
                Err(left) => prop_assert!(left <= CONFIG.backoff_max),
            }
            if !hold && !running.is_empty() {
                let pass = running.swap_remove(0);
                plugin.end(pass, outcome);
            }
            prop_assert!(plugin.quarantine.faults.len() <= CONFIG.faults_max as usize);
        }
        plugin.wait(CONFIG.backoff_max);
        for _ in 0..2 {
            plugin.wait(TRIAL_TIME);
            if let Ok(pass) = plugin.begin() {
                plugin.end(pass, Outcome::Good);
            }
        }
        prop_assert!(plugin.quarantine.is_well());
    }
}
