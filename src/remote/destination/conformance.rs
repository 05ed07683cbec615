//! Requirements on every kind of destination, whatever it writes to, as one suite of tests.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use sha1::{Digest as _, Sha1};

use super::{Destination, DirectoryDestination, Put, PutError, Upload};
use crate::crds::{Sha1Sum, Url};
use crate::remote::conformance::{SECRET, nobody, variables};
use crate::remote::http::{HttpClient, HttpSettings};
use crate::remote::loopback::{Loopback, Reply, Seen, reply};
use crate::remote::memory::{Fault, MemoryDestination};
use crate::remote::object::ObjectDestination;

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

fn upload(content: &[u8]) -> Upload {
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

/// The objects of a store, and the parts of those to come.
#[derive(Default)]
struct Stored {
    object: Option<Vec<u8>>,
    parts: BTreeMap<String, Vec<u8>>,
    uploads: usize,
    fault: Option<Fault>,
    /// The object that another client writes at the moment of the next write.
    race: Option<Vec<u8>>,
}

impl Stored {
    fn answer(&mut self, scheme: &str, seen: &Seen) -> Reply {
        let error = |status: &str, code: &str| {
            let text = format!("<Error><Code>{code}</Code><Message>as told</Message></Error>");
            Reply::Keep(reply(status, &["Content-Type: application/xml"], text))
        };
        let method = seen.head.split(' ').next().unwrap_or_default();
        let query = seen.path().split_once('?').map_or("", |(_, query)| query);
        let field = |name: &str| {
            let fields = query.split('&').filter_map(|field| field.split_once('='));
            fields
                .into_iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_owned())
        };
        let is_part = field("partNumber").is_some() || field("comp").as_deref() == Some("block");
        let ends =
            method == "POST" && field("uploadId").is_some() || field("comp").as_deref() == Some("blocklist");
        let is_write = matches!(method, "PUT" | "POST");
        if is_write {
            match self.fault.take() {
                Some(Fault::Forbidden) => return error("403 Forbidden", "AccessDenied"),
                Some(Fault::Full) => return error("507 Insufficient Storage", "QuotaExceeded"),
                Some(Fault::Broken) => return error("500 Internal Server Error", "InternalError"),
                fault => self.fault = fault,
            }
        }
        let creates = is_write && !is_part && (ends || !query.contains("uploads"));
        if creates && let Some(other) = self.race.take() {
            self.object = Some(other);
        }
        let condition = match scheme {
            "gs" => seen.header("x-goog-if-generation-match").as_deref() == Some("0"),
            _ => seen.header("if-none-match").as_deref() == Some("*"),
        };
        let head = "ETag: \"tag\"\r\nLast-Modified: Mon, 02 Mar 2026 10:00:00 GMT";
        match method {
            "HEAD" => match &self.object {
                None => Reply::Keep(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()),
                Some(object) => {
                    let text = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{head}\r\n\r\n",
                        object.len()
                    );
                    Reply::Keep(text.into_bytes())
                }
            },
            "GET" => match &self.object {
                None => error("404 Not Found", "NoSuchKey"),
                Some(object) => Reply::Keep(reply("200 OK", &[head], object)),
            },
            "DELETE" => {
                self.parts.clear();
                self.uploads = 0;
                Reply::Keep(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())
            }
            "POST" if query.contains("uploads") => {
                self.uploads += 1;
                let text =
                    "<InitiateMultipartUploadResult><UploadId>one</UploadId></InitiateMultipartUploadResult>";
                Reply::Keep(reply("200 OK", &[], text))
            }
            _ if is_part => {
                let number = field("partNumber").or(field("blockid")).unwrap();
                let number = percent_decode_str(&number).decode_utf8_lossy();
                self.parts.insert(
                    format!("{:04}{number}", self.parts.len()),
                    seen.body.clone().into_bytes(),
                );
                let sum = seen.header("x-amz-checksum-sha256");
                assert_eq!(sum.is_some(), scheme == "s3", "{}", seen.head);
                let sum = sum
                    .map(|sum| format!("x-amz-checksum-sha256: {sum}"))
                    .unwrap_or_default();
                let headers: Vec<&str> = [head, sum.as_str()]
                    .into_iter()
                    .filter(|one| !one.is_empty())
                    .collect();
                Reply::Keep(reply("201 Created", &headers, ""))
            }
            _ if condition && self.object.is_some() => error("412 Precondition Failed", "PreconditionFailed"),
            _ if ends => {
                assert!(
                    scheme != "s3" || condition,
                    "the end of an upload has a condition"
                );
                let mut parts = std::mem::take(&mut self.parts);
                // Blocks of earlier tries that are not named stay aside.
                parts.retain(|id, _| scheme != "az" || seen.body.contains(id.get(4..).unwrap_or_default()));
                let parts: Vec<_> = parts.into_values().collect();
                self.object = Some(parts.concat());
                self.uploads = 0;
                let text =
                    "<CompleteMultipartUploadResult><ETag>\"tag\"</ETag></CompleteMultipartUploadResult>";
                Reply::Keep(reply("201 Created", &[head], text))
            }
            _ => {
                assert!(condition, "every write has a condition: {}", seen.head);
                self.object = Some(seen.body.clone().into_bytes());
                Reply::Keep(reply("201 Created", &[head], ""))
            }
        }
    }
}

