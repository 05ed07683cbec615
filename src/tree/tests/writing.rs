//! create, write, setattr, mkdir, symlink, link, unlink, rmdir, rename.

use super::*;
use crate::tree::ops::{NewTime, NodeKind, SetAttr};

const NOREPLACE: u32 = 1;
const WHITEOUT: u32 = 4;

#[tokio::test]
async fn files_of_ones_own_persist_in_the_store() {
    let fixture = fixture();
    for path in [
        "config/hst/3f0c8a9e",
        "mappings/hst/x.rmap.lock",
        "references/hst/.tmp_a.fits_7",
        "pickles/hst/c.pkl",
    ] {
        let attr = fixture.create(path, O_EXCL, b"hello").await.unwrap();
        assert_eq!((attr.kind, attr.perm), (NodeKind::File, 0o644), "{path}");
        assert_eq!(fixture.text(path).await, "hello");
        assert_eq!(std::fs::read(fixture.on_disk(path)).unwrap(), b"hello");
        let refused = fixture.create(path, O_EXCL, b"again").await;
        assert_eq!(fixture.errno(refused), libc::EEXIST, "{path}");
        assert_eq!(fixture.xattr(path, "user.crds.state").await.unwrap(), "local");
    }
}

#[tokio::test]
async fn appending_goes_to_the_end_and_truncating_empties() {
    let fixture = fixture();
    fixture.create("pickles/hst/a", 0, b"one").await.unwrap();
    let opened = fixture.open("pickles/hst/a", O_WRONLY | O_APPEND).await.unwrap();
    fixture.tree.write(opened.handle, 0, b"two").wait().await.unwrap();
    fixture.tree.fsync(opened.handle, false).wait().await.unwrap();
    assert_eq!(fixture.text("pickles/hst/a").await, "onetwo");
    let opened = fixture.open("pickles/hst/a", O_RDONLY).await.unwrap();
    let refused = fixture.tree.write(opened.handle, 0, b"no").wait().await;
    assert_eq!(fixture.errno(refused), libc::EBADF);
    fixture.open("pickles/hst/a", O_WRONLY | O_TRUNC).await.unwrap();
    assert_eq!(fixture.text("pickles/hst/a").await, "");
}

#[tokio::test]
async fn names_that_are_taken_or_not_the_users_are_refused() {
    let fixture = fixture();
    fixture.list("mappings/hst").await.unwrap();
    for (path, errno) in [
        ("mappings/hst/hst_0001.pmap", 17),
        ("config/hst/server_config", 17),
        ("/new", 1),
        ("bestrefs/new", 30),
        (".crds-fs/new", 30),
    ] {
        let refused = fixture.create(path, O_EXCL, b"").await;
        assert_eq!(fixture.errno(refused), errno, "create {path}");
        assert_eq!(fixture.errno(fixture.mkdir(path).await), errno, "mkdir {path}");
    }
    assert_eq!(fixture.errno(fixture.mkdir("references/hst").await), libc::EEXIST);
}

#[tokio::test]
async fn a_client_rewrites_its_config_and_the_mount_keeps_its_own() {
    let fixture = fixture();
    let before = fixture.text("config/hst/server_config").await;
    for name in ["server_config", "bad_files.txt", "ref_cache_subdir_mode"] {
        let temporary = "config/hst/7d1f2a34-0f8f-4f39-9a3c-111111111111";
        fixture
            .create(
                temporary,
                O_EXCL,
                if name.starts_with("ref_") {
                    b"flat\n"
                } else {
                    b"{}"
                },
            )
            .await
            .unwrap();
        fixture
            .rename(temporary, &format!("config/hst/{name}"))
            .await
            .unwrap();
        assert!(!fixture.exists(temporary).await);
    }
    assert_eq!(fixture.text("config/hst/server_config").await, before);
    assert_eq!(
        fixture.text("config/hst/ref_cache_subdir_mode").await.trim(),
        "flat"
    );
    let kept = std::fs::read_to_string(fixture.on_disk("config/hst/server_config")).unwrap();
    crate::crds::ServerInfo::from_literal(&kept).unwrap();
    let refused = fixture.unlink("config/hst/server_config").await;
    assert_eq!(fixture.errno(refused), libc::EPERM);
}

