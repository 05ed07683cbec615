//! An origin that lives in memory and misbehaves on command: the double with which the modules above are tested.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::destination::{Destination, Put, PutError, Sum, Upload, other};
use super::error::{RemoteError, RemoteErrorKind};
use super::origin::{ByteRange, Download, Origin};
use crate::crds::Url;

/// Bytes of one item of a body.
const CHUNK: usize = 64 * 1024;

/// Files in memory, by URL. Clones share them.
#[derive(Clone)]
pub(crate) struct MemoryOrigin {
    state: Arc<Mutex<State>>,
    gate: Arc<watch::Sender<bool>>,
}

#[derive(Default)]
struct State {
    files: HashMap<String, Bytes>,
    failures: HashMap<String, VecDeque<Failure>>,
    ignores_ranges: bool,
    requests: Vec<Request>,
}

/// A fault of one request.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// The request fails.
    Refuse(RemoteError),
    /// The connection breaks after so many bytes of the body.
    CutAfter(usize),
    /// The byte at this place of the file arrives flipped.
    Flip(u64),
}

/// A request that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// The URL asked for.
    pub url: String,
    /// The part of it that was asked for.
    pub range: Option<ByteRange>,
    /// On what condition.
    pub if_range: Option<String>,
}

impl Default for MemoryOrigin {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            gate: Arc::new(watch::Sender::new(true)),
        }
    }
}

impl MemoryOrigin {
    /// An origin without files.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Puts a file there, or another content into it (its validator changes).
    pub(crate) fn put(&self, url: &str, content: impl Into<Bytes>) {
        self.state().files.insert(url.to_owned(), content.into());
    }

    /// Takes a file away.
    pub(crate) fn remove(&self, url: &str) {
        self.state().files.remove(url);
    }

    /// Makes the next request for `url` go wrong; several are used one after the other.
    pub(crate) fn fail(&self, url: &str, failure: Failure) {
        self.state()
            .failures
            .entry(url.to_owned())
            .or_default()
            .push_back(failure);
    }

    /// Whether to answer every request with the whole file.
    pub(crate) fn ignore_ranges(&self, ignore: bool) {
        self.state().ignores_ranges = ignore;
    }

    /// Lets every body stall before its next bytes, until [`MemoryOrigin::release`].
    pub(crate) fn hold(&self) {
        self.gate.send_replace(false);
    }

    /// Lets stalled bodies go on.
    pub(crate) fn release(&self) {
        self.gate.send_replace(true);
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    fn begin(
        &self,
        url: &Url,
        range: Option<ByteRange>,
        if_range: Option<&str>,
    ) -> Result<Download, RemoteError> {
        let mut state = self.state();
        state.requests.push(Request {
            url: url.to_string(),
            range,
            if_range: if_range.map(str::to_owned),
        });
        let failure = state.failures.get_mut(url.as_str()).and_then(VecDeque::pop_front);
        if let Some(Failure::Refuse(error)) = failure {
            return Err(error);
        }
        let content = state
            .files
            .get(url.as_str())
            .cloned()
            .ok_or_else(|| RemoteError::new(RemoteErrorKind::NotFound, url, "404 Not Found"))?;
        let validator = validator(&content);
        let range = range.filter(|_| !state.ignores_ranges && if_range.is_none_or(|it| it == validator));
        drop(state);
        let total = content.len();
        let (start, end) = bounds(range, total).ok_or_else(|| {
            RemoteError::new(RemoteErrorKind::NoSuchRange, url, "416 Range Not Satisfiable")
        })?;
        Ok(Download {
            url: url.clone(),
            offset: start as u64,
            total: Some(total as u64),
            length: Some((end - start) as u64),
            validator: Some(validator),
            body: self.body(url, &content, start..end, failure.as_ref()).boxed(),
        })
    }

    fn body(
        &self,
        url: &Url,
        content: &Bytes,
        range: std::ops::Range<usize>,
        failure: Option<&Failure>,
    ) -> impl stream::Stream<Item = Result<Bytes, RemoteError>> + Send + 'static {
        let mut sent = content.slice(range.clone());
        let mut broken = None;
        match failure {
            Some(Failure::CutAfter(count)) => {
                sent.truncate(*count);
                let message = "the connection broke before the end of the file";
                broken = Some(Err(RemoteError::new(RemoteErrorKind::Interrupted, url, message)));
            }
            Some(Failure::Flip(place)) => {
                let mut bytes = sent.to_vec();
                let place = usize::try_from(*place)
                    .ok()
                    .and_then(|place| place.checked_sub(range.start));
                if let Some(byte) = place.and_then(|place| bytes.get_mut(place)) {
                    *byte = !*byte;
                }
                sent = bytes.into();
            }
            Some(Failure::Refuse(_)) | None => {}
        }
        let mut chunks = VecDeque::new();
        while !sent.is_empty() {
            chunks.push_back(Ok(sent.split_to(sent.len().min(CHUNK))));
        }
        chunks.extend(broken);
        let gate = self.gate.subscribe();
        stream::iter(chunks).then(move |chunk| {
            let mut gate = gate.clone();
            async move {
                // A gate that is gone is open.
                let _ = gate.wait_for(|open| *open).await;
                chunk
            }
        })
    }
}

