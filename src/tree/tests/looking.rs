//! lookup, getattr, readlink, getxattr, statfs.

use super::*;
use crate::tree::ops::{CacheTtl, NodeKind};

#[tokio::test]
async fn the_root_shows_the_four_areas_and_bestrefs_and_hides_its_own_directory() {
    let fixture = fixture();
    assert_eq!(
        fixture.list("").await.unwrap(),
        ["bestrefs", "config", "mappings", "pickles", "references"]
    );
    assert_eq!(fixture.stat(".crds-fs").await.unwrap().kind, NodeKind::Directory);
    assert!(!fixture.exists("data").await);
    assert!(
        fixture.server.state.lock().calls.is_empty(),
        "nothing was asked for yet"
    );
}

#[tokio::test]
async fn only_the_observatories_of_the_mount_are_shown() {
    let fixture = fixture();
    std::fs::create_dir_all(fixture.on_disk("mappings/jwst")).unwrap();
    for area in ["config", "mappings", "references", "pickles"] {
        assert_eq!(fixture.list(area).await.unwrap(), ["hst"], "{area}");
        assert!(!fixture.exists(&format!("{area}/jwst")).await);
    }
    assert_eq!(fixture.errno(fixture.mkdir("mappings/jwst").await), libc::EPERM);
}

#[tokio::test]
async fn a_catalogued_file_has_its_size_before_and_after_its_download() {
    let fixture = fixture();
    let path = "mappings/hst/hst_0001.pmap";
    let before = fixture.stat(path).await.unwrap();
    assert_eq!(before.size, contents("hst_0001.pmap").len() as u64);
    assert_eq!((before.blocks, before.perm, before.nlink), (0, 0o644, 1));
    assert_eq!(fixture.downloads(), 0);
    fixture.read(path).await.unwrap();
    let after = fixture.stat(path).await.unwrap();
    assert!(after.blocks > 0);
    assert_eq!(Attr { blocks: 0, ..after }, before);
    fixture.hears(Invalidation::Attributes { ino: before.ino }).await;
    fixture.changes.lock().clear();
    fixture.unlink(path).await.unwrap();
    fixture.hears(Invalidation::Attributes { ino: before.ino }).await;
}

#[tokio::test]
async fn after_the_first_touch_looking_never_waits() {
    let fixture = fixture();
    let directory = fixture.ino("mappings/hst").await;
    let first = fixture
        .tree
        .lookup(CALLER, directory, OsStr::new("hst_0001.pmap"));
    assert!(matches!(first, Outcome::Later(_)), "the catalog has to be loaded");
    first.wait().await.unwrap();
    let found = now(fixture
        .tree
        .lookup(CALLER, directory, OsStr::new("hst_acs_0001.imap")))
    .unwrap();
    let Lookup::Found { attr, keep } = found else {
        panic!("not found")
    };
    assert_eq!(keep, CacheTtl::Forever);
    now(fixture.tree.getattr(CALLER, attr.ino, None)).unwrap();
    fixture.tree.statfs().wait().await.unwrap();
    now(fixture.tree.getxattr(attr.ino, OsStr::new("user.crds.state"))).unwrap();
}

#[tokio::test]
async fn names_that_cannot_be_in_a_catalog_are_not_asked_for() {
    let fixture = fixture();
    let directory = fixture.ino("references/hst").await;
    fixture.list("references/hst").await.unwrap();
    for name in [
        "x.fits.lock",
        ".tmp_x.fits_77",
        "3f0c8a9e-28a3-4d7e-9b3a-7b8a3fbc0001",
        "hst_0001.pmap",
    ] {
        let found = fixture.tree.lookup(CALLER, directory, OsStr::new(name));
        // It may appear in the store at any time.
        let expected = Lookup::Absent {
            keep: CacheTtl::Briefly,
        };
        assert_eq!(found.wait().await.unwrap(), expected, "{name}");
    }
    let calls = fixture.server.state.lock().calls.clone();
    assert_eq!(calls, ["get_server_info"]);
}

