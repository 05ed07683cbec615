//! What does not get into a shared store, and what is not removed from it.

use super::*;

/// Begins a transfer of a file, and lets all of its bytes arrive.
fn received(store: &DiskStore, key: &FileKey, bytes: &[u8]) -> Partial {
    store.reserve(key, bytes.len() as u64).unwrap();
    let partial = store.begin(key).unwrap();
    store.claim(key, &partial).unwrap();
    partial.file.write_all_at(bytes, 0).unwrap();
    partial
}

/// What is copied into the store is hashed on the way, and of several files each gets its own result.
#[test]
fn bytes_that_were_changed_since_they_were_verified_are_not_published() {
    let place = Place::new();
    let store = open_apart(&place);
    let (changed, others) = (key("hst_0001.pmap"), ["hst_0002.pmap", "hst_0003.pmap"].map(key));
    // Large, so that it ends after the others.
    let bytes = vec![7; 8 << 20];
    let partial = received(&store, &changed, &bytes);
    let file = Arc::clone(&partial.file);
    store
        .disk
        .moments
        .plan(Moment::Verified, move || file.write_all_at(b"evil", 0).unwrap());
    let given = store.publish(&changed, &partial, sum(&bytes)).unwrap();
    for other in &others {
        publish(&store, other, b"good").unwrap();
    }
    let failure = store.disk.queue.flush().unwrap_err();
    assert!(
        format!("{failure:?}").contains("changed by somebody"),
        "{failure:?}"
    );
    assert!(!path(&place.dir, &changed).exists());
    assert!(matches!(
        store.open(&changed, entry(&bytes)).unwrap(),
        Found::Absent
    ));
    for other in &others {
        assert_eq!(fs::read(path(&place.dir, other)).unwrap(), b"good");
        catalogued(&store.open(other, entry(b"good")).unwrap());
    }
    assert!(place.own("incoming").is_empty());
    drop(given);
}

/// Whoever has the other name could change the copy.
#[test]
fn a_file_with_another_name_is_not_taken() {
    let place = Place::new();
    let store = place.open();
    let rule = key("hst_0001.pmap");
    let mine = place.dir.path().join("mine");
    fs::write(&mine, b"good").unwrap();
    fs::hard_link(&mine, place.dir.path().join("too")).unwrap();
    assert!(!store.take_copy(Path::new("mine"), &rule, entry(b"good")).unwrap());
    assert!(mine.exists() && !path(&place.dir, &rule).exists());
}

/// On some network file systems others who have it open would lose it with its last name.
#[test]
fn what_a_new_catalog_has_other_contents_for_is_set_aside() {
    let place = Place::new();
    let store = place.open();
    let rule = key("hst_0001.pmap");
    put(&store, &rule, b"good").unwrap();
    assert!(matches!(
        store.open(&rule, entry(b"new!")).unwrap(),
        Found::Unverified
    ));
    assert!(matches!(
        store.verify(&rule, entry(b"new!")).unwrap(),
        Found::Absent
    ));
    assert_eq!(place.own("quarantine").len(), 1);
}