/// A text that changes with the content.
fn validator(content: &[u8]) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

fn bounds(range: Option<ByteRange>, total: usize) -> Option<(usize, usize)> {
    let Some(range) = range else {
        return Some((0, total));
    };
    let start = usize::try_from(range.start).ok().filter(|&start| start < total)?;
    let end = range
        .end
        .map_or(total, |end| usize::try_from(end).unwrap_or(total).min(total));
    (start < end).then_some((start, end))
}

impl Origin for MemoryOrigin {
    fn get<'a>(
        &'a self,
        url: &'a Url,
        range: Option<ByteRange>,
        if_range: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Download, RemoteError>> {
        Box::pin(std::future::ready(self.begin(url, range, if_range)))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;

    use super::*;

    const URL: &str = "memory:a.fits";

    async fn read(origin: &MemoryOrigin, range: Option<ByteRange>) -> Result<(u64, Vec<u8>), RemoteError> {
        let download = origin.get(&URL.into(), range, None).await?;
        let parts: Vec<Bytes> = download.body.try_collect().await?;
        Ok((download.offset, parts.concat()))
    }

    #[tokio::test]
    async fn gives_what_was_put() {
        let origin = MemoryOrigin::new();
        let content: Vec<u8> = (0..200_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        assert_eq!(
            read(&origin, None).await.unwrap_err().kind,
            RemoteErrorKind::NotFound
        );
        origin.put(URL, content.clone());
        assert_eq!(read(&origin, None).await, Ok((0, content.clone())));
        let middle = ByteRange {
            start: 70_000,
            end: Some(150_000),
        };
        assert_eq!(
            read(&origin, Some(middle)).await,
            Ok((70_000, content[70_000..150_000].to_vec()))
        );
        let beyond = read(&origin, Some(ByteRange::from(200_000))).await.unwrap_err();
        assert_eq!(beyond.kind, RemoteErrorKind::NoSuchRange);
        origin.ignore_ranges(true);
        assert_eq!(read(&origin, Some(middle)).await.unwrap().0, 0);
        assert_eq!(origin.requests().len(), 5);
    }

    #[tokio::test]
    async fn a_change_is_noticed() {
        let origin = MemoryOrigin::new();
        origin.put(URL, "old content");
        let validator = origin
            .get(&URL.into(), None, None)
            .await
            .unwrap()
            .validator
            .unwrap();
        let part = Some(ByteRange::from(4));
        assert_eq!(
            origin
                .get(&URL.into(), part, Some(&validator))
                .await
                .unwrap()
                .offset,
            4
        );
        origin.put(URL, "new content");
        assert_eq!(
            origin
                .get(&URL.into(), part, Some(&validator))
                .await
                .unwrap()
                .offset,
            0
        );
    }

    #[tokio::test]
    async fn goes_wrong_on_command_once() {
        let origin = MemoryOrigin::new();
        origin.put(URL, "0123456789");
        let refusal = RemoteError::new(RemoteErrorKind::Busy, URL, "busy");
        origin.fail(URL, Failure::Refuse(refusal.clone()));
        origin.fail(URL, Failure::CutAfter(3));
        origin.fail(URL, Failure::Flip(5));
        assert_eq!(read(&origin, None).await, Err(refusal));
        let mut body = origin.get(&URL.into(), None, None).await.unwrap().body;
        assert_eq!(body.try_next().await.unwrap().unwrap(), "012");
        assert_eq!(
            body.try_next().await.unwrap_err().kind,
            RemoteErrorKind::Interrupted
        );
        let (_, bytes) = read(&origin, Some(ByteRange::from(4))).await.unwrap();
        assert_eq!((bytes[0], bytes[1], bytes[2]), (b'4', !b'5', b'6'));
        assert_eq!(read(&origin, None).await.unwrap().1, b"0123456789");
    }

    #[tokio::test]
    async fn stalls_until_released() {
        let origin = MemoryOrigin::new();
        origin.put(URL, "x");
        origin.hold();
        let mut body = origin.get(&URL.into(), None, None).await.unwrap().body;
        assert!(futures_util::poll!(body.next()).is_pending());
        origin.release();
        assert_eq!(body.try_next().await.unwrap().unwrap(), "x");
    }
}

/// The way in which a place goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nobody may write.
    Forbidden,
    /// There is no room.
    Full,
    /// The place has trouble.
    Broken,
    /// Another one writes the file before this one does: it is not there when it is looked for.
    Race,
}

/// Files in memory, by URL, that are written to. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct MemoryDestination {
    files: Arc<Mutex<HashMap<String, Bytes>>>,
    faults: Arc<Mutex<VecDeque<Fault>>>,
    hangs: Arc<AtomicBool>,
}

