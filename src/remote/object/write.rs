//! Objects that are written, if there is none of the name.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use futures_util::future::BoxFuture;
use object_store::path::Path;
use object_store::{
    Error, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions,
    PutPayload,
};

use super::service::Connector;
use super::{CloudSettings, ObjectOrigin, Place};
use crate::crds::Url;
use crate::remote::destination::{Destination, Put, PutError, Sum, Upload, other};
use crate::remote::error::{RemoteError, RemoteErrorKind};
use crate::remote::http::HttpClient;
use crate::remote::origin::Origin as _;

/// The most bytes of a request. Larger files are written in parts of this size, of which a store allows 10,000.
const PART: usize = 16 << 20;

/// Objects in one bucket. Clones share everything.
#[derive(Clone)]
pub(crate) struct ObjectDestination {
    shared: Arc<Shared>,
}

struct Shared {
    client: HttpClient,
    settings: CloudSettings,
    /// Reads what is there.
    origin: ObjectOrigin,
    /// Made at its first use.
    bucket: OnceLock<Arc<dyn ObjectStore>>,
}

impl ObjectDestination {
    /// The bucket of the first object that is written, over this client.
    pub(crate) fn new(client: HttpClient, settings: CloudSettings) -> Self {
        Self {
            shared: Arc::new(Shared {
                origin: ObjectOrigin::new(client.clone(), settings.clone()),
                client,
                settings,
                bucket: OnceLock::new(),
            }),
        }
    }

    async fn write(&self, url: &Url, upload: &Upload) -> Result<Put, PutError> {
        let place = Place::of(url).map_err(PutError::Failed)?;
        let bucket = if let Some(bucket) = self.shared.bucket.get() {
            bucket
        } else {
            let connector = Connector::for_writing(self.shared.client.clone(), place.root());
            let opened = place.open(url, &self.shared.settings, connector);
            let opened = opened.map_err(PutError::Failed)?;
            self.shared.bucket.get_or_init(|| opened)
        };
        let object = Object {
            origin: &self.shared.origin,
            bucket: &**bucket,
            path: &place.path,
            url,
            upload,
        };
        let put = if upload.size <= PART as u64 {
            object.put_whole().await?
        } else {
            object.put_parts().await?
        };
        match put {
            Put::Exists => object.compare().await,
            // The store has compared what came with its checksum; this is whether it has it.
            Put::Written => match object.length().await? {
                Some(length) if length == upload.size => Ok(Put::Written),
                found => {
                    let told = found.map_or_else(|| "nothing".to_owned(), |length| format!("{length} bytes"));
                    let message = format!("what was written is not there: {told} in its place");
                    Err(object.failed(message))
                }
            },
        }
    }
}

impl Destination for ObjectDestination {
    fn put<'a>(&'a self, url: &'a Url, upload: &'a Upload) -> BoxFuture<'a, Result<Put, PutError>> {
        Box::pin(self.write(url, upload))
    }
}

/// One object.
struct Object<'a> {
    origin: &'a ObjectOrigin,
    bucket: &'a dyn ObjectStore,
    path: &'a Path,
    url: &'a Url,
    upload: &'a Upload,
}