#[tokio::test]
async fn a_new_name_is_found_by_asking_for_a_new_catalog() {
    let fixture = fixture();
    let old = fixture.ino("references/hst/x1o1958ej_drk.fits").await;
    let name = "a1o1958ej_drk.fits";
    let url = format!("{}{name}", fixture.server.base());
    fixture.origin.put(&url, contents(name));
    fixture
        .server
        .state
        .lock()
        .files
        .insert(name.into(), contents(name));
    let parent = fixture.ino("references/hst").await;
    assert_eq!(
        fixture
            .stat(&format!("references/hst/{name}"))
            .await
            .unwrap()
            .size,
        contents(name).len() as u64
    );
    assert_eq!(
        fixture.ino("references/hst/x1o1958ej_drk.fits").await,
        old,
        "numbers stay"
    );
    assert_eq!(
        fixture.read("references/hst/x1o1958ej_drk.fits").await.unwrap(),
        contents("x1o1958ej_drk.fits")
    );
    assert_eq!(
        now(fixture.tree.getattr(CALLER, old, None)).unwrap().0.size,
        contents("x1o1958ej_drk.fits").len() as u64
    );
    fixture.hears(Invalidation::Attributes { ino: parent }).await;
}

/// A name that is not in a new catalog: the kernel asks for its attributes, is told that it is stale, and looks again.
#[tokio::test]
async fn a_name_that_goes_with_a_new_catalog_is_stale() {
    let fixture = fixture();
    let name = "v8q14451j_idc.fits";
    let ino = fixture.ino(&format!("references/hst/{name}")).await;
    fixture.server.state.lock().files.remove(name);
    let catalogs = fixture.tree.core.fetcher.catalogs();
    catalogs.refresh(Observatory::Hst).wait().await.unwrap();
    fixture.hears(Invalidation::Attributes { ino }).await;
    let gone = now(fixture.tree.getattr(CALLER, ino, None));
    assert_eq!(fixture.errno(gone), libc::ESTALE);
}

/// The kernel may remember for a moment that a plausible name is absent, and files of the user's, but for those that
/// clients rename over config files.
#[tokio::test]
async fn absent_names_and_the_users_files_are_remembered_briefly() {
    let fixture = fixture();
    let directory = fixture.ino("references/hst").await;
    let look = async |name: &str| {
        let found = fixture.tree.lookup(CALLER, directory, OsStr::new(name));
        found.wait().await.unwrap()
    };
    let absent = look("b1o1958ej_drk.fits").await;
    assert_eq!(
        absent,
        Lookup::Absent {
            keep: CacheTtl::Briefly
        }
    );
    fixture
        .create("references/hst/mine.fits", 0, b"mine")
        .await
        .unwrap();
    let keep_of = |found| match found {
        Lookup::Found { keep, .. } | Lookup::Absent { keep } => keep,
    };
    assert_eq!(keep_of(look("mine.fits").await), CacheTtl::Briefly);
    fixture.create("config/hst/mine", 0, b"mine").await.unwrap();
    let config = fixture.ino("config/hst").await;
    let found = fixture.tree.lookup(CALLER, config, OsStr::new("mine"));
    assert_eq!(keep_of(found.wait().await.unwrap()), CacheTtl::Never);
}

/// A file that was put into the store is shown as its catalog entry says until it is opened.
#[tokio::test]
async fn the_size_is_the_catalogs_whatever_lies_in_the_store() {
    let fixture = fixture();
    let name = "v8q14451j_idc.fits";
    std::fs::create_dir_all(fixture.on_disk("references/hst")).unwrap();
    std::fs::write(fixture.on_disk("references/hst").join(name), b"short").unwrap();
    let path = format!("references/hst/{name}");
    assert_eq!(
        fixture.stat(&path).await.unwrap().size,
        contents(name).len() as u64
    );
    assert_eq!(fixture.read(&path).await.unwrap(), contents(name));
}

