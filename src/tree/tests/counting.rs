//! The room that the user's files take, as it is known at any moment.

use std::time::Duration;

use super::*;
use crate::tree::ops::SetAttr;

impl Fixture {
    fn used(&self) -> u64 {
        self.store.usage().unwrap().used
    }

    async fn write(&self, path: &str, offset: u64, bytes: &[u8]) {
        let opened = self.open(path, O_WRONLY).await.unwrap();
        let written = self
            .tree
            .write(opened.handle, offset, bytes)
            .wait()
            .await
            .unwrap();
        assert_eq!(written as usize, bytes.len());
        self.tree.flush(opened.handle).wait().await.unwrap();
        self.tree.release(opened.handle);
    }

    /// Waits until the files take so many bytes: a file is counted in the background, after its release.
    async fn comes_to_use(&self, bytes: u64) {
        let counted = async {
            while self.used() != bytes {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let counted = tokio::time::timeout(Duration::from_secs(60), counted).await;
        assert!(counted.is_ok(), "{} bytes and not {bytes}", self.used());
    }
}

/// Files under names that CRDS could have, and under others.
#[tokio::test]
async fn the_users_files_are_counted_when_they_are_closed_changed_moved_or_removed() {
    for (path, other) in [
        ("mappings/hst/hst_acs_0002.imap", "mappings/hst/hst_acs_0003.imap"),
        ("references/hst/notes", "references/hst/other notes"),
    ] {
        let fixture = fixture();
        fixture.create(path, 0, b"0123456789").await.unwrap();
        fixture.comes_to_use(10).await;
        fixture.write(path, 5, b"0123456789").await;
        assert_eq!(fixture.used(), 15);
        let ino = fixture.ino(path).await;
        let shorter = SetAttr {
            size: Some(4),
            ..SetAttr::default()
        };
        fixture.setattr(ino, shorter).await.unwrap();
        assert_eq!(fixture.used(), 4);
        let opened = fixture.open(path, O_RDWR).await.unwrap();
        let allocated = fixture.tree.fallocate(opened.handle, 0, 0, 100);
        allocated.wait().await.unwrap();
        fixture.tree.flush(opened.handle).wait().await.unwrap();
        fixture.tree.release(opened.handle);
        assert_eq!(fixture.used(), 100);
        fixture.rename(path, other).await.unwrap();
        fixture.rename(other, path).await.unwrap();
        assert_eq!(fixture.used(), 100, "under its name again");
        fixture.unlink(path).await.unwrap();
        assert_eq!(fixture.used(), 0);
    }
}

#[tokio::test]
async fn overrides_are_counted_when_they_change() {
    let fixture = fixture();
    let path = "references/hst/v8q14451j_idc.fits";
    fixture.read(path).await.unwrap();
    assert_eq!(fixture.used(), contents("v8q14451j_idc.fits").len() as u64);
    fixture.put_over(path, b"mine").await;
    fixture.comes_to_use(4).await;
    fixture.write(path, 4, b" and more").await;
    assert_eq!(fixture.used(), 13);
    fixture.unlink(path).await.unwrap();
    assert_eq!(fixture.used(), 0);
}
