//! Others act between any two steps: what may be a user's file is neither removed, nor moved, nor taken for a copy.

use super::moments::Moment;
use super::*;

fn small(limit: u64) -> StoreOptions {
    StoreOptions {
        cache_size: Some(limit),
        ..options()
    }
}

/// Puts a file of the user's over a name, in the mount.
fn put_over(store: &DiskStore, dir: &TempDir, key: &FileKey, contents: &[u8]) {
    let directory = path(dir, key).parent().unwrap().to_owned();
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(".mine"), contents).unwrap();
    let from = directory.join(".mine");
    store
        .move_in(from.strip_prefix(dir.path()).unwrap(), key)
        .unwrap();
}

/// As `put_over`, behind the back of the mount.
fn put_over_outside(dir: &TempDir, key: &FileKey, contents: &[u8]) {
    fs::create_dir_all(path(dir, key).parent().unwrap()).unwrap();
    fs::write(dir.path().join("new"), contents).unwrap();
    fs::rename(dir.path().join("new"), path(dir, key)).unwrap();
}

fn shared(dir: &TempDir, options: StoreOptions) -> Arc<DiskStore> {
    Arc::new(DiskStore::open(dir.path(), options).unwrap())
}

/// Both ways to put something over a victim of eviction after it was chosen.
#[test]
fn a_victim_that_became_the_users_stays() {
    for outside in [false, true] {
        let dir = Arc::new(TempDir::new().unwrap());
        let store = shared(&dir, small(10));
        let (victim, wanted) = (key("hst_0001.pmap"), key("hst_0002.pmap"));
        put(&store, &victim, b"theirs").unwrap();
        let (there, place, over) = (Arc::clone(&store), Arc::clone(&dir), victim.clone());
        store.disk.moments.plan(Moment::VictimsChosen, move || {
            if outside {
                put_over_outside(&place, &over, b"my own");
            } else {
                put_over(&there, &place, &over, b"my own");
            }
        });
        // Nothing else can go: the new file does not fit any more.
        assert!(put(&store, &wanted, b"0123456789").unwrap_err().is_no_space());
        assert_eq!(fs::read(path(&dir, &victim)).unwrap(), b"my own", "{outside}");
        assert!(quarantined(&dir).is_empty());
        let kind = store.holding(&victim).unwrap().kind;
        let expected = if outside {
            HoldingKind::Unverified
        } else {
            HoldingKind::Local
        };
        assert_eq!(kind, expected);
    }
}

#[test]
fn a_victim_that_was_opened_meanwhile_stays() {
    let dir = TempDir::new().unwrap();
    let store = shared(&dir, small(10));
    let (victim, wanted) = (key("hst_0001.pmap"), key("hst_0002.pmap"));
    put(&store, &victim, b"theirs").unwrap();
    let held = Arc::new(Mutex::new(None));
    let (there, over, keep) = (Arc::clone(&store), victim.clone(), Arc::clone(&held));
    store.disk.moments.plan(Moment::VictimsChosen, move || {
        *keep.lock() = Some(there.open(&over, entry(b"theirs")).unwrap());
    });
    assert!(put(&store, &wanted, b"0123456789").unwrap_err().is_no_space());
    assert_eq!(fs::read(path(&dir, &victim)).unwrap(), b"theirs");
    assert!(matches!(*held.lock(), Some(Found::Catalogued(_))));
}

/// The bytes of a file change after they were hashed, and it is the same file.
#[test]
fn what_is_written_to_while_it_is_hashed_is_no_copy() {
    let dir = TempDir::new().unwrap();
    let rule = key("hst_0001.pmap");
    put_over_outside(&dir, &rule, b"good");
    let store = shared(&dir, options());
    let target = path(&dir, &rule);
    store.disk.moments.plan(Moment::Hashed, move || {
        let file = File::options().write(true).open(target).unwrap();
        file.write_all_at(b"evil", 0).unwrap();
        // A clock may stand still for a moment.
        let later = SystemTime::now() + std::time::Duration::from_secs(60);
        file.set_modified(later).unwrap();
    });
    for found in ["while it is hashed", "afterwards"] {
        let verified = store.verify(&rule, entry(b"good")).unwrap();
        assert!(!matches!(verified, Found::Catalogued(_)), "{found}");
    }
    assert_eq!(quarantined(&dir), [b"evil"]);
}

