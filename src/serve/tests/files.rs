//! Files and the configuration over HTTP.

use super::*;

#[tokio::test]
async fn files_come_whole_or_in_parts() {
    let rig = rig().await;
    let whole = rig.file(&[]).await;
    assert_eq!((whole.status, whole.body.as_slice()), (200, DARK));
    assert_eq!(whole.headers["content-length"], "10");
    assert_eq!(whole.headers["accept-ranges"], "bytes");
    let (etag, modified) = (
        whole.headers["etag"].as_str(),
        whole.headers["last-modified"].as_str(),
    );

    for if_range in [None, Some(etag), Some(modified)] {
        let mut headers = vec![("Range", "bytes=3-5")];
        headers.extend(if_range.map(|value| ("If-Range", value)));
        let part = rig.file(&headers).await;
        assert_eq!(
            (part.status, part.body.as_slice()),
            (206, &DARK[3..=5]),
            "{if_range:?}"
        );
        assert_eq!(part.headers["content-range"], "bytes 3-5/10");
        assert_eq!(part.headers["content-length"], "3");
    }
    let changed = rig
        .file(&[("Range", "bytes=3-5"), ("If-Range", "\"other\"")])
        .await;
    assert_eq!((changed.status, changed.body.as_slice()), (200, DARK));
    let beyond = rig.file(&[("Range", "bytes=10-")]).await;
    assert_eq!(
        (beyond.status, beyond.headers["content-range"].as_str()),
        (416, "bytes */10")
    );

    let head = rig
        .request("HEAD", "/hst/unchecked_get/references/hst/x_drk.fits", &[], "")
        .await;
    assert_eq!(
        (
            head.status,
            head.headers["content-length"].as_str(),
            head.body.len()
        ),
        (200, "10", 0)
    );
    let counted = FileCount {
        gets: 6,
        heads: 1,
        bytes: 10 + 9 + 10,
    };
    assert_eq!(rig.server.counters().file(&dark()), counted);
    let shown: Value = serde_json::from_slice(&rig.request("GET", "/.counters", &[], "").await.body).unwrap();
    assert_eq!(
        shown["files"]["hst/x_drk.fits"],
        json!({"gets": 6, "heads": 1, "bytes": 29})
    );
}

/// What caches in between ask again and again costs them no bytes.
#[tokio::test]
async fn who_has_the_file_is_told_so() {
    let rig = rig().await;
    let etag = rig.file(&[]).await.headers["etag"].clone();
    let is_kept = "public, max-age=31536000, immutable";
    for (given, is_known) in [
        (etag.clone(), true),
        (format!("W/{etag}"), true),
        (format!("\"other\", {etag}"), true),
        ("*".to_owned(), true),
        ("\"other\"".to_owned(), false),
    ] {
        let reply = rig.file(&[("If-None-Match", &given)]).await;
        let expected = if is_known { (304, 0) } else { (200, DARK.len()) };
        assert_eq!((reply.status, reply.body.len()), expected, "{given}");
        assert_eq!(reply.headers["etag"], etag, "{given}");
        assert_eq!(reply.headers["cache-control"], is_kept, "{given}");
    }
}

#[tokio::test]
async fn nothing_else_is_reachable() {
    let rig = rig().await;
    fs::write(rig.cache.path().join("secret.fits"), "secret").unwrap();
    for path in [
        "/",
        "/hst",
        "/hst/unchecked_get/mappings/hst/stray.fits",
        "/hst/unchecked_get/references/hst/hst.pmap",
        "/hst/unchecked_get/references/hst/x_drk.fits.lock",
        "/hst/unchecked_get/references/hst/.tmp_x_drk.fits_1",
        "/hst/unchecked_get/references/hst/..%2f..%2fsecret.fits",
        "/hst/unchecked_get/references/hst/../../secret.fits",
        "/hst/unchecked_get/references/roman/x_drk.fits",
        "/HST/unchecked_get/references/HST/x_drk.fits",
        "/jwst/unchecked_get/references/jwst/x_drk.fits",
        "/hst/unchecked_get/config/hst/passwords",
    ] {
        assert_eq!(rig.request("GET", path, &[], "").await.status, 404, "{path}");
    }
    assert_eq!(rig.server.counters().downloads(), 0);
}

#[tokio::test]
async fn links_to_another_disk_are_followed() {
    let (cache, disk) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let references = cache.path().join("references/hst");
    fs::create_dir_all(&references).unwrap();
    fs::create_dir(disk.path().join("wfc3")).unwrap();
    fs::write(disk.path().join("wfc3/x_drk.fits"), DARK).unwrap();
    fs::write(disk.path().join("y_drk.fits"), DARK).unwrap();
    for (name, target) in [
        ("wfc3", disk.path().join("wfc3")),
        ("iref", "wfc3".into()),
        ("y_drk.fits", disk.path().join("y_drk.fits")),
        ("nothing.fits", "none".into()),
        ("round", "..".into()),
    ] {
        std::os::unix::fs::symlink(target, references.join(name)).unwrap();
    }
    // The directory of an observatory may be a link as well.
    std::os::unix::fs::symlink(&references, cache.path().join("references/roman")).unwrap();
    let server = Server::bind(cache.path(), Options::default()).await.unwrap();
    for observatory in [Observatory::Hst, Observatory::Roman] {
        assert_eq!(server.files(observatory), 2, "{observatory}");
    }
    let rig = Rig { server, cache };
    assert_eq!(rig.file(&[]).await.body, DARK);
}

#[tokio::test]
async fn the_configuration_is_a_python_literal() {
    let rig = rig().await;
    let get = |name: &'static str| {
        let rig = &rig;
        async move {
            let path = format!("/hst/unchecked_get/config/hst/{name}");
            let reply = rig.request("GET", &path, &[], "").await;
            assert_eq!(reply.headers["cache-control"], "no-store");
            reply.body
        }
    };
    let config = String::from_utf8(get("server_config").await).unwrap();
    let config = literal::parse(&config).unwrap();
    assert_eq!(
        config.get("latest_context").unwrap().as_str(),
        Some("hst_0002.pmap")
    );
    assert_eq!(get("bad_files.txt").await, b"x_drk.fits");
    assert_eq!(get("ref_cache_subdir_mode").await, b"flat");
}

#[tokio::test]
async fn a_file_that_changed_is_not_served() {
    let rig = rig().await;
    fs::write(
        rig.cache.path().join("references/hst/acs/x_drk.fits"),
        "0123456789 and more",
    )
    .unwrap();
    assert_eq!(rig.file(&[]).await.status, 500);
}

#[tokio::test]
async fn nor_is_one_that_was_written_anew_in_the_same_length() {
    let rig = rig().await;
    let path = rig.cache.path().join("references/hst/acs/x_drk.fits");
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(rig.file(&[]).await.status, 500);
}
