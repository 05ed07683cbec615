use proptest::prelude::*;

use super::*;

fn chance() -> fastrand::Rng {
    fastrand::Rng::with_seed(1)
}

fn machine() -> StateMachine {
    StateMachine::new(&FetchSettings::default(), 1)
}

fn error(kind: RemoteErrorKind) -> RemoteError {
    RemoteError::new(kind, "http://127.0.0.1/x", "because")
}

fn broke(error: &RemoteError) -> Event<'_> {
    Event::Broke {
        error,
        progress: false,
        idle: Duration::ZERO,
    }
}

#[test]
fn a_smooth_course() {
    let mut machine = machine();
    for (event, step, state) in [
        (Event::Slot, Step::Receive, State::Receiving),
        (Event::Complete, Step::Verify, State::Verifying),
        (Event::Match, Step::Publish, State::Publishing),
        (Event::Published, Step::Finish, State::Done),
    ] {
        assert_eq!(machine.on(&event, &mut chance()), step);
        assert_eq!(machine.state(), state);
    }
}

/// The pauses of one transfer whose server is busy again and again.
fn pauses(seed: u64) -> Vec<Duration> {
    let settings = FetchSettings {
        tries: 8,
        pause: Duration::from_secs(1),
        longest_pause: Duration::from_secs(16),
        ..FetchSettings::default()
    };
    let mut machine = StateMachine::new(&settings, 1);
    let error = error(RemoteErrorKind::Server);
    let mut chance = fastrand::Rng::with_seed(seed);
    machine.on(&Event::Slot, &mut chance);
    let mut pauses = Vec::new();
    while let Step::Pause(pause) = machine.on(&broke(&error), &mut chance) {
        pauses.push(pause);
        machine.on(&Event::Rested, &mut chance);
    }
    pauses
}

#[test]
fn pauses_grow_and_no_two_transfers_keep_step() {
    let many: Vec<Vec<Duration>> = (0..200).map(pauses).collect();
    assert_ne!(many[0], many[1], "chance spreads the tries of many clients");
    for (number, ceiling) in [1, 2, 4, 8, 16, 16, 16].into_iter().enumerate() {
        let longest = many.iter().map(|pauses| pauses[number]).max().unwrap();
        let ceiling = Duration::from_secs(ceiling);
        assert!(
            longest <= ceiling && longest > ceiling * 3 / 4,
            "pause {number}: {longest:?} of {ceiling:?}"
        );
    }
}

#[test]
fn a_mismatch_is_forgiven_once() {
    let mut machine = machine();
    machine.on(&Event::Slot, &mut chance());
    machine.on(&Event::Complete, &mut chance());
    assert_eq!(
        machine.on(&Event::Mismatch { mixed: false }, &mut chance()),
        Step::ReceiveAnew
    );
    machine.on(&Event::Complete, &mut chance());
    assert_eq!(
        machine.on(&Event::Mismatch { mixed: false }, &mut chance()),
        Step::GiveUp
    );
    assert_eq!(machine.state(), State::Failed);
}

/// The number of tries that a server gets which fails in this way each time.
fn tries(kind: RemoteErrorKind) -> u32 {
    let mut machine = machine();
    let error = error(kind);
    machine.on(&Event::Slot, &mut chance());
    (1..1000)
        .find(|_| match machine.on(&broke(&error), &mut chance()) {
            Step::Pause(_) => {
                assert_eq!(machine.state(), State::Waiting);
                machine.on(&Event::Rested, &mut chance()) != Step::Receive
            }
            step => step == Step::GiveUp,
        })
        .unwrap()
}

#[test]
fn tries_depend_on_the_failure() {
    let settings = FetchSettings::default();
    assert_eq!(tries(RemoteErrorKind::Server), settings.tries);
    assert_eq!(tries(RemoteErrorKind::Busy), settings.tries);
    assert_eq!(tries(RemoteErrorKind::Interrupted), settings.tries);
    assert_eq!(tries(RemoteErrorKind::Unreachable), settings.tries_unreachable);
    assert_eq!(tries(RemoteErrorKind::NotFound), 1);
    assert_eq!(tries(RemoteErrorKind::Denied), 1);
    assert_eq!(tries(RemoteErrorKind::Protocol), 1);
}

#[test]
fn silence_is_told_soon_where_others_wait() {
    let settings = FetchSettings {
        tries_silent: 2,
        ..FetchSettings::default()
    };
    let mut machine = StateMachine::new(&settings, 1);
    let error = error(RemoteErrorKind::TimedOut);
    machine.on(&Event::Slot, &mut chance());
    for step in [false, true] {
        let gives_up = machine.on(&broke(&error), &mut chance()) == Step::GiveUp;
        assert_eq!(gives_up, step);
        machine.on(&Event::Rested, &mut chance());
    }
}

