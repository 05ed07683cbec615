//! The errors that clients get when a site server cannot give a file.

use serde_json::json;

use crate::origin::{Behaviour, Origin};
use crate::rig::{equal, eventually};
use crate::small_disk::{fill, inside, shrink};
use crate::{DARK, FLAT, PMAP, content};

use super::rig::{Site, why};

#[test]
fn the_status_says_whose_fault_it_is() {
    let origin = Origin::start(content());
    let site = Site::of(&origin, &["--timeout", "2s", "--stall-timeout", "500ms"]);
    comes(&site);
    for (behaviour, status, words) in [
        (Behaviour::Status(401), 502, "answered 401 "),
        (Behaviour::Status(403), 502, "answered 403 "),
        (Behaviour::Status(404), 404, "answered 404 "),
        (Behaviour::Status(410), 404, "answered 410 "),
        (Behaviour::Status(500), 502, "answered 500 "),
        (Behaviour::StallBeforeHead, 503, "no "),
    ] {
        origin.set(DARK, behaviour);
        let mut reply = site.get(DARK);
        // A failure is remembered for a moment.
        eventually("the file is asked for anew", || {
            reply = site.get(DARK);
            why(&reply).contains(words)
        });
        assert_eq!(reply.status, status, "{behaviour:?}: {reply:?}");
        assert_eq!(
            reply.headers.get("retry-after").map(String::as_str),
            (status == 503).then_some("5"),
            "{behaviour:?}: {reply:?}"
        );
        // For caches and mounts on the way.
        let said = reply.headers.get("proxy-status");
        let error = said.and_then(|said| said.strip_prefix("crds-fs; error=")?.split(';').next());
        let expected = match status {
            502 => Some("http_protocol_error"),
            503 => Some("http_response_timeout"),
            _ => None,
        };
        assert_eq!(error, expected, "{behaviour:?}: {reply:?}");
        assert_eq!(site.get(FLAT).status, 200, "others are served");
    }
}

/// Waits until upstream has told its catalog and given a file, for which it may have too little time on a busy machine.
fn comes(site: &Site) {
    eventually("a file comes", || equal(site.get(FLAT).status, 200));
}

/// Does something until it was done without asking upstream: a dead upstream is asked again every few seconds.
fn unasked(asked: impl Fn() -> usize, mut what: impl FnMut()) {
    eventually("upstream is left alone", || {
        let before = asked();
        what();
        asked() == before
    });
}

#[test]
fn an_upstream_that_says_nothing_is_left_alone_for_a_moment() {
    let origin = Origin::start((0..100).fold(content(), |content, number| {
        content.file(&format!("roman_wfi_mask_{number:04}.asdf"), 1_000)
    }));
    let site = Site::of(&origin, &["--timeout", "60s", "--stall-timeout", "300ms"]);
    comes(&site);
    let names: Vec<String> = origin.content().files.into_keys().collect();
    for name in &names {
        origin.set(name, Behaviour::StallBeforeHead);
    }
    // It has two tries for the first file, not all of the time.
    let first = site.get(DARK);
    assert_eq!(first.status, 503, "{first:?}");
    assert_eq!(origin.asked(DARK).len(), 2);
    let mut others = names.iter().filter(|name| name.contains("mask"));
    unasked(
        || origin.all_asked(),
        || {
            let name = others.next().unwrap();
            let other = site.get(name);
            assert_eq!(other.status, 503, "{other:?}");
            assert!(why(&other).contains(name.as_str()));
        },
    );
    assert_eq!(site.get(FLAT).status, 200, "what is here is served");
    origin.mend();
    eventually("upstream is found again", || site.get(DARK).status == 200);
}

#[test]
fn calls_to_an_upstream_that_says_nothing_fail_together() {
    let origin = Origin::start(content());
    let site = Site::of(&origin, &["--timeout", "1s"]);
    comes(&site);
    origin.set_calls(Behaviour::StallBeforeHead);
    let call = || {
        let told = site.error("get_remote_context", &json!(["roman", "pipeline"]));
        assert!(told.starts_with("UpstreamError: "), "{told}");
    };
    call();
    unasked(|| origin.called("get_remote_context").len(), call);
    origin.mend();
    eventually("upstream is found again", || {
        let told = site.error("get_remote_context", &json!(["roman", "pipeline"]));
        told.starts_with("OtherError: no method")
    });
}

#[test]
fn best_references_of_an_upstream_that_says_nothing_fail_together() {
    let origin = Origin::start(content());
    let site = Site::of(&origin, &["--timeout", "1s"]);
    comes(&site);
    origin.set_calls(Behaviour::StallBeforeHead);
    let method = "get_best_references_by_ids";
    let mut numbers = 1..;
    // A dataset that has failed is not asked for again for longer.
    let mut call = || {
        let id = format!("R0000101001001001001_01101_{:04}.WFI01", numbers.next().unwrap());
        let reply = site.call(method, &json!([PMAP, [id], null, true]));
        let told = reply["error"]["message"].as_str();
        told.is_some_and(|told| told.starts_with("UpstreamError: "))
    };
    assert!(call());
    unasked(|| origin.called(method).len(), || assert!(call()));
    // Nor do other calls ask it meanwhile.
    unasked(
        || origin.called("get_remote_context").len(),
        || {
            assert!(call());
            site.error("get_remote_context", &json!(["roman", "pipeline"]));
        },
    );
    origin.mend();
    eventually("upstream is found again", || !call());
}

#[test]
fn a_full_disk_is_told_and_room_mends_it() {
    if !inside("site::trouble::a_full_disk_is_told_and_room_mends_it") {
        return;
    }
    let late = "roman_wfi_late_0001.asdf";
    let origin = Origin::start(content().file(late, 900_000));
    let mut site = Site::new(&origin, &["--keep-free", "0"]);
    let _small = shrink(&site.cache(), 4 << 20);
    site.start();
    origin.set(late, Behaviour::StallAfter(100_000));
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| site.get(late));
        origin.wait_for_stalled(1);
        fill(&site.cache());
        origin.release();
        let reply = asked.join().unwrap();
        assert_eq!(reply.status, 507, "{reply:?}");
        assert!(why(&reply).contains(late));
        assert!(!reply.headers.contains_key("retry-after"), "{reply:?}");
    });
    // From now on nothing is asked upstream that could not be kept.
    let asked = origin.all_asked();
    assert_eq!(site.get(DARK).status, 507);
    assert_eq!(origin.all_asked(), asked);
    std::fs::remove_file(site.cache().join("filler")).unwrap();
    eventually("there is room", || site.get(DARK).status == 200);
}
