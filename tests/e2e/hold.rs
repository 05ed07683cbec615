//! `crds-fs hold` and `release`, through a mount and on a plain cache.

use std::fs;
use std::io::Write as _;
use std::process::Command;

use serde_json::Value;

use crate::caches::{IMAP, Place, RMAP, names, path, rules};
use crate::origin::Origin;
use crate::outputs::text;
use crate::rig::{Rig, eventually};
use crate::{DARK, FLAT, PMAP, content, server_flag};

const NEW: &str = "roman_wfi_new_0001.asdf";
#[test]
fn what_is_held_is_listed_with_its_state_and_released() {
    Place::each(content, &[], |place| {
        place.fetch(&[DARK]);
        let told = place.told(&["hold", DARK, "roman_wfi_fl*"]);
        assert!(
            told.contains("2 files more are held, 2 in all; 1 of them (19.5 KiB) is not here"),
            "{told}"
        );
        assert!(told.contains("not complete for offline work"), "{told}");
        let states = place.states(&["hold", "--list"]);
        assert_eq!(names(&states, "cached"), [DARK]);
        assert_eq!(names(&states, "missing"), [FLAT]);
        place.fetch(&[FLAT]);
        let told = place.told(&["hold", "--list"]);
        assert!(
            told.contains("2 in all, and here: complete for offline work"),
            "{told}"
        );
        let told = place.told(&["release", FLAT]);
        assert_eq!(told, "1 file is released, 1 is held\n");
        let unknown = place.run(&["release", FLAT]);
        assert_eq!(unknown.status.code(), Some(1));
        assert!(
            text(&unknown.stderr).contains("nothing that is held is"),
            "{unknown:?}"
        );
        place.told(&["release", "--all"]);
        assert_eq!(place.states(&["hold", "--list"]), []);
    });
}

#[test]
fn what_cannot_be_held_is_refused_in_words() {
    Place::each(content, &[], |place| {
        let unknown = place.run(&["hold", "roman_wfi_drak_0001.asdf"]);
        assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
        assert!(text(&unknown.stderr).contains("is in no catalog"), "{unknown:?}");
        let nothing = place.run(&["hold"]);
        assert_eq!(nothing.status.code(), Some(2), "{nothing:?}");
        assert!(
            text(&nothing.stderr).contains("what is to be held?"),
            "{nothing:?}"
        );
        for arguments in [&["hold", "--json"][..], &["hold", "--json", "roman_0001.pmap"]] {
            let unlisted = place.run(arguments);
            assert_eq!(unlisted.status.code(), Some(2), "{unlisted:?}");
        }
        assert_eq!(place.states(&["hold", "--list"]), []);
    });
}