/// While a file in the store is hashed, and found to be wrong, the user puts another one there.
#[test]
fn what_came_while_the_file_before_was_hashed_stays() {
    for outside in [false, true] {
        let dir = Arc::new(TempDir::new().unwrap());
        let rule = key("hst_0001.pmap");
        put_over_outside(&dir, &rule, b"evil");
        let store = shared(&dir, options());
        assert!(matches!(
            store.open(&rule, entry(b"good")).unwrap(),
            Found::Unverified
        ));
        let (there, place, over) = (Arc::clone(&store), Arc::clone(&dir), rule.clone());
        store.disk.moments.plan(Moment::Hashed, move || {
            if outside {
                put_over_outside(&place, &over, b"mine");
            } else {
                put_over(&there, &place, &over, b"mine");
            }
        });
        store.verify(&rule, entry(b"good")).unwrap();
        assert_eq!(fs::read(path(&dir, &rule)).unwrap(), b"mine", "{outside}");
        assert!(quarantined(&dir).is_empty());
        if !outside {
            assert!(matches!(
                store.open(&rule, entry(b"good")).unwrap(),
                Found::Local(_)
            ));
        }
    }
}

/// The user takes the name before the verified file gets it: the user's file stays, and is what readers get.
#[test]
fn an_override_wins_over_a_publication() {
    for outside in [false, true] {
        let dir = Arc::new(TempDir::new().unwrap());
        let store = shared(&dir, options());
        let rule = key("hst_0001.pmap");
        let (there, place, over) = (Arc::clone(&store), Arc::clone(&dir), rule.clone());
        store.disk.moments.plan(Moment::DataSynced, move || {
            if outside {
                put_over_outside(&place, &over, b"mine");
            } else {
                put_over(&there, &place, &over, b"mine");
            }
        });
        let file = put(&store, &rule, b"good").unwrap();
        assert_eq!(bytes_of(&file), b"good", "who waited for it has it");
        assert_eq!(fs::read(path(&dir, &rule)).unwrap(), b"mine", "{outside}");
        assert!(quarantined(&dir).is_empty());
        assert!(partials(&dir).is_empty());
        let found = store.open(&rule, entry(b"good")).unwrap();
        assert!(
            matches!(found, Found::Local(_)) || outside && matches!(found, Found::Unverified),
            "{found:?}"
        );
    }
}

/// The partial file is exchanged: the verified file gets the name, or none does.
#[test]
fn what_is_published_is_what_was_verified() {
    let dir = Arc::new(TempDir::new().unwrap());
    let store = shared(&dir, options());
    let rule = key("hst_0001.pmap");
    let place = dir.path().join(".crds-fs/partial/hst/hst_0001.pmap");
    store.disk.moments.plan(Moment::DataSynced, move || {
        fs::remove_file(&place).unwrap();
        fs::write(&place, b"evil").unwrap();
    });
    assert!(put(&store, &rule, b"good").is_err());
    assert!(!path(&dir, &rule).exists());
}

/// One thread evicts, one renames own files over the same names, without any help: none is lost.
#[test]
fn eviction_and_overrides_at_full_speed() {
    const FILES: usize = 300;
    let dir = TempDir::new().unwrap();
    let store = shared(&dir, small(10 * FILES as u64 + 4_000));
    let names: Vec<FileKey> = (0..FILES)
        .map(|number| key(&format!("hst_{number:04}.pmap")))
        .collect();
    for name in &names {
        put(&store, name, b"0123456789").unwrap();
        let mine = dir.path().join("mappings/hst").join(format!(".{}", name.name));
        fs::write(mine, name.name.as_str()).unwrap();
    }
    let large = key("hst_acs_dark_0001.fits");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..FILES {
                let _ = store.make_room(&large, 10);
            }
        });
        scope.spawn(|| {
            for name in names.iter().rev() {
                let from = Path::new("mappings/hst").join(format!(".{}", name.name));
                store.move_in(&from, name).unwrap();
            }
        });
    });
    let lost: Vec<&FileKey> = names
        .iter()
        .filter(|name| fs::read(path(&dir, name)).ok() != Some(name.name.as_str().into()))
        .collect();
    assert!(lost.is_empty(), "{} of {FILES}: {lost:?}", lost.len());
}

/// The process ends at any step of an override: after a restart the user's file is local, or the copy that was there
/// before is still the copy.
#[test]
fn an_override_survives_a_crash_at_any_step() {
    let rule = key("hst_0001.pmap");
    // Written down, and not renamed yet.
    let dir = TempDir::new().unwrap();
    {
        let store = open(&dir);
        put(&store, &rule, b"theirs").unwrap();
        store.disk.remember(&rule, &crate::store::verified::Mark::Local);
    }
    {
        let store = open(&dir);
        catalogued(&store.open(&rule, entry(b"theirs")).unwrap());
    }
    // Renamed, and nothing else.
    {
        let store = open(&dir);
        store.disk.remember(&rule, &crate::store::verified::Mark::Local);
    }
    put_over_outside(&dir, &rule, b"mine");
    let store = open(&dir);
    assert!(matches!(
        store.open(&rule, entry(b"theirs")).unwrap(),
        Found::Local(_)
    ));
}

