//! Changes of catalogued files: drops of copies, overrides, and what is refused.

use super::*;
use crate::tree::ops::{NewTime, SetAttr};

#[tokio::test]
async fn a_copy_is_dropped_and_the_file_stays() {
    let fixture = fixture();
    let path = "references/hst/v8q14451j_idc.fits";
    fixture.read(path).await.unwrap();
    let open = fixture.open(path, O_RDONLY).await.unwrap();
    let ino = fixture.ino(path).await;
    fixture.unlink(path).await.unwrap();
    let after = fixture.stat(path).await.unwrap();
    assert_eq!((after.ino, after.blocks), (ino, 0));
    // As the kernel does for stat(2), and does not for a create.
    let after = fixture.attr(ino).await.unwrap();
    assert_eq!((after.ino, after.blocks), (ino, 0));
    assert_eq!(
        fixture.tree.read(open.handle, 0, 8).wait().await.unwrap(),
        contents("v8q14451j_idc.fits")[..8]
    );
    fixture.unlink(path).await.unwrap();
    assert_eq!(fixture.read(path).await.unwrap(), contents("v8q14451j_idc.fits"));
    assert_eq!(fixture.downloads(), 2);
    assert_ne!(fixture.ino(path).await, ino, "the copy before is still open");
    fixture.tree.release(open.handle);
    let ino = fixture.ino(path).await;
    fixture.unlink(path).await.unwrap();
    fixture.attr(ino).await.unwrap();
    let again = fixture.open(path, O_RDONLY).await.unwrap();
    assert_eq!(fixture.ino(path).await, ino);
    assert!(!again.keep_cache, "pages of another copy");
}

#[tokio::test]
async fn a_rename_over_a_catalogued_name_overrides_it_until_it_is_removed() {
    let fixture = fixture();
    let path = "mappings/hst/hst_0001.pmap";
    let catalogued = fixture.ino(path).await;
    let mine = fixture.put_over(path, b"mine").await;
    let found = fixture.stat(path).await.unwrap();
    assert_eq!((found.ino, found.size), (mine.ino, 4));
    assert_eq!(fixture.text(path).await, "mine");
    assert_eq!(fixture.xattr(path, "user.crds.state").await.unwrap(), "local");
    assert!(!fixture.exists("mappings/hst/mine").await);
    let opened = fixture.open(path, O_RDWR).await.unwrap();
    fixture
        .tree
        .write(opened.handle, 0, b"ours")
        .wait()
        .await
        .unwrap();
    assert_eq!(fixture.text(path).await, "ours");
    fixture.unlink(path).await.unwrap();
    assert_eq!(fixture.ino(path).await, catalogued);
    assert_eq!(fixture.read(path).await.unwrap(), contents("hst_0001.pmap"));
}

/// A thread that takes requests makes calls on the disk itself, but for a sync.
#[tokio::test]
async fn an_override_keeps_no_thread_of_requests() {
    let fixture = fixture();
    let path = "mappings/hst/hst_0001.pmap";
    // The catalog is there.
    assert!(fixture.exists(path).await);
    fixture.create("mappings/hst/mine", 0, b"mine").await.unwrap();
    let parent = fixture.stat("mappings/hst").await.unwrap().ino;
    let rename = |name, new_name| {
        let (name, new_name) = (OsStr::new(name), OsStr::new(new_name));
        let renamed = || fixture.tree.rename(CALLER, parent, name, parent, new_name, 0);
        // Outside of the runtime, as these threads are.
        std::thread::scope(|scope| scope.spawn(renamed).join().unwrap())
    };
    assert!(matches!(rename("mine", "other"), Outcome::Ready(Ok(()))));
    let overriding = rename("other", "hst_0001.pmap");
    assert!(matches!(overriding, Outcome::Later(_)));
    overriding.wait().await.unwrap();
    assert_eq!(fixture.text(path).await, "mine");
}

#[tokio::test]
async fn an_override_survives_a_remount() {
    let directory = {
        let fixture = fixture();
        fixture.put_over("mappings/hst/hst_0001.pmap", b"mine").await;
        fixture.close().await
    };
    let fixture = Making::default().again(directory).make();
    assert_eq!(fixture.text("mappings/hst/hst_0001.pmap").await, "mine");
}

