//! The origin of a world: files in memory, and the ways in which requests for them go wrong.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;

use crate::crds::Url;
use crate::remote::{ByteRange, Download, Origin, RemoteError, RemoteErrorKind, Retry};

/// The way in which the origin treats one request.
#[derive(Debug, Clone)]
pub(in crate::fetch) enum Act {
    /// It fails at once.
    Fail(RemoteErrorKind),
    /// 429 with Retry-After.
    BusyFor(Duration),
    /// The connection breaks after so many bytes.
    Drop(usize),
    /// All bytes come, with a pause of a second between them.
    Slow,
    /// Nothing more comes after so many bytes.
    Stall(usize),
    /// The data ends after so many bytes, and the reply does not tell the length.
    End(usize),
    /// One byte is wrong.
    Flip(usize),
    /// Another file altogether.
    Other(&'static [u8]),
    /// The whole file, also where a part was requested.
    Whole,
    /// Of a part, more than was asked for.
    Beyond(usize),
    /// The origin has a bug.
    Panic,
}

pub(in crate::fetch) type Asked = (u64, Option<u64>, bool);

/// Files in memory.
#[derive(Default)]
pub(in crate::fetch) struct Place {
    pub(super) files: Mutex<BTreeMap<String, (Bytes, u32)>>,
    acts: Mutex<VecDeque<Act>>,
    always: Mutex<Option<Act>>,
    asked: Mutex<Vec<(String, Asked)>>,
    delay: Mutex<Duration>,
}

impl Place {
    pub(in crate::fetch) fn put(&self, name: &str, bytes: &[u8]) {
        let mut files = self.files.lock();
        let version = files.get(name).map_or(1, |(_, version)| version + 1);
        files.insert(name.to_owned(), (Bytes::copy_from_slice(bytes), version));
    }

    pub(in crate::fetch) fn remove(&self, name: &str) {
        self.files.lock().remove(name);
    }

    /// The next requests go like this, one after the other.
    pub(in crate::fetch) fn then(&self, acts: impl IntoIterator<Item = Act>) {
        self.acts.lock().extend(acts);
    }

    /// Every request goes like this.
    pub(in crate::fetch) fn always(&self, act: Option<Act>) {
        *self.always.lock() = act;
    }

    /// Every request is answered after so long.
    pub(in crate::fetch) fn answer_after(&self, delay: Duration) {
        *self.delay.lock() = delay;
    }

    /// First byte, end, and whether there was a condition, of each request.
    pub(in crate::fetch) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().iter().map(|(_, asked)| *asked).collect()
    }

    pub(in crate::fetch) fn asked_for(&self) -> Vec<String> {
        self.asked.lock().iter().map(|(name, _)| name.clone()).collect()
    }

    /// Notes a request, and takes the act for it. An error if that is to fail at once.
    fn begin(
        &self,
        url: &Url,
        range: Option<ByteRange>,
        has_condition: bool,
    ) -> Result<Option<Act>, RemoteError> {
        let from = range.map_or(0, |range| range.start);
        let end = range.and_then(|range| range.end);
        let asked = (from, end, has_condition);
        self.asked.lock().push((name(url).to_owned(), asked));
        let act = self
            .always
            .lock()
            .clone()
            .or_else(|| self.acts.lock().pop_front());
        match act {
            Some(Act::Fail(kind)) => Err(RemoteError::new(kind, url, "told to fail")),
            Some(Act::BusyFor(time)) => {
                let busy = RemoteError::new(RemoteErrorKind::Busy, url, "429 Too Many Requests");
                Err(busy.with_retry(Retry::After(time)))
            }
            Some(Act::Panic) => panic!("on purpose"),
            act => Ok(act),
        }
    }

    fn answer(
        &self,
        url: &Url,
        range: Option<ByteRange>,
        condition: Option<&str>,
    ) -> Result<Download, RemoteError> {
        let act = self.begin(url, range, condition.is_some())?;
        let files = self.files.lock();
        let Some((bytes, version)) = files.get(name(url)) else {
            return Err(RemoteError::new(RemoteErrorKind::NotFound, url, "404 Not Found"));
        };
        let bytes = match &act {
            Some(Act::Other(other)) => Bytes::from_static(other),
            _ => bytes.clone(),
        };
        let validator = format!("\"{version}\"");
        let same = condition.is_none_or(|condition| condition == validator);
        let total = bytes.len() as u64;
        let partial = range.filter(|_| same && !matches!(act, Some(Act::Whole)));
        let start = partial.map_or(0, |range| range.start);
        let end = partial
            .and_then(|range| range.end)
            .map_or(total, |end| end.min(total));
        if start > total || (start == total && total > 0) {
            return Err(RemoteError::new(RemoteErrorKind::NoSuchRange, url, "416"));
        }
        let known = !matches!(act, Some(Act::End(_)));
        let part = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
        Ok(Download {
            url: url.clone(),
            offset: start,
            total: known.then_some(total),
            length: known.then_some(end - start),
            validator: Some(validator),
            body: body(act.as_ref(), url, &bytes, part),
        })
    }
}

/// The name of a file by its URL.
fn name(url: &Url) -> &str {
    url.as_str().rsplit('/').next().unwrap_or_default()
}

/// The body of a reply with this part of a file.
fn body(
    act: Option<&Act>,
    url: &Url,
    bytes: &Bytes,
    part: Range<usize>,
) -> BoxStream<'static, Result<Bytes, RemoteError>> {
    let mut data = bytes.slice(part.clone());
    let mut last = stream::empty().boxed();
    let (mut chunk, mut pause) = (10_000, Duration::ZERO);
    match act {
        Some(Act::Drop(count)) => {
            data.truncate(*count);
            let error = RemoteError::new(RemoteErrorKind::Interrupted, url, "the connection broke");
            last = stream::iter([Err(error)]).boxed();
        }
        Some(Act::Stall(count)) => {
            data.truncate(*count);
            last = stream::pending().boxed();
        }
        Some(Act::End(count)) => data.truncate(*count),
        Some(Act::Beyond(count)) => {
            // These bytes come together with those before them.
            chunk = usize::MAX;
            data = bytes.slice(part.start..(part.end + count).min(bytes.len()));
        }
        Some(Act::Flip(at)) => {
            let mut wrong = data.to_vec();
            wrong[*at] ^= 1;
            data = wrong.into();
        }
        Some(Act::Slow) => pause = Duration::from_secs(1),
        _ => {}
    }
    let chunks: Vec<_> = data
        .chunks(chunk)
        .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
        .collect();
    let chunks = stream::iter(chunks).then(move |chunk| async move {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        chunk
    });
    chunks.chain(last).boxed()
}

impl Origin for Place {
    fn get<'a>(
        &'a self,
        url: &'a Url,
        range: Option<ByteRange>,
        if_range: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Download, RemoteError>> {
        let (answer, delay) = (self.answer(url, range, if_range), *self.delay.lock());
        Box::pin(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            answer
        })
    }
}
