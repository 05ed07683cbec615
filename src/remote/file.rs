//! Files of this machine or a network file system, by `file` URL.

use std::io::SeekFrom;
use std::time::UNIX_EPOCH;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::error::{RemoteError, RemoteErrorKind};
use super::origin::{ByteRange, Download, Origin};
use crate::crds::Url;

/// Bytes read at a time.
const BUFFER: usize = 256 * 1024;

/// Files by `file` URL.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FileOrigin;

impl FileOrigin {
    /// Files of this machine.
    pub(crate) const fn new() -> Self {
        Self
    }
}

impl Origin for FileOrigin {
    fn get<'a>(
        &'a self,
        url: &'a Url,
        range: Option<ByteRange>,
        if_range: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Download, RemoteError>> {
        Box::pin(begin(url, range, if_range))
    }
}

async fn begin(url: &Url, range: Option<ByteRange>, if_range: Option<&str>) -> Result<Download, RemoteError> {
    let path = url
        .parsed()
        .and_then(|url| url.to_file_path().ok())
        .ok_or_else(|| RemoteError::new(RemoteErrorKind::Protocol, url, "not the URL of a file"))?;
    // Asked before opening: opening a pipe would wait for its writer.
    let metadata = tokio::fs::metadata(&path)
        .await
        .map_err(|error| from_io(&error, url))?;
    if !metadata.is_file() {
        return Err(RemoteError::new(
            RemoteErrorKind::NotFound,
            url,
            "not a regular file",
        ));
    }
    let mut file = tokio::fs::File::open(&path)
        .await
        .map_err(|error| from_io(&error, url))?;
    let total = metadata.len();
    let changed = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .unwrap_or_default();
    let validator = format!("\"{total:x}-{:x}\"", changed.as_nanos());
    let range = range.filter(|_| if_range.is_none_or(|wanted| wanted == validator));
    let offset = range.map_or(0, |range| range.start);
    let end = range.and_then(|range| range.end).unwrap_or(total).min(total);
    if range.is_some() && offset >= end {
        return Err(RemoteError::new(
            RemoteErrorKind::NoSuchRange,
            url,
            format!("the file has only {total} bytes"),
        ));
    }
    file.seek(SeekFrom::Start(offset))
        .await
        .map_err(|error| from_io(&error, url))?;
    let name = url.clone();
    let bytes = ReaderStream::with_capacity(file.take(end - offset), BUFFER);
    Ok(Download {
        url: url.clone(),
        offset,
        total: Some(total),
        length: Some(end - offset),
        validator: Some(validator),
        body: super::http::exactly(
            end - offset,
            url.clone(),
            bytes
                .map(move |part| part.map_err(|error| from_io(&error, &name)))
                .boxed(),
        ),
    })
}

fn from_io(error: &std::io::Error, url: &Url) -> RemoteError {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => RemoteErrorKind::NotFound,
        std::io::ErrorKind::PermissionDenied => RemoteErrorKind::Denied,
        _ => RemoteErrorKind::Interrupted,
    };
    RemoteError::new(kind, url, format!("the file cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;

    use super::*;

    async fn read(url: &Url, range: Option<ByteRange>, if_range: Option<&str>) -> (u64, Vec<u8>) {
        let download = FileOrigin::new().get(url, range, if_range).await.unwrap();
        let parts: Vec<_> = download.body.try_collect().await.unwrap();
        (download.offset, parts.concat())
    }

    #[tokio::test]
    async fn reads_files_and_parts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a b.fits");
        std::fs::write(&path, b"0123456789").unwrap();
        let url = Url::new(url::Url::from_file_path(&path).unwrap().as_str());
        assert_eq!(read(&url, None, None).await, (0, b"0123456789".to_vec()));
        let middle = ByteRange {
            start: 3,
            end: Some(5),
        };
        assert_eq!(read(&url, Some(middle), None).await, (3, b"34".to_vec()));
        assert_eq!(
            read(&url, Some(ByteRange::from(8)), None).await,
            (8, b"89".to_vec())
        );
        let download = FileOrigin::new().get(&url, None, None).await.unwrap();
        assert_eq!((download.total, download.length), (Some(10), Some(10)));
        let validator = download.validator.unwrap();
        assert_eq!(read(&url, Some(middle), Some(&validator)).await.0, 3);
        assert_eq!(
            read(&url, Some(middle), Some("\"other\"")).await,
            (0, b"0123456789".to_vec())
        );
    }

    #[tokio::test]
    async fn says_what_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let base = url::Url::from_file_path(directory.path()).unwrap().to_string();
        std::fs::write(directory.path().join("x"), b"0123").unwrap();
        let file = format!("{base}/x");
        for (url, range, kind) in [
            (format!("{base}/missing"), None, RemoteErrorKind::NotFound),
            (base, None, RemoteErrorKind::NotFound),
            (file, Some(ByteRange::from(4)), RemoteErrorKind::NoSuchRange),
            ("file://host/x".to_owned(), None, RemoteErrorKind::Protocol),
        ] {
            let error = FileOrigin::new()
                .get(&Url::new(&url), range, None)
                .await
                .unwrap_err();
            assert_eq!(error.kind, kind, "{error}");
        }
    }
}
