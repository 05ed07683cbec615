//! Files by URL, whatever its scheme.

use futures_util::future::BoxFuture;

use super::error::{RemoteError, RemoteErrorKind};
use super::file::FileOrigin;
use super::http::HttpOrigin;
use super::object::{self, ObjectOrigin};
use super::origin::{ByteRange, Download, Origin};
use crate::crds::Url;

/// Files by URL: `https`, `http`, `file`, `s3`, `gs` and `az`.
#[derive(Clone)]
pub(crate) struct UrlOrigin {
    http: HttpOrigin,
    file: FileOrigin,
    object: ObjectOrigin,
}

impl UrlOrigin {
    /// Files over HTTP, in buckets, and from disk.
    pub(crate) fn new(http: HttpOrigin, object: ObjectOrigin) -> Self {
        Self {
            http,
            file: FileOrigin::new(),
            object,
        }
    }
}

impl Origin for UrlOrigin {
    fn get<'a>(
        &'a self,
        url: &'a Url,
        range: Option<ByteRange>,
        if_range: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Download, RemoteError>> {
        let is_own = url.teller().is_none();
        match url.scheme().as_deref() {
            Some(scheme) if is_own && object::SCHEMES.contains(&scheme) => {
                self.object.get(url, range, if_range)
            }
            Some("file") if is_own => self.file.get(url, range, if_range),
            Some("http" | "https") => self.http.get(url, range, if_range),
            // The client says why not.
            _ if !is_own => self.http.get(url, range, if_range),
            _ => {
                let message = "only https, http, file, s3, gs and az URLs can be read";
                let error = RemoteError::new(RemoteErrorKind::Protocol, url, message);
                Box::pin(std::future::ready(Err(error)))
            }
        }
    }
}