impl Object<'_> {
    /// Writes it with one request.
    async fn put_whole(&self) -> Result<Put, PutError> {
        let bytes = self.read(0).await?;
        let mut sum = Sum::default();
        sum.add(&bytes);
        let (found, size) = sum.finish();
        self.upload.check(found, size)?;
        let put = |mode: PutMode| {
            let payload = PutPayload::from(bytes.clone());
            self.bucket.put_opts(self.path, payload, PutOptions::from(mode))
        };
        let done = match put(PutMode::Create).await {
            // The user has said that this store has no conditions (AWS_CONDITIONAL_PUT=disabled).
            Err(Error::NotImplemented { .. }) => {
                if self.length().await?.is_some() {
                    return Ok(Put::Exists);
                }
                put(PutMode::Overwrite).await
            }
            done => done,
        };
        self.ended(done.map(drop))
    }

    /// Writes it in parts, of which the store makes an object when all have come and their digest is right.
    async fn put_parts(&self) -> Result<Put, PutError> {
        if self.length().await?.is_some() {
            return Ok(Put::Exists);
        }
        let begun = self
            .bucket
            .put_multipart_opts(self.path, PutMultipartOptions::default());
        let mut parts = begun.await.map_err(|error| self.failure(&error))?;
        match self.send_parts(&mut *parts).await {
            Ok(()) => {}
            Err(error) => {
                self.abort(&mut *parts).await;
                return Err(error);
            }
        }
        // Not every store can be asked to see to that itself.
        if !matches!(self.length().await, Ok(None)) {
            self.abort(&mut *parts).await;
            return Ok(Put::Exists);
        }
        let done = self.ended(parts.complete().await.map(drop));
        if !matches!(done, Ok(Put::Written)) {
            self.abort(&mut *parts).await;
        }
        done
    }

    async fn send_parts(&self, parts: &mut dyn MultipartUpload) -> Result<(), PutError> {
        let mut sum = Sum::default();
        while sum.bytes < self.upload.size {
            let bytes = self.read(sum.bytes).await?;
            let payload = PutPayload::from(bytes.clone());
            let hashed = tokio::task::spawn_blocking(move || {
                sum.add(&bytes);
                sum
            });
            let (sent, hashed) = tokio::join!(parts.put_part(payload), hashed);
            sent.map_err(|error| self.failure(&error))?;
            sum =
                hashed.map_err(|error| self.failed(format!("hashing it ended without a result: {error}")))?;
        }
        let (found, size) = sum.finish();
        self.upload.check(found, size)
    }

    async fn abort(&self, parts: &mut dyn MultipartUpload) {
        if let Err(error) = parts.abort().await {
            log::debug!("the parts of {} stay: {}", self.url, self.failure(&error));
        }
    }

    /// The bytes of a part.
    async fn read(&self, at: u64) -> Result<Bytes, PutError> {
        let upload = self.upload.clone();
        let read = tokio::task::spawn_blocking(move || upload.read_at(at, PART)).await;
        read.map_err(|error| self.failed(format!("reading it ended without a result: {error}")))?
    }

    /// The length of the object that is there, if there is one.
    async fn length(&self) -> Result<Option<u64>, PutError> {
        match self.bucket.head(self.path).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failure(&error)),
        }
    }

    /// Compares the object that is there with what it should be.
    async fn compare(&self) -> Result<Put, PutError> {
        let mut object = self
            .origin
            .get(self.url, None, None)
            .await
            .map_err(PutError::Failed)?;
        let size = self.upload.size;
        if let Some(length) = object.length.filter(|length| *length != size) {
            let what = format!("it has {length} bytes where the catalog says {size}");
            return Err(other(self.url, &what));
        }
        let mut sum = Sum::default();
        while let Some(bytes) = object.body.try_next().await.map_err(PutError::Failed)? {
            sum.add(&bytes);
            if sum.bytes > size {
                let what = format!("it has more than the {size} bytes that the catalog says");
                return Err(other(self.url, &what));
            }
        }
        if sum.finish() == (self.upload.sha1, size) {
            Ok(Put::Exists)
        } else {
            Err(other(self.url, "its SHA-1 is not the catalog's"))
        }
    }

    fn ended(&self, done: Result<(), Error>) -> Result<Put, PutError> {
        match done {
            Ok(()) => Ok(Put::Written),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. }) => {
                Ok(Put::Exists)
            }
            Err(error) => Err(self.failure(&error)),
        }
    }

    fn failed(&self, message: String) -> PutError {
        PutError::Failed(RemoteError::new(RemoteErrorKind::Interrupted, self.url, message))
    }

    /// The failure that an error of the crate is.
    fn failure(&self, error: &Error) -> PutError {
        let mut innermost: &dyn std::error::Error = error;
        loop {
            if let Some(remote) = innermost.downcast_ref::<RemoteError>() {
                let url = self.url.clone();
                let remote = RemoteError {
                    url,
                    ..remote.clone()
                };
                return match remote.kind {
                    RemoteErrorKind::Denied => PutError::Refused(remote),
                    _ if is_full(&remote.message) => PutError::Full(remote),
                    _ => PutError::Failed(remote),
                };
            }
            let Some(source) = innermost.source() else { break };
            innermost = source;
        }
        self.failed(innermost.to_string())
    }
}

/// Whether a store tells that it has no room: by 507, or by one of its codes.
fn is_full(message: &str) -> bool {
    ["507 ", "(QuotaExceeded)", "(XMinioStorageFull)"]
        .iter()
        .any(|told| message.contains(told))
}
