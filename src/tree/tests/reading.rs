//! open, read, release.

use super::*;

#[tokio::test]
async fn opening_downloads_once() {
    let fixture = fixture();
    let path = "references/hst/v8q14451j_idc.fits";
    assert_eq!(fixture.read(path).await.unwrap(), contents("v8q14451j_idc.fits"));
    assert_eq!(fixture.downloads(), 1);
    let ino = fixture.ino(path).await;
    let opened = fixture.tree.open(CALLER, ino, O_RDONLY).wait().await.unwrap();
    assert!(matches!(opened.backing, Backing::Stored(_)));
    assert!(opened.keep_cache);
    assert_eq!(fixture.downloads(), 1);
    assert_eq!(
        fixture.tree.read(opened.handle, 3, 4).wait().await.unwrap(),
        contents("v8q14451j_idc.fits")[3..7]
    );
    fixture.tree.release(opened.handle);
    let refused = fixture.tree.read(opened.handle, 0, 1).wait().await;
    assert_eq!(fixture.errno(refused), libc::EBADF);
}

/// Files that this process itself has open, for publishing or receiving them, do not count as open.
#[tokio::test]
async fn a_file_is_open_while_a_caller_has_a_handle_of_it() {
    let fixture = fixture();
    let name = "v8q14451j_idc.fits";
    let is_open = async || {
        let text = fixture
            .text(&format!(".crds-fs/files/references/hst/{name}"))
            .await;
        serde_json::from_str::<Value>(&text).unwrap()["open"].clone()
    };
    let opened = fixture
        .open(&format!("references/hst/{name}"), O_RDONLY)
        .await
        .unwrap();
    assert_eq!(is_open().await, true);
    fixture.tree.release(opened.handle);
    // A handle of the store's, which all who open the file share.
    assert!(matches!(opened.backing, Backing::Stored(_)));
    assert_eq!(is_open().await, false);
}

#[tokio::test]
async fn catalogued_files_cannot_be_opened_for_writing() {
    let fixture = fixture();
    for flags in [O_WRONLY, O_RDWR, O_TRUNC, O_WRONLY | O_APPEND, O_RDWR | O_TRUNC] {
        let refused = fixture.open("mappings/hst/hst_0001.pmap", flags).await;
        assert_eq!(fixture.errno(refused), libc::EPERM, "{flags:#o}");
        let refused = fixture.open("config/hst/server_config", flags).await;
        assert_eq!(fixture.errno(refused), libc::EPERM, "{flags:#o}");
        let refused = fixture.open(".crds-fs/metrics", flags).await;
        assert_eq!(fixture.errno(refused), libc::EROFS, "{flags:#o}");
    }
    assert_eq!(fixture.downloads(), 0);
}

#[tokio::test]
async fn a_failed_download_is_an_error_of_open_and_readable_afterwards() {
    let fixture = fixture();
    let name = "v8q14451j_idc.fits";
    fixture.origin.remove(&format!("{}{name}", fixture.server.base()));
    let refused = fixture.open(&format!("references/hst/{name}"), O_RDONLY).await;
    assert_eq!(fixture.errno(refused), libc::ENODATA);
    let words = fixture
        .xattr(&format!("references/hst/{name}"), "user.crds.error")
        .await
        .unwrap();
    assert!(words.contains(name), "{words}");
}

#[tokio::test]
async fn directories_and_links_cannot_be_opened_as_files() {
    let fixture = fixture();
    for path in ["", "config", "mappings/hst", "bestrefs", ".crds-fs"] {
        let refused = fixture.open(path, O_RDONLY).await;
        assert_eq!(fixture.errno(refused), libc::EISDIR, "{path}");
    }
}

