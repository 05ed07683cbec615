//! `crds-fs verify`, through a mount and on a plain cache.

use std::fs;
use std::path::Path;

use crate::caches::{Place, names, path};
use crate::origin::{Behaviour, Blob, Origin};
use crate::outputs::text;
use crate::rig::{Rig, equal, eventually};
use crate::{DARK, FLAT, PMAP, content, server_flag};

#[test]
fn verify_tells_what_is_wrong_and_repairs_it() {
    Place::each(content, &[], |place| {
        place.fetch(&[PMAP, DARK, FLAT]);
        place.told(&["hold", "*"]);
        let told = place.told(&["verify"]);
        assert!(told.starts_with("3 files, 314.5 KiB: 3 cached"), "{told}");
        if place.mounted {
            return;
        }
        let file = |name: &str| place.rig.store().join(path(name));
        fs::write(file(DARK), vec![7; 300_000]).unwrap();
        fs::write(file(FLAT), "short").unwrap();
        fs::remove_file(file(PMAP)).unwrap();
        let verified = place.run(&["verify"]);
        assert_eq!(verified.status.code(), Some(1), "{verified:?}");
        let told = text(&verified.stdout);
        for expected in [
            "it is held and not here",
            "it has 5 bytes instead of 20000",
            "its SHA-1 is",
            "3 files, 314.5 KiB: 1 missing (2.0 KiB), 1 truncated (19.5 KiB), 1 wrong (293.0 KiB)",
        ] {
            assert!(told.contains(expected), "{expected}: {told}");
        }
        assert!(text(&verified.stderr).contains("--repair"), "{verified:?}");
        assert_eq!(fs::read(file(FLAT)).unwrap(), b"short", "nothing is moved");
        let told = place.told(&["verify", "--repair"]);
        assert!(told.contains("3 files, 314.5 KiB: 3 repaired"), "{told}");
        assert!(told.contains("quarantine: 2 files"), "{told}");
        for name in [PMAP, DARK, FLAT] {
            assert!(
                fs::read(file(name)).unwrap() == place.origin.contents(name),
                "{name}"
            );
        }
        let states = place.states(&["verify"]);
        assert_eq!(names(&states, "cached").len(), 3);
        assert_eq!(place.json(&["verify"])["totals"]["quarantined"]["files"], 2);
    });
}

/// A wrong file that cannot be fetched anew is told with the reason, and is not lost.
#[test]
fn what_cannot_be_repaired_is_told() {
    let origin = Origin::start(content());
    let rig = Rig::new(&[&server_flag(&origin)], &[]);
    let place = Place::unmounted(&rig, &origin);
    place.fetch(&[FLAT]);
    fs::write(rig.store().join(path(FLAT)), "short").unwrap();
    origin.set(FLAT, Behaviour::Status(403));
    let repaired = place.run(&["verify", "--repair", "roman_wfi_*"]);
    assert_eq!(repaired.status.code(), Some(1), "{repaired:?}");
    let told = text(&repaired.stdout);
    assert!(
        told.contains("it cannot be repaired: ") && told.contains("403"),
        "{told}"
    );
    let quarantine = fs::read_dir(rig.store().join(".crds-fs/quarantine")).unwrap();
    assert_eq!(quarantine.count(), 1);
}

#[test]
fn what_is_held_and_missing_is_fetched_by_a_repair() {
    Place::each(content, &[], |place| {
        place.told(&["hold", FLAT]);
        let verified = place.run(&["verify"]);
        assert_eq!(verified.status.code(), Some(1), "{verified:?}");
        assert!(
            text(&verified.stdout).contains("it is held and not here"),
            "{verified:?}"
        );
        let told = place.told(&["verify", "--repair"]);
        assert!(told.contains("1 file, 19.5 KiB: 1 repaired"), "{told}");
        assert!(place.is_here(FLAT));
    });
}

