//! opendir, readdir, readdirplus.

use super::*;
use crate::tree::ops::{CacheTtl, NodeKind};

#[tokio::test]
async fn a_listing_is_the_catalog_and_the_users_files() {
    let fixture = fixture();
    fixture
        .create("references/hst/mine.fits", 0, b"mine")
        .await
        .unwrap();
    fixture.mkdir("references/hst/experiments").await.unwrap();
    fixture.read("references/hst/v8q14451j_idc.fits").await.unwrap();
    assert_eq!(
        fixture.list("references/hst").await.unwrap(),
        [
            "Weekdark_0H_wk03_drk.fits",
            "a0h1524tu.r4d",
            "a0h1524tu.r4h",
            "experiments",
            "mine.fits",
            "v8q14451j_idc.fits",
            "x1o1958ej_drk.fits"
        ]
    );
    assert_eq!(
        fixture.list("mappings/hst").await.unwrap(),
        ["hst_0001.pmap", "hst_acs_0001.imap", "hst_acs_darkfile_0001.rmap"]
    );
    assert_eq!(
        fixture.list("config/hst").await.unwrap(),
        ["bad_files.txt", "ref_cache_subdir_mode", "server_config"]
    );
    assert_eq!(
        fixture.list(".crds-fs").await.unwrap(),
        ["files", "hold", "metrics", "status.json"]
    );
    assert_eq!(fixture.downloads(), 1, "listing downloads nothing");
}

#[tokio::test]
async fn an_overridden_name_is_listed_once() {
    let fixture = fixture();
    fixture.put_over("mappings/hst/hst_0001.pmap", b"other").await;
    let names = fixture.list("mappings/hst").await.unwrap();
    assert_eq!(names.iter().filter(|name| *name == "hst_0001.pmap").count(), 1);
    assert_eq!(names.len(), 3);
}

#[tokio::test]
async fn every_listed_number_is_the_one_that_lookup_finds() {
    let fixture = fixture();
    fixture
        .create("references/hst/mine.fits", 0, b"mine")
        .await
        .unwrap();
    for path in [
        "",
        "config",
        "config/hst",
        "mappings/hst",
        "references/hst",
        "pickles",
        ".crds-fs",
    ] {
        let ino = fixture.stat(path).await.unwrap().ino;
        let (handle, _) = fixture.tree.opendir(CALLER, ino).wait().await.unwrap();
        let mut entries = Vec::new();
        let ahead = fixture.tree.look_ahead(handle, 0).wait().await.unwrap();
        fixture
            .tree
            .readdirplus(ahead, 0, &mut |entry, attr, keep| {
                entries.push((entry, attr, keep));
                true
            })
            .unwrap();
        for (entry, attr, keep) in entries {
            let name = entry.name.to_str().unwrap();
            assert_eq!(entry.ino, attr.ino);
            if name == "." {
                assert_eq!(entry.ino, ino);
            } else if name != ".." {
                let found = fixture.find(ino, name).await.unwrap().unwrap();
                assert_eq!((found.ino, found.kind), (entry.ino, entry.kind), "{path}/{name}");
                // Of what is not kept the kernel asks again.
                assert!(
                    keep == CacheTtl::Never || found.size == attr.size,
                    "{path}/{name}"
                );
            }
        }
    }
}

#[tokio::test]
async fn reading_goes_on_where_it_stopped() {
    let fixture = fixture();
    fixture
        .create("references/hst/mine.fits", 0, b"mine")
        .await
        .unwrap();
    let ino = fixture.ino("references/hst").await;
    let (handle, keep) = fixture.tree.opendir(CALLER, ino).wait().await.unwrap();
    assert_eq!(keep, CacheTtl::Forever);
    let (mut names, mut offset) = (Vec::new(), 0);
    loop {
        let before = names.len();
        let mut room = 2;
        fixture
            .tree
            .readdir(handle, offset, &mut |entry| {
                if room == 0 {
                    return false;
                }
                room -= 1;
                offset = entry.next;
                names.push(entry.name);
                true
            })
            .unwrap();
        if names.len() == before {
            break;
        }
    }
    assert_eq!(names.len(), 8);
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 8);
    fixture.tree.releasedir(handle);
    let refused = fixture.tree.readdir(handle, 0, &mut |_| true);
    assert_eq!(fixture.errno(refused), libc::EBADF);
}