#[tokio::test]
async fn an_offline_mount_reads_what_it_has() {
    let directory = {
        let fixture = fixture();
        fixture.read("mappings/hst/hst_0001.pmap").await.unwrap();
        fixture.close().await
    };
    let fixture = Making {
        directory: Some(directory),
        unreachable: true,
        ..Making::default()
    }
    .make();
    assert_eq!(
        fixture.read("mappings/hst/hst_0001.pmap").await.unwrap(),
        contents("hst_0001.pmap")
    );
    assert_eq!(
        fixture.list("references/hst").await.unwrap().len(),
        5,
        "the last catalog is shown"
    );
    assert_eq!(fixture.downloads(), 0);
}

#[tokio::test]
async fn attributes_are_the_same_over_remounts() {
    let path = "references/hst/v8q14451j_idc.fits";
    let (directory, before) = {
        let fixture = fixture();
        fixture.read(path).await.unwrap();
        let attr = fixture.stat(path).await.unwrap();
        (fixture.close().await, attr)
    };
    let fixture = Making::default().again(directory).make();
    assert_eq!(fixture.stat(path).await.unwrap(), before);
}

#[tokio::test]
async fn status_and_metrics_are_live() {
    let fixture = fixture();
    let status: Value = serde_json::from_str(&fixture.text(".crds-fs/status.json").await).unwrap();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["pid"], std::process::id());
    assert_eq!(status["observatories"][0]["name"], "hst");
    assert_eq!(status["observatories"][0]["files"], Value::Null, "not loaded yet");
    fixture.read("mappings/hst/hst_0001.pmap").await.unwrap();
    fixture.put_over("mappings/hst/hst_acs_0001.imap", b"mine").await;
    let status: Value = serde_json::from_str(&fixture.text(".crds-fs/status.json").await).unwrap();
    assert_eq!(status["observatories"][0]["files"], NAMES.len());
    assert_eq!(status["counters"]["downloads"], 1);
    assert_eq!(status["local_overrides"], json!(["hst/hst_acs_0001.imap"]));
    let metrics = fixture.text(".crds-fs/metrics").await;
    assert!(metrics.contains("crds_fs_downloads_total 1\n"), "{metrics}");
    assert!(
        metrics.contains("crds_fs_catalog_files{observatory=\"hst\"} 8\n"),
        "{metrics}"
    );
}

/// A catalog that comes between the lookup of a file and its open.
#[tokio::test]
async fn contents_of_a_later_catalog_are_not_opened_under_the_number_of_an_earlier_one() {
    let fixture = fixture();
    let name = "v8q14451j_idc.fits";
    let path = format!("references/hst/{name}");
    let old = fixture.ino(&path).await;
    // It looks at the store, and at the catalog, when it is waited for.
    let opening = fixture.tree.open(CALLER, old, O_RDONLY);
    let new = b"other contents, and more of them".to_vec();
    fixture
        .origin
        .put(&format!("{}{name}", fixture.server.base()), new.clone());
    fixture
        .server
        .state
        .lock()
        .files
        .insert(name.to_owned(), new.clone());
    let catalogs = fixture.tree.core.fetcher.catalogs();
    catalogs.refresh(Observatory::Hst).wait().await.unwrap();
    assert_eq!(fixture.errno(opening.wait().await), libc::ESTALE);
    assert_eq!(fixture.read(&path).await.unwrap(), new);
    assert_eq!(fixture.stat(&path).await.unwrap().size, new.len() as u64);
}

/// A file of the user's that comes between the lookup of a catalogued one and its open.
#[tokio::test]
async fn the_users_file_is_not_opened_under_the_number_of_the_catalogued_one() {
    let fixture = fixture();
    let path = "references/hst/v8q14451j_idc.fits";
    let old = fixture.ino(path).await;
    let opening = fixture.tree.open(CALLER, old, O_RDONLY);
    fixture.put_over(path, b"mine").await;
    assert_eq!(fixture.errno(opening.wait().await), libc::ESTALE);
    assert_eq!(fixture.read(path).await.unwrap(), b"mine");
    assert_eq!(fixture.downloads(), 0);
}