impl MemoryDestination {
    /// The bytes that are there.
    pub(crate) fn found(&self, url: &str) -> Option<Bytes> {
        self.files.lock().get(url).cloned()
    }

    /// Puts this there, or nothing.
    pub(crate) fn place(&self, url: &str, content: Option<&[u8]>) {
        let mut files = self.files.lock();
        match content {
            Some(content) => files.insert(url.to_owned(), Bytes::copy_from_slice(content)),
            None => files.remove(url),
        };
    }

    /// From now on no write ends.
    pub(crate) fn hang(&self) {
        self.hangs.store(true, Ordering::Relaxed);
    }

    /// Lets the next write go wrong.
    pub(crate) fn fail(&self, fault: Fault) {
        self.faults.lock().push_back(fault);
    }

    fn write(&self, url: &Url, upload: &Upload) -> Result<Put, PutError> {
        let told = |kind| RemoteError::new(kind, url, "told to fail");
        match self.faults.lock().pop_front() {
            Some(Fault::Forbidden) => return Err(PutError::Refused(told(RemoteErrorKind::Denied))),
            Some(Fault::Full) => return Err(PutError::Full(told(RemoteErrorKind::Server))),
            Some(Fault::Broken) => return Err(PutError::Failed(told(RemoteErrorKind::Server))),
            Some(Fault::Race) | None => {}
        }
        let size = usize::try_from(upload.size).unwrap();
        let bytes = upload.read_at(0, size)?;
        let mut sum = Sum::default();
        sum.add(&bytes);
        let (found, size) = sum.finish();
        upload.check(found, size)?;
        let mut files = self.files.lock();
        match files.get(url.as_str()) {
            Some(there) if *there == bytes => Ok(Put::Exists),
            Some(_) => Err(other(url, "its SHA-1 is not the catalog's")),
            None => {
                files.insert(url.as_str().to_owned(), bytes);
                Ok(Put::Written)
            }
        }
    }
}

impl Destination for MemoryDestination {
    fn put<'a>(&'a self, url: &'a Url, upload: &'a Upload) -> BoxFuture<'a, Result<Put, PutError>> {
        if self.hangs.load(Ordering::Relaxed) {
            return Box::pin(std::future::pending());
        }
        Box::pin(std::future::ready(self.write(url, upload)))
    }
}
