//! The state that the streams of a transfer share: the parts of the file, the stream of each, and its progress.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::progress::Progress;
use super::stream_count::StreamCount;
use crate::crds::Url;
use crate::fetch::digester::Digester;
use crate::fetch::lanes::PACE_TIME;
use crate::fetch::settings::FetchSettings;
use crate::store::{Part, Record};

#[cfg(test)]
mod tests;

/// The most parts of a file at the beginning, and after streams have split parts among them.
const PARTS: u64 = 512;
const PARTS_AT_MOST: usize = 640;

/// The number of requests in which each stream brings its share of what nobody has asked for yet, at least.
const REQUESTS: u64 = 2;

/// A stream is slow if it brings less than one part in so many of what one brings on average.
const SLOW: f64 = 4.0;
/// The time for which a new stream counts as one of average speed.
const TRIAL: Duration = Duration::from_secs(1);

/// The parts of a file, and the state of its transfer.
pub(super) struct PartMap {
    /// The version of the file that the last source gives; bytes that other sources gave before are taken as they are.
    version: Option<Version>,
    pub(super) parts: Vec<Part>,
    /// The running streams, by the first byte of their part.
    streams: BTreeMap<u64, Stream>,
    pub(super) stream_count: StreamCount,
    /// The most streams that there may be.
    most: u64,
    /// Told when a stream is about to end: another one may ask for its bytes.
    pub(super) about_to_end: Arc<Notify>,
    /// The shortest time from a request to the head of its reply.
    latency: Option<Duration>,
    /// The time that streams of this try have taken which have ended.
    spent: Duration,
    /// Parts begin at multiples of it, unless an earlier transfer has begun them elsewhere.
    align: u64,
    /// The digester of the partial file.
    pub(super) digester: Option<Digester>,
    pub(super) progress: Progress,
    /// Bytes that have come in this try.
    pub(super) received: u64,
    /// The beginning of the interval in which the pace is measured, and the bytes that have come in it.
    pace: (Instant, u64),
    pub(super) recorded: (Instant, u64),
}

/// A version of a file, as a source names it.
struct Version {
    /// The source.
    url: String,
    validator: String,
}

/// A stream that receives a part.
struct Stream {
    /// One past the last byte that it has read.
    read: u64,
    /// Whether it has read any.
    flows: bool,
    /// The time of its request, and the bytes that it has read since.
    since: Instant,
    count: u64,
    /// Whether the rest comes within the time that another request takes.
    is_about_to_end: bool,
}

impl Stream {
    /// Bytes a second, where such as have just begun bring `average`.
    fn rate(&self, average: f64, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.since).as_secs_f64();
        let trial = TRIAL.as_secs_f64();
        (as_number(self.count) + average * trial) / (age + trial)
    }
}

/// A part of the file that a stream receives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    /// The first byte of the part, which is its name.
    pub(super) start: u64,
    /// The first byte that is missing.
    pub(super) from: u64,
}

impl PartMap {
    /// The parts that an earlier transfer has left, or those of a file that begins.
    pub(super) fn new(
        earlier: Option<Record>,
        expected: Option<u64>,
        digester: Option<Digester>,
        settings: &FetchSettings,
        now: Instant,
    ) -> Self {
        let (version, parts) = match earlier {
            Some(Record {
                url,
                validator: Some(validator),
                parts,
                ..
            }) => (Some(Version { url, validator }), parts),
            _ => (None, plan(expected, settings)),
        };
        let arrived = parts.iter().map(|part| part.done - part.start).sum();
        Self {
            version,
            parts,
            streams: BTreeMap::new(),
            stream_count: StreamCount::new(settings.streams, now),
            most: u64::try_from(settings.streams).unwrap_or(1).max(1),
            about_to_end: Arc::default(),
            latency: None,
            spent: Duration::ZERO,
            align: settings.align.max(1),
            digester,
            progress: Progress::new(arrived, settings.timeout, now),
            received: 0,
            pace: (now, 0),
            recorded: (now, 0),
        }
    }

    /// The number of bytes that have arrived in all parts.
    pub(super) fn arrived(&self) -> u64 {
        self.parts.iter().map(|part| part.done - part.start).sum()
    }

    /// The offset below which no byte is missing.
    pub(super) fn frontier(&self) -> u64 {
        let gap = self.parts.iter().find(|part| part.done < part.end);
        gap.or(self.parts.last()).map_or(0, |part| part.done)
    }

    /// Begins another try.
    pub(super) fn begin_try(&mut self, now: Instant) {
        let arrived = self.arrived();
        self.progress.begin_try(arrived);
        self.pace = (now, 0);
        self.received = 0;
        self.streams.clear();
        self.spent = Duration::ZERO;
        self.stream_count.restart(now);
    }

    pub(super) fn begin_anew(&mut self, size: Option<u64>, digester: Option<Digester>) {
        self.progress.begin_anew();
        self.version = None;
        self.digester = digester;
        self.parts = vec![Part {
            start: 0,
            end: size.unwrap_or(u64::MAX),
            done: 0,
        }];
    }

