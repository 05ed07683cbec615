//! What the streams of a transfer share: which parts there are, and how far each has come.

use tokio::time::Instant;

use super::progress::Progress;
use crate::fetch::digester::Digester;
use crate::fetch::settings::FetchSettings;
use crate::store::{Part, Record};

/// A file has at most so many parts.
const PARTS: u64 = 512;

/// What the streams of a transfer share.
pub(super) struct PartMap {
    /// The content that the bytes belong to.
    pub(super) validator: Option<String>,
    pub(super) parts: Vec<Part>,
    /// Hashes what is written to the disk.
    pub(super) digester: Option<Digester>,
    pub(super) progress: Progress,
    /// Since when bytes are counted to learn the pace, and how many came.
    pub(super) pace: (Instant, u64),
    pub(super) recorded: (Instant, u64),
}

/// A piece of the file that a stream brings.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    pub(super) index: usize,
    pub(super) from: u64,
    /// One past its last byte; `u64::MAX` when nobody knows.
    pub(super) end: u64,
}

impl PartMap {
    pub(super) fn arrived(&self) -> u64 {
        self.parts.iter().map(|part| part.done - part.start).sum()
    }

    /// Tells the digester up to where no byte is missing.
    pub(super) fn advance(&mut self) {
        let gap = self.parts.iter().find(|part| part.done < part.end);
        let frontier = gap.or(self.parts.last()).map_or(0, |part| part.done);
        if let Some(digester) = &mut self.digester {
            digester.advance(frontier);
        }
    }

    pub(super) fn begin_anew(&mut self, size: Option<u64>, digester: Option<Digester>) {
        self.progress.begin_anew();
        self.validator = None;
        self.digester = digester;
        self.parts = vec![Part {
            start: 0,
            end: size.unwrap_or(u64::MAX),
            done: 0,
        }];
    }

    /// Whether the content is known to be another one than that of the bytes so far.
    pub(super) fn is_other(&self, validator: Option<&str>) -> bool {
        match (&self.validator, validator) {
            (Some(known), Some(found)) => known != found,
            _ => false,
        }
    }

    pub(super) fn next_piece(&self, taken: &[usize]) -> Option<Piece> {
        let mut open = self
            .parts
            .iter()
            .enumerate()
            .filter(|(_, part)| part.done < part.end);
        open.find(|(index, _)| !taken.contains(index))
            .map(|(index, part)| Piece {
                index,
                from: part.done,
                end: part.end,
            })
    }

    pub(super) fn record(&self, url: &str) -> Option<Record> {
        let size = self.parts.last()?.end;
        (size != u64::MAX).then(|| Record {
            url: url.to_owned(),
            validator: self.validator.clone(),
            size,
            parts: self.parts.clone(),
        })
    }
}

/// The parts of a file that nothing has come of yet.
pub(super) fn plan(expected: Option<u64>, settings: &FetchSettings) -> Vec<Part> {
    let size = expected.unwrap_or(u64::MAX);
    let whole = expected.is_none() || size < settings.large || settings.streams < 2;
    let step = if whole {
        size.max(1)
    } else {
        settings.part.max(size.div_ceil(PARTS)).max(1)
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
