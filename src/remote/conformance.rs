//! Requirements on every kind of origin, whatever it reads from, as one suite of tests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;

use super::error::{RemoteError, RemoteErrorKind, Retry};
use super::file::FileOrigin;
use super::http::{HttpClient, HttpOrigin, HttpSettings};
use super::loopback::{Loopback, Reply, Seen, reply};
use super::memory::{Failure, MemoryOrigin};
use super::object::{CloudSettings, ObjectOrigin};
use super::origin::{ByteRange, Download, Origin};
use crate::crds::Url;

/// A secret that no text may repeat.
pub(super) const SECRET: &str = "s3cret-k3y";

const NAME: &str = "a b.fits";

/// The way in which the next request for the file goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It is not handed out.
    Forbidden,
    /// The place asks for patience: two seconds.
    Busy,
    /// The place has trouble.
    Broken,
    /// The data ends after so many bytes.
    Cut(usize),
    /// Nothing more comes after so many bytes.
    Stall(usize),
}

/// An origin with one file, which goes wrong on command.
trait Bench {
    fn origin(&self) -> Arc<dyn Origin>;
    fn url(&self) -> Url;
    /// Gives the file this content.
    fn put(&self, content: &[u8]);
    /// Lets the next request go wrong; false where this cannot happen.
    fn fail(&self, fault: Fault) -> bool;
    /// The same file where nothing can be reached, if that can happen.
    fn unreachable(&self) -> Option<(Arc<dyn Origin>, Url)>;
}

fn missing(bench: &dyn Bench) -> Url {
    Url::new(&bench.url().with_credentials().replace(".fits", ".asdf"))
}

fn content() -> Vec<u8> {
    (0..50_000_u32).flat_map(u32::to_le_bytes).collect()
}

async fn read(download: Download) -> Result<Vec<u8>, RemoteError> {
    let parts: Vec<Bytes> = download.body.try_collect().await?;
    Ok(parts.concat())
}

fn is_silent(error: &RemoteError) {
    for text in [error.to_string(), format!("{error:?}")] {
        assert!(!text.contains(SECRET), "{text}");
    }
}

async fn conforms(bench: &dyn Bench) {
    let (origin, url, content) = (bench.origin(), bench.url(), content());
    let total = content.len() as u64;
    bench.put(&content);
    let whole = origin.get(&url, None, None).await.unwrap();
    assert!(!format!("{whole:?}").contains(SECRET), "{whole:?}");
    assert_eq!((whole.offset, whole.total), (0, Some(total)));
    assert!(whole.length.is_none_or(|length| length == total));
    let validator = whole.validator.clone().expect("what can be gone on with");
    assert!(read(whole).await.unwrap() == content);

    // Parts: in the middle, to the end, beyond it.
    for (start, end) in [(0, Some(1)), (70_000, Some(150_000)), (199_000, None), (1, None)] {
        let range = ByteRange { start, end };
        let part = origin.get(&url, Some(range), Some(&validator)).await.unwrap();
        let expected = usize::try_from(start).unwrap()..usize::try_from(end.unwrap_or(total)).unwrap();
        assert_eq!((part.offset, part.total), (start, Some(total)), "{range:?}");
        assert_eq!(part.length, Some(expected.len() as u64));
        assert_eq!(part.validator.as_ref(), Some(&validator));
        assert!(read(part).await.unwrap() == content[expected], "{range:?}");
    }
    let beyond = origin
        .get(&url, Some(ByteRange::from(total)), None)
        .await
        .unwrap_err();
    assert_eq!(beyond.kind, RemoteErrorKind::NoSuchRange);

    // It changes between two parts: the whole new file comes, or the part of another version.
    let changed: Vec<u8> = content.iter().map(|byte| !byte).collect();
    bench.put(&changed);
    let part = origin
        .get(&url, Some(ByteRange::from(1000)), Some(&validator))
        .await
        .unwrap();
    assert_ne!(part.validator.as_ref(), Some(&validator));
    let offset = usize::try_from(part.offset).unwrap();
    assert!(read(part).await.unwrap() == changed[offset..]);

    let gone = origin.get(&missing(bench), None, None).await.unwrap_err();
    assert_eq!((gone.kind, gone.retry), (RemoteErrorKind::NotFound, Retry::No));
    is_silent(&gone);
    goes_wrong(bench).await;
}

