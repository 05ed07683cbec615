//! A store on a disk that is really full.

use std::os::unix::fs::FileExt as _;

use super::small_disk::{fill, inside, shrink};
use crate::crds::{FileKey, Observatory};
use crate::store::{DiskStore, State as _, StoreOptions, Transfers as _};

/// The blocks of large files are allocated before their bytes come, and are not counted twice.
#[test]
fn room_for_a_large_file_is_taken_at_once_and_counted_once() {
    if !inside("store::disk::tests::full::room_for_a_large_file_is_taken_at_once_and_counted_once") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let _small = shrink(place, 8 << 20);
    let options = StoreOptions {
        keep_free: 0,
        ..StoreOptions::default()
    };
    let store = DiskStore::open(place, options).unwrap();
    let key = |name: &str| FileKey {
        observatory: Observatory::Roman,
        name: name.parse().unwrap(),
    };
    let (first, second) = (key("roman_wfi_dark_0001.asdf"), key("roman_wfi_dark_0002.asdf"));
    store.reserve(&first, 5 << 20).unwrap();
    let partial = store.begin(&first).unwrap();
    store.claim(&first, &partial).unwrap();
    assert!(store.usage().unwrap().available < 3 << 20);
    store.reserve(&second, 2 << 20).unwrap();
    fill(place);
    let refused = store
        .begin(&second)
        .and_then(|partial| store.claim(&second, &partial));
    assert!(refused.unwrap_err().is_no_space());
    // The first one has its blocks already.
    let bytes = vec![7; 5 << 20];
    partial.file.write_all_at(&bytes, 0).unwrap();
}