/// An object store on this machine.
struct Objects {
    stored: Arc<Mutex<Stored>>,
    scheme: &'static str,
    destination: Arc<dyn Destination>,
    unreachable: Arc<dyn Destination>,
    _loopback: Loopback,
}

impl Objects {
    async fn start(scheme: &'static str) -> Self {
        let stored = Arc::new(Mutex::new(Stored::default()));
        let shared = Arc::clone(&stored);
        let loopback = Loopback::start(move |seen| {
            let path = seen.path().split('?').next().unwrap_or_default();
            let path = percent_decode_str(path).decode_utf8_lossy().into_owned();
            let path = path.trim_start_matches("/account");
            assert_eq!(path, format!("/bucket/crds/{NAME}"));
            shared.lock().answer(scheme, seen)
        })
        .await;
        let at = |address: &str| -> Arc<dyn Destination> {
            let client = HttpClient::new(HttpSettings::default());
            Arc::new(ObjectDestination::new(client, variables(scheme, address)))
        };
        Self {
            stored,
            scheme,
            destination: at(&loopback.url),
            unreachable: at(&format!("http://{}", nobody().await)),
            _loopback: loopback,
        }
    }
}

impl Bench for Objects {
    fn destination(&self) -> Arc<dyn Destination> {
        Arc::clone(&self.destination)
    }

    fn url(&self) -> Url {
        let root = Url::new(&format!("{}://bucket/crds", self.scheme));
        NAME.split('/').fold(root, |url, part| url.below(part))
    }

    fn found(&self) -> Option<Vec<u8>> {
        self.stored.lock().object.clone()
    }

    fn put(&self, content: Option<&[u8]>) {
        self.stored.lock().object = content.map(<[u8]>::to_vec);
    }

    fn fail(&self, fault: Fault, content: &[u8]) -> bool {
        let mut stored = self.stored.lock();
        if fault == Fault::Race {
            // Parts become an object whether or not there is one, where the store cannot be asked not to.
            if self.scheme != "s3" && content.len() > 16 << 20 {
                return false;
            }
            stored.race = Some(content.to_vec());
        } else {
            stored.fault = Some(fault);
        }
        true
    }

    fn unreachable(&self) -> Option<Arc<dyn Destination>> {
        Some(Arc::clone(&self.unreachable))
    }

    fn is_clean(&self) -> bool {
        // Azure forgets parts by itself.
        self.scheme == "az" || self.stored.lock().uploads == 0
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

/// A store may tell no length, and send without an end.
#[tokio::test]
async fn an_object_without_an_end_is_another_one() {
    let content = content(1000);
    let chunk = format!("{:x}\r\n{}\r\n", 2000, "x".repeat(2000));
    let loopback = Loopback::start(move |seen| {
        if seen.head.starts_with("PUT") {
            return Reply::Keep(reply("412 Precondition Failed", &[], ""));
        }
        let head = "HTTP/1.1 200 OK\r\nETag: \"tag\"\r\nTransfer-Encoding: chunked\r\n\r\n";
        Reply::Stall(format!("{head}{chunk}").into_bytes())
    })
    .await;
    let client = HttpClient::new(HttpSettings::default());
    let destination = ObjectDestination::new(client, variables("s3", &loopback.url));
    let (url, upload) = (Url::new("s3://bucket/crds/a.asdf"), upload(&content));
    let error = destination.put(&url, &upload).await.unwrap_err();
    assert!(
        matches!(&error, PutError::Other(other) if other.message.contains("more than")),
        "{error:?}"
    );
}
