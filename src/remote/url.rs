//! Files by URL, whatever its scheme.

use futures_util::future::BoxFuture;

use super::error::{RemoteError, RemoteErrorKind};
use super::file::FileOrigin;
use super::http::HttpOrigin;
use super::origin::{ByteRange, Download, Origin};
use crate::crds::Url;

/// Files by URL: `https`, `http` and `file`.
#[derive(Clone)]
pub(crate) struct UrlOrigin {
    http: HttpOrigin,
    file: FileOrigin,
}

impl UrlOrigin {
    /// Files over this client, and from disk.
    pub(crate) fn new(http: HttpOrigin) -> Self {
        Self {
            http,
            file: FileOrigin::new(),
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
        match url.scheme().as_deref() {
            Some("file") if url.teller().is_none() => self.file.get(url, range, if_range),
            Some("http" | "https") => self.http.get(url, range, if_range),
            // The client says why not.
            _ if url.teller().is_some() => self.http.get(url, range, if_range),
            _ => {
                let message = "only https, http and file URLs can be read";
                let error = RemoteError::new(RemoteErrorKind::Protocol, url, message);
                Box::pin(std::future::ready(Err(error)))
            }
        }
    }
}
