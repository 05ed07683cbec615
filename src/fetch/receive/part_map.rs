//! The state that the streams of a transfer share: the parts of the file, the stream of each, and its progress.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::progress::Progress;
use super::stream_count::StreamCount;
use crate::crds::Url;
use crate::fetch::digester::Digester;
use crate::fetch::lanes::PACE_TIME;
use crate::fetch::settings::FetchSettings;
use crate::store::{Part, Record};

/// The most parts of a file at the beginning, and after streams have split parts among them.
const PARTS: u64 = 512;
const PARTS_AT_MOST: usize = 640;

/// The parts of a file, and the state of its transfer.
pub(super) struct PartMap {
    /// The version of the file that the last source gives; bytes that other sources gave before are taken as they are.
    version: Option<Version>,
    pub(super) parts: Vec<Part>,
    /// The running streams, by the first byte of their part.
    streams: BTreeMap<u64, Stream>,
    pub(super) stream_count: StreamCount,
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

    /// A part for one more stream: the first unfinished one without a stream, else the second half of the longest rest
    /// of another stream, if that can be cut in two of at least `least` bytes each.
    pub(super) fn take_piece(&mut self, least: u64) -> Option<Piece> {
        let idle = |part: &&Part| part.done < part.end && !self.streams.contains_key(&part.start);
        let piece = match self.parts.iter().find(idle) {
            Some(part) => Piece {
                start: part.start,
                from: part.done,
            },
            None => self.share(least)?,
        };
        let stream = Stream {
            read: piece.from,
            flows: false,
        };
        self.streams.insert(piece.start, stream);
        Some(piece)
    }

    fn share(&mut self, least: u64) -> Option<Piece> {
        if self.parts.len() >= PARTS_AT_MOST {
            return None;
        }
        let (least, align) = (least.max(1), self.align);
        let cut = |(index, part): (usize, &Part)| {
            let read = self.streams.get(&part.start)?.read;
            let middle = middle(read, part.end, align);
            let halves = (middle.checked_sub(read)?, part.end.checked_sub(middle)?);
            (halves.0.min(halves.1) >= least).then_some((part.end - read, index, middle))
        };
        let (_, index, middle) = self.parts.iter().enumerate().filter_map(cut).max()?;
        let part = self.parts.get_mut(index)?;
        let end = std::mem::replace(&mut part.end, middle);
        let second = Part {
            start: middle,
            end,
            done: middle,
        };
        self.parts.insert(index + 1, second);
        Some(Piece {
            start: middle,
            from: middle,
        })
    }

    /// Returns the part of a stream that has ended, finished or not.
    pub(super) fn put_back(&mut self, piece: Piece) {
        self.streams.remove(&piece.start);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(size: u64, part: u64, align: u64) -> PartMap {
        let settings = FetchSettings {
            large: 1,
            part,
            align,
            streams: 8,
            ..FetchSettings::default()
        };
        let mut map = PartMap::new(None, Some(size), None, &settings, Instant::now());
        map.note_version(&Url::new("http://127.0.0.1/x"), Some("1"));
        map
    }

    fn is_sound(map: &PartMap) -> bool {
        map.record().is_some_and(|record| record.is_sound())
    }

    #[test]
    fn whoever_has_nothing_to_do_shares_the_longest_part() {
        let mut map = map(1000, 500, 1);
        let first = map.take_piece(100).unwrap();
        let second = map.take_piece(100).unwrap();
        assert_eq!((first.start, second.start), (0, 500));
        map.note_read(second, 500, 100, Instant::now());
        let third = map.take_piece(100).unwrap();
        assert_eq!(
            (third.start, map.end_of(first)),
            (250, 250),
            "the first has more left"
        );
        map.note_read(first, 0, 100, Instant::now());
        let fourth = map.take_piece(100).unwrap();
        assert_eq!((fourth.start, map.end_of(second)), (800, 800));
        let fifth = map.take_piece(100).unwrap();
        assert_eq!((fifth.start, map.end_of(third)), (375, 375));
        assert!(map.take_piece(150).is_none());
        assert!(is_sound(&map));
        assert_eq!(map.flowing(), 2);
    }

    #[test]
    fn parts_begin_at_multiples() {
        let starts = |map: &PartMap| map.parts.iter().map(|part| part.start).collect::<Vec<_>>();
        let mut map = map(2_300, 1_000, 256);
        assert_eq!(starts(&map), [0, 1_024, 2_048]);
        let streams: Vec<Piece> = std::iter::from_fn(|| map.take_piece(100)).collect();
        // The last part is too short to be cut at a multiple.
        assert_eq!(
            starts(&map),
            [0, 256, 512, 768, 1_024, 1_280, 1_536, 1_792, 2_048]
        );
        assert_eq!(streams.len(), 9);
        assert!(is_sound(&map));
        // What is left of a part is cut at the multiple nearest to its middle, if each half is long enough.
        assert_eq!(middle(0, 1_024, 256), 512);
        assert_eq!(middle(300, 1_024, 256), 768);
        assert_eq!(middle(10, 1_000, 256), 512);
        assert_eq!(middle(700, 1_000, 1), 850);
        assert_eq!(middle(513, 760, 256), 512, "below what has been read");
    }

    #[test]
    fn a_rest_without_a_multiple_is_left_to_its_stream() {
        let mut map = map(1_000, 1_000, 256);
        let streams = [map.take_piece(10).unwrap(), map.take_piece(10).unwrap()];
        assert_eq!(streams.map(|piece| piece.start), [0, 512]);
        map.note_read(streams[0], 0, 260, Instant::now());
        map.note_read(streams[1], 512, 100, Instant::now());
        // The first has 252 bytes left and the second 388, which has a multiple in it.
        assert_eq!(map.take_piece(10).unwrap().start, 768);
        assert!(map.take_piece(10).is_none());
    }

    proptest! {
        /// Each byte is read by one stream, and each slice of a cache in between by one as well, in any order of their steps.
        #[test]
        fn every_byte_comes_once(size in 2..5_000_u64, part in 1..3_000_u64, align in prop::sample::select(vec![1_u64, 7, 64, 256]), steps in prop::collection::vec((0..4_u8, any::<prop::sample::Index>(), 1..500_u64), 0..300)) {
            let mut map = map(size, part, align);
            let mut count = vec![0_u8; usize::try_from(size).unwrap()];
            let mut streams: Vec<(Piece, u64)> = Vec::new();
            for (what, index, bytes) in steps {
                if what == 0 || streams.is_empty() {
                    if let Some(piece) = map.take_piece(10) {
                        streams.push((piece, piece.from));
                    }
                    continue;
                }
                let at = index.index(streams.len());
                let (piece, read) = streams[at];
                if what == 1 {
                    map.put_back(piece);
                    streams.swap_remove(at);
                    continue;
                }
                let end = map.note_read(piece, read, bytes, Instant::now());
                let until = (read + bytes).min(end);
                for byte in read..until {
                    count[usize::try_from(byte).unwrap()] += 1;
                }
                streams[at].1 = until;
                map.note_written(piece, until);
                if until == end {
                    map.put_back(piece);
                    streams.swap_remove(at);
                }
                prop_assert!(is_sound(&map));
                prop_assert!(map.parts.iter().all(|part| part.start % align == 0));
            }
            prop_assert!(count.iter().all(|count| *count <= 1));
            prop_assert_eq!(map.arrived(), count.iter().map(|count| u64::from(*count)).sum::<u64>());
        }
    }
}