#[tokio::test]
async fn an_unlinked_open_file_has_no_names_and_keeps_its_bytes() {
    let fixture = fixture();
    let made = fixture.create("pickles/hst/x.lock", 0, b"held").await.unwrap();
    let opened = fixture.open("pickles/hst/x.lock", O_RDWR).await.unwrap();
    assert_eq!(fixture.attr(made.ino).await.unwrap().nlink, 1);
    fixture.unlink("pickles/hst/x.lock").await.unwrap();
    assert_eq!(fixture.attr(made.ino).await.unwrap().nlink, 0);
    fixture.tree.write(opened.handle, 4, b"!").wait().await.unwrap();
    assert_eq!(
        fixture.tree.read(opened.handle, 0, 10).wait().await.unwrap(),
        b"held!"[..]
    );
    let change = SetAttr {
        mode: Some(0o600),
        ..SetAttr::default()
    };
    assert_eq!(fixture.setattr(made.ino, change).await.unwrap().perm, 0o600);
    let second = fixture.create("pickles/hst/x.lock", O_EXCL, b"").await.unwrap();
    assert_ne!(second.ino, made.ino);
    fixture.tree.release(opened.handle);
    fixture.tree.forget(made.ino, u64::MAX);
    assert_eq!(fixture.errno(fixture.attr(made.ino).await), libc::ESTALE);
}

#[tokio::test]
async fn links_of_both_kinds() {
    let fixture = fixture();
    let made = fixture.create("pickles/hst/a", 0, b"x").await.unwrap();
    let parent = fixture.ino("pickles/hst").await;
    fixture
        .tree
        .link(CALLER, made.ino, parent, OsStr::new("b"))
        .wait()
        .await
        .unwrap();
    let second = fixture.stat("pickles/hst/b").await.unwrap();
    assert_eq!((second.ino, second.nlink), (made.ino, 2));
    fixture.unlink("pickles/hst/a").await.unwrap();
    assert_eq!(fixture.attr(made.ino).await.unwrap().nlink, 1);
    fixture
        .tree
        .symlink(CALLER, parent, OsStr::new("s"), OsStr::new("../elsewhere"))
        .wait()
        .await
        .unwrap();
    let link = fixture.stat("pickles/hst/s").await.unwrap();
    assert_eq!(link.kind, NodeKind::Symlink);
    assert_eq!(
        fixture.tree.readlink(link.ino).wait().await.unwrap(),
        "../elsewhere"
    );
}

#[tokio::test]
async fn attributes_of_ones_own_files_change() {
    let fixture = fixture();
    let made = fixture.create("pickles/hst/a", 0, b"12345").await.unwrap();
    let when = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_500_000_000_250);
    let change = SetAttr {
        mode: Some(0o640),
        size: Some(2),
        mtime: Some(NewTime::At(when)),
        ..SetAttr::default()
    };
    let attr = fixture.setattr(made.ino, change).await.unwrap();
    assert_eq!((attr.perm, attr.size, attr.mtime), (0o640, 2, when));
    assert_eq!(fixture.text("pickles/hst/a").await, "12");
}

#[tokio::test]
async fn directories_of_the_cache_accept_the_clients_chmod() {
    let fixture = fixture();
    let ino = fixture.ino("references/hst").await;
    let change = SetAttr {
        mode: Some(0o700),
        ..SetAttr::default()
    };
    assert_eq!(fixture.setattr(ino, change).await.unwrap().perm, 0o755);
    let change = SetAttr {
        size: Some(0),
        ..SetAttr::default()
    };
    assert_eq!(fixture.errno(fixture.setattr(ino, change).await), libc::EISDIR);
}

#[tokio::test]
async fn directories_are_made_moved_and_removed() {
    let fixture = fixture();
    fixture.mkdir("pickles/hst/d").await.unwrap();
    fixture.mkdir("pickles/hst/d/e").await.unwrap();
    let made = fixture.create("pickles/hst/d/e/f", 0, b"x").await.unwrap();
    let refused = fixture.rmdir("pickles/hst/d").await;
    assert_eq!(fixture.errno(refused), libc::ENOTEMPTY);
    fixture.rename("pickles/hst/d", "pickles/hst/g").await.unwrap();
    assert_eq!(fixture.ino("pickles/hst/g/e/f").await, made.ino);
    assert_eq!(fixture.attr(made.ino).await.unwrap().size, 1);
    fixture.unlink("pickles/hst/g/e/f").await.unwrap();
    fixture.rmdir("pickles/hst/g/e").await.unwrap();
    assert_eq!(fixture.errno(fixture.unlink("pickles/hst/g").await), libc::EISDIR);
    fixture.rmdir("pickles/hst/g").await.unwrap();
    assert_eq!(fixture.errno(fixture.rmdir("pickles/hst/g").await), libc::ENOENT);
    assert_eq!(fixture.errno(fixture.rmdir("pickles/hst").await), libc::ENOTEMPTY);
}