#[tokio::test]
async fn moving_an_override_away_brings_the_catalogued_file_back() {
    let fixture = fixture();
    fixture.put_over("mappings/hst/hst_0001.pmap", b"mine").await;
    fixture
        .rename("mappings/hst/hst_0001.pmap", "mappings/hst/back")
        .await
        .unwrap();
    assert_eq!(fixture.text("mappings/hst/back").await, "mine");
    assert_eq!(
        fixture.read("mappings/hst/hst_0001.pmap").await.unwrap(),
        contents("hst_0001.pmap")
    );
}

#[tokio::test]
async fn a_catalogued_file_cannot_be_moved_or_changed() {
    let fixture = fixture();
    let refused = fixture
        .rename("mappings/hst/hst_0001.pmap", "mappings/hst/x")
        .await;
    assert_eq!(fixture.errno(refused), libc::EPERM);
    let ino = fixture.ino("mappings/hst/hst_0001.pmap").await;
    for change in [
        SetAttr {
            mode: Some(0o600),
            ..SetAttr::default()
        },
        SetAttr {
            size: Some(0),
            ..SetAttr::default()
        },
        SetAttr {
            mtime: Some(NewTime::Now),
            ..SetAttr::default()
        },
    ] {
        assert_eq!(fixture.errno(fixture.setattr(ino, change).await), libc::EPERM);
    }
    let parent = fixture.ino("mappings/hst").await;
    let refused = fixture
        .tree
        .link(CALLER, ino, parent, OsStr::new("second"))
        .wait()
        .await;
    assert_eq!(fixture.errno(refused), libc::EPERM);
}

#[tokio::test]
async fn reorganising_the_cache_is_refused() {
    let fixture = fixture();
    fixture.list("references/hst").await.unwrap();
    fixture.mkdir("references/hst/acs").await.unwrap();
    let target = "references/hst/acs/v8q14451j_idc.fits";
    let refused = fixture.rename("references/hst/v8q14451j_idc.fits", target).await;
    assert_eq!(fixture.errno(refused), libc::EPERM);
    let refused = fixture.create(target, O_TRUNC, b"").await;
    assert_eq!(fixture.errno(refused), libc::EPERM);
    fixture
        .create("references/hst/acs/other.fits", 0, b"")
        .await
        .unwrap();
    // The tag of another layout is not taken.
    fixture.create("config/hst/tag", 0, b"instrument").await.unwrap();
    let refused = fixture
        .rename("config/hst/tag", "config/hst/ref_cache_subdir_mode")
        .await;
    assert_eq!(fixture.errno(refused), libc::EPERM);
    assert_eq!(
        fixture.text("config/hst/ref_cache_subdir_mode").await.trim(),
        "flat"
    );
    assert_eq!(fixture.text("config/hst/tag").await, "instrument");
}

/// As Python's `shutil.move` does, with which the client reorganizes a cache.
#[tokio::test]
async fn who_was_refused_a_move_into_the_other_layout_downloads_nothing_to_copy() {
    let fixture = fixture();
    let path = "references/hst/v8q14451j_idc.fits";
    fixture.mkdir("references/hst/acs").await.unwrap();
    let moved = fixture
        .rename(path, "references/hst/acs/v8q14451j_idc.fits")
        .await;
    assert_eq!(fixture.errno(moved), libc::EPERM);
    let opened = fixture.open(path, O_RDONLY).await;
    assert_eq!(fixture.errno(opened), libc::EPERM);
    assert_eq!(fixture.downloads(), 0);
    // The next open is one like any other, and so is one after a move to elsewhere.
    fixture.open(path, O_RDONLY).await.unwrap();
    fixture
        .rename(path, "pickles/hst/v8q14451j_idc.fits")
        .await
        .unwrap_err();
    fixture.open(path, O_RDONLY).await.unwrap();
}

#[tokio::test]
async fn an_old_client_writes_a_final_name_that_is_not_in_the_catalog() {
    let fixture = fixture();
    let path = "references/hst/z8q14451j_idc.fits";
    fixture.create(path, O_TRUNC, b"new").await.unwrap();
    assert_eq!(fixture.text(path).await, "new");
    fixture.unlink(path).await.unwrap();
    assert!(!fixture.exists(path).await);
}
