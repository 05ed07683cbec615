use proptest::prelude::*;

use super::*;

fn chance() -> fastrand::Rng {
    fastrand::Rng::with_seed(1)
}

fn machine() -> StateMachine {
    StateMachine::new(&FetchSettings::default())
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
    let mut machine = StateMachine::new(&FetchSettings {
        tries: 8,
        pause: Duration::from_secs(1),
        longest_pause: Duration::from_secs(16),
        ..FetchSettings::default()
    });
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
    assert_eq!(machine.on(&Event::Mismatch, &mut chance()), Step::ReceiveAnew);
    machine.on(&Event::Complete, &mut chance());
    assert_eq!(machine.on(&Event::Mismatch, &mut chance()), Step::GiveUp);
    assert_eq!(machine.state(), State::Failed);
}

/// How many tries a server gets that fails in this way each time.
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

proptest! {
    #[test]
    fn pauses_stay_within_their_limits(seed: u64, fruitless in 1..40_u32) {
        let mut machine = machine();
        machine.fruitless = fruitless;
        let pause = machine.jittered_pause(&mut fastrand::Rng::with_seed(seed));
        prop_assert!(pause <= machine.rules.longest_pause);
        prop_assert!(pause <= machine.rules.pause.saturating_mul(1 << fruitless.min(20)));
    }

    #[test]
    fn nothing_follows_an_end(events in prop::collection::vec(0..7_u8, 1..60)) {
        let mut machine = machine();
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
                _ => Event::Mismatch,
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