    /// The validator of the version that this source gives, if it has given any.
    pub(super) fn validator(&self, url: &Url) -> Option<&str> {
        let version = self.version.as_ref()?;
        (version.url == url.as_str()).then_some(version.validator.as_str())
    }

    /// Whether this source is known to give another version than before.
    pub(super) fn is_other(&self, url: &Url, validator: Option<&str>) -> bool {
        match (self.validator(url), validator) {
            (Some(known), Some(found)) => known != found,
            _ => false,
        }
    }

    /// Remembers the version that a source gives, unless it is known.
    pub(super) fn note_version(&mut self, url: &Url, validator: Option<&str>) {
        if let Some(validator) = validator
            && self.validator(url).is_none()
        {
            self.version = Some(Version {
                url: url.as_str().to_owned(),
                validator: validator.to_owned(),
            });
        }
    }

    /// A part for one more stream: the beginning of the first one that nobody has asked for, else the second half of the
    /// longest rest of a slow stream, if that can be cut in two of at least `least` bytes each.
    pub(super) fn take_piece(&mut self, least: u64, now: Instant) -> Option<Piece> {
        let piece = match self.parts.iter().position(|part| self.is_unasked(part)) {
            Some(index) => self.begin_of(index, least)?,
            None => self.share(least, now)?,
        };
        let stream = Stream {
            read: piece.from,
            flows: false,
            since: now,
            count: 0,
            is_about_to_end: false,
        };
        self.streams.insert(piece.start, stream);
        Some(piece)
    }

    /// Whether bytes of a part are missing and no stream brings them.
    fn is_unasked(&self, part: &Part) -> bool {
        part.done < part.end && !self.streams.contains_key(&part.start)
    }

    /// As much of an unasked part as leaves something for every stream that there may be. What was asked for should come: a
    /// stream that leaves bytes to another one closes its connection, and what is under way over that is lost.
    fn begin_of(&mut self, index: usize, least: u64) -> Option<Piece> {
        let unasked = self.parts.iter().filter(|part| self.is_unasked(part));
        let unasked: u64 = unasked.map(|part| part.end - part.done).sum();
        let due = (unasked / (REQUESTS * self.most)).max(least).max(1);
        let is_full = self.parts.len() >= PARTS_AT_MOST;
        let part = self.parts.get_mut(index)?;
        let piece = Piece {
            start: part.start,
            from: part.done,
        };
        let cut = part.done.saturating_add(due).checked_next_multiple_of(self.align);
        let cut = cut.filter(|cut| !is_full && part.end.saturating_sub(*cut) >= least.max(1));
        if let Some(cut) = cut {
            let end = std::mem::replace(&mut part.end, cut);
            self.insert_part(index + 1, cut, end);
        }
        Some(piece)
    }

    fn insert_part(&mut self, index: usize, start: u64, end: u64) {
        let part = Part {
            start,
            end,
            done: start,
        };
        self.parts.insert(index, part);
    }

    /// Bytes a second of one stream, on average over those of this try.
    fn average(&self, now: Instant) -> f64 {
        let running = self.streams.values();
        let running: Duration = running
            .map(|stream| now.saturating_duration_since(stream.since))
            .sum();
        as_number(self.received) / (running + self.spent).as_secs_f64().max(f64::EPSILON)
    }

    fn share(&mut self, least: u64, now: Instant) -> Option<Piece> {
        if self.parts.len() >= PARTS_AT_MOST {
            return None;
        }
        let average = self.average(now);
        let (least, align) = (least.max(1), self.align);
        let cut = |(index, part): (usize, &Part)| {
            let stream = self.streams.get(&part.start)?;
            let is_slow = stream.rate(average, now) * SLOW < average;
            let read = Some(stream.read).filter(|_| is_slow)?;
            let middle = middle(read, part.end, align);
            let halves = (middle.checked_sub(read)?, part.end.checked_sub(middle)?);
            (halves.0.min(halves.1) >= least).then_some((part.end - read, index, middle))
        };
        let (_, index, middle) = self.parts.iter().enumerate().filter_map(cut).max()?;
        let part = self.parts.get_mut(index)?;
        let end = std::mem::replace(&mut part.end, middle);
        self.insert_part(index + 1, middle, end);
        Some(Piece {
            start: middle,
            from: middle,
        })
    }

    /// Returns the part of a stream that has ended, finished or not.
    pub(super) fn put_back(&mut self, piece: Piece, now: Instant) {
        if let Some(stream) = self.streams.remove(&piece.start) {
            self.spent += now.saturating_duration_since(stream.since);
        }
    }

    /// The number of streams that there should be now: one more for each that is about to end, if there may be more.
    pub(super) fn wanted(&self, now: Instant) -> usize {
        let ending = self
            .streams
            .values()
            .filter(|stream| stream.is_about_to_end)
            .count();
        let wanted = self.stream_count.wanted();
        (wanted + ending).min(self.stream_count.limit(now)).max(wanted)
    }