/// Files of the user's in place of catalogued ones are no mistake, stay, and have their own size.
#[test]
fn verify_tells_of_local_overrides() {
    Place::each(content, &[], |place| {
        place.fetch(&[FLAT]);
        if !place.mounted {
            return;
        }
        let own = place.rig.path("references/roman/own");
        fs::write(&own, "mine").unwrap();
        fs::rename(&own, place.rig.path(path(FLAT))).unwrap();
        let states = place.states(&["verify"]);
        assert_eq!(names(&states, "local"), [FLAT]);
        let told = place.told(&["verify"]);
        assert!(told.contains("1 local (4 B)"), "{told}");
        let told = place.told(&["hold", FLAT]) + &place.told(&["hold", "--list"]);
        assert!(told.contains("1 local (4 B)"), "{told}");
        let told = place.told(&["evict", FLAT]);
        assert!(told.contains("1 local (4 B)"), "{told}");
        assert_eq!(place.rig.read(path(FLAT)).unwrap(), b"mine");
    });
}

/// A mount finds by itself what was changed behind its back; verify says so.
#[test]
fn what_a_mount_finds_wrong_on_opening_is_told() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let place = Place::mounted(&rig, &origin);
    place.fetch(&[DARK, FLAT]);
    rig.settle();
    fs::write(rig.store().join(path(FLAT)), vec![7; 20_000]).unwrap();
    let verified = place.run(&["verify"]);
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
    assert!(
        text(&verified.stderr).contains("1 file was found to be wrong on opening"),
        "{verified:?}"
    );
    assert!(
        text(&verified.stdout).contains("quarantine: 1 file with"),
        "{verified:?}"
    );
    place.told(&["verify"]);
    assert!(rig.read(path(FLAT)).unwrap() == origin.contents(FLAT));
}

#[test]
fn what_killed_processes_leave_is_told_and_removed() {
    let origin = Origin::start(content());
    let rig = Rig::new(&[&server_flag(&origin)], &[]);
    let place = Place::unmounted(&rig, &origin);
    place.fetch(&[FLAT]);
    let left = rig.store().join(".crds-fs/.crds-fs~1~2~order");
    let file = fs::File::create(&left).unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7_200);
    file.set_modified(old).unwrap();
    let told = place.told(&["verify"]);
    assert!(told.contains(".crds-fs/.crds-fs~1~2~order"), "{told}");
    assert!(left.exists());
    let told = place.told(&["verify", "--repair"]);
    assert!(
        told.contains("removed 1 file that killed processes have left"),
        "{told}"
    );
    assert!(!left.exists());
}

/// A held file stays held when it is set aside and fetched anew, through a mount too.
#[test]
fn a_held_copy_whose_bytes_have_changed_is_repaired_in_a_mount() {
    let before = Origin::start(content().share(FLAT, &Blob::random("others", 20_000)));
    let origin = Origin::start(content());
    let mut rig = Rig::new(&[&server_flag(&origin)], &[]);
    Place::unmounted(&rig, &before).fetch(&[FLAT]);
    // As if the bytes had been others when they were verified.
    let memory = rig.store().join(".crds-fs/verified/roman");
    let text_before = fs::read_to_string(&memory).unwrap();
    let (before, after) = (before.blob(FLAT), origin.blob(FLAT));
    let text_after = text_before.replace(before.sha1(), after.sha1());
    assert_ne!(text_before, text_after);
    fs::write(&memory, text_after).unwrap();
    rig.mount();
    // Until the catalog of the new server has come, that of the old one is shown.
    let description = Path::new(".crds-fs/files").join(path(FLAT));
    eventually("the new catalog is shown", || {
        equal(rig.json(&description).unwrap()["sha1"].clone(), after.sha1())
    });
    let place = Place::mounted(&rig, &origin);
    place.told(&["hold", FLAT]);
    let verified = place.run(&["verify", FLAT]);
    assert!(text(&verified.stdout).contains("its SHA-1 is"), "{verified:?}");
    let told = place.told(&["verify", "--repair", FLAT]);
    assert!(told.contains("1 repaired"), "{told}");
    assert!(rig.read(path(FLAT)).unwrap() == origin.contents(FLAT));
    assert_eq!(names(&place.states(&["hold", "--list"]), "cached"), [FLAT]);
}
