//! The table of errors, row by row, with a server that misbehaves so; and the way back to health.

use std::fs;
use std::time::Duration;

use crate::origin::{Behaviour, Content, Origin};
use crate::rig::{PATIENCE, Rig, within};
use crate::{DARK, FLAT, PMAP, content, server_flag};

const LARGE: &str = "roman_wfi_area_0001.asdf";
const PATH: &str = "references/roman/roman_wfi_dark_0001.asdf";

/// Time limits short enough for a test.
const IMPATIENT: &[&str] = &["--stall-timeout", "300ms", "--timeout", "2s"];

fn rig(origin: &Origin, arguments: &[&str]) -> Rig {
    Rig::mounted(&[&server_flag(origin)], &[IMPATIENT, arguments].concat())
}

/// Opening fails with `errno`, leaves nothing in the store, and works once the server is well.
fn fails_then_recovers(behaviour: Behaviour, errno: i32) {
    let origin = Origin::start(content());
    let rig = rig(&origin, &[]);
    origin.set(DARK, behaviour);
    assert_eq!(rig.read(PATH), Err(errno), "{behaviour:?}");
    assert!(rig.stored().is_empty(), "{:?}", rig.stored());
    assert_eq!(
        rig.read(format!("references/roman/{FLAT}")).unwrap(),
        origin.contents(FLAT),
        "others are not concerned"
    );
    origin.mend();
    recovers(&rig, &origin);
}