#[tokio::test]
async fn an_open_directory_shows_the_catalog_of_its_opening() {
    let fixture = fixture();
    let ino = fixture.ino("references/hst").await;
    let (handle, _) = fixture.tree.opendir(CALLER, ino).wait().await.unwrap();
    let names = || {
        let mut names = Vec::new();
        fixture
            .tree
            .readdir(handle, 0, &mut |entry| {
                names.push(entry.name);
                true
            })
            .unwrap();
        names
    };
    let before = names();
    let name = "a1o1958ej_drk.fits";
    let known = &fixture.server.state;
    known.lock().files.insert(name.into(), contents(name));
    let catalogs = fixture.tree.core.fetcher.catalogs();
    catalogs.refresh(Observatory::Hst).wait().await.unwrap();
    assert!(
        fixture
            .list("references/hst")
            .await
            .unwrap()
            .contains(&name.to_owned())
    );
    assert_eq!(names(), before);
}

#[tokio::test]
async fn dot_dot_is_the_directory_above() {
    let fixture = fixture();
    fixture.mkdir("pickles/hst/deep").await.unwrap();
    for (path, above) in [
        ("references/hst", "references"),
        ("mappings/hst", "mappings"),
        ("config/hst", "config"),
        ("pickles/hst", "pickles"),
        ("pickles/hst/deep", "pickles/hst"),
        ("references", ""),
        ("bestrefs", ""),
        (".crds-fs", ""),
    ] {
        let (ino, above) = (fixture.ino(path).await, fixture.ino(above).await);
        let (handle, _) = fixture.tree.opendir(CALLER, ino).wait().await.unwrap();
        let mut numbers = Vec::new();
        fixture
            .tree
            .readdir(handle, 0, &mut |entry| {
                numbers.push(entry.ino);
                numbers.len() < 2
            })
            .unwrap();
        assert_eq!(numbers, [ino, above], "{path}");
    }
}

/// A store with a hundred thousand copies, or on a disk that sleeps, must not hold up other requests.
#[tokio::test]
async fn the_store_is_listed_elsewhere() {
    let fixture = fixture();
    for path in ["mappings/hst", "references/hst", "config/hst", "pickles/hst"] {
        let ino = fixture.ino(path).await;
        fixture.list(path).await.unwrap();
        let opening = fixture.tree.opendir(CALLER, ino);
        assert!(matches!(opening, Outcome::Later(_)), "{path}");
        let (handle, _) = opening.wait().await.unwrap();
        fixture.tree.releasedir(handle);
    }
}

#[tokio::test]
async fn what_is_listed_with_attributes_is_referred_to() {
    let fixture = fixture();
    let made = fixture.create("pickles/hst/a", 0, b"x").await.unwrap();
    fixture.tree.forget(made.ino, 1);
    assert!(fixture.attr(made.ino).await.is_err());
    let ino = fixture.ino("pickles/hst").await;
    let (handle, _) = fixture.tree.opendir(CALLER, ino).wait().await.unwrap();
    let ahead = fixture.tree.look_ahead(handle, 2).wait().await.unwrap();
    fixture
        .tree
        .readdirplus(ahead, 2, &mut |entry, _, _| entry.name == "a")
        .unwrap();
    assert_eq!(fixture.attr(made.ino).await.unwrap().size, 1);
    fixture.tree.forget(made.ino, 1);
    assert!(fixture.attr(made.ino).await.is_err());
}

#[tokio::test]
async fn a_name_removed_after_opening_is_left_out_of_a_listing_with_attributes() {
    let fixture = fixture();
    fixture.create("pickles/hst/a", 0, b"x").await.unwrap();
    let ino = fixture.ino("pickles/hst").await;
    let (handle, _) = fixture.tree.opendir(CALLER, ino).wait().await.unwrap();
    fixture.unlink("pickles/hst/a").await.unwrap();
    let mut names = Vec::new();
    let ahead = fixture.tree.look_ahead(handle, 2).wait().await.unwrap();
    fixture
        .tree
        .readdirplus(ahead, 2, &mut |entry, attr, _| {
            assert_eq!(attr.kind, NodeKind::File);
            names.push(entry.name);
            true
        })
        .unwrap();
    assert!(names.is_empty());
}