/// A file with other contents in a new catalog has another inode number; processes that have the old contents open keep
/// them.
#[tokio::test]
async fn a_file_that_is_another_one_in_a_new_catalog_has_another_number() {
    let fixture = fixture();
    let name = "v8q14451j_idc.fits";
    let path = format!("references/hst/{name}");
    let ino = fixture.ino(&path).await;
    let open = fixture.tree.open(CALLER, ino, 0).wait().await.unwrap();
    let newer = b"newer contents".to_vec();
    let url = format!("{}{name}", fixture.server.base());
    fixture.origin.put(&url, newer.clone());
    let known = &fixture.server.state;
    known.lock().files.insert(name.into(), newer.clone());
    let catalogs = fixture.tree.core.fetcher.catalogs();
    catalogs.refresh(Observatory::Hst).wait().await.unwrap();
    fixture.hears(Invalidation::Attributes { ino }).await;
    assert_ne!(fixture.ino(&path).await, ino);
    assert_eq!(fixture.read(&path).await.unwrap(), newer);
    let old = contents(name);
    let (attr, keep) = fixture.tree.getattr(CALLER, ino, None).wait().await.unwrap();
    assert_eq!(
        (attr.size, attr.nlink, keep),
        (old.len() as u64, 0, CacheTtl::Never)
    );
    let size = u32::try_from(old.len()).unwrap();
    assert_eq!(fixture.tree.read(open.handle, 0, size).wait().await.unwrap(), old);
    fixture.tree.release(open.handle);
    assert_eq!(fixture.errno(fixture.attr(ino).await), libc::ESTALE);
}

#[tokio::test]
async fn a_name_in_lower_case_leads_to_the_one_with_capitals() {
    let fixture = fixture();
    let real = fixture.ino("references/hst/Weekdark_0H_wk03_drk.fits").await;
    assert_eq!(
        fixture.ino("references/hst/weekdark_0h_wk03_drk.fits").await,
        real
    );
}

#[tokio::test]
async fn without_a_server_config_files_are_there_and_catalogued_names_are_an_error() {
    let fixture = Making {
        unreachable: true,
        ..Making::default()
    }
    .make();
    let text = fixture.text("config/hst/server_config").await;
    crate::crds::ServerInfo::from_literal(&text).unwrap();
    assert_eq!(
        fixture.text("config/hst/ref_cache_subdir_mode").await.trim(),
        "flat"
    );
    assert_eq!(fixture.text("config/hst/bad_files.txt").await, "");
    let refused = fixture.stat("mappings/hst/hst_0001.pmap").await;
    assert_eq!(fixture.errno(refused), libc::EHOSTUNREACH);
    let refused = fixture.list("mappings/hst").await;
    assert_eq!(fixture.errno(refused), libc::EHOSTUNREACH);
    assert!(!fixture.exists("mappings/hst/x.lock").await);
}

#[tokio::test]
async fn config_files_say_what_the_server_says() {
    let fixture = fixture();
    fixture.server.state.lock().bad = vec!["x1o1958ej_drk.fits".into()];
    let text = fixture.text("config/hst/server_config").await;
    let info = crate::crds::ServerInfo::from_literal(&text).unwrap();
    assert_eq!(info.catalog().len(), NAMES.len());
    assert_eq!(
        fixture.text("config/hst/bad_files.txt").await,
        "x1o1958ej_drk.fits"
    );
    let attr = fixture.stat("config/hst/server_config").await.unwrap();
    assert_eq!((attr.size, attr.perm), (text.len() as u64, 0o644));
}