/// A failure is remembered for a short while; then the file opens, and is right in the mount and in the store.
fn recovers(rig: &Rig, origin: &Origin) {
    let begun = std::time::Instant::now();
    let read = loop {
        match rig.read(PATH) {
            Ok(read) => break read,
            Err(errno) => assert!(begun.elapsed() < PATIENCE, "still errno {errno}: {}", rig.log()),
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(read, origin.contents(DARK));
    assert_eq!(fs::read(rig.store().join(PATH)).unwrap(), origin.contents(DARK));
}

/// Opening works in spite of what the server does.
fn succeeds(behaviour: Behaviour) {
    let origin = Origin::start(content());
    let rig = rig(&origin, &[]);
    origin.set(DARK, behaviour);
    let read = rig
        .read(PATH)
        .unwrap_or_else(|errno| panic!("{behaviour:?}: errno {errno}: {}", rig.log()));
    assert!(read == origin.contents(DARK), "{behaviour:?}");
    assert!(fs::read(rig.store().join(PATH)).unwrap() == origin.contents(DARK));
}

#[test]
fn what_is_not_in_the_catalog_is_absent() {
    let origin = Origin::start(content());
    let rig = rig(&origin, &[]);
    for path in [
        "references/roman/roman_wfi_dark_9999.asdf",
        "mappings/roman/x.lock",
        "references/nowhere",
        "nonsense",
    ] {
        assert_eq!(rig.read(path), Err(libc::ENOENT), "{path}");
    }
}

#[test]
fn refused_connections() {
    let origin = Origin::start(content());
    let rig = rig(&origin, &[]);
    assert_eq!(
        rig.read(format!("mappings/roman/{PMAP}")).unwrap(),
        origin.contents(PMAP)
    );
    origin.refuse();
    assert_eq!(rig.read(PATH), Err(libc::EHOSTUNREACH));
    origin.accept();
    recovers(&rig, &origin);
}

#[test]
fn stalled_before_the_head() {
    fails_then_recovers(Behaviour::StallBeforeHead, libc::ETIMEDOUT);
}

#[test]
fn not_found() {
    fails_then_recovers(Behaviour::Status(404), libc::ENODATA);
}

#[test]
fn gone() {
    fails_then_recovers(Behaviour::Status(410), libc::ENODATA);
}

#[test]
fn forbidden() {
    fails_then_recovers(Behaviour::Status(403), libc::EACCES);
}

#[test]
fn unauthorized() {
    fails_then_recovers(Behaviour::Status(401), libc::EACCES);
}

#[test]
fn server_trouble_for_good() {
    fails_then_recovers(Behaviour::Status(500), libc::EREMOTEIO);
}

#[test]
fn flipped_bytes() {
    fails_then_recovers(Behaviour::Flip(150_000), libc::EBADMSG);
}

#[test]
fn shorter_than_the_catalog_says() {
    fails_then_recovers(Behaviour::Truncate(1000), libc::EBADMSG);
}

#[test]
fn longer_than_the_catalog_says() {
    fails_then_recovers(Behaviour::Extend(1000), libc::EBADMSG);
}

#[test]
fn a_page_instead_of_data() {
    fails_then_recovers(Behaviour::Html, libc::EREMOTEIO);
}

#[test]
fn passing_trouble() {
    succeeds(Behaviour::StatusTimes {
        status: 503,
        times: 2,
        retry_after: None,
    });
    succeeds(Behaviour::StatusTimes {
        status: 429,
        times: 1,
        retry_after: Some(1),
    });
}

#[test]
fn broken_off_in_the_middle() {
    succeeds(Behaviour::DropTimes {
        after: 100_000,
        times: 2,
    });
}

#[test]
fn wrong_once() {
    succeeds(Behaviour::FlipTimes { at: 5, times: 1 });
}

#[test]
fn servers_of_little_skill() {
    succeeds(Behaviour::IgnoreRange);
    succeeds(Behaviour::NoValidators);
    succeeds(Behaviour::ChangingEtag);
    succeeds(Behaviour::Drip {
        bytes: 30_000,
        every: Duration::from_millis(5),
    });
}

/// A file in several parts, of a server that has another validator in every answer.
#[test]
fn large_files_of_servers_of_little_skill() {
    let origin = Origin::start(content().file(LARGE, 70_000_000));
    for behaviour in [
        Behaviour::ChangingEtag,
        Behaviour::IgnoreRange,
        Behaviour::NoValidators,
    ] {
        let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
        origin.set(LARGE, behaviour);
        let read = rig
            .read(format!("references/roman/{LARGE}"))
            .unwrap_or_else(|errno| panic!("{behaviour:?}: {errno}"));
        assert!(read == origin.contents(LARGE), "{behaviour:?}");
    }
}

#[test]
fn a_file_that_can_never_fit() {
    let origin = Origin::start(content());
    let rig = rig(&origin, &["--cache-size", "100K"]);
    assert_eq!(rig.read(PATH), Err(libc::ENOSPC));
    assert_eq!(origin.asked(DARK), []);
    assert_eq!(
        rig.read(format!("references/roman/{FLAT}")).unwrap(),
        origin.contents(FLAT)
    );
}

#[test]
fn bad_files_are_denied() {
    let bad = Content {
        bad_files: vec![DARK.to_owned()],
        ..content()
    };
    let datasets = [(
        "BAD.WFI01".to_owned(),
        (
            serde_json::json!({}),
            [(PMAP.to_owned(), serde_json::json!({"dark": DARK}))].into(),
        ),
    )];
    let origin = Origin::start(Content {
        datasets: datasets.into(),
        ..bad
    });
    let rig = rig(&origin, &[]);
    assert_eq!(
        rig.read(format!("bestrefs/{PMAP}/BAD.WFI01/dark")),
        Err(libc::EACCES)
    );
}

/// A caller that is interrupted leaves; the transfer goes on for the next one.
#[test]
fn interrupted_waiters_leave_and_the_transfer_goes_on() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    origin.set(DARK, Behaviour::StallAfter(1000));
    let reader = std::process::Command::new("cat")
        .arg(rig.path(PATH))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    origin.wait_for_stalled(1);
    let pid = rustix::process::Pid::from_child(&reader);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = crate::rig::wait(reader, PATIENCE).expect("it dies");
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(libc::SIGINT)
    );
    origin.release();
    let path = rig.path(PATH);
    let read = within(PATIENCE, move || fs::read(path).unwrap());
    assert!(read == origin.contents(DARK));
    assert_eq!(origin.asked(DARK).len(), 1, "the transfer was not begun anew");
}
