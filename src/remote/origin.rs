//! A place that files come from, in parts if wanted.

use std::fmt;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use super::error::RemoteError;
use crate::crds::Url;

/// A part of a file: from `start` up to, but not including, `end`, or to the end of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteRange {
    /// The first byte, counted from 0.
    pub start: u64,
    /// The byte after the last one.
    pub end: Option<u64>,
}

impl ByteRange {
    /// Everything from `start` on.
    pub(crate) const fn from(start: u64) -> Self {
        Self { start, end: None }
    }
}

/// A reply with the bytes of a file.
pub(crate) struct Download {
    /// The URL that they come from in the end, redirects followed.
    pub url: Url,
    /// The place in the file of the first byte that `body` gives. 0 when the origin ignores ranges or the file has
    /// changed: **callers that asked for a part must look here**.
    pub offset: u64,
    /// The length of the whole file, if the origin says.
    pub total: Option<u64>,
    /// The number of bytes that `body` gives, if the origin says. A body that ends early ends with an error.
    pub length: Option<u64>,
    /// The value of `if_range` to go on with the same content later: a strong `ETag`, else `Last-Modified`.
    pub validator: Option<String>,
    /// The bytes.
    pub body: BoxStream<'static, Result<Bytes, RemoteError>>,
}

impl fmt::Debug for Download {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Download")
            .field("url", &self.url)
            .field("offset", &self.offset)
            .field("total", &self.total)
            .field("length", &self.length)
            .field("validator", &self.validator)
            .finish_non_exhaustive()
    }
}

/// A place that files come from. Dropping a [`Download`] ends it.
pub(crate) trait Origin: Send + Sync {
    /// Begins to read the file at `url`.
    ///
    /// With `range` only that part is asked for, and the whole file is what may come ([`Download::offset`]). With
    /// `if_range`, a [`Download::validator`] of before, the part is given only if the content is still the same, else
    /// the whole file.
    fn get<'a>(
        &'a self,
        url: &'a Url,
        range: Option<ByteRange>,
        if_range: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Download, RemoteError>>;
}