    /// Notes the time from a request to the head of its reply.
    pub(super) fn note_latency(&mut self, latency: Duration) {
        self.latency = Some(self.latency.map_or(latency, |known| known.min(latency)));
    }

    /// The number of running streams that have received bytes.
    fn flowing(&self) -> usize {
        self.streams.values().filter(|stream| stream.flows).count()
    }

    /// Measures whether more streams are of use.
    pub(super) fn look_at_streams(&mut self, now: Instant) {
        let flowing = self.flowing();
        self.stream_count.look(now, self.received, flowing);
    }

    /// The end of a part, one past its last byte; `u64::MAX` in a file of unknown length.
    pub(super) fn end_of(&self, piece: Piece) -> u64 {
        self.part(piece).map_or(piece.from, |part| part.end)
    }

    fn part(&self, piece: Piece) -> Option<&Part> {
        let index = self.parts.binary_search_by_key(&piece.start, |part| part.start);
        index.ok().and_then(|index| self.parts.get(index))
    }

    /// Counts `count` bytes that a stream has read from offset `read` on, without those beyond the end of its part;
    /// returns that end.
    pub(super) fn note_read(&mut self, piece: Piece, read: u64, count: u64, now: Instant) -> u64 {
        let end = self.end_of(piece);
        let count = count.min(end.saturating_sub(read));
        if let Some(stream) = self.streams.get_mut(&piece.start) {
            stream.read = read.saturating_add(count);
            stream.flows = true;
            stream.count = stream.count.saturating_add(count);
            let age = now.saturating_duration_since(stream.since).as_secs_f64();
            let latency = self.latency.unwrap_or_default().as_secs_f64();
            let ends = as_number(end.saturating_sub(stream.read)) * age <= as_number(stream.count) * latency;
            if ends && !std::mem::replace(&mut stream.is_about_to_end, true) {
                self.about_to_end.notify_one();
            }
        }
        self.received = self.received.saturating_add(count);
        self.progress.note(count, now);
        end
    }

    /// Counts bytes for the pace; returns the bytes of an interval when its [`PACE_TIME`] is over.
    pub(super) fn note_pace(&mut self, count: u64, now: Instant) -> Option<u64> {
        let (since, bytes) = self.pace;
        let bytes = bytes.saturating_add(count);
        let due = now.saturating_duration_since(since) >= PACE_TIME;
        self.pace = if due { (now, 0) } else { (since, bytes) };
        due.then_some(bytes)
    }

    /// Notes that the bytes of a part are written up to offset `done`; returns the number of new ones.
    pub(super) fn note_written(&mut self, piece: Piece, done: u64) -> u64 {
        let index = self.parts.binary_search_by_key(&piece.start, |part| part.start);
        let Some(part) = index.ok().and_then(|index| self.parts.get_mut(index)) else {
            return 0;
        };
        let before = part.done;
        part.done = before.max(done);
        part.done - before
    }

    /// The number of bytes that have arrived, and the frontier, which is passed on to the digester.
    pub(super) fn look_around(&mut self) -> (u64, u64) {
        let frontier = self.frontier();
        if let Some(digester) = &mut self.digester {
            digester.advance(frontier);
        }
        (self.arrived(), frontier)
    }

    /// The progress for a later transfer; `None` if it could not resume, for want of a validator or a length.
    pub(super) fn record(&self) -> Option<Record> {
        let version = self.version.as_ref()?;
        let size = self.parts.last()?.end;
        (size != u64::MAX).then(|| Record {
            url: version.url.clone(),
            validator: Some(version.validator.clone()),
            size,
            parts: self.parts.clone(),
        })
    }
}

/// The parts of a file that begins.
fn plan(expected: Option<u64>, settings: &FetchSettings) -> Vec<Part> {
    let size = expected.unwrap_or(u64::MAX);
    let whole = expected.is_none() || size < settings.large || settings.streams < 2;
    let step = if whole {
        size.max(1)
    } else {
        let align = settings.align.max(1);
        let part = settings.part.min(size.div_ceil(2)).next_multiple_of(align);
        part.max(size.div_ceil(PARTS).next_multiple_of(align))
    };
    let mut parts = Vec::new();
    let mut start = 0;
    while start < size || parts.is_empty() {
        let end = start.saturating_add(step).min(size);
        parts.push(Part {
            start,
            end,
            done: start,
        });
        start = end;
    }
    parts
}

#[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
fn as_number(count: u64) -> f64 {
    count as f64
}

/// The multiple of `align` nearest to the middle of what is left of a part.
fn middle(read: u64, end: u64, align: u64) -> u64 {
    let middle = end - end.saturating_sub(read) / 2;
    let below = middle - middle % align;
    if middle - below <= align / 2 {
        below
    } else {
        below.saturating_add(align)
    }
}