async fn goes_wrong(bench: &dyn Bench) {
    let (origin, url) = (bench.origin(), bench.url());
    for (fault, kind, retry) in [
        (Fault::Forbidden, RemoteErrorKind::Denied, Retry::No),
        (
            Fault::Busy,
            RemoteErrorKind::Busy,
            Retry::After(Duration::from_secs(2)),
        ),
        (Fault::Broken, RemoteErrorKind::Server, Retry::Soon),
    ] {
        if bench.fail(fault) {
            let error = origin.get(&url, None, None).await.unwrap_err();
            assert_eq!((error.kind, error.retry), (kind, retry), "{error}");
            assert!(error.url.as_str().contains("fits"), "{error}");
            is_silent(&error);
        }
    }
    for (fault, kind) in [
        (Fault::Cut(100_000), RemoteErrorKind::Interrupted),
        (Fault::Stall(1000), RemoteErrorKind::TimedOut),
    ] {
        if bench.fail(fault) {
            let mut body = origin.get(&url, None, None).await.unwrap().body;
            let mut received = 0;
            let error = loop {
                match body.try_next().await {
                    Ok(Some(part)) => received += part.len(),
                    Ok(None) => panic!("{fault:?}: the end, after {received} bytes"),
                    Err(error) => break error,
                }
            };
            assert_eq!((error.kind, error.retry), (kind, Retry::Soon), "{error}");
            assert!(received >= 1000, "what came before is given: {received}");
            is_silent(&error);
        }
    }
    if let Some((origin, url)) = bench.unreachable() {
        let error = origin.get(&url, None, None).await.unwrap_err();
        assert_eq!(
            (error.kind, error.retry),
            (RemoteErrorKind::Unreachable, Retry::Soon)
        );
        is_silent(&error);
    }
    // And then it is as if nothing had been.
    assert!(origin.get(&url, None, None).await.is_ok());
}

/// The file of a server.
#[derive(Default)]
struct Served {
    content: Vec<u8>,
    version: u32,
    fault: Option<Fault>,
}

impl Served {
    fn answer(&mut self, seen: &Seen, error: impl Fn(&str, &str) -> Reply) -> Reply {
        match self.fault.take() {
            Some(Fault::Forbidden) => return error("403 Forbidden", "AccessDenied"),
            Some(Fault::Busy) => return error("503 Service Unavailable\r\nRetry-After: 2", "SlowDown"),
            Some(Fault::Broken) => return error("500 Internal Server Error", "InternalError"),
            fault => self.fault = fault,
        }
        let tag = format!("\"{}\"", self.version);
        let total = self.content.len();
        let is_same = seen.header("if-range").is_none_or(|condition| condition == tag);
        let range = seen.header("range").filter(|_| is_same);
        let (status, from, end, told) = match range.as_deref().and_then(|range| range.strip_prefix("bytes="))
        {
            Some(range) => {
                let (from, end) = range.split_once('-').unwrap();
                let from: usize = from.parse().unwrap();
                let end = end.parse().map_or(total, |last: usize| (last + 1).min(total));
                if from >= total {
                    return error("416 Range Not Satisfiable", "InvalidRange");
                }
                let told = format!("Content-Range: bytes {from}-{}/{total}", end - 1);
                ("206 Partial Content", from, end, told)
            }
            None => ("200 OK", 0, total, "Accept-Ranges: bytes".to_owned()),
        };
        let headers = [
            told,
            format!("ETag: {tag}"),
            "Last-Modified: Mon, 02 Mar 2026 10:00:00 GMT".to_owned(),
        ];
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let body = &self.content[from..end];
        let whole = reply(status, &headers, body);
        let head = whole.len() - body.len();
        match self.fault.take() {
            Some(Fault::Cut(count)) => Reply::Close(whole[..head + count].to_vec()),
            Some(Fault::Stall(count)) => Reply::Stall(whole[..head + count].to_vec()),
            _ => Reply::Keep(whole),
        }
    }
}

/// A bench over a server on this machine.
struct Server {
    served: Arc<Mutex<Served>>,
    origin: Arc<dyn Origin>,
    url: Url,
    unreachable: (Arc<dyn Origin>, Url),
    loopback: Loopback,
}

impl Bench for Server {
    fn origin(&self) -> Arc<dyn Origin> {
        Arc::clone(&self.origin)
    }

    fn url(&self) -> Url {
        self.url.clone()
    }

    fn put(&self, content: &[u8]) {
        let mut served = self.served.lock();
        served.content = content.to_vec();
        served.version += 1;
    }

