//! The number of requests, and the datasets that fail with one of them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::runtime::Handle;

use super::Archive;
use crate::crds::{DatasetId, FileName};
use crate::remote::RemoteErrorKind;
use crate::resolve::batch::{BatchResult, Batcher};
use crate::resolve::{ResolveError, ResolveOptions};

fn context() -> FileName {
    "roman_0042.pmap".parse().unwrap()
}

fn id(text: &str) -> DatasetId {
    text.parse().unwrap()
}

fn archive_of(count: usize) -> Archive {
    let archive = Archive::new();
    for number in 0..count {
        archive.put(
            &format!("D{number}:D{number}"),
            json!([true, {"dark": format!("dark_{number}.asdf")}]),
        );
    }
    archive
}

/// Asks for all of them at once, in order.
async fn ask(archive: &Archive, ids: impl IntoIterator<Item = String>, limit: usize) -> Vec<BatchResult> {
    let server = Arc::new(archive.clone());
    let options = ResolveOptions {
        window: Duration::from_millis(1),
        ..ResolveOptions::default()
    };
    let batcher = Arc::new(Batcher::new(server, Handle::current(), &options));
    let context = context();
    join_all(
        ids.into_iter()
            .map(|text| batcher.ask(&context, id(&text), limit)),
    )
    .await
}

fn file(result: &BatchResult) -> &str {
    result.as_ref().unwrap().types["dark"].file().unwrap().as_str()
}

#[tokio::test]
async fn a_hundred_at_once_are_two_requests() {
    let archive = archive_of(200);
    let results = ask(&archive, (100..200).map(|number| format!("d{number}")), 50).await;
    for (number, result) in (100..200).zip(&results) {
        assert_eq!(file(result), format!("dark_{number}.asdf"));
    }
    let sizes: Vec<usize> = archive.requests().iter().map(Vec::len).collect();
    assert_eq!(sizes, [50, 50]);
}

#[tokio::test]
async fn the_rest_of_a_full_batch_goes_too() {
    let archive = archive_of(7);
    let results = ask(&archive, (0..7).map(|number| format!("D{number}")), 3).await;
    assert!(results.iter().all(Result::is_ok));
    let mut sizes: Vec<usize> = archive.requests().iter().map(Vec::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 3, 3]);
}

#[tokio::test]
async fn one_bad_id_fails_alone() {
    let archive = archive_of(50);
    archive.poison("D17", "OtherError: NOT FOUND bad ID format for 'D17'");
    let results = ask(&archive, (0..50).map(|number| format!("D{number}")), 50).await;
    for (number, result) in results.iter().enumerate() {
        match result {
            Err(ResolveError::UnknownDataset { dataset, text }) => {
                assert_eq!(number, 17);
                assert_eq!(dataset, "D17");
                assert!(text.contains("bad ID format"));
            }
            other => assert_eq!(file(other), format!("dark_{number}.asdf")),
        }
    }
    assert!(archive.requests().len() <= 13, "{}", archive.requests().len());
}

#[tokio::test]
async fn a_service_that_refuses_everything_is_not_asked_for_ever() {
    let archive = archive_of(50);
    for number in 0..50 {
        archive.poison(&format!("D{number}"), "OtherError: the database is asleep");
    }
    let results = ask(&archive, (0..50).map(|number| format!("D{number}")), 50).await;
    assert!(
        results
            .iter()
            .all(|result| matches!(result, Err(ResolveError::Remote(_))))
    );
    assert!(archive.requests().len() <= 65, "{}", archive.requests().len());
}

