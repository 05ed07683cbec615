//! What clients are told when a site server cannot give a file.

use crate::origin::{Behaviour, Origin};
use crate::small_disk::{fill, inside, shrink};
use crate::{DARK, FLAT, content};

use super::rig::{Site, until, why};

#[test]
fn the_status_says_whose_fault_it_is() {
    let origin = Origin::start(content());
    let site = Site::of(&origin, &["--timeout", "2s", "--stall-timeout", "500ms"]);
    assert_eq!(site.get(FLAT).status, 200);
    for (behaviour, status, words) in [
        (Behaviour::Status(401), 502, "401"),
        (Behaviour::Status(403), 502, "403"),
        (Behaviour::Status(404), 404, "404"),
        (Behaviour::Status(410), 404, "410"),
        (Behaviour::Status(500), 502, "500"),
        (Behaviour::StallBeforeHead, 503, "no "),
    ] {
        origin.set(DARK, behaviour);
        let mut reply = site.get(DARK);
        // A failure is remembered for a moment.
        until("the file is asked for anew", || {
            reply = site.get(DARK);
            why(&reply).contains(words)
        });
        assert_eq!(reply.status, status, "{behaviour:?}: {reply:?}");
        assert_eq!(
            reply.headers.get("retry-after").map(String::as_str),
            (status == 503).then_some("5"),
            "{behaviour:?}: {reply:?}"
        );
        assert_eq!(site.get(FLAT).status, 200, "others are served");
    }
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
    until("there is room", || site.get(DARK).status == 200);
}