#[tokio::test]
async fn attributes_of_files_and_of_the_root() {
    let fixture = fixture();
    let path = "references/hst/v8q14451j_idc.fits";
    assert_eq!(fixture.xattr(path, "user.crds.state").await.unwrap(), "remote");
    assert_eq!(fixture.xattr(path, "user.crds.sha1").await.unwrap().len(), 40);
    let size = contents("v8q14451j_idc.fits").len();
    assert_eq!(
        fixture.xattr(path, "user.crds.progress").await.unwrap(),
        format!("0/{size}")
    );
    assert!(
        fixture
            .xattr(path, "user.crds.url")
            .await
            .unwrap()
            .ends_with("/v8q14451j_idc.fits")
    );
    fixture.read(path).await.unwrap();
    assert_eq!(fixture.xattr(path, "user.crds.state").await.unwrap(), "cached");
    assert_eq!(
        fixture.xattr(path, "user.crds.progress").await.unwrap(),
        format!("{size}/{size}")
    );
    assert_eq!(
        fixture.xattr("", "user.crds.version").await.unwrap(),
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(
        fixture.xattr("", "user.crds.pid").await.unwrap(),
        std::process::id().to_string()
    );
    assert_eq!(fixture.xattr("", "user.crds.offline").await.unwrap(), "0");
    for (path, name) in [
        (path, "user.crds.error"),
        (path, "security.selinux"),
        ("config", "user.crds.state"),
    ] {
        let refused = fixture.xattr(path, name).await;
        assert_eq!(fixture.errno(refused), libc::ENODATA, "{name} of {path}");
    }
}

#[tokio::test]
async fn attributes_are_off_by_default() {
    let options = TreeOptions::default();
    let fixture = Making {
        options,
        ..Making::default()
    }
    .make();
    let refused = fixture.xattr("", "user.crds.version").await;
    assert_eq!(fixture.errno(refused), libc::ENOSYS);
}

#[tokio::test]
async fn numbers_that_were_never_given_out_are_stale() {
    let fixture = fixture();
    for ino in [0, 77, 1 << 47, 1 << 50] {
        assert_eq!(fixture.errno(fixture.attr(ino).await), libc::ESTALE, "{ino:#x}");
    }
    let file = fixture.ino("mappings/hst/hst_0001.pmap").await;
    let refused = fixture.tree.lookup(CALLER, file, OsStr::new("x")).wait().await;
    assert_eq!(fixture.errno(refused), libc::ENOTDIR);
    let refused = fixture.tree.readlink(file).wait().await;
    assert_eq!(fixture.errno(refused), libc::EINVAL);
}

#[tokio::test]
async fn in_instrument_mode_references_are_with_their_instruments() {
    let fixture = Making::default().instrument().make();
    assert_eq!(
        fixture.text("config/hst/ref_cache_subdir_mode").await.trim(),
        "instrument"
    );
    let names = fixture.list("references/hst").await.unwrap();
    for name in ["acs", "cos", "jref", "oref", "synphot", "wfpc2"] {
        assert!(names.contains(&name.to_owned()), "{name} in {names:?}");
    }
    assert_eq!(
        fixture.list("references/hst/acs").await.unwrap(),
        ["v8q14451j_idc.fits", "x1o1958ej_drk.fits"]
    );
    assert_eq!(
        fixture.list("references/hst/wfpc2").await.unwrap(),
        ["a0h1524tu.r4d", "a0h1524tu.r4h"]
    );
    assert!(
        names.contains(&"Weekdark_0H_wk03_drk.fits".to_owned()),
        "its instrument cannot be told"
    );
    assert!(!fixture.exists("references/hst/v8q14451j_idc.fits").await);
    assert!(!fixture.exists("references/hst/cos/v8q14451j_idc.fits").await);
    let link = fixture.stat("references/hst/jref").await.unwrap();
    assert_eq!(link.kind, NodeKind::Symlink);
    assert_eq!(now(fixture.tree.readlink(link.ino)).unwrap(), "acs");
    let path = "references/hst/acs/v8q14451j_idc.fits";
    assert_eq!(fixture.read(path).await.unwrap(), contents("v8q14451j_idc.fits"));
    assert!(fixture.on_disk(path).exists());
    assert!(fixture.mkdir("references/hst/acs").await.is_err());
    let refused = fixture.rmdir("references/hst/cos").await;
    assert_eq!(fixture.errno(refused), libc::ENOTEMPTY);
}