/// A crash between the private name and the removal: the file has its name again.
#[test]
fn what_lost_its_name_in_a_crash_gets_it_back() {
    let dir = TempDir::new().unwrap();
    let (rule, other) = (key("hst_0001.pmap"), key("hst_0002.pmap"));
    drop(open(&dir));
    let removing = dir.path().join(".crds-fs/removing/hst");
    fs::create_dir_all(&removing).unwrap();
    fs::write(removing.join("7~~hst_0001.pmap"), b"somebody's").unwrap();
    fs::write(removing.join("8~~hst_0002.pmap"), b"before").unwrap();
    fs::write(removing.join("9~nowhere~hst_0003.pmap"), b"odd").unwrap();
    put_over_outside(&dir, &rule, b"somebody's");
    fs::remove_file(path(&dir, &rule)).unwrap();
    put_over_outside(&dir, &other, b"after");
    let store = open(&dir);
    store.load_index(Observatory::Hst).unwrap();
    assert_eq!(fs::read(path(&dir, &rule)).unwrap(), b"somebody's");
    assert_eq!(fs::read(path(&dir, &other)).unwrap(), b"after");
    assert_eq!(quarantined(&dir), [b"before"]);
}

#[test]
fn a_link_is_the_users_and_is_followed_within_the_store_only() {
    let dir = TempDir::new().unwrap();
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("secret"), b"good").unwrap();
    fs::create_dir_all(dir.path().join("mappings/hst")).unwrap();
    let (out, within) = (key("hst_0001.pmap"), key("hst_0002.pmap"));
    symlink(outside.path().join("secret"), path(&dir, &out)).unwrap();
    fs::write(dir.path().join("mappings/hst/mine.txt"), b"mine").unwrap();
    symlink("mine.txt", path(&dir, &within)).unwrap();
    for _ in 0..2 {
        let store = open(&dir);
        store.load_index(Observatory::Hst).unwrap();
        for name in [&out, &within] {
            assert_eq!(store.holding(name).unwrap().kind, HoldingKind::Local);
        }
        assert!(store.open(&out, entry(b"good")).is_err());
        let Found::Local(file) = store.open(&within, entry(b"good")).unwrap() else {
            panic!("not local");
        };
        assert_eq!(bytes_of(&file), b"mine");
        assert!(matches!(
            put(&store, &out, b"good"),
            Err(StoreError::Overridden(_))
        ));
        store.abandon(&out, false).unwrap();
    }
    assert!(quarantined(&dir).is_empty());
    assert!(path(&dir, &out).is_symlink());
}

/// The user's file was renamed away; another one has come to the name at the same moment.
#[test]
fn what_took_the_name_of_a_file_that_was_renamed_away_stays() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let rule = key("hst_0001.pmap");
    put_over(&store, &dir, &rule, b"first");
    fs::rename(path(&dir, &rule), dir.path().join("mappings/hst/first")).unwrap();
    put_over(&store, &dir, &rule, b"second");
    store.recount(&rule).unwrap();
    assert_eq!(fs::read(path(&dir, &rule)).unwrap(), b"second");
    assert_eq!(store.holding(&rule).unwrap().kind, HoldingKind::Local);
    fs::remove_file(path(&dir, &rule)).unwrap();
    store.recount(&rule).unwrap();
    assert!(store.holding(&rule).is_none());
    put(&store, &rule, b"theirs").unwrap();
}

/// Contents changed in place, length and time of modification as before: the time of the change of status tells.
#[test]
fn a_file_changed_in_place_with_its_time_put_back_is_noticed() {
    for restart in [false, true] {
        let dir = TempDir::new().unwrap();
        let running = open(&dir);
        let rule = key("hst_0001.pmap");
        put(&running, &rule, b"good").unwrap();
        let running = Some(running).filter(|_| !restart);
        let place = path(&dir, &rule);
        let before = fs::metadata(&place).unwrap();
        // Times have the grain of the kernel's clock.
        while fs::metadata(&place).unwrap().ctime_nsec() == before.ctime_nsec() {
            fs::write(&place, b"evil").unwrap();
            let file = File::options().write(true).open(&place).unwrap();
            file.set_modified(before.modified().unwrap()).unwrap();
        }
        let store = running.unwrap_or_else(|| open(&dir));
        is_found_to_differ(&store, &rule, b"good");
        assert_eq!(quarantined(&dir), [b"evil"]);
    }
}
