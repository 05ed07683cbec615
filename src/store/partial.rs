//! Files on their way into the store.

use std::fs::File;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The partial file of a transfer.
#[derive(Debug, Clone)]
pub(crate) struct Partial {
    /// Its bytes; readable and writable, written and read with positions only.
    pub file: Arc<File>,
    /// The progress of an earlier attempt; `None` when there is nothing to resume (the file is then empty).
    pub record: Option<Record>,
}

/// The progress of a transfer.
///
/// It says what has arrived, not that it is right: the whole file is hashed before it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The URL of the source that the bytes come from.
    pub url: String,
    /// The validator (strong `ETag` or `Last-Modified`) of the version they belong to.
    pub validator: Option<String>,
    /// The length of the whole file in bytes.
    pub size: u64,
    /// The parts, in order and without gaps from 0 to `size`.
    pub parts: Vec<Part>,
}

/// A range of a file and how much of it has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Its first byte.
    pub start: u64,
    /// One past its last byte.
    pub end: u64,
    /// One past the last byte that has arrived, counted from the start of the file.
    pub done: u64,
}

impl Record {
    /// Whether the numbers agree with each other. A record is read from a disk and may contain anything.
    pub(crate) fn is_sound(&self) -> bool {
        let mut at = 0;
        for part in &self.parts {
            if part.start != at || part.end < part.start || !(part.start..=part.end).contains(&part.done) {
                return false;
            }
            at = part.end;
        }
        at == self.size && !self.parts.is_empty()
    }

    /// The number of bytes that have arrived.
    pub(crate) fn arrived(&self) -> u64 {
        self.parts.iter().map(|part| part.done - part.start).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(parts: &[(u64, u64, u64)]) -> Record {
        Record {
            url: "http://127.0.0.1/x".into(),
            validator: None,
            size: 100,
            parts: parts
                .iter()
                .map(|&(start, end, done)| Part { start, end, done })
                .collect(),
        }
    }

    #[test]
    fn soundness() {
        assert!(record(&[(0, 100, 7)]).is_sound());
        assert!(record(&[(0, 50, 50), (50, 100, 60)]).is_sound());
        for wrong in [
            &[][..],
            &[(0, 99, 0)],
            &[(1, 100, 1)],
            &[(0, 50, 51), (50, 100, 50)],
            &[(0, 50, 0), (51, 100, 51)],
            &[(0, 50, 0), (50, 100, 49)],
            &[(0, 150, 0), (150, 100, 100)],
        ] {
            assert!(!record(wrong).is_sound(), "{wrong:?}");
        }
        assert_eq!(record(&[(0, 50, 50), (50, 100, 60)]).arrived(), 60);
    }
}
