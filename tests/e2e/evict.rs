//! `crds-fs evict`, through a mount and on a plain cache.

use std::fs;

use crate::caches::{IMAP, Place, RMAP, names, path, rules};
use crate::origin::Origin;
use crate::outputs::text;
use crate::rig::Rig;
use crate::{DARK, FLAT, PMAP, content, server_flag};

/// A file that nobody has hashed may be somebody's work: a mount hashes it before it goes.
#[test]
fn a_file_that_was_never_hashed_is_not_lost_by_an_eviction() {
    for mounted in [false, true] {
        let origin = Origin::start(content());
        let mut rig = Rig::new(&[&server_flag(&origin)], &[]);
        fs::create_dir_all(rig.store().join("references/roman")).unwrap();
        fs::write(rig.store().join(path(FLAT)), origin.contents(FLAT)).unwrap();
        fs::write(rig.store().join(path(DARK)), "somebody's work").unwrap();
        if mounted {
            rig.mount();
        }
        let place = Place {
            rig: &rig,
            origin: &origin,
            mounted,
        };
        let evicted = place.run(&["evict", "*"]);
        assert_eq!(evicted.status.success(), mounted, "{evicted:?}");
        assert!(!place.is_here(FLAT));
        let work = if mounted {
            let quarantine = fs::read_dir(rig.store().join(".crds-fs/quarantine")).unwrap();
            quarantine.map(|entry| entry.unwrap().path()).next().unwrap()
        } else {
            assert!(text(&evicted.stdout).contains("may be somebody's"), "{evicted:?}");
            rig.store().join(path(DARK))
        };
        assert_eq!(fs::read_to_string(work).unwrap(), "somebody's work");
    }
}

#[test]
fn evict_drops_copies_but_none_that_are_held_or_open() {
    Place::each(content, &[], |place| {
        place.fetch(&[PMAP, DARK, FLAT]);
        place.told(&["hold", "mappings/roman/roman_0001.pmap"]);
        let told = place.told(&["evict", "--dry-run", "*"]);
        assert!(
            told.contains("2 evictable (312.5 KiB), 1 held (2.0 KiB)"),
            "{told}"
        );
        assert!(place.is_here(FLAT) && place.is_here(DARK));
        let open = place
            .mounted
            .then(|| fs::File::open(place.rig.path(path(DARK))).unwrap());
        let told = place.told(&["evict", "*"]);
        assert!(told.contains("held") && told.contains(PMAP), "{told}");
        assert!(place.is_here(PMAP) && !place.is_here(FLAT));
        assert_eq!(place.is_here(DARK), place.mounted, "{told}");
        drop(open);
        let unknown = place.run(&["evict", "nothing.asdf"]);
        assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
        assert!(text(&unknown.stderr).contains("is in no catalog"), "{unknown:?}");
        let all = place.run(&["evict"]);
        assert_eq!(all.status.code(), Some(2), "{all:?}");
    });
}

#[test]
fn evict_goes_by_size_and_by_the_last_use() {
    Place::each(content, &[], |place| {
        for name in [DARK, PMAP, FLAT] {
            place.fetch(&[name]);
        }
        let told = place.json(&["evict", "--unused-for", "1h"]);
        assert_eq!(told["totals"]["files"], 0, "{told}");
        let states = place.states(&["evict", "--to", "25000"]);
        assert_eq!(names(&states, "evicted"), [DARK]);
        assert!(place.is_here(FLAT) && place.is_here(PMAP));
        place.told(&["hold", FLAT]);
        let short = place.run(&["evict", "--to", "1000"]);
        assert_eq!(short.status.code(), Some(1), "{short:?}");
        assert!(
            text(&short.stderr).contains("19.5 KiB are left, more than 1000 B"),
            "{short:?}"
        );
        assert!(place.is_here(FLAT) && !place.is_here(PMAP));
    });
}

#[test]
fn evict_drops_the_files_of_a_context() {
    Place::each(rules, &[], |place| {
        place.fetch(&[PMAP, IMAP, RMAP, DARK, FLAT]);
        let states = place.states(&["evict", "--context", PMAP]);
        let mut evicted = names(&states, "evicted");
        evicted.sort();
        assert_eq!(evicted, [PMAP, IMAP, DARK, RMAP], "{states:?}");
        assert!(place.is_here(FLAT) && !place.is_here(DARK));
    });
}
