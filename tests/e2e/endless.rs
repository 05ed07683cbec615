//! Servers that keep a transfer busy without bringing it any farther: every open ends.

use std::time::Duration;

use crate::origin::{Behaviour, Origin};
use crate::rig::{PATIENCE, Rig, within};
use crate::{DARK, FLAT, content, server_flag};

const LARGE: &str = "roman_wfi_area_0001.asdf";
const IMPATIENT: &[&str] = &["--stall-timeout", "1s", "--timeout", "3s"];

fn path(name: &str) -> String {
    format!("references/roman/{name}")
}

/// Opening `name` fails with `errno`, soon; then another file is served, and this one when the server is well.
fn ends(name: &'static str, behaviour: Behaviour, errno: i32) {
    let origin = Origin::start(content().file(LARGE, 70_000_000));
    let rig = Rig::mounted(&[&server_flag(&origin)], IMPATIENT);
    origin.set(name, behaviour);
    let file = rig.path(path(name));
    let failed = within(PATIENCE, move || std::fs::read(file).unwrap_err().raw_os_error());
    assert_eq!(failed, Some(errno), "{behaviour:?}: {}", rig.log());
    assert!(rig.stored().is_empty(), "{:?}", rig.stored());
    assert_eq!(rig.read(path(FLAT)).unwrap(), origin.contents(FLAT));
    origin.mend();
    // The failure answers for a moment longer.
    let begun = std::time::Instant::now();
    while rig.read(path(name)) != Ok(origin.contents(name)) {
        assert!(begun.elapsed() < PATIENCE, "{behaviour:?}: {}", rig.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_server_without_ranges_that_breaks_off() {
    ends(DARK, Behaviour::IgnoreRangeDrop(100_000), libc::EREMOTEIO);
}

#[test]
fn a_server_without_ranges_that_breaks_off_in_a_large_file() {
    ends(LARGE, Behaviour::IgnoreRangeDrop(5_000_000), libc::EREMOTEIO);
}

#[test]
fn a_server_whose_validators_change_and_that_breaks_off() {
    ends(DARK, Behaviour::ChangingEtagDrop(100_000), libc::EREMOTEIO);
}

#[test]
fn a_byte_now_and_then() {
    let drip = Behaviour::Drip {
        bytes: 1,
        every: Duration::from_millis(500),
    };
    ends(DARK, drip, libc::ETIMEDOUT);
}

#[test]
fn redirects_in_a_circle() {
    ends(
        DARK,
        Behaviour::Redirect("/roman/unchecked_get/references/roman/roman_wfi_dark_0001.asdf"),
        libc::EREMOTEIO,
    );
}

#[test]
fn headers_without_end() {
    ends(DARK, Behaviour::EndlessHead, libc::EREMOTEIO);
}

#[test]
fn chunks_that_break_off() {
    ends(DARK, Behaviour::ChunkedDrop(100_000), libc::EREMOTEIO);
}

/// Nothing tells such an end from that of the file but the length in the catalog.
#[test]
fn an_end_without_a_length() {
    ends(DARK, Behaviour::CloseAfter(100_000), libc::EBADMSG);
}

#[test]
fn chunks_without_a_length_are_read() {
    let origin = Origin::start(content().file(LARGE, 70_000_000));
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    for name in [DARK, LARGE] {
        origin.set(name, Behaviour::Chunked);
        assert!(
            rig.read(path(name)).unwrap() == origin.contents(name),
            "{}",
            rig.log()
        );
    }
}

/// Lengths that the user does not want compared bound nothing: the file is longer than any of unknown length may be.
#[test]
fn a_long_file_whose_length_is_not_compared() {
    let origin = Origin::start(content().file(LARGE, 270_000_000));
    let mut rig = Rig::new(&[&server_flag(&origin)], &[]);
    rig.set("CRDS_DOWNLOAD_LENGTHS", "0");
    rig.mount();
    assert!(
        rig.read(path(LARGE)).unwrap() == origin.contents(LARGE),
        "{}",
        rig.log()
    );
}