#[test]
fn a_context_stands_for_its_rules_and_on_request_their_references() {
    Place::each(rules, &[], |place| {
        place.told(&["hold", PMAP]);
        let held = |place: &Place<'_>| -> Vec<String> {
            let states = place.states(&["hold", "--list"]);
            states.into_iter().map(|(name, ..)| name).collect()
        };
        assert_eq!(held(place), [PMAP, IMAP, RMAP]);
        place.told(&["hold", "roman-latest", "--references"]);
        assert_eq!(held(place), [PMAP, IMAP, DARK, RMAP]);
        let lock = tempfile::NamedTempFile::new().unwrap();
        let files = format!(r#"[{{"observatory": "roman", "name": "{FLAT}", "size": 20000, "sha1": null}}]"#);
        write!(&lock, r#"{{"version": 1, "contexts": {{}}, "files": {files}}}"#).unwrap();
        place.told(&["hold", "--lock", lock.path().to_str().unwrap()]);
        assert_eq!(held(place).len(), 5);
        place.told(&["release", PMAP]);
        assert_eq!(held(place), [DARK, FLAT]);
    });
}

/// The quota asks for room that is only in a file that is held: that one stays, also after a restart.
#[test]
fn what_is_held_survives_eviction_and_restarts() {
    let origin = Origin::start(content().file(NEW, 300_000));
    let mut rig = Rig::mounted(
        &[&server_flag(&origin)],
        &["--cache-size", "500000", "--keep-free", "0"],
    );
    rig.read(path(DARK)).unwrap();
    rig.settle();
    let hold = rig.path(".crds-fs/hold");
    fs::write(&hold, format!("hold roman/{DARK}\n")).unwrap();
    let space = rig.json(".crds-fs/status.json").unwrap()["space"].take();
    assert_eq!(
        (&space["held_files"], &space["held_bytes"]),
        (&Value::from(1), &Value::from(300_000))
    );
    for _ in 0..2 {
        assert_eq!(rig.read(path(NEW)), Err(libc::ENOSPC), "{}", rig.log());
        assert!(rig.store().join(path(DARK)).exists());
        rig.umount();
        rig.mount();
    }
    assert!(
        rig.log().contains("300000 bytes are held: 'crds-fs release'"),
        "{}",
        rig.log()
    );
    assert_eq!(fs::read_to_string(&hold).unwrap(), format!("hold roman/{DARK}\n"));
    fs::write(&hold, format!("release roman/{DARK}\n")).unwrap();
    eventually("there is room for the new file", || rig.read(path(NEW)));
    rig.settle();
    assert!(!rig.store().join(path(DARK)).exists());
}

#[test]
fn the_file_that_takes_holds_has_defined_errors() {
    let origin = Origin::start(content());
    let mut rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let hold = rig.path(".crds-fs/hold");
    let errno = |result: std::io::Result<()>| result.err().and_then(|error| error.raw_os_error());
    assert_eq!(fs::metadata(&hold).unwrap().len(), 0);
    let written = fs::write(&hold, format!("hold roman/{FLAT}\nnonsense\n"));
    assert_eq!(errno(written), Some(libc::EINVAL));
    assert_eq!(
        fs::read_to_string(&hold).unwrap(),
        "",
        "all lines of a write or none"
    );
    // Lines are changes, at whatever offset they are written; emptying the file changes nothing.
    fs::write(&hold, format!("hold roman/{FLAT}\n")).unwrap();
    // By a process that has no copy of the descriptor: each close of one ends the last line, and a test that starts a program
    // copies all that are open here for a moment.
    let lines = format!("hold roman/{DARK}\nrelease roman/{FLAT}");
    let printed = Command::new("sh")
        .args(["-c", "printf %s \"$1\" >> \"$2\"", "sh", &lines])
        .arg(&hold)
        .status();
    assert!(printed.unwrap().success());
    let one = format!("hold roman/{DARK}\n");
    assert_eq!(
        fs::read_to_string(&hold).unwrap(),
        one,
        "a last line counts at close"
    );
    assert_eq!(
        fs::metadata(&hold).unwrap().len(),
        u64::try_from(one.len()).unwrap()
    );
    assert_eq!(errno(fs::remove_file(&hold)), Some(libc::EROFS));
    let file = fs::OpenOptions::new().write(true).open(&hold).unwrap();
    assert_eq!(errno(file.set_len(0)), None);
    assert_eq!(errno(file.set_len(5)), Some(libc::EINVAL));
    assert_eq!(fs::read_to_string(&hold).unwrap(), one);
    drop(file);
    rig.umount();
    assert_eq!(
        fs::read_to_string(rig.store().join(".crds-fs/hold")).unwrap(),
        one
    );
    rig.add_argument("--read-only");
    rig.mount();
    assert_eq!(errno(fs::write(&hold, "")), Some(libc::EROFS));
    assert_eq!(fs::read_to_string(&hold).unwrap(), one);
}

#[test]
fn a_cache_that_a_mount_uses_is_reached_through_the_mount() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let place = Place::unmounted(&rig, &origin);
    place.told(&["hold", DARK]);
    let held = fs::read_to_string(rig.path(".crds-fs/hold")).unwrap();
    assert_eq!(held, format!("hold roman/{DARK}\n"));
}

/// Without a catalog nothing of an observatory is seen, whatever is here.
#[test]
fn what_is_held_without_a_catalog_is_not_complete() {
    let origin = Origin::start(content());
    let rig = Rig::new(&[&server_flag(&origin)], &[]);
    let place = Place::unmounted(&rig, &origin);
    origin.refuse();
    let own = rig.store().join(".crds-fs");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("hold"), format!("hold roman/{FLAT}\n")).unwrap();
    fs::create_dir_all(rig.store().join("references/roman")).unwrap();
    fs::write(rig.store().join(path(FLAT)), origin.contents(FLAT)).unwrap();
    let told = place.told(&["hold", "--list"]);
    assert!(
        told.contains("and here, but not complete for offline work: the catalog of roman: "),
        "{told}"
    );
    let verified = place.run(&["verify"]);
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
    assert!(
        text(&verified.stderr).contains("the server cannot be reached"),
        "{verified:?}"
    );
}

/// Without a mount the command has the store for itself, or says who has it.
#[test]
fn a_store_in_use_by_another_process_is_told_with_its_number() {
    let origin = Origin::start(content());
    let rig = Rig::new(&[&server_flag(&origin)], &[]);
    let place = Place::unmounted(&rig, &origin);
    place.fetch(&[FLAT]);
    let lock = rig.store().join(".crds-fs/lock");
    let file = fs::OpenOptions::new().write(true).open(&lock).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    for command in [&["hold", FLAT][..], &["verify"], &["evict", FLAT]] {
        let refused = place.run(command);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        let told = text(&refused.stderr);
        assert!(told.contains("the store is in use by process "), "{told}");
    }
}

/// A held file is protected from its own user too, until it is released.
#[test]
fn what_is_held_cannot_be_removed() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let place = Place::mounted(&rig, &origin);
    place.fetch(&[FLAT]);
    place.told(&["hold", FLAT]);
    let flat = rig.path(path(FLAT));
    let refused = fs::remove_file(&flat).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    assert!(place.is_here(FLAT));
    // A file of one's own in its place is no copy.
    let own = rig.path("references/roman/mine.asdf");
    fs::write(&own, "mine").unwrap();
    fs::rename(&own, &flat).unwrap();
    fs::remove_file(&flat).unwrap();
    place.told(&["release", FLAT]);
    place.fetch(&[FLAT]);
    fs::remove_file(&flat).unwrap();
}
