//! The double of an object store, of which a destination is tested: a server on this machine that answers as S3, Google or
//! Azure do.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use percent_encoding::percent_decode_str;

use super::{Bench, NAME, content, upload};
use crate::crds::Url;
use crate::remote::conformance::{nobody, variables};
use crate::remote::destination::{Destination, PutError};
use crate::remote::http::{HttpClient, HttpSettings};
use crate::remote::loopback::{Loopback, Reply, Seen, reply};
use crate::remote::memory::Fault;
use crate::remote::object::ObjectDestination;

/// The headers of an object.
const HEAD: &str = "ETag: \"tag\"\r\nLast-Modified: Mon, 02 Mar 2026 10:00:00 GMT";

/// A request to an object store.
enum Call {
    /// The length of the object.
    Head,
    Get,
    /// Drops the parts of an upload.
    Abort,
    /// Begins an upload in parts.
    Begin,
    /// A part of an upload, by its number, or a block, by its name.
    Part(String),
    /// Puts parts or blocks together.
    Complete,
    /// The object as a whole.
    Put,
}

impl Call {
    fn of(seen: &Seen) -> Self {
        let query = seen.path().split_once('?').map_or("", |(_, query)| query);
        let field = |name: &str| {
            let mut fields = query.split('&').filter_map(|field| field.split_once('='));
            let (_, value) = fields.find(|(key, _)| *key == name)?;
            Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
        };
        match (seen.head.split(' ').next(), field("comp").as_deref()) {
            (Some("HEAD"), _) => Self::Head,
            (Some("GET"), _) => Self::Get,
            (Some("DELETE"), _) => Self::Abort,
            (Some("POST"), _) if query.contains("uploads") => Self::Begin,
            (_, Some("blocklist")) => Self::Complete,
            (_, Some("block")) => Self::Part(field("blockid").unwrap()),
            (method, _) => match field("partNumber") {
                Some(number) => Self::Part(number),
                None if method == Some("POST") && field("uploadId").is_some() => Self::Complete,
                None => Self::Put,
            },
        }
    }
}

/// The object of a store, and the parts that may become it.
#[derive(Default)]
struct Stored {
    object: Option<Vec<u8>>,
    parts: BTreeMap<String, Vec<u8>>,
    uploads: usize,
    /// The failure of the next write.
    fault: Option<Fault>,
    /// The object that another client writes at the moment of the next write.
    race: Option<Vec<u8>>,
}

impl Stored {
    fn answer(&mut self, scheme: &str, seen: &Seen) -> Reply {
        let call = Call::of(seen);
        let conditions = ["if-match", "if-none-match", "x-goog-if-generation-match"];
        let is_plain = conditions.into_iter().all(|name| seen.header(name).is_none());
        assert!(
            is_plain || matches!(call, Call::Complete | Call::Put),
            "only what makes an object has a condition: {}",
            seen.head
        );
        match call {
            Call::Head => Reply::Keep(match &self.object {
                None => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
                Some(object) => {
                    let length = object.len();
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{HEAD}\r\n\r\n").into_bytes()
                }
            }),
            Call::Get => match &self.object {
                None => error("404 Not Found", "NoSuchKey"),
                Some(object) => Reply::Keep(reply("200 OK", &[HEAD], object)),
            },
            Call::Abort => {
                self.parts.clear();
                self.uploads = 0;
                Reply::Keep(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())
            }
            write => self.write(scheme, &write, seen),
        }
    }

    fn write(&mut self, scheme: &str, write: &Call, seen: &Seen) -> Reply {
        match self.fault.take() {
            Some(Fault::Forbidden) => return error("403 Forbidden", "AccessDenied"),
            Some(Fault::Full) => return error("507 Insufficient Storage", "QuotaExceeded"),
            Some(Fault::Broken) => return error("500 Internal Server Error", "InternalError"),
            fault => self.fault = fault,
        }
        match write {
            Call::Begin => {
                self.uploads += 1;
                let text =
                    "<InitiateMultipartUploadResult><UploadId>one</UploadId></InitiateMultipartUploadResult>";
                Reply::Keep(reply("200 OK", &[], text))
            }
            Call::Part(id) => self.put_part(scheme, id, seen),
            _ => self.create(scheme, write, seen),
        }
    }

    fn put_part(&mut self, scheme: &str, id: &str, seen: &Seen) -> Reply {
        // Where the end of an upload cannot have a condition, its writer looks for an object before.
        if scheme != "s3"
            && let Some(other) = self.race.take()
        {
            self.object = Some(other);
        }
        let id = format!("{:04}{id}", self.parts.len());
        self.parts.insert(id, seen.body.clone().into_bytes());
        let sum = seen.header("x-amz-checksum-sha256");
        assert_eq!(sum.is_some(), scheme == "s3", "{}", seen.head);
        let sum = sum.map(|sum| format!("x-amz-checksum-sha256: {sum}"));
        let headers: Vec<&str> = std::iter::once(HEAD).chain(sum.as_deref()).collect();
        Reply::Keep(reply("201 Created", &headers, ""))
    }

    /// Makes the object, from parts or as a whole, if the request's condition allows it.
    fn create(&mut self, scheme: &str, write: &Call, seen: &Seen) -> Reply {
        if let Some(other) = self.race.take() {
            self.object = Some(other);
        }
        let condition = match scheme {
            "gs" => seen.header("x-goog-if-generation-match").as_deref() == Some("0"),
            _ => seen.header("if-none-match").as_deref() == Some("*"),
        };
        if condition && self.object.is_some() {
            return error("412 Precondition Failed", "PreconditionFailed");
        }
        if !matches!(write, Call::Complete) {
            assert!(condition, "every write has a condition: {}", seen.head);
            self.object = Some(seen.body.clone().into_bytes());
            return Reply::Keep(reply("201 Created", &[HEAD], ""));
        }
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
        let text = "<CompleteMultipartUploadResult><ETag>\"tag\"</ETag></CompleteMultipartUploadResult>";
        Reply::Keep(reply("201 Created", &[HEAD], text))
    }
}

fn error(status: &str, code: &str) -> Reply {
    let text = format!("<Error><Code>{code}</Code><Message>as told</Message></Error>");
    Reply::Keep(reply(status, &["Content-Type: application/xml"], text))
}

/// A server with one object store, and a destination in it.
pub(super) struct Objects {
    stored: Arc<Mutex<Stored>>,
    scheme: &'static str,
    destination: Arc<dyn Destination>,
    unreachable: Arc<dyn Destination>,
    _loopback: Loopback,
}

impl Objects {
    pub(super) async fn start(scheme: &'static str) -> Self {
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
