//! Requirements on every kind of destination, whatever it writes to, as one suite of tests.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use sha1::{Digest as _, Sha1};

use super::{Destination, DirectoryDestination, Put, PutError, Upload};
use crate::crds::{Sha1Sum, Url};
use crate::remote::conformance::SECRET;
use crate::remote::memory::{Fault, MemoryDestination};

mod objects;

use objects::Objects;

const NAME: &str = "references/roman/a b.asdf";

/// A place that goes wrong on command.
trait Bench {
    fn destination(&self) -> Arc<dyn Destination>;
    fn url(&self) -> Url;
    /// The bytes under the name, if there are any.
    fn found(&self) -> Option<Vec<u8>>;
    /// Puts this there, or nothing.
    fn put(&self, content: Option<&[u8]>);
    /// Lets the next write go wrong; false where this cannot happen.
    fn fail(&self, fault: Fault, content: &[u8]) -> bool;
    /// The same place where nobody listens, if that can be.
    fn unreachable(&self) -> Option<Arc<dyn Destination>>;
    /// Nothing is left of what was not written in the end.
    fn is_clean(&self) -> bool;
}

pub(super) fn upload(content: &[u8]) -> Upload {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    Upload {
        file: Arc::new(file),
        size: content.len() as u64,
        sha1: Sha1Sum::from_bytes(Sha1::digest(content).into()),
    }
}

/// Letters, since the double of a server takes only text.
fn content(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| b'a' + u8::try_from(at / 7 % 26).unwrap())
        .collect()
}

async fn conforms(bench: &dyn Bench) {
    let (destination, url) = (bench.destination(), bench.url());
    // Two parts, where there are parts.
    for length in [0, 1, 100_000, (16 << 20) + 5] {
        let content = content(length);
        let file = upload(&content);
        bench.put(None);
        assert_eq!(
            destination.put(&url, &file).await.unwrap(),
            Put::Written,
            "{length}"
        );
        assert!(bench.found().unwrap() == content, "{length}");
        // Once more it is there.
        assert_eq!(
            destination.put(&url, &file).await.unwrap(),
            Put::Exists,
            "{length}"
        );
        // So it is where it comes at the same moment.
        bench.put(None);
        if bench.fail(Fault::Race, &content) {
            assert_eq!(
                destination.put(&url, &file).await.unwrap(),
                Put::Exists,
                "{length}"
            );
        }
        assert!(bench.is_clean(), "{length}");
        stays(bench, &content, &file).await;
        damaged(bench, &content, &file).await;
        goes_wrong(bench, &file).await;
    }
}

/// Another file under the name is never replaced.
async fn stays(bench: &dyn Bench, content: &[u8], file: &Upload) {
    bench.put(None);
    if content.is_empty() {
        return;
    }
    let mut flipped = content.to_vec();
    flipped[content.len() / 2] = b'!';
    for wrong in [flipped, content[1..].to_vec()] {
        bench.put(Some(&wrong));
        let error = bench.destination().put(&bench.url(), file).await.unwrap_err();
        assert!(matches!(error, PutError::Other(_)), "{error:?}");
        assert!(error.to_string().contains("remove it"), "{error}");
        assert!(bench.found().unwrap() == wrong);
        bench.put(None);
        if bench.fail(Fault::Race, &wrong) {
            let error = bench.destination().put(&bench.url(), file).await.unwrap_err();
            assert!(matches!(error, PutError::Other(_)), "{error:?}");
            assert!(bench.found().unwrap() == wrong);
        }
    }
    bench.put(None);
}

/// Bytes of another size or digest than those of the upload are never written.
async fn damaged(bench: &dyn Bench, content: &[u8], file: &Upload) {
    let mut other = content.to_vec();
    other.push(b'x');
    for (name, damaged) in [
        (
            "cut",
            Upload {
                size: file.size + 1,
                ..file.clone()
            },
        ),
        (
            "flipped",
            Upload {
                sha1: upload(&other).sha1,
                ..file.clone()
            },
        ),
    ] {
        let error = bench.destination().put(&bench.url(), &damaged).await.unwrap_err();
        assert!(matches!(error, PutError::Damaged(_)), "{name}: {error:?}");
        assert_eq!(bench.found().map(|found| found.len()), None, "{name}");
        assert!(bench.is_clean(), "{name}");
    }
}