#[test]
fn silence_is_bounded_by_time() {
    let mut machine = machine();
    let error = error(RemoteErrorKind::TimedOut);
    machine.on(&Event::Slot, &mut chance());
    let silent = |seconds| Event::Broke {
        error: &error,
        progress: false,
        idle: Duration::from_secs(seconds),
    };
    assert!(matches!(machine.on(&silent(30), &mut chance()), Step::Pause(_)));
    machine.on(&Event::Rested, &mut chance());
    assert_eq!(machine.on(&silent(300), &mut chance()), Step::GiveUp);
}

#[test]
fn progress_starts_the_count_anew() {
    let mut machine = machine();
    let error = error(RemoteErrorKind::Interrupted);
    machine.on(&Event::Slot, &mut chance());
    for _ in 0..100 {
        let event = Event::Broke {
            error: &error,
            progress: true,
            idle: Duration::ZERO,
        };
        assert!(matches!(machine.on(&event, &mut chance()), Step::Pause(_)));
        machine.on(&Event::Rested, &mut chance());
    }
}

#[test]
fn the_server_says_how_long() {
    let mut machine = machine();
    machine.on(&Event::Slot, &mut chance());
    let busy = error(RemoteErrorKind::Busy).with_retry(Retry::After(Duration::from_secs(20)));
    let Step::Pause(pause) = machine.on(&broke(&busy), &mut chance()) else {
        panic!("gave up");
    };
    assert!(pause >= Duration::from_secs(20));
    machine.on(&Event::Rested, &mut chance());
    let absurd = error(RemoteErrorKind::Busy).with_retry(Retry::After(Duration::from_secs(86_400)));
    assert_eq!(machine.on(&broke(&absurd), &mut chance()), Step::GiveUp);
}

#[test]
fn a_content_that_keeps_changing_is_trouble() {
    let mut machine = machine();
    machine.on(&Event::Slot, &mut chance());
    for _ in 0..CHANGES {
        assert_eq!(machine.on(&Event::Changed, &mut chance()), Step::ReceiveAnew);
    }
    assert_eq!(machine.on(&Event::Changed, &mut chance()), Step::GiveUp);
}

/// A machine with so many sources that has begun.
fn with_sources(sources: usize) -> StateMachine {
    let mut machine = StateMachine::new(&FetchSettings::default(), sources);
    machine.on(&Event::Slot, &mut chance());
    machine
}

#[test]
fn another_source_mends_a_failure() {
    for kind in [
        RemoteErrorKind::NotFound,
        RemoteErrorKind::Denied,
        RemoteErrorKind::Protocol,
    ] {
        let (mut machine, error) = (with_sources(3), error(kind));
        for source in 1..3 {
            assert_eq!(
                machine.on(&broke(&error), &mut chance()),
                Step::Receive,
                "{kind:?}"
            );
            assert_eq!(machine.source(), source);
        }
        assert_eq!(machine.on(&broke(&error), &mut chance()), Step::GiveUp);
    }
}

#[test]
fn each_source_has_its_own_tries() {
    let settings = FetchSettings::default();
    for (kind, tries) in [
        (RemoteErrorKind::Server, settings.tries),
        (RemoteErrorKind::Unreachable, settings.tries_unreachable),
        // A silent server does not use up the time limit before the next one is asked.
        (RemoteErrorKind::TimedOut, settings.tries_unreachable),
    ] {
        let (mut machine, error) = (with_sources(2), error(kind));
        for _ in 1..tries {
            assert!(matches!(
                machine.on(&broke(&error), &mut chance()),
                Step::Pause(_)
            ));
            machine.on(&Event::Rested, &mut chance());
        }
        assert_eq!(
            machine.on(&broke(&error), &mut chance()),
            Step::Receive,
            "{kind:?}"
        );
        assert_eq!(machine.source(), 1);
        assert!(matches!(
            machine.on(&broke(&error), &mut chance()),
            Step::Pause(_)
        ));
    }
}

#[test]
fn who_asks_for_much_patience_is_left_for_another() {
    let busy = error(RemoteErrorKind::Busy).with_retry(Retry::After(Duration::from_secs(60)));
    let mut machine = with_sources(2);
    assert_eq!(machine.on(&broke(&busy), &mut chance()), Step::Receive);
    assert!(matches!(machine.on(&broke(&busy), &mut chance()), Step::Pause(_)));
}

#[test]
fn mixed_bytes_that_are_wrong_come_anew_from_one_source() {
    let mut machine = with_sources(2);
    let gone = error(RemoteErrorKind::NotFound);
    assert_eq!(machine.on(&broke(&gone), &mut chance()), Step::Receive);
    machine.on(&Event::Complete, &mut chance());
    assert_eq!(
        machine.on(&Event::Mismatch { mixed: true }, &mut chance()),
        Step::ReceiveAnew
    );
    assert_eq!(machine.source(), 1);
    // It is not known which source was wrong: this one still has both its tries.
    machine.on(&Event::Complete, &mut chance());
    assert_eq!(
        machine.on(&Event::Mismatch { mixed: false }, &mut chance()),
        Step::ReceiveAnew
    );
    machine.on(&Event::Complete, &mut chance());
    assert_eq!(
        machine.on(&Event::Mismatch { mixed: false }, &mut chance()),
        Step::GiveUp
    );
}