#[tokio::test]
async fn nobody_there_is_said_at_once_and_to_all() {
    let archive = archive_of(9);
    archive.go_down(RemoteErrorKind::Unreachable);
    let results = ask(&archive, (0..9).map(|number| format!("D{number}")), 50).await;
    for result in results {
        match result {
            Err(ResolveError::Remote(error)) => assert_eq!(error.kind, RemoteErrorKind::Unreachable),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_passing_trouble_is_tried_again() {
    let archive = archive_of(1);
    archive.fail_next(RemoteErrorKind::Server);
    let results = ask(&archive, ["D0".to_owned()], 50).await;
    assert_eq!(file(&results[0]), "dark_0.asdf");
}

/// An answer is not waited for as long as a busy server asks for.
#[tokio::test(start_paused = true)]
async fn a_short_pause_is_kept_and_a_long_one_is_a_failure() {
    for (pause, answered) in [(5, true), (3600, false)] {
        let archive = archive_of(1);
        archive.be_busy_next(Duration::from_secs(pause));
        let before = tokio::time::Instant::now();
        let results = ask(&archive, ["D0".to_owned()], 50).await;
        assert_eq!(results[0].is_ok(), answered, "{pause}");
        let took = before.elapsed();
        assert_eq!(took >= Duration::from_secs(4), answered, "{took:?}");
    }
}

/// Twenty requests, four at a time: a server that says nothing keeps none of them waiting for the ones before.
#[tokio::test(start_paused = true)]
async fn a_queue_behind_a_server_that_has_stalled_ends_at_the_time_limit() {
    let archive = archive_of(20);
    archive.delay(None);
    let limit = ResolveOptions::default().timeout;
    let before = tokio::time::Instant::now();
    let results = ask(&archive, (0..20).map(|number| format!("D{number}")), 1).await;
    for result in results {
        match result {
            Err(ResolveError::Remote(error)) => assert_eq!(error.kind, RemoteErrorKind::TimedOut),
            other => panic!("{other:?}"),
        }
    }
    let took = before.elapsed();
    assert!(took >= limit && took < limit * 2, "{took:?}");
    // Waiting calls are dropped, but for those that got the first four's slots at that moment.
    tokio::time::sleep(limit * 10).await;
    assert!(archive.requests().len() <= 8, "{}", archive.requests().len());
}

/// The same with a server that replies, late: the queue moves, however long it is.
#[tokio::test(start_paused = true)]
async fn a_queue_behind_a_slow_server_is_answered() {
    let archive = archive_of(20);
    let limit = ResolveOptions::default().timeout;
    archive.delay(Some(limit * 2 / 3));
    let results = ask(&archive, (0..20).map(|number| format!("D{number}")), 1).await;
    for (number, result) in results.iter().enumerate() {
        assert_eq!(file(result), format!("dark_{number}.asdf"));
    }
}

#[tokio::test]
async fn all_forms_of_keys_and_payloads() {
    let archive = Archive::new();
    archive.put("PLAIN", json!([true, {"dark": "a.asdf"}]));
    archive.put("PRODUCT:EXPOSURE", json!([true, {"dark": "b.asdf"}]));
    archive.put(
        "MISSING",
        json!([false, "NOT FOUND dataset ID does not exist 'MISSING'"]),
    );
    archive.put(
        "BROKEN",
        json!([false, "FAILED: unable to obtain matching parameters."]),
    );
    archive.put(
        "UNPAIRED",
        json!({"DARK": "c.asdf", "flat": "NOT FOUND n/a", "bad type!": "d.asdf"}),
    );
    archive.put_header(
        "PLAIN",
        json!({"ROMAN.META.INSTRUMENT.NAME": "WFI", "NUMBER": 2.5}),
    );
    let ids = [
        "plain",
        "exposure",
        "product",
        "missing",
        "broken",
        "unpaired",
        "never-heard-of",
    ];
    let results = ask(&archive, ids.map(str::to_owned), 50).await;
    assert_eq!(file(&results[0]), "a.asdf");
    let header = results[0].as_ref().unwrap().header.as_ref().unwrap();
    assert_eq!(header["ROMAN.META.INSTRUMENT.NAME"], "WFI");
    assert_eq!(header["NUMBER"], "2.5");
    assert_eq!(file(&results[1]), "b.asdf");
    assert_eq!(file(&results[2]), "b.asdf");
    for (result, words) in [
        (&results[3], "does not exist"),
        (&results[4], "unable to obtain"),
        (&results[6], "not mention"),
    ] {
        match result {
            Err(ResolveError::UnknownDataset { text, .. }) => assert!(text.contains(words), "{text}"),
            other => panic!("{other:?}"),
        }
    }
    let unpaired = results[5].as_ref().unwrap();
    assert_eq!(unpaired.types.len(), 2);
    assert_eq!(file(&results[5]), "c.asdf");
}

#[tokio::test]
async fn ids_that_contain_one_another_never_share_a_request() {
    let archive = archive_of(200);
    let names = ["d1", "D11", "D110", "d2", "D12", "D1", "D20", "d3"];
    let results = ask(&archive, names.map(str::to_owned), 50).await;
    for (name, result) in names.iter().zip(&results) {
        assert_eq!(file(result), format!("dark_{}.asdf", &name[1..]), "{name}");
    }
    let requests = archive.requests();
    assert_eq!(
        requests,
        [
            vec!["D1", "D2", "D1", "D3"],
            vec!["D11", "D12", "D20"],
            vec!["D110"],
        ]
    );
}
