//! The comparison of files in the store with the catalog.

use super::*;

#[test]
fn found_files_are_hashed_once() {
    let dir = TempDir::new().unwrap();
    let rule = key("hst_0001.pmap");
    fs::create_dir_all(dir.path().join("mappings/hst")).unwrap();
    fs::write(dir.path().join("mappings/hst/hst_0001.pmap"), b"good").unwrap();
    {
        let store = open(&dir);
        assert!(matches!(
            store.open(&rule, entry(b"good")).unwrap(),
            Found::Unverified
        ));
        assert_eq!(store.holding(&rule).unwrap().kind, HoldingKind::Unverified);
        catalogued(&store.verify(&rule, entry(b"good")).unwrap());
        catalogued(&store.open(&rule, entry(b"good")).unwrap());
    }
    let store = open(&dir);
    catalogued(&store.open(&rule, entry(b"good")).unwrap());
}

#[test]
fn a_changed_file_is_noticed_while_it_is_open() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let rule = key("hst_0001.pmap");
    let _held = put(&store, &rule, b"good").unwrap();
    fs::write(dir.path().join("mappings/hst/hst_0001.pmap"), b"goo").unwrap();
    assert!(matches!(
        store.open(&rule, entry(b"good")).unwrap(),
        Found::Absent
    ));
    assert_eq!(quarantined(&dir), [b"goo"]);
}

#[test]
fn a_new_catalog_is_compared_with_what_is_there() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let rule = key("hst_0001.pmap");
    put(&store, &rule, b"old!").unwrap();
    is_found_to_differ(&store, &rule, b"new!");
    assert!(!path(&dir, &rule).exists());
    // A file that was not fetched may be somebody's work.
    fs::write(path(&dir, &rule), b"mine").unwrap();
    is_found_to_differ(&store, &rule, b"new!");
    assert_eq!(quarantined(&dir), [b"mine"]);
}

/// A copy fetched by an earlier catalog can be had again, or is of no use: it takes no room for good.
#[test]
fn a_copy_that_a_new_catalog_supersedes_is_removed() {
    for (restart, examined) in [(false, false), (true, false), (true, true)] {
        for new in [&b"new!"[..], b"a longer one"] {
            let dir = TempDir::new().unwrap();
            let mut running = open(&dir);
            let rule = key("hst_0001.pmap");
            drop(put(&running, &rule, b"old!").unwrap());
            // Attributes are no contents.
            fs::set_permissions(path(&dir, &rule), fs::Permissions::from_mode(0o600)).unwrap();
            if examined {
                running.examine(&rule, entry(new)).unwrap();
            }
            if restart {
                drop(running);
                running = open(&dir);
            }
            let store = running;
            let held = File::open(path(&dir, &rule)).unwrap();
            is_found_to_differ(&store, &rule, new);
            assert!(!path(&dir, &rule).exists());
            assert!(quarantined(&dir).is_empty());
            assert_eq!(store.usage().unwrap().used, 0);
            assert_eq!(bytes_of(&held), b"old!", "who has it open goes on with it");
            put(&store, &rule, new).unwrap();
            catalogued(&store.open(&rule, entry(new)).unwrap());
        }
    }
}

#[test]
fn checks_can_be_switched_off() {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("mappings/hst")).unwrap();
    fs::write(dir.path().join("mappings/hst/hst_0001.pmap"), b"else").unwrap();
    fs::write(dir.path().join("mappings/hst/hst_0002.pmap"), b"longer").unwrap();
    let unchecked = StoreOptions {
        checksums: false,
        ..options()
    };
    let store = DiskStore::open(dir.path(), unchecked.clone()).unwrap();
    catalogued(&store.open(&key("hst_0001.pmap"), entry(b"good")).unwrap());
    assert!(matches!(
        store.open(&key("hst_0002.pmap"), entry(b"good")).unwrap(),
        Found::Absent
    ));
    drop(store);
    fs::write(dir.path().join("mappings/hst/hst_0002.pmap"), b"longer").unwrap();
    let anything = StoreOptions {
        lengths: false,
        ..unchecked
    };
    let store = DiskStore::open(dir.path(), anything).unwrap();
    catalogued(&store.open(&key("hst_0002.pmap"), entry(b"good")).unwrap());
    drop(store);
    // With checks again, a file that was accepted without one is unverified.
    let store = open(&dir);
    assert!(matches!(
        store.open(&key("hst_0001.pmap"), entry(b"good")).unwrap(),
        Found::Unverified
    ));
}
