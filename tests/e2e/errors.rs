//! Rows of the table of errors that are not the network's doing (those are in `tests/fault_matrix`), and waiting.

use std::fs;

use crate::origin::{Behaviour, Content, Origin};
use crate::rig::{Rig, wait, within};
use crate::{DARK, FLAT, PMAP, content, server_flag};

const PATH: &str = "references/roman/roman_wfi_dark_0001.asdf";

fn rig(origin: &Origin, arguments: &[&str]) -> Rig {
    Rig::mounted(&[&server_flag(origin)], arguments)
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
    let status = wait(reader);
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(libc::SIGINT)
    );
    origin.release();
    let path = rig.path(PATH);
    let read = within(move || fs::read(path).unwrap());
    assert!(read == origin.contents(DARK));
    assert_eq!(origin.asked(DARK).len(), 1, "the transfer was not begun anew");
}