async fn goes_wrong(bench: &dyn Bench, file: &Upload) {
    let (destination, url) = (bench.destination(), bench.url());
    let is_refused: fn(&PutError) -> bool = |error| matches!(error, PutError::Refused(_));
    let is_full: fn(&PutError) -> bool = |error| matches!(error, PutError::Full(_));
    let is_failed: fn(&PutError) -> bool = |error| matches!(error, PutError::Failed(_));
    for (fault, is_right) in [
        (Fault::Forbidden, is_refused),
        (Fault::Full, is_full),
        (Fault::Broken, is_failed),
    ] {
        if bench.fail(fault, &[]) {
            let error = destination.put(&url, file).await.unwrap_err();
            assert!(is_right(&error), "{fault:?}: {error:?}");
            is_silent(&error);
            assert!(bench.found().is_none() && bench.is_clean(), "{fault:?}");
        }
    }
    if let Some(destination) = bench.unreachable() {
        let error = destination.put(&url, file).await.unwrap_err();
        assert!(is_failed(&error), "{error:?}");
        is_silent(&error);
    }
    assert_eq!(
        destination.put(&url, file).await.unwrap(),
        Put::Written,
        "as if nothing had been"
    );
}

fn is_silent(error: &PutError) {
    for text in [error.to_string(), format!("{error:?}")] {
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[tokio::test]
async fn s3_conforms() {
    conforms(&Objects::start("s3").await).await;
}

#[tokio::test]
async fn google_conforms() {
    conforms(&Objects::start("gs").await).await;
}

#[tokio::test]
async fn azure_conforms() {
    conforms(&Objects::start("az").await).await;
}

struct Memory(MemoryDestination);

impl Bench for Memory {
    fn destination(&self) -> Arc<dyn Destination> {
        Arc::new(self.0.clone())
    }

    fn url(&self) -> Url {
        Url::new("memory:a.asdf")
    }

    fn found(&self) -> Option<Vec<u8>> {
        self.0.found("memory:a.asdf").map(|bytes| bytes.to_vec())
    }

    fn put(&self, content: Option<&[u8]>) {
        self.0.place("memory:a.asdf", content);
    }

    fn fail(&self, fault: Fault, _: &[u8]) -> bool {
        if fault == Fault::Race {
            return false;
        }
        self.0.fail(fault);
        true
    }

    fn unreachable(&self) -> Option<Arc<dyn Destination>> {
        None
    }

    fn is_clean(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn the_double_conforms() {
    conforms(&Memory(MemoryDestination::default())).await;
}

struct Directory(tempfile::TempDir);

impl Directory {
    fn path(&self) -> std::path::PathBuf {
        self.0.path().join(NAME)
    }
}

impl Bench for Directory {
    fn destination(&self) -> Arc<dyn Destination> {
        Arc::new(DirectoryDestination::new(self.0.path().to_owned()))
    }

    fn url(&self) -> Url {
        Url::new(url::Url::from_file_path(self.path()).unwrap().as_str())
    }

    fn found(&self) -> Option<Vec<u8>> {
        std::fs::read(self.path()).ok()
    }

    fn put(&self, content: Option<&[u8]>) {
        let _ = std::fs::remove_file(self.path());
        if let Some(content) = content {
            std::fs::create_dir_all(self.path().parent().unwrap()).unwrap();
            std::fs::write(self.path(), content).unwrap();
        }
    }

    /// Root may write everywhere; e2e tests have disks that are full and read-only.
    fn fail(&self, _: Fault, _: &[u8]) -> bool {
        false
    }

    fn unreachable(&self) -> Option<Arc<dyn Destination>> {
        let root = self.0.path().join("not there");
        Some(Arc::new(DirectoryDestination::new(root)))
    }

    fn is_clean(&self) -> bool {
        let entries = std::fs::read_dir(self.path().parent().unwrap());
        entries.map_or(true, |entries| {
            let mut names = entries.map(|entry| entry.unwrap().file_name());
            names.all(|name| name.to_str() == Some("a b.asdf"))
        })
    }
}

#[tokio::test]
async fn directories_conform() {
    conforms(&Directory(tempfile::tempdir().unwrap())).await;
}

#[tokio::test]
async fn what_killed_processes_have_left_goes_when_it_is_old() {
    let directory = Directory(tempfile::tempdir().unwrap());
    let parent = directory.path().parent().unwrap().to_owned();
    std::fs::create_dir_all(&parent).unwrap();
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(2 * 24 * 3600);
    for (name, is_old) in [
        (".crds-fs-0001.tmp", true),
        (".crds-fs-0002.tmp", false),
        ("own.tmp", true),
    ] {
        let file = std::fs::File::create(parent.join(name)).unwrap();
        if is_old {
            file.set_modified(long_ago).unwrap();
        }
    }
    let file = upload(b"abc");
    directory
        .destination()
        .put(&directory.url(), &file)
        .await
        .unwrap();
    let mut names: Vec<_> = std::fs::read_dir(parent)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, [".crds-fs-0002.tmp", "a b.asdf", "own.tmp"]);
}