#[tokio::test]
async fn rename_knows_its_flags() {
    let fixture = fixture();
    fixture.create("pickles/hst/a", 0, b"a").await.unwrap();
    fixture.create("pickles/hst/b", 0, b"b").await.unwrap();
    let refused = fixture
        .rename_with("pickles/hst/a", "pickles/hst/b", NOREPLACE)
        .await;
    assert_eq!(fixture.errno(refused), libc::EEXIST);
    let refused = fixture
        .rename_with("pickles/hst/a", "pickles/hst/b", WHITEOUT)
        .await;
    assert_eq!(fixture.errno(refused), libc::EINVAL);
    fixture
        .rename_with("pickles/hst/a", "pickles/hst/c", NOREPLACE)
        .await
        .unwrap();
    let refused = fixture.rename("pickles/hst/a", "pickles/hst/d").await;
    assert_eq!(fixture.errno(refused), libc::ENOENT);
    let refused = fixture
        .rename_with("pickles/hst/b", "mappings/hst/hst_0001.pmap", NOREPLACE)
        .await;
    assert_eq!(fixture.errno(refused), libc::EEXIST);
}

#[tokio::test]
async fn a_read_only_mount_refuses_every_change() {
    let options = TreeOptions {
        read_only: true,
        ..TreeOptions::default()
    };
    let directory = Arc::new(TempDir::new().unwrap());
    std::fs::create_dir_all(directory.path().join("pickles/hst/d")).unwrap();
    std::fs::write(directory.path().join("pickles/hst/a"), b"old").unwrap();
    let fixture = Making {
        options,
        directory: Some(directory),
        ..Making::default()
    }
    .make();
    for (path, perm) in [
        ("config/hst", 0o555),
        ("config/hst/server_config", 0o444),
        ("mappings/hst", 0o555),
    ] {
        assert_eq!(fixture.stat(path).await.unwrap().perm, perm, "{path}");
    }
    assert_eq!(fixture.stat("pickles/hst/a").await.unwrap().perm & 0o222, 0);
    let ino = fixture.ino("pickles/hst/a").await;
    let parent = fixture.ino("pickles/hst").await;
    let change = SetAttr {
        mode: Some(0o600),
        ..SetAttr::default()
    };
    let errors = [
        fixture.create("pickles/hst/n", 0, b"").await.map(drop),
        fixture.mkdir("pickles/hst/n").await.map(drop),
        fixture.unlink("pickles/hst/a").await,
        fixture.unlink("mappings/hst/hst_0001.pmap").await,
        fixture.rmdir("pickles/hst/d").await,
        fixture.rename("pickles/hst/a", "pickles/hst/b").await,
        fixture.open("pickles/hst/a", O_RDWR).await.map(drop),
        fixture.open("mappings/hst/hst_0001.pmap", O_RDWR).await.map(drop),
        fixture.setattr(ino, change).await.map(drop),
        fixture
            .tree
            .link(CALLER, ino, parent, OsStr::new("l"))
            .wait()
            .await
            .map(drop),
        fixture
            .tree
            .symlink(CALLER, parent, OsStr::new("l"), OsStr::new("t"))
            .wait()
            .await
            .map(drop),
    ];
    for (index, error) in errors.into_iter().enumerate() {
        assert_eq!(fixture.errno(error), libc::EROFS, "change {index}");
    }
    assert_eq!(fixture.text("pickles/hst/a").await, "old");
    assert_eq!(
        fixture.read("mappings/hst/hst_0001.pmap").await.unwrap(),
        contents("hst_0001.pmap")
    );
}

#[tokio::test]
async fn nothing_leads_out_of_the_store() {
    let fixture = fixture();
    let outside = TempDir::new().unwrap();
    std::fs::write(outside.path().join("secret"), b"secret").unwrap();
    std::fs::create_dir_all(fixture.on_disk("pickles/hst")).unwrap();
    std::os::unix::fs::symlink(outside.path(), fixture.on_disk("pickles/hst/out")).unwrap();
    let link = fixture.stat("pickles/hst/out").await.unwrap();
    assert_eq!(link.kind, NodeKind::Symlink, "a link stays a link");
    for name in ["..", ".", "a/b", ""] {
        let parent = fixture.ino("pickles/hst").await;
        let made = fixture
            .tree
            .create(CALLER, parent, OsStr::new(name), 0o644, O_CREAT | O_RDWR);
        assert_eq!(fixture.errno(made.wait().await), libc::EINVAL, "'{name}'");
    }
}