    fn fail(&self, fault: Fault) -> bool {
        self.served.lock().fault = Some(fault);
        true
    }

    fn unreachable(&self) -> Option<(Arc<dyn Origin>, Url)> {
        Some(self.unreachable.clone())
    }
}

fn client() -> HttpClient {
    HttpClient::new(HttpSettings {
        // Once it is waited for; on a loaded machine other replies take a while, too.
        stall_timeout: Duration::from_secs(5),
        ..HttpSettings::default()
    })
}

/// An address where nobody listens.
pub(super) async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

async fn http() -> Server {
    let served = Arc::new(Mutex::new(Served::default()));
    let (shared, path) = (Arc::clone(&served), "/crds/a%20b.fits?token=s3cret-k3y");
    let loopback = Loopback::start(move |seen| {
        let error = |status: &str, _: &str| Reply::Keep(reply(status, &[], "no"));
        if seen.path() == path {
            shared.lock().answer(seen, error)
        } else {
            error("404 Not Found", "")
        }
    })
    .await;
    let origin: Arc<dyn Origin> = Arc::new(HttpOrigin::new(client()));
    Server {
        served,
        url: Url::new(&format!("{}{path}", loopback.url)),
        unreachable: (
            Arc::clone(&origin),
            Url::new(&format!("http://{}{path}", nobody().await)),
        ),
        origin,
        loopback,
    }
}

