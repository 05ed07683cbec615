//! What is known of a source, step by step.

use super::*;
use crate::remote::RemoteErrorKind;

const HST: Observatory = Observatory::Hst;
const OUTAGE: Duration = Duration::from_secs(5);

fn error(kind: RemoteErrorKind, message: &str) -> RemoteError {
    RemoteError::new(kind, "http://127.0.0.2/x", message)
}

/// Fails as a source that cannot be reached.
fn fail(states: &SourceStates, message: &str) {
    states.note_failure(HST, 0, &error(RemoteErrorKind::Unreachable, message));
}

fn retry_in(states: &SourceStates) -> Duration {
    states.status(HST, 0, String::new()).retry_in.unwrap()
}

#[tokio::test(start_paused = true)]
async fn those_that_were_under_way_when_it_failed_do_not_lengthen_the_pause() {
    let states = SourceStates::default();
    let is_within = |pause: Duration| {
        let time = retry_in(&states);
        assert!(time >= pause && time <= pause * 5 / 4, "{time:?} for {pause:?}");
    };
    for _ in 0..20 {
        fail(&states, "at first");
    }
    is_within(FIRST_PAUSE);
    assert!(!states.try_now(HST, 0), "its time is not over");
    tokio::time::advance(FIRST_PAUSE * 2).await;
    assert!(states.try_now(HST, 0));
    assert!(!states.try_now(HST, 0), "one tries for all others");
    for _ in 0..20 {
        fail(&states, "once more");
    }
    is_within(FIRST_PAUSE * 2);
    let told = states.status(HST, 0, String::new());
    assert!(told.since.is_some());
    assert!(
        told.error.unwrap().contains("once more"),
        "the last failure is told"
    );
    for _ in 0..20 {
        tokio::time::advance(LONGEST_PAUSE * 2).await;
        assert!(states.try_now(HST, 0));
        fail(&states, "again");
    }
    is_within(LONGEST_PAUSE);
}

#[tokio::test(start_paused = true)]
async fn what_a_source_says_is_no_outage() {
    let states = SourceStates::default();
    states.note_failure(HST, 0, &error(RemoteErrorKind::Server, "500"));
    assert!(states.outage(HST, 0, OUTAGE).is_none());
    // It lasts from the last failure on.
    fail(&states, "at first");
    tokio::time::advance(OUTAGE * 3 / 4).await;
    fail(&states, "once more");
    tokio::time::advance(OUTAGE * 3 / 4).await;
    assert!(
        states
            .outage(HST, 0, OUTAGE)
            .unwrap()
            .message
            .contains("once more")
    );
    tokio::time::advance(OUTAGE).await;
    assert!(states.outage(HST, 0, OUTAGE).is_none(), "who asks first tries it");
    assert!(states.outage(HST, 0, OUTAGE).is_some(), "for all others");
    states.note_answer(HST, 0);
    assert!(states.outage(HST, 0, OUTAGE).is_none());
}

#[tokio::test(start_paused = true)]
async fn the_layout_in_which_it_gave_a_file_is_its_own() {
    let states = SourceStates::default();
    let source = Source {
        number: 0,
        url: Url::new("http://127.0.0.2/x"),
        layout: ReferenceLayout::Instrument,
        other: None,
        is_tier: true,
    };
    fail(&states, "at first");
    states.note_served(HST, &source, 10, false);
    assert_eq!(
        (states.layout(HST, 0), states.is_failing(HST, 0)),
        (None, true),
        "it broke off"
    );
    states.note_served(HST, &source, 10, true);
    for _ in 0..ABSENT {
        states.note_absent(HST, 0);
    }
    assert_eq!(states.layout(HST, 0), Some(ReferenceLayout::Instrument));
    assert_eq!(
        (states.served(HST, 0), states.is_failing(HST, 0)),
        ((1, 20), false)
    );
}

#[tokio::test(start_paused = true)]
async fn a_lie_is_told_as_long_as_it_counts() {
    let states = SourceStates::default();
    let key = FileKey {
        observatory: HST,
        name: "hst_acs_darkfile_0001.fits".parse().unwrap(),
    };
    states.note_wrong(0, &key, &Url::new("http://127.0.0.2/x"));
    tokio::time::advance(LEFT_ALONE / 4).await;
    let told = states.status(HST, 0, String::new());
    assert_eq!(
        (told.health, told.retry_in),
        (SourceHealth::Wrong, Some(LEFT_ALONE * 3 / 4))
    );
    assert!(told.since.is_some() && told.error.unwrap().contains("hst_acs_darkfile_0001.fits"));
    assert!(states.is_left_alone(HST, 0));
    tokio::time::advance(LEFT_ALONE).await;
    let told = states.status(HST, 0, String::new());
    assert_eq!(
        (told.health, told.retry_in, told.error),
        (SourceHealth::Ready, None, None)
    );
    assert!(!states.is_left_alone(HST, 0));
}
