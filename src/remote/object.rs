//! Files in object stores: `s3`, `gs` and `az` URLs.
//!
//! The crate `object_store` knows where an object is, and how a request for it is signed. The request itself is made by our
//! client, as any other over HTTP is: with the same ranges, validators, time limits and failures.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};
use parking_lot::Mutex;

use super::error::{Hint, RemoteError, RemoteErrorKind};
use super::http::HttpClient;
use super::origin::{ByteRange, Download, Origin};
use crate::crds::Url;

mod failure;
mod profile;
mod service;
mod settings;
mod write;

use service::{Connector, Exchange};
pub(crate) use settings::CloudSettings;
pub(crate) use write::ObjectDestination;

/// The schemes of object stores.
pub(super) const SCHEMES: [&str; 3] = ["s3", "gs", "az"];

/// Objects in buckets. Clones share everything.
#[derive(Clone)]
pub(crate) struct ObjectOrigin {
    shared: Arc<Shared>,
}

struct Shared {
    client: HttpClient,
    settings: CloudSettings,
    /// The bucket of each URL up to its path, made when it is first asked.
    buckets: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

impl ObjectOrigin {
    /// Objects over this client.
    pub(crate) fn new(client: HttpClient, settings: CloudSettings) -> Self {
        Self {
            shared: Arc::new(Shared {
                client,
                settings,
                buckets: Mutex::default(),
            }),
        }
    }

    async fn begin(
        &self,
        url: &Url,
        range: Option<ByteRange>,
        if_range: Option<&str>,
    ) -> Result<Download, RemoteError> {
        let (bucket, path) = self.shared.find(url)?;
        let exchange = Arc::new(Exchange::new(url, range, if_range));
        let mut options = GetOptions {
            range: range.map(|range| match range.end {
                Some(end) => GetRange::Bounded(range.start..end),
                None => GetRange::Offset(range.start),
            }),
            ..GetOptions::default()
        };
        options.extensions.insert(Arc::clone(&exchange));
        let result = bucket.get_opts(&path, options).await;
        // The reply that was received counts, whatever the crate makes of it.
        match (exchange.reply(), result) {
            (Some(reply), _) => reply,
            (None, Err(error)) => Err(not_asked(url, &error)),
            (None, Ok(_)) => Err(RemoteError::new(
                RemoteErrorKind::Protocol,
                url,
                "the object was not asked for, which is a mistake in crds-fs",
            )),
        }
    }
}

impl Origin for ObjectOrigin {
    fn get<'a>(
        &'a self,
        url: &'a Url,
        range: Option<ByteRange>,
        if_range: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Download, RemoteError>> {
        Box::pin(self.begin(url, range, if_range))
    }
}

impl Shared {
    /// The bucket and the path of an object.
    fn find(&self, url: &Url) -> Result<(Arc<dyn ObjectStore>, Path), RemoteError> {
        let place = Place::of(url)?;
        let key = format!("{}://{}", place.scheme, place.bucket);
        if let Some(bucket) = self.buckets.lock().get(&key) {
            return Ok((Arc::clone(bucket), place.path));
        }
        let bucket = place.open(url, &self.settings, Connector::new(self.client.clone()))?;
        let bucket = Arc::clone(self.buckets.lock().entry(key).or_insert(bucket));
        Ok((bucket, place.path))
    }
}

/// The place of an object.
struct Place {
    scheme: String,
    bucket: String,
    path: Path,
}

impl Place {
    /// The place that a URL names.
    fn of(url: &Url) -> Result<Self, RemoteError> {
        let wrong = |message: String| RemoteError::new(RemoteErrorKind::Protocol, url, message);
        let parsed = url.parsed().ok_or_else(|| wrong("it is not a URL".to_owned()))?;
        let path = Path::from_url_path(parsed.path())
            .map_err(|error| wrong(format!("it cannot be the URL of an object: {error}")))?;
        Ok(Self {
            scheme: parsed.scheme().to_owned(),
            bucket: parsed.host_str().unwrap_or_default().to_owned(),
            path,
        })
    }

    /// The URL of the bucket.
    fn root(&self) -> Url {
        Url::new(&format!("{}://{}", self.scheme, self.bucket))
    }

    /// The bucket of the object at `url`.
    fn open(
        &self,
        url: &Url,
        settings: &CloudSettings,
        connector: Connector,
    ) -> Result<Arc<dyn ObjectStore>, RemoteError> {
        let bucket = settings.bucket(&self.scheme, &self.bucket, connector);
        bucket.map_err(|error| {
            RemoteError::new(RemoteErrorKind::Protocol, url, error).with_hint(Hint::Credentials)
        })
    }
}

/// The failure of a request that was not made, for want of credentials.
fn not_asked(url: &Url, error: &object_store::Error) -> RemoteError {
    let mut innermost: &dyn std::error::Error = error;
    loop {
        if let Some(remote) = innermost.downcast_ref::<RemoteError>() {
            let message = format!("credentials cannot be had: {}", remote.message);
            return RemoteError::new(remote.kind, url, message).with_hint(Hint::Credentials);
        }
        let Some(source) = innermost.source() else { break };
        innermost = source;
    }
    let message = format!("credentials cannot be had: {innermost}");
    RemoteError::new(RemoteErrorKind::Denied, url, message).with_hint(Hint::Credentials)
}