/// The variables for a store of this kind at an address.
pub(super) fn variables(scheme: &str, address: &str) -> CloudSettings {
    let variables = match scheme {
        "s3" => vec![
            ("AWS_ENDPOINT_URL", address.to_owned()),
            ("AWS_ACCESS_KEY_ID", "KEY".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_REGION", "us-west-2".to_owned()),
        ],
        "gs" => vec![
            ("GOOGLE_BASE_URL", address.to_owned()),
            ("GOOGLE_BEARER_TOKEN", SECRET.to_owned()),
        ],
        _ => vec![
            ("AZURE_STORAGE_ENDPOINT", address.to_owned()),
            ("AZURE_STORAGE_ACCOUNT_NAME", "account".to_owned()),
            ("AZURE_STORAGE_TOKEN", SECRET.to_owned()),
        ],
    };
    variables
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

async fn object(scheme: &'static str) -> Server {
    let served = Arc::new(Mutex::new(Served::default()));
    let shared = Arc::clone(&served);
    let loopback = Loopback::start(move |seen| {
        let error = |status: &str, code: &str| {
            let text = format!("<Error><Code>{code}</Code><Message>as told</Message></Error>");
            Reply::Keep(reply(status, &["Content-Type: application/xml"], text))
        };
        let signature = seen.header("authorization").unwrap_or_default();
        let is_signed = match scheme {
            "s3" => signature.contains("Credential=KEY/") && signature.contains("/us-west-2/s3/"),
            _ => signature == format!("Bearer {SECRET}"),
        };
        // Each escapes other characters.
        let path = percent_decode_str(seen.path()).decode_utf8_lossy();
        let path = path.trim_start_matches("/account");
        if !is_signed {
            error("403 Forbidden", "InvalidAccessKeyId")
        } else if !path.starts_with("/bucket/") {
            error("404 Not Found", "NoSuchBucket")
        } else if path == "/bucket/crds/a b.fits" {
            shared.lock().answer(seen, error)
        } else {
            error("404 Not Found", "NoSuchKey")
        }
    })
    .await;
    let origin = |address: &str| -> Arc<dyn Origin> {
        Arc::new(ObjectOrigin::new(client(), variables(scheme, address)))
    };
    let url = Url::new(&format!("{scheme}://bucket/crds")).below(NAME);
    Server {
        served,
        origin: origin(&loopback.url),
        unreachable: (origin(&format!("http://{}", nobody().await)), url.clone()),
        url,
        loopback,
    }
}

#[tokio::test]
async fn http_conforms() {
    conforms(&http().await).await;
}

#[tokio::test]
async fn s3_conforms() {
    conforms(&object("s3").await).await;
}

#[tokio::test]
async fn google_conforms() {
    conforms(&object("gs").await).await;
}

#[tokio::test]
async fn azure_conforms() {
    conforms(&object("az").await).await;
}

#[tokio::test]
async fn object_stores_say_what_is_wrong() {
    let server = object("s3").await;
    server.put(b"x");
    let elsewhere = Url::new("s3://other/crds/a.fits");
    let error = server.origin.get(&elsewhere, None, None).await.unwrap_err();
    assert_eq!(error.kind, RemoteErrorKind::NotFound);
    assert!(error.message.contains("there is no bucket 'other'"), "{error}");
    let address = server.loopback.url.clone();
    let anonymous = [("AWS_ENDPOINT_URL".to_owned(), address.clone())]
        .into_iter()
        .collect();
    let error = ObjectOrigin::new(client(), anonymous)
        .get(&server.url, None, None)
        .await
        .unwrap_err();
    assert_eq!(error.kind, RemoteErrorKind::Denied);
    // Half a key is found out before anybody is asked.
    let half = [
        ("AWS_ENDPOINT_URL".to_owned(), address),
        ("AWS_ACCESS_KEY_ID".to_owned(), "KEY".to_owned()),
    ];
    let half = ObjectOrigin::new(client(), half.into_iter().collect());
    let error = half.get(&server.url, None, None).await.unwrap_err();
    assert!(error.message.contains("Missing SecretAccessKey"), "{error}");
    let settings = variables("s3", "http://x/");
    assert!(!format!("{settings:?}").contains(SECRET), "{settings:?}");
}

#[tokio::test]
async fn a_signature_goes_to_no_other_server() {
    let other = Loopback::start(|_| Reply::Keep(reply("200 OK", &["ETag: \"x\""], "abc"))).await;
    let location = format!("Location: {}/elsewhere", other.url);
    let named =
        Loopback::start(move |_| Reply::Keep(reply("307 Temporary Redirect", &[&location], ""))).await;
    let url = Url::new("s3://bucket/crds/a.fits");
    let origin = ObjectOrigin::new(client(), variables("s3", &named.url));
    let object = origin.get(&url, None, None).await.unwrap();
    assert_eq!(object.length, Some(3));
    let asked = |server: &Loopback, header: &str| server.seen()[0].header(header);
    for header in ["authorization", "x-amz-date", "x-amz-content-sha256"] {
        assert!(asked(&named, header).is_some(), "{header}");
        assert_eq!(asked(&other, header), None, "{header}");
    }
}

struct Memory(MemoryOrigin);

impl Bench for Memory {
    fn origin(&self) -> Arc<dyn Origin> {
        Arc::new(self.0.clone())
    }

    fn url(&self) -> Url {
        Url::new("memory:a.fits")
    }

    fn put(&self, content: &[u8]) {
        self.0.put("memory:a.fits", content.to_vec());
    }

    fn fail(&self, fault: Fault) -> bool {
        let refuse = |kind| Failure::Refuse(RemoteError::new(kind, "memory:a.fits", "told to fail"));
        self.0.fail(
            "memory:a.fits",
            match fault {
                Fault::Forbidden => refuse(RemoteErrorKind::Denied),
                Fault::Broken => refuse(RemoteErrorKind::Server),
                Fault::Cut(count) => Failure::CutAfter(count),
                // It says no time, and stalls for good.
                Fault::Busy | Fault::Stall(_) => return false,
            },
        );
        true
    }

    fn unreachable(&self) -> Option<(Arc<dyn Origin>, Url)> {
        None
    }
}

#[tokio::test]
async fn the_double_conforms() {
    conforms(&Memory(MemoryOrigin::new())).await;
}

struct Files(tempfile::TempDir, Mutex<u64>);

impl Bench for Files {
    fn origin(&self) -> Arc<dyn Origin> {
        Arc::new(FileOrigin::new())
    }

    fn url(&self) -> Url {
        Url::new(
            url::Url::from_file_path(self.0.path().join(NAME))
                .unwrap()
                .as_str(),
        )
    }

    fn put(&self, content: &[u8]) {
        let path = self.0.path().join(NAME);
        std::fs::write(&path, content).unwrap();
        // The clock of a file system may stand still between two writes.
        let mut count = self.1.lock();
        *count += 1;
        let time = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + *count);
        std::fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(time)
            .unwrap();
    }

    /// Root may read everything, and a disk asks for no patience.
    fn fail(&self, _: Fault) -> bool {
        false
    }

    fn unreachable(&self) -> Option<(Arc<dyn Origin>, Url)> {
        None
    }
}

#[tokio::test]
async fn files_conform() {
    conforms(&Files(tempfile::tempdir().unwrap(), Mutex::new(0))).await;
}