#[test]
fn a_source_that_lies_is_left_for_the_next() {
    let mut machine = with_sources(3);
    for source in 1..3 {
        machine.on(&Event::Complete, &mut chance());
        assert_eq!(
            machine.on(&Event::Mismatch { mixed: false }, &mut chance()),
            Step::ReceiveAnew
        );
        assert_eq!(machine.source(), source);
    }
}

#[test]
fn a_source_that_keeps_changing_is_left_for_the_next() {
    let mut machine = with_sources(2);
    for _ in 0..=CHANGES {
        assert_eq!(machine.source(), 0);
        assert_eq!(machine.on(&Event::Changed, &mut chance()), Step::ReceiveAnew);
    }
    assert_eq!(machine.source(), 1);
}

/// Failures after which the same request may succeed.
const PASSING: [RemoteErrorKind; 5] = [
    RemoteErrorKind::Unreachable,
    RemoteErrorKind::TimedOut,
    RemoteErrorKind::Interrupted,
    RemoteErrorKind::Busy,
    RemoteErrorKind::Server,
];

proptest! {
    #[test]
    fn never_ends_while_there_is_progress(
        seed: u64,
        sources in 1..4_usize,
        kinds in prop::collection::vec(prop::sample::select(&PASSING[..]), 1..300),
    ) {
        let (mut machine, mut chance) = (with_sources(sources), fastrand::Rng::with_seed(seed));
        for kind in kinds {
            let error = error(kind);
            let event = Event::Broke { error: &error, progress: true, idle: Duration::ZERO };
            prop_assert!(matches!(machine.on(&event, &mut chance), Step::Pause(_)));
            prop_assert_eq!(machine.on(&Event::Rested, &mut chance), Step::Receive);
        }
        prop_assert_eq!(machine.source(), 0);
    }

    /// Any failures in any order: without progress the transfer ends after the time limit and a last try.
    #[test]
    fn always_ends_without_progress(
        seed: u64,
        sources in 1..4_usize,
        what in prop::collection::vec((0..9_usize, 0..40_u64, 0..100_u64), 1..20),
    ) {
        let settings = FetchSettings::default();
        let (mut machine, mut chance) = (with_sources(sources), fastrand::Rng::with_seed(seed));
        let (mut idle, mut steps) = (Duration::ZERO, 0);
        for (number, seconds, patience) in what.into_iter().cycle() {
            steps += 1;
            prop_assert!(steps < 100_000, "it does not end");
            let kind = PASSING.get(number).copied().unwrap_or(RemoteErrorKind::NoSuchRange);
            // A server that says nothing takes its time.
            let least = u64::from(kind == RemoteErrorKind::TimedOut);
            idle += Duration::from_secs(seconds.max(least));
            let mut error = error(kind);
            if kind == RemoteErrorKind::Busy && patience > 50 {
                error = error.with_retry(Retry::After(Duration::from_secs(patience)));
            }
            let event = match number {
                6 => Event::Changed,
                7 => Event::Mismatch { mixed: true },
                8 => Event::Mismatch { mixed: false },
                _ => Event::Broke { error: &error, progress: false, idle },
            };
            match machine.on(&event, &mut chance) {
                Step::GiveUp => break,
                Step::Pause(pause) => {
                    idle += pause;
                    prop_assert!(idle < settings.timeout);
                    machine.on(&Event::Rested, &mut chance);
                }
                Step::Receive | Step::ReceiveAnew => {}
                step => prop_assert!(false, "{step:?}"),
            }
        }
    }

    #[test]
    fn pauses_stay_within_their_limits(seed: u64, fruitless in 1..40_u32) {
        let mut machine = machine();
        machine.fruitless = fruitless;
        let pause = machine.jittered_pause(&mut fastrand::Rng::with_seed(seed));
        prop_assert!(pause <= machine.rules.longest_pause);
        prop_assert!(pause <= machine.rules.pause.saturating_mul(1 << fruitless.min(20)));
    }

    #[test]
    fn nothing_follows_an_end(sources in 1..4_usize, events in prop::collection::vec(0..8_u8, 1..60)) {
        let mut machine = StateMachine::new(&FetchSettings::default(), sources);
        let broken = error(RemoteErrorKind::Server);
        let mut over = false;
        for number in events {
            let event = match number {
                0 => Event::Slot,
                1 => broke(&broken),
                2 => Event::Changed,
                3 => Event::Rested,
                4 => Event::Complete,
                5 => Event::Match,
                _ => Event::Mismatch { mixed: number == 6 },
            };
            let step = machine.on(&event, &mut chance());
            if over {
                prop_assert_eq!(step, Step::GiveUp);
            }
            over |= matches!(machine.state(), State::Failed);
            prop_assert!(machine.state() != State::Done);
        }
    }
}
